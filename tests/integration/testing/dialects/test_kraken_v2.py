"""Kraken v2's way of speaking, without a socket."""

import json
import re
import zlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.testing.dialect import HttpReply, HttpRequest, Limits
from integration.testing.dialects.kraken_v2 import KrakenV2
from integration.testing.events import DepthChanged, QuoteChanged, TradeDone

MS = 1_000_000
ONE = 100_000_000
SYMBOL = "BTC/USDT"


@pytest.fixture
def view(make_view):
    return make_view()


@pytest.fixture
def dialect(view):
    return KrakenV2(view)


@pytest.fixture
def session(dialect):
    return dialect.connect("/v2", "")


def ask(session, method="subscribe", **params):
    request = {"method": method, "params": params, "req_id": 5}
    return [load(action.text) for action in session.receive(json.dumps(request), 0.0)]


def load(text):
    return json.loads(text, parse_float=Decimal)


def published(dialect, session, event):
    return [
        load(session.render(message))
        for message in dialect.publish(event, session.topics)
    ]


def change(view, time_ms, sequence, bids=(), asks=()):
    view.published.apply(sequence, bids, asks)
    return DepthChanged(
        "BTCUSDT", time_ms * MS, sequence, sequence, tuple(bids), tuple(asks)
    )


def test_a_connection_begins_with_the_status(dialect, session):
    (status,) = session.opened()

    assert json.loads(status.text)["data"][0]["system"] == "online"
    reply = dialect.connect("/", "")
    assert isinstance(reply, HttpReply)
    assert reply.status == 404


def test_every_symbol_is_answered_by_itself(session):
    refused, confirmed, snapshot = ask(
        session, channel="trade", symbol=["NO/PE", SYMBOL]
    )

    assert (refused["success"], refused["symbol"]) == (False, "NO/PE")
    assert "not supported NO/PE" in refused["error"]
    assert (confirmed["success"], confirmed["req_id"]) == (True, 5)
    assert confirmed["result"] == {
        "channel": "trade",
        "symbol": SYMBOL,
        "snapshot": True,
    }
    assert snapshot == {"channel": "trade", "type": "snapshot", "data": []}
    assert re.fullmatch(r"1970-01-01T00:00:05\.000000Z", confirmed["time_in"])


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"channel": "nonsense", "symbol": [SYMBOL]}, "Channel"),
        ({"channel": "book", "symbol": [SYMBOL], "depth": 7}, "Depth"),
        ({"symbol": [SYMBOL]}, "Channel"),
    ],
)
def test_what_is_not_offered_is_refused(session, params, said):
    (answer,) = ask(session, **params)

    assert not answer["success"]
    assert said in answer["error"]
    assert session.topics == set()


def test_subscribing_twice_and_leaving_twice_are_errors(session):
    ask(session, channel="trade", symbol=[SYMBOL])
    (again,) = ask(session, channel="trade", symbol=[SYMBOL])
    (left,) = ask(session, "unsubscribe", channel="trade", symbol=[SYMBOL])
    (twice,) = ask(session, "unsubscribe", channel="trade", symbol=[SYMBOL])

    assert again["error"] == "Already subscribed"
    assert (left["success"], left["method"]) == (True, "unsubscribe")
    assert twice["error"] == "Subscription Not Found"


def test_pings_are_answered(session):
    (action,) = session.receive('{"method":"ping","req_id":42}', 0.0)

    pong = json.loads(action.text)
    assert (pong["method"], pong["req_id"]) == ("pong", 42)


def test_subscriptions_are_limited(make_view):
    session = KrakenV2(make_view(Limits(streams_per_connection=0))).connect("/v2", "")
    (answer,) = ask(session, channel="trade", symbol=[SYMBOL])
    assert "Too many" in answer["error"]


@given(st.text() | st.binary(max_size=50))
def test_whatever_comes_is_answered(make_view, message):
    session = KrakenV2(make_view()).connect("/v2", "")

    (action,) = session.receive(message, 0.0)
    answer = json.loads(action.text)
    assert "error" in answer or answer["method"] == "pong"


def test_an_unknown_method_is_refused(session):
    (action,) = session.receive('{"method":"dance"}', 0.0)
    assert json.loads(action.text)["error"] == "Unsupported method"


def crc(book_levels):
    """The guide's recipe over decimals as they came: asks first."""
    text = ""
    for side in ("asks", "bids"):
        for level in book_levels[side][:10]:
            for number in (level["price"], level["qty"]):
                text += str(number).replace(".", "").lstrip("0")
    return zlib.crc32(text.encode())


