"""The vocabulary of trading: orders, fills, balances and what happens to them.

Numbers are exact `Decimal`s, times int nanoseconds. Names of instruments are our
internal ones (`binance_spot-btcusdt`); names of assets are lower case. Nothing here
knows a venue, a socket or a clock; what may follow what is `execution.states`.
"""

from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum
from typing import NewType, TypeAlias

from integration.execution.exact import EXACT
from integration.execution.states import OrderState
from integration.models import (
    AssetNameInternal,
    ExchangeId,
    InstrumentNameInternal,
    Side,
)
from netcore.models import Model, Timestamp

__all__ = [
    "AccountEvent",
    "AccountEventKind",
    "AccountSnapshot",
    "AssetBalance",
    "AssetFees",
    "Balance",
    "BalanceChange",
    "BalanceSnapshot",
    "ClientOrderId",
    "InstrumentAccount",
    "Liquidity",
    "Order",
    "OrderId",
    "OrderKey",
    "OrderKind",
    "OrderRequestCancel",
    "OrderRequestOpen",
    "OrderSnapshot",
    "Position",
    "PositionSnapshot",
    "StrategyId",
    "StreamInterrupted",
    "StreamReconciled",
    "TimeInForce",
    "Trade",
    "TradeEvent",
    "TradeId",
]

ClientOrderId = NewType("ClientOrderId", str)
"""Our name of an order; see `integration.execution.ids`."""

OrderId = NewType("OrderId", str)
"""The venue's name of an order."""

TradeId = NewType("TradeId", str)
"""The venue's name of a fill, unique within an instrument."""

StrategyId = NewType("StrategyId", str)
"""Who of us an order belongs to; venues do not know it."""

_ZERO = Decimal(0)
UNKNOWN_STRATEGY = StrategyId("unknown")


class OrderKind(StrEnum):
    """How an order is priced."""

    LIMIT = "limit"
    MARKET = "market"


class TimeInForce(StrEnum):
    """How long an order lives, and whether it may take."""

    GTC = "gtc"
    """Until it is cancelled."""
    POST_ONLY = "post_only"
    """Until it is cancelled; refused if it would take liquidity."""
    IOC = "ioc"
    """What cannot be filled at once expires."""
    FOK = "fok"
    """Filled at once and whole, or not at all."""


class Liquidity(StrEnum):
    """Whether a fill's order rested (maker) or came (taker)."""

    MAKER = "maker"
    TAKER = "taker"
    UNKNOWN = "unknown"


class OrderKey(Model, frozen=True):
    """What identifies an order of ours, from before it is sent.

    Attributes:
        exchange: Where.
        instrument: Of what, by our name.
        cid: Our name of the order, unique per account.
        strategy: Whose it is.
    """

    exchange: ExchangeId
    instrument: InstrumentNameInternal
    cid: ClientOrderId
    strategy: StrategyId = UNKNOWN_STRATEGY


class OrderRequestOpen(Model, frozen=True, kw_only=True):
    """An order to place. `limit` and `market` make one.

    Raises:
        ValueError: Quantity or price is not positive and finite, a market order has a
            price, or a limit order has none.
    """

    key: OrderKey
    side: Side
    quantity: Decimal
    kind: OrderKind
    time_in_force: TimeInForce
    price: Decimal | None = None
    reduce_only: bool = False

    def __post_init__(self) -> None:
        _positive("quantity", self.quantity)
        if self.kind is OrderKind.LIMIT:
            if self.price is None:
                raise ValueError("a limit order needs a price")
            _positive("price", self.price)
        elif self.price is not None:
            raise ValueError(f"a market order has no price, was {self.price}")
        elif self.time_in_force not in {TimeInForce.IOC, TimeInForce.FOK}:
            raise ValueError(
                f"a market order never rests: ioc or fok, was {self.time_in_force}"
            )

    @classmethod
    def limit(
        cls,
        key: OrderKey,
        side: Side,
        *,
        quantity: Decimal,
        price: Decimal,
        time_in_force: TimeInForce = TimeInForce.GTC,
        reduce_only: bool = False,
    ) -> "OrderRequestOpen":
        """Make a limit order."""
        return cls(
            key=key,
            side=side,
            quantity=quantity,
            kind=OrderKind.LIMIT,
            time_in_force=time_in_force,
            price=price,
            reduce_only=reduce_only,
        )

    @classmethod
    def market(
        cls,
        key: OrderKey,
        side: Side,
        *,
        quantity: Decimal,
        time_in_force: TimeInForce = TimeInForce.IOC,
        reduce_only: bool = False,
    ) -> "OrderRequestOpen":
        """Make a market order."""
        return cls(
            key=key,
            side=side,
            quantity=quantity,
            kind=OrderKind.MARKET,
            time_in_force=time_in_force,
            reduce_only=reduce_only,
        )


