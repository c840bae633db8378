"""What a parser makes of a frame: payload, or traffic about the traffic.

Pings, pongs, acknowledgements and plain-text heartbeats carry no data but prove that
a connection lives. A parser therefore returns them as `Admin` values instead of
dropping them; streams count them and hand them to whoever watches liveness.

No decoding happens here.
"""

from enum import StrEnum
from typing import Generic, TypeAlias, TypeVar

import msgspec

__all__ = [
    "FEED_ENDED",
    "Admin",
    "AdminKind",
    "ApplicationAdmin",
    "FeedEnded",
    "Message",
    "Payload",
    "ProtocolAdmin",
]

T = TypeVar("T")


class AdminKind(StrEnum):
    """What administrative traffic is about."""

    PING = "ping"
    PONG = "pong"
    CLOSE = "close"
    HEARTBEAT = "heartbeat"
    ACK = "ack"
    INFO = "info"
    LOGON = "logon"
    LOGOUT = "logout"
    RESEND = "resend"


class Admin(msgspec.Struct, frozen=True):
    """Traffic about the traffic: `kind` says what it is, `payload` what it carried."""

    kind: AdminKind
    payload: bytes = b""


class ProtocolAdmin(Admin, frozen=True, tag="protocol"):
    """Administrative traffic of the protocol itself (RFC 6455 §5.5, NATS PING)."""


class ApplicationAdmin(Admin, frozen=True, tag="application"):
    """Administrative traffic of the venue: heartbeats, acknowledgements, notices."""


class Payload(msgspec.Struct, Generic[T], frozen=True, tag="payload"):
    """Data, wrapped: for parsers whose consumers want one tagged union."""

    value: T


Message: TypeAlias = Payload[T] | ProtocolAdmin | ApplicationAdmin
"""Everything a protocol can deliver, told apart by type."""


class FeedEnded(msgspec.Struct, frozen=True, tag="feed_ended"):
    """The input feed has ended; nothing follows."""


FEED_ENDED = FeedEnded()
"""The one value of `FeedEnded`, for queues that carry it as their last item."""
