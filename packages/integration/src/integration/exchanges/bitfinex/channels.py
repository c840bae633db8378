"""Which data Bitfinex has. Messages name a channel by a number of the connection.

Channels of candles and of contracts' status have a key where others have a symbol:
`trade:1m:tBTCUSD`, `deriv:tBTCF0:USTF0`.
"""

from integration.errors import UnsupportedSubKind
from integration.exchanges.bitfinex.symbols import native
from integration.market.connector import Topic, supported
from integration.models import ExchangeId, InstrumentKind, SubKind, Subscription

__all__ = [
    "BOOK",
    "CANDLES",
    "DEPTHS",
    "INTERVALS",
    "KEYED",
    "LIQUIDATIONS",
    "STATUS",
    "TICKER",
    "TRADE",
    "topic",
]

TRADE = "trades"
BOOK = "book"
TICKER = "ticker"
CANDLES = "candles"
STATUS = "status"
KEYED = frozenset({CANDLES, STATUS})
LIQUIDATIONS = "liq:global"
"""The one key of all liquidations."""
DEPTHS = (25, 100, 250)

INTERVALS = {
    "1m": "1m",
    "5m": "5m",
    "15m": "15m",
    "30m": "30m",
    "1h": "1h",
    "3h": "3h",
    "6h": "6h",
    "12h": "12h",
    "1D": "1d",
    "1W": "1w",
    "14D": "14d",
    "1M": "1M",
}
"""Bitfinex's names of intervals, and ours."""

_SPOT = {
    SubKind.PUBLIC_TRADES: TRADE,
    SubKind.ORDER_BOOKS_L1: TICKER,
    SubKind.ORDER_BOOKS_L2: BOOK,
    SubKind.CANDLES: CANDLES,
}
_PERPETUAL = _SPOT | dict.fromkeys(
    (
        SubKind.LIQUIDATIONS,
        SubKind.FUNDING_RATES,
        SubKind.MARK_PRICES,
        SubKind.INDEX_PRICES,
        SubKind.OPEN_INTEREST,
    ),
    STATUS,
)
SUPPORT = {InstrumentKind.SPOT: _SPOT, InstrumentKind.PERPETUAL: _PERPETUAL}


def topic(subscription: Subscription) -> Topic:
    """Name a subscription as Bitfinex does.

    Raises:
        UnsupportedSubKind: there is no such kind, interval or no such instruments.
    """
    exchange, instrument = ExchangeId.BITFINEX, subscription.instrument
    table = SUPPORT.get(instrument.kind)
    if table is None:
        raise UnsupportedSubKind(exchange, f"{instrument.kind} instruments")
    channel, market = supported(exchange, table, subscription), native(instrument)
    if channel == CANDLES:
        return Topic(channel, f"trade:{_interval(subscription)}:{market}")
    if channel == STATUS:
        every = subscription.kind is SubKind.LIQUIDATIONS
        return Topic(channel, LIQUIDATIONS if every else f"deriv:{market}")
    if channel != BOOK:
        return Topic(channel, market)
    wanted = subscription.depth or DEPTHS[0]
    depth = next((d for d in DEPTHS if d >= wanted), DEPTHS[-1])
    return Topic(channel, market, (str(depth),))


def _interval(subscription: Subscription) -> str:
    wanted = subscription.interval or "1m"
    found = next((name for name, ours in INTERVALS.items() if ours == wanted), None)
    if found is None:
        raise UnsupportedSubKind(ExchangeId.BITFINEX, f"candles of {wanted!r}")
    return found
