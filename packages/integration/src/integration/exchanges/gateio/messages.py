"""What Gate.io sends: an envelope, and in it a result that the channel explains.

Numbers come as text on spot and as numbers or text elsewhere, differently by channel
and age: `Number` accepts all and keeps the digits.
"""

from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

__all__ = [
    "BookImage",
    "BookUpdate",
    "ContractCandle",
    "ContractTicker",
    "ContractTrade",
    "Envelope",
    "FuturesBookImage",
    "FuturesBookUpdate",
    "OptionTicker",
    "SpotCandle",
    "SpotTrade",
    "Ticker",
    "decode",
    "result",
]

RawLevels: TypeAlias = list[tuple[str, str]]


class Fault(msgspec.Struct):
    """A refusal."""

    code: int
    message: str = ""


class Envelope(msgspec.Struct):
    """`event` is subscribe, unsubscribe, update or all (an image)."""

    channel: str
    event: str = ""
    error: Fault | None = None
    result: msgspec.Raw = msgspec.Raw()
    id: int | None = None
    time_ms: int | None = None


class SpotTrade(msgspec.Struct, gc=False):
    """`create_time_ms` has a fraction."""

    id: int
    create_time_ms: str
    side: str
    currency_pair: str
    amount: str
    price: str


class ContractTrade(msgspec.Struct, gc=False):
    """`size` counts contracts; its sign is the taker's side."""

    id: int
    create_time_ms: msgspec.Raw
    contract: str
    size: Decimal
    price: Decimal


class Liquidation(msgspec.Struct, gc=False):
    """`size` counts contracts; its sign is the order's side."""

    contract: str
    size: Decimal
    price: Decimal
    time_ms: msgspec.Raw


class SpotCandle(msgspec.Struct, gc=False):
    """`n` is `1m_BTC_USDT`, `a` the volume in base, `w` whether it is over."""

    t: msgspec.Raw
    n: str
    o: str
    c: str
    h: str
    l: str  # noqa: E741  the wire's name
    a: str
    w: bool | None = None


class ContractCandle(msgspec.Struct, gc=False):
    """The same of derivatives; `v` counts contracts."""

    t: msgspec.Raw
    n: str
    o: Decimal
    c: Decimal
    h: Decimal
    l: Decimal  # noqa: E741  the wire's name
    v: Decimal = Decimal(0)
    w: bool | None = None


class ContractTicker(msgspec.Struct, gc=False):
    """`total_size` contracts are open; `funding_rate` is of perpetuals only."""

    contract: str
    mark_price: Decimal
    index_price: Decimal
    total_size: Decimal | None = None
    funding_rate: str = ""


class OptionTicker(msgspec.Struct, gc=False):
    """`position_size` contracts are open."""

    name: str
    mark_price: Decimal
    index_price: Decimal
    position_size: Decimal | None = None


class Ticker(msgspec.Struct, gc=False):
    """Best levels; an empty text is an empty side."""

    t: int
    u: int
    s: str
    b: msgspec.Raw
    B: msgspec.Raw
    a: msgspec.Raw
    A: msgspec.Raw


class BookUpdate(msgspec.Struct):
    """Changed levels, ids `U` to `u`."""

    t: int
    s: str
    U: int
    u: int
    b: RawLevels
    a: RawLevels


class FuturesLevel(msgspec.Struct, gc=False):
    """A level of derivatives: price and contracts."""

    p: Decimal
    s: Decimal


class FuturesBookUpdate(msgspec.Struct):
    """As `BookUpdate`, with levels as objects."""

    t: int
    s: str
    U: int
    u: int
    b: list[FuturesLevel]
    a: list[FuturesLevel]


class BookImage(msgspec.Struct):
    """The answer to `GET …/spot/order_book?with_id=true`; times in ms."""

    id: int
    asks: RawLevels
    bids: RawLevels
    update: msgspec.Raw = msgspec.Raw()


class FuturesBookImage(msgspec.Struct):
    """The same of derivatives; times in decimal seconds."""

    id: int
    asks: list[FuturesLevel]
    bids: list[FuturesLevel]
    update: msgspec.Raw = msgspec.Raw()


_envelope: msgspec.json.Decoder[Envelope] = msgspec.json.Decoder(Envelope)
_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind)
    for kind in (
        SpotTrade,
        list[ContractTrade],
        list[Liquidation],
        SpotCandle,
        list[ContractCandle],
        list[ContractTicker],
        OptionTicker,
        Ticker,
        BookUpdate,
        FuturesBookUpdate,
    )
}


def decode(payload: bytes) -> Envelope:
    """Decode one message's envelope.

    Raises:
        msgspec.DecodeError: it is not one of Gate.io's.
    """
    return _envelope.decode(payload)


def result(envelope: Envelope, kind: Any) -> Any:  # noqa: ANN401  one of the decoders' types, and a value of it
    """Decode what is in an envelope.

    Raises:
        msgspec.DecodeError: it is not of that kind.
    """
    return _DECODERS[kind].decode(envelope.result)


def text(raw: msgspec.Raw) -> str:
    """Spell a number that may be text."""
    return bytes(raw).decode("ascii", "replace").strip('"')
