"""The solver keeps its model between auctions, and nobody can tell by the outcome."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrade.clearing import Market
from flowtrade.core.auction import outcome_hash
from flowtrade.core.mirror import AuctionInput, PortfolioTerms
from flowtrade.core.solver import ClearingSolver
from flowtrade.errors import BatchFailed
from flowtrade.models.curve import ConstantCurve, Point, PwlCurve


def buyer(price, rate):
    return PwlCurve(
        points=(Point(rate=0.0, price=price + 1.0), Point(rate=rate, price=price - 1.0))
    )


def seller(price, rate):
    return PwlCurve(
        points=(
            Point(rate=-rate, price=price + 1.0),
            Point(rate=0.0, price=price - 1.0),
        )
    )


def terms(*demands, **basis):
    return PortfolioTerms(demand=dict.fromkeys(demands, 1.0), basis=basis)


def market_of(count):
    demands, portfolios = {}, {}
    for n in range(count):
        make = buyer if n % 2 else seller
        demands[f"d{n}"] = make(10.0 + 0.3 * (n % 7), 1.0 + n % 3)
        basis = {"X": 1.0} if n % 3 else {"X": 1.0, "Y": -0.5 - n % 2}
        portfolios[f"p{n}"] = terms(f"d{n}", **basis)
    return demands, portfolios


def solved(solver, demands, portfolios):
    auction = AuctionInput(demands=dict(demands), portfolios=dict(portfolios))
    return solver.solve(auction, targets={}, time_limit=60.0)


@pytest.fixture
def built(monkeypatch):
    """How often a model was built anew."""
    made = []
    build = Market.from_models

    def from_models(demands, portfolios):
        made.append(len(portfolios))
        return build(demands, portfolios)

    monkeypatch.setattr(Market, "from_models", from_models)
    return made


def test_a_batch_with_few_changes_changes_the_model_of_the_last_one(built):
    demands, portfolios = market_of(40)
    solver = ClearingSolver()
    solved(solver, demands, portfolios)
    demands["d3"] = buyer(12.0, 2.0)
    portfolios["p5"] = terms("d5", Y=1.0)
    demands["d40"] = seller(9.0, 1.0)
    portfolios["p40"] = terms("d40", X=1.0)
    kept = solved(solver, demands, portfolios)

    assert built == [40]
    fresh = solved(ClearingSolver(), demands, portfolios)
    assert outcome_hash(kept) == outcome_hash(fresh)
    assert kept.portfolios["p40"].rate < 0.0


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["curve", "terms", "new", "leave", "withdraw", "many", "same"]),
        st.integers(0, 30),
        st.floats(8.0, 14.0).map(lambda price: round(price, 3)),
    ),
    min_size=1,
    max_size=8,
)


@given(CHANGES)
@settings(max_examples=60)
def test_outcomes_have_the_bits_of_a_solver_that_kept_nothing(changes):
    demands, portfolios = market_of(24)
    solver = ClearingSolver()
    solved(solver, demands, portfolios)
    for number, (what, place, price) in enumerate(changes):
        name = f"n{number}"
        here = list(portfolios)[place % len(portfolios)]
        fed = next(iter(portfolios[here].demand))
        match what:
            case "curve":
                demands[fed] = buyer(price, 1.0 + place)
            case "terms":
                # Also a product that nobody else holds, and two demands at once.
                second = list(demands)[place % len(demands)]
                basis = {"X": 1.0} if place % 2 else {"Z": 1.0, "X": -1.0}
                portfolios[here] = terms(*{fed: 1, second: 1}, **basis)
            case "new":
                demands[name] = seller(price, 2.0)
                portfolios[name] = terms(name, X=1.0)
            case "leave":
                del portfolios[here]
            case "withdraw":
                # Inactive: portfolios may name it still.
                demands.pop(fed, None)
                if not demands:
                    demands[name] = seller(price, 2.0)
            case "many":
                for key in demands:
                    demands[key] = seller(price, 1.0 + place)
        if not portfolios:
            return
        kept = solved(solver, demands, portfolios)
        fresh = solved(ClearingSolver(), demands, portfolios)
        assert outcome_hash(kept) == outcome_hash(fresh)
        assert kept.certificate == fresh.certificate


def test_demands_named_before_they_had_a_curve_take_their_own_places(built):
    demands, portfolios = market_of(24)
    portfolios["u"] = terms("x", X=1.0)
    portfolios["v"] = terms("y", X=1.0, Y=1.0)
    # The other way round than the portfolios name them.
    later = {**demands, "y": buyer(12.7, 0.4), "x": seller(9.3, 0.7)}
    solver = ClearingSolver()
    solved(solver, demands, portfolios)

    kept = solved(solver, later, portfolios)

    assert built == [26, 26]
    assert kept.certificate == solved(ClearingSolver(), later, portfolios).certificate


def test_a_batch_that_failed_is_nothing_to_go_on_from_wrongly():
    demands, portfolios = market_of(12)
    solver = ClearingSolver()
    first = solved(solver, demands, portfolios)
    endless = {
        **demands,
        "b": ConstantCurve(price=20.0, min_rate=0.0),
        "s": ConstantCurve(price=1.0, max_rate=0.0),
    }
    crossing = {**portfolios, "b": terms("b", X=1.0), "s": terms("s", X=1.0)}
    with pytest.raises(BatchFailed):
        solved(solver, endless, crossing)

    assert outcome_hash(solved(solver, demands, portfolios)) == outcome_hash(first)
