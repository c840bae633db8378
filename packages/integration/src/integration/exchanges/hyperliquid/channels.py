"""Which data Hyperliquid has; every book message is a whole image."""

from integration.errors import UnsupportedSubKind
from integration.exchanges.hyperliquid.symbols import native
from integration.market.connector import Topic, supported
from integration.models import ExchangeId, InstrumentKind, SubKind, Subscription

__all__ = ["BOOK", "TOP", "TRADE", "topic"]

TRADE = "trades"
TOP = "bbo"
BOOK = "l2Book"

SUPPORT = {
    SubKind.PUBLIC_TRADES: TRADE,
    SubKind.ORDER_BOOKS_L1: TOP,
    SubKind.ORDER_BOOKS_L2: BOOK,
}


def topic(subscription: Subscription) -> Topic:
    """Name a subscription as Hyperliquid does.

    Raises:
        UnsupportedSubKind: there is no such kind or no such instruments.
    """
    exchange, instrument = ExchangeId.HYPERLIQUID, subscription.instrument
    if instrument.kind is not InstrumentKind.PERPETUAL or instrument.quote != "usd":
        raise UnsupportedSubKind(exchange, f"{instrument}: only usd perpetuals")
    return Topic(supported(exchange, SUPPORT, subscription), native(instrument))
