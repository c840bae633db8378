"""What Binance sends, as Structs.

Messages come bare (`/ws`) or in an envelope naming the stream (`/stream`). Most say
what they are in `e` and are one tagged union; spot's bookTicker, answers and depth
images do not. Which decoder applies is seen from the first bytes as the venue writes
them; a message spelled otherwise takes the slow way and is still decoded.

Numbers stay text: prices and amounts are converted and checked in `transform`.
"""

from typing import TypeAlias

import msgspec

__all__ = [
    "AggTrade",
    "Answer",
    "BookTicker",
    "DepthImage",
    "DepthUpdate",
    "Fault",
    "ForceOrder",
    "IndexPrice",
    "Kline",
    "MarkPrice",
    "Message",
    "OpenInterest",
    "ServerShutdown",
    "SpotTicker",
    "Trade",
    "decode",
]

RawLevels: TypeAlias = list[tuple[str, str]]


class Trade(msgspec.Struct, tag="trade", tag_field="e", gc=False):
    """One trade; `X` on futures tells market from liquidation and insurance fund."""

    s: str
    t: int
    p: str
    q: str
    T: int
    m: bool
    X: str | None = None


class AggTrade(msgspec.Struct, tag="aggTrade", tag_field="e", gc=False):
    """Trades of one taker order at one price, ids `f` to `l`."""

    s: str
    a: int
    p: str
    q: str
    f: int
    l: int  # noqa: E741  the wire's name
    T: int
    m: bool


class SpotTicker(msgspec.Struct, gc=False):
    """Best levels as spot sends them: without times and without a name (`e`)."""

    u: int
    s: str
    b: str
    B: str
    a: str
    A: str


class BookTicker(msgspec.Struct, tag="bookTicker", tag_field="e", gc=False):
    """Best levels as futures send them."""

    u: int
    s: str
    b: str
    B: str
    a: str
    A: str
    T: int | None = None
    E: int | None = None


class DepthUpdate(msgspec.Struct, tag="depthUpdate", tag_field="e", gc=False):
    """Changed levels, ids `U` to `u`; futures add `pu`, the last id before."""

    E: int
    s: str
    U: int
    u: int
    b: RawLevels
    a: RawLevels
    pu: int | None = None
    T: int | None = None


class LiquidationOrder(msgspec.Struct, gc=False):
    """The order inside a `ForceOrder`: `p` is its price, `ap` what it got."""

    s: str
    S: str
    q: str
    p: str
    T: int


class ForceOrder(msgspec.Struct, tag="forceOrder", tag_field="e"):
    """A liquidation; at most one per symbol and second is sent."""

    E: int
    o: LiquidationOrder


class KlineData(msgspec.Struct, gc=False):
    """The candle inside a `Kline`."""

    t: int
    T: int
    i: str
    o: str
    c: str
    h: str
    l: str  # noqa: E741  the wire's name
    v: str
    n: int
    x: bool


class Kline(msgspec.Struct, tag="kline", tag_field="e"):
    """A candle so far; `x` says whether it is over."""

    E: int
    s: str
    k: KlineData


class MarkPrice(msgspec.Struct, tag="markPriceUpdate", tag_field="e", gc=False):
    """Mark price `p`, index `i`, funding rate `r` due at `T`."""

    E: int
    s: str
    p: str
    r: str
    T: int
    i: str | None = None


class IndexPrice(msgspec.Struct, tag="indexPriceUpdate", tag_field="e", gc=False):
    """Index `p` of the pair `i`; COIN-M only."""

    E: int
    i: str
    p: str


class ServerShutdown(msgspec.Struct, tag="serverShutdown", tag_field="e", gc=False):
    """The server stops within minutes."""

    E: int


class DepthImage(msgspec.Struct):
    """The answer to `GET …/depth`; futures add times."""

    lastUpdateId: int  # noqa: N815  the wire's name
    bids: RawLevels
    asks: RawLevels
    E: int | None = None
    T: int | None = None


class OpenInterest(msgspec.Struct):
    """The answer to `GET …/openInterest`."""

    openInterest: str  # noqa: N815  the wire's name
    symbol: str
    time: int


class Fault(msgspec.Struct):
    """An error in words."""

    code: int
    msg: str = ""


class Answer(msgspec.Struct):
    """The answer to a request, or an error in one of its two spellings."""

    id: int | str | None = None
    result: msgspec.Raw = msgspec.Raw()
    error: Fault | None = None
    code: int | None = None
    msg: str = ""


Tagged: TypeAlias = (
    Trade
    | AggTrade
    | BookTicker
    | DepthUpdate
    | ForceOrder
    | Kline
    | MarkPrice
    | IndexPrice
    | ServerShutdown
)

Message: TypeAlias = Tagged | SpotTicker | Answer


class _TaggedEnvelope(msgspec.Struct, gc=False):
    data: Tagged


class _TickerEnvelope(msgspec.Struct, gc=False):
    data: SpotTicker


_tagged: msgspec.json.Decoder[Tagged] = msgspec.json.Decoder(Tagged)
_answer: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
_tagged_envelope: msgspec.json.Decoder[_TaggedEnvelope] = msgspec.json.Decoder(
    _TaggedEnvelope
)
_ticker: msgspec.json.Decoder[SpotTicker] = msgspec.json.Decoder(SpotTicker)
_ticker_envelope: msgspec.json.Decoder[_TickerEnvelope] = msgspec.json.Decoder(
    _TickerEnvelope
)

_EMPTY = Answer()


class _Probe(msgspec.Struct):
    """Finds `e`, wherever it stands."""

    e: str | None = None
    u: int | None = None
    data: msgspec.Raw = msgspec.Raw()


_probe: msgspec.json.Decoder[_Probe] = msgspec.json.Decoder(_Probe)


def decode(payload: bytes) -> Message:
    """Decode one message, enveloped or bare.

    Raises:
        msgspec.DecodeError: not JSON, or not a message of Binance.
    """
    # Looking at single bytes costs half of what comparing slices does.
    if len(payload) > _SHORTEST:
        first = payload[2]
        if first == _E and payload[3] == _QUOTE:
            return _tagged.decode(payload)
        if first == _S:
            return _unwrapped(payload)
        if first == _U and payload[3] == _QUOTE:
            return _ticker.decode(payload)
    return _slowly(payload)


_E, _S, _U, _QUOTE = b'esu"'
_SHORTEST = len(b'{"e":')


def _unwrapped(payload: bytes) -> Message:
    """Decode `{"stream":"<name>","data":<message>}`.

    Spot's bookTicker has no tag, and ends in a text; few others do.
    """
    try:
        if payload[-3] != _QUOTE:
            return _tagged_envelope.decode(payload).data
        name_end = payload.find(b'"', len(b'{"stream":"'))
        if payload.startswith(b',"data":{"u":', name_end + 1):
            return _ticker_envelope.decode(payload).data
        return _tagged_envelope.decode(payload).data
    except msgspec.ValidationError:
        return _slowly(payload)


def _slowly(payload: bytes) -> Message:
    """Decode what the first bytes did not give away: answers, other key orders."""
    probe = _probe.decode(payload)
    if inner := bytes(probe.data):
        return _slowly(inner)
    if probe.e is not None:
        return _tagged.decode(payload)
    if probe.u is not None:
        return _ticker.decode(payload)
    answer = _answer.decode(payload)
    if answer == _EMPTY:
        msg = "neither an event (e), a bookTicker (u) nor an answer (id, result, code)"
        raise msgspec.ValidationError(msg)
    return answer
