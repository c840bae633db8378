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
from collections.abc import Mapping
from typing import final

import msgspec
import trio

from flowtrade.core.mirror import CAP, AuctionInput, Limits, Mirror
from flowtrade.core.operations import Applied, Cut, StoreBatch
from flowtrade.core.state import Batched, Entity, StoredBatch
from flowtrade.errors import BatchFailed, NotFound, SolverFailed
from flowtrade.ids import entity_name
from flowtrade.models.batch import BatchRecord, BatchStatus, ProductResult
from flowtrade.models.clearing import RatePrice
from flowtrade.models.curve import Curve, PwlCurve
from flowtrade.models.ids import Id
from flowtrade.models.time import format_timestamp
from flowtrade.models.update import (
    BatchUpdate,
    BidderUpdate,
    ProductUpdate,
    PublishedBid,
)
from flowtrade.ports import Publisher, Solution, Solver, Store
from flowtrade.settings import AuctionSettings, Transparency
from netcore.models import Timestamp

__all__ = ["Auctioneer", "Replay", "input_hash", "outcome_hash"]

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
    """What was gathered at a cut, and the names and owners as they were."""

    at: Timestamp
    auction: AuctionInput
    targets: dict[Id, float]
    reference: dict[Id, float]
    names: dict[Id, str | None]
    owners: dict[Id, Id]
    bid_names: dict[Id, str | None]
    traded: dict[Id, float]


