"""Pictures of a clearing: what was asked for, where it cleared, who trades how much.

Needs matplotlib (the extra `flowtrade[plots]`), which is loaded at the first picture.
Figures are drawn without a window and without matplotlib's global state, so they can be
made in a server or a test. `supply_and_demand` gives the numbers without any picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flowtrade.clearing.arrays import FloatArray, IntArray, group_sum
from flowtrade.clearing.errors import MissingExtra
from flowtrade.clearing.market import Market
from flowtrade.clearing.outcome import Clearing
from flowtrade.clearing.parts import live_usage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Schedule",
    "plot_clearing",
    "plot_product",
    "plot_rates",
    "supply_and_demand",
]

_STEPS = 400
_BUY, _SELL, _PRICE = "#1f6fb4", "#c4472d", "#222222"


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """What the orders would trade of one product at other prices of it.

    Attributes:
        price: Prices, ascending.
        bought: Rate bought at each, all other prices held.
        sold: Rate sold at each, >= 0.
    """

    price: FloatArray
    bought: FloatArray
    sold: FloatArray


def supply_and_demand(
    market: Market, clearing: Clearing, product: str, *, steps: int = _STEPS
) -> Schedule:
    """The supply and demand of one product around its clearing price.

    All other products stay at their clearing prices. A portfolio whose demand is its
    own answers with what its curve asks for at the price; one that shares a demand
    stays at its cleared rate.

    Args:
        market: The auction.
        clearing: Its outcome.
        product: Id of the product.
        steps: Number of prices.

    Raises:
        KeyError: No such product.
    """
    number = market.product_ids.index(product) if product in market.product_ids else -1
    if number < 0:
        raise KeyError(product)
    holders, weight = _holders(market, number)
    demand, scale, is_own = _own_demands(market, holders)
    level = np.nan_to_num(clearing.arrays.price)
    present = np.nan_to_num(clearing.arrays.portfolio_price)[holders]
    # Marginal price of a holder's demand: fixed + slope times the product's price.
    slope = weight / scale
    fixed = present / scale - slope * level[number]
    corners = _corner_prices(market, demand[is_own], fixed[is_own], slope[is_own])
    price = _grid(corners, float(level[number]), steps)
    bought, sold = np.zeros(len(price)), np.zeros(len(price))
    for i in range(len(holders)):
        if is_own[i]:
            flow = _flow(market, int(demand[i]), fixed[i] + slope[i] * price)
            rate = weight[i] * flow / scale[i]
        else:
            rate = weight[i] * clearing.arrays.rate[holders[i]] + np.zeros(len(price))
        bought += np.maximum(rate, 0.0)
        sold -= np.minimum(rate, 0.0)
    return Schedule(price, bought, sold)


def plot_product(market: Market, clearing: Clearing, product: str) -> "Figure":
    """Draw supply and demand of a product, its price, volume and supported range.

    Args:
        market: The auction.
        clearing: Its outcome.
        product: Id of the product.

    Raises:
        MissingExtra: matplotlib is not installed.
        KeyError: No such product.
    """
    figure = _new_figure(5.0, 3.5)
    _draw_product(figure.add_subplot(), market, clearing, product)
    return figure


def _draw_product(
    axes: "Axes", market: Market, clearing: Clearing, product: str
) -> None:
    schedule = supply_and_demand(market, clearing, product)
    outcome = clearing.products[product]
    axes.plot(schedule.bought, schedule.price, color=_BUY, label="bought")
    axes.plot(schedule.sold, schedule.price, color=_SELL, label="sold")
    if outcome.price is not None:
        low = schedule.price[0] if outcome.price_min is None else outcome.price_min
        high = schedule.price[-1] if outcome.price_max is None else outcome.price_max
        if outcome.ranged and not outcome.unique:
            axes.axhspan(low, high, color=_PRICE, alpha=0.12, label="supported")
        axes.axhline(outcome.price, color=_PRICE, linewidth=0.8, linestyle="--")
        axes.plot([outcome.rate], [outcome.price], "o", color=_PRICE, label="cleared")
        axes.set_ylim(schedule.price[0], schedule.price[-1])
    price = "no price" if outcome.price is None else f"{outcome.price:.6g}"
    axes.set_title(f"{product}: {outcome.rate:.6g} at {price}", parse_math=False)
    axes.set_xlabel("rate")
    axes.set_ylabel("price")
    axes.legend(loc="best", fontsize="small", frameon=False)


def plot_rates(
    clearing: Clearing,
    *,
    bidders: Mapping[str, str] | None = None,
    most: int = 20,
) -> "Figure":
    """Draw who trades how much: bars to the right buy, bars to the left sell.

    Args:
        clearing: The outcome.
        bidders: Bidder by portfolio id: rates are then added up and drawn by bidder
            (of portfolios of different products, so they are a measure of activity).
        most: Bars at the most, the largest ones.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    bars = min(most, len(clearing.portfolios))
    figure = _new_figure(5.0, 1.0 + 0.25 * max(bars, 4))
    _draw_rates(figure.add_subplot(), clearing, bidders, most)
    return figure


def _draw_rates(
    axes: "Axes", clearing: Clearing, bidders: Mapping[str, str] | None, most: int
) -> None:
    names, bought, sold = _bars(clearing, bidders)
    size = np.maximum(bought, sold)
    shown = np.argsort(-size, kind="stable")[:most][::-1]
    place = np.arange(len(shown))
    axes.barh(place, bought[shown], color=_BUY)
    axes.barh(place, -sold[shown], color=_SELL)
    axes.axvline(0.0, color=_PRICE, linewidth=0.8)
    axes.set_yticks(place)
    axes.set_yticklabels([names[i] for i in map(int, shown)], parse_math=False)
    axes.set_xlabel("rate")
    axes.set_title("bidders" if bidders else "portfolios")


