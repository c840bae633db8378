"""Random lives of a store against a model of dictionaries, reopened at every step.

The model knows the rules from the specification, not from `core.operations`: who owns
what, what exists, what happens once, and that versions tile time.
"""

import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from flowtrade.core.mirror import Mirror
from flowtrade.core.operations import (
    AddDemand,
    AddPortfolio,
    AddProduct,
    Cut,
    DemandEntry,
    NewProduct,
    PartitionProduct,
    PortfolioEntry,
    SetCurve,
    SetGroups,
    Submit,
)
from flowtrade.core.state import Part
from flowtrade.errors import RequestError
from flowtrade.models.curve import ConstantCurve
from flowtrade.ports import Window
from flowtrade.settings import StoreSettings
from flowtrade.store import open_store
from flowtrade.store.group import GroupStore
from flowtrade.store.landing import Landing
from flowtrade.store.memory import MemoryStore
from flowtrade.store.open import running
from flowtrade.store.sqlite import SqliteDatabase
from netcore.clock import ManualClock

OWNERS = [str(UUID(int=n)) for n in (1, 2)]
DEMANDS = [str(UUID(int=n)) for n in range(10, 14)]
PORTFOLIOS = [str(UUID(int=n)) for n in range(20, 23)]
PRODUCTS = [str(UUID(int=n)) for n in range(30, 35)]

owners = st.sampled_from(OWNERS)
demands = st.sampled_from(DEMANDS)
portfolios = st.sampled_from(PORTFOLIOS)
products = st.sampled_from(PRODUCTS)
weights = st.sampled_from([-1.0, 0.0, 0.5, 2.0])
curves = st.none() | st.builds(ConstantCurve, price=st.sampled_from([1.0, 2.5]))
demand_groups = st.dictionaries(demands, weights, max_size=2)
bases = st.dictionaries(products, weights, max_size=2)
ticks = st.sampled_from([-5, 0, 0, 3])


class Refused(Exception):
    pass


class Model:
    def __init__(self):
        self.owner = {}
        self.parent = {}
        self.lines = {}
        self.order = []

    def need(self, condition):
        if not condition:
            raise Refused

    def check(self, owner, demand, basis):
        self.need(all(self.owner.get(d) == owner for d in demand or ()))
        self.need(all(p in self.parent for p in basis or ()))

    def put(self, part, key, value, now):
        line = self.lines.setdefault((part, key), [])
        if line and line[-1][0] == now:
            line.pop()
        elif line:
            line[-1] = (line[-1][0], now, line[-1][2])
        line.append((now, None, value))

    def groups(self, key, demand, basis, now):
        if demand is not None:
            self.put(Part.DEMAND, key, demand or None, now)
        if basis is not None:
            self.put(Part.BASIS, key, basis or None, now)

    def active(self):
        """The curves and groups of an auction now, by the definition."""
        live = {at: line[-1][2] for at, line in self.lines.items()}
        used = {
            demand
            for (part, _), value in live.items()
            if part is Part.DEMAND and value
            for demand in value
        }
        curves = {
            key: value
            for (part, key), value in live.items()
            if part is Part.CURVE and value is not None and key in used
        }
        bids = {}
        for key in PORTFOLIOS:
            group, basis = live.get((Part.DEMAND, key)), live.get((Part.BASIS, key))
            if group and basis:
                expanded = {}
                for product, weight in basis.items():
                    self.expand(product, weight, expanded)
                bids[key] = ({d: w for d, w in group.items() if d in curves}, expanded)
        return curves, bids

    def expand(self, product, weight, into):
        parts = [(k, r) for k, (p, r) in self.parent.items() if p == product]
        if not parts:
            into[product] = into.get(product, 0.0) + weight
        for part, ratio in parts:
            self.expand(part, weight * ratio, into)


