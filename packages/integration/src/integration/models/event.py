"""Market events: what every venue's messages become.

Conventions. Times are int nanoseconds since the epoch. Prices and amounts of trades
and of best levels are `Decimal`, exact as the venue spelled them; levels of deep
books stay text (`RawLevel`) because converting all of them costs four times the
decoding and most are never looked at: call `levels()` for numbers. Sides are the
taker's. Nothing here checks numbers: connectors do, where text enters
(`integration.market.numbers`). None of these records can be part of a reference
cycle, so the collector need not know them (`gc=False`): a seventh less to make one.

Does not know how an event came about, nor any book's state.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import IntFlag, StrEnum
from typing import TypeAlias

from integration.models.exchange import ExchangeId
from integration.models.instrument import MarketDataInstrument
from integration.models.side import Side
from netcore.models import Model, Timestamp

__all__ = [
    "AmountUnit",
    "Candle",
    "DataKind",
    "FundingRate",
    "IndexPrice",
    "Level",
    "Liquidation",
    "MarkPrice",
    "MarketEvent",
    "OpenInterest",
    "OrderBookL1",
    "OrderBookSnapshot",
    "OrderBookUpdate",
    "PublicTrade",
    "RawLevel",
    "TradeFlag",
    "levels",
    "mid_price",
    "volume_weighted_mid",
]

RawLevel: TypeAlias = tuple[str, str]
"""Price and amount as the venue spelled them; amount zero deletes the level."""


class AmountUnit(StrEnum):
    """In what an amount is counted."""

    BASE = "base"
    CONTRACT = "contract"
    QUOTE = "quote"


class TradeFlag(IntFlag):
    """What sets a trade apart from an ordinary match on the book."""

    NONE = 0
    BLOCK = 1
    LIQUIDATION = 2
    INSURANCE_FUND = 4
    AGGREGATED = 8
    """Several matches of one taker order at one price, reported as one trade."""
    BACKFILL = 16
    """Happened before the subscription; replayed by the venue."""


class Level(Model, frozen=True, gc=False):
    """A price and the amount that rests there."""

    price: Decimal
    amount: Decimal


def levels(raw: Iterable[RawLevel]) -> list[Level]:
    """Convert levels of text into numbers, in the given order."""
    return [Level(Decimal(price), Decimal(amount)) for price, amount in raw]


def mid_price(bid: Level | None, ask: Level | None) -> Decimal | None:
    """Return the mean of both prices; None unless both sides are there."""
    if bid is None or ask is None:
        return None
    return (bid.price + ask.price) / 2


def volume_weighted_mid(bid: Level | None, ask: Level | None) -> Decimal | None:
    """Weight each price by the *other* side's amount.

    The price leans towards the side with less behind it. None unless both sides are
    there; the plain mid if neither has an amount, which would divide by zero.
    """
    if bid is None or ask is None:
        return None
    total = bid.amount + ask.amount
    if not total:
        return (bid.price + ask.price) / 2
    return (bid.price * ask.amount + ask.price * bid.amount) / total


class PublicTrade(
    Model,
    frozen=True,
    gc=False,
    tag="public_trade",
    tag_field="type",
    omit_defaults=True,
):
    """One trade, seen by everybody.

    Attributes:
        id: the venue's id, None where it sends none (Kraken v1).
        price: in the quote asset.
        amount: positive, counted in `amount_unit`.
        side: the taker's.
        amount_unit: base units unless the venue counts contracts or quote.
        flags: what sets it apart.
        sequence: the venue's counter of trades, where it sends one.
        count: how many matches an aggregated trade holds.
    """

    id: str | None
    price: Decimal
    amount: Decimal
    side: Side
    amount_unit: AmountUnit = AmountUnit.BASE
    flags: TradeFlag = TradeFlag.NONE
    sequence: int | None = None
    count: int | None = None


class OrderBookL1(
    Model, frozen=True, gc=False, tag="l1", tag_field="type", omit_defaults=True
):
    """The best level of each side; None is an empty side.

    Attributes:
        last_update_time: when the venue says the top last changed, in ns.
        best_bid: highest price to sell at.
        best_ask: lowest price to buy at.
        sequence: the venue's counter.
        amount_unit: as in `PublicTrade`.
    """

    last_update_time: Timestamp
    best_bid: Level | None
    best_ask: Level | None
    sequence: int | None = None
    amount_unit: AmountUnit = AmountUnit.BASE

    def mid_price(self) -> Decimal | None:
        """Return the mean of both prices; None if a side is empty."""
        return mid_price(self.best_bid, self.best_ask)

    def volume_weighted_mid(self) -> Decimal | None:
        """Return the mid weighted by the other side's amount; None if one is empty."""
        return volume_weighted_mid(self.best_bid, self.best_ask)


