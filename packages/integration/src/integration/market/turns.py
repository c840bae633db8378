"""What several lines bring of one stream, and whose of it counts.

Four ways to take turns, by what the venue tells of an event: `Copies` (it has an id, or
can be counted), `Newest` (it has a number), `Led` (neither: one line's count), and the
books of `integration.market.merged`. See `integration.market.arbitration`. Pure.
"""

from collections.abc import Sequence
from typing import Final, Protocol, final

from integration.errors import RemoteError, Scope
from integration.market.health import LatencyHistogram
from integration.market.keeper import BookKeeper
from integration.market.reports import StreamEvent
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookL1,
    PublicTrade,
)

__all__ = [
    "NUMBERED_BY_CONNECTION",
    "Copies",
    "FeedLine",
    "Led",
    "LineFigures",
    "LineLost",
    "Lines",
    "LinesDiffer",
    "Newest",
    "Numbers",
    "Turns",
]

_SECOND: Final = 1_000_000_000

NUMBERED_BY_CONNECTION: Final = frozenset({ExchangeId.COINBASE_ADVANCED})
"""Venues whose quotes bear a number of the connection's, not of the market's: of two
connections equal numbers mean different quotes, and one quote has two numbers
(https://docs.cdp.coinbase.com/advanced-trade/docs/ws-overview, `sequence_num`)."""

_RENUMBERED: Final = _SECOND
_RENUMBERED_UNTIMED: Final = 30 * _SECOND
"""By how much a smaller number must be *younger*, in ns, before it means that the venue
counts anew: venues stamp one update alike on all connections, to some milliseconds.
Where there is no stamp but our own, a line may lag; none does so by half a minute."""

_LED: Final = (8, 5 * _SECOND)
"""Events that others bring, and ns, after which a line that brings none loses the
lead: more than a burst that one connection happens to get a little later."""

_SILENT_EVENTS: Final = 50
"""The same for a line that is to be given up; how long is the arbiter's argument."""

_REMEMBERED: Final = 1000
"""Trades of an instrument that are always known: more than any venue replays."""
_AWAITED: Final = 100_000
_AWAITED_NS: Final = 60 * _SECOND
"""Trades, and ns, for which another line's copy is awaited; one that lags by more is
silent, and is given up before."""


class LineLost(RemoteError):
    """One of several lines was lost; the others carry on, nothing stops."""

    recoverable = True
    scope = Scope.MESSAGE


class LinesDiffer(RemoteError):
    """Two lines give one number to different books: their numbers are not one count.

    The book is a copy of one line's from then on, as where a venue numbers nothing.
    """

    recoverable = True
    scope = Scope.INSTRUMENT


class FeedLine(Protocol):
    """What the arbiter needs to know of a line."""

    @property
    def name(self) -> str:
        """Such as `binance_spot#0`."""
        ...

    @property
    def up(self) -> bool:
        """Whether it is connected."""
        ...

    @property
    def keeper(self) -> BookKeeper:
        """Its own books."""
        ...


class LineFigures:
    """What one line did, next to the others.

    Attributes:
        first: events that it brought first, and that were delivered.
        repeated: events that another had brought before.
        missed: trades that only others brought, counted when it is too late.
        stale: how often a book of its own went stale, whether anybody noticed or not.
        lag: how much later it was where another was first, in ns.
    """

    __slots__ = ("first", "lag", "missed", "repeated", "stale")

    def __init__(self) -> None:
        self.first = self.repeated = self.missed = self.stale = 0
        self.lag = LatencyHistogram()


@final
class Lines:
    """The lines of one arbiter, and what all streams tell of them.

    Attributes:
        lines: as they were given.
        figures: of each, over all streams.
        suspects: lines that bring nothing while others do, and for how many ns.
        copied: books that became a copy of a line's in the present batch; the rest of
            the batch is in the copy.
    """

    __slots__ = ("copied", "figures", "lines", "suspects")

    def __init__(self, lines: Sequence[FeedLine]) -> None:
        self.lines = lines
        self.figures = [LineFigures() for _ in lines]
        self.suspects: dict[int, int] = {}
        self.copied: set[MarketDataInstrument] = set()

    def __len__(self) -> int:
        return len(self.lines)


