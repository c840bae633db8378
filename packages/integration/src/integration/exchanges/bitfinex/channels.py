"""Which data Bitfinex has. Messages name a channel by a number of the connection."""

from integration.errors import UnsupportedSubKind
from integration.exchanges.bitfinex.symbols import native
from integration.market.connector import Topic, supported
from integration.models import ExchangeId, InstrumentKind, SubKind, Subscription

__all__ = ["BOOK", "DEPTHS", "TRADE", "topic"]

TRADE = "trades"
BOOK = "book"
DEPTHS = (25, 100, 250)

SUPPORT = {SubKind.PUBLIC_TRADES: TRADE, SubKind.ORDER_BOOKS_L2: BOOK}


def topic(subscription: Subscription) -> Topic:
    """Name a subscription as Bitfinex does.

    Raises:
        UnsupportedSubKind: there is no such kind or no such instruments.
    """
    exchange, instrument = ExchangeId.BITFINEX, subscription.instrument
    if instrument.kind is not InstrumentKind.SPOT:
        raise UnsupportedSubKind(exchange, f"{instrument.kind} instruments")
    channel = supported(exchange, SUPPORT, subscription)
    if subscription.kind is not SubKind.ORDER_BOOKS_L2:
        return Topic(channel, native(instrument))
    wanted = subscription.depth or DEPTHS[0]
    depth = next((d for d in DEPTHS if d >= wanted), DEPTHS[-1])
    return Topic(channel, native(instrument), (str(depth),))
