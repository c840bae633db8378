import msgspec
import pytest

from integration.collection import Snapshot, SnapUpdates, one_or_many


class Row(msgspec.Struct):
    a: int


class Wire(msgspec.Struct):
    rows: Row | list[Row] | None = None


@pytest.mark.parametrize(
    ("raw", "rows"),
    [
        (b"{}", ()),
        (b'{"rows":null}', ()),
        (b'{"rows":{"a":1}}', (Row(1),)),
        (b'{"rows":[]}', ()),
        (b'{"rows":[{"a":1},{"a":2}]}', (Row(1), Row(2))),
    ],
)
def test_one_many_or_none_become_a_tuple(raw, rows):
    assert one_or_many(msgspec.json.decode(raw, type=Wire).rows) == rows


@pytest.mark.parametrize("value", ["text", b"bytes", {"a": 1}, 7])
def test_what_is_one_thing_stays_one_thing(value):
    assert one_or_many(value) == (value,)


def test_a_snapshot_maps_its_value():
    assert Snapshot(3).map(str) == Snapshot("3")


def test_updates_follow_a_snapshot():
    pair = SnapUpdates(snapshot=1, updates=(2, 3))

    assert (pair.snapshot, pair.updates) == (1, (2, 3))
