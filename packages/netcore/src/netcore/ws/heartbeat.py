"""When to say that we are alive, and when to conclude that the peer is not.

What may live here: the timer as a value machine over monotonic nanoseconds; it neither
sleeps nor sends. `netcore.ws.websocket` asks it and acts.

Venues differ in what they want to see: a ping frame, or a JSON message of their own;
always, or only when nothing else was said. So the message, its opcode and the occasion
are configuration, and *any* byte from the peer counts as life: a venue's JSON pong is
for its parser to know, and a feed that flows needs no further proof.
"""

from collections.abc import Callable
from enum import Enum
from typing import final

import msgspec

from netcore.clock import to_ns
from netcore.stream.base import Buffer
from netcore.ws.frames import Opcode

__all__ = ["Beat", "Heartbeat", "HeartbeatTimer", "Occasion"]


class Occasion(Enum):
    """When a heartbeat is due.

    PERIODIC: every interval, whatever else happens. IDLE: after an interval in which
    nothing was received.
    """

    PERIODIC = "periodic"
    IDLE = "idle"


class Beat(Enum):
    """What a tick wants done."""

    NOTHING = "nothing"
    SEND = "send"
    EXPIRED = "expired"


@final
class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """How a connection is kept alive; one value serves any number of them.

    Attributes:
        interval: Seconds between heartbeats.
        timeout: Seconds after one within which something must be received; None
            never gives up.
        message: What to send, or what makes it (for messages with a time or a
            counter). At most 125 bytes for a PING.
        opcode: PING, or TEXT or BINARY for a venue's own message.
        occasion: When a heartbeat is due.
    """

    interval: float
    timeout: float | None = 10.0
    message: bytes | Callable[[], Buffer | str] = b""
    opcode: Opcode = Opcode.PING
    occasion: Occasion = Occasion.PERIODIC

    def __post_init__(self) -> None:
        if self.interval <= 0:
            raise ValueError(f"interval must be above 0, was {self.interval}")
        if self.timeout is not None and self.timeout <= 0:
            raise ValueError(f"timeout must be above 0 or None, was {self.timeout}")
        if self.opcode not in {Opcode.PING, Opcode.TEXT, Opcode.BINARY}:
            raise ValueError(
                f"opcode must be PING, TEXT or BINARY, was {self.opcode.name}"
            )

    def make(self) -> bytes:
        """Return the next heartbeat's payload."""
        message = self.message() if callable(self.message) else self.message
        return message.encode() if isinstance(message, str) else bytes(message)


@final
class HeartbeatTimer:
    """The heartbeats of one open connection.

    The reading loop only sets `alive`; no clock is read for a message.

    Args:
        heartbeat: The configuration.
        now: The monotonic time in nanoseconds at which the connection opened.

    Attributes:
        heartbeat: The configuration.
        alive: Set whenever something was received; cleared by `tick`.
        deadline: When to call `tick` next, in monotonic nanoseconds.
        latency_ns: How long the latest answered ping took, None before the first.
    """

    __slots__ = (
        "_due",
        "_expires",
        "_interval",
        "_sent",
        "_sent_payload",
        "_timeout",
        "alive",
        "deadline",
        "heartbeat",
        "latency_ns",
    )

    def __init__(self, heartbeat: Heartbeat, now: int) -> None:
        self.heartbeat = heartbeat
        self._interval = to_ns(heartbeat.interval)
        self._timeout = None if heartbeat.timeout is None else to_ns(heartbeat.timeout)
        self._due = now + self._interval
        self._expires: int | None = None
        self._sent = 0
        self._sent_payload: bytes | None = None
        self.alive = False
        self.deadline = self._due
        self.latency_ns: int | None = None

    def tick(self, now: int) -> Beat:
        """Return what to do at `now`; after SEND, send and call `sent`."""
        alive, self.alive = self.alive, False
        if alive:
            self._expires = None
        elif self._expires is not None and now >= self._expires:
            return Beat.EXPIRED
        beat = Beat.NOTHING
        if now >= self._due:
            quiet = self.heartbeat.occasion is Occasion.PERIODIC or not alive
            beat = Beat.SEND if quiet else Beat.NOTHING
            # From now, not from when it was due: a stalled program owes one, not many.
            self._due = now + self._interval
        self._plan()
        return beat

    def sent(self, payload: bytes, now: int) -> None:
        """Note that a heartbeat left at `now`."""
        self._sent = now
        if self.heartbeat.opcode is Opcode.PING:
            self._sent_payload = payload
        if self._timeout is not None and self._expires is None:
            self._expires = now + self._timeout
        self._plan()

    def pong(self, payload: bytes, now: int) -> None:
        """Note a pong, which measures the way there and back if it is for our ping."""
        if payload == self._sent_payload:
            self.latency_ns = now - self._sent
            self._sent_payload = None

    def _plan(self) -> None:
        expires = self._expires
        self.deadline = self._due if expires is None else min(self._due, expires)
