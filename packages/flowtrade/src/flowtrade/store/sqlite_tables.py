"""The SQL of the SQLite store: one operation's transaction, and the reads.

Everything here runs in a worker thread on one connection and knows no trio. The
rules of operations are not here but in `flowtrade.core.operations`.
"""

import sqlite3
from collections.abc import Iterable
from typing import cast, final

import msgspec

from flowtrade.core.operations import REMEMBERED, Memory, Once
from flowtrade.core.state import (
    DemandView,
    Entity,
    Group,
    Kind,
    Part,
    PortfolioView,
    Position,
    Snapshot,
    StoredBatch,
    Value,
    Version,
)
from flowtrade.models.batch import BatchRecord
from flowtrade.models.clearing import RatePrice
from flowtrade.models.ids import Id
from flowtrade.ports import Window
from flowtrade.store.codec import (
    decode_value,
    encode_value,
    id_from_blob,
    id_to_blob,
)
from netcore.models import Timestamp

__all__ = ["SqliteReads", "SqliteTransaction", "connect"]

_RECORD = msgspec.json.Decoder(BatchRecord)
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1

_ENTITY = """
    SELECT e.kind, e.id, e.owner, e.app_data, e.created, p.id, e.ratio
    FROM entity e LEFT JOIN entity p ON p.pk = e.parent
"""


