"""Masks of client frames: keys nobody can foresee, and the XOR (RFC 6455 §5.3).

What may live here: pure functions over bytes and the pool of random keys. A key is
handled as the integer of its four bytes in network order, because both the frame
header's `Struct` and the XOR of short payloads want it so.

The XOR is `netcore.ws._speedups.mask` where that is compiled. Elsewhere there are two
ways, chosen by size (the crossing was measured on CPython 3.11):

* below 512 bytes, as two big integers: the key repeated is the key times
  0x00000001_00000001_…, and those factors are kept;
* above, as four lanes of every fourth byte, each put through `bytes.translate` with
  the table of its key byte, which is linear with a small constant.
"""

import os
from struct import Struct

from netcore.ws import _speedups
from netcore.ws.speedups import COMPILED

__all__ = ["KeyPool", "apply_mask", "keys", "mask_in_python", "rotate_key"]

# Where four translated lanes start to beat one wide XOR.
_LANES_FROM = 512

# One system call hands out this many keys: 361 ns for a call per key become 60.
_KEYS_PER_DRAW = 1024

_DRAW = Struct(f">{_KEYS_PER_DRAW}I")


class _Ones(dict[int, int]):
    """words -> 0x00000001 repeated that many times, made on first use."""

    def __missing__(self, words: int) -> int:
        ones = int.from_bytes(b"\0\0\0\1" * words, "big")
        self[words] = ones
        return ones


class _Tables(dict[int, bytes]):
    """key byte -> the `bytes.translate` table that XORs with it."""

    def __missing__(self, key: int) -> bytes:
        table = bytes(byte ^ key for byte in range(256))
        self[key] = table
        return table


_ones = _Ones()
_tables = _Tables()


def apply_mask(payload: bytes | bytearray | memoryview, key: int) -> bytes:
    """Return `payload` XORed with the four bytes of `key`, repeated.

    The function is its own inverse: it masks and it unmasks.

    Args:
        payload: the bytes, of any length.
        key: the masking key as an unsigned 32-bit integer in network order.
    """
    if not key:
        return bytes(payload)
    return _mask(bytes(payload), key)


def mask_in_python(payload: bytes, key: int) -> bytes:
    """Do as `_speedups.mask`, as fast as it goes without a compiler."""
    size = len(payload)
    if size >= _LANES_FROM:
        return _mask_lanes(payload, key)
    words = (size + 3) >> 2
    pattern = key * _ones[words]
    if size & 3:
        pattern >>= (words * 4 - size) * 8
    return (int.from_bytes(payload, "big") ^ pattern).to_bytes(size, "big")


_mask = _speedups.mask if COMPILED else mask_in_python


def _mask_lanes(payload: bytes, key: int) -> bytes:
    masked = bytearray(len(payload))
    for lane, key_byte in enumerate(key.to_bytes(4, "big")):
        masked[lane::4] = payload[lane::4].translate(_tables[key_byte])
    return bytes(masked)


def rotate_key(key: int, offset: int) -> int:
    """Return the key that masks the rest of a payload from byte `offset` on.

    A frame that arrives in pieces is unmasked piece by piece; the key's bytes start
    over at every multiple of four of the payload, not of the piece.
    """
    shift = (offset & 3) * 8
    return ((key << shift) | (key >> (32 - shift))) & 0xFFFF_FFFF


class KeyPool:
    """Masking keys from the system's random source, drawn by the thousand.

    RFC 6455 §5.3: a key "MUST be derived from a strong source of entropy" and not be
    predictable from earlier ones; a generator like `random` does not qualify.

    A forked child forgets the parent's keys, so that no key is used by both.
    """

    __slots__ = ("__weakref__", "_keys")

    def __init__(self) -> None:
        self._keys: list[int] = []

    def draw(self) -> int:
        """Return a fresh 32-bit key."""
        try:
            return self._keys.pop()
        except IndexError:
            self._keys = list(_DRAW.unpack(os.urandom(_DRAW.size)))
            return self._keys.pop()

    def forget(self) -> None:
        """Drop the keys drawn ahead."""
        self._keys = []


keys = KeyPool()
"""The pool all connections of the process share."""

os.register_at_fork(after_in_child=keys.forget)
