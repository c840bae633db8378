"""Bybit's words for orders, fills, balances and positions, in ours and back. Pure."""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from integration.errors import Deserialise, IntegrationError, Unsupported
from integration.execution.bybit.messages import (
    CoinRecord,
    ExecutionRecord,
    OrderRecord,
    PositionRecord,
    StreamMessage,
    WalletRecord,
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
    BalanceSnapshot,
    ClientOrderId,
    Liquidity,
    Order,
    OrderId,
    OrderKey,
    OrderKind,
    OrderRequestOpen,
    OrderSnapshot,
    Position,
    PositionSnapshot,
    TimeInForce,
    Trade,
    TradeEvent,
    TradeId,
)
from integration.execution.states import OrderState
from integration.fields import decimal_of, decimal_text
from integration.models import (
    AssetNameInternal,
    ExchangeId,
    PerpetualContract,
    Side,
    asset_name_internal,
)
from netcore.models import Timestamp

__all__ = ["POST_ONLY_REASON", "BybitTranslator", "category_of", "check", "order_body"]

R = TypeVar("R")

_MS = 1_000_000
_ZERO = Decimal(0)

_CATEGORIES = {
    ExchangeId.BYBIT_SPOT: "spot",
    ExchangeId.BYBIT_PERPETUALS_USD: "linear",
}

_STATES = {
    "New": OrderState.OPEN,
    "PartiallyFilled": OrderState.PARTIALLY_FILLED,
    "Untriggered": OrderState.OPEN,
    "Rejected": OrderState.REJECTED,
    "Filled": OrderState.FILLED,
    "PartiallyFilledCanceled": OrderState.CANCELLED,
    "Cancelled": OrderState.CANCELLED,
    "Triggered": OrderState.CANCELLED,
    "Deactivated": OrderState.CANCELLED,
}

_TIMES_IN_FORCE = {
    "GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.FOK,
    "PostOnly": TimeInForce.POST_ONLY,
}
_SPELLED = {ours: theirs for theirs, ours in _TIMES_IN_FORCE.items()}

_TRADES = frozenset({"Trade", "AdlTrade", "BustTrade", "BlockTrade", ""})
"""`execType`s that are fills of an order; Funding and the like are not."""

POST_ONLY_REASON = "EC_PostOnlyWillTakeLiquidity"
"""Why a post-only order that would have taken was ended."""

_ID_LENGTH = 36


def category_of(exchange: ExchangeId) -> str:
    """Return Bybit's word for what is traded.

    Raises:
        Unsupported: It is none of Bybit's that can be traded here.
    """
    category = _CATEGORIES.get(exchange)
    if category is None:
        raise Unsupported("the Bybit client", exchange)
    return category


def check(request: OrderRequestOpen) -> None:
    """Refuse what Bybit has no order for.

    Raises:
        InvalidOrder: A reduce-only spot order, or a name that Bybit does not take.
    """
    if request.reduce_only and request.key.exchange is ExchangeId.BYBIT_SPOT:
        raise InvalidOrder(OrderRule.UNSUPPORTED, "reduce_only", "spot orders")
    cid = request.key.cid
    plain = cid.replace("-", "").replace("_", "")
    if not (plain.isalnum() and plain.isascii() and len(cid) <= _ID_LENGTH):
        limit = "36 letters, digits, hyphens and underscores"
        raise InvalidOrder(OrderRule.CLIENT_ORDER_ID, cid, limit)


def order_body(request: OrderRequestOpen, symbol: str) -> dict[str, Any]:
    """Return the body of `POST /v5/order/create`."""
    spot = request.key.exchange is ExchangeId.BYBIT_SPOT
    market = request.kind is OrderKind.MARKET
    body: dict[str, Any] = {
        "category": category_of(request.key.exchange),
        "symbol": symbol,
        "side": request.side.value.capitalize(),
        "orderType": request.kind.value.capitalize(),
        "qty": decimal_text(request.quantity),
        "timeInForce": _SPELLED[request.time_in_force],
        "orderLinkId": request.key.cid,
    }
    if request.price is not None:
        body["price"] = decimal_text(request.price)
    if spot and market:
        # A market buy is counted in quote unless one says otherwise.
        body["marketUnit"] = "baseCoin"
    if not spot:
        body["reduceOnly"] = request.reduce_only
        body["positionIdx"] = 0  # one-way mode
    return body


