"""A session in force: time, faults, goodbyes and what is sent."""

import pytest

from netcore.fix import (
    Garbled,
    GarbledReason,
    HeartbeatTimeout,
    LoggedOut,
    LogoutTimeout,
    NotLoggedOn,
    Refused,
    RejectReason,
    Role,
    SessionState,
    dictionary,
)
from netcore.fix.testing import Counterparty, logged_on, make_session

ORDER = "11=ID|21=3|38=100|40=1|54=1|55=INTC|60=20240808-12:00:00"
ORDER_PAIRS = [
    (int(tag), value) for tag, value in (f.split("=") for f in ORDER.split("|"))
]


def acceptor(begin_string="FIX.4.4", store=None, *, checked=True, **changes):
    return make_session(Role.ACCEPTOR, begin_string, store, checked=checked, **changes)


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
        assert isinstance(peer.errors[0], HeartbeatTimeout)
        assert peer.session.closed

    def test_any_message_proves_life(self):
        peer = Counterparty(acceptor())
        peer.logon(heartbeat=10)
        for number in range(2, 8):
            peer.advance(11.9)
            peer.say(f"35=0|34={number}")

        assert [text for text in peer.hear() if text.startswith("35=1")] == []

    def test_a_test_request_is_answered_with_its_words(self):
        peer = logged_on()
        peer.say("35=1|34=2|112=HELLO")

        assert peer.hear() == ["35=0|34=2|112=HELLO"]

    def test_an_interval_of_zero_means_none(self):
        peer = Counterparty(acceptor())
        peer.logon(heartbeat=0)

        assert peer.session.next_deadline is None
        assert peer.advance(10_000) == []

    def test_a_clock_that_is_set_moves_no_timer(self):
        hour = 3600 * 10**9
        for situation in ("quiet", "tested", "asking"):
            peer = Counterparty(acceptor())
            peer.logon(heartbeat=10)
            if situation == "tested":
                peer.advance(12)
            elif situation == "asking":
                peer.say("35=0|34=9")
            before = peer.session.next_deadline - peer.now
            peer.session.clock_stepped(-hour)
            peer.now -= hour

            assert peer.session.next_deadline - peer.now == before

    def test_our_own_test_is_sent_when_asked_for(self):
        peer = logged_on()
        peer.session.test_request("now", now=peer.now)

        assert peer.hear() == ["35=1|34=2|112=now"]


class TestLogout:
    def test_a_logout_is_answered_and_ends_the_session(self):
        peer = logged_on()
        peer.say("35=5|34=2|58=good night")

        assert peer.hear() == ["35=5|34=2"]
        assert peer.events[-1] == LoggedOut("good night")
        assert peer.session.closed
        assert peer.session.next_expected == 3

    @pytest.mark.parametrize("number", [1, 11])
    def test_whoever_wants_to_leave_is_let_go_whatever_the_number(self, number):
        peer = logged_on()
        peer.say(f"35=5|34={number}")

        assert peer.hear() == ["35=5|34=2"]
        assert peer.session.next_expected == 2

    def test_ours_waits_for_theirs(self):
        peer = logged_on()
        peer.session.logout("bye", now=peer.now)
        assert peer.hear() == ["35=5|34=2|58=bye"]
        assert peer.session.state is SessionState.LOGOUT_SENT

        peer.say(f"35=D|34=2|{ORDER}")
        peer.say("35=5|34=3")

        assert peer.hear() == []
        assert peer.session.closed
        assert len(peer.applications) == 1
        assert peer.events[-1] == LoggedOut("")

    def test_ours_waits_only_so_long(self):
        peer = logged_on(logout_timeout=2.0)
        peer.session.logout(now=peer.now)
        peer.advance(2)

        assert isinstance(peer.errors[0], LogoutTimeout)
        assert peer.session.closed

    def test_hanging_up_answers_our_logout_as_well(self):
        peer = logged_on()
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
        peer = logged_on()
        peer.session.logout(now=peer.now)
        peer.session.logout(now=peer.now)

        assert len(peer.hear()) == 1

    def test_an_end_without_logout_is_an_error(self):
        peer = logged_on()
        peer.hang_up()

        assert "without a Logout" in str(peer.errors[0])
        assert peer.session.closed
        assert peer.hang_up() == []


