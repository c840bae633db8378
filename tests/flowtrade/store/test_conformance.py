"""What every store promises, asked of all of them alike."""

from functools import partial
from uuid import UUID

import msgspec
import pytest
import trio
import trio.testing

from flowtrade.core.mirror import Mirror
from flowtrade.core.operations import (
    AddDemand,
    AddPortfolio,
    AddProduct,
    Cut,
    DemandEntry,
    NewProduct,
    PartitionProduct,
    SetCap,
    SetCurve,
    SetGroups,
    StoreBatch,
    Submit,
    TakeLead,
)
from flowtrade.core.state import (
    Batched,
    Bids,
    Kind,
    Part,
    Position,
    StoredBatch,
)
from flowtrade.errors import (
    AlreadyPartitioned,
    BatchExists,
    IdTaken,
    NotFound,
    RequestError,
    StoreClosed,
    Superseded,
    UnknownReference,
    VersionMismatch,
)
from flowtrade.models.batch import BatchRecord, BatchStatus, ProductResult
from flowtrade.models.clearing import RatePrice
from flowtrade.models.curve import ConstantCurve, Point, PwlCurve
from flowtrade.models.portfolio import TradeCap
from flowtrade.models.time import format_timestamp
from flowtrade.ports import Window
from flowtrade.settings import StoreSettings
from flowtrade.store import group, open_store
from flowtrade.store.landing import Landing
from netcore.clock import ManualClock

OWNER, OTHER = str(UUID(int=1)), str(UUID(int=2))
SLOPE = PwlCurve(points=(Point(rate=-1, price=3), Point(rate=2, price=0.1)))
FLAT = ConstantCurve(price=7.5)
ALL = Window(limit=1000)


def key(number):
    return str(UUID(int=1000 + number))


def add_demand(number, *, owner=OWNER, curve=SLOPE):
    return AddDemand(id=key(number), owner=owner, app_data=b'"d"', curve=curve)


def add_portfolio(number, demand, basis, *, owner=OWNER):
    return AddPortfolio(
        id=key(number), owner=owner, app_data=b"{}", demand=demand, basis=basis
    )


def product(number, ratio=1.0):
    return NewProduct(id=key(number), app_data=b'{"name":"p"}', ratio=ratio)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite", "landing", "postgres"])
def url(request, tmp_path, monkeypatch):
    match request.param:
        case "landing":  # whatever changes, and what has landed is moved all the time
            monkeypatch.setattr(
                group, "Landing", partial(Landing, least=1, most=3, share=1)
            )
            return f"sqlite:{tmp_path / 'store.db'}"
        case "sqlite":
            return f"sqlite:{tmp_path / 'store.db'}"
        case "postgres":
            return request.getfixturevalue("postgres_url")
    return "memory:"


@pytest.fixture
async def store(url, clock):
    async with open_store(StoreSettings(url=url), clock=clock) as opened:
        yield opened


async def values(store, part, number):
    versions = await store.history(part, key(number), ALL)
    return [(v.valid_from, v.valid_until, v.value) for v in versions]


async def test_timestamps_increase_even_if_the_clock_does_not(store, clock):
    first = await store.execute(add_demand(1))
    second = await store.execute(SetCurve(id=key(1), curve=FLAT))
    clock.set_wall(clock.now_ns() - 10_000_000_000)  # the operator sets it back
    third = await store.execute(SetCurve(id=key(1), curve=None))
    clock.advance(100)
    fourth = await store.execute(SetCurve(id=key(1), curve=SLOPE))

    stamps = [a.timestamp for a in (first, second, third, fourth)]
    assert stamps[:3] == [stamps[0], stamps[0] + 1, stamps[0] + 2]
    assert stamps[3] == clock.now_ns()


async def test_a_timeline_tiles_time_and_leaves_inactive_periods_out(store, clock):
    stamps = []
    stamps.append((await store.execute(add_demand(1))).timestamp)
    for curve in (FLAT, None, SLOPE):
        clock.advance(1)
        applied = await store.execute(SetCurve(id=key(1), curve=curve))
        stamps.append(applied.timestamp)

    assert await values(store, Part.CURVE, 1) == [
        (stamps[3], None, SLOPE),
        (stamps[1], stamps[2], FLAT),
        (stamps[0], stamps[1], SLOPE),
    ]


