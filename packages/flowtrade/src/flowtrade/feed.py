"""Live market data for products: which instrument stands behind which product.

A product whose `app_data` names an exchange and an instrument has an order book
somewhere; `instrument_of` reads that, `MarketFeed` follows the books and trades of all
such products over `integration.market.open_market_streams`. It is what reference
prices and liquidity are made from.

A book is shown only while it may be believed: `mid` is None unless the book is LIVE.
Knows nothing of bids, batches or HTTP; what is done with a price is the caller's.
"""

import logging
import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, final

import msgspec
import trio

from integration.errors import IntegrationError, RemoteError
from integration.market.books import BookState, OrderBook
from integration.market.config import StreamConfig
from integration.market.reports import (
    BookStale,
    Reconnecting,
    StreamError,
    StreamEvent,
)
from integration.market.streams import MarketStreams, open_market_streams
from integration.market.turns import LineLost, LinesDiffer
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
    SubKind,
    Subscription,
)
from netcore.models import Model, Timestamp

__all__ = ["FeedInstrument", "MarketFeed", "MidListener", "instrument_of"]

MidListener: TypeAlias = Callable[[str, float | None, Timestamp], None]
"""Called with product, mid price and the time of the message that changed it; the price
is None from the moment on at which the book may not be believed."""

_KINDS = (SubKind.ORDER_BOOKS_L2, SubKind.ORDER_BOOKS_L1, SubKind.PUBLIC_TRADES)

_AGAIN: Final = 30.0
"""Seconds after which a venue that was out of reach is asked again."""

_OF_LINES: Final = (LineLost, LinesDiffer)
"""What only whoever runs the server can mend, and nobody would notice otherwise."""

_log = logging.getLogger(__name__)


class FeedInstrument(Model, frozen=True):
    """Where a product's prices are seen."""

    exchange: ExchangeId
    instrument: MarketDataInstrument


class _ProductData(msgspec.Struct, frozen=True):
    """What `app_data` may say; other keys are the application's own."""

    exchange: ExchangeId
    base: str
    quote: str
    instrument_kind: Any = "spot"


def instrument_of(app_data: object) -> FeedInstrument | None:
    """Read a product's instrument from its decoded `app_data`.

    Args:
        app_data: An object with `exchange`, `base`, `quote` and optionally
            `instrument_kind` (default `"spot"`), beside whatever else.

    Returns:
        The instrument, or None if `app_data` names no exchange.

    Raises:
        ValueError: It names an exchange, but the rest is missing or malformed.
    """
    if not isinstance(app_data, Mapping) or "exchange" not in app_data:
        return None
    try:
        data = msgspec.convert(app_data, _ProductData)
        instrument = msgspec.convert(
            {
                "base": data.base.lower(),
                "quote": data.quote.lower(),
                "instrument_kind": data.instrument_kind,
            },
            MarketDataInstrument,
        )
    except msgspec.ValidationError as error:
        msg = f"app_data names no instrument of an exchange: {error}"
        raise ValueError(msg) from error
    return FeedInstrument(data.exchange, instrument)


