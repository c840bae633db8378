# cython: annotation_typing=False, freethreading_compatible=True
"""The two inner loops of the WebSocket codec, written to be compiled.

What may live here: functions over bytes that know nothing of a connection. The C types
stand in `_speedups.pxd`, so that this file is plain typed Python: where the package was
built without a compiler it is imported as it is, gives the same results slowly, and
`netcore.ws.speedups` lets nobody use it but tests.

Compiled, a local that the `.pxd` calls a pointer is one, and slicing it makes a new
`bytes`. Nothing checks bounds for us there: every index is below a length first.
"""

__all__ = ["mask", "split"]


def split(data: bytes, place: int, first: int, most: int, payloads: list[bytes]) -> int:
    """Append the payloads of the regular frames from `place` on; return where it ended.

    Regular is a whole, unmasked frame whose first byte is `first` and whose length, in
    its shortest form, is at most `most` and 65535. What else comes next, half a frame
    or the end included, is not touched.

    Args:
        data: Received bytes.
        place: Where a frame begins in them, at most their number.
        first: FIN and the opcode.
        most: The longest payload to take.
        payloads: Where to append.

    Raises:
        ValueError: If `place` is negative.
    """
    if place < 0:  # the one way to read what is not ours
        raise ValueError(f"place must not be negative, was {place}")
    end = len(data)
    octets = data
    while end - place >= 2 and octets[place] == first:
        size = octets[place + 1]
        start = place + 2
        if size == 126:
            if end - place < 4:
                break
            size = octets[place + 2] << 8 | octets[place + 3]
            start = place + 4
            if size < 126:
                break
        elif size > 126:  # a 64-bit length, or the mask bit
            break
        if size > most or size > end - start:
            break
        place = start + size
        payloads.append(octets[start:place])
    return place


def mask(payload: bytes, key: int) -> bytes:
    """Return `payload` XORed with the four bytes of `key`, repeated.

    Args:
        payload: Any number of bytes.
        key: An unsigned 32-bit integer in network order.
    """
    size = len(payload)
    masked = bytearray(size)
    octets, into = payload, masked
    key_0, key_1, key_2, key_3 = key >> 24, key >> 16 & 255, key >> 8 & 255, key & 255
    place = 0
    while place + 4 <= size:  # compilers make wide XORs of these four
        into[place] = octets[place] ^ key_0
        into[place + 1] = octets[place + 1] ^ key_1
        into[place + 2] = octets[place + 2] ^ key_2
        into[place + 3] = octets[place + 3] ^ key_3
        place += 4
    if place < size:
        into[place] = octets[place] ^ key_0
    if place + 1 < size:
        into[place + 1] = octets[place + 1] ^ key_1
    if place + 2 < size:
        into[place + 2] = octets[place + 2] ^ key_2
    return bytes(masked)
