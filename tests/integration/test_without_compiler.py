"""The package is built, and reads the same, where there is no C compiler.

Builds the source distribution, and out of that the wheel, with a compiler that fails.
The whole suite runs against such an installation with

    CC=/bin/false uv build packages/integration --out-dir /tmp/plain
    python -m zipfile -e /tmp/plain/*.whl /tmp/plain
    PYTHONPATH=/tmp/plain python -m pytest tests/integration

and with what was compiled left unused with INTEGRATION_PURE=1 in the environment.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "packages/integration"
BINARIES = {".so", ".pyd", ".dylib", ".c", ".o"}

READS = """
import integration, sys
from pathlib import Path
from integration.market import _speedups, speedups
from integration.market.books import BookState
from integration.market.playback import Playback
from integration.models import ExchangeId

assert Path(integration.__file__).is_relative_to(sys.argv[1]), integration.__file__
assert _speedups.__file__.endswith(".py"), _speedups.__file__
assert not speedups.COMPILED
playback = Playback(ExchangeId.BINANCE_SPOT)
trade = (b'{"e":"trade","E":1,"s":"BTCUSDT","t":7,"p":"10.5","q":"2","T":1,"m":true,'
         b'"M":true}')
depth = b'{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":2,"u":3,"b":[["10.0","3"]],"a":[]}'
image = b'{"lastUpdateId":1,"bids":[["10.0","1"],["9.5","1"]],"asks":[["10.5","1"]]}'
(event,) = playback.feed(trade, 5)
playback.feed_image(image, 5, symbol="BTCUSDT")
playback.feed(depth, 6)
(book,) = playback.books.values()
print(event.kind.price, book.state, book.raw_bids(), book.raw_asks())
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
    leave = shutil.ignore_patterns("build", "*.egg-info", "*.so", "__pycache__")
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
    assert Path("integration/market/_speedups.py") in names
    assert {name.suffix for name in names} & BINARIES == set()
    assert list(place.glob("*.tar.gz"))


def test_what_was_built_reads_trades_and_books(built, tmp_path):
    place, _ = built
    (wheel,) = place.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = f"import sys; sys.path.insert(0, sys.argv[1]){READS}"

    done = subprocess.run(  # noqa: S603  our own interpreter and code
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout == ("10.5 live [('10.0', '3'), ('9.5', '1')] [('10.5', '1')]\n")
