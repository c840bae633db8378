"""What a cleared auction says: rates, prices, proofs and how it was solved.

These records carry the answer across the house (store, API, client) and load no
solver. How they come about is told in `flowtrade.clearing`.
"""

from enum import StrEnum

from netcore.models import Model

__all__ = [
    "Attempt",
    "CanonicalChoice",
    "Certificate",
    "ClearingStatus",
    "DemandOutcome",
    "OutlyingNumber",
    "PartReport",
    "PortfolioOutcome",
    "ProductOutcome",
    "RatePrice",
    "SetAside",
    "SolverMode",
    "SolverReport",
    "ZeroReason",
]


class SolverMode(StrEnum):
    """Who solves an auction first; the certificate judges every answer alike."""

    AUTO = "auto"
    """The price-space interior point, then HiGHS where it is not certified."""
    INTERIOR = "interior"
    """Only the price-space interior point."""
    HIGHS = "highs"
    """Only HiGHS (HiPO, then its active set for small auctions)."""
    AUDIT = "audit"
    """Both, compared: their gains must agree within both certificates."""


class ClearingStatus(StrEnum):
    """How well an answer is proven."""

    CERTIFIED = "certified"
    """Every measure is within 1e-9 of its scale."""
    ACCEPTED = "accepted"
    """Every measure is within 1e-6 of its scale."""
    REJECTED = "rejected"
    """Some measure is not: such an answer is never published."""


class ZeroReason(StrEnum):
    """Why a portfolio's rate is zero."""

    NO_DEMAND = "no_demand"
    """No demand with a curve and a weight: the portfolio has no voice."""
    NO_PRODUCT = "no_product"
    """No product with a weight: there is nothing to trade."""
    BLOCKED = "blocked"
    """A demand it feeds admits no rate but zero."""
    OUT_OF_THE_MONEY = "out_of_the_money"
    """At this price the bidder prefers not to trade."""
    TIED = "tied"
    """Trading would gain nothing either; the smallest rates were chosen."""
    SET_ASIDE = "set_aside"
    """Its numbers are far outside the market's scale, and with it nothing could be
    certified."""


class OutlyingNumber(StrEnum):
    """Which number of an order is far outside its market's scale."""

    DEMAND_WEIGHT = "demand_weight"
    """How much of a demand a unit of the portfolio is."""
    BASIS_WEIGHT = "basis_weight"
    """How much of a product a unit of the portfolio is."""
    PRICE = "price"
    """The largest price of a demand's curve."""
    RATE = "rate"
    """The largest finite rate of a demand's curve."""
    UNIT_PRICE = "unit_price"
    """That price for a unit of the portfolio's largest product."""
    UNIT_RATE = "unit_rate"
    """That rate in units of the portfolio's largest product."""


class SetAside(Model, frozen=True, kw_only=True, gc=False):
    """An order that a batch was cleared without, and the number that is the reason.

    Attributes:
        portfolio: The order.
        number: Which number.
        of: The demand or product that the number belongs to.
        value: Its size; None if it is not finite.
        scale: The median size of such numbers in the part of the market that hangs
            together with this order; None where no number could be compared.
    """

    portfolio: str
    number: OutlyingNumber
    of: str
    value: float | None
    scale: float | None


class CanonicalChoice(StrEnum):
    """Whether prices or rates had to be chosen among equally good ones."""

    UNIQUE = "unique"
    CHOSEN = "chosen"
    KEPT = "kept"
    """A choice was due but could not be certified; the solver's own point stands."""


class RatePrice(Model, frozen=True, kw_only=True, gc=False):
    """What was traded, and at what price.

    Attributes:
        price: Money per unit, or None where nothing determines any price.
        rate: Quantity per unit of time. Of a portfolio: bought is positive. Of a
            product: half the gross volume, so never negative.
    """

    price: float | None
    rate: float


class PortfolioOutcome(RatePrice, frozen=True, kw_only=True, gc=False):
    """A portfolio's trade.

    Attributes:
        reason: Why the rate is zero, or None if it is not.
    """

    reason: ZeroReason | None = None


class ProductOutcome(RatePrice, frozen=True, kw_only=True, gc=False):
    """A product's price and volume.

    Attributes:
        price_min: Lowest price that some optimum supports, or None if unlimited.
        price_max: Highest such price, or None if unlimited.
        unique: Whether the optimum supports just one price.
        ranged: Whether `price_min` and `price_max` were determined. They are not for
            a product that no live portfolio holds, nor when too many products are
            undetermined at once.
    """

    price_min: float | None = None
    price_max: float | None = None
    unique: bool = True
    ranged: bool = True


