"""`flowtrade migrate`, `backup`, `replay` and `settle`: looking after a store.

`replay` and `settle` open the store for reading and may run beside the service;
`backup` may too. `migrate` needs it for itself.
"""

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import msgspec
import trio
from cyclopts import Parameter

from flowtrade.commands.config import resolve_config
from flowtrade.commands.reporting import one_line
from flowtrade.commands.serve import ConfigFile
from flowtrade.core.auction import Auctioneer
from flowtrade.core.mirror import Mirror
from flowtrade.core.solver import ClearingSolver
from flowtrade.errors import InvalidRequest
from flowtrade.hub import Hub
from flowtrade.models.batch import BatchRecord
from flowtrade.models.clearing import SolverMode
from flowtrade.models.time import TimeError, parse_timestamp
from flowtrade.ports import Window
from flowtrade.program import EXIT_FAILED
from flowtrade.settings import Settings
from flowtrade.statements import Statements, settle_range
from flowtrade.store.backup import backup_sqlite
from flowtrade.store.open import open_database
from flowtrade.store.reading import ReadOnlyStore, open_for_reading
from netcore.clock import SystemClock
from netcore.models import Timestamp

__all__ = ["backup", "migrate", "replay", "settle"]

_PAGE = 200
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1

StoreUrl = Annotated[str | None, Parameter(name=["--store", "-s"])]


@one_line
def migrate(*, store: StoreUrl = None, config: ConfigFile = None) -> int:
    """Bring a store up to this program's schema, or make an empty one.

    A server does the same when it starts; this is for doing it first.

    Args:
        store: `sqlite:PATH` or `postgresql://…`; by default the configuration's.
        config: TOML file.
    """
    database = open_database(_settings(config, store).store.url)
    try:
        database.open_writer().close()
    except database.errors as error:
        raise InvalidRequest(f"{database.name}: {error}") from error
    sys.stdout.write(f"{database.name} has the newest schema\n")
    return 0


@one_line
def backup(target: Path, *, store: StoreUrl = None, config: ConfigFile = None) -> int:
    """Copy a SQLite store to a new file, also while a server writes to it.

    Args:
        target: The copy; must not exist.
        store: `sqlite:PATH`; by default the configuration's.
        config: TOML file.
    """
    url = _settings(config, store).store.url
    scheme, _, path = url.partition(":")
    if scheme != "sqlite":
        raise InvalidRequest(
            f"backup copies sqlite:PATH, not {scheme}; use pg_dump for PostgreSQL",
            where="store.url",
        )
    size = backup_sqlite(Path(path), target)
    sys.stdout.write(f"{target}: {size} bytes, checked\n")
    return 0


@one_line
def replay(
    *,
    as_of: str | None = None,
    begin: Annotated[str | None, Parameter(name="--from")] = None,
    thru: str | None = None,
    solver: SolverMode | None = None,
    store: StoreUrl = None,
    config: ConfigFile = None,
) -> int:
    """Solve stored batches again from the history and compare bit for bit.

    One JSON line a batch, oldest first; exit code 1 if any differs.

    Args:
        as_of: One batch, by its moment (RFC 3339).
        begin: Batches from this moment on.
        thru: Batches before this moment.
        solver: Who solves first, as in the service; by default the configuration's.
        store: `sqlite:PATH` or `postgresql://…`; by default the configuration's.
        config: TOML file; the schedule and auction tables must be the service's.
    """
    flags = _flag(store)
    if solver is not None:
        flags["solver"] = ("--solver", solver.value)
    settings = resolve_config(config, flags=flags).settings
    window = Window(
        limit=_PAGE,
        after=_moment("--from", begin, _LOWEST),
        before=_moment("--thru", thru, _HIGHEST),
    )
    if as_of is not None:
        moment = _moment("as_of", as_of, 0)
        window = Window(limit=1, after=moment, before=moment + 1)
    return trio.run(_replay, settings, ClearingSolver(settings.solver), window)


@one_line
def settle(
    begin: str,
    thru: str,
    *,
    bidder: str | None = None,
    store: StoreUrl = None,
    config: ConfigFile = None,
) -> int:
    """Settle a range of batches: whole lots and money, by bidder, as JSON.

    Args:
        begin: The range's beginning (RFC 3339), included.
        thru: Its end, excluded.
        bidder: Only this bidder's statement.
        store: `sqlite:PATH` or `postgresql://…`; by default the configuration's.
        config: TOML file; its table settlement says lots, money and fee.
    """
    settings = _settings(config, store)
    start, end = _moment("begin", begin, 0), _moment("thru", thru, 0)
    if end > SystemClock().now_ns():
        raise InvalidRequest(f"thru lies in the future, was {thru}")
    statements = trio.run(_settle, settings, start, end)
    if bidder is not None:
        own = [s for s in statements.statements if s.bidder == bidder]
        if not own:
            raise InvalidRequest(f"the bidder {bidder} traded nothing in this range")
        statements = msgspec.structs.replace(statements, statements=own)
    text = msgspec.json.format(msgspec.json.encode(statements), indent=2)
    sys.stdout.write(text.decode() + "\n")
    return 0


async def _settle(settings: Settings, start: Timestamp, thru: Timestamp) -> Statements:
    async with open_for_reading(settings.store) as store:
        return await settle_range(
            store,
            start,
            thru,
            terms=settings.settlement,
            rate_unit=settings.auction.rate_unit,
        )


async def _replay(settings: Settings, solver: ClearingSolver, window: Window) -> int:
    async with open_for_reading(settings.store) as store:
        auctioneer = Auctioneer(
            store=store,
            mirror=Mirror(),
            solver=solver,
            publisher=Hub(clock=SystemClock()),
            settings=settings.auction_terms(),
        )
        identical, found = True, False
        async for record in _oldest_first(store, window):
            found = True
            replayed = await auctioneer.replay(parse_timestamp(record.as_of))
            identical = identical and replayed.identical
            line = {
                "as_of": record.as_of,
                "seq": record.seq,
                "status": record.status,
                "identical": replayed.identical,
                "input": replayed.input_hash == record.input_hash,
                "outcome": replayed.outcome_hash == record.outcome_hash,
            }
            sys.stdout.write(json.dumps(line) + "\n")
    if not found:
        raise InvalidRequest("there is no batch in this range")
    return 0 if identical else EXIT_FAILED


async def _oldest_first(
    store: ReadOnlyStore, window: Window
) -> AsyncIterator[BatchRecord]:
    # Histories are read newest first; only the moments are kept, not the records.
    moments: list[Timestamp] = []
    page = window
    while records := await store.batches(page):
        moments += [parse_timestamp(record.as_of) for record in records]
        page = msgspec.structs.replace(page, before=moments[-1])
    for moment in reversed(moments):
        batch = await store.batch(moment)
        assert batch is not None  # noqa: S101  # listed a moment ago
        yield batch.record


def _settings(config: Path | None, store: str | None) -> Settings:
    return resolve_config(config, flags=_flag(store)).settings


def _flag(store: str | None) -> dict[str, tuple[str, str]]:
    return {} if store is None else {"store.url": ("--store", store)}


def _moment(name: str, text: str | None, default: Timestamp) -> Timestamp:
    if text is None:
        return default
    try:
        return parse_timestamp(text)
    except TimeError as error:
        raise InvalidRequest(f"{name}: {error}") from error
