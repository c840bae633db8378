"""A WebSocket under trio: reading, sending, closing and being cancelled."""

import pytest
import trio

from netcore.errors import ConnectionClosed
from netcore.trio import TrioWebSocket, open_websocket, serve_websocket
from netcore.ws import DeflateConfig, Opcode, State


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


@pytest.mark.parametrize("deflate", [None, DeflateConfig()])
async def test_messages_come_back_with_their_opcode(server, deflate):
    async with open_websocket(server.url, deflate=deflate) as ws:
        ws.send_text("grüße " * 20)
        ws.send_binary(bytes(100_000))

        assert await ws.receive_text() == "grüße " * 20
        assert await ws.receive_frame() == (await _frame(bytes(100_000)))
    assert ws.state is State.CLOSED
    assert ws.close_code == 1000


async def _frame(payload: bytes):
    from netcore.ws import Frame

    return Frame(Opcode.BINARY, True, payload)


async def test_reading_after_the_end_raises_again_and_again(nursery):
    async def leave(ws: TrioWebSocket) -> None:
        ws.send_text("last")
        await ws.aclose(4001, "enough")

    server = await nursery.start(serve_websocket, leave, 0)
    async with open_websocket(server.url) as ws:
        assert (await ws.read_batch()).payloads == [b"last"]
        for _ in range(3):
            with pytest.raises(ConnectionClosed) as caught:
                await ws.read_batch()
            assert (caught.value.code, caught.value.reason) == (4001, "enough")


async def test_a_cancelled_read_loses_nothing(nursery):
    go = trio.Event()

    async def later(ws: TrioWebSocket) -> None:
        await go.wait()
        ws.send_text("kept")
        await ws.receive_frame()

    server = await nursery.start(serve_websocket, later, 0)
    async with open_websocket(server.url) as ws:
        with trio.move_on_after(0) as scope:
            await ws.read_batch()
        assert scope.cancelled_caught
        go.set()
        assert await ws.receive_text() == "kept"
        ws.send_text("bye")
