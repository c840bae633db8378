"""The base of every strict record, and the units of time.

What may live here: record types that more than one package shares and that
need no I/O. Higher packages import `Model` from here by this one name.
"""

from typing import TypeAlias

import msgspec

__all__ = ["Model", "Timestamp"]

Timestamp: TypeAlias = int
"""Nanoseconds since 1970-01-01T00:00:00Z, leap seconds not counted."""


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A record of our own files and API: immutable, and a typo in it is an error.

    `kw_only` is a matter of each class in msgspec, not inherited: a subclass whose
    fields must be named repeats it (`class X(Model, frozen=True, kw_only=True)`).

    Messages of exchanges are decoded into plain Structs instead: venues add fields
    without notice, and that must not stop a feed.
    """
