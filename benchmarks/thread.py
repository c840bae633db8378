"""The thread's cost: socket to MarketEvent, and one auction, stage by stage.

    uv run python benchmarks/thread.py [--seconds 60] [--batches 50]

1. A simulated exchange in a process of its own plays market time as fast as the
   client takes it. The client is the public path (`open_market_streams`); its CPU time
   per message decides, since the exchange shares the machine. The shares of the stages
   come from running each of them over the same recorded bytes.
2. The whole house runs in lockstep; each round's parts are timed, medians are shown.

Figures are of one machine and one moment: compare shares and ratios, not seconds.
"""

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import trio

from flowtrade_demo.config import DemoConfig, Pace
from flowtrade_demo.house import House, open_house
from integration.exchanges.registry import connector_for
from integration.market.config import StreamConfig
from integration.market.keeper import BookKeeper
from integration.market.manager import BookManager
from integration.market.sequencing import RULES
from integration.market.streams import open_market_streams
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookSnapshot,
    OrderBookUpdate,
    SubKind,
    Subscription,
)
from integration.testing import SimulatedExchange, SyntheticMarket
from netcore.errors import ConnectionClosed
from netcore.models import Timestamp
from netcore.stream import ReplayStream
from netcore.ws import WebSocket

EXCHANGE = ExchangeId.BINANCE_SPOT
INSTRUMENTS = [
    MarketDataInstrument(base, "usdt", "spot") for base in ("btc", "eth", "sol")
]
KINDS = (SubKind.ORDER_BOOKS_L2, SubKind.ORDER_BOOKS_L1, SubKind.PUBLIC_TRADES)
SUBSCRIPTIONS = [Subscription(EXCHANGE, i, kind) for i in INSTRUMENTS for kind in KINDS]


async def serve(seconds: int) -> None:
    """The exchange's process: serve, wait for a client, play flat out, stay."""
    market = SyntheticMarket(7)
    async with SimulatedExchange(market) as exchange:
        print(exchange.websocket_url, exchange.rest_url, flush=True)
        await exchange.wait_subscribed("btcusdt@trade", "solusdt@trade")
        # Every book has its image; the exchange tells no event of it.
        while exchange.stats.requests < len(market.specs):  # noqa: ASYNC110  # see above
            await trio.sleep(0.01)
        await exchange.advance(market.start_ns + seconds * 1_000_000_000)
        await exchange.drain()
        print(*(exchange.sequence(s) for s in market.specs), flush=True)
        await trio.sleep_forever()


