"""What Coinbase Advanced sends: an envelope told apart by `channel`."""

from typing import TypeAlias

import msgspec

__all__ = [
    "Candles",
    "Fault",
    "Heartbeats",
    "L2Data",
    "MarketTrades",
    "Message",
    "Subscriptions",
    "Tickers",
    "decode",
]


class Envelope(msgspec.Struct, tag_field="channel"):
    """`sequence_num` counts all messages of the connection."""

    timestamp: str
    sequence_num: int


class Trade(msgspec.Struct, gc=False):
    """`side` is the maker's, by the documentation."""

    trade_id: str
    product_id: str
    price: str
    size: str
    side: str
    time: str


class TradeEvent(msgspec.Struct):
    """`type` snapshot holds trades from before the subscription."""

    type: str
    trades: list[Trade]


class MarketTrades(Envelope, tag="market_trades", tag_field="channel"):
    """Trades."""

    events: list[TradeEvent]


class LevelChange(msgspec.Struct, gc=False):
    """`side` is bid or offer."""

    side: str
    price_level: str
    new_quantity: str


class BookEvent(msgspec.Struct):
    """`type` is snapshot or update."""

    type: str
    product_id: str
    updates: list[LevelChange]


class L2Data(Envelope, tag="l2_data", tag_field="channel"):
    """Books."""

    events: list[BookEvent]


class Ticker(msgspec.Struct, gc=False):
    """Best levels."""

    product_id: str
    best_bid: str = ""
    best_bid_quantity: str = ""
    best_ask: str = ""
    best_ask_quantity: str = ""


class TickerEvent(msgspec.Struct):
    """Several products."""

    tickers: list[Ticker]


class Tickers(Envelope, tag="ticker", tag_field="channel"):
    """Best levels."""

    events: list[TickerEvent]


class Candle(msgspec.Struct, gc=False):
    """Five minutes from `start`, in seconds."""

    start: str
    high: str
    low: str
    open: str
    close: str
    volume: str
    product_id: str


class CandleEvent(msgspec.Struct):
    """Several products."""

    candles: list[Candle]


class Candles(Envelope, tag="candles", tag_field="channel"):
    """Candles."""

    events: list[CandleEvent]


class Heartbeats(Envelope, tag="heartbeats", tag_field="channel"):
    """Once a second."""


class SubscribedEvent(msgspec.Struct):
    """Products by channel."""

    subscriptions: dict[str, list[str]]


class Subscriptions(Envelope, tag="subscriptions", tag_field="channel"):
    """Everything that is subscribed to on the connection now."""

    events: list[SubscribedEvent]


class Fault(msgspec.Struct):
    """A refusal."""

    type: str
    message: str


Data: TypeAlias = MarketTrades | L2Data | Tickers | Candles | Heartbeats | Subscriptions
Message: TypeAlias = Data | Fault

_data: msgspec.json.Decoder[Data] = msgspec.json.Decoder(Data)
_fault: msgspec.json.Decoder[Fault] = msgspec.json.Decoder(Fault)


def decode(payload: bytes) -> Message:
    """Decode one message.

    Raises:
        msgspec.DecodeError: it is not one of Coinbase's.
    """
    if payload.startswith(b'{"type":'):
        return _fault.decode(payload)
    return _data.decode(payload)
