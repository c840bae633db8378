"""The request that handlers get: Litestar's, with a body read in one go.

Litestar's own parts of it (a state with two dozen fields, and as many places for what
is parsed) are made when something of them is asked for: most handlers look at headers,
path and body, and never do.
"""

from typing import Any, Final, final

from litestar import Request
from litestar.connection.base import ASGIConnection, empty_receive, empty_send
from litestar.datastructures import State
from litestar.exceptions import InternalServerException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.types import Receive, Scope, Send

__all__ = ["Api"]

_THEIRS: Final = frozenset({*ASGIConnection.__slots__, *Request.__slots__})


@final
class Api(Request[object, object, State]):
    """A request to the API.

    Args:
        scope: As ASGI has it.
        receive: ASGI's.
        send: ASGI's.
        body: If it is known already; `receive` is not called then.
    """

    __slots__ = ("_whole",)

    _whole: bytes

    def __init__(
        self,
        scope: Scope,
        receive: Receive = empty_receive,
        send: Send = empty_send,
        body: bytes | None = None,
    ) -> None:
        # Not the parent's yet: see the module.
        self.scope = scope  # type: ignore[assignment]  # of HTTP
        self.receive = receive
        self.send = send
        if body is not None:
            self._whole = body

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # attributes of all types
        """Make Litestar's parts, since one of them is asked for."""
        if name not in _THEIRS:
            raise AttributeError(f"a request has no attribute {name!r}")
        Request.__init__(self, self.scope, self.receive, self.send)
        return getattr(self, name)

    async def body(self) -> bytes:
        """Return the body, at most as long as the application takes.

        The framework's own goes through two generators for it.

        Raises:
            RequestEntityTooLarge: It is longer.
            InternalServerException: The client went before it was complete.
        """
        try:
            return self._whole
        except AttributeError:
            self._whole = await self._read()
            return self._whole

    async def _read(self) -> bytes:
        most = self.route_handler.resolve_request_max_body_size() or float("inf")
        for name, value in self.scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > most:
                raise RequestEntityTooLarge  # before any of it is read
        pieces: list[bytes] = []
        size, more = 0, True
        while more:
            event = await self.receive()
            if event["type"] != "http.request":
                raise InternalServerException("client disconnected prematurely")
            size += len(event["body"])
            if size > most:
                raise RequestEntityTooLarge
            pieces.append(event["body"])
            more = event.get("more_body", False)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
