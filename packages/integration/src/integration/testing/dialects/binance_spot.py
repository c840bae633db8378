"""Binance spot: streams, live subscriptions and the public REST routes.

Sources: https://developers.binance.com/docs/binance-spot-api-docs, pages "WebSocket
Streams", "Rest API" and "Errors" (read 2026-11). Pure; see
`integration.testing.dialect` for who calls what.

Spoken: `/ws`, `/ws/<stream>`, `/stream?streams=<a>/<b>`; SUBSCRIBE, UNSUBSCRIBE,
LIST_SUBSCRIPTIONS, SET_PROPERTY, GET_PROPERTY; `<symbol>@trade`, `@bookTicker`,
`@depth@100ms`, `@depth` (one second), `@depth<5|10|20>[@100ms]`, `@kline_<interval>`;
`/api/v3/ping`, `/time`, `/depth`, `/exchangeInfo`. As at the venue, a subscription to a
stream that does not exist is acknowledged and stays silent.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import ClassVar, Final
from urllib.parse import parse_qs, unquote

import msgspec

from integration.testing.book import UNIT, Pair, PriceBook, format_units
from integration.testing.dialect import (
    Action,
    CloseWith,
    Dialect,
    HttpReply,
    HttpRequest,
    Limits,
    MarketView,
    Send,
    Session,
    SnapshotView,
)
from integration.testing.events import (
    CandleChanged,
    ContractTold,
    DepthChanged,
    DerivedEvent,
    DirectEvent,
    MarketEvent,
    OtherMessage,
    PositionLiquidated,
    QuoteChanged,
    SymbolSpec,
    TradeDone,
)
from integration.testing.faults import MessageKind, StreamMessage
from integration.testing.limits import Charge, SlidingWindow, Verdict, WeightWindow

__all__ = ["BinanceSpot", "error_body", "levels_text"]

_METHODS: Final = (
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "LIST_SUBSCRIPTIONS",
    "SET_PROPERTY",
    "GET_PROPERTY",
)
_PARTIAL_DEPTHS: Final = (5, 10, 20)
_SLOW_NS: Final = 1_000_000_000
_MAX_DEPTH: Final = 5000


def levels_text(pairs: Iterable[Pair]) -> str:
    """Spell levels, without the brackets around them."""
    return ",".join(f'["{format_units(p)}","{format_units(a)}"]' for p, a in pairs)


def error_body(code: int, text: str) -> bytes:
    """Encode an error as Binance does."""
    return msgspec.json.encode({"code": code, "msg": text})


class _Slow:
    """Depth events of one second, folded into one."""

    __slots__ = ("asks", "bids", "first_id", "last_id", "second")

    def __init__(self, event: DepthChanged) -> None:
        self.second = event.time_ns // _SLOW_NS
        self.first_id = event.first_id
        self.last_id = event.last_id
        self.bids = dict(event.bids)
        self.asks = dict(event.asks)

    def add(self, event: DepthChanged) -> None:
        self.last_id = event.last_id
        self.bids.update(event.bids)
        self.asks.update(event.asks)


class BinanceSpot(Dialect):
    """The exchange's side of the dialect.

    Args:
        view: The exchange that speaks.
    """

    name = "binance_spot"
    websocket_path = "/ws"
    limits = Limits()

    rest: ClassVar[str] = "/api/v3"
    """Where the routes begin."""
    # Weight of /depth by limit, of all routes by path ("Rest API", Order book).
    depth_weights: ClassVar[Sequence[tuple[int, int]]] = (
        (100, 5),
        (500, 25),
        (1000, 50),
        (_MAX_DEPTH, 250),
    )
    weights: ClassVar[Mapping[str, int]] = {
        "/ping": 1,
        "/time": 1,
        "/exchangeInfo": 20,
        "/depth": 5,
    }

    def __init__(self, view: MarketView) -> None:
        self.view = view
        self._slow: dict[str, _Slow] = {}
        self._weights: dict[str, WeightWindow] = {}

    # ---- streams

    def connect(self, path: str, query: str) -> Session | HttpReply:
        """Open a session at `/ws`, `/ws/<stream>...` or `/stream?streams=...`."""
        head, _, rest = path.lstrip("/").partition("/")
        if head == "ws":
            wanted, combined = unquote(rest), False
        elif head == "stream" and not rest:
            wanted, combined = "/".join(parse_qs(query).get("streams", [])), True
        else:
            return HttpReply(status=404, body=b"", content_type="text/html")
        streams = [name for name in wanted.split("/") if name]
        if len(streams) > self.view.limits.streams_per_connection:
            return HttpReply(status=400, body=error_body(-1130, "Too many streams."))
        return _Connection(self.view, streams, combined=combined)

    def sequence(self, symbol: str) -> int | None:
        """Clients count with the market's own update ids."""
        del symbol
        return None

    def publish(self, event: MarketEvent, topics: Set[str]) -> list[StreamMessage]:
        """Spell an event; recorded text goes out byte for byte."""
        match event:
            case DepthChanged():
                return self._depth_messages(event, topics)
            case TradeDone():
                topic, kind = f"{event.symbol.lower()}@trade", MessageKind.TRADE
            case QuoteChanged():
                topic, kind = f"{event.symbol.lower()}@bookTicker", MessageKind.QUOTE
            case OtherMessage():
                topic, kind = event.stream, MessageKind.OTHER
            case CandleChanged() | ContractTold() | PositionLiquidated():
                return [
                    StreamMessage(topic, event.symbol, MessageKind.OTHER, text)
                    for topic, text in self.derived(event)
                    if topic in topics
                ]
        if topic not in topics:
            return []
        return [StreamMessage(topic, event.symbol, kind, self._spell(event))]

    def _spell(self, event: DirectEvent) -> str:
        # A quote has no time, so no skew can show in it.
        timeless = isinstance(event, QuoteChanged | OtherMessage)
        raw = self.recorded(event)
        if raw is not None and (timeless or not self.view.skew_ns()):
            return raw
        match event:
            case TradeDone():
                return self.spell_trade(event)
            case QuoteChanged():
                return self.spell_quote(event)
            case DepthChanged():
                return self.spell_depth(
                    event, event.first_id, event.last_id, event.bids, event.asks
                )
            case OtherMessage():
                return event.raw

    def recorded(self, event: DirectEvent) -> str | None:
        """Return the text that an event was recorded as, if it is fit to be sent."""
        return event.raw

    def millis(self, event: MarketEvent) -> int:
        """Return when an event is, by the venue's clock, in milliseconds."""
        return (event.time_ns + self.view.skew_ns()) // 1_000_000

    def derived(self, event: DerivedEvent) -> Iterable[tuple[str, str]]:
        """Spell what follows from trading, with its stream; spot has candles only."""
        if isinstance(event, CandleChanged):
            yield self._kline(event)

    def _kline(self, event: CandleChanged) -> tuple[str, str]:
        # Ids of first and last trade are not known here; nobody needs them.
        candle = {
            "t": event.open_ns // 1_000_000,
            "T": event.end_ns // 1_000_000 - 1,
            "s": event.symbol,
            "i": event.interval,
            "f": -1,
            "L": -1,
            "o": format_units(event.open),
            "c": format_units(event.close),
            "h": format_units(event.high),
            "l": format_units(event.low),
            "v": format_units(event.volume),
            "n": event.trades,
            "x": event.closed,
            "q": "0",
            "V": "0",
            "Q": "0",
            "B": "0",
        }
        head = {"e": "kline", "E": self.millis(event), "s": event.symbol}
        text = msgspec.json.encode({**head, "k": candle}).decode()
        return f"{event.symbol.lower()}@kline_{event.interval}", text

    def spell_trade(self, event: TradeDone) -> str:
        """Spell a trade."""
        millis = self.millis(event)
        orders = (
            f'"b":{event.buyer_order},"a":{event.seller_order},'
            if event.buyer_order is not None and event.seller_order is not None
            else ""
        )
        return (
            f'{{"e":"trade","E":{millis},"s":"{event.symbol}","t":{event.trade_id},'
            f'"p":"{format_units(event.price)}","q":"{format_units(event.amount)}",'
            f'{orders}"T":{millis},"m":{"true" if event.buyer_is_maker else "false"},'
            f'"M":true}}'
        )

    def spell_quote(self, event: QuoteChanged) -> str:
        """Spell best bid and ask."""
        (bid, bid_amount), (ask, ask_amount) = event.bid, event.ask
        return (
            f'{{"u":{event.update_id},"s":"{event.symbol}",'
            f'"b":"{format_units(bid)}","B":"{format_units(bid_amount)}",'
            f'"a":"{format_units(ask)}","A":"{format_units(ask_amount)}"}}'
        )

    def spell_depth(
        self,
        event: DepthChanged,
        first_id: int,
        last_id: int,
        bids: Iterable[Pair],
        asks: Iterable[Pair],
    ) -> str:
        """Spell changed levels; ids may be those of several events."""
        return (
            f'{{"e":"depthUpdate","E":{self.millis(event)},"s":"{event.symbol}",'
            f'"U":{first_id},"u":{last_id},"b":[{levels_text(bids)}],"a":[{levels_text(asks)}]}}'
        )

    def _depth_messages(
        self, event: DepthChanged, topics: Set[str]
    ) -> list[StreamMessage]:
        symbol = event.symbol
        stem = f"{symbol.lower()}@depth"
        out = []
        if (topic := f"{stem}@100ms") in topics:
            out.append(
                StreamMessage(topic, symbol, MessageKind.DEPTH, self._spell(event))
            )
        slow = self._fold(event, keep=any(t.startswith(stem) for t in topics))
        if slow is not None and stem in topics:
            text = self.spell_depth(
                event, slow.first_id, slow.last_id, slow.bids.items(), slow.asks.items()
            )
            out.append(StreamMessage(stem, symbol, MessageKind.DEPTH, text))
        for depth in _PARTIAL_DEPTHS:
            due = [f"{stem}{depth}@100ms"]
            if slow is not None:
                due.append(f"{stem}{depth}")
            for topic in due:
                if topic in topics:
                    text = self._partial(symbol, depth)
                    out.append(StreamMessage(topic, symbol, MessageKind.OTHER, text))
        return out

    def _fold(self, event: DepthChanged, *, keep: bool) -> _Slow | None:
        """Collect a second of depth events; return it when the next one begins."""
        folded = self._slow.get(event.symbol)
        if not keep:
            self._slow.pop(event.symbol, None)
            return None
        if folded is not None and folded.second == event.time_ns // _SLOW_NS:
            folded.add(event)
            return None
        self._slow[event.symbol] = _Slow(event)
        return folded

    def _partial(self, symbol: str, depth: int) -> str:
        book = self.view.snapshot(symbol, SnapshotView.PUBLISHED)
        return "" if book is None else self.book_text(book, depth)

    def shutdown_notice(self) -> str:
        """Return the `serverShutdown` event."""
        return f'{{"e":"serverShutdown","E":{self.view.clock_ns() // 1_000_000}}}'

    # ---- requests

    def respond(self, request: HttpRequest, now_s: float) -> HttpReply:
        """Answer a REST request, charging its weight first."""
        window = self._weights.setdefault(
            request.peer,
            WeightWindow(
                self.view.limits.weight_per_minute,
                self.view.limits.requests_until_ban,
            ),
        )
        charge = window.charge(self._weight(request), now_s)
        if charge.verdict is Verdict.ALLOWED:
            reply = self._route(request)
        else:
            reply = self.turn_away(charge.verdict.value, charge.retry_after)
        return msgspec.structs.replace(
            reply, headers=(*reply.headers, *_weight_headers(charge))
        )

    def turn_away(self, status: int, retry_after: int | None) -> HttpReply:
        """Return 429 or 418 with error -1003."""
        limit = self.view.limits.weight_per_minute
        if status == Verdict.BANNED.value:
            until = self.view.clock_ns() // 1_000_000 + (retry_after or 0) * 1000
            text = f"Way too much request weight used; IP banned until {until}."
        else:
            text = (
                f"Too much request weight used; current limit is {limit} request "
                "weight per 1 MINUTE."
            )
        headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
        return HttpReply(
            status=status,
            body=error_body(
                -1003,
                f"{text} Please use WebSocket Streams for live updates to avoid "
                "polling the API.",
            ),
            headers=headers,
        )

    def _named(self, path: str) -> str:
        """Return which route a path is; empty for none of this server's."""
        return path.removeprefix(self.rest) if path.startswith(self.rest) else ""

    def _weight(self, request: HttpRequest) -> int:
        route = self._named(request.path)
        if route != "/depth":
            return self.weights.get(route, 1)
        text = request.query.get("limit", "100")
        limit = int(text) if text.isascii() and text.isdigit() else 100
        for most, weight in self.depth_weights:
            if limit <= most:
                return weight
        return self.depth_weights[-1][1]

    def _route(self, request: HttpRequest) -> HttpReply:
        route = self._named(request.path)
        if route not in self.weights:
            return HttpReply(status=404, body=b"", content_type="text/html")
        if request.method != "GET":
            return HttpReply(status=405, body=b"", headers=(("Allow", "GET"),))
        return self.route(route, request.query)

    def route(self, route: str, query: dict[str, str]) -> HttpReply:
        """Answer a route that is among `weights`."""
        match route:
            case "/depth":
                return self._depth_route(query)
            case "/exchangeInfo":
                return self._info_route(query)
            case "/time":
                millis = self.view.clock_ns() // 1_000_000
                return HttpReply(
                    status=200, body=msgspec.json.encode({"serverTime": millis})
                )
            case _:
                return HttpReply(status=200, body=b"{}")

    def _depth_route(self, query: dict[str, str]) -> HttpReply:
        symbol = query.get("symbol", "")
        if not symbol:
            return _missing("symbol")
        text = query.get("limit", "100")
        if not (text.isascii() and text.isdigit() and len(text) <= 20):
            return _illegal("limit", "^[0-9]{1,20}$")
        book = self.view.snapshot(symbol, SnapshotView.LIVE)
        if book is None:
            return HttpReply(status=400, body=error_body(-1121, "Invalid symbol."))
        depth = min(int(text), self.depth_weights[-1][0]) or 100
        return HttpReply(status=200, body=self.book_text(book, depth).encode())

    def symbol_info(self, spec: SymbolSpec) -> dict[str, object]:
        """Describe a symbol as `/exchangeInfo` does."""
        return _symbol_info(spec)

    def book_text(self, book: PriceBook, depth: int) -> str:
        """Spell a book as the route and the partial streams do."""
        return (
            f'{{"lastUpdateId":{book.sequence},'
            f'"bids":[{levels_text(book.bids.top(depth))}],'
            f'"asks":[{levels_text(book.asks.top(depth))}]}}'
        )

    def _info_route(self, query: dict[str, str]) -> HttpReply:
        specs = self.view.specs
        if "symbol" in query:
            names = [query["symbol"]]
        elif "symbols" in query:
            try:
                names = msgspec.json.decode(query["symbols"], type=list[str])
            except msgspec.DecodeError:
                return _illegal("symbols", r'^\["[A-Z0-9-_.]{1,20}"(,"...")*\]$')
        else:
            names = list(specs)
        if any(name not in specs for name in names):
            return HttpReply(status=400, body=error_body(-1121, "Invalid symbol."))
        body = {
            "timezone": "UTC",
            "serverTime": self.view.clock_ns() // 1_000_000,
            "rateLimits": [
                {
                    "rateLimitType": "REQUEST_WEIGHT",
                    "interval": "MINUTE",
                    "intervalNum": 1,
                    "limit": self.view.limits.weight_per_minute,
                }
            ],
            "exchangeFilters": [],
            "symbols": [self.symbol_info(specs[name]) for name in names],
        }
        return HttpReply(status=200, body=msgspec.json.encode(body))