class StoreMachine(RuleBasedStateMachine):
    """Subclasses say how to open the store for one step."""

    def __init__(self):
        super().__init__()
        self.clock = ManualClock(1_000_000)
        self.model = Model()
        self.last = 0

    @asynccontextmanager
    async def opened(self):
        raise NotImplementedError
        yield

    def step(self, operation, expect, tick):
        self.clock.set_wall(self.clock.now_ns() + tick)
        now = max(self.clock.now_ns(), self.last + 1)

        async def go():
            async with self.opened() as store:
                try:
                    return (await store.execute(operation)).timestamp
                except RequestError:  # as a value: a nursery would wrap it
                    return Refused

        backup = (dict(self.model.owner), dict(self.model.parent))
        lines = {key: list(line) for key, line in self.model.lines.items()}
        try:
            expect(now)
        except Refused:
            self.model.owner, self.model.parent = backup
            self.model.lines = lines
            assert trio.run(go) is Refused
        else:
            assert trio.run(go) == now
            self.last = now

    @initialize()
    def begin(self):
        self.step(
            AddProduct(product=NewProduct(id=PRODUCTS[0], app_data=b"0")),
            lambda now: self.model.parent.update({PRODUCTS[0]: ("", 1.0)}),
            0,
        )

    @rule(key=demands, owner=owners, curve=curves, tick=ticks)
    def add_demand(self, key, owner, curve, tick):
        def expect(now):
            self.model.need(key not in self.model.owner)
            self.model.owner[key] = owner
            self.model.put(Part.CURVE, key, curve, now)

        op = AddDemand(id=key, owner=owner, app_data=b"null", curve=curve)
        self.step(op, expect, tick)

    @rule(key=demands, curve=curves, tick=ticks)
    def set_curve(self, key, curve, tick):
        def expect(now):
            self.model.need(key in self.model.owner)
            self.model.put(Part.CURVE, key, curve, now)

        self.step(SetCurve(id=key, curve=curve), expect, tick)

    @rule(key=portfolios, owner=owners, demand=demand_groups, basis=bases, tick=ticks)
    def add_portfolio(self, key, owner, demand, basis, tick):
        def expect(now):
            self.model.need(key not in self.model.owner)
            self.model.check(owner, demand, basis)
            self.model.owner[key] = owner
            self.model.groups(key, demand, basis, now)

        op = AddPortfolio(
            id=key, owner=owner, app_data=b"{}", demand=demand, basis=basis
        )
        self.step(op, expect, tick)

    @rule(
        key=portfolios,
        demand=st.none() | demand_groups,
        basis=st.none() | bases,
        tick=ticks,
    )
    def set_groups(self, key, demand, basis, tick):
        def expect(now):
            self.model.need(key in self.model.owner)
            self.model.check(self.model.owner[key], demand, basis)
            self.model.groups(key, demand, basis, now)

        self.step(SetGroups(id=key, demand=demand, basis=basis), expect, tick)

    @rule(
        parent=products,
        children=st.lists(products, min_size=1, max_size=2),
        ratio=weights,
        tick=ticks,
    )
    def partition(self, parent, children, ratio, tick):
        def expect(_now):
            self.model.need(parent in self.model.parent)
            self.model.need(all(p != parent for p, _ in self.model.parent.values()))
            for child in children:
                self.model.need(child not in self.model.parent)
                self.model.parent[child] = (parent, ratio)

        parts = tuple(NewProduct(id=c, app_data=b"1", ratio=ratio) for c in children)
        self.step(PartitionProduct(parent=parent, children=parts), expect, tick)

    @rule(
        owner=owners,
        key=demands,
        curve=curves,
        portfolio=portfolios,
        basis=bases,
        tick=ticks,
    )
    def submit(self, owner, key, curve, portfolio, basis, tick):
        new = key not in self.model.owner
        fresh = portfolio not in self.model.owner

        def expect(now):
            model = self.model
            model.need(model.owner.setdefault(key, owner) == owner)
            model.put(Part.CURVE, key, curve, now)
            model.need(model.owner.setdefault(portfolio, owner) == owner)
            model.check(owner, {key: 1.0}, basis)
            model.groups(portfolio, {key: 1.0}, basis, now)
            for (part, other), line in list(model.lines.items()):
                kept = (key,) if part is Part.CURVE else (portfolio,)
                mine = model.owner[other] == owner and other not in kept
                if mine and line[-1][2] is not None:
                    model.put(part, other, None, now)

        entry = DemandEntry(id=key, app_data=b"2" if new else None, curve=curve)
        bid = PortfolioEntry(
            id=portfolio,
            app_data=b"3" if fresh else None,
            demand={key: 1.0},
            basis=basis,
        )
        self.step(
            Submit(owner=owner, demands=(entry,), portfolios=(bid,)), expect, tick
        )

    @rule(tick=ticks)
    def cut(self, tick):
        self.step(Cut(), lambda _now: None, tick)

    @invariant()
    def histories_and_auctions_agree(self):
        async def read():
            async with self.opened() as store:
                snapshot = await store.snapshot()
                lines = {
                    (part, key): await store.history(part, key, Window(limit=999))
                    for part, key in self.model.lines
                }
            return snapshot, lines

        snapshot, lines = trio.run(read)
        for at, versions in lines.items():
            found = [(v.valid_from, v.valid_until, v.value) for v in versions]
            kept = [v for v in self.model.lines[at] if v[2] is not None]
            assert found == kept[::-1]
        auction = Mirror.from_snapshot(snapshot).gather()
        curves, bids = self.model.active()
        assert auction.demands == curves
        assert {k: (t.demand, t.basis) for k, t in auction.portfolios.items()} == bids


class MemoryMachine(StoreMachine):
    def __init__(self):
        super().__init__()
        self.store = MemoryStore(self.clock)

    @asynccontextmanager
    async def opened(self):
        yield self.store


class SqliteMachine(StoreMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()

    @asynccontextmanager
    async def opened(self):
        url = f"sqlite:{Path(self.folder.name) / 'store.db'}"
        async with open_store(StoreSettings(url=url), clock=self.clock) as store:
            yield store

    def teardown(self):
        self.folder.cleanup()


class LandingMachine(SqliteMachine):
    """Every change lands, and is seldom moved: reads find versions in two tables."""

    @asynccontextmanager
    async def opened(self):
        landing = Landing(least=1, most=5, share=1)
        database = SqliteDatabase(Path(self.folder.name) / "store.db")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(GroupStore, "_move_landed", lambda _store, _writer: None)
            store = GroupStore(database, clock=self.clock, landing=landing)
            async with running(store):
                yield store


@pytest.mark.slow
@pytest.mark.parametrize(
    ("machine", "examples"),
    [(MemoryMachine, 40), (SqliteMachine, 4), (LandingMachine, 6)],
)
def test_a_store_lives_as_the_model_does(machine, examples):
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=examples, stateful_step_count=25, deadline=None),
    )
