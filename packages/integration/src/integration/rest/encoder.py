"""How the bytes of a signature become text."""

import base64
from typing import Protocol, final

__all__ = ["Base64Encoder", "Encoder", "HexEncoder"]


class Encoder(Protocol):
    """Writes the bytes of a signature as text."""

    def encode(self, data: bytes) -> str:
        """Return the text form of `data`."""
        ...


@final
class HexEncoder:
    """Lower-case hexadecimal digits (RFC 4648 §8, in small letters)."""

    def encode(self, data: bytes) -> str:
        """Return two digits per byte."""
        return data.hex()


@final
class Base64Encoder:
    """Standard alphabet with padding (RFC 4648 §4)."""

    def encode(self, data: bytes) -> str:
        """Return four characters per three bytes, padded."""
        return base64.b64encode(data).decode("ascii")
