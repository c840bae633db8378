"""Bybit v5's private dialect: signed REST, the private stream.

Wording and shapes follow the venue's documentation (order, position, account and
private WebSocket pages, error codes). Signatures are recomputed here, with `hmac`
alone: this is the other end of the client's recipe. Spot category only, as the
engine is.
"""

import hashlib
import hmac
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
    AssetBalance,
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

__all__ = ["BybitPrivate"]

_MS = 1_000_000

_STATUS = {
    OrderState.OPEN: "New",
    OrderState.PARTIALLY_FILLED: "PartiallyFilled",
    OrderState.FILLED: "Filled",
    OrderState.CANCELLED: "Cancelled",
    OrderState.EXPIRED: "Cancelled",
}
_TIMES_IN_FORCE = {
    "GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.FOK,
    "PostOnly": TimeInForce.POST_ONLY,
}
_SPELLED = {ours: theirs for theirs, ours in _TIMES_IN_FORCE.items()}

_CODES: tuple[tuple[type[OrderError], int], ...] = (
    (InsufficientBalance, 170131),
    (DuplicateOrder, 170141),
    (InstrumentInvalid, 170121),
    (FilterFailed, 170134),
    (OrderAlreadyClosed, 170142),
    (UnknownOrder, 170213),
)

_POSTS = frozenset({"/v5/order/create", "/v5/order/cancel"})


