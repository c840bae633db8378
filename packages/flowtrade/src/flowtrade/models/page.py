"""Pages of a history, newest first."""

from typing import Any

import msgspec

from flowtrade.models.time import Rfc3339
from netcore.models import Model

__all__ = ["More", "Page", "ValueRecord"]


class ValueRecord(Model, frozen=True, kw_only=True):
    """One value and the time it was valid: `valid_from <= t < valid_until`.

    Attributes:
        valid_from: When it began.
        valid_until: When it ended, or None while it is valid.
        value: A curve, a group or an outcome, as JSON.
    """

    valid_from: Rfc3339
    valid_until: Rfc3339 | None
    value: Any


class More(Model, frozen=True, kw_only=True, omit_defaults=True):
    """The query of the next page; absent keys are omitted.

    Attributes:
        before: Exclusive upper bound of `valid_from`.
        after: Inclusive lower bound of `valid_from`.
    """

    before: Rfc3339 | msgspec.UnsetType = msgspec.UNSET
    after: Rfc3339 | msgspec.UnsetType = msgspec.UNSET


class Page(Model, frozen=True, kw_only=True):
    """Some values of a history, newest first.

    Attributes:
        results: At most one page of values.
        more: Present if and only if older values exist.
    """

    results: list[ValueRecord]
    more: More | msgspec.UnsetType = msgspec.UNSET
