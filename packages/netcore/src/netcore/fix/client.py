"""A FIX session over any stream, without waiting.

What may live here: the meeting of a `FixSession`, a `Stream`, an `Outbox` and a clock.
Nothing blocks but `wait`, which scripts call. Busy-polling loops call `poll` in turns;
`netcore.fix.trio` parks between the calls.
"""

import contextlib
import enum
from collections.abc import Sequence
from types import TracebackType
from typing import final

from netcore.clock import NANOSECONDS, Clock, SystemClock, to_ns
from netcore.errors import BufferFull, NetError
from netcore.fix.events import Event
from netcore.fix.fields import FieldValue, Message
from netcore.fix.session import FixSession
from netcore.info import ConnectionInfo
from netcore.models import Timestamp
from netcore.select import wait_ready
from netcore.stream.base import RECEIVE_SIZE, Stream
from netcore.stream.outbox import DEFAULT_LIMIT, Outbox

__all__ = ["FixConnection"]

# A larger difference between the wall clock and the monotonic one is a clock that was
# set; a smaller one is drift, which the timers may follow.
_STEP_NS = NANOSECONDS // 2
# Reads before closing; whoever still sends after 4 MiB is cut off.
_MOST_DROPPED = 64


class _WallClock:
    """The wall clock, noticing when it is set."""

    __slots__ = ("_clock", "_offset", "stepped")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = clock.now_ns() - clock.monotonic_ns()
        self.stepped = 0

    def now_ns(self) -> Timestamp:
        now = self._clock.now_ns()
        offset = now - self._clock.monotonic_ns()
        step = offset - self._offset
        self._offset = offset
        if abs(step) > _STEP_NS:
            self.stepped += step
        return now

    def monotonic_of(self, wall: Timestamp) -> int:
        return wall - self._offset


class _Phase(enum.Enum):
    CONNECTING = "connecting"
    OPEN = "open"
    BROKEN = "broken"


