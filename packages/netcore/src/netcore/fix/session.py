"""A FIX session: the rules of logon, numbers, heartbeats and resending, without I/O.

What may live here: decisions about messages and time. Bytes come in by `feed` and go
out by `to_send`; `tick` is called when `next_deadline` has come. The same machine is
initiator and acceptor.

**States.** The table `_TRANSITIONS` is all there is; anything else is a bug and
raises::

    LOGGED_OUT ─initiate─▶ LOGON_SENT ────────┐
        │                                     ├─logon─▶ ACTIVE ─logout─▶ LOGOUT_SENT
        └──────accept────▶ AWAITING_LOGON ────┘            │                 │
                                  │                        └──────end───┬────┘
                                  └───────────────end───────────────────▶ CLOSED

From CLOSED a new connection begins like from LOGGED_OUT, with the numbers where they
were.

**Numbers** (n received, e expected; FIX 4.4 Vol. 2, "Message Recovery"):

=====  ==================================================================
n = e  process it, then what was held back behind it
n > e  hold it back and ask for e onwards, once per gap
n < e  PossDupFlag: ignore it (122 must be there and not after 52);
       else Logout "MsgSeqNum too low…" and close
=====  ==================================================================

Outside of these rules stand SequenceReset in reset mode (its number means nothing), a
Logon with ResetSeqNumFlag, Logout (whoever wants to leave is let go) and
ResendRequest: it is served at once whatever its number, since two sides that wait for
each other's messages before they resend wait for ever, and serving it twice harms
nobody.

**Delivery.** A number counts as processed once the user comes back with the next call
after having got the message, and is written to the store then. So a program that
crashes while it handles a message gets it again, as a `ResentMessage`, and none is
lost.

**Faults** of the counterparty never raise. They end the session and come as the last
event; what was decided before them is in the events before it. The garbled are
skipped (`netcore.fix.codec`), except before the logon, when the connection ends.

Time is the wall clock in nanoseconds, since SendingTime is checked against it; when
the clock is set, the driver calls `clock_stepped`.
"""

import enum
from collections.abc import Callable, Sequence
from typing import final

from netcore.clock import to_ns
from netcore.errors import NetError
from netcore.fix import rejects
from netcore.fix.codec import FixParser, GarbledReason
from netcore.fix.config import LogonContext, Role, SessionConfig, SessionState
from netcore.fix.dictionary import Dictionary, Fault, RejectReason
from netcore.fix.errors import (
    HeartbeatTimeout,
    LogonRefused,
    LogonTimeout,
    LogoutTimeout,
    NotLoggedOn,
    SequenceTooLow,
    SessionFault,
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
    FieldValue,
    Message,
    ResentMessage,
    as_pairs,
    parse_timestamp,
)
from netcore.fix.outgoing import Outgoing
from netcore.fix.sequence import Sequencer
from netcore.fix.store import MemoryStore, Store
from netcore.models import Timestamp

__all__ = ["FixSession"]

_DEFAULT_CHUNK = 65536


class _Trigger(enum.Enum):
    INITIATE = "initiate"
    ACCEPT = "accept"
    LOGON = "logon"
    LOGOUT = "logout"
    END = "end"


_S, _T = SessionState, _Trigger
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
_BEFORE_LOGON = frozenset({_S.LOGON_SENT, _S.AWAITING_LOGON})
_LOGGED_ON = frozenset({_S.ACTIVE, _S.LOGOUT_SENT})
_CONNECTED = _BEFORE_LOGON | _LOGGED_ON

# QuickFIX and its relatives send this text; any would do, and an answer with another
# one (or any message at all) shows as well that the counterparty is alive.
_TEST_REQUEST_ID = b"TEST"


