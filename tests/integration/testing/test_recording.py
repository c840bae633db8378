"""Recordings: read whole, played exactly, and refused with the line that is wrong."""

import gzip
import itertools
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.testing.book import to_decimal
from integration.testing.events import (
    DepthChanged,
    OtherMessage,
    QuoteChanged,
    TradeDone,
)
from integration.testing.recording import RecordedMarket, RecordingError

DATA = Path(__file__).resolve().parents[3] / "../shared/data"
FAR = 10**19


def depth(time, first, last, bids=(), asks=(), symbol="BTCUSDT", envelope=True):
    data = {
        "e": "depthUpdate",
        "E": time,
        "s": symbol,
        "U": first,
        "u": last,
        "b": list(bids),
        "a": list(asks),
    }
    if not envelope:
        return line(time, data)
    return line(time, {"stream": f"{symbol.lower()}@depth@100ms", "data": data})


def snapshot(time, last, bids=(("99.0", "1"),), asks=(("101.0", "1"),)):
    return line(time, {"lastUpdateId": last, "bids": list(bids), "asks": list(asks)})


def trade(time, number, symbol="BTCUSDT"):
    data = {"e": "trade", "E": time, "s": symbol, "t": number, "p": "100.5"}
    data |= {"q": "0.25", "T": time, "m": True, "M": True}
    return line(time, {"stream": f"{symbol.lower()}@trade", "data": data})


def line(time, message):
    return f"{time} {json.dumps(message, separators=(',', ':'))}"


@pytest.fixture
def record(tmp_path):
    """Write lines into a file and open them."""
    numbers = itertools.count()

    def _record(*lines, loop=False, name=None):
        path = tmp_path / (name or f"recording-{next(numbers)}")
        path.write_text("\n".join(lines) + "\n")
        return RecordedMarket([path], loop=loop)

    return _record


def book_of(market, symbol="BTCUSDT"):
    book = market.book(symbol)
    return book.sequence, dict(book.bids), dict(book.asks)


# ---- playing


def test_messages_are_played_in_time_and_untouched(record):
    lines = [
        snapshot(1000, 9),
        depth(1010, 10, 12, bids=[["99.5", "2"]]),
        trade(1020, 7),
        depth(1030, 13, 13, asks=[["101.0", "0"]]),
    ]
    market = record(*lines)

    assert market.start_ns == market.time_ns == 999
    assert market.advance(1010)[0].first_id == 10
    (done,) = market.advance(1029)
    assert isinstance(done, TradeDone)
    assert done.buyer_is_maker
    sent = [done.raw, *(event.raw for event in market.advance(FAR))]
    assert sent == [
        json.dumps(json.loads(text.split(" ", 1)[1])["data"], separators=(",", ":"))
        for text in lines[2:]
    ]
    assert market.finished


def test_the_book_follows_the_position(record):
    market = record(
        snapshot(1000, 9),
        depth(1010, 10, 12, bids=[["99.5", "2"]]),
        depth(1030, 13, 13, asks=[["101.0", "0"], ["102.0", "4"]]),
    )

    assert book_of(market)[0] == 9
    market.advance(1010)
    assert book_of(market) == (
        12,
        {9_900_000_000: 100_000_000, 9_950_000_000: 200_000_000},
        {10_100_000_000: 100_000_000},
    )
    market.advance(1030)
    assert book_of(market)[2] == {10_200_000_000: 400_000_000}
    assert market.book("NOPE") is None


def test_a_snapshot_recorded_late_is_known_from_the_start(record):
    market = record(
        depth(1000, 5, 8, bids=[["1.0", "1"]]),
        depth(1010, 9, 11, bids=[["98.0", "3"]]),
        snapshot(1020, 10),
        depth(1030, 12, 14, bids=[["97.0", "4"]]),
    )

    assert book_of(market)[0] == 10
    events = market.advance(1000)
    assert [e.last_id for e in events] == [8]  # published, though of no use
    assert 100_000_000 not in book_of(market)[1]
    market.advance(1010)
    assert book_of(market)[0] == 11
    assert book_of(market)[1][9_800_000_000] == 300_000_000


