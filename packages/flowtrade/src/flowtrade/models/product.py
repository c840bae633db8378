"""Products: what is traded, and how a product divides into finer ones."""

from typing import Any

import msgspec

from flowtrade.models.ids import Id
from netcore.models import Model

__all__ = [
    "PartitionChild",
    "ProductNode",
    "ProductPage",
    "ProductRecord",
    "ProductTerms",
]


class ProductRecord(Model, frozen=True, kw_only=True):
    """A product; all keys are always present.

    Attributes:
        id: The product.
        app_data: What the application stored with it.
        parent: The product it is part of, and how many of it make one parent; a root
            is its own parent with ratio 1.
        basis: Its leaves with their ratios; itself with 1.0 while undivided.
    """

    id: Id
    app_data: Any
    parent: tuple[Id, float]
    basis: dict[str, float] | None


class ProductNode(Model, frozen=True, kw_only=True):
    """One product in the tree below another, as `GET /product/{id}/tree` lists them.

    Attributes:
        id: The product.
        app_data: What the application stored with it.
        parent: The product it is part of, None for the root of the listing.
        depth: Divisions between the root and it, 0 for the root.
        ratio: Units of it in one unit of the root.
        leaf: Whether it is undivided.
    """

    id: Id
    app_data: Any
    parent: Id | None
    depth: int
    ratio: float
    leaf: bool


class PartitionChild(Model, frozen=True, kw_only=True):
    """One part in the body of `POST /product/{id}`.

    Attributes:
        app_data: The application's data of the new product.
        ratio: Units of the new product in one unit of its parent; any finite number.
    """

    app_data: Any
    ratio: float


class ProductTerms(msgspec.Struct, frozen=True, rename={"start": "from"}):
    """What the listing can filter by, where a product's app_data says it.

    Lenient, because app_data is the application's: other keys are its own business.

    Attributes:
        start: Begin of delivery, RFC 3339 (`from` in JSON).
        thru: End of delivery, RFC 3339.
        kind: A number or a word.
        name: What people call it.
    """

    start: str | None = None
    thru: str | None = None
    kind: int | str | None = None
    name: str | None = None


class ProductPage(Model, frozen=True, kw_only=True):
    """The reply of `GET /product`.

    Attributes:
        results: Products in order of definition.
        more: The id to pass as `after` for the next page; absent on the last one.
    """

    results: list[ProductRecord]
    more: Id | msgspec.UnsetType = msgspec.UNSET
