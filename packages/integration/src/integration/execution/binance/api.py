"""Binance spot as a `VenueApi`: requests, private stream, clock.

The private stream comes in two ways. *WebSocket API*: one connection on which
`userDataStream.subscribe.signature` is sent; what api.binance.com offers since listen
keys were withdrawn from it on 2026-02-20. *Listen key*: created over REST, prolonged
every half hour, a stream of its own; what Binance.US and older set-ups have.
"""

import ssl
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import final

import msgspec

from integration.errors import ClockSkew, IntegrationError
from integration.exchanges.binance.messages import Fault
from integration.execution.binance import requests
from integration.execution.binance.faults import BinanceTradingParser, error_of
from integration.execution.binance.messages import Envelope, StreamMessage, decode
from integration.execution.binance.translate import (
    BinanceTranslator,
    check,
    order_params,
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
from integration.execution.venue_side import VenueSide, bucket_limiter
from integration.models import InstrumentNameInternal
from integration.rest.client import RestClient
from integration.rest.clock import ServerClock
from integration.rest.encoder import Base64Encoder, HexEncoder
from integration.rest.limiter import BINANCE_FEEDBACK, BucketSpec, RateLimiter
from integration.rest.prepared import PreparedRequest
from integration.rest.request import RestRequest
from integration.rest.retry import RetryPolicy
from integration.rest.signer import BuildStrategy, HmacKey, Mac, PublicNoHeaders
from integration.rest.transport import HttpTransport
from integration.signing.binance import request_signer, signed_params
from integration.stream.exchange_stream import BatchStream
from integration.stream.reconnect import ReconnectPolicy
from netcore.models import Model, Timestamp
from netcore.trio import open_websocket
from netcore.ws import Heartbeat

__all__ = ["BinanceApi", "BinanceConfig", "UserStream"]

_MS = 1_000_000
_DAY_MS = 86_400_000
"""`myTrades` takes at most 24 hours between startTime and endTime."""

_KEEP_ALIVE = 1800.0
"""The venue recommends half an hour; a key lives for one."""

_HEARTBEAT = Heartbeat(interval=20.0, timeout=20.0)
"""The venue pings every 20 s; ours do not wait for it."""


class UserStream(StrEnum):
    """How the private stream is opened."""

    WEBSOCKET_API = "websocket_api"
    LISTEN_KEY = "listen_key"


class BinanceConfig(Model, frozen=True, kw_only=True):
    """Where the venue is, and how it is spoken to.

    Attributes:
        rest_url: Base URL of REST.
        websocket_api_url: URL of the WebSocket API.
        stream_url: Base URL of streams, for listen keys.
        user_stream: Which way the private stream comes.
        recv_window_ms: How old a request may be on arrival; also how long an
            unanswered order is asked for.
        ssl_context: What TLS is verified with; None: the system's.
        heartbeat: How a dead connection is told from a quiet account.
        policy: How the stream is brought back.
        retry: How questions are repeated; orders never are.
    """

    rest_url: str = "https://api.binance.com"
    websocket_api_url: str = "wss://ws-api.binance.com:443/ws-api/v3"
    stream_url: str = "wss://stream.binance.com:9443"
    user_stream: UserStream = UserStream.WEBSOCKET_API
    recv_window_ms: int = 5_000
    ssl_context: ssl.SSLContext | None = None
    heartbeat: Heartbeat = _HEARTBEAT
    policy: ReconnectPolicy = STREAM_POLICY
    retry: RetryPolicy = msgspec.field(default_factory=RetryPolicy)


@final
class BinanceApi(VenueSide[BinanceConfig]):
    """Binance spot's private endpoints; see `VenueApi`.

    Args:
        instruments: What is traded.
        key: The API key.
        mac: The secret of an HMAC key, or an `Ed25519Key` or `RsaKey`.
        config: Where and how.
        clock: The venue's time; synchronised when the venue refuses ours.
        transport: What sends requests; httpx if None.
        limiter: Whose buckets pay; one of the venue's published limits if None.
    """

    def __init__(
        self,
        instruments: InstrumentMap,
        key: str,
        mac: Mac | str,
        *,
        config: BinanceConfig | None = None,
        clock: ServerClock | None = None,
        transport: HttpTransport | None = None,
        limiter: RateLimiter | None = None,
    ) -> None:
        config = BinanceConfig() if config is None else config
        super().__init__(instruments, config, clock=clock, transport=transport)
        self._key = key
        self._mac: Mac = HmacKey(mac) if isinstance(mac, str) else mac
        self._translate = BinanceTranslator(instruments)
        self._limiter = _limiter(self._config) if limiter is None else limiter
        window = self._config.recv_window_ms
        signer = request_signer(key, self._mac, self._clock, recv_window_ms=window)
        self._private = self._rest(signer)
        self._keyed = self._rest(_KeyOnly(key))
        self._public = self._rest(PublicNoHeaders())
        self._listen_key = ""

    def __repr__(self) -> str:
        return f"BinanceApi({self._config.rest_url}, {len(self._instruments)} symbols)"

    def _rest(self, strategy: BuildStrategy) -> RestClient:
        return RestClient(
            self._config.rest_url,
            strategy,
            BinanceTradingParser(),
            transport=self._transport,
            limiter=self._limiter,
            retry=self._config.retry,
            on_clock_skew=self.resynchronise,
        )

    # What it is like

    @property
    def keep_alive_interval(self) -> float | None:
        """Listen keys have to be prolonged; the WebSocket API's stream has not."""
        listen = self._config.user_stream is UserStream.LISTEN_KEY
        return _KEEP_ALIVE if listen else None

    async def _ask_time(self) -> Timestamp:
        answer, _ = await self._public.execute(requests.Time())
        return answer.server_time * _MS

    # Orders

    def check(self, request: OrderRequestOpen) -> None:
        """Refuse what Binance spot has no order for."""
        check(request)

    async def place(self, request: OrderRequestOpen) -> Order:
        """Send an order."""
        symbol = self._instruments.symbol(request.key.instrument)
        params = order_params(request, symbol)
        answer, _ = await self._private.execute(requests.PlaceOrder(params=params))
        return self._translate.order(answer)

    async def cancel(self, request: OrderRequestCancel) -> Order | None:
        """Cancel an order."""
        answer, _ = await self._private.execute(
            requests.CancelOrder(
                symbol=self._instruments.symbol(request.key.instrument),
                cid=request.key.cid,
                order_id=request.id or "",
            )
        )
        return self._translate.order(answer)

    async def order(self, key: OrderKey, order_id: OrderId | None) -> Order:
        """Ask for an order."""
        answer, _ = await self._private.execute(
            requests.QueryOrder(
                symbol=self._instruments.symbol(key.instrument),
                cid=key.cid,
                order_id=order_id or "",
            )
        )
        return self._translate.order(answer)

    async def open_orders(
        self, instruments: Sequence[InstrumentNameInternal] | None
    ) -> list[Order]:
        """Ask for resting orders: all at once, or by symbol."""
        asked: list[str | None] = [None]
        if instruments is not None:
            asked = [self._instruments.symbol(name) for name in instruments]
        orders = []
        for symbol in asked:
            answer, _ = await self._private.execute(requests.OpenOrders(symbol=symbol))
            orders += [self._translate.order(order) for order in answer]
        return orders

    # The account

    async def balances(self) -> list[AssetBalance]:
        """Ask for balances that are not zero."""
        answer, _ = await self._private.execute(requests.Account())
        return self._translate.balances(answer)

    async def positions(self) -> list[Position]:
        """Return none: spot has none."""
        return []

    async def trades(
        self, instrument: InstrumentNameInternal, since: Timestamp
    ) -> list[Trade]:
        """Ask for fills, a day at a time, and within a day a page at a time."""
        symbol = self._instruments.symbol(instrument)
        start, now = since // _MS, self.now_ns() // _MS
        found: dict[int, Trade] = {}
        while start <= now:
            end = min(start + _DAY_MS - 1, now)
            query = requests.MyTrades(symbol=symbol, start_ms=start, end_ms=end)
            while True:
                page, _ = await self._private.execute(query)
                found.update((t.id, self._translate.trade(t)) for t in page)
                if len(page) < query.limit:
                    break
                # Ids go on past the day's end: what is found twice counts once.
                query = requests.MyTrades(symbol=symbol, from_id=page[-1].id + 1)
            start = end + 1
        return [found[number] for number in sorted(found)]

    # The stream

    async def connect_stream(self) -> BatchStream[AccountEvent | IntegrationError]:
        """Open the private stream, logged in and subscribed."""
        if self._config.user_stream is UserStream.LISTEN_KEY:
            return await self._open(await self._listen_url(), list)
        try:
            return await self._open(self._config.websocket_api_url, self._greetings)
        except ClockSkew:
            await self.resynchronise()
            raise

    def _greetings(self) -> list[Greeting]:
        """Make the subscription, signed now."""
        symmetric = isinstance(self._mac, HmacKey)
        params = signed_params(
            {},
            key=self._key,
            mac=self._mac,
            timestamp_ms=self._clock.timestamp_ms(),
            encoder=HexEncoder() if symmetric else Base64Encoder(),
        )
        method = "userDataStream.subscribe.signature"
        request = {"id": "1", "method": method, "params": params}
        secrets = (self._key, str(params["signature"]))
        return [Greeting(msgspec.json.encode(request), _subscribed, secrets)]

    async def _open(
        self, url: str, greetings: Callable[[], Sequence[Greeting]]
    ) -> BatchStream[AccountEvent | IntegrationError]:
        opening = open_websocket(
            url,
            ssl_context=self._config.ssl_context,
            heartbeat=self._config.heartbeat,
        )
        return await open_private_stream(
            opening, greetings, _decode, self._translate, now=self.now_ns
        )

    async def _listen_url(self) -> str:
        answer, _ = await self._keyed.execute(requests.OpenStream())
        self._listen_key = answer.listen_key
        return f"{self._config.stream_url}/ws/{answer.listen_key}"

    async def keep_alive(self) -> None:
        """Prolong the listen key."""
        await self._keyed.execute(requests.KeepStream(listen_key=self._listen_key))


class _KeyOnly:
    """The strategy of endpoints that name the key and are not signed."""

    def __init__(self, key: str) -> None:
        self._key = key

    def build(
        self, request: RestRequest[object], prepared: PreparedRequest
    ) -> PreparedRequest:
        """Add the key; listen keys are secrets of their own."""
        keyed = prepared.with_headers({"X-MBX-APIKEY": self._key})
        secrets = [self._key]
        if isinstance(request, requests.KeepStream):
            secrets.append(request.listen_key)
        return keyed.with_secrets(*secrets)


_envelope = msgspec.json.Decoder(Envelope)
_fault = msgspec.json.Decoder(Fault)


def _subscribed(payload: bytes) -> bool:
    """Say whether a message confirms the subscription; raise if it refuses it."""
    answer = _envelope.decode(payload)
    if answer.status is None:
        return False
    if bytes(answer.error):
        raise error_of(_fault.decode(answer.error), status=answer.status)
    return True


def _decode(payload: bytes) -> StreamMessage:
    return decode(payload)


def _limiter(config: BinanceConfig) -> RateLimiter:
    """6,000 weight a minute and 100 orders in 10 s, as exchangeInfo says."""
    buckets = {"default": BucketSpec(6000.0, 60.0), "orders": BucketSpec(100.0, 10.0)}
    return bucket_limiter(config.rest_url, buckets, BINANCE_FEEDBACK)
