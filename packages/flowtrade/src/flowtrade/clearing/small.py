"""One pass over a tiny market, from its columns to its certified outcome.

A market of ten orders is a few hundred numbers. What `solve` does with arrays for
markets of any size takes 50 calls of an array library a stage, each dearer than the
loop that replaces it here: pieces, parts and rows (`tinyrows`), the exact active set
(`active`), the prices that support it (`supports`), the least rates (`tinyrates`), the
certificate (`tinyproof`) and what is published.

It is exact or silent: whatever it cannot prove to 1e-9 is left to `solve`, which asks
everybody else. So nothing here reports an error.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, nan
from time import monotonic
from typing import final

import numpy as np

from flowtrade.clearing.active import solve_tiny
from flowtrade.clearing.arrays import FloatArray
from flowtrade.clearing.market import Market
from flowtrade.clearing.outcome import Clearing, OutcomeArrays
from flowtrade.clearing.policy import conversion_warning
from flowtrade.clearing.still import still_rows
from flowtrade.clearing.supports import TinySupport, support_tiny
from flowtrade.clearing.tiny import Row, TinyForm, fits
from flowtrade.clearing.tinyproof import Piece, TinyAudit, TinyTerms
from flowtrade.clearing.tinyrates import LeastRates, open_flows
from flowtrade.clearing.tinyrows import TinyMarket, TinyPart, TinyRows
from flowtrade.models.clearing import (
    Attempt,
    CanonicalChoice,
    ClearingStatus,
    PartReport,
    SolverReport,
    ZeroReason,
)

__all__ = ["clear_small"]

_PORTFOLIOS = 64
"""Portfolios up to which one pass in lists is worth trying."""

_POINTS = 256
"""Corner points of curves likewise."""

_PARTS = 16
"""Of more parts `parts` clears the smallest together."""

_DUST = 1e-13
"""Rates this small against the range of their demands are rounding, as in `solve`."""

_HIDDEN = 1e-15
"""Share of a sum of floats that is its rounding."""

_TIE = 1e-9
"""Distance from the price, against the price scale, that counts as none."""

_CODES = {reason: i + 1 for i, reason in enumerate(ZeroReason)}


def clear_small(
    market: Market, reference: FloatArray, *, deadline: float = inf
) -> Clearing | None:
    """Clear a tiny market.

    Args:
        market: The auction.
        reference: Wanted prices of products, NaN for what their range suggests.
        deadline: Value of `time.monotonic` at which to give up.

    Returns:
        Its certified outcome, or None: somebody else should try.
    """
    columns = market.columns
    if columns.portfolios > _PORTFOLIOS or len(columns.curves.rate) > _POINTS:
        return None
    try:
        return _Small(market, reference.tolist(), deadline).clear()
    except (ArithmeticError, ValueError):
        # Numbers beyond what floats hold: left to those who scale.
        return None


@dataclass(slots=True, eq=False)
class _Answer:
    """A part's answer: its form, its choice and its proof."""

    part: TinyPart
    rows: TinyRows
    form: TinyForm
    owner: list[int]
    steps: int
    open_rates: int
    support: TinySupport
    proof: TinyAudit
    seconds: float


