"""What TLS streams read and write: records, remainders, what both ends know."""

import select
import socket
import ssl

import pytest

from netcore.errors import ConnectionLost, SendMismatch, TlsError, TruncatedStream
from netcore.select import EpollSelector
from netcore.stream import Outbox, TlsStream, secure_context
from netcore.testing import memory_stream_pair, tcp_stream_pair

GUARD_SECONDS = 60  # against hanging; nothing asserts a duration
HOST = "venue.example"


def test_a_reader_that_is_behind_gets_many_records_at_once(pair, tls):
    client, server = pair
    for piece in (b"one ", b"two ", b"three ", b"four"):
        assert server.send(piece) == len(piece)
    tls.park(client)
    got = []
    while sum(map(len, got)) < 18:
        data = client.receive()
        got += [data] if data else []

    assert b"".join(got) == b"one two three four"
    assert got[0] == b"one "
    if client.fileno() < 0:  # the kernel may deliver in parts
        assert len(got) == 2
    assert client.receive() is None


def test_full_records_are_followed_up_at_once(pair):
    client, server = pair
    data = bytes(range(256)) * 130  # two full records and a part of one
    outbox = Outbox()
    assert outbox.write(server, data)
    got = b""
    reads = 0
    while len(got) < len(data):
        piece = client.receive()
        got += piece or b""
        reads += bool(piece)

    assert got == data
    if client.fileno() < 0:  # the kernel may deliver in parts
        assert reads == 1


def test_what_a_small_read_leaves_is_told_by_buffered(pair, tls):
    client, server = pair
    server.send(b"abcdef")

    assert tls.receive(client, 2) == b"ab"
    assert client.buffered
    if client.fileno() >= 0:
        ready, _, _ = select.select([client.fileno()], [], [], 0)
        assert ready == []  # the selector is silent
    assert client.receive() == b"cdef"
    assert client.receive() is None
    assert not client.buffered


def test_session_tickets_are_readable_and_bring_nothing(trusting, server_context, tls):
    """The first read after a TLS 1.3 handshake: epoll says yes, OpenSSL has nothing."""
    client, server = tls.layered(tcp_stream_pair, trusting, server_context)
    tls.shake(client, server)
    assert client.version == "TLSv1.3"
    selector = EpollSelector()
    selector.register(1, client)

    assert [key for key, readable, _ in selector.poll(GUARD_SECONDS) if readable] == [1]
    while selector.poll():  # there are two, and the kernel may deliver in parts
        assert client.receive() is None
    assert not client.buffered
    server.send(b"data")
    assert [key for key, _, _ in selector.poll(GUARD_SECONDS)] == [1]
    assert client.receive() == b"data"
    selector.close()
    client.close()
    server.close()


def test_a_send_that_would_block_has_to_be_continued(pair, tls):
    client, server = pair
    piece = b"a" * 16384
    sent = 0
    while taken := client.send(piece):
        sent += taken
        assert sent < 64 << 20

    with pytest.raises(SendMismatch, match="must be offered again"):
        client.send(b"b" * 16384)
    assert client.send(b"") == 0
    got = 0
    while got < sent:
        got += len(server.receive() or b"")
    while not client.send(piece):
        got += len(server.receive() or b"")
    assert tls.receive(server, sent + len(piece) - got) == b"a" * (
        sent + len(piece) - got
    )


def test_what_the_peer_said_before_it_left_is_received_first(
    trusting, server_context, tls
):
    client, server = tls.layered(memory_stream_pair, trusting, server_context)
    tls.shake(client, server)
    while client.send(b"x" * 16384):
        pass
    assert not client.want_write  # the sender knows what it could not send
    server.send(b"last words")
    tls.kill(server)

    assert client.receive() == b"last words"
    with pytest.raises(TruncatedStream):
        client.receive()
    with pytest.raises(ConnectionLost):
        client.send(b"x" * 16384)


def test_a_fault_behind_bytes_is_told_by_buffered(trusting, server_context, tls):
    client, server = tls.layered(tcp_stream_pair, trusting, server_context)
    tls.shake(client, server)
    for piece in (b"one", b"two"):
        server.send(piece)
    garbage = b"\x17\x03\x03\x00\x20" + b"x" * 32
    socket.socket.send(server._engine.session, garbage)
    tls.park(client)
    got = b""
    while got != b"onetwo":
        got += client.receive() or b""

    while not client.buffered:  # the kernel may take its time
        assert client.receive() is None
    with pytest.raises(TlsError):
        client.receive()
    client.close()
    server.close()


def test_sending_nothing_writes_no_record(trusting, server_context, tls):
    inner, outer = memory_stream_pair()
    client = TlsStream(inner, trusting, server_hostname=HOST)
    server = TlsStream(outer, server_context, server_side=True)
    tls.shake(client, server)
    server.receive()

    assert client.send(b"") == 0
    assert not outer.buffered


def test_both_ends_know_what_was_agreed(trusting, server_context, tls):
    client, server = tls.layered(memory_stream_pair, trusting, server_context)
    assert (client.version, client.alpn_protocol, client.peer_certificate) == (
        None,
    ) * 3

    tls.shake(client, server)

    assert client.version == server.version == "TLSv1.3"
    assert client.alpn_protocol is None
    assert server.peer_certificate is None
    der = ssl.DER_cert_to_PEM_cert(client.peer_certificate)
    assert der.startswith("-----BEGIN CERTIFICATE")


def test_an_application_protocol_can_be_agreed_on(ca, server_context, tls):
    context = secure_context()
    ca.configure_trust(context)
    context.set_alpn_protocols(["http/1.1"])
    serving_context = tls.serving(ca.issue_cert(HOST))
    serving_context.set_alpn_protocols(["h2", "http/1.1"])
    client, server = tls.layered(memory_stream_pair, context, serving_context)

    tls.shake(client, server)

    assert client.alpn_protocol == "http/1.1"


def test_secrets_are_logged_where_sslkeylogfile_says(
    tmp_path, monkeypatch, ca, server_context, tls
):
    path = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(path))
    context = secure_context()
    ca.configure_trust(context)
    client, server = tls.layered(memory_stream_pair, context, server_context)

    tls.shake(client, server)

    assert "CLIENT_TRAFFIC_SECRET_0" in path.read_text()
