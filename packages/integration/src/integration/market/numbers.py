"""The boundary at which text of a venue becomes a number, or is refused.

A decoder that accepts `Decimal` also accepts `"NaN"`, `"Infinity"`, `" 1"` and
`"1_0"`, and a NaN in a book poisons every comparison after it. Prices and amounts
therefore pass through here: digits with at most one point, an exponent if the venue
writes one (JSON numbers do). Signed numbers (rates) are `integration.fields`'.

Spelling is kept: checksums are computed over it. Does not know venues or books.
"""

import re
from decimal import Decimal, InvalidOperation

from integration.errors import InvalidLevel

__all__ = ["MAX_LENGTH", "exact", "exact_pair", "is_zero", "plain"]

MAX_LENGTH = 64
"""No venue sends more than 38 digits (the widest decimal column in use); a longer
text is an attack on memory or a broken decoder."""

_MAX_EXPONENT = 40
"""As many digits as the longest number has, on either side of the point."""

_NUMBER = re.compile(
    r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE](?P<exponent>[+-]?[0-9]+))?", re.ASCII
)


def _refuse(text: object, what: str) -> InvalidLevel:
    shown = repr(text)
    if len(shown) > MAX_LENGTH:
        shown = shown[:MAX_LENGTH] + "…"
    return InvalidLevel(
        f"{what} is a finite number written with digits, was {shown}: drop the message"
    )


def _well_formed(text: str) -> bool:
    """Say whether `text` is an unsigned finite number in ASCII digits."""
    if len(text) > MAX_LENGTH:
        return False
    # The common spelling first: digits, perhaps one point between them.
    if text.replace(".", "", 1).isdigit() and text.isascii():
        return True
    match = _NUMBER.fullmatch(text)
    if match is None:
        return False
    exponent = match["exponent"]
    return exponent is None or abs(int(exponent)) <= _MAX_EXPONENT


def exact(text: str, what: str = "a price or an amount") -> Decimal:
    """Convert an unsigned number, keeping its digits.

    Args:
        text: as the venue spelled it.
        what: names the number in the error.

    Raises:
        InvalidLevel: not a finite unsigned number.
    """
    # No memory of numbers seen: on recorded feeds it knew three of four, and still
    # cost more than converting, because text from a decoder has to be hashed first.
    if _well_formed(text):
        return Decimal(text)
    raise _refuse(text, what)


def exact_pair(price: str, amount: str) -> tuple[Decimal, Decimal]:
    """Convert a price and an amount; two thirds of the cost of `exact` for each.

    Raises:
        InvalidLevel: one is not a finite unsigned number.
    """
    # Both are looked at as one text: of digits and points, what is no number is
    # refused by Decimal itself.
    both = price + amount
    if (
        both.replace(".", "").isdigit()
        and both.isascii()
        and len(both) <= MAX_LENGTH  # of both: longer ones take the slow way
    ):
        try:
            return Decimal(price), Decimal(amount)
        except InvalidOperation:
            pass
    return exact(price, "a price"), exact(amount, "an amount")


def is_zero(text: str, what: str = "an amount") -> bool:
    """Say whether an unsigned number is zero, in whatever spelling.

    Raises:
        InvalidLevel: not a finite unsigned number.
    """
    # The common spelling first, as in `_well_formed`, without asking twice.
    digits = text.replace(".", "", 1)
    if digits.isdigit() and digits.isascii() and len(text) <= MAX_LENGTH:
        return not digits.strip("0")
    if not _well_formed(text):
        raise _refuse(text, what)
    mantissa = text.lower().partition("e")[0]
    return not mantissa.strip("0.")


def plain(value: Decimal, what: str = "a price or an amount") -> str:
    """Spell a decoded number without exponent, digits kept.

    For venues that send JSON numbers: `Decimal` keeps their digits, this gives back
    the text that the books store.

    Raises:
        InvalidLevel: not finite, or negative.
    """
    if not value.is_finite() or value.is_signed():
        raise _refuse(str(value), what)
    if abs(value.adjusted()) > _MAX_EXPONENT:
        raise _refuse(str(value), what)
    return format(value, "f")
