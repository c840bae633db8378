"""How subscriptions are spelled on a command line."""

from integration.models import (
    ExchangeId,
    InstrumentKind,
    MarketDataInstrument,
    SubKind,
    Subscription,
)

__all__ = ["KINDS", "parse_kind", "parse_target"]

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
    return KINDS.get(text) or SubKind(text)


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
    instrument_name, _, kind_name = (
        rest.rpartition(":") if ":" in rest else (rest, "", "")
    )
    exchange = ExchangeId(exchange_name)
    instrument = _instrument(exchange, instrument_name)
    kind = parse_kind(kind_name) if kind_name else default
    return Subscription(exchange, instrument, kind)


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
