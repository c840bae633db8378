"""A Binance book, its best level and its trades, from recorded lines."""

from contextlib import suppress
from decimal import Decimal

from integration.errors import Deserialise
from integration.market.books import BookState
from integration.market.playback import Playback
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    PublicTrade,
)

_SERVERS = {
    "spot": ExchangeId.BINANCE_SPOT,
    "usdm": ExchangeId.BINANCE_FUTURES_USD,
    "cm": ExchangeId.BINANCE_FUTURES_COIN,
}
_ANY = MarketDataInstrument.spot("any", "any")


class Book:
    """One symbol's feed; `kind` is spot, usdm or cm."""

    def __init__(self, kind: str) -> None:
        if kind not in _SERVERS:
            msg = f"a book is one of {', '.join(_SERVERS)}, was {kind!r}"
            raise ValueError(msg)
        # A file holds one symbol: whatever it is called, it is the one.
        self._playback = Playback(_SERVERS[kind], instruments=lambda _symbol: _ANY)
        self._count = 0
        self._quantity = Decimal(0)

    def feed(self, ts_ns: int, raw: bytes) -> None:
        """Take one line: a stream message or the body of a depth response.

        A line that was cut off is nothing, as it is on a stream.
        """
        if b'"lastUpdateId"' in raw and b'"stream"' not in raw:
            with suppress(Deserialise):
                self._playback.feed_image(raw, ts_ns, symbol="any")
            return
        for event in self._playback.feed(raw, ts_ns):
            if isinstance(event, MarketEvent) and isinstance(event.kind, PublicTrade):
                self._count += 1
                self._quantity += event.kind.amount

    def top(
        self,
    ) -> tuple[Decimal | None, Decimal | None, Decimal | None, Decimal | None]:
        """Return best bid price and quantity, best ask price and quantity."""
        book = self._playback.books.get(_ANY)
        bid = None if book is None else book.best_bid
        ask = None if book is None else book.best_ask
        return (
            None if bid is None else bid.price,
            None if bid is None else bid.amount,
            None if ask is None else ask.price,
            None if ask is None else ask.amount,
        )

    def trades(self) -> tuple[int, Decimal]:
        """Return how many trades there were, and the sum of their quantities."""
        return self._count, self._quantity

    def last_update(self) -> int | None:
        """Return the id of the last change applied; None while not in sequence."""
        book = self._playback.books.get(_ANY)
        if book is None or book.state is not BookState.LIVE:
            return None
        return book.sequence
