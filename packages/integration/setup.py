"""The one part of the build that is code: an extension that may be missing.

`integration.market._speedups` is compiled where there is a C compiler. Where there is
none the build warns and goes on, and the package does the same in plain Python. The
build is told not to try by INTEGRATION_PURE=1. All else stands in pyproject.toml.
"""

import os

from setuptools import (  # pyright: ignore[reportMissingModuleSource] - the build's
    Extension,
    setup,
)

SPEEDUPS = Extension(
    "integration.market._speedups",
    ["src/integration/market/_speedups.py"],  # made into C by Cython, for the build
    depends=["src/integration/market/_speedups.pxd"],
    extra_compile_args=["-O3", "-g0"] if os.name == "posix" else [],
    optional=True,
)
WANTED = os.environ.get("INTEGRATION_PURE", "0") in {"", "0"}

setup(
    ext_modules=[SPEEDUPS] if WANTED else [],
    # The generated C belongs to the build, not beside the source.
    options={"build_ext": {"cython_c_in_temp": "1"}},
)
