"""The one part of the build that is code: an extension that may be missing.

`netcore.ws._speedups` is compiled where there is a C compiler. Where there is none the
build warns and goes on, and the package does the same in plain Python. The build is
told not to try by NETCORE_PURE=1. All else stands in pyproject.toml.
"""

import os

from setuptools import (  # pyright: ignore[reportMissingModuleSource] - the build's
    Extension,
    setup,
)

SPEEDUPS = Extension(
    "netcore.ws._speedups",
    ["src/netcore/ws/_speedups.py"],  # made into C by Cython, a build requirement
    depends=["src/netcore/ws/_speedups.pxd"],
    extra_compile_args=["-O3", "-g0"] if os.name == "posix" else [],
    optional=True,
)
WANTED = os.environ.get("NETCORE_PURE", "0") in {"", "0"}

setup(
    ext_modules=[SPEEDUPS] if WANTED else [],
    # The generated C belongs to the build, not beside the source.
    options={"build_ext": {"cython_c_in_temp": "1"}},
)
