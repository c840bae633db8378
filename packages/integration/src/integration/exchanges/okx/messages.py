"""What OKX sends: `arg, data` or an `event`. All numbers are text.

What is decoded holds no cycles, so the collector need not know it (`gc=False`).
"""

from typing import Any, TypeAlias

import msgspec

from integration.exchanges.shared import tag_after
from integration.market.connector import UnknownChannelError

__all__ = [
    "Books",
    "Candles",
    "Event",
    "FundingRates",
    "IndexTickers",
    "Liquidations",
    "MarkPrices",
    "Message",
    "OpenInterests",
    "Routed",
    "Tops",
    "Trades",
    "decode",
]


class Arg(msgspec.Struct, gc=False):
    """Which channel, and of which instrument or kind of instruments."""

    channel: str
    instId: str = ""  # noqa: N815  the wire's name
    instType: str = ""  # noqa: N815  the wire's name


class Level(msgspec.Struct, array_like=True, gc=False):
    """`[price, size, "0", orders]`; the last two are not needed."""

    price: str
    size: str


class Trade(msgspec.Struct, gc=False):
    """`count` matches of one taker order at one price."""

    tradeId: str  # noqa: N815  the wire's name
    px: str
    sz: str
    side: str
    ts: str
    count: str = "1"


class Trades(msgspec.Struct, gc=False):
    """Trades of one instrument."""

    arg: Arg
    data: list[Trade]


class Book(msgspec.Struct, gc=False):
    """Ids are absent in recordings from before they were introduced."""

    asks: list[Level]
    bids: list[Level]
    ts: str
    checksum: int = 0
    prevSeqId: int | None = None  # noqa: N815  the wire's name
    seqId: int | None = None  # noqa: N815  the wire's name


class Books(msgspec.Struct, gc=False):
    """`action` is snapshot or update."""

    arg: Arg
    data: list[Book]
    action: str = "snapshot"


class Tops(msgspec.Struct, gc=False):
    """Best levels, one per side."""

    arg: Arg
    data: list[Book]


class LiquidationDetail(msgspec.Struct, gc=False):
    """`bkPx` is the bankruptcy price."""

    bkPx: str  # noqa: N815  the wire's name
    side: str
    sz: str
    ts: str
    posSide: str = ""  # noqa: N815  the wire's name


class LiquidationRow(msgspec.Struct, gc=False):
    """Liquidations of one instrument."""

    instId: str  # noqa: N815  the wire's name
    details: list[LiquidationDetail]


class Liquidations(msgspec.Struct, gc=False):
    """Liquidations of all instruments of a kind."""

    arg: Arg
    data: list[LiquidationRow]


class Candle(msgspec.Struct, array_like=True, gc=False):
    """`confirm` 1 means closed; volume counts contracts or base."""

    ts: str
    open: str
    high: str
    low: str
    close: str
    volume: str
    volume_ccy: str
    volume_quote: str
    confirm: str


class Candles(msgspec.Struct, gc=False):
    """Candles of one instrument."""

    arg: Arg
    data: list[Candle]


class FundingRate(msgspec.Struct, gc=False):
    """`fundingRate` is due at `fundingTime`."""

    fundingRate: str  # noqa: N815  the wire's name
    fundingTime: str  # noqa: N815  the wire's name
    ts: str


class FundingRates(msgspec.Struct, gc=False):
    """Funding rates of one instrument."""

    arg: Arg
    data: list[FundingRate]


class MarkPrice(msgspec.Struct, gc=False):
    """The mark price of one instrument."""

    markPx: str  # noqa: N815  the wire's name
    ts: str


class MarkPrices(msgspec.Struct, gc=False):
    """Mark prices of one instrument."""

    arg: Arg
    data: list[MarkPrice]


class IndexTicker(msgspec.Struct, gc=False):
    """The index of one pair."""

    idxPx: str  # noqa: N815  the wire's name
    ts: str


class IndexTickers(msgspec.Struct, gc=False):
    """Index prices of one pair."""

    arg: Arg
    data: list[IndexTicker]


class OpenInterest(msgspec.Struct, gc=False):
    """`oi` counts contracts, `oiCcy` coins, `oiUsd` dollars."""

    oi: str
    ts: str


class OpenInterests(msgspec.Struct, gc=False):
    """Open interest of one instrument."""

    arg: Arg
    data: list[OpenInterest]


class Event(msgspec.Struct, gc=False):
    """An answer or an announcement; old servers say `args` for `arg`."""

    event: str
    arg: Arg | None = None
    args: Arg | None = None
    code: str = ""
    msg: str = ""


Routed: TypeAlias = Books | Tops | Candles | FundingRates

Told: TypeAlias = MarkPrices | IndexTickers | OpenInterests

Message: TypeAlias = Routed | Told | Trades | Liquidations | Event


class _Probe(msgspec.Struct):
    arg: Arg | None = None
    data: msgspec.Raw = msgspec.Raw()


_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "trades": msgspec.json.Decoder(Trades),
    "books": msgspec.json.Decoder(Books),
    "bbo-tbt": msgspec.json.Decoder(Tops),
    "liquidation-orders": msgspec.json.Decoder(Liquidations),
    "funding-rate": msgspec.json.Decoder(FundingRates),
    "mark-price": msgspec.json.Decoder(MarkPrices),
    "index-tickers": msgspec.json.Decoder(IndexTickers),
    "open-interest": msgspec.json.Decoder(OpenInterests),
}
_candles: msgspec.json.Decoder[Candles] = msgspec.json.Decoder(Candles)
_event: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_probe: msgspec.json.Decoder[_Probe] = msgspec.json.Decoder(_Probe)
_HEAD = b'{"arg":{"channel":"'
_NAME = len(_HEAD)
_tag = tag_after(_HEAD, b'"')
_BY_TAG = {channel.encode(): decoder.decode for channel, decoder in _DECODERS.items()}


def decode(payload: bytes) -> Message:
    """Decode one message.

    Raises:
        UnknownChannelError: it is of a channel that is not known here.
        msgspec.DecodeError: it is not one of OKX's.
    """
    # The common spelling of a common channel: four calls into C.
    if payload.startswith(_HEAD):
        read = _BY_TAG.get(payload[_NAME : payload.find(b'"', _NAME)])
        if read is not None:
            message: Message = read(payload)
            return message
    return _carefully(payload)


def _carefully(payload: bytes) -> Message:
    channel = _tag(payload)
    if channel is None:
        probe = _probe.decode(payload)
        if probe.arg is None or not bytes(probe.data):
            return _event.decode(payload)
        channel = probe.arg.channel
    if channel.startswith("candle"):
        return _candles.decode(payload)
    decoder = _DECODERS.get(channel)
    if decoder is None:
        raise UnknownChannelError(channel)
    message: Message = decoder.decode(payload)
    return message
