"""What is known of an account: told by many sources, each fact counted once.

Requests of ours, answers to them, the private stream and snapshots taken after an
outage overlap and overtake one another. All of them come through `AccountLedger`,
which keeps what is new and drops what is not: a fill by its id, an order by what has
been filled and by the table of `execution.states`, a balance by its time. A stream
replayed from any point changes nothing.

Pure: it is told events and asks nobody. Bounded: closed orders and the ids of fills
are forgotten oldest first.
"""

from collections.abc import Hashable, Iterable
from decimal import Decimal
from typing import Generic, TypeVar, final

import msgspec

from integration.execution.errors import DuplicateOrder, IllegalTransition
from integration.execution.models import (
    AccountEvent,
    AccountEventKind,
    AccountSnapshot,
    AssetBalance,
    BalanceChange,
    BalanceSnapshot,
    ClientOrderId,
    Order,
    OrderId,
    OrderRequestOpen,
    OrderSnapshot,
    Position,
    PositionSnapshot,
    Trade,
    TradeEvent,
)
from integration.execution.states import OrderEvent, OrderState, after
from integration.models import (
    AssetNameInternal,
    ExchangeId,
    InstrumentNameInternal,
)
from netcore.models import Timestamp

__all__ = ["AccountLedger", "Seen"]

K = TypeVar("K", bound=Hashable)

_TRADES = 10_000
"""Ids of fills remembered: what a live client of Binance was found to need."""
_CLOSED_ORDERS = 1_000

_EVENT_OF = {
    OrderState.OPEN_IN_FLIGHT: OrderEvent.ACKNOWLEDGED,
    OrderState.OPEN: OrderEvent.ACKNOWLEDGED,
    OrderState.PARTIALLY_FILLED: OrderEvent.FILLED_PARTLY,
    OrderState.CANCEL_IN_FLIGHT: OrderEvent.CANCEL_SENT,
    OrderState.UNKNOWN: OrderEvent.UNANSWERED,
    OrderState.FILLED: OrderEvent.FILLED_WHOLLY,
    OrderState.CANCELLED: OrderEvent.CANCELLED,
    OrderState.EXPIRED: OrderEvent.EXPIRED,
    OrderState.REJECTED: OrderEvent.REJECTED,
}
"""What a venue's statement of a state means to an order that we know."""


@final
class Seen(Generic[K]):
    """The latest keys, oldest forgotten first.

    Args:
        size: How many are remembered.
    """

    __slots__ = ("_keys", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._keys: dict[K, None] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: K) -> bool:
        return key in self._keys

    def add(self, key: K) -> bool:
        """Remember a key; return whether it is new."""
        if key in self._keys:
            return False
        if len(self._keys) >= self._size:
            del self._keys[next(iter(self._keys))]
        self._keys[key] = None
        return True


