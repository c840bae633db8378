"""Streams of updates as a client follows them, and refusals as it raises them.

A stream reconnects by itself and names the last event it saw; `flowtrade.client` opens
it.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Self, TypeVar

import httpx
import msgspec
import trio

from flowtrade.errors import ApiError
from flowtrade.models.update import GapUpdate, Update
from flowtrade.sse import EventParser, ServerEvent

__all__ = ["UpdateStream", "api_error"]

_T = TypeVar("_T")

_SILENCE = 45.0
"""Seconds without a byte after which a stream is taken for dead: three times the
server's keep-alive."""

_BACKOFF = (0.1, 10.0)
"""First and longest pause between attempts to reconnect, in seconds."""

_RETRYABLE = frozenset({429, 500, 502, 503, 504})


class UpdateStream(AsyncIterator[_T]):
    """Updates of one stream, over as many connections as it takes.

    Attributes:
        last_id: The id of the last event received, "" for none.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: str,
        headers: Mapping[str, str],
        kinds: Mapping[str, type[Update]],
        last_id: int | None,
    ) -> None:
        self._http = http
        self._url = url
        self._headers = headers
        self._kinds = {**kinds, "gap": GapUpdate}
        self._parser = EventParser("" if last_id is None else str(last_id))
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._queue: list[ServerEvent] = []
        self._pause = _BACKOFF[0]

    @property
    def last_id(self) -> str:
        """See the class."""
        return self._parser.last_id

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _T:
        """Return the next update; wait, and reconnect, as long as it takes.

        Raises:
            ApiError: The server refuses the stream for a reason that stays.
        """
        while not self._queue:
            try:
                await self._fill()
            except httpx.TransportError:
                await self._reconnect_later()
        event = self._queue.pop(0)
        kind = self._kinds.get(event.name)
        if kind is None:
            raise ApiError(200, "unknown-event", f"{event.name!r} at id {event.id}")
        update: Any = msgspec.json.decode(event.data, type=kind)
        return update  # type: ignore[no-any-return]  # of a kind that _T names

    async def aclose(self) -> None:
        """Close the connection."""
        response, self._response = self._response, None
        chunks, self._chunks = self._chunks, None
        if chunks is not None:
            await _unwind(chunks)
        if response is not None:
            await response.aclose()

    async def _fill(self) -> None:
        if self._chunks is None:
            await self._connect()
        assert self._chunks is not None  # noqa: S101  # just connected
        try:
            data = await anext(self._chunks)
        except StopAsyncIteration:  # the server ended it: stopping, or we were slow
            await self._reconnect_later()
            return
        self._queue += self._parser.feed(data)
        self._pause = _BACKOFF[0]

    async def _connect(self) -> None:
        headers = {**self._headers, "Accept": "text/event-stream"}
        if self._parser.last_id:
            headers["Last-Event-ID"] = self._parser.last_id
        # A new connection begins a new stream of bytes, after the same last event.
        self._parser = EventParser(self._parser.last_id, retry=self._parser.retry)
        timeout = httpx.Timeout(10.0, read=_SILENCE)
        request = self._http.build_request(
            "GET", self._url, headers=headers, timeout=timeout
        )
        response = await self._http.send(request, stream=True)
        if response.is_error:
            body = await response.aread()
            await response.aclose()
            if response.status_code not in _RETRYABLE:
                raise api_error(response.status_code, body, response.headers)
            raise httpx.TransportError(f"status {response.status_code}")
        self._response = response
        self._chunks = response.aiter_bytes()

    async def _reconnect_later(self) -> None:
        with trio.CancelScope(shield=True) as scope:
            scope.deadline = trio.current_time() + 1.0
            await self.aclose()
        await trio.sleep(max(self._pause, self._parser.retry or 0.0))
        self._pause = min(self._pause * 2, _BACKOFF[1])


async def _unwind(chunks: AsyncIterator[bytes]) -> None:
    """End a body in the middle.

    httpx nests generators, and closing the outermost leaves the inner ones to the
    garbage collector. A cancellation that reaches the innermost ends them all in order.
    """
    with trio.CancelScope() as scope:
        scope.cancel()
        with suppress(httpx.TransportError):
            async for _ in chunks:
                pass


def api_error(status: int, body: bytes, headers: httpx.Headers) -> ApiError:
    """Return what is raised for a response that refuses."""
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # Not of our service: a proxy's page, say.
        problem = _Problem(detail=body[:200].decode("utf-8", "replace"))
    after = headers.get("retry-after", "")
    return ApiError(
        status,
        problem.code,
        problem.detail,
        orders=problem.orders,
        retry_after=float(after) if after.isdigit() else None,
    )


class _Problem(msgspec.Struct):
    """The part of a problem detail that we read; lenient, it may be another's."""

    code: str = "unknown"
    detail: str = ""
    orders: tuple[str, ...] = ()
