"""The venue's candles against those that its trades make."""

import gzip
import itertools
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.market.parity import CandleDifference, CandleParity
from integration.market.playback import Playback
from integration.market.reports import Reconnecting
from integration.models import (
    AmountUnit,
    Candle,
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookL1,
    PublicTrade,
    TradeFlag,
)

RECORDINGS = Path(__file__).resolve().parents[3] / "../shared/data/recordings"
BTC = MarketDataInstrument.spot("btc", "usdt")
VENUE = ExchangeId.BINANCE_SPOT
MS = 1_000_000
MINUTE = 60_000 * MS


def trade(time, price="100", amount="1", exchange=VENUE, **fields):
    made = PublicTrade("1", Decimal(price), Decimal(amount), "buy", **fields)
    return MarketEvent(time, time, exchange, BTC, made)


def candle(number, prices, volume, *, exchange=VENUE, closed=True, **fields):
    first, high, low, last = map(Decimal, prices)
    start = number * MINUTE
    made = Candle(
        *("1m", start, start + MINUTE - MS, first, high, low, last, Decimal(volume)),
        closed=closed,
        **fields,
    )
    return MarketEvent(start + MINUTE, start + MINUTE, exchange, BTC, made)


def fields(differences):
    (found,) = differences
    assert isinstance(found, CandleDifference)
    return found.fields


START = [trade(1)]
SECOND = [
    trade(MINUTE, "5"),
    trade(MINUTE + 1, "7"),
    trade(MINUTE + 2, "4"),
    trade(2 * MINUTE - 1, "6", "0.5"),
]
NEXT = [trade(2 * MINUTE, "9")]
RIGHT = candle(1, "5746", "3.5", trade_count=4)


@pytest.mark.parametrize("order", list(itertools.permutations(range(2))))
def test_a_candle_that_the_trades_make_is_no_news_whoever_comes_first(order):
    parity = CandleParity("1m")
    last = [[RIGHT], NEXT]

    found = parity.take([*START, *SECOND, *last[order[0]], *last[order[1]]])

    assert (found, parity.compared) == ([], 1)


@pytest.mark.parametrize(
    ("wrong", "differs"),
    [
        (candle(1, "6746", "3.5"), {"open": (6, 5)}),
        (candle(1, "5846", "3.5"), {"high": (8, 7)}),
        (candle(1, "5736", "3.5"), {"low": (3, 4)}),
        (candle(1, "5745", "3.5"), {"close": (5, 6)}),
        (candle(1, "5746", "3"), {"volume": (3, Decimal("3.5"))}),
        (candle(1, "5746", "3.5", trade_count=5), {"trade_count": (5, 4)}),
    ],
)
def test_every_field_that_differs_is_named_with_both_values(wrong, differs):
    parity = CandleParity("1m")

    found = parity.take([*START, *SECOND, wrong, *NEXT])

    assert fields(found) == differs
    assert (found[0].open_time, found[0].interval) == (MINUTE, "1m")


def test_what_began_before_we_listened_is_not_compared():
    parity = CandleParity("1m")
    wrong = candle(0, "1111", "1")

    assert parity.take([*START, wrong, *SECOND, *NEXT]) == []
    assert parity.compared == 0


def test_a_candle_never_called_closed_is_final_once_a_later_one_has_come():
    parity = CandleParity("1m")
    growing = candle(1, "5755", "2", closed=None)
    whole = candle(1, "5746", "9", closed=None)
    later = candle(2, "9999", "1", closed=None)

    assert parity.take([*START, *SECOND, growing, whole, *NEXT]) == []
    assert fields(parity.take([later])) == {"volume": (9, Decimal("3.5"))}


def test_time_closes_a_candle_that_no_trade_follows():
    parity = CandleParity("1m")

    assert parity.take([*START, *SECOND, candle(1, "5746", "3")]) == []
    assert "volume" in fields(parity.close(2 * MINUTE))


