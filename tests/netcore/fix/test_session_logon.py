"""How a session begins, and what it is set up with."""

import pytest

from netcore.fix import (
    FixSession,
    GapDetected,
    LoggedOn,
    LogonRefused,
    LogonTimeout,
    MemoryStore,
    Message,
    Role,
    SequenceReset,
    SessionConfig,
    SessionState,
    dictionary,
)
from netcore.fix.testing import Counterparty, logged_on, make_session

VERSIONS = ["FIX.4.0", "FIX.4.1", "FIX.4.2", "FIX.4.3", "FIX.4.4", "FIXT.1.1"]


def acceptor(begin_string="FIX.4.4", store=None, *, checked=True, **changes):
    return make_session(Role.ACCEPTOR, begin_string, store, checked=checked, **changes)


def initiator(store=None, **changes):
    return make_session(Role.INITIATOR, "FIX.4.4", store, checked=False, **changes)


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
        assert isinstance(peer.errors[0], LogonRefused)
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
        assert isinstance(peer.errors[0], LogonRefused)

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

    # "9" * 4400 is more than `int` takes, "9" * 400 more than a float holds.
    @pytest.mark.parametrize("interval", ["", "x", "-", "--5", "9" * 400, "9" * 4400])
    @pytest.mark.parametrize("checked", [False, True])
    def test_an_interval_that_is_none_ends_the_connection(self, interval, checked):
        peer = Counterparty(acceptor(checked=checked))
        peer.connect()
        peer.say(f"35=A|34=1|98=0|108={interval}")

        assert peer.session.closed

    def test_a_reset_with_another_number_than_one_is_refused(self):
        peer = Counterparty(acceptor())

        assert peer.logon("141=Y", number=4) == [
            "35=5|34=1|58=ResetSeqNumFlag goes with MsgSeqNum 1, but received 4"
        ]

    def test_what_comes_behind_a_refused_logon_is_not_looked_at(self):
        peer = Counterparty(acceptor())
        peer.connect()
        logon = peer.compose("35=A|34=1|98=0|108=-1")
        peer.say_bytes(logon + logon)

        assert len(peer.events) == 1

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
        assert isinstance(peer.errors[0], LogonRefused)
        assert peer.session.closed

    def test_a_garbled_first_message_ends_the_connection(self):
        peer = Counterparty(acceptor())
        peer.connect()
        logon = peer.compose("35=A|34=1|98=0|108=30")

        peer.say_bytes(logon.replace(b"108=30", b"108=31"))

        assert peer.session.closed
        assert isinstance(peer.errors[0], LogonRefused)

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
        assert peer.errors[0].expected == 8
        assert peer.session.closed

    def test_a_logout_for_an_answer_tells_its_words(self):
        peer = Counterparty(initiator())
        peer.connect()
        peer.say("35=5|34=1|58=bad password")

        assert "bad password" in str(peer.errors[0])
        assert peer.session.closed

    def test_nobody_waits_for_a_logon_for_ever(self):
        for session in (acceptor(), initiator()):
            peer = Counterparty(session)
            peer.connect()
            peer.advance(9.999)
            assert not peer.session.closed
            peer.advance(0.001)
            assert isinstance(peer.errors[0], LogonTimeout)

    def test_a_second_logon_is_refused_and_changes_nothing(self):
        peer = logged_on()
        peer.say("35=A|34=2|98=0|108=10")

        assert peer.hear() == ["35=3|34=2|45=2|58=Other|372=A|373=99"]
        assert peer.session.next_expected == 3
        assert peer.session.state is SessionState.ACTIVE

    def test_a_reset_within_the_session_begins_both_sides_at_one(self):
        peer = logged_on()
        for number in range(2, 6):
            peer.say(f"35=0|34={number}")
        peer.hear()

        peer.say("35=A|34=1|98=0|108=30|141=Y")

        assert peer.hear() == ["35=A|34=1|98=0|108=30|141=Y"]
        assert peer.events[-1] == SequenceReset(6, 2)
        peer.say("35=1|34=2|112=x")
        assert peer.hear() == ["35=0|34=2|112=x"]

    @pytest.mark.parametrize(
        "text",
        ["34=7|98=0|108=30", "34=1|98=0"]
        + [f"34=1|98=0|108={interval}" for interval in ("x", "-1", "--5", "9" * 4400)],
    )
    def test_a_wrong_reset_within_the_session_ends_it(self, text):
        peer = logged_on(checked=False)
        peer.say(f"35=A|{text}|141=Y")

        assert peer.hear()[0].startswith("35=5|34=2|58=")
        assert peer.session.closed


def fixt(role, version):
    names = ("ISLD", "TW") if role is Role.ACCEPTOR else ("TW", "ISLD")
    config = SessionConfig(
        begin_string="FIXT.1.1",
        sender_comp_id=names[0],
        target_comp_id=names[1],
        role=role,
        default_appl_ver_id=version,
    )
    return FixSession(config, dictionary=dictionary("FIXT.1.1", version))


