"""A seeded synthetic market: correlated symbols, real books, real trades.

Pure: no clock, no socket, no global randomness. The same seed and the same symbols
give the same events, byte for byte, however the time is cut into `advance` calls.

Theory of operation. Each symbol has a *fair value* that follows a geometric random
walk. On a grid of `depth_interval_ns` every fair value moves by one step whose
randomness is part common, part the symbol's own (`correlation`). Between grid times
single orders arrive per symbol: limit orders around the fair value, cancels of a
random resting order, takers. When the fair value has moved through resting orders,
most of these are cancelled and quoted anew by their owners, the rest is swept by a
marketable limit order whose remainder then rests. So the book follows the fair value,
and it is never crossed, because every order is matched before it rests.

At each grid time the levels touched since the last one are published as one
`DepthChanged`: contiguous update ids, absolute amounts. Best bid and ask
(`QuoteChanged`) and trades are published at once.

Reproducible across platforms: randomness comes from `random.Random.random()` (its
sequence is guaranteed by Python) and is shaped by + - * / and square roots only,
which IEEE 754 rounds exactly; a logarithm or exponential of the C library is not.
Normal variates are therefore sums of twelve uniforms (Irwin-Hall).
"""

import heapq
import math
from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Final

from integration.testing.book import UNIT, BookSide, Pair, PriceBook
from integration.testing.events import (
    DepthChanged,
    MarketEvent,
    QuoteChanged,
    SymbolSpec,
    TradeDone,
)
from netcore.models import Timestamp

__all__ = [
    "DEFAULT_START_NS",
    "DEFAULT_SYMBOLS",
    "KNOWN_SYMBOLS",
    "SyntheticMarket",
]

DEFAULT_START_NS: Final[Timestamp] = 1_735_689_600_000_000_000
"""2025-01-01T00:00:00Z: a fixed start, so that a run can be repeated bit for bit."""

_YEAR_NS: Final = 365 * 86_400 * 1_000_000_000

# The share of a price within which limit orders are spread to either side.
_DEPTH_SHARE: Final = 0.004
# A quote this far on the wrong side of the fair value is stale (0.2 basis points).
_EDGE_SHARE: Final = 0.00002
# Owners of stale quotes who cancel in time; the rest is swept.
_CANCEL_IN_TIME: Final = 0.8
_TAKER_SHARE: Final = 0.07


def _spec(base: str, price: str, tick: str, lot: str, lot_scale: int) -> SymbolSpec:
    scaled = [round(float(text) * UNIT) for text in (price, tick, lot)]
    return SymbolSpec(
        symbol=f"{base}USDT",
        base=base,
        quote="USDT",
        price=scaled[0],
        tick=scaled[1],
        lot=scaled[2],
        lot_scale=lot_scale,
    )


KNOWN_SYMBOLS: Final[Mapping[str, SymbolSpec]] = MappingProxyType(
    {
        spec.symbol: spec
        for spec in (
            # Grids are those of the venue's exchangeInfo; prices are of August 2024,
            # the time of the recordings the simulator can play as well.
            _spec("BTC", "61800", "0.01", "0.00001", 8_000),
            _spec("ETH", "2680", "0.01", "0.0001", 15_000),
            _spec("SOL", "155", "0.01", "0.001", 20_000),
            _spec("BNB", "515", "0.1", "0.001", 4_000),
            _spec("XRP", "0.61", "0.0001", "1", 2_000),
            _spec("ADA", "0.35", "0.0001", "0.1", 20_000),
            _spec("DOGE", "0.103", "0.00001", "1", 9_000),
            _spec("AVAX", "22.5", "0.01", "0.01", 5_000),
            _spec("LTC", "61.5", "0.01", "0.001", 12_000),
            _spec("LINK", "10.4", "0.01", "0.01", 9_000),
        )
    }
)
"""Symbols that can be asked for by name alone."""

