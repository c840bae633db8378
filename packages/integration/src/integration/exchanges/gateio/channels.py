"""Which data Gate.io has; a channel is the family of the server and a name."""

from integration.errors import UnsupportedSubKind
from integration.exchanges.gateio.symbols import native
from integration.market.connector import Topic, supported
from integration.models import ExchangeId, InstrumentKind, SubKind, Subscription

__all__ = ["BOOK", "FAMILIES", "LIQUIDATION", "TICKER", "TRADE", "topic"]

TRADE = "trades"
TICKER = "book_ticker"
BOOK = "order_book_update"
LIQUIDATION = "public_liquidates"

_SPOT = {
    SubKind.PUBLIC_TRADES: TRADE,
    SubKind.ORDER_BOOKS_L1: TICKER,
    SubKind.ORDER_BOOKS_L2: BOOK,
}
_PERPETUAL = _SPOT | {SubKind.LIQUIDATIONS: LIQUIDATION}

FAMILIES = {
    ExchangeId.GATEIO_SPOT: ("spot", InstrumentKind.SPOT, _SPOT),
    ExchangeId.GATEIO_PERPETUALS_USD: ("futures", InstrumentKind.PERPETUAL, _PERPETUAL),
    ExchangeId.GATEIO_PERPETUALS_BTC: ("futures", InstrumentKind.PERPETUAL, _PERPETUAL),
    ExchangeId.GATEIO_FUTURES_USD: ("futures", InstrumentKind.FUTURE, _SPOT),
    ExchangeId.GATEIO_FUTURES_BTC: ("futures", InstrumentKind.FUTURE, _SPOT),
    ExchangeId.GATEIO_OPTIONS: ("options", InstrumentKind.OPTION, _SPOT),
}
"""Name of the channels, kind of the instruments, and what there is."""


def topic(exchange: ExchangeId, subscription: Subscription) -> Topic:
    """Name a subscription as Gate.io does.

    Raises:
        UnsupportedSubKind: the server has no such kind or instruments.
    """
    family, kind, names = FAMILIES[exchange]
    instrument = subscription.instrument
    if instrument.kind is not kind:
        raise UnsupportedSubKind(exchange, f"{instrument.kind} instruments")
    name = supported(exchange, names, subscription)
    return Topic(f"{family}.{name}", native(instrument))
