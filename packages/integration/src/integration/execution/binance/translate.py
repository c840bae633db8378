"""Binance's words for orders, fills and balances, in ours and back. Pure."""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from integration.errors import Deserialise, IntegrationError, Terminated, Unsupported
from integration.execution.binance.messages import (
    AccountAnswer,
    BalanceUpdate,
    ExecutionReport,
    ExternalLockUpdate,
    OrderAnswer,
    OutboundAccountPosition,
    StreamMessage,
    TradeAnswer,
)
from integration.execution.errors import InvalidOrder, OrderRule
from integration.execution.exact import EXACT
from integration.execution.instrument_map import InstrumentMap
from integration.execution.models import (
    AccountEvent,
    AccountEventKind,
    AssetBalance,
    AssetFees,
    Balance,
    BalanceChange,
    BalanceSnapshot,
    ClientOrderId,
    Liquidity,
    Order,
    OrderId,
    OrderKey,
    OrderKind,
    OrderRequestOpen,
    OrderSnapshot,
    TimeInForce,
    Trade,
    TradeEvent,
    TradeId,
)
from integration.execution.states import OrderState
from integration.models import (
    AssetNameInternal,
    Side,
    asset_name_internal,
)
from netcore.models import Timestamp

__all__ = [
    "BinanceTranslator",
    "check",
    "order_params",
]

_MS = 1_000_000

_STATES = {
    "NEW": OrderState.OPEN,
    "PENDING_NEW": OrderState.OPEN,
    "PARTIALLY_FILLED": OrderState.PARTIALLY_FILLED,
    "PENDING_CANCEL": OrderState.OPEN,
    "FILLED": OrderState.FILLED,
    "CANCELED": OrderState.CANCELLED,
    "REJECTED": OrderState.REJECTED,
    "EXPIRED": OrderState.EXPIRED,
    "EXPIRED_IN_MATCH": OrderState.EXPIRED,
}

_TIMES_IN_FORCE = {
    "GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.FOK,
}

_ID_LENGTH = 36
"""Longest `newClientOrderId`; its letters are `^[a-zA-Z0-9-_]{1,36}$`."""


def check(request: OrderRequestOpen) -> None:
    """Refuse what Binance spot has no order for.

    Raises:
        InvalidOrder: Reduce-only, a market order that is fill-or-kill, or a name that
            Binance does not take.
    """
    if request.reduce_only:
        raise InvalidOrder(OrderRule.UNSUPPORTED, "reduce_only", "spot orders")
    market = request.kind is OrderKind.MARKET
    if market and request.time_in_force is TimeInForce.FOK:
        raise InvalidOrder(OrderRule.UNSUPPORTED, "market fok", "market ioc, limit fok")
    cid = request.key.cid
    plain = cid.replace("-", "").replace("_", "")
    if not (plain.isalnum() and plain.isascii() and len(cid) <= _ID_LENGTH):
        limit = "36 letters, digits, hyphens and underscores"
        raise InvalidOrder(OrderRule.CLIENT_ORDER_ID, cid, limit)


def order_params(request: OrderRequestOpen, symbol: str) -> dict[str, object]:
    """Return the parameters of `POST /api/v3/order`."""
    kind = "MARKET" if request.kind is OrderKind.MARKET else "LIMIT"
    timed = kind == "LIMIT"
    if request.time_in_force is TimeInForce.POST_ONLY:
        kind, timed = "LIMIT_MAKER", False
    return {
        "symbol": symbol,
        "side": request.side.value.upper(),
        "type": kind,
        "timeInForce": request.time_in_force.value.upper() if timed else None,
        "quantity": request.quantity,
        "price": request.price,
        "newClientOrderId": request.key.cid,
        "newOrderRespType": "RESULT",
    }


