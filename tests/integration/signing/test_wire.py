"""What each recipe signs is what a server receives: checked at the server.

The checks are written from the venues' documentation with the standard library
alone, over the received bytes; none of the project's own recipes is used in them.
"""

import base64
import hashlib
import hmac
import logging
import traceback
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import parse_qsl

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.errors import HttpResponse
from integration.rest import BodyFormat, PlainParser, RestClient, RestRequest
from integration.rest.httpx_transport import HttpxTransport
from integration.rest.testing import loopback_server, response
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

RAW = b"a secret of thirty-two bytes....."
SECRET = base64.b64encode(RAW).decode()
TEXT = SECRET.encode()
CREDENTIALS = Credentials(key="the-public-key", secret=SECRET, passphrase="the-phrase")


class Get(RestRequest[Any], frozen=True):
    response_type: ClassVar[Any] = Any
    params: dict[str, Any]

    def path(self):
        return "/derivatives/v2/some%20path"

    def query_params(self):
        return self.params


class Delete(Get, frozen=True):
    method: ClassVar[str] = "DELETE"


class PostJson(RestRequest[Any], frozen=True):
    method: ClassVar[str] = "POST"
    response_type: ClassVar[Any] = Any
    params: dict[str, Any]

    def path(self):
        return "/derivatives/v2/some%20path"

    def body(self):
        return self.params


class PostForm(PostJson, frozen=True):
    body_format: ClassVar[BodyFormat] = BodyFormat.FORM


def split(received):
    path, _, query = received.target.partition(b"?")
    return path, query


def code(digest, message, secret=TEXT):
    return hmac.digest(secret, message, digest)


def b64(data):
    return base64.b64encode(data).decode()


def check_binance(r):
    _, query = split(r)
    signed, _, signature = (query + r.content).rpartition(b"&signature=")
    return signature.decode(), code("sha256", signed).hex()


def check_bitfinex(r):
    path, _ = split(r)
    message = b"/api" + path + r.headers["bfx-nonce"].encode() + r.content
    return r.headers["bfx-signature"], code("sha384", message).hex()


def check_bitmex(r):
    message = r.method.encode() + r.target + r.headers["api-expires"].encode()
    return r.headers["api-signature"], code("sha256", message + r.content).hex()


def check_bybit(r):
    head = "".join(
        r.headers[f"x-bapi-{name}"] for name in ("timestamp", "api-key", "recv-window")
    )
    payload = r.content if r.method == "POST" else split(r)[1]
    return r.headers["x-bapi-sign"], code("sha256", head.encode() + payload).hex()


def check_coinbase(r):
    head = r.headers["cb-access-timestamp"] + r.method
    message = head.encode() + r.target + r.content
    return r.headers["cb-access-sign"], b64(code("sha256", message, RAW))


def check_coinbase_legacy(r):
    head = r.headers["cb-access-timestamp"] + r.method
    message = head.encode() + split(r)[0] + r.content
    return r.headers["cb-access-sign"], code("sha256", message).hex()


def check_deribit(r):
    scheme, _, rest = r.headers["authorization"].partition(" ")
    fields = dict(part.split("=", 1) for part in rest.split(","))
    assert scheme == "deri-hmac-sha256"
    assert fields["id"] == CREDENTIALS.key
    lines = (fields["ts"].encode(), fields["nonce"].encode(), r.method.encode())
    message = b"\n".join((*lines, r.target, r.content, b""))
    return fields["sig"], code("sha256", message).hex()


def check_gateio(r):
    path, query = split(r)
    digest = hashlib.sha512(r.content).hexdigest().encode()
    stamp = r.headers["timestamp"].encode()
    message = b"\n".join((r.method.encode(), path, query, digest, stamp))
    return r.headers["sign"], code("sha512", message).hex()


def check_kraken(r):
    nonce = dict(parse_qsl(r.content.decode()))["nonce"].encode()
    inner = hashlib.sha256(nonce + r.content).digest()
    return r.headers["api-sign"], b64(code("sha512", split(r)[0] + inner, RAW))


def check_kraken_futures(r):
    path, query = split(r)
    endpoint = path.removeprefix(b"/derivatives")
    message = query + r.content + r.headers["nonce"].encode() + endpoint
    inner = hashlib.sha256(message).digest()
    return r.headers["authent"], b64(code("sha512", inner, RAW))


def check_okx(r):
    assert r.headers["ok-access-passphrase"] == CREDENTIALS.passphrase
    head = r.headers["ok-access-timestamp"] + r.method
    message = head.encode() + r.target + r.content
    return r.headers["ok-access-sign"], b64(code("sha256", message))


