"""HEAD wherever there is GET, and `Allow` that names all methods of a path.

The framework answers 405 to HEAD, which every general-purpose server supports (RFC
9110 §9.1), and its answers to OPTIONS name the methods of one of a path's handlers
only. Here HEAD is GET whose body is left unsent, of an endless stream too, and `Allow`
comes from the table of routes.

It stands between `Front` and the framework: no hot request passes it.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, final

import trio
from litestar.enums import HttpMethod, ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from flowtrade.api.routes import Route

__all__ = ["Methods"]

_EXTRA: Final[Mapping[str, tuple[str, ...]]] = {"GET": ("HEAD",)}
"""What is answered beside the methods of the table; OPTIONS always is."""


@final
class Methods:
    """An ASGI application around the framework's.

    Args:
        framework: Answers.
        routes: The table.
    """

    def __init__(self, framework: ASGIApp, routes: Iterable[Route]) -> None:
        self._framework = framework
        found: dict[str, set[str]] = {}
        for route in routes:
            methods = (route.method, *_EXTRA.get(route.method, ()), "OPTIONS")
            found.setdefault(route.path, set()).update(methods)
        # Paths without parameters first: `/bidder/updates` is no product's.
        self._allow = [
            (_pattern(path), ", ".join(sorted(found[path])).encode())
            for path in sorted(found, key=lambda path: "{" in path)
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def corrected(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    (name, self._allowed(scope["path"], value))
                    if name.lower() == b"allow"
                    else (name, value)
                    for name, value in message["headers"]
                ]
            await send(message)

        if scope["type"] == ScopeType.HTTP and scope["method"] == HttpMethod.HEAD:
            scope["method"] = HttpMethod.GET.value
            await self._answer_head(scope, receive, corrected)
        else:
            await self._framework(scope, receive, corrected)

    def _allowed(self, path: str, otherwise: bytes) -> bytes:
        path = path.rstrip("/") or "/"
        return next(
            (allow for matches, allow in self._allow if matches(path)), otherwise
        )

    async def _answer_head(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The server leaves the body of an answer to HEAD out, but counts its length.
        with trio.CancelScope() as rest:

            async def until_body(message: Message) -> None:
                if rest.cancel_called:  # the stream has not noticed yet
                    await trio.lowlevel.checkpoint()
                elif message["type"] == "http.response.body" and message["more_body"]:
                    # In pieces like GET's: in one, the server would tell its length.
                    await send({**message, "body": b""})
                    await send({**message, "body": b"", "more_body": False})
                    rest.cancel()
                else:
                    await send(message)

            await self._framework(scope, receive, until_body)


def _pattern(path: str) -> Callable[[str], object]:
    text = re.sub(r"\\{\w+:path\\}", ".+", re.escape(path))
    return re.compile(re.sub(r"\\{\w+:str\\}", "[^/]+", text)).fullmatch
