"""An order book of one instrument: sorted levels, exact numbers, a state.

Theory of operation. Each side is a sorted list of integer ticks plus a dictionary
from tick to the level's own text, as the venue spelled it. Integers compare five
times faster than `Decimal` and exactly, unlike floats; the text is what checksums are
computed over and becomes `Decimal` only when somebody reads the level. The scale that
turns a price into ticks is the largest number of decimals seen so far; a finer price
rescales the side once. Ticks of asks are negative, so that on both sides the best
level is the *last* one and changes near it move few elements. The list is mended when
somebody reads: who takes events in batches pays for their sum, not for each. The loops
over levels have compiled twins where the package was built with a compiler; what is
not spelled in the common way is always the plain ones'.

A book is changed by its manager (`integration.market.manager`) and read by everybody
else. An update is parsed completely before the first level is touched: a malformed
level leaves the book as it was. Whether an update *may* be applied is not decided
here (`integration.market.sequencing`), and no clock is read.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from decimal import Decimal
from enum import StrEnum
from html import escape
from typing import final

from integration.market._speedups import apply, changes, mend, top
from integration.market.numbers import MAX_LENGTH, exact, is_zero, plain
from integration.market.speedups import COMPILED
from integration.models import Level, OrderBookSnapshot, RawLevel, levels
from integration.models import mid_price as _mid_price
from integration.models import volume_weighted_mid as _volume_weighted_mid

__all__ = ["BookState", "OrderBook"]

_MEMO_LIMIT = 8_192
"""Spellings remembered per side before the memory is emptied: more than any venue's
depth, and about 1 MB."""

_DIGITS, _ZEROS, _POINT = "0123456789", "0.", ("", ".")

_FEW = 64
"""Changes up to which the sorted ticks are mended one by one; sorting a thousand anew
costs about as much."""

_MANY = 4096

_REPR_DEPTH = 5


class BookState(StrEnum):
    """Whether a book may be relied upon."""

    SYNCING = "syncing"
    """Waiting for an image, or for updates to join one; content is incomplete."""
    LIVE = "live"
    """Every update since the image was applied."""
    STALE = "stale"
    """Something was lost; content is kept for display but is not the venue's."""


