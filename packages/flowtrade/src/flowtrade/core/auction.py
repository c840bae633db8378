"""One batch after the other: cut, gather, solve, certify, store, publish.

Theory. The cut is an operation like any other: it goes through the store's queue and
gets a timestamp, so the operations before it and after it are decided by the log and
by nothing else. When the store tells that the cut has happened, the mirror stands
exactly there, and the input is gathered in that instant. What follows may take its
time: bids that change meanwhile belong to the next batch.

A market that cannot be cleared (unlimited orders cross) makes a failed batch: stored,
told, with the orders named, and no prices. Nothing is published before it is stored,
and nothing is stored as cleared before it is certified.

Batches run one at a time, first come first served.
"""

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from heapq import merge
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, TypeVar, final

import msgspec
import trio

from flowtrade.core.mirror import CAP, AuctionInput, Limits, Mirror
from flowtrade.core.operations import Applied, Cut, StoreBatch
from flowtrade.core.state import Batched, Entity, StoredBatch
from flowtrade.core.strays import OneAtATime
from flowtrade.core.switches import quick_switches
from flowtrade.core.turns import Turns
from flowtrade.errors import BatchFailed, NotFound, NotLeader, SolverFailed
from flowtrade.ids import entity_name
from flowtrade.models.batch import BatchRecord, BatchStatus, ProductResult
from flowtrade.models.curve import Curve, PwlCurve
from flowtrade.models.ids import Id
from flowtrade.models.time import format_timestamp
from flowtrade.models.update import (
    BatchUpdate,
    BidderUpdate,
    BookUpdate,
    ProductUpdate,
    PublishedBid,
    Update,
)
from flowtrade.ports import Publisher, Solution, Solver, Store, Topic
from flowtrade.settings import AuctionSettings, Transparency
from netcore.models import Timestamp

if TYPE_CHECKING:
    from flowtrade.models.clearing import RatePrice, SetAside

__all__ = ["Auctioneer", "Replay", "input_hash", "outcome_hash"]

_log = logging.getLogger(__name__)

_PIECE = 1024
"""Entries that are sorted or hashed at once: some milliseconds."""

_FEW = 256
"""Entries that are told at once: some tenths of a millisecond."""

_BOOK = 500
"""Entries of the public book in one event: about a millisecond, and 100 KiB."""

_NAMED = 20
"""Orders that one line of the log names."""

_T = TypeVar("_T")

_SLACK = 5.0
"""Seconds the worker thread gets beyond the solver's own time limit, to notice it."""


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A stored batch solved again.

    Attributes:
        stored: The record as it was.
        input_hash: Of the input gathered from history.
        outcome_hash: Of the outcome solved now, or None if it failed.
    """

    stored: BatchRecord
    input_hash: str
    outcome_hash: str | None

    @property
    def identical(self) -> bool:
        """Whether input and outcome are the same bit for bit."""
        return (
            self.input_hash == self.stored.input_hash
            and self.outcome_hash == self.stored.outcome_hash
        )


class _Input(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken at a cut, in the instant of it."""

    at: Timestamp
    auction: AuctionInput
    targets: dict[Id, float]
    reference: dict[Id, float]


_NOTHING = _Input(
    at=-1,
    auction=AuctionInput(demands={}, portfolios={}),
    targets={},
    reference={},
)


class _Verdict(msgspec.Struct, frozen=True, kw_only=True):
    solution: Solution | None = None
    error: str | None = None
    orders: tuple[str, ...] = ()


