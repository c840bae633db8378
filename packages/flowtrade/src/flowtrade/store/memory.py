"""A store in memory: the rules and timelines of the others, without durability.

For tests, for simulations, and for a service that may forget. Operations happen
inline, one after the other; a refused one is undone step by step.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar, cast, final

import msgspec
import trio

from flowtrade.core.operations import (
    REMEMBERED,
    Applied,
    Memory,
    Once,
    Operation,
    apply,
    issue_timestamp,
)
from flowtrade.core.state import (
    Bids,
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
from flowtrade.errors import RequestError, StoreClosed
from flowtrade.models.batch import BatchRecord
from flowtrade.models.clearing import RatePrice
from flowtrade.models.ids import Id
from flowtrade.ports import Clock, Listener, Window
from netcore.models import Timestamp

__all__ = ["MemoryStore"]

_T = TypeVar("_T")


@final
class MemoryStore:
    """The port `Store` over dictionaries.

    Args:
        clock: Gives timestamps; two operations never share one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: Timestamp = 0
        self._listeners: list[Listener] = []
        self._tables = _Tables()
        self._closed = False

    @property
    def healthy(self) -> bool:
        """See `flowtrade.ports.Store.healthy`."""
        return not self._closed

    async def execute(self, operation: Operation) -> Applied:
        """See `flowtrade.ports.Store.execute`."""
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise StoreClosed
        now = issue_timestamp(self._clock.now_ns(), self._last, operation)
        tx = _MemoryTransaction(self._tables, now)
        try:
            changes = apply(operation, tx)
        except BaseException:
            tx.undo()
            raise
        self._last = now
        applied = Applied(timestamp=now, operation=operation, changes=changes)
        for listener in self._listeners:
            listener(applied)
        return applied

    async def execute_many(
        self, operations: Sequence[Operation]
    ) -> list[Applied | RequestError]:
        """See `flowtrade.ports.Store.execute_many`."""
        results: list[Applied | RequestError] = []
        for operation in operations:
            try:
                results.append(await self.execute(operation))
            except RequestError as error:
                results.append(error)
        return results

    def subscribe(self, listener: Listener) -> None:
        """See `flowtrade.ports.Store.subscribe`."""
        self._listeners.append(listener)

    def close(self) -> None:
        """Refuse all further operations."""
        self._closed = True

    async def snapshot(self, at: Timestamp | None = None) -> Snapshot:
        """See `flowtrade.ports.Store.snapshot`."""
        await trio.lowlevel.checkpoint()
        moment = self._last if at is None else at
        tables = self._tables
        entities = tuple(e for e in tables.order if e.created <= moment)
        versions = tuple(
            (part, key, version)
            for (part, key), timeline in tables.timelines.items()
            if (version := _valid(timeline, moment)) is not None
        )
        cleared = bisect_right(tables.cleared, moment)
        batch = tables.batches[tables.cleared[cleared - 1]] if cleared else None
        return Snapshot(
            at=moment,
            entities=entities,
            versions=versions,
            batch=batch,
            positions=tables.positions(moment),
        )

    async def demand_at(self, key: Id, at: Timestamp) -> DemandView | None:
        """See `flowtrade.ports.Store.demand_at`."""
        await trio.lowlevel.checkpoint()
        tables = self._tables
        entity = tables.entities.get((Kind.DEMAND, key))
        if entity is None or entity.created > at:
            return None
        portfolios: Group = {}
        for portfolio in tables.attached.get(key, ()):
            version = tables.at(Part.DEMAND, portfolio, at)
            weight = cast("Group", version.value or {}).get(key) if version else None
            if weight is not None:
                portfolios[portfolio] = weight
        curve = tables.at(Part.CURVE, key, at)
        assert curve is not None  # noqa: S101  # timelines begin with their entity
        return DemandView(entity, curve, portfolios)

    async def portfolio_at(self, key: Id, at: Timestamp) -> PortfolioView | None:
        """See `flowtrade.ports.Store.portfolio_at`."""
        await trio.lowlevel.checkpoint()
        tables = self._tables
        entity = tables.entities.get((Kind.PORTFOLIO, key))
        demand = tables.at(Part.DEMAND, key, at)
        basis = tables.at(Part.BASIS, key, at)
        if entity is None or demand is None or basis is None:
            return None
        return PortfolioView(entity, demand, basis)

    async def bids_at(self, owner: Id, at: Timestamp) -> Bids:
        """See `flowtrade.ports.Store.bids_at`."""
        owned = self._tables.owned
        demands = [
            view
            for key in tuple(owned.get((Kind.DEMAND, owner), ()))
            if (view := await self.demand_at(key, at)) is not None
        ]
        portfolios = [
            bid
            for key in tuple(owned.get((Kind.PORTFOLIO, owner), ()))
            if (bid := await self.portfolio_at(key, at)) is not None
        ]
        return Bids(tuple(demands), tuple(portfolios))

    async def history(self, part: Part, key: Id, window: Window) -> list[Version]:
        """See `flowtrade.ports.Store.history`."""
        await trio.lowlevel.checkpoint()
        timeline = self._tables.timelines.get((part, key), [])
        values = [version for version in timeline if version.value is not None]
        return _newest(values, [version.valid_from for version in values], window)

    async def outcomes(self, kind: Kind, key: Id, window: Window) -> list[Version]:
        """See `flowtrade.ports.Store.outcomes`."""
        await trio.lowlevel.checkpoint()
        tables = self._tables
        found = [
            Version(as_of, tables.end_of(as_of), outcome)
            for as_of in tables.cleared
            if (outcome := _outcome(tables.batches[as_of], kind, key)) is not None
        ]
        return _newest(found, [version.valid_from for version in found], window)

    async def batches(self, window: Window) -> list[BatchRecord]:
        """See `flowtrade.ports.Store.batches`."""
        await trio.lowlevel.checkpoint()
        tables = self._tables
        records = [batch.record for batch in tables.batches.values()]
        return _newest(records, list(tables.batches), window)

    async def batch(self, as_of: Timestamp) -> StoredBatch | None:
        """See `flowtrade.ports.Store.batch`."""
        await trio.lowlevel.checkpoint()
        return self._tables.batches.get(as_of)