@final
class FixConnection:
    """Drives one session over one stream, from connecting to closing.

    The object owns the stream. The session survives it: over a new stream, make a new
    connection with the same session.

    Args:
        session: Not connected at the moment.
        stream: Connected or still connecting.
        clock: Wall time for the messages, monotonic time to notice when it is set.
        outbox_limit: The most bytes that may wait for a slow counterparty.
        received: Bytes that were read from the stream before, as by an acceptor that
            looked who is there. The session is connected then.
    """

    __slots__ = (
        "_clock",
        "_limit",
        "_outbox",
        "_phase",
        "_received",
        "_session",
        "_stream",
        "_wall",
    )

    def __init__(
        self,
        session: FixSession,
        stream: Stream,
        *,
        clock: Clock | None = None,
        outbox_limit: int = DEFAULT_LIMIT,
        received: bytes | None = None,
    ) -> None:
        self._session = session
        self._stream = stream
        self._clock = SystemClock() if clock is None else clock
        self._wall = _WallClock(self._clock)
        self._limit = outbox_limit
        # What is resent comes in chunks and does not count against the user's limit.
        self._outbox = Outbox(outbox_limit + session.config.max_message_size + 65536)
        self._received = received
        self._phase = _Phase.CONNECTING if received is None else _Phase.OPEN

    def __repr__(self) -> str:
        return f"<FixConnection {self._session!r} over {self._stream!r}>"

    def __enter__(self) -> "FixConnection":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- what it is like now ---------------------------------------------------------

    @property
    def session(self) -> FixSession:
        """The session."""
        return self._session

    @property
    def info(self) -> ConnectionInfo:
        """Whom the stream talks to."""
        return self._stream.info

    @property
    def closed(self) -> bool:
        """Whether the session has ended and all it had to say was sent."""
        if self._phase is _Phase.CONNECTING:
            return False
        return self._session.closed and not self._unsent

    @property
    def pending_bytes(self) -> int:
        """Bytes that the stream has not taken yet, without what is to be resent."""
        return self._outbox.pending_bytes + self._session.queued_bytes

    @property
    def buffered(self) -> bool:
        """Whether `poll` can bring something without the descriptor being ready."""
        return self._received is not None or self._stream.buffered

    @property
    def want_write(self) -> bool:
        """Whether there is something to do once the stream can be written."""
        return self._unsent or self._stream.want_write

    @property
    def deadline(self) -> int | None:
        """When to call `poll` again at the latest, in monotonic nanoseconds."""
        deadline = self._session.next_deadline
        return None if deadline is None else self._wall.monotonic_of(deadline)

    @property
    def _unsent(self) -> bool:
        return self._phase is _Phase.OPEN and (
            self._outbox.pending_bytes > 0 or self._session.has_to_send
        )

    def fileno(self) -> int:
        """Return the stream's descriptor, -1 if there is none."""
        return self._stream.fileno()

    def connected(self) -> bool:
        """Return whether the stream stands; the session begins with the next `poll`.

        Raises:
            ConnectError: If the connection could not be made.
            TlsError: If its handshake failed.
        """
        return self._stream.connected()

    # -- doing -----------------------------------------------------------------------

    def poll(self) -> list[Event]:
        """Read once, keep time, send; return what happened.

        To be called whenever the stream is ready, and by `deadline`. Once `closed`,
        it returns nothing more, and the stream may be closed.

        Raises:
            ConnectError: If the connection could not be made.
            TlsError: If its handshake failed.
            StoreError: If the session's store failed.
        """
        now = self._now()
        if not self._started(now):
            return []
        session = self._session
        events: list[Event] = []
        deadline = session.next_deadline
        if deadline is not None and deadline <= now:
            events += session.tick(now)
        if not session.closed:
            events += self._receive(now)
        events += self._flush(now)
        return events

    def send(
        self,
        kind: str,
        body: Sequence[tuple[int, FieldValue]],
        *,
        header: Sequence[tuple[int, FieldValue]] = (),
    ) -> int:
        """Send an application message as far as the stream takes it now.

        Returns:
            Its MsgSeqNum.

        Raises:
            BufferFull: If too much waits already; nothing was numbered or queued.
            NotLoggedOn: If the session is not active.
            EncodeError: If a field cannot be sent.
            StoreError: If it cannot be recorded.
        """
        self._check_room()
        number = self._session.send(kind, body, now=self._now(), header=header)
        self._push()
        return number

    def business_reject(
        self,
        message: Message,
        *,
        reason: int = 3,
        text: str | None = None,
        more: Sequence[tuple[int, FieldValue]] = (),
    ) -> int:
        """Refuse an application message for what it says; as the session's.

        Raises:
            BufferFull: If too much waits already.
            NotLoggedOn: If the session is not active.
        """
        self._check_room()
        now = self._now()
        number = self._session.business_reject(
            message, now=now, reason=reason, text=text, more=more
        )
        self._push()
        return number

    def logout(self, text: str = "") -> None:
        """Say goodbye; `poll` goes on until the counterparty did as well."""
        self._session.logout(text, now=self._now())
        self._push()

    def wait(self, timeout: float | None = None) -> list[Event]:
        """Block until something happens or `timeout` seconds have passed.

        Returns:
            What happened; nothing when time was up or the connection is `closed`.

        Raises:
            NetError: As `poll` does.
        """
        end = None if timeout is None else self._clock.monotonic_ns() + to_ns(timeout)
        while True:
            events = self.poll()
            if events or self.closed:
                return events
            now = self._clock.monotonic_ns()
            if end is not None and now >= end:
                return []
            limits = [limit for limit in (end, self.deadline) if limit is not None]
            self._select(max(min(limits) - now, 0) / NANOSECONDS if limits else None)

    def close(self) -> None:
        """Give the stream back at once; without `logout` before, that is rude."""
        if self._phase is _Phase.OPEN:
            self._phase = _Phase.BROKEN
            self._session.feed_eof(self._now())
            self._drop_received()
        self._outbox.clear()
        self._stream.close()

    # -- parts -----------------------------------------------------------------------

    def _now(self) -> Timestamp:
        now = self._wall.now_ns()
        if self._wall.stepped:
            self._session.clock_stepped(self._wall.stepped)
            self._wall.stepped = 0
        return now

    def _started(self, now: Timestamp) -> bool:
        """Begin the session once the stream stands; return whether it has begun."""
        if self._phase is _Phase.CONNECTING:
            if not self._stream.connected():
                return False
            self._session.connect(now)
            self._phase = _Phase.OPEN
        return True

    def _receive(self, now: Timestamp) -> list[Event]:
        if self._received is not None:
            data, self._received = self._received, None
            return self._session.feed(data, now)
        try:
            received = self._stream.receive(RECEIVE_SIZE)
        except NetError as exc:
            return self._broken(now, exc)
        if received is None:
            return []
        if not received:
            return self._session.feed_eof(now)
        return self._session.feed(received, now)

    def _drop_received(self) -> None:
        """Empty the receive buffer: closing a socket with unread bytes resets it.

        The counterparty might lose our Logout then.
        """
        with contextlib.suppress(NetError):
            for _ in range(_MOST_DROPPED):
                if not self._stream.receive(RECEIVE_SIZE):
                    break

    def _broken(self, now: Timestamp, cause: NetError) -> list[Event]:
        """Nothing can be sent any more; the session ends."""
        self._phase = _Phase.BROKEN
        self._outbox.clear()
        return self._session.feed_eof(now, cause=cause)

    def _flush(self, now: Timestamp) -> list[Event]:
        """Send what waits; a broken connection ends the session."""
        if self._phase is not _Phase.OPEN:
            return []
        try:
            while self._outbox.flush(self._stream):
                data = self._session.to_send()
                if not data:
                    break
                self._outbox.write(self._stream, data)
        except NetError as exc:
            return self._broken(now, exc)
        return []

    def _push(self) -> None:
        """Send at once if nothing waits; a fault shows at the next `poll`."""
        if self._phase is not _Phase.OPEN or self._outbox.pending_bytes:
            return
        data = self._session.to_send()
        try:
            self._outbox.write(self._stream, data)
        except NetError:
            self._outbox.push(data)

    def _check_room(self) -> None:
        if self.pending_bytes >= self._limit:
            raise BufferFull(self.pending_bytes, 1, self._limit)

    def _select(self, timeout: float | None) -> None:
        descriptor = self.fileno()
        if descriptor < 0 or self.buffered:
            return
        wait_ready(descriptor, write=self.want_write, seconds=timeout)