@final
class Auctioneer:
    """Runs batches.

    Args:
        store: Where the log is.
        mirror: Follows the store; subscribed before this is made.
        solver: Clears.
        publisher: Is told what was stored.
        settings: Time limit and transparency.

    Attributes:
        reference: Reference prices by product; written by the service.
        fence: The epoch in which this process leads, or None where nobody is chosen;
            written by `flowtrade.lead`.
        leads: Whether batches may be run here; likewise.
    """

    def __init__(
        self,
        *,
        store: Store,
        mirror: Mirror,
        solver: Solver,
        publisher: Publisher,
        settings: AuctionSettings,
    ) -> None:
        self.reference: dict[Id, float] = {}
        self.fence: int | None = None
        self.leads = True
        self._store = store
        self._mirror = mirror
        self._solver = solver
        self._publisher = publisher
        self._settings = settings
        self._turn = trio.Lock()  # fair: first come, first served
        self._solving = OneAtATime()
        self._clerks = trio.CapacityLimiter(1)
        self._gathered: _Input = _NOTHING
        self._telling = trio.Lock()  # one batch after the other, whoever ran them
        self._heard: deque[tuple[StoredBatch, AuctionInput]] = deque()
        self._news_came = trio.Event()
        store.subscribe(self._follow)

    @property
    def able(self) -> bool:
        """Whether the next auction would be solved: not too many solvers are lost."""
        return self._solving.able

    async def run_batch(
        self, as_of: Timestamp | None = None, *, scheduled: Timestamp | None = None
    ) -> BatchRecord:
        """Run one batch.

        Args:
            as_of: The earliest moment of the cut, or None for now. Where operations
                have happened since, the cut comes right after the last of them.
            scheduled: The grid point it is for, so that it is never run twice.

        Returns:
            The stored record, cleared or failed.

        Raises:
            BatchExists: A batch is stored for this grid point.
            NotLeader: Another process runs the batches.
            Superseded: Another process has begun to, and nothing was stored.
            StoreBusy, StoreFailed, StoreClosed: The store refused.
        """
        async with self._turn:
            if not self.leads:
                raise NotLeader
            await self._catch_up()
            fence = self.fence  # of the cut: a leader may change before it is stored
            cut = Cut(at=as_of, scheduled=scheduled, fence=fence)
            applied = await self._store.execute(cut)
            gathered = self._gathered
            assert gathered.at == applied.timestamp  # noqa: S101  # ours is the last cut
            with quick_switches():
                batch = await self._decide(gathered, scheduled)
                stored = await self._store.execute(StoreBatch(batch=batch, fence=fence))
            (change,) = stored.changes
            assert isinstance(change, Batched)  # noqa: S101  # what StoreBatch does
            self._warn(change.batch.record)
            # It has happened: that it is told is nothing to be cancelled any more.
            with trio.CancelScope(shield=True):
                await self._publish_in_turns(change.batch, gathered.auction)
            return change.batch.record

    def _warn(self, record: BatchRecord) -> None:
        """Tell the operator, by ids alone, who had to be set aside."""
        aside = record.set_aside
        if not aside:
            return
        named = [one.portfolio for one in aside[:_NAMED]]
        more = f" and {len(aside) - _NAMED} more" if len(aside) > _NAMED else ""
        _log.warning(
            "batch %s was cleared without %d orders, whose numbers are far out of "
            "scale: %s%s",
            record.as_of,
            len(aside),
            ", ".join(f"{key} of {self._bid(key).owner}" for key in named),
            more,
        )

    async def rehearse(self) -> BatchRecord:
        """Return what a batch would be now; nothing is stored or told.

        Returns:
            A record with `seq` 0, cleared or failed.
        """
        await self._catch_up()
        gathered = self._gather(self._mirror.at)
        with quick_switches():
            return (await self._decide(gathered, None)).record

    async def replay(self, as_of: Timestamp) -> Replay:
        """Solve a stored batch again from the history.

        Raises:
            NotFound: No batch of this moment.
        """
        stored = await self._store.batch(as_of)
        if stored is None:
            raise NotFound("batch", format_timestamp(as_of))
        past = Mirror.from_snapshot(await self._store.snapshot(as_of))
        auction = past.gather(self._limits_of(stored))
        targets = stored.record.targets
        verdict = await self._solve(auction, targets)
        solution = verdict.solution
        return Replay(
            stored=stored.record,
            input_hash=input_hash(auction, targets),
            outcome_hash=None if solution is None else outcome_hash(solution),
        )

    def _follow(self, applied: Applied) -> None:
        if isinstance(applied.operation, Cut):
            self._gathered = self._gather(applied.timestamp)
        elif applied.operation is None:
            for change in applied.changes:
                if isinstance(change, Batched):
                    # Another process has run it; our clients listen here. Bases are
                    # as they stand by now: a basis may have changed since the cut.
                    self._heard.append((change.batch, self._mirror.gather()))
                    self._news_came.set()

    async def _catch_up(self) -> None:
        # A division touches every portfolio; at the cut itself nobody else runs.
        turns = Turns()
        while self._mirror.catch_up():
            await turns.give_way()

    def _gather(self, at: Timestamp) -> _Input:
        mirror = self._mirror
        auction = mirror.gather(self._limits(at))
        targets = _targets(mirror.batch, self.reference)
        return _Input(
            at=at, auction=auction, targets=targets, reference=dict(self.reference)
        )

    async def _decide(
        self, gathered: _Input, scheduled: Timestamp | None
    ) -> StoredBatch:
        """Solve what was gathered, and make the batch of it.

        Whatever looks at every bid is done in a thread, so that the event loop turns.
        """
        gathered = await self._in_thread(partial(_narrowed, gathered))
        verdict = await self._solve(gathered.auction, gathered.targets)
        return await self._in_thread(partial(self._batch, scheduled, gathered, verdict))

    def _batch(
        self, scheduled: Timestamp | None, gathered: _Input, verdict: _Verdict
    ) -> StoredBatch:
        solution, at = verdict.solution, gathered.at
        # Products and positions do not change before this batch is stored.
        products = {} if solution is None else solution.products
        names = {key: _name(self._mirror.products.get(key)) for key in products}
        traded = {} if solution is None else self._traded(solution.portfolios, at)
        capped = sum(key.startswith(CAP) for key in gathered.auction.demands)
        return StoredBatch(
            as_of=at,
            scheduled=scheduled,
            record=_record(scheduled, gathered, verdict, names, self._settings),
            portfolios={} if solution is None else solution.portfolios,
            traded=traded,
            expires=at + self._horizon if capped else None,
        )

    def _traded(self, keys: Iterable[Id], at: Timestamp) -> dict[Id, float]:
        return {key: self._mirror.traded(key, at) for key in keys}

    @property
    def _horizon(self) -> int:
        return round((self._settings.horizon or 0.0) * 1e9)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        # Not the solver's thread: one that was given up may hold that for long.
        return await trio.to_thread.run_sync(work, limiter=self._clerks)

    def _limits(self, at: Timestamp) -> Limits | None:
        horizon = self._settings.horizon
        if horizon is None:
            return None
        return Limits(at=at, horizon=horizon, unit=self._settings.rate_unit)

    def _limits_of(self, stored: StoredBatch) -> Limits | None:
        """Return the limits of a stored batch, whatever the settings are by now."""
        horizon, unit = stored.record.horizon, stored.record.rate_unit
        if unit is None:  # of a version that did not note them
            return self._limits(stored.as_of)
        if horizon is None:
            return None
        return Limits(at=stored.as_of, horizon=horizon, unit=unit)

    async def _solve(
        self, auction: AuctionInput, targets: Mapping[Id, float]
    ) -> _Verdict:
        limit = self._settings.time_limit

        def work() -> Solution:
            return self._solver.solve(auction, targets=targets, time_limit=limit)

        try:
            # A solver that ignores its limit holds up neither the market nor the end
            # of the service.
            solution = await self._solving.run(work, seconds=limit + _SLACK)
        except trio.TooSlowError:
            return _Verdict(error=f"the solver did not answer within {limit:g} s")
        except BatchFailed as error:
            return _Verdict(error=str(error), orders=error.orders)
        except SolverFailed as error:
            return _Verdict(error=str(error))
        except MemoryError as error:
            # Bids decide how large a market is: that is no bug, and ends nothing.
            return _Verdict(error=f"the market is too large for the memory: {error}")
        return _Verdict(solution=solution)

    async def tell_others(self) -> None:
        """Tell the batches that other processes have run, until cancelled."""
        while True:
            while self._heard:
                await self._publish_in_turns(*self._heard.popleft())
            self._news_came = trio.Event()
            await self._news_came.wait()

    async def _publish_in_turns(
        self, batch: StoredBatch, auction: AuctionInput
    ) -> None:
        """Publish a batch, and let others run every few milliseconds."""
        turns = Turns()
        async with self._telling:
            for news in self._news(batch, auction):
                if news is not None:
                    self._publisher.publish(*news)
                await turns.give_way()

    def _news(
        self, batch: StoredBatch, auction: AuctionInput
    ) -> Iterator[tuple[Topic, Update] | None]:
        """Yield what is told of a batch, and None where it may be interrupted."""
        record = batch.record
        for told in self._market_news(batch, auction):
            yield ("market", ""), told
        if record.status is not BatchStatus.CLEARED:
            return
        for key, result in record.products.items():
            update = ProductUpdate(
                as_of=record.as_of,
                seq=record.seq,
                price=result.price,
                rate=result.rate,
                reference=result.reference,
            )
            yield ("product", key), update
        by_bidder: dict[Id, dict[Id, RatePrice]] = {}
        for number, (key, outcome) in enumerate(batch.portfolios.items()):
            by_bidder.setdefault(self._bid(key).owner, {})[key] = outcome
            if number % _FEW == 0:
                yield None
        aside: dict[Id, list[SetAside]] = {}
        for one in record.set_aside:
            aside.setdefault(self._bid(one.portfolio).owner, []).append(one)
        for bidder, outcomes in by_bidder.items():
            private = BidderUpdate(
                as_of=record.as_of,
                seq=record.seq,
                portfolios=outcomes,
                set_aside=aside.get(bidder, msgspec.UNSET),
            )
            yield ("bidder", bidder), private

    def _market_news(
        self, batch: StoredBatch, auction: AuctionInput
    ) -> Iterator[BatchUpdate | BookUpdate]:
        """Yield the batch, and what of its public book is too long for one event."""
        record = batch.record
        book = self._settings.transparency is Transparency.BOOK
        pieces = self._book(batch, auction) if book else iter(())
        first, total = next(pieces, []), len(batch.portfolios)
        yield BatchUpdate(
            as_of=record.as_of,
            seq=record.seq,
            status=record.status,
            gains=record.gains,
            rate_unit=self._settings.rate_unit,
            products=record.products,
            report=record.report,
            certificate=record.certificate,
            error=record.error if record.error is not None else msgspec.UNSET,
            set_aside=record.set_aside or msgspec.UNSET,
            bids=first if book else msgspec.UNSET,
            book=total if book and len(first) < total else msgspec.UNSET,
        )
        start = len(first)
        for piece in pieces:
            yield BookUpdate(
                as_of=record.as_of, seq=record.seq, start=start, bids=piece
            )
            start += len(piece)

    def _book(
        self, batch: StoredBatch, auction: AuctionInput
    ) -> Iterator[list[PublishedBid]]:
        terms = auction.portfolios
        # JSON has no word for weights that are no finite numbers.
        broken = {a.portfolio for a in batch.record.set_aside if a.value is None}
        bids = (
            PublishedBid(
                portfolio=key,
                name=_name(bid := self._bid(key)),
                bidder=bid.owner,
                basis=terms[key].basis if key in terms and key not in broken else {},
                rate=outcome.rate,
                price=outcome.price,
            )
            for key, outcome in batch.portfolios.items()
        )
        while piece := list(islice(bids, _BOOK)):
            yield piece

    def _bid(self, key: Id) -> Entity:
        view = self._mirror.portfolio(key)
        assert view is not None  # noqa: S101  # portfolios stay for ever
        return view.entity


