import errno
import select
import socket
import struct
import sys
from contextlib import ExitStack

import pytest

from netcore import inet
from netcore.errors import (
    ConnectError,
    ConnectionLost,
    ResolveError,
    SocketOptionError,
    StreamClosed,
)
from netcore.info import Address, ConnectionInfo, SocketOptions
from netcore.stream import TcpStream
from netcore.testing import check_stream, reserved_port, tcp_stream_pair

linux_only = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="interface names of Linux"
)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def pair():
    client, server = tcp_stream_pair()
    assert client.connected()
    yield client, server
    client.close()
    server.close()


def info_of(listener, **fields) -> ConnectionInfo:
    return ConnectionInfo("127.0.0.1", listener.getsockname()[1], **fields)


def wait(stream, *, write=False):
    fds = [stream.fileno()]
    assert any(select.select([] if write else fds, fds if write else [], [], 60))


def unanswered(stream):
    """Whether nobody answers, given a moment to do so."""
    return not any(select.select([], [stream.fileno()], [], 0.1))


def for_ever(use):
    while True:
        use()


def reset(stream):
    """Close so that the peer gets RST, not FIN."""
    linger = struct.pack("ii", 1, 0)
    stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    stream.close()


def test_a_loopback_connection_conforms():
    check_stream(tcp_stream_pair)


def test_small_socket_buffers_conform():
    options = SocketOptions(rcvbuf=4096, sndbuf=4096, quickack=True)

    check_stream(lambda: tcp_stream_pair(with_options(options)))


def with_options(options):
    return ConnectionInfo("ignored", 0, options=options)


def test_connecting_never_blocks_and_wants_to_write(listener):
    stream = TcpStream.connect(info_of(listener))

    assert stream.want_write
    wait(stream, write=True)
    assert stream.connected()
    assert not stream.want_write
    stream.close()


@linux_only
def test_while_connecting_calls_would_block():
    with ExitStack() as stack:
        # A full backlog leaves further connections without an answer.
        listener = stack.enter_context(
            socket.create_server(("127.0.0.1", 0), backlog=0)
        )
        streams = [TcpStream.connect(info_of(listener)) for _ in range(5)]
        for stream in streams:
            stack.callback(stream.close)
        select.select([], streams, [], 60)  # of those that fit there is one at least
        waiting = [stream for stream in streams if unanswered(stream)]

        assert waiting
        for stream in waiting:
            assert stream.receive() is None
            assert stream.send(b"x") == 0
            assert stream.want_write


@pytest.mark.parametrize(
    "use",
    [TcpStream.connected, TcpStream.receive, lambda s: s.send(b"x")],
    ids=["connected", "receive", "send"],
)
def test_a_refused_connection_is_an_error_in_whatever_is_called(use):
    with reserved_port() as port:
        info = ConnectionInfo("127.0.0.1", port)
        stream = TcpStream.connect(info)
        wait(stream, write=True)

    for _ in range(2):
        with pytest.raises(ConnectError, match=f"cannot connect to {info}: ") as caught:
            use(stream)
        assert caught.value.errno == errno.ECONNREFUSED
    assert not stream.want_write
    stream.close()


def test_an_address_that_cannot_be_reached_is_an_error_at_once():
    with pytest.raises(ConnectError) as caught:
        TcpStream.connect(
            ConnectionInfo("venue.example", 9), Address("255.255.255.255", 9)
        )
    assert "venue.example:9 at 255.255.255.255:9" in str(caught.value)


def test_an_address_spares_the_look_up(listener):
    info = ConnectionInfo("name.invalid", listener.getsockname()[1])
    stream = TcpStream.connect(info, Address("127.0.0.1", info.port))

    wait(stream, write=True)

    assert stream.connected()
    assert stream.info is info
    stream.close()


