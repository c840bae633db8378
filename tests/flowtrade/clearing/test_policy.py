"""Who is asked, and when it is not worth asking any more."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from msgspec import structs

from flowtrade.clearing import Market, Uncertified, clear, solve
from flowtrade.clearing.generate import generate
from flowtrade.clearing.highs import SolverFailed
from flowtrade.clearing.policy import Candidate, Solver, Turn, solvers_for
from flowtrade.clearing.priceform import PriceForm
from flowtrade.models.clearing import ClearingStatus, SolverMode


def nearly(form, deadline):
    """An answer that is good enough to publish and too rough to be certified."""
    honest = solvers_for(form, SolverMode.INTERIOR)[0].solve(form, deadline)
    return Candidate("nearly", "Optimal", 1, honest.z * (1 + 1e-5), honest.y)


def break_off(form, deadline):
    raise SolverFailed("refused")


def asked(monkeypatch, *solvers):
    monkeypatch.setattr(solve, "solvers_for", lambda form, mode: solvers)
    clearing = clear(generate("mixed", 50, 5, seed=1))
    return clearing, [attempt.solver for attempt in clearing.report.attempts]


@pytest.mark.parametrize("mode", [SolverMode.AUTO, SolverMode.HIGHS])
def test_the_active_set_is_the_last_resort_of_small_markets(mode):
    turns = {}

    def note(form, mode):
        found = solvers_for(form, mode)
        turns.update({solver.name: solver.turn for solver in found})
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solve, "solvers_for", note)
        clear(generate("mixed", 50, 5, seed=1), mode=mode)

    assert turns.pop("highs-qpasm") is Turn.LAST_RESORT
    assert set(turns.values()) == {Turn.UNTIL_CERTIFIED}


def test_an_accepted_answer_leaves_the_last_resort_alone(monkeypatch):
    clearing, names = asked(
        monkeypatch,
        Solver("nearly", nearly),
        Solver("slow", break_off, turn=Turn.LAST_RESORT),
    )

    assert names == ["nearly"]
    assert clearing.status is ClearingStatus.ACCEPTED


def test_an_accepted_answer_is_still_bettered_by_whoever_is_not_the_last_resort(
    monkeypatch,
):
    real = solvers_for

    def honest(form, deadline):
        return real(form, SolverMode.INTERIOR)[0].solve(form, deadline)

    clearing, names = asked(
        monkeypatch, Solver("nearly", nearly), Solver("honest", honest)
    )

    assert names == ["nearly", "honest"]
    assert clearing.status is ClearingStatus.CERTIFIED


def test_without_an_acceptable_answer_the_last_resort_is_asked(monkeypatch):
    real = solvers_for

    def honest(form, deadline):
        return real(form, SolverMode.INTERIOR)[0].solve(form, deadline)

    _, names = asked(
        monkeypatch,
        Solver("broken", break_off),
        Solver("honest", honest, turn=Turn.LAST_RESORT),
    )

    assert names == ["broken", "honest"]


LINE = [
    "active-set",
    "interior",
    "interior-wide",
    "exact-walk",
    "highs-hipo",
    "highs-hipo-augmented",
    "highs-qpasm",
]


def form_of(market):
    return PriceForm.of(market.structure, market.segments)


def lying(solver):
    """The same solver, word for word, but for its prices."""

    def lie(form, deadline):
        honest = solver.solve(form, deadline)
        return replace(honest, z=honest.z * 1.01)

    return replace(solver, solve=lie)


@pytest.mark.parametrize("count", range(1, len(LINE) + 1))
def test_every_solver_of_the_line_is_caught_lying_and_the_next_one_answers(
    count, monkeypatch
):
    market = generate("paper", 10, 3, seed=1)
    truth = clear(market)
    line = solvers_for(form_of(market), SolverMode.AUTO)
    assert [solver.name for solver in line] == LINE
    liars = [lying(solver) for solver in line[:count]]
    monkeypatch.setattr(solve, "clear_small", lambda *_, **__: None)
    monkeypatch.setattr(solve, "solvers_for", lambda *_: (*liars, *line[count:]))

    if count == len(LINE):
        with pytest.raises(Uncertified) as caught:
            clear(market)
        assert [a.solver for a in caught.value.attempts] == LINE
        assert all(a.worst > 1e-6 for a in caught.value.attempts)
        return
    clearing = clear(market)

    attempts = clearing.report.attempts
    assert [a.solver for a in attempts] == LINE[: count + 1]
    assert all(a.worst > 1e-6 for a in attempts[:count])
    assert clearing.status is not ClearingStatus.REJECTED
    assert clearing.arrays.price == pytest.approx(truth.arrays.price, rel=1e-5)


def raising(error):
    def fail(point):
        raise error

    return fail


@pytest.mark.parametrize(
    "spoil",
    [
        lambda point: replace(point, z=point.z * np.nan),
        lambda point: replace(point, y=point.y + np.inf),
        lambda point: replace(point, z=point.z[:-1]),
        lambda point: replace(point, y=point.y[1:]),
        raising(RuntimeError("a library's own")),
        raising(ValueError("no fit")),
        raising(ZeroDivisionError("division by zero")),
        raising(np.linalg.LinAlgError("singular")),
        raising(MemoryError("unable to allocate")),
    ],
)
def test_what_is_no_answer_at_all_is_followed_by_the_next(spoil, monkeypatch):
    line = solvers_for(form_of(generate("mixed", 50, 5, seed=1)), SolverMode.INTERIOR)

    def spoilt(form, deadline):
        return spoil(line[0].solve(form, deadline))

    _, names = asked(monkeypatch, Solver("spoilt", spoilt), line[0])

    assert names == ["spoilt", "interior"]


@pytest.mark.parametrize("share", [1e-3, -1e-3])
def test_an_audit_whose_proofs_differ_in_gains_publishes_nothing(share, monkeypatch):
    """Two proven answers cannot: so one of the proofs is wrong, whoever's it is."""
    real = solve.audit
    proofs = []

    def forged(*terms, **answer):
        proof = real(*terms, **answer)
        proofs.append(proof)
        if len(proofs) == 1:
            return proof
        gains = proof.certificate.gains + share * proof.certificate.value_scale
        return replace(
            proof, certificate=structs.replace(proof.certificate, gains=gains)
        )

    monkeypatch.setattr(solve, "audit", forged)

    with pytest.raises(Uncertified) as caught:
        clear(generate("mixed", 50, 5, seed=1), mode=SolverMode.AUDIT)

    assert [a.solver for a in caught.value.attempts] == ["interior", "highs-hipo"]


