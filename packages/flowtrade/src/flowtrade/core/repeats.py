"""Requests that happen once though they are more than one operation.

Theory. A key is remembered before anything is done under it, with whatever a second
attempt needs to do the same; what came of it is remembered under a second key when all
is done. A request that is repeated finds either nothing (and begins), the first (and
goes on), or both (and tells what was told before).
"""

from typing import Final

import msgspec

from flowtrade.core.operations import Once, Remember
from flowtrade.core.state import Repeated
from flowtrade.core.usecase import UseCases, repeated_of
from flowtrade.errors import BatchExists
from flowtrade.models.batch import BatchRecord
from flowtrade.models.time import format_timestamp, parse_timestamp
from flowtrade.ports import Window
from netcore.models import Timestamp

__all__ = ["Begun", "Repeats"]

_PAGE: Final = 100
"""Batches that are looked through at once."""


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A key under which something has begun.

    Attributes:
        at: When it was used first.
        before: What was remembered then, or None if that is now.
    """

    at: Timestamp
    before: Repeated | None


class Repeats(UseCases):
    """What is asked for under a key, in steps."""

    async def begin(self, once: Once, ids: tuple[str, ...]) -> Begun:
        """Use a key, and remember `ids` if it was not used before.

        Raises:
            KeyReused: The key named another request.
        """
        applied = await self._store.execute(Remember(once=once, ids=ids))
        before = repeated_of(applied)
        at = applied.timestamp if before is None else before.timestamp
        return Begun(at=at, before=before)

    async def finish(
        self, once: Once, begun: Begun, ids: tuple[str, ...]
    ) -> Repeated | None:
        """Remember what came of a key; return what did already, if anything."""
        end = Remember(once=_end_of(once, begun), ids=ids)
        return repeated_of(await self._store.execute(end))

    async def finished(self, once: Once, begun: Begun) -> Repeated | None:
        """Return what came of a key, or None if it has not come to an end."""
        end = Remember(once=_end_of(once, begun), ids=None)
        return repeated_of(await self._store.execute(end))

    async def run_batch_once(self, once: Once) -> BatchRecord:
        """Run a batch, or return the one that was run under the same key.

        The moment at which the key was used first stands for the grid point, of which
        a store takes one batch.

        Raises:
            KeyReused: The key named another request.
            NotLeader, Superseded, StoreBusy, StoreFailed, StoreClosed: As for
                `Auctioneer.run_batch`.
        """
        begun = await self.begin(once, ())
        told = None if begun.before is None else await self.finished(once, begun)
        if told is not None:
            return await self.history.batch(parse_timestamp(told.ids[0]))
        try:
            record = await self.auctioneer.run_batch(scheduled=begun.at)
        except BatchExists:  # meanwhile, or before whoever ran it could remember it
            record = await self._batch_of(begun.at)
        await self.finish(once, begun, (record.as_of,))
        return record

    async def _batch_of(self, scheduled: Timestamp) -> BatchRecord:
        wanted, window = format_timestamp(scheduled), Window(limit=_PAGE)
        window = msgspec.structs.replace(window, after=scheduled)
        while page := await self._store.batches(window):
            for record in page:
                if record.scheduled == wanted:
                    return record
            oldest = parse_timestamp(page[-1].as_of)
            window = msgspec.structs.replace(window, before=oldest)
        raise BatchExists(f"the batch of {wanted} is stored, but not to be found")


def _end_of(once: Once, begun: Begun) -> Once:
    # The beginning is forgotten first; who begins anew then has another end.
    return msgspec.structs.replace(
        once, scope=f"{once.scope} done", key=f"{begun.at} {once.key}"
    )
