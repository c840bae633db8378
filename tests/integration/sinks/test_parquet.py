"""Files that are whole, whatever happens to the process that writes them."""

import os
import shutil
from decimal import Decimal

import pytest
import trio

pytest.importorskip("pyarrow")

import pyarrow.parquet as pq

from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookUpdate,
    PublicTrade,
    Side,
)
from integration.sinks.parquet import ParquetSink, SinkFailed

BTC = MarketDataInstrument.spot("btc", "usdt")
START = 1_700_000_000 * 10**9


def event(kind, number=0):
    return MarketEvent(
        time_exchange=START + number,
        time_received=START + number + 1,
        exchange=ExchangeId.BINANCE_SPOT,
        instrument=BTC,
        kind=kind,
    )


def trade(number, price="100.123456789"):
    kind = PublicTrade(
        id=str(number), price=Decimal(price), amount=Decimal(1), side=Side.SELL
    )
    return event(kind, number)


def update(number):
    kind = OrderBookUpdate(bids=[("1.5", "2")], asks=[("2.5", "0")], sequence=number)
    return event(kind, number)


def files(folder, suffix="parquet"):
    return sorted(folder.rglob(f"*.{suffix}"))


def rows_of(path, *names):
    # Python's own times are too coarse for the columns of times.
    return pq.read_table(path, columns=list(names)).to_pylist()


def ids(folder):
    paths = [path for path in files(folder) if path.parent.name == "public_trade"]
    return [row["id"] for path in paths for row in rows_of(path, "id")]


async def test_events_come_back_exactly(tmp_path):
    sink = await ParquetSink.open(tmp_path)
    await sink.send_batch([trade(1), update(2), trade(3)])
    await sink.send_batch([trade(4)])
    await sink.aclose()

    book, trades = files(tmp_path)
    assert [path.parent.name for path in files(tmp_path)] == [
        "order_book_update",
        "public_trade",
    ]
    rows = rows_of(trades, "id", "price", "side")
    assert [row["id"] for row in rows] == ["1", "3", "4"]
    assert rows[0]["price"] == Decimal("100.123456789")
    assert rows[0]["side"] == "sell"
    assert pq.read_table(trades).column("time_exchange")[0].value == START + 1
    (row,) = rows_of(book, "bids", "asks", "sequence")
    assert row["bids"] == [{"price": Decimal("1.5"), "amount": Decimal(2)}]
    assert row["asks"][0]["amount"] == 0
    assert row["sequence"] == 2
    assert files(tmp_path, "journal") == []


async def test_a_full_file_is_finished_and_the_next_begun(tmp_path):
    sink = await ParquetSink.open(tmp_path, rows=3)
    for number in range(7):
        await sink.send_batch([trade(number)])

    assert len(files(tmp_path)) == 2
    assert len(files(tmp_path, "journal")) == 1
    await sink.aclose()
    assert ids(tmp_path) == [str(number) for number in range(7)]


async def test_what_was_acknowledged_outlives_a_crash(tmp_path):
    live, dead = tmp_path / "live", tmp_path / "dead"
    sink = await ParquetSink.open(live)
    await sink.send_batch([trade(1), update(1)])
    await sink.send_batch([trade(2)])
    shutil.copytree(live, dead)  # what the disk holds when the process is killed
    await sink.aclose()
    assert files(dead) == []

    again = await ParquetSink.open(dead)
    await again.send_batch([trade(3)])
    await again.aclose()

    assert sorted(ids(dead)) == ["1", "2", "3"]
    assert files(dead, "journal") == []


async def test_a_torn_write_takes_nothing_with_it_that_was_acknowledged(tmp_path):
    live = tmp_path / "live"
    sink = await ParquetSink.open(live)
    await sink.send_batch([trade(1)])
    (journal,) = files(live, "journal")
    whole = journal.stat().st_size
    await sink.send_batch([trade(2)])
    end = journal.stat().st_size
    for cut in [*range(0, end, 37), whole]:
        dead = tmp_path / f"dead{cut}"
        shutil.copytree(live, dead)
        os.truncate(files(dead, "journal")[0], cut)
        again = await ParquetSink.open(dead)
        await again.aclose()
        assert ids(dead) == (["1"] if cut >= whole else [])
        assert files(dead, "journal") == []
        # At the seam between two batches nothing is torn.
        assert len(files(dead, "torn")) == (cut != whole)
    await sink.aclose()


async def test_two_files_of_one_moment_have_two_names(tmp_path):
    for _ in range(3):
        sink = await ParquetSink.open(tmp_path)
        await sink.send_batch([trade(1)])
        await sink.aclose()

    assert len(files(tmp_path)) == 3


async def test_a_number_that_does_not_fit_is_named_and_leaves_all_as_it_was(tmp_path):
    sink = await ParquetSink.open(tmp_path)
    await sink.send_batch([trade(1)])

    with pytest.raises(SinkFailed, match="public_trade: a value does not fit"):
        await sink.send_batch([update(2), trade(3, "0." + "1" * 30)])
    await sink.send_batch([trade(4)])
    await sink.aclose()

    assert ids(tmp_path) == ["1", "4"]
    assert len(files(tmp_path)) == 1


async def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(SinkFailed, match="cannot be used"):
        await ParquetSink.open(tmp_path / "file" / "folder")


async def test_a_cancelled_batch_is_whole(tmp_path):
    sink = await ParquetSink.open(tmp_path)
    with trio.CancelScope() as scope:
        scope.cancel()
        await sink.send_batch([trade(1)])
    await sink.aclose()

    assert ids(tmp_path) in ([], ["1"])
