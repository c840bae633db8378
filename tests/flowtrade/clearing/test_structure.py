import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrade.clearing import Market, clear
from flowtrade.clearing.arrays import Ragged, offsets
from flowtrade.clearing.assembly import Assembler, SingularMatrix
from flowtrade.clearing.intern import hash_rows, intern_rows
from flowtrade.clearing.rowmap import RowMap
from flowtrade.clearing.testing import Oddity, odd_auction

SEEDS = st.integers(0, 2**32)


def ragged(*rows):
    lengths = np.array([len(row) for row in rows], np.int64)
    flat = [pair for row in rows for pair in row]
    idx = np.array([i for i, _ in flat], np.int64)
    return Ragged(offsets(lengths), idx, np.array([w for _, w in flat], float))


def test_equal_rows_share_a_number_and_opposite_ones_a_sign():
    rows = ragged(
        [(0, 1.0), (2, -1.0)],
        [(0, -1.0), (2, 1.0)],
        [(0, 1.0), (2, 1.0)],
        [(0, 1.0), (2, -1.0)],
    )

    found = intern_rows(rows, hash_rows(rows))

    assert found.number[0] == found.number[1] == found.number[3] != found.number[2]
    assert found.sign.tolist() == [1.0, -1.0, 1.0, 1.0]
    assert len(found.table) == 2


def test_rows_that_collide_are_told_apart_by_comparison():
    rows = ragged([(0, 1.0)], [(1, 1.0)], [(0, 1.0)], [(1, -1.0)])

    found = intern_rows(rows, np.zeros(4, np.uint64))

    assert found.number[0] == found.number[2]
    assert found.number[1] == found.number[3]
    assert found.number[0] != found.number[1]
    assert found.sign.tolist() == [1.0, 1.0, 1.0, -1.0]


@given(
    st.lists(
        st.dictionaries(
            st.integers(0, 4), st.sampled_from([1.0, -1.0, 0.5, 2.0]), min_size=1
        ),
        min_size=1,
        max_size=30,
    ),
    st.booleans(),
)
def test_every_row_is_its_interned_row_times_its_sign(groups, collide):
    rows = ragged(*(sorted(group.items()) for group in groups))
    hashes = hash_rows(rows)
    if collide:
        hashes = hashes & np.uint64(1)

    found = intern_rows(rows, hashes)

    for i, group in enumerate(groups):
        row = found.table.take_row(int(found.number[i]))
        assert {k: w * found.sign[i] for k, w in row} == group
        assert row[0][1] > 0.0
    assert len(found.table) == len(
        {tuple(found.table.take_row(n)) for n in range(len(found.table))}
    )


@given(SEEDS, st.sampled_from([*Oddity]))
@settings(max_examples=60)
def test_the_normal_matrix_is_solved_with_shared_demands_eliminated(seed, oddity):
    market = Market.from_auction(odd_auction(seed, oddity))
    rowmap = market.structure.map
    products = market.structure.products
    random = np.random.default_rng(seed)
    weights = random.uniform(0.5, 2.0, rowmap.shape[0])
    rhs = random.normal(size=rowmap.shape[1])
    delta = 0.1

    solved = Assembler(rowmap, products).factor(weights, delta).solve(rhs)

    dense = rowmap.dense
    full = dense.T @ (dense * weights[:, None]) + delta * np.eye(rowmap.shape[1])
    assert np.allclose(full @ solved, rhs, atol=1e-8 * (1.0 + np.abs(rhs).max()))


def test_large_markets_are_assembled_sparsely_to_the_same_matrix():
    random = np.random.default_rng(0)
    table = ragged(
        *(
            [(int(k), 1.0) for k in np.sort(random.choice(120, 3, replace=False))]
            for _ in range(400)
        )
    )
    rowmap = RowMap(table, 120)
    assert not rowmap.is_small
    weights, rhs = random.uniform(0.5, 2.0, 400), random.normal(size=120)

    solved = Assembler(rowmap, 120).factor(weights, 1e-9).solve(rhs)

    dense = rowmap.dense
    assert np.allclose(dense.T @ (weights * (dense @ solved)), rhs, atol=1e-6)
    flow = random.normal(size=400)
    assert np.allclose(rowmap.adjoint(flow), dense.T @ flow)
    assert np.allclose(rowmap.forward(rhs), dense @ rhs)


