"""LP and MPS texts of an auction, for solvers elsewhere.

Two dialects. `Dialect.ANCHOR` writes what the flow-trading-service writes, byte for
byte, including two traps: a piece without lower limit reads `y <= hi`, which LP readers
take as 0 <= y <= hi, and ids are written as they are. `Dialect.READABLE` writes
`-inf <= y <= hi` and replaces what LP and MPS readers cannot take in a name, so that
every auction is read back as what it is.

Numbers are the shortest decimals that read back the same, never with an exponent.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import final

import numpy as np

from flowtrade.clearing.arrays import Ragged
from flowtrade.clearing.market import Market

__all__ = ["Dialect", "export_lp", "export_mps"]

_PLAIN = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.!#$%&(),;?@'`{}~"
)
"""Characters that the LP format allows in a name (CPLEX file format, "Names")."""

_LONGEST = 255
"""Longest name of the LP format."""


class Dialect(StrEnum):
    """Whose conventions a file follows."""

    ANCHOR = "anchor"
    READABLE = "readable"


def export_lp(market: Market, *, dialect: Dialect = Dialect.READABLE) -> str:
    """Write an auction in LP format.

    Args:
        market: The auction.
        dialect: See the module.
    """
    return "".join(_lp_lines(_Text.of(market, dialect)))


def export_mps(market: Market, *, dialect: Dialect = Dialect.READABLE) -> str:
    """Write an auction in MPS format, as a minimisation.

    Args:
        market: The auction.
        dialect: See the module.
    """
    return "".join(_mps_lines(_Text.of(market, dialect)))


@dataclass(frozen=True, slots=True)
class _Piece:
    """A variable y."""

    name: str
    demand: int
    price: float
    slope: float
    low: float
    high: float


@final
@dataclass(frozen=True, slots=True)
class _Text:
    """The auction with written names.

    Attributes:
        products: Names of the product rows.
        demands: Names of the demand rows, by demand.
        portfolios: Names of the portfolio variables.
        used: Demands that have a row.
        basis: Products of portfolios.
        usage: Known demands of portfolios.
        pieces: Variables of pieces, by demand in order.
        dialect: Whose conventions.
    """

    products: Sequence[str]
    demands: Sequence[str]
    portfolios: Sequence[str]
    used: list[int]
    basis: list[list[tuple[int, float]]]
    usage: list[list[tuple[int, float]]]
    pieces: list[list[_Piece]]
    dialect: Dialect

    @classmethod
    def of(cls, market: Market, dialect: Dialect) -> "_Text":
        columns, segments = market.columns, market.segments
        products = _names("p_", market.product_ids, dialect)
        demands = _names("d_", market.demand_ids, dialect)
        stems = [name[2:] for name in demands]
        slope, price = segments.slope(), segments.intercept()
        used = np.flatnonzero(market.used).tolist()
        ptr = segments.ptr.tolist()
        pieces = [
            [
                _Piece(
                    f"y_{stems[d]}_{s - ptr[d]}",
                    d,
                    float(price[s]),
                    # The anchor's slope is (p1 - p0) / (q1 - q0): 0 stays +0 there.
                    float(0.0 - slope[s]),
                    float(segments.low[s]),
                    float(segments.high[s]),
                )
                for s in range(ptr[d], ptr[d + 1])
            ]
            for d in used
        ]
        usage = columns.usage.filter(columns.known[columns.usage.idx])
        return cls(
            products=products,
            demands=demands,
            portfolios=_names("x_", market.portfolio_ids, dialect),
            used=used,
            basis=_lists(columns.basis),
            usage=_lists(usage),
            pieces=pieces,
            dialect=dialect,
        )

    def is_live(self, j: int) -> bool:
        return bool(self.basis[j]) and bool(self.usage[j])


def _lp_lines(text: _Text) -> Iterator[str]:
    pieces = [piece for group in text.pieces for piece in group]
    terms = [f"{_number(p.price)} {p.name}" for p in pieces]
    objective = " + ".join(terms) or "0"
    if any(p.slope != 0.0 for p in pieces):
        squares = " + ".join(f"{_number(p.slope)} {p.name} ^ 2" for p in pieces)
        objective += f" + [ {squares} ] / 2"
    yield f"Maximize\n  gft: {objective}\nSubject To\n"
    by_product = _transposed(text.basis, len(text.products))
    for k, name in enumerate(text.products):
        yield f"  {name}: {_sum(by_product[k], text.portfolios) or '0'} = 0\n"
    by_demand = _transposed(text.usage, len(text.demands))
    for d, group in zip(text.used, text.pieces, strict=True):
        less = "".join(f" - {piece.name}" for piece in group)
        yield f"  {text.demands[d]}: {_sum(by_demand[d], text.portfolios)}{less} = 0\n"
    yield "Bounds\n"
    for j, name in enumerate(text.portfolios):
        yield f"  {name} free\n" if text.is_live(j) else f"  {name} = 0\n"
    for piece in pieces:
        yield f"  {_lp_bound(piece, text.dialect)}\n"
    yield "End\n"


def _lp_bound(piece: _Piece, dialect: Dialect) -> str:
    low, high = _number(piece.low), _number(piece.high)
    match math.isfinite(piece.low), math.isfinite(piece.high):
        case True, True:
            return f"{low} <= {piece.name} <= {high}"
        case True, False:
            return f"{piece.name} >= {low}"
        case False, True if dialect is Dialect.READABLE:
            return f"-inf <= {piece.name} <= {high}"
        case False, True:
            return f"{piece.name} <= {high}"
        case _:
            return f"{piece.name} free"


def _mps_lines(text: _Text) -> Iterator[str]:
    yield "NAME flow_trade_qp\nROWS\n N    gft\n"
    for name in text.products:
        yield f" E    {name}\n"
    for d in text.used:
        yield f" E    {text.demands[d]}\n"
    yield "COLUMNS\n"
    for j, name in enumerate(text.portfolios):
        for k, weight in text.basis[j]:
            yield f"    {name}    {text.products[k]}    {_number(weight)}\n"
        for d, weight in text.usage[j]:
            yield f"    {name}    {text.demands[d]}    {_number(weight)}\n"
    pieces = [piece for group in text.pieces for piece in group]
    for piece in pieces:
        cost = _number(-piece.price)
        row = text.demands[piece.demand]
        yield f"    {piece.name}    gft    {cost}    {row}    -1\n"
    yield "BOUNDS\n"
    for j, name in enumerate(text.portfolios):
        yield f" FR BND    {name}\n" if text.is_live(j) else f" FX BND    {name} 0\n"
    for piece in pieces:
        yield from _mps_bounds(piece)
    yield "QUADOBJ\n"
    for piece in pieces:
        yield f"    {piece.name}    {piece.name}    {_number(-piece.slope)}\n"
    yield "ENDATA\n"


def _mps_bounds(piece: _Piece) -> Iterator[str]:
    if math.isfinite(piece.low):
        yield f" LO BND    {piece.name}    {_number(piece.low)}\n"
    else:
        yield f" MI BND    {piece.name}\n"
    if math.isfinite(piece.high):
        yield f" UP BND    {piece.name}    {_number(piece.high)}\n"
    else:
        yield f" PL BND    {piece.name}\n"


def _number(value: float) -> str:
    """The shortest decimal that reads back the same, without exponent; -0 is kept."""
    if not math.isfinite(value):
        return "-inf" if value < 0 else "inf"
    text = format(Decimal(repr(float(value))), "f")
    return text.removesuffix(".0")


def _names(prefix: str, ids: Sequence[str], dialect: Dialect) -> list[str]:
    """Written names, distinct; the anchor writes ids as they are."""
    if dialect is Dialect.ANCHOR:
        return [prefix + name for name in ids]
    taken: set[str] = set()
    names = []
    for number, name in enumerate(ids):
        plain = "".join(c if c in _PLAIN else "_" for c in name)
        written = prefix + plain
        if written in taken or plain != name or len(written) > _LONGEST - 12:
            # The number keeps replaced and shortened names apart.
            written = f"{prefix}{plain[:200]}.{number}"
        taken.add(written)
        names.append(written)
    return names


def _lists(rows: Ragged) -> list[list[tuple[int, float]]]:
    ptr, idx, weight = rows.ptr.tolist(), rows.idx.tolist(), rows.weight.tolist()
    return [list(zip(idx[a:b], weight[a:b], strict=True)) for a, b in pairwise(ptr)]


def _transposed(
    rows: Iterable[list[tuple[int, float]]], columns: int
) -> list[list[tuple[int, float]]]:
    out: list[list[tuple[int, float]]] = [[] for _ in range(columns)]
    for j, row in enumerate(rows):
        for k, weight in row:
            out[k].append((j, weight))
    return out


def _sum(terms: Iterable[tuple[int, float]], names: Sequence[str]) -> str:
    return " + ".join(f"{_number(weight)} {names[j]}" for j, weight in terms)
