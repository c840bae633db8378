"""Server-sent events: the streams of the market, of a product and of a bidder.

A stream is a plain ASGI application. On a server that lets it, it has the hub write
events to the socket itself, and only sends what the socket did not take at once and
the comments that keep a quiet stream alive; elsewhere it copies from its subscription.
It ends when the client goes, when the client is too slow (it reconnects and is
replayed), when the token expires, or when the server stops: then what is queued is
still sent.

Litestar's own `ServerSentEvent` is not used: it has no keep-alive, and it makes a
thread hop for every connection.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, cast, final

import trio
from litestar.types import ASGIApp, Receive, Scope, Send

from flowtrade.api.context import Api, Context, context_of
from flowtrade.api.problems import BadRequest
from flowtrade.api.reading import bearer, path_id
from flowtrade.errors import Forbidden, NotFound
from flowtrade.hub import Subscription, SubscriptionState
from flowtrade.ports import CONNECTION, Connection, Topic

__all__ = ["EventStream", "bidder_updates", "market_updates", "product_updates"]

_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # Proxies (nginx) would otherwise collect events until a buffer is full.
    (b"x-accel-buffering", b"no"),
]

_PREAMBLE: Final = b"retry: 1000\n\n"
"""Milliseconds a browser waits before it reconnects; its default is some seconds."""

_KEEP_ALIVE: Final = b": keep-alive\n\n"


async def market_updates(request: Api) -> ASGIApp:
    """Stream batches and reference prices; public."""
    return _stream(request, ("market", ""))


async def product_updates(request: Api) -> ASGIApp:
    """Stream one product's outcomes; public, as the market's stream tells them all."""
    key = path_id(request, "product_id")
    if key not in context_of(request).service.mirror.products:
        raise NotFound("product", key)
    return _stream(request, ("product", key))


async def bidder_updates(request: Api) -> ASGIApp:
    """Stream the outcomes of the token's bidder."""
    token = bearer(request)
    context = context_of(request)
    grant = await context.authorizer.authorize(token)
    bidders = grant.can_query_bid()
    if len(bidders) != 1:
        raise Forbidden("a stream of bids needs a token of exactly one bidder")
    lifetime = None
    if grant.expires is not None:
        lifetime = (grant.expires - context.clock.now_ns()) / 1e9
    return _stream(request, ("bidder", bidders[0]), lifetime=lifetime)


def _stream(request: Api, topic: Topic, *, lifetime: float | None = None) -> ASGIApp:
    last = request.headers.get("last-event-id")
    if last is not None and not (last.isascii() and last.isdigit() and len(last) < 20):
        raise BadRequest(f"Last-Event-ID is the id of an event of ours, was {last!r}")
    recent = request.query_params.get("recent", "0")
    if not (recent.isascii() and recent.isdigit() and len(recent) < 7):
        raise BadRequest(f"recent is a number of events, was {recent!r}")
    return EventStream(
        context_of(request),
        topic,
        last_id=None if last is None else int(last),
        recent=int(recent),
        lifetime=lifetime,
    )


@final
class EventStream:
    """One client's stream.

    Args:
        context: Hub and settings.
        topic: What it listens to.
        last_id: The last event the client saw.
        recent: How many events a new client wants to begin with.
        lifetime: Seconds after which the stream ends, or None.
    """

    def __init__(
        self,
        context: Context,
        topic: Topic,
        *,
        last_id: int | None,
        recent: int,
        lifetime: float | None,
    ) -> None:
        self._hub = context.hub
        self._keep_alive = context.settings.keep_alive
        self._topic = topic
        self._last_id = last_id
        self._recent = recent
        self._lifetime = float("inf") if lifetime is None else lifetime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream until one of its ends is reached."""
        extensions = scope.get("extensions") or {}
        served = cast("Connection | None", extensions.get(CONNECTION))
        connection = served or _NO_SERVER
        with (
            self._hub.subscribe(
                self._topic,
                last_id=self._last_id,
                recent=self._recent,
                on_drop=connection.abort,
            ) as subscription,
            connection.on_stop(subscription.close),
        ):
            start = {"type": "http.response.start", "status": 200, "headers": _HEADERS}
            await send(start)  # type: ignore[arg-type]  # a TypedDict upstream
            with trio.move_on_after(self._lifetime):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
                    if served is None:
                        await self._copy(subscription, send)
                    else:
                        await send(_chunk(_PREAMBLE, more=True))  # type: ignore[arg-type]  # as above
                        nursery.start_soon(served.pump)
                        await self._divert(subscription, served)
                    nursery.cancel_scope.cancel()
            await send(_chunk(b"", more=False))  # type: ignore[arg-type]  # as above

    async def _divert(self, subscription: Subscription, connection: Connection) -> None:
        with subscription.divert(connection):
            while subscription.state is SubscriptionState.OPEN:
                told = subscription.told
                with trio.move_on_after(self._keep_alive):
                    await subscription.ended()
                quiet = told == subscription.told
                if quiet and subscription.state is SubscriptionState.OPEN:
                    connection.push(_KEEP_ALIVE, most=subscription.limit)

    async def _copy(self, subscription: Subscription, send: Send) -> None:
        data = _PREAMBLE
        while data:
            await send(_chunk(data, more=True))  # type: ignore[arg-type]  # as above
            data = _KEEP_ALIVE
            with trio.move_on_after(self._keep_alive):
                data = await subscription.receive()


class _NoServer:
    """Stands in where the server offers no connection, as in tests without one."""

    def abort(self) -> None:
        pass

    def on_stop(self, callback: Callable[[], None]) -> AbstractContextManager[None]:
        return nullcontext()


_NO_SERVER: Final = _NoServer()


async def _until_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _chunk(data: bytes, *, more: bool) -> dict[str, object]:
    return {"type": "http.response.body", "body": data, "more_body": more}
