"""Topics that tell of all liquidations: rows find those that asked, and nobody else."""

import json

import pytest

from integration.exchanges.registry import connector_for
from integration.market.connector import RouteTable, Topic
from integration.market.notices import Heartbeat, Ignored
from integration.market.playback import Playback
from integration.models import (
    ExchangeId,
    Liquidation,
    MarketDataInstrument,
    MarketEvent,
    SubKind,
    Subscription,
)

NOW = 1_700_000_000_000_000_000
BTC, ETH = (MarketDataInstrument.perpetual(base, "usd") for base in ("btc", "eth"))


def okx(*symbols):
    detail = {"bkPx": "1", "side": "sell", "sz": "2", "ts": "1"}
    rows = [{"instId": symbol, "details": [detail]} for symbol in symbols]
    arg = {"channel": "liquidation-orders", "instType": "SWAP"}
    return {"arg": arg, "data": rows}


def bitfinex(*symbols):
    rows = [
        ["pos", 1, 5, None, symbol, 2, 100.5, None, 0, 0, None, 99.5]
        for symbol in symbols
    ]
    return [7, rows]


SYMBOLS = {
    "okx": (okx, "BTC-USD-SWAP", "ETH-USD-SWAP"),
    "bitfinex": (bitfinex, "tBTCF0:USDF0", "tETHF0:USDF0"),
}


class Listener:
    """A transformer that is asked for liquidations, and what it makes of both."""

    def __init__(self, exchange):
        self.exchange = ExchangeId(exchange)
        self.connector = connector_for(self.exchange)
        self.made = self.connector.transformer()
        self.spell, *self.symbols = SYMBOLS[exchange]

    def topic(self, instrument, kind=SubKind.LIQUIDATIONS):
        return self.connector.topic(Subscription(self.exchange, instrument, kind))

    def add(self, instrument):
        topic = self.topic(instrument)
        self.made.add(topic, instrument, kind=SubKind.LIQUIDATIONS)
        if self.exchange is ExchangeId.BITFINEX:
            self.made.bind(7, topic)
        return topic

    def liquidated(self):
        outputs = self.feed(self.spell(*self.symbols))
        assert all(isinstance(out, MarketEvent | Ignored) for out in outputs), outputs
        return [out.instrument for out in outputs if isinstance(out, MarketEvent)]

    def feed(self, message):
        return list(self.made.feed(json.dumps(message).encode(), NOW))


@pytest.fixture(params=sorted(SYMBOLS))
def listener(request):
    return Listener(request.param)


def test_all_of_them_share_one_topic(listener):
    assert listener.topic(BTC) == listener.topic(ETH)


def test_instruments_come_and_go_one_by_one(listener):
    topic = listener.add(BTC)
    heard = [listener.liquidated()]
    listener.add(ETH)
    heard.append(listener.liquidated())
    listener.made.forget(topic, BTC, kind=SubKind.LIQUIDATIONS)
    heard.append(listener.liquidated())

    assert heard == [[BTC], [BTC, ETH], [ETH]]


def test_whoever_was_left_with_the_topic_is_not_back_with_the_next(listener):
    topic = listener.add(BTC)
    assert listener.liquidated() == [BTC]

    listener.made.remove(topic)
    nobody = listener.liquidated()
    listener.add(ETH)

    assert nobody == []
    assert listener.liquidated() == [ETH]


def test_another_kind_of_data_of_an_instrument_is_not_its_liquidations(listener):
    other = listener.topic(ETH, SubKind.OPEN_INTEREST)
    listener.made.add(other, ETH, kind=SubKind.OPEN_INTEREST)
    listener.add(BTC)

    assert listener.liquidated() == [BTC]


@pytest.mark.parametrize("exchange", sorted(SYMBOLS))
def test_a_recording_has_the_liquidations_of_every_symbol(exchange):
    spell, *symbols = SYMBOLS[exchange]
    playback = Playback(ExchangeId(exchange))
    told = {"event": "subscribed", "channel": "status", "chanId": 7}
    if exchange == "bitfinex":
        told |= {"key": "liq:global"}
        assert playback.feed(json.dumps(told).encode(), NOW) == []

    events = playback.feed(json.dumps(spell(*symbols)).encode(), NOW)

    assert [event.instrument for event in events] == [BTC, ETH]
    assert all(isinstance(event.kind, Liquidation) for event in events)


def test_a_heartbeat_of_the_shared_topic_is_one_of_the_connection():
    listener = Listener("bitfinex")
    listener.add(BTC)

    assert listener.feed([7, "hb"]) == [Heartbeat()]


def test_a_table_that_nobody_was_added_to_has_no_members():
    routes = RouteTable()

    assert routes.member("c", "BTC", SubKind.LIQUIDATIONS, str) is None
    routes.add(Topic("other", "all"), BTC)
    assert routes.member("c", "BTC", SubKind.LIQUIDATIONS, str) is None
