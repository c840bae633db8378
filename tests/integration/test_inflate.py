import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.inflate import Inflate


def raw_deflate(data):
    return zlib.compress(data, wbits=-15)


@given(st.binary())
def test_every_form_inflates_to_what_it_was(data):
    assert Inflate()(gzip.compress(data)) == data
    assert Inflate()(zlib.compress(data)) == data
    assert Inflate(raw=True)(raw_deflate(data)) == data


def test_a_file_of_several_members_is_one_message():
    assert Inflate()(gzip.compress(b"a") + gzip.compress(b"b")) == b"ab"


@pytest.mark.parametrize("size", [1000, 1001, 10_000_000])
def test_the_limit_is_exact_and_holds_over_all_members(size):
    inflate = Inflate(max_size=1000)
    packed = gzip.compress(bytes(size - 500)) + gzip.compress(bytes(500))

    if size == 1000:
        assert inflate(packed) == bytes(1000)
    else:
        with pytest.raises(ValueError, match="more than 1000 bytes"):
            inflate(packed)


@given(st.binary(min_size=1), st.data())
def test_a_message_cut_anywhere_is_refused(data, draw):
    packed = gzip.compress(data)
    cut = draw.draw(st.integers(0, len(packed) - 1))

    with pytest.raises(ValueError, match=r"cut short|damaged"):
        Inflate()(packed[:cut])


@pytest.mark.parametrize("data", [b"", b"pong", b"\x1f\x8bnonsense"])
def test_what_is_not_compressed_is_refused(data):
    with pytest.raises(ValueError, match="compressed message is"):
        Inflate()(data)


def test_bytes_behind_the_end_are_refused():
    with pytest.raises(ValueError, match="3 bytes follow"):
        Inflate()(zlib.compress(b"a") + b"abc")