class _RefusedError(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@final
class BybitPrivate:
    """Speaks for an engine as Bybit does."""

    name: ClassVar[str] = "bybit"
    stream_path: ClassVar[str] = "/v5/private"

    def __init__(
        self, engine: MatchingEngine, keys: Mapping[str, tuple[str, str]]
    ) -> None:
        self._engine = engine
        self._keys = dict(keys)
        self._refused: dict[tuple[str, str], dict[str, Any]] = {}

    # REST

    def changes(self, request: PrivateRequest) -> bool:
        """Say whether a request places or cancels an order."""
        return request.path in _POSTS

    def respond(self, request: PrivateRequest, now_ns: int) -> Reply:
        """Answer a request."""
        if request.path == "/v5/market/time":
            return _envelope({"timeNano": str(now_ns)}, now_ns)
        try:
            user = self._authenticate(request, now_ns)
            return _envelope(self._route(request, user, now_ns), now_ns)
        except _RefusedError as refused:
            return _envelope({}, now_ns, refused.code, str(refused))
        except OrderError as error:
            code = next((c for kind, c in _CODES if isinstance(error, kind)), 170000)
            return _envelope({}, now_ns, code, str(error))

    def turned_away(self) -> Reply:
        """Return code 10006."""
        return _envelope({}, 0, 10006, "Too many visits. Exceeded the API Rate Limit.")

    def timed_out(self) -> Reply:
        """Return code 10000."""
        return _envelope({}, 0, 10000, "Server Timeout")

    def _authenticate(self, request: PrivateRequest, now_ns: int) -> str:
        headers = request.headers
        key = headers.get("x-bapi-api-key", "")
        known = self._keys.get(key)
        if known is None:
            raise _RefusedError(10003, "API key is invalid.")
        secret, user = known
        sent, window = headers["x-bapi-timestamp"], headers["x-bapi-recv-window"]
        payload = request.body or request.query.encode()
        prehash = f"{sent}{key}{window}".encode() + payload
        expected = hmac.new(secret.encode(), prehash, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, headers.get("x-bapi-sign", "")):
            raise _RefusedError(10004, "error sign! please check your signature")
        now = now_ns // _MS
        if not now - int(window) <= int(sent) < now + 1000:
            raise _RefusedError(
                10002,
                "invalid request, please check your server timestamp or recv_window "
                f"param. req_timestamp[{sent}],server_timestamp[{now}]",
            )
        return user

    def _route(self, request: PrivateRequest, user: str, now_ns: int) -> Any:  # noqa: ANN401 - a JSON value
        match request.method, request.path:
            case "POST", "/v5/order/create":
                return self._place(user, msgspec.json.decode(request.body), now_ns)
            case "POST", "/v5/order/cancel":
                return self._cancel(user, msgspec.json.decode(request.body), now_ns)
            case "GET", "/v5/order/realtime":
                return self._orders(user, request.params)
            case "GET", "/v5/order/history":
                return _page([], request.params)
            case "GET", "/v5/execution/list":
                return self._executions(user, request.params)
            case "GET", "/v5/account/wallet-balance":
                coins = [_coin(b) for b in self._engine.balances(user)]
                return {"list": [{"accountType": "UNIFIED", "coin": coins}]}
            case _:
                raise _RefusedError(10001, f"no endpoint {request.path}")

    def _place(self, user: str, body: Mapping[str, Any], now_ns: int) -> Any:  # noqa: ANN401 - a JSON value
        instrument = self._instrument(body)
        market = body["orderType"] == "Market"
        tif = _TIMES_IN_FORCE[body.get("timeInForce", "GTC")]
        if market and tif not in {TimeInForce.IOC, TimeInForce.FOK}:
            tif = TimeInForce.IOC
        cid = ClientOrderId(body["orderLinkId"])
        request = OrderRequestOpen(
            key=OrderKey(self._engine.exchange, instrument.name_internal, cid),
            side=Side(body["side"]),
            quantity=Decimal(body["qty"]),
            kind=OrderKind.MARKET if market else OrderKind.LIMIT,
            time_in_force=tif,
            price=None if market else Decimal(body["price"]),
        )
        try:
            order = self._engine.place(user, request, now_ns)
        except PostOnlyWouldCross:
            # Heard first, refused afterwards: an order that shows as cancelled.
            order_id = f"refused-{len(self._refused)}"
            self._refused[user, cid] = self._refusal(request, order_id, now_ns)
            return {"orderId": order_id, "orderLinkId": cid}
        return {"orderId": order.id, "orderLinkId": cid}

    def _refusal(
        self, request: OrderRequestOpen, order_id: str, now_ns: int
    ) -> dict[str, Any]:
        order = msgspec.structs.replace(
            Order.sent(request),
            id=OrderId(order_id),
            state=OrderState.CANCELLED,
            time_exchange=now_ns,
        )
        record = self._order_record(order)
        record["rejectReason"] = "EC_PostOnlyWillTakeLiquidity"
        return record

    def _cancel(self, user: str, body: Mapping[str, Any], now_ns: int) -> Any:  # noqa: ANN401 - a JSON value
        order = self._find(user, body)
        request = OrderRequestCancel(order.key, order.id)
        done = self._engine.cancel(user, request, now_ns)
        return {"orderId": done.id, "orderLinkId": done.key.cid}

    def _find(self, user: str, params: Mapping[str, str]) -> Order:
        if params.get("orderId"):
            return self._engine.order(user, id=OrderId(params["orderId"]))
        return self._engine.order(user, cid=ClientOrderId(params["orderLinkId"]))

    def _orders(self, user: str, params: Mapping[str, str]) -> Any:  # noqa: ANN401 - a JSON value
        if "orderId" not in params and "orderLinkId" not in params:
            orders = self._engine.open_orders(user)
            return _page([self._order_record(o) for o in orders], params)
        refused = [
            record
            for (owner, cid), record in self._refused.items()
            if owner == user
            and (params.get("orderLinkId") in {None, cid})
            and (params.get("orderId") in {None, record["orderId"]})
        ]
        if refused:
            return _page(refused, params)
        try:
            return _page([self._order_record(self._find(user, params))], params)
        except UnknownOrder:
            return _page([], params)

    def _executions(self, user: str, params: Mapping[str, str]) -> Any:  # noqa: ANN401 - a JSON value
        start, end = int(params.get("startTime", 0)), int(params.get("endTime", 2**62))
        if end < 2**62 and end - start > 7 * 86_400_000:
            raise _RefusedError(10001, "The time range exceeds 7 days")
        name = self._instrument(params).name_internal
        found = [
            self._execution_record(t)
            for t in self._engine.trades(user)
            if t.instrument == name and start <= t.time_exchange // _MS <= end
        ]
        # Newest first, as the venue lists them.
        return _page(found[::-1], params)

    def _instrument(self, params: Mapping[str, Any]) -> Instrument:
        instrument = instrument_of(self._engine, str(params.get("symbol", "")))
        if instrument is None:
            raise _RefusedError(170121, "Invalid symbol.")
        return instrument

    def _symbol(self, name: InstrumentNameInternal) -> str:
        return self._engine.instrument(name).name_exchange

    def _order_record(self, order: Order) -> dict[str, Any]:
        zero = Decimal(0)
        return {
            "category": "spot",
            "symbol": self._symbol(order.key.instrument),
            "orderId": order.id,
            "orderLinkId": order.key.cid,
            "side": order.side.value.capitalize(),
            "orderType": order.kind.value.capitalize(),
            "timeInForce": _SPELLED[order.time_in_force],
            "orderStatus": _status(order),
            "qty": _text(order.quantity),
            "price": _text(order.price or zero),
            "cumExecQty": _text(order.filled),
            "cumExecValue": _text(order.filled_quote or zero),
            "reduceOnly": False,
            "rejectReason": "EC_NoError",
            "cancelType": "UNKNOWN",
            "createdTime": str(order.time_exchange // _MS),
            "updatedTime": str(order.time_exchange // _MS),
        }

    def _execution_record(self, trade: Trade) -> dict[str, Any]:
        return {
            "category": "spot",
            "symbol": self._symbol(trade.instrument),
            "orderId": trade.order_id,
            "orderLinkId": trade.cid or "",
            "side": trade.side.value.capitalize(),
            "execId": trade.id,
            "execPrice": _text(trade.price),
            "execQty": _text(trade.quantity),
            "execValue": _text(trade.cost),
            "execFee": _text(trade.fees.fees),
            "feeCurrency": trade.fees.asset.upper(),
            "execType": "Trade",
            "execTime": str(trade.time_exchange // _MS),
            "isMaker": trade.liquidity.value == "maker",
        }

    def forget_keys(self) -> None:
        """Do nothing: there are no listen keys."""

    # Streams

    def opened(self, session: PrivateSession) -> None:
        """Do nothing: who it is, it says by `auth`."""

    def receive(
        self, session: PrivateSession, message: bytes, now_ns: int
    ) -> list[bytes]:
        """Answer `auth`, `subscribe` and `ping`."""
        request = msgspec.json.decode(message)
        match request.get("op"):
            case "auth":
                return [self._login(session, request["args"], now_ns)]
            case "subscribe":
                return [self._subscribe(session, request["args"])]
            case "ping":
                pong = {"op": "pong", "args": [str(now_ns // _MS)], "connId": "sim"}
                return [msgspec.json.encode(pong)]
            case other:
                return [_answer(str(other), success=False, text="unknown op")]

    def _login(self, session: PrivateSession, args: list[Any], now_ns: int) -> bytes:
        key, expires, signature = args
        known = self._keys.get(key)
        if known is None:
            return _answer("auth", success=False, text="Invalid apikey", code=10003)
        secret, user = known
        prehash = f"GET/realtime{expires}".encode()
        expected = hmac.new(secret.encode(), prehash, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, signature):
            return _answer("auth", success=False, text="Invalid sign", code=10004)
        if int(expires) <= now_ns // _MS:
            return _answer("auth", success=False, text="Params expired", code=10002)
        session.user = user
        return _answer("auth", success=True)

    @staticmethod
    def _subscribe(session: PrivateSession, args: list[str]) -> bytes:
        if session.user is None:
            return _answer("subscribe", success=False, text="Request not authorized")
        session.topics.update(args)
        return _answer("subscribe", success=True)

    def spell(
        self, session: PrivateSession, events: Sequence[AccountEvent]
    ) -> list[bytes]:
        """Spell events, each in a message of its topic."""
        messages = []
        for event in events:
            match event.kind:
                case OrderSnapshot(order=order):
                    topic, record = "order", self._order_record(order)
                case TradeEvent(trade=trade):
                    topic, record = "execution", self._execution_record(trade)
                case BalanceSnapshot(balances=balances):
                    coins = [_coin(b) for b in balances]
                    topic, record = "wallet", {"coin": coins}
                case _:
                    continue
            if topic in session.topics:
                messages.append(_message(topic, record, event))
        return messages

    def farewell(self, session: PrivateSession, now_ns: int) -> list[bytes]:
        """Say nothing: Bybit just closes."""
        del session, now_ns
        return []


def _status(order: Order) -> str:
    ended = order.state in {OrderState.CANCELLED, OrderState.EXPIRED}
    if ended and order.filled:
        return "PartiallyFilledCanceled"
    return _STATUS[order.state]


def _message(topic: str, record: dict[str, Any], event: AccountEvent) -> bytes:
    moment = event.time_exchange // _MS
    head = {"topic": topic, "id": f"{topic}-{moment}", "creationTime": moment}
    return msgspec.json.encode({**head, "data": [record]})


def _coin(balance: AssetBalance) -> dict[str, str]:
    return {
        "coin": balance.asset.upper(),
        "walletBalance": _text(balance.balance.total),
        "equity": _text(balance.balance.total),
        "locked": _text(balance.balance.used),
        "totalOrderIM": "0",
        "totalPositionIM": "0",
    }


def _page(records: list[dict[str, Any]], params: Mapping[str, str]) -> dict[str, Any]:
    """Cut a page out of a list; the cursor is the number of the next record."""
    start, limit = int(params.get("cursor") or 0), int(params.get("limit", 20))
    more = str(start + limit) if len(records) > start + limit else ""
    page = records[start : start + limit]
    return {"category": "spot", "list": page, "nextPageCursor": more}


def _envelope(result: Any, now_ns: int, code: int = 0, text: str = "OK") -> Reply:  # noqa: ANN401 - a JSON value
    return json_reply(
        {
            "retCode": code,
            "retMsg": text,
            "result": result,
            "retExtInfo": {},
            "time": now_ns // _MS,
        }
    )


def _answer(op: str, *, success: bool, text: str = "", code: int = 0) -> bytes:
    if op == "auth":
        answer = {"op": op, "success": success, "retCode": code, "retMsg": text}
    else:
        answer = {"op": op, "success": success, "ret_msg": text}
    return msgspec.json.encode({**answer, "connId": "sim"})


def _text(value: Decimal) -> str:
    return format(value, "f")
