import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.market.books import BookState
from integration.market.keeper import BookKeeper
from integration.market.manager import BookManager
from integration.market.merged import MergedBook
from integration.market.reports import (
    BookResynced,
    BookStale,
    StaleReason,
    StreamError,
)
from integration.market.sequencing import (
    ID_RANGE,
    PREVIOUS_CHANGE,
    PREVIOUS_ID,
    PREVIOUS_SEQUENCE,
    UNNUMBERED,
    ImageSource,
)
from integration.market.turns import Lines
from integration.models import (
    AmountUnit,
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookSnapshot,
    OrderBookUpdate,
)

VENUE = ExchangeId.BINANCE_SPOT
BTC = MarketDataInstrument.spot("btc", "usdt")
MS = 1_000_000


class Line:
    """A line whose book is changed by its own manager before anybody hears of it."""

    def __init__(self, name, rule, depth=None):
        self.name, self.up = name, True
        self.keeper = BookKeeper(VENUE)
        self.manager = BookManager(VENUE, BTC, rule=rule, max_depth=depth)
        self.keeper.add(self.manager)

    def hears(self, kind, at):
        told = self.manager.handle(MarketEvent(at * MS, at * MS + 1, VENUE, BTC, kind))
        return [event for event in told if isinstance(event, MarketEvent)]


class Pair:
    def __init__(self, rule, depth=None):
        self.lines = [Line(f"venue#{n}", rule, depth) for n in range(2)]
        self.all = Lines(self.lines)
        self.merged = MergedBook(self.all, BTC, rule=rule, max_depth=depth)

    def image(self, line, number, *levels, at=1, unit=AmountUnit.BASE):
        kind = OrderBookSnapshot(list(levels), [], number, amount_unit=unit)
        [event] = self.lines[line].hears(kind, at)
        return self.merged.image(line, event, event.kind)

    def hear(self, line, *updates):
        """Let the line's own book have updates; return their events."""
        return [e for update, at in updates for e in self.lines[line].hears(update, at)]

    def tell(self, line, events):
        self.all.copied.clear()
        found = []
        for event in events:
            found += self.merged.update(line, event, event.kind)
        return found

    def update(self, line, number, *levels, at=2, first=None):
        return self.tell(
            line, self.hear(line, (change(number, *levels, first=first), at))
        )

    def stale(self, line, at=9):
        [report] = self.lines[line].manager.invalidate(StaleReason.GAP, time=at * MS)
        return self.merged.stale(line, report)

    @property
    def bids(self):
        return dict(self.merged.book.raw_bids())


def change(number, *levels, first=None):
    first = number if first is None else first
    return OrderBookUpdate(list(levels), [], number, first_sequence=first)


def plain(*levels):
    return OrderBookUpdate(list(levels), [])


@pytest.fixture
def numbered():
    pair = Pair(ID_RANGE)
    pair.image(0, 10, ("5", "1"))
    pair.image(1, 10, ("5", "1"))
    return pair


@pytest.fixture
def unnumbered():
    pair = Pair(UNNUMBERED)
    pair.image(0, None, ("5", "1"))
    pair.image(1, None, ("5", "1"))
    return pair


def test_the_first_image_makes_the_book_live_and_the_second_is_no_news(numbered):
    assert numbered.merged.book.state is BookState.LIVE
    assert numbered.merged.book.sequence == 10
    assert [f.first for f in numbered.all.figures] == [1, 0]
    assert [f.repeated for f in numbered.all.figures] == [0, 1]


def test_updates_are_taken_from_whoever_has_the_next(numbered):
    assert numbered.update(1, 11, ("5", "2"))
    assert numbered.update(0, 11, ("5", "2")) == []
    assert numbered.update(0, 12, ("5", "3"))
    assert numbered.bids == {"5": "3"}


def test_an_update_that_overlaps_what_is_known_is_still_the_next(numbered):
    numbered.update(0, 11, ("5", "2"))
    told = numbered.update(1, 13, ("5", "4"), first=11)
    assert [event.kind.sequence for event in told] == [13]
    assert numbered.bids == {"5": "4"}


def test_beyond_a_hole_the_book_becomes_the_line_s(numbered):
    numbered.update(0, 11, ("4", "1"))
    # The other line alone hears of 12, while this book does not (it was not told).
    numbered.hear(0, (change(12, ("3", "1")), 3))
    [copy] = numbered.tell(0, numbered.hear(0, (change(13, ("2", "1")), 4)))
    assert isinstance(copy.kind, OrderBookSnapshot)
    assert copy.kind.sequence == 13
    assert numbered.bids == {"5": "1", "4": "1", "3": "1", "2": "1"}


