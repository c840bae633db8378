import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import InvalidLevel
from integration.market import books
from integration.market.books import BookState, OrderBook
from integration.market.numbers import is_zero
from integration.models import Level, OrderBookSnapshot

SEQUENCES = Path(__file__).resolve().parents[3] / "../shared/data/wire/sequences.json"


def book_cases():
    if not SEQUENCES.exists():
        return []
    return json.loads(SEQUENCES.read_bytes())["book"]


def pairs(raw):
    return [(price, amount) for price, amount in raw]


def as_numbers(raw):
    return [(Decimal(price), Decimal(amount)) for price, amount in raw]


def numbers_of(levels):
    return [(level.price, level.amount) for level in levels]


def test_the_published_book_cases_are_there():
    if not SEQUENCES.exists():
        pytest.skip(f"{SEQUENCES} absent")
    assert len(book_cases()) >= 6


@pytest.mark.parametrize("case", book_cases(), ids=lambda case: case["name"])
def test_published_book_case(case):
    book = OrderBook()
    image = case.get("snapshot", case)
    book.apply_snapshot(pairs(image.get("bids", [])), pairs(image.get("asks", [])))
    if "update" in case:
        book.apply_update(pairs(case["update"]["bids"]), pairs(case["update"]["asks"]))

    expect = case["expect"]
    if "bids" in expect:
        assert numbers_of(book.bids()) == as_numbers(expect["bids"])
        assert numbers_of(book.asks()) == as_numbers(expect["asks"])
    if "mid_price" in expect:
        assert book.mid_price() == Decimal(expect["mid_price"])
        assert book.volume_weighted_mid() == Decimal(
            expect["volume_weighted_mid_price"]
        )


def filled():
    book = OrderBook("okx", "btc_usdt_spot")
    book.apply_snapshot(
        [("99.5", "1"), ("100", "2")],
        [("101", "3"), ("100.5", "4")],
        sequence=7,
        time_engine=5,
        time_received=6,
    )
    return book


def test_an_empty_book_has_no_prices():
    book = OrderBook()

    assert book.best_bid is book.best_ask is None
    assert book.mid_price() is book.volume_weighted_mid() is None
    assert book.bids() == book.asks() == []
    assert not book.crossed
    assert book.state is BookState.SYNCING


def test_sides_are_sorted_best_first_and_cut_to_the_depth_asked():
    book = filled()

    assert [level.price for level in book.bids()] == [100, Decimal("99.5")]
    assert [level.price for level in book.asks()] == [Decimal("100.5"), 101]
    assert book.bids(1) == [Level(Decimal(100), Decimal(2))]
    assert book.asks(0) == []
    assert (book.bid_count, book.ask_count) == (2, 2)
    assert (book.sequence, book.time_engine, book.time_received) == (7, 5, 6)
    with pytest.raises(ValueError, match="-1"):
        book.bids(-1)


def test_text_of_the_venue_is_kept_for_checksums():
    book = OrderBook()
    book.apply_snapshot([("0.05000", "0.00000500")], [])

    assert book.raw_bids() == [("0.05000", "0.00000500")]


def test_best_levels_are_cached_until_they_change():
    book = filled()
    first = book.best_bid

    assert book.best_bid is first
    book.apply_update([("99.5", "7")], [])
    assert book.best_bid is first
    book.apply_update([("100", "9")], [])
    assert book.best_bid == Level(Decimal(100), Decimal(9))
    book.apply_update([], [("100.5", "0")])
    assert book.best_ask == Level(Decimal(101), Decimal(3))


def test_a_finer_price_rescales_without_disturbing_the_order():
    book = filled()

    book.apply_update([("99.75", "1"), ("99.999", "1")], [("100.25", "1")])

    assert [str(level.price) for level in book.bids()] == [
        "100",
        "99.999",
        "99.75",
        "99.5",
    ]
    assert book.best_ask == Level(Decimal("100.25"), Decimal(1))
    book.apply_update([("100.000", "0")], [])
    assert book.best_bid.price == Decimal("99.999")


def test_a_malformed_level_leaves_the_book_as_it_was():
    book = filled()
    before = book.snapshot()

    with pytest.raises(InvalidLevel):
        book.apply_update([("98", "1"), ("NaN", "1")], [])
    with pytest.raises(InvalidLevel):
        book.apply_update([("98", "1")], [("102", "-1")])
    with pytest.raises(InvalidLevel):
        book.apply_snapshot([("98", "1")], [("102", "Infinity")])

    assert book.snapshot() == before
    assert book.sequence == 7


