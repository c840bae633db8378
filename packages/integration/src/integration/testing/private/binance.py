"""Binance spot's private dialect: signed REST, listen keys, the user data stream.

Wording and shapes follow the venue's documentation (REST: trading and account
endpoints, errors; user data stream; WebSocket API). Signatures are recomputed here,
with `hmac` alone: this is the other end of the client's recipe.
"""

import hashlib
import hmac
import itertools
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, final

import msgspec

from integration.execution.errors import (
    DuplicateOrder,
    FilterFailed,
    InstrumentInvalid,
    InsufficientBalance,
    OrderAlreadyClosed,
    OrderError,
    PostOnlyWouldCross,
    UnknownOrder,
)
from integration.execution.matching import MatchingEngine
from integration.execution.models import (
    AccountEvent,
    BalanceChange,
    BalanceSnapshot,
    ClientOrderId,
    Order,
    OrderId,
    OrderKey,
    OrderKind,
    OrderRequestCancel,
    OrderRequestOpen,
    OrderSnapshot,
    TimeInForce,
    Trade,
    TradeEvent,
)
from integration.execution.states import OrderState
from integration.models import Instrument, InstrumentNameInternal, Side
from integration.testing.private.dialect import (
    PrivateRequest,
    PrivateSession,
    Reply,
    instrument_of,
    json_reply,
)

__all__ = ["BinancePrivate"]

_MS = 1_000_000
_STREAM = "/api/v3/userDataStream"

_STATUS = {
    OrderState.OPEN: "NEW",
    OrderState.PARTIALLY_FILLED: "PARTIALLY_FILLED",
    OrderState.FILLED: "FILLED",
    OrderState.CANCELLED: "CANCELED",
    OrderState.EXPIRED: "EXPIRED",
}

_WORDS: tuple[tuple[type[OrderError], int, str], ...] = (
    (
        InsufficientBalance,
        -2010,
        "Account has insufficient balance for requested action.",
    ),
    (PostOnlyWouldCross, -2010, "Order would immediately match and take."),
    (DuplicateOrder, -2010, "Duplicate order sent."),
    (InstrumentInvalid, -1121, "Invalid symbol."),
    (FilterFailed, -1013, "Filter failure: "),
    (OrderAlreadyClosed, -2011, "Unknown order sent."),
    (UnknownOrder, -2011, "Unknown order sent."),
)


