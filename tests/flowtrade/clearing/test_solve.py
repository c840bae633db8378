import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from flowtrade.clearing import (
    ClearingStatus,
    InvalidMarket,
    Market,
    SolverMode,
    Uncertified,
    clear,
    policy,
    solve,
)
from flowtrade.clearing.blas import one_thread
from flowtrade.clearing.generate import KINDS, generate
from flowtrade.clearing.highs import SolverFailed
from flowtrade.clearing.policy import Candidate, Solver
from flowtrade.models.clearing import CanonicalChoice

TWO_SIDED = {
    "demand_curves": {
        "b": [{"rate": 0, "price": 5}, {"rate": 1, "price": 4}],
        "s": [{"rate": -1, "price": 8}, {"rate": 0, "price": 7}],
    },
    "portfolios": {
        "b": {"demand": "b", "basis": "A"},
        "s": {"demand": "s", "basis": "A"},
    },
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(10, 3), (100, 10), (600, 40)])
def test_generated_markets_are_certified_to_rounding(kind, size):
    for seed in range(2):
        clearing = clear(generate(kind, *size, seed=seed))

        assert clearing.status is ClearingStatus.CERTIFIED
        solvers = set(clearing.report.solver.split("+"))
        assert solvers <= {"active-set", "interior"}
        assert clearing.certificate.worst <= 1e-9
        assert clearing.certificate.relative_gap <= 1e-12
        assert clearing.report.prices is not CanonicalChoice.KEPT
        assert clearing.report.rates is not CanonicalChoice.KEPT


def lie(form, deadline):
    honest = policy.solvers_for(form, SolverMode.INTERIOR)[0].solve(form, deadline)
    return Candidate("liar", "Optimal", 1, honest.z * 1.01, honest.y)


def break_off(form, deadline):
    raise SolverFailed("refused")


def fake(monkeypatch, *solvers):
    real = policy.solvers_for

    def solvers_for(form, mode):
        return (*solvers, *real(form, mode))

    monkeypatch.setattr(solve, "solvers_for", solvers_for)


def test_a_solver_that_lies_is_caught_and_the_next_one_answers(monkeypatch):
    fake(monkeypatch, Solver("liar", lie), Solver("broken", break_off))
    market = generate("mixed", 50, 5, seed=1)

    clearing = clear(market)

    said = [(a.solver, a.outcome) for a in clearing.report.attempts]
    assert said == [
        ("liar", "Optimal"),
        ("broken", "refused"),
        ("interior", "converged"),
    ]
    assert clearing.report.attempts[0].worst > 1e-6
    assert clearing.report.attempts[1].worst is None
    assert clearing.certificate.worst < 1e-12


def test_when_all_lie_nothing_is_published(monkeypatch):
    monkeypatch.setattr(solve, "solvers_for", lambda form, mode: (Solver("liar", lie),))

    with pytest.raises(Uncertified, match="liar: Optimal") as caught:
        clear(generate("mixed", 50, 5, seed=1))

    assert caught.value.certificate.status is ClearingStatus.REJECTED
    assert [a.solver for a in caught.value.attempts] == ["liar"]


def test_when_all_break_off_there_is_no_certificate(monkeypatch):
    monkeypatch.setattr(
        solve, "solvers_for", lambda form, mode: (Solver("broken", break_off),)
    )

    with pytest.raises(Uncertified, match="no answer") as caught:
        clear(generate("mixed", 50, 5, seed=1))

    assert caught.value.certificate is None


def test_after_the_time_limit_nobody_else_is_asked(monkeypatch):
    fake(monkeypatch, Solver("liar", lie))

    with pytest.raises(Uncertified) as caught:
        clear(generate("mixed", 50, 5, seed=1), time_limit=0.0)

    assert [a.solver for a in caught.value.attempts] == ["liar"]


@pytest.mark.parametrize(
    ("reference", "price"), [(None, 6.0), (5.5, 5.5), (9.0, 7.0), (-3.0, 5.0)]
)
def test_an_undetermined_price_is_the_supported_one_nearest_to_the_reference(
    reference, price
):
    market = Market.from_auction(TWO_SIDED)

    clearing = clear(market, reference=None if reference is None else {"A": reference})

    product = clearing.products["A"]
    assert product.price == pytest.approx(price, abs=1e-9)
    assert (product.price_min, product.price_max) == (
        pytest.approx(5.0),
        pytest.approx(7.0),
    )
    assert not product.unique
    assert clearing.report.prices is CanonicalChoice.CHOSEN


def test_a_reference_moves_no_price_that_is_determined():
    market = generate("mixed", 80, 6, seed=4)
    plain = clear(market)

    moved = clear(market, reference=dict.fromkeys(market.product_ids, 1e6))

    for name, row in plain.products.items():
        if row.unique:
            assert moved.products[name].price == pytest.approx(row.price, rel=1e-9)


def test_a_reference_that_is_no_price_is_refused():
    with pytest.raises(InvalidMarket) as caught:
        clear(Market.from_auction(TWO_SIDED), reference={"A": float("nan")})

    assert caught.value.code == "reference.price"


def test_the_audit_mode_asks_both_cores_and_publishes_the_first():
    market = generate("mixed", 60, 6, seed=1)

    clearing = clear(market, mode=SolverMode.AUDIT)

    asked = [a.solver for a in clearing.report.attempts]
    assert asked == ["interior", "highs-hipo"]
    assert clearing.digest == clear(market).digest
    assert clearing.report.warnings == ()


def test_an_audit_without_second_opinion_says_so(monkeypatch):
    real = policy.solvers_for

    def solvers_for(form, mode):
        if mode is SolverMode.HIGHS:
            return (Solver("broken", break_off),)
        return real(form, mode)

    monkeypatch.setattr(solve, "solvers_for", solvers_for)

    clearing = clear(generate("mixed", 60, 6, seed=1), mode=SolverMode.AUDIT)

    assert any("audit" in warning for warning in clearing.report.warnings)


