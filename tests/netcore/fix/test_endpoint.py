"""A service keeps a FIX session logged on."""

import socket
import ssl
import time
from contextlib import contextmanager

import pytest
import trustme

from netcore.clock import ManualClock
from netcore.dns import StaticResolver
from netcore.endpoint import Failed
from netcore.errors import ConnectionClosed, EndpointLost, InvalidURL
from netcore.fix import (
    FixConnection,
    FixEndpoint,
    FixSession,
    HeartbeatTimeout,
    LoggedOn,
    LoggedOut,
    LogonRefused,
    Message,
    Role,
    SessionError,
)
from netcore.fix.testing import make_session
from netcore.info import ConnectionInfo
from netcore.select import DirectSelector, EpollSelector
from netcore.service import IOService
from netcore.stream.tcp import TcpStream
from netcore.stream.tls import TlsStream

SECURITY_REQUEST = [(320, "r1"), (321, "3"), (55, "BTCUSDT")]


class Orders(FixEndpoint):
    def __init__(self, target, session=None, *, again=True, **options):
        super().__init__(target, session or make_session(Role.INITIATOR), **options)
        self.got = []
        self.events = []
        self.reasons = []
        self.again = again

    def on_open(self, connection, context):
        connection.send("c", SECURITY_REQUEST)

    def on_message(self, connection, message, context):
        self.got.append(message)
        if message.get(58) == b"break":
            raise KeyError("a bug")

    def on_event(self, connection, event, context):
        self.events.append(event)

    def can_recreate(self, reason, context):
        self.reasons.append(reason)
        return self.again


class Venue:
    """The counterparty, driven in the same loop; one session over all connections."""

    def __init__(self, clock, *, session=None, context=None):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.session = session or make_session(Role.ACCEPTOR)
        self.clock = clock
        self.context = context
        self.ends = []
        self.events = []

    @property
    def info(self):
        return ConnectionInfo("127.0.0.1", self.listener.getsockname()[1])

    def turn(self):
        try:
            sock, _ = self.listener.accept()
        except BlockingIOError:
            pass
        else:
            stream = TcpStream.adopt(sock)
            if self.context is not None:
                stream = TlsStream(stream, self.context, server_side=True)
            self.ends.append(FixConnection(self.session, stream, clock=self.clock))
        if self.ends and not self.ends[-1].closed:
            self.events += self.ends[-1].poll()

    @contextmanager
    def open(self):
        try:
            yield self
        finally:
            self.listener.close()
            for end in self.ends:
                end.close()


def run(service, venue, until):
    guard = time.monotonic() + 60  # against hanging; nothing asserts a duration
    while time.monotonic() < guard:
        service.poll()
        venue.turn()
        if until():
            return
    pytest.fail("it never came")


def all_arrived(one, other):
    """Whether each side has got what the other has sent."""
    return (
        one.next_expected == other.store.next_outgoing
        and other.next_expected == one.store.next_outgoing
    )


@contextmanager
def setting(*, selector=EpollSelector, session=None, context=None):
    clock = ManualClock()
    with (
        Venue(clock, session=session, context=context).open() as venue,
        IOService(selector(), clock=clock, resolver=StaticResolver({})) as service,
    ):
        yield clock, venue, service


def requests(venue):
    return [e for e in venue.events if isinstance(e, Message) and e.type == "c"]


@pytest.mark.parametrize("selector", [DirectSelector, EpollSelector])
def test_a_session_logs_on_asks_and_takes_answers(selector):
    with setting(selector=selector) as (_, venue, service):
        orders = Orders(venue.info)
        service.register(orders)
        run(service, venue, lambda: requests(venue))

        venue.ends[0].send("B", [(148, "news"), (33, 1), (58, "hello")])
        run(service, venue, lambda: orders.got)

    assert [type(event) for event in orders.events] == [LoggedOn]
    assert orders.got[0].get(148) == b"news"


def test_the_session_goes_on_over_a_new_connection():
    with setting() as (clock, venue, service):
        orders = Orders(venue.info)
        service.register(orders)
        run(service, venue, lambda: len(requests(venue)) == 1)
        venue.ends[0].close()
        run(service, venue, lambda: orders.reasons)

        clock.advance(1)
        run(service, venue, lambda: len(requests(venue)) == 2)

        numbers = [int(message[34]) for message in requests(venue)]
    assert isinstance(orders.reasons[0].error, Exception)
    assert numbers == [2, 4]  # 1 and 3 were the Logons: nothing began anew


def test_a_logout_of_the_venue_ends_with_its_words():
    with setting() as (_, venue, service):
        orders = Orders(venue.info, again=False)
        service.register(orders)
        run(service, venue, lambda: requests(venue))
        venue.ends[0].logout("maintenance")
        with pytest.raises(EndpointLost):
            run(service, venue, lambda: False)

    (reason,) = orders.reasons
    assert isinstance(reason.error, ConnectionClosed)
    assert (reason.error.code, reason.error.reason) == (0, "maintenance")
    assert [type(event) for event in orders.events] == [LoggedOn, LoggedOut]


def test_a_refused_logon_is_the_reason():
    stranger = make_session(Role.ACCEPTOR)
    stranger = FixSession(stranger.config, authenticate=lambda logon: "unknown API key")
    with setting(session=stranger) as (_, venue, service):
        orders = Orders(venue.info)
        service.register(orders)
        run(service, venue, lambda: orders.reasons)

    assert isinstance(orders.reasons[0].error, LogonRefused)
    assert isinstance(orders.events[-1], SessionError)


def test_heartbeats_run_in_a_service_though_nothing_comes():
    with setting() as (clock, venue, service):
        orders = Orders(venue.info)
        service.register(orders)
        run(service, venue, lambda: requests(venue))
        for _ in range(40):
            clock.advance(3)
            service.poll()
            run(service, venue, lambda: all_arrived(orders.session, venue.session))
        assert orders.reasons == []  # both sides kept the session alive

        for _ in range(40):
            clock.advance(3)
            service.poll()  # nobody answers any more
            if orders.reasons:
                break

    assert isinstance(orders.reasons[0], Failed)
    assert isinstance(orders.reasons[0].error, HeartbeatTimeout)


def test_a_bug_in_a_handler_ends_the_connection_alone():
    with setting() as (clock, venue, service):
        orders = Orders(venue.info)
        service.register(orders)
        run(service, venue, lambda: requests(venue))
        venue.ends[0].send("B", [(148, "news"), (33, 1), (58, "break")])
        run(service, venue, lambda: orders.reasons)
        clock.advance(1)
        run(service, venue, lambda: len(requests(venue)) == 2)

    assert isinstance(orders.reasons[0].error, KeyError)


def test_tls_is_spoken_where_it_is_asked_for():
    authority = trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    ours = ssl.create_default_context()
    authority.configure_trust(ours)
    with setting(context=theirs) as (_, venue, service):
        for target in (venue.info, f"tls://{venue.info}"):
            handle = service.register(Orders(target, ssl_context=ours))
            before = len(requests(venue))
            run(service, venue, lambda before=before: len(requests(venue)) > before)
            service.deregister(handle)
            run(service, venue, lambda: venue.ends[-1].closed)
            venue.session = make_session(Role.ACCEPTOR)
            venue.clock.advance(1)


def test_an_endpoint_must_take_messages():
    class Deaf(FixEndpoint):
        pass

    with pytest.raises(TypeError, match="Deaf must define on_message"):
        Deaf("tcp://h:1", make_session(Role.INITIATOR))


def test_a_bad_url_is_refused_at_once():
    with pytest.raises(InvalidURL):
        Orders("fix://h:1")
