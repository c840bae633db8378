r"""Every way in which talking to an exchange can fail.

::

    IntegrationError
    ├── SocketError                    moving, signing and reading bytes
    │   ├── LocalError                 we did wrong: trying again changes nothing
    │   │   ├── Sink                   the other half of a channel is gone
    │   │   ├── Serialise              our value has no form on the wire
    │   │   │   ├── QueryParams        ... in a query string
    │   │   │   └── UrlEncoded         ... in a form body
    │   │   ├── UrlParse               a URL that is none
    │   │   ├── Signing                a key or a request that cannot be signed
    │   │   ├── Unsupported            the entity does not offer the item
    │   │   └── Overload               a bounded buffer is full
    │   └── RemoteError                the peer or the way to it did wrong
    │       ├── Deserialise            text that is not what was announced
    │       │   └── DeserialiseBinary
    │       │       └── DeserialiseProtobuf
    │       ├── Subscribe              a subscription was refused or never confirmed
    │       ├── Terminated             the peer closed the connection
    │       ├── WebSocket              the connection broke below the messages
    │       ├── Broker                 a message broker reports a failure
    │       ├── Fix                    a FIX session failed, or refused a message
    │       ├── GaveUp                 reconnecting was tried as often as allowed
    │       ├── TlsError, DnsError     the way to the peer
    │       ├── Http                   a request failed before a usable response
    │       │   ├── HttpTimeout
    │       │   └── UnknownOutcome     it may or may not have taken effect
    │       ├── HttpResponse           a response that reports a failure
    │       ├── Exchange               the venue says no
    │       │   ├── Unauthorised
    │       │   ├── RateLimited
    │       │   ├── Maintenance
    │       │   └── ClockSkew
    │       ├── Unidentifiable         a message of a subscription nobody made
    │       ├── SequenceGap            messages were lost
    │       └── ChecksumMismatch       a book is not what the venue has
    └── DataError                      market data cannot be what was asked for
        ├── UnknownIndex
        ├── SubscriptionsEmpty
        ├── UnsupportedSubscription
        │   └── UnsupportedSubKind
        ├── InitialSnapshotMissing
        ├── InitialSnapshotInvalid
        ├── InvalidLevel
        ├── InvalidSequence
        └── SocketFailed

An error is raised where it ends something, and is *yielded as a value* where it
concerns one message of a stream that goes on. Each says what a driver must know:

* `recoverable`: doing the same again (retry, reconnect, resync) can help;
* `terminal`: the stream that yielded it cannot go on;
* `scope`: how much of what we hold is in doubt.

This module maps nothing and imports no I/O library: the seams do
(`rest.httpx_transport`, `stream.mapping`).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar, final

__all__ = [
    "UNDECODABLE",
    "Broker",
    "ChecksumMismatch",
    "ClockSkew",
    "DataError",
    "Deserialise",
    "DeserialiseBinary",
    "DeserialiseProtobuf",
    "DnsError",
    "Exchange",
    "Fix",
    "GaveUp",
    "Http",
    "HttpResponse",
    "HttpTimeout",
    "InitialSnapshotInvalid",
    "InitialSnapshotMissing",
    "IntegrationError",
    "InvalidLevel",
    "InvalidSequence",
    "LocalError",
    "Maintenance",
    "Overload",
    "QueryParams",
    "RateLimited",
    "RemoteError",
    "Scope",
    "SequenceGap",
    "Serialise",
    "Signing",
    "Sink",
    "SocketError",
    "SocketFailed",
    "Subscribe",
    "SubscribeError",
    "SubscriptionsEmpty",
    "Terminated",
    "TlsError",
    "Unauthorised",
    "Unidentifiable",
    "UnknownIndex",
    "UnknownOutcome",
    "Unsupported",
    "UnsupportedSubKind",
    "UnsupportedSubscription",
    "UrlEncoded",
    "UrlParse",
    "WebSocket",
]


UNDECODABLE = (ValueError, RecursionError)
"""What msgspec raises for bad bytes: its own errors and UnicodeDecodeError are
ValueErrors; brackets nested a thousand deep are a RecursionError."""


class Scope(StrEnum):
    """How much is in doubt after an error, from least to most."""

    MESSAGE = "message"
    INSTRUMENT = "instrument"
    CONNECTION = "connection"
    EXCHANGE = "exchange"


class IntegrationError(Exception):
    """The base of every error this package raises or yields.

    Attributes:
        recoverable: Doing the same again (retry, reconnect, resync) can help.
        terminal: The stream that yielded the error cannot go on.
        scope: How much of what we hold is in doubt.
    """

    recoverable: bool = False
    terminal: bool = False
    scope: Scope = Scope.MESSAGE

    def is_unrecoverable(self) -> bool:
        """Say whether trying the same again is pointless."""
        return not self.recoverable

    def is_terminal(self) -> bool:
        """Say whether the stream that yielded this error must end."""
        return self.terminal


class SocketError(IntegrationError):
    """Something between our value and the venue's bytes, or back, failed."""


