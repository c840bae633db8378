import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrade.clearing import (
    ClearingStatus,
    Market,
    UnboundedMarket,
    certificate,
    clear,
)
from flowtrade.clearing.certificate import Terms, audit
from flowtrade.clearing.columns import Curves
from flowtrade.clearing.exact import audit_exactly
from flowtrade.clearing.generate import generate
from flowtrade.clearing.segments import disaggregate
from flowtrade.clearing.speedups import COMPILED
from flowtrade.clearing.testing import Oddity, odd_auction
from flowtrade.clearing.verify import demand_regret

SEEDS = st.integers(0, 2**32)
SOLVABLE = st.sampled_from([*(o for o in Oddity if o is not Oddity.TANGLED)])


def terms_of(market):
    return Terms(
        market.columns.products,
        market.segments,
        market.structure.usage,
        market.columns.basis,
    )


def answer_of(market):
    clearing = clear(market)
    marginal = np.full(market.columns.demands, np.nan)
    marginal[clearing.arrays.used] = clearing.arrays.marginal
    return {
        "rates": clearing.arrays.rate.copy(),
        "prices": np.nan_to_num(clearing.arrays.price),
        "marginal": marginal,
    }


MARKET = generate("mixed", 60, 6, seed=3)


@pytest.mark.parametrize(
    ("field", "measure"),
    [
        ("rates", "relative_imbalance"),
        ("prices", "stationarity"),
        ("marginal", "stationarity"),
    ],
)
def test_a_lie_of_a_thousandth_is_caught(field, measure):
    answer = answer_of(MARKET)
    place = int(np.argmax(np.abs(np.nan_to_num(answer[field]))))
    answer[field][place] *= 1.001

    certificate = audit(terms_of(MARKET), **answer).certificate

    assert certificate.status is ClearingStatus.REJECTED
    assert getattr(certificate, measure) > 1e-5


@pytest.mark.parametrize("compiled", [False, COMPILED])
@pytest.mark.parametrize("field", ["rates", "prices", "marginal"])
@pytest.mark.parametrize("count", [-1, 1])
def test_an_answer_of_another_length_is_refused_by_name(field, count, compiled):
    """The compiled loops check no bounds: they would read and write beyond."""
    answer = answer_of(MARKET)
    values = answer[field]
    answer[field] = np.append(values, 0.0) if count > 0 else values[:count]

    with pytest.raises(ValueError, match=rf"{len(values)} {field} are wanted"):
        audit(terms_of(MARKET), **answer, compiled=compiled)


@pytest.mark.parametrize("compiled", [False, COMPILED])
def test_an_answer_in_other_numbers_and_strides_is_measured_alike(compiled):
    terms, answer = terms_of(MARKET), answer_of(MARKET)
    answer = {field: np.round(values) for field, values in answer.items()}
    plain = audit(terms, **answer, compiled=False)
    answer["rates"] = answer["rates"].astype(int)
    answer["prices"] = np.repeat(answer["prices"], 2)[::2]
    answer["marginal"].flags.writeable = False

    found = audit(terms, **answer, compiled=compiled)

    assert repr(found.certificate) == repr(plain.certificate)


def test_a_consistent_but_suboptimal_answer_is_caught_by_its_gap():
    answer = answer_of(MARKET)
    for field in ("prices", "marginal"):
        answer[field] *= 1.01

    certificate = audit(terms_of(MARKET), **answer).certificate

    assert certificate.status is ClearingStatus.REJECTED
    assert certificate.relative_gap > 1e-6
    assert certificate.stationarity < 1e-12


def test_a_price_that_differs_by_nothing_counts_for_what_it_hides():
    # Two flat curves at one price: a billion changes hands, at no gain whatsoever.
    market = Market.from_auction(
        {
            "demand_curves": {
                "b": {"min_rate": 0, "max_rate": 1e9, "price": 100},
                "s": {"min_rate": -1e9, "max_rate": 0, "price": 100},
            },
            "portfolios": {
                "b": {"demand": "b", "basis": "X"},
                "s": {"demand": "s", "basis": "X"},
            },
        }
    )
    told = {"prices": np.array([100.0]), "marginal": np.array([100.0, 100.0])}
    rates = np.array([1e9, -1e9])
    honest = audit(terms_of(market), rates=rates, **told).certificate
    told["marginal"][0] -= 1e-7  # a billionth of the price: itself nearly nothing
    certificate = audit(terms_of(market), rates=rates, **told).certificate

    assert honest.status is ClearingStatus.CERTIFIED
    assert certificate.status is ClearingStatus.REJECTED
    assert certificate.relative_gap == 0.0
    assert certificate.stationarity * certificate.value_scale == pytest.approx(
        100.0, rel=1e-6
    )


