"""The request that handlers get: Litestar's, with a body read in one go."""

from typing import final

from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import InternalServerException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

__all__ = ["Api"]


@final
class Api(Request[object, object, State]):
    """A request to the API."""

    __slots__ = ("_whole",)

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
            self._whole: bytes = await self._read()
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
