"""The least among equally good rates of a tiny part, in lists.

The choice is the one that `rates` tells: at fixed prices every open portfolio bids -x
for its own rate x, which is again a tiny auction and has an exact answer.
"""

from collections.abc import Sequence
from math import inf, isinf, sqrt
from typing import final

from flowtrade.clearing.active import solve_tiny
from flowtrade.clearing.rates import CIRCULATING
from flowtrade.clearing.tiny import Row, TinyForm, fits
from flowtrade.clearing.tinyrows import TinyMarket, TinyPart, TinyRows

__all__ = ["LeastRates", "open_flows"]

_TIE = 1e-9
"""Distance from the price, against the price scale, that counts as none."""

_NARROW = 1e-14
"""Width of a demand's open range, against its ends, that is rounding."""

_SPANNED = 1e-9
"""Share of a column that no other spans and that is rounding."""


def open_flows(form: TinyForm, z: Sequence[float]) -> list[int]:
    """Pieces whose flow the prices leave open and balance does not settle.

    Args:
        form: The auction.
        z: Optimal prices.
    """
    price = form.forward(z)
    pieces = [
        s
        for s, (r, top, bottom) in enumerate(
            zip(form.row, form.top, form.bottom, strict=True)
        )
        if top == bottom and abs(top - price[r]) <= _TIE * form.scale[r]
    ]
    while pieces:
        users = [0] * form.columns
        for s in pieces:
            for k, _ in form.rows[form.row[s]]:
                users[k] += 1
        # A piece that alone can move a column cannot move at all.
        kept = [
            s for s in pieces if all(users[k] > 1 for k, _ in form.rows[form.row[s]])
        ]
        if len(kept) == len(pieces):
            break
        pieces = kept
    return pieces


