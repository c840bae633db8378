"""Weighted groups: the demands a portfolio feeds and the products it holds.

Both sides of a portfolio are a map from id to weight with four accepted JSON forms.
This module reads and writes them. What a weight means is told in
`flowtrade.clearing`; whether an id exists is the store's business.
"""

import math
from collections.abc import Mapping, Sequence
from typing import final

__all__ = ["GroupError", "group_to_builtins", "parse_group"]


@final
class GroupError(ValueError):
    """A value that is none of the four forms of a group (the caller's fault).

    Attributes:
        code: `group.type`, `group.id` or `group.weight`.
        where: The id or position concerned, empty if it is the whole value.
    """

    def __init__(self, code: str, where: str, text: str) -> None:
        super().__init__(f"{code}{' at ' + where if where else ''}: {text}")
        self.code = code
        self.where = where


def parse_group(value: object) -> dict[str, float]:
    """Read a group from decoded JSON.

    Args:
        value: None (empty), an id (weight 1), a list of ids (weight 1 each; a
            repeated id counts once), or a map from id to weight. Weights may be
            zero, negative and of any finite size.

    Returns:
        Weights by id, in the order given.

    Raises:
        GroupError: Another form, an id that is no string, or a weight that is no
            finite number. A list of pairs is refused.
    """
    if value is None:
        return {}
    if isinstance(value, str):
        return {value: 1.0}
    if isinstance(value, Mapping):
        return {_id(key): _weight(key, weight) for key, weight in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return dict.fromkeys(map(_id, value), 1.0)
    raise GroupError(
        "group.type",
        "",
        "a group is null, an id, a list of ids or a map from id to weight, was "
        f"{type(value).__name__}",
    )


def group_to_builtins(group: Mapping[str, float]) -> dict[str, float] | None:
    """Write a group as JSON-ready values: None when empty, else the map form."""
    return dict(group) if group else None


def _id(key: object) -> str:
    if not isinstance(key, str):
        raise GroupError("group.id", repr(key), "an id is a string")
    return key


def _weight(key: object, weight: object) -> float:
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise GroupError("group.weight", repr(key), f"no number, was {weight!r}")
    try:
        number = float(weight)
    except OverflowError:  # an integer literal beyond float64
        number = math.inf
    if not math.isfinite(number):
        raise GroupError("group.weight", repr(key), f"must be finite, was {weight!r}")
    return number
