"""What we send to Gate.io, and where."""

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from integration.errors import Exchange, RateLimited
from integration.exchanges.gateio import channels, symbols
from integration.exchanges.gateio.messages import BookImage, FuturesBookImage, text
from integration.exchanges.gateio.transform import GateioTransformer, contract_levels
from integration.fields import ns_from_decimal_ms, ns_from_decimal_s
from integration.market.connector import (
    Connector,
    Image,
    Outgoing,
    Ping,
    RouteTable,
    Topic,
    VenueLimits,
    one_each,
)
from integration.models import (
    AmountUnit,
    ExchangeId,
    MarketDataInstrument,
    OrderBookSnapshot,
    Subscription,
)
from integration.rest.parser import HttpParser
from integration.rest.request import Params, RestRequest
from netcore.models import Model, Timestamp

__all__ = ["CONNECTORS", "GateioConnector", "GateioParser", "OrderBookRequest"]

_SECOND = 10**9
_REST_URL = "https://api.gateio.ws"
_DEFAULT_DEPTH = 100


class ApiError(msgspec.Struct):
    """An error body."""

    label: str
    message: str = ""


class GateioParser(HttpParser[ApiError]):
    """Reads Gate.io's error bodies."""

    api_error_type = ApiError

    def parse_api_error(self, status: int, api_error: ApiError) -> Exception:
        """Return the error under its label."""
        limited = api_error.label == "TOO_MANY_REQUESTS"
        kind = RateLimited if limited else Exchange
        text = f"{api_error.label}: {api_error.message}"
        return kind(text, code=api_error.label, status=status)


class OrderBookRequest(RestRequest[Any], frozen=True):
    """Asks for the image of a book, with its id."""

    timeout: ClassVar[float] = 10.0

    endpoint: str
    parameter: str
    market: str
    limit: int

    def path(self) -> str:
        """Return the server's path."""
        return f"/api/v4/{self.endpoint}/order_book"

    def query_params(self) -> Params:
        """Return market and limit."""
        return {self.parameter: self.market, "limit": self.limit, "with_id": True}


class SpotBookRequest(OrderBookRequest, frozen=True):
    """Of a spot market."""

    response_type: ClassVar[Any] = BookImage


class ContractBookRequest(OrderBookRequest, frozen=True):
    """Of a derivative."""

    response_type: ClassVar[Any] = FuturesBookImage


class Server(Model, frozen=True):
    """What differs between the servers."""

    exchange: ExchangeId
    websocket_url: str
    endpoint: str


_SERVERS = (
    Server(ExchangeId.GATEIO_SPOT, "wss://api.gateio.ws/ws/v4/", "spot"),
    Server(
        ExchangeId.GATEIO_PERPETUALS_USD,
        "wss://fx-ws.gateio.ws/v4/ws/usdt",
        "futures/usdt",
    ),
    Server(
        ExchangeId.GATEIO_PERPETUALS_BTC,
        "wss://fx-ws.gateio.ws/v4/ws/btc",
        "futures/btc",
    ),
    Server(
        ExchangeId.GATEIO_FUTURES_USD,
        "wss://fx-ws.gateio.ws/v4/ws/delivery/usdt",
        "delivery/usdt",
    ),
    Server(
        ExchangeId.GATEIO_FUTURES_BTC,
        "wss://fx-ws.gateio.ws/v4/ws/delivery/btc",
        "delivery/btc",
    ),
    Server(ExchangeId.GATEIO_OPTIONS, "wss://op-ws.gateio.live/v4/ws", "options"),
)


class GateioConnector(Connector):
    """One of Gate.io's servers."""

    rest_url = _REST_URL
    rest_parser: ClassVar[Any] = GateioParser
    # 200 requests in ten seconds per endpoint; 300 connections per address.
    limits = VenueLimits(topics_per_connection=200, connections=300, rest_weight=1200.0)

    def __init__(self, server: Server) -> None:
        self.exchange = server.exchange
        self.websocket_url = server.websocket_url
        self._endpoint = server.endpoint
        self._family = channels.FAMILIES[server.exchange][0]
        self._spot = server.exchange is ExchangeId.GATEIO_SPOT
        self.ping = Ping(interval=20.0, message=self._ping)

    def _ping(self, time: Timestamp) -> bytes:
        return msgspec.json.encode(
            {"time": time // _SECOND, "channel": f"{self._family}.ping"}
        )

    def native(self, instrument: MarketDataInstrument) -> str:
        """Spell an instrument."""
        return symbols.native(instrument)

    def instrument(self, symbol: str) -> MarketDataInstrument:
        """Read a symbol."""
        return symbols.instrument(self.exchange, symbol)

    def topic(self, subscription: Subscription) -> Topic:
        """Name a subscription as Gate.io does."""
        return channels.topic(self.exchange, subscription)

    def subscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Ask for channels, one message each."""
        return self._requests("subscribe", topics, first_id, time)

    def unsubscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Leave channels."""
        return self._requests("unsubscribe", topics, first_id, time)

    def _requests(
        self, event: str, topics: Sequence[Topic], first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        def encode(topic: Topic, _number: int) -> bytes:
            return msgspec.json.encode(
                {
                    "time": time // _SECOND,
                    "channel": topic.channel,
                    "event": event,
                    "payload": self._payload(topic),
                }
            )

        return one_each(topics, encode, first_id=first_id, echoed=False)

    def _payload(self, topic: Topic) -> list[str]:
        if topic.channel.endswith(channels.CANDLES):
            interval, _, market = topic.market.partition("_")
            return [interval, market]
        if not topic.channel.endswith(channels.BOOK):
            return [topic.market]
        # Cadence; derivatives want to know how deep, too.
        cadence = [topic.market, "100ms"]
        return cadence if self._spot else [*cadence, str(_DEFAULT_DEPTH)]

    def transformer(self, routes: RouteTable | None = None) -> GateioTransformer:
        """Make the transformer of one connection."""
        return GateioTransformer(self.exchange, routes)

    def image_request(self, topic: Topic, depth: int | None) -> OrderBookRequest:
        """Ask for an image of 100 levels, as deep as its updates are."""
        del depth
        kind = SpotBookRequest if self._spot else ContractBookRequest
        return kind(
            endpoint=self._endpoint,
            parameter="currency_pair" if self._spot else "contract",
            market=topic.market,
            limit=_DEFAULT_DEPTH,
        )

    def image(self, response: BookImage | FuturesBookImage) -> Image:
        """Turn the answer into an image."""
        update = text(response.update)
        if isinstance(response, BookImage):
            book = OrderBookSnapshot(response.bids, response.asks, response.id)
            return Image(book, ns_from_decimal_ms(update) if update else None)
        book = OrderBookSnapshot(
            contract_levels(response.bids),
            contract_levels(response.asks),
            response.id,
            amount_unit=AmountUnit.CONTRACT,
        )
        return Image(book, ns_from_decimal_s(update) if update else None)


CONNECTORS = tuple(GateioConnector(server) for server in _SERVERS)
