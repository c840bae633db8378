"""The rules of a session, one by one, against a scripted counterparty."""

import pytest

from netcore.fix import (
    FixSession,
    GapDetected,
    Garbled,
    GarbledReason,
    HeartbeatTimeout,
    LoggedOn,
    LoggedOut,
    LogonRefused,
    LogonTimeout,
    LogoutTimeout,
    MemoryStore,
    Message,
    NotLoggedOn,
    Refused,
    Rejected,
    RejectReason,
    ResentMessage,
    Role,
    SequenceReset,
    SequenceTooLow,
    SessionConfig,
    SessionError,
    SessionState,
    dictionary,
)
from netcore.fix.testing import Counterparty

VERSIONS = ["FIX.4.0", "FIX.4.1", "FIX.4.2", "FIX.4.3", "FIX.4.4", "FIXT.1.1"]
ORDER = "11=ID|21=3|38=100|40=1|54=1|55=INTC|60=20240808-12:00:00"


def acceptor(begin_string="FIX.4.4", store=None, *, checked=True, **changes):
    version = "7" if begin_string == "FIXT.1.1" else ""
    config = SessionConfig(
        begin_string=begin_string,
        sender_comp_id="ISLD",
        target_comp_id="TW",
        role=Role.ACCEPTOR,
        default_appl_ver_id=version,
        **changes,
    )
    known = dictionary(begin_string, version, user_defined=False) if checked else None
    return FixSession(config, store, dictionary=known)


def initiator(store=None, **changes):
    config = SessionConfig(
        begin_string="FIX.4.4", sender_comp_id="TW", target_comp_id="ISLD", **changes
    )
    return FixSession(config, store)


def active(begin_string="FIX.4.4", **changes):
    """Return a counterparty that is logged on to an acceptor, expecting 2 and 2."""
    peer = Counterparty(acceptor(begin_string, **changes))
    version = ["1137=7"] if begin_string == "FIXT.1.1" else []
    peer.logon(*version)
    assert peer.session.state is SessionState.ACTIVE
    return peer


def errors(peer):
    return [event.error for event in peer.events if isinstance(event, SessionError)]


def applications(peer):
    return [event for event in peer.events if isinstance(event, Message)]