class OrderBookSnapshot(
    Model,
    frozen=True,
    gc=False,
    tag="l2_snapshot",
    tag_field="type",
    omit_defaults=True,
):
    """A whole book, or as much of it as the venue shows.

    Attributes:
        bids: in no particular order.
        asks: in no particular order.
        sequence: the id after which updates continue; None where there is none.
        time_engine: when the matching engine made it, in ns.
        checksum: the venue's, over the book after this message.
        amount_unit: as in `PublicTrade`.
        cross_sequence: a counter over all streams of the venue, where it sends one;
            orders events of different streams, says nothing about gaps.
    """

    bids: Sequence[RawLevel]
    asks: Sequence[RawLevel]
    sequence: int | None = None
    time_engine: Timestamp | None = None
    checksum: int | None = None
    amount_unit: AmountUnit = AmountUnit.BASE
    cross_sequence: int | None = None

    def bid_levels(self) -> list[Level]:
        """Return the bids as numbers, best first."""
        return sorted(levels(self.bids), key=lambda level: -level.price)

    def ask_levels(self) -> list[Level]:
        """Return the asks as numbers, best first."""
        return sorted(levels(self.asks), key=lambda level: level.price)


class OrderBookUpdate(
    Model, frozen=True, gc=False, tag="l2_update", tag_field="type", omit_defaults=True
):
    """Levels that changed; amount zero removes one.

    Attributes:
        bids: changed bids.
        asks: changed asks.
        sequence: the id of the last change in this message.
        first_sequence: the id of the first change, where the venue says so.
        prev_sequence: the last id of the message before, where the venue says so.
        time_engine: when the matching engine made it, in ns.
        checksum: the venue's, over the book after this message.
        amount_unit: as in `PublicTrade`.
        cross_sequence: as in `OrderBookSnapshot`.
    """

    bids: Sequence[RawLevel]
    asks: Sequence[RawLevel]
    sequence: int | None = None
    first_sequence: int | None = None
    prev_sequence: int | None = None
    time_engine: Timestamp | None = None
    checksum: int | None = None
    amount_unit: AmountUnit = AmountUnit.BASE
    cross_sequence: int | None = None

    def bid_levels(self) -> list[Level]:
        """Return the changed bids as numbers."""
        return levels(self.bids)

    def ask_levels(self) -> list[Level]:
        """Return the changed asks as numbers."""
        return levels(self.asks)


class Candle(
    Model, frozen=True, gc=False, tag="candle", tag_field="type", omit_defaults=True
):
    """Open, high, low, close and volume of an interval.

    Attributes:
        interval: such as `1m`, `5m`, `1d`.
        open_time: start of the interval, ns.
        close_time: its last millisecond, ns; None where the venue does not say.
        open: first price.
        high: highest price.
        low: lowest price.
        close: last price so far.
        volume: counted in `amount_unit`.
        trade_count: None where the venue does not say.
        closed: whether the interval is over; None where the venue does not say.
        amount_unit: as in `PublicTrade`.
    """

    interval: str
    open_time: Timestamp
    close_time: Timestamp | None
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trade_count: int | None = None
    closed: bool | None = None
    amount_unit: AmountUnit = AmountUnit.BASE


