"""What the tests of TLS share: an authority, pairs of streams, how to drive them."""

import select
import ssl
from types import SimpleNamespace

import pytest
import trustme

from netcore.errors import ConnectionLost, TlsError
from netcore.stream import TlsStream, secure_context
from netcore.testing import memory_stream_pair, tcp_stream_pair

GUARD_SECONDS = 60  # against hanging; nothing asserts a duration

HOST = "venue.example"


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


@pytest.fixture(scope="session")  # functions: nothing to reset
def tls():
    return SimpleNamespace(
        serving=serving,
        layered=layered,
        park=park,
        shake=shake,
        shake_failing=shake_failing,
        kill=kill,
        receive=receive,
    )
