"""Stand-ins for ports: a solver that does not solve, a publisher that remembers."""

from collections.abc import Callable, Mapping
from typing import final

from flowtrade.core.mirror import AuctionInput
from flowtrade.models.clearing import (
    CanonicalChoice,
    Certificate,
    ClearingStatus,
    RatePrice,
    SolverReport,
)
from flowtrade.models.ids import Id
from flowtrade.models.update import Update
from flowtrade.ports import Solution, Topic

__all__ = ["FixedSolver", "RecordingPublisher"]

_CERTIFICATE = Certificate(
    status=ClearingStatus.CERTIFIED,
    gains=0.0,
    dual_bound=0.0,
    gap=0.0,
    max_regret=0.0,
    value_scale=1.0,
    relative_gap=0.0,
    imbalance=0.0,
    relative_imbalance=0.0,
    domain=0.0,
    stationarity=0.0,
    unlimited=0.0,
    volume=0.0,
)


@final
class FixedSolver:
    """The port `Solver`: nobody trades, every product has one price.

    Args:
        price: That price.
        fail: Called with the auction first; may raise what a solver may raise, or
            block (it runs in a worker thread).

    Attributes:
        auctions: Every auction that was asked for, in order.
        targets: The targets that came with each.
    """

    def __init__(
        self, price: float = 1.0, fail: Callable[[AuctionInput], None] | None = None
    ) -> None:
        self.auctions: list[AuctionInput] = []
        self.targets: list[dict[Id, float]] = []
        self._price = price
        self._fail = fail

    def solve(
        self,
        auction: AuctionInput,
        *,
        targets: Mapping[Id, float],
        time_limit: float,
    ) -> Solution:
        """See `flowtrade.ports.Solver.solve`."""
        self.auctions.append(auction)
        self.targets.append(dict(targets))
        if self._fail is not None:
            self._fail(auction)
        still = RatePrice(price=self._price, rate=0.0)
        products = {key for terms in auction.portfolios.values() for key in terms.basis}
        return Solution(
            portfolios=dict.fromkeys(auction.portfolios, still),
            products=dict.fromkeys(sorted(products), still),
            gains=0.0,
            certificate=_CERTIFICATE,
            report=_report(auction, len(products)),
        )


@final
class RecordingPublisher:
    """The port `Publisher`, remembering.

    Attributes:
        published: Topic and update, in order.
    """

    def __init__(self) -> None:
        self.published: list[tuple[Topic, Update]] = []

    def publish(self, topic: Topic, update: Update) -> None:
        """See `flowtrade.ports.Publisher.publish`."""
        self.published.append((topic, update))

    def of(self, *topic: str) -> list[Update]:
        """Return the updates of one topic, in order."""
        return [update for name, update in self.published if name == topic]


def _report(auction: AuctionInput, products: int) -> SolverReport:
    return SolverReport(
        solver="fixed",
        attempts=(),
        portfolios=len(auction.portfolios),
        products=products,
        segments=0,
        rows=0,
        shared=0,
        pseudo=0,
        free_prices=0,
        free_rates=0,
        prices=CanonicalChoice.UNIQUE,
        rates=CanonicalChoice.UNIQUE,
        seconds={},
    )
