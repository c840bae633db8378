"""What can go wrong in a clearing.

    ClearingError
    +-- InvalidMarket     the caller's fault: the auction breaks a rule
    +-- UnboundedMarket   the caller's fault: unlimited orders cross
    +-- Uncertified       nobody's answer could be proven; nothing may be published
    +-- MissingExtra      the installation's fault: an optional library is not there

None of them is cured by trying again with the same input.
"""

from collections.abc import Mapping

from flowtrade.models.clearing import Attempt, Certificate

__all__ = [
    "ClearingError",
    "InvalidMarket",
    "MissingExtra",
    "UnboundedMarket",
    "Uncertified",
]


class ClearingError(Exception):
    """Base of every error of a clearing."""


class InvalidMarket(ClearingError):
    """An auction that breaks a rule.

    Attributes:
        code: Which rule, such as `pwl.empty`.
        where: The demand, portfolio or field concerned.
    """

    def __init__(self, code: str, where: str, text: str) -> None:
        super().__init__(f"{where}: {text}" if where else text)
        self.code = code
        self.where = where


class UnboundedMarket(ClearingError):
    """Unlimited orders cross, so the gains from trade have no end.

    Attributes:
        ray: Portfolio rates that can be scaled up for ever, by portfolio id; the
            largest is 1 in size.
        orders: The demands without limit that pay for it, by id, with their rates
            along the ray.
        gains: Gains per unit of the ray, > 0.
    """

    def __init__(
        self, *, ray: Mapping[str, float], orders: Mapping[str, float], gains: float
    ) -> None:
        names = ", ".join(list(orders)[:8])
        super().__init__(
            f"the gains are unlimited: {gains:.6g} per unit along a direction of "
            f"{len(ray)} portfolios, paid for by the unlimited demands {names}; "
            "bound one of them or part their prices"
        )
        self.ray = dict(ray)
        self.orders = dict(orders)
        self.gains = gains


class Uncertified(ClearingError):
    """No solver gave an answer that the certificate accepts.

    Attributes:
        certificate: The best answer's certificate, or None if nobody answered.
        attempts: Everyone who was asked.
    """

    def __init__(
        self, certificate: Certificate | None, attempts: tuple[Attempt, ...]
    ) -> None:
        best = "no answer" if certificate is None else f"worst {certificate.worst:.3g}"
        tried = ", ".join(f"{a.solver}: {a.outcome}" for a in attempts)
        super().__init__(f"no answer could be certified ({best}); tried {tried}")
        self.certificate = certificate
        self.attempts = attempts


class MissingExtra(ClearingError):
    """A library that is needed is not installed.

    Attributes:
        extra: The extra of this package that brings it.
        library: Its name.
    """

    def __init__(self, extra: str, library: str) -> None:
        super().__init__(f"{library} is not installed: install flowtrade[{extra}]")
        self.extra = extra
        self.library = library
