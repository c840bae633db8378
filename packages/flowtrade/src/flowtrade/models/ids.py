"""Ids: UUIDs as canonical text, and the layout of the ones we make.

Layout: version 8 of RFC 9562 §5.8. Seen as two 64-bit words, with s the time in
whole Unix seconds,

    high = s[63..16] | version 8 in the top nibble of the low 16 bits | s[15..4]
    low  = tag nibble | s[3..0] | 56 bits of payload

so ids sort by time to the second, and the tag (9 demand, A portfolio, B product)
doubles as the variant, whose two top bits must be 10.

Ids are `str` inside the service: they are keys of the solver's maps and of JSON
objects. `canonical_id` is the one way from foreign text to such a key.
"""

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated, TypeAlias, final
from uuid import UUID

import msgspec

__all__ = [
    "Id",
    "IdError",
    "IdTag",
    "are_canonical",
    "canonical_id",
    "product_payload",
    "uuid8",
]

Id: TypeAlias = Annotated[str, msgspec.Meta(extra_json_schema={"format": "uuid"})]
"""A UUID as lower-case text with hyphens."""

_PAYLOAD_BITS = 56

_LETTERS, _HYPHENS = 36, (8, 13, 18, 23)

_CANONICAL = re.compile(
    "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
).fullmatch


@final
class IdError(ValueError):
    """A text that is no UUID (the caller's fault)."""


class IdTag(IntEnum):
    """What an id names: the nibble that carries the UUID's variant."""

    DEMAND = 0x9
    PORTFOLIO = 0xA
    PRODUCT = 0xB


def canonical_id(text: str) -> Id:
    """Return `text` as a lower-case UUID with hyphens.

    Raises:
        IdError: It is no UUID in one of the forms of RFC 9562 (with or without
            hyphens; braces and `urn:uuid:` are refused).
    """
    if _CANONICAL(text) is not None:  # nearly always
        return text
    try:
        return str(msgspec.convert(text, UUID))
    except msgspec.ValidationError as error:
        raise IdError(f"an id is a UUID, was {text!r}") from error


def are_canonical(texts: Sequence[str]) -> bool:
    """Say whether all of these are ids as `canonical_id` returns them.

    For long lists: all are looked at together, in a sixth of the time.
    """
    joined = "".join(texts)
    if not texts or not joined.isascii() or set(map(len, texts)) != {_LETTERS}:
        return not texts
    hyphens = "-" * len(texts)
    if any(joined[place::_LETTERS] != hyphens for place in _HYPHENS):
        return False
    rest = joined.encode().translate(None, b"0123456789abcdef")
    return len(rest) == len(_HYPHENS) * len(texts)


def uuid8(tag: IdTag, seconds: int, payload: int) -> Id:
    """Compose an id.

    Args:
        tag: What it names.
        seconds: Unix time, 0 <= seconds < 2**48.
        payload: 56 bits, random or derived.

    Raises:
        ValueError: A field does not fit its bits.
    """
    if not 0 <= seconds < 2**48 or not 0 <= payload < 2**_PAYLOAD_BITS:
        raise ValueError(
            f"seconds {seconds} or payload {payload} do not fit 48 and 56 bits"
        )
    high = (seconds & ~0xFFFF) | 0x8000 | ((seconds & 0xFFF0) >> 4)
    low = (tag << 60) | ((seconds & 0xF) << _PAYLOAD_BITS) | payload
    return str(UUID(int=(high << 64) | low))


def product_payload(duration_seconds: int, kind: int) -> int:
    """Return the payload of a dated product: its length and its kind.

    The same product defined twice has the same id, hence a conflict, not a twin.
    """
    return ((duration_seconds & 0xFFFF_FFFF) << 24) | (kind & 0xFF_FFFF)