def carry(source, sink, now):
    """Bring what one side says to the other; return messages and their bytes."""
    data = source.to_send()
    return [e for e in sink.feed(data, now) if isinstance(e, Message)], data


@pytest.mark.parametrize("version", ["7", "8", "9"])
class TestApplicationVersions:
    """FIXT 1.1 carries FIX 5.0, 5.0 SP1 and SP2 (ApplVerID 7, 8 and 9)."""

    def test_both_roles_frame_log_on_and_exchange_orders(self, version):
        now = Counterparty(fixt(Role.ACCEPTOR, version)).now
        client, venue = fixt(Role.INITIATOR, version), fixt(Role.ACCEPTOR, version)
        client.connect(now)
        venue.connect(now)
        _, logon = carry(client, venue, now)
        _, answer = carry(venue, client, now)
        for wire in (logon, answer):
            assert wire.startswith(b"8=FIXT.1.1\x019=")
            assert b"\x011137=%b\x01" % version.encode() in wire
        assert client.state is venue.state is SessionState.ACTIVE

        body = [(11, "id"), (55, "A"), (54, "1"), (60, "20240808-12:00:00.123456")]
        for source, sink in ((client, venue), (venue, client)):
            source.send(
                "D", [*body, (38, 1), (40, "1")], now=now, header=[(1128, version)]
            )
            (order,), wire = carry(source, sink, now)
            assert order.text(1128) == version
            assert order.type == "D"
            # ApplVerID is the sixth field at the latest (FIXT 1.1, "Standard Header").
            assert wire.index(b"\x011128=") < wire.index(b"\x0111=")
            assert not source.has_to_send
            assert not sink.has_to_send

    def test_each_message_may_name_its_version_and_extension(self, version):
        peer = Counterparty(fixt(Role.ACCEPTOR, version))
        peer.logon(f"1137={version}")
        order = "11=ID|55=A|54=1|60=20240808-12:00:00|38=1|40=1"
        peer.say(f"35=D|34=2|1128={version}|1129=custom|1156=200|{order}")
        peer.say(f"35=D|34=3|{order}")

        assert [message.sequence for message in peer.applications] == [2, 3]
        assert peer.applications[0].integer(1156) == 200
        assert peer.hear() == []

    def test_a_version_that_is_none_is_refused(self, version):
        peer = Counterparty(fixt(Role.ACCEPTOR, version))
        peer.logon(f"1137={version}")
        peer.hear()
        peer.say("35=0|34=2|1128=99")

        assert peer.hear() == [
            "35=3|34=2|45=2|58=Value is incorrect (out of range) for this tag"
            "|371=1128|372=0|373=5"
        ]


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

    def test_a_number_that_is_none_ends_the_session(self):
        peer = Counterparty(acceptor(next_expected=True))
        peer.connect()
        peer.say("35=A|34=1|98=0|108=30|789=" + "9" * 4400)

        assert peer.hear()[-1] == (
            "35=5|34=2|58=NextExpectedMsgSeqNum must be 1 to 1, but was 0"
        )

    def test_a_number_that_was_never_sent_ends_the_session(self):
        peer = Counterparty(acceptor(next_expected=True))
        peer.connect()
        peer.say("35=A|34=1|98=0|108=30|789=7")

        assert peer.hear()[-1] == (
            "35=5|34=2|58=NextExpectedMsgSeqNum must be 1 to 1, but was 7"
        )
        assert peer.session.closed


class TestConfig:
    @pytest.mark.parametrize(
        "changes",
        [
            {"heartbeat_interval": -1},
            {"default_appl_ver_id": "9"},
            {"begin_string": "FIXT.1.1"},
            {"time_precision": 4},
        ],
    )
    def test_what_cannot_work_is_refused(self, changes):
        given = {"begin_string": "FIX.4.4", "sender_comp_id": "a"} | changes
        with pytest.raises(ValueError, match=r"heartbeat|appl_ver|precision"):
            SessionConfig(target_comp_id="b", **given)

    def test_names_that_cannot_stand_in_a_field_are_refused(self):
        config = SessionConfig(
            begin_string="FIX.4.4", sender_comp_id="a\x01b", target_comp_id="c"
        )
        with pytest.raises(ValueError, match="SOH"):
            FixSession(config)

    def test_times_can_be_more_exact(self):
        peer = logged_on(time_precision=9)

        assert peer.heard[0][52] == b"20240808-12:00:00.000000000"

    def test_names_may_hold_anything_else(self):
        config = SessionConfig(
            begin_string="FIX.4.4", sender_comp_id="50% Ü", target_comp_id="%b"
        )
        peer = Counterparty(FixSession(config))
        peer.connect()

        (logon,) = peer.hear_messages()
        assert (logon.text(49), logon.text(56)) == ("50% Ü", "%b")