def input_hash(auction: AuctionInput, targets: Mapping[Id, float]) -> str:
    """Return the SHA-256 of all that decides an outcome, hexadecimal.

    It is that of one JSON object. Keys are sorted and numbers written in their shortest
    form, so equal inputs have equal hashes whatever order they were gathered in.
    """
    terms = auction.portfolios
    return _sha256(
        ("demands", auction.demands, _numbers),
        ("portfolios", terms, lambda one: (_floats(one.demand), _floats(one.basis))),
        ("targets", targets, float),
    )


def outcome_hash(solution: Solution) -> str:
    """Return the SHA-256 of all prices and rates, hexadecimal."""
    return _sha256(
        ("portfolios", solution.portfolios, _same),
        ("products", solution.products, _same),
    )


def _same(value: object) -> object:
    return value


def _targets(
    last: StoredBatch | None, reference: Mapping[Id, float]
) -> dict[Id, float]:
    """Where ambiguous prices are drawn to: the last clearing price, else outside's.

    A price that the market itself found stands until its bids support it no longer;
    an exchange's mid moves with every message and would move idle prices along.
    """
    targets = dict(reference)
    for key, result in last.record.products.items() if last is not None else ():
        if result.price is not None:
            targets[key] = result.price
    return targets


def _numbers(curve: Curve) -> list[tuple[float, float]]:
    # Points for either shape; an infinite rate becomes null, which no number is.
    if isinstance(curve, PwlCurve):
        return [(float(point.rate), float(point.price)) for point in curve.points]
    return [(float(rate), float(curve.price)) for rate in curve.domain]


