"""What fills do to accounts: two assets change hands, or a position changes.

`MatchingEngine` decides who trades with whom, at what price and how much; a
settlement says what an order has to set aside, moves what a fill moves, and charges
for it. `SpotSettlement` is here, that of linear perpetuals is `execution.perpetuals`.

Pure and exact, as `execution.accounts`.
"""

from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, Protocol, final

from integration.execution.accounts import HOUSE, STREET, Accounts
from integration.execution.errors import OrderRejected
from integration.execution.exact import EXACT
from integration.execution.models import (
    AccountEventKind,
    AssetBalance,
    AssetFees,
    BalanceSnapshot,
    Liquidity,
)
from integration.execution.working import Working
from integration.models import AssetNameInternal, Side
from netcore.models import Model, Timestamp

__all__ = ["FeeAsset", "Fees", "Meeting", "Plan", "Settlement", "SpotSettlement"]

_ZERO = Decimal(0)
_ONE = Decimal(1)


class FeeAsset(StrEnum):
    """In what fees are paid."""

    RECEIVED = "received"
    """In what the fill brings: base of a buy, quote of a sell (Binance, Bybit)."""
    QUOTE = "quote"
    """In the quote asset, whichever side; always so of perpetuals."""


class Fees(Model, frozen=True):
    """What fills cost, as fractions; a negative maker rate is a rebate.

    Raises:
        ValueError: A rate would take all that a fill brings, or the rebate exceeds
            what the taker pays.
    """

    maker: Decimal = Decimal("0.001")
    taker: Decimal = Decimal("0.001")
    asset: FeeAsset = FeeAsset.RECEIVED

    def __post_init__(self) -> None:
        if not (-self.taker <= self.maker < 1 and 0 <= self.taker < 1):
            raise ValueError(
                "fees are fractions below 1 and a rebate is paid by takers, "
                f"was maker={self.maker} taker={self.taker}"
            )

    def rate(self, role: Liquidity) -> Decimal:
        """Return the fraction that a role pays."""
        return self.maker if role is Liquidity.MAKER else self.taker

    @property
    def most(self) -> Decimal:
        """The largest fraction that an order may come to pay."""
        return max(self.maker, self.taker)


class Meeting(NamedTuple):
    """A step of a plan: so much at this price, from a resting order or the market."""

    price: Decimal
    quantity: Decimal
    maker: Working | None


class Plan(NamedTuple):
    """What an order would meet now, best price first."""

    meetings: list[Meeting]
    self_trade: bool

    @property
    def quantity(self) -> Decimal:
        """How much it would get."""
        total = _ZERO
        for meeting in self.meetings:
            total = EXACT.add(total, meeting.quantity)
        return total

    @property
    def cost(self) -> Decimal:
        """What that would cost, before fees."""
        total = _ZERO
        for price, quantity, _ in self.meetings:
            total = EXACT.add(total, EXACT.multiply(price, quantity))
        return total


class Settlement(Protocol):
    """How an instrument's fills are settled."""

    def limit(self, working: Working, met: Decimal = _ZERO) -> Decimal:
        """Return how much of an order may still be filled.

        Args:
            working: The order.
            met: What of its user's orders on its side is to be filled before it.
        """
        ...

    def admit(self, working: Working) -> None:
        """Refuse an order for which there is nothing to do, whatever the market.

        Raises:
            OrderRejected: It may only reduce a position, and there is none.
        """
        ...

    def reserve(self, working: Working, plan: Plan) -> None:
        """Set aside what an order may cost.

        Raises:
            InsufficientBalance: Less than that is free; nothing changed.
        """
        ...

    def exchange(
        self, one: Working, other: Working | None, price: Decimal, quantity: Decimal
    ) -> None:
        """Let two orders trade; None is the street."""
        ...

    def charge(
        self, working: Working, price: Decimal, quantity: Decimal, role: Liquidity
    ) -> AssetFees:
        """Take the fee of a fill."""
        ...

    def told(self, user: str, now: Timestamp) -> Iterable[AccountEventKind]:
        """Return what a user is told after a fill."""
        ...


@final
class SpotSettlement:
    """Base against quote, at once and in full.

    Args:
        accounts: Whose balances.
        base: What is traded...
        quote: ... for what.
        fees: What fills cost.
    """

    def __init__(
        self,
        accounts: Accounts,
        base: AssetNameInternal,
        quote: AssetNameInternal,
        *,
        fees: Fees,
    ) -> None:
        self._accounts = accounts
        self._base, self._quote = base, quote
        self._fees = fees
        # A buy pays its fee in quote only if fees are: then it is set aside as well.
        extra = _ZERO if fees.asset is FeeAsset.RECEIVED else fees.most
        self._with_fee = EXACT.add(_ONE, extra)

    def limit(self, working: Working, met: Decimal = _ZERO) -> Decimal:
        """Return what is left of it."""
        del met
        return working.order.remaining

    def admit(self, working: Working) -> None:
        """Refuse what may only reduce: spot has no positions."""
        if working.order.reduce_only:
            raise OrderRejected("spot orders have no position to reduce")

    def reserve(self, working: Working, plan: Plan) -> None:
        """Set aside base of a sell, quote and the fee of a buy."""
        order = working.order
        if order.side is Side.SELL:
            asset, amount = self._base, order.quantity
        else:
            asset = self._quote
            cost = plan.cost
            if order.price is not None:
                cost = EXACT.multiply(order.price, order.quantity)
            amount = EXACT.multiply(cost, self._with_fee)
        self._accounts.hold(working.user, asset, amount)
        working.held_asset, working.held = asset, amount

    def exchange(
        self, one: Working, other: Working | None, price: Decimal, quantity: Decimal
    ) -> None:
        """Move base and quote between two parties."""
        cost = EXACT.multiply(price, quantity)
        for working in (one, other):
            if working is not None:
                self._unhold(working, quantity)
        name = STREET if other is None else other.user
        buyer, seller = one.user, name
        if one.order.side is Side.SELL:
            buyer, seller = seller, buyer
        self._accounts.move(buyer, seller, self._quote, cost)
        self._accounts.move(seller, buyer, self._base, quantity)

    def _unhold(self, working: Working, quantity: Decimal) -> None:
        """Release what the filled part had been set aside for."""
        order = working.order
        if quantity == order.remaining or order.price is None:
            # A market order is carried out whole before anybody else can spend.
            amount = working.held
        elif order.side is Side.SELL:
            amount = quantity
        else:
            cost = EXACT.multiply(order.price, quantity)
            amount = EXACT.multiply(cost, self._with_fee)
        self._accounts.release(working.user, working.held_asset, amount)
        working.held = EXACT.subtract(working.held, amount)

    def charge(
        self, working: Working, price: Decimal, quantity: Decimal, role: Liquidity
    ) -> AssetFees:
        """Take the fee from what the fill brought, or in quote."""
        buys = working.order.side is Side.BUY
        in_base = self._fees.asset is FeeAsset.RECEIVED and buys
        asset = self._base if in_base else self._quote
        amount = quantity if in_base else EXACT.multiply(price, quantity)
        fee = EXACT.multiply(amount, self._fees.rate(role))
        self._accounts.move(working.user, HOUSE, asset, fee)
        return AssetFees(asset, fee)

    def told(self, user: str, now: Timestamp) -> Iterable[AccountEventKind]:
        """Return both balances."""
        yield BalanceSnapshot(
            tuple(
                AssetBalance(asset, self._accounts.balance(user, asset), now)
                for asset in (self._base, self._quote)
            )
        )
