"""Which data BitMEX has; a topic on the wire is `table:symbol`."""

from integration.errors import UnsupportedSubKind
from integration.exchanges.bitmex.symbols import native
from integration.market.connector import Topic, supported
from integration.models import ExchangeId, InstrumentKind, SubKind, Subscription

__all__ = ["BOOKS", "FUNDING", "IMAGES", "LIQUIDATION", "QUOTE", "TRADE", "topic"]

TRADE = "trade"
QUOTE = "quote"
LIQUIDATION = "liquidation"
FUNDING = "funding"
IMAGES = "orderBook10"
BOOKS = {25: "orderBookL2_25", 10_000: "orderBookL2"}
"""Tables by the depth they reach; without a wish, 25."""

SUPPORT = {
    SubKind.PUBLIC_TRADES: TRADE,
    SubKind.ORDER_BOOKS_L1: QUOTE,
    SubKind.ORDER_BOOKS_L2: "orderBookL2",
    SubKind.LIQUIDATIONS: LIQUIDATION,
    SubKind.FUNDING_RATES: FUNDING,
}


def topic(subscription: Subscription) -> Topic:
    """Name a subscription as BitMEX does.

    Raises:
        UnsupportedSubKind: there is no such kind or no such instruments.
    """
    exchange, instrument = ExchangeId.BITMEX, subscription.instrument
    if instrument.kind is not InstrumentKind.PERPETUAL:
        raise UnsupportedSubKind(exchange, f"{instrument.kind} instruments")
    channel = supported(exchange, SUPPORT, subscription)
    if subscription.kind is SubKind.ORDER_BOOKS_L2:
        wanted = subscription.depth or min(BOOKS)
        depth = next((d for d in sorted(BOOKS) if d >= wanted), max(BOOKS))
        channel = BOOKS[depth]
    return Topic(channel, native(instrument))
