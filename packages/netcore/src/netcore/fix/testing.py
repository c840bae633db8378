"""Counterparties to test a `FixSession`, or an application over one, against.

`Counterparty` obeys no rules: it says what it is told, with any numbers and times, and
shows what it heard; time stands still until it is advanced. `Echo` is the simplest
application that answers.
"""

from collections.abc import Collection, Sequence
from typing import Any, Protocol, final

from netcore.clock import to_ns
from netcore.fix.codec import FixParser
from netcore.fix.config import Role, SessionConfig, SessionState
from netcore.fix.dictionary import Dictionary, dictionary
from netcore.fix.errors import SessionFault
from netcore.fix.events import Event, SessionError
from netcore.fix.fields import FieldValue, Message, utc_timestamp
from netcore.fix.session import FixSession
from netcore.fix.store import Store
from netcore.models import Timestamp

__all__ = ["Answering", "Counterparty", "Echo", "logged_on", "make_session"]

_START: Timestamp = 1_723_118_400_000_000_000  # 2024-08-08T12:00:00Z


def make_session(
    role: Role = Role.ACCEPTOR,
    begin_string: str = "FIX.4.4",
    store: Store | None = None,
    *,
    checked: bool = True,
    **changes: Any,  # noqa: ANN401 - whatever SessionConfig takes
) -> FixSession:
    """Return a session for tests: of ISLD with TW, an initiator's of TW with ISLD.

    Args:
        role: Whose it is.
        begin_string: The version; FIXT.1.1 with FIX 5.0.
        store: Its memory.
        checked: Whether messages are checked against the version's dictionary.
        changes: Fields of `SessionConfig`.
    """
    version = "7" if begin_string == "FIXT.1.1" else ""
    ours, theirs = ("ISLD", "TW") if role is Role.ACCEPTOR else ("TW", "ISLD")
    config = SessionConfig(
        begin_string=begin_string,
        sender_comp_id=ours,
        target_comp_id=theirs,
        role=role,
        default_appl_ver_id=version,
        **changes,
    )
    known = dictionary(begin_string, version, user_defined=False) if checked else None
    return FixSession(config, store, dictionary=known)


@final
class Counterparty:
    """The other side of `session`; written for tests.

    Messages are texts like `"35=A|34=1|98=0|108=30"`. BeginString, BodyLength, CompIDs,
    SendingTime and CheckSum are added to what is said and taken from what is heard.

    Args:
        session: What to talk to.
        now: The time at first.

    Attributes:
        now: The time.
        events: All events of the session so far.
        heard: All messages that the session sent so far.
    """

    def __init__(self, session: FixSession, now: Timestamp = _START) -> None:
        self.session = session
        self.now = now
        self.events: list[Event] = []
        self.heard: list[Message] = []
        self._parser = FixParser()

    @property
    def errors(self) -> list[SessionFault]:
        """Why the session ended, as far as it did so by a fault."""
        return [event.error for event in self.events if isinstance(event, SessionError)]

    @property
    def applications(self) -> list[Message]:
        """The application messages that the session delivered."""
        return [event for event in self.events if isinstance(event, Message)]

    def connect(self) -> None:
        """Begin a connection."""
        self._parser = FixParser()
        self.session.connect(self.now)

    def logon(self, *more: str, number: int = 1, heartbeat: int = 30) -> list[str]:
        """Connect, exchange Logons and return what was heard."""
        self.connect()
        fields = "".join(f"|{field}" for field in more)
        self.say(f"35=A|34={number}|98=0|108={heartbeat}{fields}")
        return self.hear()

    def compose(
        self,
        text: str,
        *,
        omit: Collection[int] = (),
        begin_string: str | None = None,
        seconds: float = 0.0,
    ) -> bytes:
        """Return the bytes of a message.

        Args:
            text: MsgType, MsgSeqNum and whatever else, as `tag=value|tag=value`.
            omit: Header fields to leave out.
            begin_string: Another one than the session's.
            seconds: How far SendingTime is off.
        """
        config = self.session.config
        said = [tuple(field.split("=", 1)) for field in text.split("|")]
        there = {tag for tag, _ in said}
        header = {
            "49": config.target_comp_id,
            "52": utc_timestamp(self.now + to_ns(seconds), config.precision).decode(),
            "56": config.sender_comp_id,
        }
        missing = [
            (tag, value)
            for tag, value in header.items()
            if tag not in there and int(tag) not in omit
        ]
        said[2:2] = missing
        pairs = [(int(tag), value.encode()) for tag, value in said]
        return _lenient(begin_string or config.begin_string, pairs)

    def say(
        self,
        text: str,
        *,
        omit: Collection[int] = (),
        begin_string: str | None = None,
        seconds: float = 0.0,
    ) -> list[Event]:
        """Send a message (see `compose`) and return the session's events."""
        return self.say_bytes(
            self.compose(text, omit=omit, begin_string=begin_string, seconds=seconds)
        )

    def say_bytes(self, data: bytes) -> list[Event]:
        """Send bytes as they are and return the session's events."""
        events = self.session.feed(data, self.now)
        self.events += events
        return events

    def hang_up(self) -> list[Event]:
        """End the connection and return the session's events."""
        events = self.session.feed_eof(self.now)
        self.events += events
        return events

    def advance(self, seconds: float) -> list[Event]:
        """Let time pass, with a tick at each deadline; return the events."""
        end = self.now + to_ns(seconds)
        events: list[Event] = []
        while (deadline := self.session.next_deadline) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            events += self.session.tick(self.now)
        self.now = end
        self.events += events
        return events

    def hear_messages(self) -> list[Message]:
        """Return what the session has sent since the last time."""
        messages: list[Message] = []
        while data := self.session.to_send():
            messages += self._parser.feed(data)
        self.heard += messages
        return messages

    def hear(self) -> list[str]:
        """Return what the session has sent, without the fields that are always there.

        These are BeginString, BodyLength, CompIDs, times and CheckSum.
        """
        return [
            "|".join(
                f"{tag}={value.decode()}"
                for tag, value in message
                if tag not in {8, 9, 49, 52, 56, 122, 10}
            )
            for message in self.hear_messages()
        ]


