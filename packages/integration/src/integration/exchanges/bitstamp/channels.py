"""Which data Bitstamp has; a channel on the wire is `channel_symbol`."""

from integration.errors import UnsupportedSubKind
from integration.exchanges.bitstamp.symbols import native
from integration.market.connector import Topic, supported
from integration.models import ExchangeId, InstrumentKind, SubKind, Subscription

__all__ = ["BOOK", "TRADE", "topic"]

TRADE = "live_trades"
BOOK = "diff_order_book"

SUPPORT = {SubKind.PUBLIC_TRADES: TRADE, SubKind.ORDER_BOOKS_L2: BOOK}


def topic(subscription: Subscription) -> Topic:
    """Name a subscription as Bitstamp does.

    Raises:
        UnsupportedSubKind: there is no such kind or no such instruments.
    """
    exchange, instrument = ExchangeId.BITSTAMP, subscription.instrument
    if instrument.kind is not InstrumentKind.SPOT:
        raise UnsupportedSubKind(exchange, f"{instrument.kind} instruments")
    return Topic(supported(exchange, SUPPORT, subscription), native(instrument))
