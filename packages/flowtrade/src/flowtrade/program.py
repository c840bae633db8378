"""Running a program: `integration.program` under the names of this package."""

from integration.program import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    causes,
    run_program,
)

__all__ = ["EXIT_FAILED", "EXIT_INTERRUPTED", "EXIT_USAGE", "causes", "run_program"]