class _RefusedError(Exception):
    def __init__(self, code: int, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.code = code
        self.status = status


@final
class BinancePrivate:
    """Speaks for an engine as Binance spot does."""

    name: ClassVar[str] = "binance_spot"
    stream_path: ClassVar[str] = "/ws-api/v3"

    def __init__(
        self, engine: MatchingEngine, keys: Mapping[str, tuple[str, str]]
    ) -> None:
        self._engine = engine
        self._keys = dict(keys)
        self._listen_keys: dict[str, str] = {}
        self._numbers = itertools.count(1)

    # REST

    def changes(self, request: PrivateRequest) -> bool:
        """Say whether a request places or cancels an order."""
        return request.path == "/api/v3/order" and request.method != "GET"

    def respond(self, request: PrivateRequest, now_ns: int) -> Reply:
        """Answer a request."""
        try:
            if request.path == "/api/v3/time":
                return json_reply({"serverTime": now_ns // _MS})
            if request.path == _STREAM:
                return self._listen(request)
            user = self._authenticate(request, now_ns)
            return json_reply(self._route(request, user, now_ns))
        except _RefusedError as refused:
            return _fault(refused.code, str(refused), refused.status)
        except OrderError as error:
            return _order_fault(error, query=request.method == "GET")

    def turned_away(self) -> Reply:
        """Return 429 with code -1003."""
        reply = _fault(-1003, "Too much request weight used.", 429)
        return Reply(reply.status, reply.body, (("Retry-After", "0"),))

    def timed_out(self) -> Reply:
        """Return code -1007."""
        return _fault(
            -1007,
            "Timeout waiting for response from backend server. Send status unknown; "
            "execution status unknown.",
            408,
        )

    def _authenticate(self, request: PrivateRequest, now_ns: int) -> str:
        """Check key, signature and time; the signature is the last parameter."""
        secret, user = self._known(request)
        signed, _, signature = request.query.rpartition("&signature=")
        payload = signed.encode() + request.body
        expected = hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, signature):
            raise _RefusedError(-1022, "Signature for this request is not valid.")
        self._check_time(request.params, now_ns)
        return user

    def _known(self, request: PrivateRequest) -> tuple[str, str]:
        known = self._keys.get(request.headers.get("x-mbx-apikey", ""))
        if known is None:
            raise _RefusedError(
                -2015, "Invalid API-key, IP, or permissions for action.", 401
            )
        return known

    @staticmethod
    def _check_time(params: Mapping[str, Any], now_ns: int) -> None:
        sent = int(params.get("timestamp", 0))
        window = int(params.get("recvWindow", 5000))
        now = now_ns // _MS
        if sent >= now + 1000:
            raise _RefusedError(
                -1021,
                "Timestamp for this request was 1000ms ahead of the server's time.",
            )
        if now - sent > window:
            raise _RefusedError(
                -1021, "Timestamp for this request is outside of the recvWindow."
            )

    def _route(self, request: PrivateRequest, user: str, now_ns: int) -> Any:  # noqa: ANN401 - a JSON value
        params = request.params
        match request.method, request.path:
            case "POST", "/api/v3/order":
                return self._place(user, params, now_ns)
            case "DELETE", "/api/v3/order":
                return self._cancel(user, params, now_ns)
            case "GET", "/api/v3/order":
                return self._order_record(self._find(user, params))
            case "GET", "/api/v3/openOrders":
                orders = self._engine.open_orders(user)
                records = [self._order_record(order) for order in orders]
                wanted = params.get("symbol")
                return [r for r in records if wanted in {None, r["symbol"]}]
            case "GET", "/api/v3/account":
                return self._account(user, now_ns)
            case "GET", "/api/v3/myTrades":
                return self._trades(user, params)
            case _:
                raise _RefusedError(-1000, f"no endpoint {request.path}", 404)

    def _place(self, user: str, params: Mapping[str, str], now_ns: int) -> Any:  # noqa: ANN401 - a JSON value
        instrument = self._instrument(params)
        kind = params["type"]
        tif = TimeInForce(params.get("timeInForce", "IOC").lower())
        if kind == "LIMIT_MAKER":
            tif = TimeInForce.POST_ONLY
        request = OrderRequestOpen(
            key=self._key(instrument, params.get("newClientOrderId", "")),
            side=Side(params["side"]),
            quantity=Decimal(params["quantity"]),
            kind=OrderKind.MARKET if kind == "MARKET" else OrderKind.LIMIT,
            time_in_force=tif,
            price=Decimal(params["price"]) if "price" in params else None,
        )
        order = self._engine.place(user, request, now_ns)
        return {**self._order_record(order), "transactTime": now_ns // _MS}

    def _cancel(self, user: str, params: Mapping[str, str], now_ns: int) -> Any:  # noqa: ANN401 - a JSON value
        order = self._find(user, params)
        request = OrderRequestCancel(order.key, order.id)
        record = self._order_record(self._engine.cancel(user, request, now_ns))
        # The cancellation gets a name of its own; the order's moves aside.
        named = {"origClientOrderId": order.key.cid, "clientOrderId": "cancel-1"}
        return {**record, **named, "transactTime": now_ns // _MS}

    def _find(self, user: str, params: Mapping[str, str]) -> Order:
        self._instrument(params)
        if "orderId" in params:
            return self._engine.order(user, id=OrderId(params["orderId"]))
        cid = ClientOrderId(params.get("origClientOrderId", ""))
        return self._engine.order(user, cid=cid)

    def _account(self, user: str, now_ns: int) -> Any:  # noqa: ANN401 - a JSON value
        balances = [
            {
                "asset": b.asset.upper(),
                "free": _text(b.balance.free),
                "locked": _text(b.balance.used),
            }
            for b in self._engine.balances(user)
            if b.balance.total
        ]
        return {
            "makerCommission": 10,
            "canTrade": True,
            "updateTime": now_ns // _MS,
            "accountType": "SPOT",
            "balances": balances,
        }

    def _trades(self, user: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
        instrument = self._instrument(params)
        found = [
            t
            for t in self._engine.trades(user)
            if t.instrument == instrument.name_internal
        ]
        limit = int(params.get("limit", 500))
        if "fromId" in params:
            found = [t for t in found if int(t.id) >= int(params["fromId"])]
            return [self._trade_record(t) for t in found[:limit]]
        start, end = int(params.get("startTime", 0)), int(params.get("endTime", 2**62))
        if start and end < 2**62 and end - start > 86_400_000:
            raise _RefusedError(
                -1127, "More than 24 hours between startTime and endTime."
            )
        found = [t for t in found if start <= t.time_exchange // _MS <= end]
        return [self._trade_record(t) for t in found[:limit]]

    def _instrument(self, params: Mapping[str, str]) -> Instrument:
        instrument = instrument_of(self._engine, params.get("symbol", ""))
        if instrument is None:
            raise _RefusedError(-1121, "Invalid symbol.")
        return instrument

    def _key(self, instrument: Instrument, cid: str) -> OrderKey:
        name = ClientOrderId(cid or f"auto-{next(self._numbers)}")
        return OrderKey(self._engine.exchange, instrument.name_internal, name)

    def _symbol(self, name: InstrumentNameInternal) -> str:
        return self._engine.instrument(name).name_exchange

    def _order_record(self, order: Order) -> dict[str, Any]:
        return {
            "symbol": self._symbol(order.key.instrument),
            "orderId": int(order.id or 0),
            "orderListId": -1,
            "clientOrderId": order.key.cid,
            "price": _text(order.price or Decimal(0)),
            "origQty": _text(order.quantity),
            "executedQty": _text(order.filled),
            "cummulativeQuoteQty": _text(order.filled_quote or Decimal(0)),
            "status": _STATUS[order.state],
            **_kind(order),
            "side": order.side.value.upper(),
            "updateTime": order.time_exchange // _MS,
        }

    def _trade_record(self, trade: Trade) -> dict[str, Any]:
        return {
            "symbol": self._symbol(trade.instrument),
            "id": int(trade.id),
            "orderId": int(trade.order_id),
            "orderListId": -1,
            "price": _text(trade.price),
            "qty": _text(trade.quantity),
            "quoteQty": _text(trade.cost),
            "commission": _text(trade.fees.fees),
            "commissionAsset": trade.fees.asset.upper(),
            "time": trade.time_exchange // _MS,
            "isBuyer": trade.side is Side.BUY,
            "isMaker": trade.liquidity.value == "maker",
            "isBestMatch": True,
        }

    def _listen(self, request: PrivateRequest) -> Reply:
        _, user = self._known(request)
        if request.method == "POST":
            key = f"listen{next(self._numbers):08d}{user}"
            self._listen_keys[key] = user
            return json_reply({"listenKey": key})
        if self._listen_keys.get(request.params.get("listenKey", "")) != user:
            return _fault(-1125, "This listenKey does not exist.", 400)
        if request.method == "DELETE":
            del self._listen_keys[request.params["listenKey"]]
        return json_reply({})

    def forget_keys(self) -> None:
        """Forget every listen key."""
        self._listen_keys.clear()

    # Streams

    def opened(self, session: PrivateSession) -> None:
        """A listen key in the path says whose stream it is."""
        key = session.path.removeprefix("/ws/")
        session.user = self._listen_keys.get(key)

    def receive(
        self, session: PrivateSession, message: bytes, now_ns: int
    ) -> list[bytes]:
        """Answer a request of the WebSocket API."""
        request = msgspec.json.decode(message)
        try:
            user = self._subscribe(request.get("params") or {}, now_ns)
        except _RefusedError as refused:
            fault = {"code": refused.code, "msg": str(refused)}
            answer = {"id": request["id"], "status": refused.status, "error": fault}
            return [msgspec.json.encode(answer)]
        session.user = user
        session.topics.add("wrapped")
        result = {"id": request["id"], "status": 200, "result": {"subscriptionId": 0}}
        return [msgspec.json.encode(result)]

    def _subscribe(self, params: Mapping[str, Any], now_ns: int) -> str:
        known = self._keys.get(str(params.get("apiKey")))
        if known is None:
            raise _RefusedError(
                -2015, "Invalid API-key, IP, or permissions for action."
            )
        secret, user = known
        signed = sorted((k, v) for k, v in params.items() if k != "signature")
        payload = "&".join(f"{k}={v}" for k, v in signed).encode()
        expected = hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, str(params.get("signature"))):
            raise _RefusedError(-1022, "Signature for this request is not valid.")
        self._check_time(params, now_ns)
        return user

    def spell(
        self, session: PrivateSession, events: Sequence[AccountEvent]
    ) -> list[bytes]:
        """Spell events; an order and the fill that changed it are one report."""
        records: list[dict[str, Any]] = []
        for event, following in itertools.zip_longest(events, events[1:]):
            kind = event.kind
            if isinstance(kind, OrderSnapshot):
                after = None if following is None else following.kind
                fill = after.trade if isinstance(after, TradeEvent) else None
                records.append(self._report(kind.order, fill, event))
            elif isinstance(kind, BalanceSnapshot):
                records.append(_position(kind, event))
            elif isinstance(kind, BalanceChange):
                records.append(_change(kind, event))
        return [_wrapped(session, record) for record in records]

    def _report(
        self, order: Order, fill: Trade | None, event: AccountEvent
    ) -> dict[str, Any]:
        status = _STATUS[order.state]
        kind = _kind(order)
        zero = Decimal(0)
        cancelled = order.state is OrderState.CANCELLED
        return {
            "e": "executionReport",
            "E": event.time_exchange // _MS,
            "s": self._symbol(order.key.instrument),
            "c": "cancel-1" if cancelled else order.key.cid,
            "S": order.side.value.upper(),
            "o": kind["type"],
            "f": kind["timeInForce"],
            "q": _text(order.quantity),
            "p": _text(order.price or zero),
            "P": "0.00000000",
            "C": order.key.cid if cancelled else "",
            "x": status if fill is None else "TRADE",
            "X": status,
            "r": "NONE",
            "i": int(order.id or 0),
            "l": _text(zero if fill is None else fill.quantity),
            "z": _text(order.filled),
            "L": _text(zero if fill is None else fill.price),
            "n": _text(zero if fill is None else fill.fees.fees),
            "N": None if fill is None else fill.fees.asset.upper(),
            "T": order.time_exchange // _MS,
            "t": -1 if fill is None else int(fill.id),
            "m": fill is not None and fill.liquidity.value == "maker",
            "Z": _text(order.filled_quote or zero),
        }

    def farewell(self, session: PrivateSession, now_ns: int) -> list[bytes]:
        """Say that the stream is over."""
        if session.topics:
            ended = {"e": "eventStreamTerminated", "E": now_ns // _MS}
        else:
            key = session.path.removeprefix("/ws/")
            ended = {"e": "listenKeyExpired", "E": now_ns // _MS, "listenKey": key}
        return [_wrapped(session, ended)]


def _wrapped(session: PrivateSession, record: dict[str, Any]) -> bytes:
    if session.topics:
        return msgspec.json.encode({"subscriptionId": 0, "event": record})
    return msgspec.json.encode(record)


def _position(kind: BalanceSnapshot, event: AccountEvent) -> dict[str, Any]:
    balances = [
        {
            "a": b.asset.upper(),
            "f": _text(b.balance.free),
            "l": _text(b.balance.used),
        }
        for b in kind.balances
    ]
    moment = event.time_exchange // _MS
    return {"e": "outboundAccountPosition", "E": moment, "u": moment, "B": balances}


def _change(kind: BalanceChange, event: AccountEvent) -> dict[str, Any]:
    moment = event.time_exchange // _MS
    return {
        "e": "balanceUpdate",
        "E": moment,
        "a": kind.asset.upper(),
        "d": _text(kind.delta),
        "T": moment,
    }


def _kind(order: Order) -> dict[str, str]:
    if order.time_in_force is TimeInForce.POST_ONLY:
        return {"type": "LIMIT_MAKER", "timeInForce": "GTC"}
    if order.kind is OrderKind.MARKET:
        return {"type": "MARKET", "timeInForce": "GTC"}
    return {"type": "LIMIT", "timeInForce": order.time_in_force.value.upper()}


def _text(value: Decimal) -> str:
    return format(value, "f")


def _fault(code: int, text: str, status: int) -> Reply:
    return json_reply({"code": code, "msg": text}, status)


def _order_fault(error: OrderError, *, query: bool) -> Reply:
    if query and isinstance(error, UnknownOrder):
        return _fault(-2013, "Order does not exist.", 400)
    for kind, code, text in _WORDS:
        if isinstance(error, kind):
            more = str(error.code).upper() if isinstance(error, FilterFailed) else ""
            return _fault(code, text + more, 400)
    return _fault(-2010, str(error), 400)
