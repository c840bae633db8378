"""Say whether the compiled loops of `netcore.ws._speedups` are there and wanted.

What may live here: the choice, made once at import. Which loop does what is told by
`netcore.ws.reader` and `netcore.ws.masking`; both work without.
"""

import os
from importlib.machinery import ExtensionFileLoader
from typing import Final

from netcore.ws import _speedups

__all__ = ["BUILT", "COMPILED"]

BUILT: Final = isinstance(getattr(_speedups, "__loader__", None), ExtensionFileLoader)
"""Whether the package was installed where there was a C compiler."""

COMPILED: Final = BUILT and os.environ.get("NETCORE_PURE", "0") in {"", "0"}
"""Whether frames are split and masked by compiled code; NETCORE_PURE=1 forbids it."""
