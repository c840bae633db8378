"""What the commands' tests share: servers, options, captured output."""

import io
import json
from collections.abc import AsyncGenerator
from functools import partial

import pytest
import trio

from netcore.cli.output import Output
from netcore.cli.shell import parser
from netcore.cli.talk import Interrupts
from netcore.trio import TrioWebSocket, WebSocketServer, serve_websocket


class Captured:
    """An output, and what went into it."""

    def __init__(self, *, json: bool, quiet: bool = False) -> None:
        self.out = io.StringIO()
        self.err = io.StringIO()
        self.output = Output(json=json, quiet=quiet, out=self.out, err=self.err)

    @property
    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()

    @property
    def notes(self) -> list[str]:
        return self.err.getvalue().splitlines()

    @property
    def events(self) -> list[dict]:
        return [json.loads(line) for line in self.lines]


async def echo(ws: TrioWebSocket) -> None:
    """Return every message as it was."""
    while True:
        frame = await ws.receive_frame()
        if frame.opcode.name == "TEXT":
            ws.send_text(frame.payload)
        else:
            ws.send_binary(frame.payload)


@pytest.fixture
async def serve(nursery):
    async def start(handler=echo, **how) -> WebSocketServer:
        return await nursery.start(partial(serve_websocket, handler, 0, **how))

    return start


@pytest.fixture
def options():
    def read(*arguments):
        return parser().parse_args([str(argument) for argument in arguments])

    return read


@pytest.fixture
def interrupts():
    return Interrupts()


@pytest.fixture
def captured():
    return Captured


async def lines_of(*lines: bytes) -> AsyncGenerator[bytes, None]:
    """Yield lines, then end."""
    for line in lines:
        await trio.lowlevel.checkpoint()
        yield line


@pytest.fixture(name="lines_of")
def _lines_of():
    return lines_of
