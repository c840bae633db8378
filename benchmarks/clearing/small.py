"""What an auction of ten orders takes, from columns to the certificate.

    python benchmarks/clearing/small.py --orders 10 --products 2,3,5

Every kind of generated market, several seeds each, median of several runs, in
processor time: building the model, solving, choosing among equally good rates and
prices, the certificate. Unbounded markets are left out.
"""

import argparse
import gc
import os
import statistics
import time

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from flowtrade.clearing import (  # noqa: E402 - threads are set before numpy loads
    Clearing,
    Market,
    UnboundedMarket,
    clear,
)
from flowtrade.clearing.columns import Columns  # noqa: E402 - as above
from flowtrade.clearing.generate import KINDS, generate  # noqa: E402 - as above


def once(columns: Columns) -> tuple[float, Clearing]:
    """Milliseconds and outcome."""
    start = time.process_time()
    market = Market.from_columns(
        products=columns.products,
        curves=columns.curves,
        usage=columns.usage,
        basis=columns.basis,
    )
    clearing = clear(market)
    return 1e3 * (time.process_time() - start), clearing


def main() -> None:
    """Measure and print one line per kind and one for all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=10)
    parser.add_argument("--products", default="2,3,5")
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    for products in map(int, arguments.products.split(",")):
        total: list[tuple[float, str, float]] = []
        for kind in KINDS:
            for seed in range(arguments.seeds):
                columns = generate(kind, arguments.orders, products, seed=seed).columns
                try:
                    _, clearing = once(columns)
                except UnboundedMarket:
                    continue
                gc.collect()
                times = [once(columns)[0] for _ in range(arguments.runs)]
                report = clearing.report
                free = report.free_prices + report.free_rates
                what = (
                    f"{kind} seed {seed}, {len(report.parts) or 1} parts, {free} open"
                )
                worst = clearing.certificate.worst
                total.append((statistics.median(times), what, worst))
        total.sort()
        times = [ms for ms, _, _ in total]
        print(
            f"{arguments.orders} orders, {products} products, {len(total)} markets: "
            f"median {statistics.median(times):.2f} ms, "
            f"p90 {times[int(0.9 * len(times))]:.2f}, worst {times[-1]:.2f} "
            f"({total[-1][1]}); worst certificate {max(w for _, _, w in total):.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
