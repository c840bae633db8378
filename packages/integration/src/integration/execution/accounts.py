"""Balances in double entry: whatever one account gains, another loses.

Accounts are those of users, the house (fees) and the street (everybody else in the
market, and the world that deposits come from). The sum over all accounts is zero for
every asset at every moment; a user's balance is never negative, free or in all. Both
are checked on each movement, so that a mistake stops here and not in a report.

Pure and exact. Knows no orders.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, final

from integration.execution.errors import InsufficientBalance
from integration.execution.exact import EXACT
from integration.execution.models import Balance
from integration.models import AssetNameInternal

__all__ = ["HOUSE", "STREET", "Accounts"]

HOUSE: Final = "(house)"
"""Collects fees and pays rebates; may owe."""
STREET: Final = "(street)"
"""The other side of the displayed market, and of deposits; may owe."""

_ZERO: Final = Decimal(0)


@final
class Accounts:
    """Who has what, and how much of it is held for open orders.

    Args:
        deposits: What users have at first.

    Raises:
        ValueError: A deposit is negative, or a user has a reserved name.
    """

    def __init__(
        self, deposits: Mapping[str, Mapping[AssetNameInternal, Decimal]]
    ) -> None:
        self._totals: dict[str, dict[AssetNameInternal, Decimal]] = {
            HOUSE: {},
            STREET: {},
        }
        self._owing = {HOUSE, STREET}
        self._held: dict[tuple[str, AssetNameInternal], Decimal] = {}
        for user, assets in deposits.items():
            if user in {HOUSE, STREET}:
                raise ValueError(f"{user!r} is no user's name")
            self._totals[user] = {}
            for asset, amount in assets.items():
                self.deposit(user, asset, amount)

    @property
    def users(self) -> tuple[str, ...]:
        """Every user, without house, street and others that may owe."""
        return tuple(name for name in self._totals if name not in self._owing)

    def open(self, name: str) -> None:
        """Open an account that is no user's and may owe; may be called again.

        Raises:
            ValueError: A user has this name.
        """
        if name in self.users:
            raise ValueError(f"{name!r} is a user's name")
        self._totals.setdefault(name, {})
        self._owing.add(name)

    def deposit(self, user: str, asset: AssetNameInternal, amount: Decimal) -> None:
        """Bring an amount from outside.

        Raises:
            ValueError: It is negative.
        """
        if amount < 0:
            raise ValueError(f"a deposit is not negative, was {amount} {asset}")
        self.move(STREET, user, asset, amount)

    def balance(self, user: str, asset: AssetNameInternal) -> Balance:
        """Return what a user has of an asset.

        Raises:
            KeyError: There is no such user.
        """
        total = self._totals[user].get(asset, _ZERO)
        held = self._held.get((user, asset), _ZERO)
        return Balance(total, EXACT.subtract(total, held))

    def balances(self, user: str) -> dict[AssetNameInternal, Balance]:
        """Return every asset that a user has, or ever had, sorted by name."""
        return {
            asset: self.balance(user, asset) for asset in sorted(self._totals[user])
        }

    def sum(self, asset: AssetNameInternal) -> Decimal:
        """Return the sum over all accounts: zero, or the books are wrong."""
        total = _ZERO
        for assets in self._totals.values():
            total = EXACT.add(total, assets.get(asset, _ZERO))
        return total

    def hold(self, user: str, asset: AssetNameInternal, amount: Decimal) -> None:
        """Set an amount aside for an order.

        Raises:
            InsufficientBalance: Less than that is free; nothing changed.
        """
        free = self.balance(user, asset).free
        if free < amount:
            raise InsufficientBalance(
                f"the order needs {amount} {asset}, of which {free} is free"
            )
        key = (user, asset)
        self._held[key] = EXACT.add(self._held.get(key, _ZERO), amount)

    def release(self, user: str, asset: AssetNameInternal, amount: Decimal) -> None:
        """Give back what was held."""
        key = (user, asset)
        left = EXACT.subtract(self._held.get(key, _ZERO), amount)
        if left < 0:
            raise AssertionError(f"{user} held less {asset} than {amount}")
        self._held[key] = left

    def move(
        self, payer: str, payee: str, asset: AssetNameInternal, amount: Decimal
    ) -> None:
        """Let one account pay another; a user pays from what is free."""
        if amount < 0:
            payer, payee, amount = payee, payer, EXACT.minus(amount)
        free = payer in self._owing or self.balance(payer, asset).free >= amount
        if not free:
            raise AssertionError(f"{payer} has less than {amount} {asset} free")
        self._add(payer, asset, EXACT.minus(amount))
        self._add(payee, asset, amount)

    def _add(self, name: str, asset: AssetNameInternal, amount: Decimal) -> None:
        assets = self._totals[name]
        assets[asset] = EXACT.add(assets.get(asset, _ZERO), amount)
