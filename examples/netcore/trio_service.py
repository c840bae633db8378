"""The same endpoints under trio, beside other tasks.

`run_service` makes the service's turns and parks the task between them: no second
implementation, no thread, no task per connection. What an endpoint receives goes to
other tasks through a memory channel. The bounded one here drops the oldest when nobody
takes from it: a slow consumer must not stop the reading.

    python trio_service.py wss://stream.binance.com:9443/ws
"""

from collections.abc import Sequence

import msgspec
import trio
from _offline import arguments, open_venue, run

from netcore.dns import RoundRobin, ThreadResolver
from netcore.select import EpollSelector
from netcore.service import IOService
from netcore.trio import run_service
from netcore.ws import Batch, WebSocket, WebSocketEndpoint


class Trade(msgspec.Struct, frozen=True, gc=False):
    symbol: str = msgspec.field(name="s")
    price: float = msgspec.field(name="p")


DECODER = msgspec.json.Decoder(Trade, strict=False)
Channel = trio.MemorySendChannel[list[Trade]]


class Trades(WebSocketEndpoint[Channel]):
    dropped = 0

    def on_batch(self, websocket: WebSocket, batch: Batch, context: Channel) -> None:
        """Hand over whole batches: one wake-up of the consumer for many messages."""
        try:
            context.send_nowait(batch.decode(DECODER))
        except trio.WouldBlock:
            self.dropped += len(batch)


async def consume(trades: trio.MemoryReceiveChannel[list[Trade]], count: int) -> int:
    seen = 0
    async for batch in trades:
        for trade in batch[: count - seen]:
            print(f"{trade.symbol} {trade.price}")
            seen += 1
        if seen >= count:
            break
    return seen


async def watch(url: str, messages: int) -> int:
    send, receive = trio.open_memory_channel[list[Trade]](1000)
    with (
        ThreadResolver() as resolver,  # a blocking one would be refused
        IOService[WebSocket, Channel](
            EpollSelector(),
            resolver=RoundRobin(resolver),
            connect_interval=0.1,
            context=send,
        ) as service,
    ):
        for symbol in ("btcusdt", "ethusdt"):
            service.register(Trades(f"{url}/{symbol}@trade"))
        async with trio.open_nursery() as nursery:
            # spin=50e-6 answers like a busy loop, for that much processor per wait.
            nursery.start_soon(run_service, service)
            seen = await consume(receive, messages)
            nursery.cancel_scope.cancel()
    return seen


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(__doc__, argv)
    with open_venue(options.url) as url:
        seen = trio.run(watch, url, options.messages)
    print(f"{seen} trades")
    return 0


if __name__ == "__main__":
    run(main)
