"""What we send to Binance, and where: the connector of its four servers.

Limits: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
(5 messages per second, 1024 streams per connection, 300 connections per 5 minutes,
24 hours) and the futures' pages (10 messages per second).
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from integration.exchanges.binance import channels, symbols
from integration.exchanges.binance.messages import DepthImage, Fault, OpenInterest
from integration.exchanges.binance.transform import BinanceTransformer, error_of
from integration.market.connector import (
    Connector,
    Image,
    Outgoing,
    Polled,
    RouteTable,
    Topic,
    VenueLimits,
    batched,
)
from integration.market.numbers import exact
from integration.models import (
    AmountUnit,
    ExchangeId,
    MarketDataInstrument,
    OrderBookSnapshot,
    Subscription,
)
from integration.models import OpenInterest as OpenInterestEvent
from integration.rest.limiter import BINANCE_FEEDBACK
from integration.rest.parser import DetailedParser
from integration.rest.request import Params, RestRequest
from netcore.models import Model, Timestamp

__all__ = ["CONNECTORS", "BinanceConnector", "BinanceParser", "DepthSnapshot", "Server"]

_MS = 1_000_000

_DAY = 86_400.0

_SPOT_LIMITS = VenueLimits(
    topics_per_connection=1024,
    topics_per_message=200,
    # A server that answers "Payload too long" does so at 16 KiB; stay well below.
    bytes_per_message=8192,
    messages_per_second=5.0,
    connections=300,
    connections_period=300.0,
    lifetime=_DAY,
    rest_weight=6000.0,
)
_FUTURES_LIMITS = VenueLimits(
    topics_per_connection=1024,
    topics_per_message=200,
    bytes_per_message=8192,
    messages_per_second=10.0,
    connections=300,
    connections_period=300.0,
    lifetime=_DAY,
    rest_weight=2400.0,
)

# (levels, weight): the smallest bracket that holds the depth asked for.
_SPOT_WEIGHTS = ((100, 5), (500, 25), (1000, 50), (5000, 250))
_FUTURES_WEIGHTS = ((5, 2), (10, 2), (20, 2), (50, 2), (100, 5), (500, 10), (1000, 20))


class Server(Model, frozen=True):
    """What differs between the servers."""

    exchange: ExchangeId
    websocket_url: str
    rest_url: str
    depth_path: str
    weights: tuple[tuple[int, int], ...]
    limits: VenueLimits


_SERVERS = (
    Server(
        exchange=ExchangeId.BINANCE_SPOT,
        websocket_url="wss://stream.binance.com:9443/ws",
        rest_url="https://api.binance.com",
        depth_path="/api/v3/depth",
        weights=_SPOT_WEIGHTS,
        limits=_SPOT_LIMITS,
    ),
    Server(
        exchange=ExchangeId.BINANCE_US,
        websocket_url="wss://stream.binance.us:9443/ws",
        rest_url="https://api.binance.us",
        depth_path="/api/v3/depth",
        weights=_SPOT_WEIGHTS,
        limits=_SPOT_LIMITS,
    ),
    Server(
        exchange=ExchangeId.BINANCE_FUTURES_USD,
        websocket_url="wss://fstream.binance.com/ws",
        rest_url="https://fapi.binance.com",
        depth_path="/fapi/v1/depth",
        weights=_FUTURES_WEIGHTS,
        limits=_FUTURES_LIMITS,
    ),
    Server(
        exchange=ExchangeId.BINANCE_FUTURES_COIN,
        websocket_url="wss://dstream.binance.com/ws",
        rest_url="https://dapi.binance.com",
        depth_path="/dapi/v1/depth",
        weights=_FUTURES_WEIGHTS,
        limits=_FUTURES_LIMITS,
    ),
)

_DEFAULT_DEPTH = 1000
"""Levels of an image: all that futures give; deep enough that a book seldom runs
out, at a fifth of the weight of 5000."""


class DepthSnapshot(RestRequest[DepthImage], frozen=True):
    """Asks for the image of a book."""

    response_type: ClassVar[Any] = DepthImage
    timeout: ClassVar[float] = 10.0

    endpoint: str
    symbol: str
    limit: int
    cost: int

    @property
    def weight(self) -> int:  # type: ignore[override]  # depends on the depth here
        """What the venue charges for this depth."""
        return self.cost

    def path(self) -> str:
        """Return the server's path."""
        return self.endpoint

    def query_params(self) -> Params:
        """Return symbol and limit."""
        return {"symbol": self.symbol, "limit": self.limit}


