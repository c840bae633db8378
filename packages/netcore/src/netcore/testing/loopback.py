"""Real sockets within the machine, for what memory cannot show."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from netcore.info import ConnectionInfo
from netcore.stream.tcp import TcpStream

__all__ = ["reserved_port", "tcp_stream_pair"]


@contextmanager
def reserved_port() -> Iterator[int]:
    """Yield a TCP port of 127.0.0.1 at which nobody listens.

    Connections to it are refused and nobody else is given it, as would happen to a
    number that was only asked for. A program that is told the number may listen there
    meanwhile if it sets SO_REUSEADDR, as servers do (socket(7)).
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


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
