"""The tables know every field of every kind of data."""

from decimal import Decimal

import pytest

from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookL1,
    PublicTrade,
    Side,
)
from integration.models.event import DataKind, Level
from integration.sinks.rows import TABLES, ColumnKind, rows_by_table

BTC = MarketDataInstrument.spot("btc", "usdt")
# Two columns for a level of a best price.
SPLIT = {
    "best_bid": {"bid_price", "bid_amount"},
    "best_ask": {"ask_price", "ask_amount"},
}
EVENT = ["time_exchange", "time_received", "exchange", "instrument"]


def event(kind, received=2):
    return MarketEvent(
        time_exchange=1,
        time_received=received,
        exchange=ExchangeId.BINANCE_SPOT,
        instrument=BTC,
        kind=kind,
    )


def test_every_kind_of_data_has_a_table():
    assert set(TABLES) == set(DataKind.__args__)


@pytest.mark.parametrize("kind", TABLES)
def test_every_field_has_its_column(kind):
    names = [column.name for column in TABLES[kind].columns]
    fields = set()
    for field in kind.__struct_fields__:
        fields |= SPLIT.get(field, {field})

    assert names[:4] == EVENT
    assert set(names[4:]) == fields
    assert len(set(names)) == len(names)


def test_rows_keep_their_order_and_plain_values():
    trade = PublicTrade(
        id="7", price=Decimal("1.10"), amount=Decimal(2), side=Side.BUY, sequence=9
    )
    top = OrderBookL1(
        last_update_time=5, best_bid=Level(Decimal(1), Decimal(2)), best_ask=None
    )

    tables = rows_by_table([event(trade), event(top), event(trade, received=3)])

    assert list(tables) == ["public_trade", "order_book_l1"]
    table, rows = tables["public_trade"]
    names = [column.name for column in table.columns]
    assert [dict(zip(names, row, strict=True))["time_received"] for row in rows] == [
        2,
        3,
    ]
    row = dict(zip(names, rows[0], strict=True))
    assert row["exchange"] == "binance_spot"
    assert row["instrument"] == str(BTC)
    assert type(row["side"]) is str
    assert row["price"] == Decimal("1.10")
    table, (row,) = tables["order_book_l1"]
    found = dict(zip([c.name for c in table.columns], row, strict=True))
    assert (found["bid_price"], found["ask_price"]) == (1, None)
    assert {c.name for c in table.columns if c.kind is ColumnKind.DECIMAL} == {
        "bid_price",
        "bid_amount",
        "ask_price",
        "ask_amount",
    }
