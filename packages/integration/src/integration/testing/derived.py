"""What follows from trading: candles, and what venues tell of perpetuals.

`DerivedMarket` wraps a source and adds to its events, whole seconds apart, the candles
of its trades and, for every symbol, mark and index price, funding rate and open
interest; liquidations come with the trades that they are. Dialects tell of them what
their venue has. Pure and seeded like `integration.testing.market`: the same source and
seed give the same events, however the time is cut into `advance` calls.

Not a model of any venue's risk engine: the figures are plausible, move with the
market, and are exact, which is what a client's reading of them is tested with. The
index follows the middle of the book, the mark price lags behind it, and their distance
is the premium that funding is made of.
"""

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Final

from msgspec.structs import replace

from integration.testing.book import UNIT, PriceBook
from integration.testing.events import (
    CandleChanged,
    ContractTold,
    MarketEvent,
    MarketSource,
    PositionLiquidated,
    SymbolSpec,
    TradeDone,
)
from netcore.models import Timestamp

__all__ = ["INTERVALS_NS", "DerivedMarket"]

_SECOND: Final = 1_000_000_000

INTERVALS_NS: Final[Mapping[str, int]] = {
    "1m": 60 * _SECOND,
    "5m": 300 * _SECOND,
    "15m": 900 * _SECOND,
    "1h": 3600 * _SECOND,
}
"""Candles on offer, by our names."""

_FUNDING_NS: Final = 8 * 3600 * _SECOND
# The rate of a perpetual that trades at its index, per eight hours: 0.01 % at most
# venues; in units of 10**-8.
_INTEREST: Final = 10_000
# The mark price moves to the index by this share a second.
_LAG: Final = 8
# Trades of this many typical orders are liquidations now and then.
_LARGE: Final = 2
_LIQUIDATED: Final = 0.25
# Open interest at the start, in typical orders; each trade changes it.
_OPEN_ORDERS: Final = 5_000


class _Candle:
    """The candle of one interval that is being made."""

    __slots__ = ("_length", "_made", "_name", "_news", "_symbol")

    def __init__(self, symbol: str, name: str) -> None:
        self._symbol = symbol
        self._name = name
        self._length = INTERVALS_NS[name]
        self._made: CandleChanged | None = None
        self._news = False

    def over(self, now: Timestamp) -> Iterator[CandleChanged]:
        """Close the candle if its time is up."""
        made = self._made
        if made is not None and made.end_ns <= now:
            yield replace(made, time_ns=now, closed=True)
            self._made = None

    def add(self, trade: TradeDone) -> None:
        """Put a trade into the candle, which may be its first."""
        made, price, now = self._made, trade.price, trade.time_ns
        self._news = True
        if made is not None:
            self._made = replace(
                made,
                high=max(made.high, price),
                low=min(made.low, price),
                close=price,
                volume=made.volume + trade.amount,
                trades=made.trades + 1,
            )
            return
        begin = now // self._length * self._length
        self._made = CandleChanged(
            self._symbol,
            now,
            self._name,
            begin,
            begin + self._length,
            open=price,
            high=price,
            low=price,
            close=price,
            volume=trade.amount,
            trades=1,
            closed=False,
        )

    def tick(self, now: Timestamp) -> Iterator[CandleChanged]:
        """Tell the candle, closed or so far, if there is news of it."""
        yield from self.over(now)
        if self._made is not None and self._news:
            yield replace(self._made, time_ns=now)
        self._news = False


