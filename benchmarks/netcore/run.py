"""Compare WebSocket clients, and FIX codecs, in interleaved turns.

    uv run --with-requirements benchmarks/netcore/peers.txt \
        python benchmarks/netcore/run.py [frames decode rtt burst tls tls-rtt fix] \
        [--turns 5] [--contenders "netcore trio,picows+uvloop"] [--check]

Prints a table of medians for each scenario, with ratios to picows+uvloop taken within
each turn, and then every floor with what was measured.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import contenders
import fix

BASE: Final = "picows+uvloop"
HERE: Final = Path(__file__).parent
TIMEOUT: Final = 120

# Costs are per message, so slow contenders get fewer; multiples of the server's block.
MESSAGES: Final = 400_000
FEWER: Final = {
    "trio-websocket": 20_000,
    "websockets+uvloop": 60_000,
    "aiohttp+uvloop": 200_000,
}


class Scenario(NamedTuple):
    """One table.

    Attributes:
        task: What a contender is told to do.
        title: What the table says.
        count: Round trips, 0 where messages are received.
        replies: Frames that answer a request.
        secret: Whether over TLS.
        without: Parts of the names of those to whom it says nothing new.
    """

    task: str
    title: str
    count: int = 0
    replies: int = 1
    secret: bool = False
    without: tuple[str, ...] = ("spin",)

    @property
    def columns(self) -> tuple[str, str]:
        """What is measured: the main thing and its companion."""
        return ("p50", "p90") if self.count else ("cpu", "wall")


_TRIPS: Final = ("utf8", "bytes")
_SECRET: Final = ("spin", "utf8", "bytes", "trio-websocket")

SCENARIOS: Final = {
    "frames": Scenario("frames", "receive frames of 172 B, ns per message"),
    "decode": Scenario("decode", "receive and decode them, ns per message"),
    "rtt": Scenario("trips", "round trip of 256 B, µs", count=5_000, without=_TRIPS),
    "burst": Scenario(
        "trips",
        "1 request, 100 frames of 256 B, µs",
        count=1_000,
        replies=100,
        without=_TRIPS,
    ),
    "tls": Scenario(
        "frames",
        "receive frames over TLS, ns per message",
        secret=True,
        without=_SECRET,
    ),
    "tls-rtt": Scenario(
        "trips",
        "round trip of 256 B over TLS, µs",
        count=3_000,
        secret=True,
        without=(*_SECRET, "websockets", "aiohttp"),
    ),
}


class Floor(NamedTuple):
    """What `contender` has to reach against another one.

    Attributes:
        scenario: Where.
        contender: Who.
        least: The least ratio of the other's cost to its.
        against: Whom.
    """

    scenario: str
    contender: str
    least: float
    against: str = BASE


FLOORS: Final = (
    Floor("frames", "netcore trio", 1.5),
    Floor("frames", "netcore busy", 1.8),
    Floor("frames", "netcore trio", 50, "trio-websocket"),
    Floor("frames", "netcore trio compiled", 4),
    Floor("frames", "netcore busy compiled", 4),
    Floor("decode", "netcore trio", 1.3),
    Floor("decode", "netcore trio compiled", 1.7),
    Floor("rtt", "netcore busy", 1.4),
    Floor("rtt", "netcore busy", 1 / 1.4, "bare socket"),
    Floor("rtt", "netcore trio spin", 1.3),
    Floor("rtt", "netcore trio", 0.9),
    Floor("burst", "netcore busy", 1.3),
    Floor("burst", "netcore busy compiled", 2.5),
    Floor("tls", "netcore busy", 1.3),
    Floor("tls", "netcore trio", 1.3),
)

Turn = dict[str, dict[str, float]]


class Server(NamedTuple):
    """Where the server listens, and what it sends.

    Attributes:
        port: For ws.
        secret_port: For wss.
        mean: Payload bytes per message of a flood.
        cafile: The authority of its certificate.
    """

    port: int
    secret_port: int
    mean: float
    cafile: str


@contextmanager
def serving() -> Iterator[Server]:
    """Run the server in a process of its own on the second processor."""
    cpu = str(min(1, (os.cpu_count() or 1) - 1))
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, HERE / "server.py", cpu, folder],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            port, secret, size = map(int, process.stdout.readline().split())
            yield Server(port, secret, size / 20_000, f"{folder}/ca.pem")
        finally:
            process.terminate()
            process.wait()


def run_one(name: str, scenario: Scenario, server: Server) -> dict[str, float]:
    """Run one contender once; return its cost per message or trip."""
    if scenario.count:
        count = scenario.count // (20 if name == "trio-websocket" else 1)
        target = f"/trips?size=256&n={scenario.replies}"
    else:
        count = FEWER.get(name, MESSAGES)
        target = f"/receive?n={count}"
    url = f"ws://127.0.0.1:{server.port}{target}"
    if scenario.secret:
        url = f"wss://127.0.0.1:{server.secret_port}{target}"
    pure = "0" if contenders.CONTENDERS[name].compiled else "1"
    arguments = [name, scenario.task, url, str(count), "0", server.cafile]
    done = subprocess.run(  # noqa: S603 - our own script with our own arguments
        [sys.executable, HERE / "contenders.py", *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        env={**os.environ, "NETCORE_PURE": pure},
    )
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout)
    if scenario.count:
        return result
    assert result["count"] == count, (name, result, count)
    if scenario.task == "frames":
        assert result["bytes"] == round(server.mean * count), (name, result)
    return {
        "cpu": result["cpu"] / count * 1e9,
        "wall": result["wall"] / count * 1e9,
    }


def measure(
    names: list[str], scenario: Scenario, server: Server, turns: int
) -> list[Turn]:
    """Let all contenders take turns, each time another one first."""
    taken = []
    for number in range(turns):
        start = number % len(names)
        order = names[start:] + names[:start]
        taken.append({name: run_one(name, scenario, server) for name in order})
    return taken


def ratios(turns: list[Turn], name: str, against: str, column: str) -> list[float]:
    """Return how much less `name` takes in each turn, sorted."""
    return sorted(turn[against][column] / turn[name][column] for turn in turns)


def table(scenario: Scenario, turns: list[Turn], names: list[str]) -> None:
    """Print a scenario's table in Markdown."""
    main, second = scenario.columns
    print(f"\n| {scenario.title} | {main} | {second} | x {BASE} | least, most |")
    print("| --- | --- | --- | --- | --- |")
    for name in names:
        costs = (
            statistics.median(turn[name][key] for turn in turns)
            for key in (main, second)
        )
        line = f"| {name} |" + "".join(f" {cost:.4g} |" for cost in costs)
        if BASE in names:
            found = ratios(turns, name, BASE, main)
            middle = statistics.median(found)
            line += f" {middle:.2f} | {found[0]:.2f}, {found[-1]:.2f} |"
        else:
            line += " | |"
        print(line, flush=True)


