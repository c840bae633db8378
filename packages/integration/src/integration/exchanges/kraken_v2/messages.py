"""What Kraken v2 sends: one union told apart by `channel`, and answers to a `method`.

Numbers are JSON numbers and become `Decimal`, which keeps their digits.
"""

from decimal import Decimal
from typing import TypeAlias

import msgspec

__all__ = [
    "Answer",
    "Book",
    "Heartbeat",
    "Instruments",
    "Message",
    "Ohlc",
    "Status",
    "Ticker",
    "Trades",
    "decode",
]


class Trade(msgspec.Struct, gc=False):
    """`side` is the taker's."""

    symbol: str
    side: str
    price: Decimal
    qty: Decimal
    trade_id: int
    timestamp: str


class Trades(msgspec.Struct, tag="trade", tag_field="channel"):
    """The snapshot holds trades from before the subscription."""

    type: str
    data: list[Trade]


class Quote(msgspec.Struct, gc=False):
    """Best levels; the time is absent in old samples."""

    symbol: str
    bid: Decimal
    bid_qty: Decimal
    ask: Decimal
    ask_qty: Decimal
    timestamp: str | None = None


class Ticker(msgspec.Struct, tag="ticker", tag_field="channel"):
    """Quotes, one per symbol."""

    data: list[Quote]


class Level(msgspec.Struct, gc=False):
    """A price and what rests there; zero removes it."""

    price: Decimal
    qty: Decimal


class BookData(msgspec.Struct):
    """Levels of one symbol, and the checksum after them."""

    symbol: str
    bids: list[Level]
    asks: list[Level]
    checksum: int
    timestamp: str | None = None


class Book(msgspec.Struct, tag="book", tag_field="channel"):
    """`type` is snapshot or update."""

    type: str
    data: list[BookData]


class Candle(msgspec.Struct, gc=False):
    """A candle so far."""

    symbol: str
    interval: int
    interval_begin: str
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int


class Ohlc(msgspec.Struct, tag="ohlc", tag_field="channel"):
    """Candles."""

    data: list[Candle]


class Pair(msgspec.Struct, gc=False):
    """With how many decimals prices and amounts of a symbol are written."""

    symbol: str
    price_precision: int
    qty_precision: int


class Reference(msgspec.Struct):
    """Reference data; the assets are not needed."""

    pairs: list[Pair] = []


class Instruments(msgspec.Struct, tag="instrument", tag_field="channel"):
    """Reference data of all symbols, or of those that changed."""

    data: Reference


class System(msgspec.Struct):
    """The state of the trading engine."""

    system: str = ""


class Status(msgspec.Struct, tag="status", tag_field="channel"):
    """First message of every connection."""

    data: list[System]


class Heartbeat(msgspec.Struct, tag="heartbeat", tag_field="channel"):
    """About one per second where nothing else comes."""


class Result(msgspec.Struct):
    """What a request was about."""

    channel: str = ""
    symbol: str = ""
    interval: int = 1


class Answer(msgspec.Struct):
    """The answer to a request."""

    method: str
    success: bool = True
    error: str = ""
    result: Result | None = None
    symbol: str = ""
    req_id: int | None = None


Data: TypeAlias = Trades | Ticker | Book | Ohlc | Instruments | Status | Heartbeat
Message: TypeAlias = Data | Answer


class _Probe(msgspec.Struct):
    method: str | None = None


_data: msgspec.json.Decoder[Data] = msgspec.json.Decoder(Data)
_answer: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
_probe: msgspec.json.Decoder[_Probe] = msgspec.json.Decoder(_Probe)


def decode(payload: bytes) -> Message:
    """Decode one message.

    Raises:
        msgspec.DecodeError: it is not one of Kraken's.
    """
    if payload.startswith(b'{"channel":'):
        return _data.decode(payload)
    if _probe.decode(payload).method is not None:
        return _answer.decode(payload)
    return _data.decode(payload)
