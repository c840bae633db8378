"""Linear perpetuals in the mock exchange: positions, margin, funding, liquidation.

Contracts are settled in their quote asset; a fill changes two positions, and cash
moves only when a position is made smaller (its profit or loss), by fees and by
funding. What an account has of a contract is a signed quantity and the *cost* at
which it was entered; the mean entry price is their quotient, and is for show. Whoever
closes a part releases that part of the cost, rounded to a step (`STEP`) whose remainder
stays with the rest, so that nothing is ever lost to a division.

Everybody's counterparty is the clearing account: it pays profits and collects losses.
At every moment, exactly:

* positions add up to zero, over users, house and street;
* cash adds up to zero, over users, house, street and clearing (`Accounts`);
* clearing's cash plus the cost of all positions is zero. So cash and unrealised
  profit, summed over users, house and street, are what was brought in, at any mark.

**Margin** is isolated and linear: a position has `initial` of its cost set aside, an
order `initial` of its worst value and its fee; an order that could only reduce has
nothing. **Losses** are paid from what is free; what an account has not got, the house
pays. **Liquidation**: where margin and unrealised profit at the mark are less than
`maintenance` of the value, the house takes the position over, at its cost, with its
margin, and the account's orders in it expire. **Funding**: at its time, longs pay
shorts `rate` of the value at the mark, and shorts longs where it is negative.

Approximations, on purpose: no tiers, no partial liquidation, no leverage chosen by
order, one-way positions, and the house trades out of nothing that it took over.

Pure and exact; times are told.
"""

from collections.abc import Iterable, Iterator
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final, NamedTuple, final

from integration.execution.accounts import HOUSE, STREET, Accounts
from integration.execution.errors import OrderRejected
from integration.execution.exact import EXACT
from integration.execution.models import (
    AccountEventKind,
    AssetBalance,
    AssetFees,
    BalanceSnapshot,
    Liquidity,
    Position,
    PositionSnapshot,
)
from integration.execution.settlement import Fees, Plan
from integration.execution.working import Working
from integration.models import Instrument, Side
from netcore.models import Model, Timestamp

__all__ = ["CLEARING", "STEP", "Funding", "Holding", "Margin", "PerpetualSettlement"]

CLEARING: Final = "(clearing)"
"""Everybody's counterparty; has what all positions cost, the other way round."""

STEP: Final = Decimal("1e-12")
"""Cost is released in steps of this, in the settlement asset."""

_ZERO = Decimal(0)
_WIDE: Final = Context(prec=200, rounding=ROUND_HALF_EVEN)
"""For quotients, which are rounded to `STEP` at once, or only shown."""


class Margin(Model, frozen=True):
    """What positions have to be backed by, as fractions of their value.

    Raises:
        ValueError: Not 0 <= maintenance < initial <= 1.
    """

    initial: Decimal = Decimal("0.1")
    maintenance: Decimal = Decimal("0.05")

    def __post_init__(self) -> None:
        if not 0 <= self.maintenance < self.initial <= 1:
            raise ValueError(
                "margins are fractions, maintenance below initial, were "
                f"initial={self.initial} maintenance={self.maintenance}"
            )


class Holding(NamedTuple):
    """What an account has of a contract: signed quantity, signed cost, margin."""

    quantity: Decimal = _ZERO
    cost: Decimal = _ZERO
    margin: Decimal = _ZERO


class Funding(NamedTuple):
    """A funding that is due."""

    rate: Decimal
    time: Timestamp


