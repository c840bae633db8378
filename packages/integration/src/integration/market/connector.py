"""What a venue's connector provides, and what all of them share.

A connector is pure: it turns subscriptions into topics and requests, and messages
into events. It opens nothing and reads no clock; `integration.market.streams` drives
it. Each lives in a folder of `integration.exchanges` with the same five modules:

* `channels`: which kinds of data the venue has, and how it names them;
* `symbols`: our instruments in the venue's spelling and back;
* `requests`: what we send;
* `messages`: what we receive, as Structs, and one `decode`;
* `transform`: messages into events.

The values that pass between a connector and whoever drives it are
`integration.market.wire`'s, and can be had from here.

Most venues have one server and wire their modules through `PlainConnector`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar

import msgspec

from integration.errors import (
    UNDECODABLE,
    Deserialise,
    IntegrationError,
    Unidentifiable,
    UnsupportedSubKind,
)
from integration.market.manager import Checksum
from integration.market.notices import Output, Pong
from integration.market.sequencing import RULES, SequenceRule
from integration.market.wire import (
    Image,
    Outgoing,
    Ping,
    Polled,
    Topic,
    VenueLimits,
)
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    SubKind,
    Subscription,
    subscription_id,
)
from integration.rest.limiter import Feedback
from netcore.models import Timestamp

if TYPE_CHECKING:
    from integration.market.shapes import Scanner

__all__ = [
    "FAULTY",
    "UNREADABLE",
    "Channels",
    "Connector",
    "Handlers",
    "Image",
    "Outgoing",
    "Ping",
    "PlainConnector",
    "Polled",
    "RouteTable",
    "Symbols",
    "Topic",
    "UnknownChannelError",
    "VenueLimits",
    "VenueTransformer",
    "batched",
    "connection_id",
    "fault_of",
    "one_each",
    "supported",
]

MessageT = TypeVar("MessageT")

Handlers: TypeAlias = dict[type, Callable[[Any, int], Iterable[Output]]]
"""By type of message: what makes outputs of one and of the time it was received."""


UNREADABLE = (*UNDECODABLE, ArithmeticError)
"""What reading a decoded message may raise besides our own errors: text that is no
number is a ValueError, comparing a NaN an ArithmeticError."""


FAULTY = (IntegrationError, *UNREADABLE)
"""What `VenueTransformer.transform` may raise because of its message."""


class UnknownChannelError(msgspec.ValidationError):
    """A message is of a channel that the connector does not know.

    Nobody can have subscribed to it: it is as unidentifiable as one of a symbol that
    nobody asked for.

    Attributes:
        channel: what the message calls it.
    """

    def __init__(self, channel: str) -> None:
        super().__init__(f"no channel is called {channel!r}")
        self.channel = channel


class RouteTable:
    """From channel and market, as messages name them, to our instruments.

    Most topics tell one kind of data about one instrument: `channel` and `get` find
    it. Some tell several kinds (a ticker: funding, mark price, open interest), or are
    about several instruments (an index: every contract on it): `followers` finds
    those that asked for a kind. Some tell of all instruments at once and name each in
    its row (liquidations): `member` finds it among those that asked.
    """

    __slots__ = ("_by_channel", "_followers", "_members")

    def __init__(self) -> None:
        self._by_channel: dict[str, dict[str, MarketDataInstrument]] = {}
        self._followers: dict[
            tuple[str, str], dict[MarketDataInstrument, set[SubKind | None]]
        ] = {}
        # By channel and kind; made of the followers when somebody asks.
        self._members: dict[tuple[str, SubKind], dict[str, MarketDataInstrument]] = {}

    def add(
        self,
        topic: Topic,
        instrument: MarketDataInstrument,
        *,
        kind: SubKind | None = None,
    ) -> None:
        """Send messages of a topic to an instrument.

        Args:
            topic: whose messages.
            instrument: what they are about.
            kind: which of the topic's kinds of data is wanted; None: all.
        """
        self.channel(topic.channel)[topic.market] = instrument
        followers = self._followers.setdefault((topic.channel, topic.market), {})
        followers.setdefault(instrument, set()).add(kind)
        self._members.clear()

    def remove(self, topic: Topic) -> None:
        """Forget a topic; messages still on their way become unidentifiable."""
        self.channel(topic.channel).pop(topic.market, None)
        self._followers.pop((topic.channel, topic.market), None)
        self._members.clear()

    def forget(
        self,
        topic: Topic,
        instrument: MarketDataInstrument,
        *,
        kind: SubKind | None = None,
    ) -> None:
        """Let an instrument follow a kind of a topic no longer; None: any kind."""
        followers = self._followers.get((topic.channel, topic.market), {})
        kinds = followers.get(instrument, set())
        kinds.discard(kind)
        if kind is None or not kinds:
            followers.pop(instrument, None)
        self._members.clear()

    def followers(
        self, channel: str, market: str, kind: SubKind
    ) -> tuple[MarketDataInstrument, ...]:
        """Return the instruments for which a kind of a topic's data is wanted."""
        found = self._followers.get((channel, market))
        if found is None:
            # A table that knows every symbol, of a recording, is asked for it.
            known = self.get(channel, market)
            return () if known is None else (known,)
        return tuple(i for i, kinds in found.items() if kinds & {kind, None})

    def member(
        self,
        channel: str,
        symbol: str,
        kind: SubKind,
        native: Callable[[MarketDataInstrument], str],
    ) -> MarketDataInstrument | None:
        """Look up a row of a topic that tells of all instruments at once.

        Args:
            channel: the topic's.
            symbol: what the row calls its instrument.
            kind: of the row's data.
            native: spells an instrument as rows of this channel do.

        Returns:
            None if nobody asked for this instrument.
        """
        members = self._members.get((channel, kind))
        if members is None:
            markets = [market for name, market in self._followers if name == channel]
            if not markets:
                return self.get(channel, symbol)
            found = (i for m in markets for i in self.followers(channel, m, kind))
            members = {native(instrument): instrument for instrument in found}
            self._members[channel, kind] = members
        return members.get(symbol)

    def channel(self, channel: str) -> dict[str, MarketDataInstrument]:
        """Return the live mapping of one channel: symbol to instrument."""
        return self._by_channel.setdefault(channel, {})

    def get(self, channel: str, market: str) -> MarketDataInstrument | None:
        """Look up a topic; None if nobody subscribed to it."""
        return self.channel(channel).get(market)


