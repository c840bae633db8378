"""The stream under a WebSocket: started from a URL, and waited for by scripts.

What may live here: calls on streams that `netcore.ws.websocket` needs around its own.
"""

from ssl import SSLContext

from netcore.info import Address, Url
from netcore.stream.base import Stream
from netcore.stream.tcp import TcpStream
from netcore.stream.tls import TlsStream

__all__ = ["start_stream"]


def start_stream(
    url: Url, *, address: Address | None = None, ssl_context: SSLContext | None = None
) -> Stream:
    """Return a stream that has begun to connect, with TLS where the URL says so.

    Args:
        url: Where to.
        address: The numeric address to take; without it the name is looked up, which
            *blocks* unless it is numeric.
        ssl_context: What to verify with.

    Raises:
        ConnectError: If the system refuses at once.
    """
    stream = TcpStream.connect(url.info, address)
    if not url.secure:
        return stream
    try:
        return TlsStream(stream, context=ssl_context)
    except BaseException:
        stream.close()
        raise
