"""What an update of one order in a hundred costs against building the market anew.

    python benchmarks/clearing/update.py mixed 100000 500

Prints processor seconds: cold from models, cold from columns, new curves, new
portfolios. Every line includes the solve; the digests must agree.
"""

import argparse
import os
import time
from collections.abc import Callable

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from flowtrade.clearing import Market, PortfolioTerms, clear  # noqa: E402 - threads first
from flowtrade.clearing.cli import auction_to_builtins  # noqa: E402 - as above
from flowtrade.clearing.generate import generate  # noqa: E402 - as above
from flowtrade.models.curve import parse_curve  # noqa: E402 - as above


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


if __name__ == "__main__":
    main()
