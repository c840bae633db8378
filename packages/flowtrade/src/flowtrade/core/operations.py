"""Operations: the only ways to change the state, and the rules they obey.

Theory: the service describes a change as one of these values, complete with the ids
of whatever it makes. A store applies them one after the other, each in a transaction
of its own with a timestamp of its own, by calling `apply` with a `Transaction` over
its tables. All rules (who owns what, what exists, what may happen once) are decided
here, inside that transaction, so that two requests cannot race each other, and every
store obeys the same rules.

An operation either happens wholly or raises a `RequestError` and leaves nothing.

Pure: no clock (the store issues `Transaction.now`), no I/O of its own.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Protocol, TypeAlias

import msgspec

from flowtrade.core.state import (
    Added,
    Batched,
    Change,
    Changed,
    Entity,
    Group,
    Kind,
    Led,
    Part,
    Repeated,
    StoredBatch,
    Value,
    Version,
)
from flowtrade.errors import (
    AlreadyPartitioned,
    BatchExists,
    Forbidden,
    IdTaken,
    InvalidRequest,
    KeyReused,
    NotFound,
    Superseded,
    UnknownReference,
    VersionMismatch,
)
from flowtrade.models.curve import Curve
from flowtrade.models.ids import Id
from flowtrade.models.portfolio import TradeCap
from flowtrade.models.time import format_timestamp
from netcore.models import Timestamp

__all__ = [
    "AddDemand",
    "AddPortfolio",
    "AddProduct",
    "Applied",
    "Cut",
    "DemandEntry",
    "Memory",
    "NewProduct",
    "Once",
    "Operation",
    "PartitionProduct",
    "PortfolioEntry",
    "Remember",
    "SetCap",
    "SetCurve",
    "SetGroups",
    "StoreBatch",
    "Submit",
    "TakeLead",
    "Transaction",
    "apply",
    "issue_timestamp",
]


REMEMBERED: Final = 24 * 3_600 * 1_000_000_000
"""Nanoseconds for which a store remembers an idempotency key at least: the day that
payment services promise, long after any client has given up."""


class _Op(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Values without cycles: there are millions, and the collector need not look."""


class Once(_Op, frozen=True, kw_only=True):
    """Makes an operation happen at most once, however often it is asked for.

    Attributes:
        scope: Whose keys these are: a bidder, or any other word.
        key: The caller's name for the operation.
        fingerprint: Of the request, so that a key is not used for two different ones.
    """

    scope: str
    key: str
    fingerprint: bytes


class AddDemand(_Op, frozen=True, kw_only=True):
    """Make a demand."""

    id: Id
    owner: Id
    app_data: bytes
    curve: Curve | None
    once: Once | None = None


class SetCurve(_Op, frozen=True, kw_only=True):
    """Replace a demand's curve; None withdraws it.

    Attributes:
        expected: One of these `valid_from` the caller last saw, or None for any.
        owner: Whose demand it must be, or None if that has been checked.
    """

    id: Id
    curve: Curve | None
    expected: tuple[Timestamp, ...] | None = None
    owner: Id | None = None


class AddPortfolio(_Op, frozen=True, kw_only=True):
    """Make a portfolio."""

    id: Id
    owner: Id
    app_data: bytes
    demand: Group
    basis: Group
    once: Once | None = None


class SetGroups(_Op, frozen=True, kw_only=True):
    """Replace one or both groups of a portfolio; None keeps, empty clears.

    Attributes:
        expected: As for `SetCurve`.
        owner: As for `SetCurve`.
    """

    id: Id
    demand: Group | None
    basis: Group | None
    expected: tuple[Timestamp, ...] | None = None
    owner: Id | None = None


class NewProduct(_Op, frozen=True, kw_only=True):
    """A product to be made, with its ratio if it is part of another."""

    id: Id
    app_data: bytes
    ratio: float = 1.0


