"""A connection that comes back, at a pace that harms nobody.

Three rules decide everything here:

* pauses are drawn at random from a growing range ("full jitter"), so that a thousand
  clients of a restarted venue do not return as one;
* a connection must have *carried data* for a while before the count of attempts
  starts anew: a server that accepts and drops at once would otherwise be hit in a
  tight loop;
* an outage is announced once, whatever it takes to end it, and giving up is loud.

`Backoff` is pure; `ReconnectingSocket` runs on trio's clock.
"""

import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum
from typing import Generic, Protocol, Self, TypeAlias, TypeVar, final

import msgspec
import trio

from integration.errors import GaveUp, IntegrationError, SocketError, WebSocket
from integration.rest.limiter import RateLimiter
from integration.stream.exchange_stream import BatchStream
from integration.stream.mapping import socket_error
from netcore.errors import NetError

__all__ = [
    "Backoff",
    "ConnectError",
    "ConnectErrorAction",
    "ConnectErrorKind",
    "Connected",
    "DefaultBackoff",
    "Jitter",
    "ReconnectBackoff",
    "ReconnectPolicy",
    "Reconnecting",
    "ReconnectingSocket",
    "SocketUpdate",
    "StreamErrorAction",
]

Output = TypeVar("Output")


class ReconnectBackoff(Protocol):
    """Says how long to wait before an attempt."""

    def delay(self, attempt: int) -> float:
        """Return seconds; attempt 0 is the first ever, or the first after success."""
        ...


class Jitter(StrEnum):
    """How much chance there is in a pause."""

    FULL = "full"
    """Anything from nothing to the whole pause."""

    NONE = "none"
    """Exactly the pause: for tests, and for those who coordinate otherwise."""


@final
class Backoff:
    """Exponential pauses with jitter.

    The defaults are barter-data's (125 ms, doubled, at most a minute).

    Args:
        initial: Seconds of the first pause.
        multiplier: By how much a pause exceeds the one before.
        maximum: Seconds that none exceeds.
        jitter: How much chance there is in it.
        stable_after: Seconds of data flow after which attempts count anew.
        rng: Where chance comes from.

    Raises:
        ValueError: A time is negative or the multiplier is below 1.
    """

    def __init__(
        self,
        initial: float = 0.125,
        *,
        multiplier: float = 2.0,
        maximum: float = 60.0,
        jitter: Jitter = Jitter.FULL,
        stable_after: float = 30.0,
        rng: random.Random | None = None,
    ) -> None:
        if initial < 0 or multiplier < 1 or maximum < 0 or stable_after < 0:
            raise ValueError(
                f"a back-off needs times >= 0 and multiplier >= 1, was {initial}, "
                f"{multiplier}, {maximum}, {stable_after}"
            )
        self.stable_after = stable_after
        self._initial = initial
        self._multiplier = multiplier
        self._maximum = maximum
        self._jitter = jitter
        # Chance spreads clients, it hides nothing.
        self._rng = rng or random.Random()  # noqa: S311 - as above

    def delay(self, attempt: int) -> float:
        """Return the seconds to wait before attempt number `attempt`."""
        ceiling = self.ceiling(attempt)
        if self._jitter is Jitter.NONE:
            return ceiling
        return self._rng.uniform(0.0, ceiling)

    def ceiling(self, attempt: int) -> float:
        """Return the most that `delay` can return."""
        if attempt < 1:
            return 0.0
        # An exponent this large has long met the maximum, and floats end at 2**1023.
        exponent = min(attempt - 1, 512)
        try:
            return min(self._maximum, self._initial * self._multiplier**exponent)
        except OverflowError:
            return self._maximum


@final
class DefaultBackoff:
    """barter-integration's pauses: 2^min(n, 15) + 10 ms, none before attempt 0.

    Without jitter: use `Backoff` towards venues, this for parity.
    """

    stable_after = 0.0

    def delay(self, attempt: int) -> float:
        """Return the seconds to wait before attempt number `attempt`."""
        return 0.0 if attempt < 1 else (2 ** min(attempt, 15) + 10) / 1000


class ConnectErrorKind(StrEnum):
    """Why there is no connection."""

    CONNECT = "connect"
    TIMEOUT = "timeout"


class ConnectError(msgspec.Struct, frozen=True):
    """An attempt that brought no connection.

    Attributes:
        reconnection_attempt: Its number; 0 is the first ever.
        kind: Why.
        error: What was raised; for a timeout, one that says so.
    """

    reconnection_attempt: int
    kind: ConnectErrorKind
    error: SocketError


class ConnectErrorAction(StrEnum):
    """What to do about a failed attempt."""

    RECONNECT = "reconnect"
    TERMINATE = "terminate"