DEFAULT_SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def _normal(rng: Random) -> float:
    """Return a variate of mean 0 and variance 1 (Irwin-Hall, twelve uniforms)."""
    return sum(rng.random() for _ in range(12)) - 6.0


class _Flow:
    """One symbol: its fair value, its resting orders, its book.

    Times are given to it; it asks for none. Orders at a level queue first in, first
    out, so every trade names a real maker.
    """

    def __init__(self, spec: SymbolSpec, rng: Random, step_ns: int) -> None:
        self.spec = spec
        self._rng = rng
        self._fair = spec.price / spec.tick
        self._sigma = spec.volatility * math.sqrt(step_ns / _YEAR_NS)
        self._mean_gap = 1e9 / spec.events_per_second
        # Ids start where no two symbols or runs look alike, far from zero.
        first = 10_000_000_000 + int(rng.random() * 1_000_000_000)
        self.book = PriceBook(spec.symbol, first)
        self._order_id = first * 3
        self._trade_id = first // 7
        # order id -> [is_bid, price, amount left]
        self._orders: dict[int, tuple[bool, int, int]] = {}
        self._ids: dict[bool, list[int]] = {True: [], False: []}
        self._slot: dict[int, int] = {}
        self._queues: dict[tuple[bool, int], dict[int, None]] = {}
        self._touched: tuple[dict[int, None], dict[int, None]] = ({}, {})
        self._published_id = first
        self._now: Timestamp = 0
        self._events: list[MarketEvent] = []
        self._fill_book()

    # ---- what the market calls

    def gap_ns(self) -> int:
        """Draw the time to this symbol's next single order."""
        return 1 + int(self._rng.random() * 2.0 * self._mean_gap)

    def arrive(self, now: Timestamp, events: list[MarketEvent]) -> None:
        """Let one order, cancel or taker arrive."""
        with_quote = self._begin(now, events)
        draw = self._rng.random()
        if draw < _TAKER_SHARE:
            self._take()
        else:
            is_bid = self._rng.random() < 0.5
            target = self.spec.orders_per_side
            # A side below its target rather gains an order, above rather loses one.
            lean = 0.5 + 0.5 * (target - len(self._ids[is_bid])) / target
            if self._rng.random() < min(max(lean, 0.1), 0.9):
                self._quote(is_bid)
            else:
                self._cancel(self._pick(is_bid))
        self._replenish()
        self._end(with_quote)

    def move(self, now: Timestamp, shock: float, events: list[MarketEvent]) -> None:
        """Move the fair value by one step and let the book follow."""
        with_quote = self._begin(now, events)
        moved = self._fair * (1.0 + self._sigma * shock)
        # A walk cannot fall through the grid, however volatile it is told to be.
        self._fair = max(moved, 100.0)
        edge = max(1.0, self._fair * _EDGE_SHARE)
        self._chase(is_bid=False, limit=math.floor(self._fair - edge))
        self._chase(is_bid=True, limit=math.ceil(self._fair + edge))
        self._replenish()
        self._end(with_quote)

    def flush(self, now: Timestamp) -> DepthChanged | None:
        """Publish the levels touched since the last flush, if any was."""
        if self.book.sequence == self._published_id:
            return None
        bids, asks = (
            tuple((price, side.amount(price)) for price in touched)
            for side, touched in zip(
                (self.book.bids, self.book.asks), self._touched, strict=True
            )
        )
        event = DepthChanged(
            symbol=self.spec.symbol,
            time_ns=now,
            first_id=self._published_id + 1,
            last_id=self.book.sequence,
            bids=bids,
            asks=asks,
        )
        self._published_id = self.book.sequence
        self._touched = ({}, {})
        return event

    # ---- one order at a time

    def _begin(self, now: Timestamp, events: list[MarketEvent]) -> tuple[Pair, Pair]:
        self._now, self._events = now, events
        return self._best()

    def _end(self, before: tuple[Pair, Pair]) -> None:
        bid, ask = self._best()
        if (bid, ask) != before:
            self._events.append(
                QuoteChanged(
                    symbol=self.spec.symbol,
                    time_ns=self._now,
                    update_id=self.book.sequence,
                    bid=bid,
                    ask=ask,
                )
            )

    def _best(self) -> tuple[Pair, Pair]:
        return self.book.bids.best or (0, 0), self.book.asks.best or (0, 0)

    def _side(self, is_bid: bool) -> BookSide:
        return self.book.bids if is_bid else self.book.asks

    def _lots(self, floor: float, reach: float) -> int:
        """Draw an amount: mostly small, now and then large."""
        share = self._rng.random()
        share *= share
        size = self.spec.lot_scale * (floor + reach * share * share)
        return max(1, int(size)) * self.spec.lot

    def _touch(self, is_bid: bool, price: int, change: int) -> None:
        side = self._side(is_bid)
        side.set(price, side.amount(price) + change)
        self.book.sequence += 1
        self._touched[0 if is_bid else 1][price] = None

    def _rest(self, is_bid: bool, price: int, amount: int) -> None:
        self._order_id += 1
        order = self._order_id
        self._orders[order] = (is_bid, price, amount)
        self._slot[order] = len(self._ids[is_bid])
        self._ids[is_bid].append(order)
        self._queues.setdefault((is_bid, price), {})[order] = None
        self._touch(is_bid, price, amount)

    def _forget(self, order: int) -> None:
        """Take an order out of every index; the book was changed by the caller."""
        is_bid, price, _ = self._orders.pop(order)
        ids, slot = self._ids[is_bid], self._slot.pop(order)
        last = ids.pop()
        if last != order:
            ids[slot] = last
            self._slot[last] = slot
        queue = self._queues[is_bid, price]
        del queue[order]
        if not queue:
            del self._queues[is_bid, price]

    def _pick(self, is_bid: bool) -> int:
        ids = self._ids[is_bid]
        return ids[int(self._rng.random() * len(ids))]

    def _cancel(self, order: int) -> None:
        is_bid, price, amount = self._orders[order]
        self._forget(order)
        self._touch(is_bid, price, -amount)

    def _quote(self, is_bid: bool) -> None:
        """Rest one limit order behind the fair value, never across the other side."""
        draw = self._rng.random()
        offset = 1.0 + draw * draw * draw * self._fair * _DEPTH_SHARE
        if is_bid:
            ticks = math.floor(self._fair - offset)
            ask = self.book.asks.best
            if ask is not None:
                ticks = min(ticks, ask[0] // self.spec.tick - 1)
        else:
            ticks = math.ceil(self._fair + offset)
            bid = self.book.bids.best
            if bid is not None:
                ticks = max(ticks, bid[0] // self.spec.tick + 1)
        self._rest(is_bid, max(ticks, 1) * self.spec.tick, self._lots(0.2, 4.0))

    def _take(self) -> None:
        """Send a market order, rather to the side where the fair value is."""
        bid, ask = self._best()
        middle = (bid[0] + ask[0]) / (2 * self.spec.tick)
        buys = self._rng.random() < (0.7 if self._fair > middle else 0.3)
        self._match(buys=buys, amount=self._lots(0.3, 6.0), limit=None)

    def _match(self, *, buys: bool, amount: int, limit: int | None) -> int:
        """Trade against the other side; return what is left of the amount."""
        self._order_id += 1
        taker, makers_bid = self._order_id, not buys
        side = self._side(makers_bid)
        while amount and (best := side.best) is not None:
            price = best[0]
            if limit is not None and (price > limit if buys else price < limit):
                break
            maker = next(iter(self._queues[makers_bid, price]))
            rest = self._orders[maker][2]
            done = min(rest, amount)
            amount -= done
            if done == rest:
                self._forget(maker)
            else:
                self._orders[maker] = (makers_bid, price, rest - done)
            self._touch(makers_bid, price, -done)
            self._trade(price, done, maker=maker, taker=taker, buys=buys)
        return amount

    def _trade(
        self, price: int, amount: int, *, maker: int, taker: int, buys: bool
    ) -> None:
        self._trade_id += 1
        self._events.append(
            TradeDone(
                symbol=self.spec.symbol,
                time_ns=self._now,
                trade_id=self._trade_id,
                price=price,
                amount=amount,
                buyer_is_maker=not buys,
                buyer_order=taker if buys else maker,
                seller_order=maker if buys else taker,
            )
        )

    def _chase(self, *, is_bid: bool, limit: int) -> None:
        """Clear quotes of one side that the fair value (in ticks) has passed.

        Args:
            is_bid: The side whose quotes are stale.
            limit: Asks at or below, bids at or above this tick are stale.
        """
        bound = limit * self.spec.tick
        stale: list[int] = []
        for price, _ in self._side(is_bid):
            if price < bound if is_bid else price > bound:
                break
            stale.extend(self._queues[is_bid, price])
        cancelled = [o for o in stale if self._rng.random() < _CANCEL_IN_TIME]
        for order in cancelled:
            self._cancel(order)
        if len(cancelled) < len(stale):
            amount = self._lots(0.5, 4.0) + sum(
                self._orders[o][2] for o in stale if o in self._orders
            )
            left = self._match(buys=not is_bid, amount=amount, limit=bound)
            self._rest(not is_bid, bound, left)
        for _ in stale:
            self._quote(is_bid)

    def _replenish(self) -> None:
        """Keep both sides from running dry."""
        for is_bid in (True, False):
            while len(self._ids[is_bid]) < 5:
                self._quote(is_bid)

    def _fill_book(self) -> None:
        for _ in range(self.spec.orders_per_side):
            self._quote(is_bid=True)
            self._quote(is_bid=False)
        self._published_id = self.book.sequence
        self._touched = ({}, {})


class SyntheticMarket:
    """Correlated symbols trading by a seed; a `MarketSource`.

    Args:
        seed: Any integer; the same seed gives the same events.
        symbols: Names out of `KNOWN_SYMBOLS`, or own `SymbolSpec`s.
        start_ns: Market time before the first event.
        depth_interval_ns: Time between depth events; Binance's fast stream has 100 ms.
        correlation: Of two symbols' fair values, 0 to 1.

    Raises:
        ValueError: For an unknown or repeated symbol, an empty list, or a number out
            of range.
    """

    def __init__(
        self,
        seed: int,
        symbols: Sequence[SymbolSpec | str] = DEFAULT_SYMBOLS,
        *,
        start_ns: Timestamp = DEFAULT_START_NS,
        depth_interval_ns: int = 100_000_000,
        correlation: float = 0.7,
    ) -> None:
        if depth_interval_ns <= 0:
            raise ValueError(f"depth_interval_ns must be > 0, was {depth_interval_ns}")
        if not 0.0 <= correlation <= 1.0:
            raise ValueError(f"correlation must be in 0..1, was {correlation}")
        specs = _resolve(symbols)
        self._specs = MappingProxyType({spec.symbol: spec for spec in specs})
        self._start_ns = self._time_ns = start_ns
        self._interval = depth_interval_ns
        self._common = Random(f"{seed}/common")  # noqa: S311 - a simulation, no secret
        self._own = Random(f"{seed}/own")  # noqa: S311 - a simulation, no secret
        self._weights = math.sqrt(correlation), math.sqrt(1.0 - correlation)
        self._flows = [
            _Flow(spec, Random(f"{seed}/{spec.symbol}"), depth_interval_ns)  # noqa: S311 - a simulation, no secret
            for spec in specs
        ]
        self._by_symbol = {flow.spec.symbol: flow for flow in self._flows}
        self._next_grid = start_ns + depth_interval_ns
        self._arrivals = [
            (start_ns + flow.gap_ns(), index) for index, flow in enumerate(self._flows)
        ]
        heapq.heapify(self._arrivals)

    def __repr__(self) -> str:
        return f"SyntheticMarket({', '.join(self._specs)}; time_ns={self._time_ns})"

    @property
    def specs(self) -> Mapping[str, SymbolSpec]:
        """Instruments by venue symbol, in the order given."""
        return self._specs

    @property
    def start_ns(self) -> Timestamp:
        """Market time before the first event."""
        return self._start_ns

    @property
    def time_ns(self) -> Timestamp:
        """Market time reached so far."""
        return self._time_ns

    @property
    def finished(self) -> bool:
        """Always False: this market never ends."""
        return False

    def book(self, symbol: str) -> PriceBook | None:
        """Return the live book of a symbol (not a copy), or None if unknown."""
        flow = self._by_symbol.get(symbol)
        return None if flow is None else flow.book

    def settled(self, until_ns: Timestamp) -> Timestamp:
        """Return the last grid time up to `until_ns`."""
        steps = (until_ns - self._start_ns) // self._interval
        return self._start_ns + steps * self._interval

    def advance(self, until_ns: Timestamp) -> list[MarketEvent]:
        """Let the market live up to and including `until_ns`.

        Returns:
            Events in time order; at one time trades precede quotes, quotes depth.

        Raises:
            ValueError: If `until_ns` lies before `time_ns`.
        """
        if until_ns < self._time_ns:
            raise ValueError(
                f"time does not run backwards: at {self._time_ns}, was {until_ns}"
            )
        events: list[MarketEvent] = []
        while True:
            arrival, index = self._arrivals[0]
            if self._next_grid < arrival:
                if self._next_grid > until_ns:
                    break
                self._step_grid(events)
            else:
                if arrival > until_ns:
                    break
                flow = self._flows[index]
                flow.arrive(arrival, events)
                heapq.heapreplace(self._arrivals, (arrival + flow.gap_ns(), index))
        self._time_ns = until_ns
        return events

    def _step_grid(self, events: list[MarketEvent]) -> None:
        now = self._next_grid
        shared = self._weights[0] * _normal(self._common)
        for flow in self._flows:
            flow.move(now, shared + self._weights[1] * _normal(self._own), events)
        for flow in self._flows:
            depth = flow.flush(now)
            if depth is not None:
                events.append(depth)
        self._next_grid = now + self._interval


def _resolve(symbols: Sequence[SymbolSpec | str]) -> list[SymbolSpec]:
    """Look names up and check every spec."""
    specs: list[SymbolSpec] = []
    for entry in symbols:
        if isinstance(entry, SymbolSpec):
            specs.append(entry)
        elif entry in KNOWN_SYMBOLS:
            specs.append(KNOWN_SYMBOLS[entry])
        else:
            raise ValueError(
                f"unknown symbol {entry!r}; known: {', '.join(KNOWN_SYMBOLS)}"
                " (or pass a SymbolSpec)"
            )
    names = [spec.symbol for spec in specs]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"symbols must be one or more and distinct, were {names}")
    for spec in specs:
        _check_spec(spec)
    return specs


def _check_spec(spec: SymbolSpec) -> None:
    whole = {
        "tick": spec.tick,
        "lot": spec.lot,
        "lot_scale": spec.lot_scale,
        "orders_per_side": spec.orders_per_side,
        "events_per_second": spec.events_per_second,
    }
    for name, value in whole.items():
        if not value > 0:
            raise ValueError(f"{spec.symbol}: {name} must be > 0, was {value}")
    if spec.price < 200 * spec.tick:
        raise ValueError(
            f"{spec.symbol}: price must be at least 200 ticks, was {spec.price}"
        )
    if not (math.isfinite(spec.volatility) and spec.volatility >= 0):
        raise ValueError(
            f"{spec.symbol}: volatility must be finite and >= 0, was {spec.volatility}"
        )