class TestLogon:
    @pytest.mark.parametrize("begin_string", VERSIONS[:-1])
    def test_an_acceptor_answers_with_the_same_interval(self, begin_string):
        peer = Counterparty(acceptor(begin_string))

        assert peer.logon() == ["35=A|34=1|98=0|108=30"]
        assert peer.events == [LoggedOn(peer.events[0].logon, 30)]
        assert peer.session.next_expected == 2

    def test_fixt_names_its_application_version(self):
        peer = Counterparty(acceptor("FIXT.1.1"))

        assert peer.logon("1137=7") == ["35=A|34=1|98=0|108=30|1137=7"]

    def test_fixt_without_application_version_is_shown_out(self):
        peer = Counterparty(acceptor("FIXT.1.1"))

        assert peer.logon() == []
        assert isinstance(errors(peer)[0], LogonRefused)
        assert peer.session.closed

    def test_an_initiator_speaks_first(self):
        peer = Counterparty(initiator())
        peer.connect()

        assert peer.hear() == ["35=A|34=1|98=0|108=30"]
        assert peer.session.state is SessionState.LOGON_SENT

        peer.say("35=A|34=1|98=0|108=30")

        assert peer.session.state is SessionState.ACTIVE
        assert isinstance(peer.events[0], LoggedOn)

    def test_a_reset_is_asked_for_and_begins_at_one(self):
        store = MemoryStore()
        store.record(1, None)
        store.expect(5)
        peer = Counterparty(initiator(store, reset_on_logon=True))
        peer.connect()

        assert peer.hear() == ["35=A|34=1|98=0|108=30|141=Y"]
        peer.say("35=A|34=1|98=0|108=30|141=Y")
        assert peer.session.state is SessionState.ACTIVE
        assert peer.session.next_expected == 2

    def test_a_reset_nobody_asked_for_is_refused(self):
        store = MemoryStore()
        store.record(1, None)
        peer = Counterparty(initiator(store))
        peer.connect()
        peer.hear()

        peer.say("35=A|34=1|98=0|108=30|141=Y")

        assert peer.hear() == ["35=5|34=3|58=ResetSeqNumFlag was not asked for"]
        assert isinstance(errors(peer)[0], LogonRefused)

    def test_a_reset_at_the_very_beginning_changes_nothing(self):
        peer = Counterparty(initiator())
        peer.connect()
        peer.say("35=A|34=1|98=0|108=30|141=Y")

        assert peer.session.state is SessionState.ACTIVE
        assert peer.session.next_expected == 2

    def test_an_acceptor_resets_when_asked_and_says_so(self):
        store = MemoryStore()
        store.record(4, b"old")
        store.expect(9)
        peer = Counterparty(acceptor(store=store))

        assert peer.logon("141=Y") == ["35=A|34=1|98=0|108=30|141=Y"]
        assert list(store.messages(1, 9)) == []

    def test_an_acceptor_that_resets_at_logon_keeps_silent_about_it(self):
        store = MemoryStore()
        store.record(4, None)
        store.expect(9)
        peer = Counterparty(acceptor(store=store, reset_on_logon=True))

        assert peer.logon() == ["35=A|34=1|98=0|108=30"]
        assert peer.session.next_expected == 2

    def test_another_interval_than_asked_for_is_refused(self):
        peer = Counterparty(initiator(heartbeat_interval=30))
        peer.connect()
        peer.hear()

        peer.say("35=A|34=1|98=0|108=20")

        assert peer.hear()[0].startswith("35=5|34=2|58=HeartBtInt must be the 30")
        assert peer.session.closed

    def test_a_negative_interval_is_refused_with_words(self):
        peer = Counterparty(acceptor())

        assert peer.logon(heartbeat=-10) == [
            "35=5|34=1|58=HeartBtInt must not be negative"
        ]
        assert peer.session.closed

    def test_encryption_is_refused(self):
        peer = Counterparty(acceptor())
        peer.connect()
        peer.say("35=A|34=1|98=1|108=30")

        assert peer.hear() == ["35=5|34=1|58=EncryptMethod must be 0 (none)"]

    def test_a_logon_that_does_not_authenticate_is_refused_with_the_given_words(self):
        config = acceptor().config
        session = FixSession(
            config,
            authenticate=lambda logon: None if logon.get(554) == b"s" else "who?",
        )
        peer = Counterparty(session)

        assert peer.logon("554=x") == ["35=5|34=1|58=who?"]
        assert peer.session.closed

        peer.session.store.reset()
        assert peer.logon("554=s", number=2)[0].startswith("35=A")

    def test_the_logon_carries_what_the_user_adds_signed_over_what_is_sent(self):
        config = initiator().config
        session = FixSession(
            config,
            logon_fields=lambda c: [
                (95, 3),
                (96, b"%d\x01%b" % (c.number, c.sending_time[-1:])),
                (553, c.sender_comp_id),
            ],
        )
        peer = Counterparty(session)
        peer.connect()

        (logon,) = peer.hear_messages()
        assert logon.body == [
            (98, b"0"), (108, b"30"), (95, b"3"), (96, b"1\x010"), (553, b"TW")
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("text", "changes"),
        [
            ("35=0|34=1", {}),
            ("35=A|34=1|49=WT|98=0|108=30", {}),
            ("35=A|34=1|56=DLSI|98=0|108=30", {}),
            ("35=A|34=1|98=0|108=30", {"begin_string": "FIX.4.2"}),
            ("35=A|34=1|98=0|108=30", {"seconds": -121}),
            ("35=A|34=1|98=0|108=30", {"seconds": 121}),
            ("35=A|34=1|98=0|108=30", {"omit": {52}}),
            ("35=A|34=x|98=0|108=30", {}),
            ("35=A|34=1|98=0", {}),
        ],
    )
    def test_a_wrong_first_message_ends_the_connection_without_a_word(
        self, text, changes
    ):
        peer = Counterparty(acceptor())
        peer.connect()
        peer.say(text, **changes)

        assert peer.hear() == []
        assert isinstance(errors(peer)[0], LogonRefused)
        assert peer.session.closed

    def test_a_garbled_first_message_ends_the_connection(self):
        peer = Counterparty(acceptor())
        peer.connect()
        logon = peer.compose("35=A|34=1|98=0|108=30")

        peer.say_bytes(logon.replace(b"108=30", b"108=31"))

        assert peer.session.closed
        assert isinstance(errors(peer)[0], LogonRefused)

    def test_noise_before_the_logon_is_tolerated(self):
        peer = Counterparty(acceptor())
        peer.connect()
        peer.say_bytes(b"\r\n")
        peer.say("35=A|34=1|98=0|108=30")

        assert peer.session.state is SessionState.ACTIVE

    def test_a_number_too_high_is_accepted_first_and_then_asked_about(self):
        peer = Counterparty(acceptor())

        assert peer.logon(number=5) == [
            "35=A|34=1|98=0|108=30",
            "35=2|34=2|7=1|16=0",
        ]
        assert peer.events[1:] == [GapDetected(1, 5)]

        peer.say("35=4|34=1|43=Y|122=20240808-12:00:00|36=5|123=Y")

        assert peer.session.next_expected == 6

    def test_before_fix_4_2_all_there_is_was_written_as_999999(self):
        peer = Counterparty(acceptor("FIX.4.1"))

        assert peer.logon(number=5)[1] == "35=2|34=2|7=1|16=999999"

    def test_a_number_too_low_is_refused(self):
        store = MemoryStore()
        store.expect(8)
        peer = Counterparty(acceptor(store=store))

        assert peer.logon(number=7) == [
            "35=5|34=1|58=MsgSeqNum too low, expecting 8 but received 7"
        ]
        assert errors(peer)[0].expected == 8
        assert peer.session.closed

    def test_a_logout_for_an_answer_tells_its_words(self):
        peer = Counterparty(initiator())
        peer.connect()
        peer.say("35=5|34=1|58=bad password")

        assert "bad password" in str(errors(peer)[0])
        assert peer.session.closed

    def test_nobody_waits_for_a_logon_for_ever(self):
        for session in (acceptor(), initiator()):
            peer = Counterparty(session)
            peer.connect()
            peer.advance(9.999)
            assert not peer.session.closed
            peer.advance(0.001)
            assert isinstance(errors(peer)[0], LogonTimeout)

    def test_a_second_logon_is_refused_and_changes_nothing(self):
        peer = active()
        peer.say("35=A|34=2|98=0|108=10")

        assert peer.hear() == ["35=3|34=2|45=2|58=Other|372=A|373=99"]
        assert peer.session.next_expected == 3
        assert peer.session.state is SessionState.ACTIVE

    def test_a_reset_within_the_session_begins_both_sides_at_one(self):
        peer = active()
        for number in range(2, 6):
            peer.say(f"35=0|34={number}")
        peer.hear()

        peer.say("35=A|34=1|98=0|108=30|141=Y")

        assert peer.hear() == ["35=A|34=1|98=0|108=30|141=Y"]
        assert peer.events[-1] == SequenceReset(6, 2)
        peer.say("35=1|34=2|112=x")
        assert peer.hear() == ["35=0|34=2|112=x"]

    @pytest.mark.parametrize(
        "text", ["34=7|98=0|108=30", "34=1|98=0", "34=1|98=0|108=x"]
    )
    def test_a_wrong_reset_within_the_session_ends_it(self, text):
        peer = active(checked=False)
        peer.say(f"35=A|{text}|141=Y")

        assert peer.hear()[0].startswith("35=5|34=2|58=")
        assert peer.session.closed


