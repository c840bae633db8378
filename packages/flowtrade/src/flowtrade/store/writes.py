"""Writing: the rows of a group of operations, gathered and then written together.

Theory. A statement costs more to prepare and send than a row costs to store, so the
operations of a group write nothing themselves. Each gathers its rows in a
`SqlTransaction` of its own; one that a rule refuses is simply dropped, and no savepoint
is needed. What is accepted goes into the group's rows, and these go to the database as
a few statements with many rows each, before the commit, or earlier if an operation has
to read what one before it wrote.

Versions that have no neighbours in their group may not go to their places at once: see
`flowtrade.store.landing`.

Entities never change, so what is known of them is kept from group to group, and what a
group will ask for is fetched by one query before it begins.

Runs in the writer's thread and knows no trio. Rules are in `flowtrade.core.operations`,
reads in `flowtrade.store.tables`.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, starmap
from operator import itemgetter
from typing import Final, final

import msgspec

from flowtrade.core.operations import (
    REMEMBERED,
    AddDemand,
    AddPortfolio,
    AddProduct,
    Memory,
    Once,
    Operation,
    PartitionProduct,
    SetCap,
    SetCurve,
    SetGroups,
    Submit,
)
from flowtrade.core.state import (
    Added,
    Change,
    Changed,
    Entity,
    Group,
    Kind,
    Part,
    StoredBatch,
    Value,
    Version,
)
from flowtrade.models.clearing import RatePrice
from flowtrade.models.ids import Id
from flowtrade.store.codec import (
    decode_value,
    encode_value,
    id_from_blob,
    id_to_blob,
    ids_to_blobs,
)
from flowtrade.store.landing import Landed, Landing, VersionRow
from flowtrade.store.sessions import Rows, Session
from flowtrade.store.tables import ENTITY, entity_of
from netcore.models import Timestamp

__all__ = ["Known", "SqlGroup", "SqlTransaction"]

_KNOWN: Final = 2**17
"""Entities of one kind kept between groups; some hundred bytes each."""

_ASKED: Final = 4096
"""Ids in one query at most."""

_ROWS: Final = 1024
"""Outcomes sent at once."""

_CURVE: Final = int(Part.CURVE)

_Known = tuple[int, Entity]
"""An entity with its primary key."""


@final
class Known:
    """What the writer knows of entities without asking; they never change.

    Args:
        landing: When versions land.

    Attributes:
        entities: Primary key and entity, by kind and id.
        following: The primary key of the next entity, or None if it must be read.
        landed: What is known of the versions that have landed.
    """

    def __init__(self, landing: Landing) -> None:
        self.entities: dict[Kind, dict[Id, _Known]] = {kind: {} for kind in Kind}
        self.following: int | None = None
        self.landed = Landed(landing)

    def forget(self) -> None:
        """Forget everything: a commit failed, or somebody else has written."""
        for known in self.entities.values():
            known.clear()
        self.following = None
        self.landed.forget()

    def shrink(self) -> None:
        """Forget the kinds of which too many are known."""
        for known in self.entities.values():
            if len(known) > _KNOWN:
                known.clear()


@final
class SqlGroup:
    """One database transaction with many operations.

    Args:
        session: Where, with an open transaction.
        known: Kept by the writer from group to group.
        operations: What will be asked of it, to be prepared for.
        scattered: Whether they come from many callers, each with few, so that their
            versions are neighbours of nothing.
    """

    def __init__(
        self,
        session: Session,
        known: Known,
        operations: Iterable[Operation],
        *,
        scattered: bool = False,
    ) -> None:
        self.session = session
        self._lands = scattered and session.lands
        self._known = known
        known.shrink()
        self._demands = known.entities[Kind.DEMAND]
        # Asked for and not there, with their ids as they are stored.
        self._absent: dict[Kind, dict[Id, bytes]] = {kind: {} for kind in Kind}
        self._following = (
            self._first_key() if known.following is None else known.following
        )
        self._first_new = self._following
        self._owners: dict[Id, bytes] = {}
        self._entities: list[_Known] = []
        self._versions: list[VersionRow] = []
        self._attached: dict[tuple[int, int], None] = {}
        self._remembered: list[tuple[object, ...]] = []
        self.memories: dict[tuple[str, str], Memory] = {}
        self._fetch(operations)

    def find(self, kind: Kind, key: Id) -> _Known | None:
        """Return an entity with its primary key, or None."""
        found = self._known.entities[kind].get(key)
        if found is None and key not in self._absent[kind]:
            self._ask(kind, [key])
            found = self._known.entities[kind].get(key)
        return found

    def next_key(self) -> int:
        """Return a primary key that is free."""
        key = self._following
        self._following = self._known.following = key + 1
        return key

    def apply_plain(
        self, operation: Operation, now: Timestamp
    ) -> tuple[Change, ...] | None:
        """Carry out a plain bid in one step: what nearly all operations are.

        Returns:
            What `flowtrade.core.operations.apply` would return, with its rows taken
            over; or None if there is more to decide than it takes to see that no rule
            stands against it, and nothing has happened.
        """
        if type(operation) is SetCurve:
            key, curve = operation.id, operation.curve
            found = self._demands.get(key)
            if found is None or operation.expected is not None:
                return None
            pk, entity = found
            owner = operation.owner
            if owner is not None and owner != entity.owner:
                return None
            self._versions.append((pk, _CURVE, now, encode_value(Part.CURVE, curve)))
            # The id that others hold, too: maps then find it without comparing text.
            return (Changed(Part.CURVE, entity.id, Version(now, None, curve)),)
        if type(operation) is AddDemand and operation.once is None:
            key, curve = operation.id, operation.curve
            if key in self._demands or key not in self._absent[Kind.DEMAND]:
                return None
            entity = Entity(
                kind=Kind.DEMAND,
                id=key,
                owner=operation.owner,
                app_data=operation.app_data,
                created=now,
            )
            pk = self.next_key()
            self._demands[key] = made = (pk, entity)
            self._entities.append(made)
            self._versions.append((pk, _CURVE, now, encode_value(Part.CURVE, curve)))
            version = Version(now, None, curve)
            return (Added(entity), Changed(Part.CURVE, key, version))
        return None

    def accept(self, tx: "SqlTransaction") -> None:
        """Take over what an operation has gathered."""
        for made in tx.entities or ():
            entity = made[1]
            self._known.entities[entity.kind][entity.id] = made
            self._entities.append(made)
        self._versions += tx.versions
        if tx.attachments is not None:
            self._attached.update(tx.attachments)
        for once, memory in tx.memories or ():
            self.memories[once.scope, once.key] = memory
            ids = msgspec.json.encode(memory.ids)
            self._remembered.append(
                (once.scope, once.key, memory.fingerprint, memory.timestamp, ids)
            )

    def flush(self) -> None:
        """Write the rows gathered so far."""
        write = self.session.execute_many
        if self._entities:
            write(_INSERT_ENTITY, [*starmap(self._entity_row, self._entities)])
        if self._versions:
            self._write_versions()
        if self._attached:
            write(_INSERT_ATTACHMENT, list(self._attached))
        if self._remembered:
            latest = max(memory.timestamp for memory in self.memories.values())
            self.session.execute(
                "DELETE FROM memory WHERE timestamp < :since",
                {"since": latest - REMEMBERED},
            )
            write(_INSERT_MEMORY, self._remembered)
        self._entities, self._versions, self._remembered = [], [], []
        self._attached.clear()

    def _write_versions(self) -> None:
        # By entity: neighbours in the table, one after the other.
        rows = sorted(self._versions, key=itemgetter(0))
        if self._lands:
            # What is new has its place behind all others, and no other pages to dirty.
            old = bisect_left(rows, self._first_new, key=itemgetter(0))
            if self._known.landed.takes(old):
                self._known.landed.land(self.session, rows[:old])
                rows = rows[old:]
        if rows:
            self.session.execute_many(_INSERT_VERSION, rows)

    def _entity_row(self, pk: int, entity: Entity) -> tuple[object, ...]:
        kind, key, parent = entity.kind, entity.id, None
        if entity.parent:
            parent = self.find(Kind.PRODUCT, entity.parent)
        # Rules have asked for it before it was made.
        blob = self._absent[kind].pop(key, None) or id_to_blob(key)
        owner = self._owners.get(entity.owner)
        if owner is None:  # of a list of bids it is always the same
            owner = self._owners[entity.owner] = id_to_blob(entity.owner)
        return (
            pk,
            int(kind),
            blob,
            owner,
            entity.app_data,
            entity.created,
            None if parent is None else parent[0],
            entity.ratio,
        )

    def _first_key(self) -> int:
        (last,) = self.session.execute(
            "SELECT coalesce(max(pk), 0) FROM entity"
        ).fetchone()
        return int(last) + 1

    def _fetch(self, operations: Iterable[Operation]) -> None:
        missing: dict[Kind, dict[Id, None]] = {kind: {} for kind in Kind}
        known = self._known.entities
        for operation in operations:
            if type(operation) is AddDemand or type(operation) is SetCurve:
                # Nearly all of a long list; to go through a generator takes as long
                # again.
                if operation.id not in known[Kind.DEMAND]:
                    missing[Kind.DEMAND][operation.id] = None
                continue
            for kind, key in _named(operation):
                if key not in known[kind]:
                    missing[kind][key] = None
        for kind, ids in missing.items():
            rest = iter(ids)
            while some := list(islice(rest, _ASKED)):
                self._ask(kind, some)

    def _ask(self, kind: Kind, ids: list[Id]) -> None:
        blobs = ids_to_blobs(ids)
        absent = dict(zip(ids, blobs, strict=True))
        parameters: dict[str, object] = {"kind": int(kind), "ids": b"".join(blobs)}
        if len(ids) > 1:
            parameters["size"] = 16 * len(ids)
        known = self._known.entities[kind]
        for row in self.session.execute(_ASK_MANY if ids[1:] else _ASK_ONE, parameters):
            entity = entity_of(row)
            known[entity.id] = (row[0], entity)
            absent.pop(entity.id, None)
        self._absent[kind].update(absent)


@final
class SqlTransaction:
    """The port `Transaction` of one operation of a group.

    Reads see what the operations before have written, and of its own the entities.

    Args:
        group: What it belongs to.
        now: The operation's timestamp.

    Attributes:
        now: The operation's timestamp.
        entities: Made, with their primary keys.
        versions: Rows: primary key, part, when it begins, value.
        attachments: Primary keys of demand and portfolio.
        memories: What is to be remembered.
    """

    __slots__ = (
        "_asked",
        "_group",
        "_own",
        "attachments",
        "entities",
        "memories",
        "now",
        "versions",
    )

    def __init__(self, group: SqlGroup, now: Timestamp) -> None:
        self.now = now
        self.versions: list[VersionRow] = []
        # Made when needed: most operations only change one timeline.
        self.entities: list[tuple[int, Entity]] | None = None
        self.attachments: dict[tuple[int, int], None] | None = None
        self.memories: list[tuple[Once, Memory]] | None = None
        self._group = group
        self._own: dict[tuple[Kind, Id], _Known] | None = None
        self._asked: _Known | None = None

    def entity(self, kind: Kind, key: Id) -> Entity | None:
        """See `flowtrade.core.operations.Transaction`."""
        found = self._find(kind, key)
        return None if found is None else found[1]

    def add_entity(self, entity: Entity) -> None:
        """See `flowtrade.core.operations.Transaction`."""
        self._asked = made = (self._group.next_key(), entity)
        if self.entities is None:  # most make one at most
            self.entities = [made]
            return
        if self._own is None:
            first = self.entities[0]
            self._own = {(first[1].kind, first[1].id): first}
        self._own[entity.kind, entity.id] = made
        self.entities.append(made)

    def live(self, part: Part, key: Id) -> Version:
        """See `flowtrade.core.operations.Transaction`."""
        valid_from, value = self._read(
            "SELECT valid_from, value FROM timeline "
            "WHERE entity = :pk AND part = :part ORDER BY valid_from DESC LIMIT 1",
            pk=self._pk(part.kind, key),
            part=int(part),
        ).fetchone()
        return Version(valid_from, None, decode_value(part, value))

    def put(self, part: Part, key: Id, value: Value) -> Version:
        """See `flowtrade.core.operations.Transaction`."""
        pk, now = self._pk(part.kind, key), self.now
        self.versions.append((pk, int(part), now, encode_value(part, value)))
        return Version(now, None, value)

    def owned(self, kind: Kind, owner: Id) -> list[Id]:
        """See `flowtrade.core.operations.Transaction`."""
        rows = self._read(
            "SELECT id FROM entity WHERE owner = :owner AND kind = :kind ORDER BY pk",
            owner=id_to_blob(owner),
            kind=int(kind),
        )
        return [id_from_blob(blob) for (blob,) in rows]

    def divided(self, product: Id) -> bool:
        """See `flowtrade.core.operations.Transaction`."""
        row = self._read(
            "SELECT 1 FROM entity WHERE parent = :pk LIMIT 1",
            pk=self._pk(Kind.PRODUCT, product),
        ).fetchone()
        return row is not None

    def remembered(self, scope: str, key: str) -> Memory | None:
        """See `flowtrade.core.operations.Transaction`."""
        recent = self._group.memories.get((scope, key))
        if recent is not None:
            return recent
        row = self._group.session.execute(
            "SELECT fingerprint, timestamp, ids FROM memory "
            "WHERE scope = :scope AND key = :key AND timestamp >= :since",
            {"scope": scope, "key": key, "since": self.now - REMEMBERED},
        ).fetchone()
        if row is None:
            return None
        ids = tuple(msgspec.json.decode(row[2], type=list[str]))
        return Memory(fingerprint=row[0], timestamp=row[1], ids=ids)

    def remember(self, once: Once, ids: tuple[Id, ...]) -> None:
        """See `flowtrade.core.operations.Transaction`."""
        memory = Memory(fingerprint=once.fingerprint, timestamp=self.now, ids=ids)
        self.memories = [*(self.memories or ()), (once, memory)]

    def attach(self, portfolio: Id, demands: Iterable[Id]) -> None:
        """See `flowtrade.core.operations.Transaction`."""
        pk = self._pk(Kind.PORTFOLIO, portfolio)
        if self.attachments is None:
            self.attachments = {}
        for demand in demands:
            self.attachments[self._pk(Kind.DEMAND, demand), pk] = None

    def epoch(self) -> int:
        """See `flowtrade.core.operations.Transaction`."""
        (epoch,) = self._group.session.execute("SELECT epoch FROM head").fetchone()
        return int(epoch)

    def lead(self) -> int:
        """See `flowtrade.core.operations.Transaction`."""
        self._group.session.execute("UPDATE head SET epoch = epoch + 1")
        return self.epoch()

    def scheduled(self, grid: Timestamp) -> bool:
        """See `flowtrade.core.operations.Transaction`."""
        row = self._group.session.execute(
            "SELECT 1 FROM batch WHERE scheduled = :grid", {"grid": grid}
        ).fetchone()
        return row is not None

    def add_batch(self, batch: StoredBatch) -> StoredBatch:
        """See `flowtrade.core.operations.Transaction`."""
        self._group.flush()
        session = self._group.session
        (seq,) = session.execute(
            "SELECT coalesce(max(seq), 0) + 1 FROM batch"
        ).fetchone()
        record = msgspec.structs.replace(batch.record, seq=seq)
        session.execute(
            "INSERT INTO batch (seq, as_of, scheduled, cleared, record, expires) "
            "VALUES (:seq, :as_of, :scheduled, :cleared, :record, :expires)",
            {
                "seq": seq,
                "as_of": batch.as_of,
                "scheduled": batch.scheduled,
                "cleared": int(record.outcome_hash is not None),
                "record": msgspec.json.encode(record),
                "expires": batch.expires,
            },
        )
        rows = chain(
            self._outcomes(batch, Kind.PORTFOLIO, batch.portfolios.items()),
            self._outcomes(batch, Kind.PRODUCT, record.products.items()),
        )
        # In pieces: while rows are made, the database waits in a transaction.
        while some := list(islice(rows, _ROWS)):
            session.execute_many(_INSERT_OUTCOME, some)
        return msgspec.structs.replace(batch, record=record)

    def _outcomes(
        self, batch: StoredBatch, kind: Kind, outcomes: Iterable[tuple[Id, RatePrice]]
    ) -> Iterator[Sequence[object]]:
        for key, outcome in outcomes:
            traded = batch.traded.get(key, 0.0)
            pk = self._pk(kind, key)
            yield (pk, batch.as_of, outcome.price, outcome.rate, traded)

    def _read(self, sql: str, **parameters: object) -> Rows:
        self._group.flush()
        return self._group.session.execute(sql, parameters)

    def _pk(self, kind: Kind, key: Id) -> int:
        found = self._find(kind, key)
        assert found is not None  # noqa: S101  # the rules have asked for it before
        return found[0]

    def _find(self, kind: Kind, key: Id) -> _Known | None:
        # What is written is nearly always what was just asked for.
        found = self._asked
        if found is not None and found[1].id == key and found[1].kind is kind:
            return found
        found = None
        if self._own is not None:
            found = self._own.get((kind, key))
        elif self.entities is not None:
            (first,) = self.entities
            if first[1].id == key and first[1].kind is kind:
                found = first
        if found is None:
            found = self._group.find(kind, key)
        self._asked = found
        return found


# One blob of ids, cut by the database: a parameter for each takes six times as long.
_ASK_MANY: Final = (
    "WITH RECURSIVE k (i) AS "  # noqa: S608  # our own words
    "(SELECT 1 UNION ALL SELECT k.i + 16 FROM k WHERE k.i + 16 < :size) "
    f"{ENTITY.replace('FROM entity e', 'FROM k CROSS JOIN entity e')} "
    "WHERE e.kind = :kind AND e.id = substr(:ids, k.i, 16)"
)
_ASK_ONE: Final = f"{ENTITY} WHERE e.kind = :kind AND e.id = :ids"
_INSERT_ENTITY: Final = (
    "INSERT INTO entity (pk, kind, id, owner, app_data, created, parent, ratio) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_VERSION: Final = (
    "INSERT INTO version (entity, part, valid_from, value) VALUES (?, ?, ?, ?)"
)
_INSERT_ATTACHMENT: Final = (
    "INSERT INTO attachment (demand, portfolio) VALUES (?, ?) ON CONFLICT DO NOTHING"
)
_INSERT_MEMORY: Final = (
    "INSERT INTO memory (scope, key, fingerprint, timestamp, ids) "
    "VALUES (?, ?, ?, ?, ?)"
)
_INSERT_OUTCOME: Final = (
    "INSERT INTO outcome (entity, as_of, price, rate, traded) VALUES (?, ?, ?, ?, ?)"
)


def _named(operation: Operation) -> Iterator[tuple[Kind, Id]]:
    """Yield the entities that an operation will ask for."""
    match operation:
        case AddDemand() | SetCurve():
            yield Kind.DEMAND, operation.id
        case AddPortfolio() | SetGroups():
            yield Kind.PORTFOLIO, operation.id
            yield from _members(operation.demand, operation.basis)
        case SetCap():
            yield Kind.PORTFOLIO, operation.id
        case AddProduct(product=product):
            yield Kind.PRODUCT, product.id
        case PartitionProduct():
            yield Kind.PRODUCT, operation.parent
            for child in operation.children:
                yield Kind.PRODUCT, child.id
        case Submit():
            for demand in operation.demands:
                yield Kind.DEMAND, demand.id
            for portfolio in operation.portfolios:
                yield Kind.PORTFOLIO, portfolio.id
                yield from _members(portfolio.demand, portfolio.basis)
        case _:  # a cut, a batch and a lead name nothing, or what was asked for
            pass


def _members(
    demand: Group | msgspec.UnsetType | None, basis: Group | msgspec.UnsetType | None
) -> Iterator[tuple[Kind, Id]]:
    for kind, group in ((Kind.DEMAND, demand), (Kind.PRODUCT, basis)):
        for key in group if isinstance(group, dict) else ():
            yield kind, key
