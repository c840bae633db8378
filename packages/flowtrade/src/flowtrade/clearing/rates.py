"""Rates: the least among equally good ones.

Where flat pieces stand exactly at the price, or portfolios convert into each other,
the optimum leaves rates open. Chosen are the rates of least norm, sum x_j^2: they are
unique, treat equal orders equally and do not depend on the order of the input.

At fixed prices all sloped pieces are decided. What is left is again an auction, with
every open portfolio j bidding the price -x_j for its own rate; so the same solver
answers it, to the same precision. Portfolios that share a demand are let go together:
the demand keeps its net rate (or its open range of it), and they divide it anew.
"""

from dataclasses import dataclass

import numpy as np

from flowtrade.clearing.arrays import (
    BoolArray,
    FloatArray,
    IntArray,
    Ragged,
    group_sum,
    offsets,
    ragged_index,
)
from flowtrade.clearing.assembly import Assembler
from flowtrade.clearing.auxiliary import settle
from flowtrade.clearing.graph import label_parts
from flowtrade.clearing.priceform import PriceForm
from flowtrade.clearing.rowmap import RowMap
from flowtrade.clearing.structure import Structure

__all__ = ["CIRCULATING", "open_pieces", "smallest_rates"]

_TIE = 1e-9
"""Distance from the price, against the price scale, that counts as none."""

_DUST = 1e-13
"""Rates this small against the range of their demands are rounding, as in `solve`."""

CIRCULATING = 100.0
"""Gross volume of open rates, against that of all others, from which on what they
trade in sum is told by the others: portfolios that convert into each other may turn
over a million times what anybody wants, and so would the rounding of their sum."""


def open_pieces(form: PriceForm, z: FloatArray) -> IntArray:
    """Pieces whose flow the prices leave open and balance does not settle.

    A piece that alone can move a column cannot move at all; such pieces are taken
    out until none is left.
    """
    price = form.map.forward(z)[form.row]
    flat = form.top == form.bottom
    tie = np.abs(form.top - price) <= _TIE * form.row_price[form.row]
    pieces = np.flatnonzero(flat & tie)
    table = form.map.table
    while len(pieces):
        rows = form.row[pieces]
        lengths = table.ptr[rows + 1] - table.ptr[rows]
        at = ragged_index(table.ptr, rows)
        owner = np.repeat(np.arange(len(pieces)), lengths)
        users = np.bincount(table.idx[at], minlength=form.columns)
        alone = owner[users[table.idx[at]] == 1]
        if not len(alone):
            break
        keep = np.ones(len(pieces), np.bool_)
        keep[alone] = False
        pieces = pieces[keep]
    return pieces


def smallest_rates(
    structure: Structure,
    basis: Ragged,
    form: PriceForm,
    y: FloatArray,
    pieces: IntArray,
    *,
    rates: FloatArray,
    deadline: float = np.inf,
) -> FloatArray | None:
    """The rates of least norm among those as good as the given ones.

    Args:
        structure: Of the market.
        basis: Products of all portfolios.
        form: The market.
        y: Optimal flows.
        pieces: Those that are open, from `open_pieces`.
        rates: Optimal rates of portfolios.
        deadline: Value of `time.monotonic` at which to stop.

    Returns:
        Rates of all portfolios, or None if the choice could not be computed.
    """
    task = _Task.of(structure, form, y, pieces)
    if not task.open.any():
        return rates
    bound = 2.0 * float(np.linalg.norm(rates[task.open])) + form.scales.rate
    auction = task.auction(basis, rates, bound)
    point = settle(auction.form, deadline=deadline)
    if point is None:
        return None
    out = rates.copy()
    members = auction.portfolios
    chosen = point.y[: len(members)]
    dust = _dust(structure, form, members)
    out[members] = np.where(np.abs(chosen) <= dust, 0.0, chosen)
    return out