class VenueTransformer(ABC, Generic[MessageT]):
    """Turns one connection's messages into outputs; may keep state.

    Satisfies `integration.stream.transformer.Transformer`. A new one is made for
    every connection: what it remembers ends with it.

    Args:
        exchange: put into every event.
        routes: who is expected; an empty table by default.

    Attributes:
        handlers: by a message's type, what makes outputs of it and of the time it was
            received; for venues where the type says enough. `transform` does the same
            with a frame more; who is in a hurry looks here first.
        scanner: reads trades that are spelled as ever without decoding them, where
            the venue has such a short cut; it gives what `feed` would.
    """

    heartbeats: ClassVar[tuple[bytes, ...]] = ()
    """Plain texts, not JSON, by which the venue shows life."""

    def __init__(self, exchange: ExchangeId, routes: RouteTable | None = None) -> None:
        self.exchange = exchange
        self.routes = RouteTable() if routes is None else routes
        self.handlers: Handlers = {}
        self.scanner: Scanner | None = None

    def add(
        self,
        topic: Topic,
        instrument: MarketDataInstrument,
        *,
        kind: SubKind | None = None,
    ) -> None:
        """Expect messages of a topic (see `RouteTable.add`)."""
        self.routes.add(topic, instrument, kind=kind)

    def remove(self, topic: Topic) -> None:
        """Expect no more messages of a topic."""
        self.routes.remove(topic)

    def forget(
        self,
        topic: Topic,
        instrument: MarketDataInstrument,
        *,
        kind: SubKind | None = None,
    ) -> None:
        """Expect no more of one instrument, or kind, of a topic that serves several."""
        self.routes.forget(topic, instrument, kind=kind)

    @staticmethod
    @abstractmethod
    def decode(payload: bytes) -> MessageT:
        """Decode one message; a plain function, because a frame more is felt here.

        Raises:
            msgspec.DecodeError: it is not one of the venue's.
        """

    def transform(self, message: MessageT, time_received: int) -> Iterable[Output]:
        """Turn one message into outputs, in its order.

        Raises:
            DataError: a number in it is none; the whole message is void.
        """
        return self.handlers[type(message)](message, time_received)

    def feed(self, payload: bytes, time_received: int) -> Iterable[Output]:
        """Decode and transform; a fault of this message is its output."""
        if payload in self.heartbeats:
            return (Pong(),)
        try:
            message = self.decode(payload)
        except UnknownChannelError as error:
            return self.unidentified(error.channel, "")
        except UNDECODABLE as error:
            return (_caused(Deserialise(str(error), payload), error),)
        return self.guarded(message, time_received)

    def guarded(self, message: MessageT, time_received: int) -> Iterable[Output]:
        """Transform; a fault of this message is its output."""
        try:
            return self.transform(message, time_received)
        except FAULTY as error:
            return (fault_of(error, message),)

    def bound(self, topic: Topic) -> Topic | None:
        """Return a topic with what it takes to leave it on this connection.

        Returns:
            None if the venue has given it no name yet: then it cannot be left.
        """
        return topic

    def unidentified(self, channel: str, market: str) -> tuple[IntegrationError, ...]:
        """Return the output for a message of a subscription nobody made."""
        return (Unidentifiable(subscription_id(channel, market)),)


