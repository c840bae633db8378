"""Running a program: signals, one clear line for what went wrong, exit codes, logs.

0 stopped as asked · 1 something failed while running · 2 the arguments, the
configuration, the port or a file cannot be used · 130 interrupted twice.

Knows no command line library and no domain; whoever parses arguments calls
`run_program`. `configure_logging` needs structlog, which programs depend on and
libraries do not.
"""

import logging
import signal
import sys
from collections.abc import Awaitable, Callable

import trio

__all__ = [
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_USAGE",
    "causes",
    "complain",
    "configure_logging",
    "run_program",
    "stop_on_signals",
]

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it

_log = logging.getLogger(__name__)


def causes(error: BaseException) -> list[BaseException]:
    """Return the errors at the leaves of nested exception groups, in order."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in causes(inner)]
    return [error]


def complain(name: str, error: BaseException) -> None:
    """Say on stderr, in one line, what went wrong."""
    text = " ".join(str(error).split()) or type(error).__name__
    sys.stderr.write(f"{name}: {text}\n")


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
            if all(isinstance(leaf, kinds) for leaf in leaves):
                complain(name, leaves[0])
                return code
        _log.exception("%s failed", name)
        raise
    return 0


async def stop_on_signals(
    shutdown: trio.Event,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Set `shutdown` at the first SIGTERM or SIGINT.

    Raises:
        KeyboardInterrupt: At the second one.
    """
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            if shutdown.is_set():
                raise KeyboardInterrupt
            _log.info("stopping", extra={"signal": signal.Signals(number).name})
            shutdown.set()


def configure_logging(*, json: bool | None = None, debug: bool = False) -> None:
    """Send log lines of this program and its libraries to stderr.

    Args:
        json: One JSON object a line; None: unless stderr is a terminal.
        debug: Whether to show what libraries say about single connections.
    """
    import structlog  # late: only programs have it

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


async def _supervise(main: Callable[[trio.Event], Awaitable[None]]) -> None:
    shutdown = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(stop_on_signals, shutdown)
        await main(shutdown)
        nursery.cancel_scope.cancel()
