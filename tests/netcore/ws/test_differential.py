"""The same bytes to us and to others: same messages, same answers, same close codes.

Oracles are the sans-I/O layers of `websockets` and `wsproto`. Where these differ from
us on purpose, the generator says so.
"""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.ws import FrameReader, Role, State, WsConnection
from netcore.ws.masking import apply_mask

KEY = 0x0BADCAFE

TEXTS = st.sampled_from([b"", b"hello", "κόσμε".encode(), b"a" * 126, b"\xce", b"\xff"])
# 1014 is registered (IANA) and legal for us, unknown to both.
CODES = st.sampled_from([0, 999, 1000, 1001, 1003, 1004, 1005, 1006, 1011, 1015, 4999])
CLOSES = st.one_of(
    st.sampled_from([b"", b"\x03", b"\x03\xe8\xff", b"\x03\xe8" + b"x" * 123]),
    st.builds(lambda code: code.to_bytes(2, "big") + b"why", CODES),
)


def build(
    role: Role, first: int, payload: bytes, *, mask_right: bool, form: int
) -> bytes:
    """A frame to `role`, right or wrong; `form` is the least bytes of its length."""
    size = len(payload)
    masked = (role is Role.SERVER) is mask_right
    bit = 0x80 if masked else 0
    if form == 8 or size > 0xFFFF:
        head = bytes((first, bit | 127)) + size.to_bytes(8, "big")
    elif form == 2 or size > 125:
        head = bytes((first, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, bit | size))
    if masked:
        return head + KEY.to_bytes(4, "big") + apply_mask(payload, KEY)
    return head + payload


@st.composite
def hostile_streams(draw: st.DrawFn, role: Role, *, forms: bool) -> bytes:
    """Whole frames, most of them right, and bytes to see what comes after a fault."""
    wire = b""
    for _ in range(draw(st.integers(1, 8))):
        first = draw(
            st.one_of(
                st.sampled_from([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A, 0x88]),
                st.sampled_from([0x81, 0x82, 0x01, 0x00, 0x80, 0x89]),
                st.integers(0, 255),
            )
        )
        payload = draw(CLOSES if first & 0x0F == 8 else TEXTS)
        rare = st.integers(0, 19).map(lambda n: n == 0)
        form = draw(st.sampled_from([2, 8])) if forms and draw(rare) else 1
        right = not draw(rare)
        wire += build(role, first, payload, mask_right=right, form=form)
    return wire + build(role, 0x82, b"after all" * 3, mask_right=True, form=1)


def pieces(wire: bytes, size: int) -> list[bytes]:
    return [wire[start : start + size] for start in range(0, len(wire), size)]


def ours(role: Role, wire: list[bytes], **options) -> tuple[list, list]:
    """What we deliver, and the frames we answer with (closes by their code)."""
    connection = WsConnection(role, **options)
    frames, sent = [], b""
    for piece in wire:
        batch = connection.feed(piece)
        while True:
            if batch is not None:
                frames += [(int(f.opcode), f.fin, f.payload) for f in batch]
            sent += connection.outgoing()
            if not connection.held:
                break
            batch = connection.feed(b"")
    assert connection.state in {State.OPEN, State.CLOSED}
    return frames, answers(role, sent)


def answers(role: Role, sent: bytes) -> list[tuple[int, bytes]]:
    """Control frames that the end of `role` sent; of a close only the code."""
    reader = FrameReader(Role.CLIENT if role is Role.SERVER else Role.SERVER)
    reader.feed(sent)
    assert reader.fault is None
    return [
        (mark.opcode, mark.payload[:2] if mark.opcode == 8 else mark.payload)
        for mark in reader.marks
    ]


# -- websockets ------------------------------------------------------------------------


