"""Read trades from one WebSocket, with no event loop, thread or callback.

`read_batch` makes one read of the socket and returns every message that it completed,
all with the time stamp of that read. It never blocks: None says that nothing was there.
`wait` is what blocks. Take it out, and the loop polls as fast as it can: that answers
several microseconds sooner and costs a processor.

    python single_connection.py wss://stream.binance.com:9443/ws/btcusdt@trade
"""

from collections.abc import Sequence
from contextlib import suppress

import msgspec
from _offline import arguments, open_venue, run

from netcore.errors import ConnectionClosed
from netcore.ws import Heartbeat, WebSocket, WebSocketOptions


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One trade of Binance's; fields that are not named here cost nothing."""

    symbol: str = msgspec.field(name="s")
    price: float = msgspec.field(name="p")  # on the wire a string
    quantity: float = msgspec.field(name="q")
    time_ms: int = msgspec.field(name="T")


# Made once: a decoder is compiled from the Struct. strict=False reads "61.5" as 61.5.
DECODER = msgspec.json.Decoder(Trade, strict=False)

# A ping every 20 s; if nothing at all came within 10 s after one, the venue is gone.
OPTIONS = WebSocketOptions(heartbeat=Heartbeat(interval=20.0, timeout=10.0))


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(__doc__, argv)
    with (
        open_venue(options.url, "/btcusdt@trade") as url,
        WebSocket.connect(url, options=OPTIONS) as websocket,
    ):
        seen = 0
        while seen < options.messages:
            batch = websocket.read_batch()
            if batch is None:
                websocket.wait()
                continue
            for trade in batch.decode(DECODER)[: options.messages - seen]:
                seen += 1
                print(f"{trade.symbol} {trade.price:.2f} x {trade.quantity}")
        say_goodbye(websocket)
    print(f"{seen} trades")
    return 0


def say_goodbye(websocket: WebSocket) -> None:
    """Close in order: leaving the `with` block alone would cut the connection."""
    websocket.close()
    with suppress(ConnectionClosed):  # how the end is told
        while True:
            if websocket.read_batch() is None:
                websocket.wait()


if __name__ == "__main__":
    run(main)