async def test_a_window_is_inclusive_below_and_exclusive_above(store, clock):
    stamps = [(await store.execute(add_demand(1))).timestamp]
    for price in range(4):
        clock.advance(1)
        curve = ConstantCurve(price=price)
        applied = await store.execute(SetCurve(id=key(1), curve=curve))
        stamps.append(applied.timestamp)

    window = Window(limit=2, after=stamps[1], before=stamps[4])
    found = await store.history(Part.CURVE, key(1), window)
    rest = await store.history(
        Part.CURVE, key(1), Window(limit=9, after=stamps[1], before=stamps[2])
    )

    assert [version.valid_from for version in found] == [stamps[3], stamps[2]]
    assert [version.valid_from for version in rest] == [stamps[1]]


async def test_a_group_is_replaced_as_a_whole_and_the_other_left_alone(store, clock):
    await store.execute(AddProduct(product=product(9)))
    await store.execute(add_demand(1))
    await store.execute(add_demand(2))
    start = await store.execute(
        add_portfolio(5, {key(1): 1.0, key(2): -0.5}, {key(9): 0.0})
    )
    clock.advance(1)
    change = await store.execute(SetGroups(id=key(5), demand={key(2): 2.0}, basis=None))
    clear = await store.execute(SetGroups(id=key(5), demand={}, basis=None))

    assert await values(store, Part.DEMAND, 5) == [
        (change.timestamp, clear.timestamp, {key(2): 2.0}),
        (start.timestamp, change.timestamp, {key(1): 1.0, key(2): -0.5}),
    ]
    assert await values(store, Part.BASIS, 5) == [
        (start.timestamp, None, {key(9): 0.0})
    ]


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (add_demand(1), IdTaken),
        (add_portfolio(5, {}, {}), IdTaken),
        (AddProduct(product=product(9)), IdTaken),
        (SetCurve(id=key(77), curve=None), NotFound),
        (SetGroups(id=key(77), demand={}, basis=None), NotFound),
        (PartitionProduct(parent=key(77), children=(product(78),)), NotFound),
        (PartitionProduct(parent=key(9), children=(product(80),)), AlreadyPartitioned),
        (PartitionProduct(parent=key(10), children=(product(9),)), IdTaken),
        (add_portfolio(6, {key(77): 1.0}, {}), UnknownReference),
        (add_portfolio(6, {key(3): 1.0}, {}), UnknownReference),  # another's
        (add_portfolio(6, {}, {key(77): 1.0}), UnknownReference),
        (
            SetGroups(id=key(5), demand={key(1): 1.0}, basis={key(77): 1.0}),
            UnknownReference,
        ),
        (SetCurve(id=key(1), curve=None, expected=(1,)), VersionMismatch),
        (SetGroups(id=key(5), demand={}, basis={}, expected=(1,)), VersionMismatch),
        (Cut(scheduled=500), BatchExists),
    ],
)
async def test_a_refused_operation_leaves_nothing(store, operation, error):
    await store.execute(AddProduct(product=product(9)))
    await store.execute(
        PartitionProduct(parent=key(9), children=(product(10, 2), product(11, -3)))
    )
    await store.execute(add_demand(1))
    await store.execute(add_demand(3, owner=OTHER))
    await store.execute(add_portfolio(5, {key(1): 1.0}, {key(9): 1.0}))
    await store.execute(StoreBatch(batch=batch(await cut(store), scheduled=500)))
    before = await store.snapshot()
    told = []
    store.subscribe(told.append)

    with pytest.raises(error):
        await store.execute(operation)

    assert await store.snapshot() == before
    assert told == []


async def cut(store):
    return (await store.execute(Cut())).timestamp


