"""One request and its response as ASGI sees them (specification 3, HTTP part 2.4).

Knows nothing of sockets: bytes go through the connection.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from enum import Enum
from typing import Any, Final, Protocol, TypeAlias, final

from flowtrade.serve.incoming import Ends, Incoming

__all__ = ["AsgiApp", "Exchange", "Line"]

_Event: TypeAlias = MutableMapping[str, Any]
AsgiApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"connection"})
"""Headers that tell messages apart; ours to write."""


class _Step(Enum):
    """How far a response is."""

    START = "before its head"
    BODY = "before its body"
    PIECES = "within its body"
    DONE = "after its end"


class Line(Ends, Protocol):
    """What an exchange needs of its connection."""

    async def respond(
        self, status: int, headers: Iterable[tuple[str, str]], body: bytes
    ) -> None:
        """Send a whole response."""
        ...

    async def begin(
        self, request: Incoming, status: int, headers: Iterable[tuple[str, str]]
    ) -> None:
        """Send the head of a response in pieces."""
        ...

    async def send_piece(self, data: bytes, *, last: bool) -> None:
        """Send a piece of the body."""
        ...

    async def until_gone(self) -> None:
        """Wait for the peer to close the connection."""
        ...


@final
class Exchange:
    """The three arguments of an ASGI application.

    Args:
        line: The connection.
        request: Whole.

    Attributes:
        scope: The request.
    """

    def __init__(self, line: Line, request: Incoming) -> None:
        self._line = line
        self._request = request
        self._asked = False
        self._status = 0
        self._headers: list[tuple[str, str]] = []
        self._step = _Step.START
        self.scope: dict[str, Any] = request.scope(line)

    @property
    def untouched(self) -> bool:
        """Whether nothing of the response has been sent."""
        return self._step in (_Step.START, _Step.BODY)

    async def receive(self) -> _Event:
        """ASGI's `receive`: the body, and then the peer's going."""
        if not self._asked:
            self._asked = True
            body = self._request.body
            return {"type": "http.request", "body": body, "more_body": False}
        await self._line.until_gone()
        return {"type": "http.disconnect"}

    async def send(self, event: _Event) -> None:
        """ASGI's `send`."""
        kind = event["type"]
        if kind == "http.response.start" and self._step is _Step.START:
            self._status = event["status"]
            self._headers = [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in event.get("headers", ())
                if name.lower() not in _FRAMING
            ]
            self._step = _Step.BODY
        elif kind == "http.response.body" and not self._outside:
            body, more = event.get("body", b""), event.get("more_body", False)
            await self._send_body(bytes(body), more=more)
        else:
            raise RuntimeError(f"the application sent {kind} {self._step.value}")

    def check_answered(self) -> None:
        """Check that the application has sent a whole response.

        Raises:
            RuntimeError: It has not.
        """
        if self._step is not _Step.DONE:
            raise RuntimeError(f"the application returned {self._step.value}")

    @property
    def _outside(self) -> bool:
        return self._step in (_Step.START, _Step.DONE)

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        first = self._step is _Step.BODY
        self._step = _Step.PIECES if more else _Step.DONE
        if first and not more:
            await self._line.respond(self._status, self._headers, body)
            return
        if first:
            await self._line.begin(self._request, self._status, self._headers)
        if self._request.method != "HEAD":
            await self._line.send_piece(body, last=not more)
