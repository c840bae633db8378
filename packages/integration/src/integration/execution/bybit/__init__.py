"""Trading on Bybit v5: orders over REST, news over the private stream."""

from collections.abc import Iterable

from integration.execution.bybit.api import BybitApi, BybitConfig
from integration.execution.instrument_map import InstrumentMap
from integration.execution.live import LiveClient
from integration.models import ExchangeId, Instrument
from integration.signing import Credentials

__all__ = ["BybitApi", "BybitConfig", "bybit_client"]


def bybit_client(
    credentials: Credentials,
    instruments: Iterable[Instrument],
    *,
    config: BybitConfig | None = None,
    exchange: ExchangeId = ExchangeId.BYBIT_SPOT,
) -> LiveClient:
    """Return a client of Bybit.

    Args:
        credentials: Key and secret.
        instruments: What is traded, with their terms (`integration.instruments`).
        config: Where and how.
        exchange: `bybit_spot` or `bybit_perpetuals_usd`.

    Raises:
        Unsupported: Another exchange.
    """
    named = InstrumentMap(exchange, instruments)
    return LiveClient(BybitApi(named, credentials, config=config))