def _lenient(begin_string: str, pairs: list[tuple[int, bytes]]) -> bytes:
    """Encode even what must not be sent, such as empty values."""
    body = b"".join(b"%d=%b\x01" % pair for pair in pairs)
    head = b"8=%b\x019=%d\x01%b" % (begin_string.encode(), len(body), body)
    return head + b"10=%03d\x01" % (sum(head) % 256)


def logged_on(
    begin_string: str = "FIX.4.4",
    *,
    checked: bool = True,
    **changes: Any,  # noqa: ANN401 - whatever SessionConfig takes
) -> Counterparty:
    """Return the other side of an acceptor that has just logged on.

    Both sides have sent their Logon: number 2 is next in either direction.

    Args:
        begin_string: The version; FIXT.1.1 with FIX 5.0.
        checked: Whether messages are checked against the version's dictionary.
        changes: Fields of `SessionConfig`.
    """
    peer = Counterparty(
        make_session(begin_string=begin_string, checked=checked, **changes)
    )
    version = ["1137=7"] if begin_string == "FIXT.1.1" else []
    peer.logon(*version)
    if peer.session.state is not SessionState.ACTIVE:
        raise AssertionError(f"the session is {peer.session.state}: {peer.errors}")
    return peer


@final
class Echo:
    """A counterparty's application that answers orders with themselves.

    NewOrderSingle (D) and SecurityDefinition (d) come back with the same fields, by
    ascending tag; a D with PossResend whose ClOrdID was seen on this connection is
    dropped; anything else is answered with a BusinessMessageReject.

    Args:
        connection: What to answer over.
        dictionary: What knows the order of fields.
    """

    def __init__(self, connection: "Answering", dictionary: Dictionary) -> None:
        self._connection = connection
        self._dictionary = dictionary
        self._seen: set[bytes] = set()

    def handle(self, event: Event) -> None:
        """Answer an event if it is an application message and the session active."""
        session = self._connection.session
        if not isinstance(event, Message) or session.state is not SessionState.ACTIVE:
            return
        if event.type not in {"D", "d"}:
            version = session.config.default_appl_ver_id
            more = [(1137, version)] if version else []
            self._connection.business_reject(event, more=more)
            return
        again = event.flag(97)
        order = event.get(11)
        if again and order in self._seen:
            return
        if order is not None:
            self._seen.add(order)
        body = self._dictionary.canonical(event.type, event.body)
        header = [(97, b"Y")] if again else []
        self._connection.send(event.type, body, header=header)


class Answering(Protocol):
    """What `Echo` needs of a `FixConnection` or a `TrioFixConnection`."""

    @property
    def session(self) -> FixSession:
        """The session."""
        ...

    def send(
        self,
        kind: str,
        body: Sequence[tuple[int, FieldValue]],
        *,
        header: Sequence[tuple[int, FieldValue]] = (),
    ) -> int:
        """Send an application message."""
        ...

    def business_reject(
        self,
        message: Message,
        *,
        reason: int = 3,
        text: str | None = None,
        more: Sequence[tuple[int, FieldValue]] = (),
    ) -> int:
        """Refuse an application message."""
        ...
