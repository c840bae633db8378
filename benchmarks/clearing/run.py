"""Race the clearing against outside solvers on generated markets.

    python benchmarks/clearing/run.py mixed:10000x200 paper:100000x500 --seeds 3 \
        --rivals clarabel,osqp,hipo-price-form

Runs are interleaved (ours, rival, ours, ...) on one BLAS thread and timed in processor
seconds; medians over seeds and ratios within the run are what counts. Ours includes
building the price form, solving, the canonical choice and the certificate.
"""

import argparse
import gc
import os
import resource
import statistics
import sys
import time
from pathlib import Path

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

sys.path.insert(0, str(Path(__file__).parent))

from rivals import RIVALS  # noqa: E402 - threads are set before numpy loads

from flowtrade.clearing import Market, clear  # noqa: E402 - as above
from flowtrade.clearing.generate import generate  # noqa: E402 - as above


def ours(market: Market) -> tuple[float, float, float, int]:
    """Seconds, wall seconds of the canonical choice, worst measure, iterations."""
    fresh = Market(
        market.demand_ids, market.portfolio_ids, market.product_ids, market.columns
    )
    start = time.process_time()
    clearing = clear(fresh, time_limit=600.0)
    seconds = time.process_time() - start
    canonical = clearing.report.seconds["canonical"]
    attempt = clearing.report.attempts[-1]
    return (
        seconds,
        canonical,
        clearing.certificate.worst,
        attempt.iterations,
    )


def race(kind: str, orders: int, products: int, seeds: int, rivals: list[str]) -> None:
    """Print one line per solver."""
    times: dict[str, list[float]] = {name: [] for name in ("ours", *rivals)}
    worst: dict[str, list[float]] = {name: [] for name in ("ours", *rivals)}
    words: dict[str, set[str]] = {name: set() for name in rivals}
    canonical, iterations = [], []
    for seed in range(seeds):
        market = generate(kind, orders, products, seed=seed)
        for name in rivals or [""]:
            gc.collect()
            seconds, extra, accuracy, count = ours(market)
            times["ours"].append(seconds)
            worst["ours"].append(accuracy)
            canonical.append(extra)
            iterations.append(count)
            if not name:
                continue
            seconds, accuracy, status = RIVALS[name](market)
            times[name].append(seconds)
            worst[name].append(accuracy)
            words[name].add(status)
    base = statistics.median(times["ours"])
    print(f"{kind} {orders}x{products}, {seeds} seeds, medians")
    print(
        f"  {'ours':16} {base:9.4f} s   {1e6 * base / orders:.2f} us per order   "
        f"worst {max(worst['ours']):.1e}   "
        f"canonical {statistics.median(canonical):.4f} s   "
        f"iterations {statistics.median(iterations):.0f}"
    )
    for name in rivals:
        seconds = statistics.median(times[name])
        print(
            f"  {name:16} {seconds:9.4f} s   worst {max(worst[name]):.1e}   "
            f"ours/{name} = {base / seconds:.3f}   {', '.join(sorted(words[name]))}"
        )


def main() -> None:
    """Read the races from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("markets", nargs="+", metavar="KIND:ORDERSxPRODUCTS")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rivals", default="clarabel")
    arguments = parser.parse_args()
    ours(generate("mixed", 10, 3, seed=1))  # load everything once
    for text in arguments.markets:
        kind, _, size = text.partition(":")
        orders, _, products = size.partition("x")
        names = [name for name in arguments.rivals.split(",") if name]
        race(kind, int(orders), int(products), arguments.seeds, names)
    # ru_maxrss counts kilobytes on Linux.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