class BybitTranslator:
    """Turns Bybit's records into ours; also a transformer of the stream.

    Args:
        instruments: What is traded.
    """

    def __init__(self, instruments: InstrumentMap) -> None:
        self._instruments = instruments
        self._category = category_of(instruments.exchange)

    # The stream

    def transform(
        self, message: StreamMessage, time_received: Timestamp
    ) -> Iterable[AccountEvent | IntegrationError]:
        """Return what one message says; other categories' records are not ours."""
        if message is None:
            return ()
        created, records = message
        try:
            kinds = self._kinds(records, created)
        except (IntegrationError, ValueError) as error:
            # Something new of the venue's: one message in doubt, not the stream.
            fault = Deserialise(str(error), repr(records))
            fault.__cause__ = error
            return (fault,)
        exchange = self._instruments.exchange
        return [AccountEvent(exchange, t, kind, time_received) for t, kind in kinds]

    def _kinds(
        self, records: Sequence[Any], created: int
    ) -> list[tuple[Timestamp, AccountEventKind]]:
        found: list[tuple[Timestamp, AccountEventKind]] = []
        for record in records:
            match record:
                case OrderRecord() if self._ours(record.category):
                    order = self.order(record)
                    found.append((order.time_exchange, OrderSnapshot(order)))
                case ExecutionRecord() if self._ours(record.category):
                    trade = self.trade(record)
                    if trade is not None:
                        found.append((trade.time_exchange, TradeEvent(trade)))
                case WalletRecord():
                    time = created * _MS
                    balances = tuple(_balance(coin, time) for coin in record.coin)
                    found.append((time, BalanceSnapshot(balances)))
                case PositionRecord() if self._ours(record.category):
                    position = self.position(record)
                    kind = PositionSnapshot(position)
                    found.append((position.time_exchange, kind))
                case _:
                    pass  # another category's
        return found

    def _ours(self, category: str) -> bool:
        return category in {"", self._category}

    # Records

    def order(self, record: OrderRecord) -> Order:
        """Return an order.

        Raises:
            Unsupported: A status that is not known here.
            InvalidLevel: A number is none.
        """
        state = _STATES.get(record.order_status)
        if state is None:
            raise Unsupported("the Bybit client", f"status {record.order_status!r}")
        if state is OrderState.CANCELLED and record.time_in_force in {"IOC", "FOK"}:
            state = OrderState.EXPIRED  # nobody cancelled it: its time was up
        if record.reject_reason == POST_ONLY_REASON:
            state = OrderState.REJECTED  # taken first, looked at afterwards
        market = record.order_type == "Market"
        return Order(
            key=self._key(record.symbol, record.order_link_id),
            side=Side(record.side),
            kind=OrderKind.MARKET if market else OrderKind.LIMIT,
            time_in_force=_TIMES_IN_FORCE.get(record.time_in_force, TimeInForce.GTC),
            quantity=decimal_of(record.qty),
            state=state,
            price=None if market else _maybe(record.price) or None,
            filled=_maybe(record.cum_exec_qty) or _ZERO,
            filled_quote=_maybe(record.cum_exec_value),
            id=OrderId(record.order_id),
            reduce_only=record.reduce_only,
            time_exchange=int(record.updated_time) * _MS,
            reason=_reason(record),
        )

    def trade(self, record: ExecutionRecord) -> Trade | None:
        """Return a fill; None of what is in the list without being one."""
        if record.exec_type not in _TRADES:
            return None
        side = Side(record.side)
        asset = record.fee_currency or self._fee_asset(record.symbol, side)
        return Trade(
            id=TradeId(record.exec_id),
            order_id=OrderId(record.order_id),
            instrument=self._instruments.name(record.symbol),
            side=side,
            price=decimal_of(record.exec_price),
            quantity=decimal_of(record.exec_qty),
            fees=AssetFees(
                asset_name_internal(asset), _maybe(record.exec_fee) or _ZERO
            ),
            time_exchange=int(record.exec_time) * _MS,
            liquidity=Liquidity.MAKER if record.is_maker else Liquidity.TAKER,
            cid=ClientOrderId(record.order_link_id) if record.order_link_id else None,
        )

    def position(self, record: PositionRecord) -> Position:
        """Return a position, long positive and short negative."""
        size = decimal_of(record.size)
        price = _maybe(record.entry_price) or _maybe(record.avg_price)
        return Position(
            instrument=self._instruments.name(record.symbol),
            quantity=EXACT.minus(size) if record.side == "Sell" else size,
            entry_price=price if size else None,
            unrealised=_maybe(record.unrealised_pnl),
            time_exchange=int(record.updated_time) * _MS,
        )

    def balances(self, records: Iterable[WalletRecord], ms: int) -> list[AssetBalance]:
        """Return the balances that are not zero."""
        found = (_balance(coin, ms * _MS) for part in records for coin in part.coin)
        return [balance for balance in found if balance.balance.total]

    def all(self, records: Iterable[R], read: Callable[[R], Any]) -> list[Any]:
        """Return what every record of our category says."""
        ours = (r for r in records if self._ours(getattr(r, "category", "")))
        return [value for value in map(read, ours) if value is not None]

    def _key(self, symbol: str, cid: str) -> OrderKey:
        name = self._instruments.name(symbol)
        return OrderKey(self._instruments.exchange, name, ClientOrderId(cid))

    def _fee_asset(self, symbol: str, side: Side) -> AssetNameInternal:
        """Return what a fee is paid in where the record does not say.

        Spot: in what is received; contracts: in what they are settled in.
        """
        known = self._instruments.of_symbol(symbol)
        if known is None:
            return asset_name_internal("")
        if isinstance(known.kind, PerpetualContract):
            return known.kind.settlement_asset
        pair = known.underlying
        return pair.base if side is Side.BUY else pair.quote


def _balance(coin: CoinRecord, time: Timestamp) -> AssetBalance:
    """What is free is the wallet less what orders and positions hold of it."""
    total = decimal_of(coin.wallet_balance or "0")
    free = total
    for held in (coin.locked, coin.total_order_im, coin.total_position_im):
        free = EXACT.subtract(free, _maybe(held) or _ZERO)
    balance = Balance(total, max(free, _ZERO))
    return AssetBalance(asset_name_internal(coin.coin), balance, time)


def _maybe(text: str) -> Decimal | None:
    return decimal_of(text) if text else None


def _reason(record: OrderRecord) -> str:
    reason = record.reject_reason
    if reason and reason != "EC_NoError":
        return reason
    return "" if record.cancel_type in {"", "UNKNOWN"} else record.cancel_type
