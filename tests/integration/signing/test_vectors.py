"""Every published or recomputed vector, through the public functions of its venue."""

import json
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from integration.rest import (
    Base64Encoder,
    HexEncoder,
    HmacKey,
    PreparedRequest,
    RestRequest,
)
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

PATH = Path(__file__).resolve().parents[3] / "../shared/data/wire/signing.json"
ROWS = json.loads(PATH.read_text()) if PATH.exists() else []
if not ROWS:
    pytest.skip(f"{PATH} absent", allow_module_level=True)

KEY = "public-key"


class Bare(RestRequest[Any], frozen=True):
    response_type: ClassVar[Any] = Any

    def path(self):
        return "/unused"


def credentials(vector):
    return Credentials(
        key=vector.get("api_key", KEY), secret=vector["secret"], passphrase="pass"
    )


def prepared(method, target, content=b"", form=False):
    kind = "application/x-www-form-urlencoded" if form else "application/json"
    return PreparedRequest(
        method=method,
        origin="https://x",
        raw_path=target.encode(),
        content=content,
        headers=(("Content-Type", kind),) if content else (),
    )


def clock_ms(milliseconds):
    return ManualClock(now_ns=milliseconds * 1_000_000)


def clock_s(seconds):
    return clock_ms(seconds * 1000)


def sign(strategy, request):
    return strategy.build(Bare(), request)


CASES = {}


def case(exchange, name, **arguments):
    """Register a function as the check of one vector."""

    def register(function):
        CASES[exchange, name] = partial(function, **arguments)
        return function

    return register


@pytest.mark.parametrize("vector", ROWS, ids=lambda r: f"{r['exchange']}: {r['name']}")
def test_every_vector_comes_out(vector):
    CASES[vector["exchange"], vector["name"]](vector)


@case("binance", "docs example, all in query")
def binance_all_in_the_query(vector):
    query = vector["prehash"].removesuffix("&recvWindow=5000&timestamp=1499827319559")
    strategy = binance.request_signer(
        vector["api_key"], vector["secret"], clock_ms(1_499_827_319_559)
    )

    signed = sign(strategy, prepared("POST", f"/api/v3/order?{query}"))

    assert signed.raw_path.decode() == vector["url"]
    assert signed.header("X-MBX-APIKEY") == vector["headers"]["X-MBX-APIKEY"]
    assert signed.query.endswith(f"&signature={vector['signature']}")


@case("binance", "mixed query and body (no & between them)")
def binance_query_and_body(vector):
    body = vector["body"].removesuffix("&recvWindow=5000&timestamp=1499827319559")
    strategy = binance.request_signer(
        vector["api_key"], vector["secret"], clock_ms(1_499_827_319_559)
    )

    signed = sign(
        strategy,
        prepared("POST", f"/api/v3/order?{vector['query']}", body.encode(), form=True),
    )

    assert signed.query == vector["query"]
    assert signed.body == f"{vector['body']}&signature={vector['signature']}"


@case("binance", "timestamp only")
def binance_timestamp_alone(vector):

    raw = HmacKey(vector["secret"]).sign(
        binance.prehash(vector["prehash"].encode(), b"")
    )

    assert HexEncoder().encode(raw) == vector["signature"]


@case("binance", "WebSocket API order.place: sorted parameters, apiKey included")
def binance_websocket_api(vector):
    params = dict(vector["params"])
    timestamp = params.pop("timestamp")
    key = params.pop("apiKey")

    signed = binance.signed_params(
        params, key=key, mac=HmacKey(vector["secret"]), timestamp_ms=int(timestamp)
    )

    assert binance.ws_prehash(vector["params"]).decode() == vector["prehash"]
    assert signed["signature"] == vector["signature"]


@case("bybit", "GET query")
def bybit_get(vector):
    strategy = bybit.request_signer(credentials(vector), clock_ms(1_700_000_000_000))

    signed = sign(
        strategy, prepared("GET", "/v5/order/realtime?category=linear&symbol=BTCUSDT")
    )

    for name, value in vector["headers"].items():
        assert signed.header(name) == value


