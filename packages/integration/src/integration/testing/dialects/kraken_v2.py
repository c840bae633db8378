"""Kraken's WebSocket API v2: spot channels.

Source: https://docs.kraken.com/api/docs/websocket-v2 and the guide "Spot Websockets
(v2) Book Checksum" (read 2026-11). Pure; see `integration.testing.dialect`.

Spoken: `subscribe`, `unsubscribe`, `ping`; `book` (depth 10, 25, 100, 500, 1000, with
the checksum of the best ten), `trade`, `ticker` (best bid and ask), `ohlc` (only what
is new, no candles of before), `instrument`, `status` at the start and `heartbeat` once
a second; `/0/public/Time` and `/SystemStatus`. Prices and amounts are JSON numbers with
all their decimals. A level that is pushed out of a book by a better one is not told:
the client has to cut its book to the depth it asked for.
"""

import math
import zlib
from collections import deque
from collections.abc import Iterable, Set
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from integration.testing.book import DECIMALS, Pair
from integration.testing.dialect import (
    Action,
    HttpReply,
    HttpRequest,
    Limits,
    MarketView,
    Send,
    Session,
)
from integration.testing.dialects.windows import (
    BookWindow,
    TopicDialect,
    TopicSession,
    decimals_of,
    not_found,
    spell,
)
from integration.testing.events import (
    CandleChanged,
    DepthChanged,
    DerivedEvent,
    QuoteChanged,
    SymbolSpec,
    TradeDone,
)
from integration.testing.faults import MessageKind, StreamMessage

__all__ = ["KrakenV2"]

_CHECKED_DEPTH: Final = 10
_TRADES_KEPT: Final = 50  # "snapshot: the last 50 trades"
_SECOND_NS: Final = 1_000_000_000
_HEARTBEAT: Final = "heartbeat"
_INTERVALS: Final = (1, 5, 15, 30, 60, 240, 1440, 10080, 21600)
_MINUTES: Final = {"1m": 1, "5m": 5, "15m": 15, "1h": 60}
# Amounts have eight decimals on every pair (AssetPairs, lot_decimals).
_AMOUNT_DECIMALS: Final = DECIMALS


