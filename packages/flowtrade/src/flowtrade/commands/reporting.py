"""How a command that does one thing and ends reports what went wrong: in one line."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

from flowtrade.errors import FlowtradeError, RequestError, SchemaMismatch, StoreFailed
from flowtrade.program import EXIT_FAILED, EXIT_USAGE

__all__ = ["one_line", "program_name"]

_P = ParamSpec("_P")


def program_name() -> str:
    """Return what the running program is called, for the head of a line."""
    name = Path(sys.argv[0]).name
    return "flowtrade" if name in {"__main__.py", "-c", ""} else name


def one_line(command: Callable[_P, int]) -> Callable[_P, int]:
    """Turn our errors and the system's into a line on stderr and an exit code.

    2 for what the user can mend before trying again, 1 for the rest.
    """

    @wraps(command)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> int:
        try:
            return command(*args, **kwargs)
        except (RequestError, SchemaMismatch, StoreFailed) as error:
            return _complain(str(error), EXIT_USAGE)
        except FlowtradeError as error:
            return _complain(str(error), EXIT_FAILED)
        except BrokenPipeError:
            raise
        except OSError as error:
            return _complain(f"{error.filename}: {error.strerror}", EXIT_USAGE)

    return run


def _complain(what: str, code: int) -> int:
    sys.stderr.write(f"{program_name()}: {' '.join(what.split())}\n")
    return code
