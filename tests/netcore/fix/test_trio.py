"""Sessions under trio, both sides over loopback."""

import select
import socket
import ssl
import struct

import pytest
import trio
import trio.testing
import trustme

from netcore.clock import SystemClock
from netcore.errors import ConnectError, UntrustedCertificate
from netcore.fix import (
    Acceptor,
    FixSession,
    HeartbeatTimeout,
    LoggedOn,
    LoggedOut,
    Message,
    Role,
    SessionConfig,
    SessionError,
    SessionState,
    dictionary,
    encode,
    utc_timestamp,
)
from netcore.fix.testing import Echo
from netcore.fix.trio import TrioFixConnection, _Server, open_fix, serve_fix
from netcore.testing import reserved_port

ORDER = [
    (11, "a"),
    (21, "1"),
    (55, "X"),
    (54, "1"),
    (60, "20240808-12:00:00"),
    (40, "1"),
]


def config(role=Role.INITIATOR, **changes):
    names = ("US", "THEM") if role is Role.INITIATOR else ("THEM", "US")
    return SessionConfig(
        begin_string="FIX.4.4",
        sender_comp_id=names[0],
        target_comp_id=names[1],
        role=role,
        **changes,
    )


class Venue:
    """An echoing venue and what it saw."""

    def __init__(self):
        self.session = FixSession(config(Role.ACCEPTOR))
        self.acceptor = Acceptor([self.session])
        self.events = []
        self.ended = trio.Event()

    async def handle(self, connection):
        application = Echo(connection, dictionary("FIX.4.4"))
        try:
            async for event in connection:
                self.events.append(event)
                application.handle(event)
        finally:
            self.ended.set()


@pytest.fixture
async def venue(nursery):
    venue = Venue()
    venue.server = await nursery.start(serve_fix, venue.handle, venue.acceptor, 0)
    return venue


def url(venue):
    return f"tcp://127.0.0.1:{venue.server.port}"


async def test_a_conversation_from_logon_to_logout(venue):
    session = FixSession(config())
    async with open_fix(url(venue), session) as connection:
        events = aiter(connection)
        assert isinstance(await anext(events), LoggedOn)
        connection.send("D", ORDER)
        echo = await anext(events)
        assert echo.type == "D"
        assert echo[11] == b"a"
        connection.send("D", ORDER, header=[(97, True)])
        connection.send("8", [(37, "x")])
        assert (await anext(events)).text(58) == "Unsupported Message Type"
        await connection.drain()
        assert connection.pending_bytes == 0
        connection.logout("bye")
        assert [event async for event in connection] == [LoggedOut("")]
        assert connection.closed
        assert connection.session is session

    await venue.ended.wait()
    assert venue.events[-1] == LoggedOut("bye")
    assert "TrioFixConnection" in repr(connection)


async def test_leaving_the_block_logs_out(venue):
    async with open_fix(url(venue), FixSession(config())) as connection:
        await connection.receive()

    await venue.ended.wait()
    assert venue.events[-1] == LoggedOut("")
    assert venue.session.state is SessionState.CLOSED


async def test_being_cancelled_still_says_goodbye(venue):
    with trio.CancelScope() as scope:
        async with open_fix(url(venue), FixSession(config())) as connection:
            await connection.receive()
            scope.cancel()
            await trio.sleep_forever()

    await venue.ended.wait()
    assert venue.events[-1] == LoggedOut("")


async def test_cancelling_a_receive_loses_nothing(venue):
    async with open_fix(url(venue), FixSession(config())) as connection:
        assert isinstance((await connection.receive())[0], LoggedOn)
        with trio.move_on_after(0):
            await connection.receive()
        connection.send("D", ORDER)
        with trio.CancelScope() as scope:
            scope.cancel()
            await connection.receive()
        assert isinstance((await connection.receive())[0], Message)


async def test_a_session_goes_on_over_the_next_connection(venue):
    session = FixSession(config())
    for number in (2, 5):
        async with open_fix(url(venue), session) as connection:
            assert isinstance((await connection.receive())[0], LoggedOn)
            assert connection.send("D", ORDER) == number
            await connection.receive()

    assert session.next_expected == 7


async def test_a_second_connection_of_the_same_party_is_shown_out(venue):
    async with open_fix(url(venue), FixSession(config())) as first:
        assert isinstance((await first.receive())[0], LoggedOn)
        async with open_fix(url(venue), FixSession(config())) as second:
            (event,) = await second.receive()
            assert isinstance(event, SessionError)

        first.send("D", ORDER)
        assert isinstance((await first.receive())[0], Message)


async def test_a_party_that_comes_back_before_its_end_is_noticed_is_let_in(venue):
    session = FixSession(config())
    async with open_fix(url(venue), session) as first:
        await first.receive()
        first.abort()
        async with open_fix(url(venue), session) as second:
            assert isinstance((await second.receive())[0], LoggedOn)


async def test_strangers_hear_nothing(venue):
    stream = await trio.open_tcp_stream("127.0.0.1", venue.server.port)
    await stream.send_all(b"8=FIX.4.4\x019=5\x0135=0\x0110=163\x01")

    assert await stream.receive_some() == b""
    await stream.aclose()


