"""Bybit v5 as a `VenueApi`: requests, private stream, clock.

Bybit answers an order with "heard": whether it was taken shows a moment later. So
after placing, the order is asked for, and a post-only order that would have taken is
the error it is elsewhere. Spot and linear contracts are two exchanges here, on one
unified account.
"""

import ssl
from collections.abc import Sequence
from typing import Any, TypeVar, final

import msgspec

from integration.errors import (
    ClockSkew,
    Deserialise,
    IntegrationError,
    RemoteError,
)
from integration.execution.bybit import requests
from integration.execution.bybit.faults import BybitParser, error_of
from integration.execution.bybit.messages import (
    Answer,
    Envelope,
    ExecutionRecord,
    OrderPage,
    OrderRecord,
    Placed,
    PositionRecord,
    WalletRecord,
    decode,
)
from integration.execution.bybit.translate import (
    POST_ONLY_REASON,
    BybitTranslator,
    category_of,
    check,
    order_body,
)
from integration.execution.errors import (
    OrderRejected,
    PostOnlyWouldCross,
    UnknownOrder,
)
from integration.execution.instrument_map import InstrumentMap
from integration.execution.models import (
    AccountEvent,
    AssetBalance,
    Order,
    OrderId,
    OrderKey,
    OrderRequestCancel,
    OrderRequestOpen,
    Position,
    Trade,
)
from integration.execution.private_stream import (
    STREAM_POLICY,
    Greeting,
    open_private_stream,
)
from integration.execution.states import OrderState
from integration.execution.venue_side import VenueSide, bucket_limiter
from integration.models import InstrumentNameInternal, PerpetualContract
from integration.rest.client import RestClient
from integration.rest.clock import ServerClock
from integration.rest.limiter import BYBIT_FEEDBACK, BucketSpec, RateLimiter
from integration.rest.retry import RetryPolicy
from integration.rest.signer import PublicNoHeaders
from integration.rest.transport import HttpTransport
from integration.signing import Credentials
from integration.signing.bybit import auth_message, request_signer
from integration.stream.exchange_stream import BatchStream
from integration.stream.reconnect import ReconnectPolicy
from netcore.models import Model, Timestamp
from netcore.trio import open_websocket
from netcore.ws import Heartbeat, Opcode

__all__ = ["BybitApi", "BybitConfig"]

T = TypeVar("T")

_MS = 1_000_000
_WEEK_MS = 7 * 86_400_000
"""`/v5/execution/list` takes at most 7 days between startTime and endTime."""

_AUTH_WINDOW_MS = 10_000
"""How long the login message may take to arrive."""

_HEARTBEAT = Heartbeat(
    interval=20.0, timeout=20.0, message=b'{"op":"ping"}', opcode=Opcode.TEXT
)
"""The venue asks for its own ping every 20 s."""

_TOPICS = ("order", "execution", "wallet")
_PAGE = 50
_EXECUTIONS = 100
"""The largest pages of the order and execution lists."""


class BybitConfig(Model, frozen=True, kw_only=True):
    """Where the venue is, and how it is spoken to.

    Attributes:
        rest_url: Base URL of REST.
        stream_url: URL of the private stream.
        account_type: Whose wallet: all current accounts are `UNIFIED`.
        recv_window_ms: How old a request may be on arrival; also how long an
            unanswered order is asked for.
        ssl_context: What TLS is verified with; None: the system's.
        heartbeat: The venue's own ping, and how a dead connection is told from a
            quiet account.
        policy: How the stream is brought back.
        retry: How questions are repeated; orders never are.
    """

    rest_url: str = "https://api.bybit.com"
    stream_url: str = "wss://stream.bybit.com/v5/private"
    account_type: str = "UNIFIED"
    recv_window_ms: int = 5_000
    ssl_context: ssl.SSLContext | None = None
    heartbeat: Heartbeat = _HEARTBEAT
    policy: ReconnectPolicy = STREAM_POLICY
    retry: RetryPolicy = msgspec.field(default_factory=RetryPolicy)


