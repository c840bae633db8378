"""Say whether compiled `flowtrade.clearing._speedups` are there and wanted.

What may live here: the choice, made once at import. The modules that have loops in
`_speedups` have the same in NumPy, and all works without.
"""

import os
from importlib.machinery import ExtensionFileLoader
from typing import Final

from flowtrade.clearing import _speedups

__all__ = ["BUILT", "COMPILED"]

BUILT: Final = isinstance(getattr(_speedups, "__loader__", None), ExtensionFileLoader)
"""Whether the package was installed where there was a C compiler."""

COMPILED: Final = BUILT and os.environ.get("FLOWTRADE_PURE", "0") in {"", "0"}
"""Whether compiled loops are used; FLOWTRADE_PURE=1 forbids it."""
