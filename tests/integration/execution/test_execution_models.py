from decimal import Decimal

import msgspec
import pytest

from integration.execution import (
    AccountEvent,
    AccountSnapshot,
    Balance,
    Order,
    OrderRequestOpen,
    OrderSnapshot,
    OrderState,
    TimeInForce,
    TradeEvent,
)
from integration.execution.exact import EXACT, is_multiple
from integration.models import Side


def test_a_sent_order_is_in_flight_and_whole(kit):
    order = Order.sent(kit.limit(quantity="2", tif=TimeInForce.POST_ONLY))

    assert order.state is OrderState.OPEN_IN_FLIGHT
    assert order.remaining == 2
    assert order.average_price is None
    assert order.time_in_force is TimeInForce.POST_ONLY


def test_used_is_what_is_not_free():
    assert Balance(Decimal("1.5"), Decimal("0.25")).used == Decimal("1.25")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"quantity": "0"}, "quantity"),
        ({"quantity": "-1"}, "quantity"),
        ({"quantity": "NaN"}, "quantity"),
        ({"price": "0"}, "price"),
        ({"price": "Infinity"}, "price"),
    ],
)
def test_an_order_without_a_positive_finite_number_cannot_be_made(kit, change, why):
    with pytest.raises(ValueError, match=why):
        kit.limit(**change)


def test_a_market_order_neither_rests_nor_has_a_price(kit):
    with pytest.raises(ValueError, match="never rests"):
        kit.market(tif=TimeInForce.GTC)
    with pytest.raises(ValueError, match="has no price"):
        msgspec.structs.replace(kit.market(), price=Decimal(1))


def test_a_limit_order_needs_a_price(kit):
    with pytest.raises(ValueError, match="needs a price"):
        msgspec.structs.replace(kit.limit(), price=None)


@pytest.mark.parametrize("make", ["order", "trade", "request"])
def test_records_survive_json(kit, make):
    value = {
        "order": AccountEvent(kit.exchange, 5, OrderSnapshot(kit.order())),
        "trade": AccountEvent(kit.exchange, 5, TradeEvent(kit.trade())),
        "request": kit.limit(side="sell"),
    }[make]

    text = msgspec.json.encode(value)

    assert msgspec.json.decode(text, type=type(value)) == value


def test_a_snapshot_groups_orders_by_instrument(kit):
    orders = [kit.order("b"), kit.order("a")]

    snapshot = AccountSnapshot.of(kit.exchange, (), orders)

    assert [part.instrument for part in snapshot.instruments] == [kit.name]
    assert snapshot.orders == tuple(orders)


def test_the_mean_price_of_fills(kit):
    order = kit.order(filled="0.5", filled_quote=Decimal("50.5"))

    assert order.average_price == 101


def test_arithmetic_is_exact_beyond_the_default_context():
    long = Decimal("12345678901234567890.12345678901234567")

    product = EXACT.multiply(long, long)

    assert product != long * long  # the default context rounds to 28 digits
    as_int = 1234567890123456789012345678901234567
    assert product == Decimal(as_int * as_int).scaleb(-34, EXACT)


@pytest.mark.parametrize(
    ("value", "step", "expected"),
    [
        ("0.3", "0.1", True),
        ("0.35", "0.1", False),
        ("5", "0", True),
        ("1e-8", "1e-8", True),
    ],
)
def test_multiples_are_told_exactly(value, step, expected):
    assert is_multiple(Decimal(value), Decimal(step)) is expected


def test_requests_cannot_be_changed(kit):
    request = kit.limit()

    with pytest.raises(AttributeError):
        request.side = Side.SELL
    assert isinstance(request, OrderRequestOpen)