class LocalError(SocketError):
    """We did wrong: the same call will fail again."""


class Sink(LocalError):
    """The receiving half of a channel or a socket is gone: nobody can hear us."""

    terminal = True
    scope = Scope.CONNECTION


class Serialise(LocalError):
    """A value of ours has no form on the wire."""


class QueryParams(Serialise):
    """A value of ours cannot stand in a query string."""


class UrlEncoded(Serialise):
    """A value of ours cannot stand in a form body."""


class UrlParse(LocalError):
    """A text given as URL is none."""

    terminal = True
    scope = Scope.CONNECTION


class Signing(LocalError):
    """A key cannot sign, or a request cannot be signed; never shows the key."""

    scope = Scope.EXCHANGE


class Unsupported(LocalError):
    """An entity (venue, codec, policy) does not offer what was asked of it.

    Attributes:
        entity: Who was asked.
        item: What it does not offer.
    """

    def __init__(self, entity: str, item: str) -> None:
        super().__init__(f"{entity} does not support {item}")
        self.entity = entity
        self.item = item


class Overload(LocalError):
    """A bounded buffer is full because its consumer is slower than its producer.

    Attributes:
        capacity: How much the buffer holds (items, keys or bytes, as the message says).
    """

    recoverable = True

    def __init__(self, message: str, *, capacity: int) -> None:
        super().__init__(message)
        self.capacity = capacity


class RemoteError(SocketError):
    """The peer, or the way to it, did wrong.

    Attributes:
        status: HTTP status of the response that carried the failure, if any.
        headers: Header fields of that response, names in lower case.
        retry_after: Seconds the venue asks us to wait, if it says so.
    """

    recoverable = True

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers: Mapping[str, str] = {} if headers is None else headers
        self.retry_after = retry_after


class Deserialise(RemoteError):
    """Text from the venue that does not decode into what was announced.

    The next message may be well: an item error, not the end of the stream.

    Attributes:
        reason: What the decoder said, with the path inside the message.
        payload: The whole text (or bytes, see `DeserialiseBinary`).
    """

    recoverable = False
    shown: ClassVar[int] = 4096
    """Characters of the payload that `str(error)` shows; assign to change it."""

    def __init__(self, reason: str, payload: str | bytes) -> None:
        super().__init__(reason)
        self.reason = reason
        self.payload = payload

    def __str__(self) -> str:
        text = self.payload
        if isinstance(text, bytes):
            # One undecodable byte becomes at most one character: cut before decoding.
            text = text[: self.shown * 4].decode("utf-8", "replace")
        cut = text[: self.shown]
        more = len(self.payload) - len(cut)
        tail = f"... ({len(self.payload)} in all)" if more > 0 else ""
        return f"{self.reason}; payload: {cut}{tail}"


class DeserialiseBinary(Deserialise):
    """Bytes from the venue that do not decode into what was announced."""


class DeserialiseProtobuf(DeserialiseBinary):
    """A protobuf message that does not decode into what was announced."""


