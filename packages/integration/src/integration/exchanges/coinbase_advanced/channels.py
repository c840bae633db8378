"""Which data Coinbase Advanced has; books are asked for as level2, come as l2_data."""

from integration.errors import UnsupportedSubKind
from integration.exchanges.coinbase_advanced.symbols import native
from integration.market.connector import Topic, supported
from integration.models import ExchangeId, InstrumentKind, SubKind, Subscription

__all__ = ["BOOK", "CANDLES", "HEARTBEATS", "INTERVAL", "TICKER", "TRADE", "topic"]

TRADE = "market_trades"
TICKER = "ticker"
BOOK = "level2"
CANDLES = "candles"
HEARTBEATS = "heartbeats"

INTERVAL = "5m"
"""The one interval of its candles."""

SUPPORT = {
    SubKind.PUBLIC_TRADES: TRADE,
    SubKind.ORDER_BOOKS_L1: TICKER,
    SubKind.ORDER_BOOKS_L2: BOOK,
    SubKind.CANDLES: CANDLES,
}


def topic(subscription: Subscription) -> Topic:
    """Name a subscription as Coinbase does.

    Raises:
        UnsupportedSubKind: there is no such kind, interval or no such instruments.
    """
    exchange, instrument = ExchangeId.COINBASE_ADVANCED, subscription.instrument
    if instrument.kind is not InstrumentKind.SPOT:
        raise UnsupportedSubKind(exchange, f"{instrument.kind} instruments")
    if subscription.interval not in {None, INTERVAL}:
        raise UnsupportedSubKind(exchange, f"candles of {subscription.interval!r}")
    return Topic(supported(exchange, SUPPORT, subscription), native(instrument))
