"""`clear`: from a market to a certified answer.

The order of work: structure and segments, a solver's point, its polish, the choice
among equally good rates and prices, the certificate. Solvers are asked one after
another until the certificate accepts an answer; what a solver says of itself counts
for nothing. See `policy` for who is asked.
"""

from collections.abc import Mapping
from functools import cached_property
from time import monotonic

import numpy as np

from flowtrade.clearing.arrays import BoolArray, FloatArray, IntArray, group_sum
from flowtrade.clearing.blas import one_thread
from flowtrade.clearing.certificate import Audit, Terms, audit
from flowtrade.clearing.composites import Composites
from flowtrade.clearing.errors import InvalidMarket, UnboundedMarket, Uncertified
from flowtrade.clearing.faces import Ranges, find_face, find_ranges
from flowtrade.clearing.highs import SolverFailed
from flowtrade.clearing.joint import joined
from flowtrade.clearing.market import Market
from flowtrade.clearing.outcome import Clearing, OutcomeArrays
from flowtrade.clearing.outliers import Inliers, find_outliers
from flowtrade.clearing.policy import (
    Candidate,
    Effort,
    Solver,
    Turn,
    conversion_warning,
    solvers_for,
)
from flowtrade.clearing.polish import polish
from flowtrade.clearing.priceform import PriceForm
from flowtrade.clearing.prices import nearest_prices, targets
from flowtrade.clearing.rates import open_pieces, smallest_rates
from flowtrade.clearing.recession import Ray, find_ray, has_unlimited
from flowtrade.clearing.recover import portfolio_rates
from flowtrade.clearing.small import clear_small
from flowtrade.clearing.still import still_portfolios
from flowtrade.clearing.structure import Structure
from flowtrade.clearing.supports import find_support
from flowtrade.models.clearing import (
    Attempt,
    CanonicalChoice,
    Certificate,
    ClearingStatus,
    SolverMode,
    SolverReport,
    ZeroReason,
)

__all__ = ["clear"]

_ACCEPTED = 1e-6
"""Share of the value scale by which two proven answers may differ in gains."""

_GIVEN_UP = (SolverFailed, ArithmeticError, ValueError, RuntimeError, MemoryError)
"""A solver's ways of giving up, or of giving arrays that are no answer. What it said is
in the report; singular matrices are values that do not fit, and others may do with
less memory."""

_DUST = 1e-13
"""Rates this small against the range of their demands are rounding."""


def clear(
    market: Market,
    *,
    mode: SolverMode = SolverMode.AUTO,
    reference: Mapping[str, float] | None = None,
    time_limit: float = 10.0,
    effort: Effort = Effort.FULL,
) -> Clearing:
    """Clear an auction.

    Pure: the same market and reference give the same bits, whatever the number of
    threads. Linear algebra runs on one thread meanwhile. Parts of the market that have
    nothing to do with each other are cleared apart (see `parts`).

    Args:
        market: The auction.
        mode: Who may solve it.
        reference: Prices by product id, such as the last auction's: where prices are
            undetermined, those nearest to them are chosen. Products left out use the
            middle of their range.
        time_limit: Seconds after which no further solver is asked.
        effort: Which of the mode's solvers are asked.

    Returns:
        Rates, prices and their proof. Where orders are far out of scale (`outliers`),
        it holds in the scale of all others, too.

    Raises:
        InvalidMarket: A reference price is not finite.
        UnboundedMarket: Unlimited orders cross.
        Uncertified: No solver's answer could be proven.
    """
    deadline = monotonic() + time_limit
    spoilt = _has_outliers(market)
    with one_thread(), _errors(spoilt=spoilt):
        wanted = _reference(market, reference)
        found = None if spoilt else _small(market, wanted, mode, deadline)
        if found is not None:
            return found
        if market.is_whole or not market.parts:
            return _Run(market, wanted, deadline, effort=effort).clear(mode)
        clearings = []
        for part in market.parts:
            own = wanted[part.members.products]
            clearing = None
            if not (spoilt and _has_outliers(part.market)):
                clearing = _small(part.market, own, mode, deadline)
            if clearing is None:
                run = _Run(part.market, own, deadline, effort=effort)
                clearing = run.clear(mode)
            clearings.append(clearing)
        return joined(market, clearings)


