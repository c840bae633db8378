"""WebSocket: frames, conversations, handshakes, permessage-deflate (RFC 6455, 7692)."""

import contextlib
from typing import Any

from fuzz_targets.common import Target, cut_up, require
from netcore.errors import HandshakeError, NetError
from netcore.ws import (
    ClientHandshake,
    DeflateConfig,
    FrameReader,
    Opcode,
    Role,
    ServerHandshake,
    State,
    WsConnection,
    encode_frame,
)
from netcore.ws.deflate import Deflate, accept_offer, check_answer, offer
from netcore.ws.handshake import accept_token

__all__ = ["TARGETS"]

_FRAME_LIMIT = 512
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 §1.3
_SHAKEN = DeflateConfig(threshold=0)
# A client's pong to an empty ping has 6 bytes for 2; a close frame comes on top.
_MOST_ANSWERED, _GOODBYE = 4, 200


def ws_frames(data: bytes) -> None:
    """The frame splitter: no exception, the same frames however they are cut."""
    if len(data) < 2:
        return
    options, cut, data = data[0], data[1], data[2:]
    role = Role.SERVER if options & 1 else Role.CLIENT
    extended = bool(options & 2)

    def split(pieces: list[bytes]) -> list[tuple[Any, ...]]:
        reader = FrameReader(role, max_frame_size=_FRAME_LIMIT, extended=extended)
        got: list[tuple[Any, ...]] = []
        for piece in pieces:
            payloads = reader.feed(piece)
            got += _in_order(reader, payloads)
            partial = reader.partial
            held = 0 if partial is None else len(partial.data)
            require(held <= _FRAME_LIMIT, f"holds {held} bytes of a frame")
        return [*got, reader.fault]

    whole = split([data])
    require(whole == split(cut_up(data, cut)), "frames depend on how they are cut")


def _in_order(reader: FrameReader, payloads: list[bytes]) -> list[tuple[Any, ...]]:
    got: list[tuple[Any, ...]] = [
        (int(opcode), True, False, payload)
        for opcode, payload in zip(reader.opcodes(), payloads, strict=True)
    ]
    for mark in reversed(reader.marks):
        got.insert(mark.place, tuple(mark[1:]))
    return got


def ws_connection(data: bytes) -> None:
    """The rules of a conversation, with and without compression, both roles."""
    if len(data) < 2:
        return
    options, cut, data = data[0], data[1], data[2:]
    role = Role.SERVER if options & 1 else Role.CLIENT
    whole = _converse(role, [data], options)
    require(
        whole == _converse(role, cut_up(data, cut), options),
        "the conversation depends on how it is cut",
    )


def _converse(role: Role, pieces: list[bytes], options: int) -> list[Any]:
    """Return what a conversation delivers, and how it ends."""
    end = _opened(role, options)
    got: list[Any] = []
    answered = 0
    for piece in pieces:
        data: bytes | None = piece
        while data is not None:
            batch = end.feed(data)
            for frame in batch or ():
                require(
                    len(frame.payload) <= _FRAME_LIMIT, "delivers more than allowed"
                )
                got.append((frame.opcode, frame.fin, frame.payload))
            answered += len(_legal(role, end.outgoing()))
            data = b"" if end.held else None
    size = sum(map(len, pieces))
    require(
        answered <= _MOST_ANSWERED * size + _GOODBYE,
        f"answers {size} bytes by {answered}",
    )
    require(end.state in {State.OPEN, State.CLOSED}, f"ends as {end.state}")
    return [*got, end.state, end.close_code]


def _opened(role: Role, options: int) -> WsConnection:
    """Return an open conversation; a compressing one has to shake hands first."""
    deflate = _SHAKEN if options & 2 else None
    shake = ClientHandshake("h", key=_KEY, extensions=offer(_SHAKEN))
    half = shake if role is Role.CLIENT else ServerHandshake()
    end = WsConnection(
        role,
        handshake=None if deflate is None else half,
        validate_utf8=not options & 4,
        frames=bool(options & 8),
        max_message_size=_FRAME_LIMIT,
        deflate=deflate,
    )
    if deflate is None:
        return end
    if role is Role.CLIENT:
        end.outgoing()
        end.feed(_answer("permessage-deflate"))
    else:
        end.feed(shake.request())
        end.accept()
        end.outgoing()
    require(end.compressing, "the handshake failed")
    return end


def _answer(extensions: str = "") -> bytes:
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_token(_KEY)}",
    ]
    if extensions:
        lines.append(f"Sec-WebSocket-Extensions: {extensions}")
    return "\r\n".join([*lines, "", ""]).encode()


