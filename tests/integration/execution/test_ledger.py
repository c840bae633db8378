from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.execution import (
    AccountEvent,
    AccountLedger,
    AccountSnapshot,
    AssetBalance,
    Balance,
    BalanceChange,
    BalanceSnapshot,
    DuplicateOrder,
    IllegalTransition,
    OrderEvent,
    OrderSnapshot,
    OrderState,
    Position,
    PositionSnapshot,
    StreamInterrupted,
    TradeEvent,
)
from integration.execution.ledger import Seen
from integration.models import ExchangeId, asset_name_internal

EXCHANGE = ExchangeId.BINANCE_SPOT
USDT = asset_name_internal("usdt")


@pytest.fixture
def ledger():
    return AccountLedger(EXCHANGE)


def event(kind, time=1):
    return AccountEvent(EXCHANGE, time, kind)


def told(order):
    return event(OrderSnapshot(order), order.time_exchange)


def balance(total, free, time):
    return AssetBalance(USDT, Balance(Decimal(total), Decimal(free)), time)


def test_a_submitted_order_is_open_until_it_is_closed(ledger, kit):
    ledger.submit(kit.limit("a"))
    assert [o.state for o in ledger.open_orders] == [OrderState.OPEN_IN_FLIGHT]

    ledger.apply(told(kit.order("a", OrderState.FILLED, filled="1")))

    assert ledger.open_orders == ()
    assert ledger.order("a").state is OrderState.FILLED


def test_a_name_is_used_once(ledger, kit):
    ledger.submit(kit.limit("a"))

    with pytest.raises(DuplicateOrder, match="'a'"):
        ledger.submit(kit.limit("a"))


def test_a_repeated_statement_is_no_news(ledger, kit):
    assert ledger.apply(told(kit.order())) is not None
    assert ledger.apply(told(kit.order())) is None
    assert ledger.apply(told(kit.order(time=9))) is None


def test_an_older_statement_changes_nothing(ledger, kit):
    ledger.apply(told(kit.order("a", OrderState.PARTIALLY_FILLED, "0.5", time=5)))

    assert ledger.apply(told(kit.order("a", OrderState.OPEN, "0", time=4))) is None
    assert ledger.order("a").filled == Decimal("0.5")


def test_an_acknowledgement_after_a_fill_does_not_undo_it(ledger, kit):
    ledger.submit(kit.limit("a"))
    ledger.apply(told(kit.order("a", OrderState.FILLED, "1", time=5)))

    assert ledger.apply(told(kit.order("a", OrderState.OPEN, "0", time=6))) is None
    assert ledger.order("a").state is OrderState.FILLED


def test_an_open_order_with_fills_is_partially_filled(ledger, kit):
    ledger.submit(kit.limit("a"))
    ledger.apply(told(kit.order("a", OrderState.OPEN, "0.5", time=2)))

    assert ledger.order("a").state is OrderState.PARTIALLY_FILLED


def test_a_refused_cancellation_leaves_the_fills(ledger, kit):
    ledger.submit(kit.limit("a"))
    ledger.apply(told(kit.order("a", OrderState.PARTIALLY_FILLED, "0.5", time=2)))

    assert ledger.note("a", OrderEvent.CANCEL_SENT).state is OrderState.CANCEL_IN_FLIGHT
    refused = ledger.note("a", OrderEvent.CANCEL_REFUSED)

    assert refused.state is OrderState.PARTIALLY_FILLED


def test_what_cannot_be_is_raised_and_leaves_the_order(ledger, kit):
    ledger.apply(told(kit.order("a", OrderState.OPEN)))

    with pytest.raises(IllegalTransition):
        ledger.apply(told(kit.order("a", OrderState.REJECTED, time=2)))
    assert ledger.order("a").state is OrderState.OPEN


def test_a_note_about_an_unknown_order_is_an_error(ledger):
    with pytest.raises(KeyError):
        ledger.note("nobody", OrderEvent.CANCEL_SENT)


def test_a_fill_counts_once_whoever_tells_it(ledger, kit):
    assert ledger.apply(event(TradeEvent(kit.trade(1)))) is not None
    assert ledger.apply(event(TradeEvent(kit.trade(1, time=9)), 9)) is None
    assert ledger.apply(event(TradeEvent(kit.trade(2)))) is not None


def test_a_fill_learns_whose_order_it_was(ledger, kit):
    ledger.submit(kit.limit("a", strategy="maker-7"))
    ledger.apply(told(kit.order("a", OrderState.PARTIALLY_FILLED, "0.5")))

    new = ledger.apply(event(TradeEvent(kit.trade(1, cid=None, order_id="7"))))

    assert (new.kind.trade.cid, new.kind.trade.strategy) == ("a", "maker-7")


def test_the_latest_fill_is_remembered_per_instrument(ledger, kit):
    for number, time in ((1, 5), (2, 3)):
        ledger.apply(event(TradeEvent(kit.trade(number, time=time))))

    assert ledger.last_trade(kit.name) == 5
    assert ledger.instruments() == (kit.name,)


