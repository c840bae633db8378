"""A tiny market in lists: its pieces, its parts and their rows.

What `segments`, `parts`, `structure` and `priceform` do for markets of any size, by the
same rules and to the same numbers, for a dozen orders: there a call of an array library
costs more than the loop. A property holds the two together.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from math import inf
from typing import final

from flowtrade.clearing.arrays import Ragged
from flowtrade.clearing.columns import Columns, Curves
from flowtrade.clearing.tiny import Row, TinyForm
from flowtrade.clearing.tinyproof import Piece

__all__ = ["TinyMarket", "TinyPart", "TinyRows", "pieces_of"]

_CANCELLED = 1e-14
"""A difference this small against its terms is rounding, as in `structure`."""

_NOTHING = Fraction(0)


@dataclass(slots=True, eq=False)
class TinyPart:
    """Numbers of what hangs together, ascending."""

    portfolios: list[int]
    products: list[int]
    demands: list[int]


@final
class TinyMarket:
    """A market's columns as lists.

    Attributes:
        products: Number of products.
        pieces: Of each demand.
        usage: Known demands of each portfolio that takes part; of others, none.
        basis: Products of each portfolio.
        named: Known demands of each portfolio, whether it takes part or not.
        live: Portfolios that take part, ascending.
        feeders: How many of those feed each demand.
        blocked: Demands that admit rate 0 only.
    """

    def __init__(self, columns: Columns) -> None:
        self.products = columns.products
        self.pieces = pieces_of(columns.curves)
        known = columns.known.tolist()
        self.basis = _rows(columns.basis)
        usage = _rows(columns.usage)
        if not all(known):
            usage = [[entry for entry in row if known[entry[0]]] for row in usage]
        self.named = usage
        self.live = [j for j, row in enumerate(usage) if row and self.basis[j]]
        if len(self.live) < len(usage):
            usage = [
                row if holds else []
                for row, holds in zip(usage, self.basis, strict=True)
            ]
        self.usage = usage
        self.feeders = [0] * len(known)
        for row in usage:
            for d, _ in row:
                self.feeders[d] += 1
        self.blocked = {d for d, pieces in enumerate(self.pieces) if not pieces}

    def parts(self) -> list[TinyPart]:
        """The parts, in the order of their first products."""
        parent = list(range(self.products))

        def find(k: int) -> int:
            while parent[k] != k:
                k = parent[k]
            return k

        home: dict[int, int] = {}
        held = set()
        for j in self.live:
            first = find(self.basis[j][0][0])
            linked = [k for k, _ in self.basis[j]]
            held.update(linked)
            linked += [home.setdefault(d, first) for d, _ in self.usage[j]]
            for k in linked:
                other = find(k)
                # The lesser one leads, so a part's label is its first product.
                low, high = min(first, other), max(first, other)
                parent[high] = first = low
        parts: dict[int, TinyPart] = {}
        for k in sorted(held):
            parts.setdefault(find(k), TinyPart([], [], [])).products.append(k)
        for j in self.live:
            parts[find(self.basis[j][0][0])].portfolios.append(j)
        for d in sorted(home):
            parts[find(home[d])].demands.append(d)
        return list(parts.values())


@dataclass(slots=True, eq=False)
class TinyRows:
    """The rows of a part, and the way back to rates; see `structure`.

    Attributes:
        rows: Columns and weights; columns are the part's products, then free demands.
        row: Row of each demand.
        scale: Marginal price of each demand per price of its row.
        free: Demands that became columns.
        direct: Portfolio, demand and factor where flow gives the rate.
        pseudo: Portfolios that only convert, and their rows.
        anchors: Portfolio, demand and weight where others leave the rate.
    """

    columns: int
    rows: list[Row] = field(default_factory=list)
    row: dict[int, int] = field(default_factory=dict)
    scale: dict[int, float] = field(default_factory=dict)
    free: list[int] = field(default_factory=list)
    direct: list[tuple[int, int, float]] = field(default_factory=list)
    pseudo: list[tuple[int, int]] = field(default_factory=list)
    anchors: list[tuple[int, int, float]] = field(default_factory=list)

    @classmethod
    def of(cls, market: TinyMarket, part: TinyPart) -> "TinyRows":
        """Find the rows of a part."""
        return _Builder(market, part).build()

    def form(self, market: TinyMarket) -> tuple[TinyForm, list[int]]:
        """The part's pieces on its rows, and the demand of each, -1 for none."""
        order = sorted(self.row, key=lambda d: (self.row[d], d))
        row, owner = list[int](), list[int]()
        low, high, top, bottom = (list[float]() for _ in range(4))
        for d in order:
            scale = self.scale[d]
            for least, most, first, last in market.pieces[d]:
                row.append(self.row[d])
                owner.append(d)
                ends = least * scale, most * scale
                prices = first / scale, last / scale
                if scale < 0.0:
                    ends, prices = ends[::-1], prices[::-1]
                low.append(ends[0])
                high.append(ends[1])
                top.append(prices[0])
                bottom.append(prices[1])
        orders, count = len(row), len(self.pseudo)
        form = TinyForm.scaled(
            self.rows,
            row + [r for _, r in self.pseudo],
            (low + [-inf] * count, high + [inf] * count),
            (top + [0.0] * count, bottom + [0.0] * count),
            columns=self.columns,
            orders=orders,
        )
        return form, owner + [-1] * count

    def rates(
        self,
        usage: Sequence[Row],
        owner: Sequence[int],
        y: Sequence[float],
        exact: Callable[[int], Fraction] | None = None,
    ) -> dict[int, float]:
        """Rates of the part's portfolios from the flows of its pieces.

        Args:
            usage: Demands of portfolios.
            owner: Demand of each piece.
            y: Flow of each piece.
            exact: The flow of a piece before it was rounded, if that is known.
        """
        flow = dict.fromkeys(self.row, 0.0)
        for d, value in zip(owner, y, strict=False):
            if d >= 0:
                flow[d] += value
        out = {j: factor * flow[d] for j, d, factor in self.direct}
        first = len(owner) - len(self.pseudo)
        for (j, _), value in zip(self.pseudo, y[first:], strict=True):
            out[j] = value
        if self.anchors:
            flows = list(map(exact or (lambda s: Fraction(y[s])), range(len(owner))))
            out |= self._left(usage, owner, flows)
        return out

    def _left(
        self, usage: Sequence[Row], owner: Sequence[int], flows: Sequence[Fraction]
    ) -> dict[int, float]:
        """What others leave to the anchors, rounded once.

        It may be less than the rounding of what the others trade, and yet all that is
        traded of a product.
        """
        flow = dict.fromkeys(self.row, _NOTHING)
        for d, value in zip(owner, flows, strict=True):
            if d >= 0 and value:
                flow[d] += value
        first = len(owner) - len(self.pseudo)
        others = [(j, int(factor) * flow[d]) for j, d, factor in self.direct]
        others += [
            (j, value) for (j, _), value in zip(self.pseudo, flows[first:], strict=True)
        ]
        share = {d: Fraction(1.0 / weight) for _, d, weight in self.anchors}
        for j, rate in others:
            for d, weight in usage[j]:
                if rate and d in share:
                    # As in the anchor's row, so that products balance.
                    flow[d] -= share[d] * Fraction(weight) * rate
        return {j: float(flow[d]) for j, d, _ in self.anchors}


