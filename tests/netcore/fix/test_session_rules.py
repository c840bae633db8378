"""The session-level test cases of the FIX specification, as one table.

"FIX Session-level Test Cases and Expected Behaviors" (FIX 4.4 Volume 2) numbers what
a session has to do; every case stands here under its number, with what is said to the
session and what it has to say. The rules' fine points are in the modules beside this
one; that all cases are here is what this one is for.
"""

import msgspec
import pytest

from netcore.fix import (
    FixSession,
    Garbled,
    LogonRefused,
    Message,
    NotLoggedOn,
    Role,
    SequenceTooLow,
    SessionFault,
    SessionState,
)
from netcore.fix.testing import Counterparty, make_session

S = SessionState
ORDER = "11=ID|21=3|38=100|40=1|54=1|55=INTC|60=20240808-12:00:00"
EARLIER, LATER = "122=20240808-11:59:00", "122=20240808-12:01:00"


class Case(msgspec.Struct, kw_only=True):
    """What is said to a session that is logged on (2 and 2 are due), and what follows.

    Attributes:
        say: Messages, or seconds to let pass; `!` leads those to be `damaged`.
        hear: What the session says.
        state: Where it ends.
        got: Numbers of the application messages it delivers.
        due: The number that is due behind it.
        options: Of each message: what is left out, another BeginString or time.
    """

    say: list[str | float]
    hear: list[str] = []
    state: SessionState = S.ACTIVE
    got: list[int] = []
    due: int = 3
    options: dict[str, object] = {}


def refused(reason: int, words: str, kind: str, tag: int | None = None) -> str:
    where = "" if tag is None else f"|371={tag}"
    return f"35=3|34=2|45=2|58={words}{where}|372={kind}|373={reason}"


LOGOUT = "35=5|34=3"
TOO_LOW = "35=5|34=2|58=MsgSeqNum too low, expecting 2 but received 1"
TIME = "SendingTime accuracy problem"