def connect(path: str, *, synchronous: str = "FULL") -> sqlite3.Connection:
    """Open a connection in autocommit mode.

    Args:
        path: The file.
        synchronous: `FULL` keeps acknowledged operations through a power failure,
            `NORMAL` only through a crash of the process.
    """
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    for pragma in (
        "journal_mode = WAL",
        f"synchronous = {synchronous}",
        "foreign_keys = ON",
        "busy_timeout = 5000",
        "temp_store = MEMORY",
        # The WAL is cut back to this after a checkpoint; the anchor's value.
        "journal_size_limit = 27103364",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


@final
class SqliteTransaction:
    """The port `Transaction` over a connection with an open transaction.

    Args:
        connection: Where.
        now: The operation's timestamp.
    """

    def __init__(self, connection: sqlite3.Connection, now: Timestamp) -> None:
        self._execute = connection.execute
        self._now = now
        self._keys: dict[tuple[Kind, Id], int] = {}

    @property
    def now(self) -> Timestamp:
        """See `flowtrade.core.operations.Transaction`."""
        return self._now

    def entity(self, kind: Kind, key: Id) -> Entity | None:
        """See `flowtrade.core.operations.Transaction`."""
        row = self._execute(
            f"{_ENTITY} WHERE e.kind = ? AND e.id = ?", (kind, id_to_blob(key))
        ).fetchone()
        return None if row is None else _entity(row)

    def add_entity(self, entity: Entity) -> None:
        """See `flowtrade.core.operations.Transaction`."""
        parent = self._pk(Kind.PRODUCT, entity.parent) if entity.parent else None
        cursor = self._execute(
            "INSERT INTO entity (kind, id, owner, app_data, created, parent, ratio) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                entity.kind,
                id_to_blob(entity.id),
                id_to_blob(entity.owner),
                entity.app_data,
                entity.created,
                parent,
                entity.ratio,
            ),
        )
        self._keys[entity.kind, entity.id] = cursor.lastrowid or 0

    def live(self, part: Part, key: Id) -> Version:
        """See `flowtrade.core.operations.Transaction`."""
        valid_from, value = self._execute(
            "SELECT valid_from, value FROM version "
            "WHERE entity = ? AND part = ? AND valid_until IS NULL",
            (self._pk(part.kind, key), part),
        ).fetchone()
        return Version(valid_from, None, decode_value(part, value))

    def put(self, part: Part, key: Id, value: Value) -> Version:
        """See `flowtrade.core.operations.Transaction`."""
        pk = self._pk(part.kind, key)
        self._execute(
            "UPDATE version SET valid_until = ? WHERE entity = ? AND part = ? "
            "AND valid_until IS NULL AND valid_from < ?",
            (self._now, pk, part, self._now),
        )
        self._execute(
            "INSERT INTO version VALUES (?, ?, ?, NULL, ?) "
            "ON CONFLICT (entity, part, valid_from) "
            "DO UPDATE SET value = excluded.value",
            (pk, part, self._now, encode_value(part, value)),
        )
        return Version(self._now, None, value)

    def owned(self, kind: Kind, owner: Id) -> list[Id]:
        """See `flowtrade.core.operations.Transaction`."""
        rows = self._execute(
            "SELECT id FROM entity WHERE owner = ? AND owner <> x'' AND kind = ? "
            "ORDER BY pk",
            (id_to_blob(owner), kind),
        )
        return [id_from_blob(blob) for (blob,) in rows]

    def divided(self, product: Id) -> bool:
        """See `flowtrade.core.operations.Transaction`."""
        row = self._execute(
            "SELECT 1 FROM entity WHERE parent = ? LIMIT 1",
            (self._pk(Kind.PRODUCT, product),),
        ).fetchone()
        return row is not None

    def remembered(self, scope: str, key: str) -> Memory | None:
        """See `flowtrade.core.operations.Transaction`."""
        row = self._execute(
            "SELECT fingerprint, timestamp, ids FROM memory "
            "WHERE scope = ? AND key = ? AND timestamp >= ?",
            (scope, key, self._now - REMEMBERED),
        ).fetchone()
        if row is None:
            return None
        ids = tuple(msgspec.json.decode(row[2], type=list[str]))
        return Memory(fingerprint=row[0], timestamp=row[1], ids=ids)

    def remember(self, once: Once, ids: tuple[Id, ...]) -> None:
        """See `flowtrade.core.operations.Transaction`."""
        self._execute(
            "DELETE FROM memory WHERE timestamp < ?", (self._now - REMEMBERED,)
        )
        self._execute(
            "INSERT INTO memory VALUES (?, ?, ?, ?, ?)",
            (
                once.scope,
                once.key,
                once.fingerprint,
                self._now,
                msgspec.json.encode(ids),
            ),
        )

    def attach(self, portfolio: Id, demands: Iterable[Id]) -> None:
        """See `flowtrade.core.operations.Transaction`."""
        pk = self._pk(Kind.PORTFOLIO, portfolio)
        for demand in demands:
            self._execute(
                "INSERT OR IGNORE INTO attachment VALUES (?, ?)",
                (self._pk(Kind.DEMAND, demand), pk),
            )

    def scheduled(self, grid: Timestamp) -> bool:
        """See `flowtrade.core.operations.Transaction`."""
        row = self._execute(
            "SELECT 1 FROM batch WHERE scheduled = ?", (grid,)
        ).fetchone()
        return row is not None

    def add_batch(self, batch: StoredBatch) -> StoredBatch:
        """See `flowtrade.core.operations.Transaction`."""
        (seq,) = self._execute("SELECT coalesce(max(seq), 0) + 1 FROM batch").fetchone()
        record = msgspec.structs.replace(batch.record, seq=seq)
        self._execute(
            "INSERT INTO batch VALUES (?, ?, ?, ?, ?)",
            (
                seq,
                batch.as_of,
                batch.scheduled,
                record.outcome_hash is not None,
                msgspec.json.encode(record),
            ),
        )
        for kind, outcomes in (
            (Kind.PORTFOLIO, batch.portfolios),
            (Kind.PRODUCT, record.products),
        ):
            for key, outcome in outcomes.items():
                self._execute(
                    "INSERT INTO outcome (entity, as_of, price, rate, traded) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (
                        self._pk(kind, key),
                        batch.as_of,
                        outcome.price,
                        outcome.rate,
                        batch.traded.get(key, 0.0),
                    ),
                )
        return msgspec.structs.replace(batch, record=record)

    def _pk(self, kind: Kind, key: Id) -> int:
        pk = self._keys.get((kind, key))
        if pk is None:
            (pk,) = self._execute(
                "SELECT pk FROM entity WHERE kind = ? AND id = ?",
                (kind, id_to_blob(key)),
            ).fetchone()
            self._keys[kind, key] = pk
        return pk


