"""The simulator's own order book: exact integers, no text, no floats.

What lives here: the unit in which the simulator counts, the conversion between it
and the venue's decimal text, and the price-level book every market source keeps.
No order lives here (see `integration.testing.market`), no socket, no clock.

Prices and amounts are counted in units of 10**-8. Binance writes every spot price
and quantity with eight decimals, and no instrument of the other dialects needs
more, so a level is two integers and equality is exact.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Final, TypeAlias

from integration.models import Level
from netcore.models import Model

__all__ = [
    "DECIMALS",
    "UNIT",
    "BookImage",
    "BookSide",
    "Pair",
    "PriceBook",
    "format_units",
    "to_decimal",
    "to_units",
]

DECIMALS: Final = 8
"""Decimal places of every price and amount; see the module's docstring."""

UNIT: Final = 10**DECIMALS
"""How many counting units make one whole coin."""

Pair: TypeAlias = tuple[int, int]
"""A level: price and amount, both in units of 10**-8."""


def to_units(text: str) -> int:
    """Read a venue's decimal text exactly.

    Args:
        text: Plain digits with at most one point: no sign, exponent or blank.

    Returns:
        The value in units of 10**-8.

    Raises:
        ValueError: If the text is not such a number, or is finer than 10**-8.
    """
    whole, _, fraction = text.partition(".")
    if not (whole.isascii() and whole.isdigit()) or (
        fraction and not (fraction.isascii() and fraction.isdigit())
    ):
        raise ValueError(f"{text!r} is not a plain decimal number")
    if len(fraction) > DECIMALS:
        if fraction[DECIMALS:].strip("0"):
            raise ValueError(f"{text!r} is finer than 10**-{DECIMALS}")
        fraction = fraction[:DECIMALS]
    return int(whole) * UNIT + int(fraction.ljust(DECIMALS, "0"))


def format_units(value: int, decimals: int = DECIMALS) -> str:
    """Write a count of units as decimal text with a fixed number of places.

    Args:
        value: Units of 10**-8, not negative.
        decimals: Places after the point, 0 to 8.

    Raises:
        ValueError: If the value needs more places than `decimals`.
    """
    whole, fraction = divmod(value, UNIT)
    digits = f"{fraction:08d}"
    if digits[decimals:].strip("0"):
        raise ValueError(f"{value} units need more than {decimals} decimals")
    return f"{whole}.{digits[:decimals]}" if decimals else str(whole)


def to_decimal(value: int) -> Decimal:
    """Return a count of units as the exact Decimal with eight places."""
    return Decimal(value).scaleb(-DECIMALS)


class BookImage(Model, frozen=True):
    """What a book holds at one moment, for a test to compare with.

    Levels stand best first: bids fall, asks rise.
    """

    symbol: str
    sequence: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]

    def top(self, depth: int) -> "BookImage":
        """Return the same image cut to `depth` levels a side."""
        return BookImage(
            symbol=self.symbol,
            sequence=self.sequence,
            bids=self.bids[:depth],
            asks=self.asks[:depth],
        )


class BookSide:
    """One side of a book: amounts by price, and the prices in order.

    Args:
        best_is_highest: True for bids.
    """

    __slots__ = ("_amounts", "_best_index", "_prices")

    def __init__(self, *, best_is_highest: bool) -> None:
        self._amounts: dict[int, int] = {}
        self._prices: list[int] = []
        self._best_index = -1 if best_is_highest else 0

    def __len__(self) -> int:
        return len(self._prices)

    def __contains__(self, price: int) -> bool:
        return price in self._amounts

    def __iter__(self) -> Iterator[Pair]:
        """Yield levels, best first."""
        prices = reversed(self._prices) if self._best_index else iter(self._prices)
        return ((price, self._amounts[price]) for price in prices)

    @property
    def best(self) -> Pair | None:
        """The best level, or None for an empty side."""
        if not self._prices:
            return None
        price = self._prices[self._best_index]
        return price, self._amounts[price]

    def amount(self, price: int) -> int:
        """Return the amount at a price, 0 where there is no level."""
        return self._amounts.get(price, 0)

    def set(self, price: int, amount: int) -> None:
        """Put a level's absolute amount; 0 removes it, known or not."""
        if amount:
            if price not in self._amounts:
                insort(self._prices, price)
            self._amounts[price] = amount
        elif self._amounts.pop(price, None) is not None:
            del self._prices[bisect_left(self._prices, price)]

    def top(self, depth: int) -> list[Pair]:
        """Return at most `depth` levels, best first."""
        prices = (
            self._prices[: -depth - 1 : -1]
            if self._best_index
            else self._prices[:depth]
        )
        return [(price, self._amounts[price]) for price in prices]

    def copy(self) -> "BookSide":
        """Return an independent copy."""
        twin = BookSide(best_is_highest=bool(self._best_index))
        twin._amounts = self._amounts.copy()
        twin._prices = self._prices.copy()
        return twin


class PriceBook:
    """A two-sided book of price levels with the venue's sequence number.

    Args:
        symbol: The venue's spelling.
        sequence: Last update id contained.
        bids: Initial levels.
        asks: Initial levels.
    """

    __slots__ = ("asks", "bids", "sequence", "symbol")

    def __init__(
        self,
        symbol: str,
        sequence: int = 0,
        *,
        bids: Iterable[Pair] = (),
        asks: Iterable[Pair] = (),
    ) -> None:
        self.symbol = symbol
        self.sequence = sequence
        self.bids = BookSide(best_is_highest=True)
        self.asks = BookSide(best_is_highest=False)
        self.apply(sequence, bids, asks)

    def __repr__(self) -> str:
        return (
            f"PriceBook({self.symbol!r}, sequence={self.sequence}, "
            f"{len(self.bids)} bids, {len(self.asks)} asks)"
        )

    def apply(self, sequence: int, bids: Iterable[Pair], asks: Iterable[Pair]) -> None:
        """Put absolute amounts on both sides and move to `sequence`."""
        for price, amount in bids:
            self.bids.set(price, amount)
        for price, amount in asks:
            self.asks.set(price, amount)
        self.sequence = sequence

    @property
    def crossed(self) -> bool:
        """Whether the best bid is at or above the best ask."""
        bid, ask = self.bids.best, self.asks.best
        return bid is not None and ask is not None and bid[0] >= ask[0]

    def copy(self) -> "PriceBook":
        """Return an independent copy."""
        twin = PriceBook(self.symbol, self.sequence)
        twin.bids, twin.asks = self.bids.copy(), self.asks.copy()
        return twin

    def image(self) -> BookImage:
        """Return every level as exact Decimals."""
        return BookImage(
            symbol=self.symbol,
            sequence=self.sequence,
            bids=tuple(Level(to_decimal(p), to_decimal(a)) for p, a in self.bids),
            asks=tuple(Level(to_decimal(p), to_decimal(a)) for p, a in self.asks),
        )
