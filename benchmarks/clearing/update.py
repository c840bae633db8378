"""What an update of one order in a hundred costs against building the market anew.

    python benchmarks/clearing/update.py mixed 100000 500

Prints processor seconds: cold from models, cold from columns, new curves, new
portfolios. Every line includes the solve; the digests must agree. Then whole batches of
the auctioneer's solver, as medians: one that kept its model from the batch before
against one that did not.
"""

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable, Mapping

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import msgspec  # noqa: E402 - threads first

from flowtrade.clearing import Market, PortfolioTerms, clear  # noqa: E402 - threads first
from flowtrade.clearing.cli import auction_to_builtins  # noqa: E402 - as above
from flowtrade.clearing.generate import generate  # noqa: E402 - as above
from flowtrade.core.mirror import AuctionInput  # noqa: E402 - as above
from flowtrade.core.mirror import PortfolioTerms as Terms  # noqa: E402 - as above
from flowtrade.core.solver import ClearingSolver  # noqa: E402 - as above
from flowtrade.models.curve import Curve, parse_curve  # noqa: E402 - as above
from flowtrade.ports import Solution  # noqa: E402 - as above


def timed(label: str, build: Callable[[], Market]) -> str:
    """Build, clear, print; returns the digest."""
    start = time.process_time()
    market = build()
    built = time.process_time()
    clearing = clear(market, time_limit=600.0)
    end = time.process_time()
    print(
        f"  {label:24} {built - start:7.3f} + {end - built:7.3f} = {end - start:7.3f} s"
    )
    return clearing.digest


def batches(
    curves: Mapping[str, Curve | None],
    portfolios: Mapping[str, PortfolioTerms],
    rounds: int,
) -> None:
    """Measure batches before each of which one order in a hundred is told anew."""
    demands = {k: curve for k, curve in curves.items() if curve is not None}
    terms = {
        k: Terms(demand=dict(t.demand), basis=dict(t.basis))
        for k, t in portfolios.items()
    }
    chance, keeper = random.Random(1), ClearingSolver()  # noqa: S311 - no secret
    spent: dict[str, list[float]] = {}

    def batch(label: str, solver: ClearingSolver) -> Solution:
        auction = AuctionInput(demands=dict(demands), portfolios=dict(terms))
        start = time.process_time()
        solution = solver.solve(auction, targets={}, time_limit=600.0)
        spent.setdefault(label, []).append(time.process_time() - start)
        return solution

    def change(label: str, what: Mapping[str, Callable[[str], None]]) -> None:
        for names, renew in what.items():
            pool = list(demands if names == "demands" else terms)
            for key in chance.sample(pool, max(1, len(pool) // 100)):
                renew(key)
        kept, fresh = batch(label, keeper), batch("a batch, cold", ClearingSolver())
        assert kept.portfolios == fresh.portfolios, "the bits differ"

    def new_curve(key: str) -> None:
        # The same numbers in a new object: what is measured is the work.
        demands[key] = msgspec.structs.replace(demands[key])

    def new_terms(key: str) -> None:
        terms[key] = msgspec.structs.replace(terms[key])

    batch("first", keeper)
    for _ in range(rounds):
        change("a batch, 1 % new curves", {"demands": new_curve})
        both = {"demands": new_curve, "portfolios": new_terms}
        change("a batch, 1 % of both", both)
    cold = statistics.median(spent["a batch, cold"])
    for label, times in list(spent.items())[1:]:
        took = statistics.median(times)
        print(f"  {label:24} {took:7.3f} s, {1 - took / cold:6.1%} less than cold")


def main() -> None:
    """Measure one market."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind")
    parser.add_argument("orders", type=int)
    parser.add_argument("products", type=int)
    arguments = parser.parse_args()
    source = generate(arguments.kind, arguments.orders, arguments.products, seed=1)
    columns = source.columns
    auction = auction_to_builtins(source)
    demands = {key: parse_curve(v) for key, v in auction["demand_curves"].items()}
    portfolios = {
        key: PortfolioTerms(v["demand"], v["basis"])
        for key, v in auction["portfolios"].items()
    }
    clear(generate("mixed", 10, 3, seed=1))
    market = Market.from_models(demands, portfolios)
    clear(market, time_limit=600.0)
    some = list(portfolios)[::100]
    # The same terms and curves again: what is measured is the work, not the change.
    new_terms = {name: portfolios[name] for name in some}
    new_curves = {name: demands[name] for name in list(demands)[::100]}
    digests = {
        timed("cold from models", lambda: Market.from_models(demands, portfolios)),
        timed(
            "cold from columns",
            lambda: Market.from_columns(
                products=columns.products,
                curves=columns.curves,
                usage=columns.usage,
                basis=columns.basis,
            ),
        ),
        timed("1 % new curves", lambda: market.update(demands=new_curves)),
        timed("1 % new portfolios", lambda: market.update(portfolios=new_terms)),
        timed(
            "1 % of both",
            lambda: market.update(demands=new_curves, portfolios=new_terms),
        ),
    }
    print("  same bits" if len(digests) == 1 else "  DIGESTS DIFFER")
    batches(demands, portfolios, 5)


if __name__ == "__main__":
    main()
