"""The current state in memory, following the store change by change.

The store applies operations and tells their changes in order; the mirror repeats
them, so it is never ahead of the disk and, between two operations, always a prefix of
the operation log. Reads of the present and the gathering of a batch use it alone.

Not thread-safe: it lives in the thread of the event loop. `Mirror.from_snapshot`
also serves reads of the past: a mirror of any moment answers like the current one.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import cast, final

import msgspec

from flowtrade.core.products import ProductTree
from flowtrade.core.state import (
    Added,
    Batched,
    Change,
    Changed,
    DemandView,
    Entity,
    Group,
    Kind,
    Part,
    PortfolioView,
    Repeated,
    Snapshot,
    StoredBatch,
    Version,
)
from flowtrade.models.curve import Curve
from flowtrade.models.ids import Id
from netcore.models import Timestamp

__all__ = ["AuctionInput", "Mirror", "PortfolioTerms"]

_NEVER = Version(0, None, None)


class PortfolioTerms(msgspec.Struct, frozen=True, kw_only=True):
    """A portfolio as the auction sees it.

    Attributes:
        demand: Weights over active demands; may be empty.
        basis: Weights over leaf products.
    """

    demand: Group
    basis: Group


class AuctionInput(msgspec.Struct, frozen=True, kw_only=True):
    """All that one auction decides on.

    Attributes:
        demands: Curves of the active demands, in order of making.
        portfolios: The active portfolios, in order of making.
    """

    demands: dict[Id, Curve]
    portfolios: dict[Id, PortfolioTerms]


@final
class Mirror:
    """The state at one moment, kept current by `apply`.

    Attributes:
        products: The tree of products.
        batch: The last cleared batch, or None.
        at: The timestamp of the last change.
    """

    def __init__(self) -> None:
        self.products = ProductTree()
        self.batch: StoredBatch | None = None
        self.at: Timestamp = 0
        self._demands: dict[Id, DemandView] = {}
        self._portfolios: dict[Id, PortfolioView] = {}
        self._owned: dict[tuple[Kind, Id], dict[Id, None]] = {}

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot) -> "Mirror":
        """Return the mirror of one moment."""
        mirror = cls()
        mirror.load(snapshot)
        return mirror

    def load(self, snapshot: Snapshot) -> None:
        """Take over a whole state; the mirror is empty before."""
        for entity in snapshot.entities:
            self._add(entity)
        for part, key, version in snapshot.versions:
            self._change(part, key, version)
        self.batch = snapshot.batch
        self.at = snapshot.at

    def apply(self, timestamp: Timestamp, changes: Iterable[Change]) -> None:
        """Follow one operation."""
        for change in changes:
            match change:
                case Added(entity):
                    self._add(entity)
                case Changed(part, key, version):
                    self._change(part, key, version)
                case Repeated():
                    pass
                case Batched(batch):
                    if batch.record.outcome_hash is not None:
                        self.batch = batch
        self.at = timestamp

    def demand(self, key: Id) -> DemandView | None:
        """Return a demand, or None."""
        return self._demands.get(key)

    def portfolio(self, key: Id) -> PortfolioView | None:
        """Return a portfolio, or None."""
        return self._portfolios.get(key)

    def demands_of(self, owner: Id) -> Iterator[DemandView]:
        """Yield a bidder's demands in order of making, inactive ones too."""
        for key in self._owned.get((Kind.DEMAND, owner), ()):
            yield self._demands[key]

    def portfolios_of(self, owner: Id) -> Iterator[PortfolioView]:
        """Yield a bidder's portfolios in order of making, empty ones too."""
        for key in self._owned.get((Kind.PORTFOLIO, owner), ()):
            yield self._portfolios[key]

    def gather(self, at: Timestamp | None = None) -> AuctionInput:
        """Return what an auction at this moment decides on.

        A demand is active if it has a curve and some portfolio uses it; a portfolio
        is active if it names at least one demand and holds at least one product. An
        inactive demand is not gathered, so a portfolio trades on its others alone.

        Args:
            at: For a mirror of the past: its moment, for the tree of products.
        """
        demands: dict[Id, Curve] = {
            key: cast("Curve", view.curve.value)
            for key, view in self._demands.items()
            if view.curve.value is not None and view.portfolios
        }
        portfolios: dict[Id, PortfolioTerms] = {}
        for key, view in self._portfolios.items():
            group = _group(view.demand)
            basis = self.products.expand(_group(view.basis), at)
            if group and basis:
                live = {k: weight for k, weight in group.items() if k in demands}
                portfolios[key] = PortfolioTerms(demand=live, basis=basis)
        return AuctionInput(demands=demands, portfolios=portfolios)

    def _add(self, entity: Entity) -> None:
        match entity.kind:
            case Kind.PRODUCT:
                self.products.add(entity)
                return
            case Kind.DEMAND:
                self._demands[entity.id] = DemandView(entity, _NEVER, {})
            case Kind.PORTFOLIO:
                self._portfolios[entity.id] = PortfolioView(entity, _NEVER, _NEVER)
        self._owned.setdefault((entity.kind, entity.owner), {})[entity.id] = None

    def _change(self, part: Part, key: Id, version: Version) -> None:
        match part:
            case Part.CURVE:
                self._demands[key].curve = version
            case Part.BASIS:
                self._portfolios[key].basis = version
            case Part.DEMAND:
                view = self._portfolios[key]
                self._reattach(key, _group(view.demand), _group(version))
                view.demand = version

    def _reattach(
        self, key: Id, old: Mapping[Id, float], new: Mapping[Id, float]
    ) -> None:
        for demand in old:
            self._demands[demand].portfolios.pop(key, None)
        for demand, weight in new.items():
            self._demands[demand].portfolios[key] = weight


def _group(version: Version) -> Group:
    return cast("Group", version.value) if version.value is not None else {}