def theirs_websockets(role: Role, wire: list[bytes]) -> tuple[list, list]:
    protocol_module = pytest.importorskip("websockets.protocol")
    side = {
        Role.CLIENT: protocol_module.CLIENT,
        Role.SERVER: protocol_module.SERVER,
    }[role]
    protocol = protocol_module.Protocol(side, max_size=None)
    for piece in wire:
        protocol.receive_data(piece)
    frames = [
        (int(event.opcode), event.fin, bytes(event.data))
        for event in protocol.events_received()
        if event.opcode < 8
    ]
    return frames, answers(role, b"".join(protocol.data_to_send()))


@given(data=st.data(), role=st.sampled_from(Role), size=st.integers(1, 400))
def test_websockets_delivers_and_answers_the_same_frames(data, role, size):
    # websockets takes lengths that are not in their shortest form.
    wire = data.draw(hostile_streams(role, forms=False))
    # It also faults a close frame within a fragmented message, which §5.4 allows.
    closes_within_message = _closes_within_a_message(role, wire)

    got = ours(role, pieces(wire, size), validate_utf8=False, frames=True)
    expected = theirs_websockets(role, pieces(wire, size))

    assert got[0] == expected[0]
    if not closes_within_message:
        assert got[1] == expected[1]


def _closes_within_a_message(role: Role, wire: bytes) -> bool:
    """Whether the first close frame comes before the end of a message."""
    reader = FrameReader(role)
    reader.feed(wire)
    under_way = False
    for mark in reader.marks:
        if mark.opcode == 8:
            return under_way
        if mark.opcode < 8:
            under_way = not mark.fin
    return False


# -- wsproto ---------------------------------------------------------------------------


def theirs_wsproto(role: Role, wire: list[bytes]) -> tuple[list, list]:
    wsproto = pytest.importorskip("wsproto.connection")
    events = pytest.importorskip("wsproto.events")
    connection = wsproto.Connection(
        wsproto.ConnectionType.CLIENT
        if role is Role.CLIENT
        else wsproto.ConnectionType.SERVER
    )
    messages: list[tuple[int, bool, bytes]] = []
    parts: list[bytes] = []
    sent: list[tuple[int, bytes]] = []
    for piece in wire:
        connection.receive_data(piece)
        for event in connection.events():
            match event:
                case events.TextMessage() | events.BytesMessage():
                    text = isinstance(event, events.TextMessage)
                    parts.append(event.data.encode() if text else bytes(event.data))
                    if event.message_finished:
                        messages.append((1 if text else 2, True, b"".join(parts)))
                        parts = []
                case events.Ping():
                    sent.append((10, bytes(event.payload)))
                case events.CloseConnection():
                    code = event.code
                    empty = code == 1005
                    sent.append((8, b"" if empty else int(code).to_bytes(2, "big")))
                    return messages, sent
                case _:
                    pass
    return messages, sent


@given(data=st.data(), role=st.sampled_from(Role), size=st.integers(1, 400))
def test_wsproto_delivers_and_answers_the_same_messages(data, role, size):
    wire = data.draw(hostile_streams(role, forms=True))

    got = ours(role, pieces(wire, size))
    expected = theirs_wsproto(role, pieces(wire, size))

    assert got == expected


