"""Whether an update may be applied: one state machine, one rule per venue.

May live here: decisions on sequence numbers, and the bounded buffer of updates that
wait for an image. Must not: levels of books, sockets, clocks, requests.

Theory of operation. Venues order their books in a handful of ways, and each is four
questions about three numbers of an update (its first, last and previous id) and the
last id that was applied:

* drop:  is it older than what we have?
* first: may it be the first after an image?
* next:  does it follow the one before?
* alive: is it no change at all, only a sign that the book is current?

A `SequenceRule` answers them and says where images come from; `RULES` is the table.
`BookSequencer` interprets it:

                 image                       update that does not follow
      SYNCING ──────────▶ LIVE ─────────────────────────▶ STALE
         ▲                  │ disconnect, checksum, …        │ anything
         │                  └──────────────────────────────▶ │ arrives
         └───────────────────────────────────────────────────┘

Venues with images by HTTP publish updates from the moment of subscription: those are
buffered until the image comes, then the old ones are dropped and the rest applied. An
image older than the first buffered update cannot be joined to it and is fetched again;
the buffer stays. The update that revealed a gap is the first of the new buffer: it is
lost otherwise, and a second image would be needed. On venues whose images come on
the stream itself, updates before the image are useless and dropped.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Generic, TypeAlias, TypeVar, final

import msgspec

from integration.market.books import BookState
from integration.models import (
    ExchangeId,
    OrderBookSnapshot,
    OrderBookUpdate,
)

__all__ = [
    "RULES",
    "BookSequencer",
    "ConnectionCounter",
    "Decision",
    "Drained",
    "ImageSource",
    "Outcome",
    "SequenceRule",
    "rule_for",
]

DEFAULT_BUFFER_LIMIT = 4096
"""Updates kept per instrument while an image is on its way: at the fastest public
cadence (one per 100 ms) almost seven minutes, far beyond any sane fetch."""


class Outcome(StrEnum):
    """What became of one message."""

    BUFFER = "buffer"
    """Kept until an image comes."""
    SNAPSHOT = "snapshot"
    """An image; it replaces the book."""
    APPLY = "apply"
    """It follows; apply it."""
    DROP = "drop"
    """Older than the book, or useless before an image."""
    GAP = "gap"
    """It does not follow, or shows a loss: the book is stale."""
    REFETCH = "refetch"
    """The image cannot be joined to the buffered updates: fetch a newer one."""
    HEARTBEAT = "heartbeat"
    """Nothing changed; the book is current."""
    OVERFLOW = "overflow"
    """The buffer was full: it starts anew with this update; fetch a new image."""
    OK = "ok"
    """A connection-wide counter advanced as it should."""


class ImageSource(StrEnum):
    """Where a book's image comes from."""

    HTTP = "http"
    """A request; updates are buffered meanwhile."""
    STREAM = "stream"
    """The subscription's first message; to get another, subscribe again."""
    EVERY_MESSAGE = "every_message"
    """Every message is a whole image."""


C = TypeVar("C")
"""What travels along with an update while it waits."""

Test: TypeAlias = Callable[[OrderBookUpdate, int], bool]


def _never(_update: OrderBookUpdate, _last: int) -> bool:
    return False


def _always(_update: OrderBookUpdate, _last: int) -> bool:
    return True


class SequenceRule(msgspec.Struct, frozen=True):
    """How one venue orders its book: answers about an update and the last id applied.

    Attributes:
        name: shown in reports.
        images: where images come from.
        drop: it is older than the book.
        first: it may be the first after an image.
        next: it follows the update before it.
        alive: it changes nothing.
        disorder: after others were applied, it came too late, and what it changed is
            lost.
        repeated: after others were applied, it is the last one again.
        sequenced: whether updates carry ids at all; if not, every update follows and
            only a checksum or a lost connection shows that something is missing.
        silent_losses: whether a lost update can go unnoticed though there are ids.
    """

    name: str
    images: ImageSource
    drop: Test = _never
    first: Test = _always
    next: Test = _always
    alive: Test = _never
    disorder: Test = _never
    repeated: Test = _never
    sequenced: bool = True
    silent_losses: bool = False


def _id(value: int | None) -> int:
    # An update without the id its rule needs follows nothing: no id equals this one.
    return -(2**63) if value is None else value