class Subscribe(RemoteError):
    """The venue refused a subscription, or did not confirm it in time."""

    scope = Scope.INSTRUMENT


SubscribeError = Subscribe
"""The name under which `Validator.validate` documents it."""


class Terminated(RemoteError):
    """The peer closed the connection.

    Attributes:
        code: WebSocket close code (RFC 6455 §7.4), 1005 if the frame had none.
        reason: The peer's words, possibly empty.
    """

    terminal = True
    scope = Scope.CONNECTION

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"the peer closed the connection: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class WebSocket(RemoteError):
    """The connection broke, or the peer broke the protocol, below the messages."""

    terminal = True
    scope = Scope.CONNECTION


class Broker(RemoteError):
    """A message broker (Kafka, NATS) reports a failure, or was lost.

    Attributes:
        code: The broker's own code or words.
    """

    scope = Scope.CONNECTION

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        recoverable: bool = True,
        terminal: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.recoverable = recoverable
        self.terminal = terminal


class Fix(RemoteError):
    """A FIX session failed, or one side refused a message at session level."""

    recoverable = False
    scope = Scope.CONNECTION

    def __init__(
        self, message: str, *, recoverable: bool = False, terminal: bool = False
    ) -> None:
        super().__init__(message)
        self.recoverable = recoverable
        self.terminal = terminal


class GaveUp(RemoteError):
    """Reconnecting failed as often, or as long, as the policy allows.

    Attributes:
        attempts: Connection attempts since the connection was lost.
    """

    recoverable = False
    terminal = True
    scope = Scope.EXCHANGE

    def __init__(self, message: str, *, attempts: int) -> None:
        super().__init__(message)
        self.attempts = attempts


class TlsError(RemoteError):
    """The TLS handshake failed or the certificate is not the venue's."""

    recoverable = False
    terminal = True
    scope = Scope.CONNECTION


class DnsError(RemoteError):
    """The venue's name did not resolve."""

    terminal = True
    scope = Scope.CONNECTION


