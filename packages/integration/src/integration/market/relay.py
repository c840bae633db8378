"""Changing the socket under a running stream: make before break.

Venues close connections after a day, and before maintenance they ask us to leave.
Waiting for that costs an outage and an image of every book. Instead a second
connection is opened while the first still serves, subscribes to everything, and
listens as a shadow. Once the venue has confirmed all topics, whatever the first
connection will still say, the second says too: the first is left, the shadow is
promoted, and what it kept meanwhile is taken over.

The first is listened to for a while longer (`StreamConfig.overlap`), until what it
still has on its way has come and every book of it joins what the second brought; so
nothing is lost. Little comes twice: books drop updates by sequence, and trades and
quotes that the first delivered during the overlap are remembered and dropped when the
second repeats them. If the first is lost meanwhile, the shadow takes over at once.
"""

from collections.abc import Hashable
from typing import TYPE_CHECKING, final

import msgspec
import trio

from integration.errors import IntegrationError
from integration.market.reports import StreamEvent
from integration.market.session import Role, Session
from integration.market.turns import NUMBERED_BY_CONNECTION
from integration.models import (
    MarketDataInstrument,
    MarketEvent,
    OrderBookL1,
    PublicTrade,
    TradeFlag,
)

if TYPE_CHECKING:
    from integration.market.connection import Connection

__all__ = ["Overlap", "Relay", "Replays"]

_JOIN_STEP = 0.1
"""Seconds between looks at whether the books join: the cadence of depth streams."""

_GRACE = 10.0
"""Seconds after the change during which repetitions are still expected: connections
of one venue differ by less, or one of them is stale anyway."""

_REMEMBERED = 1000
"""Trades of an instrument: more than any venue replays (Kraken's v2: 50)."""


@final
class Overlap:
    """Remembers what was delivered while two connections carry the same.

    Off until `begin`; ends a while after `changed`.
    """

    __slots__ = ("_ends", "_seen")

    def __init__(self) -> None:
        self._seen: set[Hashable] | None = None
        self._ends = float("inf")

    @property
    def active(self) -> bool:
        """Whether anything is remembered at the moment."""
        return self._seen is not None

    def begin(self) -> None:
        """Remember from now on."""
        self._seen = set()
        self._ends = float("inf")

    def changed(self, now: float) -> None:
        """Note the moment of the change: repetitions end some time after it."""
        self._ends = now + _GRACE

    def cancel(self) -> None:
        """Forget all: there was no change."""
        self._seen = None

    def once(self, events: list[StreamEvent], now: float) -> list[StreamEvent]:
        """Return the events that were not delivered before, and remember them."""
        seen = self._seen
        if seen is None:
            return events
        if now >= self._ends:
            self._seen = None
            return events
        news = []
        for event in events:
            key = _key(event)
            if key is not None:
                if key in seen:
                    continue
                seen.add(key)
            news.append(event)
        return news


@final
class Replays:
    """Remembers the latest trades of each instrument, across connections.

    Some venues begin a subscription with the trades before it (`TradeFlag.BACKFILL`).
    After an outage that is welcome: what happened meanwhile is delivered after all.
    What had been delivered before it is not news, and is dropped.
    """

    __slots__ = ("_latest",)

    def __init__(self) -> None:
        self._latest: dict[MarketDataInstrument, dict[str | None, None]] = {}

    def once(self, events: list[StreamEvent]) -> list[StreamEvent]:
        """Return the events without trades that come again, and remember the rest."""
        return [event for event in events if not self._known(event)]

    def _known(self, event: StreamEvent) -> bool:
        if not isinstance(event, MarketEvent):
            return False
        trade = event.kind
        if not isinstance(trade, PublicTrade):
            return False
        latest = self._latest.setdefault(event.instrument, {})
        if trade.flags & TradeFlag.BACKFILL and trade.id in latest:
            return True
        latest[trade.id] = None
        if len(latest) > _REMEMBERED:
            del latest[next(iter(latest))]
        return False


