"""Binance USD-M's way of speaking, without a socket: what differs from spot."""

import json

import pytest

from integration.testing.dialect import HttpRequest
from integration.testing.dialects.binance_futures import BinanceFutures
from integration.testing.events import (
    CandleChanged,
    ContractTold,
    DepthChanged,
    OtherMessage,
    PositionLiquidated,
    QuoteChanged,
    TradeDone,
)

MS = 1_000_000
SECOND = 1000 * MS
ONE = 100_000_000


@pytest.fixture
def view(make_view):
    return make_view()


@pytest.fixture
def dialect(view):
    return BinanceFutures(view)


def published(dialect, event, *topics):
    found = dialect.publish(event, set(topics))
    return {message.topic: json.loads(message.payload) for message in found}


def get(dialect, path, **query):
    request = HttpRequest(method="GET", path=path, query=query, peer="x")
    return dialect.respond(request, 0.0)


def told(time_s=6, **more):
    facts = {"mark": 5 * ONE, "index": 4 * ONE, "rate": -1234, "open_interest": 9 * ONE}
    return ContractTold(
        "BTCUSDT", time_s * SECOND, next_funding_ns=28_800 * SECOND, **(facts | more)
    )


def test_update_ids_have_holes_and_name_the_one_before(dialect, view):
    topic = "btcusdt@depth@100ms"
    first = DepthChanged("BTCUSDT", 7 * MS, 71, 75, ((ONE, 2 * ONE),), ())
    second = DepthChanged("BTCUSDT", 8 * MS, 76, 76, (), ((ONE, 0),))

    (one,) = published(dialect, first, topic).values()
    (two,) = published(dialect, second, topic).values()

    assert (one["U"], one["u"], one["pu"]) == (211, 225, 210)
    assert (two["U"], two["u"], two["pu"]) == (226, 228, 225)
    assert (one["E"], one["T"], one["b"]) == (7, 7, [["1.00000000", "2.00000000"]])
    # What a client has that saw the published book, and the route's own, newer book.
    assert dialect.sequence("BTCUSDT") == 3 * view.published.sequence
    image = json.loads(get(dialect, "/fapi/v1/depth", symbol="BTCUSDT", limit="5").body)
    assert image["lastUpdateId"] == 3 * 77
    assert len(image["bids"]) == 5
    assert image["T"] == 5000
    assert dialect.sequence("NOPE") is None


def test_a_second_of_depth_is_one_update(dialect):
    events = [
        DepthChanged("BTCUSDT", n * SECOND // 2, n, n, ((ONE, n),), ())
        for n in range(80, 83)
    ]

    folded = [published(dialect, event, "btcusdt@depth") for event in events]

    assert folded[:2] == [{}, {}]
    assert folded[2]["btcusdt@depth"]["pu"] == 79 * 3
    assert folded[2]["btcusdt@depth"]["u"] == 81 * 3


def test_best_levels_and_trades_have_the_times_and_names_of_futures(dialect):
    quote = QuoteChanged("BTCUSDT", 9 * MS, 5, (ONE, ONE), (2 * ONE, ONE))
    trade = TradeDone("BTCUSDT", 9 * MS, 3, ONE, ONE, True, 1, 2, raw="of spot")

    (ticker,) = published(dialect, quote, "btcusdt@bookTicker").values()
    (done,) = published(dialect, trade, "btcusdt@trade").values()

    assert (ticker["e"], ticker["T"], ticker["E"]) == ("bookTicker", 9, 9)
    assert ticker["b"] == "1.00000000"
    assert (done["X"], done["m"], done["t"]) == ("MARKET", True, 3)
    assert "b" not in done


def test_mark_prices_come_every_second_or_every_third(dialect):
    topics = ("btcusdt@markPrice", "btcusdt@markPrice@1s")

    seen = [set(published(dialect, told(n), *topics)) for n in (6, 7, 8, 9)]

    assert seen == [set(topics), {topics[1]}, {topics[1]}, set(topics)]
    (mark,) = published(dialect, told(), "btcusdt@markPrice").values()
    assert (mark["p"], mark["i"], mark["r"]) == (
        "5.00000000",
        "4.00000000",
        "-0.00001234",
    )
    assert (mark["E"], mark["T"]) == (6000, 28_800_000)


def test_liquidations_say_what_their_order_did(dialect):
    event = PositionLiquidated("BTCUSDT", 9 * MS, False, 2 * ONE, 3 * ONE)

    (message,) = published(dialect, event, "btcusdt@forceOrder").values()

    order = message["o"]
    assert (message["e"], order["S"], order["T"]) == ("forceOrder", "SELL", 9)
    assert (order["p"], order["q"]) == ("2.00000000", "3.00000000")
    assert published(dialect, event, "ethusdt@forceOrder") == {}


def test_candles_are_those_of_spot(dialect):
    event = CandleChanged(
        "BTCUSDT", 61 * SECOND, "1m", 0, 60 * SECOND, 4, 5, 3, 4, 9, 2, True
    )

    (message,) = published(dialect, event, "btcusdt@kline_1m").values()

    assert (message["k"]["t"], message["k"]["T"]) == (0, 59_999)
    assert (message["k"]["x"], message["k"]["n"]) == (True, 2)


def test_only_messages_that_nobody_reads_are_passed_on_as_recorded(dialect):
    other = OtherMessage("BTCUSDT", 1, "btcusdt@aggTrade", '{"e":"aggTrade"}')

    assert published(dialect, other, "btcusdt@aggTrade") == {
        "btcusdt@aggTrade": {"e": "aggTrade"}
    }


def test_open_interest_is_asked_for(dialect):
    before = json.loads(get(dialect, "/fapi/v1/openInterest", symbol="BTCUSDT").body)
    published(dialect, told())
    after = json.loads(get(dialect, "/fapi/v1/openInterest", symbol="BTCUSDT").body)
    unknown = get(dialect, "/fapi/v1/openInterest", symbol="NOPE")

    assert before["openInterest"] == "0.00000000"
    assert after == {"symbol": "BTCUSDT", "openInterest": "9.00000000", "time": 5000}
    assert (unknown.status, json.loads(unknown.body)["code"]) == (400, -1121)


def test_routes_of_spot_are_not_there_and_weights_are_those_of_futures(dialect):
    assert get(dialect, "/api/v3/depth", symbol="BTCUSDT").status == 404
    assert get(dialect, "/fapi/v1/nothing").status == 404
    assert get(dialect, "/depth", symbol="BTCUSDT").status == 404

    reply = get(dialect, "/fapi/v1/depth", symbol="BTCUSDT", limit="5000")

    assert ("X-MBX-USED-WEIGHT-1M", "23") in reply.headers  # 1 + 1 + 1 + 20


def test_every_symbol_is_a_perpetual(dialect):
    info = json.loads(get(dialect, "/fapi/v1/exchangeInfo").body)["symbols"]

    assert [(s["symbol"], s["contractType"], s["marginAsset"]) for s in info] == [
        ("BTCUSDT", "PERPETUAL", "USDT")
    ]
