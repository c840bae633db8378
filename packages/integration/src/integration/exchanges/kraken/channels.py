"""Which data Kraken v1 has."""

from integration.errors import UnsupportedSubKind
from integration.exchanges.kraken.symbols import native
from integration.market.connector import Topic, supported
from integration.models import ExchangeId, InstrumentKind, SubKind, Subscription

__all__ = [
    "BOOK",
    "DEPTHS",
    "INTERVALS",
    "OHLC",
    "SPREAD",
    "TRADE",
    "candles",
    "depth",
    "minutes",
    "topic",
]

TRADE = "trade"
SPREAD = "spread"
BOOK = "book"
OHLC = "ohlc"
DEPTHS = (10, 25, 100, 500, 1000)

INTERVALS = {
    1: "1m",
    5: "5m",
    15: "15m",
    30: "30m",
    60: "1h",
    240: "4h",
    1440: "1d",
    10080: "1w",
    21600: "15d",
}
"""Kraken's intervals in minutes, and our names; the same in both APIs."""

SUPPORT = {
    SubKind.PUBLIC_TRADES: TRADE,
    SubKind.ORDER_BOOKS_L1: SPREAD,
    SubKind.ORDER_BOOKS_L2: BOOK,
    SubKind.CANDLES: OHLC,
}


def depth(subscription: Subscription) -> int:
    """Return the smallest book that Kraken offers and that is deep enough."""
    wanted = subscription.depth or DEPTHS[0]
    return next((d for d in DEPTHS if d >= wanted), DEPTHS[-1])


def minutes(exchange: ExchangeId, subscription: Subscription) -> int:
    """Return the length of the candles wanted.

    Raises:
        UnsupportedSubKind: Kraken has none so long.
    """
    wanted = subscription.interval or "1m"
    found = next((m for m, name in INTERVALS.items() if name == wanted), None)
    if found is None:
        raise UnsupportedSubKind(exchange, f"candles of {wanted!r}")
    return found


def candles(length: int) -> str:
    """Name the channel of candles of some minutes as data messages do."""
    return f"{OHLC}-{length}"


def topic(subscription: Subscription) -> Topic:
    """Name a subscription as Kraken does.

    Raises:
        UnsupportedSubKind: there is no such kind, interval or no such instruments.
    """
    exchange, instrument = ExchangeId.KRAKEN, subscription.instrument
    if instrument.kind is not InstrumentKind.SPOT:
        raise UnsupportedSubKind(exchange, f"{instrument.kind} instruments")
    channel = supported(exchange, SUPPORT, subscription)
    parameters: tuple[str, ...] = ()
    if subscription.kind is SubKind.ORDER_BOOKS_L2:
        parameters = (str(depth(subscription)),)
    elif subscription.kind is SubKind.CANDLES:
        length = minutes(exchange, subscription)
        channel, parameters = candles(length), (str(length),)
    return Topic(channel, native(instrument), parameters)