def fault_of(error: Exception, message: object) -> IntegrationError:
    """Turn what `transform` raised about a message into an output.

    Args:
        error: one of `FAULTY`.
        message: what was to be transformed.
    """
    if isinstance(error, IntegrationError):
        return error
    return _caused(Deserialise(str(error), repr(message)), error)


def _caused(fault: Deserialise, cause: Exception) -> Deserialise:
    fault.__cause__ = cause
    return fault


class Connector(ABC):
    """One venue server: everything `open_market_streams` needs to know of it.

    Attributes:
        exchange: which server.
        websocket_url: where its streams are, without a trailing path of ours.
        rest_url: where its images are; None if it has none we use.
        limits: what it allows.
        ping: its own ping, or None where RFC 6455 pings do.
        heartbeats: plain texts, not JSON, by which it shows life.
        rest_feedback: response headers that tell how much weight was used.
        replays_trades: whether a subscription begins with trades from before it.
    """

    exchange: ExchangeId
    websocket_url: str
    rest_url: str | None = None
    limits: VenueLimits = VenueLimits()
    ping: Ping | None = None
    heartbeats: tuple[bytes, ...] = ()
    rest_feedback: tuple[Feedback, ...] = ()
    replays_trades: bool = False
    rest_parser: ClassVar[Any] = None
    """An `HttpParser` class for images; None where images come on the stream."""

    @property
    def rule(self) -> SequenceRule:
        """How this server orders its books."""
        return RULES[self.exchange]

    @abstractmethod
    def native(self, instrument: MarketDataInstrument) -> str:
        """Spell an instrument as the venue does."""

    @abstractmethod
    def instrument(self, symbol: str) -> MarketDataInstrument:
        """Read the venue's symbol.

        Raises:
            DataError: it is not spelled as the venue's symbols are.
        """

    @abstractmethod
    def topic(self, subscription: Subscription) -> Topic:
        """Name a subscription as the venue does.

        Raises:
            UnsupportedSubKind: the venue, or this connector, does not offer it.
        """

    def endpoint(self, topic: Topic, base_url: str) -> str:
        """Return the URL that serves a topic; most venues have one for all."""
        del topic
        return base_url

    @abstractmethod
    def subscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Make the requests that subscribe to topics, within the venue's limits.

        Args:
            topics: at least one.
            first_id: a number no other request of the connection has; requests count
                up from it.
            time: ns since epoch, for venues that want it.
        """

    @abstractmethod
    def unsubscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Make the requests that end subscriptions."""

    def greeting(self, topics: Sequence[Topic]) -> list[bytes]:
        """Return what to send before the first subscription (flags, heartbeats)."""
        del topics
        return []

    def expected_responses(self, topics: Sequence[Topic]) -> int:
        """Return how many confirmations follow one request for these topics."""
        return len(topics)

    @abstractmethod
    def transformer(self, routes: RouteTable | None = None) -> VenueTransformer[Any]:
        """Make the transformer of one connection."""

    def image_request(self, topic: Topic, depth: int | None) -> Any:  # noqa: ANN401  a RestRequest of whatever the venue answers
        """Return the request for a book's image.

        Raises:
            UnsupportedSubKind: images of this venue come on the stream.
        """
        del depth
        raise UnsupportedSubKind(self.exchange, f"an HTTP image of {topic.id}")

    def image(self, response: Any) -> Image:  # noqa: ANN401  as above
        """Turn the answer to `image_request` into an image."""
        raise UnsupportedSubKind(self.exchange, f"an image from {response!r}")

    def poll_request(self, topic: Topic) -> Any | None:  # noqa: ANN401  a RestRequest of whatever the venue answers
        """Return what to ask by HTTP, again and again, for a topic on no stream.

        Returns:
            None for topics that are on a stream: nearly all.
        """
        del topic
        return None

    def polled(self, topic: Topic, response: Any) -> Polled:  # noqa: ANN401  as above
        """Read the answer to `poll_request`.

        Raises:
            DataError: a number in it is none.
        """
        raise UnsupportedSubKind(self.exchange, f"{topic.id} from {response!r}")

    def checksum(self) -> Checksum | None:
        """Return what computes the venue's checksum of a book, if it sends one."""
        return None

    def book_depth(self, subscription: Subscription) -> int | None:
        """Return how many levels a book of this subscription keeps; None for all."""
        return subscription.depth

    def expected_silence(self, kind: SubKind) -> float | None:
        """Return how long a subscription may be silent; None: as long as it likes."""
        del kind
        return None


