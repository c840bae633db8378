"""Drivers for trio: the streams and protocols of netcore, with waits where they block.

The streams stay non-blocking and the protocols stay sans-I/O; what is here decides
when a task parks. `netcore.trio.driver` states how that differs from trio's own
sockets.
"""

from netcore.trio.driver import Driven, TrioClock, TrioDriver
from netcore.trio.interop import AdaptedWebSocket, adapt_websocket
from netcore.trio.server import Accept, Refuse, WebSocketServer, serve_websocket
from netcore.trio.service import run_service
from netcore.trio.streams import finish_connecting, open_stream
from netcore.trio.websocket import TrioWebSocket, open_websocket

__all__ = [
    "Accept",
    "AdaptedWebSocket",
    "Driven",
    "Refuse",
    "TrioClock",
    "TrioDriver",
    "TrioWebSocket",
    "WebSocketServer",
    "adapt_websocket",
    "finish_connecting",
    "open_stream",
    "open_websocket",
    "run_service",
    "serve_websocket",
]
