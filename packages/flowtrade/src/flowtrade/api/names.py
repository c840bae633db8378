"""Bodies in which an object names a member twice are refused.

RFC 8259 §4 leaves open what such an object means, and readers differ: in a bid, a
second `curve_data` or a second weight of one demand would silently win. The decoder
does not tell, so the body is asked.

Theory. Every name in JSON is followed by a colon, and what was decoded holds every name
once. So a body with no more colons than names that were certainly given names nothing
twice. Only a body with more of them (in its texts, or deeper than is looked here) is
read again, by a reader that sees every pair.
"""

import json
from functools import cache

import msgspec

from flowtrade.api.problems import BadRequest

__all__ = ["check_names"]


def check_names(data: bytes, decoded: object, *, tags: int = 0) -> None:
    """Check that no object of a body names a member twice.

    Args:
        data: The body; it is JSON.
        decoded: What the decoder made of it: records of ours, lists and maps.
        tags: Members that say what a record is, and are in none.

    Raises:
        BadRequest: One does; the message says which name.
    """
    if data.count(b":") != _least(decoded) + tags:
        try:
            json.loads(data.decode(), object_pairs_hook=_distinct)
        except RecursionError as error:
            raise BadRequest("the body cannot be read: nested too deep") from error


def _least(value: object) -> int:
    """Return how many names were given at least: not all need be counted."""
    if type(value) is dict:
        return len(value)
    count = 0
    if type(value) is list:
        for entry in value:  # points, and records; what is in lists of lists is not
            if type(entry) is not list:
                count += _least(entry)
        return count
    for name, required in _members(type(value)):  # type: ignore[arg-type]  # hashable
        member = getattr(value, name)
        if member is None or member is msgspec.UNSET:
            count += required
        elif required or member:  # else it may be a default, which are empty
            count += 1 + _least(member)
    return count


@cache
def _members(kind: type) -> tuple[tuple[str, bool], ...]:
    if not issubclass(kind, msgspec.Struct):
        return ()
    return tuple((one.name, one.required) for one in msgspec.structs.fields(kind))


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRequest(f"an object of the body has two members {twice!r}; name one")
    return found
