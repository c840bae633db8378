"""Plain requests read in one look are read as netcore reads them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowtrade.serve.incoming import Incoming, read_plain
from netcore.http import HttpProtocolError, HttpServerConnection, Limits, Request

LIMITS = Limits()

PLAIN = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a%20b?q=%20x&y=? HTTP/1.1\r\nhost: x:80\r\nX_y-Z: a, b;c\r\n\r\n",
    b"PUT /d/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: x\r\ncontent-length: 04\r\n\r\n\r\n\r\n",
    b"PATCH / HTTP/1.1\r\nHost: x\r\nConnection: Keep-Alive\r\n\r\n",
    b"DELETE /? HTTP/1.1\r\nHost: x\r\nAccept: */*\r\naccept: a\r\n\r\n",
]
OTHERS = [
    b"",
    b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",  # no host
    b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\nHost: x\n\n",
    b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /#f HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA:b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA:  b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: b \r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: b \r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: \r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: \xe4\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: a\rb\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: a\x00b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: a\x7fb\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nAccept\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nProxy-Connection: close\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na",
    b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nab",
    b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcd",
    b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
    b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"0" * 99 + b"3\r\n\r\nabc",
    b"PUT / HTTP/1.1\r\nHost: x\r\n\r\nabc",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"Host: x\r\n\r\n",
]

lines = st.sampled_from(
    [
        b"Host: x",
        b"host: y.z:1",
        b"Content-Length: 0",
        b"content-length: 2",
        b"Content-Length: 02",
        b"Transfer-Encoding: chunked",
        b"Connection: keep-alive",
        b"Connection: close",
        b"Expect: 100-continue",
        b"Upgrade: x",
        b"Authorization: Bearer a.b.c",
        b"X-Odd_1: a: b",
        b"A!b: c",
        b"Empty:",
        b"Tab: a\tb",
    ]
)
starts = st.sampled_from(
    [
        b"GET / HTTP/1.1",
        b"PUT /demand/1?a=b HTTP/1.1",
        b"GET // HTTP/1.1",
        b"GET /?a?b HTTP/1.1",
        b"POST /%zz HTTP/1.1",
        b"BREW / HTTP/1.1",
        b"GET / HTTP/1.2",
    ]
)
messages = st.builds(
    lambda start, lines, body: b"\r\n".join([start, *lines, b"", body]),
    starts,
    st.lists(lines, max_size=6),
    st.sampled_from([b"", b"ab", b"\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]),
)
bytes_that_matter = st.sampled_from(
    [bytes([code]) for code in b'\x00\t\n\r !"#%/0:?AZ_az~\x7f\x80\xe4']
    + [b"\r\n", b""]
)


@st.composite
def mutilated(draw):
    wire = draw(st.one_of(messages, st.sampled_from(PLAIN)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(wire)))
        cut = draw(st.integers(0, 2))
        wire = wire[:at] + draw(bytes_that_matter) + wire[at + cut :]
    return wire


def by_netcore(wire):
    """Return what netcore reads of bytes that are one request, whole and alone."""
    connection = HttpServerConnection(LIMITS)
    (request,) = connection.feed(wire)
    assert connection.fault is None
    assert connection.closing is None
    assert connection.interim() == b""
    # Nothing of another request has begun: to end here is no fault.
    connection.feed_eof()
    return Incoming.from_request(request)


@given(mutilated())
@example(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\r\n")
def test_what_is_plain_is_what_netcore_reads(wire):
    plain = read_plain(wire, LIMITS)
    if plain is not None:
        assert plain == by_netcore(wire)


@pytest.mark.parametrize("wire", PLAIN)
def test_usual_requests_are_plain(wire):
    assert read_plain(wire, LIMITS) == by_netcore(wire)


@pytest.mark.parametrize("wire", OTHERS)
def test_whatever_could_be_read_in_two_ways_is_not_plain(wire):
    assert read_plain(wire, LIMITS) is None


@pytest.mark.parametrize("wire", PLAIN)
def test_parts_of_a_request_are_not_plain(wire):
    for end in range(len(wire)):
        assert read_plain(wire[:end], LIMITS) is None


def test_limits_are_netcores_to_refuse():
    wire = b"PUT / HTTP/1.1\r\nHost: x\r\nA: b\r\nContent-Length: 9\r\n\r\n" + b"x" * 9
    head = len(wire) - 9
    exact = Limits(max_head=head, max_headers=3, max_body=9)

    assert read_plain(wire, exact) is not None
    for limits in (
        Limits(max_head=head - 2, max_headers=3, max_body=9),
        Limits(max_head=head, max_headers=2, max_body=9),
        Limits(max_head=head, max_headers=3, max_body=8),
    ):
        assert read_plain(wire, limits) is None
        with pytest.raises(HttpProtocolError):
            HttpServerConnection(limits).feed(wire)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("http://example:80/a/b?c=d", b"/a/b", b"c=d"),
        ("HTTPS://u@[::1]/", b"/", b""),
        ("http://example?c", b"/", b"c"),
        ("http://example", b"/", b""),
        ("/a?u=http://example/b", b"/a", b"u=http://example/b"),
        ("*", b"*", b""),
    ],
)
def test_a_target_in_absolute_form_names_the_same_path(target, path, query):
    request = Request(method="GET", target=target)

    incoming = Incoming.from_request(request)

    assert (incoming.path, incoming.query) == (path, query)


class Line:
    client = ("203.0.113.1", 1)
    server = ("203.0.113.2", 2)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a/b", "/a/b"),
        (b"/a%20b/%C3%A4", "/a b/\u00e4"),
        (b"/%2Fa%", "//a%"),
        (b"/%ff", "/\ufffd"),
    ],
)
def test_a_path_is_told_as_meant_and_as_sent(target, path):
    wire = b"GET %b?q=%%20 HTTP/1.1\r\nHost: x\r\n\r\n" % target

    for incoming in (read_plain(wire, LIMITS), by_netcore(wire)):
        scope = incoming.scope(Line())
        assert (scope["path"], scope["raw_path"]) == (path, target)
        assert scope["query_string"] == b"q=%20"
        assert (scope["client"], scope["server"]) == (Line.client, Line.server)
