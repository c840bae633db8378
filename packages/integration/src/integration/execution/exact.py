"""Arithmetic that is exact or says so.

`Decimal`'s default context rounds to 28 digits without a word, and a balance that is
rounded is a balance that is not conserved. `EXACT` has room for any product of two
numbers that venues send and raises where a result would not be exact.
"""

import decimal
from decimal import Decimal
from typing import Final

__all__ = ["EXACT", "is_multiple"]

EXACT: Final = decimal.Context(
    prec=160,  # two numbers of 38 digits (the widest in use), multiplied twice
    rounding=decimal.ROUND_HALF_EVEN,
    traps=[decimal.Inexact, decimal.InvalidOperation, decimal.DivisionByZero],
)
"""Add, subtract and multiply with its methods: `EXACT.multiply(price, quantity)`."""


def is_multiple(value: Decimal, step: Decimal) -> bool:
    """Say whether `value` is a whole number of steps; any is of no step at all."""
    return not step or not EXACT.remainder(value, step)