class Liquidation(
    Model,
    frozen=True,
    gc=False,
    tag="liquidation",
    tag_field="type",
    omit_defaults=True,
):
    """A position closed by force.

    Attributes:
        side: of the liquidation order: `sell` closes a long.
        price: of the order (the bankruptcy price), not of its fills.
        quantity: counted in `amount_unit`.
        time: when it happened, in ns.
        id: the venue's order id, where it sends one.
        amount_unit: as in `PublicTrade`.
        position_side: `long` or `short`, where the venue says whose position it was.
    """

    side: Side
    price: Decimal
    quantity: Decimal
    time: Timestamp
    id: str | None = None
    amount_unit: AmountUnit = AmountUnit.BASE
    position_side: str | None = None


class FundingRate(
    Model,
    frozen=True,
    gc=False,
    tag="funding_rate",
    tag_field="type",
    omit_defaults=True,
):
    """What longs pay shorts at the next funding, as a fraction of the position.

    Attributes:
        rate: may be negative.
        next_funding_time: when it is paid, in ns.
        mark_price: where the venue sends it along.
        index_price: where the venue sends it along.
    """

    rate: Decimal
    next_funding_time: Timestamp | None = None
    mark_price: Decimal | None = None
    index_price: Decimal | None = None


class MarkPrice(Model, frozen=True, gc=False, tag="mark_price", tag_field="type"):
    """The price by which the venue values positions.

    Attributes:
        price: in the quote asset.
    """

    price: Decimal


class IndexPrice(Model, frozen=True, gc=False, tag="index_price", tag_field="type"):
    """The price of the underlying that a contract follows, over several venues.

    Attributes:
        price: in the quote asset; Hyperliquid calls it the oracle's.
    """

    price: Decimal


class OpenInterest(
    Model,
    frozen=True,
    gc=False,
    tag="open_interest",
    tag_field="type",
    omit_defaults=True,
):
    """How much is open in an instrument, one side of it counted.

    Attributes:
        amount: counted in `amount_unit`.
        amount_unit: as in `PublicTrade`.
        value: the same in the quote asset, where the venue sends it along.
    """

    amount: Decimal
    amount_unit: AmountUnit = AmountUnit.BASE
    value: Decimal | None = None


DataKind: TypeAlias = (
    PublicTrade
    | OrderBookL1
    | OrderBookSnapshot
    | OrderBookUpdate
    | Candle
    | Liquidation
    | FundingRate
    | MarkPrice
    | IndexPrice
    | OpenInterest
)

_KIND_NAMES: dict[type, str] = {
    PublicTrade: "public_trade",
    OrderBookL1: "l1",
    OrderBookSnapshot: "l2",
    OrderBookUpdate: "l2",
    Candle: "candle",
    Liquidation: "liquidation",
    FundingRate: "funding_rate",
    MarkPrice: "mark_price",
    IndexPrice: "index_price",
    OpenInterest: "open_interest",
}


class MarketEvent(Model, frozen=True, gc=False, omit_defaults=True):
    """One normalised event.

    Attributes:
        time_exchange: when it happened by the venue's clock, in ns; equal to
            `time_received` where the venue sends no time.
        time_received: when the bytes were read from the socket, in ns.
        exchange: where it happened.
        instrument: what it is about.
        kind: the event itself.
        time_published: when the venue sent it, where that differs from
            `time_exchange`, in ns.
        conflated: how many older events were merged into this one because the
            consumer was slow.
    """

    time_exchange: Timestamp
    time_received: Timestamp
    exchange: ExchangeId
    instrument: MarketDataInstrument
    kind: DataKind
    time_published: Timestamp | None = None
    conflated: int = 0

    @property
    def kind_name(self) -> str:
        """One word for the type of `kind`; both events of a book are `l2`."""
        return _KIND_NAMES[type(self.kind)]
