# cython: annotation_typing=False, boundscheck=False, wraparound=False
# cython: freethreading_compatible=True
"""The inner loops of market data, written to be compiled.

What may live here: reading a trade out of its bytes, and the work per level of a book.
Whatever is unusual is left to the plain code that calls these loops: they stop before
a message, or refuse levels, that are not spelled in the common way, and never guess.

The C types stand in `_speedups.pxd`, so that this file is plain typed Python: where
the package was built without a compiler it is imported as it is, gives the same results
slowly, and `integration.market.speedups` lets nobody use it but tests. Nothing checks
bounds for us when it is compiled: every index is below a length first.
"""

from decimal import Context

from integration.models import (
    AmountUnit,
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    PublicTrade,
    RawLevel,
    Side,
    TradeFlag,
)

__all__ = ["Shape", "apply", "changes", "in_turn", "mend", "scan", "top"]

# Names that the `.pxd` declares are C's own: one that is looked up costs 15 ns, and an
# attribute of an Enum 30.
_Trade, _Event = PublicTrade, MarketEvent
_BUY, _SELL = Side.BUY, Side.SELL
_ORDINARY, _AGGREGATED = TradeFlag.NONE, TradeFlag.AGGREGATED
_SPOT = "spot"

# What a hole of a shape takes; the groups stand together, so that one comparison
# finds the group.
_TEXT, _SYMBOL, _ID_TEXT = 0, 1, 2
_PRICE, _AMOUNT = 3, 4
_INT, _ID_INT, _TIME, _FIRST, _LAST, _COUNT = 5, 6, 7, 8, 9, 10
_BOOL, _MAKER = 11, 12
_SIDE = 13

_NONE, _OF_RANGE, _OF_COUNT = 0, 1, 2
"""How many matches a trade holds: not said, the last id less the first, a count."""

_MAX_NUMBER = 64
"""As `integration.market.numbers.MAX_LENGTH`."""
_decimal = Context(prec=64).create_decimal
"""The same as calling the class, since no number has more digits, without its look at
the thread's context: 15 ns."""
_MAX_DIGITS = 18
"""An integer of so many digits fits into 64 bits."""
_MOST = 10**18
"""Ticks that fit into 64 bits."""
_MAX_MS = 9_000_000_000_000
"""Milliseconds whose nanoseconds fit into 64 bits: the year 2255."""


