"""What can go wrong in HTTP/1.1, below `netcore.errors`.

::

    NetError
    ├── LocalError
    │   └── HttpLocalError
    │       ├── BadMessage (ValueError)
    │       ├── PoolExhausted
    │       └── RequestInvalidated
    └── RemoteError
        └── HttpRemoteError
            ├── HttpProtocolError
            │   └── MessageTooLarge
            ├── ServerDisconnected
            └── HttpTimeout (TimeoutError)

A response with a status of 400 or above is a response, not an error.
"""

from netcore.errors import LocalError, RemoteError

__all__ = [
    "BadMessage",
    "HttpLocalError",
    "HttpProtocolError",
    "HttpRemoteError",
    "HttpTimeout",
    "MessageTooLarge",
    "PoolExhausted",
    "RequestInvalidated",
    "ServerDisconnected",
]


class HttpLocalError(LocalError):
    """The caller asked for something that HTTP or a limit of ours does not allow."""


class BadMessage(HttpLocalError, ValueError):
    """A message cannot be sent as it is."""


class PoolExhausted(HttpLocalError):
    """All connections are in use; finish or invalidate a request first."""


class RequestInvalidated(HttpLocalError):
    """The request was given up by its own user."""


class HttpRemoteError(RemoteError):
    """The peer or the network failed an exchange."""


class HttpProtocolError(HttpRemoteError):
    """The peer sent what is no HTTP/1.1.

    Attributes:
        status: The status a server answers with, such as 400.
    """

    def __init__(self, text: str, *, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class MessageTooLarge(HttpProtocolError):
    """A head, body or trailer is over the limit."""


class ServerDisconnected(HttpRemoteError):
    """The connection ended before the response did.

    Attributes:
        unprocessed: Whether the server certainly did nothing with the request, so
            that it can be sent again whatever it is. If false, nobody knows.
    """

    def __init__(self, text: str, *, unprocessed: bool) -> None:
        super().__init__(text)
        self.unprocessed = unprocessed


class HttpTimeout(HttpRemoteError, TimeoutError):
    """The response was not complete in time; nobody knows what the server did."""
