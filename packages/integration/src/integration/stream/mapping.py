"""The seam at which netcore's errors become ours.

netcore says what happened to bytes; streams say what that means to a feed. Nothing
else in this package translates connection errors.
"""

from integration.errors import (
    DnsError,
    SocketError,
    Terminated,
    TlsError,
    UrlParse,
    WebSocket,
)
from integration.rest.parser import retry_after
from netcore import errors as net

__all__ = ["socket_error"]


_ABNORMAL = 1006


def socket_error(error: Exception) -> SocketError:
    """Return what an error of the connection means to a stream.

    The caller raises it `from` the original.
    """
    match error:
        case SocketError():
            return error
        # 1006 is no frame of the peer's: the connection broke (RFC 6455 §7.1.5).
        case net.ConnectionClosed(code=code) if code != _ABNORMAL:
            return Terminated(error.code, error.reason)
        case net.TlsError():
            return TlsError(str(error))
        case net.ResolveError():
            return DnsError(str(error))
        case net.HandshakeError():
            return _refused(error)
        case net.InvalidURL():
            return UrlParse(str(error))
        case _:
            return WebSocket(str(error) or type(error).__name__)


def _refused(error: net.HandshakeError) -> SocketError:
    """A server that answers the upgrade with HTTP may be asking us to wait."""
    headers = {name.lower(): value for name, value in error.headers}
    return WebSocket(
        str(error),
        status=error.status,
        headers=headers,
        retry_after=retry_after(headers),
    )
