"""A recorded session played through the same parts as a live one.

No network, no clock: messages and their receive times go in, events come out, and
books are kept on the way. Subscriptions are not needed: every symbol that occurs is
followed. For recordings, notebooks and tests.
"""

from collections.abc import Callable, Sequence
from typing import final

from integration.exchanges.registry import connector_for
from integration.market.books import OrderBook
from integration.market.connector import RouteTable, Topic
from integration.market.intake import Intake
from integration.market.keeper import BookKeeper
from integration.market.manager import BookManager
from integration.market.notices import Notice
from integration.market.reports import StreamEvent
from integration.market.sequencing import Outcome
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
)
from netcore.models import Timestamp

__all__ = ["Playback"]


class _OpenChannel(dict[str, MarketDataInstrument]):
    """Knows every symbol: the first time it is asked for one, it makes it up."""

    def __init__(self, make: Callable[[str], MarketDataInstrument]) -> None:
        super().__init__()
        self._make = make
        # Asked for every message: what is known is found without a frame of Python.
        self.get = self.__getitem__  # type: ignore[assignment]  # never misses, so it needs no default

    def __missing__(self, market: str) -> MarketDataInstrument:
        made = self[market] = self._make(market)
        return made


class _OpenRoutes(RouteTable):
    """Routes of a session in which everything is followed."""

    def __init__(self, make: Callable[[str], MarketDataInstrument]) -> None:
        super().__init__()
        self._make = make

    def channel(self, channel: str) -> dict[str, MarketDataInstrument]:
        by_market = self._by_channel.get(channel)
        if by_market is None:
            by_market = self._by_channel[channel] = _OpenChannel(self._make)
        return by_market


@final
class Playback:
    """Plays messages of one exchange.

    Args:
        exchange: whose messages they are.
        instruments: makes an instrument of a symbol; by default the connector's own
            reading of it.
        max_depth: levels kept per side of a book; None keeps all.
    """

    def __init__(
        self,
        exchange: ExchangeId,
        *,
        instruments: Callable[[str], MarketDataInstrument] | None = None,
        max_depth: int | None = None,
    ) -> None:
        self._connector = connector_for(exchange)
        self._max_depth = max_depth
        self._keeper = BookKeeper(exchange)
        self._make = instruments or self._connector.instrument
        self._transformer = self._connector.transformer(_OpenRoutes(self._followed))
        self._notices: list[Notice] = []
        self._intake = Intake(self._transformer, self._keeper, self._heard)

    @property
    def books(self) -> dict[MarketDataInstrument, OrderBook]:
        """The books kept so far."""
        return {i: m.book for i, m in self._keeper.managers.items()}

    def _followed(self, symbol: str) -> MarketDataInstrument:
        instrument = self._make(symbol)
        if instrument not in self._keeper.managers:
            self._manage(instrument)
        return instrument

    def _manage(self, instrument: MarketDataInstrument) -> BookManager:
        connector = self._connector
        manager = BookManager(
            connector.exchange,
            instrument,
            rule=connector.rule,
            checksum=connector.checksum(),
            max_depth=self._max_depth,
        )
        self._keeper.add(manager)
        return manager

    def _heard(self, notice: Notice, _time: int, _events: list[StreamEvent]) -> None:
        self._notices.append(notice)

    def feed(self, payload: bytes, time_received: Timestamp) -> list[StreamEvent]:
        """Play one WebSocket message; return what a consumer would have seen."""
        return self._intake.read((payload,), time_received)

    def feed_batch(
        self, payloads: Sequence[bytes], time_received: Timestamp
    ) -> list[StreamEvent]:
        """Play the messages of one read; what `feed` returns for each, in one list."""
        return self._intake.read(payloads, time_received)

    def feed_image(
        self, payload: bytes, time_received: Timestamp, *, symbol: str
    ) -> list[StreamEvent]:
        """Play the body of an HTTP response that held a book's image.

        Raises:
            IntegrationError: it is an error, or no image of this venue.
        """
        connector = self._connector
        instrument = self._followed(symbol)
        topic = Topic("", symbol)
        request = connector.image_request(topic, None)
        parser = connector.rest_parser()
        response = parser.parse(200, {}, payload, request.response_type)
        image = connector.image(response)
        event = MarketEvent(
            image.time_exchange or time_received,
            time_received,
            connector.exchange,
            instrument,
            image.book,
        )
        return self._keeper.absorb((event,), time_received, self._notices)

    @property
    def notices(self) -> list[Notice]:
        """What the venue said besides market data, in order."""
        return self._notices

    @property
    def last_outcome(self) -> Outcome | None:
        """What became of the last depth message of a session about one instrument."""
        outcomes = [m.last_outcome for m in self._keeper.managers.values()]
        return outcomes[0] if len(outcomes) == 1 else None
