"""WebSockets that a busy-polling `netcore.service.IOService` keeps alive.

What may live here: the joint between a `WebSocket` and a service. Reconnecting, names
and times to live are the service's.
"""

from collections.abc import Iterable, Sequence
from ssl import SSLContext
from typing import Final, TypeVar, final

from netcore.clock import Clock
from netcore.endpoint import Endpoint
from netcore.info import Address
from netcore.stream.base import Buffer
from netcore.ws.batch import Batch
from netcore.ws.connection import State
from netcore.ws.frames import Frame
from netcore.ws.heartbeat import Heartbeat, Occasion
from netcore.ws.options import WebSocketOptions, parse_ws_url
from netcore.ws.transport import start_stream
from netcore.ws.websocket import WebSocket

__all__ = ["KEPT_ALIVE", "WebSocketEndpoint", "WebSocketWatch"]

C = TypeVar("C")

KEPT_ALIVE: Final = WebSocketOptions(
    heartbeat=Heartbeat(interval=20.0, timeout=10.0, occasion=Occasion.IDLE)
)
"""What endpoints use unless told otherwise: nobody reads an error that never comes.

20 s is the interval at which Binance pings and websockets' own default.
"""


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

    Define `on_message`, or `on_batch` for whole reads at once, and `on_open` or
    `subscriptions` where there is something to ask for first::

        class Trades(WebSocketEndpoint[None]):
            def on_open(self, websocket, context):
                websocket.send_text('{"method":"SUBSCRIBE", ...}')

            def on_message(self, websocket, message, context):
                print(decoder.decode(message.payload))

    Register one object once: it stands for one connection at a time.

    Args:
        url: A ws or wss URL.
        ssl_context: What to verify with, for wss.
        headers: Further header fields of the request.
        subprotocols: What to offer, best first.
        options: How the connections behave; by default with a ping whenever nothing
            was received for 20 seconds, which is to be answered within 10.
        clock: For their timers; by default that of the service.

    Raises:
        InvalidURL: If `url` is none of a WebSocket.
        TypeError: If the class defines neither `on_message` nor `on_batch`.
    """

    def __init__(
        self,
        url: str,
        *,
        ssl_context: SSLContext | None = None,
        headers: Iterable[tuple[str, str]] = (),
        subprotocols: Sequence[str] = (),
        options: WebSocketOptions = KEPT_ALIVE,
        clock: Clock | None = None,
    ) -> None:
        kind, base = type(self), WebSocketEndpoint
        if kind.on_message is base.on_message and kind.on_batch is base.on_batch:
            raise TypeError(f"{kind.__name__} must define on_message or on_batch")
        self.url = parse_ws_url(url)
        super().__init__(self.url.info)
        self.clock = clock
        self._ssl_context = ssl_context
        self._headers = tuple(headers)
        self._subprotocols = tuple(subprotocols)
        self._options = options
        self._opening: WebSocket | None = None

    # -- what a user defines ---------------------------------------------------------

    def on_open(self, websocket: WebSocket, context: C) -> None:
        """Begin: the upgrade is done, nothing was received yet.

        Raises:
            Exception: Ends the connection as a failure.
        """

    def on_message(self, websocket: WebSocket, message: Frame, context: C) -> None:
        """Take one message; may send.

        Raises:
            Exception: Ends the connection as a failure; the messages behind this one
                in the same read are dropped.
        """

    def on_batch(self, websocket: WebSocket, batch: Batch, context: C) -> None:
        """Take the messages of one read; by default one by one by `on_message`.

        Raises:
            Exception: Ends the connection as a failure.
        """
        for message in batch:
            self.on_message(websocket, message, context)

    def subscriptions(self, context: C) -> Iterable[str | Buffer]:
        """Return the text messages to send first on each connection."""
        del context
        return ()

    # -- what a service calls --------------------------------------------------------

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
                clock=self.clock,
            )
            for message in self.subscriptions(context):
                websocket.send_text(message)
        except BaseException:
            stream.close()
            raise
        self._opening = websocket
        return websocket

    def poll(self, target: WebSocket, context: C) -> int:
        """Read once; return how many messages came.

        Raises:
            NetError: When the conversation is over.
            Exception: What `on_open`, `on_message` or `on_batch` raises.
        """
        batch = target.read_batch()
        opened = 0
        if target is self._opening and target.state is not State.CONNECTING:
            self._opening = None
            self.on_open(target, context)
            opened = 1
        if batch is None:
            return opened
        self.on_batch(target, batch, context)
        return len(batch) + opened

    def selectable(self, target: WebSocket) -> WebSocketWatch:
        """Return what a selector can watch of `target`."""
        return WebSocketWatch(target)
