from decimal import Decimal

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import Overload
from integration.market.outlet import Outlet
from integration.market.reports import BookStale, Reconnecting, StaleReason
from integration.models import (
    ExchangeId,
    Level,
    MarketDataInstrument,
    MarketEvent,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
    Side,
)
from integration.stream.channel import OverloadPolicy

OKX = ExchangeId.OKX
BTC = MarketDataInstrument.spot("btc", "usdt")
ETH = MarketDataInstrument.spot("eth", "usdt")


def event(kind, instrument=BTC, time=1):
    return MarketEvent(time, time, OKX, instrument, kind)


def trade(number):
    return event(PublicTrade(str(number), Decimal(1), Decimal(1), Side.BUY))


def quote(price, instrument=BTC):
    top = OrderBookL1(1, Level(Decimal(price), Decimal(1)), None)
    return event(top, instrument)


def update(first, last, bids):
    return event(
        OrderBookUpdate(bids, [], last, first_sequence=first, prev_sequence=first - 1)
    )


IMAGE = event(OrderBookSnapshot([], [], 100))
STALE = BookStale(exchange=OKX, instrument=BTC, reason=StaleReason.GAP, time=1)
LOST = Reconnecting(exchange=OKX, connection="okx#0", reason="x", time=1)


async def test_the_most_that_ever_waited_is_remembered():
    outlet = Outlet(10)
    outlet.put([trade(1), trade(2)])
    outlet.put([trade(3)])

    await outlet.take()
    outlet.put([trade(4)])

    assert outlet.stats.high_water == 3


async def test_events_come_out_in_order_and_all_at_once():
    outlet = Outlet(10)
    outlet.put([trade(1), trade(2)])
    outlet.put([trade(3)])

    taken = await outlet.take()

    assert [e.kind.id for e in taken] == ["1", "2", "3"]
    assert len(outlet) == 0
    assert (outlet.stats.sent, outlet.stats.received) == (3, 3)


async def test_a_consumer_waits_for_the_first_event():
    outlet = Outlet(10)
    taken = []

    async def consume():
        taken.extend(await outlet.take())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await trio.testing.wait_all_tasks_blocked()
        assert taken == []
        outlet.put([trade(1)])

    assert taken == [trade(1)]


async def test_a_full_queue_takes_more_but_says_that_it_is_full():
    outlet = Outlet(2)
    outlet.put([trade(n) for n in range(5)])

    assert outlet.full
    assert len(outlet) == 5
    with trio.move_on_after(0) as scope:
        await outlet.wait_room()
    assert scope.cancelled_caught
    await outlet.take()
    await outlet.wait_room()
    assert not outlet.full


async def test_dropping_the_oldest_keeps_the_newest_and_counts():
    outlet = Outlet(2, OverloadPolicy.DROP_OLDEST)
    outlet.put([trade(n) for n in range(5)])

    assert [e.kind.id for e in await outlet.take()] == ["3", "4"]
    assert (outlet.stats.dropped, outlet.full) == (3, False)


async def test_dropping_the_newest_keeps_the_oldest_and_counts():
    outlet = Outlet(2, OverloadPolicy.DROP_NEWEST)
    outlet.put([trade(n) for n in range(5)])

    assert [e.kind.id for e in await outlet.take()] == ["0", "1"]
    assert outlet.stats.dropped == 3


def test_being_late_can_be_an_error():
    outlet = Outlet(1, OverloadPolicy.RAISE)

    with pytest.raises(Overload, match="1 events wait"):
        outlet.put([trade(1), trade(2)])


async def test_nothing_is_queued_after_the_end_so_that_the_reason_is_heard():
    outlet = Outlet(1, OverloadPolicy.RAISE)
    outlet.put([trade(1)])
    outlet.close(Overload("late", capacity=1))
    outlet.put([trade(2)])

    assert [e.kind.id for e in await outlet.take()] == ["1"]
    with pytest.raises(Overload, match="late"):
        await outlet.take()


