"""`auction-server`: read the configuration, run, say what went wrong in one line.

Exit codes: 0 stopped as asked, 1 something failed while running, 2 the port,
configuration or store cannot be used.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import trio
from cyclopts import App, CycloptsError, Parameter

from auction_server.config import ConfigError, load_config
from auction_server.run import RunningServer, run_server
from flowtrade.auth import JwtAuthorizer
from flowtrade.errors import AddressInUse, InvalidRequest, SchemaMismatch, StoreFailed
from flowtrade.program import EXIT_USAGE, run_program
from integration.errors import IntegrationError

__all__ = ["USAGE_ERRORS", "app", "main"]

app = App(
    name="auction-server",
    help="Run flow-trading auctions: API, schedule, store and market data.",
)

_SECRET = "FLOWTRADE_SECRET"  # noqa: S105  # the variable's name, not the secret

USAGE_ERRORS = (ConfigError, InvalidRequest, AddressInUse, SchemaMismatch, StoreFailed)
"""What the operator can mend before starting again."""


@app.default
def serve(
    *,
    config: Path | None = None,
    host: str | None = None,
    port: int | None = None,
    store: str | None = None,
    every: float | None = None,
    secret: Annotated[str | None, Parameter(env_var=_SECRET)] = None,
) -> int:
    """Run the server until SIGINT or SIGTERM.

    Args:
        config: TOML file with the tables server, store, schedule, auction, feed and
            the products.
        host: Address to listen on.
        port: Port; 0 takes a free one.
        store: `memory:` or `sqlite:PATH`.
        every: Seconds between auctions.
        secret: Key of the bearer tokens (HS256), 32 bytes at least.
    """
    flags: dict[str, dict[str, Any]] = {}
    for table, key, value in (
        ("server", "host", host),
        ("server", "port", port),
        ("store", "url", store),
        ("schedule", "every", every),
    ):
        if value is not None:
            flags.setdefault(table, {})[key] = value

    async def run(shutdown: trio.Event) -> None:
        if secret is None:
            msg = f"a secret is needed: --secret or {_SECRET}"
            raise ConfigError(msg)
        settings = load_config(config, flags=flags)
        authorizer = JwtAuthorizer.from_secret(secret)
        async with trio.open_nursery() as nursery:
            server: RunningServer = await nursery.start(
                partial(run_server, settings, authorizer=authorizer, shutdown=shutdown)
            )
            sys.stderr.write(f"auction-server: listening on {server.auction.url}\n")

    return run_program(
        "auction-server",
        run,
        usage_errors=USAGE_ERRORS,
        run_errors=(IntegrationError,),
    )


def main() -> None:
    """Run the command line and exit."""
    try:
        code = app(exit_on_error=False, result_action="return_value")
    except CycloptsError:
        sys.exit(EXIT_USAGE)  # cyclopts has said what is wrong
    sys.exit(code if isinstance(code, int) else 0)