def batch(as_of, *, scheduled=None, cleared=True, portfolios=(), products=()):
    record = BatchRecord(
        as_of=format_timestamp(as_of),
        seq=0,
        scheduled=None if scheduled is None else format_timestamp(scheduled),
        status=BatchStatus.CLEARED if cleared else BatchStatus.FAILED,
        gains=1.0 if cleared else None,
        products={
            k: ProductResult(price=p, rate=1.0, reference=None, name="p")
            for k, p in products
        },
        demands=0,
        portfolios=0,
        report=None,
        certificate=None,
        input_hash="i",
        outcome_hash="o" if cleared else None,
        targets={},
    )
    outcomes = {k: RatePrice(price=p, rate=2.0) for k, p in portfolios}
    return StoredBatch(
        as_of=as_of, scheduled=scheduled, record=record, portfolios=outcomes
    )


async def test_an_outcome_ends_with_the_next_cleared_batch(store):
    await store.execute(AddProduct(product=product(9)))
    await store.execute(add_portfolio(5, {}, {key(9): 1.0}))
    stamps = [await cut(store) for _ in range(4)]
    outcomes = [
        batch(stamps[0], portfolios=[(key(5), 1.5)], products=[(key(9), 0.1)]),
        batch(stamps[1], cleared=False),
        batch(stamps[2], portfolios=[(key(5), None)]),
        batch(stamps[3], products=[(key(9), 0.3)]),
    ]
    for number, stored in enumerate(outcomes, 1):
        applied = await store.execute(StoreBatch(batch=stored))
        assert applied.changes[0].batch.record.seq == number

    of_portfolio = await store.outcomes(Kind.PORTFOLIO, key(5), ALL)
    of_product = await store.outcomes(Kind.PRODUCT, key(9), ALL)

    assert [(v.valid_from, v.valid_until, v.value.price) for v in of_portfolio] == [
        (stamps[2], stamps[3], None),
        (stamps[0], stamps[2], 1.5),
    ]
    assert [(v.valid_from, v.valid_until, v.value.price) for v in of_product] == [
        (stamps[3], None, 0.3),
        (stamps[0], stamps[2], 0.1),
    ]
    listed = await store.batches(Window(limit=3, before=stamps[3]))
    assert [record.seq for record in listed] == [3, 2, 1]
    read = await store.batch(stamps[0])
    assert read.portfolios == outcomes[0].portfolios
    assert read.record.products == outcomes[0].record.products
    assert await store.batch(stamps[0] - 1) is None
    assert (await store.snapshot()).batch.as_of == stamps[3]
    assert (await store.snapshot(stamps[1])).batch.as_of == stamps[0]


async def test_positions_are_known_at_every_moment(store, clock):
    await store.execute(add_portfolio(5, {}, {}))
    await store.execute(add_portfolio(6, {}, {}))
    stamps = []
    for prices, traded in (
        ([(key(5), 1.0), (key(6), None)], {}),
        ([(key(5), 1.0)], {key(5): 6.5}),
    ):
        clock.advance(1)
        stamps.append(await cut(store))
        stored = batch(stamps[-1], portfolios=prices)
        stored = msgspec.structs.replace(stored, traded=traded)
        await store.execute(StoreBatch(batch=stored))

    first = (await store.snapshot(stamps[0])).positions
    last = (await store.snapshot()).positions
    follower = Mirror.from_snapshot(await store.snapshot(stamps[0]))
    follower.apply(stamps[1], [Batched(await store.batch(stamps[1]))])

    assert (await store.snapshot(stamps[0] - 1)).positions == {}
    assert first == {
        key(5): Position(0.0, 2.0, stamps[0]),
        key(6): Position(0.0, 2.0, stamps[0]),
    }
    assert last == {
        key(5): Position(6.5, 2.0, stamps[1]),
        key(6): Position(0.0, 2.0, stamps[0], stamps[1]),
    }
    assert follower.positions == last
    assert (await store.batch(stamps[1])).traded == {key(5): 6.5}
    assert last[key(6)].at(stamps[1] + 10**12) == pytest.approx(2.0, rel=1e-6)


async def test_a_cap_has_a_timeline_of_its_own(store):
    await store.execute(add_portfolio(5, {}, {}))
    first = await store.execute(SetCap(id=key(5), cap=TradeCap(max_trade=1.5)))
    second = await store.execute(SetCap(id=key(5), cap=TradeCap(min_trade=-0.1)))
    third = await store.execute(SetCap(id=key(5), cap=None))

    mirror = Mirror.from_snapshot(await store.snapshot(second.timestamp))

    assert mirror.portfolio(key(5)).cap == TradeCap(min_trade=-0.1)
    assert await values(store, Part.CAP, 5) == [
        (second.timestamp, third.timestamp, TradeCap(min_trade=-0.1)),
        (first.timestamp, second.timestamp, TradeCap(max_trade=1.5)),
    ]


