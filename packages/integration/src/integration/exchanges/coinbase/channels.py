"""Which data Coinbase Exchange has. Books are batched every 50 ms."""

from integration.errors import UnsupportedSubKind
from integration.exchanges.coinbase.symbols import native
from integration.market.connector import Topic, supported
from integration.models import ExchangeId, InstrumentKind, SubKind, Subscription

__all__ = ["BOOK", "HEARTBEAT", "NAMES", "TICKER", "TRADE", "topic"]

TRADE = "matches"
TICKER = "ticker"
BOOK = "level2"
HEARTBEAT = "heartbeat"

NAMES = {BOOK: "level2_batch"}
"""Where the channel to ask for is called otherwise; `level2` itself needs a key."""

SUPPORT = {
    SubKind.PUBLIC_TRADES: TRADE,
    SubKind.ORDER_BOOKS_L1: TICKER,
    SubKind.ORDER_BOOKS_L2: BOOK,
}


def topic(subscription: Subscription) -> Topic:
    """Name a subscription as Coinbase does.

    Raises:
        UnsupportedSubKind: there is no such kind or no such instruments.
    """
    exchange, instrument = ExchangeId.COINBASE, subscription.instrument
    if instrument.kind is not InstrumentKind.SPOT:
        raise UnsupportedSubKind(exchange, f"{instrument.kind} instruments")
    return Topic(supported(exchange, SUPPORT, subscription), native(instrument))
