"""Say whether compiled `integration.market._speedups` are there and wanted.

What may live here: the choice, made once at import. What is done with it is told by
`integration.market.shapes`; all works without.
"""

import os
from importlib.machinery import ExtensionFileLoader
from typing import Final

from integration.market import _speedups

__all__ = ["BUILT", "COMPILED"]

BUILT: Final = isinstance(getattr(_speedups, "__loader__", None), ExtensionFileLoader)
"""Whether the package was installed where there was a C compiler."""

COMPILED: Final = BUILT and os.environ.get("INTEGRATION_PURE", "0") in {"", "0"}
"""Whether compiled code reads trades; INTEGRATION_PURE=1 forbids it."""