def test_minutes_without_trades_have_no_candle_or_a_flat_one():
    parity = CandleParity("1m")
    flat = candle(1, "1111", "0")

    assert parity.take([*START, flat, trade(3 * MINUTE)]) == []
    assert parity.compared == 0


def test_a_candle_without_trades_and_trades_without_a_candle_are_told_of():
    parity = CandleParity("1m")
    unfounded = candle(1, "1111", "2")

    found = parity.take([*START, unfounded, *NEXT, trade(3 * MINUTE)])
    assert fields(found) == {"volume": (2, None)}
    right = candle(3, ("100", "100", "100", "100"), "1")
    found = parity.take([right, trade(4 * MINUTE)])

    assert [d.open_time for d in found] == [2 * MINUTE]
    assert found[0].fields == {"volume": (None, 1)}


def test_an_outage_begins_anew():
    parity = CandleParity("1m")
    lost = Reconnecting(
        exchange=VENUE,
        connection="x",
        reason="y",
        time=MINUTE + 3,
        attempt=0,
        delay=0.0,
        instruments=(BTC,),
    )
    part = SECOND[:2]

    found = parity.take([*START, *part, lost, *SECOND[3:], RIGHT, *NEXT])

    assert (found, parity.compared) == ([], 0)
    after = [candle(2, "9999", "1"), trade(3 * MINUTE)]
    assert parity.take(after) == []
    assert parity.compared == 1


def test_at_some_venues_a_candle_opens_where_the_one_before_closed():
    for exchange, expected in ((ExchangeId.BITMEX, []), (ExchangeId.OKX, ["open"])):
        parity = CandleParity("1m")
        events = [trade(time, price, exchange=exchange) for time, price in TIMES]
        mine = candle(2, "3545", "2", exchange=exchange)
        found = parity.take([*events, mine, trade(3 * MINUTE, exchange=exchange)])
        assert [name for d in found for name in d.fields] == expected


TIMES = [(1, "1"), (MINUTE, "3"), (2 * MINUTE, "4"), (2 * MINUTE + 1, "5")]


def test_high_and_low_may_take_the_opening_price_in():
    for low in "34":
        parity = CandleParity("1m")
        exchange = ExchangeId.BYBIT_SPOT
        events = [trade(time, price, exchange=exchange) for time, price in TIMES]
        mine = candle(2, f"35{low}5", "2", exchange=exchange)

        assert parity.take([*events, mine, trade(3 * MINUTE, exchange=exchange)]) == []


def test_volumes_of_different_units_and_uncounted_trades_are_not_compared():
    parity = CandleParity("1m")
    block = trade(MINUTE + 5, "900", flags=TradeFlag.BLOCK)
    other = candle(1, "5746", "99", amount_unit=AmountUnit.CONTRACT)
    hour = candle(1, "1111", "1")
    hour = MarketEvent(1, 1, VENUE, BTC, Candle("1h", *_rest(hour.kind)))
    quote = MarketEvent(1, 1, VENUE, BTC, OrderBookL1(1, None, None))

    found = parity.take([*START, *SECOND, block, other, hour, quote, *NEXT])

    assert (found, parity.compared) == ([], 1)


def _rest(made):
    return [getattr(made, name) for name in made.__struct_fields__[1:]]


# The venue as an oracle of its own: whole numbers, dictionaries, its wire format