def test_a_snapshot_carries_its_checksum_and_all_decimals(session):
    _, snapshot = ask(session, channel="book", symbol=[SYMBOL], depth=25)

    (row,) = snapshot["data"]
    assert snapshot["type"] == "snapshot"
    assert (len(row["bids"]), len(row["asks"])) == (25, 10)
    assert str(row["bids"][0]["price"]) == "2000.00"
    assert str(row["bids"][0]["qty"]) == "1.00000000"
    assert row["checksum"] == crc(row)


def test_updates_leave_out_what_is_pushed_out(dialect, session, view):
    ask(session, channel="book", symbol=[SYMBOL], depth=10)

    (pushed,) = published(dialect, session, change(view, 1, 71, [(2001 * ONE, ONE)]))
    (gone,) = published(dialect, session, change(view, 2, 72, [(2001 * ONE, 0)]))

    assert [level["price"] for level in pushed["data"][0]["bids"]] == [2001]
    told = {level["price"]: level["qty"] for level in gone["data"][0]["bids"]}
    assert told == {Decimal(2001): 0, Decimal(1991): 1}
    assert gone["data"][0]["timestamp"] == "1970-01-01T00:00:00.002000Z"


def test_the_reference_data_tell_the_grid(session):
    confirmed, instruments = ask(session, channel="instrument")

    assert confirmed["result"] == {"channel": "instrument", "snapshot": True}
    (pair,) = instruments["data"]["pairs"]
    assert (pair["symbol"], pair["price_precision"], pair["qty_precision"]) == (
        SYMBOL,
        2,
        8,
    )
    assert {asset["id"] for asset in instruments["data"]["assets"]} == {"BTC", "USDT"}
    assert len(ask(session, channel="instrument", snapshot=False)) == 1


def test_the_last_fifty_trades_are_kept(dialect, session):
    for number in range(60):
        event = TradeDone("BTCUSDT", 5 * MS, number, ONE, ONE, buyer_is_maker=True)
        assert dialect.publish(event, set()) == []

    _, snapshot = ask(session, channel="trade", symbol=[SYMBOL])
    assert [row["trade_id"] for row in snapshot["data"]] == list(range(10, 60))
    event = TradeDone("BTCUSDT", 5 * MS, 60, 3 * ONE, 1, buyer_is_maker=False)
    (update,) = published(dialect, session, event)
    (row,) = update["data"]
    assert (update["type"], row["side"], str(row["qty"])) == (
        "update",
        "buy",
        "1E-8",
    )


def test_the_ticker_is_best_bid_and_ask(dialect, session):
    _, snapshot = ask(session, channel="ticker", symbol=[SYMBOL])
    assert snapshot["data"][0]["bid"] == 2000

    quote = QuoteChanged("BTCUSDT", 7 * MS, 99, (5 * ONE, ONE), (6 * ONE, 2 * ONE))
    (message,) = published(dialect, session, quote)
    (row,) = message["data"]
    assert (row["bid"], row["bid_qty"], row["ask"], row["ask_qty"]) == (5, 1, 6, 2)


def test_a_heartbeat_comes_once_a_second(dialect, session, view):
    assert published(dialect, session, change(view, 1_000, 71)) == []
    ask(session, channel="trade", symbol=[SYMBOL])

    beats = [
        published(dialect, session, change(view, time_ms, 71))
        for time_ms in (1_100, 1_900, 2_000, 3_000)
    ]

    beat = [{"channel": "heartbeat"}]
    assert beats == [beat, [], beat, beat]


def test_routes_notices_and_turning_away(dialect):
    def get(path):
        return dialect.respond(
            HttpRequest(method="GET", path=path, query={}, peer="p"), 0.0
        )

    assert json.loads(get("/0/public/Time").body)["result"] == {"unixtime": 5}
    assert json.loads(get("/0/public/SystemStatus").body)["result"]["status"]
    assert get("/0/public/Nope").status == 404
    assert json.loads(dialect.shutdown_notice())["data"][0]["system"] == "maintenance"
    reply = dialect.turn_away(429, None)
    assert json.loads(reply.body)["error"] == ["EAPI:Rate limit exceeded"]
    assert reply.headers == ()
    assert ("Retry-After", "9") in dialect.turn_away(429, 9).headers
