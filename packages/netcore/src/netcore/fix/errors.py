"""What can go wrong in a FIX session, below `netcore.errors`.

::

    NetError
    ├── LocalError
    │   └── FixLocalError
    │       ├── EncodeError (ValueError)
    │       ├── NotLoggedOn
    │       ├── FieldMissing (KeyError)
    │       └── StoreError
    │           └── StoreDamaged
    └── RemoteError
        └── FixRemoteError
            ├── BadValue (ValueError)
            ├── SessionFault
            │   ├── LogonRefused
            │   ├── SequenceTooLow
            │   ├── HeartbeatTimeout
            │   ├── LogonTimeout
            │   └── LogoutTimeout
            └── GroupMismatch

A peer's fault never leaves `FixSession.feed` as an exception: it ends the connection
and comes as the `error` of a `SessionError` event, after the events before it.
"""

from netcore.errors import LocalError, RemoteError

__all__ = [
    "BadValue",
    "EncodeError",
    "FieldMissing",
    "FixLocalError",
    "FixRemoteError",
    "GroupMismatch",
    "HeartbeatTimeout",
    "LogonRefused",
    "LogonTimeout",
    "LogoutTimeout",
    "NotLoggedOn",
    "SequenceTooLow",
    "SessionFault",
    "StoreDamaged",
    "StoreError",
]


class FixLocalError(LocalError):
    """The caller asked for something a FIX session cannot do."""


class EncodeError(FixLocalError, ValueError):
    """A field cannot be put on the wire.

    Attributes:
        tag: The field's number, 0 if it is the message as a whole.
    """

    def __init__(self, tag: int, text: str) -> None:
        super().__init__(f"field {tag}: {text}" if tag else text)
        self.tag = tag


class NotLoggedOn(FixLocalError):
    """A message was to be sent while the session was not active.

    It is not kept for later: an order that leaves minutes after it was meant is worse
    than one that visibly did not leave.
    """


class FieldMissing(FixLocalError, KeyError):
    """A message has no field of this number.

    Attributes:
        tag: The number asked for.
    """

    def __init__(self, tag: int, where: str) -> None:
        super().__init__(f"there is no field {tag} in {where}")
        self.tag = tag

    def __str__(self) -> str:
        return str(self.args[0])


class StoreError(FixLocalError):
    """A session's store cannot be read, written or used in this way."""


class StoreDamaged(StoreError):
    """A store's file holds something else than was written, before its end.

    Attributes:
        offset: Where in the file the first damaged record begins.
    """

    def __init__(self, path: str, offset: int, text: str) -> None:
        super().__init__(
            f"{path} is damaged at byte {offset}: {text}; agree on new sequence "
            f"numbers with the counterparty, move the file away and start anew"
        )
        self.offset = offset


class FixRemoteError(RemoteError):
    """The counterparty did what its side of the protocol forbids."""


class BadValue(FixRemoteError, ValueError):
    """A received field does not have the form its type demands.

    Attributes:
        tag: The field's number.
    """

    def __init__(self, tag: int, text: str) -> None:
        super().__init__(f"field {tag}: {text}")
        self.tag = tag


class GroupMismatch(FixRemoteError):
    """A repeating group has not as many members as its count says.

    Attributes:
        tag: The count field's number.
        stated: What the count says.
        found: How many there are.
    """

    def __init__(self, tag: int, stated: int, found: int) -> None:
        super().__init__(
            f"group {tag} states {stated} members, but {found} follow; the message is "
            f"damaged or the group begins with another field"
        )
        self.tag = tag
        self.stated = stated
        self.found = found


class SessionFault(FixRemoteError):
    """Why a session ended otherwise than by an agreed logout."""


class LogonRefused(SessionFault):
    """The first message was no Logon that could be accepted."""


class SequenceTooLow(SessionFault):
    """A message came with a number that was used before (and is no duplicate).

    Attributes:
        expected: The number that was due.
        received: The number that came.
    """

    def __init__(self, expected: int, received: int) -> None:
        super().__init__(
            f"MsgSeqNum too low, expecting {expected} but received {received}"
        )
        self.expected = expected
        self.received = received


class HeartbeatTimeout(SessionFault):
    """Nothing came, not even an answer to a TestRequest."""


class LogonTimeout(SessionFault):
    """The connection stood, but no Logon came."""


class LogoutTimeout(SessionFault):
    """Our Logout was not answered."""
