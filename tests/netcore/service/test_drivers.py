"""One life cycle, three drivers: each scenario runs under every one of them."""

import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import trio
import trustme

from netcore.dns import RoundRobin, StaticResolver, ThreadResolver
from netcore.endpoint import AutoDisconnect, Endpoint, Failed
from netcore.errors import (
    ConnectError,
    ConnectTimeout,
    EndpointLost,
    ResolveError,
    ResolveTimeout,
)
from netcore.info import Address, ConnectionInfo
from netcore.select import DirectSelector, EpollSelector
from netcore.service import IOService
from netcore.stream import TcpStream, TlsStream, secure_context
from netcore.testing import ScriptedStream, reserved_port
from netcore.trio import run_service
from netcore.ws import Heartbeat, Occasion, WebSocket, WebSocketEndpoint
from netcore.ws.options import WebSocketOptions

GUARD_SECONDS = 60  # against hanging; nothing asserts a duration


def busy(service, until):
    service.run(until)


def waiting(service, until):
    service.run(until, waiting=True)


def under_trio(service, until):
    async def main():
        await run_service(service, until=until)

    trio.run(main)


DRIVERS = {
    "busy-epoll": (busy, EpollSelector),
    "busy-direct": (busy, DirectSelector),
    "waiting-epoll": (waiting, EpollSelector),
    "waiting-portable": (waiting, lambda: EpollSelector(portable=True)),
    "waiting-direct": (waiting, DirectSelector),
    "trio-epoll": (under_trio, EpollSelector),
    "trio-portable": (under_trio, lambda: EpollSelector(portable=True)),
    "trio-direct": (under_trio, DirectSelector),
}


class Driver:
    """Makes services and runs them, all in the same way."""

    def __init__(self, run, selector) -> None:
        self.run = run
        self.selector = selector

    def service(self, **options) -> IOService:
        options.setdefault("resolver", StaticResolver({}))
        options.setdefault("connect_interval", 0.0)
        return IOService(self.selector(), **options)