class Symbols(Protocol):
    """What a venue's module `symbols` has."""

    def native(self, instrument: MarketDataInstrument, /) -> str:
        """Spell an instrument as the venue does."""
        ...

    def instrument(self, symbol: str, /) -> MarketDataInstrument:
        """Read the venue's symbol."""
        ...


class Channels(Protocol):
    """What a venue's module `channels` has."""

    def topic(self, subscription: Subscription, /) -> Topic:
        """Name a subscription as the venue does."""
        ...


class PlainConnector(Connector):
    """A venue of one server: wires its five modules.

    A subclass says what the class attributes are and how a request is spelled.

    Attributes:
        symbols_of: the venue's module `symbols`.
        channels_of: the venue's module `channels`.
        transformer_type: the class of its module `transform`.
        verbs: what asking and leaving are called in a request.
        bundles: whether a request may name several topics.
        echoes_ids: whether an answer names the request's number.
    """

    symbols_of: Symbols
    channels_of: Channels
    transformer_type: ClassVar[type[VenueTransformer[Any]]]
    verbs: ClassVar[tuple[str, str]] = ("subscribe", "unsubscribe")
    bundles: ClassVar[bool] = False
    echoes_ids: ClassVar[bool] = False

    @abstractmethod
    def request(self, verb: str, topics: Sequence[Topic], number: int) -> bytes:
        """Spell one request.

        Args:
            verb: one of `verbs`.
            topics: one, or several if the venue `bundles`.
            number: which no other request of the connection has.
        """

    def native(self, instrument: MarketDataInstrument) -> str:
        """Spell an instrument as the venue does."""
        return self.symbols_of.native(instrument)

    def instrument(self, symbol: str) -> MarketDataInstrument:
        """Read the venue's symbol."""
        return self.symbols_of.instrument(symbol)

    def topic(self, subscription: Subscription) -> Topic:
        """Name a subscription as the venue does."""
        return self.channels_of.topic(subscription)

    def subscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Make the requests that subscribe to topics."""
        del time
        return self._requests(self.verbs[0], topics, first_id)

    def unsubscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Make the requests that end subscriptions."""
        del time
        return self._requests(self.verbs[1], topics, first_id)

    def _requests(
        self, verb: str, topics: Sequence[Topic], first_id: int
    ) -> list[Outgoing]:
        def several(part: Sequence[Topic], number: int) -> bytes:
            return self.request(verb, part, number)

        def single(topic: Topic, number: int) -> bytes:
            return self.request(verb, (topic,), number)

        echoed = self.echoes_ids
        if self.bundles:
            return batched(
                topics, self.limits, several, first_id=first_id, echoed=echoed
            )
        return one_each(topics, single, first_id=first_id, echoed=echoed)

    def transformer(self, routes: RouteTable | None = None) -> VenueTransformer[Any]:
        """Make the transformer of one connection."""
        return self.transformer_type(self.exchange, routes)


