"""Trading on Binance spot: orders over REST, news over the user data stream."""

from collections.abc import Iterable

from integration.execution.binance.api import BinanceApi, BinanceConfig, UserStream
from integration.execution.instrument_map import InstrumentMap
from integration.execution.live import LiveClient
from integration.models import ExchangeId, Instrument
from integration.rest.signer import Mac
from integration.signing import Credentials

__all__ = ["BinanceApi", "BinanceConfig", "UserStream", "binance_client"]


def binance_client(
    credentials: Credentials,
    instruments: Iterable[Instrument],
    *,
    mac: Mac | None = None,
    config: BinanceConfig | None = None,
    exchange: ExchangeId = ExchangeId.BINANCE_SPOT,
) -> LiveClient:
    """Return a client of Binance spot.

    Args:
        credentials: Key, and the secret of an HMAC key.
        instruments: What is traded, with their terms (`integration.instruments`).
        mac: An `Ed25519Key` or `RsaKey`, where the key is of that kind.
        config: Where and how.
        exchange: `binance_spot`, or `binance_us` with its own URLs.
    """
    named = InstrumentMap(exchange, instruments)
    signs: Mac | str = credentials.secret if mac is None else mac
    return LiveClient(BinanceApi(named, credentials.key, signs, config=config))
