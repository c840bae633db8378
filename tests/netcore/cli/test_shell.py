"""The shell: what errors and interruptions become, and that it starts light."""

import os
import subprocess
import sys

import pytest

from netcore.cli import main, shell
from netcore.cli.exits import Exit, NetcoreExit, UsageFault, exit_of
from netcore.errors import (
    BufferFull,
    ConnectError,
    HandshakeError,
    InvalidURL,
    RecordingError,
)

GUARD_SECONDS = 300  # against hanging; nothing asserts a duration
COMMANDS = ("ws", "record", "replay", "inspect", "rtt", "fix")


def command(*arguments: str, **how) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-m", "netcore.cli", *arguments],
        capture_output=True, text=True, check=False, timeout=GUARD_SECONDS, **how,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageFault("x"), Exit.USAGE),
        (InvalidURL("x"), Exit.USAGE),
        (BufferFull(1, 2, 3), Exit.USAGE),
        (ConnectError("x"), Exit.FAILED),
        (HandshakeError(403), Exit.FAILED),
        (RecordingError("x"), Exit.FAILED),
        (FileNotFoundError(2, "No such file"), Exit.USAGE),
        (NetcoreExit(Exit.INTERRUPTED), Exit.INTERRUPTED),
        (ZeroDivisionError(), None),
    ],
)
def test_each_error_has_its_code(error, code):
    assert exit_of(error) is code


@pytest.fixture
def failing(monkeypatch):
    """Make every command raise what the test wants."""

    def raising(error: BaseException) -> None:
        def run(options, output):
            raise error

        class Namespace:
            json = False
            command = staticmethod(run)

        class Parser:
            def parse_args(self, arguments):
                return Namespace

        monkeypatch.setattr(shell, "parser", Parser)

    return raising


def test_an_error_is_one_line_without_a_traceback(failing, capsys):
    failing(HandshakeError(403, message="refused\nwith \x1b[31mcolour"))

    assert main([]) == 1
    assert capsys.readouterr().err == "netcore: refused\\x0awith \\x1b[31mcolour\n"


def test_a_file_that_is_not_there_is_named(failing, capsys):
    failing(FileNotFoundError(2, "No such file or directory", "/no/where"))

    assert main([]) == 2
    assert capsys.readouterr().err == "netcore: /no/where: No such file or directory\n"


def test_a_bug_is_shown_as_one(failing):
    failing(ZeroDivisionError("ours"))

    with pytest.raises(ZeroDivisionError):
        main([])


def test_an_interruption_has_its_own_code(failing, capsys):
    failing(KeyboardInterrupt())

    assert main([]) == 130
    assert capsys.readouterr().err == ""


def test_a_misspelt_command_ends_with_2(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["nonsense"])

    assert caught.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_has_examples_and_exit_codes(name, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*name.split(), "--help"])

    shown = capsys.readouterr().out
    assert caught.value.code == 0
    assert f"  netcore {name}" in shown
    assert "examples:" in shown
    assert "exit codes:" in shown
    assert "130  interrupted" in shown


def test_starting_loads_no_event_loop_and_no_tls():
    program = "import sys, netcore.cli.shell as s; s.parser(); print(*sys.modules)"
    done = subprocess.run(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())

    assert loaded.isdisjoint({"trio", "ssl", "asyncio", "netcore.ws", "netcore.fix"})


def test_it_runs_as_a_module_and_in_any_locale(tmp_path):
    log = tmp_path / "x.log"
    log.write_bytes(b"nothing of FIX\n")
    done = command("fix", str(log), env={**os.environ, "LC_ALL": "C"})

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "netcore: 0 messages, 0 garbled, 15 bytes of other text\n"


def test_a_reader_that_leaves_ends_it_quietly(tmp_path):
    message = b"8=FIX.4.4|9=5|35=0|10=163|\n"
    log = tmp_path / "long.log"
    log.write_bytes(message * 20_000)
    writer = subprocess.Popen(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-m", "netcore.cli", "fix", str(log), "--brief"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert writer.stdout is not None
    assert writer.stderr is not None
    with writer.stdout, writer.stderr:
        assert writer.stdout.readline().startswith(b"byte 0")
        writer.stdout.close()
        assert writer.stderr.read() == b""
    assert writer.wait(GUARD_SECONDS) == 0


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("ws ws://127.0.0.1:1 <&-", "input"),
        ("fix - <&-", "input"),
        ("fix x --json >&-", "output"),
    ],
)
def test_a_channel_that_is_closed_is_told(line, missing):
    done = subprocess.run(  # noqa: S603 - our own interpreter and program
        ["/bin/sh", "-c", f'"{sys.executable}" -m netcore.cli {line}'],
        capture_output=True, text=True, check=False, timeout=GUARD_SECONDS,
    )  # fmt: skip

    assert done.returncode == 2
    assert done.stderr == f"netcore: there is no standard {missing}\n"