async def test_the_newest_quote_of_each_instrument_replaces_older_ones():
    outlet = Outlet(2, OverloadPolicy.CONFLATE)
    outlet.put([quote(1), quote(10, ETH), quote(2), quote(3), quote(11, ETH)])

    first, second = await outlet.take()

    assert (first.kind.best_bid.price, first.conflated) == (3, 2)
    assert (second.kind.best_bid.price, second.conflated) == (11, 1)
    assert outlet.stats.conflated == 3


async def test_below_the_capacity_nothing_is_merged():
    outlet = Outlet(10, OverloadPolicy.CONFLATE)
    outlet.put([quote(1), quote(2)])

    assert [e.conflated for e in await outlet.take()] == [0, 0]


async def test_updates_of_one_book_become_one_with_the_last_word_on_each_level():
    outlet = Outlet(1, OverloadPolicy.CONFLATE)
    outlet.put([update(1, 2, [("1", "5"), ("2", "5")]), update(3, 4, [("1", "0")])])

    (merged,) = await outlet.take()

    assert merged.kind.bids == [("1", "0"), ("2", "5")]
    assert (merged.kind.first_sequence, merged.kind.sequence) == (1, 4)
    assert (merged.kind.prev_sequence, merged.conflated) == (0, 1)


@pytest.mark.parametrize("barrier", [IMAGE, STALE, LOST])
async def test_updates_are_never_moved_before_an_image_or_a_report(barrier):
    outlet = Outlet(1, OverloadPolicy.CONFLATE)
    outlet.put([update(1, 2, []), barrier, update(101, 102, []), update(103, 104, [])])

    taken = await outlet.take()

    assert [taken[0].kind.sequence, taken[1]] == [2, barrier]
    assert [(e.kind.first_sequence, e.kind.sequence) for e in taken[2:]] == [(101, 104)]


async def test_trades_are_never_merged_and_find_room_up_to_twice_the_capacity():
    outlet = Outlet(2, OverloadPolicy.CONFLATE)
    outlet.put([trade(n) for n in range(3)])
    assert not outlet.full
    outlet.put([trade(3)])

    assert outlet.full
    assert len(await outlet.take()) == 4


async def test_a_closed_outlet_gives_what_waits_and_then_its_reason():
    outlet = Outlet(2)
    outlet.put([trade(1)])
    outlet.close(Overload("late", capacity=1))
    outlet.close()

    assert await outlet.take() == [trade(1)]
    with pytest.raises(Overload, match="late"):
        await outlet.take()
    await outlet.wait_room()


async def test_closing_without_a_reason_is_a_regular_end():
    outlet = Outlet(2)

    async def close():
        await trio.testing.wait_all_tasks_blocked()
        outlet.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(close)
        with pytest.raises(trio.EndOfChannel):
            await outlet.take()


async def test_a_cancelled_consumer_loses_nothing():
    outlet = Outlet(2)
    outlet.put([trade(1)])

    with trio.move_on_after(0):
        await outlet.take()

    assert await outlet.take() == [trade(1)]


def test_an_outlet_holds_something():
    with pytest.raises(ValueError, match="at least one"):
        Outlet(0)


levels = st.lists(
    st.tuples(st.sampled_from("12345"), st.sampled_from(["0", "1", "2"])), max_size=4
)


@given(st.lists(levels, min_size=1, max_size=8))
def test_merged_updates_leave_the_same_book(changes):
    outlet = Outlet(1, OverloadPolicy.CONFLATE)
    one_by_one, merged = {}, {}
    for i, bids in enumerate(changes):
        one_by_one.update(bids)
        outlet.put([update(i, i, bids)])

    (event,) = trio.run(outlet.take)

    merged.update(event.kind.bids)
    assert merged == one_by_one
    assert event.kind.sequence == len(changes) - 1


@pytest.mark.parametrize("policy", list(OverloadPolicy))
async def test_what_waits_can_be_taken_without_waiting(policy):
    outlet = Outlet(10, policy)

    assert outlet.take_nowait() == []
    outlet.put([trade(1), quote(5)])
    assert outlet.take_nowait() == [trade(1), quote(5)]
    assert outlet.take_nowait() == []
    assert outlet.stats.received == 2
