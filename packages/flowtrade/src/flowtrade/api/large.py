"""Answers that may be large, encoded in pieces.

A list of a hundred thousand bids takes a tenth of a second to encode, and nobody else
would be answered meanwhile. Here the same bytes are made piece by piece.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec

from flowtrade.api.answering import Answer, json_answer
from flowtrade.core.turns import Turns

__all__ = ["encode_in_turns", "large_answer"]

_T = TypeVar("_T")

_PIECE: Final = 64
"""Entries that are encoded at once: some tenths of a millisecond."""

_encode = msgspec.json.Encoder().encode


async def large_answer(value: list[Any] | msgspec.Struct) -> Answer:
    """Return `value` as JSON; others have their turn while it is encoded.

    Args:
        value: A list, or a record whose fields may be long lists and maps.
    """
    entries = [value] if isinstance(value, list) else msgspec.structs.astuple(value)
    longest = max((len(e) for e in entries if isinstance(e, list | dict)), default=0)
    if longest <= _PIECE:
        return json_answer(value)
    data = await encode_in_turns(value)
    return Answer(data, status=200, media_type=b"application/json")


async def encode_in_turns(value: object) -> bytes:
    """Return what `msgspec.json.encode` would, and let others run meanwhile."""
    turns = Turns()
    if not isinstance(value, msgspec.Struct):
        return await _encode_entries(value, turns)
    parts: list[bytes] = []
    for field in msgspec.structs.fields(value):
        entry = getattr(value, field.name)
        if entry is not msgspec.UNSET:
            name = _encode(field.encode_name)
            parts.append(name + b":" + await _encode_entries(entry, turns))
    return b"{" + b",".join(parts) + b"}"


async def _encode_entries(value: object, turns: Turns) -> bytes:
    pieces: Iterable[list[Any] | dict[str, Any]]
    if isinstance(value, list):
        pieces = _pieces(value)
    elif isinstance(value, dict):
        pieces = map(dict, _pieces(value.items()))
    else:
        return _encode(value)
    parts: list[bytes] = []
    for piece in pieces:
        parts.append(_encode(piece)[1:-1])
        await turns.give_way()
    opening, closing = (b"[", b"]") if isinstance(value, list) else (b"{", b"}")
    return opening + b",".join(parts) + closing


def _pieces(entries: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(entries)
    while piece := list(islice(rest, _PIECE)):
        yield piece
