"""Logins over WebSocket: what is signed is what a server receives, at every venue.

As `test_wire.py` for requests: a server on loopback rebuilds from the text that came
what has to be signed, by the venue's documentation and with the standard library alone.
"""

import base64
import hashlib
import hmac
import json
import logging
from decimal import Decimal

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.rest.signer import HmacKey
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
    kraken_futures,
    okx,
)
from netcore.trio import open_websocket, serve_websocket

CHALLENGE = "c100b894-1729-464d-ace1-52dbce11db42"
PARAMS = {"symbol": "BTCUSDT", "quantity": Decimal("0.00000001"), "price": "1.50"}
PARAMS |= {"recvWindow": 5000, "newClientOrderId": "a/b=c+é", "reduceOnly": True}


def mac(digest, secret, message):
    return hmac.digest(secret, message.encode(), digest)


def b64(data):
    return base64.b64encode(data).decode()


def spelled(value):
    return {True: "true", False: "false"}.get(value, str(value))


# Each: what is sent for credentials and a time in ms, and what a server makes of it:
# the signature it received, and the one it expects for a secret (text, and decoded).


def binance_sends(c, ms):
    signed = binance.signed_params(
        PARAMS, key=c.key, mac=HmacKey(c.secret), timestamp_ms=ms
    )
    return {"id": "1", "method": "order.place", "params": signed}


def binance_expects(m, text, raw):
    params = dict(m["params"])
    received = params.pop("signature")
    query = "&".join(f"{k}={spelled(v)}" for k, v in sorted(params.items()))
    return received, mac("sha256", text, query).hex()


def bitfinex_sends(c, ms):
    return bitfinex.auth_message(c, ms * 1000)


def bitfinex_expects(m, text, raw):
    assert m["authPayload"] == "AUTH" + m["authNonce"]
    return m["authSig"], mac("sha384", text, m["authPayload"]).hex()


def bitmex_sends(c, ms):
    return bitmex.auth_message(c, ms // 1000)


def bitmex_expects(m, text, raw):
    _key, expires, received = m["args"]
    return received, mac("sha256", text, f"GET/realtime{expires}").hex()


def bybit_sends(c, ms):
    return bybit.auth_message(c, ms)


def coinbase_sends(c, ms):
    return {"type": "subscribe", **coinbase.subscribe_fields(c, ms // 1000)}


def coinbase_expects(m, text, raw):
    message = f"{m['timestamp']}GET/users/self/verify"
    return m["signature"], b64(mac("sha256", raw, message))


def coinbase_legacy_sends(c, ms):
    products = ["BTC-USD", "ETH-USD"]
    fields = coinbase_advanced.legacy_ws_fields(c, ms // 1000, "user", products)
    return {"type": "subscribe", "channel": "user", "product_ids": products, **fields}


def coinbase_legacy_expects(m, text, raw):
    message = f"{m['timestamp']}{m['channel']}{','.join(m['product_ids'])}"
    return m["signature"], mac("sha256", text, message).hex()


def deribit_sends(c, ms):
    params = deribit.auth_params(c, timestamp_ms=ms, nonce="1iqt2wls", data="é")
    return {"jsonrpc": "2.0", "id": 1, "method": "public/auth", "params": params}


def deribit_expects(m, text, raw):
    p = m["params"]
    message = f"{p['timestamp']}\n{p['nonce']}\n{p['data']}"
    return p["signature"], mac("sha256", text, message).hex()


def gateio_sends(c, ms):
    body = {"time": ms // 1000, "channel": "spot.orders", "event": "subscribe"}
    auth = gateio.auth_field(c, body["channel"], body["event"], body["time"])
    return {**body, "payload": ["BTC_USDT"], "auth": auth}


def gateio_expects(m, text, raw):
    message = f"channel={m['channel']}&event={m['event']}&time={m['time']}"
    return m["auth"]["SIGN"], mac("sha512", text, message).hex()


def kraken_futures_sends(c, ms):
    signed = kraken_futures.signed_challenge(c, CHALLENGE)
    return {"event": "subscribe", "api_key": c.key, "signed_challenge": signed}


def kraken_futures_expects(m, text, raw):
    inner = hashlib.sha256(CHALLENGE.encode()).digest()
    return m["signed_challenge"], b64(hmac.digest(raw, inner, "sha512"))


def okx_sends(c, ms):
    return okx.login_message(c, ms // 1000)


def okx_expects(m, text, raw):
    (login,) = m["args"]
    message = f"{login['timestamp']}GET/users/self/verify"
    return login["sign"], b64(mac("sha256", text, message))


VENUES = {
    "binance": (binance_sends, binance_expects),
    "bitfinex": (bitfinex_sends, bitfinex_expects),
    "bitmex": (bitmex_sends, bitmex_expects),
    "bybit": (bybit_sends, bitmex_expects),
    "coinbase": (coinbase_sends, coinbase_expects),
    "coinbase_legacy": (coinbase_legacy_sends, coinbase_legacy_expects),
    "deribit": (deribit_sends, deribit_expects),
    "gateio": (gateio_sends, gateio_expects),
    "kraken_futures": (kraken_futures_sends, kraken_futures_expects),
    "okx": (okx_sends, okx_expects),
}

SECRETS = st.binary(min_size=1, max_size=64)
MOMENTS = st.integers(1_000_000_000_000, 4_000_000_000_000)


def credentials(raw):
    secret = base64.b64encode(raw).decode()
    return Credentials(key="the-key", secret=secret, passphrase="the-phrase")


async def received(message):
    """What comes out at the other end of a WebSocket on loopback."""
    came = []

    async def serve(socket):
        came.append(bytes((await socket.receive_frame()).payload))
        socket.send_text(b"{}")
        await socket.receive_frame()

    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, serve, 0)
        async with open_websocket(server.url) as socket:
            socket.send_text(msgspec.json.encode(message))
            await socket.receive_frame()
        nursery.cancel_scope.cancel()
    return json.loads(came[0])


@pytest.mark.parametrize("venue", VENUES)
@settings(max_examples=6, deadline=None)
@given(SECRETS, MOMENTS)
async def test_a_server_that_checks_logins_lets_us_in(venue, raw, ms):
    sends, expects = VENUES[venue]
    given_out = credentials(raw)

    message = await received(sends(given_out, ms))
    got, wanted = expects(message, given_out.secret.encode(), raw)

    assert got == wanted


@pytest.mark.parametrize("venue", VENUES)
@given(SECRETS, SECRETS, MOMENTS)
def test_a_login_with_another_secret_is_told_apart(venue, raw, other, ms):
    sends, expects = VENUES[venue]
    # A key of HMAC is padded with zero bytes: those are no other key (RFC 2104).
    if raw.rstrip(b"\0") == other.rstrip(b"\0"):
        return
    message = json.loads(msgspec.json.encode(sends(credentials(raw), ms)))

    got, wanted = expects(message, base64.b64encode(other), other)

    assert got != wanted


@pytest.mark.parametrize("venue", VENUES)
def test_making_a_login_logs_nothing(venue, caplog):
    caplog.set_level(logging.DEBUG)

    VENUES[venue][0](credentials(b"secret"), 1_700_000_000_000)

    assert caplog.text == ""
