"""Server-sent events as bytes: writing one, reading many from any cut.

WHATWG HTML §9.2 "Server-sent events" (read 2026-11). Sans-I/O: who reads and
reconnects is `flowtrade.client`, who sends is `flowtrade.api`.
"""

from typing import Final, final

import msgspec

__all__ = ["EventParser", "ServerEvent", "encode_event"]

_LONGEST: Final = 16 * 2**20
"""Bytes of one event: a public book of some ten thousand bids fits in."""


_BOM: Final = b"\xef\xbb\xbf"
"""A byte order mark, of which one at the very beginning is dropped."""


class ServerEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event as it was dispatched.

    Attributes:
        id: The last id seen, which a reconnecting client names; "" for none.
        name: The event's type; `message` if the sender gave none.
        data: Its data, lines joined by newlines.
    """

    id: str
    name: str
    data: str


def encode_event(name: str, data: bytes, *, event_id: int) -> bytes:
    """Return an event for the wire.

    Args:
        name: Without line breaks.
        data: One line, such as JSON.
        event_id: What the client will name when it reconnects.
    """
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event_id, name.encode(), data)


@final
class EventParser:
    """Reads a stream of events.

    Args:
        last_id: The last id seen on the connection before.
        retry: What the server said there.

    Attributes:
        last_id: The last id seen, to be named when reconnecting.
        retry: Seconds to wait before reconnecting, if the server said so.
    """

    def __init__(self, last_id: str = "", *, retry: float | None = None) -> None:
        self.last_id = last_id
        self.retry = retry
        self._buffer = b""
        self._data: list[str] = []
        self._name = ""
        self._first = True
        self._after_cr = False
        self._size = 0

    def feed(self, data: bytes) -> list[ServerEvent]:
        """Take in bytes and return the events they complete.

        Raises:
            ValueError: An event is longer than 16 MiB.
        """
        events: list[ServerEvent] = []
        for line in self._lines(data):
            if line:
                self._field(line.decode("utf-8", "replace"))
            elif (event := self._dispatch()) is not None:
                events.append(event)
        return events

    def _lines(self, data: bytes) -> list[bytes]:
        if self._after_cr and data:
            data = data.removeprefix(b"\n")  # the second half of a CRLF
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        buffer = self._buffer + data
        if self._first:
            if len(buffer) < len(_BOM) and _BOM.startswith(buffer):
                self._buffer = buffer
                return []
            self._first = False
            buffer = buffer.removeprefix(_BOM)
        text = buffer.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, self._buffer = text.split(b"\n")
        if len(self._buffer) > _LONGEST or self._size > _LONGEST:
            raise ValueError(f"an event has more than {_LONGEST} bytes")
        return lines

    def _field(self, line: str) -> None:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "data":
                self._data.append(value)
                self._size += len(value)
            case "event":
                self._name = value
            case "id" if "\0" not in value:
                self.last_id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry = int(value) / 1_000
            case _:  # comments have an empty name; unknown fields are ignored
                pass

    def _dispatch(self) -> ServerEvent | None:
        data, name = self._data, self._name
        self._data, self._name, self._size = [], "", 0
        if not data:
            return None
        return ServerEvent(
            id=self.last_id, name=name or "message", data="\n".join(data)
        )
