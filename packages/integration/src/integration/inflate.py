"""Whole messages decompressed, within a limit.

Venues compress in two places: HTTP content codings, and binary WebSocket messages of
their own making (HTX gzip, BitMart raw deflate). A few bytes can stand for gigabytes,
so that the limit is enforced while inflating, not after. No I/O.
"""

import zlib
from typing import final

__all__ = ["Inflate"]


@final
class Inflate:
    """Undoes the compression of whole messages.

    zlib recognises gzip (RFC 1952) and zlib (RFC 1950) headers by itself; raw deflate
    (RFC 1951) has none and must be announced.

    Args:
        raw: Whether there is no header.
        max_size: Bytes that a message may inflate to.
    """

    __slots__ = ("_max_size", "_wbits")

    def __init__(self, *, raw: bool = False, max_size: int = 16 * 2**20) -> None:
        # zlib.decompressobj: negative window bits mean raw, +32 detects the header.
        self._wbits = -zlib.MAX_WBITS if raw else zlib.MAX_WBITS + 32
        self._max_size = max_size

    def __call__(self, data: bytes) -> bytes:
        """Return the message.

        Raises:
            ValueError: It is no such stream, is cut short, has bytes behind its end,
                or exceeds the limit.
        """
        plain = bytearray()
        rest = data
        while True:
            part, rest = self._member(rest, self._max_size - len(plain))
            plain += part
            # RFC 1952 §2.2: a gzip file may be several members, one after another.
            if not rest.startswith(b"\x1f\x8b"):
                break
        if rest:
            raise ValueError(f"{len(rest)} bytes follow a compressed message")
        return bytes(plain)

    def _member(self, data: bytes, room: int) -> tuple[bytes, bytes]:
        stream = zlib.decompressobj(self._wbits)
        try:
            # One byte beyond the limit tells a full message from an oversized one.
            part = stream.decompress(data, room + 1)
        except zlib.error as error:
            raise ValueError(f"a compressed message is damaged: {error}") from error
        if len(part) > room:
            raise ValueError(f"a message inflates to more than {self._max_size} bytes")
        if not stream.eof:
            raise ValueError("a compressed message is cut short")
        return part, stream.unused_data
