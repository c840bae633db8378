"""A FIX session's state, time and sending; `netcore.fix.session` adds the receiving.

What may live here: the state table, what is due when, and what our side says on its
own account: Logon, heartbeats, tests, Logout, Rejects and the user's messages. It is
one class cut in two at the seam between sending and receiving; use `FixSession`.
"""

import enum
from collections.abc import Callable, Sequence

from netcore.clock import to_ns
from netcore.errors import NetError
from netcore.fix import rejects
from netcore.fix.codec import FixParser
from netcore.fix.config import LogonContext, Role, SessionConfig, SessionState
from netcore.fix.dictionary import Dictionary, Fault
from netcore.fix.errors import (
    HeartbeatTimeout,
    LogonTimeout,
    LogoutTimeout,
    NotLoggedOn,
    SessionFault,
)
from netcore.fix.events import Event, LoggedOut, Refused, SessionError
from netcore.fix.fields import FieldValue, Message, as_pairs
from netcore.fix.outgoing import Outgoing
from netcore.fix.sequence import Sequencer
from netcore.fix.store import MemoryStore, Store
from netcore.models import Timestamp

__all__ = ["BEFORE_LOGON", "LOGGED_ON", "SessionMachine", "Trigger"]

_DEFAULT_CHUNK = 65536


class Trigger(enum.Enum):
    """What moves a session from one state to another."""

    INITIATE = "initiate"
    ACCEPT = "accept"
    LOGON = "logon"
    LOGOUT = "logout"
    END = "end"


_S, _T = SessionState, Trigger
_TRANSITIONS = {
    (_S.LOGGED_OUT, _T.INITIATE): _S.LOGON_SENT,
    (_S.LOGGED_OUT, _T.ACCEPT): _S.AWAITING_LOGON,
    (_S.CLOSED, _T.INITIATE): _S.LOGON_SENT,
    (_S.CLOSED, _T.ACCEPT): _S.AWAITING_LOGON,
    (_S.LOGON_SENT, _T.LOGON): _S.ACTIVE,
    (_S.AWAITING_LOGON, _T.LOGON): _S.ACTIVE,
    (_S.ACTIVE, _T.LOGOUT): _S.LOGOUT_SENT,
    (_S.LOGON_SENT, _T.END): _S.CLOSED,
    (_S.AWAITING_LOGON, _T.END): _S.CLOSED,
    (_S.ACTIVE, _T.END): _S.CLOSED,
    (_S.LOGOUT_SENT, _T.END): _S.CLOSED,
}
BEFORE_LOGON = frozenset({_S.LOGON_SENT, _S.AWAITING_LOGON})
LOGGED_ON = frozenset({_S.ACTIVE, _S.LOGOUT_SENT})
_CONNECTED = BEFORE_LOGON | LOGGED_ON

# QuickFIX and its relatives send this text; any would do, and an answer with another
# one (or any message at all) shows as well that the counterparty is alive.
_TEST_REQUEST_ID = b"TEST"


