"""The shortest way from the wire to the code: try to read in every turn.

`EpollSelector` asks the kernel who is ready: 0.3 µs for any number of sockets, and
then the read. `DirectSelector` asks nobody; each turn just reads. A read that finds
nothing costs 1.3 to 2 µs, so this pays for one or two connections that have a
processor for themselves. Pin the process (`taskset -c 3 python ...`) and keep the
kernel off that processor, or the scheduler takes more than you gain.

    python direct_selector.py wss://stream.binance.com:9443/ws/btcusdt@trade
"""

import time
from collections.abc import Sequence

import msgspec
from _offline import arguments, open_venue, run

from netcore.dns import ThreadResolver
from netcore.idle import BusySpin
from netcore.info import ConnectionInfo, SocketOptions
from netcore.select import DirectSelector
from netcore.service import IOService
from netcore.ws import Batch, Masking, WebSocket, WebSocketEndpoint, WebSocketOptions


class Trade(msgspec.Struct, frozen=True, gc=False):
    symbol: str = msgspec.field(name="s")
    price: float = msgspec.field(name="p")


DECODER = msgspec.json.Decoder(Trade, strict=False)

OPTIONS = WebSocketOptions(
    validate_utf8=False,  # msgspec checks every string that it makes
    read_size=16384,  # the first message of a burst waits for fewer others
    masking=Masking.RANDOM,  # ZERO saves 1 µs per order, and is for TLS alone
)


class Trades(WebSocketEndpoint[None]):
    messages = 0
    slowest_ns = 0

    def on_batch(self, websocket: WebSocket, batch: Batch, context: None) -> None:
        """Take whole reads: one decode after the other, no object per frame."""
        for trade in batch.decode(DECODER):
            print(f"{trade.symbol} {trade.price}")
        self.messages += len(batch)
        # How long the messages were in our hands; from the wire to here is more.
        self.slowest_ns = max(self.slowest_ns, time.time_ns() - batch.timestamp_ns)


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(__doc__, argv)
    with (
        open_venue(options.url, "/btcusdt@trade") as url,
        ThreadResolver() as resolver,
        IOService[WebSocket, None](
            DirectSelector(), resolver=resolver, idle=BusySpin()
        ) as service,
    ):
        trades = Trades(url, options=OPTIONS)
        # The socket's wishes are the endpoint's `info`, read at each connection:
        # busy_poll_us (the driver polls the card, too), quickack, interface, cpu, ...
        trades.info = ConnectionInfo(
            trades.info.host, trades.info.port, options=SocketOptions(keepalive=True)
        )
        service.register(trades)
        turns = busy = 0
        while trades.messages < options.messages:
            turns += 1
            busy += service.poll() > 0
    print(f"{busy} of {turns} turns brought something")
    return 0


if __name__ == "__main__":
    run(main)
