"""Options that several commands share, and what becomes of them."""

import argparse
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from integration.cli.targets import exchange_id, parse_kind, parse_target
from integration.errors import DataError, UnsupportedSubscription
from integration.models import SubKind, Subscription
from netcore.cli.arguments import positive, whole
from netcore.cli.exits import Exit, UsageFault

if TYPE_CHECKING:
    from integration.market.config import StreamConfig
    from integration.market.streams import MarketStreams
    from netcore.cli.talk import Interrupts

__all__ = [
    "EXIT_TEXT",
    "TARGETS",
    "add_end",
    "add_urls",
    "kind",
    "new_parser",
    "open_streams",
    "pairs",
    "run_until_told",
    "stream_config",
    "subscription",
    "subscriptions_of",
]

EXIT_TEXT: Final = (
    "exit codes:\n"
    f"  {Exit.DONE:>3}  done, also when Ctrl-C or SIGTERM ended what has no end\n"
    f"  {Exit.FAILED:>3}  the venue failed or refused, or a recording is damaged\n"
    f"  {Exit.USAGE:>3}  the command is wrong, or something on this machine is\n"
    f"  {Exit.INTERRUPTED:>3}  interrupted before it was done\n"
)

_URL_FORM: Final = "EXCHANGE=URL"

TARGETS: Final = """\
targets:
  EXCHANGE:BASE/QUOTE[.perpetual][:KIND], or EXCHANGE:SYMBOL[:KIND] with the venue's
  symbol. KIND is trades, l1, l2, funding, mark, index, oi, or any that
  `integration venues` lists.

"""


def new_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    *,
    summary: str,
    epilog: str,
) -> argparse.ArgumentParser:
    """Add the parser of a command, with its examples and the exit codes."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"{epilog}\n{EXIT_TEXT}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="JSON lines")
    return parser


def add_urls(parser: argparse.ArgumentParser) -> None:
    """Add where venues are, if not where they always are."""
    group = parser.add_argument_group("connection")
    group.add_argument(
        "--websocket-url",
        action="append",
        default=[],
        metavar=_URL_FORM,
        help="instead of the venue's own: a testnet, a simulator; repeatable",
    )
    group.add_argument("--rest-url", action="append", default=[], metavar=_URL_FORM)
    group.add_argument(
        "--lines",
        type=whole,
        default=1,
        metavar="N",
        help="connections that carry the same; the first copy counts",
    )
    group.add_argument(
        "--line-url",
        action="append",
        default=[],
        metavar=_URL_FORM,
        help="of the second line, then of the third, ...; by default the first's",
    )


def add_end(parser: argparse.ArgumentParser, *, what: str) -> None:
    """Add when to stop."""
    parser.add_argument("--count", type=whole, metavar="N", help=f"stop after N {what}")
    parser.add_argument(
        "--seconds", type=positive, metavar="S", help="stop after so long"
    )


def pairs(texts: Iterable[str], *, form: str = "NAME=VALUE") -> dict[str, str]:
    """Read what was given as ``NAME=VALUE``.

    Raises:
        UsageFault: it was not.
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageFault(f"{text!r}: expected {form}")
        found[name] = value
    return found


def kind(text: str) -> SubKind:
    """Read a kind of data."""
    try:
        return parse_kind(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def subscription(text: str, default: SubKind) -> Subscription:
    """Read a target.

    Raises:
        UsageFault: it is none, or its symbol is not the venue's.
        UnsupportedSubscription: the venue has no such thing.
    """
    try:
        return parse_target(text, default=default)
    except UnsupportedSubscription:
        raise
    except (ValueError, DataError) as error:
        raise UsageFault(f"{text!r}: {error}") from error


def stream_config(options: argparse.Namespace) -> "StreamConfig":
    """Return how streams are to behave.

    Raises:
        UsageFault: The options do not fit together.
    """
    from integration.market.config import StreamConfig

    further: dict[str, tuple[str, ...]] = {}
    for text in options.line_url:
        for exchange, url in _urls([text]).items():
            further[exchange] = (*further.get(exchange, ()), url)
    websocket_url, rest_url = _urls(options.websocket_url), _urls(options.rest_url)
    try:
        return StreamConfig(
            websocket_url=websocket_url,
            rest_url=rest_url,
            lines=options.lines,
            line_url=further,
        )
    except ValueError as error:
        raise UsageFault(str(error)) from error


def _urls(texts: Iterable[str]) -> dict[str, str]:
    """Read URLs by exchange: one for nobody would leave the venue's own in use."""
    found = pairs(texts, form=_URL_FORM)
    try:
        return {exchange_id(name).value: url for name, url in found.items()}
    except ValueError as error:
        raise UsageFault(str(error)) from error


@asynccontextmanager
async def open_streams(
    options: argparse.Namespace, subscriptions: Iterable[Subscription]
) -> AsyncIterator["MarketStreams"]:
    """Open streams, recorded if that was asked for."""
    from integration.market.streams import open_market_streams
    from integration.recording import open_recording

    config, folder = stream_config(options), options.record
    if folder is None:
        async with open_market_streams(subscriptions, config=config) as streams:
            yield streams
        return
    async with open_recording(Path(folder), subscriptions, config=config) as recording:
        yield recording.streams


def run_until_told(
    work: Callable[[], Awaitable[None]], *, seconds: float | None = None
) -> None:
    """Run what has no end of its own until Ctrl-C, SIGTERM or so many seconds."""
    import trio

    from netcore.cli.talk import run_interruptible

    async def run(interrupts: "Interrupts") -> None:
        with (
            interrupts.talking(),
            trio.move_on_after(float("inf") if seconds is None else seconds),
        ):
            await work()

    trio.run(run_interruptible, run)


def subscriptions_of(
    texts: Sequence[str], default: SubKind = SubKind.PUBLIC_TRADES
) -> list[Subscription]:
    """Read targets (see `subscription`)."""
    return [subscription(text, default) for text in texts]