class SessionMachine:
    """The half of `FixSession` that speaks; see there for the arguments."""

    def __init__(
        self,
        config: SessionConfig,
        store: Store | None = None,
        *,
        dictionary: Dictionary | None = None,
        logon_fields: (
            Callable[[LogonContext], Sequence[tuple[int, FieldValue]]] | None
        ) = None,
        authenticate: Callable[[Message], str | None] | None = None,
        may_resend: Callable[[Message], bool] | None = None,
    ) -> None:
        self.config = config
        self._store: Store = MemoryStore() if store is None else store
        self._dictionary = dictionary
        self._logon_fields = logon_fields
        self._authenticate = authenticate
        self._state = SessionState.LOGGED_OUT
        self._out = Outgoing(config, self._store, may_resend)
        self._sequence = Sequencer(
            self._store.next_expected, config.max_held, config.max_held_bytes
        )
        if config.last_processed:
            self._out.processed = self._last_processed
        self._parser = self._new_parser()
        self._events: list[Event] = []
        self._now: Timestamp = 0
        self._heartbeat = 0
        self._last_received: Timestamp = 0
        self._state_since: Timestamp = 0
        self._tested_at: Timestamp | None = None

    def __repr__(self) -> str:
        return (
            f"<FixSession {self.config.id} {self._state.value}, next outgoing "
            f"{self._store.next_outgoing}, expected {self._sequence.expected}>"
        )

    # -- what the user sees ----------------------------------------------------------

    @property
    def state(self) -> SessionState:
        """Where the session is."""
        return self._state

    @property
    def closed(self) -> bool:
        """Whether the connection is to be closed once `to_send` is empty."""
        return self._state is SessionState.CLOSED

    @property
    def store(self) -> Store:
        """The numbers and messages; do not change it while a connection stands."""
        return self._store

    @property
    def next_expected(self) -> int:
        """MsgSeqNum of the message that is due."""
        return self._sequence.expected

    @property
    def has_to_send(self) -> bool:
        """Whether `to_send` would return something."""
        return self._out.waiting

    @property
    def queued_bytes(self) -> int:
        """How many bytes wait to be sent, without what is to be resent."""
        return self._out.queued_bytes

    @property
    def next_deadline(self) -> Timestamp | None:
        """When `tick` is to be called, None if nothing waits for time."""
        deadlines = self._deadlines()
        return min(when for when, _ in deadlines) if deadlines else None

    def connect(self, now: Timestamp) -> None:
        """Begin with a new connection; an initiator's Logon waits to be sent then.

        What was sent but not taken from the last connection is not sent again
        unless it is asked for.

        Raises:
            EncodeError: If the Logon's own fields cannot be sent.
            StoreError: If the store cannot be written.
        """
        role = self.config.role
        self._now = now
        self._parser = self._new_parser()
        self._out.clear()
        self._sequence.reset(self._sequence.expected)
        self._tested_at = None
        self._last_received = now
        self._move(_T.INITIATE if role is Role.INITIATOR else _T.ACCEPT)
        if role is Role.INITIATOR:
            if self.config.reset_on_logon:
                self._reset_numbers()
            self._heartbeat = self.config.heartbeat_interval
            self._send_logon(reset=self.config.reset_on_logon)

    def feed_eof(self, now: Timestamp, *, cause: NetError | None = None) -> list[Event]:
        """Note that the connection is over without our having closed it.

        Args:
            now: The time.
            cause: What broke it, None if the counterparty closed it in order.

        Raises:
            StoreError: If the store cannot be written.
        """
        self._enter(now)
        if self._state is SessionState.LOGOUT_SENT:
            # We wanted to leave anyway; that it did not answer is no fault.
            self._events.append(LoggedOut(""))
            self._end(None)
        elif self._state in _CONNECTED:
            words = "the connection ended without a Logout"
            fault = SessionFault(words if cause is None else f"{words}: {cause}")
            fault.__cause__ = cause
            self._end(fault)
        return self._leave()

    def tick(self, now: Timestamp) -> list[Event]:
        """Do what is due: heartbeats, tests, time-outs.

        Raises:
            StoreError: If the store cannot be written.
        """
        self._enter(now)
        # What ends the session stands first: of two deadlines at the same moment, a
        # heartbeat to somebody who is gone would be the wrong one to act on.
        while due := [act for when, act in self._deadlines() if when <= now]:
            due[0]()
        return self._leave()

    def to_send(self, limit: int = _DEFAULT_CHUNK) -> bytes:
        """Return what is to be sent next, at least a message if any waits.

        Args:
            limit: No further message is added once so many bytes are there.

        Raises:
            StoreError: If the store cannot be read or written.
        """
        return self._out.take(limit)

    def send(
        self,
        kind: str,
        body: Sequence[tuple[int, FieldValue]],
        *,
        now: Timestamp,
        header: Sequence[tuple[int, FieldValue]] = (),
    ) -> int:
        """Queue an application message; return its MsgSeqNum.

        Args:
            kind: MsgType, such as "D".
            body: The fields behind the header, in their order.
            now: SendingTime.
            header: Further header fields, such as PossResend (97).

        Raises:
            NotLoggedOn: If the session is not active; nothing is kept for later.
            EncodeError: If a field cannot be sent.
            StoreError: If it cannot be recorded.
        """
        self._check_active()
        return self._out.send(kind, body, now, header=header)

    def business_reject(
        self,
        message: Message,
        *,
        now: Timestamp,
        reason: int = 3,
        text: str | None = None,
        more: Sequence[tuple[int, FieldValue]] = (),
    ) -> int:
        """Refuse an application message for what it says (BusinessMessageReject).

        FIX 4.0 and 4.1 have no such message; a Reject goes out there.

        Args:
            message: What is refused.
            now: SendingTime.
            reason: BusinessRejectReason (380); 3 is "unsupported message type".
            text: Text (58); by default that the type is not supported.
            more: Further body fields, such as BusinessRejectRefID (379).

        Raises:
            NotLoggedOn: If the session is not active.
        """
        self._check_active()
        header = rejects.reverse_route(message, self.config.begin_string)
        if self.config.old:
            words = text or "Unsupported message type"
            body = rejects.plain_reject_body(message, words)
            return self._out.send("3", body, now, header=header, session=True)
        words = text or "Unsupported Message Type"
        body = rejects.business_reject_body(message, reason, words)
        body += as_pairs(more)
        body.sort(key=lambda pair: pair[0])
        return self._out.send("j", body, now, header=header)

    def test_request(self, test_id: str, *, now: Timestamp) -> None:
        """Ask the counterparty for a Heartbeat, such as to measure the round trip.

        Raises:
            NotLoggedOn: If the session is not active.
        """
        self._check_active()
        self._out.send("1", [(112, test_id)], now, session=True)

    def logout(self, text: str = "", *, now: Timestamp) -> None:
        """Say goodbye; `LoggedOut` follows when the counterparty did as well.

        Before the logon the session just ends; afterwards this does nothing.
        """
        self._now = now
        if self._state is SessionState.ACTIVE:
            self._say_goodbye(text)
        elif self._state in BEFORE_LOGON:
            self._end(None)

    def commit(self) -> None:
        """Note that everything delivered so far is processed.

        Every call that takes the time does so; call it before a planned end.

        Raises:
            StoreError: If the store cannot be written.
        """
        if self._store.next_expected != self._sequence.expected:
            self._store.expect(self._sequence.expected)
            self._store.flush()

    def clock_stepped(self, nanoseconds: int) -> None:
        """Note that the wall clock was set by `nanoseconds`, so that timers stay."""
        self._now += nanoseconds
        self._last_received += nanoseconds
        self._state_since += nanoseconds
        self._out.last_sent += nanoseconds
        self._sequence.shift(nanoseconds)
        if self._tested_at is not None:
            self._tested_at += nanoseconds

    def _last_processed(self) -> int:
        return self._sequence.expected - 1

    # -- bookkeeping -----------------------------------------------------------------

    def _new_parser(self) -> FixParser:
        return FixParser(
            max_message_size=self.config.max_message_size, resync=self.config.resync
        )

    def _enter(self, now: Timestamp) -> None:
        self._now = now
        self.commit()

    def _check_active(self) -> None:
        if self._state is not SessionState.ACTIVE:
            raise NotLoggedOn(
                f"{self.config.id} is {self._state.value}; nothing was sent or kept"
            )

    def _leave(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _move(self, trigger: Trigger) -> None:
        following = _TRANSITIONS.get((self._state, trigger))
        if following is None:
            raise NotLoggedOn(
                f"{self.config.id}: cannot {trigger.value} while {self._state.value}"
            )
        self._state = following
        self._state_since = self._now

    def _end(self, fault: SessionFault | None) -> None:
        self._move(_T.END)
        if fault is not None:
            self._events.append(SessionError(fault))

    def _reset_numbers(self) -> None:
        self._store.reset()
        self._sequence.reset(self._store.next_expected)

    # -- time ------------------------------------------------------------------------

    def _deadlines(self) -> list[tuple[Timestamp, Callable[[], None]]]:
        """What is due when, in the order of what to do first."""
        config, since = self.config, self._state_since
        match self._state:
            case SessionState.LOGON_SENT | SessionState.AWAITING_LOGON:
                return [(since + to_ns(config.logon_timeout), self._logon_late)]
            case SessionState.LOGOUT_SENT:
                return [(since + to_ns(config.logout_timeout), self._logout_late)]
            case SessionState.ACTIVE:
                return self._active_deadlines()
            case _:
                return []

    def _active_deadlines(self) -> list[tuple[Timestamp, Callable[[], None]]]:
        deadlines: list[tuple[Timestamp, Callable[[], None]]] = []
        if self._heartbeat:
            interval = to_ns(self._heartbeat)
            if self._tested_at is not None:
                deadlines.append((self._tested_at + interval, self._silent))
            else:
                patience = to_ns(self._heartbeat * self.config.test_request_factor)
                deadlines.append((self._last_received + patience, self._test))
            deadlines.append((self._out.last_sent + interval, self._beat))
        asked_at = self._sequence.asked_at
        if asked_at is not None:
            wait = to_ns(self.config.resend_timeout)
            deadlines.append((asked_at + wait, self._ask_again))
        return deadlines

    def _logon_late(self) -> None:
        self._end(LogonTimeout(f"no Logon within {self.config.logon_timeout} s"))

    def _logout_late(self) -> None:
        seconds = self.config.logout_timeout
        self._end(LogoutTimeout(f"our Logout was not answered within {seconds} s"))

    def _silent(self) -> None:
        self._end(
            HeartbeatTimeout(
                f"nothing came in answer to a TestRequest for {self._heartbeat} s"
            )
        )

    def _test(self) -> None:
        self._tested_at = self._now
        self._out.send("1", [(112, _TEST_REQUEST_ID)], self._now, session=True)

    def _beat(self) -> None:
        self._out.send("0", [], self._now, session=True)

    def _ask_again(self) -> None:
        """A resend has come to a halt: ask again, and give up the third time."""
        if self._sequence.tries >= 3:
            text = f"no answer to ResendRequest for {self._sequence.expected}"
            self._say_goodbye(text, SessionFault(text))
        else:
            self._ask()

    # -- speaking --------------------------------------------------------------------

    def _send_logon(self, *, reset: bool) -> None:
        config = self.config
        number = self._store.next_outgoing
        body: list[tuple[int, FieldValue]] = [(98, b"0"), (108, self._heartbeat)]
        if reset and config.begin_string != "FIX.4.0":
            body.append((141, b"Y"))
        if config.next_expected:
            body.append((789, self._sequence.expected))
        if config.default_appl_ver_id:
            body.append((1137, config.default_appl_ver_id))
        if self._logon_fields is not None:
            context = LogonContext(
                sender_comp_id=config.sender_comp_id,
                target_comp_id=config.target_comp_id,
                number=number,
                sending_time=self._out.timestamp(self._now),
            )
            body += self._logon_fields(context)
        self._out.send("A", body, self._now, session=True)

    def _ask(self, *, quiet: bool = False) -> None:
        first = self._sequence.ask(self._now)
        if not quiet:
            # Up to "all there is": 0, which FIX 4.0 and 4.1 wrote as 999999.
            last = b"999999" if self.config.old else b"0"
            self._out.send("2", [(7, first), (16, last)], self._now, session=True)

    def _refuse(self, message: Message, number: int, fault: Fault) -> None:
        """Send a Reject; the number of what was refused counts as processed."""
        if number == self._sequence.expected:
            self._sequence.advance(self._now)
        body = rejects.reject_body(message, fault, self.config.begin_string)
        header = rejects.reverse_route(message, self.config.begin_string)
        self._out.send("3", body, self._now, header=header, session=True)
        self._events.append(Refused(message, fault))

    def _say_goodbye(self, text: str, fault: SessionFault | None = None) -> None:
        """Send a Logout and wait for the answer."""
        if self._state is not SessionState.ACTIVE:
            return
        self._send_logout(text)
        self._move(_T.LOGOUT)
        if fault is not None:
            self._events.append(SessionError(fault))

    def _goodbye_now(self, text: str, fault: SessionFault) -> None:
        """Send a Logout, if none was sent, and wait for nothing more."""
        if self._state is not SessionState.LOGOUT_SENT:
            self._send_logout(text)
        self._end(fault)

    def _send_logout(self, text: str) -> None:
        body: list[tuple[int, FieldValue]] = [(58, text)] if text else []
        self._out.send("5", body, self._now, session=True)
