"""Real sockets within the machine, for what memory cannot show."""

import socket

from netcore.info import ConnectionInfo
from netcore.stream.tcp import TcpStream

__all__ = ["tcp_stream_pair"]


def tcp_stream_pair(
    info: ConnectionInfo | None = None,
) -> tuple[TcpStream, TcpStream]:
    """Return the two ends of a connection over 127.0.0.1.

    Args:
        info: Options for the connecting end; its host and port are not used.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        chosen = ConnectionInfo("127.0.0.1", port)
        if info is not None:
            chosen = ConnectionInfo(
                "127.0.0.1",
                port,
                interface=info.interface,
                source=info.source,
                cpu=info.cpu,
                options=info.options,
                configure=info.configure,
            )
        client = TcpStream.connect(chosen)
        accepted, _ = listener.accept()
    return client, TcpStream.adopt(accepted)
