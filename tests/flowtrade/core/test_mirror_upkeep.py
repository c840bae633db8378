"""What the mirror puts off, and what it does not have to do at all."""

from unittest import mock
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from flowtrade.core import mirror as mirror_module
from flowtrade.core.mirror import Mirror
from flowtrade.core.state import (
    Added,
    Batched,
    Changed,
    Entity,
    Kind,
    Part,
    Position,
    Snapshot,
    StoredBatch,
    Version,
)
from flowtrade.models.batch import BatchRecord, BatchStatus
from flowtrade.models.clearing import RatePrice
from flowtrade.models.curve import ConstantCurve


def key(number):
    return str(UUID(int=number))


def batch(at, rates, traded, expires, *, cleared=True):
    return StoredBatch(
        as_of=at,
        scheduled=None,
        record=BatchRecord(
            as_of="x",
            seq=at,
            status=BatchStatus.CLEARED if cleared else BatchStatus.FAILED,
            gains=None,
            products={},
            demands=0,
            portfolios=0,
            report=None,
            certificate=None,
            input_hash="i",
            outcome_hash="o" if cleared else None,
            scheduled=None,
            targets={},
            error=None,
            orders=[],
        ),
        portfolios={k: RatePrice(rate=rate, price=1.0) for k, rate in rates.items()},
        traded=traded,
        expires=expires,
    )


class Plain:
    """Every position written down at every batch."""

    def __init__(self, positions, last):
        self.positions = dict(positions)
        self.last = last

    def follow(self, new):
        for name in self.last.portfolios if self.last is not None else ():
            old = self.positions[name]
            end = new.as_of if old.until is None else min(new.as_of, old.until)
            self.positions[name] = Position(old.traded, old.rate, old.since, end)
        for name, outcome in new.portfolios.items():
            traded = new.traded.get(name, 0.0)
            self.positions[name] = Position(
                traded, outcome.rate, new.as_of, new.expires
            )
        self.last = new


names = st.sampled_from([key(number) for number in range(5)])
rates = st.dictionaries(names, st.floats(-9, 9), max_size=5)
steps = st.tuples(rates, st.none() | st.integers(1, 30), st.booleans())


@given(st.lists(steps, max_size=8), st.integers(0, 8))
def test_positions_are_those_that_each_batch_would_have_written_down(steps, reload):
    mirror, plain, at = Mirror(), Plain({}, None), 0
    for number, (chosen, life, cleared) in enumerate(steps):
        at += 10
        if number == reload:  # as after a restart
            kept, mirror = mirror, Mirror()
            mirror.load(
                Snapshot(
                    at=at,
                    entities=[],
                    versions=[],
                    batch=kept.batch,
                    positions=kept.positions,
                )
            )
        traded = {name: mirror.traded(name, at) for name in chosen}
        new = batch(
            at, chosen, traded, None if life is None else at + life, cleared=cleared
        )
        mirror.apply(at, [Batched(new)])
        if cleared:
            plain.follow(new)

        assert mirror.positions == plain.positions
        for name in map(key, range(6)):
            assert mirror.position(name) == plain.positions.get(name)
            position = plain.positions.get(name)
            total = 0.0 if position is None else position.at(at + 5)
            assert mirror.traded(name, at + 5) == total


@given(st.lists(st.tuples(rates, st.none() | st.integers(1, 30), st.integers(0, 4))))
def test_positions_are_known_however_little_of_them_is_written_down(steps):
    mirror, plain, at = Mirror(), Plain({}, None), 0
    with mock.patch.object(mirror_module, "_LOOKED_AT", 1):
        for chosen, life, looks in steps:
            at += 10
            traded = {name: mirror.traded(name, at) for name in chosen}
            new = batch(at, chosen, traded, None if life is None else at + life)
            mirror.apply(at, [Batched(new)])
            plain.follow(new)
            for _ in range(looks + 1):
                for name in map(key, range(6)):
                    assert mirror.position(name) == plain.positions.get(name)
                mirror.catch_up()

    assert mirror.positions == plain.positions


class Interrupted(dict):
    """Outcomes that let the event loop go on once somebody has looked at them."""

    def __init__(self, outcomes, meanwhile):
        super().__init__(outcomes)
        self.meanwhile = meanwhile

    def __contains__(self, name):
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        found = super().__contains__(name)
        meanwhile()
        return found


def test_a_position_asked_for_in_a_thread_is_of_one_batch():
    mirror, last = Mirror(), batch(2, {}, {}, None)
    first = batch(1, {key(0): 3.0}, {}, None)
    outcomes = Interrupted(first.portfolios, lambda: mirror.apply(2, [Batched(last)]))
    mirror.apply(1, [Batched(msgspec.structs.replace(first, portfolios=outcomes))])

    assert mirror.position(key(0)) == Position(0.0, 3.0, 1, None)
    assert mirror.position(key(0)) == Position(0.0, 3.0, 1, 2)