def _symbol_info(spec: SymbolSpec) -> dict[str, object]:
    """Describe a symbol as `/exchangeInfo` does, as far as market data needs it."""
    tick, lot = format_units(spec.tick), format_units(spec.lot)
    most = format_units(9_000_000 * UNIT)
    return {
        "symbol": spec.symbol,
        "status": "TRADING",
        "baseAsset": spec.base,
        "baseAssetPrecision": 8,
        "quoteAsset": spec.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": tick,
                "maxPrice": most,
                "tickSize": tick,
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": lot,
                "maxQty": most,
                "stepSize": lot,
            },
        ],
        "permissions": ["SPOT"],
    }


def _weight_headers(charge: Charge) -> tuple[tuple[str, str], ...]:
    used = str(charge.used)
    return (("X-MBX-USED-WEIGHT", used), ("X-MBX-USED-WEIGHT-1M", used))


def _missing(name: str) -> HttpReply:
    text = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
    return HttpReply(status=400, body=error_body(-1102, text))


def _illegal(name: str, legal: str) -> HttpReply:
    text = f"Illegal characters found in parameter '{name}'; legal range is '{legal}'."
    return HttpReply(status=400, body=error_body(-1100, text))


class _Request(msgspec.Struct):
    """A live request; everything is checked by hand, for the venue's own words."""

    method: object = None
    params: object = None
    id: object = msgspec.UNSET