def binance_strategy(credentials, clock):
    return binance.request_signer(credentials.key, credentials.secret, clock)


VENUES = {
    "binance": (binance_strategy, check_binance, (Get, Delete, PostForm)),
    "bitfinex": (bitfinex.request_signer, check_bitfinex, (PostJson,)),
    "bitmex": (bitmex.request_signer, check_bitmex, (Get, Delete, PostJson)),
    "bybit": (bybit.request_signer, check_bybit, (Get, PostJson)),
    "coinbase": (coinbase.request_signer, check_coinbase, (Get, Delete, PostJson)),
    "coinbase_legacy": (
        coinbase_advanced.legacy_request_signer,
        check_coinbase_legacy,
        (Get, PostJson),
    ),
    "deribit": (deribit.request_signer, check_deribit, (Get, PostJson)),
    "gateio": (gateio.request_signer, check_gateio, (Get, Delete, PostJson)),
    "kraken": (kraken.request_signer, check_kraken, (PostForm,)),
    "kraken_futures": (
        kraken_futures.request_signer,
        check_kraken_futures,
        (Get, PostForm),
    ),
    "okx": (okx.request_signer, check_okx, (Get, PostJson)),
}


def client_of(server, strategy):
    # Loopback without TLS: loading the certificates takes longer than all the rest.
    transport = HttpxTransport(httpx.AsyncHTTPTransport(verify=False))
    return RestClient(server.url, strategy, PlainParser(), transport=transport)


TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES = st.one_of(
    TEXTS,
    st.integers(-(10**18), 10**18),
    st.booleans(),
    st.decimals(-(10**6), 10**6, places=8),
    st.just(Decimal("1E-9")),
)
PARAMS = st.dictionaries(st.from_regex(r"[A-Za-z]{1,8}", fullmatch=True), VALUES)


@pytest.mark.parametrize("venue", VENUES)
@settings(max_examples=12)
@given(st.lists(PARAMS, min_size=1, max_size=3))
async def test_a_server_that_checks_signatures_accepts_every_request(venue, all_params):
    make, check, kinds = VENUES[venue]
    results = []

    async def script(request, stream):
        results.append(check(request))
        await stream.send_all(response())

    clock = ManualClock(now_ns=1_700_000_000_123_456_789)
    async with loopback_server(script) as server:
        strategy = make(CREDENTIALS, clock)
        async with client_of(server, strategy) as client:
            for params in all_params:
                for kind in kinds:
                    await client.execute(kind(params=params))
                    clock.advance(0.001)

    assert len(results) == len(all_params) * len(kinds)
    for received, expected in results:
        assert received == expected


@pytest.mark.parametrize("venue", VENUES)
async def test_another_secret_is_told_apart(venue):
    make, check, kinds = VENUES[venue]
    results = []

    async def script(request, stream):
        results.append(check(request))
        await stream.send_all(response())

    other = Credentials(
        key=CREDENTIALS.key,
        secret=base64.b64encode(b"another").decode(),
        passphrase=CREDENTIALS.passphrase,
    )
    async with loopback_server(script) as server:
        strategy = make(other, ManualClock())
        async with client_of(server, strategy) as client:
            await client.execute(kinds[0](params={"a": "b"}))

    ((received, expected),) = results
    assert received != expected


@pytest.mark.parametrize("venue", VENUES)
async def test_nothing_shows_a_key_a_secret_or_a_signature(venue, caplog):
    """The venue answers with everything it was told."""
    make, check, kinds = VENUES[venue]
    caplog.set_level(logging.DEBUG)
    signatures = []

    async def script(request, stream):
        signatures.append(check(request)[0])
        told = f"{request.target} {dict(request.headers)} {request.content}"
        await stream.send_all(response(400, told.encode()))

    clock = ManualClock()
    async with loopback_server(script) as server:
        strategy = make(CREDENTIALS, clock)
        async with client_of(server, strategy) as client:
            for kind in kinds:
                request = kind(params={"a": "b"})
                with pytest.raises(HttpResponse) as caught:
                    await client.execute(request)
                error = caught.value
                shown = "\n".join(
                    [
                        *traceback.format_exception(error),
                        repr(error),
                        error.text,
                        repr(error.headers),
                        repr(client.build(request)),
                        repr(strategy),
                        repr(CREDENTIALS),
                        caplog.text,
                    ]
                )
                for secret in (
                    CREDENTIALS.key,
                    SECRET,
                    CREDENTIALS.passphrase,
                    signatures[-1],
                ):
                    assert secret not in shown