CASES = {
    "2a the number that is due": Case(say=[f"35=D|34=2|{ORDER}"], got=[2]),
    "2b a number too high is held back and the gap asked for": Case(
        say=[f"35=D|34=3|{ORDER}"], hear=["35=2|34=2|7=2|16=0"], due=2
    ),
    "2c a number too low ends the session": Case(
        say=[f"35=D|34=1|{ORDER}"], hear=[TOO_LOW], state=S.CLOSED, due=2
    ),
    "2d a garbled message is as if it had never come": Case(
        say=[f"!no sum|35=D|34=2|{ORDER}", f"35=D|34=2|{ORDER}"], got=[2]
    ),
    "2e a duplicate of before is ignored": Case(
        say=[f"35=D|34=1|43=Y|{EARLIER}|{ORDER}"], due=2
    ),
    "2e a duplicate that is due is processed": Case(
        say=[f"35=D|34=2|43=Y|{EARLIER}|{ORDER}"], got=[2]
    ),
    "2f a duplicate made after it was sent is refused, and the session ends": Case(
        say=[f"35=D|34=1|43=Y|{LATER}|{ORDER}"],
        hear=[
            f"35=3|34=2|45=1|58={TIME}|372=D|373=10",
            LOGOUT,
        ],
        state=S.LOGOUT_SENT,
        due=2,
    ),
    "2g a duplicate without its first time is refused": Case(
        say=[f"35=D|34=1|43=Y|{ORDER}"],
        hear=["35=3|34=2|45=1|58=Required tag missing|371=122|372=D|373=1"],
        due=2,
    ),
    "2h 2j 2l 2n 2p what is right in every field": Case(
        say=["35=1|34=2|112=x"], hear=["35=0|34=2|112=x"]
    ),
    "2i another BeginString ends the session": Case(
        say=["35=0|34=2"],
        hear=["35=5|34=2|58=Incorrect BeginString"],
        state=S.LOGOUT_SENT,
        due=2,
        options={"begin_string": "FIX.4.3"},
    ),
    "2k another CompID is refused and ends the session": Case(
        say=["35=0|34=2|49=WT"],
        hear=[refused(9, "CompID problem", "0"), LOGOUT],
        state=S.LOGOUT_SENT,
    ),
    "2m a wrong BodyLength is as if it had never come": Case(
        say=["!no length|35=0|34=2", "35=0|34=2"]
    ),
    "2o a SendingTime far off is refused and ends the session": Case(
        say=["35=0|34=2"],
        hear=[refused(10, TIME, "0"), LOGOUT],
        state=S.LOGOUT_SENT,
        options={"seconds": -121},
    ),
    "2q a MsgType that is none is refused": Case(
        say=["35=*|34=2"], hear=[refused(11, "Invalid MsgType", "*")]
    ),
    "2r a MsgType that is not supported is the application's to refuse": Case(
        say=["35=B|34=2|148=news|33=1|58=x"], got=[2]
    ),
    "2s the first three fields in order": Case(say=["35=0|34=2"]),
    "2t the first three fields out of order are garbled": Case(
        say=["!order|35=0|34=2", "35=0|34=2"]
    ),
    "3a a right CheckSum": Case(say=["35=0|34=2"]),
    "3b a wrong CheckSum is as if it had never come": Case(
        say=["!no sum|35=0|34=2", "35=0|34=2"]
    ),
    "3c 3d a CheckSum of other than three digits is garbled": Case(
        say=["!short sum|35=0|34=2", "35=0|34=2"]
    ),
    "3e 3f a CheckSum that is not last is garbled": Case(
        say=["!sum first|35=0|34=2", "35=0|34=2"]
    ),
    "4a nothing said for the interval": Case(say=[30.0], hear=["35=0|34=2"], due=2),
    "4b a TestRequest is answered with its words": Case(
        say=["35=1|34=2|112=hello"], hear=["35=0|34=2|112=hello"]
    ),
    "5 a Heartbeat": Case(say=["35=0|34=2", "35=0|34=3|112=asked"], due=4),
    "6 nothing heard for the interval and some": Case(
        say=[36.0], hear=["35=0|34=2", "35=1|34=3|112=TEST"], due=2
    ),
    "7 a Reject of ours": Case(say=["35=3|34=2|45=1|58=no"]),
    "8a a ResendRequest of what were session messages": Case(
        say=["35=2|34=2|7=1|16=0"],
        hear=["35=4|34=1|43=Y|36=2|123=Y"],
    ),
    "8b a ResendRequest of what was never sent is refused": Case(
        say=["35=2|34=2|7=9|16=0"],
        hear=[refused(5, "Value is incorrect (out of range) for this tag", "2", 7)],
    ),
    "10a a gap fill in its place": Case(say=["35=4|34=2|43=Y|123=Y|36=20"], due=20),
    "10b a gap fill beyond a gap waits": Case(
        say=["35=4|34=5|123=Y|36=20"], hear=["35=2|34=2|7=2|16=0"], due=2
    ),
    "10c a gap fill of before, sent again, is ignored": Case(
        say=[f"35=4|34=1|43=Y|{EARLIER}|123=Y|36=20"], due=2
    ),
    "10d a gap fill of before ends the session": Case(
        say=["35=4|34=1|123=Y|36=20"], hear=[TOO_LOW], state=S.CLOSED, due=2
    ),
    "10e a gap fill that goes back is refused": Case(
        say=["35=4|34=2|123=Y|36=2"],
        hear=[refused(5, "Value is incorrect (out of range) for this tag", "4")],
    ),
    "11a a reset forwards, whatever its own number": Case(
        say=["35=4|34=99|36=20"], due=20
    ),
    "11b a reset to what is due changes nothing": Case(say=["35=4|34=2|36=2"], due=2),
    "11c a reset backwards is refused": Case(
        say=["35=4|34=9|36=1"],
        hear=[
            "35=3|34=2|45=9|58=Value is incorrect (out of range) for this tag"
            "|372=4|373=5"
        ],
        due=2,
    ),
    "13b a Logout is answered": Case(
        say=["35=5|34=2|58=bye"], hear=["35=5|34=2"], state=S.CLOSED
    ),
    "14a a tag that no version has": Case(
        say=[f"35=D|34=2|{ORDER}|999=x"],
        hear=[refused(0, "Invalid tag number", "D", 999)],
    ),
    "14b a required field is missing": Case(
        say=["35=1|34=2"], hear=[refused(1, "Required tag missing", "1", 112)]
    ),
    "14c a tag of other messages": Case(
        say=["35=0|34=2|36=5"],
        hear=[refused(2, "Tag not defined for this message type", "0", 36)],
    ),
    "14d a tag without a value": Case(
        say=["35=1|34=2|112="],
        hear=[refused(4, "Tag specified without a value", "1", 112)],
    ),
    "14e a value that is none of the enumerated": Case(
        say=[f"35=D|34=2|{ORDER.replace('54=1', '54=%')}"],
        hear=[refused(5, "Value is incorrect (out of range) for this tag", "D", 54)],
    ),
    "14f a value of another form": Case(
        say=[f"35=D|34=2|{ORDER.replace('38=100', '38=+1')}"],
        hear=[refused(6, "Incorrect data format for value", "D", 38)],
    ),
    "14g a header field in the body": Case(
        say=[f"35=D|34=2|{ORDER}|50=x"],
        hear=[
            refused(14, "Tag specified out of required order", "D", 50).replace(
                "|45=2", "|57=x|45=2", 1
            )
        ],
    ),
    "14h a tag twice": Case(
        say=[f"35=D|34=2|{ORDER}|40=1"],
        hear=[refused(13, "Tag appears more than once", "D", 40)],
    ),
    "14i another number of members than said": Case(
        say=[f"35=D|34=2|{ORDER}|386=2|336=x"],
        hear=[refused(16, "Incorrect NumInGroup count for repeating group", "D", 386)],
    ),
    "14j members out of order": Case(
        say=[f"35=D|34=2|{ORDER}|386=1|625=y|336=x"],
        hear=[refused(15, "Out of order repeating group members", "D", 625)],
    ),
    "14k a delimiter in a value is another field, here one without a tag": Case(
        say=["!delimiter|35=D|34=2|58=x", f"35=D|34=2|{ORDER}"], got=[2]
    ),
    "15 header and body fields in another order": Case(
        say=[f"35=D|34=2|97=Y|{'|'.join(reversed(ORDER.split('|')))}"], got=[2]
    ),
    "19a a PossResend is delivered and says so": Case(
        say=[f"35=D|34=2|97=Y|{ORDER}"], got=[2]
    ),
    "20 a ResendRequest beyond a gap is served before the gap is asked for": Case(
        say=["35=2|34=5|7=1|16=0"],
        hear=["35=4|34=1|43=Y|36=2|123=Y", "35=2|34=2|7=2|16=0"],
        due=2,
    ),
}


