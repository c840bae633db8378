"""What a venue's dialect must do, apart from any socket.

A `Dialect` belongs to one simulated exchange and spells its events; a `Session`
belongs to one WebSocket connection and keeps its subscriptions. Both are pure and
synchronous: text in, text out, so that an answer and the data that follows it cannot
change places. The socket side is `integration.testing.server` and `.simulator`.
"""

from collections.abc import Mapping, Set
from enum import Enum
from typing import ClassVar, Protocol, TypeAlias

from integration.testing.book import PriceBook
from integration.testing.events import MarketEvent, SymbolSpec
from integration.testing.faults import Malformed, StreamMessage, malformed_payload
from netcore.models import Model, Timestamp

__all__ = [
    "Action",
    "CloseWith",
    "Dialect",
    "HttpReply",
    "HttpRequest",
    "Limits",
    "MarketView",
    "Send",
    "Session",
    "SnapshotView",
]


class Limits(Model, frozen=True):
    """What a venue allows a client; the defaults are Binance spot's.

    Figures from https://developers.binance.com/docs/binance-spot-api-docs, pages
    "WebSocket Streams" and "Rest API" (read 2026-11).

    Attributes:
        messages_per_second: Inbound messages per connection.
        streams_per_connection: Subscriptions per connection.
        connections: Connections per address ...
        connections_window_s: ... in this many seconds.
        weight_per_minute: Weight of HTTP requests per address.
        requests_until_ban: Requests after the first 429 of a minute that turn it
            into 418; the venue only says "repeatedly".
        ping_interval_s: Between two pings of the venue.
        pong_timeout_s: Silence after a ping that ends the connection.
        lifetime_s: Age at which the venue ends a connection.
        max_message_bytes: Largest inbound message.
        queue_messages: Outgoing messages that may wait for a slow client.
        stall_s: How long lockstep and maximum speed wait for a slow client.
        close_timeout_s: How long the venue waits for its close to be answered.
    """

    messages_per_second: int = 5
    streams_per_connection: int = 1024
    connections: int = 300
    connections_window_s: float = 300.0
    weight_per_minute: int = 6000
    requests_until_ban: int = 20
    ping_interval_s: float = 20.0
    pong_timeout_s: float = 60.0
    lifetime_s: float = 86_400.0
    max_message_bytes: int = 65_536
    queue_messages: int = 4096
    stall_s: float = 10.0
    close_timeout_s: float = 2.0


class SnapshotView(Enum):
    """Which of a symbol's two books is meant."""

    LIVE = "live"
    """The matching engine's: may be ahead of what depth messages told."""
    PUBLISHED = "published"
    """What all depth messages add up to."""


class MarketView(Protocol):
    """What a dialect may see of the exchange it speaks for."""

    @property
    def specs(self) -> Mapping[str, SymbolSpec]:
        """Instruments by venue symbol."""
        ...

    @property
    def limits(self) -> Limits:
        """What clients are allowed."""
        ...

    def clock_ns(self) -> Timestamp:
        """Return the venue's clock: market time, plus any skew told to it."""
        ...

    def skew_ns(self) -> int:
        """Return how much the venue's clock is off."""
        ...

    def snapshot(self, symbol: str, view: SnapshotView) -> PriceBook | None:
        """Return a book to read at once, or None where there is none."""
        ...


class HttpRequest(Model, frozen=True):
    """A request as read from the wire.

    Attributes:
        method: Upper case.
        path: Without query.
        query: Last value per name; blank values kept.
        peer: Address that limits are counted against.
    """

    method: str
    path: str
    query: dict[str, str]
    peer: str


class HttpReply(Model, frozen=True):
    """A response; `headers` come on top of content type and length."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json;charset=UTF-8"


class Send(Model, frozen=True):
    """Send this text to the client."""

    text: str


class CloseWith(Model, frozen=True):
    """Close the connection, after everything sent before."""

    code: int
    reason: str


Action: TypeAlias = Send | CloseWith


class Session(Protocol):
    """One connection's subscriptions and its manner of speaking."""

    @property
    def topics(self) -> Set[str]:
        """What is subscribed to, in the spelling of `StreamMessage.topic`."""
        ...

    def opened(self) -> list[Action]:
        """Return what the venue says first."""
        ...

    def receive(self, message: str | bytes, now_s: float) -> list[Action]:
        """Answer one inbound message.

        Args:
            message: Text, or the payload of a binary frame.
            now_s: A monotonic clock, for limits.
        """
        ...

    def render(self, message: StreamMessage) -> str:
        """Return the text of a subscribed message on this connection."""
        ...


class Dialect(Protocol):
    """One venue's way of speaking."""

    name: ClassVar[str]
    """The exchange id, such as "binance_spot"."""

    websocket_path: ClassVar[str]
    """Path of the plain WebSocket endpoint."""

    limits: ClassVar[Limits]
    """What the venue allows unless it is told otherwise."""

    def sequence(self, symbol: str) -> int | None:
        """Return the sequence that a client's book has; None: the market's own."""
        ...

    def connect(self, path: str, query: str) -> Session | HttpReply:
        """Open a session for a handshake's target, or refuse it with a response."""
        ...

    def publish(self, event: MarketEvent, topics: Set[str]) -> list[StreamMessage]:
        """Spell an event for those of `topics` it belongs to.

        Called for every event in order, whether anybody listens or not.
        """
        ...

    def respond(self, request: HttpRequest, now_s: float) -> HttpReply:
        """Answer an HTTP request; `now_s` is a monotonic clock."""
        ...

    def turn_away(self, status: int, retry_after: int | None) -> HttpReply:
        """Return the venue's words for 429 and 418."""
        ...

    def malformed(self, fault: Malformed) -> str | bytes:
        """Return a broken message; a broken depth message in the venue's words."""
        return malformed_payload(fault)

    def shutdown_notice(self) -> str | None:
        """Return the venue's announcement of maintenance, if it has one."""
        ...
