"""Running a program: signals, one clear line for what went wrong, exit codes.

0 stopped as asked · 1 something failed while running · 2 the arguments, the
configuration, the port or a file cannot be used · 130 interrupted twice.

Knows no command line library; whoever parses arguments calls `run_program`.
"""

import logging
import sys
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from flowtrade.serve.signals import stop_on_signals

__all__ = ["EXIT_FAILED", "EXIT_INTERRUPTED", "EXIT_USAGE", "causes", "run_program"]

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it

_log = logging.getLogger(__name__)


def causes(error: BaseException) -> list[BaseException]:
    """Return the errors at the leaves of nested exception groups, in order."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in causes(inner)]
    return [error]


def run_program(
    name: str,
    main: Callable[[trio.Event], Awaitable[None]],
    *,
    usage_errors: tuple[type[Exception], ...] = (),
    run_errors: tuple[type[Exception], ...] = (),
) -> int:
    """Run `main` under trio until it returns; return the exit code.

    The first SIGINT or SIGTERM sets the event that `main` is given; `main` then has
    to return. A second one ends the program where it stands.

    Args:
        name: The program's name, put before its one line on stderr.
        main: Gets the event that asks it to stop.
        usage_errors: What the user can mend before starting again: one line, code 2.
        run_errors: What the world did: one line, code 1. Any other error is a bug of
            ours and is shown with its traceback, code 1.
    """
    try:
        trio.run(_supervise, main)
    except BaseException as error:  # sorted below; a bug is re-raised
        leaves = causes(error)
        if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
            return EXIT_INTERRUPTED
        for kinds, code in ((usage_errors, EXIT_USAGE), (run_errors, EXIT_FAILED)):
            expected = [leaf for leaf in leaves if isinstance(leaf, kinds)]
            if len(expected) == len(leaves):
                sys.stderr.write(f"{name}: {_one_line(expected[0])}\n")
                return code
        _log.exception("%s failed", name)
        raise
    return 0


async def _supervise(main: Callable[[trio.Event], Awaitable[None]]) -> None:
    shutdown = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(stop_on_signals, shutdown))
        await main(shutdown)
        nursery.cancel_scope.cancel()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
