"""Plain bids, carried out in one step, come to what the rules come to one by one."""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrade.core.operations import AddDemand, Once, SetCurve
from flowtrade.errors import RequestError
from flowtrade.models.curve import ConstantCurve, Point, PwlCurve
from flowtrade.settings import StoreSettings
from flowtrade.store import open_store
from flowtrade.store.writes import SqlGroup
from netcore.clock import ManualClock

OWNERS = [str(UUID(int=n)) for n in (1, 2)]
KEYS = [str(UUID(int=n)) for n in range(10, 14)]
CURVES = [
    None,
    ConstantCurve(price=3.0),
    PwlCurve(points=(Point(rate=-0.0, price=2.5), Point(rate=1.0, price=-1e-300))),
]
ONCE = Once(scope=OWNERS[0], key="k", fingerprint=b"f")

keys, curves = st.sampled_from(KEYS), st.sampled_from(CURVES)
operations = st.lists(
    st.builds(
        AddDemand,
        id=keys,
        owner=st.sampled_from(OWNERS),
        app_data=st.sampled_from([b"null", b'{"a":1}']),
        curve=curves,
        once=st.sampled_from([None, None, None, ONCE]),
    )
    | st.builds(
        SetCurve,
        id=keys,
        curve=curves,
        expected=st.sampled_from([None, None, (1_000,), ()]),
        owner=st.sampled_from([None, *OWNERS]),
    ),
    max_size=12,
)
QUICK = SqlGroup.apply_plain


async def carry_out(path, lists):
    """Return what became of each operation."""
    found = []
    clock = ManualClock(1_000)
    store_settings = StoreSettings(url=f"sqlite:{path}", group=5)
    for some in lists:  # each in a process of its own, as it were: nothing is known
        async with open_store(store_settings, clock=clock) as store:
            found += await store.execute_many(some)
    return [
        (type(one), str(one)) if isinstance(one, RequestError) else repr(one)
        for one in found
    ]


def rows(path):
    with closing(sqlite3.connect(path)) as connection:
        return [
            connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608  # ours
            for table in ("entity", "version", "memory", "head")
        ]


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@settings(max_examples=15)
@given(st.lists(operations, min_size=1, max_size=2))
def test_plain_bids_come_to_the_same_in_one_step_and_by_the_rules(folder, lists):
    found = []
    for name, way in (("quick", QUICK), ("plain", lambda *_: None)):
        path = folder / name
        for old in folder.glob(f"{name}*"):
            old.unlink()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SqlGroup, "apply_plain", way)
            found.append((trio.run(carry_out, path, lists), rows(path)))

    assert found[0] == found[1]


async def test_most_bids_are_carried_out_in_one_step(tmp_path, monkeypatch):
    taken = []

    def counted(group, operation, now):
        changes = QUICK(group, operation, now)
        taken.append(changes is not None)
        return changes

    monkeypatch.setattr(SqlGroup, "apply_plain", counted)
    made = [AddDemand(id=k, owner=OWNERS[0], app_data=b"1", curve=None) for k in KEYS]
    changed = [SetCurve(id=k, curve=CURVES[1], owner=OWNERS[0]) for k in KEYS]
    strange = [
        SetCurve(id=KEYS[0], curve=None, owner=OWNERS[1]),
        SetCurve(id=KEYS[0], curve=None, expected=(1,)),
        SetCurve(id=OWNERS[0], curve=None),
        AddDemand(id=KEYS[0], owner=OWNERS[0], app_data=b"1", curve=None),
        AddDemand(id=OWNERS[0], owner=OWNERS[0], app_data=b"1", curve=None, once=ONCE),
    ]

    await carry_out(tmp_path / "store.db", [made, changed, strange])

    assert taken == [True] * 8 + [False] * 5