def test_balances_keep_the_newest(ledger):
    assert ledger.apply(event(BalanceSnapshot((balance("10", "9", 5),)))) is not None
    assert ledger.apply(event(BalanceSnapshot((balance("11", "9", 4),)))) is None
    assert ledger.apply(event(BalanceSnapshot((balance("10", "9", 6),)))) is None

    assert ledger.balances[USDT].balance.total == 10
    # The repeated statement has made the older one older still.
    assert ledger.apply(event(BalanceSnapshot((balance("12", "9", 5),)))) is None


def test_only_changed_balances_are_passed_on(ledger):
    ledger.apply(event(BalanceSnapshot((balance("10", "9", 5),))))
    other = AssetBalance(asset_name_internal("btc"), Balance(Decimal(1), Decimal(1)), 6)

    new = ledger.apply(event(BalanceSnapshot((balance("10", "9", 6), other))))

    assert new.kind.balances == (other,)


def test_a_deposit_told_twice_counts_once(ledger):
    change = BalanceChange(USDT, Decimal(5))

    assert ledger.apply(event(change, 3)) is not None
    assert ledger.apply(event(change, 3)) is None
    assert ledger.apply(event(change, 4)) is not None


def test_positions_keep_the_newest(ledger, kit):
    def position(quantity, time):
        value = Position(
            instrument=kit.name, quantity=Decimal(quantity), time_exchange=time
        )
        return event(PositionSnapshot(value), time)

    assert ledger.apply(position("1", 5)) is not None
    assert ledger.apply(position("2", 4)) is None
    assert ledger.positions[kit.name].quantity == 1


def test_orders_missing_from_a_list_are_those_to_ask_for(ledger, kit):
    ledger.submit(kit.limit("lost"))
    ledger.apply(told(kit.order("kept")))

    assert [o.key.cid for o in ledger.missing_from([kit.order("kept")])] == ["lost"]


def test_a_snapshot_shows_orders_as_they_are_known(ledger, kit):
    ledger.apply(told(kit.order("a", OrderState.FILLED, "1", time=9)))
    stale = kit.order("a", OrderState.OPEN, "0", time=1)

    snapshot = AccountSnapshot.of(EXCHANGE, (balance("1", "1", 1),), [stale])
    new = ledger.apply(event(snapshot))

    assert new.kind.orders[0].state is OrderState.FILLED
    assert ledger.balances[USDT].balance.total == 1


def test_events_about_the_stream_pass(ledger):
    news = event(StreamInterrupted("lost"))

    assert ledger.apply(news) is news


def test_closed_orders_and_fills_are_forgotten_oldest_first(kit):
    ledger = AccountLedger(EXCHANGE, trades=2, closed_orders=2)
    for cid in "abc":
        ledger.apply(told(kit.order(cid, OrderState.CANCELLED)))
    for number in (1, 2, 3):
        ledger.apply(event(TradeEvent(kit.trade(number))))

    assert ledger.order("a") is None
    assert ledger.order("c") is not None
    assert not ledger.knows_trade(kit.trade(1))
    assert ledger.knows_trade(kit.trade(3))


def test_the_memory_of_keys_is_bounded():
    seen = Seen(3)
    for key in range(100):
        assert seen.add(key)

    assert len(seen) == 3
    assert 99 in seen


@st.composite
def streams(draw):
    """A stream of what a venue can say of one order, and a replay of parts of it."""
    fills = draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    end = draw(
        st.sampled_from([OrderState.FILLED, OrderState.CANCELLED, OrderState.OPEN])
    )
    return fills, end, draw(st.randoms(use_true_random=False))


@given(streams())
def test_a_replayed_stream_changes_nothing(kit, stream):
    fills, end, chance = stream
    total = sum(fills) if end is OrderState.FILLED else sum(fills) + 1
    events, done = [], 0
    for number, quantity in enumerate(fills, 1):
        done += quantity
        whole = done == total
        state = OrderState.FILLED if whole else OrderState.PARTIALLY_FILLED
        order = kit.order("a", state, filled=str(done), time=number)
        order = type(order)(**{**_fields(order), "quantity": Decimal(total)})
        events += [told(order), event(TradeEvent(kit.trade(number, str(quantity))))]
    if end is OrderState.CANCELLED:
        last = kit.order("a", end, filled=str(done), time=len(fills) + 1)
        events.append(told(type(last)(**{**_fields(last), "quantity": Decimal(total)})))
    once = AccountLedger(EXCHANGE)
    for item in events:
        assert once.apply(item) is not None

    # Every event, then a shuffled replay of them all.
    again = events.copy()
    chance.shuffle(again)

    before = once.order("a")
    assert [once.apply(item) for item in again] == [None] * len(again)
    assert once.order("a") == before


def _fields(record):
    return {name: getattr(record, name) for name in record.__struct_fields__}
