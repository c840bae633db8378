"""Echo client for conformance suites: `ws_echo_client.py BASE_URL AGENT`.

Asks BASE_URL/getCaseCount for the number of cases, runs each at /runCase by echoing
every message until the server closes, and has the report written by /updateReports.
"""

import signal
import sys
from urllib.parse import quote

import trio
from _program import start

from netcore.errors import NetError
from netcore.trio import TrioWebSocket, open_websocket
from netcore.ws import DeflateConfig, Opcode, parse_ws_url

MAX_MESSAGE = 64 << 20
# Suites send gigabytes, look for compression in the shortest message, too, and have
# servers that want a client without context.
COMPRESSED = DeflateConfig(fallback=True, level=1, threshold=0)


def base_url(text: str) -> str:
    """Check a WebSocket URL."""
    parse_ws_url(text)
    return text


async def echo(ws: TrioWebSocket) -> None:
    """Send every message back with its opcode until the connection ends."""
    while True:
        frame = await ws.receive_frame()
        if frame.opcode is Opcode.TEXT:
            ws.send_text(frame.payload)
        else:
            ws.send_binary(frame.payload)
        await ws.drain()


async def run_case(url: str) -> None:
    """Run one case; how it ends is for the suite to judge."""
    try:
        async with open_websocket(
            url,
            deflate=COMPRESSED,
            max_message_size=MAX_MESSAGE,
            outbox_limit=MAX_MESSAGE,
        ) as ws:
            await echo(ws)
    except NetError:
        pass


async def run(base_url: str, agent: str) -> None:
    """Run all cases."""
    async with open_websocket(f"{base_url}/getCaseCount") as ws:
        count = int(await ws.receive_text())
    for case in range(1, count + 1):
        await run_case(f"{base_url}/runCase?case={case}&agent={agent}")
    await run_case(f"{base_url}/updateReports?agent={agent}")


async def main(base_url: str, agent: str) -> None:
    """Run until done or SIGTERM."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def work() -> None:
                await run(base_url.rstrip("/"), quote(agent))
                nursery.cancel_scope.cancel()

            nursery.start_soon(work)
            async for _ in signals:
                nursery.cancel_scope.cancel()


if __name__ == "__main__":
    sys.exit(start("ws_echo_client.py BASE_URL AGENT", main, base_url, str))
