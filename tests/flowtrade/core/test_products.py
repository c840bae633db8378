"""The tree of products over time."""

from hypothesis import given
from hypothesis import strategies as st

from flowtrade.core.products import ProductTree
from flowtrade.core.state import Entity, Kind


def product(name, created, parent="", ratio=1.0):
    return Entity(
        kind=Kind.PRODUCT,
        id=name,
        owner="",
        app_data=b"null",
        created=created,
        parent=parent,
        ratio=ratio,
    )


FOOD = [
    product("food", 1),
    product("fruit", 2, "food", 2.0),
    product("vegetable", 2, "food", 3.0),
    product("apple", 4, "fruit", 5.0),
    product("banana", 4, "fruit", 7.0),
    product("carrot", 6, "vegetable", 11.0),
    product("daikon", 6, "vegetable", 13.0),
]


def test_a_holding_of_food_is_seen_in_the_leaves_of_its_time():
    tree = ProductTree(FOOD)
    timeline = {at: tree.expand({"food": 1.0}, at) for at in range(8)}

    early = {"fruit": 2.0, "vegetable": 3.0}
    middle = {"vegetable": 3.0, "apple": 10.0, "banana": 14.0}
    late = {"apple": 10.0, "banana": 14.0, "carrot": 33.0, "daikon": 39.0}
    assert timeline == {
        0: {},
        1: {"food": 1.0},
        2: early,
        3: early,
        4: middle,
        5: middle,
        6: late,
        7: late,
    }
    assert tree.expand({"food": 1.0}) == late


def test_the_present_follows_each_division():
    tree = ProductTree(FOOD[:1])
    assert tree.expand({"food": 2.0}) == {"food": 2.0}

    for part in FOOD[1:3]:
        tree.add(part)

    assert tree.expand({"food": 2.0}) == {"fruit": 4.0, "vegetable": 6.0}
    assert tree.divided_at("food") == 2
    assert tree.divided_at("fruit") is None


def test_weights_that_meet_in_a_leaf_add_up():
    tree = ProductTree(FOOD)

    held = tree.expand({"food": 1.0, "fruit": -2.0, "apple": 1.0})

    assert held == {"apple": 1.0, "banana": 0.0, "carrot": 33.0, "daikon": 39.0}


def test_divisions_below_a_basis_are_all_named():
    assert sorted(ProductTree(FOOD).divisions({"food": 1.0})) == [2, 4, 6]
    assert ProductTree(FOOD).divisions({"apple": 1.0}) == []


def test_a_very_deep_tree_is_expanded():
    chain = [product("p0", 0)]
    chain += [product(f"p{n}", n, f"p{n - 1}", 1.0) for n in range(1, 5000)]

    assert ProductTree(chain).leaves("p0") == {"p4999": 1.0}


@given(st.data())
def test_expanding_at_once_equals_expanding_level_by_level(data):
    tree, names = ProductTree([product("0", 0)]), ["0"]
    leaves = ["0"]
    for step in range(1, data.draw(st.integers(0, 5)) + 1):
        parent = data.draw(st.sampled_from(leaves))
        leaves.remove(parent)
        for number in range(data.draw(st.integers(1, 3))):
            name = f"{parent}.{number}"
            ratio = data.draw(st.sampled_from([-1.0, 0.0, 0.5, 3.0]))
            tree.add(product(name, step, parent, ratio))
            leaves.append(name)
            names.append(name)
    basis = {
        data.draw(st.sampled_from(names)): 2.0,
        data.draw(st.sampled_from(names)): -1.0,
    }

    def by_level(held):
        coarse = [key for key in held if tree.parts(key)]
        if not coarse:
            return held
        finer = {k: w for k, w in held.items() if k not in coarse}
        for key in coarse:
            for part in tree.parts(key):
                finer[part.id] = finer.get(part.id, 0.0) + held[key] * part.ratio
        return by_level(finer)

    assert tree.expand(basis) == by_level(dict(basis))
