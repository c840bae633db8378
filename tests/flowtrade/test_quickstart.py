"""The quick start does what it says: its shell blocks, run by bash with curl."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cyclopts")

DOCUMENT = Path(__file__).parents[2] / "docs" / "quickstart.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(
    shutil.which("curl") is None or shutil.which("bash") is None,
    reason="the quick start needs bash and curl",
)
def test_the_session_runs_as_it_stands(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
    script = "\n".join(BLOCK.findall(DOCUMENT.read_text())).replace("8080", port)
    done = subprocess.run(  # noqa: S603  # the project's own document
        ["bash", "-ec", script],  # noqa: S607  # wherever bash is
        cwd=tmp_path,
        env={
            "HOME": str(tmp_path),
            "NO_PROXY": "*",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(t) for t in re.findall(r'\{"results":.*?\]\}', done.stdout)]
    values = [page["results"][0]["value"] for page in found]
    assert values == [pytest.approx({"price": 11, "rate": 4})] * 2
    assert "refused, as it should be" in done.stdout
    assert '"identical": true' in done.stdout
    assert (tmp_path / "copy.db").exists()
    assert "Traceback" not in done.stderr
