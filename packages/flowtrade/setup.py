"""The one part of the build that is code: an extension that may be missing.

`flowtrade.clearing._speedups` is compiled where there is a C compiler. Where there is
none the build warns and goes on, and the package does the same in plain Python. The
build is told not to try by FLOWTRADE_PURE=1. All else stands in pyproject.toml.
"""

import os

from setuptools import (  # pyright: ignore[reportMissingModuleSource] - the build's
    Extension,
    setup,
)

# Never a product and a sum rounded as one: NumPy's loops give the same bits.
FLAGS = ["-O3", "-g0", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
SPEEDUPS = Extension(
    "flowtrade.clearing._speedups",
    ["src/flowtrade/clearing/_speedups.py"],  # made into C by Cython, for the build
    depends=["src/flowtrade/clearing/_speedups.pxd"],
    extra_compile_args=FLAGS if os.name == "posix" else [],
    optional=True,
)
WANTED = os.environ.get("FLOWTRADE_PURE", "0") in {"", "0"}

setup(
    ext_modules=[SPEEDUPS] if WANTED else [],
    # The generated C belongs to the build, not beside the source.
    options={"build_ext": {"cython_c_in_temp": "1"}},
)
