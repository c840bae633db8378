"""One connection against a venue that follows a script, word for word."""

import json
from contextlib import asynccontextmanager

import pytest
import trio

from integration.errors import (
    Deserialise,
    InitialSnapshotMissing,
    RateLimited,
    SequenceGap,
    Subscribe,
)
from integration.market.config import FirstConnect, StreamConfig
from integration.market.reports import (
    BookResynced,
    BookStale,
    Reconnecting,
    StaleReason,
    StreamError,
)
from integration.market.streams import open_market_streams
from integration.models import (
    MarketDataInstrument,
    MarketEvent,
    OrderBookSnapshot,
    SubKind,
    Subscription,
)
from integration.stream.reconnect import Backoff, ReconnectPolicy
from netcore.errors import ConnectionClosed
from netcore.trio import serve_websocket

BTC = MarketDataInstrument.spot("btc", "usdt")
ETH = MarketDataInstrument.spot("eth", "usdt")
QUICK = ReconnectPolicy(backoff=Backoff(0.001, maximum=0.01, stable_after=0.0))


class Client:
    """The venue's end of one connection."""

    def __init__(self, websocket, number):
        self._websocket = websocket
        self.number = number

    async def hear(self):
        """Return the next request; JSON decoded, plain text as it is."""
        text = await self._websocket.receive_text()
        return json.loads(text) if text[0] == "{" else text

    def say(self, message):
        text = message if isinstance(message, str) else json.dumps(message)
        self._websocket.send_text(text)

    async def hang_up(self):
        await self._websocket.aclose(1001)

    async def listen_to_the_end(self):
        while True:
            await self.hear()


@asynccontextmanager
async def venue(script):
    """Serve a script: a coroutine function that talks to one client."""
    async with trio.open_nursery() as nursery:
        count = 0

        async def handle(websocket):
            nonlocal count
            count += 1
            try:
                await script(Client(websocket, count))
            except ConnectionClosed:
                return

        server = await nursery.start(serve_websocket, handle, 0)
        try:
            with trio.fail_after(120):
                yield server.url
        finally:
            nursery.cancel_scope.cancel()


def config(exchange, url, **settings):
    settings.setdefault("reconnect", QUICK)
    return StreamConfig(websocket_url={exchange: url}, **settings)


def trades_of(exchange, *instruments):
    return [Subscription(exchange, i, SubKind.PUBLIC_TRADES) for i in instruments]


def books_of(exchange, *instruments):
    return [Subscription(exchange, i, SubKind.ORDER_BOOKS_L2) for i in instruments]


async def take_until(streams, done):
    events = []
    while not done(events):
        events += await streams.next_batch()
    return events


def count(events, kind):
    return sum(isinstance(event, kind) for event in events)


async def expect_refusal(exchange, url, subscriptions, match, **settings):
    with pytest.raises(Subscribe, match=match):
        async with open_market_streams(
            subscriptions, config=config(exchange, url, **settings)
        ):
            pytest.fail("the subscription was refused")


# Confirmations


async def test_a_refused_subscription_fails_the_opening():
    async def script(client):
        request = await client.hear()
        client.say({"error": {"code": 2, "msg": "unknown"}, "id": request["id"]})
        await client.listen_to_the_end()

    async with venue(script) as url:
        await expect_refusal(
            "binance_spot", url, trades_of("binance_spot", BTC), "2: unknown"
        )


async def test_a_chatty_venue_that_confirms_nothing_is_given_up_at_the_deadline():
    async def script(client):
        await client.hear()
        number = 0
        while True:
            number += 1
            client.say(
                {"e": "trade", "s": "BTCUSDT", "t": number, "p": "1", "q": "1"}
                | {"T": 1, "m": True, "E": 1}
            )
            await trio.lowlevel.checkpoint()

    async with venue(script) as url:
        await expect_refusal(
            "binance_spot",
            url,
            trades_of("binance_spot", BTC),
            "not confirmed within 0.3 s: @trade|BTCUSDT",
            subscription_timeout=0.3,
        )


async def test_confirmations_out_of_order_and_mixed_with_data_all_count():
    async def script(client):
        request = await client.hear()
        first, second = request["args"]
        client.say({"event": "subscribe", "arg": second})
        client.say({"arg": second, "data": []})
        client.say({"event": "subscribe", "arg": first})
        await client.listen_to_the_end()

    async with (
        venue(script) as url,
        open_market_streams(trades_of("okx", BTC, ETH), config=config("okx", url)),
    ):
        pass


async def test_one_of_several_topics_is_refused_and_named():
    async def script(client):
        request = await client.hear()
        good, bad = request["args"]
        client.say({"event": "subscribe", "arg": good})
        text = f"channel:{bad['channel']},instId:{bad['instId']} doesn't exist."
        client.say({"event": "error", "code": "60018", "msg": text})
        await client.listen_to_the_end()

    async with venue(script) as url:
        await expect_refusal(
            "okx", url, trades_of("okx", BTC, ETH), r"refused trades\|ETH-USDT"
        )


