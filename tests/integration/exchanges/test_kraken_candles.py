"""Kraken's `ohlc`, by the documentation of its first API.

Rows are made of the page's own examples,
https://docs.kraken.com/api/docs/websocket-v1/ohlc, the answers of
https://docs.kraken.com/api/docs/websocket-v1/subscribe.
"""

import json
from decimal import Decimal

import pytest

from integration.errors import Deserialise, Unidentifiable, UnsupportedSubKind
from integration.exchanges.kraken.channels import INTERVALS
from integration.exchanges.registry import connector_for
from integration.market.connector import Topic
from integration.market.notices import Ack, Ignored, Refusal
from integration.models import (
    Candle,
    ExchangeId,
    MarketDataInstrument,
    SubKind,
    Subscription,
)

D = Decimal
S = 10**9
FIVE = "ohlc-5", "XBT/USD"
BTC = MarketDataInstrument.spot("xbt", "usd")
ROW = [
    "1542057314.748456",
    "1542057600.000000",
    "3586.70000",
    "3586.70000",
    "3586.60000",
    "3586.60000",
    "3586.68894",
    "0.03373000",
    2,
]


def candles(interval):
    return Subscription(ExchangeId.KRAKEN, BTC, SubKind.CANDLES, interval=interval)


def status(state, *, interval=5, **more):
    named = {"name": "ohlc"} if interval is None else {"interval": interval}
    body = {"event": "subscriptionStatus", "pair": "XBT/USD", "status": state}
    return {**body, "subscription": {"name": "ohlc", **named}, **more}


@pytest.mark.parametrize(("minutes", "interval"), INTERVALS.items())
def test_every_interval_is_asked_for_and_left_by_its_minutes(minutes, interval):
    connector = connector_for(ExchangeId.KRAKEN)
    topic = connector.topic(candles(interval))

    (asked,) = connector.subscribe([topic], first_id=1, time=0)
    (left,) = connector.unsubscribe([topic], first_id=1, time=0)

    assert topic.id == f"ohlc-{minutes}|XBT/USD"
    wanted = {"name": "ohlc", "interval": minutes}
    for request, verb in ((asked, "subscribe"), (left, "unsubscribe")):
        assert json.loads(request.payload) == {
            "event": verb,
            "pair": ["XBT/USD"],
            "subscription": wanted,
        }


def test_a_minute_is_meant_where_nothing_is_said_and_two_minutes_are_not_offered():
    connector = connector_for(ExchangeId.KRAKEN)

    assert connector.topic(candles(None)) == Topic("ohlc-1", "XBT/USD", ("1",))
    with pytest.raises(UnsupportedSubKind, match="candles of '2m'"):
        connector.topic(candles("2m"))


def test_a_candle_is_that_of_its_interval_and_of_its_last_change(transformer, fed):
    made = transformer("kraken", FIVE)

    (event,) = fed(made, [42, ROW, *FIVE])

    assert event.time_exchange == 1542057314748456000
    assert event.kind == Candle(
        "5m",
        1542057300 * S,
        1542057600 * S - 10**6,
        D("3586.70000"),
        D("3586.70000"),
        D("3586.60000"),
        D("3586.60000"),
        D("0.03373000"),
        2,
    )


def test_candles_of_several_lengths_do_not_get_mixed_up(transformer, fed):
    made = transformer("kraken", FIVE, ("ohlc-60", "XBT/USD"))

    (hour,) = fed(made, [42, ROW, "ohlc-60", "XBT/USD"])
    made.remove(Topic("ohlc-60", "XBT/USD"))
    (nobody,) = fed(made, [42, ROW, "ohlc-60", "XBT/USD"])
    (five,) = fed(made, [42, ROW, *FIVE])

    assert (hour.kind.interval, five.kind.interval) == ("1h", "5m")
    assert isinstance(nobody, Unidentifiable)


@pytest.mark.parametrize(
    "message",
    [
        [42, ROW[:8], *FIVE],
        [42, [*ROW[:8], "2"], *FIVE],
        [42, ["soon", *ROW[1:]], *FIVE],
        [42, ROW, "ohlc-five", "XBT/USD"],
    ],
)
def test_a_candle_that_is_none_is_an_error_of_its_message(message, transformer, fed):
    (error,) = fed(transformer("kraken", FIVE), message)

    assert isinstance(error, Deserialise)


def test_a_price_that_is_none_is_refused(transformer, fed):
    (error,) = fed(
        transformer("kraken", FIVE), [42, [*ROW[:2], "NaN", *ROW[3:]], *FIVE]
    )

    assert "NaN" in str(error)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            status("subscribed", channelID=42, channelName="ohlc-5"),
            Ack(topics=("ohlc-5|XBT/USD",)),
        ),
        (status("subscribed", interval=None), Ack(topics=("ohlc-1|XBT/USD",))),
        (status("unsubscribed"), Ignored("ohlc-5|XBT/USD: unsubscribed")),
    ],
)
def test_answers_name_the_interval(message, expected, transformer, fed):
    assert list(fed(transformer("kraken"), message)) == [expected]


def test_a_refusal_is_of_its_interval(transformer, fed):
    message = status(
        "error", interval=7, errorMessage="Subscription ohlc interval not supported"
    )

    (refusal,) = fed(transformer("kraken"), message)

    assert isinstance(refusal, Refusal)
    assert refusal.fatal
    assert refusal.topics == ("ohlc-7|XBT/USD",)


def test_candles_of_several_lengths_are_topics_of_their_own_in_v2_as_well(
    transformer, fed
):
    connector = connector_for(ExchangeId.KRAKEN_V2)
    minute, five = (
        connector.topic(
            Subscription(ExchangeId.KRAKEN_V2, BTC, SubKind.CANDLES, interval=i)
        )
        for i in ("1m", "5m")
    )
    made = transformer("kraken_v2", (minute.channel, minute.market))
    made.add(five, BTC)
    (request,) = connector.subscribe([five], first_id=3, time=0)
    candle = dict.fromkeys(("open", "high", "low", "close", "volume", "vwap"), 1.5)
    candle |= {"symbol": "XBT/USD", "interval": 5, "trades": 2}
    candle |= {"interval_begin": "2023-10-04T16:25:00.000000000Z"}
    message = {"channel": "ohlc", "type": "update", "data": [candle]}
    result = {"channel": "ohlc", "symbol": "XBT/USD", "interval": 5}
    ack = {"method": "subscribe", "success": True, "result": result}

    (event,) = fed(made, message)
    (confirmed,) = fed(made, ack)
    made.remove(five)
    (nobody,) = fed(made, message)

    params = json.loads(request.payload)["params"]
    assert (params["channel"], params["interval"]) == ("ohlc", 5)
    assert event.kind.interval == "5m"
    assert confirmed.topics == (five.id,) != (minute.id,)
    assert isinstance(nobody, Unidentifiable)