def test_after_a_gap_the_next_snapshot_is_taken(record):
    market = record(
        snapshot(1000, 9),
        depth(1010, 10, 12, bids=[["99.5", "2"]]),
        snapshot(1015, 11, bids=[["1.0", "1"]]),  # of no use after the gap
        depth(1020, 20, 22, bids=[["96.0", "1"]]),
        depth(1030, 23, 25, bids=[["95.0", "1"]]),
        snapshot(1040, 23, bids=[["94.0", "9"]]),
        depth(1050, 26, 26, bids=[["93.0", "1"]]),
    )

    market.advance(1020)
    assert book_of(market)[0] == 23
    assert book_of(market)[1] == {9_400_000_000: 900_000_000}
    market.advance(FAR)
    assert book_of(market)[0] == 26
    assert set(book_of(market)[1]) == {9_400_000_000, 9_500_000_000, 9_300_000_000}


def test_bare_payloads_answers_and_other_streams_are_told_apart(record):
    market = record(
        snapshot(1000, 9),
        depth(1001, 10, 10, envelope=False),
        line(1002, {"u": 11, "s": "BTCUSDT", "b": "1", "B": "2", "a": "3", "A": "4"}),
        line(1003, {"result": None, "id": 1}),
        line(1004, {"stream": "btcusdt@kline_1m", "data": {"e": "kline", "x": 1}}),
    )

    first, second, third = market.advance(FAR)
    assert isinstance(first, DepthChanged)
    assert isinstance(second, QuoteChanged)
    assert second.bid == (100_000_000, 200_000_000)
    assert third == OtherMessage(
        "BTCUSDT", 1004, "btcusdt@kline_1m", '{"e":"kline","x":1}'
    )


def test_several_recordings_are_merged_by_time(tmp_path):
    paths = [tmp_path / name for name in ("btc.gz", "eth")]
    paths[0].write_bytes(
        gzip.compress(f"{snapshot(1, 9)}\n{depth(2, 10, 10)}\n{trade(6, 1)}".encode())
    )
    paths[1].write_text(f"{snapshot(3, 4)}\n{trade(5, 8, symbol='ETHBTC')}\n")

    market = RecordedMarket(paths)

    assert [e.time_ns for e in market.advance(FAR)] == [2, 5, 6]
    assert list(market.specs) == ["BTCUSDT", "ETHBTC"]
    spec = market.specs["ETHBTC"]
    assert (spec.base, spec.quote) == ("ETH", "BTC")
    assert spec.tick == 100_000_000  # the coarsest grid that 99 and 101 lie on
    assert market.book("ETHBTC").sequence == 4


def test_a_stamp_that_falls_back_does_not_turn_time_back(record):
    market = record(snapshot(1000, 9), trade(1005, 1), trade(1003, 2), trade(1006, 3))

    assert [e.time_ns for e in market.advance(FAR)] == [1005, 1005, 1006]