class TestNextExpected:
    def test_both_sides_resend_unasked(self):
        ours, theirs = MemoryStore(), MemoryStore()
        theirs.expect(3)
        peer = Counterparty(initiator(ours, next_expected=True))
        peer.connect()
        peer.say("35=A|34=1|98=0|108=30|789=2")
        for text in "ab":
            peer.session.send("D", [(11, text)], now=peer.now)
        peer.hear()
        peer.hang_up()

        peer.connect()
        assert peer.hear() == ["35=A|34=4|98=0|108=30|789=2"]
        peer.say("35=A|34=2|98=0|108=30|789=3")

        assert peer.hear() == ["35=D|34=3|43=Y|11=b", "35=4|34=4|43=Y|36=5|123=Y"]

    def test_nothing_is_asked_for_that_comes_unasked(self):
        peer = Counterparty(acceptor(next_expected=True))

        assert peer.logon("789=1", number=3) == ["35=A|34=1|98=0|108=30|789=1"]
        peer.say("35=4|34=1|43=Y|122=20240808-12:00:00|36=3|123=Y")
        assert peer.session.next_expected == 4

    def test_a_number_that_was_never_sent_ends_the_session(self):
        peer = Counterparty(acceptor(next_expected=True))
        peer.connect()
        peer.say("35=A|34=1|98=0|108=30|789=7")

        assert peer.hear()[-1] == (
            "35=5|34=2|58=NextExpectedMsgSeqNum must be 1 to 1, but was 7"
        )
        assert peer.session.closed


