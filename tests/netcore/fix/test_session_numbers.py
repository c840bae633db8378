"""Numbers, gaps, resends and resets, against a scripted counterparty."""

import pytest

from netcore.fix import (
    FixSession,
    GapDetected,
    MemoryStore,
    Message,
    Rejected,
    ResentMessage,
    Role,
    SequenceReset,
    SequenceTooLow,
    SessionState,
)
from netcore.fix.testing import Counterparty, logged_on, make_session

VERSIONS = ["FIX.4.0", "FIX.4.1", "FIX.4.2", "FIX.4.3", "FIX.4.4", "FIXT.1.1"]
ORDER = "11=ID|21=3|38=100|40=1|54=1|55=INTC|60=20240808-12:00:00"


def acceptor(begin_string="FIX.4.4", store=None, *, checked=True, **changes):
    return make_session(Role.ACCEPTOR, begin_string, store, checked=checked, **changes)


class TestNumbers:
    @pytest.mark.parametrize("begin_string", VERSIONS)
    def test_messages_in_order_are_delivered_in_order(self, begin_string):
        peer = logged_on(begin_string)
        # NewOrderSingle has TransactTime (60) from FIX 4.2 on.
        old = begin_string in {"FIX.4.0", "FIX.4.1"}
        order = ORDER.rpartition("|60")[0] if old else ORDER
        peer.say(f"35=D|34=2|{order}")
        peer.say(f"35=D|34=3|{order}")

        assert [message.sequence for message in peer.applications] == [2, 3]
        assert peer.hear() == []

    def test_what_lies_beyond_a_gap_waits_for_it(self):
        peer = logged_on()
        peer.say(f"35=D|34=4|{ORDER}")

        assert peer.hear() == ["35=2|34=2|7=2|16=0"]
        assert peer.applications == []

        peer.say(f"35=D|34=2|43=Y|122=20240808-12:00:00|{ORDER}")
        assert [m.sequence for m in peer.applications] == [2]
        peer.say(f"35=D|34=3|43=Y|122=20240808-12:00:00|{ORDER}")
        assert [m.sequence for m in peer.applications] == [2, 3, 4]
        assert [type(m) for m in peer.applications] == [
            ResentMessage, ResentMessage, Message
        ]  # fmt: skip

    def test_one_gap_is_asked_about_once(self):
        peer = logged_on()
        for number in (10, 11, 20):
            peer.say(f"35=0|34={number}")

        assert peer.hear() == ["35=2|34=2|7=2|16=0"]
        assert peer.events[1:] == [GapDetected(2, 10)]

    def test_a_new_gap_is_asked_about_anew(self):
        peer = logged_on()
        peer.say("35=0|34=4")
        peer.say("35=0|34=2")
        peer.say("35=0|34=3")
        peer.hear()
        peer.say("35=0|34=7")

        assert peer.hear() == ["35=2|34=3|7=5|16=0"]

    def test_a_hole_in_the_answer_is_asked_about_again(self):
        peer = logged_on()
        peer.say("35=0|34=9")
        peer.hear()
        late = "43=Y|122=20240808-12:00:00"
        peer.say(f"35=D|34=2|{late}|{ORDER}")
        peer.say(f"35=D|34=4|{late}|{ORDER}")
        peer.say(f"35=D|34=5|{late}|{ORDER}")

        assert peer.hear() == ["35=2|34=3|7=3|16=0"]

    def test_a_resend_that_comes_to_a_halt_is_asked_for_again_and_then_given_up(self):
        peer = logged_on(resend_timeout=10.0)
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
        peer = logged_on(resend_timeout=10.0)
        peer.say("35=0|34=9")
        peer.hear()
        for number in range(2, 6):
            peer.advance(9)
            peer.say(f"35=0|34={number}|43=Y|122=20240808-12:00:00")

        assert [text for text in peer.hear() if "35=2" in text] == []

    @pytest.mark.parametrize("limit", [{"max_held": 2}, {"max_held_bytes": 150}])
    def test_messages_beyond_the_limit_are_asked_for_again(self, limit):
        # A Heartbeat has 71 bytes here.
        peer = logged_on(**limit)
        for number in (5, 6, 7, 8):
            peer.say(f"35=0|34={number}")
        peer.hear()
        for number in (2, 3, 4):
            peer.say(f"35=0|34={number}")

        assert peer.session.next_expected == 7
        peer.advance(10)
        assert "35=2|34=3|7=7|16=0" in peer.hear()

    def test_too_low_ends_the_session_at_once(self):
        peer = logged_on()
        for number in (2, 3, 4):
            peer.say(f"35=0|34={number}")
        peer.say("35=0|34=2")

        assert peer.hear() == [
            "35=5|34=2|58=MsgSeqNum too low, expecting 5 but received 2"
        ]
        assert isinstance(peer.errors[0], SequenceTooLow)
        assert peer.session.closed

    def test_a_duplicate_is_ignored(self):
        peer = logged_on()
        peer.say(f"35=D|34=2|{ORDER}")
        peer.say(f"35=D|34=2|43=Y|122=20240808-11:59:00|{ORDER}")

        assert len(peer.applications) == 1
        assert peer.hear() == []
        assert peer.session.next_expected == 3

    def test_a_duplicate_that_was_never_seen_is_processed(self):
        peer = logged_on()
        peer.say(f"35=D|34=2|43=Y|122=20240808-11:59:00|{ORDER}")

        assert [type(m) for m in peer.applications] == [ResentMessage]

    def test_a_duplicate_without_its_time_is_rejected_and_the_session_goes_on(self):
        peer = logged_on()
        peer.say("35=0|34=2")
        peer.say("35=0|34=2|43=Y")

        assert peer.hear() == [
            "35=3|34=2|45=2|58=Required tag missing|371=122|372=0|373=1"
        ]
        assert peer.session.next_expected == 3

    def test_a_duplicate_with_a_time_that_is_none_is_rejected(self):
        peer = logged_on()
        peer.say("35=0|34=2")
        peer.say("35=0|34=2|43=Y|122=once")

        assert "|371=122|372=0|373=6" in peer.hear()[0]
        assert peer.session.state is SessionState.ACTIVE

    def test_a_message_beyond_a_gap_that_comes_twice_is_held_once(self):
        peer = logged_on()
        peer.say(f"35=D|34=4|{ORDER}")
        peer.say(f"35=D|34=4|43=Y|122=20240808-12:00:00|{ORDER}")
        for number in (2, 3):
            peer.say(f"35=0|34={number}")

        assert [type(m) for m in peer.applications] == [Message]

    def test_a_duplicate_sent_before_it_was_made_ends_the_session(self):
        peer = logged_on()
        peer.say("35=0|34=2")
        peer.say("35=0|34=2|43=Y|122=20240808-12:00:10")

        assert peer.hear() == [
            "35=3|34=2|45=2|58=SendingTime accuracy problem|372=0|373=10",
            "35=5|34=3",
        ]
        assert peer.session.state is SessionState.LOGOUT_SENT

    def test_a_message_without_number_ends_the_session(self):
        peer = logged_on(checked=False)
        for text in ("35=0", "35=0|34=x"):
            peer = logged_on(checked=False)
            peer.say(text)
            assert peer.hear() == ["35=5|34=2|58=Received message without MsgSeqNum"]
            assert peer.session.closed

    def test_rejected_messages_use_up_their_number(self):
        peer = logged_on()
        peer.say("35=3|34=2|45=1")

        assert peer.session.next_expected == 3
        assert isinstance(peer.events[-1], Rejected)
        assert peer.events[-1].number == 1


