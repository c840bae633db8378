"""What a venue says besides market data, the same for every venue.

A transformer puts these among its outputs, so that acknowledgements, heartbeats and
announcements are *visible*: the ledger of subscriptions, the watchdogs and the books
act on them. None of them reaches a consumer as it is.
"""

from enum import StrEnum
from typing import TypeAlias

import msgspec

from integration.errors import IntegrationError
from integration.models import MarketDataInstrument, MarketEvent, SubscriptionId

__all__ = [
    "Ack",
    "BookChecksum",
    "ConnectionGap",
    "Heartbeat",
    "Ignored",
    "Info",
    "InfoAction",
    "LevelLost",
    "Notice",
    "Output",
    "Pong",
    "Refusal",
    "Reply",
    "TopicLost",
]


class Ack(msgspec.Struct, frozen=True):
    """The venue confirms a request.

    Venues identify what they confirm by one of these: the id of our request, the
    topics themselves, or (Gate.io) only the channel.

    Attributes:
        request_id: of our request, as text.
        topics: which subscriptions.
        channel: all that is known of them.
        channel_id: the number by which the venue calls the topic from now on.
    """

    request_id: str | None = None
    topics: tuple[SubscriptionId, ...] = ()
    channel: str | None = None
    channel_id: int | None = None


class Refusal(msgspec.Struct, frozen=True):
    """The venue refuses a request, or reports an error of ours.

    Attributes:
        error: what it said; not `recoverable` means that the subscription failed.
        request_id: of our request, as text, if it says.
        topics: which subscriptions, if it says.
        channel: all that is known of them, if anything.
    """

    error: IntegrationError
    request_id: str | None = None
    topics: tuple[SubscriptionId, ...] = ()
    channel: str | None = None

    @property
    def fatal(self) -> bool:
        """Whether asking again would be refused again."""
        return not self.error.recoverable


class Pong(msgspec.Struct, frozen=True):
    """The answer to a ping of the venue's own protocol."""

    id: str | None = None


class Heartbeat(msgspec.Struct, frozen=True):
    """A sign of life, of the connection or of one subscription.

    Attributes:
        instrument: whose subscription; None for the connection.
        sequence: the venue's counter, where it sends one.
        last_trade_id: shows lost trades, where the venue sends it.
    """

    instrument: MarketDataInstrument | None = None
    sequence: int | None = None
    last_trade_id: str | None = None


class InfoAction(StrEnum):
    """What an announcement asks us to do."""

    NONE = "none"
    RECONNECT = "reconnect"
    """Open another connection, then leave this one."""
    RESUBSCRIBE = "resubscribe"
    """Subscribe to everything again on this connection."""
    PAUSE = "pause"
    """Nothing will come for a while; silence is no fault."""


class Info(msgspec.Struct, frozen=True):
    """An announcement."""

    action: InfoAction = InfoAction.NONE
    status: str | None = None
    code: str | None = None
    message: str = ""


class Reply(msgspec.Struct, frozen=True):
    """Something the venue wants to hear at once (Deribit's test_request)."""

    payload: bytes


class BookChecksum(msgspec.Struct, frozen=True):
    """A checksum that comes in a message of its own (Bitfinex)."""

    instrument: MarketDataInstrument
    checksum: int


class ConnectionGap(msgspec.Struct, frozen=True):
    """A message of this connection was lost; every book of it is in doubt."""

    expected: int
    received: int


class LevelLost(msgspec.Struct, frozen=True):
    """A change of a level we never saw (BitMEX): a message was lost."""

    instrument: MarketDataInstrument
    detail: str


class TopicLost(msgspec.Struct, frozen=True):
    """A message of one subscription was lost; subscribing again brings its state.

    Attributes:
        topic: which.
        error: what was noticed.
    """

    topic: SubscriptionId
    error: IntegrationError


class Ignored(msgspec.Struct, frozen=True):
    """Understood, and on purpose not passed on."""

    reason: str


Notice: TypeAlias = (
    Ack
    | Refusal
    | Pong
    | Heartbeat
    | Info
    | Reply
    | BookChecksum
    | ConnectionGap
    | LevelLost
    | TopicLost
    | Ignored
)

Output: TypeAlias = MarketEvent | Notice | IntegrationError
"""Everything a transformer of a venue makes of a message."""
