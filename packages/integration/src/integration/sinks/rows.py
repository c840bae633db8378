"""Market events as rows of tables: one table a kind of data, one column a field.

The sinks for Parquet and PostgreSQL share this reading of the models, so a column has
the same name and meaning in both. Every table begins with the columns of the event
(`time_exchange`, `time_received`, `exchange`, `instrument`), then those of its kind.
Levels of a best price become two columns; both sides of a book stay lists.

Pure: knows no file and no database.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

import msgspec

from integration.models.event import (
    Candle,
    FundingRate,
    IndexPrice,
    Level,
    Liquidation,
    MarketEvent,
    MarkPrice,
    OpenInterest,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
)

__all__ = ["TABLES", "Column", "ColumnKind", "Table", "rows_by_table"]


class ColumnKind(StrEnum):
    """What a column holds."""

    TIME = "time"
    """Nanoseconds since the epoch."""
    INTEGER = "integer"
    DECIMAL = "decimal"
    TEXT = "text"
    FLAG = "flag"
    LEVELS = "levels"
    """Pairs of price and amount, best first."""


class Column(msgspec.Struct, frozen=True):
    """One column; `None` is allowed unless it is required."""

    name: str
    kind: ColumnKind
    required: bool = False


class Table(msgspec.Struct, frozen=True):
    """One table: its name and its columns in order."""

    name: str
    columns: tuple[Column, ...]


def _required(kind: ColumnKind, *names: str) -> tuple[Column, ...]:
    return tuple(Column(name, kind, required=True) for name in names)


def _optional(kind: ColumnKind, *names: str) -> tuple[Column, ...]:
    return tuple(Column(name, kind) for name in names)


_K = ColumnKind
_EVENT: Final = (
    *_required(_K.TIME, "time_exchange", "time_received"),
    *_required(_K.TEXT, "exchange", "instrument"),
)
_UNIT: Final = _required(_K.TEXT, "amount_unit")
_SEQUENCE: Final = _optional(_K.INTEGER, "sequence")
_BOOK: Final = (
    *_required(_K.LEVELS, "bids", "asks"),
    *_SEQUENCE,
    *_optional(_K.INTEGER, "cross_sequence", "checksum"),
    *_optional(_K.TIME, "time_engine"),
    *_UNIT,
)
_LINKS: Final = _optional(_K.INTEGER, "first_sequence", "prev_sequence")

TABLES: Final[Mapping[type, Table]] = {
    PublicTrade: Table(
        "public_trade",
        (
            *_EVENT,
            *_optional(_K.TEXT, "id"),
            *_required(_K.DECIMAL, "price", "amount"),
            *_required(_K.TEXT, "side"),
            *_UNIT,
            *_required(_K.INTEGER, "flags"),
            *_SEQUENCE,
            *_optional(_K.INTEGER, "count"),
        ),
    ),
    OrderBookL1: Table(
        "order_book_l1",
        (
            *_EVENT,
            *_required(_K.TIME, "last_update_time"),
            *_optional(
                _K.DECIMAL, "bid_price", "bid_amount", "ask_price", "ask_amount"
            ),
            *_SEQUENCE,
            *_UNIT,
        ),
    ),
    OrderBookSnapshot: Table("order_book_snapshot", (*_EVENT, *_BOOK)),
    OrderBookUpdate: Table("order_book_update", (*_EVENT, *_BOOK, *_LINKS)),
    Candle: Table(
        "candle",
        (
            *_EVENT,
            *_required(_K.TEXT, "interval"),
            *_required(_K.TIME, "open_time"),
            *_optional(_K.TIME, "close_time"),
            *_required(_K.DECIMAL, "open", "high", "low", "close", "volume"),
            *_optional(_K.INTEGER, "trade_count"),
            *_optional(_K.FLAG, "closed"),
            *_UNIT,
        ),
    ),
    Liquidation: Table(
        "liquidation",
        (
            *_EVENT,
            *_required(_K.TEXT, "side"),
            *_required(_K.DECIMAL, "price", "quantity"),
            *_required(_K.TIME, "time"),
            *_optional(_K.TEXT, "id", "position_side"),
            *_UNIT,
        ),
    ),
    FundingRate: Table(
        "funding_rate",
        (
            *_EVENT,
            *_required(_K.DECIMAL, "rate"),
            *_optional(_K.TIME, "next_funding_time"),
            *_optional(_K.DECIMAL, "mark_price", "index_price"),
        ),
    ),
    MarkPrice: Table("mark_price", (*_EVENT, *_required(_K.DECIMAL, "price"))),
    IndexPrice: Table("index_price", (*_EVENT, *_required(_K.DECIMAL, "price"))),
    OpenInterest: Table(
        "open_interest",
        (
            *_EVENT,
            *_required(_K.DECIMAL, "amount"),
            *_UNIT,
            *_optional(_K.DECIMAL, "value"),
        ),
    ),
}
"""Every kind of data that has a table."""

_BEST: Final = {"bid": "best_bid", "ask": "best_ask"}


def rows_by_table(
    events: Iterable[MarketEvent],
) -> dict[str, tuple[Table, list[tuple[Any, ...]]]]:
    """Sort events into tables.

    Returns:
        By table name, in order of first appearance: the table and its rows, each a
        tuple in the order of the columns.

    Raises:
        KeyError: A kind of data that has no table; name kinds to keep when pumping.
    """
    found: dict[str, tuple[Table, list[tuple[Any, ...]]]] = {}
    for event in events:
        table = TABLES[type(event.kind)]
        rows = found.setdefault(table.name, (table, []))[1]
        rows.append(tuple(_value(event, column.name) for column in table.columns))
    return found


def _value(event: MarketEvent, name: str) -> Any:  # noqa: ANN401  # as the column's kind
    match name:
        case "time_exchange" | "time_received":
            return getattr(event, name)
        case "exchange":
            return event.exchange.value
        case "instrument":
            return str(event.instrument)
        case "bid_price" | "bid_amount" | "ask_price" | "ask_amount":
            side, _, field = name.partition("_")
            level: Level | None = getattr(event.kind, _BEST[side])
            return None if level is None else getattr(level, field)
        case "bids" | "asks":
            return _levels(getattr(event.kind, name))
    value = getattr(event.kind, name, None)
    # Words and flags as their plain values, which every store knows.
    return value.value if isinstance(value, StrEnum) else value


def _levels(raw: Sequence[tuple[str, str]]) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(price), Decimal(amount)) for price, amount in raw]