class Shape:
    """How a venue spells the message of one trade, to the byte.

    Args:
        literals: the text before each hole, and the text after the last one; at most
            255 bytes each.
        holes: what stands between them, by the names of
            `integration.market.shapes.HOLES`.
        quoted: for each hole, whether it stands between quotation marks.
        exchange: put into events.
        routes: the live mapping of symbols to instruments.
        units: of amounts on spot markets and on others.
        unsaid: how many matches a trade holds that does not say.

    Raises:
        ValueError: a hole has no such name, or a literal is too long.
    """

    def __init__(
        self,
        literals: list[bytes],
        holes: list[str],
        quoted: list[bool],
        *,
        exchange: ExchangeId,
        routes: dict[str, MarketDataInstrument],
        units: tuple[AmountUnit, AmountUnit],
        unsaid: int | None,
    ) -> None:
        self.pattern = b"".join(literals)
        self.sizes = bytes([len(each) for each in literals])
        self.kinds = bytes([_kind(*hole) for hole in zip(holes, quoted, strict=True)])
        self.exchange = exchange
        self.routes = routes
        self.spot_unit, self.other_unit = units
        self.unsaid = unsaid
        self.counted = (
            _OF_COUNT if "count" in holes else _OF_RANGE if "first" in holes else _NONE
        )

    def read(self, payload: bytes, time: int) -> MarketEvent | None:
        """Return the trade of a message; None if it is spelled in any other way.

        Args:
            payload: one message.
            time: when it was received, ns since epoch.
        """
        symbol_at = symbol_end = id_at = id_end = 0
        price_at = price_end = amount_at = amount_end = 0
        ms = first = last = count = 0
        sells = False
        octets, pattern, sizes, kinds = payload, self.pattern, self.sizes, self.kinds
        end, holes = len(payload), len(self.kinds)
        at = drawn = 0
        for hole in range(holes + 1):
            size = sizes[hole]
            if end - at < size:
                return None
            for k in range(size):
                if octets[at + k] != pattern[drawn + k]:
                    return None
            at += size
            drawn += size
            if hole == holes:
                break
            kind = kinds[hole]
            start = at
            if kind <= _ID_TEXT:
                # What JSON escapes, and what is not ASCII, is not common.
                while at < end and octets[at] != 34:
                    if octets[at] < 32 or octets[at] > 126 or octets[at] == 92:
                        return None
                    at += 1
                if kind == _SYMBOL:
                    symbol_at, symbol_end = start, at
                elif kind == _ID_TEXT:
                    id_at, id_end = start, at
            elif kind <= _AMOUNT:
                points = 0
                while at < end and (48 <= octets[at] <= 57 or octets[at] == 46):
                    points += octets[at] == 46
                    at += 1
                if points > 1 or at - start <= points or at - start > _MAX_NUMBER:
                    return None
                if kind == _PRICE:
                    price_at, price_end = start, at
                else:
                    amount_at, amount_end = start, at
            elif kind <= _COUNT:
                value = 0
                while at < end and 48 <= octets[at] <= 57 and at - start < _MAX_DIGITS:
                    value = value * 10 + (octets[at] - 48)
                    at += 1
                if at == start or (octets[start] == 48 and at - start > 1):
                    return None
                if kind == _TIME:
                    ms = value
                elif kind == _ID_INT:
                    id_at, id_end = start, at
                elif kind == _FIRST:
                    first = value
                elif kind == _LAST:
                    last = value
                elif kind == _COUNT:
                    count = value
            elif kind <= _MAKER:
                # The buyer rested, so the taker sold.
                if end - at >= 4 and (
                    octets[at] == 116
                    and octets[at + 1] == 114
                    and octets[at + 2] == 117
                    and octets[at + 3] == 101
                ):
                    at += 4
                    sells = sells or kind == _MAKER
                elif end - at >= 5 and (
                    octets[at] == 102
                    and octets[at + 1] == 97
                    and octets[at + 2] == 108
                    and octets[at + 3] == 115
                    and octets[at + 4] == 101
                ):
                    at += 5
                else:
                    return None
            elif end - at >= 3 and (
                octets[at] == 98 and octets[at + 1] == 117 and octets[at + 2] == 121
            ):
                at += 3
            elif end - at >= 4 and (
                octets[at] == 115
                and octets[at + 1] == 101
                and octets[at + 2] == 108
                and octets[at + 3] == 108
            ):
                at += 4
                sells = True
            else:
                return None
        if at != end or ms > _MAX_MS:
            return None
        symbol = octets[symbol_at:symbol_end].decode("ascii")
        # A mapping may make up what it is asked for: that is the plain code's to do.
        instrument = dict.get(self.routes, symbol)
        if instrument is None:
            return None
        unit = (
            self.spot_unit if instrument.instrument_kind == _SPOT else self.other_unit
        )
        matches = self.unsaid
        flags = _ORDINARY
        if self.counted == _OF_RANGE:
            matches = last - first + 1
            flags = _AGGREGATED
        elif self.counted == _OF_COUNT:
            matches = count
            if count > 1:
                flags = _AGGREGATED
        trade = _Trade(
            octets[id_at:id_end].decode("ascii"),
            _decimal(octets[price_at:price_end].decode("ascii")),
            _decimal(octets[amount_at:amount_end].decode("ascii")),
            _SELL if sells else _BUY,
            unit,
            flags,
            None,
            matches,
        )
        return _Event(ms * 1_000_000, time, self.exchange, instrument, trade)


def _kind(name: str, quoted: bool) -> int:
    kind = _KINDS.get((name, quoted))
    if kind is None:
        marks = "in" if quoted else "without"
        raise ValueError(f"a shape has no hole {name!r} {marks} quotation marks")
    return kind


_KINDS = {
    ("text", True): _TEXT,
    ("symbol", True): _SYMBOL,
    ("id", True): _ID_TEXT,
    ("price", True): _PRICE,
    ("amount", True): _AMOUNT,
    ("int", False): _INT,
    ("id", False): _ID_INT,
    ("time", False): _TIME,
    ("time", True): _TIME,
    ("first", False): _FIRST,
    ("last", False): _LAST,
    ("count", True): _COUNT,
    ("bool", False): _BOOL,
    ("maker", False): _MAKER,
    ("side", True): _SIDE,
}


def scan(
    payloads: list[bytes],
    place: int,
    time: int,
    shapes: list[Shape],
    events: list[MarketEvent],
) -> int:
    """Append the trades of the messages from `place` on; return where it ended.

    The message there, or the end, was not touched: it has none of the shapes.

    Args:
        payloads: messages.
        place: which to begin with.
        time: when they were received, ns since epoch.
        shapes: to try; whichever fitted comes to the front.
        events: where to append.

    Raises:
        ValueError: if `place` is negative.
    """
    if place < 0:  # the one way to read what is not ours
        raise ValueError(f"place must not be negative, was {place}")
    end, many = len(payloads), len(shapes)
    while place < end:
        payload = payloads[place]
        event = None
        if type(payload) is bytes:
            for i in range(many):
                shape = shapes[i]
                event = shape.read(payload, time)
                if event is not None:
                    if i > 0:
                        shapes[i], shapes[0] = shapes[0], shape
                    break
        if event is None:
            break
        events.append(event)
        place += 1
    return place


