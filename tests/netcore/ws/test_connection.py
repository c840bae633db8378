"""The rules of a conversation, with both ends wired back to back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.errors import (
    ConnectionClosed,
    ConnectionLost,
    ProtocolError,
    RecordingError,
)
from netcore.ws import (
    Batch,
    Frame,
    Masking,
    Opcode,
    Role,
    State,
    WsConnection,
    encode_frame,
)

ROLES = pytest.mark.parametrize("role", list(Role))


def key_for(role: Role) -> int | None:
    """The key with which the peer of `role` masks."""
    return 0x12345678 if role is Role.SERVER else None


class Peer:
    """The other end of a connection of ours: speaks frames, notes what it hears."""

    def __init__(self, role: Role, **options) -> None:
        self.role = role
        self.ours = WsConnection(role, **options)
        other = Role.SERVER if role is Role.CLIENT else Role.CLIENT
        self.ears = WsConnection(other, validate_utf8=False, frames=True)
        self.batches: list[Batch] = []
        self.heard = b""

    def say(self, opcode: int, payload: bytes = b"", **options) -> "Peer":
        self.raw(encode_frame(opcode, payload, key=key_for(self.role), **options))
        return self

    def raw(self, data: bytes) -> None:
        """Bytes to ours; and what a driver does: again while it holds something."""
        batch = self.ours.feed(data, 7)
        while True:
            if batch is not None:
                self.batches.append(batch)
            self.heard += self.ours.outgoing()
            if not self.ours.held:
                return
            batch = self.ours.feed(b"", 7)

    @property
    def got(self) -> list[tuple[Opcode, bytes]]:
        return [(f.opcode, f.payload) for batch in self.batches for f in batch]

    def frames_heard(self) -> list[tuple[int, bytes]]:
        """What ours sent, read by the rules of frames alone."""
        from netcore.ws import FrameReader

        reader = FrameReader(self.ears.role)
        reader.feed(self.heard)
        out = [(mark.opcode, mark.payload) for mark in reader.marks]
        return out + [
            (int(o), p) for o, p in zip(reader.opcodes(), reader.payloads, strict=True)
        ]

    def closed_with(self) -> tuple[State, int | None, list[tuple[int, bytes]]]:
        return self.ours.state, self.ours.close_code, self.frames_heard()


def close_body(code: int, reason: bytes = b"") -> bytes:
    return code.to_bytes(2, "big") + reason


# -- messages --------------------------------------------------------------------------


@ROLES
def test_messages_of_one_feed_share_one_batch_and_timestamp(role):
    peer = Peer(role)
    key = key_for(role)
    peer.raw(
        encode_frame(1, b"a", key=key)
        + encode_frame(1, b"b", key=key)
        + encode_frame(1, b"", key=key)
    )

    assert peer.batches == [Batch(7, [b"a", b"b", b""], Opcode.TEXT)]


@ROLES
def test_a_mixed_batch_names_each_opcode(role):
    peer = Peer(role)
    key = key_for(role)
    peer.raw(encode_frame(1, b"a", key=key) + encode_frame(2, b"b", key=key))

    assert list(peer.batches[0]) == [
        Frame(Opcode.TEXT, True, b"a"),
        Frame(Opcode.BINARY, True, b"b"),
    ]


@ROLES
def test_fragments_become_one_message_with_controls_between(role):
    peer = Peer(role)
    peer.say(2, b"1", fin=False).say(9, b"ping").say(0, b"2", fin=False)
    peer.say(10, b"pong")
    assert peer.ours.pongs == [b"pong"]
    assert peer.batches == []

    peer.say(0, b"3").say(2, b"next")

    assert peer.ours.pongs == []
    assert peer.got == [(Opcode.BINARY, b"123"), (Opcode.BINARY, b"next")]
    assert peer.frames_heard() == [(Opcode.PONG, b"ping")]


@ROLES
def test_frames_come_as_they_are_where_asked_for(role):
    peer = Peer(role, frames=True)
    peer.say(1, "é".encode()[:1], fin=False).say(0, "é".encode()[1:], fin=False)
    peer.say(0, b"!").say(2, b"whole")

    assert [next(iter(batch)) for batch in peer.batches] == [
        Frame(Opcode.TEXT, False, b"\xc3"),
        Frame(Opcode.CONTINUATION, False, b"\xa9"),
        Frame(Opcode.CONTINUATION, True, b"!"),
        Frame(Opcode.BINARY, True, b"whole"),
    ]


@ROLES
def test_every_ping_of_a_feed_is_answered_in_one_send(role):
    peer = Peer(role)
    key = key_for(role)
    peer.raw(b"".join(encode_frame(9, bytes([i]), key=key) for i in range(5)))

    assert peer.frames_heard() == [(10, bytes([i])) for i in range(5)]


def test_a_peer_that_only_pings_is_owed_a_bounded_number_of_pongs():
    ours = WsConnection(Role.CLIENT)
    for number in range(5000):
        ours.feed(encode_frame(9, number.to_bytes(2, "big")))

    data = ours.outgoing()

    assert len(data) == 1024 * 8
    reader = WsConnection(Role.SERVER)
    reader.feed(data)
    assert reader.pongs[-1] == (4999).to_bytes(2, "big")


# -- faults ----------------------------------------------------------------------------

Step = tuple[int, bytes, bool]

ORDER_FAULTS: dict[str, list[Step]] = {
    "a continuation of nothing": [(0, b"x", True)],
    "an unfinished continuation of nothing": [(0, b"x", False)],
    "a message within a message": [(1, b"x", False), (1, b"y", True)],
    "a fragment within a message": [(1, b"x", False), (2, b"y", False)],
    "a continuation after the end": [(1, b"x", False), (0, b"y", True), (0, b"", True)],
}


@ROLES
@pytest.mark.parametrize("name", ORDER_FAULTS)
@pytest.mark.parametrize("at_once", [True, False])
def test_frames_out_of_order_end_with_1002(role, name, at_once):
    peer = Peer(role)
    wire = [
        encode_frame(op, data, fin=fin, key=key_for(role))
        for op, data, fin in ORDER_FAULTS[name]
    ]
    for piece in [b"".join(wire)] if at_once else wire:
        peer.raw(piece)

    state, code, heard = peer.closed_with()
    assert (state, code) == (State.CLOSED, 1002)
    assert [frame[0] for frame in heard] == [Opcode.CLOSE]
    assert heard[0][1][:2] == close_body(1002)
    assert peer.ours.lingers
    assert isinstance(peer.ours.end(), ProtocolError)
    assert isinstance(peer.ours.end(), ConnectionClosed)


@ROLES
def test_messages_before_a_fault_are_delivered_and_can_be_answered(role):
    ours = WsConnection(role)
    key = key_for(role)
    batch = ours.feed(encode_frame(1, b"good", key=key) + b"\xff\xff")

    assert batch is not None
    assert batch.payloads == [b"good"]
    assert ours.state is State.OPEN
    assert ours.held
    assert ours.send(Opcode.TEXT, b"answer")

    assert ours.feed(b"") is None
    assert ours.state is State.CLOSED
    with pytest.raises(ConnectionClosed):
        ours.send(Opcode.TEXT, b"too late")


@ROLES
def test_nothing_is_delivered_after_a_fault(role):
    peer = Peer(role)
    key = key_for(role)
    good = encode_frame(1, b"good", key=key)
    peer.raw(good + encode_frame(1, b"\xff", key=key) + good)
    peer.raw(good)

    assert peer.got == [(Opcode.TEXT, b"good")]
    assert peer.ours.close_code == 1007


BAD_TEXTS = {
    "in one frame": [(1, b"\xce\xba\xff", True)],
    "at the end of a message": [(1, b"\xce", True)],
    "in a later fragment": [(1, b"ok \xe2\x82", False), (0, b"x", False)],
    "at the end of the last fragment": [(1, b"\xe2", False), (0, b"\x82", True)],
}


@ROLES
@pytest.mark.parametrize("name", BAD_TEXTS)
def test_text_that_is_not_utf8_ends_with_1007(role, name):
    peer = Peer(role)
    for opcode, data, fin in BAD_TEXTS[name]:
        peer.say(opcode, data, fin=fin)

    assert peer.ours.close_code == 1007
    assert peer.got == []


@ROLES
@pytest.mark.parametrize("opening", [[], [(1, b"\xe2", False)]])
def test_bad_text_is_found_before_its_frame_is_complete(role, opening):
    peer = Peer(role)
    for opcode, data, fin in opening:
        peer.say(opcode, data, fin=fin)
    good = b"\x82\xac" if opening else b"ok"
    wire = encode_frame(
        0 if opening else 1, good + b"\xff" + b"x" * 50, key=key_for(role)
    )
    head = len(wire) - 51 - len(good)

    peer.raw(wire[: head + len(good)])
    assert peer.ours.state is State.OPEN
    peer.raw(wire[head + len(good) : head + len(good) + 1])
    assert peer.ours.close_code == 1007


@ROLES
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_good_text_passes_in_any_fragments_and_pieces(role, size):
    peer = Peer(role)
    key = key_for(role)
    wire = encode_frame(1, b"\xe2", fin=False, key=key)
    wire += encode_frame(0, b"\x82\xac and \xf0\x9f", fin=False, key=key)
    wire += encode_frame(0, b"\x98\x80", key=key)
    for start in range(0, len(wire), size):
        peer.raw(wire[start : start + size])

    assert peer.got == [(Opcode.TEXT, "€ and 😀".encode())]


@ROLES
def test_text_is_not_judged_where_nobody_asked(role):
    peer = Peer(role, validate_utf8=False)
    peer.say(1, b"\xff").say(1, b"\xfe", fin=False).say(0, b"\xfd")
    peer.raw(encode_frame(1, b"\xfc" * 50, key=key_for(role))[:20])

    assert peer.got == [(Opcode.TEXT, b"\xff"), (Opcode.TEXT, b"\xfe\xfd")]
    assert peer.ours.state is State.OPEN


@ROLES
def test_binary_is_never_judged_as_text(role):
    peer = Peer(role)
    peer.say(2, b"\xff").say(2, b"\xfe", fin=False).say(0, b"\xfd")
    peer.raw(encode_frame(2, b"\xfc" * 50, key=key_for(role))[:20])

    assert len(peer.got) == 2
    assert peer.ours.state is State.OPEN


@ROLES
@pytest.mark.parametrize("sizes", [[11], [6, 5], [10, 0, 1]])
def test_a_message_above_the_limit_ends_with_1009(role, sizes):
    peer = Peer(role, max_message_size=10)
    for place, size in enumerate(sizes):
        peer.say(2 if place == 0 else 0, bytes(size), fin=place == len(sizes) - 1)

    assert peer.ours.close_code == 1009
    assert peer.got == []


@ROLES
def test_a_fragment_that_passes_the_limit_is_not_waited_for(role):
    peer = Peer(role, max_message_size=300)
    last = encode_frame(0, bytes(200), key=key_for(role))
    peer.say(2, bytes(100), fin=False).raw(last[:10])
    assert peer.ours.state is State.OPEN
    peer.raw(last[10:])
    assert [len(payload) for _, payload in peer.got] == [300]

    peer.say(2, bytes(101), fin=False).raw(last[:10])

    assert peer.ours.close_code == 1009


@ROLES
def test_the_frames_of_a_long_message_are_limited_one_by_one(role):
    peer = Peer(role, max_message_size=300, frames=True)
    last = encode_frame(0, bytes(300), key=key_for(role))
    peer.say(2, bytes(300), fin=False)
    peer.raw(last[:10])
    peer.raw(last[10:])

    assert [len(payload) for _, payload in peer.got] == [300, 300]


@ROLES
def test_a_message_at_the_limit_passes(role):
    peer = Peer(role, max_message_size=10)
    peer.say(2, bytes(6), fin=False).say(0, bytes(4)).say(2, bytes(10))

    assert [len(payload) for _, payload in peer.got] == [10, 10]


def test_a_message_needs_room():
    with pytest.raises(ValueError, match="max_message_size"):
        WsConnection(Role.CLIENT, max_message_size=0)


# -- closing ---------------------------------------------------------------------------


@ROLES
@pytest.mark.parametrize(
    "body", [b"", close_body(1000), close_body(4000, "é".encode())]
)
def test_a_close_is_echoed_with_its_code_and_told_once(role, body):
    peer = Peer(role)
    peer.say(8, body)

    assert peer.frames_heard() == [(8, body[:2])]
    assert peer.ours.state is State.CLOSED
    assert not peer.ours.lingers
    error = peer.ours.end()
    assert isinstance(error, ConnectionClosed)
    assert error.code == (int.from_bytes(body[:2], "big") if body else 1005)
    assert error.reason == body[2:].decode()
    assert error.initiated_by == "remote"


@ROLES
def test_messages_before_a_close_come_first_and_none_after(role):
    peer = Peer(role)
    key = key_for(role)
    peer.raw(
        encode_frame(1, b"last", key=key)
        + encode_frame(8, close_body(1001), key=key)
        + encode_frame(1, b"never", key=key)
        + b"\xff\xff"
    )

    assert peer.got == [(Opcode.TEXT, b"last")]
    assert peer.ours.close_code == 1001
    assert peer.frames_heard() == [(8, close_body(1001))]


@ROLES
def test_pongs_leave_before_the_close_that_follows_them(role):
    peer = Peer(role)
    key = key_for(role)
    peer.raw(
        encode_frame(9, b"p", key=key) + encode_frame(8, close_body(1000), key=key)
    )

    assert peer.frames_heard() == [(10, b"p"), (8, close_body(1000))]


@ROLES
@pytest.mark.parametrize(
    ("body", "code"),
    [(b"\x03", 1002), (close_body(1005), 1002), (close_body(1000, b"\xff"), 1007)],
)
def test_a_bad_close_is_answered_with_its_fault(role, body, code):
    peer = Peer(role)
    peer.say(8, body)

    assert peer.ours.close_code == code
    assert peer.frames_heard()[0][1][:2] == close_body(code)


@ROLES
def test_our_close_waits_for_the_echo_and_drops_messages(role):
    peer = Peer(role)
    peer.heard += peer.ours.close(1001, "bye")
    assert peer.ours.state is State.CLOSING
    assert peer.ours.close_code is None
    assert peer.ours.close() == b""

    peer.say(1, b"dropped").say(9, b"still here").say(8, close_body(1001))

    assert peer.got == []
    assert peer.frames_heard() == [(8, close_body(1001, b"bye")), (10, b"still here")]
    assert peer.ours.state is State.CLOSED
    error = peer.ours.end()
    assert isinstance(error, ConnectionClosed)
    assert (error.code, error.initiated_by) == (1001, "local")


@ROLES
def test_nothing_can_be_sent_once_closing(role):
    ours = WsConnection(role)
    ours.close()
    for act in (lambda: ours.send(Opcode.TEXT, b""), ours.ping, ours.pong):
        with pytest.raises(ConnectionClosed):
            act()


@ROLES
def test_a_fault_while_closing_ends_without_another_close(role):
    peer = Peer(role)
    peer.ours.close()
    peer.raw(b"\xff\xff")

    assert peer.ours.state is State.CLOSED
    assert peer.frames_heard() == []


@ROLES
@pytest.mark.parametrize("closing", [False, True])
def test_the_end_without_a_close_is_1006(role, closing):
    ours = WsConnection(role)
    if closing:
        ours.close()
    ours.feed(encode_frame(1, b"half a message", fin=False, key=key_for(role)))
    ours.feed_eof()
    ours.feed_eof()

    assert (ours.state, ours.close_code) == (State.CLOSED, 1006)
    error = ours.end()
    assert isinstance(error, ConnectionClosed)
    assert (error.code, error.initiated_by) == (1006, "local" if closing else "")


@ROLES
def test_the_end_behind_a_close_frame_is_the_close_frames(role):
    ours = WsConnection(role)
    key = key_for(role)
    ours.feed(
        encode_frame(1, b"a", key=key) + encode_frame(8, close_body(4004), key=key)
    )
    ours.feed_eof()

    assert ours.close_code == 4004


@ROLES
def test_a_lost_stream_is_1006_with_its_cause(role):
    ours = WsConnection(role)
    cause = ConnectionLost("reset by peer")
    ours.lose(cause)
    ours.lose(cause)

    error = ours.end()
    assert isinstance(error, ConnectionClosed)
    assert error.code == 1006
    assert error.__cause__ is cause


def test_a_fault_that_is_not_the_connections_is_told_as_it_is():
    ours = WsConnection(Role.CLIENT)
    cause = RecordingError("disk full")
    ours.lose(cause)

    assert ours.end() is cause
    assert isinstance(ours.end(), ConnectionClosed)


@ROLES
def test_giving_up_tells_the_peer_and_is_a_close_of_ours(role):
    peer = Peer(role)
    peer.ours.give_up(1011, "silence")
    peer.raw(b"")

    assert peer.frames_heard() == [(8, close_body(1011, b"silence"))]
    error = peer.ours.end()
    assert isinstance(error, ConnectionClosed)
    assert (error.code, error.initiated_by) == (1011, "local")


# -- sending ---------------------------------------------------------------------------


@ROLES
@pytest.mark.parametrize("masking", list(Masking))
def test_what_one_end_sends_the_other_reads(role, masking):
    ours = WsConnection(role, masking=masking)
    other = WsConnection(Role.SERVER if role is Role.CLIENT else Role.CLIENT)
    wire = ours.send(Opcode.TEXT, "ü".encode()) + ours.send(
        Opcode.BINARY, bytes(70_000)
    )

    batch = other.feed(wire)

    assert batch is not None
    assert batch.payloads == ["ü".encode(), bytes(70_000)]
    if role is Role.CLIENT:
        assert wire[1] & 0x80
        assert (wire[2:6] == b"\0\0\0\0") == (masking is Masking.ZERO)


@ROLES
def test_a_message_in_pieces_is_continued_until_its_end(role):
    ours = WsConnection(role)
    other = Peer(Role.SERVER if role is Role.CLIENT else Role.CLIENT)
    for fin, piece in [(False, b"a"), (False, b""), (True, b"b")]:
        assert ours.mid_message == (piece != b"a")
        other.raw(ours.send(Opcode.TEXT, piece, fin=fin))

    assert not ours.mid_message
    assert other.got == [(Opcode.TEXT, b"ab")]


@ROLES
def test_messages_cannot_be_mixed_into_one_under_way(role):
    ours = WsConnection(role)
    ours.send(Opcode.TEXT, b"a", fin=False)

    with pytest.raises(ValueError, match="TEXT message is under way"):
        ours.send(Opcode.BINARY, b"b")
    with pytest.raises(ValueError, match="TEXT message is under way"):
        ours.send_many(Opcode.TEXT, [b"b"])


@ROLES
def test_many_messages_are_one_piece_of_bytes(role):
    ours = WsConnection(role)
    other = WsConnection(Role.SERVER if role is Role.CLIENT else Role.CLIENT)
    batch = other.feed(ours.send_many(Opcode.BINARY, [b"1", bytearray(b"2"), b""]))

    assert batch is not None
    assert batch.payloads == [b"1", b"2", b""]
    assert batch.opcode is Opcode.BINARY


@ROLES
def test_control_frames_hold_125_bytes(role):
    ours = WsConnection(role)

    assert ours.ping(memoryview(bytes(125)))
    with pytest.raises(ValueError, match="126"):
        ours.ping(bytes(126))
    with pytest.raises(ValueError, match="126"):
        ours.pong(bytes(126))


def test_a_view_of_wide_items_is_sent_as_its_bytes():
    ours, other = WsConnection(Role.CLIENT), WsConnection(Role.SERVER)
    view = memoryview(bytes(range(8))).cast("I")
    batch = other.feed(ours.send(Opcode.BINARY, view))

    assert batch is not None
    assert batch.payloads == [bytes(range(8))]


# -- hostile bytes ---------------------------------------------------------------------


@given(
    data=st.binary(max_size=200), size=st.integers(1, 200), role=st.sampled_from(Role)
)
def test_no_bytes_raise_and_any_cut_ends_the_same(data, size, role):
    whole, cut = Peer(role), Peer(role)
    whole.raw(data)
    for start in range(0, len(data), size):
        cut.raw(data[start : start + size])

    assert cut.got == whole.got
    assert cut.ours.state == whole.ours.state
    assert cut.ours.close_code == whole.ours.close_code
    assert [f[0] for f in cut.frames_heard()] == [f[0] for f in whole.frames_heard()]
