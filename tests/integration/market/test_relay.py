from decimal import Decimal

from integration.market import relay
from integration.market.relay import Overlap, Replays
from integration.market.reports import BookStale, Reconnecting, StaleReason
from integration.models import (
    ExchangeId,
    Level,
    MarketDataInstrument,
    MarketEvent,
    OrderBookL1,
    OrderBookUpdate,
    PublicTrade,
    Side,
    TradeFlag,
)

OKX = ExchangeId.OKX
BTC = MarketDataInstrument.spot("btc", "usdt")
ETH = MarketDataInstrument.spot("eth", "usdt")


def event(kind, received=1):
    return MarketEvent(1, received, OKX, BTC, kind)


def trade(number, received=1):
    kind = PublicTrade(str(number), Decimal(1), Decimal(1), Side.BUY)
    return event(kind, received)


def quote(sequence, received=1):
    # Without a time of the venue's, the record holds the time of receipt.
    return event(OrderBookL1(received, None, None, sequence), received)


UPDATE = event(OrderBookUpdate([], [], 5))
STALE = BookStale(exchange=OKX, instrument=BTC, reason=StaleReason.GAP, time=1)


def test_nothing_is_remembered_outside_of_a_change():
    overlap = Overlap()

    assert not overlap.active
    assert overlap.once([trade(1)], 0.0) == [trade(1)]
    assert overlap.once([trade(1)], 0.0) == [trade(1)]


def test_what_was_delivered_is_not_delivered_again():
    overlap = Overlap()
    overlap.begin()
    first = overlap.once([trade(1), quote(7), trade(2)], 0.0)

    second = overlap.once([trade(2, 9), quote(7, 9), trade(3, 9)], 1.0)

    assert first == [trade(1), quote(7), trade(2)]
    assert second == [trade(3, 9)]


def test_quotes_numbered_by_connection_are_told_apart_by_what_they_say():
    def numbered(sequence, price, time):
        level = Level(Decimal(price), Decimal(1))
        kind = OrderBookL1(time, level, None, sequence)
        return MarketEvent(time, time, ExchangeId.COINBASE_ADVANCED, BTC, kind)

    overlap = Overlap()
    overlap.begin()
    overlap.once([numbered(5, "100", 1)], 0.0)

    same, other = numbered(900, "100", 1), numbered(5, "101", 2)

    assert overlap.once([same, other], 0.0) == [other]


def test_books_and_reports_are_never_dropped_here():
    overlap = Overlap()
    overlap.begin()

    assert overlap.once([UPDATE, STALE], 0.0) == [UPDATE, STALE]
    assert overlap.once([UPDATE, STALE], 0.0) == [UPDATE, STALE]


def test_repetitions_are_expected_for_a_while_after_the_change():
    overlap = Overlap()
    overlap.begin()
    overlap.once([trade(1)], 0.0)

    overlap.changed(100.0)

    assert overlap.once([trade(1)], 109.0) == []
    assert overlap.once([trade(1)], 110.0) == [trade(1)]
    assert not overlap.active


def test_a_change_that_did_not_come_about_leaves_nothing():
    overlap = Overlap()
    overlap.begin()
    overlap.once([trade(1)], 0.0)

    overlap.cancel()

    assert overlap.once([trade(1)], 0.0) == [trade(1)]


def test_trades_without_an_id_are_told_apart_by_all_they_have():
    overlap = Overlap()
    overlap.begin()

    def anonymous(price):
        return event(PublicTrade(None, Decimal(price), Decimal(1), Side.BUY))

    overlap.once([anonymous(1)], 0.0)

    assert overlap.once([anonymous(1), anonymous(2)], 0.0) == [anonymous(2)]


def traded(number, *, flags=TradeFlag.NONE, instrument=BTC):
    trade = PublicTrade(str(number), Decimal(1), Decimal(1), Side.BUY, flags=flags)
    return MarketEvent(1, 1, OKX, instrument, trade)


def test_a_replayed_trade_is_news_only_if_it_was_not_delivered():
    replays, old = Replays(), TradeFlag.BACKFILL
    first = [traded(1, flags=old), traded(2), traded(3)]

    assert replays.once(first) == first
    assert replays.once([traded(n, flags=old) for n in (2, 3, 4)]) == [
        traded(4, flags=old)
    ]
    # Another instrument's ids are its own, and a live trade is never held back.
    others = [traded(2, flags=old, instrument=ETH), traded(3)]
    assert replays.once(others) == others


def test_what_is_no_trade_passes_the_replays():
    events = [
        Reconnecting(exchange=OKX, connection="okx#0", reason="x", time=1),
        MarketEvent(1, 1, OKX, BTC, OrderBookUpdate([], [])),
    ]

    assert Replays().once(events * 2) == events * 2


def test_replays_remember_so_many_trades_and_no_more(monkeypatch):
    monkeypatch.setattr(relay, "_REMEMBERED", 3)
    replays = Replays()

    replays.once([traded(n) for n in range(10)])
    again = replays.once([traded(n, flags=TradeFlag.BACKFILL) for n in (9, 8, 7, 6)])

    assert [event.kind.id for event in again] == ["6"]
