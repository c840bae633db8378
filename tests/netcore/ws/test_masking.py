"""Masks are XOR with the repeated key, whatever way is taken."""

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.ws.masking import KeyPool, apply_mask, rotate_key

KEYS = st.integers(0, 0xFFFF_FFFF)


def naive(payload: bytes, key: int) -> bytes:
    return bytes(
        a ^ b for a, b in zip(payload, itertools.cycle(key.to_bytes(4, "big")))
    )


@given(payload=st.binary(max_size=700), key=KEYS)
def test_masking_is_xor_with_the_repeated_key_and_its_own_inverse(payload, key):
    masked = apply_mask(payload, key)

    assert masked == naive(payload, key)
    assert apply_mask(masked, key) == payload


@pytest.mark.parametrize("size", [511, 512, 513, 4096, 70001])
def test_both_ways_of_masking_agree_where_they_meet(size):
    payload = os.urandom(size)

    assert apply_mask(payload, 0x01020304) == naive(payload, 0x01020304)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_masked_into_bytes(kind):
    assert apply_mask(kind(b"\0\0\0\0\0"), 0x0A0B0C0D) == b"\x0a\x0b\x0c\x0d\x0a"
    assert apply_mask(kind(b"abc"), 0) == b"abc"


@given(payload=st.binary(max_size=50), key=KEYS, offset=st.integers(0, 50))
def test_a_rotated_key_masks_the_rest_of_a_payload(payload, key, offset):
    rest = apply_mask(payload[offset:], rotate_key(key, offset))

    assert apply_mask(payload, key)[offset:] == rest


def test_keys_are_unsigned_32_bit_fresh_and_forgotten_on_demand():
    pool = KeyPool()
    drawn = [pool.draw() for _ in range(3000)]

    assert all(0 <= key <= 0xFFFF_FFFF for key in drawn)
    assert len(set(drawn)) > 2990

    pool.forget()
    assert pool.draw() not in drawn[-5:]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_uses_other_keys_than_its_parent():
    from netcore.ws.masking import keys

    keys.draw()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"".join(keys.draw().to_bytes(4, "big") for _ in range(20)))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read, 80)
    os.close(read)
    os.close(write)

    ours = b"".join(keys.draw().to_bytes(4, "big") for _ in range(20))
    assert len(theirs) == 80
    assert theirs != ours
