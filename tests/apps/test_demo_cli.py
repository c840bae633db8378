"""The demo as a user runs it: a process, its output, its exit codes."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

GUARD_SECONDS = 300  # against hanging; nothing asserts a duration
DEMO = [str(Path(sys.executable).with_name("flowtrade-demo"))]


def run(*args):
    return subprocess.run(  # noqa: S603  # our own program
        [*DEMO, *args],
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        check=False,
    )


def lines(output):
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture
def live():
    """A live demo, its first line already read."""
    with subprocess.Popen(  # noqa: S603  # our own program
        [*DEMO, "--port", "0", "--every", "0.2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        started = json.loads(process.stdout.readline())
        try:
            yield process, started["url"]
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_even_while_a_page_is_open(live, number):
    process, url = live
    with (
        httpx.Client(timeout=GUARD_SECONDS) as client,
        client.stream("GET", f"{url}/updates") as page,
    ):
        chunks = page.iter_text()
        while "event: batch" not in next(chunks):
            pass
        process.send_signal(number)
        output, errors = process.communicate(timeout=GUARD_SECONDS)

    assert process.returncode == 0, errors
    assert lines(output)[-1] == {"event": "stopped"}
    assert "Traceback" not in errors


def test_the_page_and_its_files_are_served(live):
    _, url = live

    page = httpx.get(url, timeout=GUARD_SECONDS)

    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for path in ("app.js", "style.css", "vendor/uplot/uPlot.esm.js"):
        file = httpx.get(f"{url}/static/{path}", timeout=GUARD_SECONDS)
        assert file.status_code == 200


def test_without_a_terminal_it_speaks_json_lines():
    done = run("--lockstep", "--batches", "2", "--port", "0")

    assert done.returncode == 0, done.stderr
    events = lines(done.stdout)
    assert events[0]["event"] == "started"
    assert events[-1] == {"event": "stopped"}
    batches = [event for event in events if event["event"] == "batch"]
    assert [batch["seq"] for batch in batches] == [1, 2]
    assert {batch["certificate"]["status"] for batch in batches} == {"certified"}


def test_a_taken_port_is_one_line_and_code_2():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("--port", str(taken.getsockname()[1]))

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert str(taken) not in done.stderr
    assert "127.0.0.1" in done.stderr


@pytest.mark.parametrize("content", [None, b"no recording\n", b"\x1f\x8b broken"])
def test_an_unreadable_recording_is_one_line_and_code_2(tmp_path, content):
    path = tmp_path / "market.gz"
    if content is not None:
        path.write_bytes(content)

    done = run("--recording", str(path), "--port", "0")

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "market.gz" in done.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--every", "0"], "every"),
        (["--store", "carrier-pigeon:"], "store"),
        (["--symbols", "NOSUCH"], "NOSUCH"),
        (["--lockstep"], "batches"),
    ],
)
def test_an_invalid_configuration_is_one_line_and_code_2(args, says):
    done = run("--port", "0", *args)

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr


def test_an_unknown_option_is_code_2():
    assert run("--no-such-option").returncode == 2


@pytest.mark.parametrize("module", ["bidders.cli", "flowtrade_demo.cli"])
def test_who_asks_for_help_waits_for_no_house(module):
    program = f"import sys, {module}; print(*sys.modules)"

    done = subprocess.run(  # noqa: S603  # our own interpreter and program
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    heavy = {"httpx", "jwt", "litestar", "numpy", "scipy", "trio"}
    assert heavy.isdisjoint(done.stdout.split())
