"""TLS: what a client makes of a peer, or somebody on the way, that sends anything."""

import functools
import ssl

import trustme

from fuzz_targets.common import Broken, Target, cut_up, require
from netcore.errors import NetError
from netcore.stream import TlsStream
from netcore.testing import MemoryStream, memory_stream_pair

__all__ = ["TARGETS"]

_HOST = "venue.example"
_PLAIN = b"all of what the server says " * 8


@functools.cache
def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    ca = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(_HOST).configure_cert(server)
    client = ssl.create_default_context()
    ca.configure_trust(client)
    return client, server


def tls_records(data: bytes) -> None:
    """A TLS client whose peer, or somebody on the way, sends anything.

    An odd first byte damages what a real server sends behind the handshake, else the
    bytes come instead of its handshake. Either way: only named errors, and never
    bytes that the server did not send, nor a clean end it did not announce.
    """
    if len(data) < 2:
        return
    options, cut, data = data[0], data[1], data[2:]
    near, far = memory_stream_pair(capacity=1 << 20)
    client = TlsStream(near, _contexts()[0], server_hostname=_HOST)
    try:
        wire = _shake(client, far) if options & 1 else b""
    except NetError as exc:
        raise Broken("an undisturbed handshake failed") from exc
    wire = _damaged(wire, options, cut, data) if options & 1 else data
    got, end = _read_out(client, far, wire, cut)
    if options & 1:
        require(_PLAIN.startswith(got), "delivers what was not sent")
        require(end != b"" or got == _PLAIN, "a cut connection looks complete")
    else:
        require(not got and end != b"", "reads without a handshake")
    client.close()


def _shake(client: TlsStream, far: MemoryStream) -> bytes:
    """Connect `client`; return the records of the server's words and its goodbye."""
    left, right = memory_stream_pair(capacity=1 << 20)
    server = TlsStream(right, _contexts()[1], server_side=True)
    for _ in range(10):
        ends = client.connected(), server.connected()
        for source, sink in ((far, left), (left, far)):
            moved = source.receive()
            if moved:
                sink.send(moved)
        if all(ends):
            break
    client.receive()
    for start in range(0, len(_PLAIN), 64):
        server.send(_PLAIN[start : start + 64])
    server.close()
    return left.receive(1 << 20) or b""


def _damaged(wire: bytes, options: int, cut: int, data: bytes) -> bytes:
    place = (cut * 256 + options) * 7 % (len(wire) + 1)
    match (options >> 1) & 3:
        case 0:
            return wire[:place]
        case 1:
            return wire[:place] + data + wire[place + len(data) :]
        case 2:
            return wire[:place] + data + wire[place:]
        case _:
            return wire + data


def _read_out(
    client: TlsStream, far: MemoryStream, wire: bytes, cut: int
) -> tuple[bytes, bytes | None]:
    """Return what the client reads, and b"" if it was told of a clean end."""
    got = b""
    try:
        for piece in [*cut_up(wire, cut), b""]:
            if piece:
                far.send(piece)
            else:
                far.close()
            while data := client.receive(100):
                got += data
            if data == b"":
                return got, data
    except NetError:
        return got, None
    return got, None


def _tls_seeds() -> list[bytes]:
    hello = (
        b"\x16\x03\x03\x00\x31\x02\x00\x00\x2d\x03\x03" + bytes(32) + b"\x00\x13\x01"
    )
    return [
        b"\x00\x30" + hello,
        b"\x00\x00HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\x00\x15\x03\x03\x00\x02\x02\x28",
        b"\x00\x00\x15\x03\x03\x00\x02\x01\x00",
        *(bytes((options, cut)) + b"\x17\x03\x03\x00\x05hello"
          for options in (1, 3, 5, 7) for cut in (0, 1, 9, 0xF0)),
    ]  # fmt: skip


_TLS_WORDS = (
    b"\x15\x03\x03\x00\x02\x01\x00", b"\x15\x03\x03\x00\x02\x02\x28", b"\x17\x03\x03",
    b"\x16\x03\x01", b"\x14\x03\x03\x00\x01\x01", b"\xff\xff", b"\x00\x00",
)  # fmt: skip

TARGETS = {"tls_records": Target(tls_records, _tls_seeds, _TLS_WORDS)}
