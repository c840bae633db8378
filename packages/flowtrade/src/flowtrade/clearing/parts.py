"""Parts of a market that have nothing to do with each other.

Products hang together through the portfolios that hold several of them and through the
demands that several portfolios feed. Whatever does not hang together is cleared apart,
each part with its own scales, its own solver and its own proof, so that the outcome of
one is not a matter of the others: to the last bit, if there are few.

Only what takes part is in a part: a portfolio without a demand or a product, a demand
that no other portfolio feeds, a product that nobody else holds are left out.
"""

from dataclasses import dataclass

import numpy as np

from flowtrade.clearing.arrays import (
    BoolArray,
    IntArray,
    Ragged,
    offsets,
    ragged_index,
)
from flowtrade.clearing.columns import Columns, Curves
from flowtrade.clearing.graph import label_parts

__all__ = ["Members", "find_members", "live_usage", "sub_columns"]

_APART = 16
"""Parts at the most: of more, the smallest are cleared together. A solve has a price of
its own, and a thousand products without any spread are one market after all."""

_MARKED = 1 << 23

_FEW = 200
"""Links up to which plain Python is the faster one (measured)."""


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """What belongs to a part, as ascending numbers in the whole market.

    Attributes:
        portfolios: Its portfolios.
        products: Its products.
        demands: Its demands.
    """

    portfolios: IntArray
    products: IntArray
    demands: IntArray


def live_usage(columns: Columns) -> tuple[BoolArray, Ragged]:
    """Which portfolios take part, and the known demands of those that do."""
    usage = columns.usage.filter(columns.known[columns.usage.idx])
    live = (np.diff(columns.basis.ptr) > 0) & (np.diff(usage.ptr) > 0)
    if live.all():
        return live, usage
    return live, usage.filter(np.repeat(live, np.diff(usage.ptr)))


def find_members(columns: Columns) -> list[Members]:
    """Find the parts, in the order of their first products.

    Args:
        columns: The market.

    Returns:
        Its parts; none if no portfolio takes part.
    """
    live, usage = live_usage(columns)
    portfolios = np.flatnonzero(live)
    if not len(portfolios):
        return []
    label = _label_products(columns, live, usage)
    if not label.any() and live.all():
        fed = np.zeros(columns.demands, np.bool_)
        fed[usage.idx] = True
        return [Members(portfolios, np.arange(columns.products), np.flatnonzero(fed))]
    home = label[columns.basis.idx[columns.basis.ptr[portfolios]]]
    held = np.zeros(columns.products, np.bool_)
    held[columns.basis.idx[_entries(columns.basis, live)]] = True
    group = _group(label, held, home)
    demands = np.full(columns.demands, -1, np.int64)
    owner = np.zeros(len(live), np.int64)
    owner[portfolios] = group[home]
    demands[usage.idx] = owner[usage.rows()]
    products = np.where(held, group[label], -1)
    return [
        Members(
            portfolios[owner[portfolios] == part],
            np.flatnonzero(products == part),
            np.flatnonzero(demands == part),
        )
        for part in range(int(group.max()) + 1)
    ]


def sub_columns(columns: Columns, members: Members) -> Columns:
    """The market of a part alone."""
    curves = columns.curves
    at = ragged_index(curves.ptr, members.demands)
    lengths = np.diff(curves.ptr)[members.demands]
    usage = columns.usage.take(members.portfolios)
    usage = usage.filter(columns.known[usage.idx])
    return Columns(
        len(members.products),
        Curves(offsets(lengths), curves.rate[at], curves.price[at]),
        np.ones(len(members.demands), np.bool_),
        _renumbered(usage, members.demands),
        _renumbered(columns.basis.take(members.portfolios), members.products),
    )


def _label_products(columns: Columns, live: BoolArray, usage: Ragged) -> IntArray:
    """Label products; those that nobody live holds have labels of their own."""
    basis = columns.basis
    inner = np.ones(len(basis.idx), np.bool_)
    inner[basis.ptr[:-1][np.diff(basis.ptr) > 0]] = False
    if not live.all():
        inner &= np.repeat(live, np.diff(basis.ptr))
    second = np.flatnonzero(inner)
    feeders = np.bincount(usage.idx, minlength=columns.demands)
    shared = np.flatnonzero(feeders[usage.idx] > 1)
    shared = shared[np.argsort(usage.idx[shared], kind="stable")]
    first = basis.idx[basis.ptr[usage.rows()[shared]]]
    same = np.flatnonzero(usage.idx[shared][1:] == usage.idx[shared][:-1])
    one = np.concatenate([basis.idx[second - 1], first[same]])
    other = np.concatenate([basis.idx[second], first[same + 1]])
    if len(one) <= _FEW:
        return _label_few(one.tolist(), other.tolist(), columns.products)
    pairs = _distinct(one * columns.products + other, columns.products**2)
    one, other = pairs // columns.products, pairs % columns.products
    links = np.arange(len(pairs))
    return label_parts(
        np.concatenate([links, links]),
        np.concatenate([one, other]),
        len(pairs),
        columns.products,
    )[2]


def _label_few(one: list[int], other: list[int], count: int) -> IntArray:
    """Labels by merging: a graph library costs more than a small auction's solve."""
    parent = list(range(count))
    for left, right in zip(one, other, strict=True):
        while parent[left] != left:
            left = parent[left]
        while parent[right] != right:
            right = parent[right]
        # The lesser one leads, so a part's label is its first product.
        parent[max(left, right)] = min(left, right)
    for node in range(count):
        parent[node] = parent[parent[node]]
    return np.array(parent, np.int64)


def _distinct(values: IntArray, size: int) -> IntArray:
    """Distinct values, ascending; below a few million, marking beats sorting."""
    if size > _MARKED:
        return np.unique(values)
    marks = np.zeros(size, np.bool_)
    marks[values] = True
    return np.flatnonzero(marks)


def _group(label: IntArray, held: BoolArray, home: IntArray) -> IntArray:
    """The part of each label, -1 for one without portfolios; small ones share one."""
    count = int(label.max()) + 1
    size = np.bincount(home, minlength=count)
    first = np.full(count, len(label), np.int64)
    np.minimum.at(first, label[held], np.flatnonzero(held))
    used = np.flatnonzero(size > 0)
    used = used[np.argsort(first[used])]
    part = np.arange(len(used))
    if len(used) > _APART:
        # Sorted by size, equal ones by their first product.
        order = np.argsort(-size[used], kind="stable")
        together = np.zeros(len(used), np.bool_)
        together[order[_APART - 1 :]] = True
        part = np.cumsum(~together) - 1
        part[together] = _APART - 1
    group = np.full(count, -1, np.int64)
    group[used] = part
    return group


def _entries(rows: Ragged, kept: BoolArray) -> BoolArray:
    return np.repeat(kept, np.diff(rows.ptr))


def _renumbered(rows: Ragged, numbers: IntArray) -> Ragged:
    return Ragged(rows.ptr, np.searchsorted(numbers, rows.idx), rows.weight)
