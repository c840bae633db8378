"""Everything about market streams that a user may set, with reasons for defaults."""

import ssl
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import msgspec

from integration.market.backoff import VenueBackoff
from integration.market.health import StreamMonitor
from integration.rest.transport import HttpTransport
from integration.stream.channel import OverloadPolicy
from integration.stream.reconnect import ReconnectPolicy
from netcore.clock import Clock, SystemClock
from netcore.models import Model

__all__ = ["FirstConnect", "StreamConfig"]


class FirstConnect(StrEnum):
    """What happens if the very first connection or subscription fails."""

    RAISE = "raise"
    """Opening the streams raises: a wrong symbol should not wait for ever."""
    RETRY = "retry"
    """It is tried again like any later connection."""


class StreamConfig(Model, frozen=True):
    """How market streams behave.

    Attributes:
        websocket_url: replaces an exchange's WebSocket URL (simulator, testnet).
        rest_url: replaces an exchange's REST base URL.
        ssl_context: verifies servers; None: the system's certificates.
        recorder: folder into which the raw bytes of every connection are recorded.
        capacity: events that may wait for the consumer.
        overload: what happens beyond that; `block` slows the venue down by TCP.
        first_connect: whether opening fails or goes on trying.
        reconnect: pace and limits of reconnecting; None: for ever, at the pace of
            `VenueBackoff`.
        subscription_timeout: seconds until a subscription must be confirmed; not
            prolonged by data that flow meanwhile.
        ping_interval: seconds between pings where the venue has none of its own.
        ping_timeout: seconds after a ping in which *something* must come.
        silence: seconds without data that are never suspicious; the limit is learned
            upwards from there. None: silence is never suspicious.
        lifetime: seconds after which a connection is changed for a new one while it
            still works; None: shortly before the venue would end it.
        overlap: seconds for which both are listened to when one is changed for another;
            longer than a message can be on its way.
        stall_timeout: seconds that a full queue may keep a connection from reading
            before its books are called stale.
        max_depth: levels kept per side of a book; None: all.
        buffer_limit: updates kept per instrument while an image is on its way.
        image_timeout: seconds until an image on the stream must come.
        concurrent_images: HTTP images fetched at once per exchange.
        http_transport: sends HTTP requests; None: a pool of its own.
        clock: stamps reports.
        lines: connections that carry the same (A/B): of every event the first true
            copy is delivered, and a lost line stops nothing. What is polled by HTTP is
            asked for once.
        line_url: by exchange, the WebSocket URLs of the second and further lines;
            where one is missing, the first line's.
        poll_interval: seconds between two questions for the same data where the venue
            has no stream of them (Binance's open interest).
        audit_interval: seconds between comparisons of a connection's books with the
            venue's HTTP image, one book at a time; None: never.
        monitor: measures how late events are; None: nobody asks.
        schema_sample: one message in so many is compared with the types that read it,
            and fields that a venue has added are told of once (`SchemaDrift`); None:
            they are passed over in silence.
    """

    websocket_url: Mapping[str, str] = {}
    rest_url: Mapping[str, str] = {}
    ssl_context: ssl.SSLContext | None = None
    recorder: Path | None = None
    capacity: int = 65_536
    overload: OverloadPolicy = OverloadPolicy.BLOCK
    first_connect: FirstConnect = FirstConnect.RAISE
    reconnect: ReconnectPolicy | None = None
    subscription_timeout: float = 10.0
    ping_interval: float = 20.0
    ping_timeout: float = 10.0
    silence: float | None = 60.0
    lifetime: float | None = None
    overlap: float = 2.0
    stall_timeout: float = 10.0
    max_depth: int | None = None
    buffer_limit: int = 4096
    image_timeout: float = 10.0
    concurrent_images: int = 4
    http_transport: HttpTransport | None = None
    clock: Clock = msgspec.field(default_factory=SystemClock)
    lines: int = 1
    line_url: Mapping[str, tuple[str, ...]] = {}
    poll_interval: float = 15.0
    audit_interval: float | None = None
    monitor: StreamMonitor | None = None
    schema_sample: int | None = None

    @property
    def policy(self) -> ReconnectPolicy:
        """How connections are brought back; a pace of its own for each that asks."""
        return self.reconnect or ReconnectPolicy(backoff=VenueBackoff())

    def __post_init__(self) -> None:
        positive = {
            "capacity": self.capacity,
            "subscription_timeout": self.subscription_timeout,
            "ping_interval": self.ping_interval,
            "ping_timeout": self.ping_timeout,
            "silence": 1.0 if self.silence is None else self.silence,
            "lifetime": 1.0 if self.lifetime is None else self.lifetime,
            "overlap": self.overlap,
            "stall_timeout": self.stall_timeout,
            "max_depth": 1 if self.max_depth is None else self.max_depth,
            "buffer_limit": self.buffer_limit,
            "image_timeout": self.image_timeout,
            "concurrent_images": self.concurrent_images,
            "lines": self.lines,
            "poll_interval": self.poll_interval,
            "audit_interval": 1 if self.audit_interval is None else self.audit_interval,
            "schema_sample": 1 if self.schema_sample is None else self.schema_sample,
        }
        for name, value in positive.items():
            if value <= 0:
                msg = f"StreamConfig.{name} is above 0, was {value}"
                raise ValueError(msg)
        for exchange, urls in self.line_url.items():
            if len(urls) >= self.lines:
                msg = (
                    f"line_url of {exchange} names {len(urls)} further lines, but "
                    f"lines is {self.lines}: it has to be {len(urls) + 1} at least"
                )
                raise ValueError(msg)