# -- every code ------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("theirs", [theirs_websockets, theirs_wsproto])
def test_every_close_code_is_answered_alike(theirs, role):
    # IANA registered 1012 to 1014 after RFC 6455; the others know them to where they
    # were written.
    known_to_us_alone = set()
    for code in [*range(1100), 1999, *range(2990, 3010), *range(4990, 5010), 65535]:
        body = code.to_bytes(2, "big") + b"why"
        wire = [build(role, 0x88, body, mask_right=True, form=1)]
        if ours(role, wire) != theirs(role, wire):
            known_to_us_alone.add(code)

    assert known_to_us_alone <= {1012, 1013, 1014}
    for code in known_to_us_alone:
        wire = [build(role, 0x88, code.to_bytes(2, "big"), mask_right=True, form=1)]
        assert ours(role, wire) == ([], [(8, code.to_bytes(2, "big"))])


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([(0xC1, b"x")], 1002),  # a reserved bit
        ([(0x83, b"x")], 1002),  # an opcode that is none
        ([(0x8B, b"x")], 1002),
        ([(0x09, b"x")], 1002),  # a fragmented control frame
        ([(0x89, b"x" * 126)], 1002),  # a long one
        ([(0x80, b"x")], 1002),  # a continuation of nothing
        ([(0x01, b"x"), (0x81, b"y")], 1002),  # a message within a message
        ([(0x88, b"\x03")], 1002),  # half a code
        ([(0x88, b"\x03\xe8\xff")], 1007),  # a reason that is not UTF-8
        ([(0x81, b"\xff")], 1007),
        ([(0x01, b"\xce"), (0x80, b"x")], 1007),  # a character that breaks off
        ([(0x88, b"")], 1005),
    ],
)
def test_every_fault_has_the_same_code_in_all_three(frames, code, role):
    wire = [build(role, first, data, mask_right=True, form=1) for first, data in frames]

    _, answers_of_ours = ours(role, wire)
    assert answers_of_ours == [(8, b"" if code == 1005 else code.to_bytes(2, "big"))]
    assert theirs_wsproto(role, wire)[1] == answers_of_ours
    if code != 1007 or frames[0][0] == 0x88:
        # Text is not websockets' protocol layer's to check.
        assert theirs_websockets(role, wire)[1] == answers_of_ours


# -- both ways -------------------------------------------------------------------------


@given(
    role=st.sampled_from(Role),
    messages=st.lists(
        st.one_of(st.text(max_size=50), st.binary(max_size=300)), max_size=6
    ),
    cut=st.integers(1, 50),
)
def test_what_we_send_websockets_reads(role, messages, cut):
    protocol_module = pytest.importorskip("websockets.protocol")
    from netcore.ws import Opcode

    connection = WsConnection(role)
    wire = b""
    expected = []
    for message, fragmented in zip(messages, itertools.cycle([False, True])):
        text = isinstance(message, str)
        opcode = Opcode.TEXT if text else Opcode.BINARY
        payload = message.encode() if isinstance(message, str) else message
        if fragmented:
            half = len(payload) // 2
            wire += connection.send(opcode, payload[:half], fin=False)
            wire += connection.send(opcode, payload[half:])
            expected += [(int(opcode), payload[:half]), (0, payload[half:])]
        else:
            wire += connection.send(opcode, payload)
            expected += [(int(opcode), payload)]
    wire += connection.ping(b"ping") + connection.close(4000, "bye")
    other = protocol_module.SERVER if role is Role.CLIENT else protocol_module.CLIENT
    protocol = protocol_module.Protocol(other)
    for piece in pieces(wire, cut):
        protocol.receive_data(piece)

    got = [
        (int(event.opcode), bytes(event.data)) for event in protocol.events_received()
    ]
    assert got == [*expected, (9, b"ping"), (8, (4000).to_bytes(2, "big") + b"bye")]


# -- deflate ---------------------------------------------------------------------------


@given(
    messages=st.lists(st.binary(max_size=500), min_size=1, max_size=5),
    context=st.booleans(),
    bits=st.integers(9, 15),
)
def test_websockets_expands_what_we_compress_and_we_what_it_does(
    messages, context, bits
):
    module = pytest.importorskip("websockets.extensions.permessage_deflate")
    frames = pytest.importorskip("websockets.frames")
    from netcore.ws.deflate import Deflate, DeflateConfig

    codec = Deflate(
        DeflateConfig(),
        send_bits=bits,
        receive_bits=bits,
        send_context=context,
        receive_context=context,
    )
    other = module.PerMessageDeflate(not context, not context, bits, bits)
    for message in messages:
        ours_compressed = codec.compress(message, fin=True)
        expanded = other.decode(
            frames.Frame(frames.Opcode.BINARY, ours_compressed, rsv1=True)
        )
        assert bytes(expanded.data) == message
        compressed = other.encode(frames.Frame(frames.Opcode.BINARY, message))
        assert codec.expand(bytes(compressed.data), 1000, fin=True) == message