def _has_outliers(market: Market) -> bool:
    """Whether some orders are far out: the proof of tiny markets knows one scale."""
    return find_outliers(market.columns) is not None


def _errors(*, spoilt: bool) -> "np.errstate":
    """What floats may do: beyond their range lie answers that no proof accepts."""
    if spoilt:
        return np.errstate(all="ignore")
    return np.errstate(under="ignore")


def _small(
    market: Market, wanted: FloatArray, mode: SolverMode, deadline: float
) -> Clearing | None:
    """A tiny market's answer in one pass, where nobody was asked for by name."""
    if mode is not SolverMode.AUTO:
        return None
    return clear_small(market, wanted, deadline=deadline)


class _Run:
    """One clearing: the market in all its forms, and the clock."""

    def __init__(
        self, market: Market, reference: FloatArray, deadline: float, *, effort: Effort
    ) -> None:
        self.market = market
        self.composites = market.composites if market.parts else None
        self.wanted = reference
        self.deadline = deadline
        self.effort = effort
        self.seconds: dict[str, float] = {}
        self.attempts: list[Attempt] = []
        self.warnings: list[str] = []
        start = monotonic()
        self.structure, self.reference = self._told_apart(reference)
        self.segments = market.segments
        self.form = PriceForm.of(self.structure, self.segments)
        self.terms = Terms(
            market.columns.products,
            self.segments,
            self.structure.usage,
            market.columns.basis,
        )
        self.basis = (self.composites or market).columns.basis
        outliers = find_outliers(market.columns)
        self.inliers = None if outliers is None else Inliers(self.terms, outliers)
        self._count("build", start)

    def _told_apart(self, reference: FloatArray) -> tuple[Structure, FloatArray]:
        """The structure to solve and its reference: of bundles, if there are any."""
        if self.composites is None:
            return self.market.structure, reference
        return self.composites.structure, self.composites.wanted(reference)

    def clear(self, mode: SolverMode) -> Clearing:
        first = SolverMode.AUTO if mode is SolverMode.AUDIT else mode
        best = self._best_of(solvers_for(self.form, first))
        if best is None or best[1].certificate.status is ClearingStatus.REJECTED:
            certificate = None if best is None else best[1].certificate
            raise Uncertified(certificate, tuple(self.attempts))
        if mode is SolverMode.AUDIT:
            self._second_opinion(best[1].certificate)
        return self._publish(*best)

    def _best_of(self, solvers: tuple[Solver, ...]) -> tuple[Candidate, Audit] | None:
        best: tuple[Candidate, Audit] | None = None
        for solver in self.effort.among(solvers):
            if solver.turn is Turn.LAST_RESORT and _acceptable(best):
                continue
            found = self._ask(solver)
            if found is not None and (
                best is None or found[1].certificate.worst < best[1].certificate.worst
            ):
                best = found
            if best and best[1].certificate.status is ClearingStatus.CERTIFIED:
                break
            if len(self.attempts) == 1 and has_unlimited(self.form):
                self._refuse_unbounded()
            if monotonic() > self.deadline:
                break
        return best

    def _second_opinion(self, certificate: Certificate) -> None:
        """Have HiGHS solve it, too: two proven answers cannot differ in gains."""
        other = self._best_of(solvers_for(self.form, SolverMode.HIGHS))
        if other is None or other[1].certificate.status is ClearingStatus.REJECTED:
            self.warnings.append("audit: HiGHS gave no answer that could be proven")
            return
        rival = other[1].certificate
        margin = certificate.gap + rival.gap + _ACCEPTED * certificate.value_scale
        if abs(certificate.gains - rival.gains) > margin:
            raise Uncertified(rival, tuple(self.attempts))

    def _ask(self, solver: Solver) -> tuple[Candidate, Audit] | None:
        start = monotonic()
        try:
            candidate = solver.solve(self.form, solver.limit(start, self.deadline))
            self._check(candidate)
            _, proof = self._proven(self._rates_of(candidate), candidate.z)
        except _GIVEN_UP as error:
            seconds = monotonic() - start
            self.attempts.append(
                Attempt(
                    solver=solver.name,
                    outcome=str(error),
                    iterations=0,
                    seconds=seconds,
                    worst=None,
                )
            )
            return None
        self._count("solve", start)
        self.attempts.append(
            Attempt(
                solver=solver.name,
                outcome=candidate.outcome,
                iterations=candidate.iterations,
                seconds=monotonic() - start,
                worst=proof.certificate.worst,
            )
        )
        return candidate, proof

    def _check(self, candidate: Candidate) -> None:
        """Refuse what is no point of the market; the proof takes it from there."""
        wanted = {"prices": self.form.columns, "flows": len(self.form)}
        for (name, size), values in zip(
            wanted.items(), (candidate.z, candidate.y), strict=True
        ):
            if values.shape != (size,):
                raise SolverFailed(f"{candidate.outcome}, but its {name} do not fit")
            if not np.isfinite(values).all():
                raise SolverFailed(f"{candidate.outcome}, but {name} are no numbers")

    def _rates(self, y: FloatArray) -> FloatArray:
        """Rates of portfolios; those that are rounding are the zeros they mean."""
        rates = portfolio_rates(self.structure, self.form, y)
        rates[(np.abs(rates) <= self._dust) | self._still] = 0.0
        return rates

    def _rates_of(self, candidate: Candidate) -> FloatArray:
        """A candidate's rates; of an exact one only differences are rounding.

        Where lots are worlds apart its small ones are as true as its large ones.
        """
        if not candidate.is_exact:
            return self._rates(candidate.y)
        rates = portfolio_rates(self.structure, self.form, candidate.y)
        rest = self.structure.recovery.anchors
        rates[rest] = np.where(
            np.abs(rates[rest]) <= self._dust[rest], 0.0, rates[rest]
        )
        rates[self._still] = 0.0
        return rates

    @cached_property
    def _still(self) -> BoolArray:
        """Which portfolios cannot trade, whoever does."""
        return self._left_alone(self.structure.live)

    def _left_alone(self, trading: BoolArray) -> BoolArray:
        blocked = np.diff(self.segments.ptr) == 0
        terms = self.terms
        return still_portfolios(terms.basis, terms.usage, trading, blocked)

    def _proven(
        self, rates: FloatArray, z: FloatArray, proof: Audit | None = None
    ) -> tuple[FloatArray, Audit]:
        """Rates and their proof; who alone trades a product trades nothing.

        The others' zeros may be what is wrong, so the certificate has the last word.
        """
        proof = proof or self._audit(rates, z)
        alone = self._left_alone(rates != 0.0)
        if not alone.any():
            return rates, proof
        rest = np.where(alone, 0.0, rates)
        other = self._audit(rest, z)
        certified = other.certificate.status is ClearingStatus.CERTIFIED
        if certified or other.certificate.worst <= proof.certificate.worst:
            return rest, other
        return rates, proof

    @cached_property
    def _dust(self) -> FloatArray:
        """Rate of each portfolio that is rounding.

        Against its own demands where they are small, since products' lots may be
        worlds apart, and against a typical order where they are deep or unlimited.
        """
        usage, scales = self.structure.usage, self.terms.scales
        reach = np.minimum(scales.ranges, scales.rate)[usage.idx]
        out = np.zeros(len(usage))
        filled = np.flatnonzero(np.diff(usage.ptr))
        if len(filled):
            share = reach / np.abs(usage.weight)
            out[filled] = _DUST * np.maximum.reduceat(share, usage.ptr[filled])
        return out

    def prices_of(self, z: FloatArray) -> FloatArray:
        """Prices of products at those of columns; of a bundle's, the smallest."""
        prices = z[: self.structure.products]
        return prices if self.composites is None else self.composites.least(prices)

    def _audit(
        self, rates: FloatArray, z: FloatArray, prices: FloatArray | None = None
    ) -> Audit:
        prices = self.prices_of(z) if prices is None else prices
        marginal = self.structure.demand_prices(z)
        proof = audit(self.terms, rates=rates, prices=prices, marginal=marginal)
        if self.inliers is None:
            return proof
        return self.inliers.judged(proof, rates=rates, prices=prices, marginal=marginal)

    def _refuse_unbounded(self) -> None:
        ray = find_ray(self.form, deadline=self.deadline)
        if ray is None:
            return
        paying = np.unique(
            self.form.demand[(ray.flow != 0.0) & (self.form.demand >= 0)]
        )
        # A limit divided by a weight may overflow; it is a limit all the same.
        if self._has_end[paying].any():
            return
        raise self._unbounded(ray, paying)

    @cached_property
    def _has_end(self) -> BoolArray:
        """Which demands admit no rate beyond all limits."""
        segments = self.segments
        endless = np.isinf(segments.low) | np.isinf(segments.high)
        ends = np.ones(self.market.columns.demands, np.bool_)
        ends[self.terms.owner[endless]] = False
        return ends

    def _unbounded(self, ray: Ray, paying: IntArray) -> UnboundedMarket:
        market = self.market
        rates = self._rates(ray.flow)
        size = float(np.abs(rates).max(initial=0.0)) or 1.0
        moving = np.flatnonzero(np.abs(rates) > 1e-9 * size)
        usage = self.structure.usage
        net = group_sum(
            usage.idx,
            usage.weight * np.repeat(rates / size, np.diff(usage.ptr)),
            market.columns.demands,
        )
        return UnboundedMarket(
            ray={
                market.portfolio_ids[j]: float(rates[j] / size) for j in moving.tolist()
            },
            orders={market.demand_ids[d]: float(net[d]) for d in map(int, paying)},
            gains=ray.gains / size,
        )

    def _publish(self, candidate: Candidate, proof: Audit) -> Clearing:
        start = monotonic()
        choice = _Choice(self, candidate, proof)
        self._count("canonical", start)
        start = monotonic()
        arrays = _Outcome(self, choice).arrays()
        self._count("publish", start)
        market = self.market
        report = self._report(candidate, choice)
        used = arrays.used
        names = market.demand_ids
        if len(used) < len(names):
            names = [names[d] for d in map(int, used)]
        return Clearing(
            (market.portfolio_ids, market.product_ids, names),
            arrays,
            choice.proof.certificate,
            report,
        )

    def _report(self, candidate: Candidate, choice: "_Choice") -> SolverReport:
        structure = self.structure
        pseudo = len(structure.recovery.pseudo)
        warnings = list(self.warnings)
        live = int(structure.live.sum())
        warnings += conversion_warning(pseudo=pseudo, live=live)
        if choice.proof.certificate.status is ClearingStatus.ACCEPTED:
            warnings.append("the answer is proven to 1e-6 only, not to 1e-9")
        return SolverReport(
            solver=candidate.solver,
            attempts=tuple(self.attempts),
            portfolios=self.market.columns.portfolios,
            products=self.market.columns.products,
            segments=len(self.form),
            rows=self.form.rows,
            shared=len(structure.free),
            pseudo=pseudo,
            free_prices=choice.free_prices,
            free_rates=choice.free_rates,
            prices=choice.price_choice,
            rates=choice.rate_choice,
            seconds=self.seconds,
            warnings=tuple(warnings),
        )

    def _count(self, phase: str, start: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + monotonic() - start


class _Choice:
    """The canonical rates and prices, each kept only if certified."""

    def __init__(self, run: _Run, candidate: Candidate, proof: Audit) -> None:
        self.run = run
        self.z = candidate.z
        rates = run._rates_of(candidate)
        self.rates, self.proof = run._proven(rates, candidate.z, proof)
        self.rate_choice = self.price_choice = CanonicalChoice.UNIQUE
        self.free_rates = self.free_bundles = 0
        self._choose_rates(candidate)
        self.ranges, self.free_prices = self._choose_prices(candidate)
        self.prices = run.prices_of(self.z)
        if run.composites is not None:
            self._divide(run.composites)

    def _choose_rates(self, candidate: Candidate) -> None:
        run = self.run
        pieces = open_pieces(run.form, candidate.z)
        self.free_rates = len(pieces)
        if not len(pieces):
            return
        rates = smallest_rates(
            run.structure,
            run.basis,
            run.form,
            candidate.y,
            pieces,
            rates=self.rates,
            deadline=run.deadline,
        )
        self.rate_choice = CanonicalChoice.KEPT
        if rates is not None and self._accept(rates, self.z):
            self.rate_choice = CanonicalChoice.CHOSEN

    def _choose_prices(self, candidate: Candidate) -> tuple[Ranges, int]:
        ranges, free, z = self._nearest(candidate.z, candidate.y)
        if not free:
            return ranges, 0
        self.price_choice = CanonicalChoice.KEPT
        if z is not None and not self._accept(self.rates, z):
            # From prices far out the way back loses digits: go on from where it led.
            point = polish(self.run.form, z, candidate.y, deadline=self.run.deadline)
            ranges, free, z = self._nearest(point.z, candidate.y)
            if z is not None and not self._accept(self.rates, z):
                return ranges, free
        if z is not None:
            self.price_choice = CanonicalChoice.CHOSEN
        return ranges, free

    def _nearest(
        self, z: FloatArray, y: FloatArray
    ) -> tuple[Ranges, int, FloatArray | None]:
        """Ranges, how many columns are open, and the chosen prices."""
        run = self.run
        products, composites = run.structure.products, run.composites
        support = find_support(run.form, z, y, run.reference)
        if support is not None and (composites is None or not support.open):
            return support.ranges, support.open, support.z
        face = find_face(run.form, z, y, deadline=run.deadline)
        try:
            ranges = find_ranges(run.form, z, face)
        except SolverFailed:
            known = np.ones(run.form.columns, np.bool_)
            known[face.open] = False
            ranges = Ranges(z.copy(), z.copy(), known)
        if not len(face.open):
            return ranges, 0, z
        reference, norm = np.zeros(run.form.columns), np.ones(run.form.columns)
        reference[:products] = run.reference
        if composites is not None:
            norm[:products] = composites.norm
            self.free_bundles = composites.among(face.open)
        chosen = nearest_prices(
            run.form,
            z,
            face,
            ranges,
            targets(ranges, reference),
            products=products,
            norm=norm,
            deadline=run.deadline,
        )
        return ranges, len(face.open), chosen

    def _divide(self, composites: Composites) -> None:
        """Divide the prices of bundles among their products."""
        run = self.run
        prices = composites.nearest(self.z[: run.structure.products], run.wanted)
        proof = run._audit(self.rates, self.z, prices)
        self.free_prices += int(composites.merged.sum()) - self.free_bundles
        if proof.certificate.status is not self.proof.certificate.status:
            self.price_choice = CanonicalChoice.KEPT
            return
        self.prices, self.proof = prices, proof
        if self.price_choice is CanonicalChoice.UNIQUE:
            self.price_choice = CanonicalChoice.CHOSEN

    def _accept(self, rates: FloatArray, z: FloatArray) -> bool:
        """Take a choice over if its proof is as good as the verdict before."""
        rates, proof = self.run._proven(rates, z)
        was = self.proof.certificate
        if proof.certificate.status is not was.status:
            return False
        self.rates, self.z, self.proof = rates, z, proof
        return True


class _Outcome:
    """Arrays to publish from a choice."""

    def __init__(self, run: _Run, choice: _Choice) -> None:
        self.run = run
        self.choice = choice

    def arrays(self) -> OutcomeArrays:
        run, choice = self.run, self.choice
        terms, products = run.terms, run.terms.products
        held = np.zeros(products, np.bool_)
        live = np.repeat(run.structure.live, np.diff(terms.basis.ptr))
        held[terms.basis.idx[live]] = True
        price = np.where(held, choice.prices, np.nan)
        ends, home = choice.ranges, np.arange(products)
        if run.composites is not None:
            home = run.composites.home
            held_alone = held & ~run.composites.merged
        else:
            held_alone = held
        lower = np.where(held_alone, ends.lower[home], -np.inf)
        upper = np.where(held_alone, ends.upper[home], np.inf)
        ranged = (ends.known[home] | ~held_alone) & held
        scale = run.form.column_price[home]
        used = np.flatnonzero(run.market.used)
        marginal = run.structure.demand_prices(choice.z)[used]
        net = choice.proof.net[used]
        mu = np.where(np.isnan(marginal), 0.0, marginal)
        return OutcomeArrays(
            rate=choice.rates,
            portfolio_price=self._portfolio_prices(price),
            reason=self._reasons(),
            price=price,
            volume=0.5 * choice.proof.volume,
            price_min=np.where(ranged, lower, -np.inf),
            price_max=np.where(ranged, upper, np.inf),
            ranged=ranged,
            unique=ranged & (upper - lower <= 1e-9 * scale),
            used=used,
            net=net,
            marginal=marginal,
            surplus=np.where(
                np.isnan(marginal), 0, choice.proof.value[used] - mu * net
            ),
            box_dual=self._box_duals(used, mu, net),
            regret=choice.proof.regret[used],
        )

    def _portfolio_prices(self, price: FloatArray) -> FloatArray:
        basis = self.run.terms.basis
        total = group_sum(basis.rows(), basis.weight * price[basis.idx], len(basis))
        return np.where(np.diff(basis.ptr) > 0, total, np.nan)

    def _reasons(self) -> np.ndarray:
        """Index of the reason in `None, *ZeroReason`."""
        run = self.run
        codes = {reason: i + 1 for i, reason in enumerate(ZeroReason)}
        usage, basis = run.market.columns.usage, run.terms.basis
        known = usage.filter(run.market.columns.known[usage.idx])
        zero = self.choice.rates == 0.0
        out = np.where(zero, codes[ZeroReason.OUT_OF_THE_MONEY], 0)
        blocked = np.diff(run.segments.ptr) == 0
        stuck = group_sum(known.rows(), blocked[known.idx].astype(float), len(known))
        out[zero & (stuck > 0)] = codes[ZeroReason.BLOCKED]
        tied = self._tied()
        out[zero & (stuck == 0) & tied] = codes[ZeroReason.TIED]
        out[np.diff(basis.ptr) == 0] = codes[ZeroReason.NO_PRODUCT]
        out[np.diff(known.ptr) == 0] = codes[ZeroReason.NO_DEMAND]
        return out

    def _tied(self) -> np.ndarray:
        """Portfolios some of whose demands has a flat piece exactly at its price."""
        run = self.run
        form = run.form
        price = form.map.forward(self.choice.z)[form.row]
        at = np.abs(form.top - price) <= 1e-9 * form.row_price[form.row]
        flat = at & (form.top == form.bottom) & (form.demand >= 0)
        hit = np.zeros(run.market.columns.demands)
        hit[form.demand[flat]] = 1.0
        usage = run.structure.usage
        tied: np.ndarray = group_sum(usage.rows(), hit[usage.idx], len(usage)) > 0
        return tied

    def _box_duals(
        self, used: np.ndarray, mu: FloatArray, net: FloatArray
    ) -> FloatArray:
        segments = self.run.segments
        count = np.diff(segments.ptr)[used]
        out = np.zeros(len(used))
        some = np.flatnonzero(count)
        first = segments.ptr[used[some]]
        last = segments.ptr[used[some] + 1] - 1
        demands = len(segments.ptr) - 1
        owner = np.repeat(np.arange(demands), np.diff(segments.ptr))
        low = group_sum(owner, np.maximum(segments.low, -1e300), demands)[used[some]]
        high = group_sum(owner, np.minimum(segments.high, 1e300), demands)[used[some]]
        slack = 1e-12 * (np.abs(low) + np.abs(high))
        gain = np.where(
            net[some] >= high - slack,
            np.maximum(segments.bottom[last] - mu[some], 0.0),
            0.0,
        )
        loss = np.where(
            net[some] <= low + slack,
            np.minimum(segments.top[first] - mu[some], 0.0),
            0.0,
        )
        out[some] = gain + loss
        return out


def _acceptable(found: "tuple[Candidate, Audit] | None") -> bool:
    return (
        found is not None and found[1].certificate.status is not ClearingStatus.REJECTED
    )


def _reference(market: Market, reference: Mapping[str, float] | None) -> FloatArray:
    out = np.full(len(market.product_ids), np.nan)
    if reference:
        for i, product in enumerate(market.product_ids):
            price = reference.get(product)
            if price is None:
                continue
            if not np.isfinite(price):
                raise InvalidMarket(
                    "reference.price", product, f"must be finite, was {price}"
                )
            out[i] = price
    return out