# Books


def changes(
    raw: list[RawLevel],
    sign: int,
    scale: int,
    parsed: dict[int, RawLevel | None],
) -> bool:
    """Put each level under its tick, or None where the amount is zero.

    Args:
        raw: levels as the venue spelled them.
        sign: of ticks.
        scale: how many decimals a tick has.
        parsed: where to put them; of a price given twice the last counts.

    Returns:
        Whether every level is written with digits, at most one point and no more
        decimals than the scale; else what was put is worth nothing.
    """
    for level in raw:
        if type(level) is not tuple or len(level) != 2:
            return False
        price, amount = level[0], level[1]
        if type(price) is not str or type(amount) is not str:
            return False
        size = len(price)
        if size > 40:
            return False
        tick = digits = points = decimals = 0
        for i in range(size):
            c = price[i]
            if "0" <= c <= "9":
                if points == 0 or decimals < scale:
                    tick = tick * 10 + (ord(c) - 48)
                    decimals += points
                    # Zeros in front fill no place.
                    digits += tick > 0
                    if digits > 17:
                        return False
                elif c != "0":
                    return False
            elif c == "." and points == 0:
                points = 1
            else:
                return False
        if size == points:
            return False
        while decimals < scale:
            tick = tick * 10
            digits += tick > 0
            if digits > 17:
                return False
            decimals += 1
        size = len(amount)
        if size > _MAX_NUMBER:
            return False
        something = points = 0
        for i in range(size):
            c = amount[i]
            if "0" < c <= "9":
                something = 1
            elif c == ".":
                points += 1
            elif c != "0":
                return False
        if points > 1 or size == points:
            return False
        parsed[sign * tick] = level if something else None
    return True


def apply(
    by_tick: dict[int, RawLevel],
    moved: set[int],
    parsed: dict[int, RawLevel | None],
) -> None:
    """Put levels into a side, or take them out, and note the ticks that came or went.

    Args:
        by_tick: the side's levels.
        moved: gets ticks that the side had not, or has no longer.
        parsed: level by tick; None takes one out.
    """
    for tick, level in parsed.items():
        if level is not None:
            if tick not in by_tick:
                moved.add(tick)
            by_tick[tick] = level
        elif tick in by_tick:
            del by_tick[tick]
            moved.add(tick)


def mend(keys: list[int], by_tick: dict[int, RawLevel], moved: set[int]) -> bool:
    """Sort in the ticks that came, and leave out those that went.

    Args:
        keys: ticks in ascending order.
        by_tick: the levels that there are.
        moved: ticks that may have come or gone since.

    Returns:
        Whether all ticks are of few enough digits to be compared here; else nothing
        was changed.
    """
    size = len(keys)
    # Nothing counts from the end when compiled.
    if size > 0 and not (
        -_MOST <= keys[0] <= _MOST and -_MOST <= keys[size - 1] <= _MOST
    ):
        return False
    for tick in moved:
        if not -_MOST <= tick <= _MOST:
            return False
    for tick in moved:
        wanted = tick
        low, high = 0, len(keys)
        while low < high:
            middle = (low + high) >> 1
            found = keys[middle]
            if found < wanted:
                low = middle + 1
            else:
                high = middle
        there = False
        if low < len(keys):
            found = keys[low]
            there = found == wanted
        if tick in by_tick:
            if not there:
                keys.insert(low, tick)
        elif there:
            del keys[low]
    return True


def top(keys: list[int], by_tick: dict[int, RawLevel], depth: int) -> list[RawLevel]:
    """Return the levels of the last `depth` ticks, the last one first."""
    out: list[RawLevel] = []
    at = len(keys) - 1
    while at >= 0 and depth > 0:
        out.append(by_tick[keys[at]])
        at -= 1
        depth -= 1
    return out


def in_turn(bids: list[RawLevel], asks: list[RawLevel]) -> str:
    """Return `price:amount` of bid and ask in turn, joined by colons.

    A side that ends early is skipped.
    """
    parts: list[str] = []
    at, of_bids, of_asks = 0, len(bids), len(asks)
    while at < of_bids or at < of_asks:
        if at < of_bids:
            level = bids[at]
            parts.append(level[0])
            parts.append(level[1])
        if at < of_asks:
            level = asks[at]
            parts.append(level[0])
            parts.append(level[1])
        at += 1
    return ":".join(parts)