async def test_a_venue_of_one_place_turns_the_second_away(nursery):
    venue = Venue()
    server = await nursery.start(
        lambda task_status: serve_fix(
            venue.handle, venue.acceptor, 0, max_connections=1, task_status=task_status
        )
    )
    async with open_fix(
        f"tcp://127.0.0.1:{server.port}", FixSession(config())
    ) as first:
        await first.receive()
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        assert await stream.receive_some() == b""
        await stream.aclose()


async def test_a_handler_that_fails_ends_its_own_session_only(nursery, caplog):
    async def handle(connection):
        async for event in connection:
            assert not isinstance(event, Message), "bug"

    acceptor = Acceptor([FixSession(config(Role.ACCEPTOR))])
    server = await nursery.start(serve_fix, handle, acceptor, 0)
    session = FixSession(config())
    for _ in range(2):
        async with open_fix(f"tcp://127.0.0.1:{server.port}", session) as connection:
            await connection.receive()
            connection.send("D", ORDER)
            assert [type(event) async for event in connection] == [LoggedOut]

    assert "the handler of" in caplog.text


async def test_nobody_listening_is_an_error(venue):
    with reserved_port() as port, pytest.raises(ConnectError):
        async with open_fix(f"tcp://127.0.0.1:{port}", FixSession(config())):
            pass


class MockTime:
    """The wall clock that goes with trio's."""

    @staticmethod
    def now_ns():
        return 1_700_000_000 * 10**9 + MockTime.monotonic_ns()

    @staticmethod
    def monotonic_ns():
        return round(trio.current_time() * 10**9)


async def test_a_silent_venue_is_tested_and_left(mock_clock, nursery):
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]

    async def fall_silent():
        stream = await listeners[0].accept()
        await stream.receive_some()
        logon = [
            (8, b"FIX.4.4"), (35, b"A"), (34, b"1"), (49, b"THEM"),
            (52, utc_timestamp(MockTime.now_ns())), (56, b"US"),
            (98, b"0"), (108, b"1"),
        ]  # fmt: skip
        await stream.send_all(encode(logon))
        while await stream.receive_some():
            pass
        await stream.aclose()

    nursery.start_soon(fall_silent)
    session = FixSession(config(heartbeat_interval=1))
    target = f"tcp://127.0.0.1:{port}"
    async with open_fix(target, session, clock=MockTime()) as connection:
        assert isinstance(await anext(connection), LoggedOn)
        mock_clock.autojump_threshold = 0  # nothing more comes
        events = [event async for event in connection]

    assert isinstance(events[-1].error, HeartbeatTimeout)
    await listeners[0].aclose()


@pytest.fixture
def authority():
    return trustme.CA()


async def test_tls_is_verified_both_when_right_and_when_wrong(nursery, authority):
    venue = Venue()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(serving)
    server = await nursery.start(
        lambda task_status: serve_fix(
            venue.handle,
            venue.acceptor,
            0,
            ssl_context=serving,
            task_status=task_status,
        )
    )
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    target = f"tls://localhost:{server.port}"
    async with open_fix(
        target, FixSession(config()), ssl_context=trusting
    ) as connection:
        assert isinstance((await connection.receive())[0], LoggedOn)

    with pytest.raises(UntrustedCertificate):
        async with open_fix(target, FixSession(config())):
            pass


async def test_only_one_task_may_receive(venue):
    async with open_fix(url(venue), FixSession(config())) as connection:
        await connection.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.receive)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await connection.receive()
            nursery.cancel_scope.cancel()


async def test_what_a_slow_venue_does_not_take_goes_out_while_receiving(venue, nursery):
    session = FixSession(config())
    async with open_fix(url(venue), session, outbox_limit=1 << 24) as connection:
        await connection.receive()
        count = 2000

        async def collect():
            got = 0
            while got < count:
                events = await connection.receive()
                got += sum(isinstance(event, Message) for event in events)
            done.set()

        done = trio.Event()
        nursery.start_soon(collect)
        for _ in range(count):
            connection.send("D", [*ORDER, (58, "x" * 2000)])
        await connection.drain(mark=1000)
        await done.wait()

    assert isinstance(connection, TrioFixConnection)


async def test_a_peer_that_was_gone_before_it_was_served_ends_no_server(caplog):
    """A reset connection waits in the backlog until it is accepted, and has no peer."""
    caplog.set_level("INFO", "netcore.fix")
    listener, peer = socket.create_server(("127.0.0.1", 0)), socket.socket()
    with listener:
        peer.connect(listener.getsockname())
        accepted, _ = listener.accept()
        hung_up = select.poll()
        hung_up.register(accepted, 0)  # hanging up is told whatever is asked
        # Linger 0: closing resets.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        assert hung_up.poll(60_000)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(accepted))

        await _Server(quiet, Acceptor([]), None, 1, SystemClock()).handle(stream)

    assert "gone before it was served" in caplog.text


async def quiet(connection):
    raise AssertionError("nobody is there")