def _dust(structure: Structure, form: PriceForm, portfolios: IntArray) -> FloatArray:
    """Rate of each of some live portfolios that is rounding."""
    typical = form.scales.rate
    own = form.demand >= 0
    demand, width = form.demand[own], form.width[own]
    width = np.where(np.isfinite(width), width, typical)
    ranges = group_sum(
        demand, width / np.abs(structure.scale[demand]), len(structure.row)
    )
    feeds = structure.usage.take(portfolios)
    reach = np.minimum(ranges, typical)[feeds.idx] / np.abs(feeds.weight)
    most = np.maximum.reduceat(reach, feeds.ptr[:-1])
    # Demands that admit rate 0 only have no range to compare with.
    return _DUST * np.where(most > 0.0, most, typical)


@dataclass(frozen=True, slots=True, eq=False)
class _Auction:
    """The auction for rates; its first segments are the open portfolios'."""

    form: PriceForm
    portfolios: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """What is open.

    Attributes:
        usage: Demands of portfolios.
        open: Portfolios whose rate may change.
        low: Least net rate of each demand.
        high: Greatest net rate of each demand.
    """

    usage: Ragged
    open: BoolArray
    low: FloatArray
    high: FloatArray

    @classmethod
    def of(
        cls, structure: Structure, form: PriceForm, y: FloatArray, pieces: IntArray
    ) -> "_Task":
        usage = structure.usage
        demands = len(structure.row)
        scale = np.append(structure.scale, 1.0)
        own = form.demand >= 0
        moves = np.zeros(len(form), np.bool_)
        moves[pieces] = True

        def net(flow: FloatArray) -> FloatArray:
            rate = flow[own] / scale[form.demand[own]]
            return group_sum(form.demand[own], rate, demands)

        first = net(np.where(moves & own, form.low, y))
        last = net(np.where(moves & own, form.high, y))
        label = _families(usage, demands)
        touched = np.zeros(label.max(initial=0) + 1, np.bool_)
        mine = form.demand[pieces]
        touched[label[mine[mine >= 0]]] = True
        pseudo = structure.recovery.pseudo[-1 - mine[mine < 0]]
        if len(pseudo):
            touched[label[usage.idx[usage.ptr[pseudo]]]] = True
        is_open = np.zeros(len(usage), np.bool_)
        filled = np.flatnonzero(np.diff(usage.ptr) > 0)
        is_open[filled] = touched[label[usage.idx[usage.ptr[filled]]]]
        return cls(usage, is_open, np.minimum(first, last), np.maximum(first, last))

    def auction(self, basis: Ragged, rates: FloatArray, bound: float) -> _Auction:
        """Every open portfolio bids -x for its own rate x."""
        usage = self.usage
        portfolios = np.flatnonzero(self.open)
        feeders = np.bincount(usage.idx, minlength=len(self.low))
        feeds = usage.take(portfolios)
        demand = feeds.idx[feeds.ptr[:-1]]
        simple = (np.diff(feeds.ptr) == 1) & (feeders[demand] == 1)
        portfolios = np.concatenate([portfolios[simple], portfolios[~simple]])
        lone, shared = portfolios[: simple.sum()], portfolios[simple.sum() :]
        products = int(basis.idx.max(initial=-1)) + 1
        families = np.unique(usage.take(shared).idx)
        columns, width = _columns(basis.take(portfolios), products, len(families))
        rows = _bid_rows(basis, usage, portfolios, len(lone), families, columns)
        low = np.full(len(portfolios), -bound)
        high = np.full(len(portfolios), bound)
        alone = usage.idx[usage.ptr[lone]]
        weight = usage.weight[usage.ptr[lone]]
        ends = np.sort(
            np.stack([self.low[alone] / weight, self.high[alone] / weight]), axis=0
        )
        low[: len(lone)] = np.maximum(ends[0], -bound)
        high[: len(lone)] = np.minimum(ends[1], bound)
        return _Auction(
            self._form(basis, rates, rows, columns, width, low, high, families),
            portfolios,
        )

    def _form(
        self,
        basis: Ragged,
        rates: FloatArray,
        rows: Ragged,
        columns: IntArray,
        width: int,
        low: FloatArray,
        high: FloatArray,
        families: IntArray,
    ) -> PriceForm:
        """Segments: open portfolios at slope 1, then open ranges of demands."""
        bids = len(low)
        offset = self._traded(basis, rates, columns, width)
        places = width - 1 - len(families) + np.arange(len(families))
        least, most = self.low[families], self.high[families]
        is_wide = np.isinf(least) | np.isinf(most)
        with np.errstate(invalid="ignore"):
            narrow = 1e-14 * (np.abs(most) + np.abs(least))
            ranged = is_wide | (most - least > narrow)
        offset[places[~ranged]] += 0.5 * (least[~ranged] + most[~ranged])
        units = places[ranged]
        table = Ragged(
            np.concatenate([rows.ptr, rows.ptr[-1] + 1 + np.arange(len(units))]),
            np.concatenate([rows.idx, units]),
            np.concatenate([rows.weight, np.ones(len(units))]),
        )
        # The last column collects what touches no open product: drop it.
        rowmap = RowMap(table, width - 1)
        nothing = np.zeros(len(units))
        return PriceForm(
            map=rowmap,
            assembler=Assembler(rowmap, width - 1 - len(families)),
            row=np.arange(bids + len(units)),
            low=np.concatenate([low, least[ranged]]),
            high=np.concatenate([high, most[ranged]]),
            top=np.concatenate([-low, nothing]),
            bottom=np.concatenate([-high, nothing]),
            demand=np.arange(bids + len(units)),
            offset=offset[:-1],
        )

    def _traded(
        self, basis: Ragged, rates: FloatArray, columns: IntArray, width: int
    ) -> FloatArray:
        """What the open portfolios trade now in sum, taken from each column.

        Told by the others, the rounding of all other volume would be theirs to balance,
        and nobody could; unless it is theirs that is the larger by far.
        """
        entry = columns[basis.idx]
        traded = basis.weight * np.repeat(rates, np.diff(basis.ptr))
        mine = np.repeat(self.open, np.diff(basis.ptr))
        ours, theirs = (
            (
                group_sum(entry[kept], traded[kept], width),
                group_sum(entry[kept], np.abs(traded[kept]), width),
            )
            for kept in (mine, ~mine)
        )
        return np.where(ours[1] > CIRCULATING * theirs[1], theirs[0], -ours[0])