@pytest.fixture(params=DRIVERS)
def driver(request) -> Iterator[Driver]:
    def late(*_):
        raise AssertionError("it never happens")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(GUARD_SECONDS)
    try:
        yield Driver(*DRIVERS[request.param])
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def venue(serve: Callable[[socket.socket], None]) -> Iterator[ConnectionInfo]:
    """Let a thread accept and serve one connection after the other, blocking."""
    listener = socket.create_server(("127.0.0.1", 0))
    faults = []

    def accept():
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            peer.settimeout(GUARD_SECONDS)
            with peer:
                try:
                    serve(peer)
                except (ConnectionError, ssl.SSLError):
                    continue
                except Exception as exc:
                    faults.append(exc)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield ConnectionInfo("127.0.0.1", listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()
    assert faults == []


class Feed(Endpoint):
    """Asks, notes the answers, and why its connections ended."""

    def __init__(self, info, ask=b"", log=None):
        super().__init__(info)
        self.ask = ask
        self.got = []
        self.reasons = []
        self.made = 0
        self.again = True
        self.log = log if log is not None else []

    def create(self, address, context):
        self.made += 1
        self.log.append(self)
        self.asked = False
        return TcpStream.connect(self.info, address)

    def poll(self, target, context):
        if self.ask and not self.asked:
            target.send(self.ask)
            self.asked = True
        data = target.receive()
        if data == b"":
            raise EOFError("the venue has gone")
        if data:
            self.got.append(data)
        return 0 if data is None else 1

    def can_recreate(self, reason, context):
        self.reasons.append(reason)
        return self.again


def echo(peer):
    while data := peer.recv(100):
        peer.sendall(data.upper())


def test_an_endpoint_asks_and_is_answered(driver):
    with venue(echo) as info, driver.service() as service:
        feed = Feed(info, b"hello")
        service.register(feed)

        driver.run(service, lambda: feed.got)

    assert feed.got == [b"HELLO"]


def test_a_lost_connection_comes_back_under_the_same_handle(driver):
    words = iter([b"one", b"two", b"three"])

    def say_and_go(peer):
        peer.sendall(next(words, b"more"))

    with venue(say_and_go) as info, driver.service() as service:
        feed = Feed(info)
        handle = service.register(feed)

        driver.run(service, lambda: len(feed.got) >= 3)

        assert service.target(handle) is not None
    assert feed.got == [b"one", b"two", b"three"]
    assert [type(reason.error) for reason in feed.reasons] == [EOFError, EOFError]


def test_failing_endpoints_take_nobody_down(driver):
    class Faulty(Feed):
        def poll(self, target, context):
            raise KeyError("a bug in an endpoint")

    with venue(echo) as info, reserved_port() as nobody:
        refused = ConnectionInfo("127.0.0.1", nobody)
        with driver.service() as service:
            feeds = [Feed(refused), Faulty(info), Feed(info, b"a")]
            for feed in feeds:
                service.register(feed)

            driver.run(service, lambda: feeds[2].got and feeds[0].reasons[1:])

    assert feeds[2].reasons == []
    assert isinstance(feeds[0].reasons[0].error, ConnectError)
    assert {type(reason.error) for reason in feeds[1].reasons} <= {KeyError}


def test_a_lost_endpoint_is_reported_and_the_others_go_on(driver):
    def bye(peer):
        if peer.recv(100) == b"stay":
            peer.sendall(b"ok")
            peer.recv(1)

    with venue(bye) as info, driver.service() as service:
        leaving, staying = Feed(info, b"leave"), Feed(info, b"stay")
        leaving.again = False
        handle = service.register(leaving)
        with pytest.raises(EndpointLost) as caught:
            driver.run(service, lambda: False)
        service.register(staying)

        driver.run(service, lambda: staying.got)

    assert caught.value.handle == handle
    assert isinstance(caught.value.__cause__, EOFError)
    assert (leaving.made, staying.got) == (1, [b"ok"])


def test_a_time_to_live_ends_a_quiet_connection(driver):
    with venue(echo) as info, driver.service(auto_disconnect=0.02) as service:
        feed = Feed(info)
        service.register(feed)

        driver.run(service, lambda: feed.made == 3)

    # On a stalled machine the third may be over in the turn that made it.
    assert feed.reasons[:2] == [AutoDisconnect(0.02)] * 2
    assert len(feed.reasons) <= 3


def test_a_handshake_that_never_ends_times_out(driver):
    class Secure(Feed):
        def create(self, address, context):
            return TlsStream(super().create(address, context), secure_context())

    def silent(peer):
        while peer.recv(1000):
            pass

    with venue(silent) as info, driver.service(connect_timeout=0.02) as service:
        feed = Secure(info)
        service.register(feed)

        driver.run(service, lambda: feed.reasons)

    assert isinstance(feed.reasons[0].error, ConnectTimeout)


def test_names_are_looked_up_in_a_thread(driver):
    asked = []

    def table(host, port):
        asked.append(host)
        if len(asked) == 1:
            raise ResolveError("not yet")
        return [Address("127.0.0.1", port)]

    with venue(echo) as info, ThreadResolver(resolve=table) as resolver:
        options = {"resolver": RoundRobin(resolver), "connect_interval": 0.001}
        with driver.service(**options) as service:
            feed = Feed(ConnectionInfo("venue.example", info.port), b"x")
            service.register(feed)

            driver.run(service, lambda: feed.got)

    assert feed.got == [b"X"]
    assert asked == ["venue.example"] * 2
    assert isinstance(feed.reasons[0].error, ResolveError)


class Silent:
    """A resolver that never answers."""

    def query(self, host, port):
        return self

    def poll(self):
        return None

    def cancel(self):
        pass


def test_a_look_up_that_never_ends_times_out(driver):
    with driver.service(resolver=Silent(), dns_timeout=0.02) as service:
        feed = Feed(ConnectionInfo("venue.example", 1))
        service.register(feed)

        driver.run(service, lambda: feed.reasons)

    assert isinstance(feed.reasons[0].error, ResolveTimeout)


def test_one_connection_is_made_per_interval_in_order(driver):
    with venue(echo) as info, driver.service(connect_interval=0.005) as service:
        log = []
        feeds = [Feed(info, log=log) for _ in range(4)]
        for feed in feeds:
            service.register(feed)

        driver.run(service, lambda: len(log) == 4)

    assert log == feeds


def test_an_endpoint_for_every_turn_is_visited_though_nothing_comes(driver):
    class Timer(Feed):
        every_turn = True
        turns = 0

        def poll(self, target, context):
            self.turns += 1
            return 0

    with venue(echo) as info, driver.service() as service:
        timer = Timer(info)
        service.register(timer)

        driver.run(service, lambda: timer.turns > 10)

    assert timer.reasons == []


def test_an_endpoint_is_visited_at_its_deadline_though_nothing_comes(driver):
    class Alarm(Feed):
        due = None
        late = 0

        def deadline(self, target):
            return self.due

        def poll(self, target, context):
            now = self.clock.monotonic_ns()
            if self.due is None:
                self.due = now + 2_000_000
            elif now >= self.due:  # a spinning driver comes by long before, too
                self.late += 1
                self.due = now + 2_000_000
            return super().poll(target, context)

    with venue(echo) as info, driver.service() as service:
        alarm = Alarm(info, b"x")
        service.register(alarm)

        driver.run(service, lambda: alarm.late > 3)

    assert alarm.reasons == []


def test_a_deadline_holds_while_connecting(driver):
    class Impatient(Feed):
        def create(self, address, context):
            self.made += 1
            self.due = self.clock.monotonic_ns() + 2_000_000
            return ScriptedStream(connecting=1 << 60)

        def deadline(self, target):
            return self.due

        def poll(self, target, context):
            raise TimeoutError("my own limit")

    with driver.service() as service:
        feed = Impatient(ConnectionInfo("127.0.0.1", 1))
        service.register(feed)

        driver.run(service, lambda: feed.reasons)

    assert str(feed.reasons[0]) == "TimeoutError: my own limit"


def test_streams_without_descriptor_are_read_to_their_end(driver):
    class Replay(Feed):
        def create(self, address, context):
            self.made += 1
            return ScriptedStream([b"a", None, b"b", None, b""])

    with driver.service() as service:
        feed = Replay(ConnectionInfo("127.0.0.1", 1))
        service.register(feed)

        driver.run(service, lambda: feed.reasons)

    assert feed.got == [b"a", b"b"]


def test_plaintext_that_no_selector_sees_is_read(driver):
    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), secure_context()
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    authority.configure_trust(ours)

    def one_record(peer):
        with theirs.wrap_socket(peer, server_side=True) as secured:
            secured.sendall(b"one record, read in many turns")
            secured.recv(1)

    class Sipping(Feed):
        def create(self, address, context):
            return TlsStream(super().create(address, context), ours)

        def poll(self, target, context):
            data = target.receive(3)
            self.got += [data] if data else []

    with venue(one_record) as info, driver.service() as service:
        feed = Sipping(info)
        service.register(feed)

        driver.run(service, lambda: len(feed.got) == 10)

    assert b"".join(feed.got) == b"one record, read in many turns"