def _legal(role: Role, sent: bytes) -> bytes:
    """Check that what an end of `role` sent is made of whole, legal frames."""
    reader = FrameReader(Role.CLIENT if role is Role.SERVER else Role.SERVER)
    reader.feed(sent)
    require(reader.fault is None, f"sends what is no frame: {reader.fault}")
    require(reader.partial is None, "sends half a frame")
    return sent


def ws_client_handshake(data: bytes) -> None:
    """The answer to a client's upgrade, and the conversation that begins with it."""
    if len(data) < 2:
        return
    options, cut, data = data[0], data[1], data[2:]
    extensions = offer(_SHAKEN) if options & 1 else ""
    offered = ("chat", "superchat") if options & 2 else ()

    def shake(pieces: list[bytes]) -> object:
        half = ClientHandshake(
            "h", key=_KEY, extensions=extensions, subprotocols=offered
        )
        for place, piece in enumerate(pieces):
            try:
                agreement = half.feed(piece)
            except HandshakeError as refused:
                return refused.status
            if agreement is not None:
                rest = agreement.rest + b"".join(pieces[place + 1 :])
                return agreement.subprotocol, agreement.extensions, rest
        return half.feed_eof().status

    require(shake([data]) == shake(cut_up(data, cut)), "the answer depends on cuts")
    _shake_whole(
        WsConnection(
            Role.CLIENT,
            handshake=ClientHandshake("h", key=_KEY, extensions=extensions),
            deflate=_SHAKEN if options & 1 else None,
            max_message_size=_FRAME_LIMIT,
        ),
        cut_up(data, cut),
    )


def ws_server_handshake(data: bytes) -> None:
    """A client's request to upgrade, and the conversation that begins with it."""
    if len(data) < 2:
        return
    options, cut, data = data[0], data[1], data[2:]

    def shake(pieces: list[bytes]) -> object:
        half = ServerHandshake()
        for place, piece in enumerate(pieces):
            try:
                request = half.feed(piece)
            except HandshakeError as refused:
                half.reject(refused.status)
                return refused.status
            if request is not None:
                half.accept()
                rest = half.rest + b"".join(pieces[place + 1 :])
                return request, request.path, request.query, rest
        return None

    require(shake([data]) == shake(cut_up(data, cut)), "the request depends on cuts")
    _shake_whole(
        WsConnection(
            Role.SERVER,
            handshake=ServerHandshake(),
            deflate=_SHAKEN if options & 1 else None,
            max_message_size=_FRAME_LIMIT,
        ),
        cut_up(data, cut),
    )


def _shake_whole(end: WsConnection, pieces: list[bytes]) -> None:
    """Feed a connection from its handshake on, to its end."""
    for piece in pieces:
        end.feed(piece)
        if end.state is State.CONNECTING and end.request is not None:
            end.accept()
        while end.held:
            end.feed(b"")
        end.outgoing()
    end.feed_eof()
    require(end.state is State.CLOSED, f"is {end.state} behind its end")
    require(isinstance(end.end(), NetError), "ends by no error of ours")


def ws_deflate(data: bytes) -> None:
    """permessage-deflate: its negotiation, its bombs, and both ways."""
    if len(data) < 2:
        return
    options, cut, data = data[0], data[1], data[2:]
    config = DeflateConfig(
        send_window_bits=9 + options % 7,
        receive_window_bits=8 + (options >> 3) % 8,
        send_context=bool(options & 64),
        receive_context=bool(options & 128),
        threshold=0,
    )
    _negotiate(data.decode("latin-1"), config)
    _expand(Deflate(config), data, cut)
    _both_ways(config, data, cut)


def _negotiate(text: str, config: DeflateConfig) -> None:
    with contextlib.suppress(ValueError):
        check_answer(text, config)
    accepted = accept_offer(text, config)
    if accepted is not None:
        # A client that offers all there is takes whatever a server answers.
        check_answer(accepted[0], DeflateConfig())


def _expand(codec: Deflate, data: bytes, cut: int) -> None:
    limit = 1 + cut * 16
    for piece in cut_up(data, cut):
        expanded = codec.expand(piece, limit, fin=bool(piece[0] & 1))
        if not isinstance(expanded, bytes):
            return
        require(len(expanded) <= limit, "expands to more than allowed")


def _both_ways(config: DeflateConfig, data: bytes, cut: int) -> None:
    bits, context = config.send_window_bits, config.send_context
    codec = Deflate(
        config,
        send_bits=bits,
        receive_bits=bits,
        send_context=context,
        receive_context=context,
    )
    for piece in cut_up(data, cut):
        packed = codec.compress(piece, fin=True)
        back = codec.expand(packed, len(piece), fin=True)
        require(back == piece, "does not expand to what was compressed")


def _deflated(text: bytes) -> bytes:
    return Deflate(_SHAKEN).compress(text, fin=True)


