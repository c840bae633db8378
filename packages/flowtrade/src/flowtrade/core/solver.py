"""The solver of the auctions: `flowtrade.clearing` behind the port `Solver`.

The only module of the core that loads numpy and a solver; import it where the service
is put together.
"""

from collections.abc import Mapping
from typing import final

from flowtrade.clearing import (
    ClearingError,
    InvalidMarket,
    Market,
    PortfolioTerms,
    UnboundedMarket,
    clear,
)
from flowtrade.core.mirror import AuctionInput
from flowtrade.errors import BatchFailed, SolverFailed
from flowtrade.models.clearing import ClearingStatus, RatePrice, SolverMode
from flowtrade.models.ids import Id
from flowtrade.ports import Solution

__all__ = ["ClearingSolver"]


@final
class ClearingSolver:
    """Clears with `flowtrade.clearing.clear`.

    Args:
        mode: Who is asked first.
    """

    def __init__(self, mode: SolverMode = SolverMode.AUTO) -> None:
        self._mode = mode

    def solve(
        self, auction: AuctionInput, *, targets: Mapping[Id, float], time_limit: float
    ) -> Solution:
        """See `flowtrade.ports.Solver.solve`."""
        try:
            market = Market.from_models(
                auction.demands,
                {
                    key: PortfolioTerms(terms.demand, terms.basis)
                    for key, terms in auction.portfolios.items()
                },
            )
            clearing = clear(
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
        )


def _plain(outcomes: Mapping[str, RatePrice]) -> dict[Id, RatePrice]:
    """Drop the details: what is kept of every entity and every batch is these two."""
    return {
        key: RatePrice(price=outcome.price, rate=outcome.rate)
        for key, outcome in outcomes.items()
    }
