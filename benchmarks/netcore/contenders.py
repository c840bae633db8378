"""One measured client per process: `contenders.py NAME SCENARIO URL COUNT [CPU]`.

Prints JSON: processor and wall seconds, messages and bytes received, and for round
trips their median and 90th percentile in microseconds.
"""

import contextlib
import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

RESULT = dict[str, float]


class Trade(msgspec.Struct, gc=False):
    """The fields a strategy reads of a trade; numbers in strings read as floats."""

    E: int
    s: str
    a: int
    p: float
    q: float
    T: int
    m: bool


DECODER = msgspec.json.Decoder(Trade, strict=False)


def summary(times: list[float]) -> RESULT:
    """Return the quantiles of round trips."""
    times = sorted(times[len(times) // 10 :])
    return {
        "p50": statistics.median(times) * 1e6,
        "p90": times[len(times) * 9 // 10] * 1e6,
        "count": len(times),
    }


# -- netcore ---------------------------------------------------------------------------


def own_trio(scenario: str, url: str, count: int, **options: bool | float) -> RESULT:
    """Receive with netcore under trio."""
    import trio

    from netcore.errors import ConnectionClosed
    from netcore.trio import open_websocket

    settings: dict[str, Any] = {"validate_utf8": False, **options}

    async def receive(decode: bool) -> RESULT:
        total = size = 0
        async with open_websocket(url, **settings) as ws:
            cpu, wall = time.process_time(), time.perf_counter()
            try:
                while True:
                    payloads = (await ws.read_batch()).payloads
                    total += len(payloads)
                    if decode:
                        trades = [DECODER.decode(payload) for payload in payloads]
                        size += trades[-1].a > 0
                    else:
                        size += sum(map(len, payloads))
            except ConnectionClosed:
                pass
            return {
                "cpu": time.process_time() - cpu,
                "wall": time.perf_counter() - wall,
                "count": total,
                "bytes": 0 if decode else size,
            }

    async def trips(size: int, replies: int) -> RESULT:
        request = bytes(size)
        times = []
        async with open_websocket(url, **settings) as ws:
            for _ in range(count):
                start = time.perf_counter()
                ws.send_binary(request)
                got = 0
                while got < replies:
                    got += len((await ws.read_batch()).payloads)
                times.append(time.perf_counter() - start)
            ws.abort()  # the server does not know close frames
        return summary(times)

    if scenario in {"flood", "decode"}:
        return trio.run(receive, scenario == "decode")
    return trio.run(trips, *shape(url))


def own_busy(scenario: str, url: str, count: int) -> RESULT:
    """Receive with netcore, busy-polling without any loop."""
    from netcore.errors import ConnectionClosed
    from netcore.ws import State, WebSocket, WebSocketOptions

    ws = WebSocket.connect(url, options=WebSocketOptions(validate_utf8=False))
    batch = None
    while ws.state is State.CONNECTING:
        batch = ws.read_batch()
    assert batch is None

    def receive() -> RESULT:
        total = size = 0
        idle = 0.0
        read_batch, clock = ws.read_batch, time.process_time
        start, wall = clock(), time.perf_counter()
        try:
            while True:
                before = clock()
                batch = read_batch()
                if batch is None:
                    # Others sleep while there is nothing, which is not counted.
                    idle += clock() - before
                    continue
                total += len(batch.payloads)
                if scenario == "decode":
                    trades = [DECODER.decode(p) for p in batch.payloads]
                    assert trades[-1].a > 0
                else:
                    size += sum(map(len, batch.payloads))
        except ConnectionClosed:
            return {
                "cpu": clock() - start - idle,
                "wall": time.perf_counter() - wall,
                "count": total,
                "bytes": size,
            }

    with ws:
        if scenario in {"flood", "decode"}:
            return receive()
        size, replies = shape(url)
        request = bytes(size)
        times = []
        for _ in range(count):
            start = time.perf_counter()
            ws.send_binary(request)
            got = 0
            while got < replies:
                batch = ws.read_batch()
                if batch is not None:
                    got += len(batch.payloads)
            times.append(time.perf_counter() - start)
        return summary(times)


# -- picows ----------------------------------------------------------------------------


def picows(scenario: str, url: str, count: int, *, payload: str) -> RESULT:
    """A Python listener that does the least possible with each frame."""
    import asyncio

    import uvloop
    from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

    as_bytes = payload == "bytes"

    class Flood(WSListener):
        def __init__(self) -> None:
            self.total = 0
            self.size = 0

        if scenario == "decode":

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

    async def receive() -> RESULT:
        transport, listener = await ws_connect(Flood, url)
        cpu, wall = time.process_time(), time.perf_counter()
        await transport.wait_disconnected()
        return {
            "cpu": time.process_time() - cpu,
            "wall": time.perf_counter() - wall,
            "count": listener.total,
            "bytes": listener.size,
        }

    async def trips(size: int, replies: int) -> RESULT:
        request = bytes(size)
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
                if len(times) == count:
                    done.set_result(None)
                    return
                self.got = 0
                self.start = time.perf_counter()
                transport.send(WSMsgType.BINARY, request)

        transport, _ = await ws_connect(Trips, url)
        await done
        transport.disconnect()
        await transport.wait_disconnected()
        return summary(times)

    if scenario in {"flood", "decode"}:
        return uvloop.run(receive())
    return uvloop.run(trips(*shape(url)))


# -- others ----------------------------------------------------------------------------


def websockets_uvloop(scenario: str, url: str, count: int) -> RESULT:
    """Receive with websockets' asyncio client on uvloop."""
    import uvloop
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    options = {"compression": None, "ping_interval": None, "proxy": None}

    async def receive() -> RESULT:
        total = size = 0
        async with connect(url, **options) as ws:
            cpu, wall = time.process_time(), time.perf_counter()
            try:
                while True:
                    payload = await ws.recv(decode=False)
                    total += 1
                    if scenario == "decode":
                        DECODER.decode(payload)
                    else:
                        size += len(payload)
            except ConnectionClosed:
                pass
            return {
                "cpu": time.process_time() - cpu,
                "wall": time.perf_counter() - wall,
                "count": total,
                "bytes": size,
            }

    async def trips(size: int, replies: int) -> RESULT:
        request, times = bytes(size), []
        async with connect(url, **options) as ws:
            for _ in range(count):
                start = time.perf_counter()
                await ws.send(request)
                for _ in range(replies):
                    await ws.recv()
                times.append(time.perf_counter() - start)
            ws.transport.abort()
        return summary(times)

    if scenario in {"flood", "decode"}:
        return uvloop.run(receive())
    return uvloop.run(trips(*shape(url)))


def aiohttp_uvloop(scenario: str, url: str, count: int) -> RESULT:
    """Receive with aiohttp's client on uvloop."""
    import uvloop
    from aiohttp import ClientSession, WSMsgType

    async def receive() -> RESULT:
        total = size = 0
        async with (
            ClientSession() as session,
            session.ws_connect(url, compress=0, max_msg_size=0) as ws,
        ):
            cpu, wall = time.process_time(), time.perf_counter()
            while True:
                message = await ws.receive()
                if message.type is not WSMsgType.TEXT:
                    break
                total += 1
                if scenario == "decode":
                    DECODER.decode(message.data)
                else:
                    size += len(message.data)
            return {
                "cpu": time.process_time() - cpu,
                "wall": time.perf_counter() - wall,
                "count": total,
                "bytes": size,
            }

    async def trips(size: int, replies: int) -> RESULT:
        request, times = bytes(size), []
        async with (
            ClientSession() as session,
            session.ws_connect(url, compress=0, max_msg_size=0) as ws,
        ):
            for _ in range(count):
                start = time.perf_counter()
                await ws.send_bytes(request)
                for _ in range(replies):
                    await ws.receive()
                times.append(time.perf_counter() - start)
            ws._response.connection.transport.abort()
        return summary(times)

    if scenario in {"flood", "decode"}:
        return uvloop.run(receive())
    return uvloop.run(trips(*shape(url)))


def trio_websocket(scenario: str, url: str, count: int) -> RESULT:
    """Receive with trio-websocket."""
    import trio
    from trio_websocket import (
        ConnectionClosed,
        DisconnectionTimeout,
        open_websocket_url,
    )

    async def receive() -> RESULT:
        total = size = 0
        async with open_websocket_url(url) as ws:
            cpu, wall = time.process_time(), time.perf_counter()
            try:
                while True:
                    message = await ws.get_message()
                    total += 1
                    if scenario == "decode":
                        DECODER.decode(message)
                    else:
                        size += len(message)
            except ConnectionClosed:
                pass
            return {
                "cpu": time.process_time() - cpu,
                "wall": time.perf_counter() - wall,
                "count": total,
                "bytes": size,
            }

    async def trips(size: int, replies: int) -> RESULT:
        request, times = bytes(size), []
        # The server does not know close frames.
        with contextlib.suppress(DisconnectionTimeout):
            async with open_websocket_url(url, disconnect_timeout=0.01) as ws:
                for _ in range(count):
                    start = time.perf_counter()
                    await ws.send_message(request)
                    for _ in range(replies):
                        await ws.get_message()
                    times.append(time.perf_counter() - start)
        return summary(times)

    if scenario in {"flood", "decode"}:
        return trio.run(receive)
    return trio.run(trips, *shape(url))


def shape(url: str) -> tuple[int, int]:
    """Return the size of a request and the number of its replies."""
    from urllib.parse import parse_qs, urlsplit

    query = parse_qs(urlsplit(url).query)
    return int(query["size"][0]), int(query.get("n", ["1"])[0])


CONTENDERS: dict[str, tuple[tuple[str, ...], Callable[[str, str, int], RESULT]]] = {
    "own-busy": ((), own_busy),
    "own-trio": ((), own_trio),
    "own-trio-utf8": ((), lambda s, u, n: own_trio(s, u, n, validate_utf8=True)),
    "own-trio-spin": ((), lambda s, u, n: own_trio(s, u, n, spin=50e-6)),
    "picows-uvloop": (
        ("picows", "uvloop"),
        lambda s, u, n: picows(s, u, n, payload="memoryview"),
    ),
    "picows-uvloop-bytes": (
        ("picows", "uvloop"),
        lambda s, u, n: picows(s, u, n, payload="bytes"),
    ),
    "aiohttp-uvloop": (("aiohttp", "uvloop"), aiohttp_uvloop),
    "websockets-uvloop": (("websockets", "uvloop"), websockets_uvloop),
    "trio-websocket": (("trio_websocket",), trio_websocket),
}


def available(name: str) -> bool:
    """Return whether a contender's libraries are installed."""
    try:
        for module in CONTENDERS[name][0]:
            importlib.import_module(module)
    except ImportError:
        return False
    return True


def main() -> None:
    """Run one contender."""
    name, scenario, url, count, cpu = sys.argv[1:6]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(cpu)})
    result = CONTENDERS[name][1](scenario, url, int(count))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
