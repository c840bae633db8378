"""Makers of ids."""

from uuid import UUID

import msgspec
import pytest

from flowtrade.errors import InvalidRequest
from flowtrade.ids import DataIds, TimeOrderedIds, entity_name, product_terms
from flowtrade.testing import SeededIds

NOW = 1_751_371_200_000_000_000
JUNE = {"from": "2030-06-01T00:00:00Z", "thru": "2030-06-02T02:00:00+02:00", "kind": 1}


def data(value):
    return msgspec.json.encode(value)


def test_new_ids_carry_the_time_and_differ():
    ids = TimeOrderedIds()

    demand, again = ids.demand_id(b"1", NOW), ids.demand_id(b"1", NOW)

    assert demand != again
    assert demand[:18] == again[:18]  # the seconds
    assert [UUID(i).variant for i in (demand, ids.portfolio_id(b"1", NOW))] == [
        "specified in RFC 4122"
    ] * 2
    assert (demand[19], ids.portfolio_id(b"1", NOW)[19]) == ("9", "a")


def test_a_dated_product_has_the_id_of_its_terms():
    ids = TimeOrderedIds()

    first = ids.product_id(data(JUNE), NOW)
    same = ids.product_id(data({**JUNE, "thru": "2030-06-02T00:00:00Z"}), NOW + 1)
    other = ids.product_id(data({**JUNE, "kind": 0}), NOW)

    assert first == same
    assert first[:-2] == other[:-2]
    assert first != other


@pytest.mark.parametrize(
    "terms",
    [
        {**JUNE, "kind": 2},
        {**JUNE, "kind": "1"},
        {**JUNE, "kind": None},
        {**JUNE, "from": "June"},
        {**JUNE, "thru": "2029-01-01T00:00:00Z"},
    ],
)
def test_terms_that_make_no_sense_are_refused(terms):
    with pytest.raises(InvalidRequest):
        TimeOrderedIds().product_id(data(terms), NOW)


@pytest.mark.parametrize("value", [None, 5, "BTC", [1], {"name": "BTC"}, {"from": 5}])
def test_other_products_get_a_new_id(value):
    ids = TimeOrderedIds()

    assert ids.product_id(data(value), NOW) != ids.product_id(data(value), NOW)


def test_ids_from_the_data_are_taken_as_they_are():
    key = str(UUID(int=7))
    ids = DataIds()

    assert ids.demand_id(data(key.upper()), NOW) == key
    assert ids.portfolio_id(data(key), NOW) == ids.product_id(data(key), NOW) == key
    for wrong in (None, "x", 7, {"id": key}):
        with pytest.raises(InvalidRequest):
            ids.demand_id(data(wrong), NOW)


def test_seeded_ids_repeat():
    first, second, other = SeededIds(1), SeededIds(1), SeededIds(2)

    made = [ids.demand_id(b"1", NOW) for ids in (first, second, other)]

    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize(
    ("value", "name"),
    [({"name": "BTC"}, "BTC"), ({"name": 5}, None), ("BTC", None), (None, None)],
)
def test_a_name_is_read_where_there_is_one(value, name):
    assert entity_name(data(value)) == name


def test_terms_are_read_leniently():
    assert product_terms(data({"kind": "FORWARD", "x": 1})).kind == "FORWARD"
    assert product_terms(data([1])).kind is None