@final
class BybitApi(VenueSide[BybitConfig]):
    """Bybit's private endpoints for one category; see `VenueApi`.

    Args:
        instruments: What is traded: of `bybit_spot` or `bybit_perpetuals_usd`.
        credentials: Key and secret.
        config: Where and how.
        clock: The venue's time; synchronised when the venue refuses ours.
        transport: What sends requests; httpx if None.
        limiter: Whose buckets pay; one of the venue's published limits if None.

    Raises:
        Unsupported: The instruments are of another exchange.
    """

    def __init__(
        self,
        instruments: InstrumentMap,
        credentials: Credentials,
        *,
        config: BybitConfig | None = None,
        clock: ServerClock | None = None,
        transport: HttpTransport | None = None,
        limiter: RateLimiter | None = None,
    ) -> None:
        config = BybitConfig() if config is None else config
        self._category = category_of(instruments.exchange)
        super().__init__(instruments, config, clock=clock, transport=transport)
        self._credentials = credentials
        self._translate = BybitTranslator(instruments)
        window = self._config.recv_window_ms
        signer = request_signer(credentials, self._clock, recv_window_ms=window)
        shared: dict[str, Any] = {
            "transport": self._transport,
            "limiter": _limiter(self._config) if limiter is None else limiter,
            "retry": self._config.retry,
            "on_clock_skew": self.resynchronise,
        }
        url, parser = self._config.rest_url, BybitParser()
        self._private = RestClient(url, signer, parser, **shared)
        self._public = RestClient(url, PublicNoHeaders(), parser, **shared)

    def __repr__(self) -> str:
        return f"BybitApi({self._config.rest_url}, {self._category})"

    # What it is like

    @property
    def keep_alive_interval(self) -> float | None:
        """The connection's own heartbeat is enough."""
        return None

    async def _ask_time(self) -> Timestamp:
        envelope, _ = await self._public.execute(requests.Time())
        return envelope.time * _MS

    # Orders

    def check(self, request: OrderRequestOpen) -> None:
        """Refuse what Bybit has no order for."""
        check(request)

    async def place(self, request: OrderRequestOpen) -> Order:
        """Send an order, then see what became of it."""
        symbol = self._instruments.symbol(request.key.instrument)
        body = order_body(request, symbol)
        envelope, _ = await self._private.execute(requests.PlaceOrder(order=body))
        placed = _result(envelope, Placed)
        try:
            order = await self.order(request.key, OrderId(placed.order_id))
        except RemoteError:
            # It was taken: that it cannot be seen yet takes nothing away from that.
            return msgspec.structs.replace(
                Order.sent(request),
                state=OrderState.OPEN,
                id=OrderId(placed.order_id),
                time_exchange=envelope.time * _MS,
            )
        if order.state is OrderState.REJECTED:
            post_only = order.reason == POST_ONLY_REASON
            kind = PostOnlyWouldCross if post_only else OrderRejected
            raise kind(f"order {order.key.cid!r} was refused: {order.reason}")
        return order

    async def cancel(self, request: OrderRequestCancel) -> Order | None:
        """Ask for a cancellation; that it was heard is all the answer says."""
        await self._private.execute(
            requests.CancelOrder(
                category=self._category,
                symbol=self._instruments.symbol(request.key.instrument),
                cid=request.key.cid,
                order_id=request.id or "",
            )
        )
        return None

    async def order(self, key: OrderKey, order_id: OrderId | None) -> Order:
        """Ask for an order: among open and recent ones, then in the history."""
        symbol = self._instruments.symbol(key.instrument)
        params: dict[str, Any] = {"category": self._category, "symbol": symbol}
        if order_id is not None:
            params["orderId"] = order_id
        else:
            params["orderLinkId"] = key.cid
        for endpoint in ("/v5/order/realtime", "/v5/order/history"):
            query = requests.Query(endpoint=endpoint, params=params)
            envelope, _ = await self._private.execute(query)
            records = _records(envelope, OrderRecord)
            if records:
                return self._translate.order(records[0])
        raise UnknownOrder(f"{symbol}: no order is called {order_id or key.cid!r}")

    async def open_orders(
        self, instruments: Sequence[InstrumentNameInternal] | None
    ) -> list[Order]:
        """Ask for resting orders."""
        found: list[Order] = []
        for scope in self._scopes(instruments):
            records = await self._pages("/v5/order/realtime", scope, OrderRecord, _PAGE)
            orders = self._translate.all(records, self._translate.order)
            # The list also shows the latest closed ones.
            found += [order for order in orders if order.state.resting]
        return found

    def _scopes(
        self, instruments: Sequence[InstrumentNameInternal] | None
    ) -> list[dict[str, str]]:
        """Say what lists are asked for: contracts want a symbol or a coin."""
        if instruments is not None:
            return [{"symbol": self._instruments.symbol(n)} for n in instruments]
        if self._category == "spot":
            return [{}]
        return [{"settleCoin": coin.upper()} for coin in self._settle_coins()]

    def _settle_coins(self) -> list[str]:
        kinds = (instrument.kind for instrument in self._instruments)
        coins = {k.settlement_asset for k in kinds if isinstance(k, PerpetualContract)}
        return sorted(coins)

    # The account

    async def balances(self) -> list[AssetBalance]:
        """Ask for balances that are not zero."""
        params = {"accountType": self._config.account_type}
        envelope, _ = await self._private.execute(
            requests.Query(endpoint="/v5/account/wallet-balance", params=params)
        )
        records = _records(envelope, WalletRecord)
        return self._translate.balances(records, envelope.time)

    async def positions(self) -> list[Position]:
        """Ask for positions; spot has none."""
        if self._category == "spot":
            return []
        found: list[Position] = []
        for coin in self._settle_coins():
            scope = {"settleCoin": coin.upper()}
            records = await self._pages(
                "/v5/position/list", scope, PositionRecord, _PAGE
            )
            found += self._translate.all(records, self._translate.position)
        return found

    async def trades(
        self, instrument: InstrumentNameInternal, since: Timestamp
    ) -> list[Trade]:
        """Ask for fills, a week at a time, and within a week a page at a time."""
        symbol = self._instruments.symbol(instrument)
        start, now = since // _MS, self.now_ns() // _MS
        found: dict[str, Trade] = {}
        while start <= now:
            end = min(start + _WEEK_MS - 1, now)
            scope = {"symbol": symbol, "startTime": start, "endTime": end}
            records = await self._pages(
                "/v5/execution/list", scope, ExecutionRecord, _EXECUTIONS
            )
            for trade in self._translate.all(records, self._translate.trade):
                found[trade.id] = trade
            start = end + 1
        return sorted(found.values(), key=lambda t: (t.time_exchange, t.id))

    async def _pages(
        self, endpoint: str, scope: dict[str, Any], kind: type[T], limit: int
    ) -> list[T]:
        """Ask for all pages of a list."""
        found: list[T] = []
        cursor = ""
        while True:
            params = {"category": self._category, **scope, "limit": limit}
            if cursor:
                params["cursor"] = cursor
            query = requests.Query(endpoint=endpoint, params=params)
            envelope, _ = await self._private.execute(query)
            page = _records(envelope, kind)
            found += page
            cursor = _result(envelope, OrderPage).next_page_cursor
            if not cursor or not page:
                return found

    # The stream

    async def connect_stream(self) -> BatchStream[AccountEvent | IntegrationError]:
        """Open the private stream, logged in and subscribed."""
        opening = open_websocket(
            self._config.stream_url,
            ssl_context=self._config.ssl_context,
            heartbeat=self._config.heartbeat,
        )
        try:
            return await open_private_stream(
                opening, self._greetings, decode, self._translate, now=self.now_ns
            )
        except ClockSkew:
            await self.resynchronise()
            raise

    def _greetings(self) -> list[Greeting]:
        """Make login and subscription, signed now."""
        expires = self._clock.timestamp_ms() + _AUTH_WINDOW_MS
        auth = auth_message(self._credentials, expires)
        topics = [*_TOPICS, *(() if self._category == "spot" else ("position",))]
        subscribe = {"op": "subscribe", "args": topics}
        secrets = (self._credentials.key, str(auth["args"][-1]))
        return [
            Greeting(
                msgspec.json.encode(auth),
                lambda payload: _answers(payload, "auth"),
                secrets,
            ),
            Greeting(
                msgspec.json.encode(subscribe),
                lambda payload: _answers(payload, "subscribe"),
                secrets,
            ),
        ]

    async def keep_alive(self) -> None:
        """Do nothing: the connection's heartbeat keeps it."""