class OpenInterestRequest(RestRequest[OpenInterest], frozen=True):
    """Asks how much is open in a contract."""

    response_type: ClassVar[Any] = OpenInterest
    timeout: ClassVar[float] = 10.0

    endpoint: str
    symbol: str

    def path(self) -> str:
        """Return the server's path."""
        return self.endpoint

    def query_params(self) -> Params:
        """Return the symbol."""
        return {"symbol": self.symbol}


class BinanceParser(DetailedParser[Fault]):
    """Reads Binance's error bodies."""

    api_error_type = Fault

    def error_of(self, api_error: Fault, /, **about: Any) -> Exception:  # noqa: ANN401  as in the base
        """Return the error that a code and its message stand for."""
        return error_of(api_error, **about)


class BinanceConnector(Connector):
    """One of Binance's servers."""

    rest_parser: ClassVar[Any] = BinanceParser
    rest_feedback = BINANCE_FEEDBACK

    def __init__(self, server: Server) -> None:
        self.exchange = server.exchange
        self.websocket_url = server.websocket_url
        self.rest_url = server.rest_url
        self.limits = server.limits
        self._server = server
        inverse = server.exchange is ExchangeId.BINANCE_FUTURES_COIN
        self._unit = AmountUnit.CONTRACT if inverse else AmountUnit.BASE

    def native(self, instrument: MarketDataInstrument) -> str:
        """Spell an instrument, in upper case."""
        return symbols.native(self.exchange, instrument)

    def instrument(self, symbol: str) -> MarketDataInstrument:
        """Read a symbol."""
        return symbols.instrument(self.exchange, symbol)

    def topic(self, subscription: Subscription) -> Topic:
        """Name a subscription as Binance does."""
        return channels.topic(self.exchange, subscription)

    def subscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Ask for streams, many in one message."""
        del time
        return self._requests("SUBSCRIBE", topics, first_id)

    def unsubscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Leave streams."""
        del time
        return self._requests("UNSUBSCRIBE", topics, first_id)

    def _requests(
        self, method: str, topics: Sequence[Topic], first_id: int
    ) -> list[Outgoing]:
        def encode(part: Sequence[Topic], number: int) -> bytes:
            params = [topic.market.lower() + topic.channel for topic in part]
            return msgspec.json.encode(
                {"method": method, "params": params, "id": number}
            )

        return batched(topics, self.limits, encode, first_id=first_id)

    def expected_responses(self, topics: Sequence[Topic]) -> int:
        """One answer per message, however many streams it names."""
        del topics
        return 1

    def transformer(self, routes: RouteTable | None = None) -> BinanceTransformer:
        """Make the transformer of one connection."""
        return BinanceTransformer(self.exchange, routes)

    def image_request(self, topic: Topic, depth: int | None) -> DepthSnapshot:
        """Ask for an image of at least `depth` levels, as far as there are."""
        wanted = depth or _DEFAULT_DEPTH
        brackets = self._server.weights
        limit, cost = next((b for b in brackets if b[0] >= wanted), brackets[-1])
        return DepthSnapshot(
            endpoint=self._server.depth_path,
            symbol=topic.market,
            limit=limit,
            cost=cost,
        )

    def image(self, response: DepthImage) -> Image:
        """Turn the answer into an image."""
        book = OrderBookSnapshot(
            response.bids,
            response.asks,
            sequence=response.lastUpdateId,
            time_engine=None if response.T is None else response.T * _MS,
            amount_unit=self._unit,
        )
        return Image(book, None if response.E is None else response.E * _MS)

    def poll_request(self, topic: Topic) -> OpenInterestRequest | None:
        """Ask for open interest, which no stream carries; it weighs 1."""
        if topic.channel != channels.OPEN_INTEREST:
            return None
        endpoint = self._server.depth_path.replace("/depth", "/openInterest")
        return OpenInterestRequest(endpoint=endpoint, symbol=topic.market)

    def polled(self, topic: Topic, response: OpenInterest) -> Polled:
        """Turn the answer into an event."""
        del topic
        amount = exact(response.openInterest)
        return Polled(OpenInterestEvent(amount, self._unit), response.time * _MS)


CONNECTORS = tuple(BinanceConnector(server) for server in _SERVERS)