@final
class SqliteReads:
    """Reads of the past and of the whole, each in one read transaction.

    Args:
        connection: Where; used by one thread at a time.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def last_timestamp(self) -> Timestamp:
        """Return the last timestamp issued, 0 for none."""
        (last,) = self._execute("SELECT last_timestamp FROM head").fetchone()
        return int(last)

    def snapshot(self, at: Timestamp | None) -> Snapshot:
        """See `flowtrade.ports.Store.snapshot`."""
        # One transaction, so that the reads see one state of the database.
        self._execute("BEGIN")
        try:
            moment = self.last_timestamp() if at is None else at
            return Snapshot(
                at=moment,
                entities=self._entities(moment),
                versions=self._versions(moment),
                batch=self._last_cleared(moment),
                positions=self._positions(moment),
            )
        finally:
            self._execute("ROLLBACK")

    def demand_at(self, key: Id, at: Timestamp) -> DemandView | None:
        """See `flowtrade.ports.Store.demand_at`."""
        self._execute("BEGIN")
        try:
            found = self._entity_at(Kind.DEMAND, key, at)
            if found is None:
                return None
            pk, entity = found
            curve = self._version_at(Part.CURVE, pk, at)
            return DemandView(entity, curve, self._attached_at(pk, key, at))
        finally:
            self._execute("ROLLBACK")

    def portfolio_at(self, key: Id, at: Timestamp) -> PortfolioView | None:
        """See `flowtrade.ports.Store.portfolio_at`."""
        self._execute("BEGIN")
        try:
            found = self._entity_at(Kind.PORTFOLIO, key, at)
            if found is None:
                return None
            pk, entity = found
            demand = self._version_at(Part.DEMAND, pk, at)
            return PortfolioView(entity, demand, self._version_at(Part.BASIS, pk, at))
        finally:
            self._execute("ROLLBACK")

    def history(self, part: Part, key: Id, window: Window) -> list[Version]:
        """See `flowtrade.ports.Store.history`."""
        rows = self._execute(
            "SELECT v.valid_from, v.valid_until, v.value FROM version v "
            "JOIN entity e ON e.pk = v.entity WHERE e.kind = ? AND e.id = ? "
            "AND v.part = ? AND v.value IS NOT NULL "
            "AND v.valid_from >= ? AND v.valid_from < ? "
            "ORDER BY v.valid_from DESC LIMIT ?",
            (part.kind, id_to_blob(key), part, *_bounds(window)),
        )
        return [Version(a, b, decode_value(part, value)) for a, b, value in rows]

    def outcomes(self, kind: Kind, key: Id, window: Window) -> list[Version]:
        """See `flowtrade.ports.Store.outcomes`."""
        rows = self._execute(
            "SELECT o.as_of, (SELECT min(b.as_of) FROM batch b "
            "WHERE b.cleared AND b.as_of > o.as_of), o.price, o.rate "
            "FROM outcome o JOIN entity e ON e.pk = o.entity "
            "WHERE e.kind = ? AND e.id = ? AND o.as_of >= ? AND o.as_of < ? "
            "ORDER BY o.as_of DESC LIMIT ?",
            (kind, id_to_blob(key), *_bounds(window)),
        )
        return [
            Version(as_of, until, RatePrice(price=price, rate=rate))
            for as_of, until, price, rate in rows
        ]

    def batches(self, window: Window) -> list[BatchRecord]:
        """See `flowtrade.ports.Store.batches`."""
        rows = self._execute(
            "SELECT record FROM batch WHERE as_of >= ? AND as_of < ? "
            "ORDER BY as_of DESC LIMIT ?",
            _bounds(window),
        )
        return [_RECORD.decode(record) for (record,) in rows]

    def batch(self, as_of: Timestamp) -> StoredBatch | None:
        """See `flowtrade.ports.Store.batch`."""
        row = self._execute(
            "SELECT as_of, scheduled, record FROM batch WHERE as_of = ?", (as_of,)
        ).fetchone()
        return None if row is None else self._batch(*row)

    def _entity_at(
        self, kind: Kind, key: Id, at: Timestamp
    ) -> tuple[int, Entity] | None:
        row = self._execute(
            _ENTITY.replace("SELECT ", "SELECT e.pk, ", 1)
            + "WHERE e.kind = ? AND e.id = ? AND e.created <= ?",
            (kind, id_to_blob(key), at),
        ).fetchone()
        return None if row is None else (row[0], _entity(row[1:]))

    def _version_at(self, part: Part, pk: int, at: Timestamp) -> Version:
        start, until, value = self._execute(
            "SELECT valid_from, valid_until, value FROM version "
            "WHERE entity = ? AND part = ? AND valid_from <= ? "
            "ORDER BY valid_from DESC LIMIT 1",
            (pk, part, at),
        ).fetchone()
        return Version(start, until, decode_value(part, value))

    def _attached_at(self, pk: int, key: Id, at: Timestamp) -> Group:
        rows = self._execute(
            "SELECT e.id, v.value FROM attachment a "
            "JOIN entity e ON e.pk = a.portfolio "
            "JOIN version v ON v.entity = a.portfolio AND v.part = ?2 "
            "WHERE a.demand = ?1 AND v.valid_from <= ?3 "
            "AND (v.valid_until IS NULL OR v.valid_until > ?3) ORDER BY e.pk",
            (pk, Part.DEMAND, at),
        )
        groups = {
            id_from_blob(blob): cast("Group", decode_value(Part.DEMAND, value) or {})
            for blob, value in rows
        }
        return {k: group[key] for k, group in groups.items() if key in group}

    def _entities(self, moment: Timestamp) -> tuple[Entity, ...]:
        rows = self._execute(f"{_ENTITY} WHERE e.created <= ? ORDER BY e.pk", (moment,))
        return tuple(map(_entity, rows))

    def _versions(self, moment: Timestamp) -> tuple[tuple[Part, Id, Version], ...]:
        rows = self._execute(
            "SELECT v.part, e.id, v.valid_from, v.valid_until, v.value "
            "FROM version v JOIN entity e ON e.pk = v.entity "
            "WHERE v.valid_from <= ?1 "
            "AND (v.valid_until IS NULL OR v.valid_until > ?1) "
            "ORDER BY v.entity, v.part",
            (moment,),
        )
        return tuple(
            (
                part := Part(number),
                id_from_blob(blob),
                Version(start, until, decode_value(part, value)),
            )
            for number, blob, start, until, value in rows
        )

    def _last_cleared(self, moment: Timestamp) -> StoredBatch | None:
        row = self._execute(
            "SELECT as_of, scheduled, record FROM batch "
            "WHERE cleared AND as_of <= ? ORDER BY as_of DESC LIMIT 1",
            (moment,),
        ).fetchone()
        return None if row is None else self._batch(*row)

    def _positions(self, moment: Timestamp) -> dict[Id, Position]:
        rows = self._execute(
            "SELECT e.id, o.traded, o.rate, o.as_of, (SELECT min(b.as_of) "
            "FROM batch b WHERE b.cleared AND b.as_of > o.as_of AND b.as_of <= ?1) "
            "FROM entity e JOIN outcome o ON o.entity = e.pk AND o.as_of = "
            "(SELECT max(as_of) FROM outcome WHERE entity = e.pk AND as_of <= ?1) "
            "WHERE e.kind = ?2",
            (moment, Kind.PORTFOLIO),
        )
        return {id_from_blob(blob): Position(*values) for blob, *values in rows}

    def _batch(
        self, as_of: Timestamp, scheduled: Timestamp | None, record: bytes
    ) -> StoredBatch:
        rows = self._execute(
            "SELECT e.id, o.price, o.rate, o.traded FROM outcome o "
            "JOIN entity e ON e.pk = o.entity WHERE o.as_of = ? AND e.kind = ? "
            "ORDER BY e.pk",
            (as_of, Kind.PORTFOLIO),
        )
        outcomes, totals = {}, {}
        for blob, price, rate, traded in rows:
            key = id_from_blob(blob)
            outcomes[key], totals[key] = RatePrice(price=price, rate=rate), traded
        return StoredBatch(
            as_of=as_of,
            scheduled=scheduled,
            record=_RECORD.decode(record),
            portfolios=outcomes,
            traded=totals,
        )


def _bounds(window: Window) -> tuple[int, int, int]:
    return (
        _LOWEST if window.after is None else window.after,
        # Exclusive; no timestamp is the very highest number.
        _HIGHEST if window.before is None else window.before,
        window.limit,
    )


def _entity(row: tuple[int, bytes, bytes, bytes, int, bytes | None, float]) -> Entity:
    kind, key, owner, app_data, created, parent, ratio = row
    return Entity(
        kind=Kind(kind),
        id=id_from_blob(key),
        owner=id_from_blob(owner),
        app_data=app_data,
        created=created,
        parent=id_from_blob(parent or b""),
        ratio=ratio,
    )