@case("bybit", "POST body, spaces kept")
def bybit_post_keeps_the_spaces_of_the_body(vector):
    body = vector["prehash"].removeprefix("1700000000000test_api_key5000")
    strategy = bybit.request_signer(credentials(vector), clock_ms(1_700_000_000_000))

    signed = sign(strategy, prepared("POST", "/v5/order/create", body.encode()))

    for name, value in vector["headers"].items():
        assert signed.header(name) == value
    assert signed.body == body


@case("bybit", "private WebSocket auth")
def bybit_websocket(vector):

    message = bybit.auth_message(credentials(vector), 1_700_000_000_000)

    assert message == vector["message"]


OKX_ORDER = (
    b'{"instId":"BTC-USDT","tdMode":"cash","side":"buy","ordType":"limit",'
    b'"px":"2.15","sz":"2"}'
)


@case("okx", "GET", sent=prepared("GET", "/api/v5/account/balance"))
@case("okx", "GET with query", sent=prepared("GET", "/api/v5/account/balance?ccy=BTC"))
@case("okx", "POST body", sent=prepared("POST", "/api/v5/trade/order", OKX_ORDER))
def okx_rest(vector, sent):
    # 2020-12-08T09:08:57.715Z
    strategy = okx.request_signer(credentials(vector), clock_ms(1_607_418_537_715))

    signed = sign(strategy, sent)

    assert signed.header("OK-ACCESS-SIGN") == vector["signature"]
    assert signed.header("OK-ACCESS-TIMESTAMP") == "2020-12-08T09:08:57.715Z"
    assert signed.header("OK-ACCESS-PASSPHRASE") == "pass"
    assert signed.header("x-simulated-trading") is None


@case("okx", "WebSocket login")
def okx_login(vector):
    login = Credentials(key="key", secret=vector["secret"], passphrase="pass")

    assert okx.login_message(login, 1_704_876_947) == vector["message"]


COINBASE_ORDER = b'{"price":"1.0","size":"1.0","side":"buy","product_id":"BTC-USD"}'


@case("coinbase", "Exchange REST GET", sent=prepared("GET", "/accounts"))
@case(
    "coinbase", "Exchange REST POST", sent=prepared("POST", "/orders", COINBASE_ORDER)
)
def coinbase_rest(vector, sent):
    strategy = coinbase.request_signer(credentials(vector), clock_s(1_700_000_000))

    signed = sign(strategy, sent)

    assert signed.header("CB-ACCESS-SIGN") == vector["signature"]
    assert signed.header("CB-ACCESS-TIMESTAMP") == "1700000000"


@case("coinbase", "Exchange WebSocket subscribe")
def coinbase_websocket(vector):

    fields = coinbase.subscribe_fields(credentials(vector), 1_700_000_000)

    assert fields == {
        "signature": vector["signature"],
        "key": KEY,
        "passphrase": "pass",
        "timestamp": "1700000000",
    }


@case("coinbase_advanced", "legacy keys: hex, raw secret")
def coinbase_advanced_legacy(vector):
    strategy = coinbase_advanced.legacy_request_signer(
        credentials(vector), clock_s(1_700_000_000)
    )

    signed = sign(strategy, prepared("GET", "/api/v3/brokerage/accounts?limit=9"))

    assert signed.header("CB-ACCESS-SIGN") == vector["signature"]


@case("coinbase_advanced", "legacy WebSocket subscribe")
def coinbase_advanced_legacy_websocket(vector):

    fields = coinbase_advanced.legacy_ws_fields(
        credentials(vector), 1_700_000_000, "level2", ["BTC-USD", "ETH-USD"]
    )

    assert fields["signature"] == vector["signature"]


@case("kraken", "AddOrder")
def kraken_rest(vector):
    body = vector["body"].removeprefix(f"nonce={vector['nonce']}&")
    strategy = kraken.request_signer(
        credentials(vector), clock_ms(0), nonce=lambda: int(vector["nonce"])
    )

    signed = sign(strategy, prepared("POST", vector["path"], body.encode(), form=True))

    assert signed.body == vector["body"]
    assert signed.header("API-Sign") == vector["signature"]
    assert signed.header("API-Key") == KEY


@case("kraken_futures", "GET")
def kraken_futures_rest(vector):
    strategy = kraken_futures.request_signer(
        credentials(vector), clock_ms(0), nonce=lambda: int(vector["nonce"])
    )

    signed = sign(strategy, prepared("GET", f"{vector['path']}?symbol=pi_xbtusd"))

    assert signed.header("Authent") == vector["signature"]
    assert signed.header("Nonce") == vector["nonce"]