def _result(envelope: Envelope, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(envelope.result, type=kind)
    except ValueError as error:
        raise Deserialise(str(error), bytes(envelope.result)) from error


def _records(envelope: Envelope, kind: type[T]) -> list[T]:
    page = _result(envelope, OrderPage)
    try:
        return msgspec.json.decode(page.list, type=list[kind])  # type: ignore[valid-type]  # a type made at run time
    except ValueError as error:
        raise Deserialise(str(error), bytes(page.list)) from error


class _Probe(msgspec.Struct):
    op: str = ""


_probe = msgspec.json.Decoder(_Probe)
_answer = msgspec.json.Decoder(Answer)

_LOGIN_REFUSED = 10003


def _answers(payload: bytes, op: str) -> bool:
    """Say whether a message answers an `op`; raise if it refuses it."""
    if _probe.decode(payload).op != op:
        return False
    answer = _answer.decode(payload)
    if answer.success is False:
        code = answer.ret_code
        if code is None:
            code = _LOGIN_REFUSED if op == "auth" else 0
        raise error_of(code, answer.ret_msg or answer.other_msg or f"{op} refused")
    return True


def _limiter(config: BybitConfig) -> RateLimiter:
    """50 questions and 20 orders a second: the account's limits of the endpoints."""
    buckets = {"default": BucketSpec(50.0, 1.0), "orders": BucketSpec(20.0, 1.0)}
    return bucket_limiter(config.rest_url, buckets, BYBIT_FEEDBACK)
