"""Bybit v5: public spot and linear streams, and the market routes around them.

Source: https://bybit-exchange.github.io/docs/v5, pages "WebSocket Stream > Connect",
"Public > Orderbook", "Public > Trade" and "Market" (read 2026-11). Pure; see
`integration.testing.dialect`.

Spoken: `subscribe`, `unsubscribe`, `ping`; `publicTrade.S`, `orderbook.N.S` for N = 1,
50, 200 and 1000 (a snapshot first, then deltas whose `u` counts by one; the first level
is sent again as a snapshot after three quiet seconds), `kline.I.S`; of perpetuals
`tickers.S` (a snapshot, then what changed) and `allLiquidation.S`; `/v5/market/time`,
`/orderbook`, `/instruments-info`. Topics of kinds that the market's source does not
tell are acknowledged and stay silent.
"""

import math
from collections.abc import Iterable, Set
from typing import Any, ClassVar, Final

import msgspec

from integration.testing.book import UNIT, Pair, PriceBook
from integration.testing.dialect import (
    Action,
    HttpReply,
    HttpRequest,
    Limits,
    MarketView,
    Send,
    Session,
    SnapshotView,
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
    ContractTold,
    DepthChanged,
    DerivedEvent,
    PositionLiquidated,
    QuoteChanged,
    SymbolSpec,
    TradeDone,
)
from integration.testing.faults import Malformed, MessageKind, StreamMessage

__all__ = ["BybitLinear", "BybitSpot"]

# "orderbook.1 ... if there is no change in 3 seconds, it is sent again as snapshot".
_QUIET_NS: Final = 3_000_000_000
_SILENT_KINDS: Final = ("kline", "tickers", "allLiquidation", "liquidation")
_INTERVALS: Final = {"1m": "1", "5m": "5", "15m": "15", "1h": "60"}
_RATE_LIMITED: Final = 10006
_PARAMETER: Final = 10001


