"""What a service keeps alive: where to connect, what to do, whether to come again.

Only the contract between a user's code and `netcore.service`; nothing runs here.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta
from typing import Generic, NewType, TypeAlias, TypeVar, final

import msgspec

from netcore.clock import Clock, SystemClock
from netcore.info import Address, ConnectionInfo
from netcore.select import Selectable

__all__ = [
    "Action",
    "AutoDisconnect",
    "DisconnectReason",
    "Endpoint",
    "Failed",
    "Handle",
    "Ttl",
    "jittered",
    "ttl_seconds",
    "ttl_supplier",
]

T = TypeVar("T")
C = TypeVar("C")

_SYSTEM_CLOCK = SystemClock()

Handle = NewType("Handle", int)
"""Names an endpoint within its service, stable over reconnects."""

Ttl: TypeAlias = float | timedelta
"""A time to live; a bare number is in seconds."""


@final
class AutoDisconnect(msgspec.Struct, frozen=True, tag=True):
    """The connection was ended because its time to live was over.

    Attributes:
        ttl: The time it had, in seconds.
    """

    ttl: float

    def __str__(self) -> str:
        return f"auto disconnect after {self.ttl:g} s"


@final
class Failed(msgspec.Struct, frozen=True, tag=True):
    """The connection could not be made, broke, or the endpoint's action raised.

    Attributes:
        error: What was raised.
    """

    error: Exception

    def __str__(self) -> str:
        return f"{type(self.error).__name__}: {self.error}"


DisconnectReason: TypeAlias = AutoDisconnect | Failed
"""Why a connection ended."""


class Endpoint(ABC, Generic[T, C]):
    """Where to connect, and what to do with the connection.

    `T` is the connection's type: a stream or a protocol over one. `C` is the type of
    the service's context, None without one.

    Attributes:
        info: Whom to connect to; read anew for each connection.
        every_turn: Whether to act in every turn, ready or not; who only waits for a
            moment says so by `deadline`, which costs nothing until then.
        clock: Measures the endpoint's own times. A service sets its own where there
            is none, so that both mean the same by a deadline.
    """

    every_turn: bool = False
    clock: Clock | None = None

    def __init__(self, info: ConnectionInfo) -> None:
        self.info = info

    @abstractmethod
    def create(self, address: Address, context: C) -> T | None:
        """Begin a connection to `address`, without waiting.

        Returns:
            The connection, or None for "not now": the endpoint goes to the end of
            the queue and its name is looked up again.

        Raises:
            Exception: Ends this attempt as a failure.
        """

    def poll(self, target: T, context: C) -> int | None:
        """Act on the connection: read what is there, send what is due.

        Returns:
            How much was done, for the idle strategy; None counts as 1.

        Raises:
            Exception: Ends the connection as a failure.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define poll, or IOService.poll must be given "
            "an action"
        )

    def can_recreate(self, reason: DisconnectReason, context: C) -> bool:
        """Return whether to connect again after `reason`."""
        return True

    def can_auto_disconnect(self, context: C) -> bool:
        """Return whether the connection may end now, its time being over."""
        return True

    def monotonic_ns(self) -> int:
        """Return the time that deadlines are measured by: `clock`'s, in nanoseconds."""
        return (self.clock or _SYSTEM_CLOCK).monotonic_ns()

    def deadline(self, target: T) -> int | None:
        """Return when to act at the latest though nothing is ready; None for never.

        In nanoseconds of `monotonic_ns`. By default `target`'s own `deadline`,
        which the WebSocket and the FIX connection have for their timers. It holds
        while connecting, too.
        """
        deadline = getattr(target, "deadline", None)
        return deadline if isinstance(deadline, int) else None

    def selectable(self, target: T) -> Selectable:
        """Return what a selector can watch of `target`.

        By default `target` itself, else its attribute `stream`.

        Raises:
            TypeError: If neither can be watched.
        """
        for candidate in (target, getattr(target, "stream", None)):
            if isinstance(candidate, Selectable):
                return candidate
        raise TypeError(
            f"{type(target).__name__} cannot be watched; define selectable in "
            f"{type(self).__name__}"
        )


Action: TypeAlias = Callable[[T, Endpoint[T, C]], int | None]
"""Acts on a connection in place of `Endpoint.poll`."""


def jittered(
    ttl: Ttl,
    *,
    spread: float = 0.1,
    uniform: Callable[[float, float], float] | None = None,
) -> Callable[[], float]:
    """Return a supplier of times to live that are not all the same.

    So that connections made together do not end together.

    Args:
        ttl: The mean.
        spread: The greatest deviation, as a part of `ttl` from 0 to below 1.
        uniform: Draws between two bounds; by default Python's generator.
    """
    if not 0 <= spread < 1:
        raise ValueError(f"spread must be in [0, 1), was {spread}")
    seconds = ttl_seconds(ttl)
    draw = uniform or random.uniform
    return lambda: draw(seconds * (1 - spread), seconds * (1 + spread))


def ttl_seconds(ttl: Ttl) -> float:
    """Return a time to live in seconds.

    Raises:
        ValueError: If it is not above 0.
    """
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if not seconds > 0:
        raise ValueError(f"a time to live must be above 0 s, was {seconds}")
    return seconds


def ttl_supplier(ttl: Ttl | Callable[[], Ttl] | None) -> Callable[[], float] | None:
    """Return what gives each connection its time to live in seconds, None for ever.

    Raises:
        ValueError: If a fixed time is not above 0; a supplier's are checked when given.
    """
    if ttl is None:
        return None
    if callable(ttl):
        supply = ttl
        return lambda: ttl_seconds(supply())
    seconds = ttl_seconds(ttl)
    return lambda: seconds
