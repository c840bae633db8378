from decimal import Decimal

import pytest

from integration.errors import Deserialise, Unidentifiable
from integration.market.books import BookState
from integration.market.keeper import BookKeeper
from integration.market.manager import BookManager
from integration.market.notices import (
    Ack,
    BookChecksum,
    ConnectionGap,
    LevelLost,
)
from integration.market.reports import BookResynced, BookStale, StaleReason, StreamError
from integration.market.sequencing import (
    ID_RANGE,
    PREVIOUS_ID,
    UNNUMBERED,
    Outcome,
)
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
    Side,
)

OKX = ExchangeId.OKX
BTC = MarketDataInstrument.spot("btc", "usdt")
ETH = MarketDataInstrument.spot("eth", "usdt")


def image(sequence=None, time=1, bids=(("100", "1"),), asks=(("101", "1"),), **more):
    book = OrderBookSnapshot(list(bids), list(asks), sequence, **more)
    return MarketEvent(time, time, OKX, BTC, book)


def update(first=None, last=None, previous=None, time=2, bids=(), asks=(), **more):
    change = OrderBookUpdate(list(bids), list(asks), last, first, previous, **more)
    return MarketEvent(time, time, OKX, BTC, change)


def manager(rule=ID_RANGE, **settings):
    return BookManager(OKX, BTC, rule=rule, **settings)


def test_only_books_are_managed():
    trade = PublicTrade("1", Decimal(1), Decimal(1), Side.BUY)

    with pytest.raises(TypeError, match="PublicTrade"):
        manager().handle(MarketEvent(1, 1, OKX, BTC, trade))


def test_what_waited_for_the_image_keeps_its_own_times():
    m = manager()
    m.handle(update(1, 5, time=10))
    m.handle(update(6, 9, time=20))

    events = m.handle(image(7, time=30))

    assert [(type(e.kind).__name__, e.time_received) for e in events] == [
        ("OrderBookSnapshot", 30),
        ("OrderBookUpdate", 20),
    ]
    assert (m.book.sequence, m.book.time_received) == (9, 20)


def test_a_gap_says_what_was_lost_and_how_long_it_took():
    m = manager(PREVIOUS_ID)
    m.handle(image(10))
    m.handle(update(8, 12, 7, time=5))

    (stale,) = m.handle(update(20, 25, 17, time=100))
    assert m.wants_image
    assert m.was_live
    assert m.handle(update(26, 30, 25, time=110)) == []
    m.image_requested()
    assert not m.wants_image
    _, resynced, *updates = m.handle(image(22, time=180))

    assert (stale.last_sequence, stale.expected, stale.received) == (12, 13, 20)
    assert stale.reason == StaleReason.GAP
    assert "does not follow 12" in stale.detail
    assert (resynced.missed, resynced.gap_ns, resynced.gaps) == ((13, 17), 80, 1)
    assert [u.kind.sequence for u in updates] == [25, 30]
    assert m.book.state is BookState.LIVE


def test_an_overlap_lost_nothing():
    m = manager()
    m.handle(image(10))
    m.handle(update(11, 11))

    (stale,) = m.handle(update(11, 13))
    _, resynced, *_ = m.handle(image(12))

    assert (stale.expected, stale.received) == (12, 11)
    assert resynced.missed is None


def test_a_book_that_was_never_live_is_not_called_stale():
    m = manager()
    m.handle(update(1, 2))

    assert m.invalidate(StaleReason.DISCONNECTED, time=3) == []
    assert m.book.state is BookState.SYNCING
    assert m.wants_image
    assert not m.was_live
    # What was buffered before the loss must not be joined to an image after it.
    (only,) = m.handle(image(1))
    assert only.kind.sequence == 1


def test_an_image_whose_updates_do_not_follow_it_leaves_no_book():
    m = manager()
    assert m.invalidate(StaleReason.DISCONNECTED, time=1) == []
    assert m.last_outcome is None
    m.handle(update(11, 12))
    m.handle(update(14, 15))
    assert m.last_outcome is Outcome.BUFFER

    told = m.handle(image(10))

    assert isinstance(told[-1], BookStale)
    assert m.last_outcome is Outcome.GAP


