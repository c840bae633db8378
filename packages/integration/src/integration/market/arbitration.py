"""Several lines that carry the same, made into one: the first true copy counts.

A line is a whole connection with books of its own (`integration.market.redundancy`):
each checks sequence and checksum, resyncs and rotates as if it were alone. What the
lines pass on meets here, and what one consumer would have seen of a line that never
failed comes out:

* a book takes whichever line's update is the next, by the venue's ids; where a line
  resumes beyond what the book has, or was told in other parcels of a book that the
  venue cuts, or where the venue numbers nothing, the book becomes a copy of that
  line's. It is stale only when the books of all lines are;
* a trade is delivered when the first line brings it, once: by its id, or, where the
  venue sends none, as often as the line that brought it most often;
* a quote is delivered if the venue's number says that it is newer;
* of all else (candles, rates, unnumbered quotes) one line leads, until it is lost or
  falls silent while others are not.

Nothing here waits: a trade that one line lost is delivered when another brings it,
behind younger ones. Pure: reads no clock; times are those of the events.
"""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, final

from integration.market.books import OrderBook
from integration.market.merged import MergedBook
from integration.market.reports import (
    BookResynced,
    BookStale,
    Reconnecting,
    StreamError,
    StreamEvent,
)
from integration.market.sequencing import SequenceRule
from integration.market.turns import (
    NUMBERED_BY_CONNECTION,
    Copies,
    FeedLine,
    Led,
    LineFigures,
    LineLost,
    Lines,
    Newest,
)
from integration.models import (
    DataKind,
    Liquidation,
    MarketDataInstrument,
    MarketEvent,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
)

__all__ = ["FeedArbiter"]

_SECOND: Final = 1_000_000_000

_Stream: TypeAlias = Copies | Newest | Led
_Key: TypeAlias = tuple[MarketDataInstrument, type[DataKind], type[_Stream]]


@final
class FeedArbiter:
    """Makes one stream of what several lines to one venue bring.

    Args:
        lines: in the order of their numbers.
        rule: how the venue orders its books.
        silence: seconds after which a line that brings nothing on a stream, while
            others brought fifty events of it, is `silent`.

    Attributes:
        figures: what each line did, in the order of lines.
    """

    def __init__(
        self, lines: Sequence[FeedLine], *, rule: SequenceRule, silence: float
    ) -> None:
        self._lines = Lines(lines)
        self.figures: Sequence[LineFigures] = self._lines.figures
        self._rule = rule
        self._silence = silence * _SECOND
        self._books: dict[MarketDataInstrument, MergedBook] = {}
        self._streams: dict[_Key, _Stream] = {}

    @property
    def silent(self) -> list[int]:
        """Lines found, by the last events taken, to bring nothing while others do."""
        suspects = self._lines.suspects.items()
        return [line for line, silence in suspects if silence >= self._silence]

    @property
    def books(self) -> Mapping[MarketDataInstrument, OrderBook]:
        """The books that consumers read."""
        return {instrument: merged.book for instrument, merged in self._books.items()}

    def missed(self, line: int) -> int:
        """Count the trades that only other lines brought."""
        streams = self._streams.values()
        late = sum(s.missing(line) for s in streams if isinstance(s, Copies))
        return self.figures[line].missed + late

    # What is merged

    def keep(self, instrument: MarketDataInstrument, max_depth: int | None) -> None:
        """Merge another book."""
        if instrument not in self._books:
            self._books[instrument] = MergedBook(
                self._lines, instrument, rule=self._rule, max_depth=max_depth
            )

    def drop(self, instrument: MarketDataInstrument) -> None:
        """Merge a book no longer."""
        self._books.pop(instrument, None)

    def forget(self, instrument: MarketDataInstrument) -> None:
        """Forget all about an instrument: nobody wants anything of it any more."""
        self.drop(instrument)
        for key in [key for key in self._streams if key[0] == instrument]:
            del self._streams[key]

    # What comes

    def take(self, line: int, events: Sequence[StreamEvent]) -> list[StreamEvent]:
        """Return what the consumer is to see of a line's events, in their order.

        Args:
            line: its number.
            events: in the breath in which the line's books changed by them.
        """
        self._lines.suspects.clear()
        self._lines.copied.clear()
        told: list[StreamEvent] = []
        for event in events:
            if isinstance(event, MarketEvent):
                told.extend(self._market(line, event))
            else:
                told.extend(self._report(line, event))
        return told

    def _market(self, line: int, event: MarketEvent) -> list[StreamEvent]:
        kind, instrument = event.kind, event.instrument
        if isinstance(kind, OrderBookUpdate | OrderBookSnapshot):
            merged = self._books.get(instrument)
            if merged is None:
                return []
            if isinstance(kind, OrderBookUpdate):
                return merged.update(line, event, kind)
            return merged.image(line, event, kind)
        turns = _turns(event)
        key = (instrument, type(kind), turns)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = turns(self._lines)
        return stream.take(line, event)

    def _report(
        self, line: int, event: BookStale | BookResynced | Reconnecting | StreamError
    ) -> list[StreamEvent]:
        match event:
            case BookStale():
                merged = self._books.get(event.instrument)
                return [] if merged is None else merged.stale(line, event)
            case BookResynced():
                return []  # that line's own affair: it goes on beside the others
            case Reconnecting():
                for turns in (*self._books.values(), *self._streams.values()):
                    turns.lost(line)
                return [self._lost(line, event)]
            case _:
                return [event]

    def _lost(self, line: int, event: Reconnecting) -> StreamEvent:
        others = [each for n, each in enumerate(self._lines.lines) if n != line]
        up = ", ".join(each.name for each in others if each.up)
        if not up:
            return event
        error = LineLost(
            f"{event.connection} was lost ({event.reason}) and is tried again in "
            f"{event.delay:.1f} s; {up} carries on"
        )
        return StreamError(event.exchange, error, event.time)


def _turns(event: MarketEvent) -> type[_Stream]:
    """Choose how lines take turns, by what the venue tells of an event."""
    kind = event.kind
    if isinstance(kind, PublicTrade | Liquidation):
        return Copies
    numbered = isinstance(kind, OrderBookL1) and kind.sequence is not None
    if numbered and event.exchange not in NUMBERED_BY_CONNECTION:
        return Newest
    return Led