def _last_id(u: OrderBookUpdate) -> int:
    return _id(u.sequence)


def _first_id(u: OrderBookUpdate) -> int:
    return _id(u.first_sequence)


def _previous_id(u: OrderBookUpdate) -> int:
    return _id(u.prev_sequence)


ID_RANGE = SequenceRule(
    "id_range",
    ImageSource.HTTP,
    # Asked for every update, so without a call of their own; no id is an old one.
    drop=lambda u, last: u.sequence is None or u.sequence <= last,
    first=lambda u, last: _first_id(u) <= last + 1 <= _last_id(u),
    next=lambda u, last: u.first_sequence == last + 1,
)
"""Each update covers the ids U..u without holes between updates (Binance spot
https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
#how-to-manage-a-local-order-book-correctly; Gate.io the same)."""

PREVIOUS_ID = SequenceRule(
    "previous_id",
    ImageSource.HTTP,
    drop=lambda u, last: _last_id(u) < last,
    # The venue names the first condition only; but what names the image's id as the one
    # before it follows the image, and nothing else can.
    first=lambda u, last: (
        _first_id(u) <= last <= _last_id(u) or _previous_id(u) == last
    ),
    next=lambda u, last: _previous_id(u) == last,
    # Two connections repeat each other. Right after an image, though, the update that
    # ends where the image does is the one to begin with.
    repeated=lambda u, last: _last_id(u) == last != _previous_id(u),
)
"""Ids have holes; each update names the last id of the one before (Binance futures,
https://developers.binance.com/docs/derivatives/usds-margined-futures/
websocket-market-streams/How-to-manage-a-local-order-book-correctly)."""

COUNTER = SequenceRule(
    "counter",
    ImageSource.STREAM,
    next=lambda u, last: _last_id(u) == last + 1,
    first=lambda u, last: _last_id(u) == last + 1,
)
"""A counter per topic; any image resets it, also to 1 after a restart of the venue
(Bybit v5 https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook)."""

PREVIOUS_SEQUENCE = SequenceRule(
    "previous_sequence",
    ImageSource.STREAM,
    first=lambda u, last: _previous_id(u) == last,
    next=lambda u, last: _previous_id(u) == last,
    alive=lambda u, last: u.sequence == u.prev_sequence == last,
)
"""Each update names its predecessor; naming itself is a heartbeat; a smaller id after
a right predecessor is the venue's maintenance reset (OKX
https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel)."""

PREVIOUS_CHANGE = SequenceRule(
    "previous_change",
    ImageSource.STREAM,
    first=lambda u, last: _previous_id(u) == last,
    next=lambda u, last: _previous_id(u) == last,
)
"""Each change names the one before it (Deribit
https://docs.deribit.com/#book-instrument_name-interval)."""

TIME_ORDER = SequenceRule(
    "time_order",
    ImageSource.HTTP,
    drop=lambda u, last: _last_id(u) <= last,
    first=lambda u, last: _last_id(u) > last,
    next=lambda u, last: _last_id(u) > last,
    disorder=lambda u, last: _last_id(u) < last,
    silent_losses=True,
)
"""Only the time orders updates: a lost one cannot be noticed before the book crosses
(Bitstamp https://www.bitstamp.net/websocket/v2/)."""

UNNUMBERED = SequenceRule("unnumbered", ImageSource.STREAM, sequenced=False)
"""No ids: a checksum, a connection-wide counter or nothing guards the book (Kraken,
Bitfinex, Coinbase, BitMEX)."""

IMAGES_ONLY = SequenceRule(
    "images_only", ImageSource.EVERY_MESSAGE, sequenced=False, next=_never
)
"""Every message is the whole book (Hyperliquid)."""