async def test_reads_of_the_past_see_that_moment_alone(store, clock):
    await store.execute(AddProduct(product=product(9)))
    first = await store.execute(add_demand(1))
    clock.advance(1)
    made = await store.execute(add_portfolio(5, {key(1): 4.0}, {key(9): 1.0}))
    clock.advance(1)
    await store.execute(SetGroups(id=key(5), demand={}, basis=None))
    last = await store.execute(SetCurve(id=key(1), curve=FLAT))

    early = await store.demand_at(key(1), first.timestamp)
    attached = await store.demand_at(key(1), made.timestamp)
    late = await store.demand_at(key(1), last.timestamp)

    assert await store.demand_at(key(1), first.timestamp - 1) is None
    assert await store.demand_at(key(2), last.timestamp) is None
    assert await store.portfolio_at(key(5), made.timestamp - 1) is None
    assert (early.curve.value, early.portfolios) == (SLOPE, {})
    assert attached.portfolios == {key(5): 4.0}
    assert (late.curve.value, late.portfolios) == (FLAT, {})
    past = await store.portfolio_at(key(5), made.timestamp)
    assert past.demand.value == {key(1): 4.0}
    assert past.demand.valid_until is not None
    assert past.basis.valid_until is None
    snapshot = await store.snapshot(made.timestamp)
    assert [entity.id for entity in snapshot.entities] == [key(9), key(1), key(5)]


async def test_all_bids_of_a_bidder_are_read_at_once(store, clock):
    await store.execute(AddProduct(product=product(9)))
    stamps = []
    for operation in (
        add_demand(1),
        add_portfolio(5, {key(1): 4.0}, {key(9): 1.0}),
        add_demand(2),
        SetGroups(id=key(5), demand={key(2): 3.0, key(1): 1.0}, basis=None),
        SetCap(id=key(5), cap=TradeCap(max_trade=1.0)),
        add_portfolio(6, {key(2): -1.0}, {}),
        SetCurve(id=key(1), curve=None),
        SetGroups(id=key(5), demand={}, basis={}),
    ):
        stamps.append((await store.execute(operation)).timestamp)
        clock.advance(2)
    owner = add_demand(1).owner

    for moment in (stamps[0] - 1, *stamps, *(stamp + 1 for stamp in stamps)):
        bids = await store.bids_at(owner, moment)
        singly = [await store.demand_at(key(n), moment) for n in (1, 2)]
        assert [*bids.demands] == [view for view in singly if view is not None]
        singly = [await store.portfolio_at(key(n), moment) for n in (5, 6)]
        assert [*bids.portfolios] == [view for view in singly if view is not None]
    assert bids.demands[1].portfolios == {key(6): -1.0}
    assert await store.bids_at(key(77), moment) == Bids()


async def test_the_mirror_that_follows_equals_the_mirror_that_loads(store):
    follower = Mirror()
    store.subscribe(lambda applied: follower.apply(applied.timestamp, applied.changes))
    await store.execute(AddProduct(product=product(9)))
    await store.execute(
        PartitionProduct(parent=key(9), children=(product(10, 2), product(11, 3)))
    )
    for number in (1, 2):
        await store.execute(add_demand(number))
    await store.execute(add_portfolio(5, {key(1): 1.0}, {key(9): 1.0, key(10): 1.0}))
    await store.execute(SetGroups(id=key(5), demand={key(2): 1.0}, basis=None))

    loaded = Mirror.from_snapshot(await store.snapshot())

    assert follower.gather() == loaded.gather()
    assert follower.gather().portfolios[key(5)].basis == {key(10): 3.0, key(11): 3.0}
    assert list(follower.gather().demands) == [key(2)]
    assert follower.at == loaded.at
    assert [e.ratio for e in loaded.products] == [1.0, 2.0, 3.0]


