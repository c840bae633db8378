"""OKX's way of speaking, without a socket."""

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.testing.dialect import HttpReply, HttpRequest, Limits
from integration.testing.dialects.okx import Okx
from integration.testing.events import DepthChanged, QuoteChanged, TradeDone

MS = 1_000_000
ONE = 100_000_000
BOOK = {"channel": "books", "instId": "BTC-USDT"}
TRADES = {"channel": "trades", "instId": "BTC-USDT"}
TOP = {"channel": "bbo-tbt", "instId": "BTC-USDT"}


@pytest.fixture
def view(make_view):
    return make_view()


@pytest.fixture
def dialect(view):
    return Okx(view)


@pytest.fixture
def session(dialect):
    return dialect.connect("/ws/v5/public", "")


def ask(session, op, *args, now=0.0):
    text = json.dumps({"op": op, "args": args})
    return [json.loads(action.text) for action in session.receive(text, now)]


def published(dialect, session, event):
    found = dialect.publish(event, session.topics)
    return [json.loads(session.render(message)) for message in found]


def change(view, time_ms, sequence, bids=(), asks=()):
    view.published.apply(sequence, bids, asks)
    first = sequence
    return DepthChanged(
        "BTCUSDT", time_ms * MS, first, sequence, tuple(bids), tuple(asks)
    )


def test_only_the_paths_of_market_data_are_served(dialect):
    for path in ("/ws/v5/private", "/ws/v5/business/candle1m", "/"):
        reply = dialect.connect(path, "")
        assert isinstance(reply, HttpReply)
        assert reply.status == 404


def test_every_channel_is_confirmed_by_itself(session):
    first, second = ask(session, "subscribe", TRADES, TRADES)

    assert first == second
    assert (first["event"], first["arg"]) == ("subscribe", TRADES)
    (left,) = ask(session, "unsubscribe", TRADES)
    assert (left["event"], left["arg"]) == ("unsubscribe", TRADES)
    assert session.topics == set()


def test_plain_pings_are_answered_plainly(session):
    assert [action.text for action in session.receive("ping", 0.0)] == ["pong"]
    assert [action.text for action in session.receive(b"ping", 0.0)] == ["pong"]


@pytest.mark.parametrize(
    "arg",
    [
        {"channel": "trades", "instId": "NOPE-USDT"},
        {"channel": "nonsense", "instId": "BTC-USDT"},
        {"channel": "trades"},
    ],
)
def test_a_channel_that_is_not_there_is_refused(session, arg):
    (error,) = ask(session, "subscribe", arg)

    assert (error["event"], error["code"]) == ("error", "60018")
    assert session.topics == set()


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"op":"subscribe"}', '{"op":"dance","args":[]}', "pong", ""]
)
def test_what_is_no_request_is_60012(session, text):
    (action,) = session.receive(text, 0.0)

    error = json.loads(action.text)
    assert error["code"] == "60012"
    assert text in error["msg"]


@given(st.text() | st.binary(max_size=50))
def test_whatever_comes_is_answered(make_view, message):
    session = Okx(make_view()).connect("/ws/v5/public", "")

    (action,) = session.receive(message, 0.0)
    assert action.text == "pong" or json.loads(action.text)["event"] == "error"


def test_480_requests_an_hour_and_no_more(session):
    for _ in range(480):
        assert ask(session, "unsubscribe", TRADES)[0]["event"] == "unsubscribe"
    assert ask(session, "unsubscribe", TRADES)[0]["code"] == "60014"
    assert ask(session, "unsubscribe", TRADES, now=3600.0)[0]["event"] == "unsubscribe"


def test_channels_are_limited(make_view):
    view = make_view(Limits(streams_per_connection=1))
    session = Okx(view).connect("/ws/v5/public", "")

    first, second = ask(session, "subscribe", TRADES, {**TOP})[:2]
    assert first["event"] == "subscribe"
    assert second["event"] == "error"


