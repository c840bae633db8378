import os
import select
import selectors
import socket
import time

import pytest

from netcore.info import ConnectionInfo
from netcore.select import (
    LONGEST_SLEEP,
    DirectSelector,
    EpollSelector,
    Selectable,
    wait_ready,
)
from netcore.stream import TcpStream
from netcore.testing import (
    ScriptedStream,
    memory_stream_pair,
    reserved_port,
    tcp_stream_pair,
)

GUARD_MS = 60_000  # against hanging


@pytest.fixture(params=[False, True], ids=["native", "portable"])
def selector(request):
    selector = EpollSelector(portable=request.param)
    yield selector
    selector.close()


@pytest.fixture
def pair():
    client, server = tcp_stream_pair()
    assert client.connected()
    yield client, server
    client.close()
    server.close()


def ready(selector, timeout=0.0):
    return sorted(selector.poll(timeout))


def test_streams_can_be_selected():
    assert isinstance(ScriptedStream(), Selectable)


# -- direct --------------------------------------------------------------------------


def test_the_direct_selector_reports_everything_always():
    selector = DirectSelector()
    a, b = memory_stream_pair()
    selector.register(1, a)
    selector.register(2, b)

    assert ready(selector) == [(1, True, True), (2, True, True)]
    selector.update(1)
    selector.unregister(1)
    assert ready(selector) == [(2, True, True)]
    selector.close()
    assert ready(selector) == []


def test_a_key_is_registered_once_and_unregistered_once():
    selector = DirectSelector()
    selector.register(1, ScriptedStream())

    with pytest.raises(ValueError, match="key 1 is registered already"):
        selector.register(1, ScriptedStream())
    selector.unregister(1)
    with pytest.raises(KeyError):
        selector.unregister(1)


# -- epoll ---------------------------------------------------------------------------


def test_nothing_is_ready_until_bytes_come(selector, pair):
    client, server = pair
    selector.register(7, client)

    assert ready(selector) == []
    server.send(b"x")
    assert ready(selector, 60) == [(7, True, False)]


def test_what_is_not_read_stays_ready(selector, pair):
    client, server = pair
    selector.register(7, client)
    server.send(b"xy")

    for _ in range(2):
        assert ready(selector, 60) == [(7, True, False)]
    client.receive()
    assert ready(selector) == []


def test_connecting_is_watched_for_writing_until_updated(selector):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream = TcpStream.connect(ConnectionInfo(*listener.getsockname()))
        selector.register(1, stream)

        assert ready(selector, 60) == [(1, False, True)]
        assert stream.connected()
        selector.update(1)
        assert ready(selector) == []
        stream.close()


def test_a_refused_connection_is_ready_for_both(selector):
    with reserved_port() as port:
        stream = TcpStream.connect(ConnectionInfo("127.0.0.1", port))
        selector.register(1, stream)

        assert ready(selector, 60) == [(1, True, True)]
    stream.close()


def test_the_peers_end_is_readable(selector, pair):
    client, server = pair
    selector.register(1, client)
    server.close()

    assert [(key, readable) for key, readable, _ in ready(selector, 60)] == [(1, True)]


def test_writing_is_watched_while_it_is_wanted(selector, pair):
    client, _ = pair
    target = Wanting(client)
    selector.register(1, target)
    assert ready(selector) == []

    target.want_write = True
    assert ready(selector) == []
    selector.update(1)
    assert ready(selector) == [(1, False, True)]
    target.want_write = False
    selector.update(1)
    assert ready(selector) == []


class Wanting:
    """A connection whose protocol has something to send, or not."""

    buffered = False

    def __init__(self, stream):
        self._stream = stream
        self.want_write = False

    def fileno(self):
        return self._stream.fileno()

    def connected(self):
        return True

    def close(self):
        self._stream.close()


def test_targets_without_descriptor_are_always_reported(selector, pair):
    client, _ = pair
    a, _b = memory_stream_pair()
    selector.register(1, client)
    selector.register(2, a)

    # A timeout of a minute would hang here if it were waited for.
    assert ready(selector, 60) == [(2, True, True)]
    selector.update(2)
    selector.unregister(2)
    assert ready(selector) == []


def test_an_unregistered_target_is_not_reported(selector, pair):
    client, server = pair
    selector.register(1, client)
    server.send(b"x")
    assert ready(selector, 60)

    selector.unregister(1)

    assert ready(selector) == []
    with pytest.raises(KeyError):
        selector.unregister(1)
    with pytest.raises(KeyError):
        selector.update(1)


def test_a_key_is_taken_once(selector, pair):
    client, server = pair
    selector.register(1, client)

    with pytest.raises(ValueError, match="key 1 is registered already"):
        selector.register(1, server)