class StreamErrorAction(StrEnum):
    """What to do about an error value in the stream."""

    CONTINUE = "continue"
    RECONNECT = "reconnect"


class Connected(msgspec.Struct, Generic[Output], frozen=True):
    """A connection is up; what follows comes from it.

    Attributes:
        socket: The new connection, for those who send on it.
        attempt: The attempt that succeeded.
    """

    socket: BatchStream[Output]
    attempt: int


class Reconnecting(msgspec.Struct, frozen=True):
    """The connection is down. Said once per outage.

    Attributes:
        reason: Why.
        attempt: The number of the attempt that comes next.
        delay: Seconds until then.
    """

    reason: IntegrationError
    attempt: int
    delay: float


SocketUpdate: TypeAlias = Connected[Output] | Reconnecting | Output | IntegrationError
"""What a reconnecting socket yields."""


def _on_connect_error(error: ConnectError) -> ConnectErrorAction:
    """Terminate where trying again is pointless (TLS refused, unsupported)."""
    if error.error.recoverable:
        return ConnectErrorAction.RECONNECT
    return ConnectErrorAction.TERMINATE


def _on_stream_error(error: IntegrationError) -> StreamErrorAction:
    """Reconnect on what ends a stream, go on otherwise."""
    if error.terminal:
        return StreamErrorAction.RECONNECT
    return StreamErrorAction.CONTINUE


class ReconnectPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a connection is brought back, and when that ends.

    Attributes:
        backoff: Pauses between attempts.
        connect_timeout: Seconds that one attempt may take.
        close_timeout: Seconds that closing a lost connection may take.
        max_attempts: Failed attempts in one outage before giving up; None: no limit.
        deadline: Seconds of one outage before giving up; None: no limit.
        on_connect_error: What to do about a failed attempt.
        on_stream_error: What to do about an error value in the stream.
        drop_errors: Whether error values are kept out of the output.
    """

    backoff: ReconnectBackoff = msgspec.field(default_factory=Backoff)
    connect_timeout: float = 10.0
    close_timeout: float = 5.0
    max_attempts: int | None = None
    deadline: float | None = None
    on_connect_error: Callable[[ConnectError], ConnectErrorAction] = _on_connect_error
    on_stream_error: Callable[[IntegrationError], StreamErrorAction] = _on_stream_error
    drop_errors: bool = False


@final
class ReconnectingSocket(Generic[Output]):
    """Connects, delivers, and connects again for as long as the policy allows.

    Take lists with `next_batch` or single updates with `async for`. Outputs of a
    connection come between its `Connected` and the `Reconnecting` that ends it.

    Args:
        connect: Opens one connection, ready to deliver (subscribed, say). Called for
            every attempt; what it opened when it fails or is cancelled is its to
            close.
        policy: Pace and limits.
        host: Whom the attempts go to, for the limiter.
        limiter: Attempts pay 1 to this host's bucket `connections`; share it among
            all who connect to the host.
        on_give_up: Called with the final error before it is raised.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[BatchStream[Output]]],
        *,
        policy: ReconnectPolicy | None = None,
        host: str = "",
        limiter: RateLimiter | None = None,
        on_give_up: Callable[[GaveUp], None] | None = None,
    ) -> None:
        self._connect = connect
        self._policy = ReconnectPolicy() if policy is None else policy
        self._host = host
        self._limiter = limiter
        self._on_give_up = on_give_up
        self._ready: deque[SocketUpdate[Output]] = deque()
        self._socket: BatchStream[Output] | None = None
        self._lost: BatchStream[Output] | None = None
        self._outage = _Outage()
        self._connected_at = 0.0
        self._last_data = 0.0
        self._gave_up: GaveUp | None = None

    @property
    def socket(self) -> BatchStream[Output] | None:
        """The connection that is up, or None."""
        return self._socket

    @property
    def attempts(self) -> int:
        """Failed or unstable attempts since the connection was last stable."""
        return self._outage.attempt

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SocketUpdate[Output]:
        if not self._ready:
            await self._fill()
        return self._ready.popleft()

    async def next_batch(self) -> list[SocketUpdate[Output]]:
        """Wait for the next outputs of the connection, or for news about it.

        Raises:
            GaveUp: The policy allows no further attempt; `__cause__` is the reason.
        """
        if self._ready:
            await trio.lowlevel.checkpoint()
        else:
            await self._fill()
        batch = list(self._ready)
        self._ready.clear()
        return batch

    async def aclose(self) -> None:
        """Close the connection that is up, if one is."""
        socket, self._socket = self._socket or self._lost, None
        self._lost = None
        if socket is not None:
            await socket.aclose()

    async def _fill(self) -> None:
        while not self._ready:
            if self._gave_up is not None:
                await trio.lowlevel.checkpoint()
                raise self._gave_up
            await self._dispose()
            if self._socket is None:
                await self._attempt()
            else:
                await self._read(self._socket)

    async def _read(self, socket: BatchStream[Output]) -> None:
        try:
            batch = await socket.next_batch()
        except trio.EndOfChannel as end:
            reason = WebSocket("the connection came to its end")
            reason.__cause__ = end
            self._lose(reason)
            return
        except IntegrationError as error:
            self._lose(error)
            return
        self._last_data = trio.current_time()
        self._sift(batch)

    def _sift(self, batch: list[Output]) -> None:
        """Pass a batch on up to, and with, an error that demands a new connection."""
        policy = self._policy
        # Nearly every batch is free of errors; that is seen by looking at its types.
        if not any(
            issubclass(kind, IntegrationError) for kind in set(map(type, batch))
        ):
            self._ready.extend(batch)
            return
        for item in batch:
            if not isinstance(item, IntegrationError):
                self._ready.append(item)
                continue
            if not policy.drop_errors:
                self._ready.append(item)
            if policy.on_stream_error(item) is StreamErrorAction.RECONNECT:
                self._lose(item)
                return

    def _lose(self, reason: IntegrationError) -> None:
        stable_after = getattr(self._policy.backoff, "stable_after", 0.0)
        if self._last_data - self._connected_at >= stable_after:
            self._outage = _Outage()
        # Closed by the next call: what was received goes to the consumer first.
        self._lost, self._socket = self._socket, None
        self._plan(reason)

    def _plan(self, reason: IntegrationError) -> None:
        """Count a failure, announce the outage if it is new, schedule or give up."""
        outage, policy = self._outage, self._policy
        now = trio.current_time()
        if outage.since is None:
            outage.since = now
        outage.attempt += 1
        delay = max(
            policy.backoff.delay(outage.attempt),
            getattr(reason, "retry_after", None) or 0.0,
        )
        outage.next_at = now + delay
        if policy.max_attempts is not None and outage.attempt > policy.max_attempts:
            self._give_up(f"{outage.attempt - 1} attempts failed", reason)
        elif policy.deadline is not None and (
            outage.next_at - outage.since > policy.deadline
        ):
            self._give_up(f"no connection within {policy.deadline} s", reason)
        elif not outage.announced:
            outage.announced = True
            self._ready.append(Reconnecting(reason, outage.attempt, delay))

    def _give_up(self, why: str, reason: IntegrationError) -> None:
        error = GaveUp(
            f"gave up connecting to {self._host or 'the venue'}: {why}; last: {reason}",
            attempts=self._outage.attempt,
        )
        error.__cause__ = reason
        self._gave_up = error
        if self._on_give_up is not None:
            self._on_give_up(error)

    async def _attempt(self) -> None:
        await trio.sleep_until(self._outage.next_at)
        if self._limiter is not None:
            await self._limiter.acquire(self._host, "connections")
        number = self._outage.attempt
        failure: ConnectError
        with trio.move_on_after(self._policy.connect_timeout):
            try:
                self._socket = await self._connect()
            except (SocketError, NetError, OSError, trio.BrokenResourceError) as error:
                fault = socket_error(error)
                if fault is not error:
                    fault.__cause__ = error
                failure = ConnectError(number, ConnectErrorKind.CONNECT, fault)
                self._failed(failure)
                return
        if self._socket is None:
            late = WebSocket(f"no connection within {self._policy.connect_timeout} s")
            self._failed(ConnectError(number, ConnectErrorKind.TIMEOUT, late))
            return
        self._outage.announced = False
        self._connected_at = self._last_data = trio.current_time()
        self._ready.append(Connected(self._socket, number))

    def _failed(self, failure: ConnectError) -> None:
        action = self._policy.on_connect_error(failure)
        if action is ConnectErrorAction.TERMINATE:
            self._outage.attempt += 1
            self._give_up("trying again is pointless", failure.error)
        else:
            self._plan(failure.error)

    async def _dispose(self) -> None:
        """Close a lost connection; it may be half dead, so not for long."""
        if self._lost is None:
            return
        lost = self._lost
        # It was lost before; that it cannot say goodbye is no news.
        with trio.move_on_after(self._policy.close_timeout), suppress(*_CLOSING):
            await lost.aclose()
        self._lost = None


_CLOSING = (IntegrationError, NetError, OSError, trio.BrokenResourceError)
"""What closing a broken connection may raise."""


class _Outage:
    """The time since a connection was last stable."""

    __slots__ = ("announced", "attempt", "next_at", "since")

    def __init__(self) -> None:
        self.attempt = 0
        self.since: float | None = None
        self.next_at = -float("inf")
        self.announced = False
