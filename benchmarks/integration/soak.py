"""A million messages in one session: does a message cost more, or memory grow?

    uv run python benchmarks/integration/soak.py [--messages 1000000]

Quotes, trades and depth updates in the mix of a recorded feed, never the same number
twice for long, through `Playback` and the queue to the consumer. Processor time per
message in the last tenth against the first tenth, as it is and as a ratio to
`json.loads` of the same bytes (over minutes a shared machine changes its pace by more
than what is looked for), and the memory of the process after the first tenth against
the end.
"""

import argparse
import gc
import json
import os
import platform
import random
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import messages

from integration.market.outlet import Outlet
from integration.market.playback import Playback
from integration.models import ExchangeId

SPOT = ExchangeId.BINANCE_SPOT
NOW = 1_700_000_000_000_000_000
BATCH, READ = 1000, 20
KIB_PER_PAGE = resource.getpagesize() // 1024


def feed() -> Iterator[bytes]:
    """Yield messages: 68 % quotes, 24 % trades, 8 % depth updates."""
    rng = random.Random(12)  # noqa: S311  nothing is to be kept secret
    sources = [messages.tickers(), messages.trades(), messages.depths()]
    while True:
        yield from map(next, rng.choices(sources, (68, 24, 8), k=BATCH))


def resident_kib() -> int:
    """Return how much memory the process has now."""
    gc.collect()
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * KIB_PER_PAGE


def timed(run: Callable[[list[bytes]], object], reads: list[list[bytes]]) -> float:
    """Return µs of processor time per message."""
    started = time.thread_time_ns()
    for read in reads:
        run(read)
    return (time.thread_time_ns() - started) / BATCH / 1000


def parse(read: list[bytes]) -> None:
    """Do what costs are compared with."""
    for payload in read:
        json.loads(payload)


class Session:
    """One session's reading side, and a consumer that drops what it gets."""

    def __init__(self) -> None:
        self.playback = Playback(SPOT)
        self.outlet = Outlet(65_536)
        self.events = 0
        image = {
            "lastUpdateId": 1,
            "bids": messages.full(messages.BIDS),
            "asks": messages.full(messages.ASKS),
        }
        body = json.dumps(image).encode()
        self.playback.feed_image(body, NOW, symbol="BTCUSDT")

    def take(self, read: list[bytes]) -> None:
        """Go from bytes to the consumer."""
        self.outlet.put(self.playback.feed_batch(read, NOW))
        self.events += len(self.outlet.take_nowait())


def main() -> None:
    """Soak."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    options = parser.parse_args()
    rounds = options.messages // BATCH
    session, source = Session(), feed()
    costs: list[float] = []
    ratios: list[float] = []
    warm = 0
    for number in range(rounds):
        if number == rounds // 10:
            warm = resident_kib()
        made = [next(source) for _ in range(BATCH)]
        reads = [made[i : i + READ] for i in range(0, BATCH, READ)]
        plain = timed(parse, reads)
        costs.append(timed(session.take, reads))
        ratios.append(costs[-1] / plain)
    grown = resident_kib() - warm
    assert session.events == rounds * BATCH, f"{session.events} events"
    (book,) = session.playback.books.values()
    tenth = rounds // 10
    for name, figures in (("µs", costs), ("ratio to json.loads", ratios)):
        first = statistics.median(figures[:tenth])
        last = statistics.median(figures[-tenth:])
        print(f"{name}: {first:.2f} to {last:.2f}, last / first = {last / first:.3f}")
    print(f"memory after the first tenth: {warm} KiB, grew by {grown} KiB")
    print(f"{rounds * BATCH} messages, {book}")
    load = os.getloadavg()[0]
    print(f"CPython {platform.python_version()}, load average {load:.1f}")


if __name__ == "__main__":
    main()
