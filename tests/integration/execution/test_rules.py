from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.execution import (
    InvalidOrder,
    OrderRule,
    check_order,
    round_price,
    round_quantity,
)
from integration.models import Side


@pytest.mark.parametrize(
    ("order", "rule"),
    [
        ({"price": "0.001"}, OrderRule.PRICE_MIN),
        ({"price": "1000000.01"}, OrderRule.PRICE_MAX),
        ({"price": "100.005"}, OrderRule.PRICE_TICK),
        ({"quantity": "0.000001"}, OrderRule.QUANTITY_MIN),
        ({"quantity": "9001"}, OrderRule.QUANTITY_MAX),
        ({"quantity": "0.100001"}, OrderRule.QUANTITY_STEP),
        ({"quantity": "0.04", "price": "100"}, OrderRule.NOTIONAL_MIN),
    ],
)
def test_each_broken_rule_is_named(kit, order, rule):
    with pytest.raises(InvalidOrder, match=rule.value) as caught:
        check_order(kit.limit(**order), kit.spot())

    assert caught.value.rule is rule
    assert not caught.value.recoverable


def test_an_order_within_the_rules_passes(kit):
    check_order(kit.limit(quantity="0.05", price="100"), kit.spot())


def test_a_market_order_is_reckoned_by_a_reference_price(kit):
    request = kit.market(quantity="0.04")

    check_order(request, kit.spot())
    with pytest.raises(InvalidOrder, match="notional_min admits 5, was 4"):
        check_order(request, kit.spot(), reference=Decimal(100))


def test_without_terms_nothing_is_checked(kit):
    bare = msgspec.structs.replace(kit.spot(), spec=None)

    check_order(kit.limit(price="0.0000001"), bare)
    assert round_price(Decimal("1.23456"), bare, Side.BUY) == Decimal("1.23456")
    assert round_quantity(Decimal("1.23456"), bare) == Decimal("1.23456")


numbers = st.decimals("0.00001", "100000", places=7, allow_nan=False)


@given(numbers, st.sampled_from(Side))
def test_a_rounded_price_is_on_the_tick_and_never_more_aggressive(kit, price, side):
    rounded = round_price(price, kit.spot(), side)

    assert rounded % Decimal("0.01") == 0
    assert abs(rounded - price) < Decimal("0.01")
    assert rounded <= price if side is Side.BUY else rounded >= price


@given(numbers)
def test_a_rounded_quantity_is_a_multiple_and_never_more(kit, quantity):
    rounded = round_quantity(quantity, kit.spot())

    assert rounded <= quantity < rounded + Decimal("0.00001")
    assert rounded % Decimal("0.00001") == 0