def _iso(time_ns: int) -> str:
    """Write a time as Kraken does: RFC 3339 with microseconds."""
    seconds, rest = divmod(time_ns, _SECOND_NS)
    stamp = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{rest // 1000:06d}Z"


class KrakenV2(TopicDialect):
    """The exchange's side of the dialect."""

    name = "kraken_v2"
    websocket_path = "/v2"
    depths = (10, 25, 100, 500, 1000)
    tells_pushed_out = False
    limits = Limits(
        # "Approximately 150 connection attempts per rolling 10 minutes" per address.
        messages_per_second=100,
        connections=150,
        connections_window_s=600.0,
        weight_per_minute=60,
        ping_interval_s=math.inf,
        pong_timeout_s=math.inf,
    )

    def __init__(self, view: MarketView) -> None:
        super().__init__(view)
        self._trades: dict[str, deque[TradeDone]] = {}
        self._beat_s = 0

    def native(self, spec: SymbolSpec) -> str:
        """Spell a symbol: `BTC/USDT`."""
        return f"{spec.base}/{spec.quote}".upper()

    def book_topic(self, spec: SymbolSpec, depth: int) -> str:
        """Name a book."""
        return f"book-{depth}|{self.native(spec)}"

    def trade_topic(self, spec: SymbolSpec) -> str:
        """Name trades."""
        return f"trade|{self.native(spec)}"

    def quote_topic(self, spec: SymbolSpec) -> str:
        """Name best bid and ask."""
        return f"ticker|{self.native(spec)}"

    def session(self) -> Session:
        """Return the venue's end of a new connection."""
        return _KrakenSession(self, self.view.limits)

    # ---- spelling

    def derived(
        self, spec: SymbolSpec, event: DerivedEvent
    ) -> Iterable[tuple[str, str]]:
        """Spell candles; the venue has spot only."""
        if not isinstance(event, CandleChanged):
            return
        name, minutes = self.native(spec), _MINUTES[event.interval]
        price = decimals_of(spec.tick)
        row = {
            "symbol": name,
            "open": _number(event.open, price),
            "high": _number(event.high, price),
            "low": _number(event.low, price),
            "close": _number(event.close, price),
            "trades": event.trades,
            "volume": _number(event.volume, _AMOUNT_DECIMALS),
            # Not kept; it has to lie between the lowest and the highest price.
            "vwap": _number(event.close, price),
            "interval_begin": _iso(event.open_ns),
            "interval": minutes,
            "timestamp": _iso(event.end_ns),
        }
        yield f"ohlc-{minutes}|{name}", _channel("ohlc", "update", [row])

    def note_trade(self, spec: SymbolSpec, event: TradeDone) -> None:
        """Keep the last trades."""
        self._trades.setdefault(spec.symbol, deque(maxlen=_TRADES_KEPT)).append(event)

    def spell_trade(self, spec: SymbolSpec, event: TradeDone) -> str:
        """Spell one trade as an update."""
        return _channel("trade", "update", [self._trade(spec, event)])

    def spell_trades(self, spec: SymbolSpec) -> str:
        """Spell the last trades as a snapshot."""
        last = self._trades.get(spec.symbol, ())
        return _channel("trade", "snapshot", [self._trade(spec, e) for e in last])

    def _trade(self, spec: SymbolSpec, event: TradeDone) -> dict[str, Any]:
        return {
            "symbol": self.native(spec),
            "side": "sell" if event.buyer_is_maker else "buy",
            "price": _number(event.price, decimals_of(spec.tick)),
            "qty": _number(event.amount, _AMOUNT_DECIMALS),
            "ord_type": "market",
            "trade_id": event.trade_id,
            "timestamp": _iso(event.time_ns + self.view.skew_ns()),
        }

    def spell_quote(
        self, spec: SymbolSpec, event: QuoteChanged, before: QuoteChanged | None
    ) -> str:
        """Spell best bid and ask, each time both; the day's figures are not kept."""
        last = self._trades.get(spec.symbol)
        price = decimals_of(spec.tick)
        row = {
            "symbol": self.native(spec),
            "bid": _number(event.bid[0], price),
            "bid_qty": _number(event.bid[1], _AMOUNT_DECIMALS),
            "ask": _number(event.ask[0], price),
            "ask_qty": _number(event.ask[1], _AMOUNT_DECIMALS),
            "last": _number(last[-1].price if last else event.bid[0], price),
            "timestamp": _iso(event.time_ns + self.view.skew_ns()),
        }
        return _channel("ticker", "snapshot" if before is None else "update", [row])

    def spell_book(self, spec: SymbolSpec, window: BookWindow, time_ns: int) -> str:
        """Spell a window as a snapshot."""
        sides = window.bids.items(), window.asks.items()
        return self._book(spec, window, sides, time_ns, kind="snapshot")

    def spell_delta(
        self,
        spec: SymbolSpec,
        window: BookWindow,
        event: DepthChanged,
        changes: tuple[list[Pair], list[Pair]],
    ) -> str:
        """Spell what changed, and the checksum after it."""
        window.sequence = event.last_id
        return self._book(spec, window, changes, event.time_ns, kind="update")

    def _book(
        self,
        spec: SymbolSpec,
        window: BookWindow,
        sides: tuple[Iterable[Pair], Iterable[Pair]],
        time_ns: int,
        *,
        kind: str,
    ) -> str:
        price = decimals_of(spec.tick)
        bids, asks = (
            [
                {"price": _number(p, price), "qty": _number(a, _AMOUNT_DECIMALS)}
                for p, a in side
            ]
            for side in sides
        )
        row = {
            "symbol": self.native(spec),
            "bids": bids,
            "asks": asks,
            "checksum": self.checksum(spec, window),
            "timestamp": _iso(time_ns + self.view.skew_ns()),
        }
        return _channel("book", kind, [row])

    def checksum(self, spec: SymbolSpec, window: BookWindow) -> int:
        """Return the CRC-32 of the best ten asks, then bids, digits only."""
        price, text = decimals_of(spec.tick), ""
        for side in (window.asks, window.bids):
            for p, a in list(side.items())[:_CHECKED_DEPTH]:
                for number in (spell(p, price), spell(a, _AMOUNT_DECIMALS)):
                    text += number.replace(".", "").lstrip("0")
        return zlib.crc32(text.encode("ascii"))

    def on_tick(
        self, spec: SymbolSpec, event: DepthChanged, topics: Set[str]
    ) -> list[StreamMessage]:
        """Send a heartbeat once a second."""
        second = event.time_ns // _SECOND_NS
        if second <= self._beat_s or _HEARTBEAT not in topics:
            return []
        self._beat_s = second
        text = '{"channel":"heartbeat"}'
        return [StreamMessage(_HEARTBEAT, spec.symbol, MessageKind.OTHER, text)]

    def spell_status(self) -> str:
        """Spell the first message of every connection."""
        row = {
            "api_version": "v2",
            "connection_id": self.next_connection(),
            "system": "online",
            "version": "2.0.0",
        }
        return _channel("status", "update", [row])

    def spell_instruments(self) -> str:
        """Spell the reference data of all symbols."""
        specs = self.view.specs.values()
        assets = dict.fromkeys(a for spec in specs for a in (spec.base, spec.quote))
        return _json(
            {
                "channel": "instrument",
                "type": "snapshot",
                "data": {
                    "assets": [{"id": a, "status": "enabled"} for a in assets],
                    "pairs": [self._pair(spec) for spec in specs],
                },
            }
        )

    def _pair(self, spec: SymbolSpec) -> dict[str, Any]:
        price = decimals_of(spec.tick)
        return {
            "symbol": self.native(spec),
            "base": spec.base,
            "quote": spec.quote,
            "status": "online",
            "price_precision": price,
            "price_increment": _number(spec.tick, price),
            "qty_precision": _AMOUNT_DECIMALS,
            "qty_increment": _number(1, _AMOUNT_DECIMALS),
            "qty_min": _number(spec.lot, _AMOUNT_DECIMALS),
        }

    # ---- requests

    def respond(self, request: HttpRequest, now_s: float) -> HttpReply:
        """Answer a public route."""
        del now_s
        now = self.view.clock_ns()
        match request.path:
            case "/0/public/Time":
                return _reply({"unixtime": now // _SECOND_NS})
            case "/0/public/SystemStatus":
                return _reply({"status": "online", "timestamp": _iso(now)})
            case _:
                return not_found()

    def turn_away(self, status: int, retry_after: int | None) -> HttpReply:
        """Return the venue's words for too many requests."""
        headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
        body = msgspec.json.encode({"error": ["EAPI:Rate limit exceeded"]})
        return HttpReply(status=status, body=body, headers=headers)

    def shutdown_notice(self) -> str:
        """Say that the engine goes into maintenance."""
        row = {"system": "maintenance", "api_version": "v2", "version": "2.0.0"}
        return _channel("status", "update", [row])


def _number(value: int, decimals: int) -> msgspec.Raw:
    """A JSON number with all its decimals, which no float could keep."""
    return msgspec.Raw(spell(value, decimals).encode("ascii"))


def _channel(channel: str, kind: str, data: list[dict[str, Any]]) -> str:
    return _json({"channel": channel, "type": kind, "data": data})


def _reply(result: dict[str, Any]) -> HttpReply:
    body = msgspec.json.encode({"error": [], "result": result})
    return HttpReply(status=200, body=body)


class _Params(msgspec.Struct):
    channel: str = ""
    symbol: list[str] = []
    depth: int = 10
    interval: int = 1
    snapshot: bool = True

    @property
    def topic(self) -> str:
        """What tells one subscription from another of the same channel."""
        match self.channel:
            case "book":
                return f"book-{self.depth}"
            case "ohlc":
                return f"ohlc-{self.interval}"
            case channel:
                return channel


class _Request(msgspec.Struct):
    method: str
    params: _Params = msgspec.field(default_factory=_Params)
    req_id: int | None = None


class _KrakenSession(TopicSession):
    """One connection."""

    def __init__(self, dialect: KrakenV2, limits: Limits) -> None:
        super().__init__(limits)
        self._dialect = dialect

    def opened(self) -> list[Action]:
        """Greet with the state of the engine."""
        return [Send(text=self._dialect.spell_status())]

    def answer(self, text: str) -> list[Action]:
        """Carry out `subscribe`, `unsubscribe` and `ping`."""
        try:
            request = msgspec.json.decode(text, type=_Request)
        except msgspec.DecodeError as error:
            return [self._refuse(None, None, f"Malformed request: {error}")]
        match request.method:
            case "ping":
                return [self._answer(request, {})]
            case "subscribe" | "unsubscribe":
                return self._subscribe(request)
            case _:
                return [self._refuse(request, None, "Unsupported method")]

    def _subscribe(self, request: _Request) -> list[Action]:
        """Answer per symbol, as the venue does."""
        params = request.params
        if params.channel == "instrument":
            answers: list[Action] = [self._confirm(request, None)]
            if request.method == "subscribe" and params.snapshot:
                answers.append(Send(text=self._dialect.spell_instruments()))
            return answers
        if params.channel not in {"book", "trade", "ticker", "ohlc"}:
            return [self._refuse(request, None, "Channel not supported")]
        if params.channel == "ohlc" and params.interval not in _INTERVALS:
            return [self._refuse(request, None, "Ohlc interval not supported")]
        if params.channel == "book" and params.depth not in self._dialect.depths:
            return [self._refuse(request, None, "Depth not supported")]
        answers = []
        for symbol in params.symbol:
            spec = self._dialect.natives.get(symbol)
            if spec is None:
                text = f"Currency pair not supported {symbol}"
                answers.append(self._refuse(request, symbol, text))
            else:
                answers.extend(self._one(request, spec))
        return answers

    def _one(self, request: _Request, spec: SymbolSpec) -> list[Action]:
        params, symbol = request.params, self._dialect.native(spec)
        topic = f"{params.topic}|{symbol}"
        if request.method == "unsubscribe":
            if self.subscribed.pop(topic, topic) is not None:
                return [self._refuse(request, symbol, "Subscription Not Found")]
            return [self._confirm(request, symbol)]
        if topic in self.subscribed:
            return [self._refuse(request, symbol, "Already subscribed")]
        if not self.has_room([topic]):
            return [self._refuse(request, symbol, "Too many subscriptions")]
        self.subscribed[topic] = None
        self.subscribed[_HEARTBEAT] = None
        first = self._first(params, spec) if params.snapshot else []
        return [self._confirm(request, symbol), *first]

    def _first(self, params: _Params, spec: SymbolSpec) -> list[Action]:
        """What follows the answer: the state as the channel's subscribers know it."""
        dialect = self._dialect
        match params.channel:
            case "trade":
                return [Send(text=dialect.spell_trades(spec))]
            case "ohlc":
                return []
            case "ticker":
                quote = dialect.last_quote(spec)
                if quote is None:
                    return []
                return [Send(text=dialect.spell_quote(spec, quote, None))]
            case _:
                window = dialect.window(spec, params.depth)
                if window is None:
                    return []
                now = dialect.view.clock_ns() - dialect.view.skew_ns()
                return [Send(text=dialect.spell_book(spec, window, now))]

    def _confirm(self, request: _Request, symbol: str | None) -> Send:
        params = request.params
        result: dict[str, Any] = {"channel": params.channel}
        if symbol is not None:
            result["symbol"] = symbol
        if params.channel == "book":
            result["depth"] = params.depth
        if params.channel == "ohlc":
            result["interval"] = params.interval
        if request.method == "subscribe":
            result["snapshot"] = params.snapshot
        return self._answer(request, {"result": result, "success": True})

    def _refuse(self, request: _Request | None, symbol: str | None, text: str) -> Send:
        answer: dict[str, Any] = {"error": text, "success": False}
        if symbol is not None:
            answer["symbol"] = symbol
        return self._answer(request, answer)

    def _answer(self, request: _Request | None, answer: dict[str, Any]) -> Send:
        now = _iso(self._dialect.view.clock_ns())
        if request is not None:
            method = "pong" if request.method == "ping" else request.method
            answer = {"method": method, **answer}
            if request.req_id is not None:
                answer["req_id"] = request.req_id
        return Send(text=_json({**answer, "time_in": now, "time_out": now}))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