def _floats(group: Mapping[Id, float]) -> dict[Id, float]:
    # A whole number given as int is the same number, read back from JSON or not.
    return {key: float(weight) for key, weight in group.items()}


def _sha256(*members: tuple[str, Mapping[Id, Any], Callable[[Any], object]]) -> str:
    """Hash the JSON object with these objects as members, in pieces.

    As one piece it would keep the interpreter, and with it the event loop, busy for
    seconds in a large market.
    """
    digest = hashlib.sha256()
    for number, (name, values, read) in enumerate(members):
        digest.update(b'%b"%b":{' % (b"," if number else b"{", name.encode()))
        keys = _sorted(values)
        for start in range(0, len(keys), _PIECE):
            piece = {key: read(values[key]) for key in keys[start : start + _PIECE]}
            text = msgspec.json.encode(piece, order="sorted")[1:-1]
            digest.update(b"," + text if start else text)
        digest.update(b"}")
    digest.update(b"}")
    return digest.hexdigest()


def _sorted(keys: Iterable[Id]) -> list[Id]:
    """Sort as UTF-8 would be, in runs: a long sort holds the interpreter throughout."""
    rest = iter(keys)
    runs: list[list[Id]] = []
    while run := sorted(islice(rest, _PIECE)):
        runs.append(run)
    if all(a[-1] <= b[0] for a, b in pairwise(runs)):
        return [key for run in runs for key in run]  # ids are made in this order
    return list(merge(*runs))


