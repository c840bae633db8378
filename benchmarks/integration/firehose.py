"""A venue that sends at a fixed rate, whatever it costs the client: Binance's dialect.

Everything is spelled before the first client comes; while it plays, this process only
stamps trades with the time and hands pieces to the kernel, so that one core is enough
for rates that `integration.testing`'s simulator, which thinks about every message,
does not reach. It answers what the connector asks (images, subscriptions) and no more.

Runs as a process of its own: `end_to_end.py` starts it.
"""

import argparse
import base64
import hashlib
import json
import os
import random
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import messages

# Of 41,248 messages of a recorded btcusdt feed 68 % were quotes, 24 % trades and 8 %
# depth updates.
MIX: Final = (("ticker", 68), ("trade", 24), ("depth", 8))
TICK_S: Final = 0.001
STAMP: Final = b"1700000000000"
GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


def symbols(count: int) -> list[str]:
    """Return symbols that the connector can read."""
    return [f"S{number:02d}USDT" for number in range(count)]


def frame(payload: bytes) -> bytes:
    """Return a text frame of a server (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    return b"\x81\x7e" + size.to_bytes(2, "big") + payload


class Script:
    """What is sent, piece by piece, and where its stamps go.

    Args:
        names: symbols that take turns by chance.
        per_piece: messages of one piece.
        pieces: how many there are.
    """

    def __init__(self, names: list[str], *, per_piece: int, pieces: int) -> None:
        self._rng = random.Random(11)  # noqa: S311  nothing is to be kept secret
        self._names = names
        self._sources = {
            "ticker": messages.tickers(),
            "trade": messages.trades(),
            "depth": messages.depths(),
        }
        self._last_ids = dict.fromkeys(names, 1)
        self.counts = dict.fromkeys(self._sources, 0)
        self.pieces: list[tuple[bytearray, list[int]]] = [
            self._piece(per_piece) for _ in range(pieces)
        ]

    @property
    def last_ids(self) -> dict[str, int]:
        """What every book's sequence is in the end."""
        return self._last_ids

    def _piece(self, count: int) -> tuple[bytearray, list[int]]:
        piece, stamps = bytearray(), []
        kinds, weights = zip(*MIX, strict=True)
        for kind in self._rng.choices(kinds, weights, k=count):
            self.counts[kind] += 1
            payload = self._spelled(kind, self._rng.choice(self._names))
            start = len(piece)
            piece += frame(payload)
            if kind == "trade":
                stamps.append(piece.index(STAMP, start))
        return piece, stamps

    def _spelled(self, kind: str, name: str) -> bytes:
        payload = next(self._sources[kind]).replace(b"BTCUSDT", name.encode())
        if kind == "trade":
            return payload.replace(b'"T":1749354825200', b'"T":' + STAMP)
        if kind == "ticker":
            return payload
        self._last_ids[name] += 1
        head, _, levels = payload.partition(b'"b":')
        start = head[: head.index(b'"U":')]
        number = self._last_ids[name]
        return start + f'"U":{number},"u":{number},"b":'.encode() + levels


class Images(BaseHTTPRequestHandler):
    """Answers depth requests: every book begins at 1."""

    body = json.dumps(
        {
            "lastUpdateId": 1,
            "bids": messages.full(messages.BIDS),
            "asks": messages.full(messages.ASKS),
        }
    ).encode()
    served = threading.Semaphore(0)
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)
        self.served.release()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Peer:
    """The one client's connection, spoken just well enough."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._file = connection.makefile("rb")

    def shake_hands(self) -> None:
        """Accept the upgrade (RFC 6455 section 4.2.2)."""
        key = b""
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"sec-websocket-key":
                key = value.strip()
        digest = hashlib.sha1(key + GUID).digest()  # noqa: S324  the protocol's own
        accept = base64.b64encode(digest).decode()
        self.socket.sendall(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )

    def confirm(self, topics: int) -> None:
        """Read subscriptions until there are so many topics; confirm each request."""
        while topics > 0:
            request = json.loads(self._text())
            topics -= len(request["params"])
            answer = json.dumps({"result": None, "id": request["id"]}).encode()
            self.socket.sendall(frame(answer))

    def _text(self) -> bytes:
        size = self._file.read(2)[1] & 0x7F
        if size == 126:
            size = int.from_bytes(self._file.read(2), "big")
        mask, masked = self._file.read(4), self._file.read(size)
        return bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked))


def play(peer: Peer, script: Script) -> float:
    """Send every piece when it is due; return by how much the worst was late."""
    send, worst = peer.socket.sendall, 0.0
    began = time.perf_counter()
    for number, (piece, stamps) in enumerate(script.pieces):
        due = began + number * TICK_S
        early = due - time.perf_counter()
        if early > 0:
            time.sleep(early)
        now = str(time.time_ns() // 1_000_000).encode()
        for at in stamps:
            piece[at : at + len(STAMP)] = now
        send(piece)
        worst = max(worst, time.perf_counter() - due)
    return worst


def main() -> None:
    """Serve one client and leave."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--symbols", type=int, default=50)
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--core", type=int, default=None)
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    names = symbols(options.symbols)
    script = Script(
        names,
        per_piece=round(options.rate * TICK_S),
        pieces=round(options.seconds / TICK_S),
    )
    images = ThreadingHTTPServer(("127.0.0.1", 0), Images)
    threading.Thread(target=images.serve_forever, daemon=True).start()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        urls = {
            "websocket": f"ws://127.0.0.1:{listener.getsockname()[1]}/ws",
            "rest": f"http://127.0.0.1:{images.server_address[1]}",
            "counts": script.counts,
            "last_ids": script.last_ids,
        }
        print(json.dumps(urls), flush=True)
        connection, _ = listener.accept()
        with connection:
            peer = Peer(connection)
            peer.shake_hands()
            peer.confirm(3 * len(names))
            for _ in names:
                Images.served.acquire()
            worst = play(peer, script)
            print(json.dumps({"late_ms": round(worst * 1000, 1)}), flush=True)
            sys.stdin.readline()  # the client says when it has read all


if __name__ == "__main__":
    main()
