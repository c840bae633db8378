"""permessage-deflate against others: the whole way from the offer to the close code.

Oracles are `websockets` and `wsproto`, each at the other end of a handshake in memory,
in both roles. Codecs alone are compared in `test_differential.py`.
"""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.ws import (
    ClientHandshake,
    DeflateConfig,
    Opcode,
    Role,
    ServerHandshake,
    State,
    WsConnection,
    encode_frame,
)
from netcore.ws.deflate import offer

LIMIT = 4096
CONFIGS = st.builds(
    DeflateConfig,
    send_window_bits=st.integers(9, 15),
    receive_window_bits=st.integers(9, 15),
    send_context=st.booleans(),
    receive_context=st.booleans(),
    fallback=st.booleans(),
    threshold=st.sampled_from([0, 64]),
)
MESSAGES = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.binary(max_size=200),
        st.sampled_from(
            [b"", "", b"tick " * 500, "κόσμε" * 100, bytes(range(256)) * 9]
        ),
    ),
    max_size=6,
)


def connection(role: Role, config: DeflateConfig) -> WsConnection:
    handshake = (
        ClientHandshake("h", extensions=offer(config))
        if role is Role.CLIENT
        else ServerHandshake()
    )
    return WsConnection(
        role, handshake=handshake, deflate=config, max_message_size=LIMIT
    )


def said(end: WsConnection, message: str | bytes) -> bytes:
    if isinstance(message, str):
        return end.send(Opcode.TEXT, message.encode())
    return end.send(Opcode.BINARY, message)


def heard(end: WsConnection, data: bytes) -> list[str | bytes]:
    """Return the messages in `data`, text as text; closes take effect."""
    batch = end.feed(data)
    got = [
        frame.text if frame.opcode is Opcode.TEXT else frame.payload
        for frame in batch or ()
    ]
    while end.held:
        assert end.feed(b"") is None
    return got


# -- the others, with one face -------------------------------------------------------


class Websockets:
    """`websockets`' sans-I/O connection."""

    def __init__(self, role: Role, *, limit: int = 1 << 20, **wishes: object) -> None:
        extension = pytest.importorskip("websockets.extensions.permessage_deflate")
        if role is Role.CLIENT:
            client = pytest.importorskip("websockets.client")
            uri = pytest.importorskip("websockets.uri")
            self.end = client.ClientProtocol(
                uri.parse_uri("ws://h/"),
                extensions=[extension.ClientPerMessageDeflateFactory(**wishes)],
                max_size=limit,
            )
            self.end.send_request(self.end.connect())
        else:
            server = pytest.importorskip("websockets.server")
            self.end = server.ServerProtocol(
                extensions=[extension.ServerPerMessageDeflateFactory(**wishes)],
                max_size=limit,
            )
        self.role = role

    def say(self, message: str | bytes) -> bytes:
        if isinstance(message, str):
            self.end.send_text(message.encode())
        else:
            self.end.send_binary(message)
        return self.take()

    def take(self) -> bytes:
        return b"".join(self.end.data_to_send())

    def shake(self, data: bytes) -> bytes:
        self.end.receive_data(data)
        events = self.end.events_received()
        if self.role is Role.SERVER:
            self.end.send_response(self.end.accept(events[0]))
        assert self.end.handshake_exc is None
        return self.take()

    def hear(self, data: bytes) -> list[str | bytes]:
        self.end.receive_data(data)
        return [
            event.data.decode() if event.opcode == Opcode.TEXT else bytes(event.data)
            for event in self.end.events_received()
            if event.opcode in (Opcode.TEXT, Opcode.BINARY)
        ]

    @property
    def code(self) -> int | None:
        return self.end.close_code


class Wsproto:
    """`wsproto`'s connection."""

    def __init__(self, role: Role, **wishes: object) -> None:
        self.module = pytest.importorskip("wsproto")
        self.events = pytest.importorskip("wsproto.events")
        extensions = pytest.importorskip("wsproto.extensions")
        self.extension = extensions.PerMessageDeflate(**wishes)
        kind = self.module.ConnectionType
        self.end = self.module.WSConnection(
            kind.CLIENT if role is Role.CLIENT else kind.SERVER
        )
        self.role = role
        self.sent = b""
        self.code: int | None = None
        if role is Role.CLIENT:
            request = self.events.Request(
                host="h", target="/", extensions=[self.extension]
            )
            self.sent = self.end.send(request)

    def take(self) -> bytes:
        sent, self.sent = self.sent, b""
        return sent

    def shake(self, data: bytes) -> bytes:
        self.end.receive_data(data)
        for event in self.end.events():
            if isinstance(event, self.events.Request):
                accept = self.events.AcceptConnection(extensions=[self.extension])
                self.sent += self.end.send(accept)
        return self.take()

    def say(self, message: str | bytes) -> bytes:
        return self.end.send(self.events.Message(data=message))

    def hear(self, data: bytes) -> list[str | bytes]:
        self.end.receive_data(data)
        got: list[str | bytes] = []
        parts: list[str | bytes] = []
        for event in self.end.events():
            if isinstance(event, self.events.CloseConnection):
                self.code = int(event.code)
            elif isinstance(event, self.events.Message):
                parts.append(event.data if event.data != b"" else b"")
                if event.message_finished:
                    text = isinstance(parts[0], str)
                    got.append("".join(parts) if text else b"".join(map(bytes, parts)))
                    parts = []
        return got


