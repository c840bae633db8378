"""Trades of one recorded WebSocket line, whatever the exchange."""

from typing import Any

from integration.errors import IntegrationError, Unidentifiable
from integration.exchanges.bitfinex import BitfinexTransformer
from integration.exchanges.registry import connector_for
from integration.market.connector import RouteTable, Topic
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    PublicTrade,
)

_EXCHANGES = {
    "BINANCE": ExchangeId.BINANCE_SPOT,
    "BINANCE_US": ExchangeId.BINANCE_US,
    "BINANCE_FUTURES": ExchangeId.BINANCE_FUTURES_USD,
    "BINANCE_DELIVERY": ExchangeId.BINANCE_FUTURES_COIN,
    "BITFINEX": ExchangeId.BITFINEX,
    "BITMEX": ExchangeId.BITMEX,
    "BITSTAMP": ExchangeId.BITSTAMP,
    "BYBIT": ExchangeId.BYBIT_PERPETUALS_USD,
    "BYBIT_SPOT": ExchangeId.BYBIT_SPOT,
    "COINBASE": ExchangeId.COINBASE,
    "COINBASE_ADVANCED": ExchangeId.COINBASE_ADVANCED,
    "DERIBIT": ExchangeId.DERIBIT,
    "GATEIO": ExchangeId.GATEIO_SPOT,
    "GATEIO_FUTURES": ExchangeId.GATEIO_PERPETUALS_USD,
    "GATEIO_OPTIONS": ExchangeId.GATEIO_OPTIONS,
    "HYPERLIQUID": ExchangeId.HYPERLIQUID,
    "KRAKEN": ExchangeId.KRAKEN,
    "KRAKEN_V2": ExchangeId.KRAKEN_V2,
    "OKX": ExchangeId.OKX,
}
_ANY = MarketDataInstrument.spot("any", "any")
_BITFINEX_TRADES = Topic("trades", "any")


class _AnySymbol(dict[str, MarketDataInstrument]):
    """A line alone names no subscriptions: every symbol is welcome."""

    def get(self, market: str, default: Any = None) -> MarketDataInstrument:  # type: ignore[override]
        del market, default
        return _ANY


class _AnyRoute(RouteTable):
    def channel(self, channel: str) -> dict[str, MarketDataInstrument]:
        del channel
        return _AnySymbol()


class _AnyChannel(dict[int, Topic]):
    """Nor does it name Bitfinex's channel numbers; `te` is always a trade."""

    def get(self, number: int, default: Any = None) -> Topic:  # type: ignore[override]
        del number, default
        return _BITFINEX_TRADES


def parse(exchange: str, raw: str) -> list[dict[str, str | None]]:
    """Return the trades of one line.

    Raises:
        ValueError: the exchange is unknown, or the line is none of its messages.
    """
    if exchange not in _EXCHANGES:
        msg = f"unknown exchange {exchange!r}; known: {', '.join(sorted(_EXCHANGES))}"
        raise ValueError(msg)
    transformer = connector_for(_EXCHANGES[exchange]).transformer(_AnyRoute())
    if isinstance(transformer, BitfinexTransformer):
        transformer._topics = _AnyChannel()
    trades = []
    for output in transformer.feed(raw.encode(), 0):
        if isinstance(output, Unidentifiable):
            continue  # a channel without trades
        if isinstance(output, IntegrationError):
            raise ValueError(str(output)) from output  # noqa: TRY004  the contract
        if isinstance(output, MarketEvent) and isinstance(output.kind, PublicTrade):
            kind = output.kind
            trades.append(
                {
                    "kind": "trade",
                    "side": kind.side.value,
                    # As digits: str() of a Decimal writes 0.00000001 as 1E-8.
                    "price": f"{kind.price:f}",
                    "amount": f"{kind.amount:f}",
                    "id": kind.id,
                }
            )
    return trades
