"""Outside suites' way to solve a columnar market and see what it took.

    python tests/adapters/market_bench.py FILE.npz [--warm FILE2.npz]

Prints one JSON object: seconds by phase, residuals of the certificate, peak memory.
With `--warm`, the second market takes over what it shares with the first.
"""

import json
import os
import resource
import sys
import time
from typing import Any
from zipfile import BadZipFile

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402 - the threads are set before it loads

from flowtrade.clearing import ClearingError, Market, clear  # noqa: E402 - as above
from flowtrade.clearing.arrays import Ragged  # noqa: E402 - as above
from flowtrade.clearing.columns import Curves  # noqa: E402 - as above

ARRAYS = {
    *("portfolio_ptr", "product_idx", "product_w"),
    *("demand_ptr", "demand_idx", "demand_w"),
    *("curve_ptr", "rate", "price"),
    "n_products",
}

UNUSABLE = (
    ClearingError,
    OSError,
    EOFError,
    BadZipFile,
    LookupError,
    TypeError,
    ValueError,
)
"""What files that hold no market end in."""


def read_market(path: str, like: Market | None = None) -> Market:
    """The market of a file."""
    # Opened here: numpy leaves a file that is no archive open.
    with open(path, "rb") as file, np.load(file) as arrays:
        a = {name: arrays[name] for name in arrays.files}
    if lacking := sorted(ARRAYS - a.keys()):
        raise ValueError(f"{path} lacks {', '.join(lacking)}")
    ints = {
        name: a[name].astype(np.int64)
        for name in ("portfolio_ptr", "product_idx", "demand_ptr", "demand_idx")
    }
    return Market.from_columns(
        products=int(a["n_products"]),
        curves=Curves(
            a["curve_ptr"].astype(np.int64),
            a["rate"].astype(float),
            a["price"].astype(float),
        ),
        usage=Ragged(
            ints["demand_ptr"], ints["demand_idx"], a["demand_w"].astype(float)
        ),
        basis=Ragged(
            ints["portfolio_ptr"], ints["product_idx"], a["product_w"].astype(float)
        ),
        like=like,
    )


def measure(path: str, like: Market | None = None) -> tuple[Market, dict[str, Any]]:
    """Solve a file's market."""
    start = time.perf_counter()
    market = read_market(path, like)
    read = time.perf_counter() - start
    start = time.perf_counter()
    clearing = clear(market, time_limit=600.0)
    total = time.perf_counter() - start
    certificate, report = clearing.certificate, clearing.report
    return market, {
        "status": clearing.status.value,
        "seconds": {"read": read, "total": total, **report.seconds},
        "solver": report.solver,
        "iterations": [attempt.iterations for attempt in report.attempts],
        "gains": clearing.gains,
        "residuals": {
            "gap": certificate.relative_gap,
            "imbalance": certificate.relative_imbalance,
            "domain": certificate.domain,
            "stationarity": certificate.stationarity,
            "unlimited": certificate.unlimited,
        },
        "digest": clearing.digest,
    }


def main(arguments: list[str]) -> int:
    """Solve one or two files; what is wrong goes to stderr."""
    match arguments:
        case [first]:
            warm = None
        case [first, "--warm", warm]:
            pass
        case _:
            print("usage: market_bench.py FILE.npz [--warm FILE2.npz]", file=sys.stderr)
            return 2
    try:
        market, result = measure(first)
        if warm is not None:
            result["warm"] = measure(warm, market)[1]
    except UNUSABLE as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    # ru_maxrss counts kilobytes on Linux.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result["peak_rss_bytes"] = peak
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
