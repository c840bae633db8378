import itertools
import socket

import pytest

from netcore.errors import ConnectionLost, StreamClosed
from netcore.info import ConnectionInfo, SocketOptions
from netcore.stream import Stream
from netcore.testing import (
    ChaosStream,
    MemoryStream,
    ScriptedStream,
    check_source,
    check_stream,
    memory_stream_pair,
    random_sizes,
    reserved_port,
    tcp_stream_pair,
)

# -- chaos ---------------------------------------------------------------------------


def test_chaos_conforms():
    seeds = itertools.count()

    def pair():
        a, b = memory_stream_pair()
        sizes = random_sizes(next(seeds), most=5000)
        return ChaosStream(a, receive=sizes, send=sizes), b

    check_stream(pair)


def test_chaos_lets_pass_what_the_script_says_and_then_everything():
    a, b = memory_stream_pair()
    chaos = ChaosStream(a, receive=[0, 1, 2], send=[0, 3])

    assert [chaos.send(b"abcdef") for _ in range(2)] == [0, 3]
    assert chaos.send(b"def") == 3
    b.send(b"123456")
    assert [chaos.receive() for _ in range(4)] == [None, b"1", b"23", b"456"]


def test_chaos_hides_no_end():
    a, _ = memory_stream_pair()
    chaos = ChaosStream(a, receive=itertools.repeat(0), send=itertools.repeat(0))
    chaos.close()

    with pytest.raises(StreamClosed):
        chaos.receive()
    with pytest.raises(StreamClosed):
        chaos.send(b"x")


def test_random_sizes_are_the_same_for_the_same_seed():
    def sizes(seed):
        return list(itertools.islice(random_sizes(seed, most=9), 1000))

    assert sizes(1) == sizes(1)
    assert sizes(1) != sizes(2)
    assert set(sizes(1)) == set(range(10))
    assert 200 < sizes(1).count(0) < 400


# -- scripts -------------------------------------------------------------------------


def test_a_script_is_followed_and_then_would_block():
    stream = ScriptedStream([b"abc", None, b"d"])

    assert [stream.receive(2) for _ in range(5)] == [b"ab", b"c", None, b"d", None]
    stream.feed(b"e")
    assert stream.receive() == b"e"


def test_a_scripts_end_and_fault_stay():
    fault = ConnectionLost("gone")
    ended, broken = ScriptedStream([b""]), ScriptedStream([fault])

    assert [ended.receive() for _ in range(2)] == [b"", b""]
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            broken.receive()


def test_a_script_says_how_much_is_sent():
    stream = ScriptedStream(takes=[2, 0])

    assert [stream.send(b"abc") for _ in range(3)] == [2, 0, 3]
    assert bytes(stream.sent) == b"ababc"


def test_a_scripted_stream_connects_when_it_says():
    stream = ScriptedStream([b"a"], connecting=2)

    assert stream.want_write
    assert not stream.buffered
    assert stream.send(b"x") == 0
    assert stream.receive() is None
    assert stream.connected()
    assert stream.buffered
    assert stream.receive() == b"a"


def test_a_closed_scripted_stream_says_so():
    stream = ScriptedStream([b"a"], connecting=1)
    stream.close()

    assert stream.closed
    assert not stream.buffered
    assert not stream.want_write
    with pytest.raises(StreamClosed):
        stream.receive()


def test_scripted_sources_conform():
    def source():
        return ScriptedStream([b"ab", None, b"c", b""])

    with pytest.raises(AssertionError, match="a closed stream claims to hold bytes"):
        check_source(lambda: Lax(source()), b"abc")
    check_source(source, b"abc")


class Lax:
    """Forgets that it was closed."""

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def close(self):
        pass

    def fileno(self):
        return -1


# -- loopback ------------------------------------------------------------------------


def test_a_loopback_pair_takes_options():
    options = SocketOptions(nodelay=False)
    client, server = tcp_stream_pair(ConnectionInfo("ignored", 0, options=options))

    assert not client.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert client.sock.getsockname() == server.sock.getpeername()
    client.close()
    server.close()


# -- the kit finds what is wrong -----------------------------------------------------


class Wrapped:
    """A memory stream in which single rules can be broken by overriding."""

    def __init__(self, inner: MemoryStream) -> None:
        self.inner = inner

    @property
    def info(self):
        return self.inner.info

    @property
    def buffered(self):
        return self.inner.buffered

    @property
    def want_write(self):
        return False

    def receive(self, limit=65536, /):
        return self.inner.receive(limit)

    def send(self, data, /):
        return self.inner.send(data)

    def close(self):
        self.inner.close()

    def fileno(self):
        return -1

    def connected(self):
        return self.inner.connected()


class NoInfo(Wrapped):
    info = "venue.example"


class RaisesOnWouldBlock(Wrapped):
    def receive(self, limit=65536, /):
        data = self.inner.receive(limit)
        if data is None:
            raise BlockingIOError
        return data


