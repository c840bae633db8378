import itertools
from collections import Counter
from decimal import Decimal

import msgspec
import pytest
from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.errors import Deserialise
from integration.market.arbitration import FeedArbiter
from integration.market.books import BookState
from integration.market.keeper import BookKeeper
from integration.market.manager import BookManager
from integration.market.reports import (
    BookResynced,
    BookStale,
    Reconnecting,
    StaleReason,
    StreamError,
)
from integration.market.sequencing import (
    COUNTER,
    ID_RANGE,
    IMAGES_ONLY,
    PREVIOUS_CHANGE,
    PREVIOUS_ID,
    PREVIOUS_SEQUENCE,
    TIME_ORDER,
    UNNUMBERED,
    ImageSource,
)
from integration.market.turns import LineLost, LinesDiffer
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
    Side,
)

VENUE = ExchangeId.BINANCE_SPOT
BTC = MarketDataInstrument.spot("btc", "usdt")
MS = 1_000_000
RULES = [
    ID_RANGE,
    PREVIOUS_ID,
    COUNTER,
    PREVIOUS_SEQUENCE,
    PREVIOUS_CHANGE,
    TIME_ORDER,
    UNNUMBERED,
    IMAGES_ONLY,
]
NUMBERED = RULES[:5]


class Truth:
    """What happened at the venue: the book after every update, and the updates."""

    def __init__(self, rule, changes):
        self.rule = rule
        self.states = [({"99": "1"}, {"101": "1"})]
        self.numbers = [100]
        self.updates = []
        for change in changes:
            self._append(*change)

    def _append(self, side, price, amount, step):
        bids, asks = (dict(levels) for levels in self.states[-1])
        price = str(price if side == "bid" else 201 - price)
        levels = bids if side == "bid" else asks
        levels.pop(price, None)
        if amount:
            levels[price] = str(amount)
        before = self.numbers[-1]
        holes = self.rule in (PREVIOUS_ID, PREVIOUS_SEQUENCE, PREVIOUS_CHANGE)
        number = before + (step if holes or self.rule in (ID_RANGE, TIME_ORDER) else 1)
        first = previous = None
        if self.rule is ID_RANGE:
            first = before + 1
        elif holes:
            first, previous = number, before
        changed = [(price, str(amount))]
        self.states.append((bids, asks))
        self.numbers.append(number)
        self.updates.append(
            OrderBookUpdate(
                changed if side == "bid" else [],
                changed if side == "ask" else [],
                sequence=number if self.rule.sequenced else None,
                first_sequence=first,
                prev_sequence=previous,
            )
        )

    def image(self, at):
        bids, asks = self.states[at]
        number = self.numbers[at] if self.rule.sequenced else None
        return OrderBookSnapshot(list(bids.items()), list(asks.items()), number)


