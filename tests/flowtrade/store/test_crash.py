"""Killing the process at any moment loses nothing that was acknowledged."""

import signal
import subprocess
import sys
from uuid import UUID

import pytest
import trio

from flowtrade.core.state import Kind, Part
from flowtrade.ports import Window
from flowtrade.settings import StoreSettings
from flowtrade.store import open_store
from netcore.clock import SystemClock

# A process that submits without end, several at once, and tells each acknowledgement.
# A submission is one demand and one portfolio that uses it: both or neither.
WRITER = """
import sys, uuid, trio
from flowtrade.core.operations import DemandEntry, PortfolioEntry, Submit
from flowtrade.models.curve import ConstantCurve
from flowtrade.settings import StoreSettings
from flowtrade.store import open_store
from netcore.clock import SystemClock

CURVE = ConstantCurve(price=1.0)

async def bidder(store, round_):
    owner = str(uuid.uuid4())
    while True:
        demand, portfolio = str(uuid.uuid4()), str(uuid.uuid4())
        applied = await store.execute(Submit(
            owner=owner,
            demands=(DemandEntry(id=demand, app_data=b"0", curve=CURVE),),
            portfolios=(PortfolioEntry(id=portfolio, app_data=b"0",
                                       demand={demand: 1.0}, basis={}),),
        ))
        print(applied.timestamp, owner, demand, portfolio, flush=True)

async def main(url):
    async with open_store(StoreSettings(url=url), clock=SystemClock()) as store:
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(bidder, store, number)

trio.run(main, sys.argv[1])
"""


def write_and_kill(url, after):
    """Return what was acknowledged before the kill."""
    process = subprocess.Popen(  # noqa: S603  # our own interpreter and text
        [sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True
    )
    lines = [process.stdout.readline() for _ in range(after)]
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    # The last line may be cut: what is not a whole line was not heard.
    whole = rest[: rest.rfind("\n") + 1]
    return [line.split() for line in [*lines, *whole.splitlines()]]


@pytest.mark.slow
async def test_acknowledged_operations_survive_a_kill(tmp_path):
    url = f"sqlite:{tmp_path / 'store.db'}"
    heard = []
    for after in (1, 60, 150):
        heard += await trio.to_thread.run_sync(write_and_kill, url, after)

    async with open_store(StoreSettings(url=url), clock=SystemClock()) as store:
        snapshot = await store.snapshot()
        found = {(entity.kind, entity.id): entity for entity in snapshot.entities}
        assert len(heard) >= 211
        for stamp, owner, demand, portfolio in heard:
            entity = found[Kind.DEMAND, demand]
            assert (entity.owner, entity.created) == (owner, int(stamp))
            assert found[Kind.PORTFOLIO, portfolio].created == int(stamp)
        demands = [e for e in snapshot.entities if e.kind is Kind.DEMAND]
        bids = [e for e in snapshot.entities if e.kind is Kind.PORTFOLIO]
        # All or nothing, heard or not; and one timestamp for each operation.
        assert [e.created for e in demands] == [e.created for e in bids]
        assert len({e.created for e in demands}) == len(demands)
        assert snapshot.at == max(e.created for e in demands)
        # Each submission stopped the one before it, at its own moment.
        by_owner = {}
        for entity in demands:
            by_owner.setdefault(entity.owner, []).append(entity)
        for line in by_owner.values():
            for entity, following in zip(line, [*line[1:], None], strict=True):
                (version,) = await store.history(Part.CURVE, entity.id, Window(limit=9))
                ends = None if following is None else following.created
                assert (version.valid_from, version.valid_until) == (
                    entity.created,
                    ends,
                )
        assert UUID(demands[0].id)
