"""What several venues have in common: spellings of sides, symbols, dates, levels.

Pure helpers without state. A venue's own rules stay in its own folder.
"""

import datetime as dt
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

from integration.errors import DataError
from integration.market.connector import VenueTransformer
from integration.market.notices import Ignored, Output
from integration.market.numbers import exact, exact_pair, plain
from integration.models import (
    DataKind,
    ExchangeId,
    Level,
    MarketDataInstrument,
    MarketEvent,
    OptionKind,
    RawLevel,
    Side,
    SubKind,
)

__all__ = [
    "MONTHS",
    "Facts",
    "Tag",
    "day_of",
    "expiry_ns",
    "join_symbol",
    "level",
    "level_of",
    "malformed_symbol",
    "option_kind",
    "plain_levels",
    "side_of",
    "split_joined",
    "tag_after",
    "told",
]

_SIDES = {
    "buy": Side.BUY,
    "sell": Side.SELL,
    "Buy": Side.BUY,
    "Sell": Side.SELL,
    "BUY": Side.BUY,
    "SELL": Side.SELL,
    "b": Side.BUY,
    "s": Side.SELL,
    "B": Side.BUY,
    "A": Side.SELL,
}

MONTHS = (
    "JAN",
    "FEB",
    "MAR",
    "APR",
    "MAY",
    "JUN",
    "JUL",
    "AUG",
    "SEP",
    "OCT",
    "NOV",
    "DEC",
)
"""As venues abbreviate them; `strftime("%b")` depends on the locale."""

Tag = Callable[[bytes], str | None]

Facts: TypeAlias = Iterable[tuple[SubKind, DataKind]]
"""What one message tells, and which subscriptions wait for it."""


def side_of(text: str) -> Side:
    """Read a side in any of the venues' spellings.

    Raises:
        msgspec.ValidationError: it is none.
    """
    side = _SIDES.get(text)
    if side is None:
        msg = f"a side is buy or sell, was {text!r}"
        raise msgspec.ValidationError(msg)
    return side


def level_of(price: str, amount: str) -> Level | None:
    """Make a best level of text; None if the price is zero or empty.

    Raises:
        InvalidLevel: a number is none.
    """
    if not price or (not amount and not exact(price)):
        return None
    value, size = exact_pair(price, amount)
    return Level(value, size) if value else None


def level(price: Decimal | None, amount: Decimal | None) -> Level | None:
    """Make a best level of JSON numbers; None if the side is empty.

    Raises:
        InvalidLevel: a number is not finite or negative.
    """
    if price is None or amount is None or not price:
        return None
    plain(price, "a price")
    plain(amount, "an amount")
    return Level(price, amount)


def plain_levels(raw: Iterable[tuple[Decimal, Decimal]]) -> list[RawLevel]:
    """Spell levels of JSON numbers as text.

    Raises:
        InvalidLevel: a number is not finite or negative.
    """
    return [(plain(price), plain(amount)) for price, amount in raw]


def join_symbol(instrument: MarketDataInstrument, joint: str) -> str:
    """Spell base and quote in upper case with something between them."""
    return f"{instrument.base}{joint}{instrument.quote}".upper()


def split_joined(
    exchange: ExchangeId, symbol: str, quotes: Iterable[str]
) -> tuple[str, str]:
    """Split a symbol that runs base and quote together, in any case.

    Args:
        exchange: whose symbol.
        symbol: such as `BTCUSDT`.
        quotes: the server's quote assets in upper case; the longest match wins. Keep
            it to what the server has: with TUSD in the list, DOTUSD reads DO/TUSD.

    Raises:
        DataError: none of them ends it.
    """
    upper = symbol.upper()
    ending = (q for q in quotes if upper.endswith(q) and len(upper) > len(q))
    quote = max(ending, key=len, default=None)
    if quote is None:
        raise malformed_symbol(exchange, symbol, "no known quote asset ends it")
    return upper[: -len(quote)], quote


def malformed_symbol(exchange: ExchangeId, symbol: str, why: str) -> DataError:
    """Return the error for a symbol that the venue does not spell so."""
    return DataError(f"{exchange} has no symbol {symbol!r}: {why}")


def day_of(instrument: MarketDataInstrument) -> dt.datetime:
    """Return the day on which an instrument expires, UTC.

    Raises:
        DataError: it does not expire.
    """
    if instrument.expiry is None:
        msg = f"{instrument} does not expire"
        raise DataError(msg)
    return dt.datetime.fromtimestamp(instrument.expiry // 10**9, dt.UTC)


def expiry_ns(year: int, month: int, day: int, *, hour: int = 0) -> int:
    """Return a moment of expiry in ns.

    Raises:
        ValueError: there is no such day.
    """
    moment = dt.datetime(year, month, day, hour, tzinfo=dt.UTC)
    return int(moment.timestamp()) * 10**9


def option_kind(letter: str) -> OptionKind:
    """Read C or P.

    Raises:
        ValueError: it is neither.
    """
    kinds = {"C": OptionKind.CALL, "P": OptionKind.PUT}
    if letter not in kinds:
        msg = f"an option ends in C or P, was {letter!r}"
        raise ValueError(msg)
    return kinds[letter]


def tag_after(prefix: bytes, end: bytes) -> Tag:
    """Make a reader of the text that follows a fixed start of a message.

    Venues write the same key first in every message of a kind. A look at it picks the
    right decoder for 0.1 µs, where decoding twice costs as much again; a message that
    starts otherwise gets None and takes the slow way.
    """
    start = len(prefix)

    def tag(payload: bytes) -> str | None:
        if not payload.startswith(prefix):
            return None
        stop = payload.find(end, start)
        return None if stop < 0 else payload[start:stop].decode("ascii", "replace")

    return tag


def told(
    transformer: VenueTransformer[Any],
    channel: str,
    market: str,
    facts: Facts,
    *,
    times: tuple[int, int],
) -> Iterable[Output]:
    """Return the events of a message that tells several kinds of data.

    Args:
        transformer: whose routes say who waits for which kind.
        channel: the message's.
        market: the message's.
        facts: what it tells.
        times: the venue's, and that of receiving it, in ns.
    """
    routes = transformer.routes
    if routes.get(channel, market) is None:
        return transformer.unidentified(channel, market)
    time, now = times
    events = [
        MarketEvent(time, now, transformer.exchange, instrument, kind)
        for wanted, kind in facts
        for instrument in routes.followers(channel, market, wanted)
    ]
    return events or (Ignored(f"nothing of {channel} {market} that was asked for"),)
