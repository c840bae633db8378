"""A service keeps a WebSocket alive and subscribed."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trustme

from netcore.clock import ManualClock
from netcore.dns import StaticResolver
from netcore.endpoint import DisconnectReason, Failed
from netcore.errors import ConnectionClosed, EndpointLost, InvalidURL
from netcore.select import DirectSelector, EpollSelector, Selectable
from netcore.service import IOService
from netcore.stream.tcp import TcpStream
from netcore.stream.tls import TlsStream
from netcore.testing import memory_stream_pair, tcp_stream_pair
from netcore.ws import (
    Batch,
    Frame,
    Heartbeat,
    Role,
    State,
    WebSocket,
    WebSocketEndpoint,
    WebSocketOptions,
    WebSocketWatch,
)


class Feed(WebSocketEndpoint[None]):
    def __init__(self, url: str, *, again: bool = True, **options) -> None:
        super().__init__(url, **options)
        self.got: list[bytes] = []
        self.reasons: list[DisconnectReason] = []
        self.again = again

    def on_batch(self, websocket: WebSocket, batch: Batch, context: None) -> None:
        self.got += batch.payloads
        if b"answer me" in batch.payloads:
            websocket.send_text("answered")

    def subscriptions(self, context: None) -> list[str]:
        return ["subscribe a", "subscribe b"]

    def can_recreate(self, reason: DisconnectReason, context: None) -> bool:
        self.reasons.append(reason)
        return self.again


class Venue:
    """The other end, driven in the same loop."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.context = context
        self.ends: list[WebSocket] = []
        self.heard: list[list[bytes]] = []

    def turn(self) -> None:
        try:
            sock, _ = self.listener.accept()
        except BlockingIOError:
            pass
        else:
            stream = TcpStream.adopt(sock)
            self.ends.append(
                WebSocket.serve(
                    stream
                    if self.context is None
                    else TlsStream(stream, self.context, server_side=True)
                )
            )
            self.heard.append([])
        for end, heard in zip(self.ends, self.heard, strict=True):
            if end.closed:
                continue
            try:
                heard += (end.read_batch() or Batch(0, [])).payloads
            except ConnectionClosed:
                continue
            if end.state is State.CONNECTING and end.request is not None:
                end.accept()

    @contextmanager
    def open(self) -> Iterator["Venue"]:
        try:
            yield self
        finally:
            self.listener.close()
            for end in self.ends:
                end.abort()


def run(service: IOService, venue: Venue, until) -> None:
    guard = time.monotonic() + 60  # against hanging; nothing asserts a duration
    while time.monotonic() < guard:
        service.poll()
        venue.turn()
        if until():
            return
    pytest.fail("it never came")


@pytest.mark.parametrize("selector", [DirectSelector, EpollSelector])
def test_an_endpoint_subscribes_reads_answers_and_comes_again(selector):
    clock = ManualClock()
    with (
        Venue().open() as venue,
        IOService(selector(), clock=clock, resolver=StaticResolver({})) as service,
    ):
        port = venue.listener.getsockname()[1]
        feed = Feed(f"ws://127.0.0.1:{port}/x", headers=[("X-Key", "k")], clock=clock)
        service.register(feed)
        run(service, venue, lambda: venue.heard and len(venue.heard[0]) == 2)
        assert venue.heard[0] == [b"subscribe a", b"subscribe b"]
        assert venue.ends[0].request is not None
        assert venue.ends[0].request.header("x-key") == "k"

        venue.ends[0].send_many(["1", "answer me"])
        run(service, venue, lambda: b"answered" in venue.heard[0])
        assert feed.got == [b"1", b"answer me"]

        # The last message and the close come in one read.
        venue.ends[0].send_text("2")
        venue.ends[0].close(1012)
        run(service, venue, lambda: feed.reasons)
        assert isinstance(feed.reasons[0], Failed)
        assert isinstance(feed.reasons[0].error, ConnectionClosed)
        assert feed.reasons[0].error.code == 1012
        assert feed.got[-1] == b"2"

        clock.advance(1)
        run(service, venue, lambda: len(venue.heard) == 2 and len(venue.heard[1]) == 2)


def test_an_endpoint_that_may_not_come_again_is_lost():
    clock = ManualClock()
    with (
        Venue().open() as venue,
        IOService(
            DirectSelector(), clock=clock, resolver=StaticResolver({})
        ) as service,
    ):
        feed = Feed(f"ws://127.0.0.1:{venue.listener.getsockname()[1]}", again=False)
        service.register(feed)
        run(service, venue, lambda: venue.heard and venue.heard[0])
        venue.ends[0].abort()
        with pytest.raises(EndpointLost):
            run(service, venue, lambda: False)


