"""Bitfinex's arrays into events' kinds: what stands where in them.

https://docs.bitfinex.com/reference/ws-public-ticker, -trades, -books, -candles and
-status. Whole numbers are integers, all others their text (`messages`).
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from integration.exchanges.shared import Facts, level_of
from integration.market.numbers import exact
from integration.models import (
    Candle,
    DataKind,
    FundingRate,
    IndexPrice,
    Liquidation,
    MarkPrice,
    OpenInterest,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
    RawLevel,
    Side,
    SubKind,
)

__all__ = [
    "book",
    "candle",
    "checksum",
    "liquidations",
    "status",
    "ticker",
    "trade",
]

_MS = 1_000_000

# Of a contract's status.
_SPOT_PRICE, _NEXT_FUNDING, _CURRENT_FUNDING, _MARK, _OPEN_INTEREST = 3, 7, 11, 14, 17
# Of a liquidation.
_TIME, _SYMBOL, _AMOUNT, _BASE_PRICE, _IS_MATCH, _PRICE = 2, 4, 5, 6, 8, 11


def trade(body: Any) -> tuple[int, PublicTrade]:  # noqa: ANN401  JSON
    """Read a trade and its time: id, ms, signed amount, price."""
    number, time, amount, price = _row(body, 4)[:4]
    text = str(amount)
    return int(time) * _MS, PublicTrade(
        str(number),
        exact(str(price)),
        exact(text.removeprefix("-")),
        Side.SELL if text.startswith("-") else Side.BUY,
    )


def book(body: Any) -> OrderBookSnapshot | OrderBookUpdate:  # noqa: ANN401  JSON
    """Read a book: an image is a list of levels, an update is one level."""
    image = not body or isinstance(body[0], list)
    bids: list[RawLevel] = []
    asks: list[RawLevel] = []
    for row in body if image else [body]:
        price, count, amount = _row(row, 3)[:3]
        text = str(amount)
        levels = asks if text.startswith("-") else bids
        levels.append((str(price), text.removeprefix("-") if count else "0"))
    return OrderBookSnapshot(bids, asks) if image else OrderBookUpdate(bids, asks)


def checksum(body: Any) -> int:  # noqa: ANN401  JSON
    """Read a checksum: `4160874891` or, as a signed word, a negative number."""
    return _whole(body)


def ticker(body: Any, now: int) -> OrderBookL1:  # noqa: ANN401  JSON
    """Read the best levels: bid, its size, ask, its size."""
    bid, bid_size, ask, ask_size = map(str, _row(body, 4)[:4])
    return OrderBookL1(now, level_of(bid, bid_size), level_of(ask, ask_size))


def candle(body: Any, interval: str) -> Candle:  # noqa: ANN401  JSON
    """Read a candle: ms, open, close, high, low, volume."""
    start, first, last, high, low, volume = _row(body, 6)[:6]
    return Candle(
        interval,
        int(start) * _MS,
        None,
        exact(str(first)),
        exact(str(high)),
        exact(str(low)),
        exact(str(last)),
        exact(str(volume)),
    )


def status(body: Any) -> tuple[int, Facts]:  # noqa: ANN401  JSON
    """Read a contract's status and its time; much of it may be null."""
    row = _list(body, _OPEN_INTEREST + 1)
    return _whole(row[0]) * _MS, list(_facts(row))


def _facts(row: list[Any]) -> Iterator[tuple[SubKind, DataKind]]:
    mark, index = _number(row[_MARK]), _number(row[_SPOT_PRICE])
    mark_price = exact(mark) if mark else None
    index_price = exact(index) if index else None
    if mark_price is not None:
        yield SubKind.MARK_PRICES, MarkPrice(mark_price)
    if index_price is not None:
        yield SubKind.INDEX_PRICES, IndexPrice(index_price)
    if interest := _number(row[_OPEN_INTEREST]):
        yield SubKind.OPEN_INTEREST, OpenInterest(exact(interest))
    if funding := _number(row[_CURRENT_FUNDING]):
        due = row[_NEXT_FUNDING]
        size = exact(funding.removeprefix("-"))
        yield (
            SubKind.FUNDING_RATES,
            FundingRate(
                -size if funding.startswith("-") else size,
                None if due is None else _whole(due) * _MS,
                mark_price,
                index_price,
            ),
        )


def liquidations(body: Any) -> Iterator[tuple[str, Liquidation]]:  # noqa: ANN401  JSON
    """Read liquidations, with the symbol of each.

    Each comes when it is triggered and again when its order has traded; the first is
    the liquidation.
    """
    for each in body:
        row = _list(each, _PRICE + 1)
        if row[_IS_MATCH]:
            continue
        amount = _number(row[_AMOUNT])
        price = _number(row[_PRICE]) or _number(row[_BASE_PRICE])
        short = amount.startswith("-")
        time = _whole(row[_TIME]) * _MS
        yield (
            str(row[_SYMBOL]),
            Liquidation(
                # What is liquidated is a position: a long one by a sale.
                Side.BUY if short else Side.SELL,
                exact(price),
                exact(amount.removeprefix("-")),
                time,
                position_side="short" if short else "long",
            ),
        )


def _list(row: Any, size: int) -> list[Any]:  # noqa: ANN401  JSON
    if not isinstance(row, list) or len(row) < size:
        msg = f"expected {size} elements, was {row!r}"
        raise msgspec.ValidationError(msg)
    return row


def _number(value: Any) -> str:  # noqa: ANN401  JSON
    """Spell a number that may be null, which is empty."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | str):
        msg = f"expected a number or null, was {value!r}"
        raise msgspec.ValidationError(msg)
    return str(value)


def _whole(value: Any) -> int:  # noqa: ANN401  JSON
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"expected a whole number, was {value!r}"
        raise msgspec.ValidationError(msg)
    return value


def _row(row: Any, size: int) -> list[int | str]:  # noqa: ANN401  JSON
    """Check that a row has enough elements, all of them numbers."""
    if (
        not isinstance(row, list)
        or len(row) < size
        or any(isinstance(x, bool) or not isinstance(x, int | str) for x in row)
    ):
        msg = f"expected {size} numbers, was {row!r}"
        raise msgspec.ValidationError(msg)
    return row
