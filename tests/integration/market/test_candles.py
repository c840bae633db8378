import gzip
import itertools
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.market.candles import CandleMaker, interval_ns
from integration.market.playback import Playback
from integration.models import (
    AmountUnit,
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    PublicTrade,
    TradeFlag,
)

RECORDINGS = Path(__file__).resolve().parents[3] / "../shared/data/recordings"
BTC = MarketDataInstrument.spot("btc", "usdt")
VENUE = ExchangeId.BINANCE_SPOT
SECOND = 1_000_000_000
MINUTE = 60 * SECOND


def trade(time, price="100", amount="1", **fields):
    made = PublicTrade("1", Decimal(price), Decimal(amount), "buy", **fields)
    return MarketEvent(time, time + 5, VENUE, BTC, made)


def ohlcv(event):
    c = event.kind
    return (c.open_time, c.open, c.high, c.low, c.close, c.volume, c.trade_count)


def test_a_candle_is_closed_by_the_first_trade_after_it():
    maker = CandleMaker("1m")
    taken = maker.take(
        [trade(MINUTE + 1, "5", "1"), trade(MINUTE + 2, "7"), trade(MINUTE + 3, "4")]
    )
    assert taken == []
    assert maker.growing(VENUE, BTC).closed is False

    (candle,) = maker.take([trade(2 * MINUTE, "9")])

    assert ohlcv(candle) == (MINUTE, 5, 7, 4, 4, 3, 3)
    assert candle.kind.close_time == 2 * MINUTE - 1_000_000
    assert (candle.time_exchange, candle.kind.closed) == (2 * MINUTE, True)


def test_time_closes_a_candle_that_no_trade_follows_and_later_ones_are_late():
    maker = CandleMaker("1m")
    maker.take([trade(MINUTE)])

    assert maker.close(2 * MINUTE - 1) == []
    (candle,) = maker.close(2 * MINUTE)
    assert candle.kind.open_time == MINUTE
    assert maker.close(9 * MINUTE) == []
    assert maker.take([trade(MINUTE + 1)]) == []
    assert maker.late == 1
    with pytest.raises(KeyError):
        maker.growing(VENUE, BTC)


def test_gaps_are_filled_if_that_is_wanted():
    maker = CandleMaker("1m", fill=True)
    maker.take([trade(0, "5")])

    filled = maker.take([trade(3 * MINUTE, "8")])

    assert [ohlcv(c)[:2] for c in filled] == [(0, 5), (MINUTE, 5), (2 * MINUTE, 5)]
    assert [c.kind.volume for c in filled] == [1, 0, 0]
    # By time: what grows now is flat, until a trade opens it.
    assert len(maker.close(5 * MINUTE)) == 2
    maker.take([trade(5 * MINUTE, "3")])
    growing = maker.growing(VENUE, BTC)
    assert (growing.open, growing.high, growing.volume) == (3, 3, 1)


def test_trades_that_made_no_price_are_left_out():
    maker = CandleMaker("1m")

    maker.take([trade(0, "5"), trade(1, "900", flags=TradeFlag.BLOCK)])

    assert maker.growing(VENUE, BTC).high == 5


def test_amounts_of_different_units_are_not_added_up():
    maker = CandleMaker("1m")

    with pytest.raises(ValueError, match="mixed"):
        maker.take([trade(0), trade(1, amount_unit=AmountUnit.CONTRACT)])


@pytest.mark.parametrize("text", ["", "m", "0m", "1M", "1.5h", "-1m", "1 m"])
def test_what_is_no_interval_is_refused(text):
    with pytest.raises(ValueError, match="an interval is"):
        interval_ns(text)


def test_weeks_begin_on_mondays():
    monday = 1_723_420_800 * SECOND  # 2024-08-12T00:00:00Z
    maker = CandleMaker("1w")
    maker.take([trade(monday - 1)])

    (candle,) = maker.take([trade(monday)])

    assert candle.kind.open_time == monday - interval_ns("1w")


@given(
    st.lists(
        st.tuples(st.integers(0, 10 * MINUTE), st.integers(1, 99), st.integers(1, 9)),
        min_size=1,
    ),
    st.sampled_from(["1s", "1m", "3m"]),
)
def test_nothing_traded_is_lost_or_counted_twice(trades, interval):
    trades.sort(key=lambda t: t[0])
    maker, length = CandleMaker(interval), interval_ns(interval)

    candles = maker.take(
        [trade(time, str(price), str(amount)) for time, price, amount in trades]
    )
    candles += maker.close(12 * MINUTE)

    wanted = []
    for start, group in itertools.groupby(trades, lambda t: t[0] // length * length):
        group = list(group)
        prices = [price for _, price, _ in group]
        volume = sum(amount for _, _, amount in group)
        ends = (prices[0], max(prices), min(prices), prices[-1])
        wanted.append((start, *ends, volume, len(group)))
    assert [ohlcv(candle) for candle in candles] == wanted


@pytest.mark.slow
def test_candles_of_a_recorded_day_add_up_to_its_trades():
    """Grouped here by the json module alone: an independent oracle."""
    path = RECORDINGS / "binance_spot_btcusdt_20240808.gz"
    if not path.exists():
        pytest.skip(f"{path} absent")
    playback, maker = Playback(VENUE), CandleMaker("1m")
    made, wanted = [], {}
    with gzip.open(path, "rb") as file:
        for line in file:
            time, _, raw = line.rstrip(b"\n").partition(b" ")
            if b"@trade" not in raw:
                continue
            made += maker.take(playback.feed(raw, int(time)))
            data = json.loads(raw)["data"]
            wanted.setdefault(data["T"] // 60_000 * MINUTE, []).append(data)
    made += maker.close(2**62)

    assert len(made) == len(wanted) >= 3
    for candle, (start, group) in zip(made, wanted.items(), strict=True):
        prices = [Decimal(data["p"]) for data in group]
        volume = sum(Decimal(data["q"]) for data in group)
        ends = (prices[0], max(prices), min(prices), prices[-1])
        assert ohlcv(candle) == (start, *ends, volume, len(group))
