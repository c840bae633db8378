"""Which data Deribit has; a channel on the wire is `channel.instrument.interval`."""

from integration.errors import UnsupportedSubKind
from integration.exchanges.deribit.symbols import native
from integration.market.connector import Topic, supported
from integration.models import ExchangeId, InstrumentKind, SubKind, Subscription

__all__ = ["BOOK", "INTERVAL", "QUOTE", "TRADE", "topic"]

TRADE = "trades"
QUOTE = "quote"
BOOK = "book"
INTERVAL = "100ms"
"""The fastest that needs no login."""

SUPPORT = {
    SubKind.PUBLIC_TRADES: TRADE,
    SubKind.ORDER_BOOKS_L1: QUOTE,
    SubKind.ORDER_BOOKS_L2: BOOK,
}


def topic(subscription: Subscription) -> Topic:
    """Name a subscription as Deribit does.

    Raises:
        UnsupportedSubKind: there is no such kind or no such instruments.
    """
    exchange, instrument = ExchangeId.DERIBIT, subscription.instrument
    if instrument.kind is InstrumentKind.SPOT:
        raise UnsupportedSubKind(exchange, "spot instruments")
    return Topic(supported(exchange, SUPPORT, subscription), native(instrument))
