"""Every kind of generated market at every size: how exact, and at what cost per order.

    python benchmarks/clearing/sweep.py
    python benchmarks/clearing/sweep.py --whole

Prints, per kind and size, the largest relative measure of any certificate, how many
were certified at 1e-9, the median processor time per order and the iterations. Steep
books, whose size is theirs to choose, come last. Peak memory is the process's.

`--whole` goes from a hundred orders to a million (some minutes): every kind up to 10^4,
then mixed and paper, and one market of 10^6. What a market costs is all of it, from
columns to the certificate. Markets whose unlimited orders cross have no price; they
are counted.
"""

import argparse
import os
import resource
import statistics
import time
from collections.abc import Iterable

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from flowtrade.clearing import (  # noqa: E402 - threads are set before numpy loads
    ClearingStatus,
    Market,
    SolverMode,
    UnboundedMarket,
    clear,
)
from flowtrade.clearing.generate import KINDS, generate  # noqa: E402 - as above
from flowtrade.clearing.testing import Oddity, odd_auction  # noqa: E402 - as above

_EVERY = tuple(KINDS)
_WHOLE = (
    ("100x10", _EVERY, 5),
    ("1000x50", _EVERY, 3),
    ("10000x200", _EVERY, 3),
    ("100000x500", ("mixed", "paper"), 3),
    ("1000000x500", ("mixed",), 1),
)
"""Sizes, kinds and seeds of a whole sweep."""


def afresh(market: Market) -> Market:
    """The same columns as a market that nothing was computed of."""
    columns = market.columns
    return Market.from_columns(
        products=columns.products,
        curves=columns.curves,
        usage=columns.usage,
        basis=columns.basis,
    )


def row(label: str, markets: Iterable[Market], mode: SolverMode) -> None:
    """Clear and print one line."""
    worst, balance, certified, cost, steps = 0.0, 0.0, 0, [], []
    unbounded = 0
    for market in markets:
        start = time.process_time()
        try:
            clearing = clear(
                afresh(market) if market.columns.known.all() else market,
                mode=mode,
                time_limit=600.0,
            )
        except UnboundedMarket:
            unbounded += 1
            continue
        spent = time.process_time() - start
        cost.append(spent / max(len(market.portfolio_ids), 1))
        worst = max(worst, clearing.certificate.worst)
        balance = max(balance, clearing.certificate.relative_imbalance)
        certified += clearing.status is ClearingStatus.CERTIFIED
        steps.append(sum(a.iterations for a in clearing.report.attempts))
    if not cost:
        print(f"{label:26} {unbounded} without limit", flush=True)
        return
    print(
        f"{label:26} worst {worst:.1e}  imbalance {balance:.1e}  certified "
        f"{certified}/{len(cost)}  {1e6 * statistics.median(cost):8.2f} us per order"
        f"  {statistics.median(steps):.0f} iterations"
        + (f"  {unbounded} without limit" if unbounded else ""),
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
    parser.add_argument("--whole", action="store_true", help="from 10^2 to 10^6")
    arguments = parser.parse_args()
    clear(generate("mixed", 10, 3, seed=1), mode=arguments.mode)  # load everything
    kinds = tuple(filter(None, arguments.kinds.split(",")))
    sizes = [(size, kinds, arguments.seeds) for size in arguments.sizes.split(",")]
    for size, named, seeds in _WHOLE if arguments.whole else sizes:
        orders, products = map(int, size.split("x"))
        for kind in named:
            # One market at a time: a million orders are half a gigabyte.
            markets = (
                generate(kind, orders, products, seed=seed) for seed in range(seeds)
            )
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