def test_beyond_a_hole_nothing_is_taken_of_what_the_venue_stamped_before(numbered):
    numbered.update(1, 11, ("4", "1"), at=50)
    numbered.hear(0, (change(11, ("4", "1")), 3), (change(12, ("3", "1")), 3))
    late = numbered.hear(0, (change(13, ("2", "1")), 4))
    assert numbered.tell(0, late) == []
    assert numbered.merged.book.sequence == 11


def test_the_rest_of_a_batch_is_in_the_copy_of_the_book(numbered):
    numbered.hear(0, (change(11, ("4", "1")), 2))
    batch = numbered.hear(0, (change(12, ("3", "1")), 3), (change(13, ("3", "0")), 3))
    told = numbered.tell(0, batch)
    assert [event.kind.sequence for event in told] == [13]
    assert numbered.bids == {"5": "1", "4": "1"}


def test_a_line_whose_book_went_stale_meanwhile_is_not_copied(numbered):
    numbered.hear(0, (change(11, ("4", "1")), 2))
    beyond = numbered.hear(0, (change(12, ("3", "1")), 3))
    numbered.lines[0].manager.invalidate(StaleReason.CHECKSUM, time=4 * MS)
    assert numbered.tell(0, beyond) == []
    assert numbered.merged.book.sequence == 10


def test_lines_are_compared_where_both_are_at_the_same_number(numbered):
    numbered.update(0, 11, ("5", "2"))
    told = numbered.update(1, 11, ("5", "3"))
    assert isinstance(told[0], StreamError)
    assert "venue#0 and venue#1 give 11" in str(told[0].error)
    assert numbered.bids == {"5": "3"}


def test_lines_that_spell_a_number_differently_do_not_differ(numbered):
    numbered.update(0, 11, ("5", "2.0"))
    assert numbered.update(1, 11, ("5.00", "2")) == []


@pytest.mark.parametrize(("amount", "told"), [("2", []), ("3", [StreamError])])
def test_lines_whose_books_are_cut_are_compared_by_the_levels_of_both(amount, told):
    pair = Pair(ID_RANGE, depth=2)
    pair.image(0, 10, ("5", "1"), ("3", "1"))
    pair.image(1, 10, ("5", "1"), ("4", "1"))
    pair.update(0, 11, ("5", "2"))
    found = pair.update(1, 11, ("5", amount))
    assert [type(each) for each in found[:1]] == told


def test_lines_are_not_compared_in_the_middle_of_a_batch(numbered):
    numbered.update(0, 11, ("5", "2"))
    ahead = numbered.hear(1, (change(11, ("5", "2")), 2), (change(12, ("5", "9")), 2))
    told = numbered.tell(1, ahead)
    assert [type(event) for event in told] == [MarketEvent]


def test_the_last_line_s_loss_is_the_book_s(numbered):
    assert numbered.stale(0) == []
    [report] = numbered.stale(1)
    assert isinstance(report, BookStale)
    assert (report.last_sequence, report.expected) == (10, 11)
    assert numbered.merged.book.state is BookState.STALE
    assert [f.stale for f in numbered.all.figures] == [1, 1]


def test_without_numbers_only_the_leader_s_updates_count(unnumbered):
    assert unnumbered.tell(1, unnumbered.hear(1, (plain(("5", "2")), 2))) == []
    assert unnumbered.tell(0, unnumbered.hear(0, (plain(("5", "2")), 2)))
    assert unnumbered.bids == {"5": "2"}


def test_without_numbers_the_heir_s_book_is_copied_at_the_leader_s_loss(unnumbered):
    unnumbered.tell(1, unnumbered.hear(1, (plain(("4", "7")), 2)))
    [copy] = unnumbered.stale(0)
    assert isinstance(copy.kind, OrderBookSnapshot)
    assert unnumbered.merged.book.state is BookState.LIVE
    assert unnumbered.bids == {"5": "1", "4": "7"}
    assert unnumbered.tell(1, unnumbered.hear(1, (plain(("4", "8")), 3)))


def test_without_numbers_the_loss_of_another_line_is_nothing(unnumbered):
    assert unnumbered.stale(1) == []
    assert unnumbered.tell(0, unnumbered.hear(0, (plain(("5", "2")), 2)))


def test_without_numbers_a_leader_that_is_gone_without_a_word_is_replaced(unnumbered):
    # Refused at a reconnect: its book is kept no longer, and nobody says so.
    unnumbered.lines[0].keeper.remove(BTC)
    batch = unnumbered.hear(1, (plain(("4", "7")), 2), (plain(("4", "8")), 2))
    [copy] = unnumbered.tell(1, batch)
    assert isinstance(copy.kind, OrderBookSnapshot)
    assert unnumbered.bids == {"5": "1", "4": "8"}


