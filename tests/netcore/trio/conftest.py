"""What tests under trio share: a server that echoes, ends over sockets and memory."""

from types import SimpleNamespace

import pytest
import trio
import trio.testing

from netcore.info import ConnectionInfo, SocketOptions
from netcore.testing import memory_stream_pair, tcp_stream_pair
from netcore.trio import TrioClock, TrioWebSocket, serve_websocket
from netcore.ws import Opcode, Role, WebSocket, WebSocketOptions

CLOCK = TrioClock()


async def echo(ws: TrioWebSocket) -> None:
    while True:
        frame = await ws.receive_frame()
        if frame.opcode is Opcode.TEXT:
            ws.send_text(frame.payload)
        else:
            ws.send_binary(frame.payload)
        await ws.drain()


@pytest.fixture
async def server(nursery):
    return await nursery.start(serve_websocket, echo, 0)


def ends_over_sockets(**options) -> tuple[TrioWebSocket, TrioWebSocket]:
    """Two upgraded ends over a socket pair, of which the client's has small buffers."""
    settings = WebSocketOptions(**options)
    small = ConnectionInfo("127.0.0.1", 0, options=SocketOptions(sndbuf=1 << 18))
    return tuple(
        TrioWebSocket(WebSocket.open(stream, role=role, options=settings, clock=CLOCK))
        for stream, role in zip(tcp_stream_pair(small), Role, strict=True)
    )


def end_over_memory(**options):
    """A client's upgraded end and the raw stream of its peer; no descriptors."""
    settings = WebSocketOptions(**options)
    ours, theirs = memory_stream_pair()
    return TrioWebSocket(WebSocket.open(ours, options=settings, clock=CLOCK)), theirs


@pytest.fixture
def sockets():
    made: list[TrioWebSocket] = []

    def make(**options):
        ends = ends_over_sockets(**options)
        made.extend(ends)
        return ends

    yield make
    for end in made:
        end.abort()


async def read_all(ws: TrioWebSocket, count: int) -> list[bytes]:
    got: list[bytes] = []
    while len(got) < count:
        got += (await ws.read_batch()).payloads
    return got


async def abort_later(ws: TrioWebSocket) -> None:
    await trio.testing.wait_all_tasks_blocked()
    ws.abort()


@pytest.fixture(scope="session")  # functions: nothing to reset
def kit():
    return SimpleNamespace(
        abort_later=abort_later,
        echo=echo,
        end_over_memory=end_over_memory,
        read_all=read_all,
    )
