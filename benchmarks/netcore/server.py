"""A WebSocket server that costs next to nothing: floods, echoes, bursts.

`server.py CPU FOLDER` prints its ports for ws and wss and the payload bytes of its
block, leaves its authority's certificate in FOLDER, and serves one connection after
the other for ever. The target says what to do: /receive?n=… or /trips?size=…&n=….
"""

import contextlib
import os
import random
import select
import socket
import ssl
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import trustme

from netcore.ws import Opcode, ServerHandshake, encode_frame

BLOCK_FRAMES = 20_000


def trade(number: int, generator: random.Random) -> bytes:
    """Return a message shaped like a venue's aggregated trade, about 172 bytes."""
    price = generator.randint(6_000_000, 7_000_000) / 100
    quantity = generator.randint(1, 10 ** generator.randint(3, 7)) / 1000
    return (
        f'{{"e":"aggTrade","E":{1_700_000_000_000 + number},"s":"BTCUSDT",'
        f'"a":{2_900_000_000 + number},"p":"{price:.2f}","q":"{quantity:.3f}",'
        f'"f":{5_700_000_000 + number},"l":{5_700_000_001 + number},'
        f'"T":{1_700_000_000_000 + number},"m":'
        f"{'true' if number % 2 else 'false'}}}"
    ).encode()


def make_block() -> bytes:
    """Return the frames that a flood repeats."""
    generator = random.Random(1)  # noqa: S311 - test data
    return b"".join(
        encode_frame(Opcode.TEXT, trade(number, generator))
        for number in range(BLOCK_FRAMES)
    )


def make_context(folder: Path) -> ssl.SSLContext:
    """Return a context for 127.0.0.1, signed by an authority left in `folder`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def flood(sock: socket.socket, block: bytes, frames: int) -> None:
    """Send `frames` (a multiple of the block) as fast as they are taken, and end.

    Without a close frame, so that no listener has to look for one.
    """
    for _ in range(frames // BLOCK_FRAMES):
        sock.sendall(block)
    if isinstance(sock, ssl.SSLSocket):
        with contextlib.suppress(OSError):
            sock.unwrap()
    else:
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass


def answer(sock: socket.socket, size: int, count: int) -> None:
    """Answer each request of `size` masked bytes by `count` frames of that size."""
    reply = encode_frame(Opcode.BINARY, bytes(size)) * count
    wanted = len(encode_frame(Opcode.BINARY, bytes(size), key=1))
    have = 0
    sock.setblocking(False)
    while True:
        try:
            data = sock.recv(65536)
        except (BlockingIOError, ssl.SSLWantReadError):
            continue
        if not data:
            return
        have += len(data)
        if have >= wanted:
            have -= wanted
            sock.setblocking(True)
            sock.sendall(reply)
            sock.setblocking(False)


def serve(sock: socket.socket, block: bytes) -> None:
    """Shake hands and do what the target says."""
    handshake = ServerHandshake()
    request = None
    while request is None:
        request = handshake.feed(sock.recv(65536))
    sock.sendall(handshake.accept())
    target = urlsplit(request.target)
    numbers = {key: int(value[0]) for key, value in parse_qs(target.query).items()}
    if target.path == "/receive":
        flood(sock, block, numbers["n"])
    else:
        answer(sock, numbers["size"], numbers["n"])


def main() -> None:
    """Serve until killed."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(sys.argv[1])})
    block = make_block()
    context = make_context(Path(sys.argv[2]))
    with (
        socket.create_server(("127.0.0.1", 0)) as plain,
        socket.create_server(("127.0.0.1", 0)) as secret,
    ):
        ports = plain.getsockname()[1], secret.getsockname()[1]
        print(*ports, len(block) - 4 * BLOCK_FRAMES, flush=True)
        while True:
            for listener in select.select([plain, secret], [], [])[0]:
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with contextlib.suppress(OSError), sock:
                    if listener is secret:
                        with context.wrap_socket(sock, server_side=True) as wrapped:
                            serve(wrapped, block)
                    else:
                        serve(sock, block)


if __name__ == "__main__":
    main()
