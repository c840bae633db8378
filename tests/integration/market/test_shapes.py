"""A trade read by its shape is the trade that decoder and transformer make, or none."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from integration.exchanges.binance import shapes as binance
from integration.exchanges.okx import shapes as okx
from integration.exchanges.registry import connector_for
from integration.market import _speedups
from integration.market.connector import Topic
from integration.market.intake import Intake
from integration.market.keeper import BookKeeper
from integration.market.shapes import HOLES, Scanner, make_shapes, spellings
from integration.market.speedups import COMPILED
from integration.models import (
    AmountUnit,
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    PublicTrade,
)

NOW = 1_700_000_000_000_000_000
BTC = MarketDataInstrument.spot("btc", "usdt")
PERPETUAL = MarketDataInstrument.perpetual("btc", "usdt")
DATA = Path(__file__).resolve().parents[3] / "../shared/data"
UNITS = (AmountUnit.BASE, AmountUnit.CONTRACT)

VENUES = {
    "binance": (
        ExchangeId.BINANCE_SPOT,
        ("@trade", "@aggTrade"),
        (*binance.TRADES, *binance.AGG_TRADES),
    ),
    "okx": (ExchangeId.OKX, ("trades",), (okx.TRADES,)),
}
FUTURES = (
    ExchangeId.BINANCE_FUTURES_USD,
    ("@trade", "@aggTrade"),
    (*binance.TRADES, *binance.AGG_TRADES),
)
SYMBOLS = {"BTCUSDT": BTC, "BTC-USDT": BTC, "BTC-USDT-SWAP": PERPETUAL}


class Both:
    """A connection with its short cut, and one without."""

    def __init__(self, exchange, channels):
        self.quick = self.intake(exchange, channels)
        self.plain = self.intake(exchange, channels)
        self.scanner = self.quick[0].scanner
        if self.scanner is None:  # nothing was compiled: the interpreted loops judge
            texts = VENUES["okx" if exchange is ExchangeId.OKX else "binance"][2]
            routes = self.quick[0].routes
            self.scanner = Scanner(
                make_shapes(
                    [
                        (text, routes.channel(channel))
                        for text in texts
                        for channel in channels
                        if self.fits(text, channel)
                    ],
                    exchange=exchange,
                    units=UNITS if exchange is ExchangeId.OKX else UNITS[:1] * 2,
                    unsaid=1 if exchange is ExchangeId.OKX else None,
                )
            )
            self.quick[0].scanner = self.scanner
        self.plain[0].scanner = None

    @staticmethod
    def fits(text, channel):
        return ("aggTrade" in text) is (channel == "@aggTrade")

    @staticmethod
    def intake(exchange, channels):
        transformer = connector_for(exchange).transformer()
        for channel in channels:
            for symbol, instrument in SYMBOLS.items():
                transformer.add(Topic(channel, symbol), instrument)
        heard = []
        intake = Intake(
            transformer, BookKeeper(exchange), lambda *args: heard.append(args[0])
        )
        return transformer, intake, heard

    def read(self, payloads):
        """Return what both say, after seeing that they say the same."""
        with_it = self.quick[1].read(payloads, NOW)
        without = self.plain[1].read(payloads, NOW)
        assert list(map(told, with_it)) == list(map(told, without))
        assert self.quick[2] == self.plain[2]
        return without

    def scanned(self, payload):
        """Return what the short cut alone makes of a message."""
        events = []
        place = self.scanner.scan([payload], 0, time=NOW, events=events)
        assert place == len(events)
        return events[0] if events else None


def told(event):
    """Say all of an event that can be compared, the spelling of numbers included."""
    return repr(event)


IDS = st.one_of(st.integers(0, 10**18 - 1), st.integers(0, 10**22))
NUMBERS = st.one_of(
    st.decimals(0, 10**9, allow_nan=False, places=8).map(str),
    st.from_regex(r"[0-9.eE+-]{1,12}", fullmatch=True),
    st.text("0123456789", min_size=60, max_size=70),
    st.sampled_from(
        [
            "0",
            "",
            ".",
            "1.",
            ".5",
            "00.10",
            "1.2.3",
            "-1",
            "NaN",
            "1e5",
            "\u0661",
            "Infinity",
        ]
    ),
)
TIMES = st.one_of(
    st.integers(0, 4_102_444_800_000),
    st.sampled_from([0, 9_000_000_000_000, 9_000_000_000_001, 10**18, 10**20]),
)
SYMBOL = st.sampled_from([*SYMBOLS, "XYZ", "", 'B\\"TC', "BTC\\u0055SDT", "ÄBC"])
FILL = {
    "symbol": SYMBOL,
    "id": IDS.map(str),
    "price": NUMBERS,
    "amount": NUMBERS,
    "time": TIMES.map(str),
    "maker": st.sampled_from(["true", "false", "false", "null", "tru", "1"]),
    "side": st.sampled_from(["buy", "sell", "Buy", "SELL", "", "none"]),
    "first": st.integers(0, 100).map(str),
    "last": st.integers(0, 100).map(str),
    "count": st.sampled_from(["1", "2", "17", "0", "", "x", "01"]),
    "text": st.sampled_from(["btcusdt@trade", "BTC-USDT", "", 'a\\"b', "ü"]),
    "int": st.sampled_from(["0", "7", "1749354825200", "-1", "01", "1.5", "null"]),
    "bool": st.sampled_from(["true", "false", "null"]),
}


@st.composite
def messages(draw, texts):
    """A message of one of the shapes, with likely and unlikely things in its holes."""
    text = draw(st.sampled_from([s for text in texts for s in spellings(text)]))
    rare = draw(st.integers(0, 3)) == 0
    for name, filling in FILL.items():
        while f"<{name}>" in text:
            value = draw(filling) if rare else USUAL[name]
            text = text.replace(f"<{name}>", value, 1)
    damage = draw(st.sampled_from(["", "", "", "cut", "more", "spaced", "swap"]))
    payload = text.encode()
    if damage == "cut":
        return payload[: draw(st.integers(0, len(payload)))]
    if damage == "more":
        return payload + draw(st.sampled_from([b" ", b"\n", b"}", b"\x00"]))
    if damage == "spaced":
        return payload.replace(b",", b", ")
    if damage == "swap":
        at = draw(st.integers(0, len(payload) - 1))
        other = bytes([draw(st.integers(0, 255))])
        return payload[:at] + other + payload[at + 1 :]
    return payload


USUAL = {
    "symbol": "BTCUSDT",
    "id": "12",
    "price": "1.50",
    "amount": "0.25",
    "time": "1749354825200",
    "maker": "true",
    "side": "sell",
    "first": "3",
    "last": "5",
    "count": "4",
    "text": "x",
    "int": "1",
    "bool": "true",
}


@pytest.mark.parametrize("venue", [*VENUES.values(), FUTURES], ids=lambda v: str(v[0]))
@given(data=st.data())
def test_with_and_without_the_short_cut_events_are_the_same(venue, data):
    exchange, channels, texts = venue
    both = Both(exchange, channels)

    payloads = data.draw(st.lists(messages(texts), max_size=8))

    both.read(payloads)
    both.read(payloads)  # what fitted came to the front meanwhile


def filled(text, symbol):
    for name, value in (USUAL | {"symbol": symbol}).items():
        text = text.replace(f"<{name}>", value)
    return text.encode()


@pytest.mark.parametrize("venue", VENUES)
def test_every_spelling_is_read_without_the_decoder(venue):
    exchange, channels, texts = VENUES[venue]
    symbol = "BTC-USDT" if venue == "okx" else "BTCUSDT"
    both = Both(exchange, channels)

    for spelling in (each for text in texts for each in spellings(text)):
        payload = filled(spelling, symbol)
        scanned = both.scanned(payload)
        assert isinstance(scanned, MarketEvent), spelling
        assert [told(scanned)] == [told(event) for event in both.read([payload])]
        assert json.loads(payload)


def test_what_the_recorded_venue_sends_takes_the_short_cut():
    path = DATA / "recordings/binance_spot_btcusdt_20240808.gz"
    if not path.exists():
        pytest.skip("recordings are absent")
    both = Both(ExchangeId.BINANCE_SPOT, ("@trade",))
    lines = gzip.decompress(path.read_bytes()).splitlines()
    trades = [line.split(b" ", 1)[1] for line in lines if b'"trade"' in line][:2000]

    scanned = [both.scanned(payload) for payload in trades]

    assert len(trades) > 100
    assert list(map(told, scanned)) == list(map(told, both.read(trades)))


def test_a_symbol_that_is_left_is_unidentified_again():
    both = Both(ExchangeId.OKX, ("trades",))
    payload = (
        b'{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT",'
        b'"tradeId":"1","px":"1","sz":"2","side":"buy","ts":"3","count":"1"}]}'
    )
    assert both.scanned(payload) is not None

    for transformer, _, _ in (both.quick, both.plain):
        transformer.remove(Topic("trades", "BTC-USDT"))

    assert both.scanned(payload) is None
    (event,) = both.read([payload])
    assert "trades|BTC-USDT" in str(event.error)


def test_amounts_of_derivatives_are_counted_in_their_unit():
    both = Both(ExchangeId.OKX, ("trades",))
    payload = (
        b'{"arg":{"channel":"trades","instId":"%b"},"data":[{"instId":"%b",'
        b'"tradeId":"1","px":"1","sz":"2","side":"buy","ts":"3","count":"2"}]}'
    )
    spot, swap = b"BTC-USDT", b"BTC-USDT-SWAP"

    events = [both.scanned(payload % (name, name)) for name in (spot, swap)]

    assert [event.kind.amount_unit for event in events] == list(UNITS)


def routes():
    return {"BTC-USDT": BTC}


SHAPE = '{"s":"<symbol>","i":<id>,"p":"<price>","q":"<amount>","T":<time>,"m":<maker>}'


def shape(text=SHAPE):
    return make_shapes([(text, routes())], exchange=ExchangeId.OKX, units=UNITS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SHAPE.replace("<maker>", "true"), "misses maker or side"),
        (SHAPE.replace("<symbol>", "X"), "misses symbol"),
        (SHAPE.replace("<id>", "<first>"), "misses id, first and last"),
        (SHAPE.replace("}", ',"z":"<price>"}'), "has a hole twice"),
        (SHAPE.replace("}", ',"z":"<colour>"}'), "no hole 'colour' in quotation marks"),
        (SHAPE.replace('"<price>"', "<price>"), "no hole 'price' without quotation"),
        (SHAPE.replace("{", "{" + " " * 256), "256"),
    ],
)
def test_a_shape_that_is_none_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        shape(text)


def test_options_are_spelled_in_every_combination():
    assert sorted(spellings("a<?b?>c<?d?>")) == ["abc", "abcd", "ac", "acd"]


def test_every_hole_that_is_described_can_be_made():
    for name in HOLES:
        kinds = {quoted for hole, quoted in _speedups._KINDS if hole == name}
        assert kinds, name


@given(st.binary(max_size=60))
@example(b"")
def test_noise_has_no_shape(noise):
    scanner, events = Scanner(shape()), []

    assert scanner.scan([noise], 0, time=NOW, events=events) == 0
    assert events == []


def test_a_row_ends_before_the_first_other_message():
    text = '{"s":"BTC-USDT","i":%d,"p":"1","q":"2","T":3,"m":true}'
    row = [(text % number).encode() for number in range(4)]
    scanner, events = Scanner(shape()), []

    place = scanner.scan([*row, b"{}", *row], 0, time=NOW, events=events)

    assert place == 4
    assert [event.kind.id for event in events] == ["0", "1", "2", "3"]
    assert scanner.scan([*row, b"{}"], 4, time=NOW, events=events) == 4
    assert scanner.scan(row, 4, time=NOW, events=events) == 4
    with pytest.raises(ValueError, match="place must not be negative"):
        scanner.scan(row, -1, time=NOW, events=events)
    assert scanner.scan(["text"], 0, time=NOW, events=events) == 0
    assert len(events) == 4
    assert type(events[0].kind) is PublicTrade


def test_there_is_a_short_cut_exactly_where_something_was_compiled():
    for exchange, _, _ in VENUES.values():
        scanner = connector_for(exchange).transformer().scanner
        assert (scanner is not None) is COMPILED
