"""Check UTF-8 that arrives in pieces cut anywhere (RFC 6455 §8.1).

Nothing is decoded for the user here: payloads stay bytes.
"""

from codecs import utf_8_decode
from typing import final

__all__ = ["Utf8Check"]


@final
class Utf8Check:
    """Says of a growing text whether it can still become UTF-8.

    Args:
        pending: The first bytes of a character whose rest has not come.
    """

    __slots__ = ("pending",)

    def __init__(self, pending: bytes = b"") -> None:
        self.pending = pending

    def copy(self) -> "Utf8Check":
        """Return a check that has seen the same and goes its own way."""
        return Utf8Check(self.pending)

    def feed(self, piece: bytes, *, final: bool) -> bool:
        """Return whether the text up to and with `piece` is well-formed.

        Fails at the first byte that no continuation could mend (for surrogates, which
        CPython's decoder waits for, at the next), not only at the text's end.

        Args:
            piece: The next bytes.
            final: Whether the text ends here, in which case it must not end within
                a character.
        """
        if not self.pending and piece.isascii():
            return True
        data = self.pending + piece
        try:
            _, used = utf_8_decode(data, "strict", final)
        except UnicodeDecodeError:
            # Kept, so that every later piece is refused as well.
            self.pending = data
            return False
        self.pending = data[used:]
        return True