class TestNumbers:
    @pytest.mark.parametrize("begin_string", VERSIONS)
    def test_messages_in_order_are_delivered_in_order(self, begin_string):
        peer = active(begin_string)
        # NewOrderSingle has TransactTime (60) from FIX 4.2 on.
        old = begin_string in {"FIX.4.0", "FIX.4.1"}
        order = ORDER.rpartition("|60")[0] if old else ORDER
        peer.say(f"35=D|34=2|{order}")
        peer.say(f"35=D|34=3|{order}")

        assert [message.sequence for message in applications(peer)] == [2, 3]
        assert peer.hear() == []

    def test_what_lies_beyond_a_gap_waits_for_it(self):
        peer = active()
        peer.say(f"35=D|34=4|{ORDER}")

        assert peer.hear() == ["35=2|34=2|7=2|16=0"]
        assert applications(peer) == []

        peer.say(f"35=D|34=2|43=Y|122=20240808-12:00:00|{ORDER}")
        assert [m.sequence for m in applications(peer)] == [2]
        peer.say(f"35=D|34=3|43=Y|122=20240808-12:00:00|{ORDER}")
        assert [m.sequence for m in applications(peer)] == [2, 3, 4]
        assert [type(m) for m in applications(peer)] == [
            ResentMessage, ResentMessage, Message
        ]  # fmt: skip

    def test_one_gap_is_asked_about_once(self):
        peer = active()
        for number in (10, 11, 20):
            peer.say(f"35=0|34={number}")

        assert peer.hear() == ["35=2|34=2|7=2|16=0"]
        assert peer.events[1:] == [GapDetected(2, 10)]

    def test_a_new_gap_is_asked_about_anew(self):
        peer = active()
        peer.say("35=0|34=4")
        peer.say("35=0|34=2")
        peer.say("35=0|34=3")
        peer.hear()
        peer.say("35=0|34=7")

        assert peer.hear() == ["35=2|34=3|7=5|16=0"]

    def test_a_hole_in_the_answer_is_asked_about_again(self):
        peer = active()
        peer.say("35=0|34=9")
        peer.hear()
        late = "43=Y|122=20240808-12:00:00"
        peer.say(f"35=D|34=2|{late}|{ORDER}")
        peer.say(f"35=D|34=4|{late}|{ORDER}")
        peer.say(f"35=D|34=5|{late}|{ORDER}")

        assert peer.hear() == ["35=2|34=3|7=3|16=0"]

    def test_a_resend_that_comes_to_a_halt_is_asked_for_again_and_then_given_up(self):
        peer = active(resend_timeout=10.0)
        peer.say("35=0|34=9")
        peer.hear()

        peer.advance(10)
        assert peer.hear() == ["35=2|34=3|7=2|16=0"]
        peer.advance(10)
        assert peer.hear() == ["35=2|34=4|7=2|16=0"]
        peer.advance(9.9)
        assert peer.hear() == []
        peer.advance(0.1)
        assert peer.hear() == ["35=5|34=5|58=no answer to ResendRequest for 2"]

    def test_progress_gives_a_resend_its_time(self):
        peer = active(resend_timeout=10.0)
        peer.say("35=0|34=9")
        peer.hear()
        for number in range(2, 6):
            peer.advance(9)
            peer.say(f"35=0|34={number}|43=Y|122=20240808-12:00:00")

        assert [text for text in peer.hear() if "35=2" in text] == []

    def test_messages_beyond_the_limit_are_asked_for_again(self):
        peer = active(max_held=2)
        for number in (5, 6, 7, 8):
            peer.say(f"35=0|34={number}")
        peer.hear()
        for number in (2, 3, 4):
            peer.say(f"35=0|34={number}")

        assert peer.session.next_expected == 7
        peer.advance(10)
        assert "35=2|34=3|7=7|16=0" in peer.hear()

    def test_too_low_ends_the_session_at_once(self):
        peer = active()
        for number in (2, 3, 4):
            peer.say(f"35=0|34={number}")
        peer.say("35=0|34=2")

        assert peer.hear() == [
            "35=5|34=2|58=MsgSeqNum too low, expecting 5 but received 2"
        ]
        assert isinstance(errors(peer)[0], SequenceTooLow)
        assert peer.session.closed

    def test_a_duplicate_is_ignored(self):
        peer = active()
        peer.say(f"35=D|34=2|{ORDER}")
        peer.say(f"35=D|34=2|43=Y|122=20240808-11:59:00|{ORDER}")

        assert len(applications(peer)) == 1
        assert peer.hear() == []
        assert peer.session.next_expected == 3

    def test_a_duplicate_that_was_never_seen_is_processed(self):
        peer = active()
        peer.say(f"35=D|34=2|43=Y|122=20240808-11:59:00|{ORDER}")

        assert [type(m) for m in applications(peer)] == [ResentMessage]

    def test_a_duplicate_without_its_time_is_rejected_and_the_session_goes_on(self):
        peer = active()
        peer.say("35=0|34=2")
        peer.say("35=0|34=2|43=Y")

        assert peer.hear() == [
            "35=3|34=2|45=2|58=Required tag missing|371=122|372=0|373=1"
        ]
        assert peer.session.next_expected == 3

    def test_a_duplicate_sent_before_it_was_made_ends_the_session(self):
        peer = active()
        peer.say("35=0|34=2")
        peer.say("35=0|34=2|43=Y|122=20240808-12:00:10")

        assert peer.hear() == [
            "35=3|34=2|45=2|58=SendingTime accuracy problem|372=0|373=10",
            "35=5|34=3",
        ]
        assert peer.session.state is SessionState.LOGOUT_SENT

    def test_a_message_without_number_ends_the_session(self):
        peer = active(checked=False)
        for text in ("35=0", "35=0|34=x"):
            peer = active(checked=False)
            peer.say(text)
            assert peer.hear() == ["35=5|34=2|58=Received message without MsgSeqNum"]
            assert peer.session.closed

    def test_rejected_messages_use_up_their_number(self):
        peer = active()
        peer.say("35=3|34=2|45=1")

        assert peer.session.next_expected == 3
        assert isinstance(peer.events[-1], Rejected)
        assert peer.events[-1].number == 1


class TestSequenceReset:
    def test_a_gap_fill_in_its_place_moves_on(self):
        peer = active()
        peer.say("35=4|34=2|36=20|123=Y")
        peer.say("35=1|34=20|112=HELLO")

        assert peer.hear() == ["35=0|34=2|112=HELLO"]

    def test_a_gap_fill_beyond_a_gap_waits_like_any_message(self):
        peer = active()
        peer.say("35=4|34=10|36=20|123=Y")
        peer.say("35=1|34=20|112=HELLO")

        assert peer.hear() == ["35=2|34=2|7=2|16=0"]
        assert peer.session.next_expected == 2

    def test_a_gap_fill_of_the_past_is_a_duplicate_or_an_end(self):
        peer = active()
        peer.say("35=4|34=1|43=Y|122=20240808-11:59:59|36=20|123=Y")
        assert peer.session.next_expected == 2

        peer.say("35=4|34=1|36=20|123=Y")
        assert peer.hear() == [
            "35=5|34=2|58=MsgSeqNum too low, expecting 2 but received 1"
        ]

    def test_a_gap_fill_backwards_is_rejected(self):
        peer = active()
        peer.say("35=4|34=2|36=2|123=Y")

        assert peer.hear()[0].startswith("35=3|34=2|45=2|58=Value is incorrect")
        assert peer.session.next_expected == 3

    @pytest.mark.parametrize("flag", ["", "|123=N"])
    def test_reset_mode_looks_at_no_number(self, flag):
        peer = active()
        peer.say(f"35=4|34=0|36=25{flag}")
        peer.say("35=1|34=25|112=HELLO")

        assert peer.hear() == ["35=0|34=2|112=HELLO"]
        assert SequenceReset(2, 25) in peer.events

    def test_reset_mode_to_what_is_due_changes_nothing(self):
        peer = active()
        peer.say("35=4|34=0|36=2")

        assert peer.hear() == []
        assert peer.session.next_expected == 2

    @pytest.mark.parametrize(
        ("begin_string", "tail"), [("FIX.4.4", "|372=4|373=5"), ("FIX.4.0", "")]
    )
    def test_reset_mode_backwards_is_rejected_without_using_a_number(
        self, begin_string, tail
    ):
        peer = active(begin_string)
        peer.say("35=4|34=0|36=1")

        assert peer.hear() == [
            "35=3|34=2|45=0|58=Value is incorrect (out of range) for this tag" + tail
        ]
        assert peer.session.next_expected == 2

    def test_reset_mode_releases_what_was_held_back(self):
        peer = active()
        peer.say(f"35=D|34=9|{ORDER}")
        peer.say("35=4|34=0|36=9")

        assert [m.sequence for m in applications(peer)] == [9]


