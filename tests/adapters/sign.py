"""Signs a request as a venue wants it, for suites that check signatures from outside.

`sign(case)` takes exchange, api, method, path, params, ts_ms, key, secret, passphrase
and returns url, body and headers. A path that starts with a slash is taken whole;
any other is put behind the prefix of the exchange's `api`.
"""

from typing import Any, ClassVar

from integration.rest import BodyFormat, RestRequest, prepare
from integration.signing import (
    Credentials,
    binance,
    bitfinex,
    bitmex,
    bybit,
    coinbase,
    coinbase_advanced,
    deribit,
    gateio,
    kraken,
    kraken_futures,
    okx,
)
from netcore.clock import ManualClock

STRATEGIES = {
    "binance": lambda c, t: binance.request_signer(c.key, c.secret, t),
    "bitfinex": bitfinex.request_signer,
    "bitmex": bitmex.request_signer,
    "bybit": bybit.request_signer,
    "coinbase": coinbase.request_signer,
    "coinbase_advanced": coinbase_advanced.legacy_request_signer,
    "deribit": deribit.request_signer,
    "gateio": gateio.request_signer,
    "kraken": kraken.request_signer,
    "kraken_futures": kraken_futures.request_signer,
    "okx": okx.request_signer,
}
ALIASES = {
    "binance_spot": "binance",
    "binance_futures_usd": "binance",
    "binance_futures_coin": "binance",
    "binanceusdm": "binance",
    "binancecoinm": "binance",
    "bybit_spot": "bybit",
    "bybit_perpetuals_usd": "bybit",
    "coinbaseexchange": "coinbase",
    "coinbaseadvanced": "coinbase_advanced",
    "gate": "gateio",
    "krakenfutures": "kraken_futures",
    "okex": "okx",
}
BASES = {
    "binance": "https://api.binance.com/api/v3",
    "bitfinex": "https://api.bitfinex.com/v2",
    "bitmex": "https://www.bitmex.com/api/v1",
    "bybit": "https://api.bybit.com",
    "coinbase": "https://api.exchange.coinbase.com",
    "coinbase_advanced": "https://api.coinbase.com",
    "deribit": "https://www.deribit.com/api/v2/private",
    "gateio": "https://api.gateio.ws/api/v4",
    "kraken": "https://api.kraken.com/0/private",
    "kraken_futures": "https://futures.kraken.com/derivatives/api/v3",
    "okx": "https://www.okx.com/api/v5",
}
API_BASES = {
    ("binance", "sapi"): "https://api.binance.com/sapi/v1",
    ("binance", "fapi"): "https://fapi.binance.com/fapi/v1",
    ("binance", "fapiPrivate"): "https://fapi.binance.com/fapi/v1",
    ("binance", "dapi"): "https://dapi.binance.com/dapi/v1",
    ("binance", "dapiPrivate"): "https://dapi.binance.com/dapi/v1",
}
FORMS = {"binance", "kraken", "kraken_futures"}
POST_ONLY = {"bitfinex", "kraken"}


def sign(case: dict[str, Any]) -> dict[str, Any]:
    """Return the url, body and headers of a signed request.

    Raises:
        ValueError: The exchange is not known.
    """
    name = str(case["exchange"]).lower()
    venue = ALIASES.get(name, name)
    if venue not in STRATEGIES:
        raise ValueError(f"no recipe is known for {case['exchange']!r}")
    credentials = Credentials(
        key=case["key"],
        secret=case["secret"],
        passphrase=case.get("passphrase") or "",
    )
    clock = ManualClock(now_ns=int(case["ts_ms"]) * 1_000_000)
    base, request = _request(venue, case)
    strategy = STRATEGIES[venue](credentials, clock)
    signed = strategy.build(request, prepare(base, request))
    body = signed.body if signed.content else None
    return {"url": signed.url, "body": body, "headers": dict(signed.headers)}


def _request(venue: str, case: dict[str, Any]) -> tuple[str, RestRequest[Any]]:
    params = dict(case.get("params") or {})
    where = case["path"]
    base = API_BASES.get((venue, str(case.get("api"))), BASES[venue])
    if where.startswith("/"):
        base = "/".join(base.split("/")[:3])
    else:
        where = f"/{where}"
    verb = str(case["method"]).upper()
    in_body = verb in {"POST", "PUT"} or venue in POST_ONLY
    filled = params if params or venue == "bitfinex" else None
    style = BodyFormat.FORM if venue in FORMS else BodyFormat.JSON

    class Call(RestRequest[Any], frozen=True):
        method: ClassVar[str] = verb
        body_format: ClassVar[BodyFormat] = style

        def path(self) -> str:
            return where

        def query_params(self) -> dict[str, Any] | None:
            return None if in_body else params

        def body(self) -> dict[str, Any] | None:
            return filled if in_body else None

    return base, Call()
