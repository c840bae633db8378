"""A loopback HTTP server that answers as a test scripts it, byte by byte.

For tests of clients: it records what it received, exactly, and lets the script write
whatever bytes it likes, whenever it likes. It is no HTTP server for any other use: it
reads plain requests with Content-Length and judges nothing.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias, final

import msgspec
import trio

__all__ = ["LoopbackServer", "Received", "Script", "loopback_server", "response"]


class Received(msgspec.Struct, frozen=True):
    """A request as its bytes came in.

    Attributes:
        method: HTTP method.
        target: The request target, untouched.
        headers: Header fields, names in lower case.
        content: The body's bytes.
    """

    method: str
    target: bytes
    headers: Mapping[str, str]
    content: bytes


Script: TypeAlias = Callable[[Received, trio.SocketStream], Awaitable[None]]
"""Answers one request by writing to the stream; returning keeps the connection."""


def response(
    status: int = 200,
    body: bytes = b"{}",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return the bytes of a plain response.

    Content-Length is right unless `headers` says otherwise.
    """
    fields = {"Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Scripted\r\n{head}\r\n".encode() + body


@final
class LoopbackServer:
    """What the server knows: its address and what it received so far."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.received: list[Received] = []
        self._news = trio.Event()

    async def wait_received(self, count: int) -> list[Received]:
        """Wait until `count` requests have come in all, and return them."""
        while len(self.received) < count:
            self._news = trio.Event()
            await self._news.wait()
        return self.received

    def take(self, request: Received) -> None:
        """Record a request."""
        self.received.append(request)
        self._news.set()


@asynccontextmanager
async def loopback_server(script: Script) -> AsyncIterator[LoopbackServer]:
    """Serve on a free loopback port until the block ends."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    server = LoopbackServer(f"http://127.0.0.1:{port}")

    async def serve(stream: trio.SocketStream) -> None:
        buffer = bytearray()
        try:
            while (request := await _read_request(stream, buffer)) is not None:
                server.take(request)
                await script(request, stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client has gone, or the script closed the connection
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        try:
            yield server
        finally:
            nursery.cancel_scope.cancel()


async def _read_request(
    stream: trio.SocketStream, buffer: bytearray
) -> Received | None:
    while (end := buffer.find(b"\r\n\r\n")) < 0:
        if not await _more(stream, buffer):
            return None
    lines = bytes(buffer[:end]).split(b"\r\n")
    method, target, _ = lines[0].split(b" ")
    pairs = (line.decode("latin-1").partition(":") for line in lines[1:])
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    whole = end + 4 + int(headers.get("content-length", 0))
    while len(buffer) < whole:
        if not await _more(stream, buffer):
            return None
    content = bytes(buffer[end + 4 : whole])
    del buffer[:whole]
    return Received(method.decode(), target, headers, content)


async def _more(stream: trio.SocketStream, buffer: bytearray) -> bool:
    data = await stream.receive_some()
    buffer += data
    return bool(data)