def _families(usage: Ragged, demands: int) -> IntArray:
    """Label demands that are linked through common portfolios."""
    return label_parts(usage.rows(), usage.idx, len(usage), demands)[2]


def _columns(basis: Ragged, products: int, families: int) -> tuple[IntArray, int]:
    """Number the products of open portfolios; others share the last column."""
    used = np.unique(basis.idx)
    width = len(used) + families + 1
    columns = np.full(products, width - 1, np.int64)
    columns[used] = np.arange(len(used))
    return columns, width


def _bid_rows(
    basis: Ragged,
    usage: Ragged,
    portfolios: IntArray,
    lone: int,
    families: IntArray,
    columns: IntArray,
) -> Ragged:
    """Rows a_j, less the shared demands' prices where there are any."""
    held = basis.take(portfolios)
    feeds = usage.take(portfolios)
    lengths = np.diff(feeds.ptr)
    lengths[:lone] = 0
    feeds = feeds.filter(np.repeat(lengths > 0, np.diff(feeds.ptr)))
    first = len(np.unique(held.idx))
    place = np.zeros(int(families.max(initial=-1)) + 1, np.int64)
    place[families] = first + np.arange(len(families))
    row = np.concatenate([held.rows(), feeds.rows()])
    idx = np.concatenate([columns[held.idx], place[feeds.idx]])
    weight = np.concatenate([held.weight, -feeds.weight])
    order = np.lexsort((idx, row))
    counts = np.bincount(row, minlength=len(portfolios))
    return Ragged(offsets(counts), idx[order], weight[order])
