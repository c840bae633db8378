"""What the use cases share: the ports behind them, and looking things up."""

from flowtrade.core.auction import Auctioneer
from flowtrade.core.history import History
from flowtrade.core.mirror import Mirror
from flowtrade.core.operations import Applied
from flowtrade.core.state import DemandView, Entity, Kind, PortfolioView, Repeated
from flowtrade.errors import NotFound
from flowtrade.models.ids import Id
from flowtrade.ports import Clock, IdFactory, Publisher, Store
from flowtrade.settings import AuctionSettings

__all__ = ["UseCases", "repeated_of"]


class UseCases:
    """What a group of use cases stands on; `flowtrade.core.service.Service` makes it.

    Attributes:
        mirror: The current state, for reading.
        history: The past, for reading.
        auctioneer: Runs batches.
    """

    mirror: Mirror
    history: History
    auctioneer: Auctioneer
    _store: Store
    _clock: Clock
    _ids: IdFactory
    _publisher: Publisher
    _settings: AuctionSettings

    def new_id(self, kind: Kind, app_data: bytes) -> Id:
        """Return the id of something to be made.

        Raises:
            InvalidRequest: The application does not accept this app_data.
        """
        now = self._clock.now_ns()
        match kind:
            case Kind.DEMAND:
                return self._ids.demand_id(app_data, now)
            case Kind.PORTFOLIO:
                return self._ids.portfolio_id(app_data, now)
            case Kind.PRODUCT:
                return self._ids.product_id(app_data, now)

    def _demand(self, key: Id) -> DemandView:
        view = self.mirror.demand(key)
        if view is None:
            raise NotFound("demand", key)
        return view

    def _portfolio(self, key: Id) -> PortfolioView:
        view = self.mirror.portfolio(key)
        if view is None:
            raise NotFound("portfolio", key)
        return view

    def _product(self, key: Id) -> Entity:
        product = self.mirror.products.get(key)
        if product is None:
            raise NotFound("product", key)
        return product


def repeated_of(applied: Applied) -> Repeated | None:
    """Return what a repeated request was answered with at first, None for a new one."""
    change = applied.changes[0] if applied.changes else None
    return change if isinstance(change, Repeated) else None
