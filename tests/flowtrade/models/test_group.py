import math

import pytest

from flowtrade.models.group import GroupError, group_to_builtins, parse_group


@pytest.mark.parametrize(
    ("value", "weights"),
    [
        (None, {}),
        ("a", {"a": 1.0}),
        ([], {}),
        (["a", "b"], {"a": 1.0, "b": 1.0}),
        (["a", "b", "a"], {"a": 1.0, "b": 1.0}),
        ({}, {}),
        ({"a": 0.5, "b": -2, "c": 0}, {"a": 0.5, "b": -2.0, "c": 0.0}),
    ],
)
def test_all_four_forms_are_read(value, weights):
    parsed = parse_group(value)

    assert parsed == weights
    assert list(parsed) == list(weights)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (7, "group.type"),
        (True, "group.type"),
        (b"a", "group.type"),
        ([["a", 1.0]], "group.id"),
        ([1], "group.id"),
        ({1: 1.0}, "group.id"),
        ({"a": None}, "group.weight"),
        ({"a": "1"}, "group.weight"),
        ({"a": True}, "group.weight"),
        ({"a": math.nan}, "group.weight"),
        ({"a": -math.inf}, "group.weight"),
        ({"a": 10**400}, "group.weight"),
    ],
)
def test_anything_else_is_refused_with_its_code(value, code):
    with pytest.raises(GroupError, match=code) as caught:
        parse_group(value)

    assert caught.value.code == code


def test_the_map_form_is_written_and_the_empty_group_is_null():
    assert group_to_builtins({"a": 2.0}) == {"a": 2.0}
    assert group_to_builtins({}) is None
