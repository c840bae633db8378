"""Indicative prices between auctions: cheap, smooth and approximate.

The dual of the auction is a convex function of prices; with flat pieces tilted a
little it is smooth, and a few dozen gradient steps (L-BFGS) bring prices to within
some 1e-4 of the auction's. That is good enough to show bidders where the market
stands while orders come in, and no more: nothing is certified, and a market whose
portfolios share demands converges slowly.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from flowtrade.clearing.arrays import FloatArray
from flowtrade.clearing.blas import one_thread
from flowtrade.clearing.errors import InvalidMarket
from flowtrade.clearing.market import Market
from flowtrade.clearing.priceform import PriceForm

__all__ = ["Indication", "indicate"]

_TILT = 1e-3
"""Price drop that flat pieces get over their width, against the price scale."""

_EVALUATIONS = 200


@dataclass(frozen=True, slots=True, eq=False)
class Indication:
    """Approximate prices.

    Attributes:
        prices: By product id.
        imbalance: Largest imbalance against gross volume at these prices: how far
            from a clearing they are.
        evaluations: Of the smoothed dual.
    """

    prices: dict[str, float]
    imbalance: float
    evaluations: int


def indicate(
    market: Market,
    *,
    start: dict[str, float] | None = None,
    evaluations: int = _EVALUATIONS,
) -> Indication:
    """Approximate a market's prices.

    Args:
        market: The orders so far.
        start: Prices to start from, such as the last indication's; products left out
            start from the middle of their orders.
        evaluations: Most evaluations of the smoothed dual.

    Returns:
        Prices and how far they are from clearing.

    Raises:
        InvalidMarket: A price to start from is not finite.
    """
    for product, price in (start or {}).items():
        if not math.isfinite(price):
            raise InvalidMarket("start.price", product, f"must be finite, was {price}")
    with one_thread():
        form = PriceForm.of(market.structure, market.segments)
        if not len(form):
            return Indication(dict.fromkeys(market.product_ids, 0.0), 0.0, 0)
        dual = _Dual(form)
        z = dual.first_prices()
        for i, product in enumerate(market.product_ids):
            if start and product in start:
                z[i] = start[product]
        found = optimize.minimize(
            dual.value,
            z / dual.unit,
            jac=True,
            method="L-BFGS-B",
            options={"maxfun": evaluations, "maxcor": 20, "ftol": 1e-14, "gtol": 1e-9},
        )
        z = found.x * dual.unit
    prices = z[: len(market.product_ids)].tolist()
    return Indication(
        dict(zip(market.product_ids, prices, strict=True)),
        dual.imbalance(z),
        int(found.nfev),
    )


class _Dual:
    """The smoothed dual: sum over segments of max_y (value(y) - price y)."""

    def __init__(self, form: PriceForm) -> None:
        self.form = form
        scale = form.row_price[form.row]
        far = 1e3 * form.scales.rate
        self.low = np.maximum(form.low, -far)
        self.high = np.minimum(form.high, far)
        self.width = np.maximum(self.high - self.low, np.finfo(float).tiny)
        drop = np.maximum(form.top - form.bottom, _TILT * scale)
        self.middle = form.middle
        self.gain = self.width / drop
        # A variable in which the curvature is about the same everywhere.
        supply = form.row_sums(self.width / scale)
        table = form.map.table
        size = table.weight**2 * np.repeat(supply, np.diff(table.ptr))
        total = np.bincount(table.idx, weights=size, minlength=form.columns)
        self.curve = np.where(total > 0.0, total, 1.0)
        self.unit = 1.0 / np.sqrt(self.curve)

    def first_prices(self) -> FloatArray:
        """Least squares through the middles, column by column."""
        form = self.form
        scale = form.row_price[form.row]
        pull = form.map.adjoint(form.row_sums(self.width / scale * self.middle))
        return np.asarray(pull / self.curve)

    def value(self, scaled: FloatArray) -> tuple[float, FloatArray]:
        """The dual and its gradient."""
        z = scaled * self.unit
        price = self.form.map.forward(z)[self.form.row]
        y = self._flows(price)
        centre = 0.5 * (self.low + self.high)
        # value(y) = middle y - (y - centre)^2 / (2 gain), up to a constant.
        worth = (self.middle - price) * y - 0.5 * (y - centre) ** 2 / self.gain
        gradient = -self.form.map.adjoint(self.form.row_sums(y)) * self.unit
        return float(worth.sum()), gradient

    def imbalance(self, z: FloatArray) -> float:
        """Largest imbalance against gross volume."""
        y = self._flows(self.form.map.forward(z)[self.form.row])
        volume = np.maximum(self.form.gross_volume(y), self.form.scales.rate)
        return float((np.abs(self.form.balance(y)) / volume).max(initial=0.0))

    def _flows(self, price: FloatArray) -> FloatArray:
        centre = 0.5 * (self.low + self.high)
        raw = centre + (self.middle - price) * self.gain
        return np.asarray(np.clip(raw, self.low, self.high))
