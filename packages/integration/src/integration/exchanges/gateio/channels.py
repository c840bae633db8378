"""Which data Gate.io has; a channel is the family of the server and a name.

Candles are told apart by what messages call them: the interval before the symbol,
`1m_BTC_USDT`.
"""

from integration.errors import UnsupportedSubKind
from integration.exchanges.gateio.symbols import native
from integration.market.connector import Topic, supported
from integration.models import ExchangeId, InstrumentKind, SubKind, Subscription

__all__ = [
    "BOOK",
    "CANDLES",
    "CONTRACT_CANDLES",
    "CONTRACT_TICKERS",
    "FAMILIES",
    "INTERVALS",
    "LIQUIDATION",
    "TICKER",
    "TICKERS",
    "TRADE",
    "topic",
]

TRADE = "trades"
TICKER = "book_ticker"
BOOK = "order_book_update"
LIQUIDATION = "public_liquidates"
CANDLES = "candlesticks"
CONTRACT_CANDLES = "contract_candlesticks"
"""What options call them: without `contract_` it is the underlying's."""
TICKERS = "tickers"
CONTRACT_TICKERS = "contract_tickers"

INTERVALS = {
    "10s": "10s",
    "1m": "1m",
    "5m": "5m",
    "15m": "15m",
    "30m": "30m",
    "1h": "1h",
    "4h": "4h",
    "8h": "8h",
    "1d": "1d",
    "7d": "1w",
}
"""Gate.io's names of intervals, and ours."""

_SPOT = {
    SubKind.PUBLIC_TRADES: TRADE,
    SubKind.ORDER_BOOKS_L1: TICKER,
    SubKind.ORDER_BOOKS_L2: BOOK,
}
_CANDLES = {SubKind.CANDLES: CANDLES}
_FUTURE = (
    _SPOT
    | _CANDLES
    | dict.fromkeys(
        (SubKind.MARK_PRICES, SubKind.INDEX_PRICES, SubKind.OPEN_INTEREST), TICKERS
    )
)
_PERPETUAL = _FUTURE | {
    SubKind.LIQUIDATIONS: LIQUIDATION,
    SubKind.FUNDING_RATES: TICKERS,
}
_OPTION = (
    _SPOT
    | {SubKind.CANDLES: CONTRACT_CANDLES}
    | dict.fromkeys(
        (SubKind.MARK_PRICES, SubKind.INDEX_PRICES, SubKind.OPEN_INTEREST),
        CONTRACT_TICKERS,
    )
)

FAMILIES = {
    ExchangeId.GATEIO_SPOT: ("spot", InstrumentKind.SPOT, _SPOT | _CANDLES),
    ExchangeId.GATEIO_PERPETUALS_USD: ("futures", InstrumentKind.PERPETUAL, _PERPETUAL),
    ExchangeId.GATEIO_PERPETUALS_BTC: ("futures", InstrumentKind.PERPETUAL, _PERPETUAL),
    ExchangeId.GATEIO_FUTURES_USD: ("futures", InstrumentKind.FUTURE, _FUTURE),
    ExchangeId.GATEIO_FUTURES_BTC: ("futures", InstrumentKind.FUTURE, _FUTURE),
    ExchangeId.GATEIO_OPTIONS: ("options", InstrumentKind.OPTION, _OPTION),
}
"""Name of the channels, kind of the instruments, and what there is."""


def topic(exchange: ExchangeId, subscription: Subscription) -> Topic:
    """Name a subscription as Gate.io does.

    Raises:
        UnsupportedSubKind: the server has no such kind, interval or instruments.
    """
    family, kind, names = FAMILIES[exchange]
    instrument = subscription.instrument
    if instrument.kind is not kind:
        raise UnsupportedSubKind(exchange, f"{instrument.kind} instruments")
    name = supported(exchange, names, subscription)
    market = native(instrument)
    if subscription.kind is SubKind.CANDLES:
        wanted = subscription.interval or "1m"
        found = next((n for n, ours in INTERVALS.items() if ours == wanted), None)
        if found is None:
            raise UnsupportedSubKind(exchange, f"candles of {wanted!r}")
        market = f"{found}_{market}"
    return Topic(f"{family}.{name}", market)
