"""Record what a venue sends, then live the same minute again, offline.

A recording holds every byte, the read attempt that brought it and the time: played
back, the same pieces come at the same attempts with the same time stamps, so a program
in one thread does exactly what it did. `verify_outbound=True` raises at the first byte
sent that differs. Recording sits above TLS: the files are in plain, keys included.

    python record_and_replay.py wss://stream.binance.com:9443/ws/btcusdt@trade
"""

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from _offline import arguments, open_venue, run

from netcore.errors import ConnectionClosed
from netcore.info import parse_url
from netcore.stream import (
    RecordedStream,
    Recorder,
    ReplayStream,
    Stream,
    TcpStream,
    TlsStream,
)
from netcore.ws import WebSocket


class Trade(msgspec.Struct, frozen=True, gc=False):
    price: float = msgspec.field(name="p")
    quantity: float = msgspec.field(name="q")


DECODER = msgspec.json.Decoder(Trade, strict=False)

Line = tuple[int, float]
"""When it was read, and the volume-weighted price until then."""


def strategy(websocket: WebSocket, messages: int) -> list[Line]:
    """Do something with times and prices; it cannot tell which life it is in."""
    lines: list[Line] = []
    value = volume = 0.0
    with suppress(ConnectionClosed):  # the recording's end
        while len(lines) < messages:
            batch = websocket.read_batch()
            if batch is None:
                websocket.wait()
                continue
            for trade in batch.decode(DECODER):
                value += trade.price * trade.quantity
                volume += trade.quantity
                lines.append((batch.timestamp_ns, value / volume))
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(__doc__, argv, ("--name", str, None), ("--speed", float, 5.0))
    with tempfile.TemporaryDirectory() as folder:
        name = options.name or str(Path(folder) / "trades")

        with open_venue(options.url, "/btcusdt@trade") as address:
            url = parse_url(address)
            stream: Stream = TcpStream.connect(url.info)
            if url.secure:
                stream = TlsStream(stream)
            recorded = RecordedStream(stream, Recorder(name, overwrite=True))
            with WebSocket(recorded, url.target, host=url.authority) as websocket:
                print(f"recording {url}")
                live = strategy(websocket, options.messages)
        files = sorted(Path(name).parent.glob(f"{Path(name).name}_*.rec"))
        print(f"recorded {len(live)} trades: {', '.join(f.name for f in files)}")

        # Same bytes, same pieces, same time stamps, as fast as they are taken.
        replay = ReplayStream(name, verify_outbound=True)
        with WebSocket(replay, url.target, host=url.authority) as websocket:
            again = strategy(websocket, options.messages)
        print(f"replayed: {'identical' if again == live else 'different'}")

        # By the clock: here several times as fast as it was.
        paced = ReplayStream(name, speed=options.speed)
        with WebSocket(paced, url.target, host=url.authority) as websocket:
            third = strategy(websocket, options.messages)
        print(f"paced: {'identical' if third == live else 'different'}")
    print(f"last price {live[-1][1]:.4f}")
    return 0 if live == again == third else 1


if __name__ == "__main__":
    run(main)