def test_a_target_closed_too_early_takes_nobody_elses_place(selector):
    first, first_peer = tcp_stream_pair()
    first.connected()
    fd = first.fileno()
    selector.register(1, first)
    first.close()
    selector.update(1)
    second, second_peer = tcp_stream_pair()
    second.connected()
    # Give the second connection the first one's number.
    if second.fileno() != fd:
        moved = second.detach()
        os.dup2(moved.fileno(), fd)
        moved.close()
        second = TcpStream.adopt(socket.socket(fileno=fd))
    selector.register(2, second)

    selector.unregister(1)

    second_peer.send(b"x")
    assert ready(selector, 60) == [(2, True, False)]
    for stream in (second, first_peer, second_peer):
        stream.close()


def test_unregistering_a_closed_target_is_quiet(selector):
    client, server = tcp_stream_pair()
    client.connected()
    selector.register(1, client)
    client.close()

    selector.unregister(1)

    assert ready(selector) == []
    server.close()


def test_updating_a_closed_target_is_quiet(selector):
    client, server = tcp_stream_pair()
    client.connected()
    target = Wanting(client)
    selector.register(1, target)
    target.close()
    target.want_write = True

    selector.update(1)

    server.close()


class PipeEnd:
    """One end of a pipe: it hangs up without anything to read."""

    buffered = False
    want_write = False

    def __init__(self, fd):
        self._fd = fd

    def fileno(self):
        return self._fd

    def connected(self):
        return True

    def close(self):
        os.close(self._fd)


def test_a_hang_up_alone_is_readable(selector):
    reading, writing = os.pipe()
    end = PipeEnd(reading)
    selector.register(1, end)
    os.close(writing)

    assert [(key, readable) for key, readable, _ in ready(selector, 60)] == [(1, True)]
    end.close()


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll here")
def test_an_error_alone_is_for_readers_and_writers():
    selector = EpollSelector()
    reading, writing = os.pipe()
    end = PipeEnd(writing)
    selector.register(1, end)
    os.close(reading)

    assert ready(selector, 60) == [(1, True, True)]
    end.close()
    selector.close()


# -- as a descriptor of its own ------------------------------------------------------


def test_an_epoll_selector_can_be_watched_itself(pair):
    a, b = pair
    selector = EpollSelector()
    selector.register(1, a)
    outer = select.poll()
    outer.register(selector.fileno(), select.POLLIN)

    assert outer.poll(0) == []
    b.send(b"x")
    assert outer.poll(GUARD_MS) == [(selector.fileno(), select.POLLIN)]
    a.receive()
    assert outer.poll(0) == []
    selector.close()
    assert selector.fileno() == -1


def test_a_portable_selector_has_a_descriptor_where_the_system_has_one(monkeypatch):
    native = EpollSelector(portable=True)
    assert native.fileno() >= 0
    native.close()
    assert native.fileno() == -1

    monkeypatch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)
    assert EpollSelector(portable=True).fileno() == -1


def test_a_direct_selector_asks_nobody():
    assert DirectSelector().fileno() == -1


# -- one descriptor ------------------------------------------------------------------


def test_a_descriptor_is_waited_for_in_the_wanted_direction(pair):
    a, b = pair

    assert not wait_ready(a.fileno(), seconds=0)
    assert wait_ready(a.fileno(), write=True, seconds=60)
    assert wait_ready(a.fileno(), read=False, write=True)
    b.send(b"x")
    assert wait_ready(a.fileno())
    assert not wait_ready(a.fileno(), read=False, seconds=-1)


def test_a_wait_ends_when_its_time_is_up(pair):
    assert not wait_ready(pair[0].fileno(), seconds=0.001)


class Deaf:
    """A kernel that misses what comes for a while; time passes as it is told to."""

    def __init__(self, misses):
        self.misses = misses
        self.now = 100.0
        self.asked = []

    def poll(self, milliseconds=None):
        if milliseconds is None:
            return self  # `select.poll()` itself
        self.asked.append(milliseconds)
        self.now += milliseconds / 1000
        return [] if len(self.asked) <= self.misses else [(0, select.POLLIN)]

    def register(self, descriptor, events):
        pass


@pytest.mark.parametrize(
    ("seconds", "misses", "found", "asked"),
    [
        (None, 3, True, [1000] * 4),
        (2.5, 9, False, [1000, 1000, 500]),
        (2.5, 2, True, [1000, 1000, 500]),
        (0.25, 9, False, [250]),
    ],
)
def test_a_signal_that_came_too_early_to_wake_anybody_waits_a_second_at_most(
    monkeypatch, seconds, misses, found, asked
):
    deaf = Deaf(misses)
    monkeypatch.setattr(select, "poll", deaf.poll)
    monkeypatch.setattr(time, "monotonic", lambda: deaf.now)

    assert wait_ready(0, seconds=seconds) is found
    assert deaf.asked == asked
    assert max(asked) <= LONGEST_SLEEP * 1000