class SetCap(_Op, frozen=True, kw_only=True):
    """Limit what a portfolio may trade in total; None takes the limits away."""

    id: Id
    cap: TradeCap | None


class AddProduct(_Op, frozen=True, kw_only=True):
    """Make a root product."""

    product: NewProduct
    once: Once | None = None


class PartitionProduct(_Op, frozen=True, kw_only=True):
    """Divide a product into others, once."""

    parent: Id
    children: tuple[NewProduct, ...]
    once: Once | None = None


class DemandEntry(_Op, frozen=True, kw_only=True):
    """A demand in a submission; `app_data` None says it should exist already."""

    id: Id
    app_data: bytes | None
    curve: Curve | msgspec.UnsetType | None


class PortfolioEntry(_Op, frozen=True, kw_only=True):
    """A portfolio in a submission; UNSET groups are kept."""

    id: Id
    app_data: bytes | None
    demand: Group | msgspec.UnsetType
    basis: Group | msgspec.UnsetType


class Submit(_Op, frozen=True, kw_only=True):
    """Replace all bids of a bidder; what is not listed is stopped."""

    owner: Id
    demands: tuple[DemandEntry, ...]
    portfolios: tuple[PortfolioEntry, ...]


class Cut(_Op, frozen=True, kw_only=True):
    """Mark the moment of a batch; changes nothing.

    Its timestamp divides the operations before the batch from those after it.

    Attributes:
        scheduled: The grid point, refused if a batch exists for it.
        at: The earliest timestamp wanted, or None for now.
        fence: The leader's epoch, refused if there has been another leader since;
            None where no leader is chosen.
    """

    scheduled: Timestamp | None = None
    at: Timestamp | None = None
    fence: int | None = None


class StoreBatch(_Op, frozen=True, kw_only=True):
    """Store a batch; its `seq` is assigned here.

    Attributes:
        batch: What to store.
        fence: As for `Cut`.
    """

    batch: StoredBatch
    fence: int | None = None


class TakeLead(_Op, frozen=True, kw_only=True):
    """Begin a new epoch: whoever led before cannot store batches any more."""


class Remember(_Op, frozen=True, kw_only=True):
    """Remember something under a key, or what is remembered; changes nothing else.

    For what is more than one operation: how far it has come is told by what is
    remembered, under one key after the other.

    Attributes:
        once: The key.
        ids: What to remember, or None to only look.
    """

    once: Once
    ids: tuple[str, ...] | None


Operation: TypeAlias = (
    AddDemand
    | SetCurve
    | AddPortfolio
    | SetGroups
    | SetCap
    | AddProduct
    | PartitionProduct
    | Submit
    | Cut
    | StoreBatch
    | TakeLead
    | Remember
)


