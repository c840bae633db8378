"""What a venue admits as an order, checked before anything is sent.

A refusal costs a round trip and weight, and says little; here it is named. Pure: the
terms are those of the instrument, loaded by `integration.instruments`.
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from integration.execution.errors import InvalidOrder, OrderRule
from integration.execution.exact import EXACT, is_multiple
from integration.execution.models import OrderRequestOpen
from integration.models import Instrument, InstrumentSpec, Side

__all__ = ["check_order", "round_price", "round_quantity"]


def check_order(
    request: OrderRequestOpen,
    instrument: Instrument,
    *,
    reference: Decimal | None = None,
) -> None:
    """Refuse an order that the instrument's terms do not admit.

    Args:
        request: The order.
        instrument: Its terms; without a spec nothing can be checked.
        reference: A price by which the notional of a market order is reckoned; it is
            not checked without one.

    Raises:
        InvalidOrder: It breaks a rule; the first in the order of `OrderRule`.
    """
    spec = instrument.spec
    if spec is None:
        return
    if request.price is not None:
        _check_price(request.price, spec)
    _check_quantity(request.quantity, spec)
    price = request.price or reference
    if price is not None:
        least, notional = spec.notional.min, EXACT.multiply(price, request.quantity)
        if notional < least:
            raise InvalidOrder(OrderRule.NOTIONAL_MIN, notional, least)


def _check_price(price: Decimal, spec: InstrumentSpec) -> None:
    rule = spec.price
    if price < rule.min:
        raise InvalidOrder(OrderRule.PRICE_MIN, price, rule.min)
    if rule.max is not None and price > rule.max:
        raise InvalidOrder(OrderRule.PRICE_MAX, price, rule.max)
    if not is_multiple(price, rule.tick_size):
        raise InvalidOrder(OrderRule.PRICE_TICK, price, rule.tick_size)


def _check_quantity(quantity: Decimal, spec: InstrumentSpec) -> None:
    rule = spec.quantity
    if quantity < rule.min:
        raise InvalidOrder(OrderRule.QUANTITY_MIN, quantity, rule.min)
    if rule.max is not None and quantity > rule.max:
        raise InvalidOrder(OrderRule.QUANTITY_MAX, quantity, rule.max)
    if not is_multiple(quantity, rule.increment):
        raise InvalidOrder(OrderRule.QUANTITY_STEP, quantity, rule.increment)


def round_price(price: Decimal, instrument: Instrument, side: Side) -> Decimal:
    """Round a price to the tick, away from the market: buys down, sells up."""
    spec = instrument.spec
    if spec is None:
        return price
    up = side is Side.SELL
    return _rounded(price, spec.price.tick_size, ROUND_CEILING if up else ROUND_FLOOR)


def round_quantity(quantity: Decimal, instrument: Instrument) -> Decimal:
    """Round a quantity down to the step; zero if it is less than one."""
    spec = instrument.spec
    if spec is None:
        return quantity
    return _rounded(quantity, spec.quantity.increment, ROUND_FLOOR)


def _rounded(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    if is_multiple(value, step):
        return value
    steps = (value / step).to_integral_value(rounding)
    return EXACT.multiply(steps, step)
