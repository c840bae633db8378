"""The process that is killed: a server, and instants at which it kills itself."""

import logging
import os
import signal
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import partial
from multiprocessing.connection import Connection
from typing import Final, final

import trio

from flowtrade.auth import FormAuthorizer
from flowtrade.ports import Lock
from flowtrade.serve.auction import Auction, run_auction
from flowtrade.settings import ScheduleSettings, ServerSettings, Settings, StoreSettings
from flowtrade.store.group import GroupStore
from flowtrade.store.landing import Landing
from flowtrade.store.open import open_database, running
from flowtrade.store.sessions import Bell, Database, Rows, Session
from netcore.clock import SystemClock

__all__ = ["Point", "serve_until_killed"]

_NOTHING: Final[Mapping[str, object]] = {}

_LANDING: Final = Landing(least=1, most=48, share=1)
"""Victims have a few dozen clients: whatever lands, and is moved, does so often."""


class Point(Enum):
    """An instant at which a victim kills itself."""

    BEFORE_COMMIT = "before commit"
    """All rows are written, none is committed."""
    BEFORE_ANSWER = "before answer"
    """The commit has returned, nobody has been told."""
    IN_BATCH = "in batch"
    """A batch is written, its outcomes are not."""


def serve_until_killed(
    url: str, every: float, point: Point | None, count: int, told: Connection
) -> None:
    """Serve the store of `url` until SIGKILL comes.

    Args:
        url: Of the store.
        every: Seconds between auctions.
        point: Where to die by our own hand, or None.
        count: At which passage of that point.
        told: Is sent the URL of the server once it answers.
    """
    logging.disable(logging.WARNING)  # a killed server's last words are of no interest
    trio.run(_serve, url, every, point, count, told)


async def _serve(
    url: str, every: float, point: Point | None, count: int, told: Connection
) -> None:
    database = open_database(url)
    if point is not None:
        database = _DeadlyDatabase(database, _Fuse(point, count))
    settings = Settings(
        server=ServerSettings(port=0),
        store=StoreSettings(url=url),
        schedule=ScheduleSettings(every=every),
    )
    clock = SystemClock()
    async with (
        running(GroupStore(database, clock=clock, landing=_LANDING)) as store,
        trio.open_nursery() as nursery,
    ):
        auction: Auction = await nursery.start(
            partial(
                run_auction,
                settings,
                authorizer=FormAuthorizer(),
                clock=clock,
                store=store,
            )
        )
        told.send(auction.url)


@final
class _Fuse:
    """Counts passages of a point, and kills the process at the last one."""

    def __init__(self, point: Point, count: int) -> None:
        self._point = point
        self._left = count

    def passed(self, point: Point) -> None:
        if point is self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


@final
class _DeadlyDatabase:
    """The port `Database` over another one, with a fuse in its writer."""

    def __init__(self, database: Database, fuse: _Fuse) -> None:
        self._database = database
        self._fuse = fuse
        self.shared = database.shared
        self.name = database.name
        self.errors = database.errors

    def open_writer(self) -> Session:
        return _DeadlySession(self._database.open_writer(), self._fuse)

    def open_reader(self) -> Session:
        return self._database.open_reader()

    def open_bell(self) -> Bell:
        return self._database.open_bell()

    def open_lock(self, silence: float) -> Lock:
        return self._database.open_lock(silence)


@final
class _DeadlySession:
    """The port `Session` over another one, with a fuse."""

    def __init__(self, session: Session, fuse: _Fuse) -> None:
        self._session = session
        self._fuse = fuse
        self.begin = session.begin
        self.begin_snapshot = session.begin_snapshot
        self.rollback = session.rollback
        self.close = session.close
        self.lands = session.lands

    @property
    def lost(self) -> bool:
        return self._session.lost

    def execute(self, sql: str, parameters: Mapping[str, object] = _NOTHING) -> Rows:
        return self._session.execute(sql, parameters)

    def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        if sql.startswith("INSERT INTO outcome"):
            self._fuse.passed(Point.IN_BATCH)
        self._session.execute_many(sql, rows)

    def commit(self) -> None:
        self._fuse.passed(Point.BEFORE_COMMIT)
        self._session.commit()
        self._fuse.passed(Point.BEFORE_ANSWER)
