"""A service over real sockets, and what it is made with."""

import socket
import ssl

import pytest
import trustme

from netcore.clock import ManualClock
from netcore.dns import StaticResolver
from netcore.errors import ConnectError
from netcore.info import ConnectionInfo
from netcore.select import DirectSelector, EpollSelector
from netcore.service import Endpoint, Handle, IOService
from netcore.stream import TcpStream, TlsStream, secure_context
from netcore.testing import reserved_port

# -- values --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"connect_interval": -1}, "connect_interval must not be negative"),
        ({"connect_timeout": 0}, "connect_timeout must be above 0 s, was 0"),
        ({"dns_timeout": -1}, "dns_timeout must be above 0 s, was -1"),
        ({"auto_disconnect": 0}, "time to live must be above 0 s, was 0"),
    ],
)
def test_times_that_make_no_sense_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        IOService(DirectSelector(), **options)


def test_a_service_prints_how_many_there_are(kit):
    setup = kit.Setup()
    setup.venue("a")
    setup.venue("b")
    setup.turn()

    assert repr(setup.service) == "<IOService 1 active, 1 pending>"


class Feed(Endpoint):
    """Receives what a server on loopback sends."""

    def __init__(self, info):
        super().__init__(info)
        self.got = []
        self.reasons = []

    def create(self, address, context):
        return TcpStream.connect(self.info, address)

    def poll(self, target, context):
        data = target.receive()
        if data == b"":
            raise EOFError
        if data:
            self.got.append(data)

    def can_recreate(self, reason, context):
        self.reasons.append(reason)
        return True


def until(service, condition):
    for _ in range(10_000_000):
        if condition():
            return
        service.poll()
    raise AssertionError("it never happens")


# -- over real sockets ---------------------------------------------------------------


@pytest.mark.parametrize(
    "selector",
    [EpollSelector, lambda: EpollSelector(portable=True), DirectSelector],
    ids=["epoll", "portable", "direct"],
)
def test_a_lost_connection_comes_back_under_the_same_handle(selector):
    clock = ManualClock()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        feed = Feed(ConnectionInfo("venue.example", port))
        resolver = StaticResolver({"venue.example": ["127.0.0.1"]})
        with IOService(selector(), clock=clock, resolver=resolver) as service:
            handle = service.register(feed)
            for word in (b"one", b"two"):
                clock.advance(1)
                service.poll()
                assert service.target(handle) is not None
                peer, _ = listener.accept()
                with peer:
                    peer.sendall(word)
                    until(service, lambda word=word: feed.got[-1:] == [word])
                until(service, lambda: service.target(handle) is None)

    assert feed.got == [b"one", b"two"]
    assert [type(reason.error) for reason in feed.reasons] == [EOFError, EOFError]


@pytest.mark.parametrize("selector", [EpollSelector, DirectSelector])
def test_a_refused_connection_does_not_look_pending_for_ever(selector):
    with reserved_port() as port, IOService(selector(), clock=ManualClock()) as service:
        feed = Feed(ConnectionInfo("127.0.0.1", port))
        service.register(feed)

        until(service, lambda: feed.reasons)

        assert isinstance(feed.reasons[0].error, ConnectError)
        assert [endpoint for _, endpoint in service.pending()] == [feed]


def test_plaintext_that_epoll_does_not_see_is_not_forgotten():
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_context)
    client_context = secure_context()
    authority.configure_trust(client_context)

    class Sipping(Feed):
        def create(self, address, context):
            return TlsStream(super().create(address, context), client_context)

        def poll(self, target, context):
            data = target.receive(3)
            if data:
                self.got.append(data)

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        IOService(EpollSelector(), clock=ManualClock()) as service,
    ):
        feed = Sipping(ConnectionInfo("127.0.0.1", listener.getsockname()[1]))
        service.register(feed)
        service.poll()
        accepted, _ = listener.accept()
        server = TlsStream(TcpStream.adopt(accepted), server_context, server_side=True)
        until(service, server.connected)
        server.send(b"one record that is read in many turns")
        until(service, lambda: len(b"".join(feed.got)) == 37)
        server.close()

    assert b"".join(feed.got) == b"one record that is read in many turns"
    assert len(feed.got) == 13


def test_waiting_ends_when_something_is_ready_or_due():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        feed = Feed(ConnectionInfo("127.0.0.1", listener.getsockname()[1]))
        with IOService(EpollSelector(), resolver=StaticResolver({})) as service:
            service.wait(0)
            service.register(feed)
            service.run(lambda: service.target(Handle(1)) is not None, waiting=True)
            peer, _ = listener.accept()
            with peer:
                service.wait(0.001)
                peer.sendall(b"x")
                service.run(lambda: feed.got, waiting=True)

    assert feed.got == [b"x"]
