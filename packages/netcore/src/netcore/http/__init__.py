"""HTTP/1.1 for order entry: exchanges without I/O, a client over warm connections.

`HttpExchange` is the client's half as values, `HttpServerConnection` the server's.
`HttpClient` drives exchanges over a pool, polled or blocking; `netcore.http.trio` does
so under trio. It is small on purpose: see `netcore.http.client`.
"""

from netcore.http.client import HttpClient, HttpRequest
from netcore.http.errors import (
    BadMessage,
    HttpLocalError,
    HttpProtocolError,
    HttpRemoteError,
    HttpTimeout,
    MessageTooLarge,
    PoolExhausted,
    RequestInvalidated,
    ServerDisconnected,
)
from netcore.http.exchange import ExchangeState, HttpExchange
from netcore.http.messages import (
    Headers,
    Request,
    Response,
    encode_request,
    encode_response,
)
from netcore.http.pool import (
    ConnectionPool,
    FixedPool,
    HttpConnection,
    SinglePool,
)
from netcore.http.reader import Kind, Limits, MessageReader, RawMessage
from netcore.http.server import HttpServerConnection

__all__ = [
    "BadMessage",
    "ConnectionPool",
    "ExchangeState",
    "FixedPool",
    "Headers",
    "HttpClient",
    "HttpConnection",
    "HttpExchange",
    "HttpLocalError",
    "HttpProtocolError",
    "HttpRemoteError",
    "HttpRequest",
    "HttpServerConnection",
    "HttpTimeout",
    "Kind",
    "Limits",
    "MessageReader",
    "MessageTooLarge",
    "PoolExhausted",
    "RawMessage",
    "Request",
    "RequestInvalidated",
    "Response",
    "ServerDisconnected",
    "SinglePool",
    "encode_request",
    "encode_response",
]
