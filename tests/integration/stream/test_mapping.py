import pytest

from integration.errors import (
    DnsError,
    Sink,
    Terminated,
    TlsError,
    UrlParse,
    WebSocket,
)
from integration.stream.mapping import socket_error
from netcore import errors as net


@pytest.mark.parametrize(
    ("error", "kind", "recoverable"),
    [
        (net.ConnectionClosed(1000), Terminated, True),
        (net.ConnectionClosed(1006), WebSocket, True),
        (net.UntrustedCertificate("forged"), TlsError, False),
        (net.ResolveError("no name"), DnsError, True),
        (net.ResolveTimeout("no answer"), DnsError, True),
        (net.ConnectTimeout("late"), WebSocket, True),
        (net.HandshakeError(503), WebSocket, True),
        (net.InvalidURL("no scheme"), UrlParse, False),
        (ConnectionResetError(), WebSocket, True),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Exception) else str(v),
)
def test_what_happened_to_bytes_becomes_what_it_means_to_a_stream(
    error, kind, recoverable
):
    fault = socket_error(error)

    assert type(fault) is kind
    assert fault.recoverable is recoverable
    assert fault.terminal
    assert str(fault)


def test_an_error_of_ours_stays_itself():
    fault = Sink("gone")

    assert socket_error(fault) is fault


def test_the_close_code_and_reason_are_kept():
    fault = socket_error(net.ConnectionClosed(1013, "try later"))

    assert (fault.code, fault.reason) == (1013, "try later")


def test_a_refused_upgrade_says_how_long_to_wait():
    refusal = net.HandshakeError(429, [("Retry-After", "30"), ("X-A", "1")], b"slow")

    fault = socket_error(refusal)

    assert fault.status == 429
    assert fault.retry_after == 30.0
    assert fault.headers["x-a"] == "1"


@pytest.mark.parametrize("wait", ["", "soon", "²"])
def test_an_unreadable_wait_is_none(wait):
    refusal = net.HandshakeError(503, [("Retry-After", wait)])

    assert socket_error(refusal).retry_after is None
