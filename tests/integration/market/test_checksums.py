import json
import zlib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.market import checksums
from integration.market.books import OrderBook

CHECKSUMS = Path(__file__).resolve().parents[3] / "../shared/data/wire/checksums.json"


def cases():
    if not CHECKSUMS.exists():
        return []
    return [c for c in json.loads(CHECKSUMS.read_bytes()) if "asks" in c]


def unsigned(levels):
    return [(price, amount.removeprefix("-")) for price, amount in levels]


def filled(bids, asks):
    book = OrderBook()
    book.apply_snapshot(unsigned(bids), unsigned(asks))
    return book


def test_the_published_checksums_are_there():
    if not CHECKSUMS.exists():
        pytest.skip(f"{CHECKSUMS} absent")
    assert {case["exchange"] for case in cases()} == {
        "kraken",
        "kraken_v2",
        "okx",
        "bitfinex",
    }


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["exchange"])
def test_published_checksum(case):
    book = filled(case["bids"], case["asks"])

    assert getattr(checksums, case["exchange"])(book) == case["checksum"]


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["exchange"])
def test_any_changed_digit_changes_the_sum(case):
    compute = getattr(checksums, case["exchange"])
    for side in (0, 1):
        for column in (0, 1):
            levels = [list(map(list, case[key])) for key in ("bids", "asks")]
            text = levels[side][0][column]
            # The last digit: the order of the levels stays as it is.
            levels[side][0][column] = text[:-1] + ("1" if text[-1] != "1" else "2")
            assert compute(filled(*levels)) != case["checksum"]


def test_uneven_spelling_cannot_be_verified_by_kraken_v2():
    book = filled([("1.50", "2.00")], [("1.6", "2.00")])

    assert checksums.kraken_v2(book) is None
    assert checksums.kraken(book) is not None


def test_an_empty_book_has_a_sum_too():
    book = OrderBook()

    assert checksums.kraken(book) == checksums.kraken_v2(book) == 0
    assert checksums.okx(book) == checksums.bitfinex(book) == 0


def spelled(n, decimals):
    return format(Decimal(n).scaleb(-decimals), f".{decimals}f")


levels = st.dictionaries(st.integers(1, 10**6), st.integers(1, 10**9), max_size=30)


def side(chosen, decimals=5):
    return [(spelled(p, decimals), spelled(a, 8)) for p, a in chosen.items()]


def from_scratch_kraken(bids, asks):
    """The recipe read literally, over sorted pairs, with nothing of ours."""
    top = sorted(asks.items())[:10] + sorted(bids.items(), reverse=True)[:10]
    text = "".join(
        spelled(price, 5).replace(".", "").lstrip("0")
        + spelled(amount, 8).replace(".", "").lstrip("0")
        for price, amount in top
    )
    return zlib.crc32(text.encode())


def from_scratch_okx(bids, asks):
    best_bids = sorted(bids.items(), reverse=True)[:25]
    best_asks = sorted(asks.items())[:25]
    parts = []
    for i in range(25):
        for ladder in (best_bids, best_asks):
            if i < len(ladder):
                price, amount = ladder[i]
                parts += [spelled(price, 5), spelled(amount, 8)]
    crc = zlib.crc32(":".join(parts).encode())
    return crc - (1 << 32) if crc >> 31 else crc


@given(levels, levels, st.lists(st.tuples(levels, levels), max_size=3))
def test_sums_after_updates_equal_sums_from_scratch(bids, asks, updates):
    book = filled(side(bids), side(asks))
    for new_bids, new_asks in updates:
        book.apply_update(side(new_bids), side(new_asks))
        bids, asks = bids | new_bids, asks | new_asks

    assert checksums.kraken(book) == from_scratch_kraken(bids, asks)
    assert checksums.okx(book) == from_scratch_okx(bids, asks)