async def test_a_cut_names_its_moment_unless_the_log_is_ahead(store, clock):
    wanted = clock.now_ns() + 5
    exact = await store.execute(Cut(at=wanted))
    late = await store.execute(Cut(at=wanted))

    assert (exact.timestamp, late.timestamp) == (wanted, wanted + 1)


async def test_listeners_hear_before_the_caller_and_in_order(store):
    heard = []
    store.subscribe(lambda applied: heard.append(applied.timestamp))
    returned = []

    async def write(number):
        applied = await store.execute(add_demand(number))
        assert applied.timestamp in heard
        returned.append(applied.timestamp)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(write, number)

    assert heard == sorted(heard)
    assert sorted(returned) == heard
    assert len(set(heard)) == 20


async def test_a_caller_that_is_cancelled_does_not_undo_its_operation(store):
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.execute, add_demand(1))
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()

    await store.execute(Cut())  # queued after it, so it has happened by now
    assert [entity.id for entity in (await store.snapshot()).entities] == [key(1)]


async def test_a_leader_is_fenced_by_its_epoch(store):
    (first,) = (await store.execute(TakeLead())).changes
    cut = await store.execute(Cut(fence=first.epoch))
    (second,) = (await store.execute(TakeLead())).changes

    assert second.epoch == first.epoch + 1
    with pytest.raises(Superseded):
        await store.execute(Cut(fence=first.epoch))
    with pytest.raises(Superseded):
        await store.execute(StoreBatch(batch=batch(cut.timestamp), fence=first.epoch))
    assert await store.batches(ALL) == []


async def test_one_list_of_operations_sees_what_it_has_just_done(store):
    results = await store.execute_many(
        [
            AddProduct(product=product(9)),
            add_demand(1),
            add_demand(1),
            SetCurve(id=key(1), curve=FLAT),
            add_portfolio(5, {key(1): 1.0}, {key(9): 1.0}),
            add_portfolio(6, {key(2): 1.0}, {key(9): 1.0}),
            PartitionProduct(parent=key(9), children=(product(10, 2.0),)),
            PartitionProduct(parent=key(9), children=(product(11, 2.0),)),
            SetCurve(id=key(1), curve=SLOPE, expected=(1,)),
            SetCurve(id=key(1), curve=None),
            SetGroups(id=key(5), demand={}, basis=None),
            Submit(
                owner=OWNER,
                demands=(DemandEntry(id=key(3), app_data=b"1", curve=FLAT),),
                portfolios=(),
            ),
        ]
    )
    refused = {n: type(r) for n, r in enumerate(results) if isinstance(r, RequestError)}
    stamps = [None if n in refused else r.timestamp for n, r in enumerate(results)]

    assert refused == {
        2: IdTaken,
        5: UnknownReference,
        7: AlreadyPartitioned,
        8: VersionMismatch,
    }
    assert [(a, b) for a, b, _ in await values(store, Part.CURVE, 1)] == [
        (stamps[3], stamps[9]),
        (stamps[1], stamps[3]),
    ]
    assert [(a, b) for a, b, _ in await values(store, Part.BASIS, 5)] == [
        (stamps[4], stamps[11])  # the submission stopped what was left of it
    ]
    snapshot = await store.snapshot()
    assert [e.id for e in snapshot.entities] == [key(n) for n in (9, 1, 5, 10, 3)]
    mirror = Mirror.from_snapshot(snapshot)
    assert [view.entity.id for view in mirror.demands_of(OWNER)] == [key(1), key(3)]


async def test_more_operations_than_one_group_holds_keep_their_order(store):
    count = 1300
    results = await store.execute_many([add_demand(n) for n in range(count)])

    assert [r.operation.id for r in results] == [key(n) for n in range(count)]
    assert [e.id for e in (await store.snapshot()).entities] == [
        key(n) for n in range(count)
    ]


async def test_a_caller_cancelled_with_its_store_is_cancelled_not_refused(tmp_path):
    url = f"sqlite:{tmp_path / 'x.db'}"
    async with open_store(StoreSettings(url=url), clock=ManualClock()) as store:
        store.close()
        with pytest.raises(StoreClosed):
            await store.execute(Cut())
        with trio.CancelScope() as scope:
            scope.cancel()
            await store.execute(Cut())

    assert scope.cancelled_caught
