"""How one FIX session is set up, and the words for its states.

What may live here: records and enums. The rules are in `netcore.fix.session`.
"""

import enum
from typing import final

import msgspec

from netcore.fix.codec import MAX_MESSAGE_SIZE, Resync
from netcore.fix.fields import TimePrecision
from netcore.models import Model

__all__ = ["LogonContext", "Role", "SessionConfig", "SessionId", "SessionState"]


class Role(enum.Enum):
    """Which side of the connection a session is on."""

    INITIATOR = "initiator"
    ACCEPTOR = "acceptor"


class SessionState(enum.Enum):
    """Where a session is; `netcore.fix.session` holds the transitions."""

    LOGGED_OUT = "logged out"
    """There is no connection yet."""

    AWAITING_LOGON = "awaiting logon"
    """Acceptor: connected, the first message must be a Logon."""

    LOGON_SENT = "logon sent"
    """Initiator: connected, the answer must be a Logon."""

    ACTIVE = "active"
    """Logged on both ways."""

    LOGOUT_SENT = "logout sent"
    """We said goodbye and wait for the answer."""

    CLOSED = "closed"
    """The connection is over: send what waits, close it, maybe connect anew."""


@final
class SessionId(msgspec.Struct, frozen=True, order=True):
    """What tells sessions apart, from our side.

    Attributes:
        begin_string: BeginString (8).
        sender_comp_id: Our name.
        target_comp_id: The counterparty's name.
    """

    begin_string: str
    sender_comp_id: str
    target_comp_id: str

    def __str__(self) -> str:
        return f"{self.begin_string}:{self.sender_comp_id}->{self.target_comp_id}"


@final
class SessionConfig(Model, frozen=True, kw_only=True):
    """The agreement between the two parties, and our limits.

    Times are in seconds.

    Attributes:
        begin_string: "FIX.4.0" to "FIX.4.4" or "FIXT.1.1".
        sender_comp_id: Our name (49 of what we send).
        target_comp_id: The counterparty's name (56 of what we send).
        role: Who sends the first Logon.
        heartbeat_interval: HeartBtInt (108) an initiator proposes; 0 is none.
            Acceptors take the initiator's.
        default_appl_ver_id: DefaultApplVerID (1137), with FIXT.1.1 only: "9" is
            FIX 5.0 SP2.
        header: Further header fields of every message, such as SenderSubID (50).
        reset_on_logon: Begin at 1 with every logon. An initiator says so by
            ResetSeqNumFlag (141=Y), an acceptor just does so.
        next_expected: Exchange NextExpectedMsgSeqNum (789) at logon, so that both
            resend unasked (FIX 4.4 and later; both sides must do so).
        last_processed: Say in each message which of theirs was processed last,
            LastMsgSeqNumProcessed (369), as some venues want (FIX 4.2 and later).
        max_latency: How far SendingTime (52) may be off; None does not check.
            FIX 4.4 Vol. 2 suggests two minutes.
        logon_timeout: Until the counterparty's Logon.
        logout_timeout: Until the answer to our Logout.
        resend_timeout: Without progress of a resend until we ask again; the third
            time the session ends.
        test_request_factor: A TestRequest goes out after this many heartbeat
            intervals of silence ("some reasonable transmission time", FIX 4.4 Vol. 2).
        time_precision: Digits behind the seconds of 52 and 122; by default 0 for
            FIX 4.0 and 4.1, which know none, else 3.
        max_held: How many messages behind a gap are held back. Those beyond are
            asked for again.
        max_held_bytes: How many bytes of messages, likewise.
        max_resends: How many ResendRequests may wait to be served.
        max_message_size: The most bytes of a message.
        resync: Where reading goes on after a garbled message.
    """

    begin_string: str
    sender_comp_id: str
    target_comp_id: str
    role: Role = Role.INITIATOR
    heartbeat_interval: int = 30
    default_appl_ver_id: str = ""
    header: dict[int, str] = msgspec.field(default_factory=dict)
    reset_on_logon: bool = False
    next_expected: bool = False
    last_processed: bool = False
    max_latency: float | None = 120.0
    logon_timeout: float = 10.0
    logout_timeout: float = 2.0
    resend_timeout: float = 10.0
    test_request_factor: float = 1.2
    time_precision: TimePrecision | None = None
    max_held: int = 10_000
    max_held_bytes: int = 16 << 20
    max_resends: int = 16
    max_message_size: int = MAX_MESSAGE_SIZE
    resync: Resync = Resync.CLAIMED_END

    def __post_init__(self) -> None:
        if self.heartbeat_interval < 0:
            raise ValueError(
                f"heartbeat_interval must be 0 or more, was {self.heartbeat_interval}"
            )
        if (self.begin_string == "FIXT.1.1") != bool(self.default_appl_ver_id):
            raise ValueError(
                "default_appl_ver_id goes with FIXT.1.1 and with nothing else, was "
                f"{self.default_appl_ver_id!r} with {self.begin_string}"
            )
        if self.last_processed and self.old:
            raise ValueError(
                f"last_processed: {self.begin_string} has no LastMsgSeqNumProcessed"
            )
        if self.time_precision not in {None, 0, 3, 6, 9}:
            raise ValueError(
                f"time_precision must be 0, 3, 6 or 9, was {self.time_precision}"
            )

    @property
    def id(self) -> SessionId:
        """What tells this session from others."""
        return SessionId(self.begin_string, self.sender_comp_id, self.target_comp_id)

    @property
    def precision(self) -> TimePrecision:
        """The digits behind the seconds."""
        if self.time_precision is not None:
            return self.time_precision
        return 0 if self.old else 3

    @property
    def old(self) -> bool:
        """Whether this is FIX 4.0 or 4.1, whose Rejects have words only."""
        return self.begin_string in {"FIX.4.0", "FIX.4.1"}


@final
class LogonContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a Logon's own fields may depend on, such as a signature.

    Attributes:
        sender_comp_id: As sent in 49.
        target_comp_id: As sent in 56.
        number: As sent in 34.
        sending_time: As sent in 52.
    """

    sender_comp_id: str
    target_comp_id: str
    number: int
    sending_time: bytes
