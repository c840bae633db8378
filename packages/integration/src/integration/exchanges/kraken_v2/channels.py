"""Which data Kraken v2 has."""

from integration.errors import UnsupportedSubKind
from integration.exchanges.kraken.channels import INTERVALS, minutes
from integration.exchanges.kraken_v2.symbols import native
from integration.market.connector import Topic, supported
from integration.models import ExchangeId, InstrumentKind, SubKind, Subscription

__all__ = [
    "BOOK",
    "INTERVALS",
    "OHLC",
    "TICKER",
    "TRADE",
    "candles",
    "depth",
    "topic",
]

TRADE = "trade"
TICKER = "ticker"
BOOK = "book"
OHLC = "ohlc"
DEPTHS = (10, 25, 100, 500, 1000)

SUPPORT = {
    SubKind.PUBLIC_TRADES: TRADE,
    SubKind.ORDER_BOOKS_L1: TICKER,
    SubKind.ORDER_BOOKS_L2: BOOK,
    SubKind.CANDLES: OHLC,
}


def depth(subscription: Subscription) -> int:
    """Return the smallest book that Kraken offers and that is deep enough."""
    wanted = subscription.depth or DEPTHS[0]
    return next((d for d in DEPTHS if d >= wanted), DEPTHS[-1])


def candles(length: int) -> str:
    """Name candles of some minutes: those of one minute as messages name them all.

    The wire has one name for all lengths; a subscription of its own needs its own.
    """
    return OHLC if length == 1 else f"{OHLC}-{length}"


def topic(subscription: Subscription) -> Topic:
    """Name a subscription as Kraken does.

    Raises:
        UnsupportedSubKind: there is no such kind, interval or no such instruments.
    """
    exchange, instrument = ExchangeId.KRAKEN_V2, subscription.instrument
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
