import datetime
import os
import select
import socket
import ssl
import struct

import pytest
import trustme

from netcore.errors import (
    CertificateError,
    CertificateExpired,
    ConnectError,
    ConnectionLost,
    SendMismatch,
    StreamClosed,
    TlsError,
    TruncatedStream,
    UntrustedCertificate,
    WrongHost,
)
from netcore.info import ConnectionInfo
from netcore.select import EpollSelector
from netcore.stream import (
    KernelTls,
    Outbox,
    TcpStream,
    TlsStream,
    insecure_context,
    secure_context,
)
from netcore.testing import (
    ChaosStream,
    ScriptedStream,
    check_stream,
    memory_stream_pair,
    random_sizes,
    reserved_port,
    tcp_stream_pair,
)

GUARD_SECONDS = 60  # against hanging; nothing asserts a duration

HOST = "venue.example"
PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


@pytest.fixture(scope="module")
def trusting(ca):
    context = secure_context()
    ca.configure_trust(context)
    return context


def serving(cert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    return context


@pytest.fixture(scope="module")
def server_context(ca):
    return serving(ca.issue_cert(HOST, "127.0.0.1"))


PAIRS = pytest.mark.parametrize(
    "below", [tcp_stream_pair, memory_stream_pair], ids=["socket", "memory"]
)


def layered(below, client_context, server_context, **options):
    """Return a client and a server over a fresh pair of streams."""
    inner, outer = below()
    options.setdefault("server_hostname", HOST)
    client = TlsStream(inner, client_context, **options)
    return client, TlsStream(outer, server_context, server_side=True)


def park(stream, *, write=False):
    """Wait for what a driver would wait for."""
    if stream.buffered or stream.fileno() < 0:
        return
    fds = [stream.fileno()]
    writing = fds if write or stream.want_write else []
    assert any(select.select(fds, writing, [], GUARD_SECONDS))


def shake(client, server):
    """Drive both ends until both are connected, or one raises."""
    for _ in range(100_000):
        states = client.connected(), server.connected()
        if all(states):
            return
        for stream, done in zip((client, server), states, strict=True):
            if not done and stream.fileno() >= 0:
                # Only one of the two has something to wait for at a time.
                fds = [stream.fileno()]
                select.select(fds, fds if stream.want_write else [], [], 0)
    raise AssertionError("the handshake never ends")


def shake_failing(client, server):
    """Drive both ends; return the client's error."""
    for _ in range(100_000):
        try:
            client.connected()
        except (TlsError, ConnectionLost) as exc:
            return exc
        try:
            server.connected()
        except (TlsError, ConnectionLost):
            server.close()
            for _ in range(100_000):
                try:
                    client.receive()
                except (TlsError, ConnectionLost) as exc:
                    return exc
    raise AssertionError("the handshake never fails")


def kill(stream):
    """Close as a killed process would, without a word of TLS."""
    stream._engine.close(notify=False)


def receive(stream, size):
    got = b""
    while len(got) < size:
        data = stream.receive(size - len(got))
        assert data != b""
        if data is None:
            park(stream)
        got += data or b""
    return got


@pytest.fixture(params=[tcp_stream_pair, memory_stream_pair], ids=["socket", "memory"])
def pair(request, trusting, server_context):
    client, server = layered(request.param, trusting, server_context)
    shake(client, server)
    yield client, server
    client.close()
    server.close()


# -- as a stream ---------------------------------------------------------------------


@PAIRS
def test_tls_conforms(below, trusting, server_context):
    check_stream(lambda: layered(below, trusting, server_context))


@PAIRS
def test_tls_1_2_conforms(below, ca, server_context):
    context = secure_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    ca.configure_trust(context)

    check_stream(lambda: layered(below, context, server_context))


def test_tls_over_single_bytes_and_would_blocks_conforms(trusting, server_context):
    seeds = iter(range(1000))

    def below():
        inner, outer = memory_stream_pair()
        chaos = ChaosStream(
            inner, receive=random_sizes(next(seeds), most=3000, would_block=0.5)
        )
        return chaos, outer

    check_stream(lambda: layered(below, trusting, server_context))


def test_partial_writes_below_never_damage_a_record(trusting, server_context):
    inner, outer = memory_stream_pair()
    sizes = random_sizes(7, most=5000, would_block=0.5)
    client = TlsStream(ChaosStream(inner, send=sizes), trusting, server_hostname=HOST)
    server = TlsStream(outer, server_context, server_side=True)
    shake(client, server)
    data = bytes(range(256)) * 1000
    outbox = Outbox()
    outbox.push(data)
    got = bytearray()

    while len(got) < len(data):
        outbox.flush(client)
        got += server.receive() or b""

    assert got == data


# -- handshake -----------------------------------------------------------------------


def test_a_handshake_byte_by_byte_over_memory(trusting, server_context):
    inner, outer = memory_stream_pair()
    one = iter(lambda: 1, 0)
    client = TlsStream(
        ChaosStream(inner, receive=one, send=one), trusting, server_hostname=HOST
    )
    server = TlsStream(outer, server_context, server_side=True)

    shake(client, server)

    assert client.version == "TLSv1.3"


def test_a_handshake_byte_by_byte_over_a_socket(trusting, server_context):
    inner, relay = tcp_stream_pair()
    into, out = memory_stream_pair()
    client = TlsStream(inner, trusting, server_hostname=HOST)
    server = TlsStream(out, server_context, server_side=True)
    steps = 0
    while not (client.connected() and server.connected()):
        server.connected()
        byte = into.receive(1)
        if byte:
            assert relay.send(byte) == 1
            park(client)
            assert client.receive() is None
            steps += 1
        data = relay.receive()
        if data:
            assert into.send(data) == len(data)

    assert steps > 500
    for stream in (client, server, relay):
        stream.close()


def test_while_the_handshake_waits_nothing_is_taken_or_returned(trusting):
    inner, outer = memory_stream_pair()
    client = TlsStream(inner, trusting, server_hostname=HOST)

    assert client.buffered or not client.connected()
    assert client.send(b"too early") == 0
    assert client.receive() is None
    assert not client.connected()
    assert not client.buffered
    assert outer.buffered  # the ClientHello has left
    assert b"too early" not in outer.receive()


def test_a_handshake_that_can_go_on_says_so(trusting, server_context):
    # Memory has no descriptor, so nothing but `buffered` can tell.
    client, server = layered(memory_stream_pair, trusting, server_context)
    client.connected()
    assert not client.buffered

    assert server.buffered
    server.connected()
    assert not server.buffered

    assert client.buffered
    assert client.connected()
    assert server.buffered
    assert server.connected()


def test_tls_waits_for_the_connection_below(trusting):
    inner = ScriptedStream(connecting=2)
    client = TlsStream(inner, trusting, server_hostname=HOST)

    assert client.want_write
    assert not client.connected()
    assert bytes(inner.sent) == b""
    assert not client.connected()
    assert not client.connected()
    assert inner.sent[:1] == b"\x16"  # a handshake record (RFC 8446 §5.1)
    assert not client.want_write


def test_a_refused_connection_below_stays_a_connect_error(trusting):
    with reserved_port() as port:
        client = TlsStream(
            TcpStream.connect(ConnectionInfo("127.0.0.1", port)), trusting
        )
        assert select.select([], [client.fileno()], [], GUARD_SECONDS)[1]

    with pytest.raises(ConnectError):
        client.connected()
    client.close()


def test_a_full_stream_below_makes_the_handshake_want_to_write(trusting):
    client = TlsStream(ScriptedStream(takes=[1, 0, 0]), trusting, server_hostname=HOST)

    assert not client.connected()
    assert client.want_write


def test_the_handshake_is_not_over_before_the_last_flight_has_left(
    trusting, server_context
):
    inner, outer = memory_stream_pair()
    # All of the first flight, ten bytes of the second, then nothing for two calls.
    below = ChaosStream(inner, send=[100_000, 10, 0, 0])
    client = TlsStream(below, trusting, server_hostname=HOST)
    server = TlsStream(outer, server_context, server_side=True)
    assert not client.connected()
    assert not server.connected()

    for _ in range(2):
        assert not client.connected()
        assert client.want_write
        assert not server.connected()
    assert client.connected()
    assert not client.want_write
    assert server.connected()


def test_bytes_sent_with_the_last_flight_are_not_lost(trusting, server_context):
    client, server = layered(memory_stream_pair, trusting, server_context)
    while not client.connected():
        server.connected()
    client.send(b"at once")
    while not server.connected():
        pass

    assert server.buffered
    assert server.receive() == b"at once"


# -- certificates --------------------------------------------------------------------


@PAIRS
@pytest.mark.parametrize(
    ("hostname", "kind", "text"),
    [
        ("other.example", WrongHost, "is not for other.example"),
        ("127.0.0.2", WrongHost, "is not for 127.0.0.2"),
    ],
)
def test_a_certificate_for_another_host_is_refused(
    below, hostname, kind, text, trusting, server_context
):
    client, server = layered(below, trusting, server_context, server_hostname=hostname)

    error = shake_failing(client, server)

    assert type(error) is kind
    assert text in str(error)
    assert error.verify_code in {62, 64}
    client.close()
    server.close()


@PAIRS
def test_an_expired_certificate_is_refused(below, ca, trusting):
    old = serving(
        ca.issue_cert(
            HOST, not_before=PAST, not_after=PAST + datetime.timedelta(days=1)
        )
    )
    client, server = layered(below, trusting, old)

    error = shake_failing(client, server)

    assert type(error) is CertificateExpired
    assert error.verify_code == 10
    client.close()
    server.close()


@PAIRS
def test_a_certificate_that_is_not_yet_valid_is_refused(below, ca, trusting):
    future = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=30)
    early = serving(
        ca.issue_cert(
            HOST, not_before=future, not_after=future + datetime.timedelta(days=1)
        )
    )
    client, server = layered(below, trusting, early)

    error = shake_failing(client, server)

    assert type(error) is CertificateExpired
    assert error.verify_code == 9
    client.close()
    server.close()