class _Ticks(dict[str, int]):
    """Ticks of prices by their spelling; works out what it does not know yet."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[str], int]) -> None:
        super().__init__()
        self.make = make

    def __missing__(self, price: str) -> int:
        tick = self.make(price)
        if len(self) >= _MEMO_LIMIT:
            self.clear()
        self[price] = tick
        return tick


class _Side:
    """One side; `sign` is 1 for bids and -1 for asks, so that the best is last."""

    __slots__ = ("_keys", "_moved", "by_tick", "scale", "sign", "ticks", "zero")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.scale = 0
        self.by_tick: dict[int, RawLevel] = {}
        self._keys: list[int] = []
        # Ticks that came or went since the keys were sorted.
        self._moved: set[int] = set()
        self.ticks = _Ticks(self._tick)
        self.zero = "0"

    def parse(self, raw: Sequence[RawLevel]) -> dict[int, RawLevel | None]:
        """Return level by tick, None to remove it, without changing any level.

        Of a price given twice the last counts.
        """
        if COMPILED and type(raw) is list:
            found: dict[int, RawLevel | None] = {}
            if changes(raw, self.sign, self.scale, found):
                return found
        scale = self.scale
        parsed = self._parse(raw)
        # A finer price part-way through has rescaled the ticks before it.
        return parsed if self.scale == scale else self._parse(raw)

    def _parse(self, raw: Sequence[RawLevel]) -> dict[int, RawLevel | None]:
        ticks, zero = self.ticks, self.zero
        parsed: dict[int, RawLevel | None] = {}
        for level in raw:
            price, amount = level
            if amount == zero:
                parsed[ticks[price]] = None
            # What is left of digits and at most one point, and more than zeros: two
            # calls into C, where a memory of amounts has to hash each of them.
            elif (
                amount.strip(_DIGITS) in _POINT
                and amount.strip(_ZEROS)
                and len(amount) <= MAX_LENGTH
            ):
                parsed[ticks[price]] = level
            else:
                parsed[ticks[price]] = level if self._present(amount) else None
        return parsed

    def _present(self, amount: str) -> bool:
        if is_zero(amount):
            # Half of all levels are removals, and a venue spells zero in one way.
            self.zero = amount
            return False
        return True

    def _tick(self, price: str) -> int:
        value = exact(price, "a price")
        text = price if price.replace(".", "", 1).isdigit() else plain(value)
        whole, _, fraction = text.partition(".")
        fraction = fraction.rstrip("0")
        if len(fraction) > self.scale:
            self._rescale(len(fraction))
        return self.sign * int(whole + fraction.ljust(self.scale, "0") or "0")

    def _rescale(self, scale: int) -> None:
        factor = 10 ** (scale - self.scale)
        self._keys = [key * factor for key in self.keys]
        self.scale = scale
        self.by_tick = {key * factor: level for key, level in self.by_tick.items()}
        self.ticks.clear()

    @property
    def keys(self) -> list[int]:
        """The ticks in order, the best one last."""
        if self._moved:
            self._sort()
        return self._keys

    def _sort(self) -> None:
        keys, by_tick, moved = self._keys, self.by_tick, self._moved
        if len(moved) > _FEW:
            self._keys = sorted(by_tick)
        elif not (COMPILED and mend(keys, by_tick, moved)):
            for tick in moved:
                at = bisect_left(keys, tick)
                found = at < len(keys) and keys[at] == tick
                if tick in by_tick:
                    if not found:
                        keys.insert(at, tick)
                elif found:
                    del keys[at]
        moved.clear()

    def upsert(self, parsed: dict[int, RawLevel | None]) -> None:
        by_tick, moved = self.by_tick, self._moved
        if COMPILED:
            apply(by_tick, moved, parsed)
        else:
            for tick, level in parsed.items():
                if level is not None:
                    if tick not in by_tick:
                        moved.add(tick)
                    by_tick[tick] = level
                # Removing what is not there is no error: venues shorten books.
                elif tick in by_tick:
                    del by_tick[tick]
                    moved.add(tick)
        if len(moved) > _MANY:
            # Nobody reads this book; what moved must not outgrow it.
            self._sort()

    def replace(self, parsed: dict[int, RawLevel | None]) -> None:
        self.by_tick = {tick: lvl for tick, lvl in parsed.items() if lvl is not None}
        self._keys = sorted(self.by_tick)
        self._moved.clear()

    def truncate(self, depth: int) -> int:
        excess = len(self.by_tick) - depth
        if excess <= 0:
            return 0
        keys = self.keys
        for tick in keys[:excess]:
            del self.by_tick[tick]
        del keys[:excess]
        return excess

    def top(self, depth: int | None) -> list[RawLevel]:
        by_tick, keys = self.by_tick, self.keys
        if COMPILED:
            return top(keys, by_tick, len(keys) if depth is None else depth)
        chosen = keys if depth is None else keys[max(0, len(keys) - depth) :]
        return [by_tick[tick] for tick in reversed(chosen)]

    def best(self) -> RawLevel | None:
        keys = self.keys
        return self.by_tick[keys[-1]] if keys else None


@final
class OrderBook:
    """The resting orders of one instrument, by price.

    Args:
        exchange: shown in the repr.
        instrument: shown in the repr.
        max_depth: levels kept per side; deeper ones are dropped after each change.
            None keeps all that the venue sends.

    Attributes:
        exchange: as given.
        instrument: as given.
        max_depth: as given.
        state: whether the content may be relied upon.
        sequence: the venue's id of the last change; None where there is none.
        time_engine: when the matching engine made the last change, in ns.
        time_received: when the last change was read from the socket, in ns.
    """

    __slots__ = (
        "_asks",
        "_best_ask",
        "_best_bid",
        "_bids",
        "exchange",
        "instrument",
        "max_depth",
        "sequence",
        "state",
        "time_engine",
        "time_received",
    )

    def __init__(
        self, exchange: str = "", instrument: str = "", *, max_depth: int | None = None
    ) -> None:
        if max_depth is not None and max_depth < 1:
            msg = f"max_depth is at least 1 level, was {max_depth}"
            raise ValueError(msg)
        self.exchange = exchange
        self.instrument = instrument
        self.max_depth = max_depth
        self.state = BookState.SYNCING
        self.sequence: int | None = None
        self.time_engine: int | None = None
        self.time_received: int | None = None
        self._bids = _Side(1)
        self._asks = _Side(-1)
        self._best_bid: tuple[RawLevel, Level] | None = None
        self._best_ask: tuple[RawLevel, Level] | None = None

    # Changing, for the manager

    def apply_snapshot(
        self,
        bids: Sequence[RawLevel],
        asks: Sequence[RawLevel],
        *,
        sequence: int | None = None,
        time_engine: int | None = None,
        time_received: int | None = None,
    ) -> None:
        """Replace the content by an image; levels of amount zero are left out.

        Raises:
            InvalidLevel: a number is malformed; the book is unchanged.
        """
        new_bids, new_asks = self._bids.parse(bids), self._asks.parse(asks)
        self._bids.replace(new_bids)
        self._asks.replace(new_asks)
        self._changed(sequence, time_engine, time_received)

    def apply_update(
        self,
        bids: Sequence[RawLevel],
        asks: Sequence[RawLevel],
        *,
        sequence: int | None = None,
        time_engine: int | None = None,
        time_received: int | None = None,
    ) -> None:
        """Insert, replace and (amount zero) remove levels.

        Raises:
            InvalidLevel: a number is malformed; the book is unchanged.
        """
        new_bids, new_asks = self._bids.parse(bids), self._asks.parse(asks)
        self._bids.upsert(new_bids)
        self._asks.upsert(new_asks)
        self._changed(sequence, time_engine, time_received)

    def _changed(
        self, sequence: int | None, time_engine: int | None, time_received: int | None
    ) -> None:
        if self.max_depth is not None:
            self.truncate(self.max_depth)
        self.sequence = sequence
        self.time_engine = time_engine
        self.time_received = time_received

    def truncate(self, depth: int) -> int:
        """Drop levels beyond the best `depth` of each side; return how many."""
        if depth < 1:
            msg = f"a book is truncated to at least 1 level, was {depth}"
            raise ValueError(msg)
        return self._bids.truncate(depth) + self._asks.truncate(depth)

    def clear(self) -> None:
        """Empty the book and go back to SYNCING; its identity stays."""
        self._bids = _Side(1)
        self._asks = _Side(-1)
        self.state = BookState.SYNCING
        self.sequence = self.time_engine = self.time_received = None

    # Reading

    def bids(self, depth: int | None = None) -> list[Level]:
        """Return the best `depth` bids, highest price first; None for all."""
        return levels(self.raw_bids(depth))

    def asks(self, depth: int | None = None) -> list[Level]:
        """Return the best `depth` asks, lowest price first; None for all."""
        return levels(self.raw_asks(depth))

    def raw_bids(self, depth: int | None = None) -> list[RawLevel]:
        """Return bids as the venue spelled them, best first."""
        return self._bids.top(_checked(depth))

    def raw_asks(self, depth: int | None = None) -> list[RawLevel]:
        """Return asks as the venue spelled them, best first."""
        return self._asks.top(_checked(depth))

    @property
    def bid_count(self) -> int:
        """How many bid levels there are."""
        return len(self._bids.by_tick)

    @property
    def ask_count(self) -> int:
        """How many ask levels there are."""
        return len(self._asks.by_tick)

    @property
    def best_bid(self) -> Level | None:
        """The highest bid; None on an empty side."""
        raw = self._bids.best()
        if raw is None:
            return None
        cached = self._best_bid
        if cached is None or cached[0] is not raw:
            self._best_bid = cached = (raw, levels((raw,))[0])
        return cached[1]

    @property
    def best_ask(self) -> Level | None:
        """The lowest ask; None on an empty side."""
        raw = self._asks.best()
        if raw is None:
            return None
        cached = self._best_ask
        if cached is None or cached[0] is not raw:
            self._best_ask = cached = (raw, levels((raw,))[0])
        return cached[1]

    @property
    def crossed(self) -> bool:
        """Whether the best bid is at or above the best ask: something was lost."""
        bid, ask = self.best_bid, self.best_ask
        return bid is not None and ask is not None and bid.price >= ask.price

    def amount_at(self, price: Decimal | str) -> tuple[Decimal, Decimal]:
        """Return what is bid and what is asked at exactly this price.

        Raises:
            InvalidLevel: the price is not a finite unsigned number.
        """
        text = price if isinstance(price, str) else plain(price, "a price")
        found = []
        for side in (self._bids, self._asks):
            level = side.by_tick.get(next(iter(side.parse([(text, "1")]))))
            found.append(Decimal(0) if level is None else Decimal(level[1]))
        return found[0], found[1]

    def mid_price(self) -> Decimal | None:
        """Return the mean of the best prices; of a one-sided book, that side's."""
        return _mid_price(self.best_bid, self.best_ask) or self._only_price()

    def volume_weighted_mid(self) -> Decimal | None:
        """Return the mid weighted by the other side's amount; fallbacks as the mid."""
        return _volume_weighted_mid(self.best_bid, self.best_ask) or self._only_price()

    def _only_price(self) -> Decimal | None:
        level = self.best_bid or self.best_ask
        return None if level is None else level.price

    def snapshot(self, depth: int | None = None) -> OrderBookSnapshot:
        """Copy the best `depth` levels of each side into a record."""
        return OrderBookSnapshot(
            self.raw_bids(depth),
            self.raw_asks(depth),
            sequence=self.sequence,
            time_engine=self.time_engine,
        )

    # Showing

    def __repr__(self) -> str:
        name = " ".join(part for part in (self.exchange, self.instrument) if part)
        head = f"OrderBook({name or 'unnamed'}, {self.state}, sequence={self.sequence}"
        return (
            f"{head}, {_show(self._bids.best())} / {_show(self._asks.best())}, "
            f"{self.bid_count}+{self.ask_count} levels)"
        )

    def _repr_html_(self) -> str:
        bids, asks = self.raw_bids(_REPR_DEPTH), self.raw_asks(_REPR_DEPTH)
        rows = []
        for i in range(max(len(bids), len(asks))):
            bid = bids[i] if i < len(bids) else ("", "")
            ask = asks[i] if i < len(asks) else ("", "")
            cells = (bid[1], bid[0], ask[0], ask[1])
            rows.append("".join(f"<td>{escape(cell)}</td>" for cell in cells))
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        caption = escape(f"{self.exchange} {self.instrument} ({self.state})".strip())
        head = "<th>amount</th><th>bid</th><th>ask</th><th>amount</th>"
        return f"<table><caption>{caption}</caption><tr>{head}</tr>{body}</table>"


def _checked(depth: int | None) -> int | None:
    if depth is not None and depth < 0:
        msg = f"depth is a number of levels, was {depth}"
        raise ValueError(msg)
    return depth


def _show(level: RawLevel | None) -> str:
    return "-" if level is None else f"{level[0]} x {level[1]}"
