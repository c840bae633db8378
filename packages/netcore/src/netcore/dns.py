"""Names to addresses, without keeping a busy loop waiting.

A `Resolver` starts a `Query`, which is polled like everything else. A failed look-up
is an outcome of its query: it never stops a resolver or its thread.
"""

import errno
import heapq
import os
import queue
import socket
import threading
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from types import TracebackType
from typing import Protocol, Self, final

from netcore.clock import Clock, SystemClock, to_ns
from netcore.errors import ResolveError
from netcore.info import Address

__all__ = [
    "MAX_ADDRESSES",
    "BlockingResolver",
    "Query",
    "Resolver",
    "RoundRobin",
    "StaticResolver",
    "ThreadResolver",
    "refused_query",
    "resolve",
]

MAX_ADDRESSES = 32
"""More than any venue publishes; what a hostile answer may cost us."""

_REMEMBERED = 4 * MAX_ADDRESSES  # addresses of one host whose turns are remembered
_MAX_WAITING = 256  # queries before one thread; more means that nobody answers

# The machine cannot speak this family at all, whatever the address.
_FAMILY_DOWN = frozenset({errno.ENETUNREACH, errno.EAFNOSUPPORT})

Resolve = Callable[[str, int], list[Address]]
"""Looks a host and port up; raises ResolveError; may block."""


class Query(Protocol):
    """One look-up under way."""

    def poll(self) -> list[Address] | None:
        """Return the addresses, best first, or None if they are not there yet.

        Raises:
            ResolveError: If there are none.
        """
        ...

    def cancel(self) -> None:
        """Say that nobody wants the answer any more."""
        ...


class Resolver(Protocol):
    """Looks names up."""

    def query(self, host: str, port: int) -> Query:
        """Start looking `host` up."""
        ...

    def report(self, host: str, address: Address, error: OSError | None) -> None:
        """Learn how connecting to an answer went; None for well."""
        ...


def resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of `host`, the system's preferred first; this blocks.

    Numeric hosts need no resolver and do not block.

    Raises:
        ResolveError: If there is none.
    """
    flags = socket.AI_NUMERICHOST if _is_numeric(host) else 0
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=flags
        )
    except (OSError, UnicodeError) as exc:
        number = exc.errno if isinstance(exc, OSError) else None
        raise ResolveError(
            f"cannot resolve {host!r}: {getattr(exc, 'strerror', None) or exc}",
            errno=number,
        ) from exc
    addresses = list(dict.fromkeys(_addresses(found, port)))
    if not addresses:
        raise ResolveError(f"{host!r} has neither an IPv4 nor an IPv6 address")
    return addresses[:MAX_ADDRESSES]


def _addresses(found: Iterable[tuple[object, ...]], port: int) -> Iterator[Address]:
    """Yield those of getaddrinfo's answers that a socket can connect to."""
    for family, *_, sockaddr in found:
        match family, sockaddr:
            case socket.AF_INET, (str(host), *_):
                yield Address(host, port)
            case socket.AF_INET6, (str(host), _, _, int(scope_id)):
                # A scoped address may come as "fe80::1%eth0".
                yield Address(host.partition("%")[0], port, scope_id)


class _NoReport:
    """For resolvers that learn nothing."""

    blocking = False

    def report(self, host: str, address: Address, error: OSError | None) -> None:
        """Do nothing."""


class _Answered:
    """A query whose outcome is known."""

    __slots__ = ("_outcome",)

    def __init__(self, outcome: list[Address] | ResolveError) -> None:
        self._outcome = outcome

    def poll(self) -> list[Address] | None:
        if isinstance(self._outcome, ResolveError):
            raise self._outcome.with_traceback(None)
        return list(self._outcome)

    def cancel(self) -> None:
        pass


class _Refused:
    """The query of a resolver that could not even be asked."""

    __slots__ = ("_error",)

    def __init__(self, error: Exception) -> None:
        self._error = error

    def poll(self) -> list[Address] | None:
        raise self._error

    def cancel(self) -> None:
        pass


def refused_query(error: Exception) -> Query:
    """Return a query whose outcome is `error`, whatever its kind."""
    return _Refused(error)


