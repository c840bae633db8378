"""A conversation over a WebSocket: what to say, what to hear, and when it ends.

What may live here: the tasks of `netcore ws` and `netcore record`. What is done with
the messages is a `Listener`'s.

A conversation ends by itself (so many messages, so long, the input's end), by the peer,
or by a signal. In all cases but a fault the WebSocket is closed in order. A second
signal while that is under way cuts it short.
"""

import argparse
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    aclosing,
    asynccontextmanager,
    contextmanager,
)
from functools import partial
from pathlib import Path
from typing import Final, Protocol, final

import msgspec
import trio

from netcore.cli.arguments import tls_context
from netcore.cli.exits import Exit, NetcoreExit, UsageFault
from netcore.cli.lines import MAX_LINE
from netcore.errors import ConnectionClosed, RecordingError, RemoteError
from netcore.stream.record import Recorder
from netcore.trio import TrioWebSocket, open_websocket
from netcore.ws import Batch, CloseCode, DeflateConfig, Heartbeat
from netcore.ws.handshake import ClientHandshake

__all__ = [
    "ORDERLY",
    "Interrupts",
    "Listener",
    "Plan",
    "Silence",
    "converse",
    "first_messages",
    "open_plain_nursery",
    "open_url",
    "plan_of",
    "race",
    "recording",
    "run_interruptible",
]

ORDERLY: Final = frozenset(
    {CloseCode.NORMAL, CloseCode.GOING_AWAY, CloseCode.NO_STATUS}
)
"""Codes by which a peer ends a conversation without complaint."""

_LINGER: Final = 1.0


class Silence(RemoteError):
    """No message came for as long as the user wanted to wait."""


