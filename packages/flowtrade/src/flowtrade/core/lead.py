"""Which of several processes on one store runs the auctions.

Theory. Each asks for one lock, again and again. Who gets it begins an epoch by an
operation in the store's log and leads; batches carry the epoch, and the store refuses
those of another one. So the lock decides who tries, and the log decides who succeeds:
a leader that was stopped and goes on does no harm before it notices that its time is
over.

Where nobody else could lead (a file, or memory), this is not used, and the auctioneer
always leads.
"""

import logging
from typing import Final, Protocol, final

import trio

from flowtrade.core.operations import TakeLead
from flowtrade.core.state import Led
from flowtrade.errors import StoreBusy, StoreFailed
from flowtrade.ports import Lock, Store

__all__ = ["Lead", "Runner"]

_log = logging.getLogger(__name__)

_ASK: Final = 0.05
"""Seconds between two tries: how long nobody leads after a leader's death, at most,
but for the beginning of the epoch."""

_CONFIRM: Final = 0.5
"""Seconds between two signs of life of a leader."""


class Runner(Protocol):
    """Who runs batches if we lead: `flowtrade.core.auction.Auctioneer`."""

    fence: int | None
    leads: bool


@final
class Lead:
    """One process's part in the choice.

    Args:
        store: Whose batches these are.
        runner: Is told whether it leads.
        lock: The one that all ask for; closed at the end.

    Attributes:
        epoch: In which this process leads, or None.
    """

    def __init__(self, store: Store, runner: Runner, lock: Lock) -> None:
        self.epoch: int | None = None
        self._store = store
        self._runner = runner
        self._lock = lock
        self._thread = trio.CapacityLimiter(1)
        self._changed = trio.Event()
        runner.leads = False

    async def until(self, *, leading: bool) -> None:
        """Wait until this process leads, or until it does not."""
        while (self.epoch is not None) != leading:
            await self._changed.wait()

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Ask for the lead, and keep it, until cancelled; begun after one try."""
        try:
            await self._ask()
            task_status.started()
            while True:
                await trio.sleep(_ASK if self.epoch is None else _CONFIRM)
                await self._ask()
        finally:
            self._step_down()
            self._lock.close()

    async def _ask(self) -> None:
        held = await trio.to_thread.run_sync(self._lock.acquire, limiter=self._thread)
        if not held:
            self._step_down()
        elif self.epoch is None:
            await self._begin()

    async def _begin(self) -> None:
        try:
            applied = await self._store.execute(TakeLead())
        except (StoreBusy, StoreFailed) as error:
            _log.error("cannot begin to lead: %s", error)
            self._lock.close()  # somebody else may be able to
            return
        (change,) = applied.changes
        assert isinstance(change, Led)  # noqa: S101  # what TakeLead does
        _log.info("this process runs the auctions from epoch %d on", change.epoch)
        self._set(change.epoch)

    def _step_down(self) -> None:
        if self.epoch is not None:
            _log.info("this process runs the auctions no more")
            self._set(None)

    def _set(self, epoch: int | None) -> None:
        self.epoch = self._runner.fence = epoch
        self._runner.leads = epoch is not None
        changed, self._changed = self._changed, trio.Event()
        changed.set()
