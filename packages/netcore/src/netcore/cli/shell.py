"""The command line `netcore`: which command, and what its errors mean.

Wiring only: each command is a module of this package that imports what it needs when
it runs, so that `--help` is there at once.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from netcore.cli import fix, inspect, record, replay, rtt, ws
from netcore.cli.arguments import EXIT_TEXT
from netcore.cli.exits import Exit, exit_of
from netcore.cli.output import Output, printable

__all__ = ["main", "parser"]

_EPILOG: Final = (
    """\
examples:
  netcore ws wss://venue.example/feed --send '{"op":"subscribe"}'
  netcore record wss://venue.example/feed feed --duration 60
  netcore inspect feed
  netcore replay feed --serve 127.0.0.1:8080
  netcore rtt wss://venue.example/feed
  netcore fix session.log

Results go to standard output, everything else to standard error.

"""
    + EXIT_TEXT
)

Command = Callable[[argparse.Namespace, Output], Exit]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code.

    Args:
        arguments: What follows the program's name; those of the process by default.
    """
    if sys.stdout is None:
        sys.stderr.write("netcore: there is no standard output\n")
        return Exit.USAGE
    _speak_utf8()
    options = parser().parse_args(arguments)
    output = Output(json=options.json, quiet=getattr(options, "quiet", False))
    command: Command = options.command
    try:
        return command(options, output)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Of our own output: those of sockets are mapped by the streams.
        _drop_output()
        return Exit.DONE
    except Exception as exc:
        code = exit_of(exc)
        if code is None:
            raise
        if str(exc):
            _say(exc)
        return code


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="netcore",
        description="WebSockets, recordings and FIX from the command line.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command in (ws, record, replay, inspect, rtt, fix):
        command.add_parser(commands)
    return top


def _say(error: Exception) -> None:
    """Print an error in one line."""
    text = printable(str(error), one_line=True)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = printable(f"{error.filename}: {error.strerror}", one_line=True)
    sys.stderr.write(f"netcore: {text}\n")


def _speak_utf8() -> None:
    """Make standard output take every character, whatever the locale."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="backslashreplace")


def _drop_output() -> None:
    """Let the interpreter flush into nothing: whoever read us has seen enough."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
