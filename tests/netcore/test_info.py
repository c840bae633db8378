import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.errors import InvalidURL
from netcore.info import Address, ConnectionInfo, SocketOptions, Url, parse_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://a", Url(scheme="ws", host="a", port=80, target="/")),
        ("wss://A.b/ws?x=1", Url(scheme="wss", host="a.b", port=443, target="/ws?x=1")),
        ("http://a:8080/", Url(scheme="http", host="a", port=8080, target="/")),
        ("https://a?q", Url(scheme="https", host="a", port=443, target="/?q")),
        ("tcp://10.0.0.1:9", Url(scheme="tcp", host="10.0.0.1", port=9)),
        ("tls://[::1]:9001", Url(scheme="tls", host="::1", port=9001)),
        ("HTTPS://a/b#frag", Url(scheme="https", host="a", port=443, target="/b")),
        (
            "wss://bücher.example/ü%20",
            Url(
                scheme="wss",
                host="xn--bcher-kva.example",
                port=443,
                target="/%C3%BC%20",
            ),
        ),
    ],
)
def test_urls_are_taken_apart(url, expected):
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("a", "scheme must be one of"),
        ("ftp://a", "was 'ftp'"),
        ("ws://", "there is no host"),
        ("ws:///path", "there is no host"),
        ("tcp://a", "tcp has no default port"),
        ("ws://a:99999", "out of range"),
        ("ws://a:x", "Port could not be cast"),
        ("ws://[::1", "Invalid IPv6"),
        ("ws://a/#frag", "no fragment"),
        ("ws://a/b c", "no blanks or control"),
        ("ws://a/\r\nHost: b", "no blanks or control"),
        ("ws://a\\b", "no blanks or control"),
        ("ws://" + "ü" * 70, "no IDNA form"),
    ],
)
def test_other_texts_are_refused_with_the_reason(url, why):
    with pytest.raises(InvalidURL, match=why):
        parse_url(url)


def test_credentials_in_a_url_are_refused_and_not_repeated():
    with pytest.raises(InvalidURL) as caught:
        parse_url("wss://user:secret@host/")

    assert "secret" not in str(caught.value)


@given(
    scheme=st.sampled_from(["ws", "wss", "http", "https", "tcp", "tls"]),
    host=st.sampled_from(["a.example", "127.0.0.1", "::1", "x"]),
    port=st.integers(1, 65535),
    target=st.from_regex(r"/[a-z0-9/%._~-]{0,20}(\?[a-z0-9=&]{1,20})?", fullmatch=True),
)
def test_a_url_is_read_as_it_is_printed(scheme, host, port, target):
    url = Url(scheme=scheme, host=host, port=port, target=target)

    assert parse_url(str(url)) == url


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("ws://a/", "a"),
        ("ws://a:80/", "a"),
        ("wss://a:80/", "a:80"),
        ("wss://[::1]/", "[::1]"),
        ("https://[::1]:1/", "[::1]:1"),
        ("tcp://a:80", "a:80"),
    ],
)
def test_the_authority_names_a_port_that_is_not_the_schemes_own(url, authority):
    assert parse_url(url).authority == authority


@pytest.mark.parametrize(
    ("scheme", "secure"),
    [("ws", False), ("wss", True), ("http", False), ("https", True), ("tls", True)],
)
def test_the_scheme_says_whether_tls_is_wanted(scheme, secure):
    assert parse_url(f"{scheme}://a:1").secure is secure


def test_connection_info_comes_from_a_url():
    assert ConnectionInfo.from_url("wss://a/x") == ConnectionInfo("a", 443)


def test_connection_info_prints_as_host_and_port():
    assert str(ConnectionInfo("a", 1)) == "a:1"
    assert str(ConnectionInfo("::1", 1)) == "[::1]:1"


def test_connection_info_is_a_value():
    info = ConnectionInfo("a", 1, options=SocketOptions(rcvbuf=1))

    assert info == ConnectionInfo("a", 1, options=SocketOptions(rcvbuf=1))
    assert len({info, ConnectionInfo("a", 1)}) == 2
    with pytest.raises(AttributeError):
        info.port = 2


def test_options_are_given_by_name():
    with pytest.raises(TypeError):
        ConnectionInfo("a", 1, "eth0")


@pytest.mark.parametrize("host", ["", "a b", "a\r\n", "[::1]"])
def test_a_host_that_is_none_is_refused(host):
    with pytest.raises(ValueError, match="host must be"):
        ConnectionInfo(host, 1)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_out_of_range_is_refused(port):
    with pytest.raises(ValueError, match=f"was {port}"):
        ConnectionInfo("a", port)


def test_an_unknown_interface_is_refused_at_once():
    with pytest.raises(LookupError, match="no network interface 'nosuch0'; there are"):
        ConnectionInfo("a", 1, interface="nosuch0")


def test_interface_and_source_exclude_each_other():
    name = socket.if_nameindex()[0][1]

    with pytest.raises(ValueError, match="not both"):
        ConnectionInfo("a", 1, interface=name, source="127.0.0.1")


def test_a_source_that_is_no_address_is_refused():
    with pytest.raises(ValueError, match="does not appear to be"):
        ConnectionInfo("a", 1, source="localhost")


@pytest.mark.parametrize(
    ("address", "family", "sockaddr", "text"),
    [
        (Address("1.2.3.4", 5), socket.AF_INET, ("1.2.3.4", 5), "1.2.3.4:5"),
        (Address("::1", 5), socket.AF_INET6, ("::1", 5, 0, 0), "[::1]:5"),
        (
            Address("fe80::1", 5, 3),
            socket.AF_INET6,
            ("fe80::1", 5, 0, 3),
            "[fe80::1]:5",
        ),
    ],
)
def test_addresses_know_their_family(address, family, sockaddr, text):
    assert address.family is family
    assert address.sockaddr == sockaddr
    assert str(address) == text


def test_a_name_is_no_address():
    with pytest.raises(ValueError, match="does not appear to be"):
        Address("localhost", 1)


@pytest.mark.parametrize(
    "character", ["\uff3c", "\uff0f", "\uff1f", "\uff03", "\uff20", "\uff1a", "\uff3b"]
)
def test_a_host_that_idna_turns_into_something_else_is_refused(character):
    # A full-width backslash becomes a backslash: another host to another reader.
    with pytest.raises(InvalidURL, match=r"no host|NFKC"):
        parse_url(f"wss://b\u00fccher.exa{character}evil.example/")
