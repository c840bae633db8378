"""The cases of the Autobahn test suite as tables, against both roles in memory.

Numbers are Autobahn's (https://github.com/crossbario/autobahn-testsuite); what is
expected is the strict outcome. An end under test echoes whole messages. The suite's
own runner is used by `test_conformance.py`.
"""

import itertools
from collections.abc import Iterator

import msgspec
import pytest

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
from netcore.ws.deflate import offer

ROLES = pytest.mark.parametrize("role", list(Role))

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
OK = 1000


class F(msgspec.Struct):
    """A frame the suite sends; `rsv` and odd opcodes are put in by hand."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0

    def wire(self, role: Role) -> bytes:
        key = 0x55AA1234 if role is Role.SERVER else None
        data = bytearray(encode_frame(self.opcode, self.payload, fin=self.fin, key=key))
        data[0] |= self.rsv << 4
        return bytes(data)


class Case(msgspec.Struct):
    """What is sent, and what has to come back.

    `echoes` are messages as (opcode, payload), `pongs` payloads. `code` is that of the
    close frame that comes back, None if none may; where it is 1000 the suite closes.
    """

    frames: list[F]
    echoes: list[tuple[int, bytes]] = []
    pongs: list[bytes] = []
    code: int | None = OK
    chop: int = 0


def run(case: Case, role: Role) -> None:
    """Play a case in its chops; then close as the suite does."""
    end = WsConnection(role)
    wire = b"".join(frame.wire(role) for frame in case.frames)
    ended = any(frame.opcode == CLOSE for frame in case.frames)
    if case.code == OK and not ended:
        wire += F(CLOSE, b"\x03\xe8").wire(role)
    step = case.chop or len(wire)
    sent = b""
    for start in range(0, len(wire), step):
        sent += echo(end, wire[start : start + step])
    if case.code is None:
        assert end.state is State.OPEN
    else:
        assert end.state is State.CLOSED
    check(case, role, sent)


def echo(end: WsConnection, data: bytes) -> bytes:
    """Feed an end that echoes; return what it sends."""
    sent = b""
    batch = end.feed(data)
    while True:
        sent += end.outgoing()
        for message in batch or ():
            sent += end.send(message.opcode, message.payload)
        if not end.held:
            return sent
        batch = end.feed(b"")


def check(case: Case, role: Role, sent: bytes) -> None:
    reader = FrameReader(Role.CLIENT if role is Role.SERVER else Role.SERVER)
    payloads = list(reader.feed(sent))
    assert reader.fault is None
    opcodes = [int(opcode) for opcode in reader.opcodes()]
    assert list(zip(opcodes, payloads, strict=True)) == case.echoes
    controls = [(mark.opcode, mark.payload) for mark in reader.marks]
    pongs = [payload for opcode, payload in controls if opcode == PONG]
    closes = [payload for opcode, payload in controls if opcode == CLOSE]
    assert pongs == case.pongs
    if case.code is None:
        assert closes == []
    else:
        assert len(closes) == 1
        assert closes[0][:2] == (
            b"" if case.code == 1005 else case.code.to_bytes(2, "big")
        )


def echoed(*frames: F, chop: int = 0, pongs: list[bytes] | None = None) -> Case:
    """A case whose whole messages all come back."""
    return Case(
        list(frames),
        [(frame.opcode, frame.payload) for frame in frames if frame.opcode in (1, 2)],
        pongs if pongs is not None else [f.payload for f in frames if f.opcode == PING],
        OK,
        chop,
    )


def failed(*frames: F, code: int = 1002, chop: int = 0, good: int = 0) -> Case:
    """A case that fails; the first `good` messages come back before."""
    return Case(
        list(frames), [(f.opcode, f.payload) for f in frames[:good]], [], code, chop
    )


CASES: dict[str, Case] = {}

# -- 1 framing -------------------------------------------------------------------------

for section, opcode, fill in (("1.1", TEXT, b"*"), ("1.2", BINARY, b"\xfe")):
    for place, size in enumerate([0, 125, 126, 127, 128, 65535, 65536, 65536], 1):
        CASES[f"{section}.{place}"] = echoed(
            F(opcode, fill * size), chop=997 if place == 8 else 0
        )

# -- 2 pings and pongs -----------------------------------------------------------------

CASES |= {
    "2.1": echoed(F(PING)),
    "2.2": echoed(F(PING, b"Hello, world!")),
    "2.3": echoed(F(PING, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff")),
    "2.4": echoed(F(PING, b"\xfe" * 125)),
    "2.5": failed(F(PING, b"\xfe" * 126)),
    "2.6": echoed(F(PING, b"\xfe" * 125), chop=1),
    "2.7": echoed(F(PONG)),
    "2.8": echoed(F(PONG, b"unsolicited pong payload")),
    "2.9": echoed(F(PONG, b"unsolicited"), F(PING, b"ping payload")),
    "2.10": echoed(*(F(PING, b"payload-%d" % i) for i in range(10))),
    "2.11": echoed(*(F(PING, b"payload-%d" % i) for i in range(10)), chop=1),
}

# -- 3 reserved bits, 4 opcodes --------------------------------------------------------

HELLO = F(TEXT, b"Hello, world!")
CASES |= {
    "3.1": failed(F(TEXT, b"Hello", rsv=1)),
    "3.2": failed(HELLO, F(TEXT, b"Hello", rsv=2), F(PING), good=1),
    "3.3": failed(HELLO, F(TEXT, b"Hello", rsv=3), F(PING), good=1, chop=20),
    "3.4": failed(HELLO, F(TEXT, b"Hello", rsv=4), F(PING), good=1, chop=1),
    "3.5": failed(F(BINARY, b"\x00\xff\xfe\xfd", rsv=5)),
    "3.6": failed(F(PING, b"Hello", rsv=6)),
    "3.7": failed(F(CLOSE, rsv=7)),
    "4.1.1": failed(F(3)),
    "4.1.2": failed(F(4, b"reserved opcode payload")),
    "4.1.3": failed(HELLO, F(5), F(PING), good=1),
    "4.1.4": failed(HELLO, F(6, HELLO.payload), F(PING), good=1),
    "4.1.5": failed(HELLO, F(7, HELLO.payload), F(PING), good=1, chop=1),
    "4.2.1": failed(F(11)),
    "4.2.2": failed(F(12, b"reserved opcode payload")),
    "4.2.3": failed(HELLO, F(13), F(PING), good=1),
    "4.2.4": failed(HELLO, F(14, HELLO.payload), F(PING), good=1),
    "4.2.5": failed(HELLO, F(15, HELLO.payload), F(PING), good=1, chop=1),
}

# -- 5 fragmentation -------------------------------------------------------------------

ONE, TWO = F(TEXT, b"fragment1", fin=False), F(0, b"fragment2")
JOINED = (TEXT, b"fragment1fragment2")
P = F(PING, b"ping payload")


def fragments(*frames: F, chop: int = 0, pongs: int = 0) -> Case:
    return Case(list(frames), [JOINED], [P.payload] * pongs, OK, chop)


CASES |= {
    "5.1": failed(F(PING, b"fragment1", fin=False), F(0, b"fragment2")),
    "5.2": failed(F(PONG, b"fragment1", fin=False), F(0, b"fragment2")),
    "5.3": fragments(ONE, TWO),
    "5.4": fragments(ONE, TWO, chop=15),
    "5.5": fragments(ONE, TWO, chop=1),
    "5.6": fragments(ONE, P, TWO, pongs=1),
    "5.7": fragments(ONE, P, TWO, pongs=1, chop=15),
    "5.8": fragments(ONE, P, TWO, pongs=1, chop=1),
    "5.9": failed(F(0, b"non-continuation payload"), HELLO),
    "5.10": failed(F(0, b"non-continuation payload"), HELLO, chop=15),
    "5.11": failed(F(0, b"non-continuation payload"), HELLO, chop=1),
    "5.12": failed(F(0, b"non-continuation payload", fin=False), HELLO),
    "5.13": failed(F(0, b"non-continuation payload", fin=False), HELLO, chop=15),
    "5.14": failed(F(0, b"non-continuation payload", fin=False), HELLO, chop=1),
    "5.15": Case(
        [ONE, TWO, F(0, b"fragment3", fin=False), F(TEXT, b"fragment4")],
        [JOINED],
        [],
        1002,
    ),
    "5.16": failed(F(0, b"f1", fin=False), F(TEXT, b"f2", fin=False), F(0, b"f3")),
    "5.17": failed(F(0, b"f1"), F(TEXT, b"f2", fin=False), F(0, b"f3")),
    "5.18": failed(ONE, F(TEXT, b"fragment2")),
    "5.19": Case(
        [
            F(TEXT, b"1", fin=False),
            F(0, b"2", fin=False),
            F(PING, b"pongme 1!"),
            F(0, b"3", fin=False),
            F(0, b"4", fin=False),
            F(PING, b"pongme 2!"),
            F(0, b"5"),
        ],
        [(TEXT, b"12345")],
        [b"pongme 1!", b"pongme 2!"],
    ),
}
CASES["5.20"] = msgspec.structs.replace(CASES["5.19"], chop=1)

# -- 6 UTF-8 ---------------------------------------------------------------------------

KOSME = "κόσμε".encode()
GREEK = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"


def text_in(*parts: bytes) -> list[F]:
    """A text message in fragments."""
    last = len(parts) - 1
    return [
        F(TEXT if place == 0 else 0, part, fin=place == last)
        for place, part in enumerate(parts)
    ]


def good_text(*parts: bytes, chop: int = 0) -> Case:
    return Case(text_in(*parts), [(TEXT, b"".join(parts))], chop=chop)


def bad_text(*parts: bytes, chop: int = 0) -> Case:
    return Case(text_in(*parts), code=1007, chop=chop)


LONG = "Hello-µ@ßöäüàá-UTF-8!!".encode()
CASES |= {
    "6.1.1": good_text(b""),
    "6.1.2": good_text(b"", b"", b""),
    "6.1.3": good_text(b"", b"middle frame payload", b""),
    "6.2.1": good_text(LONG),
    "6.2.2": good_text(LONG[:12], LONG[12:]),
    "6.2.3": good_text(*(bytes([byte]) for byte in LONG)),
    "6.2.4": good_text(*(bytes([byte]) for byte in GREEK)),
    "6.3.1": bad_text(GREEK + b"\xed\xa0\x80edited"),
    "6.3.2": bad_text(*(bytes([b]) for b in GREEK + b"\xed\xa0\x80edited")),
    "6.4.1": bad_text(GREEK, b"\xf4\x90\x80\x80", b"edited"),
    "6.4.2": bad_text(GREEK + b"\xf4", b"\x90", b"\x80\x80edited"),
    "6.4.3": bad_text(GREEK + b"\xf4\x90\x80\x80edited", chop=12),
    "6.4.4": bad_text(GREEK + b"\xf4\x90\x80\x80edited", chop=1),
}

# 6.5 to 6.23 send one sequence each; these are the boundaries that they walk.
VALID_UTF8 = [
    KOSME,
    *(chr(point).encode() for point in (0, 0x7F, 0x80, 0x7FF, 0x800, 0xFFFF, 0x10000)),
    *(chr(point).encode() for point in (0xD7FF, 0xE000, 0xFFFD, 0x10FFFF)),
    *(chr(plane | 0xFFFE).encode() for plane in range(0, 0x110000, 0x10000)),
    *(chr(plane | 0xFFFF).encode() for plane in range(0, 0x110000, 0x10000)),
]
INVALID_UTF8 = [
    KOSME[:-1],
    b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\xf7\xbf\xbf\xbf",
    b"\xfb\xbf\xbf\xbf\xbf",
    b"\xfd\xbf\xbf\xbf\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\x80",
    b"\xbf",
    b"\x80\xbf\x80\xbf",
    bytes(range(0x80, 0xC0)),
    b" ".join(bytes([byte]) for byte in range(0xC0, 0xE0)) + b" ",
    b" ".join(bytes([byte]) for byte in range(0xE0, 0xF0)) + b" ",
    b" ".join(bytes([byte]) for byte in range(0xF0, 0xF8)) + b" ",
    *(bytes([byte]) + b" " for byte in (0xC0, 0xE0, 0xF0, 0xF8, 0xFC, 0xFE, 0xFF)),
    b"\xc0",
    b"\xe0\x80",
    b"\xf0\x80\x80",
    b"\xdf",
    b"\xef\xbf",
    b"\xf7\xbf\xbf",
    b"\xc0\xe0\x80\xf0\x80\x80\xdf\xef\xbf\xf7\xbf\xbf",
    b"\xfe\xfe\xff\xff",
    b"\xc0\xaf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xc0\x80",
    b"\xe0\x80\x80",
    *(
        bytes([0xED, byte, low])
        for byte in (0xA0, 0xAD, 0xAE, 0xAF, 0xB0, 0xBE, 0xBF)
        for low in (0x80, 0xBF)
    ),
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xed\xaf\xbf\xed\xbf\xbf",
]
CASES |= {f"6.5+ {data.hex()}": good_text(data) for data in VALID_UTF8}
CASES |= {f"6.6+ {data.hex()}": bad_text(data) for data in INVALID_UTF8}

# -- 7 closing -------------------------------------------------------------------------


def closing(body: bytes, code: int) -> Case:
    return Case([F(CLOSE, body)], code=code)


def code_body(code: int, reason: bytes = b"") -> bytes:
    return code.to_bytes(2, "big") + reason


CLOSE_OK = F(CLOSE, code_body(OK))
CASES |= {
    "7.1.1": echoed(HELLO),
    "7.1.2": Case([CLOSE_OK, CLOSE_OK]),
    "7.1.3": Case([CLOSE_OK, F(PING)]),
    "7.1.4": Case([CLOSE_OK, HELLO]),
    "7.1.5": Case([ONE, CLOSE_OK, TWO]),
    "7.1.6": Case(
        [F(TEXT, b"BAsd7&jh23" * 26214), HELLO, CLOSE_OK, F(PING)],
        [(TEXT, b"BAsd7&jh23" * 26214), (TEXT, HELLO.payload)],
    ),
    "7.3.1": closing(b"", 1005),
    "7.3.2": closing(b"a", 1002),
    "7.3.3": closing(code_body(OK), OK),
    "7.3.4": closing(code_body(OK, b"Hello World!"), OK),
    "7.3.5": closing(code_body(OK, b"*" * 123), OK),
    "7.3.6": closing(code_body(OK, b"*" * 124), 1002),
    "7.5.1": closing(code_body(OK, GREEK + b"\xf4\x90\x80\x80edited"), 1007),
}
VALID_CODES = [*range(1000, 1004), *range(1007, 1012), 3000, 3999, 4000, 4999]
INVALID_CODES = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535]
CASES |= {
    f"7.7.{place}": closing(code_body(code), code)
    for place, code in enumerate(VALID_CODES, 1)
}
CASES |= {f"7.9+ {code}": closing(code_body(code), 1002) for code in INVALID_CODES}

# -- 10 and the small of 9 -------------------------------------------------------------


def split(opcode: int, data: bytes, size: int) -> list[F]:
    starts = range(0, len(data), size)
    return [
        F(
            opcode if start == 0 else 0,
            data[start : start + size],
            fin=start == starts[-1],
        )
        for start in starts
    ]


CASES["10.1.1"] = Case(split(TEXT, b"*" * 65536, 1300), [(TEXT, b"*" * 65536)])
for place, (opcode, size) in enumerate(
    itertools.product([TEXT, BINARY], [64, 1024, 16384, 65536]), 1
):
    data = b"BAsd7&jh23" * 26214
    CASES[f"9.3+9.4 {place}"] = Case(split(opcode, data, size), [(opcode, data)])
for size in (64, 512, 2048):
    data = b"\xc3\xbc" * 131072
    CASES[f"9.5+9.6 {size}"] = Case([F(TEXT, data)], [(TEXT, data)], chop=size)


@ROLES
@pytest.mark.parametrize("number", CASES)
def test_case(number, role):
    run(CASES[number], role)


# -- 9 limits --------------------------------------------------------------------------


@pytest.mark.slow
@ROLES
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("exponent", [18, 20, 22, 23, 24])
def test_case_9_messages_of_up_to_16_mib_come_back(role, opcode, exponent):
    data = b"*" * (1 << exponent)

    run(Case([F(opcode, data)], [(opcode, data)], chop=65536), role)


@ROLES
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_case_9_7_and_9_8_a_thousand_small_messages_come_back(role, opcode):
    frames = [F(opcode, b"*" * (place % 130)) for place in range(1000)]

    run(echoed(*frames, chop=65536), role)


# -- 12 and 13 compression -------------------------------------------------------------

# Sections 13.1 to 13.7: what client and server ask of each other.
SETTINGS = [
    DeflateConfig(),
    DeflateConfig(receive_context=False),
    DeflateConfig(receive_window_bits=9),
    DeflateConfig(receive_window_bits=15, send_window_bits=15),
    DeflateConfig(receive_context=False, receive_window_bits=9),
    DeflateConfig(receive_context=False, send_context=False, send_window_bits=9),
]
# Sections 12.1 and 12.2: the sizes of messages and of the fragments they come in.
SIZES = [(16, 0), (64, 0), (1024, 0), (8192, 0), (32768, 0), (131072, 0), (8192, 256)]


def texts(size: int) -> Iterator[bytes]:
    """Some JSON, some noise, some repetition."""
    seed = b'{"e":"aggTrade","p":"64000.%d","q":"%d"}'
    for number in range(8):
        data = b"".join(seed % (i * number, i) for i in range(size // 20 + 1))
        yield data[:size]


@ROLES
@pytest.mark.parametrize("setting", range(len(SETTINGS)))
@pytest.mark.parametrize(("size", "fragment"), SIZES)
def test_cases_12_and_13_compressed_messages_come_back(role, setting, size, fragment):
    config = SETTINGS[setting]
    client = WsConnection(
        Role.CLIENT,
        handshake=ClientHandshake("h", extensions=offer(config)),
        deflate=config,
    )
    server = WsConnection(
        Role.SERVER, handshake=ServerHandshake(), deflate=DeflateConfig()
    )
    server.feed(client.outgoing())
    server.accept()
    client.feed(server.outgoing())
    suite, end = (server, client) if role is Role.CLIENT else (client, server)

    for data in texts(size):
        wire = b""
        for piece in split(TEXT, data, fragment or size):
            wire += suite.send(Opcode.TEXT, piece.payload, fin=piece.fin)
        assert wire[0] & 0x40 or size < 64
        batch = suite.feed(echo(end, wire))
        assert batch is not None
        assert batch.payloads == [data]
