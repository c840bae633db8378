"""Round trips, one after the other: a probe, its answer, the time between.

What may live here: measuring over an open `WebSocket`. The next probe goes when the
answer to the last one is there, so the figures are those of a quiet connection.
"""

import time
from collections.abc import Callable
from typing import Final, Protocol, final

import msgspec
import trio

from netcore.clock import to_ns
from netcore.trio import TrioDriver
from netcore.ws import WebSocket, WebSocketWatch

__all__ = ["Echo", "Ping", "Probe", "Schedule", "Tell", "busy", "parked"]

_clock: Final = time.perf_counter_ns
_TURN_NS: Final = 10_000_000


class Probe(Protocol):
    """A question whose answer can be told from others."""

    def send(self, ws: WebSocket, number: int) -> None:
        """Ask."""
        ...

    def answered(self, ws: WebSocket) -> bool:
        """Read once; return whether the answer to the last question came."""
        ...


def _payload(number: int, size: int) -> bytes:
    # Eight digits tell probes apart; ASCII, so that it is text as well.
    return (b"%08d" % number).ljust(size, b".")


@final
class Ping:
    """A ping and its pong, which every WebSocket peer answers (RFC 6455 §5.5.2).

    Args:
        size: Bytes of a probe, 8 to 125.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._asked = b""

    def send(self, ws: WebSocket, number: int) -> None:
        """Send a ping."""
        self._asked = _payload(number, self._size)
        ws.send_ping(self._asked)

    def answered(self, ws: WebSocket) -> bool:
        """Read once; messages that come meanwhile are dropped."""
        ws.read_batch()
        return self._asked in ws.pongs


@final
class Echo:
    """A text message that the peer sends back.

    Args:
        size: Bytes of a probe, at least 8.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._asked = b""

    def send(self, ws: WebSocket, number: int) -> None:
        """Send a message."""
        self._asked = _payload(number, self._size)
        ws.send_text(self._asked)

    def answered(self, ws: WebSocket) -> bool:
        """Read once; other messages are dropped."""
        batch = ws.read_batch()
        return batch is not None and self._asked in batch.payloads


Tell = Callable[[int | None], None]
"""Called with the time of each probe in nanoseconds, None for a lost one."""


@final
class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """How many probes, and when.

    Attributes:
        count: Probes that count.
        warmup: How many more before them.
        interval: Seconds between an answer and the next probe.
        answer: Seconds after which a probe is lost.
    """

    count: int
    warmup: int = 0
    interval: float = 0.0
    answer: float = 5.0


async def busy(ws: WebSocket, probe: Probe, schedule: Schedule, tell: Tell) -> None:
    """Measure by asking the socket again and again: one processor, least delay.

    Other tasks get their turn between the probes, and every 10 ms while one waits.

    Args:
        ws: Open.
        probe: What to send.
        schedule: How often.
        tell: Told of each probe that counts.

    Raises:
        NetError: If the conversation ends.
        trio.Cancelled: If the task is cancelled.
    """
    driver = TrioDriver(WebSocketWatch(ws))
    limit = to_ns(schedule.answer)
    for number in range(schedule.warmup + schedule.count):
        await trio.lowlevel.checkpoint()
        start = _clock()
        probe.send(ws, number)
        turn = start + _TURN_NS
        while not (answered := probe.answered(ws)):
            now = _clock()
            if now - start >= limit:
                break
            if now >= turn:
                await trio.lowlevel.checkpoint()
                turn = now + _TURN_NS
        passed = _clock() - start
        if number >= schedule.warmup:
            tell(passed if answered else None)
        await _keep_reading(ws, driver, schedule.interval)


async def parked(
    ws: WebSocket, probe: Probe, schedule: Schedule, tell: Tell, *, spin: float = 0.0
) -> None:
    """Measure as a trio program would see it: waiting for the socket in the kernel.

    Args:
        ws: Open.
        probe: What to send.
        schedule: How often.
        tell: Told of each probe that counts.
        spin: Seconds to keep trying before waiting.

    Raises:
        NetError: If the conversation ends.
        trio.Cancelled: If the task is cancelled.
    """
    driver = TrioDriver(WebSocketWatch(ws), spin=spin)
    for number in range(schedule.warmup + schedule.count):
        await driver.checkpoint()
        start = _clock()
        probe.send(ws, number)
        with trio.move_on_after(schedule.answer) as scope:
            await _answer(ws, probe, driver)
        passed = _clock() - start
        if number >= schedule.warmup:
            tell(None if scope.cancelled_caught else passed)
        await _keep_reading(ws, driver, schedule.interval)


async def _answer(ws: WebSocket, probe: Probe, driver: TrioDriver) -> None:
    """Wait until the answer is there."""
    while not probe.answered(ws):
        for _ in driver.turns():
            if probe.answered(ws):
                return
        await driver.park(deadline_ns=ws.deadline)


async def _keep_reading(ws: WebSocket, driver: TrioDriver, seconds: float) -> None:
    """Answer pings and drop messages for a while."""
    with trio.move_on_after(seconds):
        while True:
            await driver.park(deadline_ns=ws.deadline)
            ws.read_batch()