def test_solvers_declare_what_they_can_be_asked():
    def names(market):
        return [s.name for s in solvers_for(form_of(market), SolverMode.AUTO)]

    nothing = {"demand_curves": {"d": None}, "portfolios": {}}
    nothing["portfolios"]["x"] = {"demand": "d", "basis": "A"}

    assert names(generate("mixed", 10, 3, seed=1)) == LINE
    large = [name for name in LINE if name not in {"active-set", "exact-walk"}]
    assert names(generate("mixed", 90, 20, seed=1)) == large
    assert names(generate("mixed", 1000, 20, seed=1)) == large[:-1]
    assert names(Market.from_auction(nothing)) == large


def test_whoever_is_asked_leaves_time_to_the_next(monkeypatch):
    limits = []

    def note(form, deadline):
        limits.append(deadline)
        raise SolverFailed("noted")

    line = [Solver("first", note), Solver("second", note, share=0.5)]
    line.append(Solver("last", note, share=1.0))
    monkeypatch.setattr(solve, "monotonic", lambda: 100.0)
    monkeypatch.setattr(solve, "solvers_for", lambda *_: tuple(line))

    with pytest.raises(Uncertified, match="noted"):
        clear(generate("mixed", 50, 5, seed=1), time_limit=10.0)

    assert limits == [109.0, 105.0, 110.0]
    assert line[0].limit(100.0, inf) == inf
