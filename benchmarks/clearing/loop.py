"""How long a solve keeps the event loop waiting.

    python benchmarks/clearing/loop.py mixed 100000 500

A trio task wakes up every millisecond while an auction is cleared in a worker thread,
as the auctioneer does it. Printed are the longest gaps between two of its turns, while
nothing happens and while the solve runs: the difference is what the solve costs.
"""

import argparse
import os
import time
from collections.abc import Callable

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402 - threads are set before numpy loads
import trio  # noqa: E402 - as above

from flowtrade.clearing import Market, clear  # noqa: E402 - as above
from flowtrade.clearing.generate import generate  # noqa: E402 - as above

_TICK = 0.001


async def gaps(work: Callable[[], object]) -> np.ndarray:
    """Run work in a thread; the loop's waits beyond its tick meanwhile, in ms."""
    late: list[float] = []
    done = trio.Event()

    async def tick() -> None:
        while not done.is_set():
            start = time.perf_counter()
            await trio.sleep(_TICK)
            late.append(time.perf_counter() - start - _TICK)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        await trio.to_thread.run_sync(work)
        done.set()
    return 1e3 * np.array(late)


async def main() -> None:
    """Measure one market."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind")
    parser.add_argument("orders", type=int)
    parser.add_argument("products", type=int)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    source = generate(arguments.kind, arguments.orders, arguments.products, seed=1)
    columns = source.columns

    def solve() -> object:
        market = Market.from_columns(
            products=columns.products,
            curves=columns.curves,
            usage=columns.usage,
            basis=columns.basis,
        )
        return clear(market, time_limit=600.0)

    solve()
    for label, work in (("idle", lambda: time.sleep(0.5)), ("solving", solve)):
        worst = [await gaps(work) for _ in range(arguments.runs)]
        peaks = ", ".join(f"{one.max():.1f}" for one in worst)
        middle = float(np.median(np.concatenate(worst)))
        print(f"{label:8} longest gap per run: {peaks} ms; median {middle:.2f} ms")


if __name__ == "__main__":
    trio.run(main)
