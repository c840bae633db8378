"""Which data Binance has, and what its streams are called.

A stream is the symbol in lower case followed by one of these names; messages carry
the symbol in upper case.
"""

from integration.errors import UnsupportedSubKind
from integration.exchanges.binance.symbols import native
from integration.exchanges.shared import join_symbol
from integration.market.connector import Topic, supported
from integration.models import ExchangeId, InstrumentKind, SubKind, Subscription

__all__ = [
    "AGG_TRADE",
    "BOOK",
    "FORCE_ORDER",
    "INDEX",
    "MARK",
    "OPEN_INTEREST",
    "TICKER",
    "TRADE",
    "topic",
]

TRADE = "@trade"
AGG_TRADE = "@aggTrade"
TICKER = "@bookTicker"
BOOK = "@depth@100ms"
FORCE_ORDER = "@forceOrder"
MARK = "@markPrice"
"""Mark price, funding rate, and on USD-M the index."""
INDEX = "@indexPrice"
"""Of a pair, for all of COIN-M's contracts on it."""
OPEN_INTEREST = "openInterest"
"""No stream: it is asked for by HTTP."""

INTERVALS = frozenset(
    {"1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h"}
    | {"1d", "3d", "1w", "1M"}
)

_SPOT = {
    SubKind.PUBLIC_TRADES: TRADE,
    SubKind.AGGREGATED_TRADES: AGG_TRADE,
    SubKind.ORDER_BOOKS_L1: TICKER,
    SubKind.ORDER_BOOKS_L2: BOOK,
    SubKind.CANDLES: "@kline_",
}
_FUTURES = _SPOT | {
    SubKind.LIQUIDATIONS: FORCE_ORDER,
    SubKind.FUNDING_RATES: MARK,
    SubKind.MARK_PRICES: MARK,
    SubKind.INDEX_PRICES: MARK,
    SubKind.OPEN_INTEREST: OPEN_INTEREST,
}
_COIN = _FUTURES | {SubKind.INDEX_PRICES: INDEX}
_DERIVATIVES = frozenset({InstrumentKind.PERPETUAL, InstrumentKind.FUTURE})

SUPPORT = {
    ExchangeId.BINANCE_SPOT: (frozenset({InstrumentKind.SPOT}), _SPOT),
    ExchangeId.BINANCE_US: (frozenset({InstrumentKind.SPOT}), _SPOT),
    ExchangeId.BINANCE_FUTURES_USD: (_DERIVATIVES, _FUTURES),
    ExchangeId.BINANCE_FUTURES_COIN: (_DERIVATIVES, _COIN),
}


def topic(exchange: ExchangeId, subscription: Subscription) -> Topic:
    """Name a subscription as Binance does.

    Raises:
        UnsupportedSubKind: the server has no such instruments, kind or interval.
    """
    kinds, channels = SUPPORT[exchange]
    instrument = subscription.instrument
    if instrument.kind not in kinds:
        raise UnsupportedSubKind(exchange, f"{instrument.kind} instruments")
    channel = supported(exchange, channels, subscription)
    if subscription.kind is SubKind.CANDLES:
        interval = subscription.interval or "1m"
        if interval not in INTERVALS:
            raise UnsupportedSubKind(exchange, f"candles of {interval!r}")
        channel += interval
    if subscription.kind is SubKind.FUNDING_RATES and instrument.expiry is not None:
        raise UnsupportedSubKind(exchange, f"funding rates of {instrument}")
    if channel == INDEX:
        return Topic(channel=channel, market=join_symbol(instrument, ""))
    return Topic(channel=channel, market=native(exchange, instrument))
