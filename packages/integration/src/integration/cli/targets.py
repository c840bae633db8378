"""How subscriptions are spelled on a command line."""

from integration.errors import DataError
from integration.models import (
    ExchangeId,
    InstrumentKind,
    MarketDataInstrument,
    SubKind,
    Subscription,
)

__all__ = ["KINDS", "exchange_id", "parse_kind", "parse_target"]

KINDS = {
    "trades": SubKind.PUBLIC_TRADES,
    "l1": SubKind.ORDER_BOOKS_L1,
    "l2": SubKind.ORDER_BOOKS_L2,
    "funding": SubKind.FUNDING_RATES,
    "mark": SubKind.MARK_PRICES,
    "index": SubKind.INDEX_PRICES,
    "oi": SubKind.OPEN_INTEREST,
}
"""Short names beside the full ones."""


def parse_kind(text: str) -> SubKind:
    """Read a kind of data, by its short name or its full one.

    Raises:
        ValueError: it is neither.
    """
    try:
        return KINDS.get(text) or SubKind(text)
    except ValueError as error:
        msg = f"{text!r} is no kind of data; `integration venues` lists them"
        raise ValueError(msg) from error


def exchange_id(text: str) -> ExchangeId:
    """Read the name of an exchange.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        return ExchangeId(text)
    except ValueError as error:
        msg = f"{text!r} is no exchange; `integration venues` lists them"
        raise ValueError(msg) from error


def parse_target(
    text: str, *, default: SubKind = SubKind.PUBLIC_TRADES
) -> Subscription:
    """Read `exchange:base/quote[.perpetual][:kind]`, or `exchange:SYMBOL[:kind]`.

    Args:
        text: such as `okx:btc/usdt:l1`, `deribit:BTC-PERPETUAL`.
        default: the kind of those that name none.

    Raises:
        ValueError: it is not spelled so, or names something unknown.
        DataError: the symbol is not the venue's.
    """
    exchange_name, _, rest = text.partition(":")
    exchange = exchange_id(exchange_name)
    name, colon, kind_name = rest.rpartition(":")
    if not colon:
        return Subscription(exchange, _instrument(exchange, rest), default)
    try:
        kind = parse_kind(kind_name)
    except ValueError:
        # A symbol may have a colon of its own: bitfinex:tBTCF0:USTF0.
        instrument = _spelled(exchange, rest)
        if instrument is None:
            raise
        return Subscription(exchange, instrument, default)
    return Subscription(exchange, _instrument(exchange, name), kind)


def _instrument(exchange: ExchangeId, name: str) -> MarketDataInstrument:
    base, slash, quote = name.partition("/")
    if slash and name == name.lower():
        quote, _, kind = quote.partition(".")
        if kind in {"", InstrumentKind.SPOT}:
            return MarketDataInstrument.spot(base, quote)
        if kind == InstrumentKind.PERPETUAL:
            return MarketDataInstrument.perpetual(base, quote)
        msg = f"{name!r}: after the dot comes spot or perpetual; name others by symbol"
        raise ValueError(msg)
    if not name:
        msg = "an instrument is needed: exchange:base/quote or exchange:SYMBOL"
        raise ValueError(msg)
    from integration.exchanges.registry import connector_for

    return connector_for(exchange).instrument(name)


def _spelled(exchange: ExchangeId, symbol: str) -> MarketDataInstrument | None:
    """Return what a symbol names, if it is exactly how the venue spells that."""
    from integration.exchanges.registry import connector_for

    connector = connector_for(exchange)
    try:
        instrument = connector.instrument(symbol)
    except DataError:
        return None
    return instrument if connector.native(instrument) == symbol else None