def test_without_numbers_a_line_that_goes_stale_at_once_does_not_lead(unnumbered):
    # The leader says nothing for longer than is waited for ...
    for at in (3000, 6000, *range(9000, 9004)):
        assert unnumbered.tell(1, unnumbered.hear(1, (plain(("4", "7")), at))) == []
    # ... and the other's eighth message comes with the end of its own book.
    last = unnumbered.hear(1, (plain(("4", "8")), 9100), (plain(("3", "1")), 9100))
    unnumbered.lines[1].manager.invalidate(StaleReason.CHECKSUM, time=9101 * MS)
    assert unnumbered.tell(1, last) == []
    assert unnumbered.bids == {"5": "1"}
    assert unnumbered.tell(0, unnumbered.hear(0, (plain(("5", "2")), 9102)))


def test_a_copy_keeps_the_unit_of_the_amounts():
    pair = Pair(UNNUMBERED)
    pair.image(0, None, ("5", "1"), unit=AmountUnit.CONTRACT)
    pair.image(1, None, ("5", "1"), unit=AmountUnit.CONTRACT)
    [copy] = pair.stale(0)
    assert copy.kind.amount_unit is AmountUnit.CONTRACT


def test_a_book_that_is_merged_later_begins_as_a_copy(numbered):
    late = MergedBook(numbered.all, BTC, rule=ID_RANGE, max_depth=None)
    [update] = numbered.hear(0, (change(11, ("4", "1")), 2))
    [copy] = late.update(0, update, update.kind)
    assert isinstance(copy.kind, OrderBookSnapshot)
    assert late.book.state is BookState.LIVE
    assert dict(late.book.raw_bids()) == {"5": "1", "4": "1"}


@pytest.mark.parametrize(("number", "missed"), [(10, None), (11, (11, 11))])
def test_the_report_of_an_outage_names_what_only_the_image_holds(
    numbered, number, missed
):
    numbered.stale(0)
    numbered.stale(1)
    image = OrderBookSnapshot([("5", "1")], [], number)
    [event] = numbered.lines[0].hears(image, 20)
    told = numbered.merged.image(0, event, image)
    assert [type(each) for each in told] == [MarketEvent, BookResynced]
    assert told[1].missed == missed


# Lines that are told of the same changes in different parcels


class Gathered:
    """What a venue tells a line that is told of several changes at once.

    Venues with images by HTTP send every level that was touched, as their way to join
    an image with updates that overlap it needs. The others may as well send what
    differs between two images of a window, and no word of what left it and came back.
    """

    WINDOW = 3

    def __init__(self, rule, changes):
        self.rule, self.changes = rule, changes
        self.windowed = rule.images is ImageSource.STREAM
        levels = {"99": "1"}
        self.states = [levels]
        for price, amount in changes:
            levels = {p: a for p, a in levels.items() if p != price}
            if amount != "0":
                levels[price] = amount
            self.states.append(levels)

    def book(self, at):
        levels = sorted(self.states[at].items(), key=lambda level: -int(level[0]))
        return dict(levels[: self.WINDOW] if self.windowed else levels)

    def update(self, begin, end):
        if self.windowed:
            before, after = self.book(begin), self.book(end)
            changed = {price: "0" for price in before if price not in after}
            changed.update(after.items() - before.items())
        else:
            changed = dict(self.changes[begin:end])
        chained = self.rule is not ID_RANGE
        return OrderBookUpdate(
            list(changed.items()),
            [],
            end,
            first_sequence=begin + 1,
            prev_sequence=begin if chained else None,
        )


@pytest.mark.parametrize("cut", [None, 2, 3])
@pytest.mark.parametrize(
    "rule",
    [ID_RANGE, PREVIOUS_ID, PREVIOUS_SEQUENCE, PREVIOUS_CHANGE],
    ids=lambda rule: rule.name,
)
@given(
    changes=st.lists(
        st.tuples(st.integers(94, 99).map(str), st.sampled_from("012")), max_size=30
    ),
    parcels=st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4)), max_size=40),
)
def test_lines_with_different_parcels_make_the_book_that_either_has(
    rule, cut, changes, parcels
):
    venue = Gathered(rule, changes)
    pair = Pair(rule, depth=cut)
    for line in (0, 1):
        pair.image(line, 0, *venue.book(0).items())
    reached = [0, 0]
    for line, count in parcels:
        begin = reached[line]
        end = reached[line] = min(begin + count, len(changes))
        if begin == end:
            continue
        told = pair.tell(line, pair.hear(line, (venue.update(begin, end), 2 + end)))
        assert not any(isinstance(event, StreamError) for event in told)
        assert pair.merged.book.sequence == max(reached)
        true = venue.book(max(reached))
        if cut is None or (venue.windowed and cut == venue.WINDOW):
            assert pair.bids == true
        else:
            assert pair.bids.items() <= true.items()