def klines(trades, minute):
    """What Binance would send of (ms, price, quantity), in cents and steps."""
    by_minute = {}
    for time, price, quantity in trades:
        by_minute.setdefault(time // minute, []).append((price, quantity))
    for number, rows in sorted(by_minute.items()):
        prices = [price for price, _ in rows]
        yield {
            "e": "kline",
            "E": (number + 1) * minute,
            "s": "BTCUSDT",
            "k": {
                "t": number * minute,
                "T": (number + 1) * minute - 1,
                "s": "BTCUSDT",
                "i": "1m",
                "o": cents(prices[0]),
                "c": cents(prices[-1]),
                "h": cents(max(prices)),
                "l": cents(min(prices)),
                "v": cents(sum(quantity for _, quantity in rows)),
                "n": len(rows),
                "x": True,
            },
        }


def cents(number):
    return f"{number // 100}.{number % 100:02d}"


def wire(number, time, price, quantity):
    return {
        "e": "trade",
        "E": time,
        "s": "BTCUSDT",
        "t": number,
        "p": cents(price),
        "q": cents(quantity),
        "T": time,
        "m": number % 2 == 0,
    }


def played(messages):
    playback = Playback(VENUE)
    return [e for m in messages for e in playback.feed(json.dumps(m).encode(), 1)]


def session(trades):
    """Trades, each minute's candle a little after it, as a stream has them."""
    told = [(time, wire(n, time, *rest)) for n, (time, *rest) in enumerate(trades)]
    sums = [(k["E"] - 1, k) for k in klines(trades, 60_000)]
    return [m for _, m in sorted(told + sums, key=lambda pair: pair[0])]


steps = st.lists(
    st.tuples(st.integers(0, 40_000), st.integers(1, 10_000), st.integers(1, 10_000)),
    min_size=1,
    max_size=60,
)


def walk(drawn):
    times = itertools.accumulate(step for step, _, _ in drawn)
    return [(t, p, q) for t, (_, p, q) in zip(times, drawn, strict=True)]


@given(steps)
def test_our_candles_are_the_venues(drawn):
    trades = walk(drawn)
    parity = CandleParity("1m")

    differences = parity.take(played(session(trades)))
    differences += parity.close(10**18)

    minutes = {time // 60_000 for time, _, _ in trades}
    assert differences == []
    assert parity.compared == len({m for m in minutes if m * 60_000 > trades[0][0]})


@given(steps, st.data())
def test_a_trade_that_was_lost_or_doubled_is_noticed(drawn, data):
    trades = walk(drawn)
    messages = session(trades)
    audited = [
        i
        for i, m in enumerate(messages)
        if m["e"] == "trade" and m["T"] // 60_000 * 60_000 > trades[0][0]
    ]
    if not audited:
        return
    which = data.draw(st.sampled_from(audited))
    copies = data.draw(st.sampled_from([0, 2]))
    changed = [*messages[:which], *([messages[which]] * copies), *messages[which + 1 :]]
    parity = CandleParity("1m")

    differences = parity.take(played(changed))
    differences += parity.close(10**18)

    assert [d.open_time // MS // 60_000 for d in differences] == [
        messages[which]["T"] // 60_000
    ]


def test_the_candles_of_a_recorded_feed_are_those_of_its_trades():
    path = RECORDINGS / "binance_spot_ethusdt_20240808.gz"
    if not path.exists():
        pytest.skip(f"{path} absent")
    with gzip.open(path) as lines:
        raw = [line.split(b" ", 1)[1] for line in lines if b'"trade"' in line]
    playback = Playback(VENUE, instruments=lambda _symbol: BTC)
    events = [e for line in raw for e in playback.feed(line, 1)]
    made = []
    for _, rows in itertools.groupby(events, key=lambda e: e.time_exchange // MINUTE):
        minute = list(rows)
        prices = [e.kind.price for e in minute]
        number = minute[0].time_exchange // MINUTE
        made += [
            *minute,
            candle(
                number,
                (prices[0], max(prices), min(prices), prices[-1]),
                sum(e.kind.amount for e in minute),
                trade_count=len(minute),
            ),
        ]

    parity = CandleParity("1m")
    differences = parity.take(made)
    differences += parity.close(10**20)

    minutes = {e.time_exchange // MINUTE for e in events}
    assert differences == []
    assert parity.compared == len(minutes) - 1 > 0
