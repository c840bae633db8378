"""What one message costs, from bytes to normalised event in a list, book included.

    uv run python benchmarks/integration/market.py [--rounds 51]

Processor time of this thread in microseconds per message, in interleaved rounds.
Ratios are to `json.loads` (and to orjson's, where that is installed) of the same bytes
in the same rounds, which needs no trust in the machine; a budget is met where the least
is below it on a machine that does nothing else.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module

import messages

from integration.exchanges.registry import connector_for
from integration.market.connector import Topic
from integration.market.intake import Intake
from integration.market.keeper import BookKeeper
from integration.market.manager import BookManager
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookSnapshot,
)

BTC = MarketDataInstrument.spot("btc", "usdt")
NOW = 1_700_000_000_000_000_000
BATCH, READ = 200, 20

PLAIN: dict[str, Callable[[bytes], object]] = {"json.loads": json.loads}
with suppress(ImportError):  # it is nobody's dependency here
    PLAIN["orjson.loads"] = import_module("orjson").loads

BUDGET_US = {
    "binance trade": 1.2,
    "binance bookTicker": 1.5,
    "binance depth, 26 levels into 1000": 10.0,
    "okx books, 26 levels, checksum": 16.0,
}


class Feed:
    """A connection's reading side: transformer, keeper and intake."""

    def __init__(self, exchange: ExchangeId, channel: str, market: str) -> None:
        connector = connector_for(exchange)
        self.transformer = connector.transformer()
        self.transformer.add(Topic(channel, market), BTC)
        self.keeper = BookKeeper(exchange)
        self.manager = BookManager(
            exchange, BTC, rule=connector.rule, checksum=connector.checksum()
        )
        self.keeper.add(self.manager)
        self.intake = Intake(self.transformer, self.keeper, lambda *_: None)

    def play(self, payloads: list[bytes]) -> int:
        """Return how many events came out."""
        reads = (payloads[i : i + READ] for i in range(0, len(payloads), READ))
        return sum(len(self.intake.read(read, NOW)) for read in reads)

    def image(self, bids: list, asks: list, sequence: int | None) -> None:
        """Make the book live."""
        book = OrderBookSnapshot(bids, asks, sequence)
        event = MarketEvent(NOW, NOW, self.keeper.exchange, BTC, book)
        self.keeper.absorb((event,), NOW, [])


def cases() -> dict[str, tuple[Feed, Iterator[bytes]]]:
    """Return what is measured: a feed that is ready, and its messages."""
    spot = ExchangeId.BINANCE_SPOT
    deep = Feed(spot, "@depth@100ms", "BTCUSDT")
    deep.image(messages.full(messages.BIDS), messages.full(messages.ASKS), 1)
    okx = Feed(ExchangeId.OKX, "books", "BTC-USDT")
    okx.image(messages.full(messages.BIDS), messages.full(messages.ASKS), 1)
    return {
        "binance trade": (Feed(spot, "@trade", "BTCUSDT"), messages.trades()),
        "binance bookTicker": (
            Feed(spot, "@bookTicker", "BTCUSDT"),
            messages.tickers(),
        ),
        "binance depth, 26 levels into 1000": (deep, messages.depths()),
        "okx books, 26 levels, checksum": (okx, messages.okx_books()),
    }


def play_into(done: list[int], feed: Feed, payloads: list[bytes]) -> None:
    """Play, and note how many events came out."""
    done.append(feed.play(payloads))


def timed(run: Callable[[], object]) -> float:
    """Return the microseconds of processor time per message of a batch."""
    started = time.thread_time_ns()
    run()
    return (time.thread_time_ns() - started) / BATCH / 1000


def measure(rounds: int) -> None:
    """Print medians, ratios and budgets."""
    made = cases()
    ours: dict[str, list[float]] = {name: [] for name in made}
    plain = {name: {which: list[float]() for which in PLAIN} for name in made}
    for _ in range(rounds):
        for name, (feed, source) in made.items():
            payloads = [next(source) for _ in range(BATCH)]
            for which, loads in PLAIN.items():
                plain[name][which].append(timed(partial(parse_all, loads, payloads)))
            done: list[int] = []
            run = partial(play_into, done, feed, payloads)
            ours[name].append(timed(run))
            assert done == [BATCH], f"{name}: {done[0]} events of {BATCH} messages"
    heads = "".join(f"{'/ ' + which:>14}" for which in PLAIN)
    print(f"{'':<36}{'median':>8}{'least':>8}{heads}{'budget':>8}")
    for name, figures in ours.items():
        mine = statistics.median(figures)
        ratios = (mine / statistics.median(each) for each in plain[name].values())
        shown = "".join(f"{ratio:>14.2f}" for ratio in ratios)
        budget = BUDGET_US[name]
        print(f"{name:<36}{mine:>8.2f}{min(figures):>8.2f}{shown}{budget:>8.1f}")


def parse_all(loads: Callable[[bytes], object], payloads: list[bytes]) -> None:
    """Do what costs are compared with."""
    for payload in payloads:
        loads(payload)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=51)
    measure(parser.parse_args().rounds)


if __name__ == "__main__":
    main()