def test_a_malformed_level_after_a_finer_price_leaves_the_book_as_it_was():
    book = filled()
    before = book.snapshot()

    with pytest.raises(InvalidLevel):
        book.apply_update([("98.123456", "1"), ("1_0", "1")], [])

    assert book.snapshot() == before
    book.apply_update([("100", "0")], [])
    assert book.best_bid.price == Decimal("99.5")


def test_exponents_of_json_numbers_are_prices_too():
    book = OrderBook()
    book.apply_snapshot([("1e-7", "1")], [("2E-7", "1")])

    book.apply_update([("0.0000001", "5")], [])

    assert book.best_bid == Level(Decimal("1E-7"), Decimal(5))
    assert book.bid_count == 1


def test_a_crossed_book_says_so():
    book = filled()

    book.apply_update([("100.5", "1")], [])

    assert book.crossed


def test_truncation_keeps_the_best_levels():
    book = filled()

    assert book.truncate(1) == 2
    assert book.raw_bids() == [("100", "2")]
    assert book.raw_asks() == [("100.5", "4")]
    assert book.truncate(5) == 0
    with pytest.raises(ValueError, match="at least 1"):
        book.truncate(0)


def test_a_bounded_book_never_grows_beyond_its_depth():
    book = OrderBook(max_depth=2)

    book.apply_snapshot([(str(n), "1") for n in range(10)], [])
    book.apply_update([("20", "1")], [])

    assert [level.price for level in book.bids()] == [20, 9]
    with pytest.raises(ValueError, match="max_depth"):
        OrderBook(max_depth=0)


def test_clearing_keeps_the_identity_and_goes_back_to_syncing():
    book = filled()
    book.state = BookState.LIVE

    book.clear()

    assert book.state is BookState.SYNCING
    assert (book.bid_count, book.sequence, book.exchange) == (0, None, "okx")
    assert book.best_bid is None


def test_the_amount_at_a_price_is_found_in_any_spelling():
    book = filled()

    assert book.amount_at("100.00") == (2, 0)
    assert book.amount_at(Decimal("100.5")) == (0, 4)
    assert book.amount_at("12.345678") == (0, 0)


def test_a_snapshot_is_a_copy():
    book = filled()

    image = book.snapshot(1)
    book.apply_update([("100", "0")], [])

    assert image == OrderBookSnapshot(
        [("100", "2")], [("100.5", "4")], sequence=7, time_engine=5
    )


def test_a_book_shows_what_a_reader_wants_to_know():
    book = filled()

    assert repr(book) == (
        "OrderBook(okx btc_usdt_spot, syncing, sequence=7, "
        "100 x 2 / 100.5 x 4, 2+2 levels)"
    )
    assert repr(OrderBook()) == (
        "OrderBook(unnamed, syncing, sequence=None, - / -, 0+0 levels)"
    )
    html = book._repr_html_()
    assert html.count("<tr>") == 3
    assert "<td>2</td><td>100</td><td>100.5</td><td>4</td>" in html


def test_html_of_a_one_sided_book_is_escaped_and_complete():
    book = OrderBook("<script>", "x")
    book.apply_snapshot([], [("1", "2")])

    html = book._repr_html_()

    assert "<script>" not in html
    assert "<td></td><td></td><td>1</td><td>2</td>" in html


def test_the_memory_of_spellings_is_bounded(monkeypatch):
    monkeypatch.setattr(books, "_MEMO_LIMIT", 8)
    book = OrderBook(max_depth=5)

    for n in range(100):
        book.apply_update([(f"{n}.0", str(n + 1))], [])

    assert len(book._bids.ticks) <= 8
    assert [level.price for level in book.bids()] == [99, 98, 97, 96, 95]


AMOUNTS = st.one_of(
    st.from_regex(r"[0-9]{0,12}\.?[0-9]{0,12}", fullmatch=True),
    st.from_regex(r"0*\.?0*(e-?[0-9])?", fullmatch=True),
    st.text(alphabet="0123456789.eE+-_ N\u0661", max_size=9),
    st.sampled_from(["0" * 65, "1" * 65, "NaN", "Infinity", "-1", "1e41"]),
)


