"""Which number is due, what is held back, and what was asked for.

The receiving half of the message recovery of FIX 4.4 Vol. 2; it sends nothing and
knows no message content. `netcore.fix.session` acts on its answers.

A gap is asked for once. Asked for again is only what the answer itself left out (a
resent message beyond the one that is due, though something had come since asking)
and what has made no progress for a while.
"""

from typing import final

from netcore.fix.fields import Message
from netcore.models import Timestamp

__all__ = ["Sequencer"]


@final
class Sequencer:
    """The expected number and the messages beyond it.

    Args:
        expected: The number due at first.
        max_held: The most messages to hold back.
        max_held_bytes: The most bytes of messages to hold back.

    Attributes:
        expected: The number that is due.
        tries: How often in a row was asked without any progress.
        asked_at: When was asked last, None if nothing is missing.
    """

    __slots__ = (
        "_asked_first",
        "_held",
        "_held_bytes",
        "_highest",
        "_max_held",
        "_max_held_bytes",
        "asked_at",
        "expected",
        "tries",
    )

    def __init__(self, expected: int, max_held: int, max_held_bytes: int) -> None:
        self.expected = expected
        self._max_held = max_held
        self._max_held_bytes = max_held_bytes
        self._held: dict[int, Message | None] = {}
        self._held_bytes = 0
        self._highest = 0
        self._asked_first = 0
        self.asked_at: Timestamp | None = None
        self.tries = 0

    def reset(self, expected: int) -> None:
        """Forget everything but the number due."""
        self.expected = expected
        self._held.clear()
        self._held_bytes = 0
        self._highest = 0
        self._asked_first = 0
        self.asked_at = None
        self.tries = 0

    def shift(self, nanoseconds: int) -> None:
        """Note that the clock was set."""
        if self.asked_at is not None:
            self.asked_at += nanoseconds

    def advance(self, now: Timestamp) -> None:
        """The message that was due is processed."""
        self.jump(self.expected + 1, now)

    def jump(self, expected: int, now: Timestamp) -> None:
        """Numbers below `expected` are processed or filled."""
        if expected - self.expected > len(self._held):
            passed = [number for number in self._held if number < expected]
        else:
            between = range(self.expected, expected)
            passed = [number for number in between if number in self._held]
        for number in passed:
            self.release(number)
        self.expected = expected
        if self.asked_at is not None:
            self.tries = 0
            self.asked_at = None if expected > self._highest else now

    def hold(self, number: int, message: Message | None) -> None:
        """Keep a message until it is due; None marks a number dealt with.

        Beyond the limit it is dropped: it counts as missing once it is due.
        """
        self._highest = max(self._highest, number)
        if number in self._held:
            return
        size = 0 if message is None else len(message.raw)
        room = self._max_held_bytes - self._held_bytes
        if len(self._held) < self._max_held and size <= room:
            self._held[number] = message
            self._held_bytes += size

    def holds(self, number: int) -> bool:
        """Return whether `number` was held back."""
        return number in self._held

    def release(self, number: int) -> Message | None:
        """Return a message that was held back, and forget it."""
        message = self._held.pop(number)
        if message is not None:
            self._held_bytes -= len(message.raw)
        return message

    def asks(self, number: int, *, resent: bool) -> bool:
        """Return whether a message beyond the one due is a reason to ask.

        Args:
            number: The message's.
            resent: Whether it came as an answer to a ResendRequest.
        """
        if self.asked_at is None:
            return True
        # Part of the answer came, and then this one instead of the one due.
        return resent and self.expected > self._asked_first and number > self.expected

    def ask(self, now: Timestamp) -> int:
        """Note that the missing ones are asked for; return the first of them."""
        self.tries = self.tries + 1 if self._asked_first == self.expected else 1
        self._asked_first = self.expected
        self.asked_at = now
        return self.expected
