"""Importing a bare package, or models, loads no server, solver or event loop."""

import subprocess
import sys

import pytest

HEAVY = {
    "highspy",
    "httpx",
    "litestar",
    "numpy",
    "polars",
    "scipy",
    "trio",
}


@pytest.mark.parametrize(
    "module",
    [
        "netcore",
        "netcore.models",
        "netcore.ws",
        "integration",
        "integration.models",
        "flowtrade",
        "flowtrade.models",
    ],
)
def test_importing_it_loads_no_heavy_library(module):
    program = f"import sys, {module}; print(*sorted(sys.modules))"

    done = subprocess.run(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert HEAVY.isdisjoint(done.stdout.split())
