"""Keeping connections alive from one loop, in one thread, without ever waiting.

An `Endpoint` says where to connect and what to do with the connection; the
`IOService` looks names up, connects, watches, calls, notices the end and begins again.
A `Handle` names the endpoint through all of its connections.

The life of an endpoint::

    PENDING ──DNS, create──▶ CONNECTING ──connected()──▶ ACTIVE
       ▲                          │                         │
       │                          └────── ended: why? ──────┤
       └────── can_recreate: yes, new DNS query ────────────┤
                                                            └─ no ─▶ EndpointLost

One `poll` does, in this order:

1. look at the pending endpoints, first come first served, and create at most one
   connection, no more often than every `connect_interval`;
2. ask the selector who is ready;
3. end connections that are past their time to live or their connect timeout;
4. let every endpoint act that is ready, holds received bytes, has just connected, is
   past its own deadline, or asks for every turn.

An endpoint that fails is closed and asked whether it may come again; others are not
disturbed. What may not come again is reported by `EndpointLost` at the end of the turn,
after all others had theirs. Deadlines are measured by the monotonic clock.

Three drivers turn the same loop: calling `poll` for ever spends a processor on the
shortest reaction, `wait` between the turns blocks the thread instead, and
`netcore.trio.run_service` parks a trio task. What they wait for is `fileno` and
`deadline`.
"""

import enum
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Generic, Self, TypeVar, cast, final

from netcore.clock import NANOSECONDS, Clock, SystemClock, to_ns
from netcore.dns import BlockingResolver, Query, Resolver, refused_query
from netcore.endpoint import (
    Action,
    AutoDisconnect,
    DisconnectReason,
    Endpoint,
    Failed,
    Handle,
    Ttl,
    jittered,
    ttl_supplier,
)
from netcore.errors import ConnectTimeout, EndpointLost, ResolveError, ResolveTimeout
from netcore.idle import IdleStrategy
from netcore.info import Address
from netcore.select import LONGEST_SLEEP, Readiness, Selectable, Selector

__all__ = [
    "Action",
    "AutoDisconnect",
    "DisconnectReason",
    "Endpoint",
    "Failed",
    "Handle",
    "IOService",
    "jittered",
]

T = TypeVar("T")
C = TypeVar("C")
R = TypeVar("R")


# Later than any clock shows: an endpoint that waits for no moment.
_NEVER = 1 << 63
# How often those are visited under a driver that waits, whom no descriptor announces:
# look-ups under way, streams without a descriptor, `Endpoint.every_turn`.
_TICK_NS = 1_000_000


class _Phase(enum.Enum):
    CONNECTING = "connecting"
    ACTIVE = "active"


class _Pending(Generic[T, C]):
    """An endpoint that waits for its name and its turn."""

    __slots__ = ("deadline_ns", "endpoint", "handle", "query")

    def __init__(
        self,
        handle: Handle,
        endpoint: Endpoint[T, C],
        query: Query,
        deadline_ns: int | None,
    ) -> None:
        self.handle = handle
        self.endpoint = endpoint
        self.query = query
        self.deadline_ns = deadline_ns


class _Node(Generic[T, C]):
    """An endpoint with a connection."""

    __slots__ = (
        "address",
        "alarm_ns",
        "connect_deadline_ns",
        "deadline_ns",
        "endpoint",
        "fd",
        "handle",
        "phase",
        "selectable",
        "target",
        "ttl",
    )

    def __init__(
        self,
        handle: Handle,
        endpoint: Endpoint[T, C],
        address: Address,
        target: T,
        selectable: Selectable,
    ) -> None:
        self.handle = handle
        self.endpoint = endpoint
        self.address = address
        self.target = target
        self.selectable = selectable
        self.fd = selectable.fileno()
        self.phase = _Phase.CONNECTING
        self.ttl = 0.0
        self.deadline_ns: int | None = None
        self.connect_deadline_ns: int | None = None
        self.alarm_ns: int | None = None  # the endpoint's own deadline


