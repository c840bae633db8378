"""WebSockets (RFC 6455, RFC 7692): a sans-I/O core, and one object over any stream."""

from netcore.ws.batch import Batch
from netcore.ws.closing import CloseCode
from netcore.ws.connection import State, WsConnection
from netcore.ws.deflate import DeflateConfig
from netcore.ws.endpoint import WebSocketEndpoint, WebSocketWatch
from netcore.ws.frames import Frame, Masking, Opcode, Role, encode_frame
from netcore.ws.handshake import (
    Agreement,
    ClientHandshake,
    Request,
    ServerHandshake,
)
from netcore.ws.heartbeat import Heartbeat, HeartbeatTimer, Occasion
from netcore.ws.options import WebSocketOptions, parse_ws_url
from netcore.ws.reader import FrameReader
from netcore.ws.speedups import COMPILED
from netcore.ws.websocket import WebSocket

__all__ = [
    "COMPILED",
    "Agreement",
    "Batch",
    "ClientHandshake",
    "CloseCode",
    "DeflateConfig",
    "Frame",
    "FrameReader",
    "Heartbeat",
    "HeartbeatTimer",
    "Masking",
    "Occasion",
    "Opcode",
    "Request",
    "Role",
    "ServerHandshake",
    "State",
    "WebSocket",
    "WebSocketEndpoint",
    "WebSocketOptions",
    "WebSocketWatch",
    "WsConnection",
    "encode_frame",
    "parse_ws_url",
]