class DemandOutcome(Model, frozen=True, kw_only=True, gc=False):
    """What a demand curve received.

    Attributes:
        rate: Net rate over all portfolios that feed it.
        price: Its marginal price there, or None if nothing determines one.
        surplus: Value of the rate on the curve less the payment at `price`, >= 0.
        box_dual: What one more unit of range would gain: positive at the highest
            rate of the curve, negative at the lowest, 0 between.
        regret: What another rate would gain at `price`, >= 0; 0 up to rounding in
            an optimum. Any bidder can recompute it from her own curve.
    """

    rate: float
    price: float | None
    surplus: float
    box_dual: float
    regret: float


class Certificate(Model, frozen=True, kw_only=True, gc=False):
    """Measures of optimality that hold whoever produced the answer.

    Money is in units of price times rate. The relative measures are what `status` is
    judged by; see `flowtrade.clearing.certificate` for the identities.

    Attributes:
        status: The verdict.
        gains: Gains from trade of the published rates.
        dual_bound: No rates whatsoever can gain more than this.
        gap: The sum of all regrets, `dual_bound - gains` up to balance.
        max_regret: The largest single regret.
        value_scale: Money that `relative_gap` is relative to.
        relative_gap: `gap / value_scale`.
        imbalance: Largest absolute imbalance of a product.
        relative_imbalance: Largest imbalance relative to its product's gross volume.
        domain: Largest violation of a curve's domain, relative to the scale of rates.
        stationarity: Largest difference between a portfolio's price and the weighted
            marginal prices of its demands, relative to the scale of prices; or what
            all differences are worth at the rates traded, relative to `value_scale`,
            if that is more.
        unlimited: Largest violation of an unlimited order's price, likewise relative.
        volume: Half the gross volume over all products.
    """

    status: ClearingStatus
    gains: float
    dual_bound: float
    gap: float
    max_regret: float
    value_scale: float
    relative_gap: float
    imbalance: float
    relative_imbalance: float
    domain: float
    stationarity: float
    unlimited: float
    volume: float

    @property
    def worst(self) -> float:
        """The largest relative measure: the one number to compare answers by."""
        return max(
            self.relative_gap,
            self.relative_imbalance,
            self.domain,
            self.stationarity,
            self.unlimited,
        )


class Attempt(Model, frozen=True, kw_only=True):
    """One solver's try at an auction.

    Attributes:
        solver: Which one.
        outcome: Its own words on how it ended.
        iterations: As it counts them.
        seconds: Wall time.
        worst: The largest relative measure of its answer, or None without answer.
    """

    solver: str
    outcome: str
    iterations: int
    seconds: float
    worst: float | None


class PartReport(Model, frozen=True, kw_only=True):
    """A part of a market that has nothing to do with the others, cleared apart.

    Attributes:
        products: Number of its products.
        portfolios: Number of its portfolios.
        segments: Pieces of curves in its program.
        solver: Who gave its answer.
        status: How well the part's answer is proven by itself.
        gains: Gains from trade within it.
        worst: The largest relative measure of its own certificate.
    """

    products: int
    portfolios: int
    segments: int
    solver: str
    status: ClearingStatus
    gains: float
    worst: float


class SolverReport(Model, frozen=True, kw_only=True):
    """How an auction was solved. Times vary between runs, nothing else does.

    Attributes:
        solver: Who gave the published answer.
        attempts: Everyone who was asked, in order.
        portfolios: Number of portfolios, dead ones included.
        products: Number of products.
        segments: Pieces of curves in the program.
        rows: Distinct rows of the price form.
        shared: Shared demands that became variables of their own.
        pseudo: Portfolios that no demand determines: conversion cycles are possible.
        free_prices: Directions in which prices were undetermined.
        free_rates: Pieces whose rates were undetermined.
        prices: How the prices were chosen.
        rates: How the rates were chosen.
        seconds: Wall time by phase: build, solve, canonical, certify.
        warnings: What an operator should look at.
        parts: Where a market falls apart, its parts; empty for one in one piece.
    """

    solver: str
    attempts: tuple[Attempt, ...]
    portfolios: int
    products: int
    segments: int
    rows: int
    shared: int
    pseudo: int
    free_prices: int
    free_rates: int
    prices: CanonicalChoice
    rates: CanonicalChoice
    seconds: dict[str, float]
    warnings: tuple[str, ...] = ()
    parts: tuple[PartReport, ...] = ()