def batched(
    topics: Sequence[Topic],
    limits: VenueLimits,
    encode: Callable[[Sequence[Topic], int], bytes],
    *,
    first_id: int,
    echoed: bool = True,
) -> list[Outgoing]:
    """Split topics over as few requests as the venue's limits allow.

    Args:
        topics: what to ask for.
        limits: how many, and how long, a request may be.
        encode: makes the request of some topics with an id.
        first_id: id of the first request.
        echoed: whether the venue's answer names the id.

    Raises:
        ValueError: a request for one topic alone is too long.
    """
    requests: list[Outgoing] = []
    start = 0
    while start < len(topics):
        size = min(limits.topics_per_message, len(topics) - start)
        number = first_id + len(requests)
        while len(payload := encode(topics[start : start + size], number)) > (
            limits.bytes_per_message
        ):
            if size == 1:
                msg = (
                    f"a request for {topics[start].id} has {len(payload)} bytes, "
                    f"the venue takes {limits.bytes_per_message}"
                )
                raise ValueError(msg)
            size = max(1, size // 2)
        part = tuple(topics[start : start + size])
        name = str(number) if echoed else None
        requests.append(Outgoing(payload=payload, topics=part, request_id=name))
        start += size
    return requests


def one_each(
    topics: Sequence[Topic],
    encode: Callable[[Topic, int], bytes],
    *,
    first_id: int,
    echoed: bool = True,
) -> list[Outgoing]:
    """Make one request per topic, for venues that take no more in one.

    Args:
        topics: what to ask for.
        encode: makes the request of a topic with an id.
        first_id: id of the first request.
        echoed: whether the venue's answer names the id.
    """
    return [
        Outgoing(
            payload=encode(topic, number),
            topics=(topic,),
            request_id=str(number) if echoed else None,
        )
        for number, topic in enumerate(topics, first_id)
    ]


def connection_id(exchange: ExchangeId, number: int) -> str:
    """Name a connection for logs and reports."""
    return f"{exchange}#{number}"


def supported(
    exchange: ExchangeId,
    table: Mapping[SubKind, str],
    subscription: Subscription,
) -> str:
    """Look up the channel of a kind.

    Raises:
        UnsupportedSubKind: the table has no such kind.
    """
    channel = table.get(subscription.kind)
    if channel is None:
        raise UnsupportedSubKind(
            exchange, f"{subscription.kind} of {subscription.instrument}"
        )
    return channel
