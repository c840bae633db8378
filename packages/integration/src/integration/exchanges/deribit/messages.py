"""What Deribit sends: JSON-RPC notifications and answers. Numbers are JSON numbers."""

from decimal import Decimal
from typing import Any

import msgspec

__all__ = ["Book", "Candle", "Frame", "Quote", "Ticker", "Trade", "decode", "result"]


class Trade(msgspec.Struct, gc=False):
    """`trade_seq` counts per instrument without holes."""

    timestamp: int
    price: Decimal
    amount: Decimal
    direction: str
    trade_seq: int
    trade_id: str
    liquidation: str | None = None
    block_trade_id: str | None = None


class Change(msgspec.Struct, array_like=True, gc=False):
    """`action` is new, change or delete."""

    action: str
    price: Decimal
    amount: Decimal


class Book(msgspec.Struct):
    """`type` is snapshot or change; old servers leave out what is null."""

    timestamp: int
    change_id: int
    bids: list[Change]
    asks: list[Change]
    type: str = "change"
    prev_change_id: int | None = None


class Quote(msgspec.Struct, gc=False):
    """Best levels; a price of null or zero is an empty side."""

    timestamp: int
    best_bid_price: Decimal | None = None
    best_bid_amount: Decimal | None = None
    best_ask_price: Decimal | None = None
    best_ask_amount: Decimal | None = None


class Ticker(msgspec.Struct, gc=False):
    """`current_funding` is of perpetuals only: the rate at present, for 8 hours."""

    timestamp: int
    mark_price: Decimal
    index_price: Decimal
    open_interest: Decimal
    current_funding: Decimal | None = None


class Candle(msgspec.Struct, gc=False):
    """A candle so far, which began at `tick`; `volume` counts the base."""

    tick: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class Params(msgspec.Struct):
    """Of a notification: a channel with data, or the type of a heartbeat."""

    channel: str = ""
    data: msgspec.Raw = msgspec.Raw()
    type: str = ""


class Fault(msgspec.Struct):
    """A refusal."""

    code: int
    message: str = ""


class Frame(msgspec.Struct):
    """Any message."""

    method: str = ""
    params: Params | None = None
    id: int | None = None
    result: Any = None
    error: Fault | None = None


_frame: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(Frame)
_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind)
    for kind in (list[Trade], Book, Quote, Ticker, Candle)
}


def decode(payload: bytes) -> Frame:
    """Decode one message's frame.

    Raises:
        msgspec.DecodeError: it is not one of Deribit's.
    """
    return _frame.decode(payload)


def result(params: Params, kind: Any) -> Any:  # noqa: ANN401  one of the decoders' types, and a value of it
    """Decode the data of a notification.

    Raises:
        msgspec.DecodeError: they are not of that kind.
    """
    return _DECODERS[kind].decode(params.data)
