from decimal import Decimal

import pytest

from integration.execution import InsufficientBalance
from integration.execution.accounts import HOUSE, STREET, Accounts
from integration.models import asset_name_internal

BTC, USDT = asset_name_internal("btc"), asset_name_internal("usdt")


@pytest.fixture
def accounts():
    return Accounts({"ann": {USDT: Decimal(100)}, "bob": {BTC: Decimal(2)}})


def test_deposits_come_from_the_street(accounts):
    assert accounts.balance("ann", USDT).total == 100
    assert accounts.sum(USDT) == 0
    assert accounts.users == ("ann", "bob")


def test_holding_leaves_the_total(accounts):
    accounts.hold("ann", USDT, Decimal(40))

    assert accounts.balance("ann", USDT).free == 60
    assert accounts.balance("ann", USDT).total == 100


def test_more_than_is_free_cannot_be_held(accounts):
    accounts.hold("ann", USDT, Decimal(40))

    with pytest.raises(InsufficientBalance, match="needs 61 usdt, of which 60"):
        accounts.hold("ann", USDT, Decimal(61))
    assert accounts.balance("ann", USDT).used == 40


def test_what_is_held_cannot_be_spent(accounts):
    accounts.hold("ann", USDT, Decimal(100))

    with pytest.raises(AssertionError):
        accounts.move("ann", "bob", USDT, Decimal(1))


def test_more_than_was_held_cannot_be_released(accounts):
    with pytest.raises(AssertionError):
        accounts.release("ann", USDT, Decimal(1))


def test_house_and_street_may_owe(accounts):
    accounts.move(HOUSE, "ann", USDT, Decimal(1))
    accounts.move("ann", STREET, USDT, Decimal(101))

    assert accounts.balance("ann", USDT).total == 0
    assert accounts.sum(USDT) == 0


def test_a_negative_movement_goes_the_other_way(accounts):
    accounts.move("ann", HOUSE, USDT, Decimal(-1))

    assert accounts.balance("ann", USDT).total == 101


def test_deposits_are_not_negative_and_names_not_reserved(accounts):
    with pytest.raises(ValueError, match="negative"):
        accounts.deposit("ann", USDT, Decimal(-1))
    with pytest.raises(ValueError, match="no user"):
        Accounts({HOUSE: {}})
