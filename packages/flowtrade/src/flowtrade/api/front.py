"""What stands before the framework: times requests, and answers the hot ones itself.

Theory. Of a request's time in this process the framework took more than our handlers:
for middlewares that have nothing to do, for a signature model of one argument, for
stacks of exits that nobody enters. Routes whose table entry says so are therefore
looked up here and their handlers called at once. It is the same function with the same
request class, and its exceptions go through the same table, so that the answers are the
same, byte for byte; a test compares them.

Whatever is not plain is left to the framework: other routes, methods and spellings of a
path, ids that are not canonical, requests of other origins (CORS), strange hosts. The
framework has every route, the hot ones too. See ADR 46.

A server that knows us need not tell of hot requests by ASGI's events: it shows them to
`shortcut_of` the application, and gets the bytes of the response.
"""

import math
import re
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast, final

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from flowtrade.api.answering import Answer
from flowtrade.api.problems import answer_error
from flowtrade.api.request import Api
from flowtrade.api.routes import Lane, Route
from flowtrade.api.timing import OTHER, RequestTimes

if TYPE_CHECKING:  # which imports us
    from flowtrade.serve.incoming import Ends, Incoming, Shortcut

__all__ = ["Front", "shortcut_of"]

_Handler: TypeAlias = Callable[[Any], Awaitable[Answer]]

_ID: Final = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
"""An id as we write it; other spellings of it are the framework's to take apart."""

_HOST: Final = re.compile(rb"[A-Za-z0-9.:\-\[\]]*").fullmatch

_PARAMETER: Final = re.compile(r"\{(\w+):str\}")


@final
class _Hot:
    """A hot route.

    Attributes:
        label: Method and template, for the figures.
        call: The function that answers.
        handler: What the framework knows of it.
        most: Bytes of a body that it takes.
        parameter: The name of the id at the end of the path, or None.
    """

    __slots__ = ("call", "handler", "label", "most", "parameter")

    def __init__(self, route: Route, handler: HTTPRouteHandler) -> None:
        self.label = _label(route.method, route.path)
        self.call: _Handler = route.handler
        self.handler = handler
        self.most = handler.resolve_request_max_body_size() or math.inf
        found = _PARAMETER.search(route.path)
        self.parameter = None if found is None else found[1]

    def complete(self, scope: Scope) -> None:
        """Put into a scope what the framework's router would."""
        scope["route_handler"] = self.handler
        scope["path_params"] = {}
        if self.parameter is not None:
            scope["path_params"][self.parameter] = scope["path"].rpartition("/")[2]


@final
class Front:
    """An ASGI application around the framework's.

    Args:
        framework: Answers everything else.
        routes: The table, each with what the framework knows of it.
        times: Where requests are counted.
    """

    def __init__(
        self,
        framework: ASGIApp,
        routes: Iterable[tuple[Route, HTTPRouteHandler]],
        times: RequestTimes,
    ) -> None:
        self._framework = framework
        self._times = times
        self._hot: dict[tuple[str, str], _Hot] = {}
        for route, handler in routes:
            if route.lane is Lane.HOT:
                # One with an id is found by what stands before it, slash included.
                start = _PARAMETER.sub("", route.path)
                self._hot[route.method, start] = _Hot(route, handler)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != ScopeType.HTTP:
            await self._framework(scope, receive, send)
            return
        hot = self._find(scope["method"], scope["path"], scope["headers"])
        if hot is None:
            await self._frame(scope, receive, send, perf_counter())
            return
        hot.complete(scope)
        answer = await self._ask(hot, Api(scope, receive, send))
        await answer(scope, receive, send)

    def shortcut(
        self, app: Litestar, request: "Incoming", line: "Ends"
    ) -> Awaitable[bytes] | None:
        """Return what answers a plain request of a hot route, or None for others.

        Args:
            app: The application that this stands in.
            request: Read, but not known to ASGI yet.
            line: Where it came from.
        """
        path = request.path.decode()
        hot = self._find(request.method, path, request.headers)
        if hot is None or len(request.body) > hot.most:
            return None
        scope = cast("Scope", request.scope(line))
        scope["app"] = scope["litestar_app"] = app
        hot.complete(scope)
        return self._wire(hot, Api(scope, body=request.body))

    async def _wire(self, hot: _Hot, request: Api) -> bytes:
        return (await self._ask(hot, request)).wire()

    async def _ask(self, hot: _Hot, request: Api) -> Answer:
        began = perf_counter()
        try:
            answer = await hot.call(request)
        except Exception as error:
            answer = answer_error(request, error)
        self._times.note(hot.label, answer.status_code, perf_counter() - began)
        return answer

    def _find(
        self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]]
    ) -> _Hot | None:
        """Return the hot route of a plain request."""
        start, slash, last = path.rpartition("/")
        hot = self._hot.get((method, start + slash))
        if hot is None or hot.parameter is None or not _ID(last):
            hot = self._hot.get((method, path))
            if hot is None or hot.parameter is not None:
                return None
        for name, value in headers:
            if name == b"origin" or (name == b"host" and not _HOST(value)):
                return None
        return hot

    async def _frame(
        self, scope: Scope, receive: Receive, send: Send, began: float
    ) -> None:
        """Leave a request to the framework; an endless answer counts at its head."""

        async def timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                template = scope.get("path_template")
                route = OTHER
                if template is not None:
                    route = _label(scope["method"], template)  # type: ignore[typeddict-item]  # of HTTP
                seconds = perf_counter() - began
                self._times.note(route, message["status"], seconds)
            await send(message)

        await self._framework(scope, receive, timed)


def shortcut_of(app: Litestar) -> "Shortcut | None":
    """Return how a server asks an application for hot answers without ASGI.

    None where the application has no `Front`: then nothing of it is hot.
    """
    front = app.asgi_handler
    return partial(front.shortcut, app) if isinstance(front, Front) else None


def _label(method: str, path: str) -> str:
    return f"{method} {path.replace(':str}', '}').replace(':path}', '}')}"
