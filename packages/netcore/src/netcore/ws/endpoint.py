"""WebSockets that a busy-polling `netcore.service.IOService` keeps alive.

What may live here: the joint between a `WebSocket` and a service. Reconnecting, names
and times to live are the service's.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from ssl import SSLContext
from typing import TypeVar, final

from netcore.clock import Clock
from netcore.endpoint import Endpoint
from netcore.info import Address
from netcore.stream.base import Buffer
from netcore.ws.batch import Batch
from netcore.ws.options import DEFAULT_OPTIONS, WebSocketOptions, parse_ws_url
from netcore.ws.transport import start_stream
from netcore.ws.websocket import WebSocket

__all__ = ["WebSocketEndpoint", "WebSocketWatch"]

C = TypeVar("C")


@final
class WebSocketWatch:
    """A WebSocket as selectors and drivers see it: what it waits for, how it ends.

    The socket object cannot be that itself: its `close` is the polite one.

    Args:
        websocket: What is watched.
    """

    __slots__ = ("_websocket",)

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    @property
    def buffered(self) -> bool:
        """Whether a read can bring something without the descriptor being ready."""
        return self._websocket.buffered

    @property
    def want_write(self) -> bool:
        """Whether there is something to do once the descriptor is writable."""
        return self._websocket.want_write

    def fileno(self) -> int:
        """Return the descriptor of the stream below, -1 if there is none."""
        return self._websocket.stream.fileno()

    def connected(self) -> bool:
        """Go on connecting the stream below; return whether that is done.

        Raises:
            RemoteError: If it failed.
        """
        return self._websocket.stream.connected()

    def close(self) -> None:
        """Give the stream back without a word."""
        self._websocket.abort()


class WebSocketEndpoint(Endpoint[WebSocket, C]):
    """A WebSocket that is made anew whenever it ends, and subscribes each time.

    Define `on_batch`, and `subscriptions` where there are any.

    Args:
        url: A ws or wss URL.
        ssl_context: What to verify with, for wss.
        headers: Further header fields of the request.
        subprotocols: What to offer, best first.
        options: How the connections behave.
        clock: For their timers; by default the system's.

    Attributes:
        every_turn: True, since a WebSocket has timers of its own (heartbeat, time for
            the handshake and for closing). Costs a failed read per turn while idle.

    Raises:
        InvalidURL: If `url` is none of a WebSocket.
    """

    every_turn = True

    def __init__(
        self,
        url: str,
        *,
        ssl_context: SSLContext | None = None,
        headers: Iterable[tuple[str, str]] = (),
        subprotocols: Sequence[str] = (),
        options: WebSocketOptions = DEFAULT_OPTIONS,
        clock: Clock | None = None,
    ) -> None:
        self.url = parse_ws_url(url)
        super().__init__(self.url.info)
        self._ssl_context = ssl_context
        self._headers = tuple(headers)
        self._subprotocols = tuple(subprotocols)
        self._options = options
        self._clock = clock

    @abstractmethod
    def on_batch(self, websocket: WebSocket, batch: Batch, context: C) -> None:
        """Take the messages of one read; may send.

        Raises:
            Exception: Ends the connection as a failure.
        """

    def subscriptions(self, context: C) -> Iterable[str | Buffer]:
        """Return the text messages to send first on each connection."""
        del context
        return ()

    def create(self, address: Address, context: C) -> WebSocket:
        """Begin a connection; the subscriptions leave with the upgrade."""
        stream = start_stream(self.url, address=address, ssl_context=self._ssl_context)
        try:
            websocket = WebSocket(
                stream,
                self.url.target,
                host=self.url.authority,
                headers=self._headers,
                subprotocols=self._subprotocols,
                options=self._options,
                clock=self._clock,
            )
            for message in self.subscriptions(context):
                websocket.send_text(message)
        except BaseException:
            stream.close()
            raise
        return websocket

    def poll(self, target: WebSocket, context: C) -> int:
        """Read once; return how many messages came.

        Raises:
            NetError: When the conversation is over.
            Exception: What `on_batch` raises.
        """
        batch = target.read_batch()
        if batch is None:
            return 0
        self.on_batch(target, batch, context)
        return len(batch)

    def selectable(self, target: WebSocket) -> WebSocketWatch:
        """Return what a selector can watch of `target`."""
        return WebSocketWatch(target)
