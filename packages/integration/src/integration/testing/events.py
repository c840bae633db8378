"""What a simulated market says, before any venue's dialect spells it.

Pure values: prices and amounts are integers in units of 10**-8 (see
`integration.testing.book`), times are int nanoseconds since the epoch. A source
(`MarketSource`) makes these events; a dialect turns them into wire messages.
"""

from collections.abc import Mapping
from typing import Protocol, TypeAlias

import msgspec

from integration.models import InstrumentKind
from integration.testing.book import Pair, PriceBook
from netcore.models import Model, Timestamp

__all__ = [
    "CandleChanged",
    "ContractTold",
    "DepthChanged",
    "DerivedEvent",
    "DirectEvent",
    "MarketEvent",
    "MarketSource",
    "OtherMessage",
    "PositionLiquidated",
    "QuoteChanged",
    "SymbolSpec",
    "TradeDone",
]


class SymbolSpec(Model, frozen=True):
    """One simulated instrument: its names, its grid, its temper.

    Attributes:
        symbol: Venue spelling, such as "BTCUSDT".
        base: Base asset.
        quote: Quote asset.
        tick: Price step in units of 10**-8.
        lot: Amount step in units of 10**-8.
        price: Price at the start, in units; a multiple of the tick.
        lot_scale: Typical order size in lots.
        volatility: Standard deviation of one year's log return.
        events_per_second: Orders, cancels and takers per second, on average.
        orders_per_side: Resting orders a side that the flow keeps up.
        kind: Spot or perpetual, at venues that serve both.
    """

    symbol: str
    base: str
    quote: str
    tick: int = 1
    lot: int = 1
    price: int = 0
    lot_scale: int = 1000
    volatility: float = 0.25
    events_per_second: float = 80.0
    orders_per_side: int = 300
    kind: InstrumentKind = InstrumentKind.SPOT


class TradeDone(msgspec.Struct, frozen=True, gc=False):
    """One maker order met one taker order."""

    symbol: str
    time_ns: Timestamp
    trade_id: int
    price: int
    amount: int
    buyer_is_maker: bool
    buyer_order: int | None = None
    seller_order: int | None = None
    raw: str | None = None


class QuoteChanged(msgspec.Struct, frozen=True, gc=False):
    """The best bid or ask, or an amount there, is new; 0, 0 is an empty side."""

    symbol: str
    time_ns: Timestamp
    update_id: int
    bid: Pair
    ask: Pair
    raw: str | None = None


class DepthChanged(msgspec.Struct, frozen=True, gc=False):
    """Absolute amounts of every level touched by updates `first_id..last_id`."""

    symbol: str
    time_ns: Timestamp
    first_id: int
    last_id: int
    bids: tuple[Pair, ...]
    asks: tuple[Pair, ...]
    raw: str | None = None


class OtherMessage(msgspec.Struct, frozen=True, gc=False):
    """A recorded message of a kind the simulator passes on unread."""

    symbol: str
    time_ns: Timestamp
    stream: str
    raw: str


class CandleChanged(msgspec.Struct, frozen=True, gc=False):
    """The trades of one interval so far; `closed` once no more can belong to it."""

    symbol: str
    time_ns: Timestamp
    interval: str
    open_ns: Timestamp
    end_ns: Timestamp
    open: int
    high: int
    low: int
    close: int
    volume: int
    trades: int
    closed: bool


class ContractTold(msgspec.Struct, frozen=True, gc=False):
    """What venues tell of a perpetual besides its trading, once a second.

    `rate` is in units of 10**-8 like all numbers, and the only one that can be
    negative; it is due at `next_funding_ns`.
    """

    symbol: str
    time_ns: Timestamp
    mark: int
    index: int
    rate: int
    next_funding_ns: Timestamp
    open_interest: int


class PositionLiquidated(msgspec.Struct, frozen=True, gc=False):
    """A position was closed by force; `buys` says that its order bought."""

    symbol: str
    time_ns: Timestamp
    buys: bool
    price: int
    amount: int


DerivedEvent: TypeAlias = CandleChanged | ContractTold | PositionLiquidated
"""What follows from trading, told by sources that work it out."""

DirectEvent: TypeAlias = TradeDone | QuoteChanged | DepthChanged | OtherMessage
"""`raw` is the recorded text, to be sent byte for byte where nothing alters it."""

MarketEvent: TypeAlias = DirectEvent | DerivedEvent
"""All that a source may tell."""


class MarketSource(Protocol):
    """Where events come from: a synthetic market or a recording.

    A source is pure and steps only when told to; it never looks at a clock.
    """

    @property
    def specs(self) -> Mapping[str, SymbolSpec]:
        """Instruments by venue symbol, in a fixed order."""
        ...

    @property
    def start_ns(self) -> Timestamp:
        """Market time before the first event."""
        ...

    @property
    def time_ns(self) -> Timestamp:
        """Market time reached so far."""
        ...

    @property
    def finished(self) -> bool:
        """Whether no event can ever follow."""
        ...

    def advance(self, until_ns: Timestamp) -> list[MarketEvent]:
        """Return, in time order, the events after `time_ns` up to `until_ns`."""
        ...

    def settled(self, until_ns: Timestamp) -> Timestamp:
        """Return the last time up to `until_ns` at which depth is fully published.

        Advanced to that time, `book` equals what the depth events add up to.
        """
        ...

    def book(self, symbol: str) -> PriceBook | None:
        """Return the live book to look at, or None where there is none."""
        ...
