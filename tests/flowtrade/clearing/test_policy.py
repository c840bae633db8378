"""Who is asked, and when it is not worth asking any more."""

import pytest

from flowtrade.clearing import clear, solve
from flowtrade.clearing.generate import generate
from flowtrade.clearing.highs import SolverFailed
from flowtrade.clearing.policy import Candidate, Solver, Turn, solvers_for
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
