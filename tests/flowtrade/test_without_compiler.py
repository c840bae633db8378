"""The package is built whole, and clears the same, where there is no C compiler.

Builds the source distribution, and out of that the wheel, with a compiler that fails.
The whole suite runs with what was compiled left unused with FLOWTRADE_PURE=1 in the
environment.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from flowtrade.clearing import clear
from flowtrade.clearing.generate import generate
from flowtrade.clearing.speedups import BUILT

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "packages/flowtrade"
BINARIES = {".so", ".pyd", ".dylib", ".c", ".o"}
LEFT_BEHIND = ("build", "*.egg-info", "*.so", "*.pyd", "__pycache__")

CLEARS = """
import flowtrade, sys
from pathlib import Path
from flowtrade.clearing import _speedups, clear, speedups
from flowtrade.clearing.generate import generate

assert Path(flowtrade.__file__).is_relative_to(sys.argv[1]), flowtrade.__file__
assert _speedups.__file__.endswith(".py"), _speedups.__file__
assert not speedups.COMPILED
print(clear(generate("mixed", 300, 20, seed=1)).digest)
"""


def uv():
    found = shutil.which("uv")
    if found is None:
        pytest.skip("uv, which builds packages, is not on the path")
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with what was built, and what the builder said."""
    place = tmp_path_factory.mktemp("built")
    leave = shutil.ignore_patterns(*LEFT_BEHIND)
    shutil.copytree(PACKAGE, place / "source", ignore=leave)
    kept = {k: v for k, v in os.environ.items() if not k.endswith("_PURE")}
    done = subprocess.run(  # noqa: S603  our own command
        [
            *(uv(), "build", "--offline", "--no-config", "--python", sys.executable),
            *(str(place / "source"), "--out-dir", str(place)),
        ],
        env={**kept, "CC": "/bin/false", "CXX": "/bin/false"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "offline" in done.stderr:
        pytest.skip("the build's own requirements are not in uv's cache")
    assert not done.returncode, done.stderr
    return place, done.stderr


def test_a_failing_compiler_is_a_warning_and_leaves_plain_python(built):
    place, said = built
    (wheel,) = place.glob("*.whl")
    names = [Path(name) for name in zipfile.ZipFile(wheel).namelist()]

    assert "_speedups" in said
    assert "failed" in said
    assert {name.suffix for name in names} & BINARIES == set()
    assert list(place.glob("*.tar.gz"))


def test_the_wheel_has_every_file_of_the_package(built):
    place, _ = built
    (wheel,) = place.glob("*.whl")
    source = place / "source/src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / "flowtrade").rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }

    assert any(name.endswith(".html") for name in wanted)
    assert wanted - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_what_was_built_clears_to_the_same_digest(built, tmp_path):
    place, _ = built
    (wheel,) = place.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = f"import sys; sys.path.insert(0, sys.argv[1]){CLEARS}"

    done = subprocess.run(  # noqa: S603  our own interpreter and code
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout.strip() == clear(generate("mixed", 300, 20, seed=1)).digest


@pytest.mark.parametrize("pure", [None, "1"])
def test_the_environment_may_forbid_compiled_code(pure):
    env = {key: value for key, value in os.environ.items() if key != "FLOWTRADE_PURE"}
    if pure is not None:
        env["FLOWTRADE_PURE"] = pure
    code = "from flowtrade.clearing.speedups import COMPILED; print(COMPILED)"
    done = subprocess.run(  # noqa: S603  our own code in our own interpreter
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == str(BUILT and pure != "1")