def _frame_seeds() -> list[bytes]:
    seeds = []
    for options in range(16):
        key = 0x11223344 if options & 1 else None
        frames = [
            encode_frame(Opcode.TEXT, "κόσμε".encode(), key=key),
            encode_frame(Opcode.BINARY, b"x" * 200, key=key),
            encode_frame(Opcode.TEXT, b"frag", fin=False, key=key),
            encode_frame(Opcode.PING, b"?", key=key),
            encode_frame(Opcode.CONTINUATION, b"ment", key=key),
            encode_frame(Opcode.BINARY, b"y" * 126, key=key),
            encode_frame(Opcode.BINARY, b"z" * 512, key=key),
            encode_frame(Opcode.CLOSE, b"\x03\xe8bye", key=key),
        ]
        if options & 2:
            packed = _deflated(b"compressed " * 20)
            frames[2:2] = [
                encode_frame(Opcode.TEXT, packed, rsv1=True, key=key),
                encode_frame(Opcode.TEXT, packed[:3], fin=False, rsv1=True, key=key),
                encode_frame(Opcode.CONTINUATION, packed[3:], key=key),
            ]
        seeds += [bytes((options, 0)) + frame for frame in frames]
        seeds.append(bytes((options, 0x32)) + b"".join(frames))
    return seeds


_FRAME_WORDS = (
    b"\x81\x00",
    b"\x82\x7e\x00\x7e",
    b"\x81\x7f" + bytes(7) + b"\x01",
    b"\x88\x02\x03\xe8",
    b"\x89\x00",
    b"\x8a\x00",
    b"\x00\x00",
    b"\xc1",
    b"\x01\x80\x00\x00\x00\x00",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xed\xa0\x80",
    b"\xf4\x90",
    b"\x03\xf7",
    b"\x00\x00\xff\xff",
)


def _client_seeds() -> list[bytes]:
    after = encode_frame(Opcode.TEXT, b"first") + encode_frame(Opcode.CLOSE, b"")
    return [
        b"\x00\x00" + _answer() + after,
        b"\x01\x71" + _answer("permessage-deflate; client_max_window_bits=9") + after,
        b"\x02\x35" + _answer().replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: ")
        + b"chat\r\n\r\n" + after,
        b"\x00\x12HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnope",
        b"\x00\x12HTTP/1.1 429\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"4\r\nslow\r\n0\r\n\r\n",
        b"\x00\x00HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n" + b"b" * 5000,
    ]  # fmt: skip


def _server_seeds() -> list[bytes]:
    request = ClientHandshake(
        "venue.example:8080",
        "/feed?x=1",
        key=_KEY,
        origin="http://origin.example",
        subprotocols=("chat", "superchat"),
        extensions=offer(_SHAKEN),
        headers=[("User-Agent", "f")],
    ).request()
    after = encode_frame(Opcode.TEXT, b"early", key=7)
    return [
        b"\x00\x00" + request + after,
        b"\x01\x27" + request + after,
        b"\x00\x00" + request.replace(b"GET", b"POST"),
        b"\x00\x01" + request.replace(b"Version: 13", b"Version: 8"),
        b"\x00\x00" + request.replace(b"Feed", b"x" * 9000),
    ]


_HEAD_WORDS = (
    b"\r\n", b"\r\n\r\n", b": ", b",", b"HTTP/1.1 ", b"101", b"websocket", b"Upgrade",
    b"permessage-deflate", b"; server_max_window_bits=",
    b"; client_no_context_takeover",
    b"Content-Length: ", b"9" * 20, b"9" * 5000, b"x" * 17000,
    b"Transfer-Encoding: chunked", b"0\r\n\r\n", b"\x00", b"\xb2", b"chat",
)  # fmt: skip


def _deflate_seeds() -> list[bytes]:
    bomb = _deflated(b"\x00" * 100_000)
    return [
        b"\xc7\xff" + _deflated(b"hello " * 50),
        b"\x07\x00" + _deflated(bytes(range(256)) * 4),
        b"\xff\x10" + bomb,
        b"\x38\x33" + bomb[:40],
        b"\xc7\x00permessage-deflate; server_max_window_bits=10; "
        b"client_no_context_takeover, permessage-deflate",
        b"\x00\x00permessage-deflate; client_max_window_bits; "
        b"server_no_context_takeover",
    ]


TARGETS = {
    "ws_frames": Target(ws_frames, _frame_seeds, _FRAME_WORDS),
    "ws_connection": Target(ws_connection, _frame_seeds, _FRAME_WORDS),
    "ws_client_handshake": Target(ws_client_handshake, _client_seeds, _HEAD_WORDS),
    "ws_server_handshake": Target(ws_server_handshake, _server_seeds, _HEAD_WORDS),
    "ws_deflate": Target(ws_deflate, _deflate_seeds, _FRAME_WORDS),
}
