"""The program through which outside suites reach the recipes."""

import base64
import hashlib
import hmac
import runpy
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
sign = runpy.run_path(str(ROOT / "adapters/sign.py"))["sign"]

# Binance's documentation, https://developers.binance.com/docs/binance-spot-api-docs
BINANCE = {
    "exchange": "binance",
    "api": "private",
    "method": "GET",
    "path": "order",
    "params": {
        "symbol": "LTCBTC",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "1",
        "price": "0.1",
    },
    "ts_ms": 1_499_827_319_559,
    "key": "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A",
    "secret": "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j",
    "passphrase": None,
}
PUBLISHED = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
SECRET = base64.b64encode(b"sixteen bytes or more of secret").decode()


def case(exchange, method, path, params=None, api="private"):
    return {
        "exchange": exchange,
        "api": api,
        "method": method,
        "path": path,
        "params": params or {},
        "ts_ms": 1_700_000_000_123,
        "key": "KEY",
        "secret": SECRET,
        "passphrase": "PASS",
    }


def test_the_published_signature_comes_out_in_the_url():
    out = sign(BINANCE)

    assert out["url"].startswith("https://api.binance.com/api/v3/order?symbol=LTCBTC&")
    assert out["url"].endswith(f"&signature={PUBLISHED}")
    assert out["body"] is None
    assert out["headers"]["X-MBX-APIKEY"] == BINANCE["key"]


def test_the_published_signature_comes_out_in_the_body_of_a_post():
    out = sign({**BINANCE, "method": "POST"})

    assert out["url"] == "https://api.binance.com/api/v3/order"
    assert out["body"].endswith(f"&signature={PUBLISHED}")


def test_the_api_chooses_the_host():
    out = sign({**BINANCE, "api": "fapiPrivate"})

    assert out["url"].startswith("https://fapi.binance.com/fapi/v1/order?")


@pytest.mark.parametrize(
    ("exchange", "method", "path", "url"),
    [
        (
            "bybit",
            "GET",
            "v5/order/realtime",
            "https://api.bybit.com/v5/order/realtime",
        ),
        ("okx", "POST", "trade/order", "https://www.okx.com/api/v5/trade/order"),
        ("okx", "GET", "/api/v5/x", "https://www.okx.com/api/v5/x"),
        (
            "coinbaseexchange",
            "POST",
            "orders",
            "https://api.exchange.coinbase.com/orders",
        ),
        ("coinbase_advanced", "GET", "/api/v3/x", "https://api.coinbase.com/api/v3/x"),
        ("kraken", "POST", "AddOrder", "https://api.kraken.com/0/private/AddOrder"),
        (
            "krakenfutures",
            "POST",
            "sendorder",
            "https://futures.kraken.com/derivatives/api/v3/sendorder",
        ),
        (
            "bitfinex",
            "POST",
            "auth/r/wallets",
            "https://api.bitfinex.com/v2/auth/r/wallets",
        ),
        ("gate", "GET", "spot/accounts", "https://api.gateio.ws/api/v4/spot/accounts"),
        ("bitmex", "POST", "order", "https://www.bitmex.com/api/v1/order"),
        (
            "deribit",
            "GET",
            "get_positions",
            "https://www.deribit.com/api/v2/private/get_positions",
        ),
    ],
)
def test_every_venue_is_reached(exchange, method, path, url):
    out = sign(case(exchange, method, path))

    assert out["url"].split("?")[0] == url
    assert any("KEY" in value for value in out["headers"].values())
    assert SECRET not in str(out)


def test_okx_signs_what_stands_in_the_answer():
    out = sign(case("okx", "POST", "trade/order", {"instId": "BTC-USDT"}))

    prehash = "2023-11-14T22:13:20.123ZPOST/api/v5/trade/order" + out["body"]
    mac = hmac.digest(SECRET.encode(), prehash.encode(), "sha256")
    assert out["headers"]["OK-ACCESS-SIGN"] == base64.b64encode(mac).decode()
    assert out["body"] == '{"instId":"BTC-USDT"}'


def test_gateio_signs_what_stands_in_the_answer():
    out = sign(case("gateio", "GET", "spot/accounts", {"currency": "BTC"}))

    parts = urlsplit(out["url"])
    empty = hashlib.sha512(b"").hexdigest()
    prehash = f"GET\n{parts.path}\n{parts.query}\n{empty}\n1700000000"
    mac = hmac.digest(SECRET.encode(), prehash.encode(), "sha512")
    assert out["headers"]["SIGN"] == mac.hex()


def test_kraken_carries_its_nonce_in_the_form():
    out = sign(case("kraken", "POST", "Balance"))

    assert out["body"] == "nonce=1700000000123"
    digest = hashlib.sha256(b"1700000000123" + out["body"].encode()).digest()
    mac = hmac.digest(
        base64.b64decode(SECRET), b"/0/private/Balance" + digest, "sha512"
    )
    assert out["headers"]["API-Sign"] == base64.b64encode(mac).decode()


def test_bitfinex_sends_an_empty_object_where_there_is_nothing_to_say():
    assert sign(case("bitfinex", "POST", "auth/r/wallets"))["body"] == "{}"


def test_an_unknown_venue_is_refused():
    with pytest.raises(ValueError, match="'nowhere'"):
        sign(case("nowhere", "GET", "x"))


@pytest.mark.parametrize(
    ("exchange", "api", "path", "url"),
    [
        ("BINANCE", None, "order", "https://api.binance.com/api/v3/order"),
        ("BINANCE", "private", "order", "https://api.binance.com/api/v3/order"),
        ("BINANCE", "sapiV4", "order", "https://api.binance.com/sapi/v4/order"),
        ("BINANCE", "fapiPrivateV2", "x", "https://fapi.binance.com/fapi/v2/x"),
        ("BINANCE", None, "/fapi/v1/order", "https://fapi.binance.com/fapi/v1/order"),
        ("BINANCE", None, "/dapi/v1/order", "https://dapi.binance.com/dapi/v1/order"),
        ("BINANCE", "papi", "um/order", "https://papi.binance.com/papi/v1/um/order"),
        ("binanceusdm", None, "order", "https://fapi.binance.com/fapi/v1/order"),
        ("binance_futures_coin", None, "x", "https://dapi.binance.com/dapi/v1/x"),
        ("BINANCEUSDM", None, "/fapi/v3/x", "https://fapi.binance.com/fapi/v3/x"),
        ("BINANCEUSDM", None, "/odd", "https://fapi.binance.com/odd"),
        ("BYBIT", "private", "/v5/x", "https://api.bybit.com/v5/x"),
        ("GATEIO", ["private", "spot"], "x", "https://api.gateio.ws/api/v4/x"),
    ],
)
def test_a_request_goes_to_the_host_of_its_part(exchange, api, path, url):
    signed = sign(case(exchange, "GET", path, api=api))

    assert signed["url"].split("?")[0] == url


def test_a_part_that_a_venue_does_not_have_is_refused():
    with pytest.raises(ValueError, match="no API 'vapi'"):
        sign(case("BINANCE", "GET", "order", api="vapi"))