class Applied(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An operation that has happened.

    Attributes:
        timestamp: Issued by the store; strictly increasing from one to the next.
        operation: What was asked, or None if another process was asked: of these
            only the changes are known.
        changes: What it did, in order.
    """

    timestamp: Timestamp
    operation: Operation | None
    changes: tuple[Change, ...]


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What was done under a key.

    Attributes:
        fingerprint: Of the request.
        timestamp: When it was done.
        ids: What it made.
    """

    fingerprint: bytes
    timestamp: Timestamp
    ids: tuple[Id, ...]


class Transaction(Protocol):
    """What `apply` needs from a store while one operation happens.

    An operation reads before it writes: what it has written itself it need not see,
    except for entities.
    """

    @property
    def now(self) -> Timestamp:
        """The operation's timestamp."""
        ...

    def entity(self, kind: Kind, key: Id) -> Entity | None:
        """Return an entity, or None if there is none."""
        ...

    def add_entity(self, entity: Entity) -> None:
        """Store an entity; its id is known to be free."""
        ...

    def live(self, part: Part, key: Id) -> Version:
        """Return the live version of an existing entity's timeline."""
        ...

    def put(self, part: Part, key: Id, value: Value) -> Version:
        """Close the live version at `now`, open one with `value`; return it.

        An operation changes a timeline at most once, and timestamps increase, so the
        live version began before `now`.
        """
        ...

    def owned(self, kind: Kind, owner: Id) -> list[Id]:
        """Return a bidder's demands or portfolios in order of making."""
        ...

    def divided(self, product: Id) -> bool:
        """Say whether a product has parts."""
        ...

    def remembered(self, scope: str, key: str) -> Memory | None:
        """Return what was done under a key, if it is still remembered."""
        ...

    def remember(self, once: Once, ids: tuple[Id, ...]) -> None:
        """Remember what an operation made under its key."""
        ...

    def attach(self, portfolio: Id, demands: Iterable[Id]) -> None:
        """Remember that a portfolio has used these demands (for reads in the past)."""
        ...

    def epoch(self) -> int:
        """Return how many leaders there have been."""
        ...

    def lead(self) -> int:
        """Begin the next epoch and return its number."""
        ...

    def scheduled(self, grid: Timestamp) -> bool:
        """Say whether a batch is stored for a grid point."""
        ...

    def add_batch(self, batch: StoredBatch) -> StoredBatch:
        """Store a batch under the next number; return it with that number."""
        ...


def apply(operation: Operation, tx: Transaction) -> tuple[Change, ...]:
    """Carry out one operation.

    Returns:
        What changed, in order; the mirror follows these.

    Raises:
        RequestError: A rule forbids it; the caller must roll back.
    """
    once: Once | None = getattr(operation, "once", None)
    if once is None:
        return _apply(operation, tx)
    memory = tx.remembered(once.scope, once.key)
    if memory is not None:
        if memory.fingerprint != once.fingerprint:
            raise KeyReused(once.key)
        return (Repeated(memory.timestamp, memory.ids),)
    changes = _apply(operation, tx)
    made: tuple[str, ...] | None
    if isinstance(operation, Remember):
        made = operation.ids
    else:
        made = tuple(c.entity.id for c in changes if isinstance(c, Added))
    if made is not None:
        tx.remember(once, made)
    return changes


def _apply(operation: Operation, tx: Transaction) -> tuple[Change, ...]:
    match operation:
        case AddDemand():
            return _add_demand(operation, tx)
        case SetCurve():
            return _set_curve(operation, tx)
        case AddPortfolio():
            return _add_portfolio(operation, tx)
        case SetGroups():
            return _set_groups(operation, tx)
        case SetCap():
            _existing(Kind.PORTFOLIO, operation.id, tx)
            return (_put(Part.CAP, operation.id, operation.cap, tx),)
        case AddProduct(product=product):
            return (_add_product(product, tx, parent=""),)
        case PartitionProduct():
            return _partition(operation, tx)
        case Submit():
            return _submit(operation, tx)
        case Cut(scheduled=grid, fence=fence):
            _check_fence(fence, tx)
            _check_grid(grid, tx)
            return ()
        case StoreBatch(batch=batch, fence=fence):
            _check_fence(fence, tx)
            _check_grid(batch.scheduled, tx)
            return (Batched(tx.add_batch(batch)),)
        case TakeLead():
            return (Led(tx.lead()),)
        case Remember():
            return ()


def issue_timestamp(now: Timestamp, last: Timestamp, operation: Operation) -> Timestamp:
    """Return the timestamp of the next operation: now, but after the last one.

    The wall clock may stand still or go back; the order of the log may not. A `Cut`
    that names its moment gets it, unless operations have happened since.

    Args:
        now: What the store's clock shows.
        last: The timestamp issued before, 0 for none.
        operation: What the timestamp is for.
    """
    if type(operation) is Cut and operation.at is not None:
        now = operation.at
    return now if now > last else last + 1


def _add_demand(op: AddDemand, tx: Transaction) -> tuple[Change, ...]:
    entity = Entity(
        kind=Kind.DEMAND,
        id=op.id,
        owner=op.owner,
        app_data=op.app_data,
        created=tx.now,
    )
    return (_add(entity, tx), _put(Part.CURVE, op.id, op.curve, tx))


def _set_curve(op: SetCurve, tx: Transaction) -> tuple[Change, ...]:
    _check_owner(_existing(Kind.DEMAND, op.id, tx), op.owner)
    if op.expected is not None:
        _check_version("demand", op.id, op.expected, (Part.CURVE,), tx)
    return (_put(Part.CURVE, op.id, op.curve, tx),)


def _add_portfolio(op: AddPortfolio, tx: Transaction) -> tuple[Change, ...]:
    entity = Entity(
        kind=Kind.PORTFOLIO,
        id=op.id,
        owner=op.owner,
        app_data=op.app_data,
        created=tx.now,
    )
    return (_add(entity, tx), *_put_groups(entity, op.demand, op.basis, tx))


def _set_groups(op: SetGroups, tx: Transaction) -> tuple[Change, ...]:
    entity = _existing(Kind.PORTFOLIO, op.id, tx)
    _check_owner(entity, op.owner)
    parts = (Part.DEMAND, Part.BASIS)
    _check_version("portfolio", op.id, op.expected, parts, tx)
    return tuple(_put_groups(entity, op.demand, op.basis, tx))


def _put_groups(
    entity: Entity, demand: Group | None, basis: Group | None, tx: Transaction
) -> list[Change]:
    changes: list[Change] = []
    if demand is not None:
        _check_demands(demand, entity.owner, tx)
        tx.attach(entity.id, demand)
        changes.append(_put(Part.DEMAND, entity.id, demand or None, tx))
    if basis is not None:
        _check_products(basis, tx)
        changes.append(_put(Part.BASIS, entity.id, basis or None, tx))
    return changes


def _check_demands(group: Mapping[Id, float], owner: Id, tx: Transaction) -> None:
    # A bidder trades on demands of its own only: another's demand in the group would
    # spend that bidder's willingness to pay.
    strange = tuple(
        key
        for key in group
        if (entity := tx.entity(Kind.DEMAND, key)) is None or entity.owner != owner
    )
    if strange:
        raise UnknownReference("demand", strange)


def _check_products(group: Mapping[Id, float], tx: Transaction) -> None:
    strange = tuple(key for key in group if tx.entity(Kind.PRODUCT, key) is None)
    if strange:
        raise UnknownReference("product", strange)


def _add_product(new: NewProduct, tx: Transaction, *, parent: Id) -> Added:
    return _add(
        Entity(
            kind=Kind.PRODUCT,
            id=new.id,
            owner="",
            app_data=new.app_data,
            created=tx.now,
            parent=parent,
            ratio=new.ratio,
        ),
        tx,
    )


def _partition(op: PartitionProduct, tx: Transaction) -> tuple[Change, ...]:
    _existing(Kind.PRODUCT, op.parent, tx)
    if tx.divided(op.parent):
        raise AlreadyPartitioned(op.parent)
    return tuple(_add_product(child, tx, parent=op.parent) for child in op.children)


def _submit(op: Submit, tx: Transaction) -> tuple[Change, ...]:
    changes: list[Change] = []
    # Demands first: the portfolios of the same submission may use them.
    for demand in op.demands:
        changes += _submit_demand(demand, op.owner, tx)
    for portfolio in op.portfolios:
        changes += _submit_portfolio(portfolio, op.owner, tx)
    changes += _stop_others(op, tx)
    return tuple(changes)


def _submit_demand(entry: DemandEntry, owner: Id, tx: Transaction) -> list[Change]:
    if _is_new(Kind.DEMAND, entry.id, entry.app_data, owner, tx):
        if entry.app_data is None or entry.curve is msgspec.UNSET:
            raise InvalidRequest(
                f"the new demand {entry.id} needs app_data and curve_data"
            )
        add = AddDemand(
            id=entry.id, owner=owner, app_data=entry.app_data, curve=entry.curve
        )
        return list(_add_demand(add, tx))
    if entry.curve is msgspec.UNSET:
        return []
    return [_put(Part.CURVE, entry.id, entry.curve, tx)]


def _submit_portfolio(
    entry: PortfolioEntry, owner: Id, tx: Transaction
) -> list[Change]:
    demand = None if entry.demand is msgspec.UNSET else entry.demand
    basis = None if entry.basis is msgspec.UNSET else entry.basis
    if _is_new(Kind.PORTFOLIO, entry.id, entry.app_data, owner, tx):
        if entry.app_data is None or demand is None or basis is None:
            raise InvalidRequest(
                f"the new portfolio {entry.id} needs app_data, demand and basis"
            )
        add = AddPortfolio(
            id=entry.id,
            owner=owner,
            app_data=entry.app_data,
            demand=demand,
            basis=basis,
        )
        return list(_add_portfolio(add, tx))
    entity = _existing(Kind.PORTFOLIO, entry.id, tx)
    return _put_groups(entity, demand, basis, tx)


def _is_new(
    kind: Kind, key: Id, app_data: bytes | None, owner: Id, tx: Transaction
) -> bool:
    entity = tx.entity(kind, key)
    if entity is None:
        return True
    if entity.owner != owner or app_data is not None:
        # app_data is written once, so naming it means to make something new.
        raise IdTaken(kind.name.lower(), key)
    return False


def _stop_others(op: Submit, tx: Transaction) -> Iterable[Change]:
    kept = {entry.id for entry in op.demands}
    for key in tx.owned(Kind.DEMAND, op.owner):
        if key not in kept and tx.live(Part.CURVE, key).value is not None:
            yield _put(Part.CURVE, key, None, tx)
    kept = {entry.id for entry in op.portfolios}
    for key in tx.owned(Kind.PORTFOLIO, op.owner):
        for part in (Part.DEMAND, Part.BASIS):
            if key not in kept and tx.live(part, key).value is not None:
                yield _put(part, key, None, tx)


def _check_grid(grid: Timestamp | None, tx: Transaction) -> None:
    if grid is not None and tx.scheduled(grid):
        raise BatchExists(f"the batch of {format_timestamp(grid)} is stored already")


def _check_fence(fence: int | None, tx: Transaction) -> None:
    if fence is not None and (epoch := tx.epoch()) != fence:
        raise Superseded(fence, epoch)


def _check_owner(entity: Entity, owner: Id | None) -> None:
    if owner is not None and entity.owner != owner:
        kind = entity.kind.name.lower()
        raise Forbidden(f"the {kind} {entity.id} is another bidder's")


def _check_version(
    kind: str,
    key: Id,
    expected: tuple[Timestamp, ...] | None,
    parts: tuple[Part, ...],
    tx: Transaction,
) -> None:
    if expected is None:
        return
    actual = max(tx.live(part, key).valid_from for part in parts)
    if actual not in expected:
        wanted = " or ".join(map(format_timestamp, expected)) or "that version"
        raise VersionMismatch(kind, key, wanted, format_timestamp(actual))


def _existing(kind: Kind, key: Id, tx: Transaction) -> Entity:
    entity = tx.entity(kind, key)
    if entity is None:
        raise NotFound(kind.name.lower(), key)
    return entity


def _add(entity: Entity, tx: Transaction) -> Added:
    if tx.entity(entity.kind, entity.id) is not None:
        raise IdTaken(entity.kind.name.lower(), entity.id)
    tx.add_entity(entity)
    return Added(entity)


def _put(part: Part, key: Id, value: Value, tx: Transaction) -> Changed:
    return Changed(part, key, tx.put(part, key, value))
