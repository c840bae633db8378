"""The sample bidders of a market: a maker, a spread and a basket.

Weights of spread and basket come from the first mid prices, rounded to three digits:
both are worth about the same in each leg, whatever the products cost.
"""

from collections.abc import Mapping, Sequence

from bidders.strategies import BasketBuyer, MarketMaker, SpreadTrader, Strategy
from flowtrade.liquidity import Depth

__all__ = ["sample_strategies"]

_LEG = 1_000.0
"""Value of one leg of the basket, in the quote currency."""


def sample_strategies(mids: Mapping[str, float], *, seed: int) -> list[Strategy]:
    """Return a maker for all products, a spread and a basket.

    Args:
        mids: Product name -> its first mid price, in the order of preference.
        seed: Of whatever is random in them.

    Raises:
        ValueError: There is no product.
    """
    names: Sequence[str] = list(mids)
    if not names:
        msg = "sample bidders need at least one product with a mid price"
        raise ValueError(msg)
    first, last = names[0], names[-1]
    if first == last:
        spread = {first: 1.0}
    else:
        spread = {last: 1.0, first: -_round(mids[last] / mids[first])}
    basket = {name: _round(_LEG / mids[name]) for name in names}
    return [
        MarketMaker(tuple(names), Depth(levels=20, horizon=1 / 60, markup=0.0001)),
        SpreadTrader(spread, notional=3_000_000.0),
        BasketBuyer(basket, notional=5_000_000.0, seed=seed),
    ]


def _round(value: float) -> float:
    return float(f"{value:.3g}")
