"""Binance spot's way of speaking, without a socket."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.testing.dialect import (
    CloseWith,
    HttpReply,
    HttpRequest,
    Limits,
    Send,
)
from integration.testing.dialects.binance_spot import BinanceSpot
from integration.testing.events import (
    DepthChanged,
    OtherMessage,
    QuoteChanged,
    SymbolSpec,
    TradeDone,
)

MS = 1_000_000
ONE = 100_000_000
SPEC = SymbolSpec(
    symbol="BTCUSDT", base="BTC", quote="USDT", tick=1_000_000, lot=1_000, price=ONE
)


@pytest.fixture
def session(dialect):
    return dialect.connect("/ws", "")


@pytest.fixture
def view(make_view):
    return make_view()


@pytest.fixture
def dialect(view):
    return BinanceSpot(view)


def ask(session, request, now=0.0):
    text = request if isinstance(request, str) else json.dumps(request)
    (action,) = session.receive(text, now)
    assert isinstance(action, Send)
    return json.loads(action.text)


def get(dialect, path, *, method="GET", peer="p", now=0.0, **query):
    return dialect.respond(
        HttpRequest(method=method, path=path, query=query, peer=peer), now
    )


# ---- connecting


@pytest.mark.parametrize(
    ("path", "query", "topics", "combined"),
    [
        ("/ws", "", set(), False),
        ("/ws/", "", set(), False),
        ("/ws/btcusdt@trade", "", {"btcusdt@trade"}, False),
        ("/ws/a@trade/b@trade", "", {"a@trade", "b@trade"}, False),
        ("/ws/btcusdt%40trade", "", {"btcusdt@trade"}, False),
        ("/stream", "", set(), True),
        ("/stream", "streams=a@trade/b@depth", {"a@trade", "b@depth"}, True),
        ("/stream", "streams=a%40trade", {"a@trade"}, True),
    ],
)
def test_the_url_subscribes(dialect, path, query, topics, combined):
    session = dialect.connect(path, query)

    assert session.topics == topics
    assert session.opened() == []
    answer = ask(session, {"method": "GET_PROPERTY", "params": ["combined"], "id": 1})
    assert answer == {"result": combined, "id": 1}


@pytest.mark.parametrize("path", ["/", "/wss", "/stream/x", "/api/v3/ping"])
def test_other_paths_are_not_found(dialect, path):
    reply = dialect.connect(path, "")

    assert isinstance(reply, HttpReply)
    assert reply.status == 404


def test_too_many_streams_in_a_url_are_refused(make_view):
    dialect = BinanceSpot(make_view(Limits(streams_per_connection=2)))

    assert dialect.connect("/ws/a@t/b@t/c@t", "").status == 400


# ---- live requests


def test_subscribing_listing_and_unsubscribing(session):
    names = ["btcusdt@trade", "nosuch@depth"]

    assert ask(session, {"method": "SUBSCRIBE", "params": names, "id": 7}) == {
        "result": None,
        "id": 7,
    }
    listed = ask(session, {"method": "LIST_SUBSCRIPTIONS", "id": "list1"})
    assert listed == {"result": names, "id": "list1"}
    ask(session, {"method": "UNSUBSCRIBE", "params": [names[0], "never"], "id": None})
    assert session.topics == {names[1]}


def test_the_envelope_can_be_switched(session, dialect):
    ask(session, {"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1})
    (message,) = dialect.publish(TRADE, session.topics)
    assert json.loads(session.render(message))["e"] == "trade"

    ask(session, {"method": "SET_PROPERTY", "params": ["combined", True], "id": 2})

    assert json.loads(session.render(message))["stream"] == "btcusdt@trade"
    assert json.loads(session.render(message))["data"]["e"] == "trade"


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        ({"method": "SUBSCRIB", "id": 1}, 2, "unknown variant `SUBSCRIB`"),
        ({"id": 1}, 2, "missing field `method`"),
        ({"method": "SUBSCRIBE", "id": 1}, 2, "params"),
        ({"method": "SUBSCRIBE", "params": "a", "id": 1}, 2, "params"),
        ({"method": "SUBSCRIBE", "params": [1], "id": 1}, 2, "must be a string"),
        ({"method": "GET_PROPERTY", "params": [], "id": 1}, 2, "property name"),
        ({"method": "GET_PROPERTY", "params": ["x"], "id": 1}, 0, "Unknown property"),
        ({"method": "SET_PROPERTY", "params": ["combined", 1], "id": 1}, 1, "Boolean"),
        ({"method": "SET_PROPERTY", "params": ["combined"], "id": 1}, 1, "Boolean"),
        (
            {"method": "SET_PROPERTY", "params": ["combined", True, 1], "id": 1},
            2,
            "too many",
        ),
    ],
)
def test_a_refused_request_is_answered_with_its_id(session, request_, code, said):
    answer = ask(session, request_)

    assert answer["id"] == 1
    assert answer["error"]["code"] == code
    assert said in answer["error"]["msg"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", 3),
        ("", 3),
        ("hello", 3),
        ("[]", 2),
        ('{"method":"LIST_SUBSCRIPTIONS"}', 2),
        ('{"method":"LIST_SUBSCRIPTIONS","id":1.5}', 2),
        ('{"method":"LIST_SUBSCRIPTIONS","id":true}', 2),
        ('{"method":"LIST_SUBSCRIPTIONS","id":"%s"}' % ("x" * 37), 2),
        ('{"method":"LIST_SUBSCRIPTIONS","id":"a-b"}', 2),
        ('{"method":"LIST_SUBSCRIPTIONS","id":9223372036854775808}', 2),
    ],
)
def test_what_names_no_request_is_answered_flat(session, text, code):
    assert ask(session, text)["code"] == code


@given(st.text() | st.binary(max_size=50))
def test_nothing_a_client_sends_is_answered_by_silence_or_a_crash(make_view, message):
    session = BinanceSpot(make_view()).connect("/ws", "")

    (action,) = session.receive(message, 0.0)

    assert "msg" in action.text or "result" in action.text


def test_too_many_subscriptions_are_refused_and_change_nothing(make_view):
    session = BinanceSpot(make_view(Limits(streams_per_connection=2))).connect(
        "/ws", ""
    )
    ask(session, {"method": "SUBSCRIBE", "params": ["a", "b"], "id": 1})

    answer = ask(session, {"method": "SUBSCRIBE", "params": ["a", "c"], "id": 2})

    assert answer["error"]["code"] == 2
    assert session.topics == {"a", "b"}


def test_the_sixth_message_of_a_second_closes(make_view):
    session = BinanceSpot(make_view(Limits(messages_per_second=5))).connect("/ws", "")
    request = '{"method":"LIST_SUBSCRIPTIONS","id":1}'
    for _ in range(5):
        session.receive(request, 1.0)

    (action,) = session.receive(request, 1.5)
    assert action == CloseWith(code=1008, reason="Too many requests")
    (action,) = session.receive(request, 2.1)
    assert isinstance(action, Send)


# ---- events

TRADE = TradeDone(
    symbol="BTCUSDT",
    time_ns=1_500 * MS,
    trade_id=9,
    price=61_800 * ONE + 1,
    amount=5,
    buyer_is_maker=True,
    buyer_order=3,
    seller_order=4,
)
QUOTE = QuoteChanged("BTCUSDT", 1_600 * MS, 71, (ONE, 2 * ONE), (0, 0))
DEPTH = DepthChanged(
    "BTCUSDT", 1_700 * MS, 71, 75, bids=((ONE, 0), (2 * ONE, 7)), asks=()
)


def test_a_trade_is_spelt_as_at_the_venue(dialect):
    (message,) = dialect.publish(TRADE, {"btcusdt@trade"})

    assert message.payload == (
        '{"e":"trade","E":1500,"s":"BTCUSDT","t":9,"p":"61800.00000001",'
        '"q":"0.00000005","b":3,"a":4,"T":1500,"m":true,"M":true}'
    )


def test_a_quote_is_spelt_as_at_the_venue(dialect):
    (message,) = dialect.publish(QUOTE, {"btcusdt@bookTicker"})

    assert message.payload == (
        '{"u":71,"s":"BTCUSDT","b":"1.00000000","B":"2.00000000",'
        '"a":"0.00000000","A":"0.00000000"}'
    )


def test_depth_is_spelt_as_at_the_venue(dialect):
    (message,) = dialect.publish(DEPTH, {"btcusdt@depth@100ms"})

    assert message.payload == (
        '{"e":"depthUpdate","E":1700,"s":"BTCUSDT","U":71,"u":75,'
        '"b":[["1.00000000","0.00000000"],["2.00000000","0.00000007"]],"a":[]}'
    )


def test_nothing_is_spelt_for_nobody(dialect):
    for event in (TRADE, QUOTE, DEPTH):
        assert dialect.publish(event, {"ethusdt@trade", "btcusdt@kline_1m"}) == []


def test_recorded_text_goes_out_untouched_unless_the_clock_is_off(view, dialect):

    raw = msgspec.structs.replace(TRADE, raw='{ "e" : "trade" }', buyer_order=None)
    assert dialect.publish(raw, {"btcusdt@trade"})[0].payload == '{ "e" : "trade" }'
    other = OtherMessage("BTCUSDT", 1, "btcusdt@kline_1m", "{}")
    assert dialect.publish(other, {"btcusdt@kline_1m"})[0].payload == "{}"
    assert dialect.publish(other, set()) == []

    view.skew = -500 * MS
    spelt = json.loads(dialect.publish(raw, {"btcusdt@trade"})[0].payload)
    assert spelt["E"] == spelt["T"] == 1000
    assert "b" not in spelt
    assert dialect.publish(other, {"btcusdt@kline_1m"})[0].payload == "{}"


def test_a_second_of_depth_is_folded_into_one_message(dialect):
    def update(time_ms, first, last, bids):
        event = DepthChanged("BTCUSDT", time_ms * MS, first, last, bids, ())
        return dialect.publish(event, {"btcusdt@depth"})

    assert update(1000, 1, 2, ((ONE, 5), (2 * ONE, 1))) == []
    assert update(1900, 3, 4, ((ONE, 0),)) == []
    (message,) = update(2000, 5, 5, ((ONE, 9),))

    told = json.loads(message.payload)
    assert (told["U"], told["u"]) == (1, 4)
    assert told["b"] == [["1.00000000", "0.00000000"], ["2.00000000", "0.00000001"]]


@pytest.mark.parametrize("depth", [5, 10, 20])
def test_partial_books_show_the_published_book(dialect, depth):
    topic = f"btcusdt@depth{depth}@100ms"
    (message,) = dialect.publish(DEPTH, {topic})

    told = json.loads(message.payload)
    assert told["lastUpdateId"] == 70
    assert len(told["bids"]) == depth
    assert told["bids"][0] == ["2000.00000000", "1.00000000"]


def test_slow_partial_books_come_with_the_second(dialect):

    topics = {"btcusdt@depth5"}
    assert dialect.publish(DEPTH, topics) == []
    later = msgspec.structs.replace(DEPTH, time_ns=2_000 * MS)
    assert [m.topic for m in dialect.publish(later, topics)] == ["btcusdt@depth5"]


def test_the_notice_of_a_shutdown(dialect):
    notice = json.loads(dialect.shutdown_notice())
    assert notice == {"e": "serverShutdown", "E": 5000}


# ---- requests


def test_ping_and_time(dialect, view):
    assert get(dialect, "/api/v3/ping").body == b"{}"
    view.skew = 7 * MS
    assert json.loads(get(dialect, "/api/v3/time").body) == {"serverTime": 5007}


@pytest.mark.parametrize(
    ("limit", "levels", "weight"),
    [
        *((None, 100, 5), (5, 5, 5), (100, 100, 5), (101, 101, 25), (500, 500, 25)),
        *((1000, 1000, 50), (1001, 1001, 250), (5000, 2000, 250), (9999, 2000, 250)),
    ],
)
def test_depth_and_its_weight(dialect, limit, levels, weight):
    query = {"symbol": "BTCUSDT"} | ({} if limit is None else {"limit": str(limit)})

    reply = get(dialect, "/api/v3/depth", **query)

    book = json.loads(reply.body)
    assert book["lastUpdateId"] == 77
    assert len(book["bids"]) == levels
    assert book["asks"][0] == ["3000.00000000", "1.00000000"]
    assert dict(reply.headers)["X-MBX-USED-WEIGHT-1M"] == str(weight)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, -1102),
        ({"symbol": ""}, -1102),
        ({"symbol": "NOPE"}, -1121),
        ({"symbol": "btcusdt"}, -1121),
        ({"symbol": "BTCUSDT", "limit": "ten"}, -1100),
        ({"symbol": "BTCUSDT", "limit": "-1"}, -1100),
        ({"symbol": "BTCUSDT", "limit": "1" * 21}, -1100),
    ],
)
def test_what_is_wrong_with_a_depth_request(dialect, query, code):
    reply = get(dialect, "/api/v3/depth", **query)

    assert reply.status == 400
    assert json.loads(reply.body)["code"] == code


def test_exchange_info_describes_the_grid(dialect):
    info = json.loads(get(dialect, "/api/v3/exchangeInfo").body)

    (symbol,) = info["symbols"]
    filters = {entry["filterType"]: entry for entry in symbol["filters"]}
    assert (symbol["baseAsset"], symbol["quoteAsset"]) == ("BTC", "USDT")
    assert filters["PRICE_FILTER"]["tickSize"] == "0.01000000"
    assert filters["LOT_SIZE"]["stepSize"] == "0.00001000"
    assert info["rateLimits"][0]["limit"] == 6000


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"symbol": "BTCUSDT"}, 200),
        ({"symbols": '["BTCUSDT"]'}, 200),
        ({"symbol": "NOPE"}, 400),
        ({"symbols": '["NOPE"]'}, 400),
        ({"symbols": "BTCUSDT"}, 400),
    ],
)
def test_exchange_info_of_some(dialect, query, status):
    assert get(dialect, "/api/v3/exchangeInfo", **query).status == status


def test_other_routes_and_methods(dialect):
    assert get(dialect, "/api/v3/order").status == 404
    assert get(dialect, "/").status == 404
    reply = get(dialect, "/api/v3/ping", method="POST")
    assert reply.status == 405
    assert ("Allow", "GET") in reply.headers


def test_weight_runs_out_per_address_and_comes_back(dialect):
    query = {"symbol": "BTCUSDT", "limit": "5000"}
    for _ in range(24):
        assert get(dialect, "/api/v3/depth", **query).status == 200

    refused = get(dialect, "/api/v3/depth", now=30.0, **query)
    assert refused.status == 429
    assert json.loads(refused.body)["code"] == -1003
    assert dict(refused.headers)["Retry-After"] == "30"
    assert get(dialect, "/api/v3/ping", peer="other", now=30.0).status == 200
    assert get(dialect, "/api/v3/ping", now=60.0).status == 200


def test_who_goes_on_is_banned(dialect):
    query = {"symbol": "BTCUSDT", "limit": "5000"}
    statuses = [
        get(dialect, "/api/v3/depth", **query).status for _ in range(24 + 20 + 1)
    ]

    assert statuses == [200] * 24 + [429] * 20 + [418]
    assert b"banned until 125000" in get(dialect, "/api/v3/ping").body
