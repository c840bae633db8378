"""The SQL of the stores: what is read.

Written once for all databases, over `Session`, in words they share. Everything here
runs in a worker thread and knows no trio. What is written is in
`flowtrade.store.writes`.

`timeline` may be a view of two tables. SQLite reads it by both tables' keys only where
a query has no aggregate and orders by columns that it returns; hence `LIMIT 1` instead
of `min` and `max`, and keys that nobody looks at. Otherwise it reads all there is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast, final

import msgspec

from flowtrade.core.operations import Applied
from flowtrade.core.state import (
    Added,
    Batched,
    Bids,
    Change,
    Changed,
    DemandView,
    Entity,
    Group,
    Kind,
    Part,
    PortfolioView,
    Position,
    Snapshot,
    StoredBatch,
    Version,
)
from flowtrade.models.batch import BatchRecord
from flowtrade.models.clearing import RatePrice
from flowtrade.models.ids import Id
from flowtrade.ports import Window
from flowtrade.store.codec import (
    decode_value,
    id_from_blob,
    id_to_blob,
)
from flowtrade.store.sessions import Rows, Session
from netcore.models import Timestamp

__all__ = ["ENTITY", "SqlReads", "entity_of"]

_RECORD = msgspec.json.Decoder(BatchRecord)
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1

ENTITY = """
    SELECT e.pk, e.kind, e.id, e.owner, e.app_data, e.created, p.id, e.ratio
    FROM entity e LEFT JOIN entity p ON p.pk = e.parent
