"""Finds the connector of an exchange, importing only that venue."""

from functools import cache
from importlib import import_module

from integration.errors import Unsupported
from integration.market.connector import Connector
from integration.models import ExchangeId

__all__ = ["connector_for", "exchanges"]

_PACKAGES = {
    ExchangeId.BINANCE_SPOT: "binance",
    ExchangeId.BINANCE_US: "binance",
    ExchangeId.BINANCE_FUTURES_USD: "binance",
    ExchangeId.BINANCE_FUTURES_COIN: "binance",
}


def exchanges() -> tuple[ExchangeId, ...]:
    """Return every exchange that has a connector, sorted."""
    return tuple(sorted(_PACKAGES))


@cache
def connector_for(exchange: ExchangeId) -> Connector:
    """Return the connector of an exchange.

    Raises:
        Unsupported: there is none.
    """
    package = _PACKAGES.get(exchange)
    if package is None:
        known = ", ".join(exchanges())
        raise Unsupported("integration.exchanges", f"{exchange}: known are {known}")
    module = import_module(f"integration.exchanges.{package}")
    connectors: tuple[Connector, ...] = module.CONNECTORS
    return next(c for c in connectors if c.exchange is exchange)
