"""Talking to trio-websocket over loopback, as its client and as its server."""

from functools import partial

import pytest
import trio

from netcore.errors import ConnectionClosed, HandshakeError
from netcore.trio import TrioWebSocket, open_websocket, serve_websocket
from netcore.ws import Opcode, State

MESSAGES = ["", "grüße", "x" * 70_000, b"", bytes(300), bytes(70_000)]


def client_of(module, url: str):
    return module.open_websocket_url(url, max_message_size=1 << 20)


async def test_trio_websocket_talks_to_our_server(nursery):
    module = pytest.importorskip("trio_websocket")
    ended: list[int] = []

    async def echo(ws: TrioWebSocket) -> None:
        try:
            while True:
                frame = await ws.receive_frame()
                if frame.opcode is Opcode.TEXT:
                    ws.send_text(frame.payload)
                else:
                    ws.send_binary(frame.payload)
                await ws.drain()
        except ConnectionClosed as exc:
            ended.append(exc.code)

    server = await nursery.start(serve_websocket, echo, 0)
    async with client_of(module, server.url) as ws:
        for message in MESSAGES:
            await ws.send_message(message)
            assert await ws.get_message() == message
        await ws.ping(b"are you there")

    assert ended == [1000]


async def test_we_talk_to_a_trio_websocket_server(nursery):
    module = pytest.importorskip("trio_websocket")

    async def echo(request) -> None:
        ws = await request.accept(subprotocol="v1")
        try:
            while True:
                await ws.send_message(await ws.get_message())
        except module.ConnectionClosed:
            pass

    server = await nursery.start(
        partial(
            module.serve_websocket,
            echo,
            "127.0.0.1",
            0,
            None,
            max_message_size=1 << 20,
        )
    )
    async with open_websocket(
        f"ws://127.0.0.1:{server.port}/x", subprotocols=["v1"]
    ) as ws:
        assert ws.subprotocol == "v1"
        for message in MESSAGES:
            if isinstance(message, str):
                ws.send_text(message)
                assert await ws.receive_text() == message
            else:
                ws.send_binary(message)
                assert (await ws.receive_frame()).payload == message
    assert (ws.state, ws.close_code) == (State.CLOSED, 1000)


async def test_a_refusal_by_trio_websocket_is_understood(nursery):
    module = pytest.importorskip("trio_websocket")

    async def refuse(request) -> None:
        await request.reject(403, body=b"not you")

    server = await nursery.start(
        partial(module.serve_websocket, refuse, "127.0.0.1", 0, None)
    )
    with pytest.raises(HandshakeError) as caught:
        async with open_websocket(f"ws://127.0.0.1:{server.port}"):
            pass
    assert (caught.value.status, caught.value.body) == (403, b"not you")


async def test_a_silent_trio_websocket_server_does_not_hold_our_close(
    nursery, patient_clock
):
    module = pytest.importorskip("trio_websocket")

    async def sleep(request) -> None:
        await request.accept()
        await trio.sleep_forever()

    server = await nursery.start(
        partial(module.serve_websocket, sleep, "127.0.0.1", 0, None)
    )
    async with open_websocket(f"ws://127.0.0.1:{server.port}") as ws:
        pass
    assert ws.state is State.CLOSED