@PAIRS
def test_an_unknown_authority_is_refused_by_default(below, server_context):
    client, server = layered(below, None, server_context)

    error = shake_failing(client, server)

    assert type(error) is UntrustedCertificate
    assert "not signed by one we trust" in str(error)
    client.close()
    server.close()


def test_a_self_signed_certificate_is_refused(tmp_path):
    alone = trustme.CA()
    alone.cert_pem.write_to_path(tmp_path / "cert")
    alone.private_key_pem.write_to_path(tmp_path / "key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    client, server = layered(memory_stream_pair, secure_context(), context)

    error = shake_failing(client, server)

    assert type(error) is UntrustedCertificate
    assert error.verify_code == 18


def test_any_other_fault_of_a_certificate_is_a_certificate_error(ca, server_context):
    context = secure_context()
    ca.configure_trust(context)
    # A certificate revocation list is asked for, and there is none: code 3.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    client, server = layered(memory_stream_pair, context, server_context)

    error = shake_failing(client, server)

    assert type(error) is CertificateError
    assert error.verify_code == 3


def test_the_server_learns_why_it_was_refused(server_context):
    client, server = layered(memory_stream_pair, secure_context(), server_context)
    assert not client.connected()
    assert not server.connected()
    with pytest.raises(UntrustedCertificate):
        client.connected()

    with pytest.raises(TlsError, match=r"refused the TLS session: .*UNKNOWN_CA"):
        server.connected()


def test_failures_stay(server_context):
    client, server = layered(memory_stream_pair, secure_context(), server_context)
    first = shake_failing(client, server)

    for use in (client.connected, client.receive, lambda: client.send(b"x")):
        with pytest.raises(UntrustedCertificate) as caught:
            use()
        assert caught.value is first
    assert not client.buffered
    assert not client.want_write


def test_a_certificate_for_an_address_is_accepted(trusting, server_context):
    client, server = layered(
        tcp_stream_pair, trusting, server_context, server_hostname=None
    )

    shake(client, server)

    assert client.info.host == "127.0.0.1"
    client.close()
    server.close()


def test_the_roots_dot_is_no_part_of_the_name(trusting, server_context):
    client, server = layered(
        memory_stream_pair, trusting, server_context, server_hostname=HOST + "."
    )

    shake(client, server)


def test_the_insecure_context_accepts_anything(server_context):
    client, server = layered(
        memory_stream_pair, insecure_context(), server_context, server_hostname="x"
    )

    shake(client, server)

    assert client.peer_certificate is not None


def test_the_default_context_verifies():
    context = secure_context()

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_an_authority_of_ones_own_can_be_trusted(ca, server_context):
    with ca.cert_pem.tempfile() as path:
        context = secure_context(path)
    client, server = layered(memory_stream_pair, context, server_context)

    shake(client, server)


def test_a_name_that_no_certificate_can_hold_is_a_tls_error(trusting):
    inner, outer = tcp_stream_pair()
    client = TlsStream(inner, trusting, server_hostname=".dot.example")
    select.select([], [client.fileno()], [], GUARD_SECONDS)

    with pytest.raises(TlsError, match="cannot start TLS"):
        client.connected()
    assert client.fileno() == -1
    client.close()
    outer.close()


def test_a_server_needs_a_context():
    with pytest.raises(ValueError, match="needs a context"):
        TlsStream(memory_stream_pair()[0], server_side=True)


def test_over_memory_such_a_name_closes_what_is_below(trusting):
    inner, outer = memory_stream_pair()
    client = TlsStream(inner, trusting, server_hostname=".dot.example")

    with pytest.raises(TlsError, match="cannot start TLS"):
        client.connected()
    assert outer.receive() == b""


# -- ends ----------------------------------------------------------------------------


@PAIRS
def test_a_peer_that_speaks_no_tls_is_told_apart(below, trusting):
    inner, outer = below()
    client = TlsStream(inner, trusting, server_hostname=HOST)
    while not client.connected() and client.want_write:
        park(client)
    outer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    park(client)

    with pytest.raises(TlsError, match="does not speak TLS on this port"):
        client.connected()
    client.close()
    outer.close()


@PAIRS
def test_an_end_during_the_handshake_is_told_apart(below, trusting):
    inner, outer = below()
    client = TlsStream(inner, trusting, server_hostname=HOST)
    while not client.connected() and client.want_write:
        park(client)
    for _ in range(100):
        if outer.receive():
            break
        park(outer)
    outer.close()
    park(client)

    with pytest.raises(TlsError, match="during the TLS handshake"):
        client.connected()
    client.close()


@PAIRS
def test_an_end_without_close_notify_is_truncation(below, trusting, server_context):
    inner, outer = below()
    client = TlsStream(inner, trusting, server_hostname=HOST)
    server = TlsStream(outer, server_context, server_side=True)
    shake(client, server)
    server.send(b"half of")
    assert receive(client, 7) == b"half of"
    kill(server)
    park(client)

    for _ in range(2):
        with pytest.raises(TruncatedStream, match="without close_notify"):
            client.receive()
    client.close()


def test_bytes_before_a_truncation_are_delivered_first(trusting, server_context):
    inner, outer = memory_stream_pair()
    client = TlsStream(inner, trusting, server_hostname=HOST)
    server = TlsStream(outer, server_context, server_side=True)
    shake(client, server)
    server.send(b"half of")
    kill(server)

    assert client.receive() == b"half of"
    assert client.buffered
    with pytest.raises(TruncatedStream):
        client.receive()


def test_close_notify_is_the_end(pair):
    client, server = pair
    server.send(b"all of it")
    server.close()

    assert receive(client, 9) == b"all of it"
    for _ in range(2):
        park(client)
        assert client.receive() == b""


def test_a_reset_is_a_lost_connection(trusting, server_context):
    client, server = layered(tcp_stream_pair, trusting, server_context)
    shake(client, server)
    with socket.socket(fileno=os.dup(server.fileno())) as same:
        linger = struct.pack("ii", 1, 0)
        same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    kill(server)
    park(client)

    with pytest.raises(ConnectionLost, match="while receiving"):
        client.receive()
    with pytest.raises(ConnectionLost, match="while sending"):
        client.send(b"x")
    client.close()


def test_a_damaged_record_is_a_tls_error(trusting, server_context):
    inner, outer = memory_stream_pair()
    client = TlsStream(inner, trusting, server_hostname=HOST)
    shake(client, TlsStream(outer, server_context, server_side=True))
    outer.send(b"\x17\x03\x03\x00\x20" + b"x" * 32)

    with pytest.raises(TlsError, match="failed while receiving"):
        client.receive()


def test_closing_in_the_middle_of_the_handshake_is_quiet(trusting):
    inner, outer = memory_stream_pair()
    client = TlsStream(inner, trusting, server_hostname=HOST)
    client.connected()
    outer.receive()

    client.close()
    client.close()

    assert outer.receive() == b""
    with pytest.raises(StreamClosed):
        client.connected()


# -- reading and writing -------------------------------------------------------------


def test_a_reader_that_is_behind_gets_many_records_at_once(pair):
    client, server = pair
    for piece in (b"one ", b"two ", b"three ", b"four"):
        assert server.send(piece) == len(piece)
    park(client)
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


def test_what_a_small_read_leaves_is_told_by_buffered(pair):
    client, server = pair
    server.send(b"abcdef")

    assert receive(client, 2) == b"ab"
    assert client.buffered
    if client.fileno() >= 0:
        ready, _, _ = select.select([client.fileno()], [], [], 0)
        assert ready == []  # the selector is silent
    assert client.receive() == b"cdef"
    assert client.receive() is None
    assert not client.buffered


def test_session_tickets_are_readable_and_bring_nothing(trusting, server_context):
    """The first read after a TLS 1.3 handshake: epoll says yes, OpenSSL has nothing."""
    client, server = layered(tcp_stream_pair, trusting, server_context)
    shake(client, server)
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


def test_a_send_that_would_block_has_to_be_continued(pair):
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
    assert receive(server, sent + len(piece) - got) == b"a" * (sent + len(piece) - got)


def test_what_the_peer_said_before_it_left_is_received_first(trusting, server_context):
    client, server = layered(memory_stream_pair, trusting, server_context)
    shake(client, server)
    while client.send(b"x" * 16384):
        pass
    assert not client.want_write  # the sender knows what it could not send
    server.send(b"last words")
    kill(server)

    assert client.receive() == b"last words"
    with pytest.raises(TruncatedStream):
        client.receive()
    with pytest.raises(ConnectionLost):
        client.send(b"x" * 16384)


def test_a_fault_behind_bytes_is_told_by_buffered(trusting, server_context):
    client, server = layered(tcp_stream_pair, trusting, server_context)
    shake(client, server)
    for piece in (b"one", b"two"):
        server.send(piece)
    garbage = b"\x17\x03\x03\x00\x20" + b"x" * 32
    socket.socket.send(server._engine.session, garbage)
    park(client)
    got = b""
    while got != b"onetwo":
        got += client.receive() or b""

    while not client.buffered:  # the kernel may take its time
        assert client.receive() is None
    with pytest.raises(TlsError):
        client.receive()
    client.close()
    server.close()


def test_sending_nothing_writes_no_record(trusting, server_context):
    inner, outer = memory_stream_pair()
    client = TlsStream(inner, trusting, server_hostname=HOST)
    server = TlsStream(outer, server_context, server_side=True)
    shake(client, server)
    server.receive()

    assert client.send(b"") == 0
    assert not outer.buffered


def test_both_ends_know_what_was_agreed(trusting, server_context):
    client, server = layered(memory_stream_pair, trusting, server_context)
    assert (client.version, client.alpn_protocol, client.peer_certificate) == (
        None,
    ) * 3

    shake(client, server)

    assert client.version == server.version == "TLSv1.3"
    assert client.alpn_protocol is None
    assert server.peer_certificate is None
    der = ssl.DER_cert_to_PEM_cert(client.peer_certificate)
    assert der.startswith("-----BEGIN CERTIFICATE")


def test_an_application_protocol_can_be_agreed_on(ca, server_context):
    context = secure_context()
    ca.configure_trust(context)
    context.set_alpn_protocols(["http/1.1"])
    serving_context = serving(ca.issue_cert(HOST))
    serving_context.set_alpn_protocols(["h2", "http/1.1"])
    client, server = layered(memory_stream_pair, context, serving_context)

    shake(client, server)

    assert client.alpn_protocol == "http/1.1"


def test_secrets_are_logged_where_sslkeylogfile_says(
    tmp_path, monkeypatch, ca, server_context
):
    path = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(path))
    context = secure_context()
    ca.configure_trust(context)
    client, server = layered(memory_stream_pair, context, server_context)

    shake(client, server)

    assert "CLIENT_TRAFFIC_SECRET_0" in path.read_text()