class TestSequenceReset:
    def test_a_gap_fill_in_its_place_moves_on(self):
        peer = logged_on()
        peer.say("35=4|34=2|36=20|123=Y")
        peer.say("35=1|34=20|112=HELLO")

        assert peer.hear() == ["35=0|34=2|112=HELLO"]

    def test_a_gap_fill_beyond_a_gap_waits_like_any_message(self):
        peer = logged_on()
        peer.say("35=4|34=10|36=20|123=Y")
        peer.say("35=1|34=20|112=HELLO")

        assert peer.hear() == ["35=2|34=2|7=2|16=0"]
        assert peer.session.next_expected == 2

    def test_a_gap_fill_of_the_past_is_a_duplicate_or_an_end(self):
        peer = logged_on()
        peer.say("35=4|34=1|43=Y|122=20240808-11:59:59|36=20|123=Y")
        assert peer.session.next_expected == 2

        peer.say("35=4|34=1|36=20|123=Y")
        assert peer.hear() == [
            "35=5|34=2|58=MsgSeqNum too low, expecting 2 but received 1"
        ]

    def test_a_gap_fill_backwards_is_rejected(self):
        peer = logged_on()
        peer.say("35=4|34=2|36=2|123=Y")

        assert peer.hear()[0].startswith("35=3|34=2|45=2|58=Value is incorrect")
        assert peer.session.next_expected == 3

    @pytest.mark.parametrize("flag", ["", "|123=N"])
    def test_reset_mode_looks_at_no_number(self, flag):
        peer = logged_on()
        peer.say(f"35=4|34=0|36=25{flag}")
        peer.say("35=1|34=25|112=HELLO")

        assert peer.hear() == ["35=0|34=2|112=HELLO"]
        assert SequenceReset(2, 25) in peer.events

    def test_reset_mode_to_what_is_due_changes_nothing(self):
        peer = logged_on()
        peer.say("35=4|34=0|36=2")

        assert peer.hear() == []
        assert peer.session.next_expected == 2

    @pytest.mark.parametrize(
        ("begin_string", "tail"), [("FIX.4.4", "|372=4|373=5"), ("FIX.4.0", "")]
    )
    def test_reset_mode_backwards_is_rejected_without_using_a_number(
        self, begin_string, tail
    ):
        peer = logged_on(begin_string)
        peer.say("35=4|34=0|36=1")

        assert peer.hear() == [
            "35=3|34=2|45=0|58=Value is incorrect (out of range) for this tag" + tail
        ]
        assert peer.session.next_expected == 2

    def test_reset_mode_releases_what_was_held_back(self):
        peer = logged_on()
        peer.say(f"35=D|34=9|{ORDER}")
        peer.say("35=4|34=0|36=9")

        assert [m.sequence for m in peer.applications] == [9]


