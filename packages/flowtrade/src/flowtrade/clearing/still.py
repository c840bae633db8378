"""Portfolios that cannot trade, whatever the prices.

Who alone holds a product finds nobody to trade it with, and who alone feeds a demand
that admits rate 0 only may not: their rate is 0. Without them others may be alone
likewise, and so on until nothing changes. No curve's price is looked at and nothing is
rounded, so the answer does not depend on scale, order or solver.

Rates only: such a portfolio's price is still the price of its demands, and that of the
product that it alone holds follows from it, so it stays in the price form. But its rate
may be what others leave (an anchor, see `structure`), and the rounding of what they
trade would be all of its product's volume.
"""

from collections.abc import Sequence

import numpy as np

from flowtrade.clearing.arrays import BoolArray, IntArray, Ragged, ragged_index
from flowtrade.clearing.tiny import Row

__all__ = ["still_portfolios", "still_rows"]


def still_portfolios(
    basis: Ragged, usage: Ragged, live: BoolArray, blocked: BoolArray
) -> BoolArray:
    """Which of some portfolios cannot have another rate than 0.

    Args:
        basis: Products of each portfolio, each once.
        usage: Known demands of portfolios that take part, each once.
        live: Which ones may trade: those that take part, or those with a rate, if the
            others' rates are zeros beyond doubt.
        blocked: Which demands admit rate 0 only.
    """
    out = np.zeros(len(live), np.bool_)
    holds = np.repeat(live, np.diff(basis.ptr))
    feeds = blocked[usage.idx] & np.repeat(live, np.diff(usage.ptr))
    if not any(
        (np.bincount(table.idx[mine]) == 1).any()
        for table, mine in ((basis, holds), (usage, feeds))
    ):
        return out
    held, fed = basis.filter(holds), usage.filter(feeds)
    ties = _Ties(held, fed, int(basis.idx.max(initial=-1)) + 1, len(blocked))
    alone = np.flatnonzero(ties.count == 1)
    while len(alone):
        portfolios = np.unique(ties.total[alone])
        out[portfolios] = True
        alone = ties.leave(portfolios)
    return out


class _Ties:
    """Whom each product and each blocked demand is left to.

    Of each how many portfolios are left and the sum of their numbers, which is the
    number of the last one: nobody is looked for.
    """

    def __init__(self, held: Ragged, fed: Ragged, products: int, demands: int) -> None:
        self.tables = ((held, 0), (fed, products))
        place = np.concatenate([held.idx, products + fed.idx])
        size = products + demands
        self.count = np.bincount(place, minlength=size)
        self.total = np.zeros(size, np.int64)
        np.add.at(self.total, place, np.concatenate([held.rows(), fed.rows()]))

    def leave(self, portfolios: IntArray) -> IntArray:
        """Take portfolios out; what is left to one portfolio since then."""
        touched = []
        for table, first in self.tables:
            places = first + table.idx[ragged_index(table.ptr, portfolios)]
            lengths = table.ptr[portfolios + 1] - table.ptr[portfolios]
            np.subtract.at(self.count, places, 1)
            np.subtract.at(self.total, places, np.repeat(portfolios, lengths))
            touched.append(places)
        places = np.unique(np.concatenate(touched))
        alone: IntArray = places[self.count[places] == 1]
        return alone


def still_rows(
    basis: Sequence[Row], usage: Sequence[Row], live: Sequence[int], blocked: set[int]
) -> set[int]:
    """The same in lists, for tiny markets.

    Args:
        basis: Products of each portfolio.
        usage: Known demands of each that takes part.
        live: Those that may trade.
        blocked: Demands that admit rate 0 only.
    """
    # Demands count down from -1, products up from 0.
    ties: dict[int, list[int]] = {}
    for j in live:
        for k, _ in basis[j]:
            ties.setdefault(k, []).append(j)
        for d, _ in usage[j]:
            if d in blocked:
                ties.setdefault(~d, []).append(j)
    out: set[int] = set()
    alone = [members for members in ties.values() if len(members) == 1]
    while alone:
        members = alone.pop()
        if not members:
            continue
        j = members[0]
        out.add(j)
        places = [k for k, _ in basis[j]]
        places += [~d for d, _ in usage[j] if d in blocked]
        for place in places:
            left = ties[place]
            left.remove(j)
            if len(left) == 1:
                alone.append(left)
    return out
