"""What a store holds: entities that never change, and versions of what does.

A demand has one timeline (its curve), a portfolio three (its demand group, its basis,
its trade cap), a product none: its place in the tree is fixed when it is made. A
version is valid for `valid_from <= t < valid_until`; the versions of one timeline tile
time from the entity's creation on (a cap's: from when it was first set), without gap
or overlap, and an inactive period is a version whose value is None.

Pure values: no clock, no store, no JSON.
"""

from enum import IntEnum
from typing import TypeAlias

import msgspec

from flowtrade.models.batch import BatchRecord
from flowtrade.models.clearing import RatePrice
from flowtrade.models.curve import Curve
from flowtrade.models.ids import Id
from flowtrade.models.portfolio import TradeCap
from netcore.models import Timestamp

__all__ = [
    "Added",
    "Batched",
    "Bids",
    "Change",
    "Changed",
    "DemandView",
    "Entity",
    "Group",
    "Kind",
    "Led",
    "Part",
    "PortfolioView",
    "Position",
    "Repeated",
    "Snapshot",
    "StoredBatch",
    "Value",
    "Version",
]

Group: TypeAlias = dict[Id, float]
Value: TypeAlias = Curve | Group | TradeCap | None


class Kind(IntEnum):
    """What an entity is; the numbers are stored."""

    DEMAND = 1
    PORTFOLIO = 2
    PRODUCT = 3


class Part(IntEnum):
    """Which timeline of an entity; the numbers are stored."""

    CURVE = 1
    DEMAND = 2
    BASIS = 3
    CAP = 4

    @property
    def kind(self) -> Kind:
        """The kind of entity that has this timeline."""
        return _KINDS[self]


# A table: the enum's own lookups cost more than what is decided.
_KINDS = {part: Kind.DEMAND if part is Part.CURVE else Kind.PORTFOLIO for part in Part}


class Entity(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The part of a demand, portfolio or product that never changes.

    Attributes:
        kind: What it is.
        id: Its id, unique among its kind.
        owner: The bidder, or "" for a product.
        app_data: The application's data as JSON text.
        created: When it was made.
        parent: Of a product that is part of another: that product; else "".
        ratio: Units of it in one unit of the parent; 1 for a root.
    """

    kind: Kind
    id: Id
    owner: Id
    app_data: bytes
    created: Timestamp
    parent: Id = ""
    ratio: float = 1.0


class Version(msgspec.Struct, frozen=True, gc=False):
    """One value of a timeline.

    Attributes:
        valid_from: When it began.
        valid_until: When it ended, or None while it is live.
        value: A curve, a non-empty group, or None for an inactive period. Of an
            outcome's timeline: a `RatePrice`.
    """

    valid_from: Timestamp
    valid_until: Timestamp | None
    value: Curve | Group | TradeCap | RatePrice | None


class DemandView(msgspec.Struct, gc=False):
    """A demand as it stands.

    Attributes:
        entity: Its fixed part.
        curve: The version of its curve.
        portfolios: Weights by portfolio that uses it.
    """

    entity: Entity
    curve: Version
    portfolios: Group


class PortfolioView(msgspec.Struct, gc=False):
    """A portfolio as it stands.

    Attributes:
        entity: Its fixed part.
        demand: The version of its demand group.
        basis: The version of its basis, in the products the bidder named.
        cap: Its trade cap, or None.
    """

    entity: Entity
    demand: Version
    basis: Version
    cap: TradeCap | None = None


class Bids(msgspec.Struct, frozen=True):
    """All demands and portfolios of a bidder, each in order of making.

    Attributes:
        demands: Inactive ones too.
        portfolios: Empty ones too.
    """

    demands: tuple[DemandView, ...] = ()
    portfolios: tuple[PortfolioView, ...] = ()


class Position(msgspec.Struct, frozen=True, gc=False):
    """What a portfolio has traded, from its last outcome on.

    Quantities are rates times seconds here, so that a store does not depend on the
    service's unit of time.

    Attributes:
        traded: Total at `since`.
        rate: Of the outcome.
        since: When the outcome began.
        until: When it ended or will end, or None for as long as no batch follows.
    """

    traded: float
    rate: float
    since: Timestamp
    until: Timestamp | None = None

    def at(self, moment: Timestamp) -> float:
        """Return the total at a moment, not before `since`."""
        end = moment if self.until is None else min(moment, self.until)
        # The same arithmetic wherever a total is made, so that replays agree bit for
        # bit.
        return self.traded + self.rate * ((end - self.since) / 1e9)


class StoredBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch with what only its bidders may see.

    Attributes:
        as_of: The moment of its cut.
        scheduled: The grid point it was run for, or None.
        record: The public record.
        portfolios: Outcomes by portfolio.
        traded: What each of these had traded before, in rate times seconds.
        expires: When its outcomes end even if no batch has followed by then: where
            trade caps were set, rates hold no longer than the caps were reckoned for.
    """

    as_of: Timestamp
    scheduled: Timestamp | None
    record: BatchRecord
    portfolios: dict[Id, RatePrice]
    traded: dict[Id, float] = msgspec.field(default_factory=dict)
    expires: Timestamp | None = None


class Added(msgspec.Struct, frozen=True, gc=False):
    """An entity was made."""

    entity: Entity


class Changed(msgspec.Struct, frozen=True, gc=False):
    """A timeline got a new live version."""

    part: Part
    id: Id
    version: Version


class Repeated(msgspec.Struct, frozen=True):
    """Nothing changed: the operation had happened before, under the same key.

    Attributes:
        timestamp: When it happened.
        ids: What it made then.
    """

    timestamp: Timestamp
    ids: tuple[Id, ...]


class Batched(msgspec.Struct, frozen=True):
    """A batch was stored."""

    batch: StoredBatch


class Led(msgspec.Struct, frozen=True):
    """A process began to lead.

    Attributes:
        epoch: The number of its rule, one more than of the rule before.
    """

    epoch: int


Change: TypeAlias = Added | Changed | Batched | Led | Repeated


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The state at one moment.

    Attributes:
        at: The moment; for the current state, the last timestamp issued.
        entities: Everything made until then, in order of making.
        versions: The versions valid then, as (part, id, version), None values too.
        batch: The last cleared batch until then, or None.
        positions: By portfolio that was ever in a cleared batch.
    """

    at: Timestamp
    entities: tuple[Entity, ...]
    versions: tuple[tuple[Part, Id, Version], ...]
    batch: StoredBatch | None
    positions: dict[Id, Position]