def _key(event: StreamEvent) -> Hashable:
    """Say what makes two events the same; None: books and reports decide themselves."""
    if not isinstance(event, MarketEvent) or event.kind_name == "l2":
        return None
    kind = event.kind
    if isinstance(kind, OrderBookL1) and kind.sequence is not None:
        if event.exchange in NUMBERED_BY_CONNECTION:
            told = msgspec.structs.replace(kind, sequence=None)
            return (event.instrument, event.time_exchange, told)
        # Where the venue sends no time the rest of the record differs.
        return (event.instrument, OrderBookL1, kind.sequence)
    return (event.instrument, event.time_exchange, kind)


@final
class Relay:
    """A `BatchStream` whose socket can be changed while it is read.

    Args:
        connection: whose; opens the successors.
        session: the first one.

    Attributes:
        current: the session that is listened to.
        changes: how often it has been changed.
    """

    def __init__(self, connection: "Connection", session: Session) -> None:
        self.current = session
        self.changes = 0
        self._connection = connection
        self._successor: Session | None = None
        self._changed = trio.Event()
        self._retired: list[Session] = []
        # While the sessions overlap: ends the overlap early; set when it is over.
        self._hurry: trio.CancelScope | None = None
        self._over = trio.Event()

    @property
    def sessions(self) -> list[Session]:
        """The current session, and the shadow if there is one."""
        shadow = self._connection.shadow
        return [self.current] if shadow is None else [self.current, shadow]

    async def next_batch(self) -> list[StreamEvent | IntegrationError]:
        """Wait for the next events of whichever session is current."""
        while True:
            try:
                batch = await self.current.next_batch()
            except IntegrationError:
                if self._hurry is not None:
                    self._hurry.cancel()
                    await self._over.wait()
                if self._successor is None:
                    raise
                batch = []
            if self._successor is not None:
                batch.extend(self._change(self._successor))
            if batch:
                return batch

    def _change(self, successor: Session) -> list[StreamEvent]:
        self._retired.append(self.current)
        self.current, self._successor = successor, None
        self._connection.shadow = None
        self.changes += 1
        self._changed.set()
        self._connection.overlap.changed(trio.current_time())
        return successor.promote()

    async def aclose(self) -> None:
        """Close every session."""
        for session in [*self._retired, *self.sessions]:
            await session.aclose()
        self._retired.clear()
        self._connection.shadow = None

    async def rotate(self, nursery: trio.Nursery) -> None:
        """Open a successor and change over to it.

        Args:
            nursery: runs what goes on beside the successor's reading.

        Raises:
            IntegrationError: it could not be opened, or not all was confirmed; the
                current session goes on.
            NetError: it could not be opened.
            OSError: it could not be opened.
        """
        connection = self._connection
        shadow = await connection.open_session(Role.SHADOW)
        connection.shadow = shadow
        connection.overlap.begin()
        try:
            nursery.start_soon(shadow.run)
            shadow.requests.greet(connection.topics)
            shadow.subscribe(connection.topics)
            await shadow.listen_until_confirmed()
            await self._overlapped(shadow)
        except BaseException:
            connection.shadow = None
            connection.overlap.cancel()
            with trio.CancelScope(shield=True), trio.move_on_after(1.0):
                await shadow.aclose()
            raise
        # The reader may be waiting on a quiet socket: wake it.
        self.current.hush()
        await self._changed.wait()
        while self._retired:
            await self._retired.pop().aclose()

    async def _overlapped(self, shadow: Session) -> None:
        """Keep both until the books of the first join what the second brought."""
        self._hurry, self._over = trio.CancelScope(), trio.Event()
        try:
            with self._hurry:
                patience = trio.current_time() + _GRACE
                await shadow.listen_for(self._connection.config.overlap)
                while not shadow.joined() and trio.current_time() < patience:
                    await shadow.listen_for(_JOIN_STEP)
            self._changed = trio.Event()
            self._successor = shadow
        finally:
            self._hurry = None
            self._over.set()
