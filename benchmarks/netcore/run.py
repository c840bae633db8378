"""Compare contenders in interleaved turns: `run.py SCENARIO [--turns N] [...]`.

Prints medians, and ratios to the base taken within each turn.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import contenders

BASE = "picows-uvloop"
HERE = Path(__file__).parent
TIMEOUT = 120

# Frames of a flood and round trips; slow contenders get fewer, since costs are per
# message. A multiple of the server's block.
FLOOD = 400_000
SLOW_FLOOD = {"trio-websocket": 20_000, "websockets-uvloop": 100_000}
TRIPS = {"rtt": 10_000, "burst": 1_000}
SLOW_TRIPS = {"trio-websocket": 0.05}


def target(scenario: str, count: int, size: int) -> str:
    """Return what to ask the server for."""
    if scenario in {"flood", "decode"}:
        return f"/flood?n={count}"
    return f"/{scenario}?size={size}&n={100 if scenario == 'burst' else 1}"


def run_one(name: str, scenario: str, port: int, size: int, mean: float) -> dict:
    """Run one contender once; return its cost per message or trip."""
    if scenario in {"flood", "decode"}:
        count = SLOW_FLOOD.get(name, FLOOD)
    else:
        count = int(TRIPS[scenario] * SLOW_TRIPS.get(name, 1))
    url = f"ws://127.0.0.1:{port}{target(scenario, count, size)}"
    done = subprocess.run(  # noqa: S603 - our own script with our own arguments
        [sys.executable, HERE / "contenders.py", name, scenario, url, str(count), "0"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr}")
    result = json.loads(done.stdout)
    if scenario in {"flood", "decode"}:
        assert result["count"] == count, (name, result, count)
        if scenario == "flood":
            assert result["bytes"] == round(mean * count), (name, result)
        return {
            "cpu": result["cpu"] / count * 1e9,
            "wall": result["wall"] / count * 1e9,
        }
    return result


def report(scenario: str, turns: list[dict[str, dict]], names: list[str]) -> None:
    """Print a table."""
    floods = scenario in {"flood", "decode"}
    unit = "ns of processor per message" if floods else "µs per trip"
    key, second = ("cpu", "wall") if floods else ("p50", "p90")
    print(
        f"\n{scenario}: {unit}, medians of {len(turns)} turns; x = faster than {BASE}"
    )
    print(f"{'':22}{key:>10}{second:>10}{'x ' + key:>10}{'x ' + second:>10}")
    for name in names:
        first = statistics.median(turn[name][key] for turn in turns)
        other = statistics.median(turn[name][second] for turn in turns)
        line = f"{name:22}{first:10.1f}{other:10.1f}"
        if BASE in names:
            for column in (key, second):
                ratio = statistics.median(
                    turn[BASE][column] / turn[name][column] for turn in turns
                )
                line += f"{ratio:10.2f}"
        print(line)


def main() -> None:
    """Run turns of all contenders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", choices=["flood", "decode", "rtt", "burst"])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--size", type=int, default=256, help="bytes of a trip")
    parser.add_argument("--contenders", default=",".join(contenders.CONTENDERS))
    options = parser.parse_args()
    wanted = options.contenders.split(",")
    names = [name for name in wanted if contenders.available(name)]
    if missing := set(wanted) - set(names):
        print("left out, library missing:", ", ".join(sorted(missing)))
    cpus = os.cpu_count() or 1
    server = subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, HERE / "server.py", str(min(1, cpus - 1))],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        port, block = map(int, server.stdout.readline().split())
        mean = block / 20_000
        turns = [
            {
                name: run_one(name, options.scenario, port, options.size, mean)
                for name in names
            }
            for _ in range(options.turns)
        ]
        report(options.scenario, turns, names)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