def test_the_timers_run_in_a_service_though_nothing_comes():
    clock = ManualClock()
    options = WebSocketOptions(heartbeat=Heartbeat(interval=5, timeout=2))
    with (
        Venue().open() as venue,
        IOService(EpollSelector(), clock=clock, resolver=StaticResolver({})) as service,
    ):
        feed = Feed(
            f"ws://127.0.0.1:{venue.listener.getsockname()[1]}",
            options=options,
            clock=clock,
        )
        service.register(feed)
        run(service, venue, lambda: venue.heard and venue.heard[0])
        clock.advance(5)
        service.poll()
        clock.advance(2)
        service.poll()

    assert isinstance(feed.reasons[0], Failed)
    assert isinstance(feed.reasons[0].error, ConnectionClosed)
    assert feed.reasons[0].error.code == 1011


def test_tls_is_spoken_for_wss():
    authority = trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    ours = ssl.create_default_context()
    authority.configure_trust(ours)
    with (
        Venue(theirs).open() as venue,
        IOService(EpollSelector(), resolver=StaticResolver({})) as service,
    ):
        port = venue.listener.getsockname()[1]
        service.register(Feed(f"wss://127.0.0.1:{port}", ssl_context=ours))
        run(service, venue, lambda: venue.heard and len(venue.heard[0]) == 2)


def test_a_bad_url_is_refused_at_once():
    with pytest.raises(InvalidURL):
        Feed("http://h/")


def test_nothing_is_left_open_when_creating_fails():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        feed = Feed(url, headers=[("Bad name", "x")])
        with pytest.raises(ValueError, match="header"):
            feed.create(
                StaticResolver({}).query("127.0.0.1", feed.info.port).poll()[0], None
            )


class Chat(WebSocketEndpoint[None]):
    def __init__(self, url: str, **options) -> None:
        super().__init__(url, **options)
        self.seen: list[str] = []

    def on_open(self, websocket: WebSocket, context: None) -> None:
        assert websocket.state is State.OPEN
        self.seen.append("open")
        websocket.send_text("hello")

    def on_message(self, websocket: WebSocket, message: Frame, context: None) -> None:
        self.seen.append(message.text)
        if message.text == "break":
            raise KeyError("a bug")


@pytest.mark.parametrize("selector", [DirectSelector, EpollSelector])
def test_an_endpoint_of_two_methods_opens_and_takes_message_by_message(selector):
    clock = ManualClock()
    with (
        Venue().open() as venue,
        IOService(selector(), clock=clock, resolver=StaticResolver({})) as service,
    ):
        chat = Chat(f"ws://127.0.0.1:{venue.listener.getsockname()[1]}")
        handle = service.register(chat)
        run(service, venue, lambda: venue.heard and venue.heard[0])
        assert (chat.seen, venue.heard[0]) == (["open"], [b"hello"])

        venue.ends[0].send_many(["1", "break", "never seen"])
        run(service, venue, lambda: service.target(handle) is None)
        assert chat.seen == ["open", "1", "break"]

        clock.advance(1)
        run(service, venue, lambda: len(venue.heard) == 2 and venue.heard[1])
        assert chat.seen == ["open", "1", "break", "open"]


def test_messages_behind_the_upgrade_come_after_the_opening():
    class Silent(Chat):
        def on_open(self, websocket: WebSocket, context: None) -> None:
            self.seen.append("open")

    chat = Silent("ws://127.0.0.1:1")
    ours, theirs = memory_stream_pair()
    target = chat._opening = WebSocket(ours)
    server = WebSocket.serve(theirs)
    server.read_batch()
    server.accept()
    server.send_many(["1", "2"])

    assert chat.poll(target, None) == 1
    assert chat.seen == ["open"]
    assert target.buffered
    assert chat.poll(target, None) == 2
    assert chat.seen == ["open", "1", "2"]


def test_an_endpoint_must_take_messages_somehow():
    class Deaf(WebSocketEndpoint[None]):
        pass

    with pytest.raises(TypeError, match="Deaf must define on_message or on_batch"):
        Deaf("ws://h")


def test_connections_are_kept_alive_by_default_and_by_the_services_clock():
    clock = ManualClock()
    with (
        Venue().open() as venue,
        IOService(EpollSelector(), clock=clock, resolver=StaticResolver({})) as service,
    ):
        chat = Chat(f"ws://127.0.0.1:{venue.listener.getsockname()[1]}")
        service.register(chat)
        run(service, venue, lambda: venue.heard and venue.heard[0])
        assert chat.clock is clock

        clock.advance(20)
        service.poll()  # the upgrade's answer was a sign of life
        clock.advance(20)
        service.poll()  # the ping; the venue does not turn, so nothing answers
        assert any(service.active())
        clock.advance(10)
        service.poll()

        assert not any(service.active())
        assert [endpoint for _, endpoint in service.pending()] == [chat]


def test_a_watch_is_selectable_and_closes_for_good():
    a, b = tcp_stream_pair()
    watch = WebSocketWatch(WebSocket.open(a, role=Role.CLIENT))

    assert isinstance(watch, Selectable)
    assert watch.connected()
    assert not watch.buffered
    assert not watch.want_write
    assert watch.fileno() == a.fileno()
    watch.close()
    assert watch.fileno() == -1
    b.close()
