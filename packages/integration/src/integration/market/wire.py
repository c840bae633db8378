"""What connectors and sessions say to each other of a venue's wire: values alone.

Topics, the requests for them, pings, images and polled answers, and what a venue
takes. What makes them is a `Connector`; what is done with them is a session's matter.
"""

from collections.abc import Callable

from integration.models import (
    DataKind,
    OrderBookSnapshot,
    SubscriptionId,
    subscription_id,
)
from netcore.models import Model, Timestamp

__all__ = ["Image", "Outgoing", "Ping", "Polled", "Topic", "VenueLimits"]


class Topic(Model, frozen=True):
    """A subscription in the venue's words.

    Attributes:
        channel: the venue's channel; where speed or depth is part of its name on the
            wire but not in messages, without them.
        market: the venue's symbol; empty for channels of the whole venue.
        parameters: what else the request needs (speed, depth), in the venue's words.
    """

    channel: str
    market: str
    parameters: tuple[str, ...] = ()

    @property
    def id(self) -> SubscriptionId:
        """`channel|market`."""
        return subscription_id(self.channel, self.market)


class Outgoing(Model, frozen=True):
    """A message to send.

    Attributes:
        payload: its bytes; sent as text.
        topics: which subscriptions it is about; empty for pings and settings.
        request_id: by which the venue will refer to it, as text, if it does.
    """

    payload: bytes
    topics: tuple[Topic, ...] = ()
    request_id: str | None = None


class Ping(Model, frozen=True):
    """A ping of the venue's own protocol.

    Attributes:
        interval: seconds between two.
        message: makes one; is given the time in ns since epoch.
    """

    interval: float
    message: Callable[[Timestamp], bytes]


class Image(Model, frozen=True):
    """A book's image from the answer to a request.

    Attributes:
        book: the image.
        time_exchange: when the venue made it, ns; None if it does not say.
    """

    book: OrderBookSnapshot
    time_exchange: Timestamp | None = None


class Polled(Model, frozen=True):
    """What a venue answered about a topic that is on no stream.

    Attributes:
        kind: the data.
        time_exchange: of when they are, ns; None if the venue does not say.
    """

    kind: DataKind
    time_exchange: Timestamp | None = None


class VenueLimits(Model, frozen=True):
    """What the venue allows and expects; each connector cites its source.

    Attributes:
        topics_per_connection: subscriptions on one connection.
        topics_per_message: subscriptions in one request.
        bytes_per_message: length of one request.
        messages_per_second: requests on one connection.
        connections: connections of one address ...
        connections_period: ... in so many seconds.
        lifetime: seconds after which the venue closes a connection; None: never.
        rest_weight: weight of HTTP requests per minute and address.
    """

    topics_per_connection: int = 100
    topics_per_message: int = 50
    bytes_per_message: int = 4096
    messages_per_second: float = 5.0
    connections: int = 60
    connections_period: float = 60.0
    lifetime: float | None = None
    rest_weight: float = 600.0
