"""Small containers that market data keeps arriving in."""

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import msgspec

__all__ = ["SnapUpdates", "Snapshot", "one_or_many"]

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")


class Snapshot(msgspec.Struct, Generic[T], frozen=True):
    """A whole state, as opposed to a change of one."""

    value: T

    def map(self, function: Callable[[T], V]) -> "Snapshot[V]":
        """Return a snapshot of what `function` makes of the value."""
        return Snapshot(function(self.value))


class SnapUpdates(msgspec.Struct, Generic[T, U], frozen=True):
    """A whole state, and the changes that follow it."""

    snapshot: T
    updates: U


def one_or_many(value: Any) -> tuple[Any, ...]:  # noqa: ANN401 - a decoded JSON value
    """Return a field that venues send as one thing, as a list, or as null.

    Annotate the field with `T | list[T] | None`; a text counts as one thing.
    """
    match value:
        case None:
            return ()
        case str() | bytes() | dict() | msgspec.Struct():
            return (value,)
        case Iterable():
            return tuple(value)
        case _:
            return (value,)
