"""The use cases of products: making, dividing, listing and watching them."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec

from flowtrade.core.operations import (
    AddProduct,
    Applied,
    NewProduct,
    Once,
    PartitionProduct,
)
from flowtrade.core.records import product_record
from flowtrade.core.state import Added, Entity, Kind
from flowtrade.core.turns import Turns
from flowtrade.core.usecase import UseCases, repeated_of
from flowtrade.errors import InvalidRequest, NotFound
from flowtrade.ids import product_terms
from flowtrade.models.ids import Id
from flowtrade.models.product import ProductPage, ProductRecord
from flowtrade.models.time import TimeError, parse_timestamp
from netcore.models import Timestamp

__all__ = ["Catalogue", "ProductFilter"]

_LOOK: Final = 64
"""Products after which the clock is looked at: some hundred microseconds."""


class ProductFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which products to list.

    Attributes:
        kind: Only products of this kind, compared as text.
        start: Only products delivered from this moment on or later.
        thru: Only products delivered until this moment or earlier.
        leaves: Only products that are not divided.
        after: Only products made after this one.
        limit: At most so many.
        at: As it was at this moment, or None for the present.
    """

    limit: int
    kind: str | None = None
    start: Timestamp | None = None
    thru: Timestamp | None = None
    leaves: bool = False
    after: Id | None = None
    at: Timestamp | None = None


class Catalogue(UseCases):
    """What is asked of products."""

    _product_listeners: list[Callable[[Id, bytes], None]]

    async def create_product(
        self, app_data: bytes, *, once: Once | None = None
    ) -> ProductRecord:
        """Make a root product; `once` as for `create_demand`.

        Raises:
            InvalidRequest: The application does not accept this app_data.
            IdTaken: The product exists already.
        """
        new = NewProduct(id=self.new_id(Kind.PRODUCT, app_data), app_data=app_data)
        applied = await self._store.execute(AddProduct(product=new, once=once))
        if (repeated := repeated_of(applied)) is None:
            return self.product(new.id)
        return self.history.product(repeated.ids[0], repeated.timestamp)

    async def partition(
        self,
        key: Id,
        children: Sequence[tuple[bytes, float]],
        *,
        once: Once | None = None,
    ) -> list[ProductRecord]:
        """Divide a product into others, once.

        Args:
            key: The product.
            children: app_data and ratio of each part.
            once: As for `create_demand`.

        Raises:
            InvalidRequest: There is no part, or an app_data is not accepted.
            NotFound: There is no such product.
            AlreadyPartitioned: It is divided already.
            IdTaken: A part exists already.
        """
        if not children:
            raise InvalidRequest("a product is divided into at least one part")
        if key not in self.mirror.products:
            raise NotFound("product", key)
        parts = tuple(
            NewProduct(id=self.new_id(Kind.PRODUCT, data), app_data=data, ratio=ratio)
            for data, ratio in children
        )
        applied = await self._store.execute(
            PartitionProduct(parent=key, children=parts, once=once)
        )
        if (repeated := repeated_of(applied)) is None:
            return [self.product(part.id) for part in parts]
        return [self.history.product(part, repeated.timestamp) for part in repeated.ids]

    def product(self, key: Id) -> ProductRecord:
        """Return a product.

        Raises:
            NotFound: There is no such product.
        """
        return product_record(self._product(key), self.mirror.products)

    def products(self, wanted: ProductFilter) -> ProductPage:
        """List products in order of making."""
        found = (product for product in self._chosen(wanted) if product is not None)
        return self._page(list(islice(found, wanted.limit + 1)), wanted)

    async def list_products(self, wanted: ProductFilter) -> ProductPage:
        """List products in order of making; others have their turn meanwhile."""
        if wanted.at is None:  # of one moment, whatever happens meanwhile
            wanted = msgspec.structs.replace(wanted, at=self.mirror.at)
        found: list[Entity] = []
        turns = Turns()
        for number, product in enumerate(self._chosen(wanted)):
            if product is not None:
                found.append(product)
            if len(found) > wanted.limit:
                break
            if number % _LOOK == 0:
                await turns.give_way()
        return self._page(found, wanted)

    def watch_products(self, listener: Callable[[Id, bytes], None]) -> None:
        """Call `listener` with id and app_data of every product made from now on.

        Whoever makes it, here or in another process on the same store.
        """
        self._product_listeners.append(listener)

    # Inside.

    def _tell_products(self, applied: Applied) -> None:
        for change in applied.changes:
            if isinstance(change, Added) and change.entity.kind is Kind.PRODUCT:
                for listener in self._product_listeners:
                    listener(change.entity.id, change.entity.app_data)

    def _page(self, found: list[Entity], wanted: ProductFilter) -> ProductPage:
        """Return a page of what was found: at most one more than it shows."""
        tree, shown = self.mirror.products, found[: wanted.limit]
        return ProductPage(
            results=[product_record(product, tree, wanted.at) for product in shown],
            more=shown[-1].id if len(found) > len(shown) else msgspec.UNSET,
        )

    def _chosen(self, wanted: ProductFilter) -> Iterator[Entity | None]:
        """Yield the products that are wanted, and None for each that is not."""
        for product in self._products_after(wanted.after):
            if wanted.at is not None and product.created > wanted.at:
                return  # they are in order of making
            yield product if self._matches(product, wanted) else None

    def _products_after(self, key: Id | None) -> Iterator[Entity]:
        products = iter(list(self.mirror.products))  # some may be made meanwhile
        if key is not None:
            self._product(key)
            for product in products:
                if product.id == key:
                    break
        return products

    def _matches(self, product: Entity, wanted: ProductFilter) -> bool:
        divided = self.mirror.products.divided_at(product.id)
        gone = divided is not None and (wanted.at is None or divided <= wanted.at)
        if wanted.leaves and gone:
            return False
        terms = product_terms(product.app_data)
        return (
            (wanted.kind is None or str(terms.kind) == wanted.kind)
            and _not_before(terms.start, wanted.start)
            and _not_after(terms.thru, wanted.thru)
        )


def _not_before(text: str | None, bound: Timestamp | None) -> bool:
    return bound is None or ((moment := _moment(text)) is not None and moment >= bound)


def _not_after(text: str | None, bound: Timestamp | None) -> bool:
    return bound is None or ((moment := _moment(text)) is not None and moment <= bound)


def _moment(text: str | None) -> Timestamp | None:
    try:
        return None if text is None else parse_timestamp(text)
    except TimeError:  # app_data is the application's; what is no time matches none
        return None
