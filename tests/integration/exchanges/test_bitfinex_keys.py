"""Bitfinex's keys of candles and contracts name their symbols."""

import json

import pytest

from integration.errors import DataError
from integration.exchanges.bitfinex import symbols
from integration.market.playback import Playback
from integration.models import (
    Candle,
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    MarkPrice,
)

NOW = 1_700_000_000_000_000_000
SPOT = MarketDataInstrument.spot("btc", "usd")
PERPETUAL = MarketDataInstrument.perpetual("btc", "ust")


@pytest.mark.parametrize(
    ("key", "instrument"),
    [
        ("trade:1m:tBTCUSD", SPOT),
        ("trade:14D:tBTCF0:USTF0", PERPETUAL),
        ("deriv:tBTCF0:USTF0", PERPETUAL),
        ("tBTCUSD", SPOT),
    ],
)
def test_a_key_is_about_its_symbol(key, instrument):
    assert symbols.instrument(key) == instrument


@pytest.mark.parametrize(
    "odd",
    [
        "trade:1m:",
        "trade:1m:fUSD",
        "liq:global",
        "tA:B:C",
        "trade:tBTCUSD:x",
        "deriv:x",
    ],
)
def test_what_is_no_symbol_is_not_taken_for_one(odd):
    with pytest.raises(DataError, match="bitfinex has no symbol"):
        symbols.instrument(odd)


def played(key, channel, body):
    playback = Playback(ExchangeId.BITFINEX)
    told = {"event": "subscribed", "channel": channel, "chanId": 7, "key": key}
    playback.feed(json.dumps(told).encode(), NOW)
    return playback.feed(json.dumps([7, body]).encode(), NOW)


def test_a_recording_has_candles_of_the_right_instrument():
    (event,) = played("trade:1m:tBTCUSD", "candles", [60_000, 2, 3, 4, 1, 5])

    assert isinstance(event, MarketEvent)
    assert (event.instrument, type(event.kind)) == (SPOT, Candle)


def test_a_recording_has_the_status_of_the_right_contract():
    row = [None] * 18
    row[0], row[14] = 60_000, 100.5

    events = played("deriv:tBTCF0:USTF0", "status", row)

    assert [(e.instrument, type(e.kind)) for e in events] == [(PERPETUAL, MarkPrice)]
