"""Which data Kraken v1 has."""

from integration.errors import UnsupportedSubKind
from integration.exchanges.kraken.symbols import native
from integration.market.connector import Topic, supported
from integration.models import ExchangeId, InstrumentKind, SubKind, Subscription

__all__ = ["BOOK", "DEPTHS", "SPREAD", "TRADE", "depth", "topic"]

TRADE = "trade"
SPREAD = "spread"
BOOK = "book"
DEPTHS = (10, 25, 100, 500, 1000)

SUPPORT = {
    SubKind.PUBLIC_TRADES: TRADE,
    SubKind.ORDER_BOOKS_L1: SPREAD,
    SubKind.ORDER_BOOKS_L2: BOOK,
}


def depth(subscription: Subscription) -> int:
    """Return the smallest book that Kraken offers and that is deep enough."""
    wanted = subscription.depth or DEPTHS[0]
    return next((d for d in DEPTHS if d >= wanted), DEPTHS[-1])


def topic(subscription: Subscription) -> Topic:
    """Name a subscription as Kraken does.

    Raises:
        UnsupportedSubKind: there is no such kind or no such instruments.
    """
    exchange, instrument = ExchangeId.KRAKEN, subscription.instrument
    if instrument.kind is not InstrumentKind.SPOT:
        raise UnsupportedSubKind(exchange, f"{instrument.kind} instruments")
    channel = supported(exchange, SUPPORT, subscription)
    book = subscription.kind is SubKind.ORDER_BOOKS_L2
    parameters = (str(depth(subscription)),) if book else ()
    return Topic(channel, native(instrument), parameters)
