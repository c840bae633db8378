"""One measured client per process: `contenders.py NAME TASK URL COUNT CPU CAFILE`.

Prints JSON: processor and wall seconds, messages and bytes received, or for round
trips their median and 90th percentile in microseconds.
"""

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from typing import NamedTuple

import own
import peers
from work import Result, Work

Client = Callable[[Work], Result]


class Contender(NamedTuple):
    """A client and what it needs.

    Attributes:
        run: The client.
        needs: Modules that have to be installed.
        compiled: For netcore's own, which build of the splitter it stands for.
    """

    run: Client
    needs: tuple[str, ...] = ()
    compiled: bool | None = None


def _both(name: str, client: Client) -> dict[str, Contender]:
    return {
        name: Contender(client, compiled=False),
        f"{name} compiled": Contender(client, compiled=True),
    }


CONTENDERS: dict[str, Contender] = {
    "bare socket": Contender(own.bare),
    **_both("netcore busy", own.busy),
    **_both("netcore trio", own.in_trio),
    **_both("netcore trio utf8", lambda w: own.in_trio(w, validate_utf8=True)),
    **_both("netcore trio spin", lambda w: own.in_trio(w, spin=50e-6)),
    "picows+uvloop": Contender(
        lambda w: peers.picows(w, as_bytes=False), ("picows", "uvloop")
    ),
    "picows+uvloop bytes": Contender(
        lambda w: peers.picows(w, as_bytes=True), ("picows", "uvloop")
    ),
    "aiohttp+uvloop": Contender(peers.aiohttp, ("aiohttp", "uvloop")),
    "websockets+uvloop": Contender(peers.websockets, ("websockets", "uvloop")),
    "trio-websocket": Contender(peers.trio_websocket, ("trio_websocket",)),
}


def missing(name: str) -> str:
    """Return what a contender cannot run without, "" if nothing."""
    contender = CONTENDERS[name]
    for module in contender.needs:
        if importlib.util.find_spec(module) is None:
            return module
    if contender.compiled:
        from netcore.ws.speedups import BUILT

        return "" if BUILT else "a compiler when netcore was installed"
    return ""


def main() -> None:
    """Run one contender."""
    name, task, url, count, cpu, cafile = sys.argv[1:]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(cpu)})
    contender = CONTENDERS[name]
    if contender.compiled is not None:
        from netcore.ws import COMPILED

        assert COMPILED is contender.compiled, (name, COMPILED)
    print(json.dumps(contender.run(Work(task, url, int(count), cafile))))


if __name__ == "__main__":
    main()
