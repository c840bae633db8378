"""OKX v5: the public channels of spot and swaps, and the market routes around them.

Source: https://www.okx.com/docs-v5/en, "WebSocket", "Order Book Trading > Market Data"
and "Public Data" (read 2026-11). Pure; see `integration.testing.dialect`.

Spoken: `subscribe`, `unsubscribe`, plain `ping`; `trades`, `bbo-tbt`, `books` (400
levels: a snapshot first, then updates that name the `seqId` before them); of symbols
whose spec says perpetual `mark-price`, `funding-rate`, `open-interest` and
`liquidation-orders`, and `index-tickers` of their pairs; at `/ws/v5/business`
`candle<1m|5m|15m|1H>`; `/api/v5/public/time`, `/public/instruments`, `/market/books`. A
contract is one of the base asset here.

The venue has sent 0 as `checksum` since mid-2026. The simulator sends the true sum, as
the venue did before: a client must accept both, and only a sum that is sent can show
that a client checks it (see the fault `BadChecksum`).
"""

import math
import zlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from integration.models import InstrumentKind
from integration.testing.book import Pair
from integration.testing.dialect import (
    Action,
    HttpReply,
    HttpRequest,
    Limits,
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
from integration.testing.limits import SlidingWindow

__all__ = ["Okx"]

_BOOK: Final = "books"
_PLAYED: Final = {"trades", "bbo-tbt", _BOOK}
_CONTRACT: Final = {"mark-price", "funding-rate", "open-interest"}
_INDEX: Final = "index-tickers"
_LIQUIDATED: Final = "liquidation-orders"
_CANDLES: Final = {"1m": "candle1m", "5m": "candle5m", "15m": "candle15m"} | {
    "1h": "candle1H"
}
_BUSINESS: Final = "/ws/v5/business"
_CHECKED_DEPTH: Final = 25
# "If there are no updates ... for an extended period, 60 seconds, a message with
# prevSeqId equal to seqId is sent".
_QUIET_NS: Final = 60_000_000_000
# "The total number of subscribe, unsubscribe and login requests is limited to 480
# times per hour" on one connection.
_REQUESTS_PER_HOUR: Final = 480


class Okx(TopicDialect):
    """The exchange's side of the dialect."""

    name = "okx"
    websocket_path = "/ws/v5/public"
    depths = (400,)
    limits = Limits(
        # "Connection limit: 3 requests per second (based on IP)".
        messages_per_second=100,
        connections=3,
        connections_window_s=1.0,
        weight_per_minute=1200,
        # The client pings: 30 seconds of silence end the connection.
        ping_interval_s=math.inf,
        pong_timeout_s=math.inf,
    )

    def native(self, spec: SymbolSpec) -> str:
        """Spell a symbol: `BTC-USDT`, `BTC-USDT-SWAP`."""
        return self.pair(spec) + ("-SWAP" if _swap(spec) else "")

    def pair(self, spec: SymbolSpec) -> str:
        """Spell what an index is of: `BTC-USDT`."""
        return f"{spec.base}-{spec.quote}".upper()

    def book_topic(self, spec: SymbolSpec, depth: int) -> str:
        """Name a book."""
        del depth
        return f"{_BOOK}|{self.native(spec)}"

    def trade_topic(self, spec: SymbolSpec) -> str:
        """Name trades."""
        return f"trades|{self.native(spec)}"

    def quote_topic(self, spec: SymbolSpec) -> str:
        """Name best bid and ask, tick by tick."""
        return f"bbo-tbt|{self.native(spec)}"

    def connect(self, path: str, query: str) -> Session | HttpReply:
        """Open a session at the public path or, for candles, at the business one."""
        if path == _BUSINESS:
            return _OkxSession(self, self.view.limits, candles=True)
        return super().connect(path, query)

    def session(self) -> Session:
        """Return the venue's end of a new connection."""
        return _OkxSession(self, self.view.limits, candles=False)

    # ---- spelling

    def spell_trade(self, spec: SymbolSpec, event: TradeDone) -> str:
        """Spell a trade; `side` is the taker's."""
        price, amount = decimals_of(spec.tick), decimals_of(spec.lot)
        return self._data(
            "trades",
            spec,
            {
                "instId": self.native(spec),
                "tradeId": str(event.trade_id),
                "px": spell(event.price, price),
                "sz": spell(event.amount, amount),
                "side": "sell" if event.buyer_is_maker else "buy",
                "ts": str(self.millis(event.time_ns)),
                "count": "1",
                "source": "0",
            },
        )

    def spell_quote(
        self, spec: SymbolSpec, event: QuoteChanged, before: QuoteChanged | None
    ) -> str:
        """Spell best bid and ask, each time both."""
        del before
        return self._data(
            "bbo-tbt",
            spec,
            {
                "asks": self.levels(spec, [event.ask] if event.ask[1] else []),
                "bids": self.levels(spec, [event.bid] if event.bid[1] else []),
                "ts": str(self.millis(event.time_ns)),
                "seqId": event.update_id,
            },
        )

    def spell_book(self, spec: SymbolSpec, window: BookWindow, time_ns: int) -> str:
        """Spell a window as a snapshot."""
        sides = window.bids.items(), window.asks.items()
        return self._book(spec, window, sides, time_ns, action="snapshot", before=-1)

    def spell_delta(
        self,
        spec: SymbolSpec,
        window: BookWindow,
        event: DepthChanged,
        changes: tuple[list[Pair], list[Pair]],
    ) -> str:
        """Spell an update; `prevSeqId` is the `seqId` of the message before."""
        before, window.sequence = window.sequence, event.last_id
        return self._book(
            spec, window, changes, event.time_ns, action="update", before=before
        )

    def spell_quiet(
        self, spec: SymbolSpec, window: BookWindow, event: DepthChanged
    ) -> str | None:
        """Say once a minute that nothing changed."""
        if event.time_ns < window.changed_ns + _QUIET_NS:
            return None
        window.changed_ns = event.time_ns
        return self._book(
            spec,
            window,
            ((), ()),
            event.time_ns,
            action="update",
            before=window.sequence,
        )

    def derived(
        self, spec: SymbolSpec, event: DerivedEvent
    ) -> Iterable[tuple[str, str]]:
        """Spell candles and, of swaps, what OKX tells of contracts."""
        name, price = self.native(spec), decimals_of(spec.tick)
        amount = decimals_of(spec.lot)
        millis = str(self.millis(event.time_ns))
        match event:
            case CandleChanged():
                prices = (event.open, event.high, event.low, event.close)
                row = [
                    str(event.open_ns // 1_000_000),
                    *(spell(p, price) for p in prices),
                ]
                volume = spell(event.volume, amount)
                row += [volume, volume, "0", "1" if event.closed else "0"]
                yield self._row(_CANDLES[event.interval], "instId", name, row)
            case ContractTold() if _swap(spec):
                yield from self._contract(spec, event, millis)
            case PositionLiquidated() if _swap(spec):
                detail = {
                    "bkLoss": "0",
                    "bkPx": spell(event.price, price),
                    "ccy": "",
                    "posSide": "short" if event.buys else "long",
                    "side": "buy" if event.buys else "sell",
                    "sz": spell(event.amount, amount),
                    "ts": millis,
                }
                row_of = {"details": [detail], "instFamily": self.pair(spec)}
                row_of |= {"instId": name, "instType": "SWAP", "uly": self.pair(spec)}
                yield self._row(_LIQUIDATED, "instType", "SWAP", row_of)
            case _:
                return

    def _contract(
        self, spec: SymbolSpec, event: ContractTold, millis: str
    ) -> Iterable[tuple[str, str]]:
        name, swap = self.native(spec), {"instType": "SWAP"}
        price, amount = decimals_of(spec.tick), decimals_of(spec.lot)
        own = {**swap, "instId": name, "ts": millis}
        mark = {**own, "markPx": spell(event.mark, price)}
        yield self._row("mark-price", "instId", name, mark)
        index = {"instId": self.pair(spec), "idxPx": spell(event.index, price)}
        yield self._row(_INDEX, "instId", self.pair(spec), {**index, "ts": millis})
        interest = spell(event.open_interest, amount)
        held = {**own, "oi": interest, "oiCcy": interest}
        yield self._row("open-interest", "instId", name, held)
        due = event.next_funding_ns // 1_000_000
        rate = {"fundingRate": spell(event.rate, 8), "fundingTime": str(due)}
        yield self._row("funding-rate", "instId", name, {**own, **rate})

    def _row(self, channel: str, key: str, market: str, row: object) -> tuple[str, str]:
        arg = {"channel": channel, key: market}
        return f"{channel}|{market}", _json({"arg": arg, "data": [row]})

    def levels(self, spec: SymbolSpec, pairs: Iterable[Pair]) -> list[list[str]]:
        """Spell levels: price, size, a retired field, number of orders."""
        price, amount = decimals_of(spec.tick), decimals_of(spec.lot)
        return [
            [spell(p, price), spell(a, amount) if a else "0", "0", "1" if a else "0"]
            for p, a in pairs
        ]

    def checksum(self, spec: SymbolSpec, window: BookWindow) -> int:
        """Return the signed CRC-32 of the best 25 levels, bid and ask in turn."""
        sides = [
            [":".join(level[:2]) for level in self.levels(spec, side)]
            for side in (
                list(window.bids.items())[:_CHECKED_DEPTH],
                list(window.asks.items())[:_CHECKED_DEPTH],
            )
        ]
        parts: list[str] = []
        for row in range(_CHECKED_DEPTH):
            parts.extend(side[row] for side in sides if row < len(side))
        crc = zlib.crc32(":".join(parts).encode("ascii"))
        return crc - 2**32 if crc >= 2**31 else crc

    def _book(
        self,
        spec: SymbolSpec,
        window: BookWindow,
        sides: tuple[Iterable[Pair], Iterable[Pair]],
        time_ns: int,
        *,
        action: str,
        before: int,
    ) -> str:
        bids, asks = (self.levels(spec, side) for side in sides)
        data = {
            "asks": asks,
            "bids": bids,
            "ts": str(self.millis(time_ns)),
            "checksum": self.checksum(spec, window),
            "prevSeqId": before,
            "seqId": window.sequence,
        }
        return self._data(_BOOK, spec, data, action=action)

    def _data(
        self, channel: str, spec: SymbolSpec, row: dict[str, Any], **extra: str
    ) -> str:
        arg = {"channel": channel, "instId": self.native(spec)}
        return _json({"arg": arg, **extra, "data": [row]})

    # ---- requests

    def respond(self, request: HttpRequest, now_s: float) -> HttpReply:
        """Answer a public route."""
        del now_s
        match request.path:
            case "/api/v5/public/time":
                return _reply([{"ts": str(self.view.clock_ns() // 1_000_000)}])
            case "/api/v5/public/instruments":
                return _reply([self._info(spec) for spec in self.view.specs.values()])
            case "/api/v5/market/books":
                return self._book_route(request.query)
            case _:
                return not_found()

    def turn_away(self, status: int, retry_after: int | None) -> HttpReply:
        """Return the venue's code for too many requests."""
        headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
        reply = _reply([], "50011", "Too Many Requests")
        return msgspec.structs.replace(reply, status=status, headers=headers)

    def shutdown_notice(self) -> str:
        """Return notice 64008, which comes a minute before the connection closes."""
        return _json(
            {
                "event": "notice",
                "code": "64008",
                "msg": "The connection will soon be closed for a service upgrade. "
                "Please reconnect.",
                "connId": "sim",
            }
        )

    def _book_route(self, query: dict[str, str]) -> HttpReply:
        name, size = query.get("instId", ""), query.get("sz", "1")
        spec = self.natives.get(name)
        book = None
        if spec is not None:
            book = self.view.snapshot(spec.symbol, SnapshotView.LIVE)
        if spec is None or book is None:
            return _reply([], "51001", f"Instrument ID {name} doesn't exist.")
        if not size.isdecimal():
            return _reply([], "51000", "Parameter sz error")
        row = {
            "asks": self.levels(spec, book.asks.top(int(size))),
            "bids": self.levels(spec, book.bids.top(int(size))),
            "ts": str(self.view.clock_ns() // 1_000_000),
            "seqId": book.sequence,
        }
        return _reply([row])

    def _info(self, spec: SymbolSpec) -> dict[str, str]:
        if _swap(spec):
            return {
                "instType": "SWAP",
                "instId": self.native(spec),
                "instFamily": self.pair(spec),
                "settleCcy": spec.quote,
                "ctVal": "1",
                "ctMult": "1",
                "ctValCcy": spec.base,
                "ctType": "linear",
                "tickSz": spell(spec.tick, decimals_of(spec.tick)),
                "lotSz": spell(spec.lot, decimals_of(spec.lot)),
                "state": "live",
            }
        return {
            "instType": "SPOT",
            "instId": self.native(spec),
            "baseCcy": spec.base,
            "quoteCcy": spec.quote,
            "tickSz": spell(spec.tick, decimals_of(spec.tick)),
            "lotSz": spell(spec.lot, decimals_of(spec.lot)),
            "state": "live",
        }


def _swap(spec: SymbolSpec) -> bool:
    return spec.kind is InstrumentKind.PERPETUAL


def _reply(data: list[Any], code: str = "0", text: str = "") -> HttpReply:
    body = msgspec.json.encode({"code": code, "msg": text, "data": data})
    return HttpReply(status=200, body=body)


class _Arg(msgspec.Struct):
    channel: str
    instId: str = ""  # noqa: N815  the wire's name
    instType: str = ""  # noqa: N815  the wire's name


class _Request(msgspec.Struct):
    op: str
    args: list[_Arg]


class _OkxSession(TopicSession):
    """One connection."""

    def __init__(self, dialect: Okx, limits: Limits, *, candles: bool) -> None:
        super().__init__(limits)
        self._dialect = dialect
        self._candles = candles
        self._id = f"sim{dialect.next_connection():05d}"
        self._hour = SlidingWindow(_REQUESTS_PER_HOUR, 3600.0)

    def answer(self, text: str) -> list[Action]:
        """Carry out `subscribe`, `unsubscribe` and `ping`."""
        if text == "ping":
            return [Send(text="pong")]
        try:
            request = msgspec.json.decode(text, type=_Request)
        except msgspec.DecodeError:
            return [self._error("60012", f"Invalid request: {text}")]
        if request.op not in {"subscribe", "unsubscribe"} or not request.args:
            return [self._error("60012", f"Invalid request: {text}")]
        if not self._hour.hit(self._now_s):
            return [self._error("60014", "Requests too frequent")]
        answers: list[Action] = []
        for arg in request.args:
            answers.extend(self._one(request.op, arg))
        return answers

    def _one(self, op: str, arg: _Arg) -> list[Action]:
        spec = self._dialect.natives.get(arg.instId)
        if not self._played(arg, spec):
            text = f"channel:{arg.channel},instId:{arg.instId} doesn't exist."
            return [self._error("60018", f"Wrong URL or {text}")]
        topic = f"{arg.channel}|{arg.instId or arg.instType}"
        if op == "unsubscribe":
            self.subscribed.pop(topic, None)
            return [self._event(op, arg)]
        if not self.has_room([topic]):
            return [self._error("60012", "Invalid request: too many channels")]
        self.subscribed[topic] = None
        first = [] if spec is None else self._first(arg, spec)
        return [self._event(op, arg), *first]

    def _played(self, arg: _Arg, spec: SymbolSpec | None) -> bool:
        """Whether this path has the channel for what is asked for."""
        if self._candles:
            return spec is not None and arg.channel in _CANDLES.values()
        specs = self._dialect.natives.values()
        match arg.channel:
            case "liquidation-orders":
                return arg.instType == "SWAP"
            case "index-tickers":
                return any(arg.instId == self._dialect.pair(each) for each in specs)
            case channel if channel in _CONTRACT:
                return spec is not None and _swap(spec)
            case channel:
                return spec is not None and channel in _PLAYED

    def _first(self, arg: _Arg, spec: SymbolSpec) -> list[Action]:
        """What follows the answer: the state as the channel's subscribers know it."""
        dialect = self._dialect
        if arg.channel == "bbo-tbt":
            quote = dialect.last_quote(spec)
            if quote is not None:
                return [Send(text=dialect.spell_quote(spec, quote, None))]
        if arg.channel == _BOOK:
            window = dialect.window(spec, dialect.depths[0])
            if window is not None:
                now = dialect.view.clock_ns() - dialect.view.skew_ns()
                return [Send(text=dialect.spell_book(spec, window, now))]
        return []

    def _event(self, op: str, arg: _Arg) -> Send:
        key = "instId" if arg.instId else "instType"
        named = {"channel": arg.channel, key: arg.instId or arg.instType}
        answer = {"event": op, "arg": named, "connId": self._id}
        return Send(text=_json(answer))

    def _error(self, code: str, text: str) -> Send:
        answer = {"event": "error", "code": code, "msg": text, "connId": self._id}
        return Send(text=_json(answer))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
