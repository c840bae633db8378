"""Which data Bybit has; a topic on the wire is `channel.symbol`."""

from integration.errors import UnsupportedSubKind
from integration.exchanges.bybit.symbols import native
from integration.market.connector import Topic, supported
from integration.models import ExchangeId, InstrumentKind, SubKind, Subscription

__all__ = ["BOOK", "INTERVALS", "LIQUIDATION", "TICKERS", "TOP", "TRADE", "topic"]

TRADE = "publicTrade"
TOP = "orderbook.1"
BOOK = "orderbook.50"
LIQUIDATION = "allLiquidation"
TICKERS = "tickers"
KLINE = "kline."

DEPTHS = (50, 200, 1000)

INTERVALS = {
    "1": "1m",
    "3": "3m",
    "5": "5m",
    "15": "15m",
    "30": "30m",
    "60": "1h",
    "120": "2h",
    "240": "4h",
    "360": "6h",
    "720": "12h",
    "D": "1d",
    "W": "1w",
    "M": "1M",
}
"""Bybit's names of intervals, and ours."""

_SPOT = {
    SubKind.PUBLIC_TRADES: TRADE,
    SubKind.ORDER_BOOKS_L1: TOP,
    SubKind.ORDER_BOOKS_L2: "orderbook.",
    SubKind.CANDLES: KLINE,
}
_LINEAR = _SPOT | {
    SubKind.LIQUIDATIONS: LIQUIDATION,
    SubKind.FUNDING_RATES: TICKERS,
    SubKind.MARK_PRICES: TICKERS,
    SubKind.INDEX_PRICES: TICKERS,
    SubKind.OPEN_INTEREST: TICKERS,
}
SUPPORT = {
    ExchangeId.BYBIT_SPOT: (InstrumentKind.SPOT, _SPOT),
    ExchangeId.BYBIT_PERPETUALS_USD: (InstrumentKind.PERPETUAL, _LINEAR),
}


def topic(exchange: ExchangeId, subscription: Subscription) -> Topic:
    """Name a subscription as Bybit does.

    Raises:
        UnsupportedSubKind: the server has no such instruments, kind or interval.
    """
    kind, channels = SUPPORT[exchange]
    if subscription.instrument.kind is not kind:
        raise UnsupportedSubKind(
            exchange, f"{subscription.instrument.kind} instruments"
        )
    channel = supported(exchange, channels, subscription)
    if subscription.kind is SubKind.ORDER_BOOKS_L2:
        channel += str(depth(subscription))
    elif subscription.kind is SubKind.CANDLES:
        wanted = subscription.interval or "1m"
        found = next((name for name, ours in INTERVALS.items() if ours == wanted), None)
        if found is None:
            raise UnsupportedSubKind(exchange, f"candles of {wanted!r}")
        channel += found
    return Topic(channel, native(exchange, subscription.instrument))


def depth(subscription: Subscription) -> int:
    """Return the smallest book that Bybit offers and that is deep enough."""
    wanted = subscription.depth or DEPTHS[0]
    return next((d for d in DEPTHS if d >= wanted), DEPTHS[-1])