def _narrowed(gathered: _Input) -> _Input:
    """Keep the targets of what the bids hold."""
    held: set[Id] = set()
    for one in gathered.auction.portfolios.values():
        held.update(one.basis)
    targets = {key: price for key, price in gathered.targets.items() if key in held}
    return msgspec.structs.replace(gathered, targets=targets)


def _record(
    scheduled: Timestamp | None,
    gathered: _Input,
    verdict: _Verdict,
    names: Mapping[Id, str | None],
    settings: AuctionSettings,
) -> BatchRecord:
    solution = verdict.solution
    return BatchRecord(
        as_of=format_timestamp(gathered.at),
        seq=0,  # the store numbers it
        scheduled=None if scheduled is None else format_timestamp(scheduled),
        status=BatchStatus.FAILED if solution is None else BatchStatus.CLEARED,
        gains=None if solution is None else solution.gains,
        products={} if solution is None else _results(solution, gathered, names),
        demands=sum(not key.startswith(CAP) for key in gathered.auction.demands),
        portfolios=len(gathered.auction.portfolios),
        report=None if solution is None else solution.report,
        certificate=None if solution is None else solution.certificate,
        input_hash=input_hash(gathered.auction, gathered.targets),
        outcome_hash=None if solution is None else outcome_hash(solution),
        targets=gathered.targets,
        error=verdict.error,
        orders=list(verdict.orders),
        set_aside=[] if solution is None else solution.set_aside,
        horizon=settings.horizon,
        rate_unit=settings.rate_unit,
    )


def _results(
    solution: Solution, gathered: _Input, names: Mapping[Id, str | None]
) -> dict[Id, ProductResult]:
    return {
        key: ProductResult(
            price=outcome.price,
            rate=outcome.rate,
            reference=gathered.reference.get(key),
            name=names[key],
            unique=found.unique if (found := solution.ranges.get(key)) else None,
            price_min=found.price_min if found else None,
            price_max=found.price_max if found else None,
        )
        for key, outcome in solution.products.items()
    }


def _name(entity: Entity | None) -> str | None:
    return None if entity is None else entity_name(entity.app_data)
