"""The sessions in the handbook, run as they stand there."""

import re
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from netcore.testing import reserved_port

HANDBOOK = Path(__file__).resolve().parents[3] / "docs" / "cli-netcore.md"


async def venue(ws):
    """Do as the handbook says of its venue."""
    ws.send_text('{"type":"hello"}')
    async for _ in ws:
        ws.send_many(
            [
                '{"type":"trade","price":"61000.5","size":"0.01"}',
                '{"type":"trade","price":"61001.0","size":"0.2"}',
            ]
        )
        ws.send_binary(b"\x00\x01bin")


def sessions() -> list[tuple[str, list[str]]]:
    """Return the commands of the handbook and what follows each."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(
        r"^```console\n(.*?)^```", HANDBOOK.read_text(), re.M | re.S
    ):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def pattern(lines: list[str]) -> str:
    """Return a regular expression: `...` is anything, as a whole line any lines."""
    parts = []
    for line in lines:
        if line == "...":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(re.escape(line).replace(re.escape("..."), ".*?") + r"\n")
    return "".join(parts)


@pytest.fixture
def port():
    """Where the handbook's own server is to listen."""
    with reserved_port() as port:
        yield port


@pytest.fixture
def shell(tmp_path):
    """Run a line of the handbook in a folder of its own; return code and output."""
    program = tmp_path / "bin" / "netcore"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m netcore.cli "$@"\n')
    program.chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()

    async def run(line: str) -> tuple[int, str]:
        done = await trio.run_process(
            ["/bin/sh", "-c", f'PATH="{program.parent}:$PATH"; {line}'],
            capture_stdout=True, stderr=-2, check=False, cwd=folder,
        )  # fmt: skip
        return done.returncode, done.stdout.decode()

    run.folder = trio.Path(folder)
    return run


async def listening(port: int) -> None:
    """Wait until somebody listens there."""
    while True:
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            await trio.sleep(0.01)
        else:
            await stream.aclose()
            return


@pytest.mark.slow
async def test_the_sessions_of_the_handbook_are_true(serve, shell, nursery, port):
    if not HANDBOOK.exists():
        pytest.skip("the handbook is not beside the tests")
    server = await serve(venue)
    code = 0
    assert len(sessions()) > 12
    for line, expected in sessions():
        places = {"127.0.0.1:8080": f"127.0.0.1:{server.port}", ":8081": f":{port}"}
        text = pattern(expected)
        for written, real in places.items():
            line = line.replace(written, real)
            text = text.replace(re.escape(written), re.escape(real))
        if line == "echo $?":
            assert expected == [str(code)]
        elif line.startswith("cat "):
            await (shell.folder / line[4:]).write_text("\n".join(expected) + "\n")
        elif line.endswith("&"):
            nursery.start_soon(partial(shell, line.removesuffix("&")))
            await listening(port)
        else:
            code, shown = await shell(line)
            told = [shown, sent_first(shown)]
            assert any(re.fullmatch(text, t) for t in told), f"$ {line}\n{shown}"


def sent_first(shown):
    """The lines with what was sent put first: a quick venue speaks before we do."""
    first, *rest = shown.splitlines(keepends=True) or [""]
    return "".join(
        [first, *sorted(rest, key=lambda line: '"event":"sent"' not in line)]
    )


def test_the_handbook_names_every_command():
    text = HANDBOOK.read_text()
    for name in ("ws", "record", "replay", "inspect", "rtt", "fix"):
        assert f"`netcore {name} " in text
