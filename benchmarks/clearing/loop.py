"""How long a solve keeps the event loop waiting, and which lines do it.

    python benchmarks/clearing/loop.py mixed 100000 500

A trio task wakes up every millisecond while an auction is cleared in a worker thread,
as the auctioneer does it, with the interpreter's switch interval, the garbage
collector and the allocator that the service sets. Turns with a solve follow turns with
an idle thread and with one that computes without ever holding the interpreter's lock,
so that what else the machine does is seen by all; the difference is the solve's.

Which calls hold the interpreter's lock is told apart from what a busy machine does by
two clocks of the kernel's: a gap counts as far as the worker used the processor in it,
and less what the loop's own thread waited for a processor though it could have run. A
line is named if it kept the loop waiting in most of the runs, as chance does not.
"""

import argparse
import hashlib
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from threading import get_ident

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402 - threads are set before numpy loads
import trio  # noqa: E402 - as above

from flowtrade.clearing import Market, clear  # noqa: E402 - as above
from flowtrade.clearing.generate import generate  # noqa: E402 - as above
from flowtrade.core.switches import quick_switches  # noqa: E402 - as above
from flowtrade.serve.collector import calm_collector  # noqa: E402 - as above
from flowtrade.serve.heap import keep_heap  # noqa: E402 - as above

_TICK = 0.001

_SCHEDULED = Path("/proc/thread-self/schedstat")


class Watch:
    """The loop's waits beyond its tick during one run, and who was at work then."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self.used: list[float] = []
        self.lines: dict[str, float] = defaultdict(float)
        self.worker = 0
        self.begun = trio.Event()
        self.done = False

    async def run(self, work: Callable[[], object]) -> None:
        """Do the work in a thread and tick meanwhile."""

        def at_work() -> None:
            self.worker = get_ident()
            trio.from_thread.run_sync(self.begun.set)
            try:
                work()
            finally:
                # Its clock dies with the thread; trio keeps the thread for a while.
                self.done = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tick)
            await trio.to_thread.run_sync(at_work)
            nursery.cancel_scope.cancel()

    async def _tick(self) -> None:
        await self.begun.wait()
        clock = time.pthread_getcpuclockid(self.worker)
        before, waited = time.clock_gettime(clock), _run_delay()
        while not self.done:
            start = time.perf_counter()
            await trio.sleep(_TICK)
            late = time.perf_counter() - start - _TICK
            frame = sys._current_frames().get(self.worker)
            after, queued = time.clock_gettime(clock), _run_delay()
            self.late.append(1e3 * late)
            held = 1e3 * max(min(late - (queued - waited), after - before), 0.0)
            before, waited = after, queued
            self.used.append(held)
            where = "?"
            # The thread stands where it let go: at the line that held the lock.
            while frame is not None:
                path = Path(frame.f_code.co_filename)
                if "clearing" in path.parts:
                    where = f"{path.name}:{frame.f_lineno} {frame.f_code.co_name}"
                    break
                frame = frame.f_back
            self.lines[where] = max(self.lines[where], held)


def _run_delay() -> float:
    """Seconds that this thread was able to run but had no processor, on Linux."""
    try:
        return int(_SCHEDULED.read_text().split()[1]) * 1e-9
    except OSError:
        return 0.0


def report(runs: list[Watch], limit: float) -> None:
    """Print the lines that kept the loop waiting in most runs."""
    worst: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        for where, held in run.lines.items():
            worst[where].append(held)
    found = []
    for where, gaps in worst.items():
        gaps += [0.0] * (len(runs) - len(gaps))
        found.append((float(np.median(gaps)), where))
    shown = [(gap, where) for gap, where in sorted(found, reverse=True) if gap >= limit]
    print(f"lines that hold the lock for {limit:g} ms or more in most runs:")
    for gap, where in shown or [(0.0, "none")]:
        print(f"  {gap:6.1f} ms  {where}")
    single = sorted(((max(gaps), where) for where, gaps in worst.items()), reverse=True)
    print("longest single waits:")
    for gap, where in single[:5]:
        print(f"  {gap:6.1f} ms  {where}")


async def main() -> None:
    """Measure one market."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind")
    parser.add_argument("orders", type=int)
    parser.add_argument("products", type=int)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--limit", type=float, default=3.0, help="milliseconds")
    arguments = parser.parse_args()
    source = generate(arguments.kind, arguments.orders, arguments.products, seed=1)
    columns = source.columns

    def solve() -> None:
        market = Market.from_columns(
            products=columns.products,
            curves=columns.curves,
            usage=columns.usage,
            basis=columns.basis,
        )
        clear(market, time_limit=600.0)

    start = time.perf_counter()
    solve()
    spent = time.perf_counter() - start
    idle, hashing, solving = [], [], []
    text = bytes(1 << 24)

    def digest() -> None:
        end = time.perf_counter() + spent
        while time.perf_counter() < end:
            hashlib.sha256(text)

    # As the process that serves: its collector does not walk over all objects now and
    # then, which alone takes 25 ms here.
    keep_heap()
    with quick_switches(), calm_collector():
        for _ in range(arguments.runs):
            for runs, work in (
                (idle, lambda: time.sleep(spent)),
                (hashing, digest),
                (solving, solve),
            ):
                watch = Watch()
                await watch.run(work)
                runs.append(watch)
    for label, runs in (("idle", idle), ("hashing", hashing), ("solving", solving)):
        peaks = [max(run.late) for run in runs]
        held = [max(run.used) for run in runs]
        middle = float(np.median(np.concatenate([run.late for run in runs])))
        print(
            f"{label:8} longest gap per run, ms: median {np.median(peaks):.1f}, "
            f"worst {max(peaks):.1f}; while the worker computed: median "
            f"{np.median(held):.1f}, worst {max(held):.1f}; median gap {middle:.2f}"
        )
    report(solving, arguments.limit)


if __name__ == "__main__":
    trio.run(main)
