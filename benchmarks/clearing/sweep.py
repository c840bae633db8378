"""Every kind of generated market at every size: how exact, and at what cost per order.

    python benchmarks/clearing/sweep.py --sizes 100x10,1000x50,10000x200 --seeds 3

Prints, per kind and size, the largest relative measure of any certificate, how many
were certified at 1e-9, the median processor time per order and the iterations. Steep
books, whose size is theirs to choose, come last. Peak memory is the process's.
"""

import argparse
import os
import resource
import statistics
import time

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from flowtrade.clearing import ClearingStatus, Market, SolverMode, clear  # noqa: E402 - threads are set before numpy loads
from flowtrade.clearing.generate import KINDS, generate  # noqa: E402 - as above
from flowtrade.clearing.testing import Oddity, odd_auction  # noqa: E402 - as above


def row(label: str, markets: list[Market], mode: SolverMode) -> None:
    """Clear and print one line."""
    worst, balance, certified, cost, steps = 0.0, 0.0, 0, [], []
    for market in markets:
        start = time.process_time()
        clearing = clear(market, mode=mode, time_limit=600.0)
        spent = time.process_time() - start
        cost.append(spent / max(len(market.portfolio_ids), 1))
        worst = max(worst, clearing.certificate.worst)
        balance = max(balance, clearing.certificate.relative_imbalance)
        certified += clearing.status is ClearingStatus.CERTIFIED
        steps.append(sum(a.iterations for a in clearing.report.attempts))
    print(
        f"{label:26} worst {worst:.1e}  imbalance {balance:.1e}  certified "
        f"{certified}/{len(markets)}  {1e6 * statistics.median(cost):8.2f} us per order"
        f"  {statistics.median(steps):.0f} iterations",
        flush=True,
    )


def main() -> None:
    """Sweep over kinds and sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="100x10,1000x50,10000x200")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--books", type=int, default=1000)
    parser.add_argument("--mode", type=SolverMode, default=SolverMode.AUTO)
    arguments = parser.parse_args()
    clear(generate("mixed", 10, 3, seed=1), mode=arguments.mode)  # load everything
    for kind in filter(None, arguments.kinds.split(",")):
        for size in arguments.sizes.split(","):
            orders, products = map(int, size.split("x"))
            markets = [
                generate(kind, orders, products, seed=seed)
                for seed in range(arguments.seeds)
            ]
            row(f"{kind} {size}", markets, arguments.mode)
    if arguments.books:
        books = [
            Market.from_auction(odd_auction(seed, Oddity.BOOKS))
            for seed in range(arguments.books)
        ]
        row(f"{len(books)} steep books", books, arguments.mode)
    # ru_maxrss counts kilobytes on Linux.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