async def test_a_refusal_for_now_is_followed_by_another_attempt():
    async def script(client):
        request = await client.hear()
        while request.get("method") != "public/subscribe":
            request = await client.hear()
        if client.number == 1:
            error = {"code": 10028, "message": "too_many_requests"}
            client.say({"jsonrpc": "2.0", "id": request["id"], "error": error})
        else:
            channels = request["params"]["channels"]
            client.say({"jsonrpc": "2.0", "id": request["id"], "result": channels})
        await client.listen_to_the_end()

    perpetual = MarketDataInstrument.perpetual("btc", "usd")
    async with venue(script) as url:
        settings = config("deribit", url, first_connect=FirstConnect.RETRY)
        async with open_market_streams(
            trades_of("deribit", perpetual), config=settings
        ) as streams:
            events = await take_until(streams, lambda es: count(es, Reconnecting))
            errors = [e.error for e in events if isinstance(e, StreamError)]
            assert isinstance(errors[0], RateLimited)


async def test_a_complaint_about_nothing_in_particular_is_reported_only():
    async def script(client):
        request = await client.hear()
        client.say({"event": "error", "errorMessage": "Malformed request"})
        client.say(
            {"event": "subscriptionStatus", "status": "subscribed"}
            | {"pair": request["pair"][0], "subscription": request["subscription"]}
        )
        await client.listen_to_the_end()

    async with (
        venue(script) as url,
        open_market_streams(
            trades_of("kraken", BTC), config=config("kraken", url)
        ) as streams,
    ):
        (fault,) = await streams.next_batch()
        assert isinstance(fault, StreamError)
        assert "Malformed request" in str(fault.error)


async def test_a_later_subscription_that_is_refused_leaves_the_others_alone():
    async def script(client):
        request = await client.hear()
        client.say({"result": None, "id": request["id"]})
        request = await client.hear()
        client.say({"error": {"code": 3, "msg": "no"}, "id": request["id"]})
        await client.listen_to_the_end()

    async with (
        venue(script) as url,
        open_market_streams(
            trades_of("binance_spot", BTC), config=config("binance_spot", url)
        ) as streams,
    ):
        with pytest.raises(Subscribe, match="3: no"):
            await streams.subscribe(*trades_of("binance_spot", ETH))
        (fault,) = await streams.next_batch()
        assert fault.instrument == ETH


