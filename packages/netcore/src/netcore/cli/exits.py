"""What the commands' exit codes mean, and which error has which.

What may live here: the table and nothing that prints.
"""

from enum import IntEnum
from typing import Final

from netcore.errors import LocalError, RecordingError, RemoteError

__all__ = ["Exit", "NetcoreExit", "UsageFault", "exit_of"]


class Exit(IntEnum):
    """The exit codes of every command."""

    DONE = 0
    """All that was asked for was done; also when nobody reads the output any more."""
    FAILED = 1
    """The peer refused, broke the rules or went silent; a file is damaged."""
    USAGE = 2
    """The command was misspelt, or something on this machine is missing."""
    INTERRUPTED = 130
    """Ctrl-C or SIGTERM came where there was nothing to finish (128 + SIGINT)."""


class UsageFault(Exception):
    """The command cannot be carried out as it was given."""


class NetcoreExit(Exception):
    """A command ends with another code than 0, and has said why.

    Attributes:
        code: The code.
    """

    def __init__(self, code: Exit) -> None:
        super().__init__(f"exit code {code.value}")
        self.code = code


_CODES: Final[tuple[tuple[type[Exception], Exit], ...]] = (
    (UsageFault, Exit.USAGE),
    (LocalError, Exit.USAGE),
    (RecordingError, Exit.FAILED),
    (RemoteError, Exit.FAILED),
    # What the streams do not map: files of the user's, and standard input.
    (OSError, Exit.USAGE),
)


def exit_of(error: Exception) -> Exit | None:
    """Return the code that `error` ends a command with, None if it is a bug."""
    if isinstance(error, NetcoreExit):
        return error.code
    return next((code for kind, code in _CODES if isinstance(error, kind)), None)
