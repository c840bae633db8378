"""Messages of venues, without end and the same every time: what programs here measure.

Numbers are drawn as recorded feeds have them. Of 9,757 recorded trades of btcusdt
59 % had the price of the trade before, 73 % some earlier price and 76 % an earlier
amount; of 124,000 depth levels 48 % were removals and 38 % had amounts seen before.
"""

import json
import random
from collections.abc import Iterator

from integration.market import checksums
from integration.market.books import OrderBook

__all__ = [
    "ASKS",
    "BIDS",
    "CHANGED",
    "LEVELS",
    "agg_trades",
    "combined",
    "depths",
    "full",
    "okx_books",
    "okx_image",
    "okx_trades",
    "tickers",
    "trades",
]

LEVELS = 1000
CHANGED = 26

Levels = list[list[str]]


def prices(start: int, step: int) -> list[str]:
    """Return the prices of one side."""
    return [f"{(start + step * i) / 100:.2f}" for i in range(LEVELS)]


BIDS, ASKS = prices(6_000_000, -1), prices(6_000_001, 1)


def seeded(seed: int) -> random.Random:
    """Return a source of the same choices every time."""
    return random.Random(seed)  # noqa: S311  nothing is to be kept secret


def full(chosen: list[str]) -> list[tuple[str, str]]:
    """Return one side of an image."""
    return [(price, "1.00000000") for price in chosen]


def level_amount(rng: random.Random) -> str:
    """Return an amount of a depth level; zero removes it."""
    kind = rng.random()
    if kind < 0.48:
        return "0.00000000"
    if kind < 0.86:
        return f"{rng.randrange(1, 2000) / 1000:.8f}"
    return f"{rng.random() * 5 + 0.1:.8f}"


def side(chosen: list[str], rng: random.Random) -> Levels:
    """Return changed levels near the top."""
    return [[p, level_amount(rng)] for p in rng.sample(chosen[:200], CHANGED // 2)]


def deals(seed: int) -> Iterator[tuple[int, str, str, bool]]:
    """Yield number, price, amount and whether the buyer was the maker."""
    rng, number, price = seeded(seed), 0, BIDS[0]
    while True:
        number += 1
        kind = rng.random()
        if kind < 0.27:
            price = f"{60000 + rng.gauss(0, 400):.2f}"
        elif kind < 0.41:
            price = rng.choice(BIDS[:200])
        common = rng.random() < 0.76
        amount = rng.randrange(1, 500) / 1e5 if common else rng.random() + 0.01
        yield number, price, f"{amount:.8f}", rng.random() < 0.5


def trades() -> Iterator[bytes]:
    """Yield Binance's trades."""
    for number, price, amount, maker in deals(1):
        yield (
            f'{{"e":"trade","E":1749354825201,"s":"BTCUSDT","t":{number},'
            f'"p":"{price}000000","q":"{amount}","T":1749354825200,'
            f'"m":{json.dumps(maker)},"M":true}}'
        ).encode()


def agg_trades() -> Iterator[bytes]:
    """Yield Binance's aggregated trades, the stream that most libraries follow."""
    for number, price, amount, maker in deals(5):
        yield (
            f'{{"e":"aggTrade","E":1749354825201,"s":"BTCUSDT","a":{number},'
            f'"p":"{price}000000","q":"{amount}","f":{number},"l":{number},'
            f'"T":1749354825200,"m":{json.dumps(maker)},"M":true}}'
        ).encode()


def combined(stream: str, messages: Iterator[bytes]) -> Iterator[bytes]:
    """Put Binance's messages into the envelope of its combined streams."""
    head = f'{{"stream":"{stream}","data":'.encode()
    for message in messages:
        yield head + message + b"}"


def okx_trades() -> Iterator[bytes]:
    """Yield OKX's trades."""
    for number, price, amount, maker in deals(6):
        taker = "sell" if maker else "buy"
        yield (
            '{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{'
            f'"instId":"BTC-USDT","tradeId":"{number}","px":"{price}",'
            f'"sz":"{amount}","side":"{taker}","ts":"1597026383085","count":"1"}}]}}'
        ).encode()


def tickers() -> Iterator[bytes]:
    """Yield Binance's bookTickers."""
    rng, number = seeded(2), 0
    while True:
        number += 1
        yield (
            f'{{"u":{number},"s":"BTCUSDT","b":"{rng.choice(BIDS[:20])}000000",'
            f'"B":"{level_amount(rng)}","a":"{rng.choice(ASKS[:20])}000000",'
            f'"A":"{level_amount(rng)}"}}'
        ).encode()


def depths(first: int = 1) -> Iterator[bytes]:
    """Yield Binance's depth updates in sequence."""
    rng, number = seeded(3), first
    while True:
        number += 1
        body = {
            "e": "depthUpdate",
            "E": 1671656397761,
            "s": "BTCUSDT",
            "U": number,
            "u": number,
            "b": side(BIDS, rng),
            "a": side(ASKS, rng),
        }
        yield json.dumps(body, separators=(",", ":")).encode()


def okx_image() -> bytes:
    """Return the first message about the book that `okx_books` changes."""
    book = OrderBook()
    book.apply_snapshot(full(BIDS), full(ASKS))
    row = {
        "asks": [[p, a, "0", "1"] for p, a in full(ASKS)],
        "bids": [[p, a, "0", "1"] for p, a in full(BIDS)],
        "ts": "1597026383085",
        "checksum": checksums.okx(book),
        "prevSeqId": -1,
        "seqId": 1,
    }
    arg = {"channel": "books", "instId": "BTC-USDT"}
    return json.dumps({"arg": arg, "action": "snapshot", "data": [row]}).encode()


def okx_books() -> Iterator[bytes]:
    """Yield OKX's book updates with true checksums."""
    rng, number, book = seeded(4), 1, OrderBook()
    book.apply_snapshot(full(BIDS), full(ASKS))
    while True:
        bids, asks = side(BIDS, rng), side(ASKS, rng)
        book.apply_update([(p, a) for p, a in bids], [(p, a) for p, a in asks])
        row = {
            "asks": [[p, a, "0", "1"] for p, a in asks],
            "bids": [[p, a, "0", "1"] for p, a in bids],
            "ts": "1597026383085",
            "checksum": checksums.okx(book),
            "prevSeqId": number,
            "seqId": number + 1,
        }
        number += 1
        arg = {"channel": "books", "instId": "BTC-USDT"}
        body = {"arg": arg, "action": "update", "data": [row]}
        yield json.dumps(body, separators=(",", ":")).encode()