class OrderRequestCancel(Model, frozen=True):
    """An order to cancel: by the venue's name if it is known, else by ours."""

    key: OrderKey
    id: OrderId | None = None


class Order(Model, frozen=True, kw_only=True):
    """An order as it is known at a moment.

    Attributes:
        key: Whose and which.
        side: Buy or sell.
        kind: Limit or market.
        time_in_force: How long it lives.
        price: The limit; None of a market order.
        quantity: What was asked for.
        filled: How much of it was filled so far.
        filled_quote: What the fills cost in all, in the quote asset; None where the
            venue does not say.
        state: See `OrderState`.
        id: The venue's name, once it gave one.
        reduce_only: Whether it may only make a position smaller.
        time_exchange: When the venue last changed it, ns; 0 before it did.
        reason: The venue's words on a rejection, cancellation or expiry.
    """

    key: OrderKey
    side: Side
    kind: OrderKind
    time_in_force: TimeInForce
    quantity: Decimal
    state: OrderState
    price: Decimal | None = None
    filled: Decimal = _ZERO
    filled_quote: Decimal | None = None
    id: OrderId | None = None
    reduce_only: bool = False
    time_exchange: Timestamp = 0
    reason: str = ""

    @classmethod
    def sent(cls, request: OrderRequestOpen) -> "Order":
        """Return the order as it is when its request leaves."""
        return cls(
            key=request.key,
            side=request.side,
            kind=request.kind,
            time_in_force=request.time_in_force,
            quantity=request.quantity,
            state=OrderState.OPEN_IN_FLIGHT,
            price=request.price,
            reduce_only=request.reduce_only,
        )

    @property
    def remaining(self) -> Decimal:
        """What is not filled."""
        return EXACT.subtract(self.quantity, self.filled)

    @property
    def average_price(self) -> Decimal | None:
        """The mean price of the fills, rounded to 28 digits; None where unknown."""
        if not self.filled or self.filled_quote is None:
            return None
        return self.filled_quote / self.filled


class AssetFees(Model, frozen=True):
    """What a fill cost besides its price: positive when paid, negative if a rebate."""

    asset: AssetNameInternal
    fees: Decimal


class Trade(Model, frozen=True, kw_only=True):
    """One fill of one of our orders.

    Attributes:
        id: The venue's; with the instrument, what makes fills idempotent.
        order_id: The venue's name of the order.
        cid: Our name of the order, where the venue says it.
        instrument: Of what.
        side: Ours.
        price: Of this fill.
        quantity: Of this fill.
        fees: What was paid for it.
        liquidity: Whether our order rested or came.
        time_exchange: When, ns.
        strategy: Whose order it was, where we know.
    """

    id: TradeId
    order_id: OrderId
    instrument: InstrumentNameInternal
    side: Side
    price: Decimal
    quantity: Decimal
    fees: AssetFees
    time_exchange: Timestamp
    liquidity: Liquidity = Liquidity.UNKNOWN
    cid: ClientOrderId | None = None
    strategy: StrategyId = UNKNOWN_STRATEGY

    @property
    def cost(self) -> Decimal:
        """Price times quantity, exact."""
        return EXACT.multiply(self.price, self.quantity)


class Balance(Model, frozen=True):
    """What an account has of an asset; `used` is what open orders hold."""

    total: Decimal
    free: Decimal

    @property
    def used(self) -> Decimal:
        """Total less free."""
        return EXACT.subtract(self.total, self.free)