def test_zero_rates_are_no_optimum_of_a_market_that_trades():
    answer = answer_of(MARKET)
    answer["rates"][:] = 0.0

    certificate = audit(terms_of(MARKET), **answer).certificate

    assert certificate.status is ClearingStatus.REJECTED
    assert certificate.gains == 0.0


def test_a_rate_that_is_no_number_is_rejected():
    answer = answer_of(MARKET)
    answer["rates"][0] = np.nan

    with np.errstate(invalid="ignore"):
        certificate = audit(terms_of(MARKET), **answer).certificate

    assert certificate.status is ClearingStatus.REJECTED


@given(SEEDS, st.floats(-0.5, 0.5), st.integers(0, 1000))
@settings(max_examples=50)
def test_the_dual_bound_holds_for_any_prices(seed, shift, place):
    # Any consistent prices bound the gains from above, however bad they are.
    market = Market.from_auction(odd_auction(seed, Oddity.PLAIN))
    best = clear(market).gains
    answer = answer_of(market)
    k = place % len(answer["prices"])
    answer["prices"][k] += shift
    basis, usage = market.columns.basis, market.structure.usage
    for j in np.flatnonzero(market.structure.live).tolist():
        value = sum(w * answer["prices"][i] for i, w in basis.take_row(j))
        demand, weight = usage.take_row(j)[0]
        answer["marginal"][demand] = value / weight
    answer["rates"][:] = 0.0

    certificate = audit(terms_of(market), **answer).certificate

    if certificate.unlimited == 0.0:
        assert certificate.dual_bound >= best - 1e-9 * (1.0 + best)


@given(SEEDS, SOLVABLE)
@settings(max_examples=40)
def test_every_bidder_can_recompute_her_regret(seed, oddity):
    auction = odd_auction(seed, oddity)
    try:
        clearing = clear(Market.from_auction(auction))
    except UnboundedMarket:
        return
    size = 1e-9 * (1.0 + clearing.certificate.value_scale)

    for name, row in clearing.demands.items():
        if row.price is not None:
            own = demand_regret(auction["demand_curves"][name], row.rate, row.price)
            assert own == pytest.approx(row.regret, abs=size)
            assert row.regret <= clearing.certificate.max_regret


@pytest.mark.parametrize("kind", ["mixed", "ticks", "thin", "substitutes"])
def test_the_exact_audit_confirms_the_certificate(kind):
    market = generate(kind, 60, 8, seed=1)
    clearing = clear(market)

    exact = audit_exactly(market, clearing)

    scale = clearing.certificate.value_scale
    assert float(exact.gains) == pytest.approx(clearing.gains, rel=1e-12)
    assert abs(float(exact.gap - exact.worth)) <= 1e-10 * scale
    assert float(exact.imbalance) == pytest.approx(
        clearing.certificate.imbalance, abs=1e-12
    )
    assert exact.unlimited == 0


def test_the_exact_audit_confirms_that_steep_books_are_solved():
    for seed in range(10):
        market = Market.from_auction(odd_auction(seed, Oddity.BOOKS))
        clearing = clear(market)

        exact = audit_exactly(market, clearing)

        scale = clearing.certificate.value_scale
        assert abs(float(exact.gap - exact.worth)) <= 1e-9 * scale
        assert float(exact.gains) == pytest.approx(
            clearing.gains, rel=1e-9, abs=1e-9 * scale
        )


def test_certificates_of_markets_that_cannot_trade_are_judged_sensibly():
    market = Market.from_auction(
        {
            "demand_curves": {"b": {"min_rate": 0, "max_rate": 1, "price": 7}},
            "portfolios": {"b": {"demand": "b", "basis": "A"}},
        }
    )

    clearing = clear(market)

    assert clearing.gains == 0.0
    assert clearing.certificate.value_scale > 0.0
    assert clearing.status is ClearingStatus.CERTIFIED


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("share", [0.0, 1e-3, 0.5, 1.0, 1.5])
def test_a_curve_of_many_pieces_is_filled_as_one_of_few(monkeypatch, sign, share):
    rng = np.random.default_rng(4)
    width = rng.uniform(0.1, 2.0, 200)
    ends = np.sort(sign * np.concatenate([[0.0], np.cumsum(width)]))
    price = np.linspace(90.0, 10.0, 201)
    price += 3.0 * np.sin(np.arange(201) / 40)
    curves = Curves(
        np.array([0, 201, 203]), np.append(ends, [0, 9]), np.append(price, [5, 4])
    )
    segments = disaggregate(curves)
    net = np.array([sign * share * width.sum(), 3.0])

    filled, rest = certificate._fill(segments, net)
    monkeypatch.setattr(certificate, "_LONG", 1000)
    by_place, left = certificate._fill(segments, net)

    assert len(segments) == 201
    assert filled == pytest.approx(by_place, abs=1e-12)
    assert rest == pytest.approx(left, abs=1e-12)
