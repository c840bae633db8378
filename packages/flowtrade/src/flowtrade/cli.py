"""`flowtrade`: the offline tool's and the operator's commands, from the command line.

Arguments are parsed by cyclopts, which comes with the extra `flowtrade[cli]`; what the
commands do is in `flowtrade.clearing.cli` and `flowtrade.commands`.
"""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from flowtrade.clearing.cli import (
    ExitCode,
    bench_markets,
    export_auction,
    generate_auction,
    solve_auction,
    verify_batch,
)

if TYPE_CHECKING:
    from cyclopts import App

__all__ = ["main", "make_app"]

_COMMANDS: dict[str, Callable[..., ExitCode]] = {
    "solve": solve_auction,
    "verify": verify_batch,
    "export": export_auction,
    "generate": generate_auction,
    "bench": bench_markets,
}

_OPERATOR: dict[str, str] = {
    "serve": "flowtrade.commands.serve:serve",
    "token": "flowtrade.commands.tokens:make_token",
    "keygen": "flowtrade.commands.tokens:make_key",
    "schema": "flowtrade.commands.describe:write_schema",
    "migrate": "flowtrade.commands.stores:migrate",
    "backup": "flowtrade.commands.stores:backup",
    "replay": "flowtrade.commands.stores:replay",
    "settle": "flowtrade.commands.stores:settle",
}
"""Commands that load the whole server, so where to find them."""


def make_app() -> "App":
    """Return the command line's application.

    Raises:
        ModuleNotFoundError: The extra `cli` is not installed.
    """
    from cyclopts import App

    app = App(
        name="flowtrade",
        help="Flow trading: clear, check and make auctions; run and tend a service.",
    )
    for name, function in _COMMANDS.items():
        app.command(function, name=name)
    for name, where in _OPERATOR.items():
        app.command(where, name=name)  # imported when it is asked for
    config = App(name="config", help="The configuration of a server.")
    config.command("flowtrade.commands.serve:show_config", name="show")
    app.command(config)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code; 2 for arguments that do not fit."""
    try:
        app = make_app()
    except ModuleNotFoundError as error:
        sys.exit(f"flowtrade: {error}; install flowtrade[cli]")
    from cyclopts import CycloptsError

    try:
        code = app(arguments, exit_on_error=False, result_action="return_value")
    except CycloptsError:
        sys.exit(ExitCode.INVALID)  # cyclopts has said what is wrong
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing may be flushed to it now.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.DONE)
    except OSError as error:
        sys.stderr.write(f"flowtrade: {error.filename}: {error.strerror}\n")
        sys.exit(ExitCode.INVALID)
    sys.exit(int(code or ExitCode.DONE))