def judge(measured: dict[str, list[Turn]]) -> bool:
    """Print each floor that was measured; return whether all hold."""
    held = True
    print("\n| floor | asked | measured | |\n| --- | --- | --- | --- |")
    for floor in FLOORS:
        turns = measured.get(floor.scenario, [])
        if not turns or not {floor.contender, floor.against} <= turns[0].keys():
            continue
        column = SCENARIOS[floor.scenario].columns[0]
        found = ratios(turns, floor.contender, floor.against, column)
        got = statistics.median(found)
        held &= got >= floor.least
        print(verdict(f"{floor.scenario}: {floor.contender}", floor, got), flush=True)
    return held


def verdict(what: str, floor: Floor, got: float) -> str:
    """Return one line about a floor."""
    said = "held" if got >= floor.least else "**missed**"
    if floor.least < 1 and floor.against != BASE:
        asked, shown = f"≤ {1 / floor.least:.1f} x {floor.against}", f"{1 / got:.2f}"
    else:
        asked, shown = f"≥ {floor.least:g} x {floor.against}", f"{got:.2f}"
    return f"| {what} | {asked} | {shown} | {said} |"


def main() -> None:
    """Run turns of all contenders."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--contenders", help="some of them, comma-separated")
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 where a floor is missed"
    )
    options = parser.parse_args()
    wanted = options.scenarios or [*SCENARIOS, "fix"]
    if unknown := set(wanted) - {*SCENARIOS, "fix"}:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    held = websockets(options, wanted) if set(wanted) - {"fix"} else True
    if "fix" in wanted:
        held &= fix.report()
    sys.exit(1 if options.check and not held else 0)


def websockets(options: argparse.Namespace, wanted: list[str]) -> bool:
    """Measure the WebSocket scenarios among `wanted`; return whether floors hold."""
    names = list(contenders.CONTENDERS)
    if options.contenders:
        names = [name for name in names if name in options.contenders.split(",")]
    for name in list(names):
        if absent := contenders.missing(name):
            print(f"left out: {name}, for want of {absent}")
            names.remove(name)
    print(
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, "
        f"medians of {options.turns} turns"
    )
    measured = {}
    with serving() as server:
        for key in [key for key in SCENARIOS if key in wanted]:
            scenario = SCENARIOS[key]
            some = [
                name
                for name in names
                if not any(part in name for part in scenario.without)
            ]
            measured[key] = measure(some, scenario, server, options.turns)
            table(scenario, measured[key], some)
    return judge(measured)


if __name__ == "__main__":
    main()
