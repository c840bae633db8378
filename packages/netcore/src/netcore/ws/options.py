"""How a WebSocket behaves and where it goes: values that both roles share.

What may live here: configuration as a value, and reading a URL.
"""

from typing import Final, final

import msgspec

from netcore.errors import InvalidURL
from netcore.info import ConnectionInfo, Url, parse_url
from netcore.stream.base import RECEIVE_SIZE
from netcore.stream.outbox import DEFAULT_LIMIT
from netcore.ws.connection import WsConnection
from netcore.ws.deflate import DeflateConfig
from netcore.ws.frames import Masking, Role
from netcore.ws.handshake import ClientHandshake, ServerHandshake
from netcore.ws.heartbeat import Heartbeat
from netcore.ws.reader import DEFAULT_MAX_FRAME

__all__ = ["DEFAULT_OPTIONS", "WebSocketOptions", "host_header", "parse_ws_url"]


@final
class WebSocketOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a WebSocket behaves, for either role.

    Attributes:
        masking: How a client masks.
        validate_utf8: Whether text messages are checked.
        max_message_size: The most bytes of a received message.
        frames: Whether to deliver data frames as they come.
        deflate: How to compress, None not to.
        outbox_limit: The most bytes that may wait to be sent.
        read_size: The most bytes of one read. 16384 halves the wait of a batch's
            first message for its last at a fifth more work per message.
        heartbeat: How to keep the connection alive, None not to.
        open_timeout: Seconds for the handshake.
        close_timeout: Seconds to wait for the peer's end of the close handshake.
    """

    masking: Masking = Masking.RANDOM
    validate_utf8: bool = True
    max_message_size: int = DEFAULT_MAX_FRAME
    frames: bool = False
    deflate: DeflateConfig | None = None
    outbox_limit: int = DEFAULT_LIMIT
    read_size: int = RECEIVE_SIZE
    heartbeat: Heartbeat | None = None
    open_timeout: float = 10.0
    close_timeout: float = 5.0

    def connection(
        self, role: Role, handshake: ClientHandshake | ServerHandshake | None
    ) -> WsConnection:
        """Return a connection that behaves so."""
        return WsConnection(
            role,
            handshake=handshake,
            masking=self.masking,
            validate_utf8=self.validate_utf8,
            max_message_size=self.max_message_size,
            frames=self.frames,
            deflate=self.deflate,
        )


DEFAULT_OPTIONS: Final = WebSocketOptions()
"""What everything uses unless told otherwise."""


def parse_ws_url(url: str) -> Url:
    """Return the parts of a ws or wss URL.

    Raises:
        InvalidURL: If it is not one.
    """
    parts = parse_url(url)
    if parts.scheme not in {"ws", "wss"}:
        raise InvalidURL(f"{url!r}: scheme must be ws or wss, was {parts.scheme!r}")
    return parts


def host_header(info: ConnectionInfo) -> str:
    """Return the Host header for `info`, whose scheme is not known."""
    if info.port in {80, 443}:
        return f"[{info.host}]" if ":" in info.host else info.host
    return str(info)
