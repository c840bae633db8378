"""The solver of the auctions: `flowtrade.clearing` behind the port `Solver`.

The only module of the core that loads numpy and a solver; import it where the service
is put together.
"""

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Final, final

from flowtrade.clearing import (
    ClearingError,
    InvalidMarket,
    Market,
    PortfolioTerms,
    UnboundedMarket,
)
from flowtrade.clearing.setaside import clear_others
from flowtrade.core.mirror import AuctionInput
from flowtrade.core.mirror import PortfolioTerms as Terms
from flowtrade.errors import BatchFailed, SolverFailed
from flowtrade.models.clearing import (
    ClearingStatus,
    OutlyingNumber,
    RatePrice,
    SetAside,
    SolverMode,
)
from flowtrade.models.ids import Id
from flowtrade.ports import Solution

__all__ = ["ClearingSolver"]


_MANY: Final = 0.25
"""Share of the orders that have changed from which on the model is built anew: it costs
about as much then."""


_NOTHING: Final = Terms(demand={}, basis={})
"""Terms of a portfolio that takes no part; one object, so that it never changes."""


@final
class ClearingSolver:
    """Clears with `flowtrade.clearing.setaside.clear_others`.

    Orders whose numbers keep a market from being certified are set aside; the market
    goes on without them.

    Keeps the model of the last auction (ids, index maps, what portfolios have in
    common) and changes in it what has changed. Nothing numerical is carried over: an
    outcome has the bits that it would have without a batch before it.

    Args:
        mode: Who is asked first.
    """

    def __init__(self, mode: SolverMode = SolverMode.AUTO) -> None:
        self._mode = mode
        self._kept: tuple[AuctionInput, Market] | None = None

    def _market(self, auction: AuctionInput) -> tuple[Market, list[SetAside]]:
        """Return the model of an auction, and whose numbers are none.

        A weight is finite when it comes in; what divided products make of it may not
        be.
        """
        try:
            return self._model(auction), []
        except InvalidMarket:
            broken = _not_finite(auction)
        whole = {**auction.portfolios, **dict.fromkeys(broken, _NOTHING)}
        rest = AuctionInput(demands=auction.demands, portfolios=whole)
        return self._model(rest), list(broken.values())

    def _model(self, auction: AuctionInput) -> Market:
        """Return the model of an auction, made of the last one's if they are alike.

        Raises:
            InvalidMarket: A weight is not finite.
        """
        market = None if self._kept is None else _changed(*self._kept, auction)
        if market is None:
            market = Market.from_models(auction.demands, _terms(auction.portfolios))
        self._kept = auction, market
        return market

    def solve(
        self, auction: AuctionInput, *, targets: Mapping[Id, float], time_limit: float
    ) -> Solution:
        """See `flowtrade.ports.Solver.solve`."""
        try:
            market, broken = self._market(auction)
            clearing = clear_others(
                market, mode=self._mode, reference=targets, time_limit=time_limit
            )
        except UnboundedMarket as error:
            raise BatchFailed(str(error), orders=tuple(error.orders)) from error
        except InvalidMarket as error:
            orders = (error.where,) if error.where else ()
            raise BatchFailed(str(error), orders=orders) from error
        except ClearingError as error:
            raise SolverFailed(str(error)) from error
        if clearing.certificate.status is ClearingStatus.REJECTED:
            raise SolverFailed(f"the answer was rejected: {clearing.certificate}")
        return Solution(
            portfolios=_plain(clearing.portfolios),
            products=_plain(clearing.products),
            gains=clearing.gains,
            certificate=clearing.certificate,
            report=clearing.report,
            ranges={k: v for k, v in clearing.products.items() if v.ranged},
            set_aside=sorted([*clearing.set_aside, *broken], key=_portfolio),
        )


def _portfolio(one: SetAside) -> Id:
    return one.portfolio


def _not_finite(auction: AuctionInput) -> dict[Id, SetAside]:
    """Find the portfolios with weights that are no finite numbers."""
    found: dict[Id, SetAside] = {}
    for key, terms in auction.portfolios.items():
        for number, group in (
            (OutlyingNumber.DEMAND_WEIGHT, terms.demand),
            (OutlyingNumber.BASIS_WEIGHT, terms.basis),
        ):
            for name, weight in group.items():
                if not math.isfinite(weight):
                    found[key] = SetAside(
                        portfolio=key, number=number, of=name, value=None, scale=None
                    )
    return found


def _changed(before: AuctionInput, market: Market, now: AuctionInput) -> Market | None:
    """Return the model with what has changed; None if it is better built anew.

    What is there twice is the same object: the mirror copies no curve. Whoever left, or
    came among the others, would change the order in which all are added up.
    """
    if not (
        _goes_on(before.demands, now.demands)
        and _goes_on(before.portfolios, now.portfolios)
    ):
        return None
    demands, portfolios = before.demands.get, before.portfolios.get
    curves = {k: v for k, v in now.demands.items() if demands(k) is not v}
    terms = {k: v for k, v in now.portfolios.items() if portfolios(k) is not v}
    changes = len(curves) + len(terms)
    if changes > _MANY * (len(now.demands) + len(now.portfolios)):
        return None
    # Demands first: a new one has its place before a portfolio names it.
    if curves:
        market = market.update(demands=curves)
    if terms:
        market = market.update(portfolios=_terms(terms))
    # Demands without a curve that portfolios name stand behind those with one, as they
    # were named: where such came, went or got curves, the places of all may be others.
    return market if _are_those(market.demand_ids, now.demands) else None


def _terms(portfolios: Mapping[Id, Terms]) -> dict[str, PortfolioTerms]:
    return {k: PortfolioTerms(t.demand, t.basis) for k, t in portfolios.items()}


def _goes_on(before: Mapping[Id, object], now: Mapping[Id, object]) -> bool:
    """Whether all keys of before come first, in their order."""
    return len(before) <= len(now) and all(map(operator.eq, before, now))


def _are_those(ids: Sequence[str], demands: Mapping[Id, object]) -> bool:
    return len(ids) == len(demands) and all(map(operator.eq, ids, demands))


def _plain(outcomes: Mapping[str, RatePrice]) -> dict[Id, RatePrice]:
    """Drop the details: what is kept of every entity and every batch is these two."""
    return {
        key: RatePrice(price=outcome.price, rate=outcome.rate)
        for key, outcome in outcomes.items()
    }
