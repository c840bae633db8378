"""Bybit's way of speaking, without a socket."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.testing.dialect import CloseWith, HttpReply, HttpRequest, Limits
from integration.testing.dialects.bybit import BybitLinear, BybitSpot
from integration.testing.events import (
    DepthChanged,
    OtherMessage,
    QuoteChanged,
    TradeDone,
)

MS = 1_000_000
ONE = 100_000_000
BOOK = "orderbook.50.BTCUSDT"
TOP = "orderbook.1.BTCUSDT"


@pytest.fixture
def view(make_view):
    return make_view()


@pytest.fixture
def dialect(view):
    return BybitSpot(view)


def connect(dialect):
    return dialect.connect(dialect.websocket_path, "")


def ask(session, **request):
    return [
        json.loads(action.text) for action in session.receive(json.dumps(request), 0.0)
    ]


def subscribe(session, *topics):
    answer, *first = ask(session, op="subscribe", args=list(topics))
    assert answer["success"], answer
    return first


def change(view, time_ms, sequence, bids=(), asks=()):
    """Publish a change of the book."""
    view.published.apply(sequence, bids, asks)
    return DepthChanged(
        "BTCUSDT", time_ms * MS, sequence, sequence, tuple(bids), tuple(asks)
    )


def published(dialect, session, event):
    found = dialect.publish(event, session.topics)
    return [json.loads(session.render(m)) for m in found if m.topic in session.topics]


def get(dialect, path, **query):
    reply = dialect.respond(
        HttpRequest(method="GET", path=path, query=query, peer="p"), 0.0
    )
    return reply, json.loads(reply.body or b"null")


@pytest.mark.parametrize("kind", [BybitSpot, BybitLinear])
def test_each_server_has_its_path(view, kind):
    dialect = kind(view)

    assert connect(dialect).opened() == []
    for path in ("/", "/v5/private", "/v5/public/option"):
        reply = dialect.connect(path, "")
        assert isinstance(reply, HttpReply)
        assert reply.status == 404


def test_answers_repeat_the_request(dialect):
    session = connect(dialect)

    (pong,) = ask(session, op="ping", req_id="7")
    assert (pong["success"], pong["ret_msg"], pong["req_id"]) == (True, "pong", "7")
    (ack,) = ask(session, op="subscribe", args=["publicTrade.BTCUSDT"])
    assert (ack["op"], ack["ret_msg"]) == ("subscribe", "subscribe")
    assert "req_id" not in ack
    assert ack["conn_id"] == pong["conn_id"] != connect(dialect)
    (left,) = ask(session, op="unsubscribe", args=["publicTrade.BTCUSDT"])
    assert left["success"]
    assert session.topics == set()


def test_linear_acknowledges_with_an_empty_text(view):
    (ack,) = ask(
        connect(BybitLinear(view)), op="subscribe", args=["publicTrade.BTCUSDT"]
    )
    assert ack["ret_msg"] == ""


@pytest.mark.parametrize(
    ("topics", "said"),
    [
        (["nonsense.BTCUSDT"], "handler not found"),
        (["orderbook.7.BTCUSDT"], "handler not found"),
        (["publicTrade.NOPE"], "Invalid symbol"),
        (["publicTrade.BTCUSDT"] * 11, "args size"),
        ([], "args size"),
    ],
)
def test_one_wrong_topic_fails_the_request(dialect, topics, said):
    session = connect(dialect)

    (answer,) = ask(session, op="subscribe", args=[BOOK, *topics] if topics else [])

    assert not answer["success"]
    assert said in answer["ret_msg"]
    assert session.topics == set()


def test_a_topic_is_subscribed_to_once(dialect):
    session = connect(dialect)
    subscribe(session, "publicTrade.BTCUSDT")

    (answer,) = ask(session, op="subscribe", args=["publicTrade.BTCUSDT"])
    assert "already subscribed" in answer["ret_msg"]


def test_kinds_that_are_not_played_stay_silent(dialect):
    assert subscribe(connect(dialect), "kline.5.BTCUSDT", "tickers.BTCUSDT") == []


def test_limits_hold(make_view):
    session = connect(
        BybitSpot(make_view(Limits(messages_per_second=1, streams_per_connection=1)))
    )
    (answer,) = ask(session, op="subscribe", args=[BOOK, TOP])
    assert "too many" in answer["ret_msg"]
    assert session.receive("{}", 0.5) == [
        CloseWith(code=1008, reason="Too many requests")
    ]


@given(st.text() | st.binary(max_size=50))
def test_whatever_comes_is_answered(make_view, message):
    (action,) = connect(BybitSpot(make_view())).receive(message, 0.0)

    assert not json.loads(action.text)["success"]


def test_a_book_begins_with_a_snapshot_and_counts_by_one(dialect, view):
    session = connect(dialect)
    (snapshot,) = subscribe(session, BOOK)
    assert snapshot["type"] == "snapshot"
    assert len(snapshot["data"]["b"]) == 50
    assert snapshot["data"]["b"][0] == ["2000.00", "1.00000"]
    start = snapshot["data"]["u"]

    quiet = published(dialect, session, change(view, 1, 71, bids=[(ONE, 5)]))
    (delta,) = published(dialect, session, change(view, 2, 72, bids=[(2000 * ONE, 0)]))
    (again,) = published(dialect, session, change(view, 3, 73, asks=[(2999 * ONE, 7)]))

    assert quiet == []  # far below the fifty levels
    assert (delta["type"], delta["data"]["u"]) == ("delta", start + 1)
    assert delta["data"]["b"] == [["2000.00", "0"], ["1950.00", "1.00000"]]
    assert again["data"]["u"] == start + 2 == dialect.sequence("BTCUSDT")
    assert (again["ts"], again["cts"], again["data"]["seq"]) == (3, 3, 73)


def test_a_later_subscriber_joins_the_same_count(dialect, view):
    first, second = connect(dialect), connect(dialect)
    (early,) = subscribe(first, BOOK)
    published(dialect, first, change(view, 1, 71, bids=[(2001 * ONE, ONE)]))

    (late,) = subscribe(second, BOOK)

    assert late["data"]["u"] == early["data"]["u"] + 1
    assert late["data"]["b"][0] == ["2001.00", "1.00000"]


def test_a_window_is_counted_on_although_nobody_listens(dialect, view):
    session = connect(dialect)
    (before,) = subscribe(session, BOOK)
    published(dialect, session, change(view, 1, 71, bids=[(2001 * ONE, ONE)]))
    ask(session, op="unsubscribe", args=[BOOK])
    published(dialect, session, change(view, 2, 72, bids=[(2002 * ONE, ONE)]))

    (after,) = subscribe(session, BOOK)

    assert after["data"]["u"] == before["data"]["u"] + 2
    assert after["data"]["b"][0] == ["2002.00", "1.00000"]


def test_the_first_level_moves_by_deltas_and_is_repeated_when_quiet(dialect, view):
    session = connect(dialect)
    (snapshot,) = subscribe(session, TOP)
    assert snapshot["data"]["b"] == [["2000.00", "1.00000"]]
    quote = QuoteChanged(
        "BTCUSDT", 1_000 * MS, 71, (2000 * ONE, ONE), (3000 * ONE, ONE)
    )
    moved = QuoteChanged(
        "BTCUSDT", 1_001 * MS, 72, (2001 * ONE, ONE), (3000 * ONE, ONE)
    )

    (image,) = published(dialect, session, quote)
    (delta,) = published(dialect, session, moved)
    assert image["type"] == "snapshot"
    assert delta["data"]["b"] == [["2000.00", "0"], ["2001.00", "1.00000"]]
    assert delta["data"]["a"] == []
    assert delta["data"]["u"] == image["data"]["u"] + 1

    assert published(dialect, session, change(view, 4_000, 72)) == []
    (again,) = published(dialect, session, change(view, 4_001, 72))
    assert again["type"] == "snapshot"
    assert again["data"]["u"] == delta["data"]["u"]
    assert again["data"]["b"] == [["2001.00", "1.00000"]]
    assert published(dialect, session, change(view, 4_100, 72)) == []


def test_trades_name_the_takers_side(dialect):
    session = connect(dialect)
    subscribe(session, "publicTrade.BTCUSDT")
    for maker_buys, side in ((True, "Sell"), (False, "Buy")):
        event = TradeDone("BTCUSDT", 5 * MS, 9, 61_800 * ONE, 1_000, maker_buys)
        (message,) = published(dialect, session, event)
        (trade,) = message["data"]
        assert (trade["S"], trade["p"], trade["v"], trade["i"]) == (
            side,
            "61800.00",
            "0.00001",
            "9",
        )


def test_recorded_messages_of_other_kinds_are_left_out(dialect):
    assert dialect.publish(OtherMessage("BTCUSDT", 1, "x", "{}"), {"x"}) == []


def test_routes(dialect, view):
    _, time = get(dialect, "/v5/market/time")
    assert time["result"] == {"timeSecond": "5", "timeNano": "5000000000"}
    _, info = get(dialect, "/v5/market/instruments-info")
    assert info["result"]["list"][0]["priceFilter"] == {"tickSize": "0.01"}
    _, book = get(
        dialect, "/v5/market/orderbook", category="spot", symbol="BTCUSDT", limit="2"
    )
    assert book["result"]["b"] == [["2000.00", "1.00000"], ["1999.00", "1.00000"]]
    assert get(dialect, "/v5/other")[0].status == 404
    for query in (
        {"category": "linear", "symbol": "BTCUSDT"},
        {"category": "spot", "symbol": "NOPE"},
        {"category": "spot", "symbol": "BTCUSDT", "limit": "x"},
    ):
        assert get(dialect, "/v5/market/orderbook", **query)[1]["retCode"] == 10001


def test_turning_away(dialect):
    reply = dialect.turn_away(403, 5)

    assert json.loads(reply.body)["retCode"] == 10006
    assert reply.status == 403
    assert ("Retry-After", "5") in reply.headers
    assert dialect.turn_away(403, None).headers == ()
    assert dialect.shutdown_notice() is None