@contextmanager
def exchange_process(
    seconds: int,
) -> Iterator[tuple[str, str, "subprocess.Popen[str]"]]:
    command = [sys.executable, __file__, "--serve", "--seconds", str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # ourselves
        assert process.stdout is not None
        websocket, rest = process.stdout.readline().split()
        try:
            yield websocket, rest, process
        finally:
            process.terminate()


async def consume(seconds: int, folder: Path) -> tuple[int, float, float]:
    """Follow the exchange to its end; return events, CPU and wall seconds."""
    with exchange_process(seconds) as (websocket, rest, process):
        assert process.stdout is not None
        config = StreamConfig(
            websocket_url={EXCHANGE: websocket},
            rest_url={EXCHANGE: rest},
            recorder=folder,
        )
        async with open_market_streams(SUBSCRIPTIONS, config=config) as streams:
            cpu, wall, events = time.process_time(), time.perf_counter(), 0
            # The last update numbers taken and, once the exchange is done, its own.
            seen, goal = dict.fromkeys(INSTRUMENTS, 0), dict.fromkeys(INSTRUMENTS, -1)
            async with trio.open_nursery() as nursery:

                async def learn_goal() -> None:
                    line = await trio.to_thread.run_sync(process.stdout.readline)
                    goal.update(zip(INSTRUMENTS, map(int, line.split()), strict=True))

                nursery.start_soon(learn_goal)
                while any(not 0 <= goal[i] <= seen[i] for i in INSTRUMENTS):
                    with trio.move_on_after(0.5):
                        for event in await streams.next_batch():
                            if not isinstance(event, MarketEvent):
                                continue
                            events += 1
                            if isinstance(
                                event.kind, OrderBookUpdate | OrderBookSnapshot
                            ):
                                assert event.kind.sequence is not None
                                seen[event.instrument] = event.kind.sequence
            return events, time.process_time() - cpu, time.perf_counter() - wall


def payloads(inbound: Path) -> tuple[list[bytes], float]:
    """Read a recording back through the WebSocket; return messages and CPU seconds."""
    stream = ReplayStream.from_file(inbound)
    socket = WebSocket(stream)
    messages: list[bytes] = []
    start = time.process_time()
    with suppress(ConnectionClosed):  # the end of the recording
        while True:
            if (batch := socket.read_batch()) is not None:
                messages.extend(batch.payloads)
    return messages, time.process_time() - start


def decode_and_transform(messages: list[bytes]) -> tuple[list[list[object]], float]:
    connector = connector_for(EXCHANGE)
    transformer = connector.transformer()
    for subscription in SUBSCRIPTIONS:
        transformer.add(connector.topic(subscription), subscription.instrument)
    start = time.process_time()
    outputs = [list(transformer.feed(message, 0)) for message in messages]
    return outputs, time.process_time() - start


def keep_books(outputs: list[list[object]]) -> float:
    """Run the events through books that start empty, just before the first update."""
    keeper = BookKeeper(EXCHANGE)
    for instrument in INSTRUMENTS:
        manager = BookManager(EXCHANGE, instrument, rule=RULES[EXCHANGE])
        keeper.add(manager)
        manager.handle(_image_before(outputs, instrument))
    start = time.process_time()
    for output in outputs:
        keeper.absorb(output, 0, [])
    return time.process_time() - start


def _image_before(
    outputs: list[list[object]], instrument: MarketDataInstrument
) -> MarketEvent:
    first = next(
        event
        for output in outputs
        for event in output
        if isinstance(event, MarketEvent)
        and event.instrument == instrument
        and isinstance(event.kind, OrderBookUpdate)
    )
    assert isinstance(first.kind, OrderBookUpdate)
    assert first.kind.first_sequence is not None
    image = OrderBookSnapshot([], [], first.kind.first_sequence - 1)
    return msgspec.structs.replace(first, kind=image)


async def feed_part(seconds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        events, cpu, wall = await consume(seconds, folder)
        messages, splitting = payloads(*folder.glob("*_inbound.rec"))
    outputs, transforming = decode_and_transform(messages)
    keeping = keep_books(outputs)
    print(f"socket to MarketEvent: {events} events of {len(messages)} messages")
    print(f"  {len(messages) / cpu:>10,.0f} messages/s of the client's CPU")
    print(f"  {len(messages) / wall:>10,.0f} messages/s wall, beside the exchange")
    staged = splitting + transforming + keeping
    rest = cpu - staged
    print(
        f"  {len(messages) / staged:>10,.0f} messages/s through the pure stages alone"
    )
    for stage, spent in (
        ("WebSocket: split frames", splitting),
        ("decode and transform", transforming),
        ("keep books", keeping),
        ("socket, recording, scheduling, delivery", rest),
    ):
        each = spent / len(messages) * 1e6
        print(f"  {stage:<42}{each:>7.2f} us/message {spent / cpu:>6.0%}")


async def one_round(house: House, now: Timestamp) -> dict[str, float]:
    laps: dict[str, float] = {}
    start = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal start
        laps[stage] = time.perf_counter() - start
        start = time.perf_counter()

    await house.exchange.advance(now)
    lap("exchange publishes one second")
    await house.settle()
    lap("both feeds catch up")
    house.clock.advance_ns(1_000_000_000)  # type: ignore[attr-defined]
    for bidder in house.bidders:
        await bidder.step()
    lap("three bidders bid over HTTP")
    record = await house.server.auction.service.auctioneer.run_batch()
    lap("batch")
    assert record.report is not None
    for phase, spent in record.report.seconds.items():
        laps[f"  batch: {phase}"] = spent
    laps["  batch: cut, gather, store, publish"] = laps["batch"] - sum(
        record.report.seconds.values()
    )
    return laps


async def batch_part(batches: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = DemoConfig(
            store=f"sqlite:{folder}/a.db", port=0, pace=Pace.LOCKSTEP, batches=batches
        )
        async with open_house(config) as house:
            now, rounds = house.exchange.time_ns, []
            for _ in range(batches + 1):
                now += 1_000_000_000
                rounds.append(await one_round(house, now))
            closing = time.perf_counter()
        closing = time.perf_counter() - closing
    print(f"one auction, median of {batches} (the first one left out)")
    for stage in rounds[1]:
        times = sorted(laps[stage] for laps in rounds[1:])
        p90 = times[int(len(times) * 0.9) - 1]
        middle = statistics.median(times)
        print(f"  {stage:<42}{middle * 1e3:>8.2f} ms  p90 {p90 * 1e3:.2f}")
    print(f"  {'stopping the whole house':<42}{closing * 1e3:>8.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=int, default=60, help="of market time")
    parser.add_argument("--batches", type=int, default=50)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        trio.run(serve, arguments.seconds)
        return
    print(f"Python {platform.python_version()}, {platform.machine()}")
    trio.run(feed_part, arguments.seconds)
    trio.run(batch_part, arguments.batches)


if __name__ == "__main__":
    main()