class Turns:
    """How the lines take turns on one stream: one kind of data of one instrument.

    Attributes:
        lines: all lines.
        last: when each line last brought something, ns; None since it was lost.
        behind: how many events others were first with since.
    """

    __slots__ = ("behind", "last", "lines")

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.last: list[int | None] = [None] * len(lines)
        self.behind = [0] * len(lines)

    def lost(self, line: int) -> None:
        """Expect nothing of a line any more, and nothing before it comes back."""
        self.last[line], self.behind[line] = None, 0

    def was_first(self, line: int, time: int) -> None:
        """Note who brought an event first, and who is falling behind."""
        self.lines.figures[line].first += 1
        self.last[line], self.behind[line] = time, 0
        for other in range(len(self.lines)):
            if other == line or not self.follows(other):
                continue
            since = self.last[other]
            if since is None:
                since = self.last[other] = time
            self.behind[other] += 1
            if self.behind[other] >= _SILENT_EVENTS:
                suspects = self.lines.suspects
                suspects[other] = max(suspects.get(other, 0), time - since)

    def was_repeated(self, line: int, time: int, since: int | None = None) -> None:
        """Note a copy, and by how much it was late, where that is known."""
        figures = self.lines.figures[line]
        figures.repeated += 1
        if since is not None:
            figures.lag.add(time - since)
        self.last[line], self.behind[line] = time, 0

    def follows(self, line: int) -> bool:
        """Say whether a line should bring what the others bring."""
        return self.lines.lines[line].up


@final
class Copies(Turns):
    """Trades and liquidations: every one once, from whoever is first."""

    __slots__ = ("_copies",)

    def __init__(self, lines: Lines) -> None:
        super().__init__(lines)
        self._copies: dict[object, _Copy] = {}

    def take(self, line: int, event: MarketEvent) -> list[StreamEvent]:
        """Return the event if no line has brought it before."""
        kind, time = event.kind, event.time_received
        key: object = kind.id if isinstance(kind, PublicTrade) else None
        unique = key is not None
        if not unique:
            # Two trades may be alike in all that a venue without ids tells of them; one
            # line's second is not another's first, so each line's are counted.
            key = (event.time_exchange, kind)
        copy = self._copies.get(key)
        if copy is None:
            copy = self._copies[key] = _Copy(time, len(self.lines))
            self._tidy(time)
        counts = copy.counts
        counts[line] = 1 if unique else counts[line] + 1
        if counts[line] > copy.told:
            copy.told += 1
            self.was_first(line, time)
            return [event]
        self.was_repeated(line, time, copy.time)
        return []

    def _tidy(self, now: int) -> None:
        """Forget what no line can be expected to bring any more."""
        copies = self._copies
        while len(copies) > _REMEMBERED:
            key = next(iter(copies))
            copy = copies[key]
            awaited = any(
                count < copy.told and self.follows(line)
                for line, count in enumerate(copy.counts)
            )
            if awaited and len(copies) <= _AWAITED and now - copy.time < _AWAITED_NS:
                return
            for line, count in enumerate(copy.counts):
                self.lines.figures[line].missed += max(0, copy.told - count)
            del copies[key]

    def missing(self, line: int) -> int:
        """Count what a line has not brought although it brought younger ones."""
        last = self.last[line]
        if last is None:
            return 0
        return sum(
            max(0, copy.told - copy.counts[line])
            for copy in self._copies.values()
            if copy.time < last - _LED[1]
        )


class _Copy:
    """A trade: when it came, and how often, by line and to the consumer."""

    __slots__ = ("counts", "time", "told")

    def __init__(self, time: int, lines: int) -> None:
        self.time = time
        self.told = 0
        self.counts = [0] * lines


