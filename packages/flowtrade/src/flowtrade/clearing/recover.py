"""From flows and prices of the price form back to portfolios and demands."""

import numpy as np

from flowtrade.clearing.arrays import FloatArray, group_sum
from flowtrade.clearing.priceform import PriceForm
from flowtrade.clearing.structure import Structure

__all__ = ["portfolio_rates"]


def portfolio_rates(structure: Structure, form: PriceForm, y: FloatArray) -> FloatArray:
    """Rates of all portfolios, 0 for those that take no part.

    Args:
        structure: Of the market.
        form: Its segments.
        y: Their flows.
    """
    back = structure.recovery
    demands = len(structure.row)
    own = form.demand >= 0
    flow = group_sum(form.demand[own], y[own], demands)
    rates = np.zeros(len(structure.live))
    rates[back.direct] = back.factor * flow[back.demand]
    rates[back.pseudo] = y[~own]
    if len(back.anchors):
        # An anchor has rate 0 so far: the sum is what the others fill.
        filled = structure.usage.weight * np.repeat(rates, np.diff(structure.usage.ptr))
        others = group_sum(structure.usage.idx, filled, demands)
        net = flow[back.anchored] / structure.scale[back.anchored]
        rates[back.anchors] = (net - others[back.anchored]) / back.anchor_weight
    return rates