def test_what_waited_behind_a_bad_update_waits_on_and_nothing_before_it():
    m = manager()
    for number, level in ((11, ("9", "1")), (12, ("9", "x")), (13, ("8", "1"))):
        m.handle(update(number, number, bids=[level]))

    *_, stale = m.handle(image(10))

    assert stale.reason is StaleReason.INVALID
    # An image from before the bad update does not reach what is left.
    assert m.handle(image(11)) == []
    assert m.last_outcome is Outcome.REFETCH
    _, resynced, last = m.handle(image(12))
    assert isinstance(resynced, BookResynced)
    assert last.kind.sequence == 13


@pytest.mark.parametrize("kind", [image, update])
def test_what_cannot_be_read_leaves_no_book(kind):
    m = manager(UNNUMBERED)
    m.handle(image())

    (stale,) = m.handle(kind(bids=[("1", "x")]))

    assert stale.reason is StaleReason.INVALID
    assert m.last_outcome is Outcome.GAP


def test_a_stale_book_is_called_stale_once():
    m = manager()
    m.handle(image(1))

    assert len(m.invalidate(StaleReason.DISCONNECTED, time=3)) == 1
    assert m.invalidate(StaleReason.SILENT, time=4) == []
    _, resynced = m.handle(image(5, time=9))
    assert (resynced.reason, resynced.gap_ns) == (StaleReason.DISCONNECTED, 6)
    assert resynced.missed == (2, 5)


def test_an_image_that_is_too_old_is_wanted_again():
    m = manager()
    m.handle(update(10, 12))
    m.image_requested()

    assert m.handle(image(5)) == []
    assert m.wants_image
    assert m.awaits_image


def test_a_failed_request_is_wanted_again():
    m = manager()
    m.image_requested()
    m.image_failed()
    assert m.wants_image
    m.handle(image(1))
    m.image_failed()
    assert not m.wants_image


def test_too_many_waiting_updates_want_a_new_image():
    m = manager(buffer_limit=2)
    for n in range(1, 4):
        m.handle(update(n, n))

    assert m.last_outcome == "overflow"
    assert m.wants_image
    m.image_requested()
    m.handle(update(4, 4))
    m.handle(update(5, 5))
    # Somebody is fetching already: no second request.
    assert m.last_outcome == "overflow"
    assert not m.wants_image


@pytest.mark.parametrize(
    "bad",
    [
        update(2, 2, bids=[("NaN", "1")]),
        update(2, 2, asks=[("101", "-1")]),
        update(2, 2, asks=[("101", "1e999")]),
    ],
)
def test_a_number_that_is_none_makes_the_book_stale_and_leaves_its_content(bad):
    m = manager()
    m.handle(image(1))

    (stale,) = m.handle(bad)

    assert stale.reason == StaleReason.INVALID
    assert m.book.state is BookState.STALE
    assert m.book.best_bid.price == 100


def test_an_image_with_a_number_that_is_none_is_not_taken():
    m = manager()
    m.handle(image(1))
    m.invalidate(StaleReason.REQUESTED, time=2)

    assert m.handle(image(5, bids=[("1_0", "1")])) == []

    assert m.book.state is BookState.STALE
    assert m.book.best_bid.price == 100
    assert m.wants_image


def test_a_crossed_book_of_a_venue_that_numbers_nothing_is_stale():
    m = manager(UNNUMBERED)
    m.handle(image())

    (stale,) = m.handle(update(bids=[("101", "1")]))

    assert stale.reason == StaleReason.CROSSED
    assert m.book.state is BookState.STALE


def test_a_crossed_book_of_a_numbered_venue_is_the_venues_business():
    m = manager()
    m.handle(image(1))

    assert len(m.handle(update(2, 2, bids=[("101", "1")]))) == 1
    assert m.book.crossed


def test_a_wrong_checksum_makes_the_book_stale():
    m = manager(UNNUMBERED, checksum=lambda book: book.bid_count)
    assert len(m.handle(image(checksum=1))) == 1
    assert len(m.handle(update(bids=[("99", "1")], checksum=2))) == 1

    assert m.last_outcome is Outcome.APPLY
    (stale,) = m.handle(update(bids=[("98", "1")], checksum=2))
    assert m.last_outcome is Outcome.GAP

    assert stale.reason == StaleReason.CHECKSUM
    assert "2, ours was 3" in stale.detail