def damaged(how: str, wire: bytes) -> bytes:
    """Return `wire` with the fault that `how` names."""
    head, length, rest = wire.split(b"\x01", 2)
    match how:
        case "no sum":
            return wire[:-4] + b"%03d\x01" % ((int(wire[-4:-1]) + 1) % 256)
        case "short sum":
            return wire[:-4] + b"7\x01"
        case "sum first":
            return wire[:-7] + b"10=000\x0158=x\x01"
        case "no length":
            return b"\x01".join([head, b"9=%d" % (int(length[2:]) - 9), rest])
        case "order":
            kind, rest = rest.split(b"\x01", 1)
            return b"\x01".join([head, kind, length, rest])
        case "delimiter":
            body = wire[wire.index(b"35=") : -7].replace(b"58=x", b"58=x\x01y")
            begin = b"8=FIX.4.4\x019=%d\x01%b" % (len(body), body)
            return begin + b"10=%03d\x01" % (sum(begin) % 256)
    raise AssertionError(how)


def play(peer: Counterparty, step: str | float, options: dict[str, object]) -> None:
    if isinstance(step, float):
        peer.advance(step)
    elif step.startswith("!"):
        how, text = step[1:].split("|", 1)
        peer.say_bytes(damaged(how, peer.compose(text)))
        # Nothing may become of it; what is said next shows that it was skipped.
        assert peer.hear() == []
    else:
        peer.say(step, **options)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_session_in_force_does_what_the_case_says(case):
    peer = Counterparty(make_session(Role.ACCEPTOR))
    assert peer.logon() == ["35=A|34=1|98=0|108=30"]
    for step in case.say:
        play(peer, step, case.options)

    session = peer.session
    assert peer.hear() == case.hear
    assert session.state is case.state
    assert [message.sequence for message in peer.applications] == case.got
    assert session.next_expected == case.due
    skipped = any(isinstance(event, Garbled) for event in peer.events)
    assert skipped is any(str(step).startswith("!") for step in case.say)


# -- logging on, and the other side of a case ------------------------------------------


def initiator() -> Counterparty:
    peer = Counterparty(make_session(Role.INITIATOR))
    peer.connect()
    assert peer.hear() == ["35=A|34=1|98=0|108=30"]
    return peer


