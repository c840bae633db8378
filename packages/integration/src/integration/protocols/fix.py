"""FIX sessions as a source of an `ExchangeStream`.

netcore speaks the protocol (framing, sequence numbers, heartbeats, resends); here its
events become messages, administrative traffic and faults::

    async with open_fix(...) as connection:
        stream = ExchangeStream(FixSource(connection), FixParser(decode), transformer)

`FixParser` is pure; `FixSource` only adds the time to what the connection returns.
"""

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar, final

import msgspec
import trio

from integration.errors import DeserialiseBinary, Fix, SequenceGap
from integration.message import AdminKind, ApplicationAdmin
from integration.stream.parser import Parsed, StreamParser
from netcore.clock import Clock, SystemClock
from netcore.fix import (
    Event,
    FixRemoteError,
    GapDetected,
    Garbled,
    LoggedOn,
    LoggedOut,
    Message,
    Refused,
    Rejected,
    SequenceReset,
    SessionError,
)

__all__ = ["FixBatch", "FixParser", "FixReceiver", "FixSource"]

T = TypeVar("T")


class FixReceiver(Protocol):
    """A FIX connection as `netcore.fix.trio` has it."""

    async def receive(self) -> list[Event]:
        """Wait for events; return none once the session has ended."""
        ...

    async def aclose(self) -> None:
        """Log out and close."""
        ...


class FixBatch(msgspec.Struct, frozen=True):
    """What one read of the session brought."""

    timestamp_ns: int
    events: list[Event]

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)


@final
class FixSource:
    """A session as a `BatchSource`.

    Args:
        connection: The session's connection; closed with the source.
        clock: What stamps batches.
    """

    def __init__(self, connection: FixReceiver, *, clock: Clock | None = None) -> None:
        self.connection = connection
        self._clock: Clock = SystemClock() if clock is None else clock

    async def read_batch(self) -> FixBatch:
        """Wait for the session's next events.

        Raises:
            NetError: The connection or the session's store failed.
            trio.EndOfChannel: The session has ended, and said how before.
        """
        events = await self.connection.receive()
        if not events:
            raise trio.EndOfChannel
        return FixBatch(self._clock.now_ns(), events)

    async def aclose(self) -> None:
        """Log out and close."""
        await self.connection.aclose()


class FixParser(StreamParser[Event, T], Generic[T]):
    """Makes values of application messages, and says what else happened.

    Args:
        decode: Makes a value of a message; raises ValueError, LookupError or what
            netcore's accessors raise for one that it cannot read.
    """

    def __init__(self, decode: Callable[[Message], T]) -> None:
        self._decode = decode

    def parse(self, frame: Event) -> Parsed[T] | None:
        """Decode one message, or judge one event of the session."""
        match frame:
            case Message():
                return self._message(frame)
            case LoggedOn():
                return ApplicationAdmin(AdminKind.LOGON)
            case LoggedOut(text):
                return ApplicationAdmin(AdminKind.LOGOUT, text.encode())
            case GapDetected(expected, received):
                span = f"{expected}-{received - 1}".encode()
                return ApplicationAdmin(AdminKind.RESEND, span)
            case SequenceReset(expected, now_expected):
                return SequenceGap(
                    "the FIX session", expected=expected, actual=now_expected
                )
            case Garbled():
                why = f"{frame.size} bytes were garbled: {frame.reason.value}"
                return DeserialiseBinary(why, b"")
            case _:
                return _fault(frame)

    def _message(self, message: Message) -> T | DeserialiseBinary:
        try:
            return self._decode(message)
        except (ValueError, LookupError, FixRemoteError) as error:
            fault = DeserialiseBinary(f"{type(error).__name__}: {error}", message.raw)
            fault.__cause__ = error
            return fault


def _fault(event: Rejected | Refused | SessionError) -> Fix:
    match event:
        case Rejected(_, number, tag, reason, text):
            return Fix(
                f"our message {number} was rejected: tag {tag}, reason {reason}: {text}"
            )
        case Refused(_, fault):
            return Fix(f"a message of the counterparty was refused: {fault}")
        case SessionError(error):
            failed = Fix(f"the session ended: {error}", recoverable=True, terminal=True)
            failed.__cause__ = error
            return failed