@final
class PerpetualSettlement:
    """The positions of one linear perpetual.

    Args:
        accounts: Whose cash.
        instrument: The contract: settled in its quote asset.
        fees: What fills cost, in the settlement asset.
        margin: What positions are backed by.
    """

    def __init__(
        self,
        accounts: Accounts,
        instrument: Instrument,
        *,
        fees: Fees,
        margin: Margin,
    ) -> None:
        self._accounts = accounts
        self._name = instrument.name_internal
        self._asset = instrument.underlying.quote
        self._size = instrument.kind.contract_size
        self._fees = fees
        self._margin = margin
        self._holdings: dict[str, Holding] = {}
        self.mark: Decimal | None = None
        """The price by which positions are valued; None before the first."""
        self.funding: Funding | None = None
        """The next funding, once it is known."""
        accounts.open(CLEARING)

    # Reading

    def holding(self, user: str) -> Holding:
        """Return what an account has."""
        return self._holdings.get(user, Holding())

    def holders(self) -> tuple[str, ...]:
        """Return every account that has had a position, sorted."""
        return tuple(sorted(self._holdings))

    def unrealised(self, user: str) -> Decimal | None:
        """Return the profit of a position at the mark; None without a mark."""
        if self.mark is None:
            return None
        held = self.holding(user)
        return EXACT.subtract(self._value(held.quantity, self.mark), held.cost)

    def position(self, user: str, now: Timestamp) -> Position:
        """Return what an account has as a record."""
        held = self.holding(user)
        entry = None
        if held.quantity:
            entry = +(held.cost / EXACT.multiply(held.quantity, self._size))
        return Position(
            instrument=self._name,
            quantity=held.quantity,
            entry_price=entry,
            unrealised=self.unrealised(user) if held.quantity else _ZERO,
            time_exchange=now,
        )

    def _value(self, quantity: Decimal, price: Decimal) -> Decimal:
        return EXACT.multiply(EXACT.multiply(quantity, self._size), price)

    # Orders

    def limit(self, working: Working, met: Decimal = _ZERO) -> Decimal:
        """Return what is left of it; of one that may only reduce, of the position."""
        left = working.order.remaining
        if not working.order.reduce_only:
            return left
        position = self._reducible(working.user, working.order.side)
        return min(left, max(_ZERO, EXACT.subtract(position, met)))

    def _reducible(self, user: str, side: Side) -> Decimal:
        quantity = self.holding(user).quantity
        against = EXACT.minus(quantity) if side is Side.BUY else quantity
        return max(_ZERO, against)

    def admit(self, working: Working) -> None:
        """Refuse what may only reduce where there is nothing to reduce."""
        order = working.order
        if order.reduce_only and not self._reducible(working.user, order.side):
            raise OrderRejected(
                f"order {order.key.cid!r} may only reduce, and there is nothing "
                f"to {order.side}"
            )

    def reserve(self, working: Working, plan: Plan) -> None:
        """Set aside margin and fee at the worst price that the order may get."""
        order = working.order
        working.held_asset = self._asset
        if order.reduce_only:
            return
        prices = [meeting.price for meeting in plan.meetings]
        if order.price is not None:
            prices.append(order.price)
        # A sell above its limit is worth more than at it: the dearest counts.
        worst = max(prices, default=_ZERO)
        rate = EXACT.add(self._margin.initial, max(_ZERO, self._fees.most))
        working.held_each = EXACT.multiply(self._value(Decimal(1), worst), rate)
        amount = EXACT.multiply(working.held_each, order.quantity)
        self._accounts.hold(working.user, self._asset, amount)
        working.held = amount

    def exchange(
        self, one: Working, other: Working | None, price: Decimal, quantity: Decimal
    ) -> None:
        """Change the positions of both parties by a fill."""
        for working in (one, other):
            if working is not None:
                amount = EXACT.multiply(working.held_each, quantity)
                self._accounts.release(working.user, self._asset, amount)
                working.held = EXACT.subtract(working.held, amount)
        signed = quantity if one.order.side is Side.BUY else EXACT.minus(quantity)
        self._change(one.user, signed, price)
        name = STREET if other is None else other.user
        self._change(name, EXACT.minus(signed), price)

    def charge(
        self, working: Working, price: Decimal, quantity: Decimal, role: Liquidity
    ) -> AssetFees:
        """Take the fee: what there is of it, after a loss that took all."""
        fee = EXACT.multiply(self._value(quantity, price), self._fees.rate(role))
        fee = min(fee, self._accounts.balance(working.user, self._asset).free)
        self._accounts.move(working.user, HOUSE, self._asset, fee)
        return AssetFees(self._asset, fee)

    def told(self, user: str, now: Timestamp) -> Iterator[AccountEventKind]:
        """Return position and balance."""
        yield PositionSnapshot(self.position(user, now))
        balance = self._accounts.balance(user, self._asset)
        yield BalanceSnapshot((AssetBalance(self._asset, balance, now),))

    # Positions

    def _change(self, name: str, signed: Decimal, price: Decimal) -> None:
        """Let an account buy (positive) or sell at a price."""
        held = self.holding(name)
        closing = _ZERO
        if held.quantity and (held.quantity > 0) is not (signed > 0):
            closing = min(abs(signed), abs(held.quantity))
        if closing:
            held = self._close(name, held, closing, price)
        opening = EXACT.subtract(abs(signed), closing)
        if opening:
            more = opening if signed > 0 else EXACT.minus(opening)
            held = held._replace(
                quantity=EXACT.add(held.quantity, more),
                cost=EXACT.add(held.cost, self._value(more, price)),
            )
        self._holdings[name] = self._backed(name, held)

    def _close(
        self, name: str, held: Holding, closing: Decimal, price: Decimal
    ) -> Holding:
        """Release the cost of a part and pay out what it made."""
        if closing == abs(held.quantity):
            released = held.cost
        else:
            share = _WIDE.divide(_WIDE.multiply(held.cost, closing), abs(held.quantity))
            released = share.quantize(STEP, context=_WIDE)
        sold = closing if held.quantity > 0 else EXACT.minus(closing)
        profit = EXACT.subtract(self._value(sold, price), released)
        rest = Holding(
            EXACT.subtract(held.quantity, sold), EXACT.subtract(held.cost, released)
        )
        self._release(name, held.margin)
        self._pay(name, profit)
        return rest

    def _backed(self, name: str, held: Holding) -> Holding:
        """Set aside a position's margin: what there is of it, after a loss."""
        if name in {HOUSE, STREET}:
            return held
        self._release(name, held.margin)
        free = self._accounts.balance(name, self._asset).free
        margin = min(free, EXACT.multiply(abs(held.cost), self._margin.initial))
        self._accounts.hold(name, self._asset, margin)
        return held._replace(margin=margin)

    def _release(self, name: str, margin: Decimal) -> None:
        if margin:
            self._accounts.release(name, self._asset, margin)

    def _pay(self, name: str, amount: Decimal) -> None:
        """Pay an account, or let it pay; the house pays what it has not got."""
        if amount < 0 and name not in {HOUSE, STREET}:
            owed = EXACT.minus(amount)
            paid = min(owed, self._accounts.balance(name, self._asset).free)
            self._accounts.move(name, CLEARING, self._asset, paid)
            name, amount = HOUSE, EXACT.subtract(paid, owed)
        self._accounts.move(CLEARING, name, self._asset, amount)

    # The market

    def fund(self, now: Timestamp) -> Iterable[str]:
        """Pay the funding that is due; return whom it concerned.

        It waits for a mark price; each is paid once.
        """
        due, mark = self.funding, self.mark
        if due is None or mark is None or now < due.time:
            return ()
        self.funding = None
        concerned = [name for name in self.holders() if self.holding(name).quantity]
        for name in concerned:
            value = self._value(self.holding(name).quantity, mark)
            self._pay(name, EXACT.minus(EXACT.multiply(value, due.rate)))
        return concerned

    def failing(self) -> list[str]:
        """Return the users whose margin no longer backs their position."""
        mark = self.mark
        if mark is None:
            return []
        found = []
        for name in self.holders():
            held = self.holding(name)
            if name in {HOUSE, STREET} or not held.quantity:
                continue
            value = self._value(held.quantity, mark)
            equity = EXACT.add(held.margin, EXACT.subtract(value, held.cost))
            if equity < EXACT.multiply(abs(value), self._margin.maintenance):
                found.append(name)
        return found

    def liquidate(self, user: str) -> Holding:
        """Let the house take a position over with its margin; return what it was."""
        held = self.holding(user)
        self._release(user, held.margin)
        self._accounts.move(user, HOUSE, self._asset, held.margin)
        house = self.holding(HOUSE)
        quantity = EXACT.add(house.quantity, held.quantity)
        cost = EXACT.add(house.cost, held.cost)
        if not quantity:
            # Long and short have met: what they cost together is the house's to pay.
            self._accounts.move(HOUSE, CLEARING, self._asset, cost)
            cost = _ZERO
        self._holdings[HOUSE] = Holding(quantity, cost)
        self._holdings[user] = Holding()
        return held
