"""`bidders`: the sample bidders against any running auction server."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, CycloptsError, Parameter

if TYPE_CHECKING:
    import trio

__all__ = ["app", "main"]

app = App(name="bidders", help="Bid like a maker, a spread trader and a basket buyer.")


@app.default
def bid(
    url: str = "http://127.0.0.1:8080",
    *,
    secret: Annotated[str, Parameter(env_var="FLOWTRADE_SECRET")],
    every: float = 1.0,
    seed: int = 0,
    websocket_url: str | None = None,
    rest_url: str | None = None,
    record: Path | None = None,
) -> int:
    """Bid until SIGINT or SIGTERM, then take all bids back.

    Args:
        url: The auction server.
        secret: Its token key; the bidders sign their own tokens with it.
        every: Seconds between two rounds.
        seed: Of the bidders' moods.
        websocket_url: The exchange's feed, if not the real one (Binance spot).
        rest_url: The exchange's REST address, likewise.
        record: Folder into which the raw feed is recorded.
    """
    # The feed and the client take longer to load than the help to be read.
    from bidders.bidder import UnknownProduct
    from bidders.run import Access, run_bidders
    from flowtrade.errors import ApiError, ConnectionFailed, InvalidRequest
    from flowtrade.program import run_program
    from integration.errors import IntegrationError
    from integration.market.config import StreamConfig

    config = StreamConfig(
        websocket_url={} if websocket_url is None else {"binance_spot": websocket_url},
        rest_url={} if rest_url is None else {"binance_spot": rest_url},
        recorder=record,
    )

    async def run(shutdown: "trio.Event") -> None:
        access = Access(url, secret)
        await run_bidders(
            access, every=every, seed=seed, config=config, shutdown=shutdown
        )

    return run_program(
        "bidders",
        run,
        usage_errors=(UnknownProduct, InvalidRequest),
        run_errors=(ApiError, ConnectionFailed, IntegrationError),
    )


def main() -> None:
    """Run the command line and exit."""
    try:
        code = app(exit_on_error=False, result_action="return_value")
    except CycloptsError:
        from flowtrade.program import EXIT_USAGE  # late, as above

        sys.exit(EXIT_USAGE)  # cyclopts has said what is wrong
    sys.exit(code if isinstance(code, int) else 0)