class TestResend:
    @pytest.fixture
    def peer(self):
        """Sent so far: 1 Logon, 2-3 Heartbeats, 4-5 orders, 6 Heartbeat, 7 order."""
        peer = active()
        for number in (2, 3):
            peer.say(f"35=1|34={number}|112=x")
        for text in "ab":
            peer.session.send("D", [(11, text)], now=peer.now)
        peer.say("35=1|34=4|112=x")
        peer.session.send("D", [(11, "c")], now=peer.now)
        peer.hear()
        return peer

    def test_session_messages_become_one_gap_fill(self, peer):
        peer.say("35=2|34=5|7=1|16=3")

        assert peer.hear() == ["35=4|34=1|43=Y|36=4|123=Y"]

    @pytest.mark.parametrize("last", [0, 999999, 7, 12])
    def test_application_messages_come_again_between_gap_fills(self, peer, last):
        peer.say(f"35=2|34=5|7=2|16={last}")

        assert peer.hear() == [
            "35=4|34=2|43=Y|36=4|123=Y",
            "35=D|34=4|43=Y|11=a",
            "35=D|34=5|43=Y|11=b",
            "35=4|34=6|43=Y|36=7|123=Y",
            "35=D|34=7|43=Y|11=c",
        ]

    def test_new_numbers_go_on_where_they_were(self, peer):
        peer.say("35=2|34=5|7=1|16=0")
        peer.hear()
        peer.say("35=1|34=6|112=y")

        assert peer.hear() == ["35=0|34=8|112=y"]

    def test_a_resent_message_tells_its_first_time_and_its_time_now(self, peer):
        first = peer.now
        peer.advance(5)
        peer.say("35=2|34=5|7=4|16=4")

        (message,) = peer.hear_messages()
        assert message.timestamp(122) == first
        assert message.timestamp(52) == peer.now
        assert message.fields[:3] == [
            (8, b"FIX.4.4"), (9, message[9]), (35, b"D")
        ]  # fmt: skip
        assert [tag for tag, _ in message][3:-2] == [34, 43, 49, 52, 56, 122]

    def test_what_may_not_come_again_is_gap_filled(self):
        session = FixSession(
            acceptor().config, may_resend=lambda message: message[11] == b"b"
        )
        peer = Counterparty(session)
        peer.logon()
        for text in "abc":
            session.send("D", [(11, text)], now=peer.now)
        peer.hear()
        peer.say("35=2|34=2|7=2|16=0")

        assert peer.hear() == [
            "35=4|34=2|43=Y|36=3|123=Y",
            "35=D|34=3|43=Y|11=b",
            "35=4|34=4|43=Y|36=5|123=Y",
        ]

    @pytest.mark.parametrize(
        ("span", "tag"), [("7=9|16=0", 7), ("7=0|16=0", 7), ("7=5|16=4", 16)]
    )
    def test_a_range_that_cannot_be_is_rejected(self, peer, span, tag):
        peer.say(f"35=2|34=5|{span}")

        assert f"|371={tag}|372=2|373=5" in peer.hear()[0]

    def test_a_request_beyond_a_gap_is_served_before_the_gap_is_filled(self, peer):
        peer.say("35=0|34=8")
        assert peer.hear() == ["35=2|34=8|7=5|16=0"]

        peer.say("35=2|34=9|7=4|16=5")
        assert peer.hear() == ["35=D|34=4|43=Y|11=a", "35=D|34=5|43=Y|11=b"]

        for number in (5, 6, 7):
            peer.say(f"35=0|34={number}|43=Y|122=20240808-12:00:00")
        assert peer.session.next_expected == 10
        assert peer.hear() == []

    def test_a_request_with_a_number_used_before_is_served(self, peer):
        peer.say("35=2|34=4|7=4|16=4")

        assert peer.hear() == ["35=D|34=4|43=Y|11=a"]
        assert peer.session.next_expected == 5

    def test_a_request_that_is_itself_a_duplicate_is_ignored(self, peer):
        peer.say("35=2|34=4|43=Y|122=20240808-12:00:00|7=4|16=4")

        assert peer.hear() == []

    def test_endless_requests_end_the_session(self):
        peer = active(max_resends=3)
        for number in range(2, 7):
            peer.say(f"35=2|34={number}|7=1|16=0")

        assert peer.session.state is SessionState.LOGOUT_SENT
        assert "Too many ResendRequests at once" in peer.hear()[-1]

    def test_a_large_resend_is_handed_out_in_pieces(self):
        peer = active()
        for _ in range(1000):
            peer.session.send("D", [(58, "x" * 100)], now=peer.now)
        peer.hear()
        peer.say("35=2|34=2|7=2|16=0")

        piece = peer.session.to_send(1000)
        assert 1000 <= len(piece) < 1300
        assert peer.session.queued_bytes == 0
        assert peer.session.has_to_send


