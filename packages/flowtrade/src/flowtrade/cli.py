"""`flowtrade`: the offline tool's commands, from the command line.

Arguments are parsed by cyclopts, which comes with the extra `flowtrade[cli]`; what the
commands do is in `flowtrade.clearing.cli`.
"""

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


def make_app() -> "App":
    """Return the command line's application.

    Raises:
        ModuleNotFoundError: The extra `cli` is not installed.
    """
    from cyclopts import App

    app = App(
        name="flowtrade", help="Clear, check, write and make auctions; no server."
    )
    for name, function in _COMMANDS.items():
        app.command(function, name=name)
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
    except OSError as error:
        sys.stderr.write(f"flowtrade: {error.filename}: {error.strerror}\n")
        sys.exit(ExitCode.INVALID)
    sys.exit(int(code or ExitCode.DONE))
