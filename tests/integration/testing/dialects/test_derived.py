"""Candles and contracts in each venue's words, without a socket."""

import json

import msgspec
import pytest

from integration.models import InstrumentKind
from integration.testing.dialects.bybit import BybitLinear, BybitSpot
from integration.testing.dialects.kraken_v2 import KrakenV2
from integration.testing.dialects.okx import Okx
from integration.testing.events import CandleChanged, ContractTold, PositionLiquidated

SECOND = 1_000_000_000
ONE = 100_000_000
CANDLE = CandleChanged(
    "BTCUSDT", 61 * SECOND, "1m", 0, 60 * SECOND, ONE, ONE, ONE, ONE, ONE, 2, True
)
LIQUIDATED = PositionLiquidated("BTCUSDT", 9 * SECOND, True, 2 * ONE, 3 * ONE)


def told(**more):
    facts = {"mark": 5 * ONE, "index": 4 * ONE, "rate": -1234, "open_interest": ONE}
    due = 28_800 * SECOND
    return ContractTold("BTCUSDT", 6 * SECOND, next_funding_ns=due, **(facts | more))


@pytest.fixture
def view(make_view):
    return make_view()


@pytest.fixture
def swaps(view):
    """OKX with one symbol, which is a swap."""
    view.specs = {
        name: msgspec.structs.replace(spec, kind=InstrumentKind.PERPETUAL)
        for name, spec in view.specs.items()
    }
    return Okx(view)


def published(dialect, event, session):
    return [json.loads(m.payload) for m in dialect.publish(event, session.topics)]


def ask(session, **request):
    actions = session.receive(json.dumps(request), 0.0)
    return [json.loads(action.text) for action in actions]


# OKX


def arg(channel, **more):
    return {"channel": channel, **(more or {"instId": "BTC-USDT-SWAP"})}


def test_swaps_of_okx_have_names_and_terms_of_their_own(swaps):
    assert list(swaps.natives) == ["BTC-USDT-SWAP"]


CONTRACT = [
    (arg("mark-price"), {"markPx": "5.00"}),
    (arg("index-tickers", instId="BTC-USDT"), {"idxPx": "4.00"}),
    (arg("open-interest"), {"oi": "1.00000"}),
    (arg("funding-rate"), {"fundingRate": "-0.00001234", "fundingTime": "28800000"}),
]


@pytest.mark.parametrize(("channel", "row"), CONTRACT)
def test_what_okx_tells_of_a_swap(swaps, channel, row):
    session = swaps.connect("/ws/v5/public", "")
    (answer,) = ask(session, op="subscribe", args=[channel])

    (message,) = published(swaps, told(), session)

    assert (answer["event"], answer["arg"]) == ("subscribe", channel)
    assert message["arg"] == channel
    assert row.items() <= message["data"][0].items()
    assert message["data"][0]["ts"] == "6000"
    ask(session, op="unsubscribe", args=[channel])
    assert published(swaps, told(), session) == []


def test_one_channel_of_okx_has_the_liquidations_of_all_swaps(swaps):
    session = swaps.connect("/ws/v5/public", "")
    (answer,) = ask(
        session, op="subscribe", args=[arg("liquidation-orders", instType="SWAP")]
    )

    (message,) = published(swaps, LIQUIDATED, session)

    assert answer["arg"] == {"channel": "liquidation-orders", "instType": "SWAP"}
    (row,) = message["data"]
    assert row["instId"] == "BTC-USDT-SWAP"
    (detail,) = row["details"]
    assert (detail["side"], detail["posSide"], detail["bkPx"]) == (
        "buy",
        "short",
        "2.00",
    )


def test_spot_of_okx_has_no_contracts(view):
    dialect = Okx(view)
    session = dialect.connect("/ws/v5/public", "")
    channels = [arg(name, instId="BTC-USDT") for name in ("mark-price", "funding-rate")]

    answers = ask(session, op="subscribe", args=channels)

    assert [answer["code"] for answer in answers] == ["60018", "60018"]
    assert list(dialect.publish(told(), {"mark-price|BTC-USDT"})) == []
    assert list(dialect.publish(LIQUIDATED, {"liquidation-orders|SWAP"})) == []