class _Tables:
    def __init__(self) -> None:
        self.entities: dict[tuple[Kind, Id], Entity] = {}
        self.order: list[Entity] = []
        self.owned: dict[tuple[Kind, Id], list[Id]] = {}
        self.parts: set[Id] = set()
        self.timelines: dict[tuple[Part, Id], list[Version]] = {}
        self.batches: dict[Timestamp, StoredBatch] = {}
        self.cleared: list[Timestamp] = []
        self.grid: set[Timestamp] = set()
        self.attached: dict[Id, dict[Id, None]] = {}
        self.memory: dict[tuple[str, str], Memory] = {}
        self.epoch = 0

    def at(self, part: Part, key: Id, at: Timestamp) -> Version | None:
        return _valid(self.timelines.get((part, key), []), at)

    def positions(self, moment: Timestamp) -> dict[Id, Position]:
        found: dict[Id, Position] = {}
        for as_of in self.cleared[: bisect_right(self.cleared, moment)]:
            batch, following = self.batches[as_of], self.next_cleared(as_of)
            known = [] if following is None or following > moment else [following]
            known += [] if batch.expires is None else [batch.expires]
            until = min(known, default=None)
            for key, outcome in batch.portfolios.items():
                traded = batch.traded.get(key, 0.0)
                found[key] = Position(traded, outcome.rate, as_of, until)
        return found

    def end_of(self, as_of: Timestamp) -> Timestamp | None:
        ends = (self.next_cleared(as_of), self.batches[as_of].expires)
        return min((end for end in ends if end is not None), default=None)

    def next_cleared(self, as_of: Timestamp) -> Timestamp | None:
        index = bisect_right(self.cleared, as_of)
        return self.cleared[index] if index < len(self.cleared) else None