LOGON = "35=A|34=1|98=0|108=30"
BEGINNINGS = {
    "1B a b our Logon is answered": (initiator, LOGON, [], S.ACTIVE),
    "1B b the answer's number is too high": (
        initiator, "35=A|34=5|98=0|108=30", ["35=2|34=2|7=1|16=0"], S.ACTIVE,
    ),
    "1B c the answer is no valid Logon": (
        initiator, "35=A|34=1|108=30", [], S.CLOSED,
    ),
    "1B d the answer is no Logon": (initiator, "35=0|34=1", [], S.CLOSED),
    "1S a a Logon is answered": (None, LOGON, [LOGON], S.ACTIVE),
    "1S b a Logon with a number too high is answered, then asked about": (
        None, "35=A|34=5|98=0|108=30", [LOGON, "35=2|34=2|7=1|16=0"], S.ACTIVE,
    ),
    "1S c a Logon that is not valid": (None, "35=A|34=1|108=30", [], S.CLOSED),
    "1S d no Logon": (None, "35=0|34=1", [], S.CLOSED),
    "17 a Logon that asks for encryption": (
        None, "35=A|34=1|98=1|108=30",
        ["35=5|34=1|58=EncryptMethod must be 0 (none)"], S.CLOSED,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("begin", "said", "heard", "state"), BEGINNINGS.values(), ids=BEGINNINGS
)
def test_a_session_begins_as_the_case_says(begin, said, heard, state):
    if begin is None:
        peer = Counterparty(make_session(Role.ACCEPTOR))
        peer.connect()
    else:
        peer = begin()
    peer.say(said)

    assert peer.hear() == heard
    assert peer.session.state is state
    assert [type(error) for error in peer.errors] == [LogonRefused] * (
        state is S.CLOSED
    )


def logged_on() -> Counterparty:
    peer = Counterparty(make_session(Role.ACCEPTOR))
    peer.logon()
    return peer


def test_6_a_test_request_that_nobody_answers_ends_the_session():
    peer = logged_on()
    peer.advance(36 + 30)

    assert peer.session.state is S.CLOSED
    assert len(peer.errors) == 1


def test_8_application_messages_are_sent_again_between_gap_fills():
    peer = logged_on()
    for order in ("a", "b"):
        peer.session.send("D", [(11, order)], now=peer.now)
    peer.hear()
    peer.say("35=2|34=2|7=1|16=0")

    assert peer.hear() == [
        "35=4|34=1|43=Y|36=2|123=Y",
        "35=D|34=2|43=Y|11=a",
        "35=D|34=3|43=Y|11=b",
    ]


def test_12_13a_our_logout_waits_for_theirs():
    peer = logged_on()
    peer.session.logout("done", now=peer.now)
    assert peer.hear() == ["35=5|34=2|58=done"]
    assert peer.session.state is S.LOGOUT_SENT

    peer.say("35=5|34=2")
    assert peer.session.state is S.CLOSED
    assert peer.hear() == []
    assert peer.errors == []


def test_14l_the_application_refuses_by_a_business_reject():
    peer = logged_on()
    peer.say("35=B|34=2|148=news|33=1|58=x")
    peer.session.business_reject(peer.applications[0], now=peer.now)

    assert peer.hear() == ["35=j|34=2|45=2|58=Unsupported Message Type|372=B|380=3"]


def test_16_nothing_is_queued_while_there_is_no_connection():
    session = make_session(Role.INITIATOR)
    with pytest.raises(NotLoggedOn):
        session.send("D", [(11, "a")], now=0)

    assert session.store.next_outgoing == 1


def test_18_an_answer_goes_back_the_way_the_message_came():
    peer = logged_on()
    peer.say("35=B|34=2|50=desk|57=us|115=client|128=venue|148=n|33=1|58=x")
    peer.session.business_reject(peer.applications[0], now=peer.now)
    (answer,) = peer.hear_messages()

    routes = {tag: answer.get(tag) for tag in (50, 57, 115, 128)}
    assert routes == {50: b"us", 57: b"desk", 115: b"venue", 128: b"client"}


def test_20_two_sides_that_ask_at_the_same_time_are_both_served():
    sides = [make_session(Role.INITIATOR), make_session(Role.ACCEPTOR)]
    now = Counterparty(sides[0]).now
    for session in sides:
        session.connect(now)
    got: list[list[Message]] = [[], []]
    pump(sides, got, now)
    # Each loses what the other sends, and notices by the next message at once.
    for session in sides:
        session.send("B", [(148, "lost"), (33, 1), (58, "x")], now=now)
        session.to_send()
        session.send("B", [(148, "seen"), (33, 1), (58, "x")], now=now)
    pump(sides, got, now)

    assert [[m[148] for m in side] for side in got] == [[b"lost", b"seen"]] * 2
    assert {session.state for session in sides} == {S.ACTIVE}


def pump(sides: list[FixSession], got: list[list[Message]], now: int) -> None:
    """Carry bytes both ways until there are none."""
    while True:
        data = [session.to_send() for session in sides]
        if not any(data):
            return
        for receiver, piece in ((1, data[0]), (0, data[1])):
            events = sides[receiver].feed(piece, now)
            got[receiver] += [event for event in events if isinstance(event, Message)]


def test_2c_too_low_says_both_numbers():
    peer = logged_on()
    peer.say("35=0|34=1")
    (error,) = peer.errors

    assert isinstance(error, SequenceTooLow)
    assert isinstance(error, SessionFault)
    assert "expecting 2 but received 1" in str(error)
