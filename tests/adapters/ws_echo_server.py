"""Echo server for conformance suites: `ws_echo_server.py HOST PORT`."""

import signal
import sys
from functools import partial

import trio
from _program import port, start

from netcore.trio import TrioWebSocket, serve_websocket
from netcore.ws import DeflateConfig, Opcode, WebSocketOptions

MAX_MESSAGE = 16 << 20
# Suites send gigabytes and look for compression in the shortest message, too.
COMPRESSED = DeflateConfig(level=1, threshold=0)
OPTIONS = WebSocketOptions(
    deflate=COMPRESSED,
    max_message_size=MAX_MESSAGE,
    outbox_limit=2 * MAX_MESSAGE,
)


async def echo(ws: TrioWebSocket) -> None:
    """Send every message back with its opcode until the connection ends."""
    while True:
        frame = await ws.receive_frame()
        if frame.opcode is Opcode.TEXT:
            ws.send_text(frame.payload)
        else:
            ws.send_binary(frame.payload)
        await ws.drain()


async def main(host: str, number: int) -> None:
    """Serve until SIGTERM."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                partial(serve_websocket, echo, number, host=host, options=OPTIONS)
            )
            async for _ in signals:
                nursery.cancel_scope.cancel()


if __name__ == "__main__":
    sys.exit(start("ws_echo_server.py HOST PORT", main, str, port))
