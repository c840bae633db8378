"""`auction-server`: the service as a program of its own; the same as `flowtrade serve`.

Exit codes: 0 stopped as asked, 1 something failed while running, 2 the port,
configuration or store cannot be used.
"""

import sys

from cyclopts import App, CycloptsError

from flowtrade.commands.serve import serve
from flowtrade.program import EXIT_USAGE

__all__ = ["app", "main"]

app = App(
    name="auction-server",
    help="Run flow-trading auctions: API, schedule, store and market data.",
)
app.default(serve)


def main() -> None:
    """Run the command line and exit."""
    try:
        code = app(exit_on_error=False, result_action="return_value")
    except CycloptsError:
        sys.exit(EXIT_USAGE)  # cyclopts has said what is wrong
    sys.exit(code if isinstance(code, int) else 0)