class Numbers:
    """The venue's numbers on one stream: what is newer, and when it counts anew."""

    __slots__ = ("_by_line", "_seen", "_source", "_stamped", "_time", "last")

    def __init__(self, lines: int) -> None:
        self.last: int | None = None
        self._time = 0
        self._stamped = False
        self._source: int | None = None
        self._by_line: list[int | None] = [None] * lines
        self._seen: dict[int, int] = {}

    def lost(self, line: int) -> None:
        """Draw no conclusions from what a line said before it was lost."""
        self._by_line[line] = None

    def newer(self, line: int, number: int, event: MarketEvent) -> bool:
        """Say whether a number is beyond what was delivered, or of a new count."""
        before, self._by_line[line] = self._by_line[line], number
        if self.last is None or number > self.last:
            return True
        if line == self._source and before is not None and number < before:
            # On one connection numbers go back only if the venue counts anew.
            return True
        stamped = self._stamped and event.time_exchange != event.time_received
        patience = _RENUMBERED if stamped else _RENUMBERED_UNTIMED
        return number < self.last and event.time_exchange - self._time > patience

    def older(self, event: MarketEvent) -> bool:
        """Say whether the venue stamped an event before the one last delivered."""
        stamped = self._stamped and event.time_exchange != event.time_received
        return stamped and event.time_exchange < self._time

    def took(self, line: int, number: int | None, event: MarketEvent) -> None:
        """Note what was delivered."""
        self.last, self._source = number, line
        self._time = event.time_exchange
        self._stamped = event.time_exchange != event.time_received
        if number is None:
            return
        self._by_line[line] = number
        self._seen[number] = event.time_received
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def first_seen(self, number: int) -> int | None:
        """Return when a number was delivered, if that is remembered."""
        return self._seen.get(number)


@final
class Newest(Turns):
    """Quotes that the venue numbers: newer than the last, from whoever is first."""

    __slots__ = ("_numbers",)

    def __init__(self, lines: Lines) -> None:
        super().__init__(lines)
        self._numbers = Numbers(len(lines))

    def lost(self, line: int) -> None:
        """Draw no conclusions any more from what a line said."""
        super().lost(line)
        self._numbers.lost(line)

    def take(self, line: int, event: MarketEvent) -> list[StreamEvent]:
        """Return the event if it is newer than what was delivered."""
        quote, time = event.kind, event.time_received
        number = quote.sequence if isinstance(quote, OrderBookL1) else None
        assert number is not None, "only numbered quotes come here"  # noqa: S101  narrows the type
        if self._numbers.newer(line, number, event):
            self._numbers.took(line, number, event)
            self.was_first(line, time)
            return [event]
        self.was_repeated(line, time, self._numbers.first_seen(number))
        return []


class Led(Turns):
    """A stream of which one line's events count."""

    __slots__ = ("_since", "_waiting", "leader")

    def __init__(self, lines: Lines) -> None:
        super().__init__(lines)
        self.leader: int | None = None
        self._since = self._waiting = 0

    def lost(self, line: int) -> None:
        """Let the next line that brings something lead, if this one did."""
        super().lost(line)
        if self.leader == line:
            self.leader = None

    def leads(self, line: int, time: int) -> bool:
        """Say whether a line's event counts; the lead may change with it."""
        if self.leader is None or self.leader == line or not self.follows(self.leader):
            self._lead(line, time)
            return True
        self._waiting += 1
        events, pause = _LED
        if self._waiting >= events and time - self._since >= pause:
            self._lead(line, time)
            return True
        return False

    def _lead(self, line: int, time: int) -> None:
        self.leader, self._since, self._waiting = line, time, 0

    def take(self, line: int, event: MarketEvent) -> list[StreamEvent]:
        """Return the event if its line leads."""
        time = event.time_received
        if self.leads(line, time):
            self.was_first(line, time)
            return [event]
        self.was_repeated(line, time)
        return []
