"""Socket to consumer at a fixed rate: does one core keep up, and how late is it?

    uv run python benchmarks/integration/end_to_end.py [--rate 20000] [--seconds 20]

A venue in a process of its own (`firehose.py`) sends quotes, trades and depth updates
of 50 symbols in the mix of a recorded feed, 20,000 messages per second, each
millisecond what is due. The client is `open_market_streams` and a loop that takes
every event; it is held to one core, the venue to the other. Trades carry the time at
which they were handed to the kernel (in milliseconds, rounded down), so lag is what a
consumer sees: kernel, socket, WebSocket, decoder, book, queue, the consumer's turn.

The client falls behind if lag grows from the first to the last second, or if the
venue has to wait for it. All is counted: every message must have come, every book
must be live and where the venue says.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import trio
from firehose import symbols

from integration.market.books import BookState
from integration.market.config import StreamConfig
from integration.market.streams import MarketStreams, open_market_streams
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    PublicTrade,
    SubKind,
    Subscription,
)

SPOT = ExchangeId.BINANCE_SPOT
KINDS = (SubKind.PUBLIC_TRADES, SubKind.ORDER_BOOKS_L1, SubKind.ORDER_BOOKS_L2)
NS_PER_MS = 1_000_000


class Figures:
    """What the consumer saw."""

    def __init__(self) -> None:
        self.events = 0
        self.batches = 0
        self.others: list[object] = []
        self.lags: list[tuple[int, int]] = []

    def take(self, events: list[Any]) -> None:
        """Count events; note how late the trades among them are."""
        now = time.time_ns()
        self.batches += 1
        for event in events:
            if type(event) is not MarketEvent:
                self.others.append(event)
                continue
            self.events += 1
            if type(event.kind) is PublicTrade:
                self.lags.append((now, now - event.time_exchange))


async def consume(streams: MarketStreams, count: int) -> Figures:
    """Take so many events."""
    figures = Figures()
    with trio.fail_after(300):
        while figures.events < count:
            figures.take(await streams.next_batch())
    return figures


def milliseconds(lags: list[int]) -> str:
    """Say median, 99th percentile and maximum."""
    ordered = sorted(lags)
    at = [ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100], ordered[-1]]
    return " / ".join(f"{lag / NS_PER_MS:.1f}" for lag in at)


def report(figures: Figures, *, cpu: float, late_ms: float) -> None:
    """Print it."""
    second = 1_000_000_000
    first, last = figures.lags[0][0], figures.lags[-1][0]
    begin = [lag for at, lag in figures.lags if second <= at - first < 2 * second]
    end = [lag for at, lag in figures.lags if last - at < second]
    played = (last - first) / second
    load = os.getloadavg()[0]
    print(f"CPython {platform.python_version()}, load average {load:.1f}")
    print(f"{figures.events} events, {figures.events / played:,.0f} per second")
    print(f"events per batch taken: {figures.events / figures.batches:.1f}")
    print(f"client's processor time: {cpu / played:.0%} of one core,", end=" ")
    print(f"{cpu / figures.events * 1e6:.1f} µs per message")
    print(f"lag of trades, median / p99 / max ms: {milliseconds(figures_of(figures))}")
    print(f"  in the second second: {milliseconds(begin)}")
    print(f"  in the last second:   {milliseconds(end)}")
    print(f"the venue's worst delay: {late_ms} ms")
    growth = statistics.median(end) - statistics.median(begin)
    print(f"median lag grew by {growth / NS_PER_MS:.1f} ms")


def figures_of(figures: Figures) -> list[int]:
    """Return all lags."""
    return [lag for _, lag in figures.lags]


def venue(options: argparse.Namespace, core: int | None) -> "subprocess.Popen[str]":
    """Start the venue's process."""
    command = [sys.executable, str(Path(__file__).with_name("firehose.py"))]
    for name in ("symbols", "rate", "seconds"):
        command += [f"--{name}", str(getattr(options, name))]
    if core is not None:
        command += ["--core", str(core)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)  # noqa: S603  ourselves


async def measure(process: "subprocess.Popen[str]", names: list[str]) -> None:
    """Follow the venue to its end and check that nothing is missing."""
    assert process.stdout is not None and process.stdin is not None  # noqa: PT018
    said = json.loads(process.stdout.readline())
    instruments = [MarketDataInstrument.spot(name[:-4], "usdt") for name in names]
    wanted = [Subscription(SPOT, i, kind) for i in instruments for kind in KINDS]
    config = StreamConfig(
        websocket_url={SPOT: said["websocket"]},
        rest_url={SPOT: said["rest"]},
        ping_interval=3600.0,
    )
    total = sum(said["counts"].values()) + len(names)
    async with open_market_streams(wanted, config=config) as streams:
        cpu = time.process_time()
        figures = await consume(streams, total)
        cpu = time.process_time() - cpu
        late = json.loads(process.stdout.readline())["late_ms"]
        faults = [other for other in figures.others if "Resynced" not in repr(other)]
        assert not faults, f"not only events came: {faults[:3]}"
        for name, instrument in zip(names, instruments, strict=True):
            book = streams.books[SPOT, instrument]
            assert book.state is BookState.LIVE, book
            assert book.sequence == said["last_ids"][name], book
        trades = len(figures.lags)
        assert trades == said["counts"]["trade"], f"{trades} trades came"
    process.stdin.write("done\n")
    process.stdin.flush()
    report(figures, cpu=cpu, late_ms=late)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--symbols", type=int, default=50)
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--seconds", type=int, default=20)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[0]})
    with venue(options, cores[1] if len(cores) > 1 else None) as process:
        try:
            trio.run(measure, process, symbols(options.symbols))
        finally:
            process.kill()


if __name__ == "__main__":
    main()