def test_candles_of_okx_are_at_the_business_path_and_nothing_else_is(view):
    dialect = Okx(view)
    business = dialect.connect("/ws/v5/business", "")
    candle, trades = (
        arg("candle1m", instId="BTC-USDT"),
        arg("trades", instId="BTC-USDT"),
    )

    answers = ask(business, op="subscribe", args=[candle, trades])
    (refused,) = ask(
        dialect.connect("/ws/v5/public", ""), op="subscribe", args=[candle]
    )
    (message,) = published(dialect, CANDLE, business)

    assert [answer["event"] for answer in answers] == ["subscribe", "error"]
    assert refused["code"] == "60018"
    assert message["arg"] == candle
    assert message["data"] == [
        ["0", *["1.00"] * 4, "1.00000", "1.00000", "0", "1"],
    ]


# Bybit


def subscribed(dialect, *topics):
    session = dialect.connect(dialect.websocket_path, "")
    answer, *first = ask(session, op="subscribe", args=topics)
    assert answer["success"]
    return session, first


def test_a_ticker_of_bybit_is_whole_once_and_then_only_news(view):
    dialect = BybitLinear(view)
    session, nothing = subscribed(dialect, "tickers.BTCUSDT")

    (whole,) = published(dialect, told(), session)
    (news,) = published(dialect, told(mark=6 * ONE), session)
    _, (later,) = subscribed(dialect, "tickers.BTCUSDT")

    assert nothing == []
    assert (whole["type"], whole["ts"]) == ("snapshot", 6000)
    assert whole["data"] == {
        "symbol": "BTCUSDT",
        "markPrice": "5.00",
        "indexPrice": "4.00",
        "openInterest": "1.00000",
        "openInterestValue": "5.0000",
        "fundingRate": "-0.00001234",
        "nextFundingTime": "28800000",
    }
    assert news["type"] == "delta"
    assert news["data"].keys() == {"symbol", "markPrice", "openInterestValue"}
    assert later["type"] == "snapshot"
    assert later["data"] == {**whole["data"], **news["data"]}


def test_bybit_names_the_position_that_was_liquidated(view):
    dialect = BybitLinear(view)
    session, _ = subscribed(dialect, "allLiquidation.BTCUSDT")

    (message,) = published(dialect, LIQUIDATED, session)

    # The order bought, so the position was a short one: "Sell".
    assert message["data"] == [
        {"T": 9000, "s": "BTCUSDT", "S": "Sell", "v": "3.00000", "p": "2.00"}
    ]


def test_spot_of_bybit_has_candles_only(view):
    dialect = BybitSpot(view)
    topics = ("kline.1.BTCUSDT", "tickers.BTCUSDT", "allLiquidation.BTCUSDT")
    session, _ = subscribed(dialect, *topics)

    events = (CANDLE, told(), LIQUIDATED)
    messages = [m for event in events for m in published(dialect, event, session)]

    (candle,) = messages
    assert candle["topic"] == "kline.1.BTCUSDT"
    (row,) = candle["data"]
    assert (row["start"], row["end"], row["confirm"]) == (0, 59_999, True)


# Kraken


def test_candles_of_kraken_are_asked_for_by_their_minutes(view):
    dialect = KrakenV2(view)
    session = dialect.connect("/v2", "")

    def subscribe(minutes):
        params = {"channel": "ohlc", "symbol": ["BTC/USDT"], "interval": minutes}
        return ask(session, method="subscribe", params=params)

    (refused,), (answer,), (five,) = subscribe(2), subscribe(1), subscribe(5)
    (message,) = published(dialect, CANDLE, session)

    assert not refused["success"]
    assert answer["result"]["interval"] == 1
    assert five["success"]
    (row,) = message["data"]
    assert (message["channel"], message["type"]) == ("ohlc", "update")
    assert (row["symbol"], row["interval"], row["trades"]) == ("BTC/USDT", 1, 2)
    assert row["interval_begin"] == "1970-01-01T00:00:00.000000Z"
    assert published(dialect, told(), session) == []
