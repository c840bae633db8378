"""What a market stream says about itself, between the events of the market.

A consumer that ignores these still gets only true events: updates of a book that is
not live are never passed on. Reading them tells how much was missed and why.
"""

from enum import StrEnum
from typing import TypeAlias

import msgspec

from integration.errors import IntegrationError, Scope
from integration.models import ExchangeId, MarketDataInstrument, MarketEvent
from netcore.models import Model, Timestamp

__all__ = [
    "BookResynced",
    "BookStale",
    "Reconnecting",
    "StaleReason",
    "StreamError",
    "StreamEvent",
]


class StaleReason(StrEnum):
    """Why a book is no longer the venue's."""

    GAP = "gap"
    """An update did not follow the one before."""
    CONNECTION_GAP = "connection_gap"
    """A message of the connection was lost, nobody knows whose."""
    CHECKSUM = "checksum"
    """The venue's checksum differs from ours."""
    CROSSED = "crossed"
    """The best bid reached the best ask."""
    UNKNOWN_LEVEL = "unknown_level"
    """A change of a level that we never saw."""
    INVALID = "invalid"
    """A message held a number that no market has."""
    OVERFLOW = "overflow"
    """Too many updates waited for an image."""
    DISCONNECTED = "disconnected"
    """The connection was lost."""
    SILENT = "silent"
    """Nothing came for longer than the subscription may be silent."""
    AUDIT = "audit"
    """The venue's image at the same sequence shows another book."""
    REQUESTED = "requested"
    """The venue asked for a new subscription, or the consumer did."""


class BookStale(Model, frozen=True):
    """A book must not be relied upon until it is resynced.

    Attributes:
        exchange: whose book.
        instrument: which book.
        reason: why.
        time: when it was noticed, ns since epoch.
        last_sequence: the id of the last change that was applied.
        expected: the id that had to come next, where known.
        received: the id that came instead, where known.
        detail: for people.
    """

    exchange: ExchangeId
    instrument: MarketDataInstrument
    reason: StaleReason
    time: Timestamp
    last_sequence: int | None = None
    expected: int | None = None
    received: int | None = None
    detail: str = ""


class BookResynced(Model, frozen=True):
    """A stale book is live again; the report of the gap.

    Attributes:
        exchange: whose book.
        instrument: which book.
        reason: why it had been stale.
        time: when it became live, ns since epoch.
        gap_ns: how long it was not live.
        missed: first and last id that never reached the book, where ids say so; the
            image covers what they changed.
        gaps: how often this book has been resynced since the stream was opened.
    """

    exchange: ExchangeId
    instrument: MarketDataInstrument
    reason: StaleReason
    time: Timestamp
    gap_ns: int
    missed: tuple[int, int] | None = None
    gaps: int = 1

    @property
    def gap_ms(self) -> float:
        """How long the book was not live, in milliseconds."""
        return self.gap_ns / 1e6


class Reconnecting(Model, frozen=True):
    """A connection was lost; another attempt is on its way. Once per outage.

    Attributes:
        exchange: whose.
        connection: which connection of ours, such as `binance_spot#0`.
        reason: why, for people.
        time: when it was noticed, ns since epoch.
        attempt: 1 for the first attempt after the loss.
        delay: seconds until that attempt.
        instruments: whose events stop until then.
    """

    exchange: ExchangeId
    connection: str
    reason: str
    time: Timestamp
    attempt: int = 1
    delay: float = 0.0
    instruments: tuple[MarketDataInstrument, ...] = ()


class StreamError(msgspec.Struct, frozen=True):
    """A fault that concerns part of a stream; the stream goes on.

    Attributes:
        exchange: where.
        error: what; its `scope` says how much is in doubt.
        time: when it was noticed, ns since epoch.
        instrument: about what, where that is known.
    """

    exchange: ExchangeId
    error: IntegrationError
    time: Timestamp
    instrument: MarketDataInstrument | None = None

    @property
    def scope(self) -> Scope:
        """How much is in doubt."""
        return self.error.scope


StreamEvent: TypeAlias = (
    MarketEvent | BookStale | BookResynced | Reconnecting | StreamError
)
"""Everything that iterating a market stream yields."""
