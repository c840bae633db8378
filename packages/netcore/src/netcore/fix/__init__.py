"""FIX 4.0 to 5.0 SP2: codec, session rules and stores, without I/O, and a driver.

`FixSession` is the protocol as values: bytes and times in, events and bytes out.
`FixConnection` drives one over any stream, busy-polling or blocking; `netcore.fix.trio`
does so under trio. See `netcore.fix.session` for the rules.
"""

from netcore.fix.acceptor import Acceptor, Visitor
from netcore.fix.client import FixConnection
from netcore.fix.codec import (
    FixParser,
    Garbled,
    GarbledReason,
    Resync,
    checksum,
    encode,
)
from netcore.fix.config import (
    LogonContext,
    Role,
    SessionConfig,
    SessionId,
    SessionState,
)
from netcore.fix.dictionary import (
    Dictionary,
    Fault,
    FieldType,
    RejectReason,
    dictionary,
)
from netcore.fix.endpoint import FixEndpoint
from netcore.fix.errors import (
    BadValue,
    EncodeError,
    FieldMissing,
    FixLocalError,
    FixRemoteError,
    GroupMismatch,
    HeartbeatTimeout,
    LogonRefused,
    LogonTimeout,
    LogoutTimeout,
    NotLoggedOn,
    SequenceTooLow,
    SessionFault,
    StoreDamaged,
    StoreError,
)
from netcore.fix.events import (
    Event,
    GapDetected,
    LoggedOn,
    LoggedOut,
    Refused,
    Rejected,
    SequenceReset,
    SessionError,
)
from netcore.fix.fields import (
    Fields,
    FieldValue,
    Message,
    Pair,
    ResentMessage,
    parse_timestamp,
    utc_timestamp,
)
from netcore.fix.session import FixSession
from netcore.fix.store import FileStore, Fsync, MemoryStore, Store

__all__ = [
    "Acceptor",
    "BadValue",
    "Dictionary",
    "EncodeError",
    "Event",
    "Fault",
    "FieldMissing",
    "FieldType",
    "FieldValue",
    "Fields",
    "FileStore",
    "FixConnection",
    "FixEndpoint",
    "FixLocalError",
    "FixParser",
    "FixRemoteError",
    "FixSession",
    "Fsync",
    "GapDetected",
    "Garbled",
    "GarbledReason",
    "GroupMismatch",
    "HeartbeatTimeout",
    "LoggedOn",
    "LoggedOut",
    "LogonContext",
    "LogonRefused",
    "LogonTimeout",
    "LogoutTimeout",
    "MemoryStore",
    "Message",
    "NotLoggedOn",
    "Pair",
    "Refused",
    "RejectReason",
    "Rejected",
    "ResentMessage",
    "Resync",
    "Role",
    "SequenceReset",
    "SequenceTooLow",
    "SessionConfig",
    "SessionError",
    "SessionFault",
    "SessionId",
    "SessionState",
    "Store",
    "StoreDamaged",
    "StoreError",
    "Visitor",
    "checksum",
    "dictionary",
    "encode",
    "parse_timestamp",
    "utc_timestamp",
]
