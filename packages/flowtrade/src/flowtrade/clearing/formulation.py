"""The auction as the plain quadratic program: portfolios x and pieces y.

    minimise    sum h_s/2 y_s^2 - p_s y_s
    subject to  sum_j a_kj x_j = 0                        for each product k
                sum_j w_dj x_j - sum_{s of d} y_s = 0     for each demand d
                low_s <= y_s <= high_s,   x free (0 for portfolios that take no part)

This is the form of the flow-trading-service. It is what files are exported in, what
outside solvers are compared on, and the last thing HiGHS is asked; our own solver works
on the price form, in which it is much smaller.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from scipy import sparse

from flowtrade.clearing.arrays import BoolArray, FloatArray, IntArray
from flowtrade.clearing.market import Market

__all__ = ["PlainProgram"]


@final
@dataclass(frozen=True, eq=False)
class PlainProgram:
    """The program's arrays; variables are portfolios, then pieces.

    Attributes:
        curvature: Diagonal of the Hessian, 0 for portfolios.
        cost: Linear cost, 0 for portfolios, minus the price at 0 for pieces.
        matrix: Rows by variables; rows are products, then used demands.
        lower: Lower bounds of variables, maybe -inf.
        upper: Upper bounds.
        products: Number of product rows.
        demands: Numbers of the demands that have a row.
        live: Which portfolios take part.
        pieces: Number of each piece's demand, in order.
    """

    curvature: FloatArray
    cost: FloatArray
    matrix: sparse.csc_array
    lower: FloatArray
    upper: FloatArray
    products: int
    demands: IntArray
    live: BoolArray
    pieces: IntArray

    @classmethod
    def of(cls, market: Market) -> "PlainProgram":
        """Write a market as the plain program."""
        columns, segments = market.columns, market.segments
        usage = columns.usage.filter(columns.known[columns.usage.idx])
        basis = columns.basis
        demands = np.flatnonzero(market.used)
        row = np.full(columns.demands, -1, np.int64)
        row[demands] = columns.products + np.arange(len(demands))
        owner = np.repeat(np.arange(columns.demands), np.diff(segments.ptr))
        pieces = np.flatnonzero(row[owner] >= 0)
        count = columns.portfolios
        matrix = sparse.coo_array(
            (
                np.concatenate([basis.weight, usage.weight, -np.ones(len(pieces))]),
                (
                    np.concatenate([basis.idx, row[usage.idx], row[owner[pieces]]]),
                    np.concatenate(
                        [basis.rows(), usage.rows(), count + np.arange(len(pieces))]
                    ),
                ),
            ),
            shape=(columns.products + len(demands), count + len(pieces)),
        ).tocsc()
        live = (np.diff(basis.ptr) > 0) & (np.diff(usage.ptr) > 0)
        free = np.where(live, np.inf, 0.0)
        none = np.zeros(count)
        return cls(
            curvature=np.concatenate([none, segments.slope()[pieces]]),
            cost=np.concatenate([none, -segments.intercept()[pieces]]),
            matrix=matrix,
            lower=np.concatenate([-free, segments.low[pieces]]),
            upper=np.concatenate([free, segments.high[pieces]]),
            products=columns.products,
            demands=demands,
            live=live,
            pieces=owner[pieces],
        )

    @property
    def portfolios(self) -> int:
        """Number of portfolio variables."""
        return len(self.live)