RULES: dict[ExchangeId, SequenceRule] = {
    ExchangeId.BINANCE_SPOT: ID_RANGE,
    ExchangeId.BINANCE_US: ID_RANGE,
    ExchangeId.BINANCE_FUTURES_USD: PREVIOUS_ID,
    ExchangeId.BINANCE_FUTURES_COIN: PREVIOUS_ID,
    ExchangeId.BYBIT_SPOT: COUNTER,
    ExchangeId.BYBIT_PERPETUALS_USD: COUNTER,
    ExchangeId.OKX: PREVIOUS_SEQUENCE,
    ExchangeId.GATEIO_SPOT: ID_RANGE,
    ExchangeId.GATEIO_PERPETUALS_USD: ID_RANGE,
    ExchangeId.GATEIO_PERPETUALS_BTC: ID_RANGE,
    ExchangeId.GATEIO_FUTURES_USD: ID_RANGE,
    ExchangeId.GATEIO_FUTURES_BTC: ID_RANGE,
    ExchangeId.GATEIO_OPTIONS: ID_RANGE,
    ExchangeId.KRAKEN: UNNUMBERED,
    ExchangeId.KRAKEN_V2: UNNUMBERED,
    ExchangeId.COINBASE: UNNUMBERED,
    ExchangeId.COINBASE_ADVANCED: UNNUMBERED,
    ExchangeId.BITFINEX: UNNUMBERED,
    ExchangeId.BITMEX: UNNUMBERED,
    ExchangeId.DERIBIT: PREVIOUS_CHANGE,
    ExchangeId.BITSTAMP: TIME_ORDER,
    ExchangeId.HYPERLIQUID: IMAGES_ONLY,
}


def rule_for(exchange: ExchangeId) -> SequenceRule:
    """Return the rule of an exchange.

    Raises:
        KeyError: no connector keeps books of it.
    """
    return RULES[exchange]


class Drained(msgspec.Struct, Generic[C], frozen=True):
    """What became of an update that had waited for an image."""

    outcome: Outcome
    update: OrderBookUpdate
    context: C | None


class Decision(msgspec.Struct, Generic[C], frozen=True):
    """What to do with one message, and with those that waited for it.

    Attributes:
        outcome: of the message itself.
        drain: what became of each buffered update, in order; `APPLY` ones are to be
            applied after the image.
    """

    outcome: Outcome
    drain: tuple[Drained[C], ...] = ()


class _Phase(StrEnum):
    """Where the machine stands; finer than a book's state."""

    WAITING = "waiting"
    """No image yet."""
    JOINING = "joining"
    """An image was taken; the first update has not come."""
    FOLLOWING = "following"
    """At least one update was applied after the image."""