class _Symbol:
    """One symbol: its candles, its contract."""

    def __init__(self, spec: SymbolSpec, rng: Random, intervals: Sequence[str]) -> None:
        self._spec = spec
        self._rng = rng
        self._candles = [_Candle(spec.symbol, name) for name in intervals]
        self._typical = spec.lot_scale * spec.lot
        self._open_interest = _OPEN_ORDERS * self._typical
        self._mark = 0

    def trade(self, trade: TradeDone) -> Iterator[MarketEvent]:
        """Take a trade; tell what it ends and what it was."""
        for candle in self._candles:
            yield from candle.over(trade.time_ns)
            candle.add(trade)
        opens = 1 if self._rng.random() < 0.5 else -1
        self._open_interest = max(0, self._open_interest + opens * trade.amount)
        large = trade.amount >= _LARGE * self._typical
        if large and self._rng.random() < _LIQUIDATED:
            yield PositionLiquidated(
                trade.symbol,
                trade.time_ns,
                not trade.buyer_is_maker,
                trade.price,
                trade.amount,
            )

    def tick(self, now: Timestamp, book: PriceBook | None) -> Iterator[MarketEvent]:
        """Tell what is told once a second."""
        for candle in self._candles:
            yield from candle.tick(now)
        bid, ask = (book.bids.best, book.asks.best) if book else (None, None)
        if bid is None or ask is None:
            return
        index = (bid[0] + ask[0]) // 2
        self._mark += (index - self._mark) // _LAG if self._mark else index
        premium = (self._mark - index) * UNIT // index
        yield ContractTold(
            self._spec.symbol,
            now,
            self._mark,
            index,
            _INTEREST + premium,
            (now // _FUNDING_NS + 1) * _FUNDING_NS,
            self._open_interest,
        )


class DerivedMarket:
    """A source that adds what follows from its trading; a `MarketSource`.

    Args:
        source: Where trades and books come from; belongs to this one from now on.
        seed: Any integer; the same seed and source give the same events.
        intervals: Which candles are made, out of `INTERVALS_NS`.

    Raises:
        ValueError: For an interval that is not on offer.
    """

    def __init__(
        self,
        source: MarketSource,
        *,
        seed: int = 0,
        intervals: Sequence[str] = ("1m",),
    ) -> None:
        unknown = [name for name in intervals if name not in INTERVALS_NS]
        if unknown:
            known = ", ".join(INTERVALS_NS)
            raise ValueError(f"no candles of {', '.join(unknown)}; known: {known}")
        self._source = source
        self._symbols = {
            name: _Symbol(spec, Random(f"{seed}/{name}/derived"), intervals)  # noqa: S311 - a simulation, no secret
            for name, spec in source.specs.items()
        }

    def __repr__(self) -> str:
        return f"DerivedMarket({self._source!r})"

    @property
    def specs(self) -> Mapping[str, SymbolSpec]:
        """Instruments by venue symbol."""
        return self._source.specs

    @property
    def start_ns(self) -> Timestamp:
        """Market time before the first event."""
        return self._source.start_ns

    @property
    def time_ns(self) -> Timestamp:
        """Market time reached so far."""
        return self._source.time_ns

    @property
    def finished(self) -> bool:
        """Whether no event can ever follow."""
        return self._source.finished

    def settled(self, until_ns: Timestamp) -> Timestamp:
        """Return the last time up to `until_ns` at which depth is fully published."""
        return self._source.settled(until_ns)

    def book(self, symbol: str) -> PriceBook | None:
        """Return the live book to look at, or None where there is none."""
        return self._source.book(symbol)

    def advance(self, until_ns: Timestamp) -> list[MarketEvent]:
        """Return, in time order, the events after `time_ns` up to `until_ns`.

        What is told at a whole second follows everything that happened up to it.
        """
        events: list[MarketEvent] = []
        second = self._source.time_ns // _SECOND * _SECOND + _SECOND
        while second <= until_ns:
            self._go(second, events)
            for name, symbol in self._symbols.items():
                events.extend(symbol.tick(second, self._source.book(name)))
            second += _SECOND
        self._go(until_ns, events)
        return events

    def _go(self, until_ns: Timestamp, events: list[MarketEvent]) -> None:
        for event in self._source.advance(max(until_ns, self._source.time_ns)):
            events.append(event)
            if isinstance(event, TradeDone):
                events.extend(self._symbols[event.symbol].trade(event))