@final
class LeastRates:
    """The choice of one part.

    Args:
        market: The whole.
        part: The part.
        rows: Its rows.
        form: Its auction.
        owner: Demand of each of its pieces.
        y: Optimal flows.
        pieces: The open ones, from `open_flows`.
    """

    def __init__(
        self,
        market: TinyMarket,
        part: TinyPart,
        rows: TinyRows,
        form: TinyForm,
        owner: Sequence[int],
        y: Sequence[float],
        pieces: Sequence[int],
    ) -> None:
        self.market, self.part = market, part
        self.rate = form.rate
        self.low: dict[int, float] = dict.fromkeys(part.demands, 0.0)
        self.high: dict[int, float] = dict.fromkeys(part.demands, 0.0)
        moves = set(pieces)
        for s, d in enumerate(owner):
            if d < 0:
                continue
            scale = rows.scale[d]
            ends = [
                (form.low[s] if s in moves else y[s]) / scale,
                (form.high[s] if s in moves else y[s]) / scale,
            ]
            self.low[d] += min(ends)
            self.high[d] += max(ends)
        family = self._families()
        first = len(owner) - len(rows.pseudo)
        touched = {family[owner[s]] for s in pieces if s < first}
        for s in pieces:
            if s >= first:
                j, _ = rows.pseudo[s - first]
                touched.add(family[market.usage[j][0][0]])
        members = [
            j for j in part.portfolios if family[market.usage[j][0][0]] in touched
        ]
        feeders = market.feeders
        self.lone = [
            j
            for j in members
            if len(market.usage[j]) == 1 and feeders[market.usage[j][0][0]] == 1
        ]
        alone = set(self.lone)
        self.shared = [j for j in members if j not in alone]

    def choose(
        self, rates: Sequence[float], *, deadline: float = inf
    ) -> dict[int, float] | None:
        """The least rates of the open portfolios, or None if they were not found.

        Args:
            rates: Optimal rates of all portfolios.
            deadline: Value of `time.monotonic` at which to stop.
        """
        members = [*self.lone, *self.shared]
        if not members:
            return {}
        form = self._auction(members, rates)
        if not fits(form.columns, len(form.row)):
            return None
        if form.columns == len(form.row):
            # As many balances as rates: there is no choice, and rounded they could
            # exclude the rates that stand at an end.
            return {j: rates[j] for j in members}
        point = solve_tiny(form, deadline=deadline)
        if point is None:
            return None
        return dict(zip(members, point.y, strict=False))

    def _families(self) -> dict[int, int]:
        """Label demands that are linked through common portfolios."""
        parent = {d: d for d in self.part.demands}

        def find(d: int) -> int:
            while parent[d] != d:
                d = parent[d]
            return d

        for j in self.part.portfolios:
            first = find(self.market.usage[j][0][0])
            for d, _ in self.market.usage[j]:
                parent[find(d)] = first
        return {d: find(d) for d in parent}

    def _auction(self, members: Sequence[int], rates: Sequence[float]) -> TinyForm:
        """Open portfolios at slope 1, then open ranges of shared demands."""
        market = self.market
        products = sorted({k for j in members for k, _ in market.basis[j]})
        families = sorted({d for j in self.shared for d, _ in market.usage[j]})
        place = {k: i for i, k in enumerate(products)}
        column = {d: len(products) + i for i, d in enumerate(families)}
        rows: list[Row] = [
            [(place[k], weight) for k, weight in market.basis[j]] for j in members
        ]
        for row, j in zip(rows[len(self.lone) :], self.shared, strict=True):
            row += sorted((column[d], -weight) for d, weight in market.usage[j])
        bound = 2.0 * sqrt(sum(rates[j] ** 2 for j in members)) + self.rate
        low, high = [-bound] * len(members), [bound] * len(members)
        for i, j in enumerate(self.lone):
            d, weight = market.usage[j][0]
            least, most = sorted((self.low[d] / weight, self.high[d] / weight))
            low[i], high[i] = max(least, -bound), min(most, bound)
        top, bottom = [-end for end in low], [-end for end in high]
        offset = self._traded(members, rates, place) + [0.0] * len(families)
        for d in families:
            least, most = self.low[d], self.high[d]
            narrow = _NARROW * (abs(most) + abs(least))
            if isinf(least) or isinf(most) or most - least > narrow:
                rows.append([(column[d], 1.0)])
                low.append(least)
                high.append(most)
                top.append(0.0)
                bottom.append(0.0)
            else:
                offset[column[d]] += 0.5 * (least + most)
        return _balanced(rows, (low, high), (top, bottom), offset)

    def _traded(
        self, members: Sequence[int], rates: Sequence[float], place: dict[int, int]
    ) -> list[float]:
        """What the open portfolios trade now in sum, as `rates` has it."""
        ours, theirs, excess = ([0.0] * len(place) for _ in range(3))
        opened = set(members)
        for j in self.part.portfolios:
            for k, weight in self.market.basis[j]:
                if k in place:
                    at, traded = place[k], weight * rates[j]
                    if j in opened:
                        ours[at] -= traded
                        excess[at] += abs(traded)
                    else:
                        theirs[at] += traded
                        excess[at] -= CIRCULATING * abs(traded)
        return [
            others if more > 0.0 else own
            for own, others, more in zip(ours, theirs, excess, strict=True)
        ]


def _balanced(
    rows: list[Row],
    ends: tuple[list[float], list[float]],
    prices: tuple[list[float], list[float]],
    offset: list[float],
) -> TinyForm:
    """The auction without balances that others imply.

    What enters from outside is rounded: a balance that follows from the others would
    contradict them by that much, and nothing exact could meet both.
    """
    kept = _independent(rows, len(offset))
    if len(kept) < len(offset):
        place = {k: i for i, k in enumerate(kept)}
        rows = [[(place[k], w) for k, w in row if k in place] for row in rows]
        offset = [offset[k] for k in kept]
    form = TinyForm.scaled(
        rows,
        list(range(len(rows))),
        ends,
        prices,
        columns=len(offset),
        orders=len(rows),
    )
    form.offset = offset
    return form


def _independent(rows: Sequence[Row], columns: int) -> list[int]:
    """Columns of a table that no others of them span, the first ones first."""
    dense = [[0.0] * len(rows) for _ in range(columns)]
    for r, row in enumerate(rows):
        for k, weight in row:
            dense[k][r] = weight
    kept: list[int] = []
    pivots: list[tuple[int, list[float]]] = []
    for k, line in enumerate(dense):
        size = max(map(abs, line), default=0.0)
        for at, pivot in pivots:
            share = line[at]
            if share:
                line = [a - share * b for a, b in zip(line, pivot, strict=True)]
        largest, at = max(((abs(v), i) for i, v in enumerate(line)), default=(0.0, 0))
        if largest > _SPANNED * size:
            kept.append(k)
            pivots.append((at, [value / line[at] for value in line]))
    return kept