class Line:
    """A line with the real book of one; `at` counts the updates sent on it."""

    def __init__(self, name, truth, depth=None):
        self.name, self.up, self.at = name, True, 0
        self.truth = truth
        self.keeper = BookKeeper(VENUE)
        self.manager = BookManager(
            VENUE, BTC, rule=truth.rule, max_depth=depth, check_crossed=False
        )
        self.keeper.add(self.manager)
        self.trades = Counter()

    def stamped(self, kind, at, received):
        return MarketEvent(at * MS, received, VENUE, BTC, kind)

    def book(self, kind, at, received):
        return self.manager.handle(self.stamped(kind, at, received))

    def next(self, received, *, trades):
        """Let the next update, and the trade that made it, arrive."""
        if self.at >= len(self.truth.updates):
            return []
        update = self.truth.updates[self.at]
        self.at += 1
        if not self.up:
            return []
        trade = trades(self.at)
        self.trades[trade.id or trade] += 1
        if self.truth.rule.images is ImageSource.EVERY_MESSAGE:
            update = self.truth.image(self.at)
        return [
            self.stamped(trade, self.at, received),
            *self.book(update, self.at, received),
        ]

    def image(self, received, *, age):
        if not self.up or not self.manager.awaits_image:
            return []
        if self.truth.rule.images is ImageSource.HTTP:
            # Where only times order updates, no image is known to be too old.
            at = self.at if self.truth.rule is TIME_ORDER else max(0, self.at - age)
            return self.book(self.truth.image(at), received // MS, received)
        return self.book(self.truth.image(self.at), self.at, received)

    def lose(self, received):
        """Lose one update; where nothing shows it, the line is lost."""
        if self.at < len(self.truth.updates):
            self.at += 1
        if self.up and (not self.truth.rule.sequenced or self.truth.rule is TIME_ORDER):
            return self.lost(received)
        return []

    def lost(self, received):
        if not self.up:
            return []
        self.up = False
        told = Reconnecting(VENUE, self.name, "cut", received, instruments=(BTC,))
        stale = self.keeper.invalidate(StaleReason.DISCONNECTED, time=received)
        return [told, *stale]

    def back(self):
        self.up = True
        return []


class Consumer:
    """Keeps a book of its own of what is delivered, and believes nothing else."""

    def __init__(self):
        self.bids, self.asks, self.number = {}, {}, None
        self.live = False
        self.trades = Counter()

    def take(self, events, truth):
        for event in events:
            if isinstance(event, BookStale):
                assert self.live
                self.live = False
            elif isinstance(event, MarketEvent):
                self._market(event.kind, truth)

    def _market(self, kind, truth):
        if isinstance(kind, PublicTrade):
            self.trades[kind.id or kind] += 1
        elif isinstance(kind, OrderBookSnapshot):
            self.bids, self.asks = dict(kind.bids), dict(kind.asks)
            self.number, self.live = kind.sequence, True
        else:
            assert self.live
            if truth.rule in NUMBERED:
                assert kind.sequence > self.number
                before = (
                    kind.prev_sequence or (kind.first_sequence or kind.sequence) - 1
                )
                assert before <= self.number
            for side, changed in ((self.bids, kind.bids), (self.asks, kind.asks)):
                for price, amount in changed:
                    side.pop(price, None)
                    if amount != "0":
                        side[price] = amount
            self.number = kind.sequence


def levels(book):
    return dict(book.raw_bids()), dict(book.raw_asks())


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["bid", "ask"]),
        st.integers(90, 99),
        st.integers(0, 3),
        st.integers(1, 3),
    ),
    min_size=1,
    max_size=40,
)
OPS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(
            ["next"] * 5 + ["image"] * 2 + ["lose", "lost", "back", "burst"]
        ),
        st.integers(0, 3),
    ),
    max_size=120,
)


def act(line, op, number, received, trades):
    if op == "next":
        return line.next(received, trades=trades)
    if op == "burst":
        # One read of several messages: the line's book is ahead of the first events.
        found = []
        for _ in range(number + 2):
            found += line.next(received, trades=trades)
            found += line.image(received, age=0)
        return found
    if op == "image":
        return line.image(received, age=number)
    return line.back() if op == "back" else getattr(line, op)(received)


def numbered_trade(at):
    return PublicTrade(str(at), Decimal(100), Decimal(1), Side.BUY)


