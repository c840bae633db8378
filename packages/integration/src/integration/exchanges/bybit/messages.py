"""What Bybit sends: `topic, type, ts, data` or the answer to an `op`."""

from typing import Any, Literal, TypeAlias

import msgspec

from integration.exchanges.shared import tag_after
from integration.market.connector import UnknownChannelError

__all__ = [
    "Answer",
    "BookMessage",
    "KlineMessage",
    "LiquidationMessage",
    "Message",
    "TickerMessage",
    "TradeMessage",
    "decode",
]

RawLevels: TypeAlias = list[tuple[str, str]]


class Trade(msgspec.Struct, gc=False):
    """`S` is the taker's side, `BT` a block trade."""

    T: int
    s: str
    S: Literal["Buy", "Sell"]
    v: str
    p: str
    i: str
    BT: bool = False


class TradeMessage(msgspec.Struct):
    """Trades in wire order."""

    topic: str
    ts: int
    data: list[Trade]


class Book(msgspec.Struct):
    """`u` counts per topic, `seq` over the venue."""

    s: str
    b: RawLevels
    a: RawLevels
    u: int
    seq: int | None = None


class BookMessage(msgspec.Struct):
    """`cts` is the matching engine's time."""

    topic: str
    type: Literal["snapshot", "delta"]
    ts: int
    data: Book
    cts: int | None = None


class Kline(msgspec.Struct, gc=False):
    """A candle so far; `confirm` says whether it is over."""

    start: int
    end: int
    interval: str
    open: str
    close: str
    high: str
    low: str
    volume: str
    confirm: bool


class KlineMessage(msgspec.Struct):
    """Candles of one topic."""

    topic: str
    ts: int
    data: list[Kline]


class Liquidation(msgspec.Struct, gc=False):
    """`S` is the side of the position, `p` the bankruptcy price."""

    T: int
    s: str
    S: Literal["Buy", "Sell"]
    v: str
    p: str


class LiquidationMessage(msgspec.Struct):
    """Liquidations of one topic."""

    topic: str
    ts: int
    data: list[Liquidation]


class Ticker(msgspec.Struct, gc=False):
    """Fields that did not change are absent from a delta."""

    symbol: str
    fundingRate: str | None = None  # noqa: N815  the wire's name
    nextFundingTime: str | None = None  # noqa: N815  the wire's name
    markPrice: str | None = None  # noqa: N815  the wire's name
    indexPrice: str | None = None  # noqa: N815  the wire's name
    openInterest: str | None = None  # noqa: N815  the wire's name
    openInterestValue: str | None = None  # noqa: N815  the wire's name


class TickerMessage(msgspec.Struct):
    """The ticker of one topic."""

    topic: str
    ts: int
    data: Ticker


class Answer(msgspec.Struct):
    """The answer to an `op`; the wording of `ret_msg` is free."""

    op: str
    success: bool | None = None
    ret_msg: str = ""
    req_id: str = ""


Message: TypeAlias = (
    TradeMessage
    | BookMessage
    | KlineMessage
    | LiquidationMessage
    | TickerMessage
    | Answer
)


class _Probe(msgspec.Struct):
    topic: str | None = None


_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "publicTrade": msgspec.json.Decoder(TradeMessage),
    "orderbook": msgspec.json.Decoder(BookMessage),
    "kline": msgspec.json.Decoder(KlineMessage),
    "allLiquidation": msgspec.json.Decoder(LiquidationMessage),
    "tickers": msgspec.json.Decoder(TickerMessage),
}
_answer: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
_probe: msgspec.json.Decoder[_Probe] = msgspec.json.Decoder(_Probe)
_tag = tag_after(b'{"topic":"', b".")


def decode(payload: bytes) -> Message:
    """Decode one message.

    Raises:
        UnknownChannelError: it is of a channel that is not known here.
        msgspec.DecodeError: it is not one of Bybit's.
    """
    name = _tag(payload)
    if name is None:
        topic = _probe.decode(payload).topic
        if topic is None:
            return _answer.decode(payload)
        name = topic.partition(".")[0]
    decoder = _DECODERS.get(name)
    if decoder is None:
        raise UnknownChannelError(name)
    message: Message = decoder.decode(payload)
    return message