class _RequestError(Exception):
    """A live request is answered with an error; never leaves this module."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class _Connection(Session):
    """Subscriptions of one connection.

    Args:
        view: The exchange that speaks.
        streams: Subscribed by the URL.
        combined: Whether payloads come in `{"stream": ..., "data": ...}`.
    """

    def __init__(
        self, view: MarketView, streams: Iterable[str], *, combined: bool
    ) -> None:
        self._limit = view.limits.streams_per_connection
        self._rate = SlidingWindow(view.limits.messages_per_second, 1.0)
        self._streams: dict[str, None] = dict.fromkeys(streams)
        self._combined = combined

    @property
    def topics(self) -> Set[str]:
        """Streams subscribed to."""
        return self._streams.keys()

    def opened(self) -> list[Action]:
        """The venue greets nobody."""
        return []

    def render(self, message: StreamMessage) -> str:
        """Wrap the payload if this connection asked for it."""
        if not self._combined:
            return message.payload
        return f'{{"stream":"{message.topic}","data":{message.payload}}}'

    def receive(self, message: str | bytes, now_s: float) -> list[Action]:
        """Answer a live request."""
        if not self._rate.hit(now_s):
            return [CloseWith(code=1008, reason="Too many requests")]
        try:
            request = msgspec.json.decode(message, type=_Request)
        except msgspec.ValidationError:
            return [_flat_error(2, "Invalid request: expected an object")]
        except (msgspec.DecodeError, UnicodeDecodeError):
            text = "Invalid JSON: expected value at line 1 column 1"
            return [_flat_error(3, text)]
        known = request.id
        if not _is_id(known):
            text = "Invalid request: request ID must be an unsigned integer"
            return [_flat_error(2, text)]
        try:
            answer = self._carry_out(request.method, request.params)
        except _RequestError as refused:
            error = {"code": refused.code, "msg": str(refused)}
            return [_json({"error": error, "id": known})]
        return [_json({"result": answer, "id": known})]

    def _carry_out(self, method: object, params: object) -> object:
        if method is None:
            raise _RequestError(2, "Invalid request: missing field `method`")
        match method:
            case "SUBSCRIBE":
                self._subscribe(_names(params))
            case "UNSUBSCRIBE":
                for name in _names(params):
                    self._streams.pop(name, None)
            case "LIST_SUBSCRIPTIONS":
                return list(self._streams)
            case "SET_PROPERTY":
                self._combined = _property_value(params)
            case "GET_PROPERTY":
                _property_name(params)
                return self._combined
            case _:
                known = ", ".join(f"`{name}`" for name in _METHODS)
                text = f"unknown variant `{method}`, expected one of {known}"
                raise _RequestError(2, f"Invalid request: {text}")
        return None

    def _subscribe(self, names: list[str]) -> None:
        if len(self._streams.keys() | set(names)) > self._limit:
            text = f"Invalid request: more than {self._limit} streams"
            raise _RequestError(2, text)
        self._streams.update(dict.fromkeys(names))


def _json(answer: object) -> Send:
    return Send(text=msgspec.json.encode(answer).decode())


def _flat_error(code: int, text: str) -> Send:
    """An error that names no request."""
    return _json({"code": code, "msg": text})


def _is_id(value: object) -> bool:
    """Ids: 64-bit integers, alphanumeric texts of at most 36 characters, null."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    if isinstance(value, str):
        return value.isascii() and value.isalnum() and len(value) <= 36
    return value is None


def _names(params: object) -> list[str]:
    if not isinstance(params, list) or not params:
        raise _RequestError(2, "Invalid request: missing field `params`")
    names = [name for name in params if isinstance(name, str)]
    if len(names) != len(params):
        raise _RequestError(2, "Invalid request: stream name must be a string")
    return names


def _property_name(params: object) -> None:
    if not isinstance(params, list) or not params or not isinstance(params[0], str):
        raise _RequestError(2, "Invalid request: property name must be a string")
    if params[0] != "combined":
        raise _RequestError(0, "Unknown property")


def _property_value(params: object) -> bool:
    _property_name(params)
    values = params[1:] if isinstance(params, list) else []
    if len(values) > 1:
        raise _RequestError(2, "Invalid request: too many parameters")
    if not values or not isinstance(values[0], bool):
        raise _RequestError(1, "Invalid value type: expected Boolean")
    return values[0]