class _Lazy:
    """A query that looks up when it is polled first."""

    __slots__ = ("_answer", "_host", "_port", "_resolve")

    def __init__(self, host: str, port: int, resolve: Resolve) -> None:
        self._host = host
        self._port = port
        self._resolve = resolve
        self._answer: _Answered | None = None

    def poll(self) -> list[Address] | None:
        if self._answer is None:
            self._answer = _Answered(_outcome(self._resolve, self._host, self._port))
        return self._answer.poll()

    def cancel(self) -> None:
        pass


@final
class BlockingResolver(_NoReport):
    """Asks the system when the query is polled first, which *blocks* the loop.

    Right for scripts and for numeric hosts; services use `ThreadResolver`.

    Args:
        resolve: What looks up.

    Attributes:
        blocking: True, so that drivers that must not block can refuse it.
    """

    blocking = True

    def __init__(self, resolve: Resolve = resolve) -> None:
        self._resolve = resolve

    def query(self, host: str, port: int) -> Query:
        """Return a query that blocks when polled."""
        return _Lazy(host, port, self._resolve)


@final
class StaticResolver(_NoReport):
    """Answers from a table: for tests, and for pinning a venue's addresses.

    Args:
        table: Numeric addresses of each host; names are compared in lower case.
    """

    def __init__(self, table: Mapping[str, Sequence[str]]) -> None:
        self._table = {host.lower(): tuple(found) for host, found in table.items()}

    def query(self, host: str, port: int) -> Query:
        """Return the table's answer; numeric hosts answer for themselves."""
        return _Answered(_outcome(self._look_up, host, port))

    def _look_up(self, host: str, port: int) -> list[Address]:
        found = self._table.get(host.lower())
        if found is None:
            found = (str(ip_address(host)),) if _is_numeric(host) else ()
        if not found:
            raise ResolveError(f"{host!r} is not in the table of addresses")
        return [Address(address, port) for address in found]


@final
class _ThreadQuery:
    """A query that a thread answers; `_outcome` is written once, by that thread."""

    __slots__ = ("answer", "cancelled", "host", "port")

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.answer: _Answered | None = None
        self.cancelled = False

    def poll(self) -> list[Address] | None:
        return None if self.answer is None else self.answer.poll()

    def cancel(self) -> None:
        self.cancelled = True


@final
class ThreadResolver(_NoReport):
    """Asks the system in a thread of its own, one query after the other.

    The thread starts with the first query and is a daemon: a resolver that hangs never
    keeps the process from ending. A context manager.

    Args:
        cpu: The processor to keep the thread on, away from the busy loop's.
        resolve: What looks up, in the thread.

    Raises:
        ValueError: If this process may not run on `cpu`, or the platform cannot pin.
    """

    def __init__(self, cpu: int | None = None, *, resolve: Resolve = resolve) -> None:
        if cpu is not None:
            _check_cpu(cpu)
        self._cpu = cpu
        self._resolve = resolve
        self._queries: queue.Queue[_ThreadQuery | None] = queue.Queue(_MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def query(self, host: str, port: int) -> Query:
        """Hand the look-up to the thread."""
        if self._closed:
            return _Answered(ResolveError(f"cannot resolve {host!r}: resolver closed"))
        query = _ThreadQuery(host, port)
        try:
            self._queries.put_nowait(query)
        except queue.Full:
            return _Answered(
                ResolveError(
                    f"cannot resolve {host!r}: {_MAX_WAITING} look-ups wait already"
                )
            )
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._work, name="netcore-dns", daemon=True
            )
            self._thread.start()
        return query

    def close(self, *, timeout: float | None = 1.0) -> bool:
        """Stop after the look-up under way; further ones fail.

        Args:
            timeout: Seconds to wait for the thread, None for ever.

        Returns:
            Whether the thread has ended; if not, it does when the system answers.
        """
        self._closed = True
        self._drop_waiting()
        if self._thread is None:
            return True
        self._queries.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _drop_waiting(self) -> None:
        """Fail what the thread has not begun."""
        while True:
            try:
                query = self._queries.get_nowait()
            except queue.Empty:
                return
            if query is not None:
                error = ResolveError(f"cannot resolve {query.host!r}: resolver closed")
                query.answer = _Answered(error)

    def _work(self) -> None:
        if self._cpu is not None:
            os.sched_setaffinity(0, {self._cpu})  # 0 is the calling thread
        while (query := self._queries.get()) is not None:
            if not query.cancelled:
                outcome = _outcome(self._resolve, query.host, query.port)
                query.answer = _Answered(outcome)


