"""A venue's process is killed and comes back: how long are its books not live?

    uv run python benchmarks/integration/outage.py [--down 5] [--dialect binance_spot]

The simulated exchange runs in a process of its own, in real time. It is killed (by
SIGKILL: no farewell, no flushed queue), stays away, and another process takes its port
with the same market, as far on as it would have been. The client is
`open_market_streams` with its default policy of reconnecting.

Checked: one outage and one gap report per book, every book live at the end and true to
the venue's image, and per connection no trade lost or repeated: ids without a hole,
from the first that came to the last, and those after the outage above those before.
"""

import argparse
import itertools
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from typing import Any

import trio

from integration.market.books import BookState
from integration.market.config import StreamConfig
from integration.market.reports import BookResynced, BookStale, Reconnecting
from integration.market.streams import MarketStreams, open_market_streams
from integration.models import (
    MarketDataInstrument,
    MarketEvent,
    PublicTrade,
    SubKind,
    Subscription,
)
from integration.testing import SimulatedExchange, SyntheticMarket

KINDS = (SubKind.PUBLIC_TRADES, SubKind.ORDER_BOOKS_L1, SubKind.ORDER_BOOKS_L2)
BASES = ("btc", "eth", "sol")
SETTLING_S = 3.0


async def serve(dialect: str, port: int, age_s: float) -> None:
    """Be the venue: a market that is so old already goes on in real time."""
    market = SyntheticMarket(7)
    for _ in market.advance(market.start_ns + int(age_s * 1e9)):
        pass
    async with SimulatedExchange(market, dialect=dialect, port=port) as venue:
        print(venue.port, venue.websocket_url, venue.rest_url, flush=True)
        await venue.run()


class Venue:
    """The venue's process, which may be killed and started again."""

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        self._process: subprocess.Popen[str] | None = None
        self._began = time.monotonic()
        self.port, self.urls = 0, ["", ""]

    def start(self) -> None:
        """Start it, on the port that it had."""
        age = time.monotonic() - self._began
        command = [sys.executable, __file__, "--serve", "--dialect", self._dialect]
        command += ["--port", str(self.port), "--age", str(age)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdout=pipe, text=True)  # noqa: S603  ourselves
        assert self._process.stdout is not None
        port, *self.urls = self._process.stdout.readline().split()
        self.port = int(port)

    def kill(self) -> None:
        """Kill it without warning."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


class Followed:
    """What came, by connection."""

    def __init__(self) -> None:
        self.reports: list[Any] = []
        self.trades: list[dict[str, list[int]]] = [defaultdict(list)]

    async def read(self, streams: MarketStreams, seconds: float) -> None:
        """Take what comes for so long."""
        with trio.move_on_after(seconds):
            while True:
                for event in await streams.next_batch():
                    self._take(event)

    async def read_until_resynced(self, streams: MarketStreams, count: int) -> None:
        """Take what comes until so many books are back."""
        with trio.fail_after(120):
            while sum(isinstance(r, BookResynced) for r in self.reports) < count:
                for event in await streams.next_batch():
                    self._take(event)

    def _take(self, event: object) -> None:
        if not isinstance(event, MarketEvent):
            self.reports.append(event)
            if isinstance(event, Reconnecting):
                self.trades.append(defaultdict(list))
        elif isinstance(event.kind, PublicTrade):
            self.trades[-1][event.instrument.base].append(int(event.kind.id or 0))

    def check(self) -> None:
        """Assert that nothing is lost or repeated, and everything reported."""
        kinds = [type(report) for report in self.reports]
        expected = {Reconnecting: 1, BookStale: len(BASES), BookResynced: len(BASES)}
        for kind, count in expected.items():
            assert kinds.count(kind) == count, f"{kind.__name__}: {self.reports}"
        before, after = self.trades
        for base in BASES:
            for ids in (before[base], after[base]):
                assert ids, f"no trades of {base}"
                holes = [b for a, b in itertools.pairwise(ids) if b != a + 1]
                assert not holes, f"trades of {base} have holes at {holes}"
            assert before[base][-1] < after[base][0], f"trades of {base} are repeated"


async def measure(venue: Venue, dialect: str, down_s: float) -> None:
    """Follow the venue over its death."""
    make = MarketDataInstrument.spot
    if "perpetual" in dialect or "futures" in dialect:
        make = MarketDataInstrument.perpetual
    instruments = [make(base, "usdt") for base in BASES]
    wanted = [Subscription(dialect, i, kind) for i in instruments for kind in KINDS]
    websocket, rest = venue.urls
    config = StreamConfig(
        websocket_url={dialect: websocket}, rest_url={dialect: rest}, silence=None
    )
    followed = Followed()
    async with open_market_streams(wanted, config=config) as streams:
        await followed.read(streams, SETTLING_S)
        followed.reports.clear()
        venue.kill()
        await followed.read(streams, down_s)
        states = {streams.books[dialect, i].state for i in instruments}
        assert states == {BookState.STALE}, states
        await trio.to_thread.run_sync(venue.start)
        back = time.monotonic()
        await followed.read_until_resynced(streams, len(BASES))
        healed = time.monotonic() - back
        await followed.read(streams, SETTLING_S)
        states = {streams.books[dialect, i].state for i in instruments}
        assert states == {BookState.LIVE}, states
    followed.check()
    gaps = [r.gap_ms for r in followed.reports if isinstance(r, BookResynced)]
    counts = [sum(map(len, trades.values())) for trades in followed.trades]
    print(
        f"{dialect:<22} down {down_s:g} s; all books live {healed:.2f} s after the "
        f"venue; gaps {min(gaps):.0f} to {max(gaps):.0f} ms; "
        f"{counts[0]} + {counts[1]} trades, none lost or repeated"
    )


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--down", type=float, default=5.0)
    parser.add_argument("--dialect", default="binance_spot")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--age", type=float, default=0.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        trio.run(serve, options.dialect, options.port, options.age)
        return
    venue = Venue(options.dialect)
    venue.start()
    try:
        trio.run(measure, venue, options.dialect, options.down)
    finally:
        venue.kill()


if __name__ == "__main__":
    main()