def test_a_position_that_ended_before_a_thread_asked_ended_then():
    mirror = Mirror()
    first, second, third = (
        batch(at, chosen, {}, None)
        for at, chosen in ((1, {key(0): 3.0}), (2, {}), (3, {}))
    )
    outcomes = Interrupted(first.portfolios, lambda: None)
    mirror.apply(1, [Batched(msgspec.structs.replace(first, portfolios=outcomes))])
    for name in map(key, range(1, 100)):  # so that not all is written down at once
        outcomes[name] = RatePrice(price=1.0, rate=1.0)
    mirror.apply(2, [Batched(second)])
    outcomes.meanwhile = lambda: mirror.apply(3, [Batched(third)])

    assert mirror.position(key(99)) == Position(0.0, 1.0, 1, 2)
    assert mirror.batch == third


def test_what_a_batch_leaves_out_is_written_down_in_pieces():
    mirror, count = Mirror(), 1_000
    rates = {key(number): 1.0 for number in range(count)}
    mirror.apply(1, [Batched(batch(1, rates, {}, None))])
    assert not mirror.catch_up()  # there was none before
    mirror.apply(2, [Batched(batch(2, {}, {}, None))])
    assert len(mirror._settled) == mirror_module._AT_ONCE

    pieces = 1
    while mirror.catch_up():
        pieces += 1

    assert pieces == -(-(count - mirror_module._AT_ONCE) // mirror_module._LOOKED_AT)
    assert len(mirror._settled) == count
    assert mirror.position(key(7)) == Position(0.0, 1.0, 1, 2)


def test_a_long_backlog_is_worked_off_while_changes_come(monkeypatch):
    looked_at = []
    terms_of = Mirror._terms_of

    def look(self, view):
        looked_at.append(view.entity.id)
        return terms_of(self, view)

    monkeypatch.setattr(Mirror, "_terms_of", look)
    mirror, count = Mirror(), 2_000
    for number in range(count):
        mirror.apply(number + 1, changes(number))

    before = len(looked_at)
    mirror.gather()

    assert count - mirror_module._BACKLOG <= before
    assert len(looked_at) - before <= mirror_module._BACKLOG
    assert set(looked_at) == {key(2 << 64 | number) for number in range(count)}
    assert len(mirror.gather().portfolios) == count


def test_a_division_is_worked_off_in_pieces(monkeypatch):
    mirror, count = Mirror(), 2_000
    for number in range(count):
        mirror.apply(number + 1, changes(number))
    before = mirror.gather()
    made = parts(3, count + 1)
    expected = {part.id: part.ratio for part in made}
    mirror.apply(count + 1, [Added(part) for part in made])

    pieces = 1
    while mirror.catch_up():
        pieces += 1
    looked_at = []
    monkeypatch.setattr(
        mirror,
        "_terms_of",
        lambda view, f=mirror._terms_of: looked_at.append(1) or f(view),
    )
    after = mirror.gather()

    assert pieces >= count // mirror_module._AT_ONCE - 2  # some went before
    assert len(looked_at) <= mirror_module._AT_ONCE
    assert all(terms.basis == expected for terms in after.portfolios.values())
    assert list(after.portfolios) == list(before.portfolios)


def test_a_division_into_many_looks_at_each_portfolio_once(monkeypatch):
    mirror = Mirror()
    for number in range(20):
        mirror.apply(number + 1, changes(number))
    mirror.gather()
    looked_at = []
    terms_of = mirror._terms_of
    monkeypatch.setattr(
        mirror, "_terms_of", lambda view: looked_at.append(view) or terms_of(view)
    )

    mirror.apply(21, [Added(part) for part in parts(100, 21)])
    mirror.apply(22, [Added(part) for part in parts(2, 22, parent=4, first=100)])

    portfolios = mirror.gather().portfolios
    assert len(looked_at) == 20
    assert {len(terms.basis) for terms in portfolios.values()} == {101}


def parts(count, created, *, parent=3, first=0):
    return [
        Entity(
            kind=Kind.PRODUCT,
            id=key(4 << 64 | first + number),
            owner="",
            app_data=b"0",
            created=created,
            parent=key(parent << 64),
            ratio=number + 1,
        )
        for number in range(count)
    ]


def changes(number):
    demand, portfolio = key(1 << 64 | number), key(2 << 64 | number)
    product = key(3 << 64)
    made = [(Kind.DEMAND, demand), (Kind.PORTFOLIO, portfolio)]
    if number == 0:
        made.append((Kind.PRODUCT, product))
    return [
        *(
            Added(Entity(kind=kind, id=name, owner="o", app_data=b"0", created=1))
            for kind, name in made
        ),
        Changed(Part.CURVE, demand, Version(1, None, ConstantCurve(price=1.0))),
        Changed(Part.DEMAND, portfolio, Version(1, None, {demand: 1.0})),
        Changed(Part.BASIS, portfolio, Version(1, None, {product: 1.0})),
    ]
