"""Options that several commands share, and what becomes of them."""

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from netcore.cli.exits import Exit, UsageFault

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = [
    "EXIT_TEXT",
    "add_connection",
    "add_json",
    "add_messages",
    "fraction",
    "header_pair",
    "positive",
    "seconds",
    "standard_input",
    "tls_context",
    "whole",
]

EXIT_TEXT: Final = (
    "exit codes:\n"
    f"  {Exit.DONE:>3}  done\n"
    f"  {Exit.FAILED:>3}  the peer failed or went silent, or a file is damaged\n"
    f"  {Exit.USAGE:>3}  the command is wrong, or something on this machine is\n"
    f"  {Exit.INTERRUPTED:>3}  interrupted where there was nothing to finish\n"
)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add what every command has."""
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object per event"
    )


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add how to reach a WebSocket."""
    parser.add_argument("url", metavar="URL", help="ws://... or wss://...")
    group = parser.add_argument_group("connection")
    group.add_argument(
        "--header",
        action="append",
        default=[],
        type=header_pair,
        metavar="'NAME: VALUE'",
        help="a further header of the request; repeatable",
    )
    group.add_argument("--origin", metavar="ORIGIN", help="the Origin header")
    group.add_argument(
        "--subprotocol",
        action="append",
        default=[],
        metavar="NAME",
        help="a subprotocol to offer, the best first; repeatable",
    )
    group.add_argument(
        "--compress", action="store_true", help="offer permessage-deflate (RFC 7692)"
    )
    group.add_argument(
        "--timeout",
        type=positive,
        default=10.0,
        metavar="SECONDS",
        help="for connecting, TLS and the upgrade together (default: 10)",
    )
    tls = parser.add_argument_group("TLS")
    tls.add_argument(
        "--ca", metavar="FILE", help="trust the authorities of this PEM file instead"
    )
    tls.add_argument(
        "--cert", metavar="FILE", help="our certificate and its key, as PEM"
    )
    tls.add_argument(
        "--insecure", action="store_true", help="accept any certificate: for tests"
    )


def add_messages(parser: argparse.ArgumentParser) -> None:
    """Add what to say over a WebSocket and when to stop."""
    group = parser.add_argument_group("conversation")
    group.add_argument(
        "--send",
        action="append",
        default=[],
        metavar="TEXT",
        help="send a message once connected; repeatable",
    )
    group.add_argument(
        "--binary", action="store_true", help="send binary messages, not text"
    )
    group.add_argument(
        "--count", type=whole, metavar="N", help="close after N received messages"
    )
    group.add_argument(
        "--duration", type=positive, metavar="SECONDS", help="close after so long"
    )
    group.add_argument(
        "--silence",
        type=positive,
        metavar="SECONDS",
        help="fail if no message comes for so long",
    )
    group.add_argument(
        "--ping-interval",
        type=positive,
        metavar="SECONDS",
        help="send a ping so often, and fail if nothing answers",
    )
    group.add_argument(
        "--ping-timeout",
        type=positive,
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for an answer to a ping (default: 10)",
    )
    group.add_argument(
        "--overwrite", action="store_true", help="replace an older recording"
    )
    group.add_argument(
        "--quiet", action="store_true", help="say nothing beside messages and errors"
    )


def tls_context(options: argparse.Namespace) -> "SSLContext | None":
    """Return the context that the TLS options ask for, None for the default one.

    Raises:
        UsageFault: If a file cannot be read or holds no such thing.
    """
    # Not at the top: commands that connect nowhere need no TLS.
    from netcore.stream.tls import insecure_context, secure_context

    if options.insecure and options.ca:
        raise UsageFault("--insecure and --ca exclude each other")
    if not (options.insecure or options.ca or options.cert):
        return None
    try:
        context = insecure_context() if options.insecure else secure_context(options.ca)
    except OSError as exc:
        raise UsageFault(f"--ca {options.ca}: {_reason(exc)}") from exc
    if options.cert:
        try:
            context.load_cert_chain(Path(options.cert))
        except OSError as exc:
            raise UsageFault(f"--cert {options.cert}: {_reason(exc)}") from exc
    return context


def _reason(exc: OSError) -> str:
    # Those of OpenSSL are OSErrors with words of their own.
    reason = getattr(exc, "reason", None)
    return f"no PEM that can be used ({reason})" if reason else str(exc.strerror or exc)


def standard_input() -> TextIO:
    """Return standard input.

    Raises:
        UsageFault: If the process was started without one.
    """
    if sys.stdin is None:
        raise UsageFault("there is no standard input")
    return sys.stdin


# -- values --------------------------------------------------------------------------


def header_pair(text: str) -> tuple[str, str]:
    """Read ``NAME: VALUE``."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"expected 'NAME: VALUE', was {text!r}")
    return name.strip(), value.strip()


def whole(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"expected a whole number above 0, was {text!r}"
        )
    return int(text)


def positive(text: str) -> float:
    """Read a finite number above 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, was {text!r}")
    return value


def seconds(text: str) -> float:
    """Read a number of seconds from 0 on, or ``forever``."""
    if text == "forever":
        return math.inf
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(
            f"expected seconds from 0 on, or forever, was {text!r}"
        )
    return value


def fraction(text: str) -> float:
    """Read a number from 0 on."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number from 0 on, was {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, was {text!r}") from None
