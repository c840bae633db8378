"""The other libraries' clients, each doing the least it can with a message."""

import asyncio
import contextlib
import time

from work import DECODER, Result, Tally, Work, summary


def picows(work: Work, *, as_bytes: bool) -> Result:
    """Receive or ask with a Python listener of picows on uvloop."""
    import uvloop
    from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

    class Flood(WSListener):
        def __init__(self) -> None:
            self.total = 0
            self.size = 0

        if work.decodes:

            def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
                DECODER.decode(frame.get_payload_as_memoryview())
                self.total += 1

        elif as_bytes:

            def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
                self.size += len(frame.get_payload_as_bytes())
                self.total += 1

        else:

            def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
                self.size += len(frame.get_payload_as_memoryview())
                self.total += 1

    async def receive() -> Result:
        transport, listener = await ws_connect(
            Flood, work.url, ssl_context=work.context()
        )
        tally = Tally()
        await transport.wait_disconnected()
        tally.count, tally.size = listener.total, listener.size
        return tally.result()

    async def trips() -> Result:
        request, replies = bytes(work.size), work.replies
        times: list[float] = []
        done = asyncio.get_running_loop().create_future()

        class Trips(WSListener):
            def on_ws_connected(self, transport: WSTransport) -> None:
                self.got = 0
                self.start = time.perf_counter()
                transport.send(WSMsgType.BINARY, request)

            def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
                frame.get_payload_as_memoryview()
                self.got += 1
                if self.got < replies:
                    return
                now = time.perf_counter()
                times.append(now - self.start)
                if len(times) == work.count:
                    done.set_result(None)
                    return
                self.got = 0
                self.start = time.perf_counter()
                transport.send(WSMsgType.BINARY, request)

        transport, _ = await ws_connect(Trips, work.url, ssl_context=work.context())
        await done
        transport.disconnect()
        await transport.wait_disconnected()
        return summary(times)

    return uvloop.run(receive() if work.receives else trips())


def websockets(work: Work) -> Result:
    """Receive or ask with websockets' asyncio client on uvloop."""
    import uvloop
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    options = {
        "compression": None,
        "ping_interval": None,
        "proxy": None,
        "ssl": work.context(),
    }

    async def receive() -> Result:
        async with connect(work.url, **options) as ws:
            tally = Tally()
            with contextlib.suppress(ConnectionClosed):
                while True:
                    payload = await ws.recv(decode=False)
                    tally.count += 1
                    if work.decodes:
                        DECODER.decode(payload)
                    else:
                        tally.size += len(payload)
            return tally.result()

    async def trips() -> Result:
        request, replies, times = bytes(work.size), work.replies, []
        async with connect(work.url, **options) as ws:
            for _ in range(work.count):
                start = time.perf_counter()
                await ws.send(request)
                for _ in range(replies):
                    await ws.recv()
                times.append(time.perf_counter() - start)
            ws.transport.abort()
        return summary(times)

    return uvloop.run(receive() if work.receives else trips())


def aiohttp(work: Work) -> Result:
    """Receive or ask with aiohttp's client on uvloop."""
    import uvloop
    from aiohttp import ClientSession, WSMsgType

    options = {"compress": 0, "max_msg_size": 0, "ssl": work.context() or True}

    async def receive() -> Result:
        async with (
            ClientSession() as session,
            session.ws_connect(work.url, **options) as ws,
        ):
            tally = Tally()
            while True:
                message = await ws.receive()
                if message.type is not WSMsgType.TEXT:
                    return tally.result()
                tally.count += 1
                if work.decodes:
                    DECODER.decode(message.data)
                else:
                    tally.size += len(message.data)

    async def trips() -> Result:
        request, replies, times = bytes(work.size), work.replies, []
        async with (
            ClientSession() as session,
            session.ws_connect(work.url, **options) as ws,
        ):
            for _ in range(work.count):
                start = time.perf_counter()
                await ws.send_bytes(request)
                for _ in range(replies):
                    await ws.receive()
                times.append(time.perf_counter() - start)
            ws._response.connection.transport.abort()
        return summary(times)

    return uvloop.run(receive() if work.receives else trips())


def trio_websocket(work: Work) -> Result:
    """Receive or ask with trio-websocket."""
    import trio
    from trio_websocket import (
        ConnectionClosed,
        DisconnectionTimeout,
        open_websocket_url,
    )

    async def receive() -> Result:
        async with open_websocket_url(work.url, work.context()) as ws:
            tally = Tally()
            with contextlib.suppress(ConnectionClosed):
                while True:
                    message = await ws.get_message()
                    tally.count += 1
                    if work.decodes:
                        DECODER.decode(message)
                    else:
                        tally.size += len(message)
            return tally.result()

    async def trips() -> Result:
        request, replies, times = bytes(work.size), work.replies, []
        # The server does not know close frames.
        with contextlib.suppress(DisconnectionTimeout):
            async with open_websocket_url(
                work.url, work.context(), disconnect_timeout=0.01
            ) as ws:
                for _ in range(work.count):
                    start = time.perf_counter()
                    await ws.send_message(request)
                    for _ in range(replies):
                        await ws.get_message()
                    times.append(time.perf_counter() - start)
        return summary(times)

    return trio.run(receive if work.receives else trips)