"""

_UNTIL = (
    "(SELECT n.valid_from FROM timeline n WHERE n.entity = v.entity "
    "AND n.part = v.part AND n.valid_from > v.valid_from "
    "ORDER BY n.valid_from LIMIT 1)"
)
"""Where a version `v` ends: where the next one of its timeline begins."""

_LATEST = (
    "v.valid_from = (SELECT l.valid_from FROM timeline l "
    "WHERE l.entity = v.entity AND l.part = v.part AND l.valid_from <= :at "
    "ORDER BY l.valid_from DESC LIMIT 1)"
)
"""Whether a version `v` is the one of its timeline at a moment."""

_STANDING = (
    "JOIN timeline v ON v.entity = e.pk AND v.part = p.part "
    "AND v.valid_from = (SELECT l.valid_from FROM timeline l "
    "WHERE l.entity = e.pk AND l.part = p.part AND l.valid_from <= :at "
    "ORDER BY l.valid_from DESC LIMIT 1)"
)
"""The version of each part `p` of each entity `e` at a moment."""

_PARTS = "WITH parts (kind, part) AS (VALUES {})".format(
    ", ".join(f"({part.kind:d}, {part:d})" for part in Part)
)


@final
class SqlReads:
    """Reads of the past and of the whole.

    Args:
        session: Where; used by one thread at a time.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def close(self) -> None:
        """Close the session."""
        self._session.close()

    @property
    def lost(self) -> bool:
        """Whether the session is of no more use."""
        return self._session.lost

    def check(self) -> None:
        """Look whether the newest of the tables are there."""
        self._execute("SELECT 1 FROM timeline LIMIT 1").fetchone()

    def last_timestamp(self) -> Timestamp:
        """Return the last timestamp issued, 0 for none."""
        (last,) = self._execute("SELECT last_timestamp FROM head").fetchone()
        return int(last)

    def last_batch(self) -> int:
        """Return the number of the last batch, 0 for none."""
        (last,) = self._execute("SELECT coalesce(max(seq), 0) FROM batch").fetchone()
        return int(last)

    def since(self, at: Timestamp, seq: int) -> list[Applied]:
        """Return what has happened after a moment and a batch, in order.

        The tables are the log: timestamps grow in the order of commits, so whatever
        is newer than what was seen has not been seen. What an operation was is not
        kept, only what it changed.
        """
        found: dict[Timestamp, list[Change]] = {}
        for row in self._execute(
            f"{ENTITY} WHERE e.created > :at ORDER BY e.pk", at=at
        ):
            entity = entity_of(row)
            found.setdefault(entity.created, []).append(Added(entity))
        for number, blob, start, value in self._execute(
            "SELECT v.part, e.id, v.valid_from, v.value "
            "FROM timeline v JOIN entity e ON e.pk = v.entity "
            "WHERE v.valid_from > :at ORDER BY v.valid_from, v.entity, v.part",
            at=at,
        ):
            part = Part(number)
            version = Version(start, None, decode_value(part, value))
            change = Changed(part, id_from_blob(blob), version)
            found.setdefault(start, []).append(change)
        batches: list[Change] = [
            Batched(self._batch(*row))
            for row in list(
                self._execute(
                    "SELECT as_of, scheduled, record, expires FROM batch "
                    "WHERE seq > :seq ORDER BY seq",
                    seq=seq,
                )
            )
        ]
        found.setdefault(self.last_timestamp(), []).extend(batches)
        return [
            Applied(timestamp=moment, operation=None, changes=tuple(changes))
            for moment, changes in sorted(found.items())
            if moment > at or changes
        ]

    def snapshot(self, at: Timestamp | None) -> Snapshot:
        """See `flowtrade.ports.Store.snapshot`."""
        with self._one_state():
            moment = self.last_timestamp() if at is None else at
            return Snapshot(
                at=moment,
                entities=self._entities(moment),
                versions=self._versions(moment),
                batch=self._last_cleared(moment),
                positions=self._positions(moment),
            )

    def demand_at(self, key: Id, at: Timestamp) -> DemandView | None:
        """See `flowtrade.ports.Store.demand_at`."""
        with self._one_state():
            found = self._entity_at(Kind.DEMAND, key, at)
            if found is None:
                return None
            pk, entity = found
            curve = self._version_at(Part.CURVE, pk, at)
            return DemandView(entity, curve, self._attached_at(pk, key, at))

    def portfolio_at(self, key: Id, at: Timestamp) -> PortfolioView | None:
        """See `flowtrade.ports.Store.portfolio_at`."""
        with self._one_state():
            found = self._entity_at(Kind.PORTFOLIO, key, at)
            if found is None:
                return None
            pk, entity = found
            demand = self._version_at(Part.DEMAND, pk, at)
            return PortfolioView(entity, demand, self._version_at(Part.BASIS, pk, at))

    def bids_at(self, owner: Id, at: Timestamp) -> Bids:
        """See `flowtrade.ports.Store.bids_at`."""
        rows = self._execute(
            f"{_PARTS} SELECT e.pk, e.kind, e.id, e.owner, e.app_data, e.created, "  # noqa: S608  # our own words
            f"NULL, e.ratio, p.part, v.valid_from, {_UNTIL}, v.value "
            "FROM entity e JOIN parts p ON p.kind = e.kind "
            f"{_STANDING} "
            "WHERE e.owner = :owner AND p.part <> :cap ORDER BY e.pk, p.part",
            owner=id_to_blob(owner),
            at=at,
            cap=int(Part.CAP),
        )
        demands: dict[Id, DemandView] = {}
        portfolios: list[PortfolioView] = []
        for *columns, number, start, until, value in rows:
            part, entity = Part(number), entity_of(columns)
            version = Version(start, until, decode_value(part, value))
            match part:
                case Part.CURVE:
                    demands[entity.id] = DemandView(entity, version, {})
                case Part.DEMAND:  # its basis is in the next row
                    portfolios.append(PortfolioView(entity, version, version))
                case _:
                    portfolios[-1].basis = version
        for view in portfolios:
            # A bidder's portfolios use the bidder's own demands alone.
            for key, weight in cast("Group", view.demand.value or {}).items():
                demands[key].portfolios[view.entity.id] = weight
        return Bids(tuple(demands.values()), tuple(portfolios))

    def history(self, part: Part, key: Id, window: Window) -> list[Version]:
        """See `flowtrade.ports.Store.history`."""
        rows = self._execute(
            f"SELECT v.valid_from, {_UNTIL}, v.value FROM timeline v "  # noqa: S608  # our own words
            "JOIN entity e ON e.pk = v.entity WHERE e.kind = :kind AND e.id = :id "
            "AND v.part = :part AND v.value IS NOT NULL "
            "AND v.valid_from >= :after AND v.valid_from < :before "
            "ORDER BY v.valid_from DESC LIMIT :limit",
            kind=int(part.kind),
            id=id_to_blob(key),
            part=int(part),
            **_bounds(window),
        )
        return [Version(a, b, decode_value(part, value)) for a, b, value in rows]

    def outcomes(self, kind: Kind, key: Id, window: Window) -> list[Version]:
        """See `flowtrade.ports.Store.outcomes`."""
        rows = self._execute(
            "SELECT o.as_of, (SELECT min(b.as_of) FROM batch b "
            "WHERE b.cleared = 1 AND b.as_of > o.as_of), a.expires, o.price, o.rate "
            "FROM outcome o JOIN entity e ON e.pk = o.entity "
            "JOIN batch a ON a.as_of = o.as_of "
            "WHERE e.kind = :kind AND e.id = :id "
            "AND o.as_of >= :after AND o.as_of < :before "
            "ORDER BY o.as_of DESC LIMIT :limit",
            kind=int(kind),
            id=id_to_blob(key),
            **_bounds(window),
        )
        return [
            Version(as_of, _first(until, expires), RatePrice(price=price, rate=rate))
            for as_of, until, expires, price, rate in rows
        ]

    def batches(self, window: Window) -> list[BatchRecord]:
        """See `flowtrade.ports.Store.batches`."""
        rows = self._execute(
            "SELECT record FROM batch WHERE as_of >= :after AND as_of < :before "
            "ORDER BY as_of DESC LIMIT :limit",
            **_bounds(window),
        )
        return [_RECORD.decode(record) for (record,) in rows]

    def batch(self, as_of: Timestamp) -> StoredBatch | None:
        """See `flowtrade.ports.Store.batch`."""
        row = self._execute(
            "SELECT as_of, scheduled, record, expires FROM batch WHERE as_of = :as_of",
            as_of=as_of,
        ).fetchone()
        return None if row is None else self._batch(*row)

    @contextmanager
    def _one_state(self) -> Iterator[None]:
        self._session.begin_snapshot()
        try:
            yield
        finally:
            self._session.rollback()

    def _execute(self, sql: str, **parameters: object) -> Rows:
        return self._session.execute(sql, parameters)

    def _entity_at(
        self, kind: Kind, key: Id, at: Timestamp
    ) -> tuple[int, Entity] | None:
        row = self._execute(
            f"{ENTITY} WHERE e.kind = :kind AND e.id = :id AND e.created <= :at",
            kind=int(kind),
            id=id_to_blob(key),
            at=at,
        ).fetchone()
        return None if row is None else (row[0], entity_of(row))

    def _version_at(self, part: Part, pk: int, at: Timestamp) -> Version:
        start, until, value = self._execute(
            f"SELECT v.valid_from, {_UNTIL}, v.value FROM timeline v "  # noqa: S608  # our own words
            "WHERE v.entity = :pk AND v.part = :part AND v.valid_from <= :at "
            "ORDER BY v.valid_from DESC LIMIT 1",
            pk=pk,
            part=int(part),
            at=at,
        ).fetchone()
        return Version(start, until, decode_value(part, value))

    def _attached_at(self, pk: int, key: Id, at: Timestamp) -> Group:
        rows = self._execute(
            "SELECT e.id, v.value, e.pk FROM attachment a "  # noqa: S608  # our own words
            "JOIN entity e ON e.pk = a.portfolio "
            "JOIN timeline v ON v.entity = a.portfolio AND v.part = :part "
            f"WHERE a.demand = :pk AND {_LATEST} ORDER BY e.pk",
            pk=pk,
            part=int(Part.DEMAND),
            at=at,
        )
        groups = {
            id_from_blob(blob): cast("Group", decode_value(Part.DEMAND, value) or {})
            for blob, value, _ in rows
        }
        return {k: group[key] for k, group in groups.items() if key in group}

    def _entities(self, moment: Timestamp) -> tuple[Entity, ...]:
        rows = self._execute(
            f"{ENTITY} WHERE e.created <= :at ORDER BY e.pk", at=moment
        )
        return tuple(map(entity_of, rows))

    def _versions(self, moment: Timestamp) -> tuple[tuple[Part, Id, Version], ...]:
        # From timeline to timeline, however long they are.
        query = (
            f"{_PARTS} SELECT p.part, e.id, v.valid_from, {_UNTIL}, v.value, e.pk "  # noqa: S608  # our own words
            "FROM entity e JOIN parts p ON p.kind = e.kind "
            f"{_STANDING} ORDER BY e.pk, p.part"
        )
        if not self._landed():  # as at every start: half the work
            query = query.replace("timeline", "version")
        rows = self._execute(query, at=moment)
        return tuple(
            (
                part := Part(number),
                id_from_blob(blob),
                Version(start, until, decode_value(part, value)),
            )
            for number, blob, start, until, value, _ in rows
        )

    def _landed(self) -> bool:
        """Say whether there are versions that are not in their places."""
        if not self._session.lands:
            return False
        return self._execute("SELECT 1 FROM landed LIMIT 1").fetchone() is not None

    def _last_cleared(self, moment: Timestamp) -> StoredBatch | None:
        row = self._execute(
            "SELECT as_of, scheduled, record, expires FROM batch "
            "WHERE cleared = 1 AND as_of <= :at ORDER BY as_of DESC LIMIT 1",
            at=moment,
        ).fetchone()
        return None if row is None else self._batch(*row)

    def _positions(self, moment: Timestamp) -> dict[Id, Position]:
        rows = self._execute(
            "SELECT e.id, o.traded, o.rate, o.as_of, (SELECT min(b.as_of) FROM batch b "
            "WHERE b.cleared = 1 AND b.as_of > o.as_of AND b.as_of <= :at), "
            "(SELECT a.expires FROM batch a WHERE a.as_of = o.as_of) "
            "FROM entity e JOIN outcome o ON o.entity = e.pk AND o.as_of = "
            "(SELECT max(as_of) FROM outcome WHERE entity = e.pk AND as_of <= :at) "
            "WHERE e.kind = :kind",
            at=moment,
            kind=int(Kind.PORTFOLIO),
        )
        return {
            id_from_blob(blob): Position(traded, rate, since, _first(until, expires))
            for blob, traded, rate, since, until, expires in rows
        }

    def _batch(
        self,
        as_of: Timestamp,
        scheduled: Timestamp | None,
        record: bytes,
        expires: Timestamp | None,
    ) -> StoredBatch:
        rows = self._execute(
            "SELECT e.id, o.price, o.rate, o.traded FROM outcome o "
            "JOIN entity e ON e.pk = o.entity "
            "WHERE o.as_of = :as_of AND e.kind = :kind ORDER BY e.pk",
            as_of=as_of,
            kind=int(Kind.PORTFOLIO),
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
            expires=expires,
        )


def _bounds(window: Window) -> dict[str, int]:
    return {
        "after": _LOWEST if window.after is None else window.after,
        # Exclusive; no timestamp is the very highest number.
        "before": _HIGHEST if window.before is None else window.before,
        "limit": window.limit,
    }


def _first(following: Timestamp | None, expires: Timestamp | None) -> Timestamp | None:
    known = [moment for moment in (following, expires) if moment is not None]
    return min(known, default=None)


def entity_of(row: Any) -> Entity:  # noqa: ANN401  # the columns of ENTITY
    """Return the entity of a row of `ENTITY`."""
    _, kind, key, owner, app_data, created, parent, ratio = row
    return Entity(
        kind=Kind(kind),
        id=id_from_blob(key),
        owner=id_from_blob(owner),
        app_data=app_data,
        created=created,
        parent=id_from_blob(parent or b""),
        ratio=ratio,
    )
