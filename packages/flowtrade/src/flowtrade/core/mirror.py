"""The current state in memory, following the store change by change.

The store applies operations and tells their changes in order; the mirror repeats
them, so it is never ahead of the disk and, between two operations, always a prefix of
the operation log. Reads of the present and the gathering of a batch use it alone.

What an auction decides on is kept ready: each change marks what it touches, and
gathering works off the marks and copies. A market of a million bids is gathered in the
time it takes to copy two tables.

Not thread-safe: it lives in the thread of the event loop. `Mirror.from_snapshot`
also serves reads of the past: a mirror of any moment answers like the current one.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from operator import length_hint
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

_BACKLOG: Final = 512
"""Portfolios that changes may have touched before each change works some off: what is
left is worked off at a cut, while nothing else runs."""

_AT_ONCE: Final = 8
"""So many: more than a change touches, so that the backlog shrinks."""

_LOOKED_AT: Final = 64
"""Portfolios of the batch before that are looked at at once: some microseconds."""

_NEVER = Version(0, None, None)


class PortfolioTerms(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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


class _Idle(msgspec.Struct):
    """How many entries of the tables are not in the auction."""

    demands: int = 0
    portfolios: int = 0


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
        # Positions of before `_trading`; those of its portfolios follow from it. Those
        # of portfolios that it left out follow from the batch before, until they are
        # written down.
        self._settled: dict[Id, Position] = {}
        self._trading: StoredBatch | None = None
        self._former: StoredBatch | None = None
        self._leaving: Iterator[Id] = iter(())
        self._demands: dict[Id, DemandView] = {}
        self._portfolios: dict[Id, PortfolioView] = {}
        # By demand and portfolio, in order of making; None is not in the auction.
        self._curves: dict[Id, Curve | None] = {}
        self._terms: dict[Id, PortfolioTerms | None] = {}
        self._idle = _Idle()
        self._touched: set[Id] = set()
        # After a division every portfolio, from the newest; a list is made at once.
        self._sweep: list[Id] = []
        self._capped: set[Id] = set()
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
        self._settled = dict(snapshot.positions)
        self.at = snapshot.at
        self._work_off()

    def apply(self, timestamp: Timestamp, changes: Iterable[Change]) -> None:
        """Follow one operation."""
        divided = False
        for change in changes:
            if type(change) is Changed:  # nearly always; a match takes twice as long
                if change.part is Part.CURVE:
                    self._set_curve(self._demands[change.id], change.version)
                else:
                    self._change(change.part, change.id, change.version)
                continue
            match change:
                case Added(entity):
                    self._add(entity)
                    divided = divided or bool(entity.parent)
                case Changed() | Repeated() | Led():
                    pass
                case Batched(batch):
                    if batch.record.outcome_hash is not None:
                        self._move_positions(batch)
                        self.batch = batch
        self.at = timestamp
        if divided:
            # Whoever holds the parent holds its parts from now on. A sweep begun before
            # is part of this one.
            self._sweep = list(self._portfolios)
        if (self._touched or self._sweep) and self._backlog > _BACKLOG:
            self._work_off(_AT_ONCE)
        if self._former is not None:
            self._write_down(_AT_ONCE)

    def demand(self, key: Id) -> DemandView | None:
        """Return a demand, or None."""
        return self._demands.get(key)

    def portfolio(self, key: Id) -> PortfolioView | None:
        """Return a portfolio, or None."""
        return self._portfolios.get(key)

    def sizes(self) -> dict[str, int]:
        """Return how many demands, portfolios and products there are."""
        return {
            "demand": len(self._demands),
            "portfolio": len(self._portfolios),
            "product": len(self.products),
        }

    def demands_of(self, owner: Id) -> Iterator[DemandView]:
        """Yield a bidder's demands in order of making, inactive ones too."""
        for key in self._owned.get((Kind.DEMAND, owner), ()):
            yield self._demands[key]

    def bids_of(self, owner: Id) -> int:
        """Return how many demands and portfolios a bidder has ever made."""
        return sum(
            len(self._owned.get((kind, owner), ()))
            for kind in (Kind.DEMAND, Kind.PORTFOLIO)
        )

    def portfolios_of(self, owner: Id) -> Iterator[PortfolioView]:
        """Yield a bidder's portfolios in order of making, empty ones too."""
        for key in self._owned.get((Kind.PORTFOLIO, owner), ()):
            yield self._portfolios[key]

    @property
    def positions(self) -> dict[Id, Position]:
        """What portfolios have traded; made when asked for."""
        self._write_down()
        batch = self._trading
        if batch is None:
            return dict(self._settled)
        now = {key: _position_in(batch, key) for key in batch.portfolios}
        return {**self._settled, **now}

    def position(self, key: Id) -> Position | None:
        """Return what a portfolio has traded, or None if nothing ever."""
        # Looked up once: auctions ask in a thread, and another batch may come.
        batch, former = self._trading, self._former
        if batch is not None:
            if key in batch.portfolios:
                return _position_in(batch, key)
            if former is not None and key in former.portfolios:
                return _ended(_position_in(former, key), batch)
        return self._settled.get(key)

    def traded(self, key: Id, at: Timestamp) -> float:
        """Return what a portfolio had traded at a moment, in rate times seconds."""
        position = self.position(key)
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
        self._work_off()
        demands, portfolios = self._active_curves(), self._active_terms()
        if limits is not None and self._capped:
            self._put_caps(demands, portfolios, limits)
        return AuctionInput(demands=demands, portfolios=portfolios)

    def _active_curves(self) -> dict[Id, Curve]:
        if not self._idle.demands:  # a copy is ten times as fast as a choice
            return cast("dict[Id, Curve]", self._curves.copy())
        return {key: curve for key, curve in self._curves.items() if curve is not None}

    def _active_terms(self) -> dict[Id, PortfolioTerms]:
        if not self._idle.portfolios:
            return cast("dict[Id, PortfolioTerms]", self._terms.copy())
        return {key: terms for key, terms in self._terms.items() if terms is not None}

    def _put_caps(
        self,
        demands: dict[Id, Curve],
        portfolios: dict[Id, PortfolioTerms],
        limits: Limits,
    ) -> None:
        # In order of making, whatever order the caps were set in.
        for key in [key for key in portfolios if key in self._capped]:
            cap, terms = self._portfolios[key].cap, portfolios[key]
            assert cap is not None  # noqa: S101  # what being capped means
            curve = limits.curve(cap, self.traded(key, limits.at))
            demands[CAP + key] = curve
            group = {**terms.demand, CAP + key: 1.0}
            portfolios[key] = PortfolioTerms(demand=group, basis=terms.basis)

    def catch_up(self) -> bool:
        """Prepare a little of what changes have touched.

        Gathering prepares all of it, so whoever is about to gather calls this before,
        and lets others run in between.

        Returns:
            Whether enough is left to be worth another call.
        """
        self._work_off(_AT_ONCE)
        self._write_down(_LOOKED_AT)
        return self._backlog > _AT_ONCE or self._former is not None

    @property
    def _backlog(self) -> int:
        return len(self._touched) + len(self._sweep)

    def _work_off(self, most: int | None = None) -> None:
        """Bring what changes have touched up to date, or so many of it."""
        touched, sweep = self._touched, self._sweep
        for _ in range(self._backlog if most is None else min(most, self._backlog)):
            key = touched.pop() if touched else sweep.pop()
            self._set_terms(key, self._terms_of(self._portfolios[key]))

    def _terms_of(self, view: PortfolioView) -> PortfolioTerms | None:
        group = _group(view.demand)
        basis = self.products.expand(_group(view.basis))
        if not group or not basis:
            return None
        curves = self._curves
        live = {key: weight for key, weight in group.items() if curves[key] is not None}
        return PortfolioTerms(demand=live, basis=basis)

    def _set_terms(self, key: Id, terms: PortfolioTerms | None) -> None:
        self._idle.portfolios += (terms is None) - (self._terms[key] is None)
        self._terms[key] = terms

    def _set_curve(self, view: DemandView, version: Version) -> None:
        """Follow a change of a demand's curve, or of its use with the one it has."""
        view.curve = version
        key = view.entity.id
        curve = cast("Curve | None", version.value) if view.portfolios else None
        before = self._curves[key]
        if before is not curve:
            self._curves[key] = curve
        if (before is None) != (curve is None):
            self._idle.demands += 1 if curve is None else -1
            self._touched.update(view.portfolios)

    def _add(self, entity: Entity) -> None:
        match entity.kind:
            case Kind.PRODUCT:
                self.products.add(entity)
                return
            case Kind.DEMAND:
                self._demands[entity.id] = DemandView(entity, _NEVER, {})
                self._curves[entity.id] = None
                self._idle.demands += 1
            case Kind.PORTFOLIO:
                self._portfolios[entity.id] = PortfolioView(entity, _NEVER, _NEVER)
                self._terms[entity.id] = None
                self._idle.portfolios += 1
        self._owned.setdefault((entity.kind, entity.owner), {})[entity.id] = None

    def _change(self, part: Part, key: Id, version: Version) -> None:
        if part is Part.CURVE:
            self._set_curve(self._demands[key], version)
            return
        match part:
            case Part.BASIS:
                self._portfolios[key].basis = version
                self._touched.add(key)
            case Part.CAP:
                cap = cast("TradeCap | None", version.value)
                self._portfolios[key].cap = cap
                (self._capped.discard if cap is None else self._capped.add)(key)
            case Part.DEMAND:
                view = self._portfolios[key]
                self._reattach(key, _group(view.demand), _group(version))
                view.demand = version
                self._touched.add(key)

    def _move_positions(self, batch: StoredBatch) -> None:
        # Nobody is looked at now: in a large market the event loop would stand still.
        self._write_down()  # the rest, if this batch comes right after the last one
        before, self._trading = self._trading, batch
        if before is not None:
            self._former, self._leaving = before, iter(before.portfolios)
            return
        # The first one after a load, when positions are written down already.
        for key in self.batch.portfolios if self.batch is not None else ():
            if key not in batch.portfolios:
                self._settled[key] = _ended(self._settled[key], batch)

    def _write_down(self, most: int | None = None) -> None:
        """Write down where those stand that left with the last batch.

        Args:
            most: Portfolios of the batch before to look at; None for the rest.
        """
        former, batch = self._former, self._trading
        if former is None or batch is None:
            return
        for key in islice(self._leaving, most):
            if key not in batch.portfolios:
                self._settled[key] = _ended(_position_in(former, key), batch)
        if not length_hint(self._leaving):
            self._former = None

    def _reattach(
        self, key: Id, old: Mapping[Id, float], new: Mapping[Id, float]
    ) -> None:
        for demand in old:
            self._demands[demand].portfolios.pop(key, None)
        for demand, weight in new.items():
            self._demands[demand].portfolios[key] = weight
        for demand in {**old, **new}:
            view = self._demands[demand]
            self._set_curve(view, view.curve)


def _position_in(batch: StoredBatch, key: Id) -> Position:
    rate = batch.portfolios[key].rate
    traded = batch.traded.get(key, 0.0)
    return Position(traded, rate, batch.as_of, batch.expires)


def _ended(old: Position, batch: StoredBatch) -> Position:
    """Return a position that ended with this batch, if not before."""
    end = batch.as_of if old.until is None else min(batch.as_of, old.until)
    return Position(old.traded, old.rate, old.since, end)


def _left(limit: float | None, unit: float, traded: float, none: float) -> float:
    return none if limit is None else limit * unit - traded


def _group(version: Version) -> Group:
    return cast("Group", version.value) if version.value is not None else {}
