"""The rounds: start, write, kill, check."""

import multiprocessing
import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, cast, final
from uuid import UUID

import httpx
import msgspec
import trio

from flowtrade.client import FlowtradeClient
from flowtrade.core.mirror import Mirror
from flowtrade.core.solver import ClearingSolver
from flowtrade.errors import ConnectionFailed
from flowtrade.models.ids import Id
from flowtrade.ports import Solver
from flowtrade.settings import StoreSettings
from flowtrade.store.open import open_database, open_store
from flowtrade.testing.crash.audit import Toll, audit, mirror_agrees, replay_last
from flowtrade.testing.crash.load import (
    Bidder,
    CurveBidder,
    ListBidder,
    SubmissionBidder,
    token_of,
)
from flowtrade.testing.crash.victim import Point, serve_until_killed
from netcore.clock import SystemClock

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

__all__ = ["Victim", "torment"]

_EVERY: Final = 0.05
"""Seconds between auctions: some happen in every round."""

_MOST: Final = 80
"""Answers in one round before the kill, at most."""

_PAUSE: Final = 0.02
"""Seconds between the last of these answers and the kill, at most: so it comes at any
instant of a group and of a batch."""

_PASSAGES: Final = 40
"""Passages of a point before a victim dies there, at most."""

_BATCHES: Final = 5
"""Batches of a victim that dies in one, at most."""

_PATIENCE: Final = 300.0
"""Seconds for a round: far more than a busy machine needs."""


async def torment(
    url: str,
    *,
    rounds: int,
    seed: int,
    points: tuple[Point | None, ...] = (None,),
    solver: Solver | None = None,
    report: Callable[[int, Toll], None] | None = None,
) -> Toll:
    """Kill the server of a store again and again, and check the store every time.

    Args:
        url: Of an empty store on disk or on a server.
        rounds: How often.
        seed: Of the instants and of what is written.
        points: Where the victims die, one after the other; None by our signal.
        solver: That replays the last batch of each round.
        report: Called after each round.

    Raises:
        AssertionError: Something was lost, doubled or torn.
    """
    tormentor = _Tormentor(url, seed, solver or ClearingSolver())
    for number in range(rounds):
        await tormentor.round(points[number % len(points)])
        if report is not None:
            report(number + 1, tormentor.toll)
    return tormentor.toll


@final
class _Tormentor:
    """The bidders, who outlive the servers."""

    def __init__(self, url: str, seed: int, solver: Solver) -> None:
        self.toll = Toll()
        self._url = url
        self._solver = solver
        self._dice = random.Random(seed)  # noqa: S311  # repeatable on purpose
        self._item: Id = ""
        self._answers = 0
        self._enough = trio.Event()
        self._bidders: list[Bidder] = [
            *(CurveBidder(self._new_id(), self._get_item) for _ in range(6)),
            *(
                SubmissionBidder(
                    self._new_id(),
                    self._get_item,
                    random.Random(self._dice.getrandbits(64)),  # noqa: S311  # as above
                )
                for _ in range(6)
            ),
            ListBidder(self._new_id(), self._dice),
        ]

    async def round(self, point: Point | None) -> None:
        """Start a server, write to it, kill it, check what it has kept."""
        most = _BATCHES if point is Point.IN_BATCH else _PASSAGES
        count = self._dice.randint(1, most)
        victim = await trio.to_thread.run_sync(partial(Victim, self._url, point, count))
        try:
            url = await trio.to_thread.run_sync(victim.address)
            if url is not None:
                await self._write(url, victim, point)
        finally:
            await trio.to_thread.run_sync(victim.kill)
        self.toll.kills += 1
        await self._check()

    async def _write(self, url: str, victim: "Victim", point: Point | None) -> None:
        self._enough = trio.Event()
        self._answers = self._dice.randint(1, _MOST)
        pause = self._dice.uniform(0.0, _PAUSE)
        with trio.fail_after(_PATIENCE):
            async with (
                httpx.AsyncClient(
                    base_url=url,
                    timeout=_PATIENCE,
                    limits=httpx.Limits(max_connections=None),
                ) as http,
                trio.open_nursery() as nursery,
            ):
                if not self._item:
                    await self._make_item(url, http)
                for bidder in self._bidders:
                    nursery.start_soon(self._bid, bidder, url, http)
                if point is None:
                    await self._enough.wait()
                    await trio.sleep(pause)
                    await trio.to_thread.run_sync(victim.kill)

    async def _bid(self, bidder: Bidder, url: str, http: httpx.AsyncClient) -> None:
        token = token_of(bidder.bidder)
        client = FlowtradeClient(url, token, http=http, timeout=_PATIENCE)
        while True:
            try:
                await bidder.write(client, http)
            except ConnectionFailed:
                return
            self._answers -= 1
            if self._answers <= 0:
                self._enough.set()

    async def _make_item(self, url: str, http: httpx.AsyncClient) -> None:
        client = FlowtradeClient(url, token_of(self._new_id()), http=http)
        with suppress(ConnectionFailed):  # the next round makes it
            found = (await client.products()).results
            record = found[0] if found else await client.create_product("item")
            self._item = record.id

    async def _check(self) -> None:
        session = await trio.to_thread.run_sync(open_database(self._url).open_reader)
        try:
            await trio.to_thread.run_sync(audit, session, self._bidders, self.toll)
            settings = StoreSettings(url=self._url)
            async with open_store(settings, clock=SystemClock()) as store:
                mirror = Mirror.from_snapshot(await store.snapshot())
                await trio.to_thread.run_sync(mirror_agrees, mirror, session)
                replayed = await replay_last(store, mirror, self._solver)
            self.toll.replayed += replayed
        finally:
            session.close()

    def _new_id(self) -> Id:
        return str(UUID(int=self._dice.getrandbits(128)))

    def _get_item(self) -> Id:
        return self._item


@final
class Victim:
    """A server in a process of its own; all calls block.

    Args:
        url: Of its store.
        point: Where it dies by its own hand, or None.
        count: At which passage of that point.
        every: Seconds between auctions.

    Attributes:
        pid: Of the process.
    """

    def __init__(
        self,
        url: str,
        point: Point | None = None,
        count: int = 0,
        *,
        every: float = _EVERY,
    ) -> None:
        # A fork of a server process that has everything imported: starting one costs
        # milliseconds, and no thread of ours is copied half-way.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([serve_until_killed.__module__])
        self._told, telling = context.Pipe(duplex=False)
        self._process: BaseProcess = context.Process(
            target=serve_until_killed, args=(url, every, point, count, telling)
        )
        self._process.start()
        telling.close()
        self.pid = cast("int", self._process.pid)  # known once it has started

    def address(self) -> str | None:
        """Return where it answers, or None if it died before."""
        told: Connection = self._told
        if not told.poll(_PATIENCE):
            raise TimeoutError(f"no server within {_PATIENCE:g} s")
        try:
            return msgspec.convert(told.recv(), str)
        except EOFError:
            return None

    def kill(self) -> None:
        """Kill it and wait for its end."""
        self._process.kill()
        self._process.join()
        self._told.close()
