"""Statements: what each bidder delivered, received, paid and was charged.

Reads a range of batches from a store, accrues each for as long as it was valid within
the range, settles once at the end, and sums by bidder. Conserves as `settlement` does:
over all bidders the lots of each product and the cash add up to zero, and the operator
receives the fees that bidders pay.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from fractions import Fraction
from typing import cast, final

import msgspec

from flowtrade.core.products import ProductTree
from flowtrade.core.state import Entity, Group, Kind, Part, StoredBatch, Version
from flowtrade.errors import InvalidRequest
from flowtrade.models.batch import BatchStatus
from flowtrade.models.ids import Id
from flowtrade.models.time import format_timestamp, parse_timestamp
from flowtrade.ports import Store, Window
from flowtrade.settings import SettlementSettings
from flowtrade.settlement import Ledger, Period, Settlement
from netcore.models import Model, Timestamp

__all__ = ["Holding", "Statement", "Statements", "settle_range"]

_PAGE = 500


class Holding(Model, frozen=True, kw_only=True, gc=False):
    """What a bidder received of one product over the range.

    Attributes:
        product: The product.
        lots: Whole lots, negative if given.
        quantity: The same in the product's units, exact, as a decimal or a fraction.
        accrued: The exact quantity before rounding, in float64.
    """

    product: Id
    lots: int
    quantity: str
    accrued: float


class Statement(Model, frozen=True, kw_only=True):
    """One bidder's account over the range.

    Attributes:
        bidder: The bidder.
        holdings: By product, in order of product ids.
        cash: Smallest units of money received for what was given, negative if paid.
        fees: Smallest units of money paid to the operator.
    """

    bidder: Id
    holdings: list[Holding]
    cash: int
    fees: int


class Statements(Model, frozen=True, kw_only=True):
    """A settled range.

    Attributes:
        start: Its beginning, included.
        thru: Its end, excluded.
        batches: How many cleared batches were valid in it.
        money: The smallest unit of money.
        fees: Smallest units of money that the operator receives.
        statements: By bidder, in order of ids.
    """

    start: str = msgspec.field(name="from")
    thru: str
    batches: int
    money: str
    fees: int
    statements: list[Statement]


async def settle_range(
    store: Store,
    start: Timestamp,
    thru: Timestamp,
    *,
    terms: SettlementSettings,
    rate_unit: float,
) -> Statements:
    """Settle what the batches of a range have traded.

    A batch that began before the range counts from its start, one that is still valid
    at the end until then.

    Args:
        store: Where the batches are.
        start: Beginning, included, ns.
        thru: End, excluded, ns; not after now, as nobody knows what will be traded.
        terms: Lots, money and fee.
        rate_unit: Seconds in the unit of time of rates.

    Raises:
        InvalidRequest: The range is empty, or a term is not positive.
        Unbalanced: A batch's rates do not add up, so it is no auction's outcome.
        StoreFailed: The store cannot be read.
    """
    if start >= thru:
        raise InvalidRequest(
            f"from must be before thru, was {format_timestamp(start)} and "
            f"{format_timestamp(thru)}"
        )
    ledger = Ledger(
        rate_unit=round(rate_unit * 10**9),
        lots={key: Fraction(size) for key, size in terms.lots.items()},
        default_lot=Fraction(terms.lot),
        money=Fraction(terms.money),
        fee=Fraction(terms.fee),
    )
    history = _Bases(store)
    await history.load(thru)
    batches = 0
    async for batch, begin, end in _cleared(store, start, thru):
        ledger.accrue(await history.period(batch, end - begin))
        batches += 1
    settlement = ledger.settle()
    return Statements(
        start=format_timestamp(start),
        thru=format_timestamp(thru),
        batches=batches,
        money=str(terms.money),
        fees=sum(settlement.fees.values()),
        statements=_by_bidder(settlement, ledger, history.owners, terms),
    )


async def _cleared(
    store: Store, start: Timestamp, thru: Timestamp
) -> AsyncIterator[tuple[StoredBatch, Timestamp, Timestamp]]:
    """Yield cleared batches, newest first, and when they were valid in the range."""
    end, before = thru, thru
    while True:
        page = await store.batches(Window(limit=_PAGE, before=before))
        for record in page:
            before = parse_timestamp(record.as_of)
            if record.status is not BatchStatus.CLEARED:
                continue  # the outcomes before it stay valid
            begin = max(before, start)
            if begin < end:
                batch = await store.batch(before)
                assert batch is not None  # noqa: S101  # listed a moment ago
                # A batch with caps ends when the next one was due, if that is late.
                until = end if batch.expires is None else min(end, batch.expires)
                if begin < until:
                    yield batch, begin, until
            end = begin
            if before <= start:
                return
        if len(page) < _PAGE:
            return


@final
class _Bases:
    """Portfolios' bases in leaf products, as they were at any batch."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._versions: dict[Id, list[Version]] = {}
        self._tree = ProductTree()
        self.owners: dict[Id, Id] = {}

    async def load(self, at: Timestamp) -> None:
        entities = (await self._store.snapshot(at)).entities
        self._tree = ProductTree(_of(entities, Kind.PRODUCT))
        self.owners = {e.id: e.owner for e in _of(entities, Kind.PORTFOLIO)}

    async def period(self, batch: StoredBatch, nanoseconds: int) -> Period:
        bases = {key: await self._basis(key, batch.as_of) for key in batch.portfolios}
        return Period(
            nanoseconds=nanoseconds,
            rates={key: result.rate for key, result in batch.portfolios.items()},
            bases=bases,
            prices={
                key: result.price
                for key, result in batch.record.products.items()
                if result.price is not None
            },
        )

    async def _basis(self, portfolio: Id, at: Timestamp) -> Group:
        # Batches come newest first and so do versions: those begun later are done with.
        versions = self._versions.get(portfolio)
        if versions is None or (versions and versions[-1].valid_from > at):
            window = Window(limit=_PAGE, before=at + 1)
            versions = await self._store.history(Part.BASIS, portfolio, window)
            self._versions[portfolio] = versions
        for version in versions:
            if version.valid_from <= at:
                if version.valid_until is not None and version.valid_until <= at:
                    break  # inactive then
                return self._tree.expand(cast("Group", version.value), at)
        return {}


