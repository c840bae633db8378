"""From the state to the records that the API answers with.

Pure: views of the mirror in, wire records out.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, cast

import msgspec

from flowtrade.core.products import ProductTree
from flowtrade.core.state import (
    DemandView,
    Entity,
    Group,
    Part,
    PortfolioView,
    Version,
)
from flowtrade.models.curve import PwlCurve, curve_to_builtins
from flowtrade.models.demand import DemandRecord
from flowtrade.models.page import More, Page, ValueRecord
from flowtrade.models.portfolio import PortfolioRecord
from flowtrade.models.product import ProductRecord
from flowtrade.models.time import format_timestamp
from flowtrade.ports import Window
from netcore.models import Timestamp

__all__ = [
    "as_then",
    "demand_record",
    "more_before",
    "page",
    "portfolio_record",
    "product_record",
    "value_to_builtins",
]

_R = TypeVar("_R", DemandRecord, PortfolioRecord)


def demand_record(view: DemandView, *, attached: bool = True) -> DemandRecord:
    """Return a demand's record.

    Args:
        view: The demand.
        attached: Whether to name the portfolios that use it; lists leave them out.
    """
    return DemandRecord(
        id=view.entity.id,
        valid_from=format_timestamp(view.curve.valid_from),
        valid_until=_until([view.curve.valid_until]),
        bidder_id=view.entity.owner,
        app_data=msgspec.Raw(view.entity.app_data),
        curve_data=value_to_builtins(Part.CURVE, view.curve.value),
        portfolios=(dict(view.portfolios) or None) if attached else None,
    )


def portfolio_record(
    view: PortfolioView,
    *,
    tree: ProductTree | None = None,
    at: Timestamp | None = None,
) -> PortfolioRecord:
    """Return a portfolio's record.

    Args:
        view: The portfolio.
        tree: To express the basis in leaf products, or None to leave it as named.
        at: With `tree`: the moment, or None for the present.
    """
    starts = [view.demand.valid_from, view.basis.valid_from]
    ends = [view.demand.valid_until, view.basis.valid_until]
    basis = cast("Group", view.basis.value or {})
    if tree is not None:
        for moment in tree.divisions(basis):
            # A division behind us began what we see, one before us will end it.
            (starts if at is None or moment <= at else ends).append(moment)
        basis = tree.expand(basis, at)
    return PortfolioRecord(
        id=view.entity.id,
        valid_from=format_timestamp(max(starts)),
        valid_until=_until(ends),
        app_data=msgspec.Raw(view.entity.app_data),
        bidder_id=view.entity.owner,
        demand=cast("Group", view.demand.value) or None,
        basis=dict(basis) or None,
    )


def product_record(
    product: Entity, tree: ProductTree, at: Timestamp | None = None
) -> ProductRecord:
    """Return a product's record as of a moment, or the present."""
    return ProductRecord(
        id=product.id,
        app_data=msgspec.Raw(product.app_data),
        parent=(product.parent or product.id, product.ratio),
        basis=dict(tree.leaves(product.id, at)) or None,
    )


def as_then(record: _R) -> _R:
    """Return a record of the past without what happened later."""
    if record.valid_until is None:
        return record
    return msgspec.structs.replace(record, valid_until=None)


def page(
    versions: Sequence[Version],
    window: Window,
    *,
    part: Part | None,
    at: Timestamp | None = None,
) -> Page:
    """Return one page of a history.

    Args:
        versions: At most one more than `window.limit`, newest first; the one too many
            tells that there is more.
        window: What was asked for.
        part: Whose values they are, or None for outcomes.
        at: When it is read: of what ends later, the end was not known then. None for
            the present.
    """
    shown = versions[: window.limit]
    return Page(
        results=[
            ValueRecord(
                valid_from=format_timestamp(version.valid_from),
                valid_until=_until([_known_end(version.valid_until, at)]),
                value=value_to_builtins(part, version.value),
            )
            for version in shown
        ],
        more=more_before(
            [version.valid_from for version in shown],
            window,
            exists=len(versions) > window.limit,
        ),
    )


def more_before(
    shown: Sequence[Timestamp], window: Window, *, exists: bool
) -> More | msgspec.UnsetType:
    """Return the query of the next page, or UNSET on the last one.

    The next page ends before the last row shown, so pages tile the history: no row
    twice, none left out.
    """
    if not exists or not shown:
        return msgspec.UNSET
    after = msgspec.UNSET if window.after is None else format_timestamp(window.after)
    return More(before=format_timestamp(shown[-1]), after=after)


def value_to_builtins(part: Part | None, value: object) -> object:
    """Return a version's value as the encoder takes it."""
    if type(value) is PwlCurve:
        return value.points  # encoded as they are: a dict for each costs three times it
    return curve_to_builtins(cast("Any", value)) if part is Part.CURVE else value


def _known_end(end: Timestamp | None, at: Timestamp | None) -> Timestamp | None:
    return None if at is not None and end is not None and end > at else end


def _until(ends: Iterable[Timestamp | None]) -> str | None:
    known = [end for end in ends if end is not None]
    return format_timestamp(min(known)) if known else None
