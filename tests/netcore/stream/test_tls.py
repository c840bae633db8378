"""TLS as a stream: conformance, the handshake, every end, kernel TLS."""

import os
import select
import socket
import ssl
import struct

import pytest

from netcore.errors import (
    ConnectError,
    ConnectionLost,
    StreamClosed,
    TlsError,
    TruncatedStream,
)
from netcore.info import ConnectionInfo
from netcore.stream import KernelTls, Outbox, TcpStream, TlsStream, secure_context
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
PAIRS = pytest.mark.parametrize(
    "below", [tcp_stream_pair, memory_stream_pair], ids=["socket", "memory"]
)


# -- as a stream ---------------------------------------------------------------------


@PAIRS
def test_tls_conforms(below, trusting, server_context, tls):
    check_stream(lambda: tls.layered(below, trusting, server_context))


@PAIRS
def test_tls_1_2_conforms(below, ca, server_context, tls):
    context = secure_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    ca.configure_trust(context)

    check_stream(lambda: tls.layered(below, context, server_context))


def test_tls_over_single_bytes_and_would_blocks_conforms(trusting, server_context, tls):
    seeds = iter(range(1000))

    def below():
        inner, outer = memory_stream_pair()
        chaos = ChaosStream(
            inner, receive=random_sizes(next(seeds), most=3000, would_block=0.5)
        )
        return chaos, outer

    check_stream(lambda: tls.layered(below, trusting, server_context))


def test_partial_writes_below_never_damage_a_record(trusting, server_context, tls):
    inner, outer = memory_stream_pair()
    sizes = random_sizes(7, most=5000, would_block=0.5)
    client = TlsStream(ChaosStream(inner, send=sizes), trusting, server_hostname=HOST)
    server = TlsStream(outer, server_context, server_side=True)
    tls.shake(client, server)
    data = bytes(range(256)) * 1000
    outbox = Outbox()
    outbox.push(data)
    got = bytearray()

    while len(got) < len(data):
        outbox.flush(client)
        got += server.receive() or b""

    assert got == data


# -- handshake -----------------------------------------------------------------------


def test_a_handshake_byte_by_byte_over_memory(trusting, server_context, tls):
    inner, outer = memory_stream_pair()
    one = iter(lambda: 1, 0)
    client = TlsStream(
        ChaosStream(inner, receive=one, send=one), trusting, server_hostname=HOST
    )
    server = TlsStream(outer, server_context, server_side=True)

    tls.shake(client, server)

    assert client.version == "TLSv1.3"


def test_a_handshake_byte_by_byte_over_a_socket(trusting, server_context, tls):
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
            tls.park(client)
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


def test_a_handshake_that_can_go_on_says_so(trusting, server_context, tls):
    # Memory has no descriptor, so nothing but `buffered` can tell.
    client, server = tls.layered(memory_stream_pair, trusting, server_context)
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


def test_bytes_sent_with_the_last_flight_are_not_lost(trusting, server_context, tls):
    client, server = tls.layered(memory_stream_pair, trusting, server_context)
    while not client.connected():
        server.connected()
    client.send(b"at once")
    while not server.connected():
        pass

    assert server.buffered
    assert server.receive() == b"at once"


# -- ends ----------------------------------------------------------------------------


@PAIRS
def test_a_peer_that_speaks_no_tls_is_told_apart(below, trusting, tls):
    inner, outer = below()
    client = TlsStream(inner, trusting, server_hostname=HOST)
    while not client.connected() and client.want_write:
        tls.park(client)
    outer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    tls.park(client)

    with pytest.raises(TlsError, match="does not speak TLS on this port"):
        client.connected()
    client.close()
    outer.close()


@PAIRS
def test_an_end_during_the_handshake_is_told_apart(below, trusting, tls):
    inner, outer = below()
    client = TlsStream(inner, trusting, server_hostname=HOST)
    while not client.connected() and client.want_write:
        tls.park(client)
    for _ in range(100):
        if outer.receive():
            break
        tls.park(outer)
    outer.close()
    tls.park(client)

    with pytest.raises(TlsError, match="during the TLS handshake"):
        client.connected()
    client.close()


@PAIRS
def test_an_end_without_close_notify_is_truncation(
    below, trusting, server_context, tls
):
    inner, outer = below()
    client = TlsStream(inner, trusting, server_hostname=HOST)
    server = TlsStream(outer, server_context, server_side=True)
    tls.shake(client, server)
    server.send(b"half of")
    assert tls.receive(client, 7) == b"half of"
    tls.kill(server)
    tls.park(client)

    for _ in range(2):
        with pytest.raises(TruncatedStream, match="without close_notify"):
            client.receive()
    client.close()


def test_bytes_before_a_truncation_are_delivered_first(trusting, server_context, tls):
    inner, outer = memory_stream_pair()
    client = TlsStream(inner, trusting, server_hostname=HOST)
    server = TlsStream(outer, server_context, server_side=True)
    tls.shake(client, server)
    server.send(b"half of")
    tls.kill(server)

    assert client.receive() == b"half of"
    assert client.buffered
    with pytest.raises(TruncatedStream):
        client.receive()


def test_close_notify_is_the_end(pair, tls):
    client, server = pair
    server.send(b"all of it")
    server.close()

    assert tls.receive(client, 9) == b"all of it"
    for _ in range(2):
        tls.park(client)
        assert client.receive() == b""


def test_a_reset_is_a_lost_connection(trusting, server_context, tls):
    client, server = tls.layered(tcp_stream_pair, trusting, server_context)
    tls.shake(client, server)
    with socket.socket(fileno=os.dup(server.fileno())) as same:
        linger = struct.pack("ii", 1, 0)
        same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    tls.kill(server)
    tls.park(client)

    with pytest.raises(ConnectionLost, match="while receiving"):
        client.receive()
    with pytest.raises(ConnectionLost, match="while sending"):
        client.send(b"x")
    client.close()


def test_a_damaged_record_is_a_tls_error(trusting, server_context, tls):
    inner, outer = memory_stream_pair()
    client = TlsStream(inner, trusting, server_hostname=HOST)
    tls.shake(client, TlsStream(outer, server_context, server_side=True))
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


# -- kernel TLS ----------------------------------------------------------------------


def test_kernel_tls_is_a_wish_that_never_fails(ca, server_context, tls):
    context = secure_context()
    ca.configure_trust(context)
    client, server = tls.layered(tcp_stream_pair, context, server_context, ktls=True)
    assert client.kernel_tls is KernelTls.NONE

    tls.shake(client, server)
    client.send(b"works")

    assert tls.receive(server, 5) == b"works"
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


def test_memory_has_no_kernel_tls(trusting, server_context, tls):
    client, server = tls.layered(memory_stream_pair, trusting, server_context)
    tls.shake(client, server)

    assert client.kernel_tls is KernelTls.NONE


def test_a_stream_prints_its_state(pair):
    client, _ = pair

    assert repr(client) == f"<TlsStream to {client.info}, open>"
    client.close()
    assert repr(client) == f"<TlsStream to {client.info}, closed>"