class TestFaults:
    def test_another_begin_string_says_goodbye(self):
        peer = logged_on()
        peer.say("35=1|34=2|112=id", begin_string="FIX.4.1")

        assert peer.hear() == ["35=5|34=2|58=Incorrect BeginString"]
        assert peer.session.state is SessionState.LOGOUT_SENT
        peer.say("35=5|34=3")
        assert peer.session.closed

    @pytest.mark.parametrize("names", ["49=WT", "56=DLSI", "49=WT|56=DLSI"])
    def test_other_names_are_rejected_and_end_the_session(self, names):
        peer = logged_on()
        peer.say(f"35=D|34=2|{names}|{ORDER}")

        assert peer.hear() == [
            "35=3|34=2|45=2|58=CompID problem|372=D|373=9",
            "35=5|34=3",
        ]
        assert peer.applications == []

    @pytest.mark.parametrize("seconds", [-121, 121])
    def test_another_time_is_rejected_and_ends_the_session(self, seconds):
        peer = logged_on()
        peer.say("35=0|34=2", seconds=seconds)

        assert peer.hear() == [
            "35=3|34=2|45=2|58=SendingTime accuracy problem|372=0|373=10",
            "35=5|34=3",
        ]

    def test_another_time_is_nobodys_business_if_it_is_not_checked(self):
        peer = logged_on(max_latency=None)
        peer.say("35=0|34=2", seconds=10_000)

        assert peer.hear() == []

    def test_faults_while_leaving_cause_no_second_goodbye(self):
        peer = logged_on()
        peer.say("35=0|34=2", seconds=500)
        peer.say("35=0|34=3", seconds=500)

        assert [text[:4] for text in peer.hear()] == ["35=3", "35=5", "35=3"]

    def test_garbled_messages_are_as_if_they_had_never_come(self):
        peer = logged_on()
        good = peer.compose("35=0|34=2")
        peer.say_bytes(good.replace(b"34=2", b"34=3"))

        assert peer.events[-1] == Garbled(
            reason=GarbledReason.TRAILER, size=len(good), after=1
        )
        assert peer.session.next_expected == 2
        assert peer.hear() == []

    def test_a_missing_order_is_noticed_by_the_next_message(self):
        peer = logged_on()
        order = peer.compose(f"35=D|34=2|{ORDER}")
        peer.say_bytes(order.replace(b"35=D", b"35=E"))
        peer.say("35=0|34=3")

        assert peer.hear() == ["35=2|34=2|7=2|16=0"]

    def test_a_body_length_too_long_swallows_no_more_than_it_claims(self):
        peer = logged_on()
        one = peer.compose(f"35=D|34=2|{ORDER}")
        length = one[one.index(b"\x019=") + 3 : one.index(b"\x0135=")]
        long = one.replace(b"\x019=" + length, b"\x019=%d" % (int(length) + 15))
        peer.say_bytes(long)
        peer.say(f"35=D|34=3|{ORDER}")
        assert peer.applications == []

        peer.say(f"35=D|34=2|{ORDER}")
        peer.say(f"35=D|34=3|{ORDER}")
        assert [m.sequence for m in peer.applications] == [2, 3]
        assert peer.hear() == []

    def test_a_message_that_does_not_follow_the_dictionary_is_rejected(self):
        peer = logged_on()
        peer.say("35=0|34=2|55=MSFT")

        assert peer.hear() == [
            "35=3|34=2|45=2|58=Tag not defined for this message type|371=55|372=0|373=2"
        ]
        refused = peer.events[-1]
        assert isinstance(refused, Refused)
        assert refused.fault.reason is RejectReason.TAG_NOT_DEFINED_FOR_MESSAGE
        assert peer.session.next_expected == 3

    def test_fix_4_0_and_4_1_name_the_tag_in_words(self):
        peer = logged_on("FIX.4.1")
        peer.say("35=0|34=2|999=HI")

        assert peer.hear() == ["35=3|34=2|45=2|58=Invalid tag number (999)"]

    def test_fix_4_2_names_only_the_reasons_it_knows(self):
        peer = logged_on("FIX.4.2")
        peer.say(f"35=D|34=2|{ORDER}|40=2")
        peer.say("35=*|34=3")

        assert peer.hear() == [
            "35=3|34=2|45=2|58=Tag appears more than once|371=40|372=D",
            "35=3|34=3|45=3|58=Invalid MsgType|372=*|373=11",
        ]

    def test_a_reject_goes_back_the_way_the_message_came(self):
        peer = logged_on()
        routes = "115=JCD|116=CS|144=CHI|50=desk"
        peer.say(f"35=D|34=2|{routes}|{ORDER.replace('40=1', '40=w')}")

        assert peer.hear() == [
            "35=3|34=2|57=desk|128=JCD|129=CS|145=CHI|45=2"
            "|58=Value is incorrect (out of range) for this tag|371=40|372=D|373=5"
        ]

    def test_empty_routes_lead_nowhere(self):
        peer = logged_on()
        peer.say(f"35=D|34=2|115=JCD|116=|{ORDER}")

        assert peer.hear() == [
            "35=3|34=2|128=JCD|45=2|58=Tag specified without a value"
            "|371=116|372=D|373=4"
        ]

    def test_a_message_held_back_is_checked_when_it_is_due(self):
        peer = logged_on()
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
        peer = logged_on(checked=False)
        peer.say(text)

        assert f"|371={tag}|" in peer.hear()[0]
        assert peer.events[-1].fault.reason == reason

    @pytest.mark.parametrize("checked", [False, True])
    @pytest.mark.parametrize("begin_string", ["FIX.4.2", "FIX.4.4"])
    def test_a_message_with_an_empty_type_is_rejected(self, begin_string, checked):
        peer = logged_on(begin_string, checked=checked)
        peer.say("35=|34=2")
        (reject,) = peer.hear_messages() or [None]

        if checked:
            assert (reject.type, reject[45], reject.get(372)) == ("3", b"2", None)
        else:
            peer.session.business_reject(peer.applications[-1], now=peer.now)
            (reject,) = peer.hear_messages()
            assert (reject.type, reject.get(372)) == ("j", None)

    def test_a_reject_with_numbers_beyond_any_is_told_without_them(self):
        peer = logged_on(checked=False)
        endless = "9" * 4400
        peer.say(f"35=3|34=2|45=1|371={endless}|373={endless}|58=no")

        rejected = peer.events[-1]
        assert (rejected.number, rejected.tag, rejected.reason) == (1, None, None)

    def test_nothing_is_said_or_heard_once_it_is_over(self):
        peer = logged_on()
        peer.hang_up()
        peer.hear()

        assert peer.say("35=0|34=2") == []
        assert peer.hear() == []
        assert peer.session.next_deadline is None