async def test_a_subscription_given_up_while_waiting_is_withdrawn():
    asked, left = trio.Event(), trio.Event()

    async def script(client):
        request = await client.hear()
        client.say({"result": None, "id": request["id"]})
        await client.hear()
        asked.set()
        request = await client.hear()
        assert request["method"] == "UNSUBSCRIBE"
        assert request["params"] == ["ethusdt@trade"]
        left.set()
        await client.listen_to_the_end()

    async with (
        venue(script) as url,
        open_market_streams(
            trades_of("binance_spot", BTC), config=config("binance_spot", url)
        ) as streams,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(streams.subscribe, *trades_of("binance_spot", ETH))
            await asked.wait()
            nursery.cancel_scope.cancel()
        await left.wait()


# Images on the stream


def bybit_book(kind, u, price="100"):
    return {
        "topic": "orderbook.50.BTCUSDT",
        "type": kind,
        "ts": 1,
        "data": {"s": "BTCUSDT", "b": [[price, "1"]], "a": [["200", "1"]], "u": u},
    }


async def confirm_bybit(client):
    request = await client.hear()
    client.say({"success": True, "ret_msg": "", "op": request["op"]})
    return request


async def test_a_gap_is_healed_by_subscribing_anew_where_images_are_streamed():
    async def script(client):
        await confirm_bybit(client)
        client.say(bybit_book("snapshot", 10))
        client.say(bybit_book("delta", 11))
        client.say(bybit_book("delta", 13))
        assert (await confirm_bybit(client))["op"] == "unsubscribe"
        client.say(bybit_book("delta", 14))
        assert (await confirm_bybit(client))["op"] == "subscribe"
        client.say(bybit_book("snapshot", 15, "101"))
        await client.listen_to_the_end()

    async with (
        venue(script) as url,
        open_market_streams(
            books_of("bybit_spot", BTC), config=config("bybit_spot", url)
        ) as streams,
    ):
        events = await take_until(streams, lambda es: count(es, BookResynced))
        kinds = [type(getattr(e, "kind", e)).__name__ for e in events]
        assert kinds == [
            "OrderBookSnapshot",
            "OrderBookUpdate",
            "BookStale",
            "OrderBookSnapshot",
            "BookResynced",
        ]
        book = streams.books["bybit_spot", BTC]
        assert (book.state, book.sequence) == ("live", 15)


async def test_an_image_that_does_not_come_is_asked_for_again():
    async def script(client):
        await confirm_bybit(client)
        await confirm_bybit(client)
        await confirm_bybit(client)
        client.say(bybit_book("snapshot", 1))
        await client.listen_to_the_end()

    async with venue(script) as url:
        settings = config("bybit_spot", url, image_timeout=0.1)
        async with open_market_streams(
            books_of("bybit_spot", BTC), config=settings
        ) as streams:
            events = await take_until(streams, lambda es: count(es, MarketEvent))
            assert isinstance(events[0].error, InitialSnapshotMissing)
            assert streams.books["bybit_spot", BTC].state == "live"


async def test_a_lost_delta_of_the_best_levels_is_healed_by_subscribing_anew():
    def top(kind, u):
        message = bybit_book(kind, u)
        return message | {"topic": "orderbook.1.BTCUSDT"}

    async def script(client):
        await confirm_bybit(client)
        client.say(top("snapshot", 1))
        client.say(top("delta", 3))
        await confirm_bybit(client)
        await confirm_bybit(client)
        client.say(top("snapshot", 9))
        await client.listen_to_the_end()

    async with (
        venue(script) as url,
        open_market_streams(
            [Subscription("bybit_spot", BTC, SubKind.ORDER_BOOKS_L1)],
            config=config("bybit_spot", url),
        ) as streams,
    ):
        events = await take_until(streams, lambda es: count(es, MarketEvent) == 2)
        assert isinstance(events[1].error, SequenceGap)
        assert events[2].kind.sequence == 9


async def test_a_message_lost_on_the_connection_makes_every_book_of_it_stale():
    def book(product, sequence, kind="snapshot"):
        update = {"side": "bid", "price_level": "1", "new_quantity": "1"}
        event = {"type": kind, "product_id": product, "updates": [update]}
        return {
            "channel": "l2_data",
            "timestamp": "2026-04-07T14:30:00Z",
            "sequence_num": sequence,
            "events": [event],
        }

    def acked(sequence, products):
        return {
            "channel": "subscriptions",
            "timestamp": "2026-04-07T14:30:00Z",
            "sequence_num": sequence,
            "events": [{"subscriptions": {"level2": products}}],
        }

    async def script(client):
        for _ in range(3):
            await client.hear()
        client.say(acked(0, ["BTC-USD", "ETH-USD"]))
        client.say(book("BTC-USD", 1))
        client.say(book("ETH-USD", 2))
        client.say(book("ETH-USD", 4, "update"))
        for _ in range(4):
            await client.hear()
        client.say(book("BTC-USD", 5))
        client.say(book("ETH-USD", 6))
        await client.listen_to_the_end()

    usd = [MarketDataInstrument.spot(base, "usd") for base in ("btc", "eth")]
    exchange = "coinbase_advanced"
    async with (
        venue(script) as url,
        open_market_streams(
            books_of(exchange, *usd), config=config(exchange, url)
        ) as streams,
    ):
        events = await take_until(streams, lambda es: count(es, BookResynced) == 2)
        stale = [e for e in events if isinstance(e, BookStale)]
        assert {s.instrument for s in stale} == set(usd)
        assert {s.reason for s in stale} == {StaleReason.CONNECTION_GAP}


# Announcements


async def test_a_venue_that_asks_whether_we_live_is_answered():
    answered = trio.Event()

    async def script(client):
        await client.hear()
        request = await client.hear()
        channels = request["params"]["channels"]
        client.say({"jsonrpc": "2.0", "id": request["id"], "result": channels})
        client.say({"method": "heartbeat", "params": {"type": "test_request"}})
        assert (await client.hear())["method"] == "public/test"
        answered.set()
        await client.listen_to_the_end()

    perpetual = MarketDataInstrument.perpetual("btc", "usd")
    async with (
        venue(script) as url,
        open_market_streams(
            trades_of("deribit", perpetual), config=config("deribit", url)
        ),
    ):
        await answered.wait()


async def test_maintenance_fails_the_opening():
    async def script(client):
        client.say({"event": "info", "version": 2, "platform": {"status": 0}})
        await client.listen_to_the_end()

    async with venue(script) as url:
        await expect_refusal(
            "bitfinex",
            url,
            trades_of("bitfinex", MarketDataInstrument.spot("btc", "usd")),
            "maintenance",
        )


async def test_a_demand_to_subscribe_anew_is_met_by_channel_number():
    numbers = []

    async def script(client):
        assert (await client.hear())["event"] == "conf"
        client.say({"event": "info", "version": 2, "platform": {"status": 1}})
        for number in (11, 12):
            request = await client.hear()
            if request["event"] == "unsubscribe":
                numbers.append(request["chanId"])
                client.say({"event": "unsubscribed", "chanId": request["chanId"]})
                request = await client.hear()
            client.say(request | {"event": "subscribed", "chanId": number})
            client.say(json.dumps([number, [[7254.7, 3, 3.3], [7254.8, 2, -1.2]]]))
            if number == 11:
                client.say({"event": "info", "code": 20061, "msg": "resume"})
        await client.listen_to_the_end()

    pair = MarketDataInstrument.spot("btc", "usd")
    async with (
        venue(script) as url,
        open_market_streams(
            books_of("bitfinex", pair), config=config("bitfinex", url)
        ) as streams,
    ):
        events = await take_until(streams, lambda es: count(es, BookResynced))
        (stale,) = [e for e in events if isinstance(e, BookStale)]
        assert stale.reason == StaleReason.REQUESTED
        assert numbers == [11]


async def test_a_wrong_checksum_is_a_stale_book_and_a_new_image():
    async def script(client):
        await client.hear()
        for number in (11, 12):
            request = await client.hear()
            if request["event"] == "unsubscribe":
                request = await client.hear()
            client.say(request | {"event": "subscribed", "chanId": number})
            client.say(
                [number, [[6000, 1, 1], [5900, 1, 2], [6100, 1, -3], [6200, 1, -4]]]
            )
            client.say([number, "cs", 1756193398 if number == 12 else 1])
        await client.listen_to_the_end()

    pair = MarketDataInstrument.spot("btc", "usd")
    async with (
        venue(script) as url,
        open_market_streams(
            books_of("bitfinex", pair), config=config("bitfinex", url)
        ) as streams,
    ):
        events = await take_until(streams, lambda es: count(es, BookResynced))
        (stale,) = [e for e in events if isinstance(e, BookStale)]
        assert stale.reason == StaleReason.CHECKSUM
        assert "1756193398" in stale.detail


# Loss


async def test_acknowledged_then_dropped_again_and_again_is_one_outage_each():
    async def script(client):
        request = await client.hear()
        client.say({"result": None, "id": request["id"]})
        if client.number < 4:
            await client.hang_up()
        await client.listen_to_the_end()

    async with (
        venue(script) as url,
        open_market_streams(
            trades_of("binance_spot", BTC), config=config("binance_spot", url)
        ) as streams,
    ):
        events = await take_until(streams, lambda es: count(es, Reconnecting) == 3)
        assert count(events, Reconnecting) == len(events) == 3
        assert all(event.instruments == (BTC,) for event in events)


async def test_text_that_is_no_json_is_an_error_value_with_its_payload():
    async def script(client):
        request = await client.hear()
        client.say({"result": None, "id": request["id"]})
        client.say("<html>busy</html>")
        await client.listen_to_the_end()

    async with (
        venue(script) as url,
        open_market_streams(
            trades_of("binance_spot", BTC), config=config("binance_spot", url)
        ) as streams,
    ):
        (fault,) = await streams.next_batch()
        assert isinstance(fault.error, Deserialise)
        assert "<html>busy</html>" in str(fault.error)


async def test_two_depths_of_one_book_cannot_be_kept_on_one_connection():
    async def script(client):
        while True:
            await confirm_bybit(client)

    async with (
        venue(script) as url,
        open_market_streams(
            books_of("bybit_spot", BTC), config=config("bybit_spot", url)
        ) as streams,
    ):
        deeper = Subscription("bybit_spot", BTC, SubKind.ORDER_BOOKS_L2, depth=200)
        with pytest.raises(Subscribe, match="unsubscribe that first"):
            await streams.subscribe(deeper)
        assert len(streams.books) == 1


async def test_images_of_every_message_keep_a_book_live():
    async def script(client):
        request = await client.hear()
        named = request["subscription"]
        answer = {"method": "subscribe", "subscription": named}
        client.say({"channel": "subscriptionResponse", "data": answer})
        for price in ("100", "101"):
            levels = [[{"px": price, "sz": "1", "n": 1}], []]
            book = {"coin": "BTC", "levels": levels, "time": 1}
            client.say({"channel": "l2Book", "data": book})
        await client.listen_to_the_end()

    perpetual = MarketDataInstrument.perpetual("btc", "usd")
    async with (
        venue(script) as url,
        open_market_streams(
            books_of("hyperliquid", perpetual), config=config("hyperliquid", url)
        ) as streams,
    ):
        events = await take_until(streams, lambda es: len(es) == 2)
        assert all(isinstance(e.kind, OrderBookSnapshot) for e in events)
        book = streams.books["hyperliquid", perpetual]
        assert (book.state, str(book.best_bid.price)) == ("live", "101")