@final
class _Builder:
    """Sorts a part's portfolios into the kinds that `structure` tells."""

    def __init__(self, market: TinyMarket, part: TinyPart) -> None:
        self.market = market
        self.part = part
        place = {k: i for i, k in enumerate(part.products)}
        self.held: dict[int, Row] = {
            j: [(place[k], weight) for k, weight in market.basis[j]]
            for j in part.portfolios
        }
        self.out = TinyRows(len(place))

    def build(self) -> TinyRows:
        shared = self._simple()
        if shared:
            self._complex(shared)
        return self.out

    def _simple(self) -> list[int]:
        """Rows of simple portfolios, shared where equal; returns the others."""
        out, usage, feeders = self.out, self.market.usage, self.market.feeders
        others = []
        found: dict[tuple[tuple[int, float], ...], list[tuple[int, float]]] = {}
        for j in self.part.portfolios:
            demand, weight = usage[j][0]
            if len(usage[j]) > 1 or feeders[demand] > 1:
                others.append(j)
                continue
            row = self.held[j]
            sign = 1.0 if row[0][1] > 0.0 else -1.0
            key = tuple(row if sign > 0.0 else [(k, -w) for k, w in row])
            found.setdefault(key, []).append((demand, sign / weight))
            out.direct.append((j, demand, sign))
        # By their content: numbers do not depend on the order of the portfolios.
        for key in sorted(found):
            for demand, scale in found[key]:
                out.row[demand], out.scale[demand] = len(out.rows), scale
            out.rows.append(list(key))
        return others

    def _complex(self, members: list[int]) -> None:
        out, usage, feeders = self.out, self.market.usage, self.market.feeders
        own: dict[int, tuple[int, float]] = {}
        lone: dict[int, tuple[int, float]] = {}
        for j in members:
            mine = next((e for e in usage[j] if feeders[e[0]] == 1), None)
            if mine is not None:
                own[j] = mine
            elif len(usage[j]) == 1:
                demand, weight = usage[j][0]
                lone.setdefault(demand, (j, weight))
        anchors = {j: (d, weight) for d, (j, weight) in sorted(lone.items())}
        settled = {
            d: [(k, 1.0 / weight * w) for k, w in self.held[j]]
            for j, (d, weight) in anchors.items()
        }
        taken = {d for d, _ in own.values()} | settled.keys() | out.row.keys()
        out.free = [d for d in self.part.demands if d not in taken]
        for d in out.free:
            settled[d] = [(out.columns, 1.0)]
            self._add(d, [(out.columns, 1.0)], 1.0)
            out.columns += 1
        for j, (d, weight) in anchors.items():
            self._add(d, self.held[j], 1.0 / weight)
            out.anchors.append((j, d, weight))
        for j, (d, weight) in own.items():
            self._add(d, self._row(j, d, settled), 1.0 / weight)
            out.direct.append((j, d, 1.0))
        for j in members:
            if j not in own and j not in anchors:
                out.pseudo.append((j, len(out.rows)))
                out.rows.append(self._row(j, -1, settled))

    def _add(self, demand: int, row: Row, scale: float) -> None:
        self.out.row[demand], self.out.scale[demand] = len(self.out.rows), scale
        self.out.rows.append(row)

    def _row(self, j: int, own: int, settled: dict[int, Row]) -> Row:
        """a_j - sum over other demands of w_o mu_o; what cancels is left out."""
        entries = list(self.held[j])
        for d, weight in self.market.usage[j]:
            if d != own:
                entries += [(k, -(price * weight)) for k, price in settled[d]]
        total: dict[int, float] = {}
        size: dict[int, float] = {}
        for k, value in entries:
            total[k] = total.get(k, 0.0) + value
            size[k] = size.get(k, 0.0) + abs(value)
        return [
            (k, total[k]) for k in sorted(total) if abs(total[k]) > _CANCELLED * size[k]
        ]


