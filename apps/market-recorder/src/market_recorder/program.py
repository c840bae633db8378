"""Running: signals, log lines, exit codes. Knows neither recordings nor arguments.

Exit codes: 0 stopped as asked, 1 something failed while running, 2 what the user
gave cannot be used.
"""

import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog
import trio

__all__ = [
    "EXIT_FAILED",
    "EXIT_USAGE",
    "complain",
    "configure_logging",
    "run_program",
]

_log = logging.getLogger(__name__)

EXIT_FAILED = 1
EXIT_USAGE = 2


def configure_logging(*, json: bool | None = None, debug: bool = False) -> None:
    """Send log lines of this program and its libraries to stderr.

    Args:
        json: One JSON object a line; None: unless stderr is a terminal.
        debug: Whether to show what libraries say about single connections.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.types.Processor = structlog.dev.ConsoleRenderer()
    if as_json:
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                renderer,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    # These two report every connection and every frame.
    for chatty in ("httpx", "httpcore", "trio-websocket"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    if debug:
        logging.getLogger("integration").setLevel(logging.DEBUG)


def run_program(
    name: str,
    main: Callable[[trio.Event], Awaitable[None]],
    *,
    usage_errors: tuple[type[Exception], ...],
    run_errors: tuple[type[Exception], ...] = (),
) -> int:
    """Run `main` under trio until it returns.

    The first SIGINT or SIGTERM sets the event given to `main`, which then returns in
    its own time; a second one cancels it.

    Args:
        name: Put before the one line that says what went wrong.
        main: Gets the event that asks it to stop.
        usage_errors: What the user can mend: exit code 2.
        run_errors: What the world did: exit code 1. Anything else is a bug and keeps
            its traceback.

    Returns:
        The exit code.
    """
    try:
        trio.run(_supervise, main)
    except BaseException as error:  # sorted here; what is no expected error goes on
        leaves = _leaves(error)
        for kinds, code in ((usage_errors, EXIT_USAGE), (run_errors, EXIT_FAILED)):
            if all(isinstance(leaf, kinds) for leaf in leaves):
                complain(name, leaves[0])
                return code
        raise
    return 0


def complain(name: str, error: BaseException) -> None:
    """Say on stderr, in one line, what went wrong."""
    text = " ".join(str(error).split()) or type(error).__name__
    sys.stderr.write(f"{name}: {text}\n")


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


async def _supervise(main: Callable[[trio.Event], Awaitable[None]]) -> None:
    stop = trio.Event()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_listen, signals, stop, nursery.cancel_scope)
            await main(stop)
            nursery.cancel_scope.cancel()


async def _listen(
    signals: AsyncIterator[int], stop: trio.Event, scope: trio.CancelScope
) -> None:
    async for number in signals:
        _log.info("stopping", extra={"signal": signal.Signals(number).name})
        if stop.is_set():
            scope.cancel()
        stop.set()
