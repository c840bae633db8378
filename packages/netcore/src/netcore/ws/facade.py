"""What the drivers of a WebSocket show of the end below.

What may live here: views of `netcore.ws.WebSocket`, which neither wait nor change
anything. How to wait is the drivers' (`netcore.blocking`, `netcore.trio`).
"""

from netcore.info import ConnectionInfo
from netcore.ws.connection import State
from netcore.ws.handshake import Agreement, Request
from netcore.ws.websocket import WebSocket

__all__ = ["WebSocketFacade"]


class WebSocketFacade:
    """The base of the WebSockets whose calls wait.

    Args:
        websocket: The end below.
    """

    __slots__ = ("_websocket",)

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    @property
    def websocket(self) -> WebSocket:
        """The end below, which never waits; not while another task reads here."""
        return self._websocket

    @property
    def info(self) -> ConnectionInfo:
        """Whom it talks to."""
        return self._websocket.info

    @property
    def state(self) -> State:
        """How far the conversation is."""
        return self._websocket.state

    @property
    def close_code(self) -> int | None:
        """Why it is over: the peer's code, ours after its fault, 1006 if it broke."""
        return self._websocket.close_code

    @property
    def close_reason(self) -> str:
        """The words beside `close_code`."""
        return self._websocket.close_reason

    @property
    def request(self) -> Request | None:
        """What the client asked for, at a server."""
        return self._websocket.request

    @property
    def agreement(self) -> Agreement | None:
        """What the handshake settled: subprotocol, extensions, answer's headers."""
        return self._websocket.agreement

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol both ends speak, None if none was agreed on."""
        agreement = self._websocket.agreement
        return None if agreement is None else agreement.subprotocol

    @property
    def latency_ns(self) -> int | None:
        """How long the latest answered ping of the heartbeat took."""
        return self._websocket.latency_ns

    @property
    def pending_bytes(self) -> int:
        """Bytes that the stream has not taken yet."""
        return self._websocket.pending_bytes