def plot_clearing(
    market: Market,
    clearing: Clearing,
    *,
    products: Sequence[str] | None = None,
    bidders: Mapping[str, str] | None = None,
) -> "Figure":
    """Draw a clearing on one page: products, and who trades how much.

    Args:
        market: The auction.
        clearing: Its outcome.
        products: Ids to draw; by default the eight with the largest volume.
        bidders: Bidder by portfolio id, see `plot_rates`.

    Raises:
        MissingExtra: matplotlib is not installed.
        KeyError: No such product.
    """
    if products is None:
        largest = np.argsort(-clearing.arrays.volume, kind="stable")[:8]
        products = [market.product_ids[k] for k in map(int, np.sort(largest))]
    panels = len(products) + 1
    across = min(panels, 3)
    down = -(-panels // across)
    figure = _new_figure(4.6 * across, 3.4 * down)
    for i, product in enumerate(products):
        axes = figure.add_subplot(down, across, i + 1)
        _draw_product(axes, market, clearing, product)
    _draw_rates(figure.add_subplot(down, across, panels), clearing, bidders, 12)
    figure.suptitle(
        f"{clearing.status.value}: gains {clearing.gains:.6g}, "
        f"worst measure {clearing.certificate.worst:.1e}"
    )
    return figure


def _new_figure(width: float, height: float) -> "Figure":
    """A figure with the Agg canvas and nothing of pyplot's global state."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtra("plots", "matplotlib") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _holders(market: Market, product: int) -> tuple[IntArray, FloatArray]:
    """Portfolios that take part and hold a product, and how much of it."""
    basis = market.columns.basis
    live, _ = live_usage(market.columns)
    entries = np.flatnonzero(basis.idx == product)
    owner = basis.rows()[entries]
    kept = live[owner]
    return owner[kept], basis.weight[entries[kept]]


def _own_demands(
    market: Market, holders: IntArray
) -> tuple[IntArray, FloatArray, np.ndarray]:
    """Each holder's first demand, its weight, and whether it is its only and own."""
    _, usage = live_usage(market.columns)
    feeders = np.bincount(usage.idx, minlength=market.columns.demands)
    first = usage.ptr[holders]
    demand = usage.idx[first]
    alone = (np.diff(usage.ptr)[holders] == 1) & (feeders[demand] == 1)
    return demand, usage.weight[first], alone


def _flow(market: Market, demand: int, marginal: FloatArray) -> FloatArray:
    """A demand's net rate at marginal prices; on a flat piece, half way."""
    segments = market.segments
    total = np.zeros(len(marginal))
    for s in range(int(segments.ptr[demand]), int(segments.ptr[demand + 1])):
        low, high = float(segments.low[s]), float(segments.high[s])
        top, bottom = float(segments.top[s]), float(segments.bottom[s])
        # An unlimited piece is drawn as a wide one: its rate has no other end.
        low, high = max(low, -1e6), min(high, 1e6)
        if top > bottom:
            share = np.clip((top - marginal) / (top - bottom), 0.0, 1.0)
        else:
            share = np.where(marginal < top, 1.0, np.where(marginal > top, 0.0, 0.5))
        total += low + share * (high - low)
    return total


def _corner_prices(
    market: Market, demands: IntArray, fixed: FloatArray, slope: FloatArray
) -> FloatArray:
    """Prices of the product at which some holder's curve has a corner."""
    segments = market.segments
    found = [np.zeros(0)]
    for d, base, per in zip(demands, fixed, slope, strict=True):
        part = slice(int(segments.ptr[d]), int(segments.ptr[d + 1]))
        ends = np.concatenate([segments.top[part], segments.bottom[part]])
        found.append((ends - base) / per)
    return np.concatenate(found)


def _grid(corners: FloatArray, level: float, steps: int) -> FloatArray:
    """Prices to draw: the bulk of the corners, both sides of each if there are few."""
    if not len(corners):
        reach = 0.1 * abs(level) or 1.0
        return np.linspace(level - reach, level + reach, steps)
    low, high = np.quantile(corners, [0.02, 0.98])
    low, high = min(low, level), max(high, level)
    margin = 0.15 * (high - low) or 0.1 * abs(level) or 1.0
    low, high = low - margin, high + margin
    plain = np.linspace(low, high, steps)
    near = np.unique(corners[(corners > low) & (corners < high)])
    if len(near) > steps:
        return plain
    nudge = 1e-9 * (high - low)
    return np.unique(np.concatenate([plain, near - nudge, near + nudge]))


def _bars(
    clearing: Clearing, bidders: Mapping[str, str] | None
) -> tuple[list[str], FloatArray, FloatArray]:
    """Names and the rates each buys and sells."""
    rates = clearing.arrays.rate
    names = list(clearing.portfolios)
    if bidders is None:
        return names, np.maximum(rates, 0.0), np.maximum(-rates, 0.0)
    owners = [bidders.get(name, "") for name in names]
    numbers = {owner: i for i, owner in enumerate(dict.fromkeys(owners))}
    at = np.array([numbers[owner] for owner in owners], np.int64)
    count = len(numbers)
    bought = group_sum(at, np.maximum(rates, 0.0), count)
    sold = group_sum(at, np.maximum(-rates, 0.0), count)
    return list(numbers), bought, sold
