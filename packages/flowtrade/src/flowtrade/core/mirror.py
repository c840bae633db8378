"""The current state in memory, following the store change by change.

The store applies operations and tells their changes in order; the mirror repeats
them, so it is never ahead of the disk and, between two operations, always a prefix of
the operation log. Reads of the present and the gathering of a batch use it alone.

Not thread-safe: it lives in the thread of the event loop. `Mirror.from_snapshot`
also serves reads of the past: a mirror of any moment answers like the current one.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, cast, final

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
    Led,
    Part,
    PortfolioView,
    Position,
    Repeated,
    Snapshot,
    StoredBatch,
    Version,
)
from flowtrade.models.curve import ConstantCurve, Curve
from flowtrade.models.ids import Id
from flowtrade.models.portfolio import TradeCap
from netcore.models import Timestamp

__all__ = ["AuctionInput", "Limits", "Mirror", "PortfolioTerms"]

CAP: Final = "cap:"
"""Begins the names of demands that stand for trade caps; no UUID does."""

_NEVER = Version(0, None, None)


class PortfolioTerms(msgspec.Struct, frozen=True, kw_only=True):
    """A portfolio as the auction sees it.

    Attributes:
        demand: Weights over active demands; may be empty.
        basis: Weights over leaf products.
    """

    demand: Group
    basis: Group


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What turns a total into a rate.

    Attributes:
        at: When the auction is cut.
        horizon: Seconds that its rates are expected to hold.
        unit: Seconds in the unit of time of quantities.
    """

    at: Timestamp
    horizon: float
    unit: float

    def curve(self, cap: TradeCap, traded: float) -> ConstantCurve:
        """Return the curve that keeps a portfolio within its cap.

        Args:
            cap: The limits.
            traded: What it has traded, in rate times seconds.
        """
        low = _left(cap.min_trade, self.unit, traded, -math.inf) / self.horizon
        high = _left(cap.max_trade, self.unit, traded, math.inf) / self.horizon
        # A portfolio beyond a limit stands still; it is not made to trade back.
        return ConstantCurve(min_rate=min(low, 0.0), max_rate=max(high, 0.0), price=0.0)


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
        positions: What portfolios have traded.
    """

    def __init__(self) -> None:
        self.products = ProductTree()
        self.batch: StoredBatch | None = None
        self.at: Timestamp = 0
        self.positions: dict[Id, Position] = {}
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
        self.positions = dict(snapshot.positions)
        self.at = snapshot.at

    def apply(self, timestamp: Timestamp, changes: Iterable[Change]) -> None:
        """Follow one operation."""
        for change in changes:
            match change:
                case Added(entity):
                    self._add(entity)
                case Changed(part, key, version):
                    self._change(part, key, version)
                case Repeated() | Led():
                    pass
                case Batched(batch):
                    if batch.record.outcome_hash is not None:
                        self._move_positions(batch)
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

    def traded(self, key: Id, at: Timestamp) -> float:
        """Return what a portfolio had traded at a moment, in rate times seconds."""
        position = self.positions.get(key)
        return 0.0 if position is None else position.at(at)

    def gather(self, limits: Limits | None = None) -> AuctionInput:
        """Return what an auction at this moment decides on.

        A demand is active if it has a curve and some portfolio uses it; a portfolio
        is active if it names at least one demand and holds at least one product. An
        inactive demand is not gathered, so a portfolio trades on its others alone.

        A trade cap becomes one more demand of its portfolio, `cap:<id>`, that is
        worth nothing and ends where the cap would be passed within the horizon.

        Args:
            limits: What turns trade caps into rates; None leaves them out.
        """
        demands: dict[Id, Curve] = {
            key: cast("Curve", view.curve.value)
            for key, view in self._demands.items()
            if view.curve.value is not None and view.portfolios
        }
        portfolios: dict[Id, PortfolioTerms] = {}
        caps: dict[Id, Curve] = {}
        for key, view in self._portfolios.items():
            group = _group(view.demand)
            basis = self.products.expand(_group(view.basis))
            if not group or not basis:
                continue
            live = {k: weight for k, weight in group.items() if k in demands}
            portfolios[key] = PortfolioTerms(demand=live, basis=basis)
            if view.cap is not None and limits is not None:
                live[CAP + key] = 1.0
                traded = self.traded(key, limits.at)
                caps[CAP + key] = limits.curve(view.cap, traded)
        demands.update(caps)
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
            case Part.CAP:
                self._portfolios[key].cap = cast("TradeCap | None", version.value)
            case Part.DEMAND:
                view = self._portfolios[key]
                self._reattach(key, _group(view.demand), _group(version))
                view.demand = version

    def _move_positions(self, batch: StoredBatch) -> None:
        for key in self.batch.portfolios if self.batch is not None else ():
            old = self.positions[key]
            self.positions[key] = Position(old.traded, old.rate, old.since, batch.as_of)
        for key, outcome in batch.portfolios.items():
            traded = batch.traded.get(key, 0.0)
            self.positions[key] = Position(traded, outcome.rate, batch.as_of)

    def _reattach(
        self, key: Id, old: Mapping[Id, float], new: Mapping[Id, float]
    ) -> None:
        for demand in old:
            self._demands[demand].portfolios.pop(key, None)
        for demand, weight in new.items():
            self._demands[demand].portfolios[key] = weight


def _left(limit: float | None, unit: float, traded: float, none: float) -> float:
    return none if limit is None else limit * unit - traded


def _group(version: Version) -> Group:
    return cast("Group", version.value) if version.value is not None else {}
