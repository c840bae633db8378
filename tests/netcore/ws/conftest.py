"""One end of a WebSocket over a script, and what it said."""

import pytest

from netcore.testing import ScriptedStream
from netcore.ws import FrameReader, Role, WebSocket, WebSocketOptions


def _opened(
    *steps, takes=(), clock=None, **options
) -> tuple[WebSocket, ScriptedStream]:
    """A client's end after the upgrade, over a script."""
    stream = ScriptedStream(steps, takes=takes)
    settings = WebSocketOptions(**options)
    return WebSocket.open(stream, options=settings, clock=clock), stream


def _sent(stream: ScriptedStream) -> list[tuple[int, bytes]]:
    """The frames that a client's end sent."""
    reader = FrameReader(Role.SERVER)
    payloads = reader.feed(bytes(stream.sent))
    assert reader.fault is None
    out: list[tuple[int, bytes]] = []
    marks = list(reader.marks)
    for place, opcode in enumerate([*reader.opcodes(), None]):
        while marks and marks[0].place == place:
            mark = marks.pop(0)
            out.append((mark.opcode, mark.payload))
        if opcode is not None:
            out.append((int(opcode), payloads[place]))
    return out


@pytest.fixture(scope="session")  # the functions themselves: nothing to reset
def opened():
    return _opened


@pytest.fixture(scope="session")
def sent():
    return _sent
