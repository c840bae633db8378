"""A book that is LIVE is never crossed, whatever the network does to its messages.

A venue's own book, which never crosses, changes at random; what it publishes is lost,
doubled and put in another order at random; images come late, too early or not at all.
After each message the consumer's picture of the book, made of nothing but the events
that were passed on, is held against what the venue's was at that moment.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from integration.market import checksums, sequencing
from integration.market.books import BookState, OrderBook
from integration.market.manager import BookManager
from integration.market.reports import BookResynced, BookStale, StaleReason
from integration.market.sequencing import (
    RULES,
    ConnectionCounter,
    ImageSource,
    Outcome,
    SequenceRule,
)
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookSnapshot,
    OrderBookUpdate,
)

BTC = MarketDataInstrument.spot("btc", "usdt")
PRICES = 12
DEPTH = 3  # what the venue shows per side where it shows a window only


class Fate(Enum):
    """What the network does to a message."""

    ARRIVES = auto()
    LOST = auto()
    ARRIVES_TWICE = auto()
    ARRIVES_AGAIN = auto()
    """Once now, once after the next message."""
    ARRIVES_LATE = auto()
    """After the next message."""


FATES = [*[Fate.ARRIVES] * 5, *Fate]
DISTURBED = {*Fate} - {Fate.ARRIVES}


@dataclass(frozen=True)
class Guard:
    """How a venue lets losses be noticed, and how much of it that is.

    Attributes:
        rule: of its books.
        blind: fates of messages that it may not notice. As long as none of them has
            happened a live book is the venue's; after that it is never crossed.
        counted: a counter over the connection, looked at before the book.
        checksum: of the book after each message.
        window: whether only the best `DEPTH` levels are published, without a word
            about levels that leave the window.
    """

    rule: SequenceRule
    blind: frozenset[Fate] = frozenset()
    counted: bool = False
    checksum: Callable[[OrderBook], int | None] | None = None
    window: bool = False


GUARDS = {
    "id_range": Guard(sequencing.ID_RANGE),
    "previous_id": Guard(sequencing.PREVIOUS_ID),
    "counter": Guard(sequencing.COUNTER),
    "previous_sequence": Guard(sequencing.PREVIOUS_SEQUENCE),
    "previous_change": Guard(sequencing.PREVIOUS_CHANGE),
    "time_order": Guard(
        sequencing.TIME_ORDER, blind=frozenset({Fate.LOST, Fate.ARRIVES_LATE})
    ),
    "unnumbered": Guard(sequencing.UNNUMBERED, blind=frozenset(DISTURBED)),
    "unnumbered, counted": Guard(sequencing.UNNUMBERED, counted=True),
    "unnumbered, summed": Guard(
        sequencing.UNNUMBERED, checksum=checksums.kraken, window=True
    ),
    "images_only": Guard(sequencing.IMAGES_ONLY),
}


@dataclass(frozen=True)
class Message:
    """What the venue publishes: a change or an image, and its number on the wire."""

    kind: OrderBookUpdate | OrderBookSnapshot
    number: int


class Venue:
    """A book that never crosses, and what is published of it.

    The moment of each state, its index in `states`, travels as the time of the engine.
    """

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.bids: dict[int, str] = {}
        self.asks: dict[int, str] = {}
        self.states = [self.shown()]
        self.id = 10
        self.number = 0

    def shown(self):
        bids = sorted(self.bids.items(), reverse=True)
        asks = sorted(self.asks.items())
        depth = DEPTH if self.guard.window else PRICES
        return (
            [(str(price), amount) for price, amount in bids[:depth]],
            [(str(price), amount) for price, amount in asks[:depth]],
        )

    @property
    def now(self) -> int:
        return len(self.states) - 1

    def checksum(self):
        if self.guard.checksum is None:
            return None
        book = OrderBook()
        book.apply_snapshot(*self.shown())
        return self.guard.checksum(book)

    def numbered(self, kind) -> Message:
        self.number += 1
        return Message(kind, self.number)

    def change(self, middle: int, prices: list[int], width: int) -> Message:
        """Trade to a new middle, then place or take away orders around it."""
        for price in prices:
            side = self.bids if price < middle else self.asks
            if side.pop(price, None) is None:
                # An amount of its own: a level of another moment is told apart.
                side[price] = f"{len(self.states)}.5"
        self.bids = {p: a for p, a in self.bids.items() if p < middle}
        self.asks = {p: a for p, a in self.asks.items() if p >= middle}
        return self.publish(width)

    def publish(self, width: int) -> Message:
        before, after = self.states[-1], self.shown()
        self.states.append(after)
        first, previous, self.id = self.id + 1, self.id, self.id + width
        if self.guard.rule is sequencing.PREVIOUS_ID:
            first += width - 1  # holes between the updates
        if self.guard.rule is sequencing.COUNTER:
            self.id = first = previous + 1
        if self.guard.rule is sequencing.IMAGES_ONLY:
            return self.image()
        return self.numbered(
            OrderBookUpdate(
                *map(self.difference, before, after),
                sequence=self.id if self.guard.rule.sequenced else None,
                first_sequence=first,
                prev_sequence=previous,
                time_engine=self.now,
                checksum=self.checksum(),
            )
        )

    def difference(self, before, after):
        old, new = dict(before), dict(after)
        gone = [price for price in old if price not in new]
        if self.guard.window:
            # Only what was taken away is told, not what left the window.
            gone = [p for p in gone if int(p) not in {*self.bids, *self.asks}]
        changed = [(p, a) for p, a in after if old.get(p) != a]
        return [*((price, "0") for price in gone), *changed]

    def image(self) -> Message:
        bids, asks = self.states[-1]
        return self.numbered(
            OrderBookSnapshot(
                list(bids),
                list(asks),
                sequence=self.id if self.guard.rule.sequenced else None,
                time_engine=self.now,
                checksum=self.checksum(),
            )
        )

    def heartbeat(self) -> Message:
        return self.numbered(
            OrderBookUpdate(
                [],
                [],
                sequence=self.id,
                prev_sequence=self.id,
                time_engine=self.now,
            )
        )


class Consumer:
    """Knows only the events that were passed on."""

    def __init__(self, depth: int | None) -> None:
        self.book = OrderBook(max_depth=depth)
        self.live = False
        self.reports: list[BookStale | BookResynced] = []

    def see(self, event) -> None:
        if isinstance(event, BookStale):
            assert self.live, "stale is said once, of a book that was live"
            self.live = False
            self.reports.append(event)
        elif isinstance(event, BookResynced):
            assert self.live, "said after the image"
            self.reports.append(event)
        elif isinstance(event.kind, OrderBookSnapshot):
            self.live = True
            kind = event.kind
            self.book.apply_snapshot(kind.bids, kind.asks, time_engine=kind.time_engine)
        else:
            assert self.live, "no update of a book that is not live"
            kind = event.kind
            self.book.apply_update(kind.bids, kind.asks, time_engine=kind.time_engine)


MOVE = st.tuples(
    st.integers(1, PRICES - 1),
    st.lists(st.integers(0, PRICES - 1), max_size=6, unique=True),
    st.integers(1, 3),
)
"""The new middle, where orders come or go, and how many ids that takes."""


class Wire(RuleBasedStateMachine):
    """The network between a venue and a book."""

    def __init__(
        self,
        guard: Guard,
        *,
        rule: SequenceRule | None = None,
        check_crossed: bool | None = None,
    ) -> None:
        super().__init__()
        self.guard = guard
        self.venue = Venue(guard)
        self.wire: list[Message] = []
        self.reply: Message | None = None
        self.trusted = True
        self.counter = ConnectionCounter()
        depth = DEPTH if guard.window else None
        self.manager = BookManager(
            ExchangeId.OKX,
            BTC,
            rule=guard.rule if rule is None else rule,
            check_crossed=check_crossed,
            checksum=guard.checksum,
            max_depth=depth,
            buffer_limit=4,
        )
        self.consumer = Consumer(depth)

    # The venue

    @initialize()
    def subscribed(self) -> None:
        self.venue.change(PRICES // 2, [3, 4, 5, 6, 7, 8], 1)
        self.wire.clear()
        self.ask_for_image()

    @rule(moves=st.lists(MOVE, min_size=1, max_size=3))
    def the_market_moves(self, moves) -> None:
        self.wire += [self.venue.change(*move) for move in moves]

    @precondition(lambda self: self.guard.rule is sequencing.PREVIOUS_SEQUENCE)
    @rule()
    def nothing_happens(self) -> None:
        self.wire.append(self.venue.heartbeat())

    @precondition(lambda self: self.manager.awaits_image)
    @rule()
    def ask_for_image(self) -> None:
        if self.guard.rule.images is ImageSource.HTTP:
            self.reply = self.venue.image()
        elif self.guard.rule.images is ImageSource.STREAM:
            self.wire.append(self.venue.image())
        self.manager.image_requested()

    # The network

    def deliver(self, message: Message) -> None:
        time = self.venue.now
        counted = self.guard.counted and message is not self.reply
        if counted and self.counter.check(message.number) is Outcome.GAP:
            for event in self.manager.invalidate(StaleReason.CONNECTION_GAP, time=time):
                self.consumer.see(event)
        event = MarketEvent(time, time, ExchangeId.OKX, BTC, message.kind)
        for passed in self.manager.handle(event):
            self.consumer.see(passed)

    @precondition(lambda self: self.wire)
    @rule(fates=st.lists(st.sampled_from(FATES), min_size=1, max_size=8))
    def messages_arrive(self, fates) -> None:
        for fate in fates[: len(self.wire)]:
            message = self.wire.pop(0)
            self.trusted = self.trusted and fate not in self.guard.blind
            if fate in {Fate.ARRIVES, Fate.ARRIVES_AGAIN, Fate.ARRIVES_TWICE}:
                self.deliver(message)
            if fate is Fate.ARRIVES_TWICE:
                self.deliver(message)
            if fate in {Fate.ARRIVES_LATE, Fate.ARRIVES_AGAIN}:
                self.wire.insert(1, message)

    @precondition(lambda self: self.reply is not None)
    @rule()
    def the_image_arrives(self) -> None:
        self.deliver(self.reply)
        self.reply = None

    @precondition(lambda self: self.reply is not None)
    @rule()
    def the_image_is_lost(self) -> None:
        self.reply = None
        self.manager.image_failed()

    @rule()
    def the_connection_is_lost(self) -> None:
        self.wire.clear()
        self.reply = None
        self.trusted = True
        self.counter = ConnectionCounter()
        time = self.venue.now
        for event in self.manager.invalidate(StaleReason.DISCONNECTED, time=time):
            self.consumer.see(event)
        self.ask_for_image()

    # What holds at all times

    @invariant()
    def a_live_book_is_never_crossed(self) -> None:
        if self.manager.book.state is BookState.LIVE:
            assert not self.manager.book.crossed
            assert not self.consumer.book.crossed

    @invariant()
    def the_consumer_knows_the_state(self) -> None:
        assert self.consumer.live is (self.manager.book.state is BookState.LIVE)

    @invariant()
    def the_consumer_has_the_same_book(self) -> None:
        if self.consumer.live:
            ours, theirs = self.manager.book, self.consumer.book
            assert ours.raw_bids() == theirs.raw_bids()
            assert ours.raw_asks() == theirs.raw_asks()

    @invariant()
    def a_live_book_is_what_the_venues_was(self) -> None:
        book = self.manager.book
        if self.trusted and book.state is BookState.LIVE:
            then = self.venue.states[book.time_engine]
            assert (book.raw_bids(), book.raw_asks()) == then


GAMES = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
FIRST_LOSS = settings(
    GAMES, max_examples=1000, derandomize=True, phases=[Phase.generate]
)
"""The same games every time, until one is lost; it is not made shorter."""

EXACT = [name for name, g in GUARDS.items() if g.rule.sequenced and not g.blind]


def test_every_rule_is_played():
    assert {guard.rule for guard in GUARDS.values()} == set(RULES.values())


@pytest.mark.parametrize("name", GUARDS)
def test_a_live_book_is_never_crossed(name):
    run_state_machine_as_test(partial(Wire, GUARDS[name]), settings=GAMES)


@pytest.mark.parametrize("name", EXACT)
def test_a_rule_that_lets_everything_follow_loses_the_game(name):
    guard = GUARDS[name]
    careless = msgspec.structs.replace(
        guard.rule,
        **dict.fromkeys(("drop", "disorder", "repeated"), lambda _u, _last: False),
        **dict.fromkeys(("first", "next"), lambda _u, _last: True),
    )

    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            partial(Wire, guard, rule=careless), settings=FIRST_LOSS
        )


def test_a_book_without_numbers_that_nobody_looks_at_crosses():
    unwatched = partial(Wire, GUARDS["unnumbered"], check_crossed=False)

    with pytest.raises(AssertionError, match="crossed"):
        run_state_machine_as_test(unwatched, settings=FIRST_LOSS)


def change(last, bids=(), asks=(), first=None):
    kind = OrderBookUpdate(list(bids), list(asks), last, first)
    return MarketEvent(last, last, ExchangeId.OKX, BTC, kind)


def image(last, bids=(), asks=()):
    kind = OrderBookSnapshot(list(bids), list(asks), last)
    return MarketEvent(last, last, ExchangeId.OKX, BTC, kind)


def test_a_crossed_book_is_the_only_sign_of_a_loss_where_only_time_orders_updates():
    manager = BookManager(ExchangeId.OKX, BTC, rule=sequencing.TIME_ORDER)
    manager.handle(image(1, [("9", "1")], [("10", "1")]))

    (stale,) = manager.handle(change(2, bids=[("10", "1")]))

    assert (stale.reason, stale.last_sequence) == (StaleReason.CROSSED, 2)


def test_what_waited_behind_a_crossing_is_not_passed_on_but_waits_again():
    manager = BookManager(ExchangeId.OKX, BTC, rule=sequencing.TIME_ORDER)
    manager.handle(change(2, bids=[("11", "1")]))
    manager.handle(change(4, bids=[("11", "0")]))

    events = manager.handle(image(1, [("9", "1")], [("10", "1")]))

    assert [type(event) for event in events] == [MarketEvent, BookStale]
    assert events[1].reason is StaleReason.CROSSED
    assert manager.wants_image
    first, resynced, second = manager.handle(image(3, [("11", "1")], [("12", "1")]))
    assert [event.time_received for event in (first, second)] == [3, 4]
    assert isinstance(resynced, BookResynced)
    assert (manager.book.bid_count, manager.book.state) == (0, BookState.LIVE)


def test_what_waited_behind_a_number_that_is_none_is_not_passed_on():
    manager = BookManager(ExchangeId.OKX, BTC, rule=sequencing.ID_RANGE)
    manager.handle(change(2, bids=[("NaN", "1")], first=2))
    manager.handle(change(3, bids=[("8", "1")], first=3))

    events = manager.handle(image(1, [("9", "1")], [("10", "1")]))

    assert [type(event) for event in events] == [MarketEvent, BookStale]
    assert manager.book.state is BookState.STALE


def test_an_image_from_before_what_overflowed_is_not_taken():
    manager = BookManager(
        ExchangeId.OKX, BTC, rule=sequencing.TIME_ORDER, buffer_limit=1
    )
    manager.handle(change(5, asks=[("9", "1")]))
    manager.handle(change(6, bids=[("8", "1")]))
    assert manager.last_outcome is Outcome.OVERFLOW

    assert manager.handle(image(4, [("10", "1")], [("11", "1")])) == []
    assert manager.wants_image
    assert len(manager.handle(image(5, [], [("9", "1")]))) == 2