_NOTHING = _Input(
    at=-1,
    auction=AuctionInput(demands={}, portfolios={}),
    targets={},
    reference={},
    names={},
    owners={},
    bid_names={},
    traded={},
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
        self._store = store
        self._mirror = mirror
        self._solver = solver
        self._publisher = publisher
        self._settings = settings
        self._turn = trio.Lock()  # fair: first come, first served
        self._threads = trio.CapacityLimiter(1)
        self._gathered: _Input = _NOTHING
        store.subscribe(self._follow)

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
            StoreBusy, StoreFailed, StoreClosed: The store refused.
        """
        async with self._turn:
            cut = Cut(at=as_of, scheduled=scheduled)
            applied = await self._store.execute(cut)
            gathered = self._gathered
            assert gathered.at == applied.timestamp  # noqa: S101  # ours is the last cut
            verdict = await self._solve(gathered.auction, gathered.targets)
            batch = _batch(applied.timestamp, scheduled, gathered, verdict)
            stored = await self._store.execute(StoreBatch(batch=batch))
            (change,) = stored.changes
            assert isinstance(change, Batched)  # noqa: S101  # what StoreBatch does
            self._publish(change.batch, gathered)
            return change.batch.record

    async def rehearse(self) -> BatchRecord:
        """Return what a batch would be now; nothing is stored or told.

        Returns:
            A record with `seq` 0, cleared or failed.
        """
        gathered = self._gather(self._mirror.at)
        verdict = await self._solve(gathered.auction, gathered.targets)
        return _batch(gathered.at, None, gathered, verdict).record

    async def replay(self, as_of: Timestamp) -> Replay:
        """Solve a stored batch again from the history.

        Raises:
            NotFound: No batch of this moment.
        """
        stored = await self._store.batch(as_of)
        if stored is None:
            raise NotFound("batch", format_timestamp(as_of))
        past = Mirror.from_snapshot(await self._store.snapshot(as_of))
        auction = past.gather(self._limits(as_of))
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

    def _gather(self, at: Timestamp) -> _Input:
        mirror = self._mirror
        auction = mirror.gather(self._limits(at))
        targets = _targets(mirror.batch, self.reference)
        held = {key for terms in auction.portfolios.values() for key in terms.basis}
        bids = {
            key: view.entity
            for key in auction.portfolios
            if (view := mirror.portfolio(key)) is not None
        }
        return _Input(
            at=at,
            auction=auction,
            targets={key: price for key, price in targets.items() if key in held},
            reference=dict(self.reference),
            names={key: _name(mirror.products.get(key)) for key in held},
            owners={key: entity.owner for key, entity in bids.items()},
            bid_names={key: _name(entity) for key, entity in bids.items()},
            traded={key: mirror.traded(key, at) for key in bids},
        )

    def _limits(self, at: Timestamp) -> Limits | None:
        horizon = self._settings.horizon
        if horizon is None:
            return None
        return Limits(at=at, horizon=horizon, unit=self._settings.rate_unit)

    async def _solve(
        self, auction: AuctionInput, targets: Mapping[Id, float]
    ) -> _Verdict:
        limit = self._settings.time_limit

        def work() -> Solution:
            return self._solver.solve(auction, targets=targets, time_limit=limit)

        try:
            # Abandoned on cancellation, so that a solver that ignores its limit holds
            # up neither the market nor the end of the service.
            with trio.fail_after(limit + _SLACK):
                solution = await trio.to_thread.run_sync(
                    work, abandon_on_cancel=True, limiter=self._threads
                )
        except trio.TooSlowError:
            return _Verdict(error=f"the solver did not answer within {limit:g} s")
        except BatchFailed as error:
            return _Verdict(error=str(error), orders=error.orders)
        except SolverFailed as error:
            return _Verdict(error=str(error))
        return _Verdict(solution=solution)

    def _publish(self, batch: StoredBatch, gathered: _Input) -> None:
        record = batch.record
        publish = self._publisher.publish
        publish(("market", ""), self._market_update(batch, gathered))
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
            publish(("product", key), update)
        for bidder, outcomes in _by_bidder(batch, gathered).items():
            private = BidderUpdate(
                as_of=record.as_of, seq=record.seq, portfolios=outcomes
            )
            publish(("bidder", bidder), private)

    def _market_update(self, batch: StoredBatch, gathered: _Input) -> BatchUpdate:
        record = batch.record
        book = self._settings.transparency is Transparency.BOOK
        return BatchUpdate(
            as_of=record.as_of,
            seq=record.seq,
            status=record.status,
            gains=record.gains,
            products=record.products,
            report=record.report,
            certificate=record.certificate,
            error=record.error if record.error is not None else msgspec.UNSET,
            bids=_book(batch, gathered) if book else msgspec.UNSET,
        )


def input_hash(auction: AuctionInput, targets: Mapping[Id, float]) -> str:
    """Return the SHA-256 of all that decides an outcome, hexadecimal.

    Keys are sorted and numbers written in their shortest form, so equal inputs have
    equal hashes whatever order they were gathered in.
    """
    return _sha256(
        {
            "demands": {key: _numbers(curve) for key, curve in auction.demands.items()},
            "portfolios": {
                key: (_floats(terms.demand), _floats(terms.basis))
                for key, terms in auction.portfolios.items()
            },
            "targets": _floats(targets),
        }
    )


def outcome_hash(solution: Solution) -> str:
    """Return the SHA-256 of all prices and rates, hexadecimal."""
    return _sha256({"portfolios": solution.portfolios, "products": solution.products})


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


def _sha256(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()


def _batch(
    as_of: Timestamp, scheduled: Timestamp | None, gathered: _Input, verdict: _Verdict
) -> StoredBatch:
    solution = verdict.solution
    record = BatchRecord(
        as_of=format_timestamp(as_of),
        seq=0,  # the store numbers it
        scheduled=None if scheduled is None else format_timestamp(scheduled),
        status=BatchStatus.FAILED if solution is None else BatchStatus.CLEARED,
        gains=None if solution is None else solution.gains,
        products={} if solution is None else _results(solution, gathered),
        demands=sum(not key.startswith(CAP) for key in gathered.auction.demands),
        portfolios=len(gathered.auction.portfolios),
        report=None if solution is None else solution.report,
        certificate=None if solution is None else solution.certificate,
        input_hash=input_hash(gathered.auction, gathered.targets),
        outcome_hash=None if solution is None else outcome_hash(solution),
        targets=gathered.targets,
        error=verdict.error,
        orders=list(verdict.orders),
    )
    return StoredBatch(
        as_of=as_of,
        scheduled=scheduled,
        record=record,
        portfolios={} if solution is None else solution.portfolios,
        traded={} if solution is None else gathered.traded,
    )


def _results(solution: Solution, gathered: _Input) -> dict[Id, ProductResult]:
    return {
        key: ProductResult(
            price=outcome.price,
            rate=outcome.rate,
            reference=gathered.reference.get(key),
            name=gathered.names.get(key),
        )
        for key, outcome in solution.products.items()
    }


def _by_bidder(batch: StoredBatch, gathered: _Input) -> dict[Id, dict[Id, RatePrice]]:
    grouped: dict[Id, dict[Id, RatePrice]] = {}
    for key, outcome in batch.portfolios.items():
        grouped.setdefault(gathered.owners[key], {})[key] = outcome
    return grouped


def _book(batch: StoredBatch, gathered: _Input) -> list[PublishedBid]:
    return [
        PublishedBid(
            portfolio=key,
            name=gathered.bid_names[key],
            bidder=gathered.owners[key],
            basis=gathered.auction.portfolios[key].basis,
            rate=outcome.rate,
            price=outcome.price,
        )
        for key, outcome in batch.portfolios.items()
    ]


def _name(entity: Entity | None) -> str | None:
    return None if entity is None else entity_name(entity.app_data)
