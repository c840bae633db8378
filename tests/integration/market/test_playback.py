import gzip
import importlib.util
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from integration.errors import Exchange
from integration.market.notices import Ack
from integration.market.playback import Playback
from integration.market.reports import BookResynced, BookStale, StreamError
from integration.models import ExchangeId, MarketDataInstrument, MarketEvent

ROOT = Path(__file__).resolve().parents[3]
RECORDINGS = ROOT / "../shared/data/recordings"
REPLAYS = ROOT / "../shared/data/wire/replay"
ADAPTERS = ROOT / "tests/adapters"


def adapter(name):
    spec = importlib.util.spec_from_file_location(name, ADAPTERS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lines(name):
    path = RECORDINGS / f"{name}.gz"
    if not path.exists():
        pytest.skip(f"{path} absent")
    with gzip.open(path, "rb") as file:
        for line in file:
            time, _, raw = line.rstrip(b"\n").partition(b" ")
            yield int(time), raw


RECORDED = ["binance_spot_btcusdt_20240808", "binance_spot_ethusdt_20240808"]


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_book_agrees_with_the_venues_own_top(name):
    """Parsed here by the json module and nothing of ours: an independent oracle."""
    book = adapter("binance_book").Book("spot")
    tickers, count, quantity, checked, ties, previous = [], 0, Decimal(0), 0, 0, None
    for time, raw in lines(name):
        book.feed(time, raw)
        data = json.loads(raw)
        kind, data = data.get("stream", ""), data.get("data", data)
        if kind.endswith("@trade"):
            count, quantity = count + 1, quantity + Decimal(data["q"])
        elif kind.endswith("@bookTicker"):
            tickers.append(data)
        elif "depth" in kind and book.last_update() is not None:
            assert book.last_update() == data["u"]
            assert previous in {None, data["U"] - 1}
            previous = data["u"]
            known = [t for t in tickers if t["u"] <= data["u"]]
            if not known:
                continue
            tickers = [known[-1], *(t for t in tickers if t["u"] > data["u"])]
            want = tuple(Decimal(known[-1][key]) for key in ("b", "B", "a", "A"))
            checked, ties = checked + 1, ties + (book.top() != want)

    assert book.trades() == (count, quantity)
    assert checked > 1000
    assert ties / checked < 0.001


@pytest.mark.parametrize("deleted", [30, 100])
def test_a_deleted_line_is_noticed_at_the_next(deleted):
    book = adapter("binance_book").Book("spot")
    depth = (
        line
        for line in lines(RECORDED[0])
        if b"@depth" in line[1] or b"lastUp" in line[1]
    )
    for i, (time, raw) in enumerate(depth):
        if i == deleted:
            continue
        book.feed(time, raw)
        if i == deleted - 1:
            assert book.last_update() is not None
        if i == deleted + 1:
            assert book.last_update() is None
            return


def test_a_book_without_messages_has_no_top():
    book = adapter("binance_book").Book("usdm")

    assert book.top() == (None, None, None, None)
    assert book.last_update() is None
    assert book.trades() == (0, 0)


@pytest.mark.parametrize(
    "name",
    [
        "binance_spot_blzeth",
        "binance_spot_nknusdt",
        "binance_futures_akrousdt",
        "bitstamp_ethusd",
        "coinbase_nu-gbp",
        "deribit_btc-24sep21-8000-p",
        "gateio_futures_quick_usdt",
        "gateio_spot_hai_eth",
        "gateio_spot_neo_btc",
        "kraken_ocean_xbt",
        "okx_btc-usdt",
    ],
)
def test_the_replay_program_prints_every_outcome_and_the_final_book(name):
    path = REPLAYS / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path} absent")
    session = json.loads(path.read_bytes())

    run = subprocess.run(  # noqa: S603  our own interpreter and program
        [sys.executable, ADAPTERS / "replay_book.py", path],
        capture_output=True,
        text=True,
        check=True,
    )

    *outcomes, last = map(json.loads, run.stdout.splitlines())
    assert [line["outcome"] for line in outcomes] == [
        message["expect"] for message in session["messages"]
    ]
    assert last["final"] == session["final"]


def depth(first, last, bids=()):
    return json.dumps(
        {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": first, "u": last}
        | {"b": list(bids), "a": []}
    ).encode()


def image(last):
    return json.dumps(
        {"lastUpdateId": last, "bids": [["100", "1"]], "asks": [["101", "1"]]}
    ).encode()


def test_a_session_needs_no_subscriptions_and_reports_its_gaps():
    playback = Playback(ExchangeId.BINANCE_SPOT)

    assert playback.feed(depth(1, 2), 10) == []
    (first,) = playback.feed_image(image(2), 20, symbol="BTCUSDT")
    assert isinstance(first, MarketEvent)
    (stale,) = playback.feed(depth(5, 6), 30)
    assert isinstance(stale, BookStale)
    assert (stale.last_sequence, stale.expected, stale.received) == (2, 3, 5)
    again, report, update = playback.feed_image(image(5), 70, symbol="BTCUSDT")
    assert isinstance(report, BookResynced)
    assert (report.gap_ns, report.missed, report.gap_ms) == (40, (3, 4), 40e-6)
    assert (again.kind_name, update.kind.sequence) == ("l2", 6)
    assert list(playback.books) == [MarketDataInstrument.spot("btc", "usdt")]
    assert playback.last_outcome == "snapshot"


def test_faults_and_notices_of_a_session_are_kept_apart():
    playback = Playback(ExchangeId.BINANCE_SPOT)

    (fault,) = playback.feed(b'{"e":"trade"', 5)
    assert isinstance(fault, StreamError)
    assert (fault.time, fault.scope) == (5, "message")
    assert playback.feed(b'{"result":null,"id":7}', 6) == []
    assert playback.notices == [Ack("7")]
    assert playback.last_outcome is None
    with pytest.raises(Exchange, match="Invalid symbol"):
        playback.feed_image(
            b'{"code":-1121,"msg":"Invalid symbol."}', 7, symbol="BTCUSDT"
        )