class TestHeartbeats:
    def test_silence_of_ours_is_filled_by_heartbeats(self):
        peer = Counterparty(acceptor())
        peer.logon(heartbeat=3)
        peer.advance(2.9)
        assert peer.hear() == []
        peer.advance(0.1)
        assert peer.hear() == ["35=0|34=2"]

    def test_whatever_is_sent_counts_as_a_heartbeat(self):
        peer = Counterparty(acceptor())
        peer.logon(heartbeat=3)
        peer.advance(2)
        peer.session.send("D", [(11, "a")], now=peer.now)
        peer.say("35=0|34=2")
        peer.hear()
        peer.advance(2.9)

        assert peer.hear() == []

    def test_silence_of_theirs_is_tested_and_then_the_end(self):
        peer = Counterparty(acceptor())
        peer.logon(heartbeat=10)
        peer.advance(12)
        assert peer.hear() == ["35=0|34=2", "35=1|34=3|112=TEST"]

        peer.advance(10)
        assert peer.hear() == []
        assert isinstance(errors(peer)[0], HeartbeatTimeout)
        assert peer.session.closed

    def test_any_message_proves_life(self):
        peer = Counterparty(acceptor())
        peer.logon(heartbeat=10)
        for number in range(2, 8):
            peer.advance(11.9)
            peer.say(f"35=0|34={number}")

        assert [text for text in peer.hear() if text.startswith("35=1")] == []

    def test_a_test_request_is_answered_with_its_words(self):
        peer = active()
        peer.say("35=1|34=2|112=HELLO")

        assert peer.hear() == ["35=0|34=2|112=HELLO"]

    def test_an_interval_of_zero_means_none(self):
        peer = Counterparty(acceptor())
        peer.logon(heartbeat=0)

        assert peer.session.next_deadline is None
        assert peer.advance(10_000) == []

    def test_a_clock_that_is_set_moves_no_timer(self):
        peer = Counterparty(acceptor())
        peer.logon(heartbeat=10)
        before = peer.session.next_deadline - peer.now
        hour = 3600 * 10**9
        peer.session.clock_stepped(-hour)
        peer.now -= hour

        assert peer.session.next_deadline - peer.now == before

    def test_our_own_test_is_sent_when_asked_for(self):
        peer = active()
        peer.session.test_request("now", now=peer.now)

        assert peer.hear() == ["35=1|34=2|112=now"]


class TestLogout:
    def test_a_logout_is_answered_and_ends_the_session(self):
        peer = active()
        peer.say("35=5|34=2|58=good night")

        assert peer.hear() == ["35=5|34=2"]
        assert peer.events[-1] == LoggedOut("good night")
        assert peer.session.closed
        assert peer.session.next_expected == 3

    @pytest.mark.parametrize("number", [1, 11])
    def test_whoever_wants_to_leave_is_let_go_whatever_the_number(self, number):
        peer = active()
        peer.say(f"35=5|34={number}")

        assert peer.hear() == ["35=5|34=2"]
        assert peer.session.next_expected == 2

    def test_ours_waits_for_theirs(self):
        peer = active()
        peer.session.logout("bye", now=peer.now)
        assert peer.hear() == ["35=5|34=2|58=bye"]
        assert peer.session.state is SessionState.LOGOUT_SENT

        peer.say(f"35=D|34=2|{ORDER}")
        peer.say("35=5|34=3")

        assert peer.hear() == []
        assert peer.session.closed
        assert len(applications(peer)) == 1
        assert peer.events[-1] == LoggedOut("")

    def test_ours_waits_only_so_long(self):
        peer = active(logout_timeout=2.0)
        peer.session.logout(now=peer.now)
        peer.advance(2)

        assert isinstance(errors(peer)[0], LogoutTimeout)
        assert peer.session.closed

    def test_hanging_up_answers_our_logout_as_well(self):
        peer = active()
        peer.session.logout(now=peer.now)
        peer.hang_up()

        assert peer.events[-1] == LoggedOut("")

    def test_before_the_logon_there_is_nobody_to_say_goodbye_to(self):
        peer = Counterparty(acceptor())
        peer.connect()
        peer.session.logout(now=peer.now)

        assert peer.session.closed
        assert peer.hear() == []

    def test_twice_is_once(self):
        peer = active()
        peer.session.logout(now=peer.now)
        peer.session.logout(now=peer.now)

        assert len(peer.hear()) == 1

    def test_an_end_without_logout_is_an_error(self):
        peer = active()
        peer.hang_up()

        assert "without a Logout" in str(errors(peer)[0])
        assert peer.session.closed
        assert peer.hang_up() == []


