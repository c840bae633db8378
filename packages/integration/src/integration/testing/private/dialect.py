"""What a private dialect must do, apart from any socket; and the faults there are.

A dialect is pure: a request in, a reply out; account events in, messages out. Sockets
and faults are `integration.testing.private.venue`.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar, Protocol, final

import msgspec

from integration.execution.matching import MatchingEngine
from integration.execution.models import AccountEvent
from integration.models import Instrument

__all__ = [
    "PrivateDialect",
    "PrivateFault",
    "PrivateRequest",
    "PrivateSession",
    "Reply",
    "instrument_of",
    "json_reply",
]


class PrivateFault(StrEnum):
    """What goes wrong with the next request, message or connection."""

    LOSE_ANSWER = "lose_answer"
    """The next order request is carried out; the connection drops before the answer."""
    LOSE_REQUEST = "lose_request"
    """The next order request is never seen; the connection drops."""
    SERVER_ERROR = "server_error"
    """The next order request is carried out and answered with HTTP 503."""
    TIMEOUT_CODE = "timeout_code"
    """... and answered with the venue's own code for "execution status unknown"."""
    LOSE_QUERY = "lose_query"
    """The connection drops instead of answering the next question."""
    RATE_LIMIT = "rate_limit"
    """The next request is turned away."""
    DUPLICATE_EVENT = "duplicate_event"
    """The next stream message comes twice."""
    MALFORMED_EVENT = "malformed_event"
    """The next stream message is cut in half."""
    DROP_STREAM = "drop_stream"
    """Every private stream ends without a word; what happens until the next connection
    is told to nobody."""
    MUTE_STREAM = "mute_stream"
    """Private streams go dead: TCP stays up, nothing is read or sent any more."""
    EXPIRE_STREAM = "expire_stream"
    """The venue ends the private streams in its own words (listen key expired)."""
    FORGET_KEY = "forget_key"
    """Listen keys are forgotten: prolonging one fails."""


class PrivateRequest(msgspec.Struct, frozen=True):
    """A request as its bytes came in.

    Attributes:
        method: HTTP method.
        path: Without query.
        query: The raw query.
        params: Its parameters, last value per name.
        headers: Names in lower case.
        body: The raw body.
    """

    method: str
    path: str
    query: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class Reply(msgspec.Struct, frozen=True):
    """A response."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


@final
class PrivateSession:
    """One private stream: whose, and what of it.

    Attributes:
        path: What the handshake asked for.
        user: Whose events it tells; None before it has said who it is.
        topics: What it subscribed to, where the venue has topics.
    """

    __slots__ = ("path", "topics", "user")

    def __init__(self, path: str) -> None:
        self.path = path
        self.user: str | None = None
        self.topics: set[str] = set()


class PrivateDialect(Protocol):
    """One venue's way of speaking of accounts."""

    name: ClassVar[str]
    """The exchange id."""

    stream_path: ClassVar[str]
    """Path of the private stream."""

    def __init__(
        self, engine: MatchingEngine, keys: Mapping[str, tuple[str, str]]
    ) -> None:
        """Speak for an engine; `keys` gives secret and user of each API key."""
        ...

    def changes(self, request: PrivateRequest) -> bool:
        """Say whether a request places or cancels an order."""
        ...

    def respond(self, request: PrivateRequest, now_ns: int) -> Reply:
        """Answer a request by the venue's clock."""
        ...

    def turned_away(self) -> Reply:
        """Return the venue's words for too many requests."""
        ...

    def timed_out(self) -> Reply:
        """Return the venue's words for "execution status unknown"."""
        ...

    def opened(self, session: PrivateSession) -> None:
        """Take note of a new stream."""
        ...

    def receive(
        self, session: PrivateSession, message: bytes, now_ns: int
    ) -> list[bytes]:
        """Answer a message on a private stream."""
        ...

    def spell(
        self, session: PrivateSession, events: Sequence[AccountEvent]
    ) -> list[bytes]:
        """Spell events of the session's user as it subscribed to them."""
        ...

    def farewell(self, session: PrivateSession, now_ns: int) -> list[bytes]:
        """Return the venue's own words for the end of a stream."""
        ...

    def forget_keys(self) -> None:
        """Forget listen keys, where there are any."""
        ...


def instrument_of(engine: MatchingEngine, symbol: str) -> Instrument | None:
    """Return the instrument of a venue's symbol."""
    return next((i for i in engine.instruments if i.name_exchange == symbol), None)


def json_reply(value: Any, status: int = 200) -> Reply:  # noqa: ANN401 - anything JSON has a form for
    """Return a reply with a JSON body."""
    return Reply(status, msgspec.json.encode(value))
