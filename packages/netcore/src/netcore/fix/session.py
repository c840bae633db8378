"""A FIX session: the rules of logon, numbers, heartbeats and resending, without I/O.

What may live here: decisions about messages and time. Bytes come in by `feed` and go
out by `to_send`; `tick` is called when `next_deadline` has come. The same machine is
initiator and acceptor.

**States.** The table in `netcore.fix.machine` is all there is; anything else is a bug
and raises::

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

from typing import final

from netcore.clock import to_ns
from netcore.fix import rejects
from netcore.fix.codec import GarbledReason
from netcore.fix.config import Role, SessionState
from netcore.fix.dictionary import Fault, RejectReason
from netcore.fix.errors import (
    LogonRefused,
    NotLoggedOn,
    SequenceTooLow,
    SessionFault,
)
from netcore.fix.events import (
    Event,
    GapDetected,
    LoggedOn,
    LoggedOut,
    Rejected,
    SequenceReset,
)
from netcore.fix.fields import Message, ResentMessage, parse_timestamp
from netcore.fix.machine import BEFORE_LOGON, LOGGED_ON, SessionMachine, Trigger
from netcore.models import Timestamp

__all__ = ["FixSession"]


@final
class FixSession(SessionMachine):
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
        if self._state in BEFORE_LOGON and any(
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

    # -- logging on ------------------------------------------------------------------

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
        interval = rejects.heartbeat_of(message) or 0
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
        self._move(Trigger.LOGON)
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
        interval = rejects.heartbeat_of(message)
        if interval is None:
            return "HeartBtInt is missing or no number"
        if interval < 0:
            return "HeartBtInt must not be negative"
        if message.get(98, b"0") != b"0":
            return "EncryptMethod must be 0 (none)"
        if reset and number != 1:
            return f"ResetSeqNumFlag goes with MsgSeqNum 1, but received {number}"
        if self.config.role is Role.ACCEPTOR:
            return self._authenticate(message) if self._authenticate else None
        if interval != self._heartbeat:
            return (
                f"HeartBtInt must be the {self._heartbeat} that was asked for, but "
                f"received {interval}"
            )
        if reset and not self.config.reset_on_logon:
            if self._store.next_outgoing != 2:
                return "ResetSeqNumFlag was not asked for"
            self._sequence.reset(1)
        return None

    def _resend_unasked(self, message: Message) -> None:
        """NextExpectedMsgSeqNum: what the counterparty lacks goes out at once."""
        first = _as_number(message, 789) or 0
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
        if self._state in BEFORE_LOGON:
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
        while self._state in LOGGED_ON:
            number = self._sequence.expected
            if not self._sequence.holds(number):
                break
            message = self._sequence.release(number)
            if message is None:
                self._sequence.advance(self._now)
            else:
                self._process(message, number)

    # -- numbers ---------------------------------------------------------------------

    def _number(self, message: Message) -> int | None:
        return _as_number(message, 34)

    def _hold(self, message: Message, number: int) -> None:
        self._sequence.hold(number, message)
        if self._sequence.asks(number, resent=message.flag(43)):
            self._gap(number)

    def _gap(self, number: int, *, quiet: bool = False) -> None:
        """Ask for what is missing before `number`; quiet if it comes unasked."""
        self._events.append(GapDetected(self._sequence.expected, number))
        self._ask(quiet=quiet)

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
        interval = rejects.heartbeat_of(message)
        fault = self._content_fault(message)
        if fault is not None:
            refusal = f"the Logon is invalid: {fault.reason.text} ({fault.tag})"
        elif number != 1:
            refusal = f"ResetSeqNumFlag goes with MsgSeqNum 1, but received {number}"
        elif interval is None or interval < 0:
            refusal = "HeartBtInt is missing or no number"
        if refusal is not None:
            self._goodbye_now(refusal, SessionFault(refusal))
            return
        expected = self._sequence.expected
        self._reset_numbers()
        self._out.clear()
        self._sequence.advance(self._now)
        self._heartbeat = interval or 0
        self._send_logon(reset=True)
        self._events.append(SequenceReset(expected, 2))


def _rejected(message: Message) -> Rejected:
    return Rejected(
        message,
        _as_number(message, 45) or 0,
        _as_number(message, 371),
        _as_number(message, 373),
        rejects.text_of(message),
    )


def _as_number(message: Message, tag: int) -> int | None:
    """Return a field that is a number of at most 18 digits, None if it is none."""
    text = message.get(tag, b"")
    return int(text) if text.isdigit() and len(text) <= 18 else None