class EmptyOnWouldBlock(Wrapped):
    def receive(self, limit=65536, /):
        return self.inner.receive(limit) or b""


class IgnoresLimit(Wrapped):
    def receive(self, limit=65536, /):
        if limit < 1:
            raise ValueError
        return self.inner.receive(65536)


class AcceptsNoLimit(Wrapped):
    def receive(self, limit=65536, /):
        return self.inner.receive(max(limit, 1))


class Flips(Wrapped):
    def send(self, data, /):
        return self.inner.send(bytes(data)[::-1])


class LosesBytes(Wrapped):
    def send(self, data, /):
        self.inner.send(bytes(data)[:10_000])
        return len(data)


class Unbounded(Wrapped):
    def send(self, data, /):
        self.inner._outgoing.capacity += len(data)
        return self.inner.send(data)


class ForgetsTheEnd(Wrapped):
    ended = False

    def receive(self, limit=65536, /):
        if self.ended:
            return None
        data = self.inner.receive(limit)
        self.ended = data == b""
        return data


class SwallowsFaults(Wrapped):
    def send(self, data, /):
        try:
            return self.inner.send(data)
        except ConnectionLost:
            return len(data)


class FaultPasses(Wrapped):
    failed = False

    def send(self, data, /):
        try:
            return self.inner.send(data)
        except ConnectionLost:
            if self.failed:
                return len(data)
            self.failed = True
            raise


class WorksWhenClosed(Wrapped):
    closed = False

    def receive(self, limit=65536, /):
        return None if self.closed else self.inner.receive(limit)

    def close(self):
        self.closed = True
        self.inner.close()


class NeverConnects(Wrapped):
    def connected(self):
        return False


class Hides(Wrapped):
    """Holds bytes that neither its descriptor nor `buffered` shows."""

    buffered = False

    def __init__(self, inner):
        super().__init__(inner)
        self._pair = socket.socketpair()

    def fileno(self):
        return self._pair[0].fileno()

    def close(self):
        for sock in self._pair:
            sock.close()
        self.inner.close()


def test_the_wrapped_stream_of_these_tests_conforms():
    check_stream(lambda: tuple(map(Wrapped, memory_stream_pair())))


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (NoInfo, "info is no ConnectionInfo"),
        (EmptyOnWouldBlock, "receive without data is not None"),
        (IgnoresLimit, "exceeds its limit"),
        (AcceptsNoLimit, "not a ValueError"),
        (Flips, "bytes change on the way there"),
        (LosesBytes, "differs|arrived|only"),
        (Unbounded, "never blocked"),
        (ForgetsTheEnd, "the end is not final"),
        (SwallowsFaults, "never an error"),
        (FaultPasses, "fault of a send is not final"),
        (WorksWhenClosed, "receive works on a closed stream"),
        (NeverConnects, "never get connected"),
    ],
)
def test_the_kit_finds_each_broken_rule(broken, rule, monkeypatch):
    monkeypatch.setattr("netcore.testing.conformance._MANY_TURNS", 10_000)

    with pytest.raises(AssertionError, match=rule):
        check_stream(lambda: tuple(map(broken, memory_stream_pair())))


def test_the_kit_finds_hidden_bytes(monkeypatch):
    monkeypatch.setattr("netcore.testing.conformance._GUARD_SECONDS", 0)

    with pytest.raises(AssertionError, match=r"neither fileno nor|nothing happens"):
        check_stream(lambda: tuple(map(Hides, memory_stream_pair())))


def test_the_kit_lets_foreign_exceptions_through():
    with pytest.raises(BlockingIOError):
        check_stream(lambda: tuple(map(RaisesOnWouldBlock, memory_stream_pair())))


@pytest.mark.parametrize(
    ("steps", "expected", "rule"),
    [
        ([b"abc", b""], b"abd", "differ from the source's"),
        ([b"abc"], b"abc", "the end is not final"),
    ],
)
def test_the_kit_finds_what_is_wrong_with_a_source(steps, expected, rule, monkeypatch):
    monkeypatch.setattr("netcore.testing.conformance._MANY_TURNS", 1000)

    with pytest.raises(AssertionError, match=rule):
        check_source(lambda: ScriptedStream(steps), expected)


def test_every_kit_stream_is_a_stream():
    a, _ = memory_stream_pair()

    for stream in (a, ChaosStream(a), ScriptedStream(), Wrapped(a)):
        assert isinstance(stream, Stream)


# -- ports ---------------------------------------------------------------------------


def test_a_reserved_port_refuses_until_whoever_was_told_it_listens():
    with reserved_port() as port:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", port))
        with (
            socket.create_server(("127.0.0.1", port)),
            socket.create_connection(("127.0.0.1", port)) as client,
        ):
            assert client.getpeername() == ("127.0.0.1", port)