@final
class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to say and when to stop.

    Attributes:
        sends: Messages to send first.
        binary: Whether what is sent is binary.
        count: How many messages to receive; None for no limit.
        duration: Seconds after which to stop; None never.
        silence: Seconds without a message that are a failure; None never.
        linger: Seconds to go on receiving after the input's end.
    """

    sends: tuple[bytes, ...] = ()
    binary: bool = False
    count: int | None = None
    duration: float | None = None
    silence: float | None = None
    linger: float = _LINGER


class Listener(Protocol):
    """What becomes of a conversation."""

    def opened(self, ws: TrioWebSocket) -> None:
        """Take note that the handshake succeeded."""
        ...

    def heard(self, batch: Batch) -> None:
        """Take messages."""
        ...

    def said(self, payload: bytes, *, binary: bool) -> None:
        """Take note of what was sent."""
        ...

    def closed(self, code: int | None, reason: str, by: str) -> None:
        """Take note of the end; called once, if the conversation was opened."""
        ...


# -- signals -------------------------------------------------------------------------


@final
class Interrupts:
    """What Ctrl-C and SIGTERM end: the talking first, then everything.

    Attributes:
        everything: The scope of the whole command.
    """

    def __init__(self) -> None:
        self.everything = trio.CancelScope()
        self._talking: trio.CancelScope | None = None

    @contextmanager
    def talking(self) -> Iterator[None]:
        """Let the next signal end no more than this block."""
        with trio.CancelScope() as scope:
            self._talking = scope
            try:
                yield
            finally:
                self._talking = None

    def interrupt(self) -> None:
        """Act on a signal."""
        scope, self._talking = self._talking, None
        (self.everything if scope is None else scope).cancel()

    async def watch(self, signals: AsyncIterator[int]) -> None:
        """Act on every signal."""
        async for _ in signals:
            self.interrupt()


async def run_interruptible(work: Callable[[Interrupts], Awaitable[None]]) -> None:
    """Run `work` such that Ctrl-C and SIGTERM end it in order.

    Raises:
        NetcoreExit: If a signal ended all of it.
    """
    interrupts = Interrupts()
    with (
        trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals,
        interrupts.everything,
    ):
        await race(partial(work, interrupts), partial(interrupts.watch, signals))
        return
    raise NetcoreExit(Exit.INTERRUPTED)


async def race(*runs: Callable[[], Awaitable[None]]) -> None:
    """Run until one of `runs` returns or fails; raise what failed first, as it is."""
    faults: list[Exception] = []

    async def run(one: Callable[[], Awaitable[None]]) -> None:
        try:
            await one()
        except Exception as exc:
            faults.append(exc)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for one in runs:
            nursery.start_soon(run, one)
    if faults:
        raise faults[0]


@asynccontextmanager
async def open_plain_nursery() -> AsyncGenerator[trio.Nursery, None]:
    """Open a nursery whose first fault comes as it is, not in a group."""
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except ExceptionGroup as group:
        raise group.exceptions[0] from group


# -- talking -------------------------------------------------------------------------


async def converse(
    opening: AbstractAsyncContextManager[TrioWebSocket],
    plan: Plan,
    listener: Listener,
    *,
    interrupts: Interrupts,
    lines: AsyncGenerator[bytes, None] | None = None,
) -> None:
    """Open a WebSocket, talk, and close it in order.

    Args:
        opening: What `open_websocket` returns.
        plan: What to say and when to stop.
        listener: What becomes of the messages.
        interrupts: How signals reach the conversation.
        lines: What to send besides; its end ends the conversation.

    Raises:
        NetError: If the conversation cannot begin or fails.
        UsageFault: If a line cannot be sent.
    """
    async with opening as ws:
        listener.opened(ws)
        with interrupts.talking():
            await _Conversation(ws, plan, listener).run(lines)
        # Ended by itself or by a signal: leaving the block closes in order.
    listener.closed(ws.close_code, ws.close_reason, "local")


@final
class _Conversation:
    """The tasks of an open conversation."""

    def __init__(self, ws: TrioWebSocket, plan: Plan, listener: Listener) -> None:
        self._ws = ws
        self._plan = plan
        self._listener = listener
        self._left = plan.count

    async def run(self, lines: AsyncGenerator[bytes, None] | None) -> None:
        """Talk until somebody ends it."""
        runs: list[Callable[[], Awaitable[None]]]
        runs = [self._receive, partial(self._speak, lines)]
        if self._plan.duration is not None:
            runs.append(partial(trio.sleep, self._plan.duration))
        await race(*runs)

    async def _receive(self) -> None:
        while True:
            try:
                batch = await self._next()
            except ConnectionClosed as exc:
                self._listener.closed(exc.code, exc.reason, exc.initiated_by)
                if exc.code in ORDERLY:
                    return
                raise
            if self._left is not None:
                batch = first_messages(batch, self._left)
                self._left -= len(batch)
            self._listener.heard(batch)
            if self._left == 0:
                return

    async def _next(self) -> Batch:
        silence = self._plan.silence
        if silence is None:
            return await self._ws.read_batch()
        with trio.move_on_after(silence):
            return await self._ws.read_batch()
        raise Silence(f"no message from {self._ws.info} for {silence:g} s")

    async def _speak(self, lines: AsyncGenerator[bytes, None] | None) -> None:
        for payload in self._plan.sends:
            await self._say(payload)
        if lines is None:
            await trio.sleep_forever()
            return
        async with aclosing(lines):
            async for line in lines:
                await self._say(line)
        await trio.sleep(self._plan.linger)

    async def _say(self, payload: bytes) -> None:
        if self._plan.binary:
            self._ws.send_binary(payload)
        else:
            try:
                self._ws.send_text(payload.decode())
            except UnicodeDecodeError as exc:
                raise UsageFault(
                    "a line of the input is not UTF-8: send it with --binary"
                ) from exc
        self._listener.said(payload, binary=self._plan.binary)
        await self._ws.drain()


def first_messages(batch: Batch, count: int) -> Batch:
    """Return the batch with its first `count` messages."""
    if len(batch) <= count:
        return batch
    heads = None if batch.heads is None else batch.heads[:count]
    return Batch(batch.timestamp_ns, batch.payloads[:count], batch.opcode, heads)


# -- from options --------------------------------------------------------------------


def plan_of(options: argparse.Namespace, *, linger: float | None = None) -> Plan:
    """Return the plan that a command's options describe.

    Args:
        options: With those of `netcore.cli.arguments.add_messages`.
        linger: What the user said; by default a second, or for ever where `--count`
            or `--duration` tells the end.
    """
    if linger is None:
        bounded = options.count is not None or options.duration is not None
        linger = float("inf") if bounded else _LINGER
    return Plan(
        sends=tuple(text.encode() for text in options.send),
        binary=options.binary,
        count=options.count,
        duration=options.duration,
        silence=options.silence,
        linger=linger,
    )


def open_url(
    options: argparse.Namespace, recorder: Recorder | None = None
) -> AbstractAsyncContextManager[TrioWebSocket]:
    """Return what opens the WebSocket that a command's options describe.

    Raises:
        UsageFault: If a header, subprotocol or TLS option cannot be used.
    """
    try:
        ClientHandshake(
            "localhost",
            headers=options.header,
            origin=options.origin,
            subprotocols=options.subprotocol,
        )
    except ValueError as exc:
        raise UsageFault(str(exc)) from exc
    heartbeat = None
    if getattr(options, "ping_interval", None) is not None:
        heartbeat = Heartbeat(
            interval=options.ping_interval, timeout=options.ping_timeout
        )
    return open_websocket(
        options.url,
        headers=options.header,
        origin=options.origin,
        subprotocols=options.subprotocol,
        ssl_context=tls_context(options),
        recorder=recorder,
        deflate=DeflateConfig() if options.compress else None,
        heartbeat=heartbeat,
        outbox_limit=2 * MAX_LINE,
        connect_timeout=options.timeout,
    )


@contextmanager
def recording(path: str | None, *, overwrite: bool) -> Iterator[Recorder | None]:
    """Make the recorder of a command; leave no files if nothing was ever read.

    Args:
        path: The recording's name; None for no recording.
        overwrite: Whether to replace an older one.

    Raises:
        UsageFault: If the files cannot be made, or exist.
    """
    if path is None:
        yield None
        return
    try:
        recorder = Recorder(path, overwrite=overwrite)
    except RecordingError as exc:
        raise UsageFault(str(exc)) from exc
    try:
        yield recorder
    finally:
        recorder.close()
        if not recorder.attempts:
            for part in ("inbound", "outbound", "inbound_time", "inbound_seq"):
                Path(f"{path}_{part}.rec").unlink(missing_ok=True)
