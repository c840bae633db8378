"""The tree of products: what a product is made of at some moment.

A product is divided once, at the moment its parts are made. Until then it is a leaf;
from then on, whoever holds it holds its parts in their ratios, and so on down.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import final

from flowtrade.core.state import Entity, Group
from flowtrade.models.ids import Id
from netcore.models import Timestamp

__all__ = ["ProductTree"]


@final
class ProductTree:
    """All products, in order of making."""

    def __init__(self, products: Iterable[Entity] = ()) -> None:
        self._products: dict[Id, Entity] = {}
        self._parts: dict[Id, list[Entity]] = {}
        # Decompositions at the present; emptied by every division.
        self._leaves: dict[Id, Group] = {}
        for product in products:
            self.add(product)

    def __contains__(self, key: object) -> bool:
        return key in self._products

    def __iter__(self) -> Iterator[Entity]:
        return iter(self._products.values())

    def __len__(self) -> int:
        return len(self._products)

    def get(self, key: Id) -> Entity | None:
        """Return a product, or None."""
        return self._products.get(key)

    def parts(self, key: Id) -> list[Entity]:
        """Return what a product was divided into, empty if it was not."""
        return list(self._parts.get(key, ()))

    def divided_at(self, key: Id) -> Timestamp | None:
        """Return when a product was divided, or None."""
        parts = self._parts.get(key)
        return parts[0].created if parts else None

    def add(self, product: Entity) -> None:
        """Add a product; its parent, if any, is present."""
        self._products[product.id] = product
        if product.parent:
            self._parts.setdefault(product.parent, []).append(product)
            self._leaves.clear()

    def leaves(self, key: Id, at: Timestamp | None = None) -> Group:
        """Return the leaves of a product with their ratios.

        Args:
            key: The product.
            at: The moment, or None for the present.

        Returns:
            Ratios by leaf; ratios multiply down the tree. Itself with 1.0 if it is a
            leaf; empty if it did not exist yet.
        """
        if at is not None:
            return self._expand(key, at)
        known = self._leaves.get(key)
        if known is None:
            known = self._leaves[key] = self._expand(key, None)
        return known

    def expand(self, basis: Mapping[Id, float], at: Timestamp | None = None) -> Group:
        """Return a basis in terms of leaves.

        Weights that reach one leaf over several paths (a portfolio that holds both
        parent and part) add up.
        """
        expanded: Group = {}
        for key, weight in basis.items():
            for leaf, ratio in self.leaves(key, at).items():
                expanded[leaf] = expanded.get(leaf, 0.0) + weight * ratio
        return expanded

    def below(
        self, key: Id, at: Timestamp | None = None
    ) -> Iterator[tuple[Entity, int, float, bool]]:
        """Yield a product and all below it, parents before parts.

        Args:
            key: The root.
            at: The moment, or None for the present.

        Yields:
            Product, depth below the root, units of it in one of the root, and whether
            it is a leaf. Nothing if the root did not exist yet.
        """
        root = self._products.get(key)
        if root is None or (at is not None and root.created > at):
            return
        stack = [(root, 0, 1.0)]
        while stack:
            node, depth, ratio = stack.pop()
            parts = self._parts.get(node.id, [])
            if at is not None and parts and parts[0].created > at:
                parts = []
            yield node, depth, ratio, not parts
            stack += [(p, depth + 1, ratio * p.ratio) for p in reversed(parts)]

    def divisions(self, basis: Iterable[Id]) -> list[Timestamp]:
        """Return when the products below a basis were divided, in no order."""
        moments: list[Timestamp] = []
        stack = list(basis)
        while stack:
            parts = self._parts.get(stack.pop())
            if parts:
                moments.append(parts[0].created)
                stack += (part.id for part in parts)
        return moments

    def _expand(self, key: Id, at: Timestamp | None) -> Group:
        product = self._products.get(key)
        if product is None or (at is not None and product.created > at):
            return {}
        # Iterative: a tree may be deeper than Python's stack.
        leaves: Group = {}
        stack = [(key, 1.0)]
        while stack:
            node, ratio = stack.pop()
            parts = self._parts.get(node)
            if not parts or (at is not None and parts[0].created > at):
                leaves[node] = leaves.get(node, 0.0) + ratio
                continue
            # Reversed, so that leaves come out in the order of making.
            stack += ((part.id, ratio * part.ratio) for part in reversed(parts))
        return leaves
