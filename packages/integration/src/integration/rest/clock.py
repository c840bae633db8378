"""What time it is at the venue, estimated from answers that carry its time.

Venues refuse requests whose timestamp is too far from their own clock. The estimate
follows the minimum-delay filter of network time (RFC 5905 §10): of the recent
exchanges, the one with the shortest round trip has the least room for error, and its
midpoint is taken. The offset is held against the monotonic clock, so that a step of
the local wall clock does not shift our timestamps.

`ServerClock` is pure: it is fed with readings. `synchronise` is the loop that takes
them.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import final

import msgspec

from integration.metric import Field, Float, Int, Metric, Tag
from netcore.clock import Clock, SystemClock
from netcore.models import Timestamp

__all__ = ["OffsetSample", "ServerClock", "resynchronise", "synchronise"]

_MS = 1_000_000
_WINDOW = 8
"""Samples among which the shortest round trip wins (RFC 5905's clock filter: 8)."""

_WANDER = 15e-6
"""Seconds per second by which an unsteered clock may drift (RFC 5905's PHI)."""


class OffsetSample(msgspec.Struct, frozen=True):
    """One exchange of time with a venue.

    Attributes:
        taken: Our monotonic clock halfway between sending and receiving, ns.
        offset: The venue's time less our monotonic clock, ns.
        delay: The round trip, ns; half of it bounds the error of `offset`.
    """

    taken: int
    offset: int
    delay: int


@final
class ServerClock:
    """The venue's clock as we know it; the local wall clock until the first sample.

    Implements `netcore.clock.Clock`, so that it goes wherever a clock goes.

    Args:
        clock: Where local time comes from.
        window: Samples to choose the best from.
    """

    def __init__(self, clock: Clock | None = None, *, window: int = _WINDOW) -> None:
        self._clock: Clock = SystemClock() if clock is None else clock
        self._samples: deque[OffsetSample] = deque(maxlen=window)
        self._best: OffsetSample | None = None

    def now_ns(self) -> Timestamp:
        """Return the venue's present time, ns since epoch."""
        if self._best is None:
            return self._clock.now_ns()
        return self._clock.monotonic_ns() + self._best.offset

    def monotonic_ns(self) -> int:
        """Return the local monotonic time, ns."""
        return self._clock.monotonic_ns()

    def timestamp_ms(self) -> int:
        """Return the venue's present time, whole milliseconds since epoch."""
        return self.now_ns() // _MS

    def observe(self, sent: int, received: int, server_time: Timestamp) -> OffsetSample:
        """Take one exchange into account.

        Args:
            sent: Monotonic ns when the question left.
            received: Monotonic ns when the answer's headers came.
            server_time: What the venue's clock showed in between, ns since epoch.

        Raises:
            ValueError: If the answer came before the question.
        """
        if received < sent:
            raise ValueError(f"received at {received} ns, before sent at {sent} ns")
        middle = (sent + received) // 2
        sample = OffsetSample(middle, server_time - middle, received - sent)
        self._samples.append(sample)
        # Old samples lose value by the clocks' possible drift since they were taken.
        self._best = min(
            self._samples, key=lambda s: s.delay / 2 + (middle - s.taken) * _WANDER
        )
        return sample

    def forget(self) -> None:
        """Drop all samples but keep the offset, after the venue refused our time.

        The next sample then wins, however long its round trip.
        """
        self._samples.clear()

    @property
    def synchronised(self) -> bool:
        """Whether any sample was taken."""
        return self._best is not None

    @property
    def offset_ns(self) -> int:
        """How far the venue's clock is ahead of our wall clock now, ns."""
        return self.now_ns() - self._clock.now_ns()

    @property
    def uncertainty_ns(self) -> int | None:
        """Half the round trip of the sample in use, plus drift since; None if none."""
        if self._best is None:
            return None
        age = max(0, self._clock.monotonic_ns() - self._best.taken)
        return self._best.delay // 2 + round(age * _WANDER)

    @property
    def drift_ppm(self) -> float | None:
        """Rate of the venue's clock against ours in parts per million, if known.

        Taken between the oldest and the newest sample; None for fewer than two.
        """
        if len(self._samples) < 2:
            return None
        first, last = self._samples[0], self._samples[-1]
        elapsed = last.taken - first.taken
        return None if elapsed <= 0 else (last.offset - first.offset) / elapsed * 1e6

    def metric(self, **tags: str) -> Metric:
        """Return how well the venue's clock is known, as the metric `server_clock`."""
        fields: list[Field] = [Field(key="offset_ns", value=Int(self.offset_ns))]
        if self.uncertainty_ns is not None:
            doubt = Int(self.uncertainty_ns)
            fields.append(Field(key="uncertainty_ns", value=doubt))
        if self.drift_ppm is not None:
            fields.append(Field(key="drift_ppm", value=Float(self.drift_ppm)))
        return Metric(
            name="server_clock",
            time=self._clock.now_ns() // _MS,
            tags=tuple(Tag(key=key, value=value) for key, value in tags.items()),
            fields=tuple(fields),
        )


async def synchronise(
    clock: ServerClock,
    ask: Callable[[], Awaitable[Timestamp]],
    *,
    samples: int = 5,
) -> OffsetSample:
    """Ask a venue for its time and take the answers into account.

    Args:
        clock: The estimate to improve.
        ask: Sends one request and returns the venue's time, ns since epoch.
        samples: How often to ask; the first answer pays for the connection.

    Returns:
        The sample with the shortest round trip.

    Raises:
        ValueError: If `samples` is not positive.
        SocketError: What `ask` raised; samples taken before it count.
    """
    if samples < 1:
        raise ValueError(f"at least one sample is needed, was {samples}")
    taken: list[OffsetSample] = []
    for _ in range(samples):
        sent = clock.monotonic_ns()
        server_time = await ask()
        taken.append(clock.observe(sent, clock.monotonic_ns(), server_time))
    return min(taken, key=lambda s: s.delay)


async def resynchronise(
    clock: ServerClock,
    ask: Callable[[], Awaitable[Timestamp]],
    *,
    samples: int = 3,
) -> OffsetSample:
    """Forget what led to a refused timestamp and ask anew; see `synchronise`.

    Meant for `RestClient(on_clock_skew=...)`: what was believed of the venue's clock
    has just proved wrong, so that its samples must not compete with the new ones.
    """
    clock.forget()
    return await synchronise(clock, ask, samples=samples)