class AssetBalance(Model, frozen=True):
    """A balance, of what, and since when."""

    asset: AssetNameInternal
    balance: Balance
    time_exchange: Timestamp = 0


class Position(Model, frozen=True, kw_only=True):
    """What an account holds of a contract.

    Attributes:
        instrument: Of what.
        quantity: Signed: positive is long, negative short.
        entry_price: The mean price of entry; None of no position.
        unrealised: Profit at the mark price, in the settlement asset, if said.
        time_exchange: Since when, ns.
    """

    instrument: InstrumentNameInternal
    quantity: Decimal
    entry_price: Decimal | None = None
    unrealised: Decimal | None = None
    time_exchange: Timestamp = 0


class InstrumentAccount(Model, frozen=True):
    """The open orders of one instrument."""

    instrument: InstrumentNameInternal
    orders: tuple[Order, ...] = ()


class AccountSnapshot(Model, frozen=True, tag="account_snapshot", tag_field="type"):
    """All that an account is at a moment."""

    exchange: ExchangeId
    balances: tuple[AssetBalance, ...]
    instruments: tuple[InstrumentAccount, ...] = ()
    positions: tuple[Position, ...] = ()

    @property
    def orders(self) -> tuple[Order, ...]:
        """Every open order."""
        return tuple(order for part in self.instruments for order in part.orders)

    @classmethod
    def of(
        cls,
        exchange: ExchangeId,
        balances: Iterable[AssetBalance],
        orders: Iterable[Order],
        positions: Iterable[Position] = (),
    ) -> "AccountSnapshot":
        """Make a snapshot, orders grouped by instrument in the order of their names."""
        grouped: dict[InstrumentNameInternal, list[Order]] = {}
        for order in orders:
            grouped.setdefault(order.key.instrument, []).append(order)
        parts = (InstrumentAccount(k, tuple(v)) for k, v in sorted(grouped.items()))
        return cls(exchange, tuple(balances), tuple(parts), tuple(positions))


class BalanceSnapshot(Model, frozen=True, tag="balance_snapshot", tag_field="type"):
    """Balances as they are now; those not named have not changed."""

    balances: tuple[AssetBalance, ...]


class BalanceChange(Model, frozen=True, tag="balance_change", tag_field="type"):
    """A deposit, withdrawal or transfer: an amount, not a new total."""

    asset: AssetNameInternal
    delta: Decimal


class PositionSnapshot(Model, frozen=True, tag="position_snapshot", tag_field="type"):
    """A position as it is now."""

    position: Position


class OrderSnapshot(Model, frozen=True, tag="order_snapshot", tag_field="type"):
    """An order as it is now."""

    order: Order


class TradeEvent(Model, frozen=True, tag="trade", tag_field="type"):
    """A fill of one of our orders."""

    trade: Trade


class StreamInterrupted(Model, frozen=True, tag="stream_interrupted", tag_field="type"):
    """The private stream is down: what follows will come late, but not be lost."""

    reason: str


class StreamReconciled(Model, frozen=True, tag="stream_reconciled", tag_field="type"):
    """The stream is up and everything missed has been told before this event.

    Attributes:
        trades: Fills that only asking brought to light.
        orders: Orders whose change only asking brought to light.
    """

    trades: int
    orders: int


AccountEventKind: TypeAlias = (
    AccountSnapshot
    | BalanceSnapshot
    | BalanceChange
    | PositionSnapshot
    | OrderSnapshot
    | TradeEvent
    | StreamInterrupted
    | StreamReconciled
)


class AccountEvent(Model, frozen=True):
    """One thing that happened to an account.

    Attributes:
        exchange: Where.
        time_exchange: When, by the venue's clock, ns.
        kind: What.
        time_received: When we read it, ns; equal to `time_exchange` in process.
    """

    exchange: ExchangeId
    time_exchange: Timestamp
    kind: AccountEventKind
    time_received: Timestamp = 0


def _positive(name: str, value: Decimal) -> None:
    if not value.is_finite() or value <= 0:
        raise ValueError(f"an order's {name} is positive and finite, was {value}")
