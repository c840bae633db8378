"""`flowtrade schema`: the OpenAPI description, without running a server."""

import sys
from pathlib import Path

import msgspec

from flowtrade.api.openapi import describe
from flowtrade.api.routes import ROUTES
from flowtrade.commands.reporting import one_line

__all__ = ["openapi_text", "write_schema"]


def openapi_text() -> str:
    """Return the description as it is checked in: indented JSON."""
    document = msgspec.json.encode(describe(ROUTES))
    return msgspec.json.format(document, indent=2).decode() + "\n"


@one_line
def write_schema(output: Path | None = None) -> int:
    """Write the OpenAPI 3.1 description of the service as JSON.

    Args:
        output: File, or `-` or nothing for stdout.
    """
    if output is None or str(output) == "-":
        sys.stdout.write(openapi_text())
    else:
        output.write_text(openapi_text())
    return 0