@final
class AccountLedger:
    """Orders, balances, positions and fills of one account at one venue.

    Args:
        exchange: Which venue.
        trades: Ids of fills remembered.
        closed_orders: Closed orders remembered; open ones are never forgotten.
    """

    def __init__(
        self,
        exchange: ExchangeId,
        *,
        trades: int = _TRADES,
        closed_orders: int = _CLOSED_ORDERS,
    ) -> None:
        self.exchange = exchange
        self._open: dict[ClientOrderId, Order] = {}
        self._closed: dict[ClientOrderId, Order] = {}
        self._closed_size = closed_orders
        self._names: dict[OrderId, ClientOrderId] = {}
        self._trades: Seen[tuple[str, str]] = Seen(trades)
        self._changes: Seen[tuple[str, int, str]] = Seen(trades)
        self._balances: dict[AssetNameInternal, AssetBalance] = {}
        self._positions: dict[InstrumentNameInternal, Position] = {}
        self._last_trade: dict[InstrumentNameInternal, Timestamp] = {}

    def __repr__(self) -> str:
        return (
            f"AccountLedger({self.exchange}, {len(self._open)} open orders, "
            f"{len(self._balances)} balances, {len(self._trades)} fills seen)"
        )

    # Reading

    @property
    def open_orders(self) -> tuple[Order, ...]:
        """Orders that are not closed, unanswered ones included, oldest first."""
        return tuple(self._open.values())

    @property
    def balances(self) -> dict[AssetNameInternal, AssetBalance]:
        """The latest balances, a copy."""
        return dict(self._balances)

    @property
    def positions(self) -> dict[InstrumentNameInternal, Position]:
        """The latest positions, a copy; closed ones have quantity zero."""
        return dict(self._positions)

    def order(self, cid: ClientOrderId) -> Order | None:
        """Return an order by our name; None if it is unknown or forgotten."""
        return self._open.get(cid) or self._closed.get(cid)

    def last_trade(self, instrument: InstrumentNameInternal) -> Timestamp | None:
        """Return the venue's time of the latest fill; None before the first."""
        return self._last_trade.get(instrument)

    def instruments(self) -> tuple[InstrumentNameInternal, ...]:
        """Return every instrument that an order or a fill was about, sorted."""
        orders = (*self._open.values(), *self._closed.values())
        return tuple(sorted({o.key.instrument for o in orders} | {*self._last_trade}))

    def missing_from(self, orders: Iterable[Order]) -> tuple[Order, ...]:
        """Return our resting or unanswered orders that a venue's list lacks.

        What became of them is not known from the list: ask for each.
        """
        named = {order.key.cid for order in orders}
        return tuple(o for o in self._open.values() if o.key.cid not in named)

    # Our own doing

    def submit(self, request: OrderRequestOpen) -> Order:
        """Note an order that is about to be sent.

        Raises:
            DuplicateOrder: Its name is in use.
        """
        cid = request.key.cid
        if self.order(cid) is not None:
            raise DuplicateOrder(
                f"client order id {cid!r} names another order: make a new one"
            )
        order = Order.sent(request)
        self._open[cid] = order
        return order

    def note(self, cid: ClientOrderId, event: OrderEvent, reason: str = "") -> Order:
        """Note what became of a request of ours about an order.

        Raises:
            KeyError: The order is not known.
            IllegalTransition: It cannot have this event now.
        """
        known = self.order(cid)
        if known is None:
            raise KeyError(cid)
        state = _with_fills(after(known.state, event), known)
        if state is known.state:
            return known
        changed = msgspec.structs.replace(
            known, state=state, reason=reason or known.reason
        )
        self._put(changed)
        return changed

    # What is told

    def apply(self, event: AccountEvent) -> AccountEvent | None:
        """Take an event into account; None if it says nothing new.

        Returns:
            The event, completed by what we know (whose order, our name of it).

        Raises:
            IllegalTransition: An `OrderSnapshot` says of an order what cannot be; it
                is left as it was. A venue's `AccountSnapshot` is believed.
        """
        kind = event.kind
        new: AccountEventKind | None
        match kind:
            case OrderSnapshot():
                order = self._merge(kind.order)
                new = None if order is None else OrderSnapshot(order)
            case TradeEvent():
                trade = self._fill(kind.trade)
                new = None if trade is None else TradeEvent(trade)
            case BalanceSnapshot():
                news = tuple(b for b in kind.balances if self._balance(b))
                new = BalanceSnapshot(news) if news else None
            case BalanceChange():
                key = (kind.asset, event.time_exchange, str(kind.delta))
                new = kind if self._changes.add(key) else None
            case PositionSnapshot():
                new = kind if self._position(kind.position) else None
            case AccountSnapshot():
                new = self._snapshot(kind)
            case _:
                new = kind
        if new is None or new is kind:
            return None if new is None else event
        return msgspec.structs.replace(event, kind=new)

    def adopt(self, order: Order) -> None:
        """Take an order as it is told, whatever we held of it."""
        self._put(order)

    def knows_trade(self, trade: Trade) -> bool:
        """Say whether a fill was applied already."""
        return (trade.instrument, trade.id) in self._trades

    def _snapshot(self, snapshot: AccountSnapshot) -> AccountSnapshot:
        orders = []
        for told in snapshot.orders:
            try:
                self._merge(told)
            except IllegalTransition:
                # What rests, rests, whatever we had reason to think.
                self._put(told)
            orders.append(self.order(told.key.cid) or told)
        for balance in snapshot.balances:
            self._balance(balance)
        for position in snapshot.positions:
            self._position(position)
        return AccountSnapshot.of(
            snapshot.exchange, snapshot.balances, orders, snapshot.positions
        )

    def _merge(self, told: Order) -> Order | None:
        """Return the order with what is new in it; None if nothing is."""
        known = self.order(told.key.cid)
        if known is None:
            self._put(told)
            return told
        if self._stale(known, told):
            return None
        state = after(known.state, _EVENT_OF[told.state])
        filled = max(known.filled, told.filled)
        merged = msgspec.structs.replace(
            known,
            id=told.id or known.id,
            filled=filled,
            filled_quote=_most(known.filled_quote, told.filled_quote),
            # A venue may have rounded or amended what we asked for.
            quantity=told.quantity,
            price=told.price if told.price is not None else known.price,
            time_exchange=max(known.time_exchange, told.time_exchange),
            reason=told.reason or known.reason,
        )
        merged = msgspec.structs.replace(merged, state=_with_fills(state, merged))
        if _same(known, merged):
            return None
        self._put(merged)
        return merged

    @staticmethod
    def _stale(known: Order, told: Order) -> bool:
        """Say whether a statement is older than what we know."""
        if told.filled < known.filled:
            return True
        return told.time_exchange < known.time_exchange and told.filled == known.filled

    def _put(self, order: Order) -> None:
        cid = order.key.cid
        if order.id is not None:
            self._names[order.id] = cid
        if not order.state.closed:
            self._closed.pop(cid, None)
            self._open[cid] = order
            return
        self._open.pop(cid, None)
        if cid not in self._closed and len(self._closed) >= self._closed_size:
            forgotten = self._closed.pop(next(iter(self._closed)))
            if forgotten.id is not None:
                self._names.pop(forgotten.id, None)
        self._closed[cid] = order

    def _fill(self, trade: Trade) -> Trade | None:
        if not self._trades.add((trade.instrument, trade.id)):
            return None
        latest = self._last_trade.get(trade.instrument, trade.time_exchange)
        self._last_trade[trade.instrument] = max(latest, trade.time_exchange)
        cid = trade.cid or self._names.get(trade.order_id)
        order = None if cid is None else self.order(cid)
        if order is None:
            return trade
        return msgspec.structs.replace(trade, cid=cid, strategy=order.key.strategy)

    def _balance(self, told: AssetBalance) -> bool:
        known = self._balances.get(told.asset)
        if known is not None and told.time_exchange < known.time_exchange:
            return False
        self._balances[told.asset] = told
        return known is None or told.balance != known.balance

    def _position(self, told: Position) -> bool:
        known = self._positions.get(told.instrument)
        if known is not None and (
            told.time_exchange < known.time_exchange
            or (told.quantity, told.entry_price) == (known.quantity, known.entry_price)
        ):
            return False
        self._positions[told.instrument] = told
        return True


def _with_fills(state: OrderState, order: Order) -> OrderState:
    """Tell open from partially filled: the table does not count."""
    if state is OrderState.OPEN and order.filled:
        return OrderState.PARTIALLY_FILLED
    return state


def _same(a: Order, b: Order) -> bool:
    """Compare all but the time: a repeated statement with a later time is no news."""
    return a == msgspec.structs.replace(b, time_exchange=a.time_exchange)


def _most(a: Decimal | None, b: Decimal | None) -> Decimal | None:
    if a is None or b is None:
        return a if b is None else b
    return max(a, b)
