"""Which data Hyperliquid has; every book message is a whole image.

A candle's channel is `candle` on the wire, and `candle.INTERVAL` here.
"""

from integration.errors import UnsupportedSubKind
from integration.exchanges.hyperliquid.symbols import native
from integration.market.connector import Topic, supported
from integration.models import ExchangeId, InstrumentKind, SubKind, Subscription

__all__ = ["BOOK", "CANDLE", "CONTEXT", "TOP", "TRADE", "topic"]

TRADE = "trades"
TOP = "bbo"
BOOK = "l2Book"
CANDLE = "candle"
CONTEXT = "activeAssetCtx"

INTERVALS = frozenset(
    {"1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d", "3d"}
    | {"1w", "1M"}
)

SUPPORT = {
    SubKind.PUBLIC_TRADES: TRADE,
    SubKind.ORDER_BOOKS_L1: TOP,
    SubKind.ORDER_BOOKS_L2: BOOK,
    SubKind.CANDLES: CANDLE,
    SubKind.FUNDING_RATES: CONTEXT,
    SubKind.MARK_PRICES: CONTEXT,
    SubKind.INDEX_PRICES: CONTEXT,
    SubKind.OPEN_INTEREST: CONTEXT,
}


def topic(subscription: Subscription) -> Topic:
    """Name a subscription as Hyperliquid does.

    Raises:
        UnsupportedSubKind: there is no such kind, interval or no such instruments.
    """
    exchange, instrument = ExchangeId.HYPERLIQUID, subscription.instrument
    if instrument.kind is not InstrumentKind.PERPETUAL or instrument.quote != "usd":
        raise UnsupportedSubKind(exchange, f"{instrument}: only usd perpetuals")
    channel = supported(exchange, SUPPORT, subscription)
    if subscription.kind is SubKind.CANDLES:
        interval = subscription.interval or "1m"
        if interval not in INTERVALS:
            raise UnsupportedSubKind(exchange, f"candles of {interval!r}")
        channel = f"{CANDLE}.{interval}"
    return Topic(channel, native(instrument))