def nameless_trade(at):
    # Two of three are alike in everything that is told of them.
    return PublicTrade(None, Decimal(100), Decimal(at // 3 + 1), Side.BUY)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@given(changes=CHANGES, ops=OPS)
@settings(max_examples=150)
def test_what_two_failing_lines_bring_is_one_true_book_and_every_trade_once(
    rule, changes, ops
):
    truth = Truth(rule, changes)
    lines = [Line("venue#0", truth), Line("venue#1", truth)]
    arbiter = FeedArbiter(lines, rule=rule, silence=1e6)
    arbiter.keep(BTC, None)
    consumer, book = Consumer(), arbiter.books[BTC]
    highest = 0
    for tick, (number, op, size) in enumerate(ops):
        line = lines[number]
        events = act(line, op, size, (1000 + tick) * MS, numbered_trade)
        told = arbiter.take(number, events)
        consumer.take(told, truth)
        alive = [each.manager.book.state is BookState.LIVE for each in lines]
        assert consumer.live is (book.state is BookState.LIVE)
        if consumer.live:
            assert any(alive), "a book that no line can vouch for"
            assert levels(book) == (consumer.bids, consumer.asks)
            assert levels(book) in truth.states
        else:
            assert not any(alive), "a line could have vouched for the book"
            highest = 0  # an image by HTTP may be older than what was lost
        if rule in NUMBERED and consumer.live:
            at = truth.numbers.index(book.sequence)
            assert levels(book) == truth.states[at]
            assert book.sequence >= highest
            highest = book.sequence
            vouched = [
                each.manager.book.sequence
                for each, true in zip(lines, alive, strict=True)
                if true
            ]
            # No line that was heard is ahead of what the consumer has.
            assert book.sequence >= max(vouched)
        note(f"{rule.name} {book.state}")
    brought = lines[0].trades | lines[1].trades
    assert set(consumer.trades.values()) <= {1}
    assert set(consumer.trades) == set(brought)


# Books that are cut at a depth


def best(levels, depth, *, highest):
    prices = sorted(levels, key=int, reverse=highest)[:depth]
    return {price: levels[price] for price in prices}


class Window(Truth):
    """A venue that sends the best three levels, and no word of what leaves them."""

    DEPTH = 3

    def __init__(self, rule, changes):
        super().__init__(rule, changes)
        self.states = [
            (best(bids, 3, highest=True), best(asks, 3, highest=False))
            for bids, asks in self.states
        ]
        self.updates = [
            msgspec.structs.replace(
                update,
                bids=self._sent(update.bids, 0, before, after),
                asks=self._sent(update.asks, 1, before, after),
            )
            for update, (before, after) in zip(
                self.updates, itertools.pairwise(self.states), strict=True
            )
        ]

    def _sent(self, changed, side, before, after):
        removed = [(p, q) for p, q in changed if q == "0" and p in before[side]]
        entered = after[side].items() - before[side].items()
        return [*removed, *sorted(entered)]


@pytest.mark.parametrize("rule", [UNNUMBERED, COUNTER, PREVIOUS_SEQUENCE])
@given(changes=CHANGES, ops=OPS)
def test_a_book_of_the_venue_s_depth_keeps_exactly_the_venue_s_levels(
    rule, changes, ops
):
    truth = Window(rule, changes)
    lines = [Line(f"venue#{n}", truth, depth=Window.DEPTH) for n in range(2)]
    arbiter = FeedArbiter(lines, rule=rule, silence=1e6)
    arbiter.keep(BTC, Window.DEPTH)
    book = arbiter.books[BTC]
    for tick, (number, op, size) in enumerate(ops):
        events = act(lines[number], op, size, (1000 + tick) * MS, numbered_trade)
        told = arbiter.take(number, events)
        assert not any(isinstance(e, StreamError) and e.instrument for e in told)
        if book.state is BookState.LIVE:
            assert levels(book) in truth.states


@pytest.mark.parametrize("rule", NUMBERED, ids=lambda rule: rule.name)
@given(changes=CHANGES, ops=OPS, depth=st.integers(1, 4))
@settings(max_examples=150)
def test_a_book_that_is_cut_here_has_only_levels_of_the_venue_s(
    rule, changes, ops, depth
):
    truth = Truth(rule, changes)
    lines = [Line(f"venue#{n}", truth, depth=depth) for n in range(2)]
    arbiter = FeedArbiter(lines, rule=rule, silence=1e6)
    arbiter.keep(BTC, depth)
    book = arbiter.books[BTC]
    for tick, (number, op, size) in enumerate(ops):
        events = act(lines[number], op, size, (1000 + tick) * MS, numbered_trade)
        told = arbiter.take(number, events)
        # Lines that were cut at different times lack different levels: no quarrel.
        assert not any(isinstance(e, StreamError) and e.instrument for e in told)
        if book.state is BookState.LIVE:
            true = truth.states[truth.numbers.index(book.sequence)]
            for ours, theirs in zip(levels(book), true, strict=True):
                assert len(ours) <= depth
                assert ours.items() <= theirs.items()


@given(changes=CHANGES, ops=OPS)
def test_trades_without_ids_come_as_often_as_the_line_that_brought_them_most_often(
    changes, ops
):
    truth = Truth(UNNUMBERED, changes)
    lines = [Line("venue#0", truth), Line("venue#1", truth)]
    for line in lines:
        # All trades of one price at one instant.
        line.stamped = lambda kind, _at, received: MarketEvent(
            MS, received, VENUE, BTC, kind
        )
    arbiter = FeedArbiter(lines, rule=UNNUMBERED, silence=1e6)
    arbiter.keep(BTC, None)
    consumer = Consumer()
    for tick, (number, op, size) in enumerate(ops):
        received = (1000 + tick) * MS
        events = act(lines[number], op, size, received, nameless_trade)
        consumer.take(arbiter.take(number, events), truth)
    # `|` of counters is the larger count of each.
    assert consumer.trades == lines[0].trades | lines[1].trades


# What a restart of the venue's numbering does


def pair(rule, count=60):
    truth = Truth(rule, [("bid", 90 + n % 9, n % 3 + 1, 1) for n in range(count)])
    lines = [Line("venue#0", truth), Line("venue#1", truth)]
    arbiter = FeedArbiter(lines, rule=rule, silence=15)
    arbiter.keep(BTC, None)
    return truth, lines, arbiter, arbiter.books[BTC]


def begin(lines, arbiter, received=1000 * MS):
    return [
        event
        for number, line in enumerate(lines)
        for event in arbiter.take(number, line.image(received, age=0))
    ]


def sequences(events):
    return [
        e.kind.sequence
        for e in events
        if isinstance(e, MarketEvent)
        and isinstance(e.kind, OrderBookSnapshot | OrderBookUpdate)
    ]


def renumbered(line, number, at, received):
    """Let the venue count anew on a line: an image with a smaller number."""
    image = msgspec.structs.replace(line.truth.image(line.at), sequence=number)
    return line.book(image, at, received)


def test_a_count_that_begins_anew_on_the_line_that_led_is_believed_at_once():
    _, lines, arbiter, book = pair(COUNTER)
    begin(lines, arbiter)
    arbiter.take(0, lines[0].next(1001 * MS, trades=numbered_trade))
    assert book.sequence == 101
    told = arbiter.take(0, renumbered(lines[0], 1, 2, 1002 * MS))
    assert sequences(told) == [1]
    assert book.sequence == 1


def test_an_old_count_on_the_other_line_does_not_bring_the_old_book_back():
    _, lines, arbiter, book = pair(COUNTER)
    begin(lines, arbiter)
    for number in (0, 1):
        arbiter.take(number, lines[number].next(1001 * MS, trades=numbered_trade))
    arbiter.take(0, renumbered(lines[0], 1, 50, 1002 * MS))
    late = [
        e for _ in range(3) for e in lines[1].next(1003 * MS, trades=numbered_trade)
    ]
    told = arbiter.take(1, [e for e in late if isinstance(e.kind, OrderBookUpdate)])
    assert told == []
    assert book.sequence == 1


def test_an_old_image_on_the_other_line_does_not_bring_the_old_book_back():
    _, lines, arbiter, book = pair(COUNTER)
    begin(lines, arbiter)
    arbiter.take(1, lines[1].next(1001 * MS, trades=numbered_trade))
    arbiter.take(0, renumbered(lines[0], 90, 1, 1002 * MS))
    arbiter.take(0, renumbered(lines[0], 1, 50, 1002 * MS))
    assert book.sequence == 101  # the line that led is the other one
    arbiter.take(1, renumbered(lines[1], 2, 51, 1003 * MS))
    assert book.sequence == 2
    # An image of before, with a larger number.
    assert arbiter.take(0, renumbered(lines[0], 500, 49, 1004 * MS)) == []
    assert book.sequence == 2


def test_a_count_that_begins_anew_on_the_line_behind_counts_once_it_is_younger():
    _, lines, arbiter, book = pair(COUNTER)
    begin(lines, arbiter)
    for _ in range(3):
        arbiter.take(0, lines[0].next(1001 * MS, trades=numbered_trade))
    # The other line is told at first what might be an old image ...
    assert arbiter.take(1, renumbered(lines[1], 1, 2, 1002 * MS)) == []
    assert book.sequence == 103
    # ... but an old image is not a second younger than the newest update.
    told = arbiter.take(1, renumbered(lines[1], 2, 1100, 1003 * MS))
    assert sequences(told) == [2]


def test_an_image_by_http_that_is_older_than_the_book_is_no_new_count():
    truth, lines, arbiter, book = pair(ID_RANGE)
    begin(lines, arbiter)
    for _ in range(3):
        arbiter.take(0, lines[0].next(1001 * MS, trades=numbered_trade))
    arbiter.take(1, lines[1].lost(1002 * MS))
    lines[1].back()
    # Its stamp is our clock's, hours after the venue's last word.
    old = lines[1].book(truth.image(1), 10_000_000, 10_000_000 * MS)
    assert arbiter.take(1, old) == []
    assert book.sequence == 103


def test_lines_whose_numbers_are_not_one_count_are_noticed_and_told_of():
    _, lines, arbiter, book = pair(COUNTER)
    other = Truth(COUNTER, [("ask", 92, 2, 1)] * 60)
    lines[1].truth = other
    begin(lines, arbiter)
    arbiter.take(0, lines[0].next(1001 * MS, trades=numbered_trade))
    told = arbiter.take(1, lines[1].next(1001 * MS, trades=numbered_trade))
    [error] = [e for e in told if isinstance(e, StreamError)]
    assert isinstance(error.error, LinesDiffer)
    assert "give 101 to different books" in str(error.error)
    assert levels(book) == other.states[1]
    # From then on one line leads.
    assert (
        sequences(arbiter.take(0, lines[0].next(1002 * MS, trades=numbered_trade)))
        == []
    )
    told = arbiter.take(1, lines[1].next(1002 * MS, trades=numbered_trade))
    assert sequences(told) == [102]
    assert levels(book) == other.states[2]


def test_lines_that_were_cut_at_different_times_do_not_differ():
    changes = [("bid", 98, 1, 1), ("bid", 99, 0, 1), ("ask", 98, 2, 1)]
    truth = Truth(COUNTER, changes)
    lines = [Line("venue#0", truth, depth=1), Line("venue#1", truth, depth=1)]
    arbiter = FeedArbiter(lines, rule=COUNTER, silence=15)
    arbiter.keep(BTC, 1)
    arbiter.take(0, lines[0].image(1000 * MS, age=0))
    for _ in range(2):
        arbiter.take(0, lines[0].next(1001 * MS, trades=numbered_trade))
    # What was second best had been cut, and the venue does not send it again ...
    assert levels(arbiter.books[BTC])[0] == {}
    lines[1].at = 2
    arbiter.take(1, lines[1].image(1002 * MS, age=0))
    # ... but a later image has it.
    assert levels(lines[1].manager.book)[0] == {"98": "1"}
    arbiter.take(0, lines[0].next(1003 * MS, trades=numbered_trade))
    assert arbiter.take(1, lines[1].next(1003 * MS, trades=numbered_trade)) == []


# Reports


def test_a_lost_line_is_told_of_but_stops_nothing():
    _, lines, arbiter, book = pair(ID_RANGE)
    begin(lines, arbiter)
    told = arbiter.take(0, lines[0].lost(1001 * MS))
    [error] = told
    assert isinstance(error, StreamError)
    assert isinstance(error.error, LineLost)
    assert "venue#0 was lost (cut)" in str(error.error)
    assert "venue#1 carries on" in str(error.error)
    assert not error.error.terminal
    assert book.state is BookState.LIVE


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_loss_of_the_last_line_is_an_outage_with_one_report_of_its_end(rule):
    truth, lines, arbiter, book = pair(rule)
    begin(lines, arbiter)
    before = book.sequence
    arbiter.take(0, lines[0].lost(1002 * MS))
    told = arbiter.take(1, lines[1].lost(1003 * MS))
    assert [type(event) for event in told] == [Reconnecting, BookStale]
    assert book.state is BookState.STALE
    assert told[1].last_sequence == before
    for line in lines:
        line.back()
        line.at = 5
    told = begin(lines, arbiter, 2003 * MS)
    [report] = [event for event in told if isinstance(event, BookResynced)]
    assert (report.gap_ns, report.gaps) == (1000 * MS, 1)
    missed = (101, truth.numbers[5]) if rule in NUMBERED else None
    assert report.missed == missed
    assert book.state is BookState.LIVE


def test_an_error_of_one_line_is_passed_on():
    _, _, arbiter, _ = pair(ID_RANGE)
    error = StreamError(VENUE, Deserialise("no JSON", b"{"), MS)
    assert arbiter.take(0, [error]) == [error]


def test_a_book_that_is_merged_no_longer_says_nothing():
    _, lines, arbiter, _ = pair(ID_RANGE)
    begin(lines, arbiter)
    arbiter.drop(BTC)
    events = lines[0].next(1001 * MS, trades=numbered_trade)
    events += lines[0].lost(1002 * MS)
    told = arbiter.take(0, events)
    assert [type(e) for e in told] == [MarketEvent, StreamError]
    assert isinstance(told[0].kind, PublicTrade)


def test_what_is_forgotten_may_be_told_again():
    _, _, arbiter, _ = pair(ID_RANGE)
    trade = MarketEvent(MS, MS, VENUE, BTC, numbered_trade(1))
    assert arbiter.take(0, [trade]) == [trade]
    assert arbiter.take(1, [trade]) == []
    arbiter.forget(BTC)
    assert arbiter.take(1, [trade]) == [trade]


def test_a_line_that_waits_for_an_image_is_not_silent():
    _, lines, arbiter, _ = pair(ID_RANGE)
    arbiter.take(0, lines[0].image(1000 * MS, age=0))
    for n in range(55):
        events = lines[0].next((1000 + 1000 * n) * MS, trades=numbered_trade)
        arbiter.take(0, [e for e in events if isinstance(e.kind, OrderBookUpdate)])
        assert arbiter.silent == []