@given(st.lists(AMOUNTS, min_size=1, max_size=4))
def test_any_spelling_of_an_amount_sets_removes_or_is_refused(spelled):
    book = OrderBook()
    kept: dict[str, str] = {}
    for amount in spelled:
        try:
            gone = is_zero(amount)
        except InvalidLevel:
            with pytest.raises(InvalidLevel):
                book.apply_update([("1", "7"), ("2", amount)], [])
            continue
        book.apply_update([("2", amount)], [])
        kept = {} if gone else {"2": amount}

        assert dict(book.raw_bids()) == kept


MOVES = st.lists(
    st.tuples(
        st.integers(1, 150).map(lambda n: f"{n / 10:.1f}"),
        st.sampled_from(["0", "1", "2.5"]),
    ),
    max_size=100,
)


@given(st.lists(st.tuples(MOVES, st.booleans()), max_size=8))
def test_a_book_is_in_order_however_seldom_it_is_read(updates):
    book, model = OrderBook(), {}
    for levels, read in updates:
        book.apply_update(levels, levels)
        for price, amount in levels:
            model.pop(price, None)
            if amount != "0":
                model[price] = amount
        if read:
            assert (
                book.raw_bids(3)
                == sorted(model.items(), key=lambda level: -Decimal(level[0]))[:3]
            )

    expected = sorted(model.items(), key=lambda level: Decimal(level[0]))
    assert book.raw_asks() == expected
    assert book.raw_bids() == expected[::-1]
    assert book.bid_count == book.ask_count == len(model)


def test_a_book_that_nobody_reads_remembers_no_more_than_it_holds(monkeypatch):
    monkeypatch.setattr(books, "_MANY", 50)
    book = OrderBook()

    for n in range(1000):
        book.apply_update([(str(n), "1")], [])
        book.apply_update([(str(n), "0")], [])

    assert len(book._bids._moved) <= 51
    assert len(book._bids._keys) <= 51
    assert book.raw_bids() == []


prices = st.integers(0, 3000).map(lambda n: Decimal(n) / 200).map(abs)
amounts = st.integers(0, 40).map(lambda n: Decimal(n).scaleb(-2))


@st.composite
def raw_levels(draw):
    # Few distinct prices, so that updates meet existing levels.
    level = draw(st.lists(st.tuples(prices, amounts, st.booleans()), max_size=6))
    return [
        (format(p.normalize(), "f") if short else str(p), str(a))
        for p, a, short in level
    ]


@given(
    raw_levels(),
    raw_levels(),
    st.lists(st.tuples(raw_levels(), raw_levels()), max_size=4),
)
def test_a_book_agrees_with_a_dictionary(bids, asks, updates):
    book = OrderBook()
    book.apply_snapshot(bids, asks)
    model = [dict(as_numbers(bids)), dict(as_numbers(asks))]
    for new_bids, new_asks in updates:
        book.apply_update(new_bids, new_asks)
        model[0].update(as_numbers(new_bids))
        model[1].update(as_numbers(new_asks))

    expected = [
        sorted(((p, a) for p, a in side.items() if a), key=lambda level: level[0])
        for side in model
    ]
    assert numbers_of(book.bids()) == expected[0][::-1]
    assert numbers_of(book.asks()) == expected[1]
    assert book.best_bid == (book.bids(1) or [None])[0]
    assert book.best_ask == (book.asks(1) or [None])[0]
    assert book.crossed == (
        bool(expected[0] and expected[1]) and expected[0][-1][0] >= expected[1][0][0]
    )


@given(raw_levels(), st.lists(raw_levels(), max_size=4), st.integers(1, 5))
def test_a_bounded_book_agrees_with_a_truncated_dictionary(bids, updates, depth):
    book = OrderBook(max_depth=depth)
    book.apply_snapshot(bids, [])
    model = {p: a for p, a in dict(as_numbers(bids)).items() if a}
    model = dict(sorted(model.items(), reverse=True)[:depth])
    for update in updates:
        book.apply_update(update, [])
        model.update(as_numbers(update))
        model = {p: a for p, a in model.items() if a}
        model = dict(sorted(model.items(), reverse=True)[:depth])

    assert numbers_of(book.bids()) == sorted(model.items(), reverse=True)