@final
class MarketFeed:
    """Follows the order books, best prices and trades behind products.

    Args:
        instruments: Product (any key the caller likes) -> its instrument.
        config: Of the streams: addresses, recording, liveness.
        on_mid: Called when a product's mid price has changed.
        on_event: Called with every event, in order; for tests and tools.

    Attributes:
        counts: Events seen, by kind.
    """

    def __init__(
        self,
        instruments: Mapping[str, FeedInstrument],
        *,
        config: StreamConfig,
        on_mid: MidListener | None = None,
        on_event: Callable[[StreamEvent], None] | None = None,
    ) -> None:
        self.counts: dict[str, int] = {}
        self._instruments: dict[str, FeedInstrument] = {}
        self._products: dict[FeedInstrument, list[str]] = {}
        for product, instrument in instruments.items():
            self._know(product, instrument)
        self._wanted: deque[str] = deque()
        self._asked = trio.Event()
        self._again: dict[str, float] = {}
        self._config = config
        self._on_mid = on_mid
        self._on_event = on_event
        self._streams: MarketStreams | None = None
        self._mids: dict[str, float | None] = {}
        self._trades: dict[str, MarketEvent] = {}
        self._quotes: dict[str, MarketEvent] = {}
        self._seen: dict[str, int] = {}
        self._progress = trio.Event()

    def book(self, product: str) -> OrderBook | None:
        """The product's order book, None if it has none (yet)."""
        wanted = self._instruments.get(product)
        if wanted is None or self._streams is None:
            return None
        return self._streams.books.get((wanted.exchange, wanted.instrument.name))

    def mid(self, product: str) -> float | None:
        """The book's mid price; None unless the book is live and has both sides."""
        book = self.book(product)
        if book is None or book.state is not BookState.LIVE:
            return None
        bid, ask = book.best_bid, book.best_ask
        if bid is None or ask is None:
            return None
        mid = float((bid.price + ask.price) / 2)
        return mid if math.isfinite(mid) else None

    def trade(self, product: str) -> MarketEvent | None:
        """The last trade event seen, None before the first."""
        return self._trades.get(product)

    def quote(self, product: str) -> MarketEvent | None:
        """The last best-price event seen, None before the first."""
        return self._quotes.get(product)

    async def reached(self, product: str, sequence: int) -> None:
        """Wait until the book is live and its events are taken up to an update number.

        The barrier between an exchange that moves in lockstep and whoever acts on
        what it has shown. It looks at the events taken, not at the book, which may
        be ahead of them.
        """
        while True:
            book = self.book(product)
            live = book is not None and book.state is BookState.LIVE
            if live and self._seen.get(product, -1) >= sequence:
                return
            await self._progress.wait()

    def follow(self, product: str, instrument: FeedInstrument) -> None:
        """Follow one more product from now on; returns at once.

        What its venue does not offer is logged, and the product has no price; a venue
        that is out of reach is asked again every half minute.
        """
        if product not in self._instruments:
            self._know(product, instrument)
            self._wanted.append(product)
            self._asked.set()

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Follow until cancelled; the task has started once the streams are open.

        Raises:
            SocketError: The first connection could not be made or was refused; later
                losses are repaired and reported as events.
            IntegrationError: A venue does not offer a product that was given at the
                beginning.
        """
        given = list(self._instruments.keys() - set(self._wanted))
        if given:
            await self._stream(given, task_status)
        task_status.started()
        while True:  # nothing is given: the first that is added opens the streams
            product = await self._next_wanted()
            try:
                await self._stream([product], trio.TASK_STATUS_IGNORED)
            except IntegrationError as error:
                if self._streams is not None:
                    raise
                self._note_refusal(product, error)

    async def _stream(
        self, products: list[str], task_status: trio.TaskStatus[None]
    ) -> None:
        failure: Exception | None = None
        wanted = [s for product in products for s in self._subscriptions(product)]
        async with open_market_streams(wanted, config=self._config) as streams:
            self._streams = streams
            task_status.started()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._follow_more, streams)
                try:
                    while True:
                        self._take(await streams.next_batch())
                except (IntegrationError, trio.EndOfChannel) as error:
                    failure = error
                nursery.cancel_scope.cancel()
            # Not within the nursery: it comes out as it is, not in a group.
            raise failure

    async def _follow_more(self, streams: MarketStreams) -> None:
        while True:
            product = await self._next_wanted()
            try:
                await streams.subscribe(*self._subscriptions(product))
            except IntegrationError as error:
                self._note_refusal(product, error)

    async def _next_wanted(self) -> str:
        while not self._wanted:
            self._asked = trio.Event()
            with trio.move_on_at(min(self._again.values(), default=math.inf)):
                await self._asked.wait()
            now = trio.current_time()
            for product in [key for key, at in self._again.items() if at <= now]:
                del self._again[product]
                self._wanted.append(product)
        return self._wanted.popleft()

    def _subscriptions(self, product: str) -> list[Subscription]:
        wanted = self._instruments[product]
        return [
            Subscription(wanted.exchange, wanted.instrument, kind) for kind in _KINDS
        ]

    def _know(self, product: str, instrument: FeedInstrument) -> None:
        self._instruments[product] = instrument
        self._products.setdefault(instrument, []).append(product)

    def _note_refusal(self, product: str, error: IntegrationError) -> None:
        if isinstance(error, RemoteError):  # another time it may be otherwise
            text = "the product %s has no market data, asked again in %g s: %s"
            _log.warning(text, product, _AGAIN, error)
            self._again[product] = trio.current_time() + _AGAIN
            return
        _log.warning("the product %s has no market data: %s", product, error)
        self._products[self._instruments.pop(product)].remove(product)

    def _take(self, events: list[StreamEvent]) -> None:
        touched: dict[str, Timestamp] = {}
        for event in events:
            self._count(event)
            if isinstance(event, MarketEvent):
                for product in self._behind(event.exchange, event.instrument):
                    self._note(product, event, touched)
            elif isinstance(event, BookStale | Reconnecting):
                _log.warning("market data: %s", event)
                if isinstance(event, BookStale):
                    for product in self._behind(event.exchange, event.instrument):
                        touched[product] = event.time
            elif isinstance(event, StreamError) and isinstance(event.error, _OF_LINES):
                _log.warning("market data: %s", event.error)
            if self._on_event is not None:
                self._on_event(event)
        for product, time in touched.items():
            self._tell_mid(product, time)
        progress, self._progress = self._progress, trio.Event()
        progress.set()

    def _behind(
        self, exchange: ExchangeId, instrument: MarketDataInstrument
    ) -> list[str]:
        return self._products.get(FeedInstrument(exchange, instrument), [])

    def _note(
        self, product: str, event: MarketEvent, touched: dict[str, Timestamp]
    ) -> None:
        if isinstance(event.kind, PublicTrade):
            self._trades[product] = event
        elif isinstance(event.kind, OrderBookL1):
            self._quotes[product] = event
        elif isinstance(event.kind, OrderBookSnapshot | OrderBookUpdate):
            touched[product] = event.time_exchange
            if event.kind.sequence is not None:
                self._seen[product] = event.kind.sequence

    def _tell_mid(self, product: str, time: Timestamp) -> None:
        mid = self.mid(product)
        if self._mids.get(product) == mid:
            return
        self._mids[product] = mid
        if self._on_mid is not None:
            self._on_mid(product, mid, time)

    def _count(self, event: StreamEvent) -> None:
        kind = event.kind if isinstance(event, MarketEvent) else event
        name = type(kind).__name__
        self.counts[name] = self.counts.get(name, 0) + 1
