"""What the commands print: results on standard output, everything else beside it.

Lines for people on a terminal, JSON lines into a pipe or with `--json`. Texts of
strangers are escaped where a person reads them.
"""

import argparse
import sys
from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from integration.models import (
    FundingRate,
    IndexPrice,
    Level,
    MarketEvent,
    MarkPrice,
    OpenInterest,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
)
from netcore.cli.output import printable

if TYPE_CHECKING:
    from integration.market.books import OrderBook

__all__ = [
    "as_json",
    "event_json",
    "event_text",
    "note",
    "table",
    "write",
    "write_json",
]


def as_json(options: argparse.Namespace) -> bool:
    """Say whether a program reads the results."""
    return bool(options.json) or not sys.stdout.isatty()


def write(text: str) -> None:
    """Print a result for people."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def write_json(rows: Iterable[Any]) -> None:
    """Print results for programs, one JSON object each."""
    sys.stdout.write("".join(f"{msgspec.json.encode(row).decode()}\n" for row in rows))
    sys.stdout.flush()


def note(text: str) -> None:
    """Say beside the results how things go."""
    sys.stderr.write(f"integration: {printable(text, one_line=True)}\n")
    sys.stderr.flush()


def event_json(event: Any) -> dict[str, Any]:  # noqa: ANN401  any of the stream's events
    """Return an event as plain values, its class as `event`."""
    body = msgspec.to_builtins(event, enc_hook=str, builtin_types=(Decimal,))
    return {"event": type(event).__name__, **_digits(body)}


def _digits(value: Any) -> Any:  # noqa: ANN401  builtins, nested
    """Write numbers with digits: str() of a Decimal has 0.00000001 as 1E-8."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dict):
        return {key: _digits(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_digits(inner) for inner in value]
    return value


def event_text(event: Any) -> str:  # noqa: ANN401  any of the stream's events
    """Return an event as a line for people."""
    if not isinstance(event, MarketEvent):
        return printable(str(event), one_line=True)
    match event.kind:
        case PublicTrade() as trade:
            text = f"{trade.side:<4} {trade.amount:f} @ {trade.price:f}"
        case OrderBookL1() as top:
            text = f"{_side(top.best_bid)} | {_side(top.best_ask)}"
        case OrderBookSnapshot() | OrderBookUpdate() as book:
            text = f"{len(book.bids)}+{len(book.asks)} levels, {book.sequence}"
        case MarkPrice(price=price) | IndexPrice(price=price):
            text = f"{price:f}"
        case FundingRate(rate=rate):
            text = f"{rate:f}"
        case OpenInterest(amount=amount, amount_unit=unit):
            text = f"{amount:f} {unit}"
        case other:
            text = str(other)
    return f"{event.exchange} {event.instrument} {event.kind_name}: {text}"


def _side(level: Level | None) -> str:
    return "-" if level is None else f"{level.amount:f} @ {level.price:f}"


def table(book: "OrderBook", depth: int) -> str:
    """Draw the top of a book."""
    lines = [f"{book.exchange} {book.instrument} {book.state} {book.sequence or ''}"]
    asks = book.raw_asks(depth)
    lines.extend(f"{'':>20} {p:>16} {a}" for p, a in reversed(asks))
    lines.extend(f"{a:>20} {p:>16}" for p, a in book.raw_bids(depth))
    return "\n".join(lines) + "\n"