class TestSending:
    def test_the_header_comes_by_ascending_tag(self):
        peer = logged_on(header={50: "desk", 57: "book"})
        peer.session.send("D", [(11, "a")], now=peer.now, header=[(97, True)])

        (message,) = peer.hear_messages()
        assert [tag for tag, _ in message] == [
            8, 9, 35, 34, 49, 50, 52, 56, 57, 97, 11, 10
        ]  # fmt: skip

    def test_the_last_number_processed_is_told_where_that_is_agreed_on(self):
        peer = logged_on(last_processed=True)
        (logon,) = peer.heard
        assert logon[369] == b"1"
        peer.say("35=1|34=2|112=a")
        peer.session.send("D", ORDER_PAIRS, now=peer.now)
        peer.say("35=0|34=5")  # a gap: 3 is due
        beat, order, ask = peer.hear_messages()
        assert [m[369] for m in (beat, order, ask)] == [b"2", b"2", b"2"]

        peer.say("35=4|34=3|43=Y|122=20240808-12:00:00|123=Y|36=5")
        peer.say("35=2|34=6|7=1|16=0")
        fill, again, rest = peer.hear_messages()
        # What is sent again tells what was processed since.
        assert [(m.type, m[369]) for m in (fill, again, rest)] == [
            ("4", b"6"),
            ("D", b"6"),
            ("4", b"6"),
        ]
        assert [pair for pair in again if pair[0] == 369] == [(369, b"6")]
        for message in (logon, beat, order, ask, fill, again, rest):
            assert dictionary("FIX.4.4").validate(message) is None

    def test_without_agreement_it_is_not_told(self):
        peer = logged_on()
        peer.say("35=1|34=2|112=a")
        peer.hear()

        assert all(369 not in message for message in peer.heard)

    @pytest.mark.parametrize("begin_string", ["FIX.4.0", "FIX.4.1"])
    def test_old_versions_have_no_such_field(self, begin_string):
        with pytest.raises(ValueError, match="has no LastMsgSeqNumProcessed"):
            acceptor(begin_string, last_processed=True)

    @pytest.mark.parametrize(
        ("begin_string", "time"),
        [("FIX.4.1", b"20240808-12:00:00"), ("FIX.4.2", b"20240808-12:00:00.000")],
    )
    def test_times_are_as_exact_as_the_version_allows(self, begin_string, time):
        peer = logged_on(begin_string)
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
        peer = logged_on()
        with pytest.raises(ValueError, match="field"):
            peer.session.send(kind, body, now=peer.now)

        assert peer.session.store.next_outgoing == 2
        assert peer.hear() == []

    def test_a_business_reject_names_the_message_and_the_reason(self):
        peer = logged_on()
        peer.say("35=8|34=2|37=id|17=id|150=0|39=0|55=WLRI|54=1|151=100|14=0|6=0.0")
        peer.session.business_reject(peer.events[-1], now=peer.now, more=[(379, "id")])

        assert peer.hear() == [
            "35=j|34=2|45=2|58=Unsupported Message Type|372=8|379=id|380=3"
        ]

    def test_before_fix_4_2_a_business_reject_is_a_reject(self):
        peer = logged_on("FIX.4.0")
        peer.say("35=8|34=2|37=1|17=1|20=0|39=0|55=A|54=1|14=0|6=0|38=1|32=1|31=1")
        peer.session.business_reject(peer.events[-1], now=peer.now)

        assert peer.hear() == ["35=3|34=2|45=2|58=Unsupported message type"]

    def test_what_was_not_taken_before_the_end_is_not_sent_on_the_next_connection(self):
        peer = logged_on()
        peer.session.send("D", [(11, "a")], now=peer.now)
        peer.hang_up()
        peer.logon(number=2)

        assert [message[35] for message in peer.heard[1:]] == [b"A"]
        peer.say("35=2|34=3|7=2|16=2")
        assert peer.hear() == ["35=D|34=2|43=Y|11=a"]

    def test_connecting_twice_is_refused(self):
        peer = logged_on()
        with pytest.raises(NotLoggedOn, match="cannot accept while active"):
            peer.session.connect(peer.now)

    def test_feeding_an_unconnected_session_is_refused(self):
        with pytest.raises(NotLoggedOn, match="connect"):
            acceptor().feed(b"", 0)