def _of(entities: Iterable[Entity], kind: Kind) -> list[Entity]:
    return [entity for entity in entities if entity.kind is kind]


def _by_bidder(
    settlement: Settlement,
    ledger: Ledger,
    owners: Mapping[Id, Id],
    terms: SettlementSettings,
) -> list[Statement]:
    lots: dict[Id, dict[Id, int]] = {}
    accrued: dict[Id, dict[Id, Fraction]] = {}
    for portfolio, product, quantity in ledger.positions():
        held = accrued.setdefault(owners[portfolio], {})
        held[product] = held.get(product, Fraction()) + quantity
    for fill in settlement.fills:
        filled = lots.setdefault(owners[fill.portfolio], {})
        filled[fill.product] = filled.get(fill.product, 0) + fill.lots
    return [
        Statement(
            bidder=bidder,
            holdings=[
                Holding(
                    product=product,
                    lots=lots.get(bidder, {}).get(product, 0),
                    quantity=str(
                        lots.get(bidder, {}).get(product, 0)
                        * terms.lots.get(product, terms.lot)
                    ),
                    accrued=float(quantity),
                )
                for product, quantity in sorted(accrued[bidder].items())
            ],
            cash=_of_bidder(settlement.cash, owners, bidder),
            fees=_of_bidder(settlement.fees, owners, bidder),
        )
        for bidder in sorted(accrued)
    ]


def _of_bidder(amounts: Mapping[Id, int], owners: Mapping[Id, Id], bidder: Id) -> int:
    return sum(units for key, units in amounts.items() if owners[key] == bidder)
