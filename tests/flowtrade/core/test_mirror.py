"""The mirror keeps ready what a fresh look at everything would find."""

from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from flowtrade.core import mirror as mirror_module
from flowtrade.core.mirror import CAP, Limits, Mirror
from flowtrade.core.state import Added, Changed, Entity, Kind, Part, Version
from flowtrade.models.curve import ConstantCurve
from flowtrade.models.portfolio import TradeCap

LIMITS = Limits(at=10**9, horizon=2.0, unit=1.0)


def key(number):
    return str(UUID(int=number))


numbers = st.integers(0, 5)
weights = st.sampled_from([-1.0, 0.0, 2.0])


class MirrorMachine(RuleBasedStateMachine):
    """Applies changes, and keeps everything by its plainest definition."""

    def __init__(self):
        super().__init__()
        self.mirror = Mirror()
        self.now = 0
        self.made = {kind: [] for kind in Kind}
        self.live = {}
        self.parents = {}

    def apply(self, *changes):
        self.now += 1
        self.mirror.apply(self.now, changes)

    def make(self, kind, number, parent=""):
        name = key(int(kind) * 100 + number)
        if name not in self.made[kind]:
            self.made[kind].append(name)
            self.parents[name] = parent
            entity = Entity(
                kind=kind,
                id=name,
                owner="o",
                app_data=b"0",
                created=self.now,
                parent=parent,
                ratio=2.0 if parent else 1.0,
            )
            self.apply(Added(entity))
            return True
        return False

    def put(self, part, name, value):
        self.live[part, name] = value
        self.apply(Changed(part, name, Version(self.now, None, value)))

    @rule(number=numbers, price=st.none() | st.sampled_from([1.0, 2.0]))
    def set_curve(self, number, price):
        self.make(Kind.DEMAND, number)
        curve = None if price is None else ConstantCurve(price=price)
        self.put(Part.CURVE, key(100 + number), curve)

    @rule(
        number=numbers,
        demands=st.none() | st.dictionaries(numbers, weights, max_size=3),
        products=st.none() | st.dictionaries(numbers, weights, max_size=3),
    )
    def set_groups(self, number, demands, products):
        new = self.make(Kind.PORTFOLIO, number)
        for part, kind, group in (
            (Part.DEMAND, Kind.DEMAND, demands),
            (Part.BASIS, Kind.PRODUCT, products),
        ):
            if group is not None or new:
                known = {key(int(kind) * 100 + n): w for n, w in (group or {}).items()}
                kept = {k: w for k, w in known.items() if k in self.made[kind]}
                self.put(part, key(200 + number), kept or None)

    @rule(number=numbers, most=st.none() | st.sampled_from([0.0, 4.0]))
    def set_cap(self, number, most):
        if key(200 + number) in self.made[Kind.PORTFOLIO]:
            cap = None if most is None else TradeCap(max_trade=most)
            self.put(Part.CAP, key(200 + number), cap)

    @rule(number=numbers, parent=st.none() | numbers)
    def make_product(self, number, parent):
        above = "" if parent is None else key(300 + parent)
        if above in ("", *self.made[Kind.PRODUCT]) and above != key(300 + number):
            self.make(Kind.PRODUCT, number, above)

    def leaves(self, name):
        parts = [k for k in self.made[Kind.PRODUCT] if self.parents[k] == name]
        if not parts:
            return {name: 1.0}
        found = {}
        for part in parts:
            for leaf, ratio in self.leaves(part).items():
                found[leaf] = found.get(leaf, 0.0) + 2.0 * ratio
        return found

    def auction(self, limits):
        used = {
            k
            for (part, _), group in self.live.items()
            if part is Part.DEMAND
            for k in group or ()
        }
        curves = {}
        for name in self.made[Kind.DEMAND]:
            curve = self.live.get((Part.CURVE, name))
            if name in used and curve is not None:
                curves[name] = curve
        bids, caps = {}, {}
        for name in self.made[Kind.PORTFOLIO]:
            group = self.live.get((Part.DEMAND, name))
            basis = {}
            for product, weight in (self.live.get((Part.BASIS, name)) or {}).items():
                for leaf, ratio in self.leaves(product).items():
                    basis[leaf] = basis.get(leaf, 0.0) + weight * ratio
            if not group or not basis:
                continue
            live = {k: w for k, w in group.items() if k in curves}
            cap = self.live.get((Part.CAP, name))
            if cap is not None and limits is not None:
                live[CAP + name] = 1.0
                caps[CAP + name] = limits.curve(cap, 0.0)
            bids[name] = (live, basis)
        return {**curves, **caps}, bids

    @invariant()
    def what_is_gathered_is_what_a_fresh_look_finds(self):
        for limits in (None, LIMITS):
            found = self.mirror.gather(limits)
            curves, bids = self.auction(limits)
            assert list(found.demands.items()) == list(curves.items())
            assert [(k, (t.demand, t.basis)) for k, t in found.portfolios.items()] == [
                *bids.items()
            ]

    @invariant()
    def entries_that_are_in_no_auction_are_counted(self):
        # Where there are none, gathering copies the tables without a look.
        self.mirror.gather()
        idle, tables = self.mirror._idle, (self.mirror._curves, self.mirror._terms)
        counted = [sum(entry is None for entry in one.values()) for one in tables]
        assert [idle.demands, idle.portfolios] == counted


@pytest.mark.slow
@pytest.mark.parametrize("backlog", [0, 512])  # worked off at once, or at the cut
def test_the_mirror_lives_as_the_definition_says(backlog, monkeypatch):
    monkeypatch.setattr(mirror_module, "_BACKLOG", backlog)
    monkeypatch.setattr(mirror_module, "_AT_ONCE", 1)
    run_state_machine_as_test(
        MirrorMachine,
        settings=settings(max_examples=40, stateful_step_count=30, deadline=None),
    )