class TestFaults:
    def test_another_begin_string_says_goodbye(self):
        peer = active()
        peer.say("35=1|34=2|112=id", begin_string="FIX.4.1")

        assert peer.hear() == ["35=5|34=2|58=Incorrect BeginString"]
        assert peer.session.state is SessionState.LOGOUT_SENT
        peer.say("35=5|34=3")
        assert peer.session.closed

    @pytest.mark.parametrize("names", ["49=WT", "56=DLSI", "49=WT|56=DLSI"])
    def test_other_names_are_rejected_and_end_the_session(self, names):
        peer = active()
        peer.say(f"35=D|34=2|{names}|{ORDER}")

        assert peer.hear() == [
            "35=3|34=2|45=2|58=CompID problem|372=D|373=9",
            "35=5|34=3",
        ]
        assert applications(peer) == []

    @pytest.mark.parametrize("seconds", [-121, 121])
    def test_another_time_is_rejected_and_ends_the_session(self, seconds):
        peer = active()
        peer.say("35=0|34=2", seconds=seconds)

        assert peer.hear() == [
            "35=3|34=2|45=2|58=SendingTime accuracy problem|372=0|373=10",
            "35=5|34=3",
        ]

    def test_another_time_is_nobodys_business_if_it_is_not_checked(self):
        peer = active(max_latency=None)
        peer.say("35=0|34=2", seconds=10_000)

        assert peer.hear() == []

    def test_faults_while_leaving_cause_no_second_goodbye(self):
        peer = active()
        peer.say("35=0|34=2", seconds=500)
        peer.say("35=0|34=3", seconds=500)

        assert [text[:4] for text in peer.hear()] == ["35=3", "35=5", "35=3"]

    def test_garbled_messages_are_as_if_they_had_never_come(self):
        peer = active()
        good = peer.compose("35=0|34=2")
        peer.say_bytes(good.replace(b"34=2", b"34=3"))

        assert peer.events[-1] == Garbled(
            reason=GarbledReason.TRAILER, size=len(good), after=1
        )
        assert peer.session.next_expected == 2
        assert peer.hear() == []

    def test_a_missing_order_is_noticed_by_the_next_message(self):
        peer = active()
        order = peer.compose(f"35=D|34=2|{ORDER}")
        peer.say_bytes(order.replace(b"35=D", b"35=E"))
        peer.say("35=0|34=3")

        assert peer.hear() == ["35=2|34=2|7=2|16=0"]

    def test_a_body_length_too_long_swallows_no_more_than_it_claims(self):
        peer = active()
        one = peer.compose(f"35=D|34=2|{ORDER}")
        length = one[one.index(b"\x019=") + 3 : one.index(b"\x0135=")]
        long = one.replace(b"\x019=" + length, b"\x019=%d" % (int(length) + 15))
        peer.say_bytes(long)
        peer.say(f"35=D|34=3|{ORDER}")
        assert applications(peer) == []

        peer.say(f"35=D|34=2|{ORDER}")
        peer.say(f"35=D|34=3|{ORDER}")
        assert [m.sequence for m in applications(peer)] == [2, 3]
        assert peer.hear() == []

    def test_a_message_that_does_not_follow_the_dictionary_is_rejected(self):
        peer = active()
        peer.say("35=0|34=2|55=MSFT")

        assert peer.hear() == [
            "35=3|34=2|45=2|58=Tag not defined for this message type|371=55|372=0|373=2"
        ]
        refused = peer.events[-1]
        assert isinstance(refused, Refused)
        assert refused.fault.reason is RejectReason.TAG_NOT_DEFINED_FOR_MESSAGE
        assert peer.session.next_expected == 3

    def test_fix_4_0_and_4_1_name_the_tag_in_words(self):
        peer = active("FIX.4.1")
        peer.say("35=0|34=2|999=HI")

        assert peer.hear() == ["35=3|34=2|45=2|58=Invalid tag number (999)"]

    def test_fix_4_2_names_only_the_reasons_it_knows(self):
        peer = active("FIX.4.2")
        peer.say(f"35=D|34=2|{ORDER}|40=2")
        peer.say("35=*|34=3")

        assert peer.hear() == [
            "35=3|34=2|45=2|58=Tag appears more than once|371=40|372=D",
            "35=3|34=3|45=3|58=Invalid MsgType|372=*|373=11",
        ]

    def test_a_reject_goes_back_the_way_the_message_came(self):
        peer = active()
        routes = "115=JCD|116=CS|144=CHI|50=desk"
        peer.say(f"35=D|34=2|{routes}|{ORDER.replace('40=1', '40=w')}")

        assert peer.hear() == [
            "35=3|34=2|57=desk|128=JCD|129=CS|145=CHI|45=2"
            "|58=Value is incorrect (out of range) for this tag|371=40|372=D|373=5"
        ]

    def test_empty_routes_lead_nowhere(self):
        peer = active()
        peer.say(f"35=D|34=2|115=JCD|116=|{ORDER}")

        assert peer.hear() == [
            "35=3|34=2|128=JCD|45=2|58=Tag specified without a value"
            "|371=116|372=D|373=4"
        ]

    def test_a_message_held_back_is_checked_when_it_is_due(self):
        peer = active()
        peer.say("35=1|34=3|112=HELLO1")
        peer.say(f"35=D|34=2|43=Y|122=20240808-12:00:00|{ORDER}|126=20040415")
        peer.say("35=1|34=4|112=HELLO2")

        assert peer.hear() == [
            "35=2|34=2|7=2|16=0",
            "35=3|34=3|45=2|58=Incorrect data format for value|371=126|372=D|373=6",
            "35=0|34=4|112=HELLO1",
            "35=0|34=5|112=HELLO2",
        ]

    @pytest.mark.parametrize(
        ("text", "tag", "reason"),
        [
            ("35=1|34=2", 112, 1),
            ("35=2|34=2|7=1", 16, 1),
            ("35=2|34=2|7=x|16=0", 7, 6),
            ("35=4|34=2|123=Y", 36, 1),
            ("35=4|34=2|123=Y|36=x", 36, 6),
            ("35=0|34=2|52=yesterday", 52, 6),
            ("35=0|34=2|52=", 52, 4),
        ],
    )
    def test_without_a_dictionary_the_session_checks_what_it_needs(
        self, text, tag, reason
    ):
        peer = active(checked=False)
        peer.say(text)

        assert f"|371={tag}|" in peer.hear()[0]
        assert peer.events[-1].fault.reason == reason

    def test_nothing_is_said_or_heard_once_it_is_over(self):
        peer = active()
        peer.hang_up()
        peer.hear()

        assert peer.say("35=0|34=2") == []
        assert peer.hear() == []
        assert peer.session.next_deadline is None