@final
class _MemoryTransaction:
    """One operation's view of the tables, with the way back."""

    def __init__(self, tables: _Tables, now: Timestamp) -> None:
        self._tables = tables
        self._now = now
        self._undo: list[Callable[[], object]] = []

    @property
    def now(self) -> Timestamp:
        return self._now

    def undo(self) -> None:
        while self._undo:
            self._undo.pop()()

    def entity(self, kind: Kind, key: Id) -> Entity | None:
        return self._tables.entities.get((kind, key))

    def add_entity(self, entity: Entity) -> None:
        tables = self._tables
        slot = (entity.kind, entity.id)
        tables.entities[slot] = entity
        tables.order.append(entity)
        owned = tables.owned.setdefault((entity.kind, entity.owner), [])
        owned.append(entity.id)
        self._undo += [owned.pop, tables.order.pop, lambda: tables.entities.pop(slot)]
        if entity.parent and entity.parent not in tables.parts:
            tables.parts.add(entity.parent)
            self._undo.append(lambda: tables.parts.discard(entity.parent))

    def live(self, part: Part, key: Id) -> Version:
        return self._tables.timelines[part, key][-1]

    def put(self, part: Part, key: Id, value: Value) -> Version:
        timeline = self._tables.timelines.setdefault((part, key), [])
        last = timeline[-1:]
        keep = len(timeline) - len(last)
        self._undo.append(lambda: _replace_tail(timeline, keep, last))
        version = Version(self._now, None, value)
        closed = [Version(v.valid_from, self._now, v.value) for v in last]
        timeline[keep:] = [*closed, version]
        return version

    def owned(self, kind: Kind, owner: Id) -> list[Id]:
        return list(self._tables.owned.get((kind, owner), ()))

    def divided(self, product: Id) -> bool:
        return product in self._tables.parts

    def remembered(self, scope: str, key: str) -> Memory | None:
        memory = self._tables.memory.get((scope, key))
        expired = memory is not None and memory.timestamp < self._now - REMEMBERED
        return None if expired else memory

    def remember(self, once: Once, ids: tuple[Id, ...]) -> None:
        table, slot = self._tables.memory, (once.scope, once.key)
        table.pop(slot, None)  # an expired one; the new one goes to the end
        table[slot] = Memory(fingerprint=once.fingerprint, timestamp=self._now, ids=ids)
        self._undo.append(lambda: table.pop(slot))
        oldest = next(iter(table))
        if table[oldest].timestamp < self._now - REMEMBERED:
            del table[oldest]

    def attach(self, portfolio: Id, demands: Iterable[Id]) -> None:
        # Not undone: a portfolio that is named here without cause costs one look.
        for demand in demands:
            self._tables.attached.setdefault(demand, {})[portfolio] = None

    def epoch(self) -> int:
        return self._tables.epoch

    def lead(self) -> int:
        self._tables.epoch += 1
        return self._tables.epoch

    def scheduled(self, grid: Timestamp) -> bool:
        return grid in self._tables.grid

    def add_batch(self, batch: StoredBatch) -> StoredBatch:
        tables = self._tables
        record = msgspec.structs.replace(batch.record, seq=len(tables.batches) + 1)
        stored = msgspec.structs.replace(batch, record=record)
        tables.batches[batch.as_of] = stored
        self._undo.append(lambda: tables.batches.pop(batch.as_of))
        if record.outcome_hash is not None:
            tables.cleared.append(batch.as_of)
            self._undo.append(tables.cleared.pop)
        if batch.scheduled is not None:
            tables.grid.add(batch.scheduled)
        return stored


def _replace_tail(timeline: list[Version], keep: int, tail: list[Version]) -> None:
    timeline[keep:] = tail


def _valid(timeline: list[Version], at: Timestamp) -> Version | None:
    index = bisect_right(timeline, at, key=lambda version: version.valid_from)
    return timeline[index - 1] if index else None


def _outcome(batch: StoredBatch, kind: Kind, key: Id) -> RatePrice | None:
    if kind is Kind.PORTFOLIO:
        return batch.portfolios.get(key)
    result = batch.record.products.get(key)
    return None if result is None else RatePrice(price=result.price, rate=result.rate)


def _newest(items: list[_T], times: list[Timestamp], window: Window) -> list[_T]:
    low = 0 if window.after is None else bisect_left(times, window.after)
    high = len(times) if window.before is None else bisect_left(times, window.before)
    return items[low:high][: -window.limit - 1 : -1]