@final
class _Small:
    """One clearing in lists."""

    def __init__(self, market: Market, reference: list[float], deadline: float) -> None:
        start = monotonic()
        self.market = market
        self.reference = reference
        self.deadline = deadline
        self.tiny = TinyMarket(market.columns)
        self.parts = self.tiny.parts()
        count = len(self.tiny.pieces)
        self.rates = [0.0] * len(self.tiny.usage)
        self.prices = [0.0] * self.tiny.products
        self.marginal = [nan] * count
        self.tied = set[int]()
        self.seconds = {"build": 0.0, "solve": 0.0, "canonical": 0.0}
        self._count("build", start)

    def clear(self) -> Clearing | None:
        if not 0 < len(self.parts) <= _PARTS:
            return None
        answers = []
        for part in self.parts:
            answer = self._answer(part)
            if answer is None:
                return None
            answers.append(answer)
        proof = self._whole(answers)
        if proof.certificate.status is not ClearingStatus.CERTIFIED:
            return None
        start = monotonic()
        arrays = self._arrays(answers, proof)
        self._count("publish", start)
        market = self.market
        names = market.demand_ids
        if len(arrays.used) < len(names):
            names = [names[d] for d in map(int, arrays.used)]
        return Clearing(
            (market.portfolio_ids, market.product_ids, names),
            arrays,
            proof.certificate,
            self._report(answers),
        )

    def _answer(self, part: TinyPart) -> _Answer | None:
        start = monotonic()
        rows = TinyRows.of(self.tiny, part)
        if not fits(rows.columns, sum(len(self.tiny.pieces[d]) for d in part.demands)):
            return None
        form, owner = rows.form(self.tiny)
        terms = self._terms(part)
        self._count("build", start)
        asked = monotonic()
        point = solve_tiny(form, deadline=self.deadline)
        if point is None:
            return None
        self._count("solve", asked)
        spent = monotonic() - start
        exact = rows.rates(self.tiny.usage, owner, point.y, point.exact.flow)
        self._take_rates(part, terms, exact, [j for j, _, _ in rows.anchors])
        opened = open_flows(form, point.z)
        if opened:
            task = LeastRates(self.tiny, part, rows, form, owner, point.y, opened)
            least = task.choose(self.rates, deadline=self.deadline)
            if least is None:
                return None
            self._take_rates(part, terms, least, least)
        support = support_tiny(
            form, point.z, point.y, [self.reference[k] for k in part.products]
        )
        if support is None:
            return None
        self._take_prices(part, rows, form, owner, support.z)
        proof = terms.audit(
            rates=self.rates, prices=self.prices, marginal=self.marginal
        )
        if proof.certificate.status is not ClearingStatus.CERTIFIED:
            return None
        self._count("canonical", start + spent)
        steps = point.steps
        return _Answer(
            part, rows, form, owner, steps, len(opened), support, proof, spent
        )

    def _count(self, phase: str, start: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + monotonic() - start

    def _terms(self, part: TinyPart) -> TinyTerms:
        """What the part alone asked for."""
        tiny = self.tiny
        if len(self.parts) == 1:
            return TinyTerms(
                tiny.products, tiny.pieces, tiny.usage, tiny.basis, part.demands
            )
        mine = set(part.portfolios)
        everyone = range(len(tiny.usage))
        return TinyTerms(
            tiny.products,
            tiny.pieces,
            [tiny.usage[j] if j in mine else [] for j in everyone],
            [tiny.basis[j] if j in mine else [] for j in everyone],
            part.demands,
        )

    def _take_rates(
        self,
        part: TinyPart,
        terms: TinyTerms,
        rates: dict[int, float],
        rounded: Iterable[int],
    ) -> None:
        """Take rates over; of some, what is small is rounding.

        Whatever else is small is as true as the large, but for what nobody takes: who
        alone is left to trade a product trades nothing.
        """
        for j, rate in rates.items():
            self.rates[j] = rate
        self._dust(rounded, terms)
        self._drowned(part)
        trading = [j for j in part.portfolios if self.rates[j]]
        tiny = self.tiny
        for j in still_rows(tiny.basis, tiny.usage, trading, tiny.blocked):
            self.rates[j] = 0.0

    def _drowned(self, part: TinyPart) -> None:
        """Rates that round away in every sum they are part of are zeros.

        An order of its own, however small, is all of its demand's sum.
        """
        rates, tiny = self.rates, self.tiny
        floor = _HIDDEN * max([abs(rates[j]) for j in part.portfolios])
        small = [j for j in part.portfolios if 0.0 < abs(rates[j]) <= floor]
        if not small:
            return
        gross: dict[int, float] = {}
        sums = {
            j: [*tiny.basis[j], *((~d, weight) for d, weight in tiny.usage[j])]
            for j in part.portfolios
        }
        for j, row in sums.items():
            for place, weight in row:
                share = abs(weight * rates[j])
                gross[place] = gross.get(place, 0.0) + share
        for j in small:
            if all(abs(w * rates[j]) <= _HIDDEN * gross[at] for at, w in sums[j]):
                rates[j] = 0.0

    def _dust(self, portfolios: Iterable[int], terms: TinyTerms) -> None:
        """Rates that are rounding are the zeros they mean."""
        for j in portfolios:
            reach = max(
                min(terms.ranges[d], terms.rate) / abs(weight)
                for d, weight in self.tiny.usage[j]
            )
            if abs(self.rates[j]) <= _DUST * reach:
                self.rates[j] = 0.0

    def _take_prices(
        self,
        part: TinyPart,
        rows: TinyRows,
        form: TinyForm,
        owner: list[int],
        z: list[float],
    ) -> None:
        for i, k in enumerate(part.products):
            self.prices[k] = z[i]
        price = [self._worth(row, z) for row in form.rows]
        for d, r in rows.row.items():
            self.marginal[d] = rows.scale[d] * price[r]
        pieces = zip(owner, form.row, form.top, form.bottom, strict=True)
        for d, r, top, bottom in pieces:
            if top == bottom and abs(top - price[r]) <= _TIE * form.scale[r]:
                self.tied.add(d)

    def _whole(self, answers: Sequence[_Answer]) -> TinyAudit:
        """The proof of all parts together; of one, it is the part's."""
        if len(answers) == 1:
            return answers[0].proof
        tiny = self.tiny
        used = sorted(d for part in self.parts for d in part.demands)
        terms = TinyTerms(tiny.products, tiny.pieces, tiny.usage, tiny.basis, used)
        return terms.audit(rates=self.rates, prices=self.prices, marginal=self.marginal)

    @property
    def _is_whole(self) -> bool:
        """Whether everything is in one part; see `Market.is_whole`."""
        part, tiny = self.parts[0], self.tiny
        return (
            len(part.portfolios) == len(tiny.usage)
            and len(part.products) == tiny.products
            and len(part.demands) == len(tiny.pieces)
        )

    def _arrays(self, answers: Sequence[_Answer], proof: TinyAudit) -> OutcomeArrays:
        tiny, count = self.tiny, self.tiny.products
        price = [nan] * count
        lower, upper = [-inf] * count, [inf] * count
        held, unique = [False] * count, [False] * count
        for answer in answers:
            support, level = answer.support, answer.form.level
            for i, k in enumerate(answer.part.products):
                price[k], held[k] = self.prices[k], True
                lower[k], upper[k] = support.lower[i], support.upper[i]
                unique[k] = upper[k] - lower[k] <= 1e-9 * level[i]
        used = sorted({d for row in tiny.named for d, _ in row})
        marginal = [self.marginal[d] for d in used]
        paid = [
            0.0 if mu != mu else proof.value[d] - mu * proof.net[d]
            for d, mu in zip(used, marginal, strict=True)
        ]
        return OutcomeArrays(
            rate=np.array(self.rates),
            portfolio_price=np.array(
                [self._worth(row, price) if row else nan for row in tiny.basis]
            ),
            reason=np.array([self._reason(j) for j in range(len(self.rates))]),
            price=np.array(price),
            volume=np.array([0.5 * size for size in proof.volume]),
            price_min=np.array(lower),
            price_max=np.array(upper),
            ranged=np.array(held),
            unique=np.array(unique),
            used=np.array(used, np.int64),
            net=np.array([proof.net[d] for d in used]),
            marginal=np.array(marginal),
            surplus=np.array(paid),
            box_dual=np.array(
                [
                    _box_dual(tiny.pieces[d], mu, proof.net[d])
                    for d, mu in zip(used, marginal, strict=True)
                ]
            ),
            regret=np.array([proof.regret[d] for d in used]),
        )

    @staticmethod
    def _worth(row: Row, price: Sequence[float]) -> float:
        total = 0.0
        for k, weight in row:
            total += weight * price[k]
        return total

    def _reason(self, j: int) -> int:
        """Index of the reason in `None, *ZeroReason`."""
        tiny = self.tiny
        if not tiny.named[j]:
            return _CODES[ZeroReason.NO_DEMAND]
        if not tiny.basis[j]:
            return _CODES[ZeroReason.NO_PRODUCT]
        if self.rates[j] != 0.0:
            return 0
        if not all(tiny.pieces[d] for d, _ in tiny.named[j]):
            return _CODES[ZeroReason.BLOCKED]
        if any(d in self.tied for d, _ in tiny.usage[j]):
            return _CODES[ZeroReason.TIED]
        return _CODES[ZeroReason.OUT_OF_THE_MONEY]

    def _report(self, answers: Sequence[_Answer]) -> SolverReport:
        warnings = dict.fromkeys(
            text
            for a in answers
            for text in conversion_warning(
                pseudo=len(a.rows.pseudo), live=len(a.part.portfolios)
            )
        )
        parts = () if self._is_whole else tuple(map(_part_report, answers))
        return SolverReport(
            solver="active-set",
            attempts=tuple(map(_attempt, answers)),
            portfolios=len(self.rates),
            products=self.tiny.products,
            segments=sum(len(a.owner) for a in answers),
            rows=sum(len(a.rows.rows) for a in answers),
            shared=sum(len(a.rows.free) for a in answers),
            pseudo=sum(len(a.rows.pseudo) for a in answers),
            free_prices=sum(a.support.open for a in answers),
            free_rates=sum(a.open_rates for a in answers),
            prices=_choice(sum(a.support.open for a in answers)),
            rates=_choice(sum(a.open_rates for a in answers)),
            seconds=self.seconds,
            warnings=tuple(warnings),
            parts=parts,
        )


def _choice(open_: int) -> CanonicalChoice:
    return CanonicalChoice.CHOSEN if open_ else CanonicalChoice.UNIQUE


def _attempt(answer: _Answer) -> Attempt:
    return Attempt(
        solver="active-set",
        outcome="exact",
        iterations=answer.steps,
        seconds=answer.seconds,
        worst=answer.proof.certificate.worst,
    )


def _part_report(answer: _Answer) -> PartReport:
    certificate = answer.proof.certificate
    return PartReport(
        products=len(answer.part.products),
        portfolios=len(answer.part.portfolios),
        segments=len(answer.owner),
        solver="active-set",
        status=certificate.status,
        gains=certificate.gains,
        worst=certificate.worst,
    )


def _box_dual(pieces: Sequence[Piece], marginal: float, net: float) -> float:
    """What one more unit of range would gain."""
    if marginal != marginal or not pieces:
        return 0.0
    low = high = 0.0
    for least, most, _, _ in pieces:
        low += max(least, -1e300)
        high += min(most, 1e300)
    slack = 1e-12 * (abs(low) + abs(high))
    out = 0.0
    if net >= high - slack:
        out += max(pieces[-1][3] - marginal, 0.0)
    if net <= low + slack:
        out += min(pieces[0][2] - marginal, 0.0)
    return out
