from decimal import Decimal

import pytest

from integration.market import turns
from integration.market.keeper import BookKeeper
from integration.market.turns import (
    Copies,
    Led,
    LineLost,
    Lines,
    LinesDiffer,
    Newest,
    Numbers,
    Turns,
)
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookL1,
    PublicTrade,
    Side,
)

VENUE = ExchangeId.BINANCE_SPOT
BTC = MarketDataInstrument.spot("btc", "usdt")
SECOND = 1_000_000_000


class Line:
    def __init__(self, name):
        self.name, self.up = name, True
        self.keeper = BookKeeper(VENUE)


@pytest.fixture
def lines():
    return Lines([Line("venue#0"), Line("venue#1")])


def event(kind, received=SECOND, exchanged=None):
    exchanged = received if exchanged is None else exchanged
    return MarketEvent(exchanged, received, VENUE, BTC, kind)


def trade(number, received=SECOND):
    name = None if number is None else str(number)
    return event(PublicTrade(name, Decimal(1), Decimal(1), Side.BUY), received, 5)


def quote(number, received, exchanged=None):
    return event(OrderBookL1(received, None, None, number), received, exchanged)


# Copies


def test_the_second_copy_is_late_by_the_time_between_both(lines):
    copies = Copies(lines)
    copies.take(0, trade(1, 1000))
    assert copies.take(1, trade(1, 3000)) == []
    lag = lines.figures[1].lag
    assert (lag.count, lag.longest) == (1, 2000)
    assert (lines.figures[0].first, lines.figures[1].repeated) == (1, 1)


def test_a_trade_that_only_one_line_brought_is_missed_by_the_other(lines):
    copies = Copies(lines)
    copies.take(0, trade(1))
    copies.take(1, trade(2, 3 * SECOND))
    # The first may still be on its way ...
    assert copies.missing(1) == 0
    copies.take(1, trade(3, 7 * SECOND))
    # ... but not behind one that is five seconds younger.
    assert copies.missing(1) == 1
    assert copies.missing(0) == 0


def test_trades_are_remembered_until_every_line_that_is_up_has_brought_them(lines):
    copies = Copies(lines)
    for number in range(1, 2002):
        copies.take(0, trade(number))
    # The other line is up and a little behind: nothing of it is news.
    assert copies.take(1, trade(1)) == []
    assert lines.figures[1].missed == 0


def test_a_line_that_is_down_is_not_waited_for(lines):
    copies = Copies(lines)
    lines.lines[1].up = False
    for number in range(1, 1502):
        copies.take(0, trade(number))
    assert lines.figures[1].missed == 501
    # What a venue replays after an outage is known for a thousand trades.
    assert copies.take(1, trade(502)) == []


@pytest.mark.parametrize("limit", ["_AWAITED", "_AWAITED_NS"])
def test_no_line_is_waited_for_without_end(lines, monkeypatch, limit):
    monkeypatch.setattr(turns, limit, {"_AWAITED": 1200, "_AWAITED_NS": 100}[limit])
    copies = Copies(lines)
    for number in range(1, 2002):
        copies.take(0, trade(number, SECOND + number))
    assert lines.figures[1].missed == 2001 - (1200 if limit == "_AWAITED" else 1000)


def test_a_trade_repeated_by_its_own_line_is_told_once(lines):
    copies = Copies(lines)
    assert copies.take(0, trade(1))
    assert copies.take(0, trade(1)) == []


def test_trades_alike_are_two_if_one_line_brings_two(lines):
    copies = Copies(lines)
    told = [bool(copies.take(n, trade(None))) for n in (0, 1, 1, 0, 0)]
    assert told == [True, False, True, False, True]


# Numbers


def test_a_line_that_lags_is_no_new_count():
    numbers = Numbers(2)
    numbers.took(0, 10, quote(10, 100 * SECOND, 99 * SECOND))
    behind = quote(9, 200 * SECOND, 98 * SECOND)
    assert not numbers.newer(1, 9, behind)


def test_where_the_venue_stamps_nothing_only_half_a_minute_tells_of_a_new_count():
    numbers = Numbers(2)
    numbers.took(0, 10, quote(10, 100 * SECOND))
    assert not numbers.newer(1, 1, quote(1, 129 * SECOND))
    assert numbers.newer(1, 1, quote(1, 131 * SECOND))