@final
class RoundRobin:
    """Puts the address first that was handed out longest ago.

    So each attempt to connect goes to another address, whatever the order in which
    the server answers. A family that the machine cannot reach at all comes last for
    a while.

    Args:
        resolver: Where the answers come from.
        clock: Measures that while.
        retry_family: Seconds until an unreachable family is tried again.
    """

    def __init__(
        self,
        resolver: Resolver,
        *,
        clock: Clock | None = None,
        retry_family: float = 60.0,
    ) -> None:
        self._resolver = resolver
        self._clock: Clock = clock or SystemClock()
        self._retry_family_ns = to_ns(retry_family)
        self._turn = 0
        # host -> address text -> the turn in which it was handed out last, or seen
        # first; also of those that the latest answer leaves out, which may come again
        self._used: dict[str, dict[str, int]] = {}
        self._down_until: dict[socket.AddressFamily, int] = {}

    @property
    def blocking(self) -> bool:
        """Whether the resolver behind blocks when its queries are polled."""
        return bool(getattr(self._resolver, "blocking", False))

    def query(self, host: str, port: int) -> Query:
        """Start a look-up whose answer will be rotated."""
        return _RotatingQuery(self, host, self._resolver.query(host, port))

    def report(self, host: str, address: Address, error: OSError | None) -> None:
        """Remember an unreachable family; forget it when it works again."""
        self._resolver.report(host, address, error)
        if error is None:
            self._down_until.pop(address.family, None)
        elif error.errno in _FAMILY_DOWN:
            until = self._clock.monotonic_ns() + self._retry_family_ns
            self._down_until[address.family] = until

    def rotate(self, host: str, addresses: Sequence[Address]) -> list[Address]:
        """Return the addresses in this attempt's order and note the first as used."""
        if not addresses:
            return []
        used = self._used.setdefault(host, {})
        for address in addresses:
            # New ones come after those that have waited longer, and before the one
            # that was handed out in the turn before.
            used.setdefault(address.host, self._turn - 1)
        now = self._clock.monotonic_ns()
        ordered = sorted(
            addresses,
            key=lambda a: (
                self._down_until.get(a.family, now) > now,
                used[a.host],
            ),
        )
        self._turn += 2
        used[ordered[0].host] = self._turn
        self._forget(used, {a.host for a in addresses})
        return ordered

    @staticmethod
    def _forget(used: dict[str, int], present: Container[str]) -> None:
        """Keep what changing answers bring from piling up; the oldest goes first."""
        surplus = max(0, len(used) - _REMEMBERED)
        for name in heapq.nsmallest(surplus, used, key=used.__getitem__):
            if name not in present:
                del used[name]


@final
class _RotatingQuery:
    __slots__ = ("_host", "_inner", "_owner", "_rotated")

    def __init__(self, owner: RoundRobin, host: str, inner: Query) -> None:
        self._owner = owner
        self._host = host
        self._inner = inner
        self._rotated: list[Address] | None = None

    def poll(self) -> list[Address] | None:
        if self._rotated is None:
            found = self._inner.poll()
            if found is None:
                return None
            self._rotated = self._owner.rotate(self._host, found)
        return list(self._rotated)

    def cancel(self) -> None:
        self._inner.cancel()


def _outcome(resolve: Resolve, host: str, port: int) -> list[Address] | ResolveError:
    """Return what came of a look-up; whatever goes wrong becomes a ResolveError."""
    try:
        return resolve(host, port)
    except ResolveError as exc:
        return exc
    except Exception as exc:
        error = ResolveError(f"cannot resolve {host!r}: {exc!r}")
        error.__cause__ = exc
        return error


def _is_numeric(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _check_cpu(cpu: int) -> None:
    allowed = getattr(os, "sched_getaffinity", lambda _: set[int]())(0)
    if cpu not in allowed:
        raise ValueError(f"cpu must be one of {sorted(allowed)}, was {cpu}")
