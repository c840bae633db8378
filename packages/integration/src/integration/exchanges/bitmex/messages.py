"""What BitMEX sends: `table, action, data`, or an answer. Sizes count contracts."""

from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

from integration.exchanges.shared import tag_after
from integration.market.connector import UnknownChannelError

__all__ = [
    "Answer",
    "BinRows",
    "BookRows",
    "FundingRows",
    "Images",
    "InstrumentRows",
    "LiquidationRows",
    "Message",
    "Quotes",
    "Trades",
    "decode",
]


class Trade(msgspec.Struct, gc=False):
    """`side` is the taker's."""

    timestamp: str
    symbol: str
    side: str
    size: Decimal
    price: Decimal
    trdMatchID: str  # noqa: N815  the wire's name


class Trades(msgspec.Struct):
    """The partial replays trades from before the subscription."""

    table: str
    action: str
    data: list[Trade]


class Quote(msgspec.Struct, gc=False):
    """Best levels; null is an empty side."""

    timestamp: str
    symbol: str
    bidSize: Decimal | None = None  # noqa: N815  the wire's name
    bidPrice: Decimal | None = None  # noqa: N815  the wire's name
    askSize: Decimal | None = None  # noqa: N815  the wire's name
    askPrice: Decimal | None = None  # noqa: N815  the wire's name


class Quotes(msgspec.Struct):
    """Quotes of possibly several symbols."""

    table: str
    action: str
    data: list[Quote]


class BookRow(msgspec.Struct, gc=False):
    """A level, named by `id`; the price is not always repeated."""

    symbol: str
    id: int
    side: str
    size: Decimal | None = None
    price: Decimal | None = None
    timestamp: str | None = None


class BookRows(msgspec.Struct):
    """Rows of a level-2 table."""

    table: str
    action: str
    data: list[BookRow]
    filter: dict[str, Any] = {}


class Image(msgspec.Struct):
    """Ten levels of each side."""

    symbol: str
    bids: list[tuple[Decimal, Decimal]]
    asks: list[tuple[Decimal, Decimal]]
    timestamp: str


class Images(msgspec.Struct):
    """Every message is an image."""

    table: str
    action: str
    data: list[Image]


class LiquidationRow(msgspec.Struct, gc=False):
    """A liquidation order; without a time."""

    orderID: str  # noqa: N815  the wire's name
    symbol: str
    side: str = ""
    price: Decimal | None = None
    leavesQty: Decimal | None = None  # noqa: N815  the wire's name


class LiquidationRows(msgspec.Struct):
    """Updates and deletions follow an order's fate."""

    table: str
    action: str
    data: list[LiquidationRow]


class FundingRow(msgspec.Struct, gc=False):
    """A funding that took place."""

    timestamp: str
    symbol: str
    fundingRate: Decimal  # noqa: N815  the wire's name


class FundingRows(msgspec.Struct):
    """The partial replays the latest."""

    table: str
    action: str
    data: list[FundingRow]


class BinRow(msgspec.Struct, gc=False):
    """A candle that ended at `timestamp`; its prices are null if it has no trades."""

    timestamp: str
    symbol: str
    open: Decimal | None = None
    high: Decimal | None = None
    low: Decimal | None = None
    close: Decimal | None = None
    trades: int = 0
    volume: Decimal | None = None


class BinRows(msgspec.Struct):
    """The partial replays the latest."""

    table: str
    action: str
    data: list[BinRow]


class InstrumentRow(msgspec.Struct, gc=False):
    """What changed of an instrument; the partial has all."""

    symbol: str
    timestamp: str | None = None
    markPrice: Decimal | None = None  # noqa: N815  the wire's name
    indicativeSettlePrice: Decimal | None = None  # noqa: N815  the wire's name
    openInterest: Decimal | None = None  # noqa: N815  the wire's name


class InstrumentRows(msgspec.Struct):
    """News of instruments."""

    table: str
    action: str
    data: list[InstrumentRow]


class Meta(msgspec.Struct):
    """Seconds until we may ask again."""

    retryAfter: float | None = None  # noqa: N815  the wire's name


class Answer(msgspec.Struct):
    """Everything that is no table."""

    info: str | None = None
    success: bool | None = None
    subscribe: str | None = None
    unsubscribe: str | None = None
    status: int | None = None
    error: str = ""
    meta: Meta | None = None


Message: TypeAlias = (
    Trades
    | Quotes
    | BookRows
    | Images
    | LiquidationRows
    | FundingRows
    | BinRows
    | InstrumentRows
    | Answer
)


class _Probe(msgspec.Struct):
    table: str | None = None


_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "trade": msgspec.json.Decoder(Trades),
    "quote": msgspec.json.Decoder(Quotes),
    "orderBookL2": msgspec.json.Decoder(BookRows),
    "orderBookL2_25": msgspec.json.Decoder(BookRows),
    "orderBook10": msgspec.json.Decoder(Images),
    "liquidation": msgspec.json.Decoder(LiquidationRows),
    "funding": msgspec.json.Decoder(FundingRows),
    "instrument": msgspec.json.Decoder(InstrumentRows),
    **dict.fromkeys(
        ("tradeBin1m", "tradeBin5m", "tradeBin1h", "tradeBin1d"),
        msgspec.json.Decoder(BinRows),
    ),
}
_answer: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
_probe: msgspec.json.Decoder[_Probe] = msgspec.json.Decoder(_Probe)
_tag = tag_after(b'{"table":"', b'"')


def decode(payload: bytes) -> Message:
    """Decode one message.

    Raises:
        UnknownChannelError: it is of a channel that is not known here.
        msgspec.DecodeError: it is not one of BitMEX's.
    """
    table = _tag(payload) or _probe.decode(payload).table
    if table is None:
        return _answer.decode(payload)
    decoder = _DECODERS.get(table)
    if decoder is None:
        raise UnknownChannelError(table)
    message: Message = decoder.decode(payload)
    return message
