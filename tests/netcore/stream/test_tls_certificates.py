"""Which certificates TLS streams accept, and what the others are called."""

import datetime
import select
import ssl

import pytest
import trustme

from netcore.errors import (
    CertificateError,
    CertificateExpired,
    TlsError,
    UntrustedCertificate,
    WrongHost,
)
from netcore.stream import TlsStream, insecure_context, secure_context
from netcore.testing import memory_stream_pair, tcp_stream_pair

GUARD_SECONDS = 60  # against hanging; nothing asserts a duration
HOST = "venue.example"
PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
PAIRS = pytest.mark.parametrize(
    "below", [tcp_stream_pair, memory_stream_pair], ids=["socket", "memory"]
)


@PAIRS
@pytest.mark.parametrize(
    ("hostname", "kind", "text"),
    [
        ("other.example", WrongHost, "is not for other.example"),
        ("127.0.0.2", WrongHost, "is not for 127.0.0.2"),
    ],
)
def test_a_certificate_for_another_host_is_refused(
    below, hostname, kind, text, trusting, server_context, tls
):
    client, server = tls.layered(
        below, trusting, server_context, server_hostname=hostname
    )

    error = tls.shake_failing(client, server)

    assert type(error) is kind
    assert text in str(error)
    assert error.verify_code in {62, 64}
    client.close()
    server.close()


@PAIRS
def test_an_expired_certificate_is_refused(below, ca, trusting, tls):
    old = tls.serving(
        ca.issue_cert(
            HOST, not_before=PAST, not_after=PAST + datetime.timedelta(days=1)
        )
    )
    client, server = tls.layered(below, trusting, old)

    error = tls.shake_failing(client, server)

    assert type(error) is CertificateExpired
    assert error.verify_code == 10
    client.close()
    server.close()


@PAIRS
def test_a_certificate_that_is_not_yet_valid_is_refused(below, ca, trusting, tls):
    future = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=30)
    early = tls.serving(
        ca.issue_cert(
            HOST, not_before=future, not_after=future + datetime.timedelta(days=1)
        )
    )
    client, server = tls.layered(below, trusting, early)

    error = tls.shake_failing(client, server)

    assert type(error) is CertificateExpired
    assert error.verify_code == 9
    client.close()
    server.close()


@PAIRS
def test_an_unknown_authority_is_refused_by_default(below, server_context, tls):
    client, server = tls.layered(below, None, server_context)

    error = tls.shake_failing(client, server)

    assert type(error) is UntrustedCertificate
    assert "not signed by one we trust" in str(error)
    client.close()
    server.close()


def test_a_self_signed_certificate_is_refused(tmp_path, tls):
    alone = trustme.CA()
    alone.cert_pem.write_to_path(tmp_path / "cert")
    alone.private_key_pem.write_to_path(tmp_path / "key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    client, server = tls.layered(memory_stream_pair, secure_context(), context)

    error = tls.shake_failing(client, server)

    assert type(error) is UntrustedCertificate
    assert error.verify_code == 18


def test_any_other_fault_of_a_certificate_is_a_certificate_error(
    ca, server_context, tls
):
    context = secure_context()
    ca.configure_trust(context)
    # A certificate revocation list is asked for, and there is none: code 3.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    client, server = tls.layered(memory_stream_pair, context, server_context)

    error = tls.shake_failing(client, server)

    assert type(error) is CertificateError
    assert error.verify_code == 3


def test_the_server_learns_why_it_was_refused(server_context, tls):
    client, server = tls.layered(memory_stream_pair, secure_context(), server_context)
    assert not client.connected()
    assert not server.connected()
    with pytest.raises(UntrustedCertificate):
        client.connected()

    with pytest.raises(TlsError, match=r"refused the TLS session: .*UNKNOWN_CA"):
        server.connected()


def test_failures_stay(server_context, tls):
    client, server = tls.layered(memory_stream_pair, secure_context(), server_context)
    first = tls.shake_failing(client, server)

    for use in (client.connected, client.receive, lambda: client.send(b"x")):
        with pytest.raises(UntrustedCertificate) as caught:
            use()
        assert caught.value is first
    assert not client.buffered
    assert not client.want_write


def test_a_certificate_for_an_address_is_accepted(trusting, server_context, tls):
    client, server = tls.layered(
        tcp_stream_pair, trusting, server_context, server_hostname=None
    )

    tls.shake(client, server)

    assert client.info.host == "127.0.0.1"
    client.close()
    server.close()


def test_the_roots_dot_is_no_part_of_the_name(trusting, server_context, tls):
    client, server = tls.layered(
        memory_stream_pair, trusting, server_context, server_hostname=HOST + "."
    )

    tls.shake(client, server)


def test_the_insecure_context_accepts_anything(server_context, tls):
    client, server = tls.layered(
        memory_stream_pair, insecure_context(), server_context, server_hostname="x"
    )

    tls.shake(client, server)

    assert client.peer_certificate is not None


def test_the_default_context_verifies():
    context = secure_context()

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_an_authority_of_ones_own_can_be_trusted(ca, server_context, tls):
    with ca.cert_pem.tempfile() as path:
        context = secure_context(path)
    client, server = tls.layered(memory_stream_pair, context, server_context)

    tls.shake(client, server)


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
