"""`flowtrade-demo`: the whole house in one command, offline."""

import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, CycloptsError, Parameter

from flowtrade.models.clearing import SolverMode
from flowtrade_demo.config import SYMBOLS, DemoConfig, DemoError, Pace

if TYPE_CHECKING:
    import trio

    from flowtrade_demo.house import House
    from flowtrade_demo.show import Show

__all__ = ["app", "main"]

app = App(
    name="flowtrade-demo",
    help="A local exchange, an auction every second, three bidders and a live page.",
)


@app.default
def demo(  # the command line
    *,
    seed: int = 7,
    symbols: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = SYMBOLS,
    recording: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
    loop: bool = False,
    speed: float = 1.0,
    host: str = "127.0.0.1",
    port: int = 8080,
    every: float = 1.0,
    batches: int | None = None,
    lockstep: bool = False,
    store: str | None = None,
    solver: SolverMode = SolverMode.HIGHS,
    tls: bool = False,
    record: Path | None = None,
    json: bool = False,
) -> int:
    """Run until SIGINT or SIGTERM, the last batch or the end of the recording.

    Args:
        seed: Of the synthetic market, the ids and the bidders.
        symbols: Of the synthetic market, such as BTCUSDT ETHUSDT.
        recording: Files to play instead of the synthetic market.
        loop: Play the recordings again and again.
        speed: Market seconds per second; 0 plays as fast as can be.
        host: Address of the page.
        port: Port of the page; 0 takes a free one.
        every: Seconds between auctions.
        batches: Stop after so many auctions.
        lockstep: Move round by round instead of by the clock; repeatable.
        store: `memory:` or `sqlite:PATH`; by default SQLite in a temporary folder.
        solver: Who solves first; every answer is certified alike.
        tls: Speak TLS with the exchange.
        record: Folder into which the raw feed is recorded.
        json: JSON lines even on a terminal.
    """
    config = partial(
        DemoConfig,
        seed=seed,
        recordings=tuple(recording or ()),
        loop=loop,
        speed=speed,
        host=host,
        port=port,
        every=every,
        batches=batches,
        pace=Pace.LOCKSTEP if lockstep else Pace.LIVE,
        solver=solver,
        tls=tls,
        record=record,
        symbols=symbols,
    )
    return _run(config, store=store, json=json)


def _run(configure: "partial[DemoConfig]", *, store: str | None, json: bool) -> int:
    """Run a demo and show it; return the exit code."""
    # The house takes longer to load than the help to be read.
    from flowtrade.commands.serve import USAGE_ERRORS
    from flowtrade.errors import ApiError, ConnectionFailed
    from flowtrade.program import run_program
    from flowtrade_demo.rounds import run_demo
    from flowtrade_demo.show import make_show
    from integration.errors import IntegrationError
    from integration.testing import RecordingError

    async def run(stop: "trio.Event") -> None:
        show = make_show(sys.stdout, json=json)
        with tempfile.TemporaryDirectory(prefix="flowtrade-") as folder:
            config = configure(store=store or f"sqlite:{Path(folder) / 'auctions.db'}")
            try:
                await run_demo(
                    config,
                    stop=stop,
                    started=partial(_started, show),
                    listener=show.update,
                )
            finally:
                show.stop()

    return run_program(
        "flowtrade-demo",
        run,
        usage_errors=(DemoError, RecordingError, *USAGE_ERRORS),
        run_errors=(ApiError, ConnectionFailed, IntegrationError),
    )


def _started(show: "Show", house: "House") -> None:
    show.start(house.server.auction.url)


def main() -> None:
    """Run the command line and exit."""
    try:
        code = app(exit_on_error=False, result_action="return_value")
    except CycloptsError:
        from flowtrade.program import EXIT_USAGE  # late, as above

        sys.exit(EXIT_USAGE)  # cyclopts has said what is wrong
    sys.exit(code if isinstance(code, int) else 0)
