"""A session over a stream: connecting, keeping time, slow and broken connections."""

import os
import socket
import struct
import threading
import time

import pytest

from netcore.errors import BufferFull, ConnectError, ConnectionLost
from netcore.fix import (
    Acceptor,
    FixConnection,
    FixLocalError,
    FixSession,
    LoggedOn,
    LoggedOut,
    LogonRefused,
    Message,
    NotLoggedOn,
    Role,
    SessionConfig,
    SessionError,
    SessionId,
    SessionState,
    encode,
    utc_timestamp,
)
from netcore.info import ConnectionInfo
from netcore.select import EpollSelector
from netcore.service import Endpoint, IOService
from netcore.stream.tcp import TcpStream
from netcore.testing import (
    ChaosStream,
    ManualClock,
    memory_stream_pair,
    random_sizes,
    reserved_port,
    tcp_stream_pair,
)

GUARD_SECONDS = 60  # against hanging; nothing asserts a duration


def sessions(**changes):
    """An initiator's and an acceptor's session of the same parties."""
    us = SessionConfig(
        begin_string="FIX.4.4", sender_comp_id="US", target_comp_id="THEM", **changes
    )
    them = SessionConfig(
        begin_string="FIX.4.4",
        sender_comp_id="THEM",
        target_comp_id="US",
        role=Role.ACCEPTOR,
        **changes,
    )
    return FixSession(us), FixSession(them)


def connections(streams, clock, *, outbox_limit=1 << 20, **changes):
    return tuple(
        FixConnection(session, stream, clock=clock, outbox_limit=outbox_limit)
        for session, stream in zip(sessions(**changes), streams, strict=True)
    )


def turn(ends, times=50):
    """Poll both ends in turns; return their events."""
    events = ([], [])
    for _ in range(times):
        for end, found in zip(ends, events, strict=True):
            found += end.poll()
    return events


def kinds(events):
    return [type(event) for event in events]


@pytest.fixture
def clock():
    return ManualClock()


class TestConversation:
    @pytest.fixture(params=["memory", "tcp", "chaos"])
    def ends(self, request, clock):
        streams = tcp_stream_pair() if request.param == "tcp" else memory_stream_pair()
        if request.param == "chaos":
            streams = tuple(
                ChaosStream(
                    stream, receive=random_sizes(seed), send=random_sizes(seed + 9)
                )
                for seed, stream in enumerate(streams)
            )
        ends = connections(streams, clock)
        yield ends
        for end in ends:
            end.close()

    def test_it_logs_on_talks_and_leaves(self, ends):
        us, them = ends
        ours, theirs = turn(ends, 500)
        assert kinds(ours) == kinds(theirs) == [LoggedOn]

        assert us.send("D", [(11, "a"), (58, "x" * 5000)]) == 2
        assert them.send("8", [(37, "b")]) == 2
        ours, theirs = turn(ends, 2000)
        assert [m[37] for m in ours] == [b"b"]
        assert [m[11] for m in theirs] == [b"a"]

        them.business_reject(theirs[0], text="no")
        ours, _ = turn(ends, 500)
        assert ours[0].text(58) == "no"

        us.logout("bye")
        ours, theirs = turn(ends, 500)
        assert ours == [LoggedOut("")]
        assert theirs == [LoggedOut("bye")]
        assert us.closed
        assert them.closed
        assert not us.want_write

    def test_silence_is_filled_by_heartbeats_at_the_deadline(self, ends, clock):
        turn(ends, 500)
        us, them = ends
        assert us.deadline == clock.monotonic_ns() + 30 * 10**9

        for _ in range(5):
            clock.advance(30)
            turn(ends, 200)

        assert us.session.state is SessionState.ACTIVE
        assert us.session.next_expected == them.session.store.next_outgoing == 7


class TestTime:
    def test_a_wall_clock_that_is_set_back_delays_nothing(self, clock):
        ends = connections(memory_stream_pair(), clock)
        turn(ends)
        before = ends[0].deadline
        clock.set_wall(clock.now_ns() - 3600 * 10**9)
        turn(ends, 1)

        assert ends[0].deadline == before

    def test_drift_is_followed(self, clock):
        ends = connections(memory_stream_pair(), clock)
        turn(ends)
        clock.set_wall(clock.now_ns() + 10**8)
        turn(ends, 1)

        assert ends[0].session.state is SessionState.ACTIVE


