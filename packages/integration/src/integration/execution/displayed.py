"""The market that is displayed, and what of it our own orders have eaten.

A recorded or live market does not know that a mock order has taken its liquidity.
What was taken from a level is therefore remembered and not offered again, until the
feed states that level anew. That is the approximation: the market neither refills
for us sooner nor reacts to us at all.

Pure; the book is `integration.market.books`.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple, final

from integration.execution.exact import EXACT
from integration.market.books import OrderBook
from integration.models import (
    Level,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    RawLevel,
    Side,
)

__all__ = ["Displayed", "Offer"]

_ZERO = Decimal(0)
_FIRST_DEPTH = 8
"""Levels looked at first; most orders end in one."""


class Offer(NamedTuple):
    """What a taker can have at a price."""

    price: Decimal
    quantity: Decimal


@final
class Displayed:
    """One instrument's displayed book.

    Args:
        name: Shown in the repr of the book.
    """

    def __init__(self, name: str = "") -> None:
        self.book = OrderBook("mock", name)
        self._taken: dict[tuple[Side, Decimal], Decimal] = {}
        self.halted = ""
        """Why there is no market now; empty if there is one."""

    def apply(self, kind: OrderBookSnapshot | OrderBookUpdate | OrderBookL1) -> None:
        """Take what the feed says.

        Raises:
            InvalidLevel: A number is malformed; the book is unchanged.
        """
        match kind:
            case OrderBookSnapshot():
                self.book.apply_snapshot(kind.bids, kind.asks, sequence=kind.sequence)
                self._taken.clear()
            case OrderBookUpdate():
                self.book.apply_update(kind.bids, kind.asks, sequence=kind.sequence)
                for side, levels in ((Side.BUY, kind.bids), (Side.SELL, kind.asks)):
                    for price, _ in levels if self._taken else ():
                        self._taken.pop((side, Decimal(price)), None)
            case OrderBookL1():
                self._apply_top(kind)

    def _apply_top(self, top: OrderBookL1) -> None:
        before = (self.book.best_bid, self.book.best_ask)
        after = (top.best_bid, top.best_ask)
        self.book.apply_snapshot(*map(_raw, after), sequence=top.sequence)
        for side, old, new in zip((Side.BUY, Side.SELL), before, after, strict=True):
            if old == new:
                continue  # the same level, stated again because the other changed
            for key in [key for key in self._taken if key[0] is side]:
                del self._taken[key]

    def offers(self, taker: Side) -> Iterator[Offer]:
        """Yield what a taker of this side can have, best price first."""
        resting = taker.opposite()
        for level in self._levels(resting):
            left = EXACT.subtract(
                level.amount, self._taken.get((resting, level.price), _ZERO)
            )
            if left > 0:
                yield Offer(level.price, left)

    def _levels(self, side: Side) -> Iterator[Level]:
        read = self.book.bids if side is Side.BUY else self.book.asks
        seen, depth = 0, _FIRST_DEPTH
        while True:
            levels = read(depth)
            yield from levels[seen:]
            if len(levels) < depth:
                return
            seen, depth = depth, depth * 8

    def take(self, taker: Side, price: Decimal, quantity: Decimal) -> None:
        """Remember that a taker of this side had `quantity` at `price`."""
        key = (taker.opposite(), price)
        self._taken[key] = EXACT.add(self._taken.get(key, _ZERO), quantity)

    def resting_at(self, side: Side, price: Decimal) -> Decimal:
        """Return what the market displays on a side at exactly this price."""
        bid, ask = self.book.amount_at(price)
        return bid if side is Side.BUY else ask


def _raw(level: Level | None) -> list[RawLevel]:
    if level is None:
        return []
    return [(format(level.price, "f"), format(level.amount, "f"))]