@final
class BookSequencer(Generic[C]):
    """Decides, message by message, what may be done to one book.

    Whatever the caller passes along with an update (`context`, of type C) comes back
    with it if the update has to wait.

    Args:
        rule: how the venue orders its book.
        buffer_limit: updates kept while an image is on its way.

    Attributes:
        rule: as given.
        state: what the book's state is after the last message.
        last: the id of the last change applied; None before an image, or if the
            venue numbers nothing.
        expected: after a gap, the id that had to come next, where that is known.
    """

    __slots__ = (
        "_buffer",
        "_discarded",
        "_limit",
        "_phase",
        "expected",
        "last",
        "rule",
        "state",
    )

    def __init__(
        self, rule: SequenceRule, *, buffer_limit: int = DEFAULT_BUFFER_LIMIT
    ) -> None:
        if buffer_limit < 1:
            msg = f"a buffer holds at least one update, was {buffer_limit}"
            raise ValueError(msg)
        self.rule = rule
        self.state = BookState.SYNCING
        self.last: int | None = None
        self.expected: int | None = None
        self._phase = _Phase.WAITING
        self._limit = buffer_limit
        self._buffer: list[tuple[OrderBookUpdate, C | None]] = []
        # The id of the last update that overflowed; an image has to be as new.
        self._discarded: int | None = None

    @property
    def buffered(self) -> int:
        """How many updates wait for an image."""
        return len(self._buffer)

    def on_snapshot(self, snapshot: OrderBookSnapshot) -> Decision[C]:
        """Decide about an image.

        Returns:
            `SNAPSHOT` with what became of the buffered updates, the last of which may
            be a `GAP` (then the book is stale again and needs another image); or
            `REFETCH`, and the image must not be used.
        """
        last = snapshot.sequence
        if not self._joins(last):
            return Decision(Outcome.REFETCH)
        waiting, self._buffer = self._buffer, []
        self._discarded = None
        self.last, self.expected = last, None
        self._phase = _Phase.JOINING
        self.state = BookState.LIVE
        return Decision(Outcome.SNAPSHOT, self._drain(waiting))

    def _joins(self, last: int | None) -> bool:
        """Say whether the buffered updates continue an image that ends at `last`."""
        if not self._buffer or not self.rule.sequenced or last is None:
            return True
        if self._discarded is not None and last < self._discarded:
            return False
        rule = self.rule
        first = next((u for u, _ in self._buffer if not rule.drop(u, last)), None)
        return first is None or rule.first(first, last)

    def joins(self, update: OrderBookUpdate) -> bool:
        """Say whether an update would be applied or dropped now; changes nothing."""
        rule, last = self.rule, self.last
        if self.state is not BookState.LIVE or not rule.sequenced or last is None:
            return True
        following = self._phase is _Phase.FOLLOWING
        follows = rule.next if following else rule.first
        return (
            rule.drop(update, last)
            or rule.alive(update, last)
            or follows(update, last)
            or (following and rule.repeated(update, last))
        )

    def _drain(
        self, waiting: list[tuple[OrderBookUpdate, C | None]]
    ) -> tuple[Drained[C], ...]:
        drained: list[Drained[C]] = []
        for i, (update, context) in enumerate(waiting):
            outcome = self._follow(update, context)
            drained.append(Drained(outcome, update, context))
            if outcome is Outcome.GAP:
                # `_gap` kept the gapping update; the rest waits behind it.
                self._buffer.extend(waiting[i + 1 :])
                break
        return tuple(drained)

    def on_update(self, update: OrderBookUpdate, context: C | None = None) -> Outcome:
        """Decide about an update: apply it only if the answer is `APPLY`."""
        if self._phase is _Phase.WAITING:
            return self._wait(update, context)
        return self._follow(update, context)

    def _wait(self, update: OrderBookUpdate, context: C | None) -> Outcome:
        self.state = BookState.SYNCING
        if self.rule.images is not ImageSource.HTTP:
            return Outcome.DROP
        if len(self._buffer) >= self._limit:
            self._discarded = self._buffer[-1][0].sequence
            self._buffer = [(update, context)]
            return Outcome.OVERFLOW
        self._buffer.append((update, context))
        return Outcome.BUFFER

    def _follow(self, update: OrderBookUpdate, context: C | None) -> Outcome:
        rule, last = self.rule, self.last
        if not rule.sequenced or (last is None and update.sequence is None):
            self._phase = _Phase.FOLLOWING
            return Outcome.APPLY
        known = _id(last)
        # Most rules leave most questions open; what is always answered by no is not
        # asked.
        if rule.alive is not _never and rule.alive(update, known):
            return Outcome.HEARTBEAT
        following = self._phase is _Phase.FOLLOWING
        if following and rule.disorder is not _never and rule.disorder(update, known):
            return self._gap(update, context)
        if rule.drop is not _never and rule.drop(update, known):
            return Outcome.DROP
        if following and rule.repeated is not _never and rule.repeated(update, known):
            return Outcome.DROP
        follows = rule.next if following else rule.first
        if not follows(update, known):
            return self._gap(update, context)
        self._phase = _Phase.FOLLOWING
        self.last = update.sequence
        return Outcome.APPLY

    def _gap(self, update: OrderBookUpdate, context: C | None) -> Outcome:
        expected = None if self.last is None else self.last + 1
        self.invalidate()
        self.expected = expected
        if self.rule.images is ImageSource.HTTP:
            self._buffer.append((update, context))
        return Outcome.GAP

    def invalidate(self) -> None:
        """Take somebody else's word that the book is wrong (checksum, connection).

        The machine waits for an image; what was buffered is forgotten.
        """
        self.state = BookState.STALE
        self._phase = _Phase.WAITING
        self._buffer.clear()
        self._discarded = None
        self.last = None
        self.expected = None

    def __repr__(self) -> str:
        return (
            f"BookSequencer({self.rule.name}, {self.state}, last={self.last}, "
            f"buffered={self.buffered})"
        )


@final
class ConnectionCounter:
    """A counter over all messages of one connection, whatever their channel.

    A gap concerns every book of the connection: nobody knows whose message was lost.

    Attributes:
        last: the last number seen; None before the first message.
    """

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last: int | None = None

    def check(self, sequence: int) -> Outcome:
        """Return `OK` if `sequence` comes next, else `GAP`; count on from it."""
        follows = self.last is None or sequence == self.last + 1
        self.last = sequence
        return Outcome.OK if follows else Outcome.GAP