class _Bybit(TopicDialect):
    """What both servers share."""

    category: ClassVar[str]
    max_args: ClassVar[float]
    subscribed_text: ClassVar[str]
    depths = (50, 200, 1000)
    limits = Limits(
        # Documented per address: 500 connections in five minutes, 600 requests in five
        # seconds (7,200 a minute). No limit of inbound messages is documented.
        messages_per_second=100,
        streams_per_connection=1000,
        connections=500,
        weight_per_minute=7200,
        # The client pings; ten minutes without end the connection.
        ping_interval_s=math.inf,
        pong_timeout_s=math.inf,
    )

    def __init__(self, view: MarketView) -> None:
        super().__init__(view)
        self._counts: dict[tuple[str, int], int] = {}
        self._quote_counts: dict[str, int] = {}
        self._quote_told_ns: dict[str, int] = {}
        self._tickers: dict[str, tuple[dict[str, str], int]] = {}

    def native(self, spec: SymbolSpec) -> str:
        """Spell a symbol: `BTCUSDT`."""
        return f"{spec.base}{spec.quote}".upper()

    def book_topic(self, spec: SymbolSpec, depth: int) -> str:
        """Name a book."""
        return f"orderbook.{depth}.{self.native(spec)}"

    def trade_topic(self, spec: SymbolSpec) -> str:
        """Name trades."""
        return f"publicTrade.{self.native(spec)}"

    def quote_topic(self, spec: SymbolSpec) -> str:
        """Best bid and ask are a book of one level."""
        return f"orderbook.1.{self.native(spec)}"

    def session(self) -> Session:
        """Return the venue's end of a new connection."""
        return _BybitSession(self, self.view.limits)

    def sequence(self, symbol: str) -> int | None:
        """Return `u` of the book of 50 levels; None before anybody saw one."""
        return self._counts.get((symbol, 50))

    # ---- spelling

    def spell_trade(self, spec: SymbolSpec, event: TradeDone) -> str:
        """Spell a trade; `S` is the taker's side."""
        millis = self.millis(event.time_ns)
        side = "Sell" if event.buyer_is_maker else "Buy"
        price, amount = self.grid(spec)
        return _json(
            {
                "topic": self.trade_topic(spec),
                "type": "snapshot",
                "ts": millis,
                "data": [
                    {
                        "T": millis,
                        "s": self.native(spec),
                        "S": side,
                        "v": spell(event.amount, amount),
                        "p": spell(event.price, price),
                        "i": str(event.trade_id),
                        "BT": False,
                    }
                ],
            }
        )

    def spell_quote(
        self, spec: SymbolSpec, event: QuoteChanged, before: QuoteChanged | None
    ) -> str:
        """Spell the change of a book of one level."""
        if before is None:
            return self.quote_snapshot(spec, event)
        sides = []
        for old, new in ((before.bid, event.bid), (before.ask, event.ask)):
            gone = [(old[0], 0)] if old[0] != new[0] and old[1] else []
            sides.append(gone + ([new] if old != new and new[1] else []))
        count = self._quote_counts.get(event.symbol, event.update_id) + 1
        self._quote_counts[event.symbol] = count
        self._quote_told_ns[event.symbol] = event.time_ns
        return self._book_text(
            self.quote_topic(spec), spec, sides, event, count, kind="delta"
        )

    def quote_snapshot(self, spec: SymbolSpec, event: QuoteChanged) -> str:
        """Spell a book of one level."""
        sides = [[pair] if pair[1] else [] for pair in (event.bid, event.ask)]
        count = self._quote_counts.setdefault(event.symbol, event.update_id)
        return self._book_text(
            self.quote_topic(spec), spec, sides, event, count, kind="snapshot"
        )

    def on_tick(
        self, spec: SymbolSpec, event: DepthChanged, topics: Set[str]
    ) -> list[StreamMessage]:
        """Send the first level again after three quiet seconds."""
        topic, quote = self.quote_topic(spec), self.last_quote(spec)
        told_ns = self._quote_told_ns.setdefault(spec.symbol, event.time_ns)
        if topic not in topics or quote is None or event.time_ns < told_ns + _QUIET_NS:
            return []
        self._quote_told_ns[spec.symbol] = event.time_ns
        again = msgspec.structs.replace(quote, time_ns=event.time_ns)
        text = self.quote_snapshot(spec, again)
        return [StreamMessage(topic, spec.symbol, MessageKind.QUOTE, text)]

    def new_window(self, spec: SymbolSpec, book: PriceBook, depth: int) -> BookWindow:
        """Begin a window, and its count, which never ends."""
        window = BookWindow(book, depth)
        key = (spec.symbol, depth)
        window.sequence = self._counts.setdefault(key, book.sequence)
        return window

    def spell_book(self, spec: SymbolSpec, window: BookWindow, time_ns: int) -> str:
        """Spell a window as a snapshot."""
        event = DepthChanged(spec.symbol, time_ns, 0, window.sequence, (), ())
        sides = [window.bids.items(), window.asks.items()]
        topic = self.book_topic(spec, window.depth)
        return self._book_text(
            topic, spec, sides, event, window.sequence, kind="snapshot"
        )

    def spell_delta(
        self,
        spec: SymbolSpec,
        window: BookWindow,
        event: DepthChanged,
        changes: tuple[list[Pair], list[Pair]],
    ) -> str:
        """Spell a delta; `u` is one more than that of the message before."""
        window.sequence += 1
        self._counts[spec.symbol, window.depth] = window.sequence
        topic = self.book_topic(spec, window.depth)
        return self._book_text(
            topic, spec, changes, event, window.sequence, kind="delta"
        )

    def malformed(self, fault: Malformed) -> str | bytes:
        """Break a delta; it is not counted among those that were sent."""
        counts = dict(self._counts)
        broken = super().malformed(fault)
        self._counts = counts
        return broken

    def grid(self, spec: SymbolSpec) -> tuple[int, int]:
        """Return the decimals of prices and amounts."""
        return decimals_of(spec.tick), decimals_of(spec.lot)

    def levels(self, spec: SymbolSpec, pairs: Iterable[Pair]) -> list[list[str]]:
        """Spell levels."""
        price, amount = self.grid(spec)
        return [[spell(p, price), "0" if not a else spell(a, amount)] for p, a in pairs]

    def _book_text(
        self,
        topic: str,
        spec: SymbolSpec,
        sides: Iterable[Iterable[Pair]],
        event: DepthChanged | QuoteChanged,
        count: int,
        *,
        kind: str,
    ) -> str:
        bids, asks = (self.levels(spec, side) for side in sides)
        seq = event.last_id if isinstance(event, DepthChanged) else event.update_id
        millis = self.millis(event.time_ns)
        data = {"s": self.native(spec), "b": bids, "a": asks, "u": count, "seq": seq}
        message = {"topic": topic, "type": kind, "ts": millis, "data": data}
        return _json({**message, "cts": millis})

    def derived(
        self, spec: SymbolSpec, event: DerivedEvent
    ) -> Iterable[tuple[str, str]]:
        """Spell candles; of perpetuals tickers and liquidations."""
        match event:
            case CandleChanged():
                name = _INTERVALS[event.interval]
                yield self._told(
                    spec,
                    f"kline.{name}",
                    "snapshot",
                    event.time_ns,
                    [self._candle(spec, event)],
                )
            case ContractTold() if self.category == "linear":
                before, _ = self._tickers.get(spec.symbol, ({}, 0))
                ticker = self._ticker(spec, event)
                self._tickers[spec.symbol] = ticker, event.time_ns
                news = {k: v for k, v in ticker.items() if before.get(k) != v}
                data = {"symbol": self.native(spec), **news}
                kind = "delta" if before else "snapshot"
                yield self._told(spec, "tickers", kind, event.time_ns, data)
            case PositionLiquidated() if self.category == "linear":
                price, amount = self.grid(spec)
                row = {
                    "T": self.millis(event.time_ns),
                    "s": self.native(spec),
                    # "Buy" says that a long position was liquidated, by a sale.
                    "S": "Sell" if event.buys else "Buy",
                    "v": spell(event.amount, amount),
                    "p": spell(event.price, price),
                }
                topic, at = "allLiquidation", event.time_ns
                yield self._told(spec, topic, "snapshot", at, [row])
            case _:
                return

    def ticker_snapshot(self, spec: SymbolSpec) -> str | None:
        """Spell the whole ticker as its subscribers know it, once there is one."""
        known = self._tickers.get(spec.symbol)
        if known is None:
            return None
        ticker, at = known
        data = {"symbol": self.native(spec), **ticker}
        return self._told(spec, "tickers", "snapshot", at, data)[1]

    def _ticker(self, spec: SymbolSpec, event: ContractTold) -> dict[str, str]:
        price, amount = self.grid(spec)
        value = event.open_interest * event.mark // UNIT
        return {
            "markPrice": spell(event.mark, price),
            "indexPrice": spell(event.index, price),
            "openInterest": spell(event.open_interest, amount),
            "openInterestValue": spell(value, 4),
            "fundingRate": spell(event.rate, 6),
            "nextFundingTime": str(event.next_funding_ns // 1_000_000),
        }

    def _candle(self, spec: SymbolSpec, event: CandleChanged) -> dict[str, Any]:
        price, amount = self.grid(spec)
        return {
            "start": event.open_ns // 1_000_000,
            "end": event.end_ns // 1_000_000 - 1,
            "interval": _INTERVALS[event.interval],
            "open": spell(event.open, price),
            "close": spell(event.close, price),
            "high": spell(event.high, price),
            "low": spell(event.low, price),
            "volume": spell(event.volume, amount),
            "turnover": "0",
            "confirm": event.closed,
            "timestamp": self.millis(event.time_ns),
        }

    def _told(
        self, spec: SymbolSpec, kind: str, form: str, time_ns: int, data: object
    ) -> tuple[str, str]:
        topic = f"{kind}.{self.native(spec)}"
        message = {"topic": topic, "type": form, "ts": self.millis(time_ns)}
        return topic, _json({**message, "data": data})

    # ---- requests

    def respond(self, request: HttpRequest, now_s: float) -> HttpReply:
        """Answer a market route."""
        del now_s
        match request.path:
            case "/v5/market/time":
                now = self.view.clock_ns()
                result = {"timeSecond": str(now // 10**9), "timeNano": str(now)}
                return self._reply(result)
            case "/v5/market/orderbook":
                return self._book_route(request.query)
            case "/v5/market/instruments-info":
                return self._reply(
                    {
                        "category": self.category,
                        "list": [self._info(spec) for spec in self.view.specs.values()],
                    }
                )
            case _:
                return not_found()

    def turn_away(self, status: int, retry_after: int | None) -> HttpReply:
        """Return the venue's code for too many visits."""
        headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
        reply = self._reply(
            {}, _RATE_LIMITED, "Too many visits. Exceeded the API limit."
        )
        return msgspec.structs.replace(reply, status=status, headers=headers)

    def shutdown_notice(self) -> None:
        """Bybit announces maintenance elsewhere."""

    def _book_route(self, query: dict[str, str]) -> HttpReply:
        spec = self.natives.get(query.get("symbol", ""))
        limit = query.get("limit", "25")
        if query.get("category") != self.category:
            return self._reply({}, _PARAMETER, "params error: Category is invalid")
        if spec is None or not limit.isdecimal():
            return self._reply({}, _PARAMETER, "params error: symbol or limit invalid")
        book = self.view.snapshot(spec.symbol, SnapshotView.LIVE)
        if book is None:
            return self._reply({}, _PARAMETER, "params error: symbol invalid")
        millis = self.millis(self.view.clock_ns() - self.view.skew_ns())
        depth = int(limit)
        return self._reply(
            {
                "s": self.native(spec),
                "b": self.levels(spec, book.bids.top(depth)),
                "a": self.levels(spec, book.asks.top(depth)),
                "ts": millis,
                "u": book.sequence,
                "seq": book.sequence,
                "cts": millis,
            }
        )

    def _info(self, spec: SymbolSpec) -> dict[str, Any]:
        price, amount = self.grid(spec)
        return {
            "symbol": self.native(spec),
            "baseCoin": spec.base,
            "quoteCoin": spec.quote,
            "status": "Trading",
            "priceFilter": {"tickSize": spell(spec.tick, price)},
            "lotSizeFilter": {"basePrecision": spell(spec.lot, amount)},
        }

    def _reply(
        self, result: dict[str, Any], code: int = 0, text: str = "OK"
    ) -> HttpReply:
        body = {
            "retCode": code,
            "retMsg": text,
            "result": result,
            "retExtInfo": {},
            "time": self.view.clock_ns() // 1_000_000,
        }
        return HttpReply(status=200, body=msgspec.json.encode(body))


class BybitSpot(_Bybit):
    """The spot server: at most ten topics in one request."""

    name = "bybit_spot"
    category = "spot"
    websocket_path = "/v5/public/spot"
    max_args = 10
    subscribed_text = "subscribe"


class BybitLinear(_Bybit):
    """The server of USDT perpetuals."""

    name = "bybit_perpetuals_usd"
    category = "linear"
    websocket_path = "/v5/public/linear"
    max_args = math.inf
    subscribed_text = ""


class _Request(msgspec.Struct):
    op: str = ""
    args: list[str] = []
    req_id: str | None = None


class _BybitSession(TopicSession):
    """One connection."""

    def __init__(self, dialect: _Bybit, limits: Limits) -> None:
        super().__init__(limits)
        self._dialect = dialect
        self._id = f"sim-{dialect.next_connection():08d}"

    def answer(self, text: str) -> list[Action]:
        """Carry out `subscribe`, `unsubscribe` and `ping`."""
        try:
            request = msgspec.json.decode(text, type=_Request)
        except msgspec.DecodeError:
            return [self._answer(_Request(), ok=False, text="Params Error")]
        match request.op:
            case "ping":
                return [self._answer(request, ok=True, text="pong")]
            case "subscribe":
                return self._subscribe(request)
            case "unsubscribe":
                for topic in request.args:
                    self.subscribed.pop(topic, None)
                return [self._answer(request, ok=True, text="")]
            case _:
                return [self._answer(request, ok=False, text="Params Error")]

    def _subscribe(self, request: _Request) -> list[Action]:
        fault = self._fault(request.args)
        if fault:
            return [self._answer(request, ok=False, text=fault)]
        self.subscribed.update(dict.fromkeys(request.args))
        text = self._dialect.subscribed_text
        answers: list[Action] = [self._answer(request, ok=True, text=text)]
        for topic in request.args:
            answers.extend(self._first(topic))
        return answers

    def _fault(self, topics: list[str]) -> str:
        """Say what is wrong with topics; one wrong topic fails the request."""
        if not topics or len(topics) > self._dialect.max_args:
            return f"args size must be 1..{self._dialect.max_args}, was {len(topics)}"
        if not self.has_room(topics):
            return "too many topics on this connection"
        for topic in topics:
            kind, _, symbol = topic.rpartition(".")
            if not self._knows(kind):
                return f"error:handler not found,topic:{topic}"
            if symbol not in self._dialect.natives:
                return f"Invalid symbol :[{topic}]"
            if topic in self.subscribed:
                return f"error:already subscribed,topic:{topic}"
        return ""

    def _knows(self, kind: str) -> bool:
        depths = ("1", *map(str, self._dialect.depths))
        played = {"publicTrade", *(f"orderbook.{depth}" for depth in depths)}
        return kind in played or kind.partition(".")[0] in _SILENT_KINDS

    def _first(self, topic: str) -> list[Action]:
        """What follows the answer: the book as its other subscribers know it."""
        kind, _, symbol = topic.rpartition(".")
        spec = self._dialect.natives[symbol]
        if kind == "orderbook.1":
            quote = self._dialect.last_quote(spec)
            if quote is None:
                return []
            return [Send(text=self._dialect.quote_snapshot(spec, quote))]
        if kind == "tickers":
            text = self._dialect.ticker_snapshot(spec)
            return [] if text is None else [Send(text=text)]
        if not kind.startswith("orderbook."):
            return []
        window = self._dialect.window(spec, int(kind.partition(".")[2]))
        if window is None:
            return []
        now = self._dialect.view.clock_ns() - self._dialect.view.skew_ns()
        return [Send(text=self._dialect.spell_book(spec, window, now))]

    def _answer(self, request: _Request, *, ok: bool, text: str) -> Send:
        answer = {"success": ok, "ret_msg": text, "conn_id": self._id}
        if request.req_id is not None:
            answer["req_id"] = request.req_id
        return Send(text=_json({**answer, "op": request.op}))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