def test_a_session_in_one_object_is_played(tmp_path):
    path = tmp_path / "session.json"
    update = {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": 10, "u": 11}
    update |= {"b": [["50.0", "1"]], "a": []}
    path.write_text(
        json.dumps(
            {
                "symbol": "BTCUSDT",
                "messages": [
                    {
                        "t": 1633998514.465973,
                        "transport": "http",
                        "raw": {"lastUpdateId": 9, "bids": [], "asks": []},
                    },
                    {"t": 1633998514.565973, "transport": "ws", "raw": update},
                ],
            }
        )
    )

    market = RecordedMarket([path])

    assert market.start_ns == 1633998514465973000 - 1
    (event,) = market.advance(FAR)
    assert event.time_ns == 1633998514565973000
    assert json.loads(event.raw) == update


# ---- looping


def test_a_loop_goes_on_with_contiguous_ids_and_a_true_book(record):
    market = record(
        depth(1000, 8, 11, bids=[["99.0", "7"]]),
        snapshot(1001, 10, bids=[["98.0", "1"]], asks=[["101.0", "1"]]),
        trade(1002, 5),
        depth(1003, 12, 13, bids=[["100.0", "2"]], asks=[["101.0", "3"]]),
        trade(1004, 6),
        loop=True,
    )
    told, last, trades, times = market.book("BTCUSDT").copy(), None, [], []

    for event in market.advance(5_000_000):
        times.append(event.time_ns)
        if isinstance(event, TradeDone):
            trades.append(event.trade_id)
        if isinstance(event, DepthChanged):
            assert last is None or event.first_id == last + 1
            last = event.last_id
            told.apply(last, event.bids, event.asks)
            assert not told.crossed

    assert len(trades) > 4
    assert trades == list(range(5, 5 + len(trades)))
    assert times == sorted(times)
    assert told.image() == market.book("BTCUSDT").image()
    assert not market.finished


def test_only_the_first_round_is_sent_raw(record):
    market = record(snapshot(1, 9), depth(2, 10, 11, bids=[["99.0", "3"]]), loop=True)

    raw = [e.raw is not None for e in market.advance(3_000_000)]

    assert raw[0]
    assert not any(raw[1:])


# ---- what is wrong is named


@pytest.mark.parametrize(
    ("lines", "number", "said"),
    [
        (["1 {"], 1, "not a market message"),
        ([snapshot(1, 9), "later {}"], 2, "must be digits"),
        ([snapshot(1, 9), "5"], 2, "expected '<time in ns> <JSON>'"),
        ([snapshot(1, 9), depth(2, 10, 11, bids=[["x", "1"]])], 2, "plain decimal"),
        ([snapshot(1, 9), depth(2, "10", 11)], 2, "Expected `int`"),
        ([depth(2, 10, 11)], 1, "no REST depth snapshot of BTCUSDT"),
        ([snapshot(1, 3), depth(2, 10, 11)], 2, "no REST depth snapshot of BTCUSDT"),
        ([snapshot(1, 9), depth(2, 10, 11), depth(3, 13, 14)], 3, "update id 13"),
        ([snapshot(1, 9), trade(2, 1), trade(3, 1, symbol="ETHUSDT")], 1, "one symbol"),
        ([snapshot(1, 9)], 1, "one symbol"),
        (['1 {"result":null,"id":1}'], None, "no market data"),
        (["\n"], None, "no market data"),
    ],
)
def test_a_line_that_cannot_be_played_is_named(record, lines, number, said):
    with pytest.raises(RecordingError) as refused:
        record(*lines, name="bad.rec")

    error = refused.value
    assert error.file.name == "bad.rec"
    assert error.line == number
    assert said in error.reason
    assert str(error.file) in str(error)


def test_blank_lines_are_skipped(record):
    market = record("", snapshot(1, 9), "", depth(2, 10, 10), "")

    assert len(market.advance(FAR)) == 1


@pytest.mark.parametrize("content", [b"\x1f\x8b garbage", gzip.compress(b"1 {}")[:-6]])
def test_a_damaged_archive_is_named(tmp_path, content):
    path = tmp_path / "damaged.gz"
    path.write_bytes(content)

    with pytest.raises(RecordingError, match=r"cannot be read") as refused:
        RecordedMarket([path])
    assert refused.value.line is None


def test_what_is_no_file_is_named(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(RecordingError, match="cannot be read"):
            RecordedMarket([path])
    with pytest.raises(ValueError, match="at least one"):
        RecordedMarket([])


@given(st.binary(max_size=200))
def test_no_bytes_make_anything_but_a_recording_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "recording"
    path.write_bytes(content)

    with pytest.raises(RecordingError):
        RecordedMarket([path])


def test_time_only_goes_forward(record):
    market = record(snapshot(1000, 9), trade(1005, 1))
    with pytest.raises(ValueError, match="backwards"):
        market.advance(5)


# ---- real recordings


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_a_real_recording_agrees_with_its_own_quotes(symbol):
    path = DATA / f"recordings/binance_spot_{symbol.lower()}_20240808.gz"
    if not path.exists():
        pytest.skip(f"{path.name} absent")
    market = RecordedMarket([path])
    book = market.book(symbol)

    checked = differing = 0
    quote, position = None, market.start_ns
    while not market.finished:
        position += 100_000_000
        for event in market.advance(position):
            if isinstance(event, QuoteChanged):
                quote = event
        # A quote and the book can be compared where both show the same update.
        if quote is not None and quote.update_id == book.sequence:
            checked += 1
            differing += (quote.bid, quote.ask) != (book.bids.best, book.asks.best)

    assert checked > 100
    assert differing <= checked // 100
    assert not book.crossed


@pytest.mark.parametrize("name", ["blzeth", "nknusdt"])
def test_a_recorded_session_ends_with_its_book(name):
    path = DATA / f"wire/replay/binance_spot_{name}.json"
    if not path.exists():
        pytest.skip(f"{path.name} absent")
    session = json.loads(path.read_text())
    market = RecordedMarket([path])

    market.advance(FAR)

    book, final = market.book(session["symbol"]), session["final"]
    assert book.sequence == final["sequence"]
    assert (len(book.bids), len(book.asks)) == (
        final["bid_levels"],
        final["ask_levels"],
    )
    for side, top in ((book.bids, final["bids_top"]), (book.asks, final["asks_top"])):
        assert [(to_decimal(p), to_decimal(a)) for p, a in side.top(10)] == [
            (Decimal(p), Decimal(a)) for p, a in top
        ]
