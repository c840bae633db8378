"""Inputs made of seeds by a few random changes; the same seed makes the same inputs.

For where atheris cannot be installed and for the tests, which have to be repeatable.
It knows nothing of coverage: what it lacks in guidance the seeds have to have in depth.
"""

import random
from collections.abc import Iterator, Sequence

__all__ = ["mutants"]

_MOST_CHANGES = 6
_EDGES = (0, 1, 0x7D, 0x7E, 0x7F, 0x80, 0x88, 0xC0, 0xFE, 0xFF, 0x0A, 0x0D, 0x3D)
_LONGEST = 32768


def mutants(
    seeds: Sequence[bytes], words: Sequence[bytes], count: int, *, seed: int
) -> Iterator[bytes]:
    """Yield the seeds, then changed copies of them, `count` inputs in all.

    Args:
        seeds: Inputs to begin with.
        words: Pieces that mean something to the parser.
        count: How many inputs.
        seed: Where the random numbers begin.
    """
    source = random.Random(seed)  # noqa: S311 - no secrets
    yield from seeds[:count]
    for _ in range(count - len(seeds)):
        data = bytearray(source.choice(seeds))
        for _ in range(source.randint(1, _MOST_CHANGES)):
            _change(data, source, seeds, words)
        yield bytes(data[:_LONGEST])


def _change(
    data: bytearray,
    source: random.Random,
    seeds: Sequence[bytes],
    words: Sequence[bytes],
) -> None:
    """Change `data` in one place."""
    start = source.randint(0, len(data))
    end = min(len(data), start + source.randint(1, 1 << source.randint(0, 8)))
    kind = source.randrange(9)
    if kind == 0 and start < len(data):
        data[start] ^= 1 << source.randrange(8)
    elif kind == 1 and start < len(data):
        data[start] = source.choice(_EDGES)
    elif kind == 2:
        del data[start:end]
    elif kind == 3:
        data[start:start] = data[start:end] * source.randint(1, 4)
    elif kind == 4:
        del data[start:]
    elif kind == 5:
        data[start:end] = source.randbytes(source.randint(1, 8))
    elif kind == 6 and words:
        data[start:start] = source.choice(words)
    elif kind == 7 and words:
        data[start:end] = source.choice(words)
    else:
        other = source.choice(seeds)
        data[start:] = other[source.randint(0, len(other)) :]
