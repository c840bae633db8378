"""Distributions of times and sizes: percentiles, buckets and bars of text.

Pure: values in, numbers and lines out.
"""

import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Final, final

import msgspec

__all__ = [
    "Bucket",
    "Distribution",
    "bars",
    "decade_buckets",
    "doubling_buckets",
    "duration_text",
]

_PERCENTS: Final = (50, 90, 99)
_BAR: Final = 40
_NS_UNITS: Final = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"))


@final
class Bucket(msgspec.Struct, frozen=True):
    """Values from `low` on and below `high`.

    Attributes:
        low: The least value.
        high: The least value of the next bucket.
        count: How many there are.
    """

    low: int
    high: int
    count: int


@final
class Distribution:
    """Whole numbers, such as nanoseconds or bytes, and how they are distributed.

    Args:
        values: The numbers, at least 0 and below 2**63.
    """

    def __init__(self, values: Iterable[int] = ()) -> None:
        self._values = array("q", values)
        self._sorted = False

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: int) -> None:
        """Take one more value."""
        self._values.append(value)
        self._sorted = False

    @property
    def ordered(self) -> Sequence[int]:
        """The values from the least to the largest."""
        if not self._sorted:
            self._values = array("q", sorted(self._values))
            self._sorted = True
        return self._values

    @property
    def total(self) -> int:
        """The sum."""
        return sum(self._values)

    def percentile(self, percent: float) -> int:
        """Return the least value that `percent` of all values do not exceed.

        That is one of the values (the nearest rank), never something between two.

        Raises:
            ValueError: If there are no values, or `percent` is not in 0..100.
        """
        if not self._values or not 0 <= percent <= 100:
            raise ValueError(
                f"percentile {percent} of {len(self._values)} values does not exist"
            )
        rank = max(1, math.ceil(percent * len(self._values) / 100))
        return self.ordered[rank - 1]

    def summary(self) -> dict[str, int]:
        """Return count, min, p50, p90, p99, max and mean; only count if empty."""
        if not self._values:
            return {"count": 0}
        found = {f"p{percent}": self.percentile(percent) for percent in _PERCENTS}
        return {
            "count": len(self),
            "min": self.ordered[0],
            **found,
            "max": self.ordered[-1],
            "mean": self.total // len(self),
        }

    def buckets(self, edges: Callable[[int], tuple[int, int]]) -> list[Bucket]:
        """Return the buckets that hold something, ascending.

        Args:
            edges: Returns the bucket that a value belongs to.
        """
        found: dict[tuple[int, int], int] = {}
        for value in self.ordered:
            edge = edges(value)
            found[edge] = found.get(edge, 0) + 1
        return [Bucket(low, high, count) for (low, high), count in found.items()]


def doubling_buckets(value: int) -> tuple[int, int]:
    """Return the bucket of `value` among 0, 1, 2-3, 4-7, 8-15 and so on."""
    if value < 1:
        return 0, 1
    low = 1 << (value.bit_length() - 1)
    return low, 2 * low


def decade_buckets(value: int) -> tuple[int, int]:
    """Return the bucket of `value` among those that begin at 1, 2 and 5 times 10^n."""
    if value < 1:
        return 0, 1
    decade = int(10 ** (len(str(value)) - 1))
    for low, high in ((1, 2), (2, 5), (5, 10)):
        if value < high * decade:
            return low * decade, high * decade
    raise AssertionError("a number is below the next power of ten")


def bars(
    buckets: Sequence[Bucket], text: Callable[[int], str], *, width: int = _BAR
) -> list[str]:
    """Return one line per bucket: where it begins, a bar, its count and share.

    Args:
        buckets: At least one of them.
        text: Makes text of a bucket's beginning.
        width: Characters of the longest bar.
    """
    most = max(bucket.count for bucket in buckets)
    total = sum(bucket.count for bucket in buckets)
    lines = []
    for bucket in buckets:
        # Nothing that exists is invisible.
        bar = "#" * max(1, round(width * bucket.count / most))
        share = 100 * bucket.count / total
        low = f">= {text(bucket.low)}"
        lines.append(f"{low:>12}  {bar:<{width}}  {bucket.count:>8}  {share:5.1f} %")
    return lines


def duration_text(ns: int) -> str:
    """Return nanoseconds in three digits and the unit that fits."""
    for size, unit in _NS_UNITS:
        if ns >= size:
            value = ns / size
            digits = max(0, 2 - int(math.log10(value)))
            return f"{value:.{digits}f} {unit}"
    return f"{ns} ns"
