"""What a message costs here, in cryptofeed and in ccxt.pro: one process, one Python.

    uv venv --python 3.12 /tmp/peers
    uv pip install --python /tmp/peers -r benchmarks/integration/peers.txt \
        -e packages/netcore -e packages/integration
    /tmp/peers/bin/python benchmarks/integration/peers.py [--rounds 51]

Everybody is given the same messages in turn, in batches, and must have made of each an
event (or a changed book and an event) that its user gets. Processor time of the
thread, medians of rounds. Nobody opens a socket, so nobody pays for one:

* ours: the bytes of one read through `Playback.feed_batch`, which are the parts that a
  live connection has between socket and queue;
* cryptofeed: `message_handler` and a callback, as its connection handler calls them;
* ccxt.pro: `Client.handle_message`, up to the caches that `watch_*` returns.

cryptofeed follows only combined streams of Binance, ccxt.pro only plain ones; the
former is the longer message, and ours is measured on it.
"""

import argparse
import asyncio
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from typing import Any, ClassVar

import aiohttp
import ccxt.pro
import messages
from cryptofeed.defines import L2_BOOK, TRADES
from cryptofeed.exchanges.binance import Binance
from cryptofeed.exchanges.okx import OKX
from cryptofeed.symbols import Symbols

from integration.market.playback import Playback
from integration.models import ExchangeId

BATCH, READ = 200, 20
NOW = 1_700_000_000_000_000_000
IMAGE = {
    "lastUpdateId": 1,
    "bids": messages.full(messages.BIDS),
    "asks": messages.full(messages.ASKS),
}


class Ours:
    """This library."""

    name = "ours"

    def __init__(self, exchange: ExchangeId, symbol: str, image: bytes | None) -> None:
        self.playback = Playback(exchange)
        if exchange is ExchangeId.BINANCE_SPOT and image is not None:
            self.playback.feed_image(image, NOW, symbol=symbol)
        elif image is not None:
            self.playback.feed(image, NOW)

    def prepare(self, payloads: list[bytes]) -> list[bytes]:
        """Return what comes from the socket: bytes, cut from a buffer."""
        return [bytes(memoryview(payload)) for payload in payloads]

    def play(self, payloads: list[bytes]) -> int:
        """Return how many events came out."""
        return len(self.playback.feed_batch(payloads, NOW))


class Cryptofeed:
    """cryptofeed's handler with a callback that counts."""

    name = "cryptofeed"
    loop: ClassVar = asyncio.new_event_loop()

    def __init__(self, kind: type[Any], symbol: str, image: bytes | None) -> None:
        Symbols.set(kind.id, {"BTC-USDT": symbol}, {"instrument_type": {}})
        self.count = 0
        callbacks = {TRADES: self.counted, L2_BOOK: self.counted}
        self.feed = kind(
            symbols=["BTC-USDT"],
            channels=[TRADES, L2_BOOK],
            callbacks=callbacks,
            checksum_validation=True,
        )
        if image is not None and kind is Binance:
            self.feed.http_conn.read = partial(self.fetched, image.decode())
            self.loop.run_until_complete(self.feed._snapshot(symbol))
        elif image is not None:
            self.loop.run_until_complete(self.run([image.decode()]))

    async def fetched(self, image: str, _url: str) -> str:
        """Be its HTTP client."""
        return image

    async def counted(self, _event: object, _time: float) -> None:
        """Be a user's callback."""
        self.count += 1

    def prepare(self, payloads: list[bytes]) -> list[str]:
        """Return what its WebSocket library delivers: text."""
        return [payload.decode() for payload in payloads]

    async def run(self, payloads: list[str]) -> None:
        """Handle a batch."""
        handle = self.feed.message_handler
        for payload in payloads:
            await handle(payload, None, 1.0)

    def play(self, payloads: list[str]) -> int:
        """Return how many callbacks were made."""
        self.count = 0
        self.loop.run_until_complete(self.run(payloads))
        return self.count


class Ccxt:
    """ccxt.pro's client and handlers; what counts is what `watch_*` would return."""

    name = "ccxt.pro"

    def __init__(self, kind: type[Any], symbol: str, image: bytes | None) -> None:
        self.exchange = kind({"enableRateLimit": False})
        market = {
            "id": symbol,
            "symbol": "BTC/USDT",
            "base": "BTC",
            "quote": "USDT",
            "baseId": "BTC",
            "quoteId": "USDT",
            "type": "spot",
            "spot": True,
            "active": True,
            "precision": {"amount": 1e-8, "price": 0.01},
        }
        made = self.exchange.safe_market_structure(market)
        self.exchange.set_markets([made])
        self.exchange.verbose = False
        self.resolved = 0
        url = self.exchange.urls["api"]["ws"]
        url = url["spot"] if isinstance(url, dict) and "spot" in url else str(url)
        self.client = Cryptofeed.loop.run_until_complete(self.make_client(url))
        if image is not None and kind is ccxt.pro.binance:
            book = self.exchange.order_book({}, 1000)
            parsed = self.exchange.parse_order_book(json.loads(image), "BTC/USDT")
            parsed["nonce"] = 1
            book.reset(parsed)
            self.exchange.orderbooks["BTC/USDT"] = book
        elif image is not None:
            self.play(self.prepare([image]))

    async def make_client(self, url: str) -> Any:  # noqa: ANN401  ccxt is untyped
        """Make the client of a connection; it wants a running loop."""
        client = self.exchange.client(url)
        resolve = client.resolve

        def counted(result: object, name: str) -> object:
            self.resolved += 1
            return resolve(result, name)

        client.resolve = counted
        return client

    def prepare(self, payloads: list[bytes]) -> list[aiohttp.WSMessage]:
        """Return what its WebSocket library delivers."""
        kind = aiohttp.WSMsgType.TEXT
        return [aiohttp.WSMessage(kind, each.decode(), None) for each in payloads]

    def play(self, payloads: list[aiohttp.WSMessage]) -> int:
        """Return how often a watcher would have been woken."""
        self.resolved = 0
        handle = self.client.handle_message
        for payload in payloads:
            handle(payload)
        return self.resolved