def test_an_endpoint_registers_others_from_its_turn(driver):
    with venue(echo) as info, driver.service() as service:
        second = Feed(info, b"second")

        class First(Feed):
            def poll(self, target, context):
                done = super().poll(target, context)
                if self.got and not second.made:
                    service.deregister(handle)
                    service.register(second)
                return done

        handle = service.register(First(info, b"first"))

        driver.run(service, lambda: second.got)

    assert second.got == [b"SECOND"]


class Chat(WebSocketEndpoint[None]):
    """Notes what a user of the convenience sees."""

    def __init__(self, info, **options):
        super().__init__(f"ws://{info}/chat", **options)
        self.seen = []

    def on_open(self, websocket, context):
        self.seen.append("open")
        websocket.send_text("hello")

    def on_message(self, websocket, message, context):
        self.seen.append(message.text)

    def can_recreate(self, reason, context):
        self.seen.append(type(reason.error).__name__)
        return True


def test_a_websocket_opens_speaks_and_comes_again(driver):
    def chat(peer):
        with WebSocket.serve(TcpStream.adopt(peer.dup())) as end:
            while end.request is None:
                end.wait(GUARD_SECONDS)
                end.read_batch()
            end.accept()
            end.send_text("welcome")
            while (text := end.receive_text()) is None:
                end.wait(GUARD_SECONDS)
            end.send_many([text, text.upper()])

    with venue(chat) as info, driver.service() as service:
        endpoint = Chat(info)
        service.register(endpoint)

        driver.run(service, lambda: endpoint.seen.count("HELLO") == 2)

    once = ["open", "welcome", "hello", "HELLO"]
    assert endpoint.seen[:4] == once
    assert endpoint.seen[-4:] == once


def test_a_silent_websocket_is_pinged_and_given_up(driver):
    opcodes = []

    def deaf(peer):
        end = WebSocket.serve(TcpStream.adopt(peer.dup()))
        with end:
            while end.request is None:
                end.wait(GUARD_SECONDS)
                end.read_batch()
            end.accept()
        peer.setblocking(True)
        sent = b""
        while data := peer.recv(1000):
            sent += data
        # A slow venue reads several short, masked frames at once.
        while sent:
            opcodes.append(sent[0])
            sent = sent[6 + (sent[1] & 0x7F) :]

    # Closing the server's end closes a duplicate; the connection itself stays.
    heartbeat = Heartbeat(interval=0.01, timeout=0.01, occasion=Occasion.IDLE)
    with venue(deaf) as info, driver.service() as service:
        endpoint = Chat(info, options=WebSocketOptions(heartbeat=heartbeat))
        service.register(endpoint)

        driver.run(service, lambda: "ConnectionClosed" in endpoint.seen)

    assert endpoint.seen[:2] == ["open", "ConnectionClosed"]
    assert 0x89 in opcodes  # a final ping frame, RFC 6455 §5.5.2


def test_a_server_that_never_upgrades_is_given_up(driver):
    def silent(peer):
        while peer.recv(1000):
            pass

    with venue(silent) as info, driver.service() as service:
        endpoint = Chat(info, options=WebSocketOptions(open_timeout=0.02))
        service.register(endpoint)

        driver.run(service, lambda: endpoint.seen)

    assert endpoint.seen == ["HandshakeError"]


def test_reasons_are_the_same_values_everywhere(driver):
    def bye(peer):
        peer.sendall(b"bye")

    with venue(bye) as info, driver.service(context="context") as service:
        feed = Feed(info)
        service.register(feed)

        driver.run(service, lambda: feed.reasons)

    assert isinstance(feed.reasons[0], Failed)
    assert str(feed.reasons[0]) == "EOFError: the venue has gone"
