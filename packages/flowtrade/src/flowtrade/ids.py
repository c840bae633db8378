"""Makers of ids, adapters of the port `IdFactory`.

`TimeOrderedIds` makes the UUIDs of `flowtrade.models.ids`. Products whose app_data
says from when to when they are delivered get an id that derives from it, so that the
same product defined twice is a conflict. `DataIds` takes each id from the app_data
itself, for hosts (and tests) that bring their own.
"""

import secrets
from collections.abc import Callable
from typing import Any, final

import msgspec

from flowtrade.errors import InvalidRequest
from flowtrade.models.ids import (
    Id,
    IdError,
    IdTag,
    canonical_id,
    product_payload,
    uuid8,
)
from flowtrade.models.product import ProductTerms
from flowtrade.models.time import TimeError, parse_timestamp
from netcore.models import Timestamp

__all__ = ["DataIds", "TimeOrderedIds", "entity_name", "product_terms"]

_SECOND = 1_000_000_000
_KINDS = (0, 1)  # forward, option


@final
class TimeOrderedIds:
    """Ids that carry their time and what they name.

    Args:
        random_bits: Returns so many random bits; `secrets.randbits` by default,
            because an id that can be guessed tells who trades.
    """

    def __init__(self, random_bits: Callable[[int], int] = secrets.randbits) -> None:
        self._random_bits = random_bits

    def demand_id(self, app_data: bytes, now: Timestamp) -> Id:
        """Return a new id."""
        return self._make(IdTag.DEMAND, now)

    def portfolio_id(self, app_data: bytes, now: Timestamp) -> Id:
        """Return a new id."""
        return self._make(IdTag.PORTFOLIO, now)

    def product_id(self, app_data: bytes, now: Timestamp) -> Id:
        """Return an id derived from `from`, `thru` and `kind`, or a new one.

        Raises:
            InvalidRequest: There is a `from` and a `thru`, but they are no
                timestamps, in the wrong order, or `kind` is neither 0 nor 1.
        """
        terms = product_terms(app_data)
        if terms.start is None or terms.thru is None:
            return self._make(IdTag.PRODUCT, now)
        try:
            start, thru = parse_timestamp(terms.start), parse_timestamp(terms.thru)
        except TimeError as error:
            raise InvalidRequest(str(error), where="app_data") from error
        if not 0 <= start <= thru:
            raise InvalidRequest(
                f"from must not be after thru, was {terms.start} and {terms.thru}",
                where="app_data",
            )
        if isinstance(terms.kind, bool) or terms.kind not in _KINDS:
            raise InvalidRequest(
                f"kind is 0 (forward) or 1 (option), was {terms.kind!r}",
                where="app_data.kind",
            )
        payload = product_payload((thru - start) // _SECOND, int(terms.kind))
        return uuid8(IdTag.PRODUCT, start // _SECOND, payload)

    def _make(self, tag: IdTag, now: Timestamp) -> Id:
        return uuid8(tag, max(now, 0) // _SECOND, self._random_bits(56))


@final
class DataIds:
    """Each app_data is the UUID to use."""

    def demand_id(self, app_data: bytes, now: Timestamp) -> Id:
        """Return the id in `app_data`."""
        return _id_in(app_data)

    def portfolio_id(self, app_data: bytes, now: Timestamp) -> Id:
        """Return the id in `app_data`."""
        return _id_in(app_data)

    def product_id(self, app_data: bytes, now: Timestamp) -> Id:
        """Return the id in `app_data`."""
        return _id_in(app_data)


def product_terms(app_data: bytes) -> ProductTerms:
    """Read what a product's app_data says of its delivery.

    Returns:
        The terms; all None where app_data says nothing or something of another form.
    """
    try:
        return msgspec.json.decode(app_data, type=ProductTerms)
    except (msgspec.ValidationError, RecursionError):
        return ProductTerms()


def entity_name(app_data: bytes) -> str | None:
    """Return the `name` in app_data, or None where there is none."""
    try:
        decoded: Any = msgspec.json.decode(app_data)
    except RecursionError:  # whoever read it first stood less deep
        return None
    name = decoded.get("name") if isinstance(decoded, dict) else None
    return name if isinstance(name, str) else None


def _id_in(app_data: bytes) -> Id:
    try:
        return canonical_id(msgspec.json.decode(app_data, type=str))
    except (msgspec.ValidationError, IdError) as error:
        raise InvalidRequest(
            "app_data must be the UUID to use as id", where="app_data"
        ) from error
