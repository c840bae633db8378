"""Which data OKX has; candles are served at another path."""

from integration.errors import UnsupportedSubKind
from integration.exchanges.okx.symbols import native
from integration.exchanges.shared import join_symbol
from integration.market.connector import Topic, supported
from integration.models import ExchangeId, InstrumentKind, SubKind, Subscription

__all__ = [
    "BOOK",
    "CANDLE",
    "FUNDING",
    "INDEX",
    "INTERVALS",
    "LIQUIDATION",
    "MARK",
    "OPEN_INTEREST",
    "TOP",
    "TRADE",
    "interval",
    "topic",
]

TRADE = "trades"
TOP = "bbo-tbt"
BOOK = "books"
LIQUIDATION = "liquidation-orders"
FUNDING = "funding-rate"
MARK = "mark-price"
INDEX = "index-tickers"
"""Of a pair, for all contracts on it."""
OPEN_INTEREST = "open-interest"
CANDLE = "candle"

INTERVALS = {
    "1s": "1s",
    "1m": "1m",
    "3m": "3m",
    "5m": "5m",
    "15m": "15m",
    "30m": "30m",
    "1H": "1h",
    "2H": "2h",
    "4H": "4h",
    "6Hutc": "6h",
    "12Hutc": "12h",
    "1Dutc": "1d",
    "1Wutc": "1w",
    "1Mutc": "1M",
}
"""OKX's names of intervals, and ours; from 6 hours on in UTC, not Hong Kong time."""

_LOCAL = {"6H": "6h", "12H": "12h", "1D": "1d", "1W": "1w", "1M": "1M"}

SUPPORT = {
    SubKind.PUBLIC_TRADES: TRADE,
    SubKind.ORDER_BOOKS_L1: TOP,
    SubKind.ORDER_BOOKS_L2: BOOK,
    SubKind.LIQUIDATIONS: LIQUIDATION,
    SubKind.CANDLES: CANDLE,
    SubKind.FUNDING_RATES: FUNDING,
    SubKind.MARK_PRICES: MARK,
    SubKind.INDEX_PRICES: INDEX,
    SubKind.OPEN_INTEREST: OPEN_INTEREST,
}

_DERIVATIVES_ONLY = frozenset(
    {SubKind.MARK_PRICES, SubKind.INDEX_PRICES, SubKind.OPEN_INTEREST}
)

INSTRUMENT_TYPES = {
    InstrumentKind.PERPETUAL: "SWAP",
    InstrumentKind.FUTURE: "FUTURES",
    InstrumentKind.OPTION: "OPTION",
}


def topic(subscription: Subscription) -> Topic:
    """Name a subscription as OKX does.

    Raises:
        UnsupportedSubKind: there is no such kind for the instrument, or interval.
    """
    exchange, instrument = ExchangeId.OKX, subscription.instrument
    channel = supported(exchange, SUPPORT, subscription)
    if subscription.kind is SubKind.LIQUIDATIONS:
        group = INSTRUMENT_TYPES.get(instrument.kind)
        if group is None:
            raise UnsupportedSubKind(exchange, f"liquidations of {instrument}")
        return Topic(channel, group)
    if subscription.kind is SubKind.FUNDING_RATES and (
        instrument.kind is not InstrumentKind.PERPETUAL
    ):
        raise UnsupportedSubKind(exchange, f"funding rates of {instrument}")
    if (
        subscription.kind in _DERIVATIVES_ONLY
        and instrument.kind is InstrumentKind.SPOT
    ):
        raise UnsupportedSubKind(exchange, f"{subscription.kind} of {instrument}")
    if subscription.kind is SubKind.INDEX_PRICES:
        return Topic(channel, join_symbol(instrument, "-"))
    if subscription.kind is SubKind.CANDLES:
        wanted = subscription.interval or "1m"
        found = next((name for name, ours in INTERVALS.items() if ours == wanted), None)
        if found is None:
            raise UnsupportedSubKind(exchange, f"candles of {wanted!r}")
        channel += found
    return Topic(channel, native(instrument))


def interval(channel: str) -> str:
    """Return our name of a candle channel's interval."""
    name = channel.removeprefix(CANDLE)
    return INTERVALS.get(name) or _LOCAL.get(name, name)