@final
class IOService(Generic[T, C]):
    """The loop's heart: call `poll` for ever. A context manager.

    Not for use from several threads. Endpoints may register, deregister and dispatch
    from within their own actions.

    Args:
        selector: How readiness is found out; closed with the service.
        clock: For all deadlines.
        resolver: For all names. The default blocks: see `netcore.dns`.
        auto_disconnect: The time to live of each connection, or a function asked
            once per connection; None for ever.
        dns_timeout: Seconds that a look-up may take, None for ever.
        connect_interval: Seconds between two connections made; the first at once.
        connect_timeout: Seconds from a connection's creation until `connected()`,
            TLS included; None for as long as the kernel tries.
        context: Handed to every call of an endpoint.
        idle: Called at the end of each turn with the work done.

    Attributes:
        on_change: Called where something was asked for outside a turn, so that a
            driver that waits looks again; None without such a driver.
    """

    def __init__(
        self,
        selector: Selector,
        *,
        clock: Clock | None = None,
        resolver: Resolver | None = None,
        auto_disconnect: Ttl | Callable[[], Ttl] | None = None,
        dns_timeout: float | None = None,
        connect_interval: float = 1.0,
        connect_timeout: float | None = None,
        context: C | None = None,
        idle: IdleStrategy | None = None,
    ) -> None:
        if connect_interval < 0:
            raise ValueError(
                f"connect_interval must not be negative, was {connect_interval}"
            )
        self._selector = selector
        self.clock: Clock = clock or SystemClock()
        self.on_change: Callable[[], None] | None = None
        self._resolver: Resolver = resolver or BlockingResolver()
        self._ttl = ttl_supplier(auto_disconnect)
        self._dns_timeout_ns = _optional_ns("dns_timeout", dns_timeout)
        self._connect_interval_ns = to_ns(connect_interval)
        self._connect_timeout_ns = _optional_ns("connect_timeout", connect_timeout)
        # Without a context C is None, so this is a C either way.
        self._context = cast("C", context)
        self._idle = idle
        self._last_handle = 0
        self._next_create_ns: int | None = None
        self._pending: deque[_Pending[T, C]] = deque()
        self._nodes: dict[Handle, _Node[T, C]] = {}
        # Nodes that a selector says nothing about: those with bytes inside, those
        # that ask for every turn, those still connecting against a deadline.
        self._buffered: set[Handle] = set()
        self._every_turn: set[Handle] = set()
        self._bare: set[Handle] = set()  # those without a descriptor
        self._next_alarm_ns = _NEVER  # no endpoint's own deadline is before this
        self._lost: list[tuple[Handle, DisconnectReason]] = []

    def __repr__(self) -> str:
        return f"<IOService {len(self._nodes)} active, {len(self._pending)} pending>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- registration ----------------------------------------------------------------

    def register(self, endpoint: Endpoint[T, C]) -> Handle:
        """Add an endpoint; it connects in a later `poll`.

        Raises:
            Exception: What the resolver raises on being asked; nothing is added then.
        """
        return self.register_with(lambda _: endpoint)

    def register_with(self, factory: Callable[[Handle], Endpoint[T, C]]) -> Handle:
        """Add the endpoint that `factory` makes, which learns its handle by that.

        Raises:
            Exception: What `factory` or the resolver raises; nothing is added then.
        """
        handle = Handle(self._last_handle + 1)
        self._last_handle = handle
        endpoint = factory(handle)
        info = endpoint.info
        query = self._resolver.query(info.host, info.port)
        if endpoint.clock is None:
            endpoint.clock = self.clock
        self._enqueue(handle, endpoint, query)
        self._changed()
        return handle

    def deregister(self, handle: Handle) -> Endpoint[T, C] | None:
        """Remove an endpoint, closing its connection if it has one.

        Returns:
            The endpoint, or None if there is none under `handle`.
        """
        node = self._nodes.get(handle)
        if node is not None:
            self._forget(node)
            node.selectable.close()
            return node.endpoint
        for pending in self._pending:
            if pending.handle == handle:
                self._pending.remove(pending)
                pending.query.cancel()
                return pending.endpoint
        return None

    def close(self) -> None:
        """Remove every endpoint, closing the connections, and close the selector."""
        with ExitStack() as stack:
            stack.callback(self._selector.close)
            for handle in [*self._nodes, *(p.handle for p in self._pending)]:
                stack.callback(self.deregister, handle)

    # -- looking -----------------------------------------------------------------------

    def active(self) -> Iterator[tuple[Handle, T, Endpoint[T, C]]]:
        """Iterate over the endpoints that have a connection, even an unfinished one."""
        for node in list(self._nodes.values()):
            yield node.handle, node.target, node.endpoint

    def pending(self) -> Iterator[tuple[Handle, Endpoint[T, C]]]:
        """Iterate over the endpoints that wait for one, in the order of their turn."""
        for pending in list(self._pending):
            yield pending.handle, pending.endpoint

    def target(self, handle: Handle) -> T | None:
        """Return the connection of an active endpoint, else None."""
        node = self._nodes.get(handle)
        return None if node is None else node.target

    def dispatch(
        self, handle: Handle, action: Callable[[T, Endpoint[T, C]], R]
    ) -> R | None:
        """Act on an active endpoint's connection from outside its turn.

        Returns:
            What `action` returns, or None if the endpoint is not active; `target`
            tells the two apart.

        Raises:
            Exception: What `action` raises, which does not end the connection.
        """
        node = self._nodes.get(handle)
        if node is None:
            return None
        try:
            return action(node.target, node.endpoint)
        finally:
            if self._nodes.get(handle) is node:
                self._acted(node)
            self._changed()

    # -- what a driver has to know -------------------------------------------------

    @property
    def deadline(self) -> int | None:
        """When to call `poll` at the latest though `fileno` is not readable.

        In nanoseconds of the clock's monotonic time, maybe past; None for never. What
        no descriptor announces (look-ups, streams without a descriptor,
        `Endpoint.every_turn`) is to be visited every millisecond.
        """
        now = self.clock.monotonic_ns()
        if self._buffered:
            return now
        moments = [self._next_alarm_ns]
        if self._every_turn or self._bare:
            moments.append(now + _TICK_NS)
        if self._pending:
            moments.append(max(now + _TICK_NS, self._next_create_ns or 0))
            moments += [p.deadline_ns for p in self._pending if p.deadline_ns]
        for node in self._nodes.values():
            for moment in (node.deadline_ns, node.connect_deadline_ns):
                if moment is not None:
                    moments.append(moment)
        first = min(moments)
        return None if first == _NEVER else first

    @property
    def may_block(self) -> str | None:
        """Which part of a turn may block, for drivers that must not; None for none."""
        if self._idle is not None:
            return f"the idle strategy {type(self._idle).__name__}"
        if getattr(self._resolver, "blocking", False):
            return f"the resolver {type(self._resolver).__name__}"
        return None

    def fileno(self) -> int:
        """Return a descriptor that is readable while something is ready, or -1."""
        return self._selector.fileno()

    def wait(self, timeout: float | None = None) -> None:
        """Block until the next turn may have something to do, or time is up.

        With a `DirectSelector` it returns at once, as that waits for nothing.

        Args:
            timeout: Seconds, None for as long as it takes, but a second at most, so
                that Ctrl-C is heard.
        """
        limits = [LONGEST_SLEEP if timeout is None else timeout]
        deadline = self.deadline
        if deadline is not None:
            limits.append((deadline - self.clock.monotonic_ns()) / NANOSECONDS)
        # Nothing is consumed: what is ready now is ready in the next turn, too.
        self._selector.poll(max(min(limits), 0.0))

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()

    # -- the turn ----------------------------------------------------------------------

    def poll(self, action: Action[T, C] | None = None) -> int:
        """Make one turn; the module's docstring says in which order.

        Args:
            action: Acts on the connections instead of each endpoint's `poll`.

        Returns:
            How much was done; 0 says that nothing was ready.

        Raises:
            EndpointLost: If an endpoint ended and may not be made again.
        """
        work = self._connect_pending() if self._pending else 0
        ready = self._selector.poll()
        work += self._expire()
        due = self._due() if self._next_alarm_ns < _NEVER else ()
        if ready or due or self._buffered or self._every_turn:  # mostly nobody
            for handle in self._with_silent(ready, due):
                node = self._nodes.get(handle)
                if node is not None:
                    work += self._turn(node, action)
        if self._idle is not None:
            self._idle.idle(work)
        if self._lost:
            self._raise_lost()
        return work

    def run(
        self,
        until: Callable[[], bool],
        *,
        action: Action[T, C] | None = None,
        waiting: bool = False,
    ) -> None:
        """Call `poll` until `until` says True.

        Args:
            until: Asked before each turn.
            action: As in `poll`.
            waiting: Whether to `wait` after a turn without work; else the loop spins.

        Raises:
            EndpointLost: If an endpoint ended and may not be made again. Nothing is
                lost of the others: call again to go on with them.
        """
        while not until():
            if not self.poll(action) and waiting and not until():
                self.wait()

    def _due(self) -> list[Handle]:
        """Return who is past its own deadline; find the next of the others."""
        now = self.clock.monotonic_ns()
        due: list[Handle] = []
        if now < self._next_alarm_ns:
            return due
        self._next_alarm_ns = _NEVER
        for handle, node in self._nodes.items():
            if node.alarm_ns is None:
                continue
            if node.alarm_ns <= now:
                due.append(handle)
            elif node.alarm_ns < self._next_alarm_ns:
                self._next_alarm_ns = node.alarm_ns
        return due

    def _with_silent(
        self, ready: Iterable[Readiness], due: Iterable[Handle]
    ) -> list[Handle]:
        """Return who acts in this turn: the ready, then those no selector reports."""
        handles = {Handle(key): None for key, _, _ in ready}
        handles.update(dict.fromkeys(due))
        for silent in (self._buffered, self._every_turn):
            for handle in sorted(silent):
                handles[handle] = None
        return list(handles)

    def _turn(self, node: _Node[T, C], action: Action[T, C] | None) -> int:
        try:
            if (
                node.phase is _Phase.CONNECTING
                and not self._connect(node)
                # Its own time limit may be over before its connection stands.
                and not _is_past(node.alarm_ns, self.clock.monotonic_ns())
            ):
                return 0
            if action is None:
                done = node.endpoint.poll(node.target, self._context)
            else:
                done = action(node.target, node.endpoint)
            # It may have deregistered itself.
            if self._nodes.get(node.handle) is node:
                self._acted(node)
        except Exception as exc:
            if self._nodes.get(node.handle) is node:
                self._end(node, Failed(exc))
            else:  # it has deregistered itself, so nobody is asked
                self._lost.append((node.handle, Failed(exc)))
            return 1
        return 1 if done is None else done

    def _connect(self, node: _Node[T, C]) -> bool:
        """Go on connecting; return whether the endpoint may act now."""
        if not node.selectable.connected():
            self._acted(node)
            return False
        node.phase = _Phase.ACTIVE
        node.connect_deadline_ns = None
        self._resolver.report(node.endpoint.info.host, node.address, None)
        return True

    def _acted(self, node: _Node[T, C]) -> None:
        """See anew what the node waits for, after its connection was used."""
        selectable = node.selectable
        self._selector.update(node.handle)
        # Closed by its user: no selector will ever say so, but its next use will.
        closed = selectable.fileno() != node.fd
        if closed or selectable.buffered:
            self._buffered.add(node.handle)
        else:
            self._buffered.discard(node.handle)
        self._set_alarm(node)

    def _set_alarm(self, node: _Node[T, C]) -> None:
        """See when the endpoint wants to act though nothing is ready."""
        alarm = node.alarm_ns = node.endpoint.deadline(node.target)
        if alarm is not None and alarm < self._next_alarm_ns:
            self._next_alarm_ns = alarm

    # -- beginnings --------------------------------------------------------------------

    def _enqueue(self, handle: Handle, endpoint: Endpoint[T, C], query: Query) -> None:
        deadline = None
        if self._dns_timeout_ns is not None:
            deadline = self.clock.monotonic_ns() + self._dns_timeout_ns
        self._pending.append(_Pending(handle, endpoint, query, deadline))

    def _requeue(self, handle: Handle, endpoint: Endpoint[T, C]) -> None:
        """Look the name up again; a resolver that refuses is a failed look-up."""
        info = endpoint.info
        try:
            query = self._resolver.query(info.host, info.port)
        except Exception as exc:
            query = refused_query(exc)
        self._enqueue(handle, endpoint, query)

    def _connect_pending(self) -> int:
        """Create at most one connection; return whether anything happened."""
        now = self.clock.monotonic_ns()
        may_create = self._next_create_ns is None or now >= self._next_create_ns
        for _ in range(len(self._pending)):
            pending = self._pending[0]
            late = pending.deadline_ns is not None and now >= pending.deadline_ns
            if not may_create and not late:
                self._pending.rotate(-1)
                continue
            addresses, error = self._answer(pending, may_create=may_create, late=late)
            if addresses is None and error is None:
                self._pending.rotate(-1)
                continue
            self._pending.popleft()
            # Failures count as well: a name that cannot be resolved, or a host that
            # refuses at once, must not be tried as fast as the loop turns.
            if may_create:
                self._next_create_ns = now + self._connect_interval_ns
            if error is not None:
                self._retry(pending.handle, pending.endpoint, Failed(error))
            elif addresses is not None:
                self._create(pending, addresses[0], now)
            return 1
        return 0

    def _answer(
        self, pending: _Pending[T, C], *, may_create: bool, late: bool
    ) -> tuple[list[Address] | None, Exception | None]:
        """Return the addresses, or what went wrong, or neither if it is too early."""
        host = pending.endpoint.info.host
        try:
            addresses = pending.query.poll()
        except Exception as exc:
            return None, exc
        if addresses:
            return (addresses if may_create else None), None
        if addresses is not None:
            return None, ResolveError(f"the look-up of {host!r} found no address")
        if late:
            pending.query.cancel()
            return None, ResolveTimeout(f"the look-up of {host!r} took too long")
        return None, None

    def _create(self, pending: _Pending[T, C], address: Address, now: int) -> None:
        handle, endpoint = pending.handle, pending.endpoint
        target: T | None = None
        try:
            target = endpoint.create(address, self._context)
            if target is None:
                self._requeue(handle, endpoint)
                return
            node = _Node(handle, endpoint, address, target, endpoint.selectable(target))
            if self._ttl is not None:
                node.ttl = self._ttl()
                node.deadline_ns = now + to_ns(node.ttl)
            if self._connect_timeout_ns is not None:
                node.connect_deadline_ns = now + self._connect_timeout_ns
            self._selector.register(handle, node.selectable)
            self._set_alarm(node)
        except Exception as exc:
            _close_quietly(target, exc)
            if isinstance(exc, OSError):
                self._resolver.report(endpoint.info.host, address, exc)
            self._retry(handle, endpoint, Failed(exc))
            return
        self._nodes[handle] = node
        if endpoint.every_turn:
            self._every_turn.add(handle)
        if node.selectable.buffered:
            self._buffered.add(handle)
        if node.fd < 0:
            self._bare.add(handle)

    # -- endings -----------------------------------------------------------------------

    def _expire(self) -> int:
        """End what is past its time; return how many."""
        if self._ttl is None and self._connect_timeout_ns is None:
            return 0
        now = self.clock.monotonic_ns()
        ended = 0
        for node in list(self._nodes.values()):
            if _is_past(node.connect_deadline_ns, now):
                info = node.endpoint.info
                error = ConnectTimeout(
                    f"{info} at {node.address} did not finish connecting in time"
                )
                self._end(node, Failed(error))
                ended += 1
            elif _is_past(node.deadline_ns, now):
                ended += self._expire_ttl(node)
        return ended

    def _expire_ttl(self, node: _Node[T, C]) -> int:
        try:
            if not node.endpoint.can_auto_disconnect(self._context):
                if self._ttl is not None and node.deadline_ns is not None:
                    node.deadline_ns += to_ns(self._ttl())
                return 0
        except Exception as exc:
            self._end(node, Failed(exc))
        else:
            self._end(node, AutoDisconnect(node.ttl))
        return 1

    def _end(self, node: _Node[T, C], reason: DisconnectReason) -> None:
        """Close a connection and ask its endpoint whether to begin again."""
        self._forget(node)
        try:
            node.selectable.close()
        except Exception as exc:
            if isinstance(reason, Failed):
                reason.error.add_note(f"closing it failed, too: {exc!r}")
            else:
                reason = Failed(exc)
        if (
            node.phase is _Phase.CONNECTING
            and isinstance(reason, Failed)
            and isinstance(reason.error, OSError)
        ):
            host = node.endpoint.info.host
            self._resolver.report(host, node.address, reason.error)
        self._retry(node.handle, node.endpoint, reason)

    def _retry(
        self, handle: Handle, endpoint: Endpoint[T, C], reason: DisconnectReason
    ) -> None:
        try:
            again = endpoint.can_recreate(reason, self._context)
        except Exception as exc:
            exc.add_note(f"raised by can_recreate, asked after: {reason}")
            reason, again = Failed(exc), False
        if again:
            self._requeue(handle, endpoint)
        else:
            self._lost.append((handle, reason))

    def _forget(self, node: _Node[T, C]) -> None:
        """Take a node out, before its connection is closed."""
        del self._nodes[node.handle]
        self._buffered.discard(node.handle)
        self._every_turn.discard(node.handle)
        self._bare.discard(node.handle)
        self._selector.unregister(node.handle)

    def _raise_lost(self) -> None:
        lost, self._lost = self._lost, []
        (handle, reason), *others = lost
        cause = reason.error if isinstance(reason, Failed) else None
        raise EndpointLost(handle, reason, others=others) from cause


def _close_quietly(target: object, error: Exception) -> None:
    """Close what `create` has made, when it cannot be used."""
    close = getattr(target, "close", None)
    if close is None:
        return
    try:
        close()
    except Exception as exc:
        error.add_note(f"closing it failed, too: {exc!r}")


def _is_past(deadline_ns: int | None, now: int) -> bool:
    return deadline_ns is not None and now >= deadline_ns


def _optional_ns(name: str, seconds: float | None) -> int | None:
    if seconds is None:
        return None
    if not seconds > 0:
        raise ValueError(f"{name} must be above 0 s, was {seconds}")
    return to_ns(seconds)
