"""Parts cleared apart become one outcome, proven again as a whole.

Every number of a part is published as the part has it; what takes part in none gets a
rate of zero and the reason. The certificate of the whole is computed anew from the
joined rates and prices: its gains and gaps are the sums of the parts'. Its status is no
better than that of the worst part, whose violation might drown in a larger market.
"""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from flowtrade.clearing.arrays import FloatArray, group_sum
from flowtrade.clearing.certificate import Terms, audit
from flowtrade.clearing.market import Market, Part
from flowtrade.clearing.outcome import Clearing, OutcomeArrays
from flowtrade.clearing.parts import live_usage
from flowtrade.models.clearing import (
    CanonicalChoice,
    Certificate,
    ClearingStatus,
    PartReport,
    SolverReport,
    ZeroReason,
)

__all__ = ["joined"]

_WORSE = list(ClearingStatus)
_CHOICES = (CanonicalChoice.UNIQUE, CanonicalChoice.CHOSEN, CanonicalChoice.KEPT)


def joined(market: Market, clearings: Sequence[Clearing]) -> Clearing:
    """The outcome of a market.

    Args:
        market: The whole.
        clearings: Of its parts, in their order.
    """
    arrays = _arrays(market, clearings)
    names = market.demand_ids
    if len(arrays.used) < len(names):
        names = [names[d] for d in map(int, arrays.used)]
    return Clearing(
        (market.portfolio_ids, market.product_ids, names),
        arrays,
        _certificate(market, arrays, clearings),
        _report(market, clearings),
    )


def _arrays(market: Market, clearings: Sequence[Clearing]) -> OutcomeArrays:
    parts = list(zip(market.parts, clearings, strict=True))
    products = len(market.product_ids)
    used = np.flatnonzero(market.used)
    portfolios = [part.members.portfolios for part, _ in parts]
    of_product = [part.members.products for part, _ in parts]
    of_demand = [_places(part, one, used) for part, one in parts]
    empty = _left_out(market)

    def scattered(places: list[np.ndarray], name: str, out: np.ndarray) -> np.ndarray:
        for place, clearing in zip(places, clearings, strict=True):
            out[place] = getattr(clearing.arrays, name)
        return out

    def of_products(name: str, fill: float) -> FloatArray:
        return scattered(of_product, name, np.full(products, fill))

    def of_demands(name: str, fill: float) -> FloatArray:
        return scattered(of_demand, name, np.full(len(used), fill))

    price = of_products("price", np.nan)
    return OutcomeArrays(
        rate=scattered(portfolios, "rate", np.zeros(len(empty))),
        portfolio_price=_portfolio_prices(market, price),
        reason=scattered(portfolios, "reason", empty),
        price=price,
        volume=of_products("volume", 0.0),
        price_min=of_products("price_min", -np.inf),
        price_max=of_products("price_max", np.inf),
        ranged=scattered(of_product, "ranged", np.zeros(products, np.bool_)),
        unique=scattered(of_product, "unique", np.zeros(products, np.bool_)),
        used=used,
        net=of_demands("net", 0.0),
        marginal=of_demands("marginal", np.nan),
        surplus=of_demands("surplus", 0.0),
        box_dual=of_demands("box_dual", 0.0),
        regret=of_demands("regret", 0.0),
    )


def _places(part: Part, clearing: Clearing, used: np.ndarray) -> np.ndarray:
    return np.searchsorted(used, part.members.demands[clearing.arrays.used])


def _left_out(market: Market) -> np.ndarray:
    """Why portfolios that are in no part have no rate."""
    reasons = {reason: i + 1 for i, reason in enumerate(ZeroReason)}
    basis = market.columns.basis
    out = np.full(len(basis), reasons[ZeroReason.NO_DEMAND])
    usage = market.columns.usage
    known = usage.filter(market.columns.known[usage.idx])
    idle = (np.diff(basis.ptr) == 0) & (np.diff(known.ptr) > 0)
    out[idle] = reasons[ZeroReason.NO_PRODUCT]
    return out


def _portfolio_prices(market: Market, price: FloatArray) -> FloatArray:
    basis = market.columns.basis
    total = group_sum(basis.rows(), basis.weight * price[basis.idx], len(basis))
    return np.where(np.diff(basis.ptr) > 0, total, np.nan)


def _certificate(
    market: Market, arrays: OutcomeArrays, clearings: Iterable[Clearing]
) -> Certificate:
    columns = market.columns
    _, usage = live_usage(columns)
    marginal = np.full(columns.demands, np.nan)
    marginal[arrays.used] = arrays.marginal
    certificate = audit(
        Terms(columns.products, market.segments, usage, columns.basis),
        rates=arrays.rate,
        prices=np.where(np.isnan(arrays.price), 0.0, arrays.price),
        marginal=marginal,
    ).certificate
    found = [certificate.status, *(clearing.status for clearing in clearings)]
    return msgspec.structs.replace(certificate, status=max(found, key=_WORSE.index))


def _report(market: Market, clearings: Sequence[Clearing]) -> SolverReport:
    reports = [clearing.report for clearing in clearings]
    seconds: dict[str, float] = {}
    for report in reports:
        for phase, spent in report.seconds.items():
            seconds[phase] = seconds.get(phase, 0.0) + spent
    return SolverReport(
        solver="+".join(dict.fromkeys(report.solver for report in reports)),
        attempts=tuple(attempt for report in reports for attempt in report.attempts),
        portfolios=market.columns.portfolios,
        products=market.columns.products,
        segments=sum(report.segments for report in reports),
        rows=sum(report.rows for report in reports),
        shared=sum(report.shared for report in reports),
        pseudo=sum(report.pseudo for report in reports),
        free_prices=sum(report.free_prices for report in reports),
        free_rates=sum(report.free_rates for report in reports),
        prices=max((report.prices for report in reports), key=_CHOICES.index),
        rates=max((report.rates for report in reports), key=_CHOICES.index),
        seconds=seconds,
        warnings=tuple(dict.fromkeys(w for report in reports for w in report.warnings)),
        parts=tuple(
            PartReport(
                products=report.products,
                portfolios=report.portfolios,
                segments=report.segments,
                solver=report.solver,
                status=clearing.status,
                gains=clearing.gains,
                worst=clearing.certificate.worst,
            )
            for clearing, report in zip(clearings, reports, strict=True)
        ),
    )