class TestFaults:
    def test_a_refused_connection_is_an_exception_and_uses_no_number(self):
        session, _ = sessions()
        with (
            reserved_port() as port,
            FixConnection(
                session, TcpStream.connect(ConnectionInfo("127.0.0.1", port))
            ) as end,
        ):
            with pytest.raises(ConnectError):
                end.wait(GUARD_SECONDS)
            assert not end.closed

        assert session.store.next_outgoing == 1
        assert session.state is SessionState.LOGGED_OUT

    def test_the_peers_end_ends_the_session(self, clock):
        ours, theirs = memory_stream_pair()
        us = FixConnection(sessions()[0], ours, clock=clock)
        us.poll()
        theirs.close()
        events = us.poll()

        assert kinds(events) == [SessionError]
        assert us.closed

    def test_a_broken_connection_ends_the_session_and_says_why(self, clock):
        ours, theirs = tcp_stream_pair()
        us, them = connections((ours, theirs), clock)
        turn((us, them))
        # Without lingering, closing resets the connection (socket(7), SO_LINGER).
        with socket.socket(fileno=os.dup(theirs.fileno())) as same:
            linger = struct.pack("ii", 1, 0)
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        theirs.close()
        events = us.wait(GUARD_SECONDS)

        assert kinds(events) == [SessionError]
        assert "broke" in str(events[0].error)
        assert events[0].error.__cause__ is not None
        assert us.closed
        assert us.poll() == []
        us.close()

    @pytest.mark.parametrize("when", ["sending", "polling"])
    def test_a_stream_that_takes_nothing_more_ends_the_session(self, clock, when):
        ours, theirs = memory_stream_pair()
        us, them = connections((ours, theirs), clock)
        turn((us, them))
        broken = ConnectionLost("cable")

        class Broken:
            info, want_write, buffered = ours.info, False, False

            def receive(self, limit):
                return None

            def send(self, data):
                raise broken

        us._stream = Broken()
        if when == "sending":
            us.send("D", [(11, "a")])
        else:
            us.session.test_request("x", now=clock.now_ns())
        events = us.poll()

        assert kinds(events) == [SessionError]
        assert events[0].error.__cause__ is broken
        assert us.closed
        assert "FixConnection" in repr(us)

    def test_closing_without_goodbye_leaves_the_session_ready_for_the_next(self, clock):
        ends = connections(memory_stream_pair(), clock)
        turn(ends)
        for end in ends:
            end.close()
        again = tuple(
            FixConnection(end.session, stream, clock=clock)
            for end, stream in zip(ends, memory_stream_pair(), strict=True)
        )
        events = turn(again)

        assert [kinds(found) for found in events] == [[LoggedOn], [LoggedOn]]

    def test_nothing_is_sent_before_the_logon(self, clock):
        us, _ = connections(memory_stream_pair(), clock)
        with pytest.raises(NotLoggedOn):
            us.send("D", [(11, "a")])


class TestBackpressure:
    def test_a_slow_peer_ends_in_an_error_before_anything_is_numbered(self, clock):
        ours, theirs = tcp_stream_pair()
        us, them = connections((ours, theirs), clock, outbox_limit=100_000)
        turn((us, them))
        sent = 0

        def flood():
            nonlocal sent
            while True:
                us.send("B", [(58, "x" * 1000)])
                sent += 1

        with pytest.raises(BufferFull):
            flood()
        number = us.session.store.next_outgoing
        assert us.pending_bytes >= 100_000
        assert us.want_write

        got = []
        guard = time.monotonic() + GUARD_SECONDS
        while len(got) < sent and time.monotonic() < guard:
            got += turn((us, them))[1]
        assert len(got) == sent == number - 2
        assert us.pending_bytes == 0
        us.close()
        them.close()

    def test_a_large_resend_does_not_count_against_the_users_limit(self, clock):
        ends = connections(memory_stream_pair(), clock, outbox_limit=100_000)
        turn(ends)
        for _ in range(20):
            for _ in range(50):
                ends[0].send("B", [(58, "x" * 1000)])
            turn(ends)
        for end in ends:
            end.close()
        us, _ = (end.session for end in ends)
        forgetful = sessions()[1]
        forgetful.store.record(1, None)
        again = tuple(
            FixConnection(session, stream, clock=clock, outbox_limit=100_000)
            for session, stream in zip(
                (us, forgetful), memory_stream_pair(), strict=True
            )
        )
        got = turn(again, 500)[1]

        assert len([event for event in got if isinstance(event, Message)]) == 1000