class TestResend:
    @pytest.fixture
    def peer(self):
        """Sent so far: 1 Logon, 2-3 Heartbeats, 4-5 orders, 6 Heartbeat, 7 order."""
        peer = logged_on()
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

    def test_a_request_that_shows_a_gap_is_served_first_and_asks_then(self, peer):
        peer.say("35=2|34=9|7=4|16=4")

        assert peer.hear() == ["35=D|34=4|43=Y|11=a", "35=2|34=8|7=5|16=0"]
        assert peer.events[-1] == GapDetected(5, 9)

    def test_a_wrong_request_beyond_a_gap_is_rejected(self, peer):
        peer.say("35=2|34=9|7=4")

        assert "|371=16|372=2|373=1" in peer.hear()[0]
        assert peer.session.next_expected == 5

    @pytest.mark.parametrize("span", ["7=-1|16=0", "7=1|16=-4"])
    def test_negative_numbers_are_none(self, span):
        peer = logged_on(checked=False)
        peer.say(f"35=2|34=2|{span}")

        assert "|372=2|373=6" in peer.hear()[0]

    def test_a_request_with_a_number_used_before_is_served(self, peer):
        peer.say("35=2|34=4|7=4|16=4")

        assert peer.hear() == ["35=D|34=4|43=Y|11=a"]
        assert peer.session.next_expected == 5

    def test_a_request_that_is_itself_a_duplicate_is_ignored(self, peer):
        peer.say("35=2|34=4|43=Y|122=20240808-12:00:00|7=4|16=4")

        assert peer.hear() == []

    def test_endless_requests_end_the_session(self):
        peer = logged_on(max_resends=3)
        for number in range(2, 7):
            peer.say(f"35=2|34={number}|7=1|16=0")

        assert peer.session.state is SessionState.LOGOUT_SENT
        assert "Too many ResendRequests at once" in peer.hear()[-1]

    def test_a_large_resend_is_handed_out_in_pieces(self):
        peer = logged_on()
        for _ in range(1000):
            peer.session.send("D", [(58, "x" * 100)], now=peer.now)
        peer.hear()
        peer.say("35=2|34=2|7=2|16=0")

        piece = peer.session.to_send(1000)
        assert 1000 <= len(piece) < 1300
        assert peer.session.queued_bytes == 0
        assert peer.session.has_to_send


class TestDelivery:
    def test_a_message_counts_once_the_user_has_come_back(self):
        store = MemoryStore()
        peer = logged_on(store=store)
        peer.say(f"35=D|34=2|{ORDER}")
        assert store.next_expected == 2

        peer.session.commit()
        assert store.next_expected == 3

    def test_a_message_whose_handling_crashed_comes_again_as_resent(self):
        store = MemoryStore()
        peer = logged_on(store=store)
        peer.say(f"35=D|34=2|{ORDER}")
        crashed = Counterparty(acceptor(store=store))

        crashed.logon(number=3)
        crashed.say(f"35=D|34=2|43=Y|122=20240808-12:00:00|{ORDER}")

        assert [type(m) for m in crashed.applications] == [ResentMessage]
