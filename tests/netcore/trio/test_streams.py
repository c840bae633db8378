"""Opening streams: names, several addresses, TLS, time."""

import contextlib
import socket
import ssl
from functools import partial

import pytest
import trio
import trustme

from netcore.errors import (
    ConnectError,
    ConnectTimeout,
    InvalidURL,
    ResolveError,
    UntrustedCertificate,
    WrongHost,
)
from netcore.info import Address, ConnectionInfo
from netcore.stream.tcp import TcpStream
from netcore.stream.tls import TlsStream
from netcore.testing import reserved_port
from netcore.trio import finish_connecting, open_stream
from netcore.trio.streams import resolve


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def refused_port():
    """A port of 127.0.0.1 where nobody listens."""
    with reserved_port() as port:
        yield port


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


class Names(trio.abc.HostnameResolver):
    """A resolver that knows what it is told."""

    def __init__(self, *addresses: tuple[socket.AddressFamily, tuple]) -> None:
        self.addresses = addresses

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002 - trio's names
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (kin, socket.SOCK_STREAM, 6, "", (name[0], port, *name[1:]))
            for kin, name in self.addresses
        ]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


@pytest.fixture
def names():
    """Set what a name resolves to."""

    def use(*hosts: str) -> None:
        resolver = Names(
            *(
                (socket.AF_INET6, (host, 0, 0))
                if ":" in host
                else (socket.AF_INET, (host,))
                for host in hosts
            )
        )
        trio.socket.set_custom_hostname_resolver(resolver)

    return use


async def test_a_connected_stream_comes_back(listener):
    port = listener.getsockname()[1]
    for target in (f"tcp://127.0.0.1:{port}", ConnectionInfo("127.0.0.1", port)):
        stream = await open_stream(target)
        accepted, _ = listener.accept()
        with accepted:
            assert isinstance(stream, TcpStream)
            assert stream.connected()
            assert stream.send(b"hello") == 5
            assert accepted.recv(5) == b"hello"
        stream.close()


async def test_a_refused_connection_says_so(refused_port):
    with pytest.raises(ConnectError, match="refused"):
        await open_stream(f"tcp://127.0.0.1:{refused_port}")


@pytest.mark.parametrize("url", ["nonsense", "ftp://h", "tcp://h"])
async def test_other_urls_are_refused(url):
    with pytest.raises(InvalidURL):
        await open_stream(url)


async def test_an_unknown_name_is_a_resolve_error(names):
    names()
    with pytest.raises(ResolveError, match="nowhere"):
        await open_stream("tcp://nowhere.test:1")


async def test_the_families_take_turns_and_repeats_go(names):
    names("::1", "::2", "127.0.0.1", "::1", "127.0.0.2")

    found = await resolve(ConnectionInfo("x.test", 7))

    assert found == [
        Address("::1", 7),
        Address("127.0.0.1", 7),
        Address("::2", 7),
        Address("127.0.0.2", 7),
    ]


async def test_the_next_address_is_tried_when_one_refuses(listener, names):
    # 127.0.0.2 is loopback as well, but the listener is at 127.0.0.1 alone.
    names("127.0.0.2", "127.0.0.1")
    stream = await open_stream(f"tcp://x.test:{listener.getsockname()[1]}")

    accepted, peer = listener.accept()
    accepted.close()
    assert peer[0] == "127.0.0.1"
    stream.close()


async def test_all_refusals_are_named(refused_port, names):
    names("127.0.0.1", "127.0.0.2")
    with pytest.raises(ConnectError) as caught:
        await open_stream(f"tcp://x.test:{refused_port}")

    assert f"127.0.0.1:{refused_port}" in str(caught.value)
    assert f"127.0.0.2:{refused_port}" in str(caught.value)
    assert isinstance(caught.value.__cause__, ConnectError)


def tls_server(authority: trustme.CA, host: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


async def shake(accepted: trio.SocketStream, context: ssl.SSLContext) -> None:
    """Answer one TLS handshake and hang up."""
    stream = trio.SSLStream(accepted, context, server_side=True)
    with contextlib.suppress(trio.BrokenResourceError):
        await stream.do_handshake()
        await stream.send_all(b"hello")


async def serve_tls(nursery: trio.Nursery, context: ssl.SSLContext) -> int:
    """Start a server; return its port."""
    listeners = await nursery.start(
        partial(trio.serve_tcp, partial(shake, context=context), 0, host="127.0.0.1")
    )
    return listeners[0].socket.getsockname()[1]


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_tls_is_verified_and_shaken_before_the_stream_comes_back(
    authority, nursery
):
    port = await serve_tls(nursery, tls_server(authority))

    stream = await open_stream(
        f"tls://127.0.0.1:{port}", ssl_context=trusting(authority)
    )

    assert isinstance(stream, TlsStream)
    assert stream.connected()
    assert stream.version == "TLSv1.3"
    stream.close()


async def test_an_unknown_authority_is_refused_by_default(authority, nursery):
    port = await serve_tls(nursery, tls_server(authority))
    with pytest.raises(UntrustedCertificate):
        await open_stream(f"tls://127.0.0.1:{port}")


async def test_a_context_makes_bare_info_secure(authority, nursery):
    port = await serve_tls(nursery, tls_server(authority, "example.org"))
    with pytest.raises(WrongHost):
        await open_stream(
            ConnectionInfo("127.0.0.1", port), ssl_context=trusting(authority)
        )


async def test_a_peer_that_never_shakes_hands_runs_out_of_time(
    listener, autojump_clock
):
    url = f"tls://127.0.0.1:{listener.getsockname()[1]}"
    start = trio.current_time()
    with pytest.raises(ConnectTimeout, match=r"within 3\.0 s"):
        await open_stream(url, connect_timeout=3.0)

    assert trio.current_time() - start == pytest.approx(3)


async def test_a_stream_that_fails_to_connect_is_closed(refused_port):
    info = ConnectionInfo("127.0.0.1", refused_port)
    stream = TcpStream.connect(info)
    with pytest.raises(ConnectError):
        await finish_connecting(stream)

    assert stream.fileno() == -1