class Plain:
    """The standard library's decoder, to compare machines by."""

    name = "json.loads"

    def prepare(self, payloads: list[bytes]) -> list[bytes]:
        """Return the bytes."""
        return [bytes(memoryview(payload)) for payload in payloads]

    def play(self, payloads: list[bytes]) -> int:
        """Return how many were decoded."""
        return len([json.loads(payload) for payload in payloads])


Source = Callable[[], Iterator[bytes]]


class Case:
    """One kind of message and everybody who can read it."""

    def __init__(self, name: str, bound: dict[str, float], players: list[Any]) -> None:
        self.name = name
        self.bound = bound
        self.players = players
        self.sources: dict[str, Iterator[bytes]] = {}
        self.figures: dict[str, list[float]] = {p.name: [] for p in players}

    def fed(self, source: Source, *, plain: Source | None = None) -> "Case":
        """Say where messages come from; ccxt.pro reads Binance's plain ones."""
        for player in self.players:
            bare = plain is not None and player.name == Ccxt.name
            self.sources[player.name] = plain() if bare and plain else source()
        return self

    def round(self) -> None:
        """Let everybody play a batch, in reads as a busy socket gives them."""
        for player in self.players:
            source, spent, count = self.sources[player.name], 0, 0
            for _ in range(BATCH // READ):
                # Prepared just before, as a socket does it: nobody's bytes are cold.
                given = player.prepare([next(source) for _ in range(READ)])
                started = time.thread_time_ns()
                count += player.play(given)
                spent += time.thread_time_ns() - started
            assert count == BATCH, f"{player.name}: {count} of {BATCH}: {self.name}"
            self.figures[player.name].append(spent / BATCH / 1000)

    def report(self) -> None:
        """Print medians and how we compare, round by round."""
        ours = self.figures[Ours.name]
        print(f"\n{self.name}")
        for name, theirs in self.figures.items():
            middle, least = statistics.median(theirs), min(theirs)
            ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
            bound = self.bound.get(name)
            verdict = "" if bound is None else f"   goal {bound:.3f}"
            print(f"  {name:<12}{middle:>8.2f} µs{least:>8.2f}  {ratio:>6.3f}{verdict}")


def cases() -> list[Case]:
    """Return what is compared, and the goals for the ratios."""
    spot, okx = ExchangeId.BINANCE_SPOT, ExchangeId.OKX
    image = json.dumps(IMAGE).encode()
    trade, book = {"cryptofeed": 1 / 4, "ccxt.pro": 1 / 15}, {"cryptofeed": 1 / 2}

    def binance(with_book: bytes | None) -> list[Any]:
        return [
            Plain(),
            Ours(spot, "BTCUSDT", with_book),
            Cryptofeed(Binance, "BTCUSDT", with_book),
            Ccxt(ccxt.pro.binance, "BTCUSDT", with_book),
        ]

    def okx_players(with_book: bytes | None) -> list[Any]:
        return [
            Plain(),
            Ours(okx, "BTC-USDT", with_book),
            Cryptofeed(OKX, "BTC-USDT", with_book),
            Ccxt(ccxt.pro.okx, "BTC-USDT", with_book),
        ]

    agg, deep = messages.agg_trades, messages.depths
    return [
        Case("Binance trade", trade, binance(None)).fed(
            lambda: messages.combined("btcusdt@aggTrade", agg()), plain=agg
        ),
        Case("OKX trade", trade, okx_players(None)).fed(messages.okx_trades),
        Case("Binance depth, 26 levels into 1000", book, binance(image)).fed(
            lambda: messages.combined("btcusdt@depth@100ms", deep()), plain=deep
        ),
        Case(
            "OKX books, 26 levels, checksum", book, okx_players(messages.okx_image())
        ).fed(messages.okx_books),
    ]


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=51)
    parser.add_argument("--only", default="", help="cases whose name has this")
    options = parser.parse_args()
    compared = [case for case in cases() if options.only in case.name]
    for _ in range(options.rounds):
        for case in compared:
            case.round()
    names = ("cryptofeed", "ccxt", "msgspec")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    print(f"CPython {platform.python_version()}, {versions}, {options.rounds} rounds")
    print("median and least per message, and the median of ours / theirs")
    for case in compared:
        case.report()
    for case in compared:
        for player in case.players:
            if isinstance(player, Ccxt):
                Cryptofeed.loop.run_until_complete(player.exchange.close())
    Cryptofeed.loop.close()


if __name__ == "__main__":
    main()
