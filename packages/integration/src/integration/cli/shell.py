"""The command line `integration`: which command, and what its errors mean.

Wiring only: each command is a module of this package that imports what it needs when
it runs, and everything it does can be had from the package as well.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from integration.cli import book, record, replay, sign, venues, watch
from integration.cli.arguments import EXIT_TEXT
from integration.cli.output import note
from integration.errors import IntegrationError, LocalError, UnsupportedSubscription
from integration.recording import FolderFault, RecordingFault
from netcore.cli.exits import Exit, NetcoreExit, UsageFault

__all__ = ["main", "parser"]

_EPILOG: Final = (
    """\
examples:
  integration venues
  integration watch binance_spot:btc/usdt okx:btc/usdt:l1
  integration book okx:btc/usdt
  integration record okx:btc/usdt:l2 --folder run --seconds 60
  integration replay run
  integration sign bybit GET /v5/order/realtime --param symbol=BTCUSDT

Results go to standard output, everything else to standard error.

"""
    + EXIT_TEXT
)

Command = Callable[[argparse.Namespace], Exit]

_CODES: Final[tuple[tuple[type[Exception], Exit], ...]] = (
    (UsageFault, Exit.USAGE),
    (FolderFault, Exit.USAGE),
    (RecordingFault, Exit.FAILED),
    (LocalError, Exit.USAGE),
    (UnsupportedSubscription, Exit.USAGE),
    (IntegrationError, Exit.FAILED),
)
"""What cannot be asked for, or done here, is the user's to mend; the first counts."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code.

    Args:
        arguments: what follows the program's name; those of the process by default.
    """
    options = parser().parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except NetcoreExit as error:
        return error.code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has seen enough; nothing is left to be flushed.
        _drop_output()
        return Exit.DONE
    except (UsageFault, IntegrationError) as error:
        note(str(error))
        return next(code for kind, code in _CODES if isinstance(error, kind))


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="integration",
        description="Market data of many venues, one vocabulary.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command in (watch, record, replay, book, venues, sign):
        command.add_parser(commands)
    return top


def _drop_output() -> None:
    """Let the interpreter flush into nothing: whoever read us has seen enough."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