OTHERS = pytest.mark.parametrize("other", [Websockets, Wsproto])
ROLES = pytest.mark.parametrize("role", Role)


def meet(role: Role, config: DeflateConfig, other, **wishes):
    """Return our end of `role` and the other one, shaken hands with."""
    end = connection(role, config)
    peer = other(Role.SERVER if role is Role.CLIENT else Role.CLIENT, **wishes)
    if role is Role.CLIENT:
        end.feed(peer.shake(end.outgoing()))
    else:
        end.feed(peer.take())
        end.accept()
        peer.shake(end.outgoing())
    assert end.state is State.OPEN
    return end, peer


@OTHERS
@ROLES
@given(
    config=CONFIGS,
    no_context=st.tuples(st.booleans(), st.booleans()),
    bits=st.integers(9, 15),
    messages=MESSAGES,
    cut=st.integers(1, 400),
)
def test_whatever_is_agreed_on_both_understand_each_other(
    other, role, config, no_context, bits, messages, cut
):
    wishes = {
        "client_no_context_takeover": no_context[0],
        "server_no_context_takeover": no_context[1],
        "server_max_window_bits": bits,
    }
    end, peer = meet(role, config, other, **wishes)
    assert end.compressing
    for message in messages:
        wire = peer.say(message)
        got = []
        for start in range(0, len(wire), cut):
            got += heard(end, wire[start : start + cut])
        assert got == [message]
        assert peer.hear(said(end, message)) == [message]


@ROLES
@given(size=st.integers(LIMIT - 2, LIMIT + 2), fill=st.sampled_from([b"x", b"\x00"]))
def test_the_limit_is_of_what_comes_out_and_the_same_for_both(role, size, fill):
    end, peer = meet(role, DeflateConfig(threshold=0), Websockets, limit=LIMIT)
    big = fill * size

    got = heard(end, peer.say(big))
    assert got == ([big] if size <= LIMIT else [])
    assert end.close_code == (None if size <= LIMIT else 1009)

    end, peer = meet(role, DeflateConfig(threshold=0), Websockets, limit=LIMIT)
    assert peer.hear(said(end, big)) == got
    assert peer.end.close_sent is None or peer.end.close_sent.code == 1009
    assert (peer.end.close_sent is None) == (size <= LIMIT)


@OTHERS
@ROLES
def test_a_bomb_goes_off_nowhere(other, role):
    end, peer = meet(role, DeflateConfig(), other)
    wire = peer.say(bytes(50 << 20))
    assert len(wire) < 60_000

    assert heard(end, wire) == []
    assert (end.state, end.close_code) == (State.CLOSED, 1009)


@ROLES
@given(
    payload=st.one_of(
        st.binary(min_size=1, max_size=40),
        st.builds(
            lambda data, place, byte: data[: place % 20] + bytes([byte]) + data[20:],
            st.just(bytes.fromhex("f248cdc9c9070000f248cdc9c907f200110000f248")),
            st.integers(0, 19),
            st.integers(0, 255),
        ),
    ),
    opcode=st.sampled_from([Opcode.TEXT, Opcode.BINARY]),
)
def test_damaged_data_ends_with_the_same_code_as_wsprotos(role, payload, opcode):
    end, _ = meet(role, DeflateConfig(), Websockets)
    # wsproto in our role, in front of the same bytes.
    twin = Wsproto(role)
    if role is Role.CLIENT:
        server = connection(Role.SERVER, DeflateConfig())
        server.feed(twin.take())
        server.accept()
        twin.shake(server.outgoing())
    else:
        twin.shake(connection(Role.CLIENT, DeflateConfig()).outgoing())
    key = 0x01020304 if role is Role.SERVER else None
    wire = encode_frame(opcode, payload, rsv1=True, key=key)

    got, expected = heard(end, wire), twin.hear(wire)
    if goes_on_after_its_end(payload):
        # wsproto does not look at what follows a last block (§7.2.3.4); we do, and
        # what is neither another stream nor the filling is a fault.
        assert end.close_code in (None, 1007)
    elif end.close_code == 1009:
        # wsproto knows no limit.
        assert len(expected[0]) > LIMIT // 4
    else:
        assert (got, end.close_code) == (expected, twin.code)


def goes_on_after_its_end(payload: bytes) -> bool:
    tail = b"\x00\x00\xff\xff"
    expander = zlib.decompressobj(-15)
    try:
        expander.decompress(payload + tail)
    except zlib.error:
        return False
    return expander.eof and expander.unused_data not in (b"", tail, b"\x00" + tail)


@ROLES
@pytest.mark.parametrize("reserved", [0x20, 0x10, 0x60])
def test_the_other_reserved_bits_stay_forbidden(role, reserved):
    end, _ = meet(role, DeflateConfig(), Websockets)
    frame = bytearray(
        encode_frame(Opcode.TEXT, b"x", key=1 if role is Role.SERVER else None)
    )
    frame[0] |= reserved

    assert heard(end, bytes(frame)) == []
    assert end.close_code == 1002
