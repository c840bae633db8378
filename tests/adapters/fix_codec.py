"""netcore's FIX codec as outside suites call it."""

from netcore.fix import FixParser, encode


class Codec:
    """One stream of FIX messages."""

    def __init__(self):
        self._parser = FixParser()

    def feed(self, data: bytes) -> list[list[tuple[int, bytes]]]:
        """Return the fields of each message that `data` completes."""
        return [message.fields for message in self._parser.feed(data)]

    def encode(self, pairs: list[tuple[int, bytes]]) -> bytes:
        """Return a message; 8 comes first, 9 and 10 are computed."""
        return encode(pairs)