class BinanceTranslator:
    """Turns Binance's records into ours; also a transformer of the stream.

    Args:
        instruments: What is traded.
    """

    def __init__(self, instruments: InstrumentMap) -> None:
        self._instruments = instruments

    # The stream

    def transform(
        self, message: StreamMessage, time_received: Timestamp
    ) -> Iterable[AccountEvent | IntegrationError]:
        """Return what one message says."""
        match message:
            case None:
                return ()
            case ExecutionReport():
                return self._reported(message, time_received)
            case OutboundAccountPosition():
                balances = tuple(
                    _balance(b.a, b.f, b.l, message.u * _MS) for b in message.B
                )
                kind = BalanceSnapshot(balances)
                return (self._event(kind, message.u, time_received),)
            case BalanceUpdate():
                change = BalanceChange(asset_name_internal(message.a), message.d)
                return (self._event(change, message.T, time_received),)
            case ExternalLockUpdate():
                # By how much, but of which balance: the account has to be asked.
                text = "a balance was locked from outside by an unknown total"
                return (Deserialise(text, repr(message)),)
            case _:
                return (Terminated(1001, f"the venue said {type(message).__name__}"),)

    def _event(
        self, kind: AccountEventKind, ms: int, received: Timestamp
    ) -> AccountEvent:
        return AccountEvent(self._instruments.exchange, ms * _MS, kind, received)

    def _reported(
        self, report: ExecutionReport, received: Timestamp
    ) -> Iterable[AccountEvent | IntegrationError]:
        try:
            return self._report(report, received)
        except (IntegrationError, ValueError) as error:
            # Something new of the venue's: one message in doubt, not the stream.
            fault = Deserialise(str(error), repr(report))
            fault.__cause__ = error
            return (fault,)

    def _report(self, report: ExecutionReport, received: int) -> list[AccountEvent]:
        # On a cancellation `c` names the request and `C`, if filled, the order.
        cid = report.C or report.c
        order = Order(
            key=self._key(report.s, cid),
            side=Side(report.S),
            kind=_kind(report.o),
            time_in_force=_time_in_force(report.o, report.f),
            quantity=report.q,
            state=_state(report.X),
            price=report.p or None,
            filled=report.z,
            filled_quote=_known(report.Z),
            id=OrderId(str(report.i)),
            time_exchange=report.T * _MS,
            reason="" if report.r == "NONE" else report.r,
        )
        events = [self._event(OrderSnapshot(order), report.T, received)]
        if report.x == "TRADE":
            trade = self._fill(report, order)
            events.append(self._event(TradeEvent(trade), report.T, received))
        return events

    def _fill(self, report: ExecutionReport, order: Order) -> Trade:
        asset = report.N or self._received(report.s, order.side)
        return Trade(
            id=TradeId(str(report.t)),
            order_id=OrderId(str(report.i)),
            instrument=order.key.instrument,
            side=order.side,
            price=report.L,
            quantity=report.l,
            fees=AssetFees(asset_name_internal(asset), report.n or Decimal(0)),
            time_exchange=report.T * _MS,
            liquidity=Liquidity.MAKER if report.m else Liquidity.TAKER,
            cid=order.key.cid,
        )

    def _received(self, symbol: str, side: Side) -> AssetNameInternal:
        """Return what a fill brings: the asset of a fee that is zero."""
        known = self._instruments.of_symbol(symbol)
        if known is None:
            return asset_name_internal("")
        pair = known.underlying
        return pair.base if side is Side.BUY else pair.quote

    # Answers

    def order(self, answer: OrderAnswer) -> Order:
        """Return an order from an answer.

        Raises:
            Unsupported: A state or kind that is not known here.
        """
        moment = answer.transact_time or answer.update_time or answer.time
        return Order(
            key=self._key(
                answer.symbol, answer.orig_client_order_id or answer.client_order_id
            ),
            side=Side(answer.side),
            kind=_kind(answer.type),
            time_in_force=_time_in_force(answer.type, answer.time_in_force),
            quantity=answer.orig_qty,
            state=_state(answer.status),
            price=answer.price or None,
            filled=answer.executed_qty,
            filled_quote=_known(answer.cummulative_quote_qty),
            id=OrderId(str(answer.order_id)),
            time_exchange=moment * _MS,
        )

    def trade(self, answer: TradeAnswer) -> Trade:
        """Return a fill from an answer."""
        fee_asset = asset_name_internal(answer.commission_asset)
        return Trade(
            id=TradeId(str(answer.id)),
            order_id=OrderId(str(answer.order_id)),
            instrument=self._instruments.name(answer.symbol),
            side=Side.BUY if answer.is_buyer else Side.SELL,
            price=answer.price,
            quantity=answer.qty,
            fees=AssetFees(fee_asset, answer.commission),
            time_exchange=answer.time * _MS,
            liquidity=Liquidity.MAKER if answer.is_maker else Liquidity.TAKER,
        )

    @staticmethod
    def balances(answer: AccountAnswer) -> list[AssetBalance]:
        """Return the balances that are not zero."""
        return [
            _balance(b.asset, b.free, b.locked, answer.update_time * _MS)
            for b in answer.balances
            if b.free or b.locked
        ]

    def _key(self, symbol: str, cid: str) -> OrderKey:
        name = self._instruments.name(symbol)
        return OrderKey(self._instruments.exchange, name, ClientOrderId(cid))


def _balance(
    asset: str, free: Decimal, locked: Decimal, time: Timestamp
) -> AssetBalance:
    total = EXACT.add(free, locked)
    return AssetBalance(asset_name_internal(asset), Balance(total, free), time)


def _state(status: str) -> OrderState:
    state = _STATES.get(status)
    if state is None:
        raise Unsupported("the Binance client", f"the order status {status!r}")
    return state


def _kind(kind: str) -> OrderKind:
    """Orders that wait for a trigger are of the kind that they become."""
    limited = "LIMIT" in kind
    if not limited and kind not in {"MARKET", "STOP_LOSS", "TAKE_PROFIT"}:
        raise msgspec.ValidationError(f"no order type is called {kind!r}")
    return OrderKind.LIMIT if limited else OrderKind.MARKET


def _time_in_force(kind: str, text: str) -> TimeInForce:
    if kind == "LIMIT_MAKER":
        return TimeInForce.POST_ONLY
    if _kind(kind) is OrderKind.MARKET:
        return TimeInForce.IOC  # said to be GTC, which it is not
    return _TIMES_IN_FORCE.get(text, TimeInForce.GTC)


def _known(value: Decimal) -> Decimal | None:
    """The venue says -1 where it does not know (orders before 2017-12)."""
    return None if value < 0 else value