def test_a_matrix_beyond_regularising_is_reported():
    rowmap = RowMap(ragged([(0, 1.0)]), 1)

    with pytest.raises(SingularMatrix, match="normal matrix"):
        Assembler(rowmap, 1).factor(np.array([np.nan]), 1.0)


def test_a_cap_over_many_demands_needs_blocks_larger_than_one():
    # Two caps that meet in one portfolio are one block of two.
    curve = [{"rate": 0, "price": 10}, {"rate": 4, "price": 2}]
    cap = {"min_rate": -1, "max_rate": 1, "price": 0}
    auction = {
        "demand_curves": {
            **{f"d{i}": curve for i in range(4)},
            "s": {"max_rate": 0, "price": 5},
            "north": cap,
            "all": {"min_rate": -3, "max_rate": 1.5, "price": 0},
        },
        "portfolios": {
            "s": {"demand": "s", "basis": "A"},
            "x0": {"demand": ["d0", "north", "all"], "basis": "A"},
            "x1": {"demand": ["d1", "north", "all"], "basis": "A"},
            "x2": {"demand": ["d2", "all"], "basis": "A"},
            "x3": {"demand": ["d3"], "basis": "A"},
        },
    }

    clearing = clear(Market.from_auction(auction))

    assert clearing.report.shared == 2
    north = clearing.portfolios["x0"].rate + clearing.portfolios["x1"].rate
    assert north == pytest.approx(clearing.portfolios["x0"].rate * 2)
    assert north + clearing.portfolios["x2"].rate == pytest.approx(1.5)
    assert clearing.demands["all"].box_dual > 0.0
    assert clearing.certificate.worst < 1e-12


@pytest.mark.parametrize("weight", [2.0, -0.5])
def test_weights_on_own_and_shared_demands_scale_prices_and_rates(weight):
    # The same auction told in units of demand that are `weight` times as large.
    curve = [{"rate": 0, "price": 10}, {"rate": 4, "price": 2}]
    plain = {
        "demand_curves": {
            "d": curve,
            "cap": {"min_rate": -1, "max_rate": 1, "price": 0},
            "pair": [{"rate": 0, "price": 9}, {"rate": 2, "price": 1}],
            "s": {"max_rate": 0, "price": 5},
        },
        "portfolios": {
            "s": {"demand": "s", "basis": "A"},
            "x": {"demand": ["d", "cap"], "basis": "A"},
            "y": {"demand": "pair", "basis": "A"},
            "z": {"demand": {"pair": 1.0}, "basis": {"A": 1.0, "B": 1.0}},
            "b": {"demand": "cap", "basis": "A"},
        },
    }
    scaled = {
        "demand_curves": {
            "s": {"max_rate": 0, "price": 5},
            **{
                name: sorted(
                    (
                        {"rate": p["rate"] * weight, "price": p["price"] / weight}
                        for p in points
                    ),
                    key=lambda p: (p["rate"], -p["price"]),
                )
                for name, points in (
                    ("d", curve),
                    ("pair", plain["demand_curves"]["pair"]),
                    ("cap", [{"rate": -1, "price": 0}, {"rate": 1, "price": 0}]),
                )
            },
        },
        "portfolios": {
            "s": {"demand": "s", "basis": "A"},
            "x": {"demand": {"d": weight, "cap": weight}, "basis": "A"},
            "y": {"demand": {"pair": weight}, "basis": "A"},
            "z": {"demand": {"pair": weight}, "basis": {"A": 1.0, "B": 1.0}},
            "b": {"demand": {"cap": weight}, "basis": "A"},
        },
    }

    one, other = (clear(Market.from_auction(a)) for a in (plain, scaled))

    assert one.report.solver == other.report.solver == "active-set"
    assert other.gains == pytest.approx(one.gains)
    for name, row in one.portfolios.items():
        assert other.portfolios[name].rate == pytest.approx(row.rate, abs=1e-9)
        assert other.portfolios[name].price == pytest.approx(row.price, abs=1e-9)
    for name in ("d", "pair", "cap"):
        assert other.demands[name].price == pytest.approx(
            one.demands[name].price / weight, abs=1e-9
        )