def test_a_book_is_a_chain_of_ids(dialect, session, view):
    _, snapshot = ask(session, "subscribe", BOOK)
    (row,) = snapshot["data"]
    assert (snapshot["action"], row["prevSeqId"], row["seqId"]) == ("snapshot", -1, 70)
    assert len(row["bids"]) == 400
    assert row["bids"][0] == ["2000.00", "1.00000", "0", "1"]

    (update,) = published(
        dialect, session, change(view, 1, 75, bids=[(2000 * ONE, 0), (5 * ONE, 0)])
    )
    (then,) = published(dialect, session, change(view, 2, 78, asks=[(2999 * ONE, 9)]))

    (row,) = update["data"]
    assert (update["action"], row["prevSeqId"], row["seqId"]) == ("update", 70, 75)
    assert row["bids"] == [
        ["2000.00", "0", "0", "0"],
        ["1600.00", "1.00000", "0", "1"],
    ]
    assert (then["data"][0]["prevSeqId"], then["data"][0]["seqId"]) == (75, 78)


def test_a_minute_without_change_is_told(dialect, session, view):
    ask(session, "subscribe", BOOK)
    published(dialect, session, change(view, 1_000, 71, bids=[(2001 * ONE, 1)]))

    assert published(dialect, session, change(view, 60_999, 71)) == []
    (still,) = published(dialect, session, change(view, 61_000, 71))
    (row,) = still["data"]
    assert row["prevSeqId"] == row["seqId"] == 71
    assert row["bids"] == row["asks"] == []


def test_the_checksum_is_the_documented_one(dialect, session, view):
    """Two rows by hand, after the documentation: bid:ask, then what is left."""
    view.published.bids, view.published.asks = (
        type(view.published.bids)(best_is_highest=True),
        type(view.published.asks)(best_is_highest=False),
    )
    view.published.apply(70, [(ONE, 2 * ONE), (2 * ONE, 3 * ONE)], [(3 * ONE, 4 * ONE)])
    _, snapshot = ask(session, "subscribe", BOOK)

    text = b"2.00:3.00000:3.00:4.00000:1.00:2.00000"
    told = snapshot["data"][0]["checksum"]
    assert told % 2**32 == zlib.crc32(text)
    assert -(2**31) <= told < 2**31


def test_best_bid_and_ask_come_whole(dialect, session):
    _, first = ask(session, "subscribe", TOP)
    assert first["data"][0]["bids"][0][0] == "2000.00"

    quote = QuoteChanged("BTCUSDT", 7 * MS, 99, (5 * ONE, ONE), (0, 0))
    (message,) = published(dialect, session, quote)
    assert message["data"] == [
        {
            "asks": [],
            "bids": [["5.00", "1.00000", "0", "1"]],
            "ts": "7",
            "seqId": 99,
        }
    ]


def test_trades_name_the_takers_side(dialect, session):
    ask(session, "subscribe", TRADES)
    event = TradeDone("BTCUSDT", 5 * MS, 9, 61_800 * ONE, 1_000, buyer_is_maker=True)

    (message,) = published(dialect, session, event)

    (trade,) = message["data"]
    assert (trade["side"], trade["px"], trade["sz"]) == ("sell", "61800.00", "0.00001")
    assert (trade["tradeId"], trade["ts"]) == ("9", "5")


def test_a_skewed_clock_shows(dialect, session, view):
    ask(session, "subscribe", TRADES)
    view.skew = -2 * MS

    event = TradeDone("BTCUSDT", 5 * MS, 9, ONE, ONE, buyer_is_maker=True)
    assert published(dialect, session, event)[0]["data"][0]["ts"] == "3"


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("/api/v5/public/time", {}, "0"),
        ("/api/v5/public/instruments", {}, "0"),
        ("/api/v5/market/books", {"instId": "BTC-USDT", "sz": "3"}, "0"),
        ("/api/v5/market/books", {"instId": "NOPE"}, "51001"),
        ("/api/v5/market/books", {"instId": "BTC-USDT", "sz": "x"}, "51000"),
    ],
)
def test_routes(dialect, path, query, code):
    request = HttpRequest(method="GET", path=path, query=query, peer="p")
    reply = json.loads(dialect.respond(request, 0.0).body)

    assert reply["code"] == code
    assert bool(reply["data"]) is (code == "0")


def test_other_routes_notices_and_turning_away(dialect):
    request = HttpRequest(method="GET", path="/x", query={}, peer="p")
    assert dialect.respond(request, 0.0).status == 404
    assert json.loads(dialect.shutdown_notice())["code"] == "64008"
    reply = dialect.turn_away(429, 3)
    assert (reply.status, json.loads(reply.body)["code"]) == (429, "50011")
    assert ("Retry-After", "3") in reply.headers
    assert dialect.sequence("BTCUSDT") is None
