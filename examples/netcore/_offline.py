"""What the examples share: a venue inside this process, and the command line.

Without a URL an example talks to `integration.testing.SimulatedExchange`, which speaks
as Binance's spot market does, with a seeded market that moves twenty times as fast as
a real one; and to a FIX acceptor beside it. With a URL it talks to that venue: nothing
else about the example changes.
"""

import argparse
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import NamedTuple

import trio

from integration.testing import SimulatedExchange, SyntheticMarket
from netcore.fix import (
    Acceptor,
    FieldValue,
    FixSession,
    Message,
    Role,
    SessionConfig,
)
from netcore.fix.trio import FixServer, TrioFixConnection, serve_fix

INTERRUPTED = 128 + 2  # what a shell reports of a program that SIGINT ended


class Venue(NamedTuple):
    """Where the venue of this process listens."""

    websocket: str
    rest: str
    fix: str


def arguments(
    text: str | None, argv: Sequence[str] | None, *options: tuple[str, type, object]
) -> argparse.Namespace:
    """Read URL, --messages and further (name, type, default) options."""
    summary, _, rest = (text or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", nargs="?", help="where to connect; default: offline")
    parser.add_argument(
        "--messages", type=int, default=10, help="stop after so many (0: never)"
    )
    for name, kind, default in options:
        parser.add_argument(
            name, type=kind, default=default, help="default: %(default)s"
        )
    chosen = parser.parse_args(argv)
    chosen.messages = chosen.messages or sys.maxsize
    return chosen


@contextmanager
def open_venue(url: str | None, path: str = "") -> Iterator[str]:
    """Yield `url`; without one start a venue and yield its WebSocket URL + `path`."""
    if url is not None:
        yield url
        return
    with local_venue() as venue:
        yield venue.websocket + path


@contextmanager
def local_venue() -> Iterator[Venue]:
    """Run a venue in a thread of its own until the block is left."""
    started: Future[tuple[Venue, Callable[[], None]]] = Future()

    async def main() -> None:
        token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            sim = SimulatedExchange(SyntheticMarket(seed=7))
            await nursery.start(sim.serve)
            acceptor = Acceptor([_acceptors_session()])
            fix: FixServer = await nursery.start(serve_fix, _quote, acceptor, 0)
            nursery.start_soon(sim.run, 20.0)

            def stop() -> None:
                with suppress(trio.RunFinishedError):
                    token.run_sync_soon(nursery.cancel_scope.cancel)

            url = f"tcp://127.0.0.1:{fix.port}"
            started.set_result((Venue(sim.websocket_url, sim.rest_url, url), stop))

    def run() -> None:
        try:
            trio.run(main)
        except BaseException as exc:
            if started.done():
                raise
            started.set_exception(exc)

    thread = threading.Thread(target=run, name="venue", daemon=True)
    thread.start()
    venue, stop = started.result()
    try:
        yield venue
    finally:
        stop()
        thread.join()


def _acceptors_session() -> FixSession:
    return FixSession(
        SessionConfig(
            begin_string="FIX.4.4",
            sender_comp_id="VENUE",
            target_comp_id="EXAMPLE",
            role=Role.ACCEPTOR,
            reset_on_logon=True,
        )
    )


async def _quote(connection: TrioFixConnection) -> None:
    """Answer each MarketDataRequest (V) with ever new incremental refreshes (X)."""
    async with trio.open_nursery() as nursery:
        async for event in connection:
            if isinstance(event, Message) and event.type == "V":
                nursery.start_soon(_refresh, connection, event[55])
        nursery.cancel_scope.cancel()


async def _refresh(connection: TrioFixConnection, symbol: bytes) -> None:
    price = 61_800_00
    while not connection.closed:
        price += 25 if price % 2 else -11
        text = f"{price // 100}.{price % 100:02}"
        entry: list[tuple[int, FieldValue]] = [
            (279, "0"),
            (269, "2"),
            (55, symbol),
            (270, text),
            (271, "0.01"),
        ]
        connection.send("X", [(268, 1), *entry])
        await trio.sleep(0.01)


def run(main: Callable[[], int]) -> None:
    """Call `main` as a program: its exit code, and no traceback for Ctrl-C."""
    code = INTERRUPTED
    try:
        code = main()
    except* KeyboardInterrupt:  # alone, or in the group of a trio program
        print("interrupted")
    raise SystemExit(code)
