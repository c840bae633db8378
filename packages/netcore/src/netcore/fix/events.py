"""What a FIX session tells its user.

Application messages come as they are: `netcore.fix.fields.Message`, or its subclass
`ResentMessage`. Everything else is one of the records here. An event is a fact that
has happened; none needs an answer.
"""

from typing import TypeAlias, final

import msgspec

from netcore.fix.codec import Garbled
from netcore.fix.dictionary import Fault
from netcore.fix.errors import SessionFault
from netcore.fix.fields import Message

__all__ = [
    "Event",
    "GapDetected",
    "LoggedOn",
    "LoggedOut",
    "Refused",
    "Rejected",
    "SequenceReset",
    "SessionError",
]


@final
class LoggedOn(msgspec.Struct, frozen=True):
    """The session is active.

    Attributes:
        logon: The counterparty's Logon.
        heartbeat_interval: What is in force, in seconds; 0 is none.
    """

    logon: Message
    heartbeat_interval: int


@final
class LoggedOut(msgspec.Struct, frozen=True):
    """The session ended by Logouts both ways, or by the counterparty's alone.

    Attributes:
        text: The counterparty's words (58), maybe empty.
    """

    text: str


@final
class Rejected(msgspec.Struct, frozen=True):
    """The counterparty refused a message of ours at session level (Reject, 3).

    Attributes:
        message: The Reject.
        number: MsgSeqNum of our message (45), 0 if it is unreadable.
        tag: The field to blame (371), if it says.
        reason: SessionRejectReason (373), if it says.
        text: Its words (58), maybe empty.
    """

    message: Message
    number: int
    tag: int | None
    reason: int | None
    text: str


@final
class Refused(msgspec.Struct, frozen=True):
    """We refused a message of the counterparty's at session level.

    Attributes:
        message: What was refused.
        fault: Why.
    """

    message: Message
    fault: Fault


@final
class GapDetected(msgspec.Struct, frozen=True):
    """Messages are missing and were asked for.

    Attributes:
        expected: The first missing number.
        received: The number that showed the gap.
    """

    expected: int
    received: int


@final
class SequenceReset(msgspec.Struct, frozen=True):
    """The counterparty set its numbers anew; messages in between are lost for good.

    Attributes:
        expected: The number that was due.
        now_expected: The number that is due now; 2 after a Logon with 141=Y.
    """

    expected: int
    now_expected: int


@final
class SessionError(msgspec.Struct, frozen=True):
    """The session ends, and not because both sides wanted it to.

    Attributes:
        error: Why.
    """

    error: SessionFault


Event: TypeAlias = (
    Message
    | LoggedOn
    | LoggedOut
    | Rejected
    | Refused
    | GapDetected
    | SequenceReset
    | SessionError
    | Garbled
)
"""Everything that `FixSession.feed` and `tick` return."""