def pieces_of(curves: Curves) -> list[list[Piece]]:
    """The pieces of each curve, as `segments` takes them apart."""
    rate, price = curves.rate.tolist(), curves.price.tolist()
    return [
        _pieces(list(zip(rate[a:b], price[a:b], strict=True)))
        for a, b in pairwise(curves.ptr.tolist())
    ]


def _pieces(points: list[tuple[float, float]]) -> list[Piece]:
    if len(points) > 2:
        points = [points[0]] + [b for a, b in pairwise(points) if a != b]
        points = [*points[:1], *_corners(points), *points[1:][-1:]]
    out = []
    for (left, top), (right, bottom) in pairwise(points):
        if right > left:
            shift = max(left, 0.0) + min(right, 0.0)
            out.append((left - shift, right - shift, top, bottom))
    return out


def _corners(
    points: Sequence[tuple[float, float]],
) -> Iterable[tuple[float, float]]:
    """Points within a curve that are not on the line between their neighbours."""
    for (x, p), (y, q), (z, r) in zip(points, points[1:], points[2:], strict=False):
        if (z - x) * (q - p) != (y - x) * (r - p):
            yield y, q


def _rows(table: Ragged) -> list[Row]:
    entries = list(zip(table.idx.tolist(), table.weight.tolist(), strict=True))
    return [entries[a:b] for a, b in pairwise(table.ptr.tolist())]