def test_reasons_tell_why_a_rate_is_zero():
    auction = {
        "demand_curves": {
            **TWO_SIDED["demand_curves"],
            "off": None,
            "t": {"min_rate": 0, "max_rate": 1, "price": 6},
            "u": {"min_rate": -1, "max_rate": 0, "price": 6},
        },
        "portfolios": {
            **TWO_SIDED["portfolios"],
            "stuck": {"demand": ["b", "off"], "basis": "B"},
            "mute": {"demand": "nobody", "basis": "A"},
            "void": {"demand": "b", "basis": {}},
            "tied": {"demand": "t", "basis": "C"},
            "also": {"demand": "u", "basis": "C"},
        },
    }

    rows = clear(Market.from_auction(auction)).portfolios

    assert {name: row.reason for name, row in rows.items()} == {
        "b": "blocked" if rows["b"].reason == "blocked" else "out_of_the_money",
        "s": "out_of_the_money",
        "stuck": "blocked",
        "mute": "no_demand",
        "void": "no_product",
        "tied": "tied",
        "also": "tied",
    }


def test_demands_tell_surplus_and_what_more_range_would_be_worth():
    auction = {
        "demand_curves": {
            "b": [{"rate": 0, "price": 10}, {"rate": 3, "price": 4}],
            "s": {"max_rate": 0, "price": 2},
        },
        "portfolios": TWO_SIDED["portfolios"],
    }

    rows = clear(Market.from_auction(auction)).demands

    assert rows["b"].rate == pytest.approx(3.0)
    assert rows["b"].surplus == pytest.approx(15.0)
    assert rows["b"].box_dual == pytest.approx(2.0)
    assert rows["s"].surplus == pytest.approx(0.0, abs=1e-12)
    assert rows["s"].box_dual == 0.0


PROBE = """
import json, sys
from flowtrade.clearing import clear
from flowtrade.clearing.generate import generate
kinds = ("mixed", "thin")
print(json.dumps([clear(generate(k, 300, 40, seed=9)).digest for k in kinds]))
"""


def digests(**environment):
    done = subprocess.run(  # noqa: S603 - our own interpreter, a constant program
        [sys.executable, "-c", PROBE],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_the_same_market_gives_the_same_bits_in_any_process_on_any_threads():
    here = [clear(generate(kind, 300, 40, seed=9)).digest for kind in ("mixed", "thin")]

    one = digests(OPENBLAS_NUM_THREADS="1", PYTHONHASHSEED="1")
    two = digests(OPENBLAS_NUM_THREADS="2", PYTHONHASHSEED="2")

    assert here == one == two


def test_clearings_in_several_threads_do_not_disturb_each_other():
    markets = [generate("mixed", 150, 12, seed=seed) for seed in range(4)]
    alone = [clear(market).digest for market in markets]
    together = [""] * 4
    start = threading.Barrier(4)

    def work(i):
        start.wait()
        together[i] = clear(generate("mixed", 150, 12, seed=i)).digest

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert together == alone


def test_linear_algebra_is_pinned_to_one_thread_and_released_again():
    from threadpoolctl import threadpool_info

    def threads():
        return [lib["num_threads"] for lib in threadpool_info()]

    before = threads()
    with one_thread():
        with one_thread():
            assert set(threads()) <= {1}
        assert set(threads()) <= {1}

    assert threads() == before


def test_a_digest_covers_every_published_number():
    market = generate("mixed", 30, 4, seed=1)
    clearing = clear(market)
    again = clear(market)
    assert clearing.digest == again.digest

    again.arrays.rate[3] = np.nextafter(again.arrays.rate[3], 1.0)

    del again.__dict__["digest"]
    assert again.digest != clearing.digest


def test_rows_are_mappings_that_print_and_miss_like_dicts():
    clearing = clear(Market.from_auction(TWO_SIDED))

    assert list(clearing.portfolios) == ["b", "s"]
    assert dict(clearing.products)["A"] == clearing.products["A"]
    assert "PortfolioOutcome" in repr(clearing.portfolios)
    assert "certified" in repr(clearing)
    with pytest.raises(KeyError):
        clearing.portfolios["nobody"]


def test_a_deadline_in_the_past_still_gives_an_honest_verdict():
    start = time.monotonic()

    with pytest.raises(Uncertified):
        clear(generate("mixed", 400, 20, seed=1), time_limit=-1.0)

    assert start <= time.monotonic()


def test_conversion_cycles_are_warned_of():
    auction = {
        "demand_curves": {
            "d": [{"rate": 0, "price": 10}, {"rate": 2, "price": 6}],
            "s": {"min_rate": -5, "max_rate": 0, "price": 6},
        },
        "portfolios": {
            "a": {"demand": "d", "basis": "A"},
            "b": {"demand": "d", "basis": "B"},
            "sa": {"demand": "s", "basis": "A"},
        },
    }

    report = clear(Market.from_auction(auction)).report

    assert report.pseudo == 1
    assert any("convert" in warning for warning in report.warnings)


def test_highs_is_not_loaded_by_a_market_that_needs_no_linear_program():
    probe = (
        "import sys\n"
        "from flowtrade.clearing import clear\n"
        "from flowtrade.clearing.generate import generate\n"
        "clear(generate('paper', 50, 4, seed=1))\n"
        "print('highspy' in sys.modules)\n"
    )

    done = subprocess.run(  # noqa: S603 - our own interpreter, a constant program
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )

    assert (done.stdout, done.stderr) == ("False\n", "")