class Http(RemoteError):
    """A request got no usable response.

    Attributes:
        sent: False only if no byte of the request can have reached the venue.
    """

    def __init__(
        self,
        message: str,
        *,
        sent: bool = True,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(
            message, status=status, headers=headers, retry_after=retry_after
        )
        self.sent = sent


class HttpTimeout(Http):
    """A request got no complete response in its time."""


@final
class UnknownOutcome(Http):
    """A request that changes something may or may not have taken effect.

    Never retried. Ask the venue for the state of `client_order_id` before doing
    anything else; `__cause__` says why nobody knows.

    Attributes:
        client_order_id: What the request named the order, if it named it.
    """

    recoverable = False
    scope = Scope.INSTRUMENT

    def __init__(
        self,
        message: str,
        *,
        client_order_id: str | None = None,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(
            message, status=status, headers=headers, retry_after=retry_after
        )
        self.client_order_id = client_order_id


class HttpResponse(RemoteError):
    """A response whose status reports a failure that its body does not explain.

    Attributes:
        text: The body, or what could be read of it.
    """

    def __init__(
        self,
        status: int,
        text: str,
        *,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(
            f"HTTP status {status}: {text[: Deserialise.shown]}",
            status=status,
            headers=headers,
            retry_after=retry_after,
        )
        self.text = text
        # 4xx says that the same request will be refused again, 408 excepted (RFC 9110).
        self.recoverable = status >= 500 or status == 408


class Exchange(RemoteError):
    """The venue understood and said no, in its own words.

    Attributes:
        code: The venue's own code, as text, if it gave one.
    """

    recoverable = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(
            message, status=status, headers=headers, retry_after=retry_after
        )
        self.code = code


class Unauthorised(Exchange):
    """The venue does not know the key, or the key may not do this."""

    scope = Scope.EXCHANGE


class RateLimited(Exchange):
    """The venue takes no more requests for now (HTTP 429, 418, or its own code)."""

    recoverable = True
    scope = Scope.EXCHANGE


class Maintenance(Exchange):
    """The venue, or the part asked, is closed for now."""

    recoverable = True
    scope = Scope.EXCHANGE


class ClockSkew(Exchange):
    """The venue refused our timestamp: our estimate of its clock is off.

    The request was not executed; synchronise and send it again.
    """

    recoverable = True
    scope = Scope.EXCHANGE


class Unidentifiable(RemoteError):
    """A message belongs to a subscription that we do not hold.

    Attributes:
        subscription_id: What the message names, by convention `channel|market`.
    """

    recoverable = False

    def __init__(self, subscription_id: str) -> None:
        super().__init__(f"no subscription is known as {subscription_id!r}")
        self.subscription_id = subscription_id


class SequenceGap(RemoteError):
    """Messages of one instrument were lost: what we hold of it is stale.

    Attributes:
        expected: The number that had to come next.
        actual: The number that came.
        instrument: Which instrument, as the venue spells it.
    """

    scope = Scope.INSTRUMENT

    def __init__(self, instrument: str, *, expected: int, actual: int) -> None:
        super().__init__(
            f"{instrument}: sequence {expected} had to come next, was {actual}"
        )
        self.instrument = instrument
        self.expected = expected
        self.actual = actual


class ChecksumMismatch(RemoteError):
    """A book of ours differs from the venue's: it is stale.

    Attributes:
        instrument: Which instrument, as the venue spells it.
        expected: The venue's checksum.
        actual: Ours.
    """

    scope = Scope.INSTRUMENT

    def __init__(self, instrument: str, *, expected: int, actual: int) -> None:
        super().__init__(
            f"{instrument}: the venue's checksum is {expected}, ours was {actual}"
        )
        self.instrument = instrument
        self.expected = expected
        self.actual = actual


class DataError(IntegrationError):
    """Market data is not, or cannot be, what was subscribed to."""


class UnknownIndex(DataError):
    """A key has no place in the index of exchanges, assets or instruments.

    Attributes:
        entity: `exchange`, `asset` or `instrument`.
        key: The key that was looked up.
    """

    def __init__(self, entity: str, key: str) -> None:
        super().__init__(f"no {entity} is indexed under {key!r}")
        self.entity = entity
        self.key = key


class SubscriptionsEmpty(DataError):
    """A stream of no subscription was asked for."""


class UnsupportedSubscription(DataError):
    """A venue's connector does not offer this subscription.

    Attributes:
        exchange: The venue.
        item: What it does not offer.
    """

    def __init__(self, exchange: str, item: str) -> None:
        super().__init__(f"{exchange} does not support {item}")
        self.exchange = exchange
        self.item = item


class UnsupportedSubKind(UnsupportedSubscription):
    """A venue's connector does not offer this kind of data for the instrument."""


class InitialSnapshotMissing(DataError):
    """A book's first image did not come.

    Attributes:
        subscription_id: Whose.
    """

    recoverable = True
    scope = Scope.INSTRUMENT

    def __init__(self, subscription_id: str) -> None:
        super().__init__(f"no snapshot came for {subscription_id!r}")
        self.subscription_id = subscription_id


class InitialSnapshotInvalid(DataError):
    """A book's first image does not fit the updates around it."""

    recoverable = True
    scope = Scope.INSTRUMENT


class InvalidLevel(DataError):
    """A price or an amount that no market has: not finite, negative, misspelt."""

    scope = Scope.INSTRUMENT


class InvalidSequence(DataError):
    """An update does not follow the one before it.

    Attributes:
        previous_update_id: The last identifier that was applied.
        first_update_id: Where the refused update starts.
    """

    recoverable = True
    terminal = True
    scope = Scope.INSTRUMENT

    def __init__(self, previous_update_id: int, first_update_id: int) -> None:
        super().__init__(
            f"an update that starts at {first_update_id} does not follow "
            f"{previous_update_id}; take a new snapshot"
        )
        self.previous_update_id = previous_update_id
        self.first_update_id = first_update_id


class SocketFailed(DataError):
    """The connection under a market stream failed; `__cause__` is the SocketError."""

    recoverable = True
    terminal = True
    scope = Scope.CONNECTION
