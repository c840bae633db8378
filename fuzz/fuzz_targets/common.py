"""What every target shares: how it fails, and how an input is cut.

What may live here: nothing that knows a protocol.
"""

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Broken", "Target", "cut_up", "require"]


class Broken(Exception):
    """A parser broke its word."""


class Target(NamedTuple):
    """A parser under test.

    Attributes:
        run: Takes one input.
        seeds: Makes inputs that reach deep, to mutate.
        words: What a mutation may put in.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    words: tuple[bytes, ...] = ()


def require(fact: bool, words: str) -> None:
    """Check a promise.

    Raises:
        Broken: If it does not hold.
    """
    if not fact:
        raise Broken(words)


# Pieces of one input; a row of single bytes longer than this finds nothing new.
_MOST_PIECES = 40


def cut_up(data: bytes, cut: int) -> list[bytes]:
    """Return `data` cut into two sizes in turn, which the bits of `cut` give.

    What is left behind some dozens of pieces is one more.
    """
    small, large = 1 + cut % 16, 1 + (cut >> 4) * 7
    found: list[bytes] = []
    position, size = 0, small
    while position < len(data) and len(found) < _MOST_PIECES:
        found.append(data[position : position + size])
        position += size
        size = large if size == small else small
    if position < len(data):
        found.append(data[position:])
    return found
