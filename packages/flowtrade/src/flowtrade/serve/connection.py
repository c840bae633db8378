"""One connection, as the server keeps it and the application may use it."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import final

__all__ = ["ServedConnection"]


@final
class ServedConnection:
    """The port `Connection` over a socket that the server owns.

    Args:
        sock: The socket; used only to cut it off.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._callbacks: dict[object, Callable[[], None]] = {}
        self._stopping = False

    def abort(self) -> None:
        """See `flowtrade.ports.Connection.abort`."""
        # Shutting down, not closing: a task may be waiting on the descriptor, and a
        # closed number could be another connection's by the time it wakes.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def on_stop(self, callback: Callable[[], None]) -> Iterator[None]:
        """See `flowtrade.ports.Connection.on_stop`."""
        key = object()
        self._callbacks[key] = callback
        try:
            if self._stopping:
                callback()
            yield
        finally:
            del self._callbacks[key]

    def stop(self) -> None:
        """Tell whoever asked that the server stops."""
        self._stopping = True
        for callback in tuple(self._callbacks.values()):
            callback()
