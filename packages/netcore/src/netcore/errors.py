"""What can go wrong below the exchanges, as one tree.

Local: the caller did something this package refuses; the same call fails again.
Remote: the peer, the network or a file did; trying again may help.

::

    NetError
    ├── LocalError
    │   ├── InvalidURL (ValueError)
    │   ├── BufferFull
    │   ├── StreamClosed
    │   ├── SendMismatch
    │   ├── SocketOptionError (OSError)
    │   └── EndpointLost
    └── RemoteError
        ├── ConnectError (OSError)
        │   ├── ConnectTimeout (TimeoutError)
        │   └── ResolveError
        │       └── ResolveTimeout (TimeoutError)
        ├── ConnectionLost (ConnectionError)
        ├── TlsError
        │   ├── CertificateError
        │   │   ├── WrongHost
        │   │   ├── CertificateExpired
        │   │   └── UntrustedCertificate
        │   └── TruncatedStream
        ├── ConnectionClosed
        ├── ProtocolError
        ├── HandshakeError
        └── RecordingError
            └── ReplayDivergence

Errors of the operating system are mapped once, in the streams, with the original as
`__cause__`; those that are also an `OSError` keep its `errno`. No message holds a
payload, a header value or a key.
"""

from collections.abc import Sequence

__all__ = [
    "BufferFull",
    "CertificateError",
    "CertificateExpired",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionClosed",
    "ConnectionLost",
    "EndpointLost",
    "HandshakeError",
    "InvalidURL",
    "LocalError",
    "NetError",
    "ProtocolError",
    "RecordingError",
    "RemoteError",
    "ReplayDivergence",
    "ResolveError",
    "ResolveTimeout",
    "SendMismatch",
    "SocketOptionError",
    "StreamClosed",
    "TlsError",
    "TruncatedStream",
    "UntrustedCertificate",
    "WrongHost",
]


class NetError(Exception):
    """The base of every error that netcore raises on purpose."""


# -- the caller's side ---------------------------------------------------------------


class LocalError(NetError):
    """The caller asked for something that cannot be done."""


class InvalidURL(LocalError, ValueError):
    """A text is not a URL that this package can connect to."""


class BufferFull(LocalError):
    """More would be queued than the limit allows; nothing of the data was queued.

    Attributes:
        pending: Bytes already waiting.
        size: Bytes that were to be added.
        limit: The most that may wait.
    """

    def __init__(self, pending: int, size: int, limit: int) -> None:
        super().__init__(
            f"{size} bytes do not fit behind the {pending} that wait: the limit is "
            f"{limit}; flush until the peer has taken some, or raise the limit"
        )
        self.pending = pending
        self.size = size
        self.limit = limit


class StreamClosed(LocalError):
    """The stream was used after its own `close()`."""


class SendMismatch(LocalError):
    """A send did not continue with the bytes of the send that would have blocked.

    A TLS record that is partly on the wire has to be finished with the same bytes
    (SSL_write(3), "Warnings"). `netcore.stream.outbox.Outbox` always does that.
    """


class SocketOptionError(LocalError, OSError):
    """The kernel refused a socket option, or this platform does not know it.

    Attributes:
        option: The name of the field of `SocketOptions`.
        errno: The kernel's number, None where the option is unknown here.
    """

    def __init__(self, option: str, message: str, *, errno: int | None = None) -> None:
        super().__init__(f"socket option {option}: {message}")
        self.option = option
        self.errno = errno


class EndpointLost(LocalError):
    """An endpoint of a service ended and said it must not be made again.

    Attributes:
        handle: The handle it was registered under.
        reason: The `netcore.service.DisconnectReason`.
        others: Handles and reasons of further endpoints lost in the same turn.
    """

    def __init__(
        self,
        handle: int,
        reason: object,
        *,
        others: Sequence[tuple[int, object]] = (),
    ) -> None:
        more = f" (and {len(others)} more in this turn)" if others else ""
        super().__init__(f"endpoint {handle} will not be recreated: {reason}{more}")
        self.handle = handle
        self.reason = reason
        self.others = tuple(others)


# -- the peer's side -----------------------------------------------------------------


class RemoteError(NetError):
    """The peer, the network or a recording misbehaved."""


class ConnectError(RemoteError, OSError):
    """A connection could not be made.

    Attributes:
        errno: The kernel's number, None if the kernel was not the one that refused.
    """

    def __init__(self, message: str, *, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


class ConnectTimeout(ConnectError, TimeoutError):
    """The peer did not answer in the time it was given."""


class ResolveError(ConnectError):
    """A host name has no address, or no resolver could be asked."""


class ResolveTimeout(ResolveError, TimeoutError):
    """The resolver did not answer in the time it was given."""


class ConnectionLost(RemoteError, ConnectionError):
    """An established connection broke without the end being announced.

    Attributes:
        errno: The kernel's number.
    """

    def __init__(self, message: str, *, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


class TlsError(RemoteError):
    """The TLS layer refused the peer or was refused by it.

    Attributes:
        reason: OpenSSL's word for it, such as `WRONG_VERSION_NUMBER`; "" if none.
    """

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class CertificateError(TlsError):
    """The peer's certificate was not accepted.

    Attributes:
        verify_code: X509_V_ERR_* of OpenSSL (x509_vfy.h).
    """

    def __init__(self, message: str, *, reason: str = "", verify_code: int = 0) -> None:
        super().__init__(message, reason=reason)
        self.verify_code = verify_code


class WrongHost(CertificateError):
    """The certificate is for another host name or address."""


class CertificateExpired(CertificateError):
    """The certificate, or one above it, is past its time or not yet valid."""


class UntrustedCertificate(CertificateError):
    """The certificate is self-signed or its authority is not one we trust."""


class TruncatedStream(TlsError):
    """The connection ended without TLS's close_notify.

    Somebody on the way may have cut the end off, so what was received must not be
    taken for complete unless the protocol above has its own end mark
    (RFC 8446 §6.1).
    """


class ConnectionClosed(RemoteError):
    """A conversation is over: an ordinary end or the peer's stated reason.

    Attributes:
        code: The protocol's close code, such as those of RFC 6455 §7.4.1.
        reason: The peer's words, maybe empty.
        initiated_by: "local", "remote" or "" if nobody announced the end.
    """

    def __init__(self, code: int, reason: str = "", initiated_by: str = "") -> None:
        words = f" {reason!r}" if reason else ""
        by = f", closed by {initiated_by}" if initiated_by else ""
        super().__init__(f"connection closed with code {code}{words}{by}")
        self.code = code
        self.reason = reason
        self.initiated_by = initiated_by


class ProtocolError(RemoteError):
    """The peer broke the rules of the protocol.

    Attributes:
        code: The close code to answer with.
        text: Which rule, and what came instead.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} (code {code})")
        self.code = code
        self.text = text


class HandshakeError(RemoteError):
    """The peer refused to change from HTTP to the protocol asked for.

    Attributes:
        status: The HTTP status, 0 if there was no readable answer.
        headers: The answer's headers as (name, value) pairs.
        body: The first part of the answer's body.
    """

    def __init__(
        self,
        status: int,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        message: str = "",
    ) -> None:
        super().__init__(message or f"the upgrade was answered with status {status}")
        self.status = status
        self.headers = tuple(headers)
        self.body = body


class RecordingError(RemoteError):
    """A recording cannot be written, or is damaged."""


class ReplayDivergence(RecordingError):
    """During a replay something else was sent than was recorded.

    Attributes:
        offset: Where in the normalised outbound bytes the two part.
    """

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(f"at outbound byte {offset}: {message}")
        self.offset = offset
