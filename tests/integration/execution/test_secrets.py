"""Nothing that a trading client shows holds a secret, whatever the venue repeats.

A venue answers everything, requests and greetings, with all it was told. What is then
raised, logged or printed is searched for keys, secrets, signatures and listen keys.
"""

import json
import logging
import traceback
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from integration.errors import IntegrationError
from integration.execution.binance import BinanceConfig, UserStream, binance_client
from integration.execution.bybit import BybitConfig, bybit_client
from integration.models import ExchangeId
from integration.rest.retry import RetryPolicy
from integration.rest.testing import loopback_server, response
from integration.signing import Credentials, Ed25519Key
from netcore.trio import serve_websocket

KEY, SECRET, LISTEN = "the-api-key", "the-api-secret", "the-listen-key"
ONCE = RetryPolicy(attempts=1)
CREDENTIALS = Credentials(key=KEY, secret=SECRET)
PEM = (
    ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)


class Parrot:
    """A venue on loopback that repeats what it is told, and remembers it.

    Args:
        answer: makes the answer to a greeting.
    """

    def __init__(self, answer):
        self._answer = answer
        self.secrets = {KEY, SECRET, PEM.splitlines()[1]}
        self.signatures = set()
        self.rest_url = self.stream_url = ""

    async def on_request(self, request, stream):
        target, body = request.target.decode(), request.content.decode()
        fields = [*parse_qsl(target.partition("?")[2]), *parse_qsl(body)]
        signature = dict(fields).get("signature") or request.headers.get("x-bapi-sign")
        if signature:
            self.signatures.add(signature)
        if target == "/api/v3/userDataStream":
            self.secrets.add(LISTEN)
            answer = json.dumps({"listenKey": LISTEN})
            await stream.send_all(response(200, answer.encode()))
            return
        said = f"{target} {dict(request.headers)} {body}"
        told = {"code": -1, "msg": said, "retCode": 10001, "retMsg": said}
        await stream.send_all(response(400, json.dumps(told).encode()))

    async def on_stream(self, socket):
        while True:
            for frame in await socket.read_batch():
                said = bytes(frame.payload).decode()
                greeting = json.loads(said)
                if "params" in greeting:
                    self.signatures.add(greeting["params"]["signature"])
                elif greeting["op"] == "auth":
                    self.signatures.add(greeting["args"][2])
                socket.send_text(self._answer(said).encode())


@asynccontextmanager
async def parrot(answer=str):
    bird = Parrot(answer)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, bird.on_stream, 0)
        bird.stream_url = server.url
        async with loopback_server(bird.on_request) as http:
            bird.rest_url = http.url
            yield bird
        nursery.cancel_scope.cancel()


def binance(bird, kit, **more):
    stream = {"user_stream": more.pop("stream", UserStream.WEBSOCKET_API)}
    config = BinanceConfig(
        rest_url=bird.rest_url,
        websocket_api_url=bird.stream_url,
        stream_url=more.pop("base", bird.stream_url),
        retry=ONCE,
        **stream,
    )
    return binance_client(CREDENTIALS, [kit.spot()], config=config, **more)


def binance_ed25519(bird, kit):
    return binance(bird, kit, mac=Ed25519Key(PEM))


def bybit(bird, kit):
    exchange = ExchangeId.BYBIT_SPOT
    config = BybitConfig(rest_url=bird.rest_url, stream_url=bird.stream_url, retry=ONCE)
    return bybit_client(CREDENTIALS, [kit.spot(exchange=exchange)], config=config)


def refused_by_binance(said):
    return json.dumps({"id": "1", "status": 400, "error": {"code": -1, "msg": said}})


def refused_by_bybit(said):
    return json.dumps({"op": "auth", "success": False, "ret_msg": said})


def unreadable(said):
    return f"<html>{said}</html>"


def wrong_type(said):
    return json.dumps({"op": "auth", "success": said, "id": "1", "status": said})


@pytest.fixture
def seen(caplog):
    """Everything that a user might get to see of an error and of a client."""
    caplog.set_level(logging.DEBUG)

    def _seen(error, client):
        api = client._api
        return "\n".join(
            [
                *traceback.format_exception(error),
                repr(error),
                *(repr(value) for value in vars(error).values()),
                *(repr(each) for each in (client, api, api._config, api._clock)),
                caplog.text,
            ]
        )

    return _seen


def assert_unseen(bird, text):
    for secret in bird.secrets | bird.signatures:
        assert secret not in text


ASKED = [
    lambda client, _order: client.fetch_balances(),
    lambda client, _order: client.fetch_open_orders(),
    lambda client, order: client.open_order(order),
]


@pytest.mark.parametrize("ask", ASKED, ids=["balances", "open orders", "order"])
@pytest.mark.parametrize("make", [binance, binance_ed25519, bybit])
async def test_a_request_that_is_refused_in_our_own_words(make, ask, kit, seen):
    exchange = ExchangeId.BYBIT_SPOT if make is bybit else ExchangeId.BINANCE_SPOT
    async with parrot() as bird:
        client = make(bird, kit)
        with pytest.raises(IntegrationError) as caught:
            await ask(client, kit.limit(exchange=exchange))
        text = seen(caught.value, client)
        await client.aclose()

    assert bird.signatures
    assert "signature" in text or "x-bapi-sign" in text, "it was not repeated"
    assert_unseen(bird, text)


@pytest.mark.parametrize(
    ("make", "answer"),
    [
        (binance, refused_by_binance),
        (binance, unreadable),
        (binance, wrong_type),
        (binance_ed25519, refused_by_binance),
        (bybit, refused_by_bybit),
        (bybit, unreadable),
        (bybit, wrong_type),
    ],
)
async def test_a_greeting_that_is_refused_in_our_own_words(make, answer, kit, seen):
    async with parrot(answer) as bird:
        client = make(bird, kit)
        with trio.fail_after(120), pytest.raises(IntegrationError) as caught:
            await client._api.connect_stream()
        text = seen(caught.value, client)
        await client.aclose()

    assert bird.signatures
    assert_unseen(bird, text)


async def test_a_stream_whose_address_is_a_secret_cannot_be_opened(kit, seen):
    listen = UserStream.LISTEN_KEY
    async with parrot() as bird:
        # Where requests go there is no WebSocket: it answers with the address.
        base = bird.rest_url.replace("http", "ws")
        client = binance(bird, kit, stream=listen, base=base)
        with trio.fail_after(120), pytest.raises(IntegrationError) as caught:
            await client._api.connect_stream()
        text = seen(caught.value, client)
        await client.aclose()

    assert LISTEN in bird.secrets
    assert_unseen(bird, text)


async def test_a_listen_key_that_cannot_be_prolonged(kit, seen):
    async with parrot() as bird:
        client = binance(bird, kit, stream=UserStream.LISTEN_KEY)
        stream = await client._api.connect_stream()
        bird.rest_url = "gone"
        with pytest.raises(IntegrationError) as caught:
            await client._api.keep_alive()
        text = seen(caught.value, client)
        await stream.aclose()
        await client.aclose()

    assert_unseen(bird, text)