def test_a_name_is_looked_up(monkeypatch, listener):
    port = listener.getsockname()[1]
    answer = [(socket.AF_INET, 0, 0, "", ("127.0.0.1", port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: answer)

    stream = TcpStream.connect(ConnectionInfo("venue.example", port))
    wait(stream, write=True)

    assert stream.connected()
    stream.close()


def test_a_name_without_address_is_a_resolve_error(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: [])

    with pytest.raises(ResolveError):
        TcpStream.connect(ConnectionInfo("venue.example", 1))


def test_ipv6_works_as_ipv4():
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with listener:
        stream = TcpStream.connect(ConnectionInfo("::1", listener.getsockname()[1]))
        accepted, _ = listener.accept()
        peer = TcpStream.adopt(accepted)
        wait(stream, write=True)

        assert stream.connected()
        assert peer.info.host == "::1"
        stream.close()
        peer.close()


# Linux answers for all of 127.0.0.0/8, so that a choice differs from the default.
other_loopbacks = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="127.0.0.2 exists on Linux alone"
)


@other_loopbacks
def test_the_source_address_can_be_chosen(listener):
    stream = TcpStream.connect(info_of(listener, source="127.0.0.2"))
    accepted, peer = listener.accept()

    assert peer == stream.sock.getsockname()
    assert peer[0] == "127.0.0.2"
    accepted.close()
    stream.close()


@other_loopbacks
def test_an_interface_chosen_by_name_gives_its_address(listener, monkeypatch):
    name = inet.interface_of("127.0.0.1")
    asked = []

    def address_of(interface, family):
        asked.append((interface, family))
        return inet.InterfaceAddress(name, "127.0.0.3")

    monkeypatch.setattr(inet, "address_of", address_of)
    stream = TcpStream.connect(info_of(listener, interface=name))
    accepted, peer = listener.accept()

    assert asked == [(name, socket.AF_INET)]
    assert peer[0] == "127.0.0.3"
    accepted.close()
    stream.close()


def test_a_real_interface_is_left_by_its_address(listener):
    stream = TcpStream.connect(
        info_of(listener, interface=inet.interface_of("127.0.0.1"))
    )
    accepted, peer = listener.accept()

    assert peer == stream.sock.getsockname()
    accepted.close()
    stream.close()


def test_a_source_of_the_other_family_is_refused_with_the_reason(listener):
    with pytest.raises(ConnectError, match="one is IPv4, one IPv6") as caught:
        TcpStream.connect(info_of(listener, source="::1"))
    assert caught.value.errno == errno.EAFNOSUPPORT


def test_a_source_that_is_not_ours_is_a_connect_error(listener):
    with pytest.raises(ConnectError) as caught:
        TcpStream.connect(info_of(listener, source="203.0.113.9"))
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_an_interface_without_such_an_address_is_a_connect_error(monkeypatch, listener):
    def none(*_):
        raise LookupError("interface 'x' has no AF_INET address")

    info = info_of(listener, interface=inet.interface_of("127.0.0.1"))
    monkeypatch.setattr(inet, "address_of", none)

    with pytest.raises(ConnectError, match="has no AF_INET address"):
        TcpStream.connect(info)


@linux_only
def test_an_option_that_fails_leaves_no_socket_behind(listener):
    made = []
    options = SocketOptions(bind_to_device="nosuch0")

    with pytest.raises(SocketOptionError):
        TcpStream.connect(info_of(listener, options=options, configure=made.append))
    assert made == []


def test_a_configure_that_raises_closes_the_socket(listener):
    made = []

    def configure(sock):
        made.append(sock)
        raise KeyError("user's")

    with pytest.raises(KeyError):
        TcpStream.connect(info_of(listener, configure=configure))
    assert made[0].fileno() == -1


def test_adopting_an_unconnected_socket_is_an_error():
    with socket.socket() as sock, pytest.raises(ConnectError, match="cannot adopt"):
        TcpStream.adopt(sock)


def test_unix_sockets_can_be_adopted():
    def pair():
        left, right = socket.socketpair()
        return TcpStream.adopt(left), TcpStream.adopt(right)

    check_stream(pair)


def test_a_reset_is_an_error_and_no_end(pair):
    client, server = pair
    reset(server)
    wait(client)

    for _ in range(2):
        with pytest.raises(ConnectionLost, match="while receiving") as caught:
            client.receive()
        assert caught.value.errno == errno.ECONNRESET


def test_after_a_failed_send_the_end_is_not_clean(pair):
    client, server = pair
    reset(server)
    wait(client)

    with pytest.raises(ConnectionLost, match="while sending") as sending:
        client.send(b"x")
    with pytest.raises(ConnectionLost) as receiving:
        client.receive()
    assert receiving.value is sending.value


def test_what_came_before_a_failed_send_is_still_received(pair):
    client, server = pair
    server.send(b"last words")
    wait(client)
    server.close()
    with pytest.raises(ConnectionLost):
        for_ever(lambda: client.send(b"x"))  # answered by RST; a later one fails
    got = []
    with pytest.raises(ConnectionLost):
        for_ever(lambda: got.append(client.receive()))

    assert got == [b"last words"]


def test_what_was_taken_arrives_though_the_sender_never_read(pair):
    client, server = pair
    server.send(b"never read")
    sent = 0
    while taken := client.send(b"x" * 100_000):  # until nothing more fits
        sent += taken

    client.close()

    got = 0
    while True:
        select.select([server.fileno()], [], [], 60)
        data = server.receive()
        got += len(data or b"")
        if data == b"":
            break
    assert got == sent


def test_closing_ends_though_the_peer_never_stops_sending(pair):
    client, server = pair
    while server.send(b"x" * 100_000):
        pass
    client.close()

    assert client.fileno() == -1


def test_detaching_gives_the_socket_away(pair):
    client, server = pair
    fd = client.fileno()

    sock = client.detach()

    with sock:
        assert sock.fileno() == fd
        assert not sock.getblocking()
        assert client.fileno() == -1
        with pytest.raises(StreamClosed):
            client.receive()
        with pytest.raises(StreamClosed):
            client.detach()
        sock.send(b"x")
        wait(server)
        assert server.receive() == b"x"


@linux_only
def test_quickack_is_renewed_after_each_read():
    client, server = tcp_stream_pair(with_options(SocketOptions(quickack=True)))
    wait(client, write=True)
    client.connected()
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    server.send(b"x")
    wait(client)

    client.receive()

    assert client.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK)
    client.close()
    server.close()


def test_a_stream_prints_its_state(pair):
    client, _ = pair

    assert repr(client) == f"<TcpStream to {client.info}, open>"
    client.close()
    assert repr(client) == f"<TcpStream to {client.info}, closed>"