# -- kernel TLS ----------------------------------------------------------------------


def test_kernel_tls_is_a_wish_that_never_fails(ca, server_context):
    context = secure_context()
    ca.configure_trust(context)
    client, server = layered(tcp_stream_pair, context, server_context, ktls=True)
    assert client.kernel_tls is KernelTls.NONE

    shake(client, server)
    client.send(b"works")

    assert receive(server, 5) == b"works"
    assert isinstance(client.kernel_tls, KernelTls)
    assert context.options & 8  # SSL_OP_ENABLE_KTLS
    client.close()
    server.close()


def test_kernel_tls_leaves_the_shared_default_context_alone():
    streams = [
        TlsStream(memory_stream_pair()[0], ktls=True),
        TlsStream(memory_stream_pair()[0]),
    ]

    with_option, without = (stream._context for stream in streams)
    assert with_option.options & 8
    assert not without.options & 8


def test_memory_has_no_kernel_tls(trusting, server_context):
    client, server = layered(memory_stream_pair, trusting, server_context)
    shake(client, server)

    assert client.kernel_tls is KernelTls.NONE


def test_a_stream_prints_its_state(pair):
    client, _ = pair

    assert repr(client) == f"<TlsStream to {client.info}, open>"
    client.close()
    assert repr(client) == f"<TlsStream to {client.info}, closed>"