class TestBlocking:
    def test_wait_returns_what_happens_and_nothing_when_time_is_up(self):
        streams = tcp_stream_pair()
        us, them = (
            FixConnection(session, stream)
            for session, stream in zip(sessions(), streams, strict=True)
        )

        def serve():
            while not them.closed:
                for event in them.wait(GUARD_SECONDS):
                    if isinstance(event, Message):
                        them.send("8", [(37, event[11])])

        thread = threading.Thread(target=serve)
        thread.start()
        assert kinds(us.wait(GUARD_SECONDS)) == [LoggedOn]
        assert us.wait(0) == []
        us.send("D", [(11, "a")])
        assert us.wait(GUARD_SECONDS)[0][37] == b"a"
        us.logout()
        assert us.wait(GUARD_SECONDS) == [LoggedOut("")]
        assert us.wait(GUARD_SECONDS) == []
        thread.join(GUARD_SECONDS)
        assert not thread.is_alive()
        us.close()
        them.close()


class TestService:
    def test_a_busy_service_drives_a_session_and_connects_it_anew(self):
        session, theirs = sessions()
        listener = socket.create_server(("127.0.0.1", 0))
        logons = []

        class Venue(Endpoint[FixConnection, None]):
            every_turn = True

            def create(self, address, context):
                stream = TcpStream.connect(self.info, address)
                return FixConnection(session, stream)

            def poll(self, target, context):
                for event in target.poll():
                    if isinstance(event, LoggedOn):
                        logons.append(event)
                        target.send("D", [(11, f"{len(logons)}")])
                if target.closed:
                    raise ConnectionLost("the session has ended")

        info = ConnectionInfo("127.0.0.1", listener.getsockname()[1])
        got = []
        with (
            listener,
            IOService(EpollSelector(), connect_interval=0.0) as service,
        ):
            service.register(Venue(info))
            for number in (1, 2):
                service.poll()
                accepted, _ = listener.accept()
                with FixConnection(theirs, TcpStream.adopt(accepted)) as them:
                    while len(got) < number:
                        service.poll()
                        events = them.poll()
                        got += [e for e in events if isinstance(e, Message)]
                while session.state is not SessionState.CLOSED:
                    service.poll()

        assert [message[11] for message in got] == [b"1", b"2"]
        assert len(logons) == 2


class TestAcceptor:
    @pytest.fixture
    def session(self):
        return sessions()[1]

    def logon(self, **names):
        parties = {49: b"US", 56: b"THEM", **names}
        return encode(
            [
                (8, b"FIX.4.4"), (35, b"A"), (34, b"1"), *parties.items(),
                (52, utc_timestamp(0)), (98, b"0"), (108, b"30"),
            ]
        )  # fmt: skip

    def test_the_first_message_leads_to_the_session(self, session):
        acceptor = Acceptor([session])
        visitor = acceptor.visit()
        data = self.logon()

        assert visitor.feed(data[:20]) is None
        assert visitor.feed(data[20:] + b"more") is session
        assert visitor.received == data + b"more"

    @pytest.mark.parametrize(
        "data",
        [
            encode([(8, b"FIX.4.4"), (35, b"0"), (49, b"US"), (56, b"THEM")]),
            encode([(8, b"FIX.4.2"), (35, b"A"), (49, b"US"), (56, b"THEM")]),
            encode([(8, b"FIX.4.4"), (35, b"A"), (49, b"WE"), (56, b"THEM")]),
            encode([(8, b"FIX.4.4"), (35, b"A"), (49, b"US")]),
            encode([(8, b"FIX.4.4"), (35, b"A")])[:-4] + b"000\x01",
            b"GET / HTTP/1.1\r\n\r\n" * 5000,
        ],
    )
    def test_strangers_are_shown_out(self, session, data):
        with pytest.raises(LogonRefused):
            Acceptor([session]).visit().feed(data)

    def test_whoever_leaves_without_a_word_was_nobody(self, session):
        with pytest.raises(LogonRefused):
            Acceptor([session]).visit().feed_eof()

    def test_a_session_has_one_connection_at_a_time(self, session):
        acceptor = Acceptor([session])
        acceptor.take(session, 0)
        assert acceptor.taken(session.config.id)
        with pytest.raises(LogonRefused, match="connected already"):
            acceptor.take(session, 0)

        session.feed_eof(0)
        acceptor.release(session)
        acceptor.take(session, 0)
        assert "1 of 1 connected" in repr(acceptor)

    def test_its_sessions_are_known_by_their_parties(self, session):
        acceptor = Acceptor([session])

        assert list(acceptor) == [session]
        assert acceptor[SessionId("FIX.4.4", "THEM", "US")] is session
        assert str(session.config.id) == "FIX.4.4:THEM->US"

    def test_sessions_that_cannot_be_told_apart_are_refused(self, session):
        with pytest.raises(FixLocalError, match="two sessions"):
            Acceptor([session, sessions()[1]])
        with pytest.raises(FixLocalError, match="no acceptor"):
            Acceptor([sessions()[0]])
