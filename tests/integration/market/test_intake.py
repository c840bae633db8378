import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import Deserialise, Unidentifiable
from integration.exchanges.registry import connector_for
from integration.market.connector import Topic
from integration.market.intake import Intake
from integration.market.keeper import BookKeeper
from integration.market.manager import BookManager
from integration.market.notices import Ack, Pong
from integration.market.reports import BookStale, StaleReason, StreamError
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
)

BTC = MarketDataInstrument.spot("btc", "usdt")
NOW = 1_700_000_000_000_000_000


class Spot:
    """An intake of Binance, its book live at 10, and what it was told to heed."""

    def __init__(self, spoilt=None):
        self.connector = connector_for(ExchangeId.BINANCE_SPOT)
        self.transformer = self.connector.transformer()
        for channel in ("@trade", "@depth@100ms"):
            self.transformer.add(Topic(channel, "BTCUSDT"), BTC)
        self.keeper = BookKeeper(ExchangeId.BINANCE_SPOT)
        self.manager = BookManager(
            ExchangeId.BINANCE_SPOT, BTC, rule=self.connector.rule
        )
        self.keeper.add(self.manager)
        image = OrderBookSnapshot([("1", "1")], [("2", "1")], 10)
        event = MarketEvent(NOW, NOW, ExchangeId.BINANCE_SPOT, BTC, image)
        self.keeper.absorb((event,), NOW, [])
        self.heeded = []
        self.intake = Intake(self.transformer, self.keeper, self._heed, spoilt=spoilt)

    def _heed(self, notice, time, events):
        self.heeded.append((notice, time, len(events)))

    def read(self, *payloads):
        return self.intake.read(payloads, NOW)


def trade(number, price="1.5"):
    return (
        f'{{"e":"trade","s":"BTCUSDT","t":{number},"p":"{price}","q":"1",'
        '"T":1,"m":true}'
    ).encode()


def depth(first, last, symbol="BTCUSDT"):
    return (
        f'{{"e":"depthUpdate","E":1,"s":"{symbol}","U":{first},"u":{last},'
        '"b":[["1","3"]],"a":[]}'
    ).encode()


ACK = b'{"result":null,"id":7}'


def test_messages_of_a_read_become_events_in_their_order():
    spot = Spot()

    events = spot.read(trade(1), depth(11, 12), trade(2), depth(13, 13))

    kinds = [type(event.kind) for event in events]
    assert kinds == [PublicTrade, OrderBookUpdate, PublicTrade, OrderBookUpdate]
    assert {event.time_received for event in events} == {NOW}
    assert spot.manager.book.sequence == 13


def test_a_notice_is_heeded_between_the_events_around_it():
    spot = Spot()

    events = spot.read(trade(1), ACK, trade(2), ACK)

    assert len(events) == 2
    assert spot.heeded == [(Ack("7"), NOW, 1), (Ack("7"), NOW, 2)]


def test_faults_of_messages_are_reported_in_place_and_spoil_nothing_after_them():
    spot = Spot()

    events = spot.read(trade(1), b"{", trade(2, "NaN"), depth(1, 2, "XYZ"), trade(3))

    assert [type(event) for event in events] == [
        MarketEvent,
        StreamError,
        StreamError,
        StreamError,
        MarketEvent,
    ]
    assert isinstance(events[1].error, Deserialise)
    assert events[1].error.__cause__ is not None
    assert "NaN" in str(events[2].error)
    assert isinstance(events[3].error, Unidentifiable)


def test_what_cannot_be_decoded_goes_where_its_owner_says():
    seen = []
    spot = Spot(spoilt=lambda fault, time, events: seen.append((fault, len(events))))

    events = spot.read(trade(1), b"\xff", trade(2))

    assert len(events) == 2
    assert [(type(fault), before) for fault, before in seen] == [(Deserialise, 1)]


def test_a_heartbeat_in_plain_text_is_life_and_no_fault():
    okx = connector_for(ExchangeId.OKX)
    heeded = []
    intake = Intake(
        okx.transformer(),
        BookKeeper(ExchangeId.OKX),
        lambda notice, _time, _events: heeded.append(notice),
    )

    assert intake.read([b"pong"], NOW) == []
    assert heeded == [Pong()]


def test_a_channel_nobody_knows_is_unidentifiable():
    okx = connector_for(ExchangeId.OKX)
    keeper = BookKeeper(ExchangeId.OKX)
    intake = Intake(okx.transformer(), keeper, lambda *_: None)
    payload = b'{"arg":{"channel":"gossip","instId":"X"},"data":[]}'

    (event,) = intake.read([payload], NOW)

    assert isinstance(event.error, Unidentifiable)


def test_a_gap_makes_the_book_stale_before_the_trades_after_it():
    spot = Spot()

    events = spot.read(depth(11, 11), depth(13, 14), trade(1))

    assert [type(event) for event in events] == [MarketEvent, BookStale, MarketEvent]
    assert events[1].reason is StaleReason.GAP
    assert list(spot.keeper.wanting) == [spot.manager]


MESSAGES = [
    trade(1),
    trade(2, "1e3"),
    trade(3, "-1"),
    depth(11, 11),
    depth(12, 15),
    depth(16, 16),
    depth(3, 4),
    depth(1, 2, "XYZ"),
    ACK,
    b"pong",
    b"",
    b"\xff",
    b'{"e":"unheard"}',
    b'{"stream":"btcusdt@trade","data":' + trade(4) + b"}",
]


@given(st.lists(st.sampled_from(MESSAGES), max_size=12), st.data())
def test_how_messages_are_cut_into_reads_changes_nothing(payloads, data):
    """And a batch does what `feed` and `absorb` do with each message alone."""
    cut = data.draw(st.integers(0, len(payloads)))
    together, apart, slowly = Spot(), Spot(), Spot()

    whole = together.read(*payloads)
    parts = apart.read(*payloads[:cut]) + apart.read(*payloads[cut:])
    single, notices = [], []
    for payload in payloads:
        outputs = slowly.transformer.feed(payload, NOW)
        single.extend(slowly.keeper.absorb(outputs, NOW, notices))

    assert repr(whole) == repr(parts) == repr(single)
    assert [notice for notice, _, _ in together.heeded] == notices
    assert repr(together.manager.book) == repr(slowly.manager.book)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5])
def test_a_message_too_short_to_be_one_is_a_fault(size):
    (event,) = Spot().read(b'{"e":'[:size])

    assert isinstance(event.error, Deserialise)