@final
class FixSession:
    """One side of a FIX session; see the module for its rules.

    Args:
        config: The agreement with the counterparty.
        store: Where numbers and messages are kept; by default in memory.
        dictionary: What messages are checked against. Without one, only the
            header fields that the session itself needs are checked.
        logon_fields: What to add to our Logon, such as 553, 554 or a signature.
        authenticate: Looks at the counterparty's Logon (as an acceptor) and returns
            the words to refuse it with, or None.
        may_resend: Whether an application message of ours may be sent again when it
            is asked for; those that may not are gap-filled.
    """

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
        self._sequence = Sequencer(self._store.next_expected, config.max_held)
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

    def feed(self, data: bytes, now: Timestamp) -> list[Event]:
        """Take bytes from the counterparty; return what they mean.

        Raises:
            NotLoggedOn: If there is no connection (`connect` was not called).
            StoreError: If the store cannot be written.
        """
        if self._state is SessionState.LOGGED_OUT:
            raise NotLoggedOn(f"{self.config.id}: connect() comes before feed()")
        self._enter(now)
        if self.closed:
            return self._leave()
        messages = self._parser.feed(data)
        garbled = self._parser.take_garbled()
        self._events += garbled
        if self._state in _BEFORE_LOGON and any(
            item.after == 0 and item.reason is not GarbledReason.NOISE
            for item in garbled
        ):
            self._end(LogonRefused("the first message is garbled"))
        for message in messages:
            if self.closed:
                break
            self._last_received = now
            self._tested_at = None
            self._receive(message)
        return self._leave()

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
        elif self._state in _BEFORE_LOGON:
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

    def _move(self, trigger: _Trigger) -> None:
        following = _TRANSITIONS.get((self._state, trigger))
        if following is None:
            raise NotLoggedOn(
                f"{self.config.id}: cannot {trigger.value} while {self._state.value}"
            )
        self._state = following
        self._state_since = self._now

    def _end(self, fault: SessionFault | None) -> None:
        if self._state is not SessionState.CLOSED:
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

    # -- logging on ------------------------------------------------------------------

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

    def _first(self, message: Message) -> None:
        """The first message of a connection: a Logon, or the end."""
        number = self._number(message)
        kind = message.get(35)
        if kind == b"5" and self._state is SessionState.LOGON_SENT:
            text = rejects.text_of(message)
            self._end(LogonRefused(f"the Logon was answered with a Logout: {text!r}"))
            return
        if kind != b"A" or message.get(8) != self.config.begin_string.encode():
            self._end(LogonRefused("the first message is no Logon of this version"))
        elif number is None or self._identity_fault(message) is not None:
            self._end(LogonRefused("a Logon from or for somebody else, or of old"))
        elif (fault := self._content_fault(message)) is not None:
            text = f"the Logon is invalid: {fault.reason.text} ({fault.tag})"
            self._end(LogonRefused(text))
        else:
            self._logon(message, number)

    def _logon(self, message: Message, number: int) -> None:
        accepting = self.config.role is Role.ACCEPTOR
        reset = message.flag(141)
        if accepting and (reset or self.config.reset_on_logon):
            self._reset_numbers()
        refusal = self._logon_refusal(message, number, reset=reset)
        if refusal is not None:
            self._goodbye_now(refusal, LogonRefused(refusal))
            return
        interval = int(message[108])
        expected = self._sequence.expected
        if number < expected:
            fault = SequenceTooLow(expected, number)
            self._goodbye_now(str(fault), fault)
            return
        if accepting:
            self._heartbeat = interval
            if number == expected:
                self._sequence.advance(self._now)
            self._send_logon(reset=reset)
        elif number == expected:
            self._sequence.advance(self._now)
        self._move(_T.LOGON)
        self._events.append(LoggedOn(message, interval))
        if self.config.next_expected and 789 in message:
            self._resend_unasked(message)
        if number > expected:
            self._sequence.hold(number, None)
            self._gap(number, quiet=self.config.next_expected and 789 in message)

    def _logon_refusal(
        self, message: Message, number: int, *, reset: bool
    ) -> str | None:
        """Return the words to refuse a Logon with."""
        interval = message.get(108, b"")
        if not interval.lstrip(b"-").isdigit():
            return "HeartBtInt is missing or no number"
        if int(interval) < 0:
            return "HeartBtInt must not be negative"
        if message.get(98, b"0") != b"0":
            return "EncryptMethod must be 0 (none)"
        if reset and number != 1:
            return f"ResetSeqNumFlag goes with MsgSeqNum 1, but received {number}"
        if self.config.role is Role.ACCEPTOR:
            return self._authenticate(message) if self._authenticate else None
        if int(interval) != self._heartbeat:
            return (
                f"HeartBtInt must be the {self._heartbeat} that was asked for, but "
                f"received {int(interval)}"
            )
        if reset and not self.config.reset_on_logon:
            if self._store.next_outgoing != 2:
                return "ResetSeqNumFlag was not asked for"
            self._sequence.reset(1)
        return None

    def _resend_unasked(self, message: Message) -> None:
        """NextExpectedMsgSeqNum: what the counterparty lacks goes out at once."""
        first = int(message[789]) if message[789].isdigit() else 0
        last = self._store.next_outgoing - 1
        # Our own Logon is on its way: an acceptor's was sent with this answer, and an
        # initiator's is what the counterparty has just answered.
        last -= self.config.role is Role.ACCEPTOR
        if first > last + 1 or first < 1:
            text = f"NextExpectedMsgSeqNum must be 1 to {last + 1}, but was {first}"
            self._goodbye_now(text, SessionFault(text))
        elif first <= last:
            self._out.resend(first, last, self._now)

    # -- receiving -------------------------------------------------------------------

    def _receive(self, message: Message) -> None:
        if self._state in _BEFORE_LOGON:
            self._first(message)
            return
        if message.get(8) != self.config.begin_string.encode():
            self._say_goodbye(
                "Incorrect BeginString", SessionFault("Incorrect BeginString")
            )
            return
        number = self._number(message)
        if number is None:
            text = "Received message without MsgSeqNum"
            self._goodbye_now(text, SessionFault(text))
            return
        fault = self._identity_fault(message)
        if fault is not None:
            self._refuse(message, number, fault)
            self._say_goodbye("", SessionFault(fault.reason.text))
            return
        self._dispatch(message, number)

    def _dispatch(self, message: Message, number: int) -> None:
        kind = message.get(35)
        if kind == b"5":
            self._on_logout(message, number)
        elif kind == b"4" and not message.flag(123):
            self._on_sequence_reset(message, number)
        elif kind == b"A" and message.flag(141):
            self._on_reset_logon(message, number)
        elif kind == b"2" and number != self._sequence.expected:
            self._on_early_resend_request(message, number)
        elif number > self._sequence.expected:
            self._hold(message, number)
        elif number < self._sequence.expected:
            self._too_low(message, number)
        else:
            self._process(message, number)
            self._drain()

    def _process(self, message: Message, number: int) -> None:
        """Handle the message that was due."""
        fault = self._content_fault(message)
        if fault is not None:
            self._refuse(message, number, fault)
            return
        self._sequence.advance(self._now)
        match message.get(35):
            case b"0":
                pass
            case b"1":
                self._out.send("0", [(112, message[112])], self._now, session=True)
            case b"2":
                self._serve(message, number)
            case b"3":
                self._events.append(_rejected(message))
            case b"4":
                self._on_gap_fill(message, number)
            case b"A":
                # Its number is used up already; only the fault is left to tell.
                self._refuse(message, number, Fault(RejectReason.OTHER))
            case _:
                if message.flag(43):
                    message = ResentMessage(message.fields, message.raw)
                self._events.append(message)

    def _drain(self) -> None:
        """Handle what was held back, as far as it has become due."""
        while self._state in _LOGGED_ON:
            number = self._sequence.expected
            if not self._sequence.holds(number):
                break
            message = self._sequence.release(number)
            if message is None:
                self._sequence.advance(self._now)
            else:
                self._process(message, number)
        missing = self._sequence.missing()
        if missing is not None and self._state is SessionState.ACTIVE:
            self._gap(missing)

    # -- numbers ---------------------------------------------------------------------

    def _number(self, message: Message) -> int | None:
        text = message.get(34, b"")
        return int(text) if text.isdigit() and len(text) <= 18 else None

    def _hold(self, message: Message, number: int) -> None:
        self._sequence.hold(number, message)
        if self._sequence.asks(number, resent=message.flag(43)):
            self._gap(number)

    def _gap(self, number: int, *, quiet: bool = False) -> None:
        """Ask for what is missing before `number`; quiet if it comes unasked."""
        self._events.append(GapDetected(self._sequence.expected, number))
        self._ask(quiet=quiet)

    def _ask(self, *, quiet: bool = False) -> None:
        first = self._sequence.ask(self._now)
        if not quiet:
            # Up to "all there is": 0, which FIX 4.0 and 4.1 wrote as 999999.
            last = b"999999" if self.config.old else b"0"
            self._out.send("2", [(7, first), (16, last)], self._now, session=True)

    def _too_low(self, message: Message, number: int) -> None:
        if not message.flag(43):
            fault = SequenceTooLow(self._sequence.expected, number)
            self._goodbye_now(str(fault), fault)
            return
        refused = rejects.duplicate_fault(message)
        if refused is not None:
            self._refuse(message, number, refused)
            if refused.reason is RejectReason.SENDING_TIME_ACCURACY:
                self._say_goodbye("", SessionFault(refused.reason.text))

    # -- faults ----------------------------------------------------------------------

    def _identity_fault(self, message: Message) -> Fault | None:
        """Check who sends to whom and when; what is missing is found later."""
        config = self.config
        sender, target = message.get(49), message.get(56)
        if (sender and sender != config.target_comp_id.encode()) or (
            target and target != config.sender_comp_id.encode()
        ):
            return Fault(RejectReason.COMP_ID_PROBLEM)
        if config.max_latency is None:
            return None
        try:
            sent = parse_timestamp(message.get(52, b""))
        except ValueError:
            return None
        if abs(self._now - sent) > to_ns(config.max_latency):
            return Fault(RejectReason.SENDING_TIME_ACCURACY)
        return None

    def _content_fault(self, message: Message) -> Fault | None:
        if self._dictionary is not None:
            return self._dictionary.validate(message)
        return rejects.minimal_fault(message)

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

    # -- session messages ------------------------------------------------------------

    def _on_logout(self, message: Message, number: int) -> None:
        if number == self._sequence.expected:
            self._sequence.advance(self._now)
        if self._state is SessionState.ACTIVE:
            self._send_logout("")
        self._events.append(LoggedOut(rejects.text_of(message)))
        self._end(None)

    def _on_early_resend_request(self, message: Message, number: int) -> None:
        if number < self._sequence.expected and message.flag(43):
            return
        fault = self._content_fault(message)
        if fault is not None:
            self._refuse(message, number, fault)
            return
        self._serve(message, number)
        if number > self._sequence.expected and self._state is SessionState.ACTIVE:
            self._sequence.hold(number, None)
            if self._sequence.asks(number, resent=message.flag(43)):
                self._gap(number)

    def _serve(self, message: Message, number: int) -> None:
        """Queue what a ResendRequest asks for."""
        wanted = rejects.resend_range(message, self._store.next_outgoing - 1)
        if isinstance(wanted, Fault):
            self._refuse(message, number, wanted)
        elif self._out.resends_waiting >= self.config.max_resends:
            text = "Too many ResendRequests at once"
            self._say_goodbye(text, SessionFault(text))
        else:
            self._out.resend(*wanted, self._now)

    def _on_gap_fill(self, message: Message, number: int) -> None:
        following = rejects.new_sequence_number(message)
        if following is None or following <= number:
            self._refuse(message, number, Fault(RejectReason.VALUE_OUT_OF_RANGE))
        else:
            self._sequence.jump(following, self._now)

    def _on_sequence_reset(self, message: Message, number: int) -> None:
        """Reset mode: the number it has means nothing, the one it names all."""
        fault = self._content_fault(message)
        following = rejects.new_sequence_number(message)
        expected = self._sequence.expected
        if fault is None and (following is None or following < expected):
            fault = Fault(RejectReason.VALUE_OUT_OF_RANGE)
        if fault is not None or following is None:
            self._refuse(message, number, fault or Fault(RejectReason.OTHER))
            return
        if following > expected:
            self._events.append(SequenceReset(expected, following))
            self._sequence.jump(following, self._now)
            self._drain()

    def _on_reset_logon(self, message: Message, number: int) -> None:
        """A Logon with 141=Y inside a session: both sides begin again at 1."""
        refusal = None
        fault = self._content_fault(message)
        if fault is not None:
            refusal = f"the Logon is invalid: {fault.reason.text} ({fault.tag})"
        elif number != 1:
            refusal = f"ResetSeqNumFlag goes with MsgSeqNum 1, but received {number}"
        elif not message.get(108, b"").isdigit():
            refusal = "HeartBtInt is missing or no number"
        if refusal is not None:
            self._goodbye_now(refusal, SessionFault(refusal))
            return
        expected = self._sequence.expected
        self._reset_numbers()
        self._out.clear()
        self._sequence.advance(self._now)
        self._heartbeat = int(message[108])
        self._send_logon(reset=True)
        self._events.append(SequenceReset(expected, 2))


def _rejected(message: Message) -> Rejected:
    def number(tag: int) -> int | None:
        text = message.get(tag, b"")
        return int(text) if text.isdigit() else None

    return Rejected(
        message, number(45) or 0, number(371), number(373), rejects.text_of(message)
    )
