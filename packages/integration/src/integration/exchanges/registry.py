"""Which folder has an exchange; finds its connector, importing only that venue."""

from functools import cache
from importlib import import_module

from integration.errors import Unsupported
from integration.market.connector import Connector
from integration.models import ExchangeId

__all__ = ["connector_for", "exchanges", "folder_of", "use_connector"]

_FOLDERS = {
    ExchangeId.BINANCE_SPOT: "binance",
    ExchangeId.BINANCE_US: "binance",
    ExchangeId.BINANCE_FUTURES_USD: "binance",
    ExchangeId.BINANCE_FUTURES_COIN: "binance",
    ExchangeId.BYBIT_SPOT: "bybit",
    ExchangeId.BYBIT_PERPETUALS_USD: "bybit",
    ExchangeId.OKX: "okx",
    ExchangeId.KRAKEN: "kraken",
    ExchangeId.KRAKEN_V2: "kraken_v2",
    ExchangeId.COINBASE: "coinbase",
    ExchangeId.COINBASE_ADVANCED: "coinbase_advanced",
    ExchangeId.GATEIO_SPOT: "gateio",
    ExchangeId.GATEIO_PERPETUALS_USD: "gateio",
    ExchangeId.GATEIO_PERPETUALS_BTC: "gateio",
    ExchangeId.GATEIO_FUTURES_USD: "gateio",
    ExchangeId.GATEIO_FUTURES_BTC: "gateio",
    ExchangeId.GATEIO_OPTIONS: "gateio",
    ExchangeId.BITFINEX: "bitfinex",
    ExchangeId.BITMEX: "bitmex",
    ExchangeId.BITSTAMP: "bitstamp",
    ExchangeId.DERIBIT: "deribit",
    ExchangeId.HYPERLIQUID: "hyperliquid",
}


_OWN: dict[ExchangeId, Connector] = {}
"""Connectors that are not of this package."""


def exchanges() -> tuple[ExchangeId, ...]:
    """Return every exchange that has a connector here, sorted."""
    return tuple(sorted(_FOLDERS))


def use_connector(connector: Connector) -> None:
    """Offer a connector of one's own, for a venue that this package has not.

    Everything that finds venues by their id finds it from then on, in this process.
    One that was offered before for the same exchange is replaced.

    Args:
        connector: made from the template in docs/venue-template.md; its exchange is
            an id that has no connector here, such as `ExchangeId.OTHER`.

    Raises:
        ValueError: the exchange has a connector here.
    """
    if connector.exchange in _FOLDERS:
        msg = f"{connector.exchange} has a connector already: take another id"
        raise ValueError(msg)
    _OWN[connector.exchange] = connector


def folder_of(exchange: ExchangeId) -> str:
    """Return the package of an exchange's venue; several servers may share one.

    Raises:
        Unsupported: there is none.
    """
    folder = _FOLDERS.get(exchange)
    if folder is None:
        known = ", ".join(exchanges())
        raise Unsupported("integration.exchanges", f"{exchange}: known are {known}")
    return f"integration.exchanges.{folder}"


def connector_for(exchange: ExchangeId) -> Connector:
    """Return the connector of an exchange.

    Raises:
        Unsupported: there is none.
    """
    return _OWN.get(exchange) or _connector(exchange)


@cache
def _connector(exchange: ExchangeId) -> Connector:
    connectors: tuple[Connector, ...] = import_module(folder_of(exchange)).CONNECTORS
    return next(c for c in connectors if c.exchange == exchange)