@case("kraken_futures", "WebSocket challenge")
def kraken_futures_challenge(vector):
    challenge = vector["prehash"].removeprefix("sha256(").removesuffix(")")

    answer = kraken_futures.signed_challenge(credentials(vector), challenge)

    assert answer == vector["signature"]


@case("bitfinex", "v2 REST")
def bitfinex_rest(vector):
    strategy = bitfinex.request_signer(
        credentials(vector), clock_ms(0), nonce=lambda: int(vector["nonce"])
    )

    signed = sign(strategy, prepared("POST", "/v2/auth/r/wallets", b"{}"))

    assert signed.header("bfx-signature") == vector["signature"]
    assert signed.header("bfx-nonce") == vector["nonce"]


@case("bitfinex", "WebSocket auth")
def bitfinex_websocket(vector):

    message = bitfinex.auth_message(credentials(vector), 1_700_000_000_000_000)

    assert message["authSig"] == vector["signature"]
    assert message["authPayload"] == vector["prehash"]
    assert message["authNonce"] == "1700000000000000"


GATE_QUERY = "?contract=BTC_USD&status=finished&limit=50"


@case("gateio", "GET (docs example)", method="GET", query=GATE_QUERY)
@case("gateio", "POST", method="POST", query="")
def gateio_rest(vector, method, query):
    strategy = gateio.request_signer(credentials(vector), clock_s(1_541_993_715))
    body = vector.get("body", "").encode()

    signed = sign(strategy, prepared(method, f"/api/v4/futures/orders{query}", body))

    assert signed.header("SIGN") == vector["signature"]
    assert signed.header("Timestamp") == "1541993715"


@case("gateio", "WebSocket private channel")
def gateio_websocket(vector):

    field = gateio.auth_field(
        credentials(vector), "spot.orders", "subscribe", 1_611_541_000
    )

    assert field == {"method": "api_key", "KEY": KEY, "SIGN": vector["signature"]}


BITMEX_FILTER = "/api/v1/instrument?filter=%7B%22symbol%22%3A+%22XBTM15%22%7D"
BITMEX_ORDER = (
    b'{"symbol":"XBTM15","price":219.0,'
    b'"clOrdID":"mm_bitmex_1a/oemUeQ4CAJZgP3fjHsA","orderQty":98}'
)


@case(
    "bitmex",
    "GET",
    sent=prepared("GET", "/api/v1/instrument"),
    expires=1_518_064_236,
)
@case(
    "bitmex",
    "GET, url-encoded query",
    sent=prepared("GET", BITMEX_FILTER),
    expires=1_518_064_237,
)
@case(
    "bitmex",
    "POST",
    sent=prepared("POST", "/api/v1/order", BITMEX_ORDER),
    expires=1_518_064_238,
)
def bitmex_rest(vector, sent, expires):
    strategy = bitmex.request_signer(credentials(vector), clock_s(expires - 60))

    signed = sign(strategy, sent)

    assert signed.header("api-signature") == vector["signature"]
    assert signed.header("api-expires") == str(expires)
    assert signed.header("api-key") == vector["api_key"]


@case("bitmex", "WebSocket authKeyExpires")
def bitmex_websocket(vector):

    message = bitmex.auth_message(credentials(vector), 1_518_064_236)

    assert message == {
        "op": "authKeyExpires",
        "args": [KEY, 1_518_064_236, vector["signature"]],
    }


@case("deribit", "WebSocket public/auth client_signature")
def deribit_websocket(vector):

    params = deribit.auth_params(
        credentials(vector), timestamp_ms=1_700_000_000_000, nonce="fdbmmz79"
    )

    assert params["signature"] == vector["signature"]


@case("generic", "barter private-REST example style (FTX-like)")
def the_generic_recipe(vector):

    raw = HmacKey(vector["secret"]).sign(vector["prehash"].encode())

    assert HexEncoder().encode(raw) == vector["signature"]


@case("rfc4231", "test case 1")
def the_standards_own_vector(vector):

    raw = HmacKey(bytes.fromhex(vector["key_hex"])).sign(vector["message"].encode())

    assert HexEncoder().encode(raw) == vector["signature"]
    assert Base64Encoder().encode(raw) == vector["signature_b64"]
