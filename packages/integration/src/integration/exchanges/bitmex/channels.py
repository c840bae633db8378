"""Which data BitMEX has; a topic on the wire is `table:symbol`."""

from integration.errors import UnsupportedSubKind
from integration.exchanges.bitmex.symbols import native
from integration.market.connector import Topic, supported
from integration.models import ExchangeId, InstrumentKind, SubKind, Subscription

__all__ = [
    "BINS",
    "BOOKS",
    "FUNDING",
    "IMAGES",
    "INSTRUMENT",
    "LIQUIDATION",
    "QUOTE",
    "TRADE",
    "topic",
]

TRADE = "trade"
QUOTE = "quote"
LIQUIDATION = "liquidation"
FUNDING = "funding"
INSTRUMENT = "instrument"
IMAGES = "orderBook10"
BINS = {
    "tradeBin1m": ("1m", 60),
    "tradeBin5m": ("5m", 300),
    "tradeBin1h": ("1h", 3600),
    "tradeBin1d": ("1d", 86_400),
}
"""Tables of candles: their interval, and its seconds."""
BOOKS = {25: "orderBookL2_25", 10_000: "orderBookL2"}
"""Tables by the depth they reach; without a wish, 25."""

SUPPORT = {
    SubKind.PUBLIC_TRADES: TRADE,
    SubKind.ORDER_BOOKS_L1: QUOTE,
    SubKind.ORDER_BOOKS_L2: "orderBookL2",
    SubKind.LIQUIDATIONS: LIQUIDATION,
    SubKind.CANDLES: "tradeBin",
    SubKind.FUNDING_RATES: FUNDING,
    SubKind.MARK_PRICES: INSTRUMENT,
    SubKind.INDEX_PRICES: INSTRUMENT,
    SubKind.OPEN_INTEREST: INSTRUMENT,
}


def topic(subscription: Subscription) -> Topic:
    """Name a subscription as BitMEX does.

    Raises:
        UnsupportedSubKind: there is no such kind, interval or no such instruments.
    """
    exchange, instrument = ExchangeId.BITMEX, subscription.instrument
    if instrument.kind is not InstrumentKind.PERPETUAL:
        raise UnsupportedSubKind(exchange, f"{instrument.kind} instruments")
    channel = supported(exchange, SUPPORT, subscription)
    if subscription.kind is SubKind.ORDER_BOOKS_L2:
        wanted = subscription.depth or min(BOOKS)
        depth = next((d for d in sorted(BOOKS) if d >= wanted), max(BOOKS))
        channel = BOOKS[depth]
    elif subscription.kind is SubKind.CANDLES:
        interval = subscription.interval or "1m"
        channel += interval
        if channel not in BINS:
            raise UnsupportedSubKind(exchange, f"candles of {interval!r}")
    return Topic(channel, native(instrument))