def test_the_same_number_is_no_new_count_however_late_it_comes():
    numbers = Numbers(2)
    numbers.took(0, 10, quote(10, 100 * SECOND))
    assert not numbers.newer(1, 10, quote(10, 200 * SECOND))


def test_what_a_line_said_before_it_was_lost_proves_no_new_count():
    numbers = Numbers(2)
    numbers.took(0, 10, quote(10, SECOND, SECOND - 1))
    assert numbers.newer(0, 9, quote(9, SECOND, SECOND - 1))
    numbers.took(0, 10, quote(10, SECOND, SECOND - 1))
    numbers.lost(0)
    assert not numbers.newer(0, 9, quote(9, SECOND, SECOND - 1))


def test_older_is_what_the_venue_stamped_before():
    numbers = Numbers(2)
    numbers.took(0, 10, quote(10, 9 * SECOND, 5 * SECOND))
    assert numbers.older(quote(11, 9 * SECOND, 4 * SECOND))
    assert not numbers.older(quote(11, 9 * SECOND, 5 * SECOND))
    assert not numbers.older(quote(11, 4 * SECOND))  # our own stamp says nothing


def test_numbers_are_remembered_for_the_lag_of_their_copies():
    numbers = Numbers(2)
    for number in range(1, 1102):
        numbers.took(0, number, quote(number, number))
    assert numbers.first_seen(100) is None
    assert numbers.first_seen(1101) == 1101


def test_of_quotes_the_newest_counts(lines):
    newest = Newest(lines)
    numbers = [(0, 5), (1, 5), (1, 7), (0, 6), (0, 8)]
    told = [bool(newest.take(line, quote(n, 10 * n))) for line, n in numbers]
    assert told == [True, False, True, False, True]
    assert lines.figures[1].lag.count == 1


def test_a_quote_without_a_number_has_no_place_here(lines):
    with pytest.raises(AssertionError, match="numbered"):
        Newest(lines).take(0, quote(None, 1))


# The lead, and silence


def test_who_is_lost_no_longer_leads(lines):
    led = Led(lines)
    assert led.take(0, quote(None, 1))
    assert led.take(1, quote(None, 2)) == []
    led.lost(1)
    assert led.leader == 0
    led.lost(0)
    assert led.take(1, quote(None, 3))


def test_a_leader_that_is_down_is_not_waited_for(lines):
    led = Led(lines)
    led.take(0, quote(None, 1))
    lines.lines[0].up = False
    assert led.take(1, quote(None, 2))


def test_the_lead_changes_after_eight_others_and_five_seconds(lines):
    led = Led(lines)
    led.take(0, quote(None, 1))
    burst = [led.take(1, quote(None, 2)) for _ in range(20)]
    assert burst == [[]] * 20
    assert led.take(1, quote(None, 5 * SECOND)) == []
    assert led.take(1, quote(None, 5 * SECOND + 1))


def test_a_leader_that_speaks_again_in_time_keeps_the_lead(lines):
    led = Led(lines)
    led.take(0, quote(None, 1))
    for _ in range(7):
        led.take(1, quote(None, 4 * SECOND))
    led.take(0, quote(None, 4 * SECOND))
    assert led.take(1, quote(None, 6 * SECOND)) == []


def test_a_line_is_suspect_after_fifty_events_that_only_others_brought(lines):
    turn = Turns(lines)
    turn.was_first(1, SECOND)
    for n in range(49):
        turn.was_first(0, (2 + n) * SECOND)
    assert lines.suspects == {}
    turn.was_first(0, 60 * SECOND)
    assert lines.suspects == {1: 59 * SECOND}


def test_a_line_that_was_lost_is_expected_from_when_it_is_back(lines):
    turn = Turns(lines)
    turn.was_first(1, SECOND)
    turn.lost(1)
    lines.lines[1].up = False
    for n in range(60):
        turn.was_first(0, (2 + n) * SECOND)
    lines.lines[1].up = True
    for n in range(50):
        turn.was_first(0, (100 + n) * SECOND)
    assert lines.suspects == {1: 49 * SECOND}


def test_a_copy_shows_that_a_line_lives(lines):
    turn = Turns(lines)
    for n in range(49):
        turn.was_first(0, n * SECOND)
    turn.was_repeated(1, 49 * SECOND)
    turn.was_first(0, 50 * SECOND)
    assert lines.suspects == {}


@pytest.mark.parametrize("error", [LineLost, LinesDiffer])
def test_what_is_said_about_lines_ends_no_stream(error):
    assert error("x").recoverable
    assert not error("x").terminal
