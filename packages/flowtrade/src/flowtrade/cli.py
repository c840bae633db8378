"""`flowtrade`: the offline tool's and the operator's commands, from the command line.

Arguments are parsed by cyclopts, which comes with the extra `flowtrade[cli]`; what the
commands do is in `flowtrade.clearing.cli` and `flowtrade.commands`.
"""

import os
import sys
from difflib import get_close_matches
from typing import TYPE_CHECKING

from netcore.cli.exits import Exit

if TYPE_CHECKING:
    from cyclopts import App

__all__ = ["main", "make_app"]

_COMMANDS: dict[str, tuple[str, str]] = {
    "solve": ("clearing.cli:solve_auction", "Clear an auction file."),
    "verify": (
        "clearing.cli:verify_batch",
        "Check a batch written by `solve --full`, trusting none of it.",
    ),
    "export": ("clearing.cli:export_auction", "Write an auction for other solvers."),
    "generate": ("clearing.cli:generate_auction", "Write a realistic auction."),
    "bench": ("clearing.cli:bench_markets", "Time the clearing of generated markets."),
    "serve": ("commands.serve:serve", "Run the server until SIGINT or SIGTERM."),
    "token": ("commands.tokens:make_token", "Write a bearer token to stdout."),
    "keygen": (
        "commands.tokens:make_key",
        "Make a key pair: a private JWK, and its public part added to a key set.",
    ),
    "schema": (
        "commands.describe:write_schema",
        "Write the OpenAPI 3.1 description of the service as JSON.",
    ),
    "migrate": (
        "commands.stores:migrate",
        "Bring a store up to this program's schema, or make an empty one.",
    ),
    "backup": (
        "commands.stores:backup",
        "Copy a SQLite store to a new file, also while a server writes to it.",
    ),
    "replay": (
        "commands.stores:replay",
        "Solve stored batches again from the history and compare bit for bit.",
    ),
    "settle": (
        "commands.stores:settle",
        "Settle a range of batches: whole lots and money, by bidder, as JSON.",
    ),
}
"""Where each command is, and what is said of it before it is imported.

Solver and server take a second to load, which who asks for help has no use for.
"""

_CONFIG = "config"
_SHOW = (
    "commands.serve:show_config",
    "Show every setting with its value and where it comes from.",
)


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
    for name, (where, about) in _COMMANDS.items():
        app.command(f"flowtrade.{where}", name=name, help=about)
    config = App(name=_CONFIG, help="The configuration of a server.")
    where, about = _SHOW
    config.command(f"flowtrade.{where}", name="show", help=about)
    app.command(config)
    return app


def _names_nothing(word: str) -> bool:
    """Say on stderr, and return, that no command has this name.

    The parser would say it as well, but load all commands first.
    """
    names = [*_COMMANDS, _CONFIG]
    if word.startswith("-") or word in names:
        return False
    near = get_close_matches(word, names, n=1)
    meant = f"; did you mean {near[0]}?" if near else f": there are {', '.join(names)}"
    sys.stderr.write(f"flowtrade: no command {word!r}{meant}\n")
    return True


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code; 2 for arguments that do not fit."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and _names_nothing(arguments[0]):
        sys.exit(Exit.USAGE)
    try:
        app = make_app()
    except ModuleNotFoundError as error:
        sys.exit(f"flowtrade: {error}; install flowtrade[cli]")
    from cyclopts import CycloptsError

    try:
        code = app(arguments, exit_on_error=False, result_action="return_value")
    except CycloptsError:
        sys.exit(Exit.USAGE)  # cyclopts has said what is wrong
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing may be flushed to it now.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.DONE)
    except OSError as error:
        sys.stderr.write(f"flowtrade: {error.filename}: {error.strerror}\n")
        sys.exit(Exit.USAGE)
    sys.exit(int(code or Exit.DONE))
