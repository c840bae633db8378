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
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from time import perf_counter
from typing import Any, Final, TypeAlias, final

from litestar.enums import ScopeType
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from flowtrade.api.problems import answer_error
from flowtrade.api.request import Api
from flowtrade.api.routes import Lane, Route
from flowtrade.api.timing import OTHER, RequestTimes

__all__ = ["Front"]

_Handler: TypeAlias = Callable[[Any], Awaitable[ASGIApp]]

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
        parameter: The name of the id at the end of the path, or None.
    """

    __slots__ = ("call", "handler", "label", "parameter")

    def __init__(self, route: Route, handler: HTTPRouteHandler) -> None:
        self.label = _label(route.method, route.path)
        self.call: _Handler = route.handler
        self.handler = handler
        found = _PARAMETER.search(route.path)
        self.parameter = None if found is None else found[1]


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
        began = perf_counter()
        hot = self._find(scope)
        if hot is None:
            await self._frame(scope, receive, send, began)
            return
        scope["route_handler"] = hot.handler
        request = Api(scope, receive, send)
        try:
            answer = await hot.call(request)
        except Exception as error:
            answer = answer_error(request, error)
        await answer(scope, receive, send)
        status: int = answer.status_code  # type: ignore[attr-defined]  # an Answer
        self._times.note(hot.label, status, perf_counter() - began)

    def _find(self, scope: Scope) -> _Hot | None:
        """Return the hot route of a plain request and fill in its parameters."""
        path = scope["path"]
        start, slash, last = path.rpartition("/")
        hot = self._hot.get((scope["method"], start + slash))  # type: ignore[typeddict-item]  # of HTTP
        if hot is not None and hot.parameter is not None and _ID(last):
            scope["path_params"] = {hot.parameter: last}
        else:
            hot = self._hot.get((scope["method"], path))  # type: ignore[typeddict-item]  # of HTTP
            if hot is None or hot.parameter is not None:
                return None
            scope["path_params"] = {}
        for name, value in scope["headers"]:
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


def _label(method: str, path: str) -> str:
    return f"{method} {path.replace(':str}', '}').replace(':path}', '}')}"
