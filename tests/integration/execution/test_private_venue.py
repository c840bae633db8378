"""The simulated private endpoints by themselves: what they refuse, and how."""

import hashlib
import hmac
import json
import time
from decimal import Decimal

import httpx
import pytest

from integration.execution.matching import MatchingEngine
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    OrderBookSnapshot,
    asset_name_internal,
)
from integration.testing.private import PrivateFault, PrivateVenue
from netcore.trio import open_websocket

MARKET = MarketDataInstrument.spot("btc", "usdt")
KEYS = {"key-1": ("secret-1", "ann")}


def made(kit, dialect):
    exchange = ExchangeId.BYBIT_SPOT if dialect == "bybit" else ExchangeId.BINANCE_SPOT
    funds = {"ann": {asset_name_internal("usdt"): Decimal(1000)}}
    engine = MatchingEngine(exchange, [kit.spot(exchange=exchange)], funds)
    return PrivateVenue(engine, dialect=dialect, keys=KEYS)


def signed(params, secret="secret-1", **more):  # noqa: S107 - of a simulated venue
    whole = {**params, "timestamp": int(time.time() * 1000), **more}
    query = "&".join(f"{k}={v}" for k, v in whole.items())
    signature = hmac.new(secret.encode(), query.encode(), hashlib.sha256).hexdigest()
    return f"{query}&signature={signature}"


async def binance(venue, method, path, params, key="key-1", **more):
    url = f"{venue.rest_url}{path}?{signed(params, **more)}"
    async with httpx.AsyncClient(timeout=120) as client:
        return await client.request(method, url, headers={"X-MBX-APIKEY": key})


ORDER = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "1",
    "price": "90",
    "newClientOrderId": "a",
}


async def test_a_signed_order_is_taken(kit):
    async with made(kit, "binance_spot") as venue:
        answer = await binance(venue, "POST", "/api/v3/order", ORDER)

    assert answer.status_code == 200
    assert answer.json()["status"] == "NEW"


@pytest.mark.parametrize(
    ("changes", "more", "status", "code"),
    [
        ({}, {"secret": "wrong"}, 400, -1022),
        ({}, {"key": "wrong"}, 401, -2015),
        ({}, {"timestamp": 1}, 400, -1021),
        ({}, {"timestamp": 2**50}, 400, -1021),
        ({"symbol": "NOPE"}, {}, 400, -1121),
        ({"quantity": "100"}, {}, 400, -2010),
        ({"price": "90.001"}, {}, 400, -1013),
    ],
)
async def test_what_binance_refuses_it_refuses_in_its_words(
    kit, changes, more, status, code
):
    async with made(kit, "binance_spot") as venue:
        answer = await binance(
            venue, "POST", "/api/v3/order", {**ORDER, **changes}, **more
        )

        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert venue.engine.open_orders("ann") == ()


async def test_more_than_a_day_of_fills_and_unknown_endpoints_are_refused(kit):
    query = {"symbol": "BTCUSDT", "startTime": 1, "endTime": 86_400_002}
    async with made(kit, "binance_spot") as venue:
        much = await binance(venue, "GET", "/api/v3/myTrades", query)
        nowhere = await binance(venue, "GET", "/api/v3/nowhere", {})
        unknown = await binance(
            venue, "GET", "/api/v3/order", {"symbol": "BTCUSDT", "orderId": 9}
        )

    assert much.json()["code"] == -1127
    assert nowhere.status_code == 404
    assert unknown.json()["code"] == -2013


async def test_a_listen_key_lives_until_it_is_given_up(kit):
    path = "/api/v3/userDataStream"
    async with made(kit, "binance_spot") as venue:
        key = (await binance(venue, "POST", path, {})).json()["listenKey"]
        kept = await binance(venue, "PUT", path, {"listenKey": key})
        gone = await binance(venue, "DELETE", path, {"listenKey": key})
        late = await binance(venue, "PUT", path, {"listenKey": key})

    assert (kept.status_code, gone.status_code) == (200, 200)
    assert late.json()["code"] == -1125


async def test_bybit_wants_a_login_before_topics(kit):
    async with (
        made(kit, "bybit") as venue,
        open_websocket(venue.stream_url) as socket,
    ):
        answers = []
        for message in (
            {"op": "subscribe", "args": ["order"]},
            {"op": "auth", "args": ["key-1", 1, "wrong"]},
            {"op": "ping"},
            {"op": "dance"},
        ):
            socket.send_text(json.dumps(message))
            answers.append(json.loads(await socket.receive_text()))

    assert [a.get("success") for a in answers] == [False, False, None, False]
    assert answers[1]["retCode"] == 10004
    assert answers[2]["op"] == "pong"


async def test_faults_strike_as_often_as_asked(kit):
    async with made(kit, "binance_spot") as venue:
        venue.inject(PrivateFault.RATE_LIMIT, 2)
        codes = [
            (await binance(venue, "GET", "/api/v3/account", {})).status_code
            for _ in range(3)
        ]

    assert codes == [429, 429, 200]


async def test_a_lost_answer_has_been_carried_out_and_a_lost_request_not(kit):
    async with made(kit, "binance_spot") as venue:
        for fault, cid in (
            (PrivateFault.LOSE_ANSWER, "a"),
            (PrivateFault.LOSE_REQUEST, "b"),
        ):
            venue.inject(fault)
            order = {**ORDER, "newClientOrderId": cid}
            with pytest.raises(httpx.TransportError):
                await binance(venue, "POST", "/api/v3/order", order)

        assert [o.key.cid for o in venue.engine.open_orders("ann")] == ["a"]
        assert venue.requests["POST /api/v3/order"] == 2


async def test_a_stream_of_nobody_is_told_nothing(kit):
    async with (
        made(kit, "binance_spot") as venue,
        open_websocket(f"{venue.stream_base}/ws/unknown") as socket,
    ):
        order = await binance(venue, "POST", "/api/v3/order", ORDER)
        assert order.status_code == 200
        venue.on_book(MARKET, OrderBookSnapshot([], [("80", "5")]))
        # Had it been told anything, that would come before this answer.
        socket.send_text('{"id": 1, "method": "x"}')
        answer = json.loads(await socket.receive_text())

    assert answer["status"] == 400


async def test_a_failure_of_the_block_comes_out_as_it_is(kit):
    with pytest.raises(KeyError, match="mine"):
        async with made(kit, "bybit"):
            raise KeyError("mine")


def test_there_are_two_dialects(kit):
    with pytest.raises(KeyError):
        made(kit, "okx")
