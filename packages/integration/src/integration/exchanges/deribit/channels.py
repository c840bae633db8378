"""Which data Deribit has; a channel on the wire is `channel.instrument.interval`."""

from integration.errors import UnsupportedSubKind
from integration.exchanges.deribit.symbols import native
from integration.market.connector import Topic, supported
from integration.models import ExchangeId, InstrumentKind, SubKind, Subscription

__all__ = [
    "BOOK",
    "CHART",
    "INTERVAL",
    "INTERVALS",
    "QUOTE",
    "TICKER",
    "TRADE",
    "topic",
]

TRADE = "trades"
QUOTE = "quote"
BOOK = "book"
TICKER = "ticker"
CHART = "chart.trades."
"""Followed by the resolution here, by instrument and resolution on the wire."""
INTERVAL = "100ms"
"""The fastest that needs no login."""

INTERVALS = {
    "1": "1m",
    "3": "3m",
    "5": "5m",
    "10": "10m",
    "15": "15m",
    "30": "30m",
    "60": "1h",
    "120": "2h",
    "180": "3h",
    "360": "6h",
    "720": "12h",
    "1D": "1d",
}
"""Deribit's resolutions, and our names."""

SUPPORT = {
    SubKind.PUBLIC_TRADES: TRADE,
    SubKind.ORDER_BOOKS_L1: QUOTE,
    SubKind.ORDER_BOOKS_L2: BOOK,
    SubKind.CANDLES: CHART,
    SubKind.FUNDING_RATES: TICKER,
    SubKind.MARK_PRICES: TICKER,
    SubKind.INDEX_PRICES: TICKER,
    SubKind.OPEN_INTEREST: TICKER,
}


def topic(subscription: Subscription) -> Topic:
    """Name a subscription as Deribit does.

    Raises:
        UnsupportedSubKind: there is no such kind, interval or no such instruments.
    """
    exchange, instrument = ExchangeId.DERIBIT, subscription.instrument
    if instrument.kind is InstrumentKind.SPOT:
        raise UnsupportedSubKind(exchange, "spot instruments")
    channel, kind = supported(exchange, SUPPORT, subscription), subscription.kind
    if kind is SubKind.FUNDING_RATES and instrument.expiry is not None:
        raise UnsupportedSubKind(exchange, f"funding rates of {instrument}")
    if kind is SubKind.CANDLES:
        wanted = subscription.interval or "1m"
        found = next((name for name, ours in INTERVALS.items() if ours == wanted), None)
        if found is None:
            raise UnsupportedSubKind(exchange, f"candles of {wanted!r}")
        channel += found
    return Topic(channel, native(instrument))
