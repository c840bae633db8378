"""How late the event loop wakes while a large auction is run: its stalls.

    python benchmarks/service/stalls.py [--orders 100000] [--bidders 1000]

A task sleeps for a millisecond over and over and notes how late it was woken, while
batches are gathered, solved, hashed, stored (SQLite) and published beside it. A peer in
a process of its own does nothing else at the same time: what it sees is the machine's
doing. The longest steps of tasks and callbacks are what the loop itself did at a time;
the rest of a tick's lateness is waiting for the interpreter or for a processor.
"""

import argparse
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from uuid import UUID

import trio

from flowtrade.core.operations import (
    AddDemand,
    AddPortfolio,
    AddProduct,
    NewProduct,
    Operation,
)
from flowtrade.core.service import Service
from flowtrade.core.solver import ClearingSolver
from flowtrade.hub import Hub
from flowtrade.ids import TimeOrderedIds
from flowtrade.models.curve import Point, PwlCurve
from flowtrade.serve.collector import calm_collector
from flowtrade.settings import AuctionSettings, StoreSettings
from flowtrade.store import open_store
from netcore.clock import SystemClock

TICK = 0.001
PRODUCTS = 50
LATE = (0.005, 0.020)


class Steps(trio.abc.Instrument):
    """Notes how long the loop's steps take."""

    def __init__(self) -> None:
        self.longest: dict[str, float] = {}
        self.began = time.perf_counter()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """See trio."""
        self.began = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """See trio."""
        took = time.perf_counter() - self.began
        if took > self.longest.get(task.name, 0.0):
            self.longest[task.name] = took


async def tick(late: list[float]) -> None:
    while True:
        due = time.perf_counter() + TICK
        await trio.sleep(TICK)
        late.append(time.perf_counter() - due)


def idle(pipe: Connection) -> None:
    """Tick in a process of its own; answer each word with what was late since."""
    trio.run(_idle, pipe)


async def _idle(pipe: Connection) -> None:
    late: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick, late)
        while await trio.to_thread.run_sync(pipe.recv):
            pipe.send(late)
            late.clear()
        nursery.cancel_scope.cancel()


def key(number: int, kind: int) -> str:
    return str(UUID(int=kind << 64 | number))


def market(orders: int, bidders: int) -> Iterator[Operation]:
    """A demand and a portfolio for each order, half of them selling."""
    rng = random.Random(1)  # noqa: S311  # a workload
    for number in range(PRODUCTS):
        yield AddProduct(product=NewProduct(id=key(number, 3), app_data=b"null"))
    for number in range(orders):
        price, rate = rng.uniform(5, 15), rng.uniform(0.1, 1)
        low, high = (-rate, 0.0) if number % 2 else (0.0, rate)
        points = (Point(rate=low, price=price), Point(rate=high, price=price - 1))
        owner, demand = key(number % bidders, 9), key(number, 1)
        curve = PwlCurve(points=points)
        yield AddDemand(id=demand, owner=owner, app_data=b"null", curve=curve)
        yield AddPortfolio(
            id=key(number, 2),
            owner=owner,
            app_data=b"null",
            demand={demand: 1.0},
            basis={key(rng.randrange(PRODUCTS), 3): 1.0},
        )


def show(name: str, late: list[float]) -> None:
    shares = ", ".join(
        f"{100 * sum(one > bound for one in late) / len(late):5.2f} % over "
        f"{bound * 1e3:.0f} ms"
        for bound in LATE
    )
    median, most = statistics.median(late) * 1e3, max(late) * 1e3
    print(
        f"  {name:<22} {len(late):>6} ticks, late by {median:.2f} ms median, "
        f"{most:6.1f} ms at most; {shares}",
        flush=True,
    )


async def measure(orders: int, bidders: int, rounds: int, pipe: Connection) -> None:
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:{folder}/store.db"
        settings = StoreSettings(url=url, queue=10_000_000, group=4096)
        async with open_store(settings, clock=clock) as store:
            service = Service(
                store=store,
                solver=ClearingSolver(),
                clock=clock,
                ids=TimeOrderedIds(),
                publisher=Hub(clock=clock),
                settings=AuctionSettings(time_limit=120.0),
            )
            await service.load()
            await store.execute_many(list(market(orders, bidders)))
            with calm_collector():
                await watch(service, rounds, pipe)


async def watch(service: Service, rounds: int, pipe: Connection) -> None:
    def peer() -> list[float]:
        pipe.send(True)
        found: list[float] = pipe.recv()
        return found

    late: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick, late)
        await trio.sleep(1.0)
        show("nothing to do", late)
        for number in range(rounds):
            steps = Steps()
            trio.lowlevel.add_instrument(steps)
            await trio.to_thread.run_sync(peer)
            late.clear()
            began = time.perf_counter()
            record = await service.auctioneer.run_batch()
            took = time.perf_counter() - began
            await trio.sleep(2 * TICK)
            found = late.copy()
            trio.lowlevel.remove_instrument(steps)
            show(f"batch {number + 1}, {took:.2f} s", found)
            show("  the idle peer", await trio.to_thread.run_sync(peer))
            assert record.status == "cleared", record.error
            longest = sorted(steps.longest.items(), key=lambda one: -one[1])[:3]
            for name, seconds in longest:
                print(f"    {seconds * 1e3:6.1f} ms at a time in {name}", flush=True)
        nursery.cancel_scope.cancel()


def run(orders: int = 100_000, bidders: int = 1_000, rounds: int = 3) -> None:
    print(f"stalls of the event loop in auctions of {orders:,} orders")
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=idle, args=(theirs,), daemon=True)
    process.start()
    try:
        ours.send(True)
        ours.recv()  # it has begun
        trio.run(measure, orders, bidders, rounds, ours)
        ours.send(False)
        process.join(10)
    finally:
        process.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--orders", type=int, default=100_000)
    parser.add_argument("--bidders", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    run(wanted.orders, wanted.bidders, wanted.rounds)