def test_an_image_with_a_wrong_checksum_is_never_live():
    m = manager(UNNUMBERED, checksum=lambda _book: 7)

    (stale,) = m.handle(image(checksum=8))
    assert m.last_outcome is Outcome.GAP

    assert isinstance(stale, BookStale)
    assert m.book.state is not BookState.LIVE


def test_a_checksum_that_cannot_be_known_yet_is_not_compared():
    m = manager(UNNUMBERED, checksum=lambda _book: None)

    assert len(m.handle(image(checksum=8))) == 1
    assert m.verify(3, 1) == []


def test_a_checksum_of_its_own_is_compared_only_with_a_live_book():
    m = manager(UNNUMBERED, checksum=lambda book: book.bid_count)
    assert m.verify(9, 1) == []
    m.handle(image())

    assert m.verify(1, 2) == []
    (stale,) = m.verify(9, 3)
    assert (stale.reason, stale.time) == (StaleReason.CHECKSUM, 3)


def keeper(*managers):
    kept = BookKeeper(OKX)
    for each in managers:
        kept.add(each)
    return kept


def test_outputs_go_where_they_belong():
    kept, notices = keeper(manager()), []
    trade = MarketEvent(
        1, 1, OKX, BTC, PublicTrade("1", Decimal(1), Decimal(1), Side.BUY)
    )
    fault = Deserialise("bad", "x")

    events = kept.absorb([trade, image(1), fault, Ack("1")], 5, notices)

    assert events[:2] == [trade, image(1)]
    assert isinstance(events[2], StreamError)
    assert (events[2].error, events[2].time, events[2].scope) == (fault, 5, "message")
    assert notices == [Ack("1")]


def test_a_book_nobody_keeps_is_passed_over():
    kept = keeper()

    assert kept.absorb([image(1)], 5, []) == []


def test_messages_of_a_subscription_that_was_left_are_no_errors():
    kept = keeper()
    kept.ignored.add("trades|BTC")

    assert kept.absorb([Unidentifiable("trades|BTC")], 5, []) == []
    assert len(kept.absorb([Unidentifiable("trades|ETH")], 5, [])) == 1


def test_a_gap_of_the_connection_makes_every_book_stale():
    other = BookManager(OKX, ETH, rule=UNNUMBERED)
    kept = keeper(manager(UNNUMBERED), other)
    kept.absorb([image()], 1, [])
    other.handle(MarketEvent(1, 1, OKX, ETH, OrderBookSnapshot([], [])))

    events = kept.absorb([ConnectionGap(5, 7)], 9, [])

    assert {(e.instrument, e.reason) for e in events} == {
        (BTC, StaleReason.CONNECTION_GAP),
        (ETH, StaleReason.CONNECTION_GAP),
    }
    assert set(kept.wanting) == set(kept.managers.values())


def test_checksums_and_lost_levels_concern_one_book():
    m = manager(UNNUMBERED, checksum=lambda _book: 1)
    kept = keeper(m)
    kept.absorb([image()], 1, [])
    kept.wanting.clear()

    assert kept.absorb([BookChecksum(BTC, 1), BookChecksum(ETH, 1)], 2, []) == []
    (wrong,) = kept.absorb([BookChecksum(BTC, 2)], 3, [])
    assert wrong.reason == StaleReason.CHECKSUM
    assert list(kept.wanting) == [m]
    kept.absorb([image()], 4, [])
    (lost,) = kept.absorb([LevelLost(BTC, "x"), LevelLost(ETH, "y")], 5, [])
    assert (lost.reason, lost.detail) == (StaleReason.UNKNOWN_LEVEL, "x")


def test_a_book_that_is_kept_no_longer_wants_nothing():
    m = manager()
    kept = keeper(m)
    kept.absorb([update(1, 1)], 1, [])
    assert list(kept.wanting) == [m]

    kept.remove(BTC)
    kept.remove(ETH)

    assert not kept.wanting
    assert not kept.managers


def test_reports_say_how_long_in_milliseconds():
    report = BookResynced(
        exchange=OKX, instrument=BTC, reason=StaleReason.GAP, time=1, gap_ns=2_500_000
    )

    assert report.gap_ms == 2.5