class TestSending:
    def test_the_header_comes_by_ascending_tag(self):
        peer = active(header={50: "desk", 57: "book"})
        peer.session.send("D", [(11, "a")], now=peer.now, header=[(97, True)])

        (message,) = peer.hear_messages()
        assert [tag for tag, _ in message] == [
            8, 9, 35, 34, 49, 50, 52, 56, 57, 97, 11, 10
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("begin_string", "time"),
        [("FIX.4.1", b"20240808-12:00:00"), ("FIX.4.2", b"20240808-12:00:00.000")],
    )
    def test_times_are_as_exact_as_the_version_allows(self, begin_string, time):
        peer = active(begin_string)
        peer.session.send("D", [(11, "a")], now=peer.now)

        assert peer.hear_messages()[0][52] == time

    def test_nothing_is_sent_or_kept_unless_the_session_is_active(self):
        session = acceptor()
        peer = Counterparty(session)
        for _ in range(2):
            with pytest.raises(NotLoggedOn):
                session.send("D", [(11, "a")], now=peer.now)
            with pytest.raises(NotLoggedOn):
                session.test_request("x", now=peer.now)
            peer.connect()
            peer.session.logout(now=peer.now)

        assert session.store.next_outgoing == 1

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("D", [(11, "")]),
            ("D", [(34, "7")]),
            ("D", [(58, "a\x01b")]),
            ("D", [(44, 1.5)]),
            ("", [(11, "a")]),
            ("D\x01", [(11, "a")]),
        ],
    )
    def test_what_cannot_be_sent_uses_no_number(self, kind, body):
        peer = active()
        with pytest.raises(ValueError, match="field"):
            peer.session.send(kind, body, now=peer.now)

        assert peer.session.store.next_outgoing == 2
        assert peer.hear() == []

    def test_a_business_reject_names_the_message_and_the_reason(self):
        peer = active()
        peer.say("35=8|34=2|37=id|17=id|150=0|39=0|55=WLRI|54=1|151=100|14=0|6=0.0")
        peer.session.business_reject(peer.events[-1], now=peer.now, more=[(379, "id")])

        assert peer.hear() == [
            "35=j|34=2|45=2|58=Unsupported Message Type|372=8|379=id|380=3"
        ]

    def test_before_fix_4_2_a_business_reject_is_a_reject(self):
        peer = active("FIX.4.0")
        peer.say("35=8|34=2|37=1|17=1|20=0|39=0|55=A|54=1|14=0|6=0|38=1|32=1|31=1")
        peer.session.business_reject(peer.events[-1], now=peer.now)

        assert peer.hear() == ["35=3|34=2|45=2|58=Unsupported message type"]

    def test_what_was_not_taken_before_the_end_is_not_sent_on_the_next_connection(self):
        peer = active()
        peer.session.send("D", [(11, "a")], now=peer.now)
        peer.hang_up()
        peer.logon(number=2)

        assert [message[35] for message in peer.heard[1:]] == [b"A"]
        peer.say("35=2|34=3|7=2|16=2")
        assert peer.hear() == ["35=D|34=2|43=Y|11=a"]

    def test_connecting_twice_is_refused(self):
        peer = active()
        with pytest.raises(NotLoggedOn, match="cannot accept while active"):
            peer.session.connect(peer.now)

    def test_feeding_an_unconnected_session_is_refused(self):
        with pytest.raises(NotLoggedOn, match="connect"):
            acceptor().feed(b"", 0)


class TestDelivery:
    def test_a_message_counts_once_the_user_has_come_back(self):
        store = MemoryStore()
        peer = active(store=store)
        peer.say(f"35=D|34=2|{ORDER}")
        assert store.next_expected == 2

        peer.session.commit()
        assert store.next_expected == 3

    def test_a_message_whose_handling_crashed_comes_again_as_resent(self):
        store = MemoryStore()
        peer = active(store=store)
        peer.say(f"35=D|34=2|{ORDER}")
        crashed = Counterparty(acceptor(store=store))

        crashed.logon(number=3)
        crashed.say(f"35=D|34=2|43=Y|122=20240808-12:00:00|{ORDER}")

        assert [type(m) for m in applications(crashed)] == [ResentMessage]
