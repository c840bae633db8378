"""`integration sign`: how a request is signed, without ever showing the secret."""

import hashlib
import hmac
import json

import pytest

from integration.cli import main

KEY, SECRET = "the-key-of-the-account", "a secret that nobody sees"
PASSPHRASE = "three words more"
ORDER = ["bybit", "GET", "/v5/order/realtime", "--param", "symbol=BTCUSDT"]
STAMP = ["--timestamp-ms", "1700000000123"]


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    monkeypatch.setenv("INTEGRATION_KEY", KEY)
    monkeypatch.setenv("INTEGRATION_SECRET", SECRET)
    monkeypatch.setenv("INTEGRATION_PASSPHRASE", PASSPHRASE)


def test_prehash_and_signature_are_shown(capsys):
    assert main(["sign", *ORDER, *STAMP, "--show-key", "--json"]) == 0

    shown = json.loads(capsys.readouterr().out)
    assert shown["prehash"] == f"1700000000123{KEY}5000symbol=BTCUSDT"
    mac = hmac.new(SECRET.encode(), shown["prehash"].encode(), hashlib.sha256)
    assert shown["signature"] == mac.hexdigest()
    assert shown["headers"]["X-BAPI-SIGN"] == shown["signature"]
    assert shown["headers"]["X-BAPI-API-KEY"] == KEY
    assert shown["url"] == "https://api.bybit.com/v5/order/realtime?symbol=BTCUSDT"


@pytest.mark.parametrize(
    "venue",
    [
        *("binance", "bitfinex", "bitmex", "bybit", "coinbase_advanced"),
        *("deribit", "gateio", "okx"),
    ],
)
def test_key_and_secret_are_not_shown(capsys, venue):
    arguments = ["sign", venue, "POST", "orders", "--param", "a=1", *STAMP]

    assert main([*arguments, "--json"]) == 0

    out = capsys.readouterr().out
    assert KEY not in out
    assert SECRET not in out
    assert PASSPHRASE not in out
    assert json.loads(out)["signature"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nowhere", "GET", "/x"], "no recipe is known"),
        (["bybit", "GET", "/x", "--param", "symbol"], "expected NAME=VALUE"),
        (["okx", "GET", "/x", "--timestamp-ms", "9" * 17], "year"),
    ],
)
def test_what_cannot_be_signed_is_code_2(capsys, arguments, reason):
    assert main(["sign", *arguments]) == 2

    assert reason in capsys.readouterr().err


def test_credentials_are_needed(monkeypatch, capsys):
    monkeypatch.delenv("INTEGRATION_SECRET")

    assert main(["sign", *ORDER]) == 2
    assert "INTEGRATION_SECRET" in capsys.readouterr().err


@pytest.mark.parametrize("venue", ["okx", "coinbase"])
def test_a_passphrase_is_needed_where_keys_have_one(monkeypatch, capsys, venue):
    monkeypatch.delenv("INTEGRATION_PASSPHRASE")

    assert main(["sign", venue, "GET", "/x"]) == 2
    assert "set INTEGRATION_PASSPHRASE" in capsys.readouterr().err


def test_a_secret_that_is_not_the_venues_kind_is_one_line(capsys):
    # Kraken's secrets are base64.
    assert main(["sign", "kraken", "POST", "Balance"]) == 2

    err = capsys.readouterr().err
    assert err.startswith("integration: ")
    assert SECRET not in err
