"""UTF-8 is judged the same in any pieces, and no later than it can be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.ws.utf8 import Utf8Check


def judge(pieces: list[bytes]) -> bool:
    check = Utf8Check()
    good = [check.feed(piece, final=False) for piece in pieces]
    return all(good) and check.feed(b"", final=True)


def strict(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(
    data=st.one_of(st.text(max_size=30).map(str.encode), st.binary(max_size=12)),
    size=st.integers(1, 5),
)
def test_pieces_are_judged_like_the_whole(data, size):
    pieces = [data[i : i + size] for i in range(0, len(data), size)]

    assert judge(pieces) == strict(data)


@pytest.mark.parametrize(
    ("data", "bad_at"),
    [
        (b"\x80", 0),
        (b"a\xc0", 1),
        (b"\xe0\x80", 1),  # overlong
        (b"\xed\xa0\x80", 2),  # a surrogate
        (b"\xf4\x90", 1),  # above U+10FFFF
        (b"\xf5", 0),
        (b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited", 12),
    ],
)
def test_a_fault_shows_at_the_first_byte_that_nothing_can_mend(data, bad_at):
    check = Utf8Check()
    for place in range(bad_at):
        assert check.feed(data[place : place + 1], final=False)

    assert not check.feed(data[bad_at : bad_at + 1], final=False)


def test_a_fault_stays_one_whatever_follows():
    check = Utf8Check()

    assert not check.feed(b"\xff", final=False)
    assert not check.feed(b"good", final=False)
    assert not check.feed(b"", final=True)


def test_a_text_must_not_end_within_a_character():
    assert not Utf8Check().feed(b"\xc3", final=True)


def test_a_copy_goes_its_own_way():
    check = Utf8Check()
    check.feed(b"\xe2\x82", final=False)
    other = check.copy()

    assert not other.feed(b"x", final=False)
    assert check.feed(b"\xac", final=True)
