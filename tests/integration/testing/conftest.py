"""A client of the simulator written from the venue's documentation alone."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal

import httpx
import pytest
import trio
from trio.testing import MockClock


class Follower:
    """Keeps one Binance book by the seven documented steps; counts what it notices."""

    def __init__(self, symbol: str, fetch: Callable[[], object]) -> None:
        self.symbol = symbol
        self.sequence: int | None = None
        self.bids: dict[Decimal, Decimal] = {}
        self.asks: dict[Decimal, Decimal] = {}
        self.gaps = 0
        self.dropped = 0
        self.snapshots = 0
        self._fetch = fetch
        self._buffer: list[dict] = []

    async def feed(self, event: dict) -> None:
        assert event["e"] == "depthUpdate"
        assert event["s"] == self.symbol
        if self.sequence is None:
            self._buffer.append(event)
            await self._synchronise()
        elif event["u"] <= self.sequence:
            self.dropped += 1
        elif event["U"] != self.sequence + 1 and not self._straddles(event):
            self.gaps += 1
            self.sequence = None
            self._buffer = [event]
            await self._synchronise()
        else:
            self._apply(event)

    def _straddles(self, event: dict) -> bool:
        """Only the first event after a snapshot may begin before it."""
        fresh, self._fresh = self._fresh, False
        return fresh and event["U"] <= self.sequence + 1 <= event["u"]

    async def _synchronise(self) -> None:
        snapshot = await self._fetch()
        self.snapshots += 1
        last = snapshot["lastUpdateId"]
        if last + 1 < self._buffer[0]["U"]:
            return  # older than what was buffered first: fetch again with the next
        self.sequence, self._fresh = last, True
        self.bids = {Decimal(p): Decimal(q) for p, q in snapshot["bids"]}
        self.asks = {Decimal(p): Decimal(q) for p, q in snapshot["asks"]}
        buffered, self._buffer = self._buffer, []
        for event in buffered:
            await self.feed(event)

    def _apply(self, event: dict) -> None:
        self._fresh = False
        for side, levels in ((self.bids, event["b"]), (self.asks, event["a"])):
            for price, amount in levels:
                side.pop(Decimal(price), None)
                if Decimal(amount):
                    side[Decimal(price)] = Decimal(amount)
        self.sequence = event["u"]

    def top(self, depth: int) -> tuple[list, list]:
        return (
            sorted(self.bids.items(), reverse=True)[:depth],
            sorted(self.asks.items())[:depth],
        )


def image_top(image, depth: int) -> tuple[list, list]:
    """The same shape from the simulator's own account of its book."""
    return (
        [(level.price, level.amount) for level in image.bids[:depth]],
        [(level.price, level.amount) for level in image.asks[:depth]],
    )


class VenueClient:
    """A WebSocket with requests beside it."""

    def __init__(self, sim, socket, http: httpx.AsyncClient) -> None:
        self.sim = sim
        self.socket = socket
        self.http = http

    async def get(self, path: str, **params) -> httpx.Response:
        return await self.http.get(self.sim.rest_url + path, params=params)

    async def ask(self, **request) -> dict:
        await self.socket.send_message(json.dumps(request))
        return await self.receive()

    async def receive(self) -> dict:
        with trio.fail_after(120):
            return json.loads(await self.socket.get_message())

    async def subscribe(self, *streams: str) -> None:
        reply = await self.ask(method="SUBSCRIBE", params=list(streams), id=1)
        assert reply == {"result": None, "id": 1}

    async def read_on(self) -> None:
        """Read to the end of the connection, which is an exception."""
        while True:
            await self.socket.get_message()

    def follower(self, symbol: str, limit: int = 1000) -> Follower:
        async def fetch() -> object:
            reply = await self.get("/api/v3/depth", symbol=symbol, limit=limit)
            reply.raise_for_status()
            return reply.json()

        return Follower(symbol, fetch)

    async def follow_to(self, follower: Follower, sequence: int) -> None:
        """Feed the follower from the socket until it has reached a sequence."""
        while follower.sequence is None or follower.sequence < sequence:
            message = await self.receive()
            message = message.get("data", message)
            if message.get("e") == "depthUpdate" and message["s"] == follower.symbol:
                await follower.feed(message)

    async def catch_up(self, follower: Follower) -> None:
        """Follow to where the exchange is, and compare the whole books."""
        await self.follow_to(follower, self.sim.sequence(follower.symbol))
        image = self.sim.final_book(follower.symbol)
        assert follower.sequence == image.sequence
        assert image_top(image, 10_000) == follower.top(10_000)


@pytest.fixture
def patient_clock():
    """A clock that jumps when nothing happens, but not while bytes are on their way."""
    return MockClock(autojump_threshold=0.1)


@pytest.fixture
async def sim():
    """A running exchange of a synthetic market that the test moves."""
    pytest.importorskip("trio_websocket")
    from integration.testing import SimulatedExchange, SyntheticMarket

    async with SimulatedExchange(SyntheticMarket(1)) as exchange:
        yield exchange


@asynccontextmanager
async def _handshake(sim, target="/ws"):
    """A TCP stream after a handshake, and the venue's answer; no library between."""
    async with await trio.open_tcp_stream("127.0.0.1", sim.port) as stream:
        await stream.send_all(
            b"GET %b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % target.encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some()
        yield stream, head


@asynccontextmanager
async def _raw_websocket(sim, target="/ws"):
    """A stream that speaks WebSocket from now on."""
    async with _handshake(sim, target) as (stream, head):
        assert head.startswith(b"HTTP/1.1 101")
        # The key and its answer are RFC 6455's example, section 1.3.
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        yield stream


@pytest.fixture(scope="session")  # the functions themselves: nothing to reset
def handshake():
    return _handshake


@pytest.fixture(scope="session")
def raw_websocket():
    return _raw_websocket


@pytest.fixture
def connect():
    """Open a `VenueClient` at a path of a running simulator."""
    trio_websocket = pytest.importorskip("trio_websocket")

    @asynccontextmanager
    async def _connect(sim, path: str = "/ws", **kwargs) -> AsyncIterator[VenueClient]:
        base = sim.websocket_url.removesuffix("/ws")
        verify = kwargs.get("ssl_context") or True
        async with (
            httpx.AsyncClient(verify=verify, trust_env=False, timeout=120) as http,
            trio_websocket.open_websocket_url(
                base + path, max_message_size=2**25, **kwargs
            ) as socket,
        ):
            try:
                yield VenueClient(sim, socket, http)
            finally:
                await socket.aclose()
                # trio-websocket forgets its socket when the peer closed first.
                await trio.aclose_forcefully(socket._stream)

    return _connect
