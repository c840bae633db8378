"""Messages out of bytes: framing, limits, and what must not be understood."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.http import HttpProtocolError, Kind, Limits, MessageReader, MessageTooLarge

OK = b"HTTP/1.1 200 OK\r\n"


def cut(data, places):
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def read(data, kind=Kind.RESPONSE, **limits):
    reader = MessageReader(kind, Limits(**limits))
    return reader, reader.feed(data)


def feed(reader, data, size):
    """Feed `data` in pieces of `size`."""
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])


RESPONSES = {
    OK + b"Content-Length: 3\r\n\r\nabc": (200, b"abc"),
    OK + b"Content-Length: 0\r\n\r\n": (200, b""),
    OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n": (
        200,
        b"abcde",
    ),
    b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n": (204, b""),
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n": (304, b""),
    b"HTTP/1.1 100 Continue\r\n\r\n": (100, b""),
    b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx": (200, b"x"),
    b"HTTP/1.1 404 N\xf6t f\xf6und\r\nContent-Length: 0\r\n\r\n": (404, b""),
}


class TestFraming:
    @given(
        st.lists(st.sampled_from(sorted(RESPONSES)), max_size=5),
        st.lists(st.integers(0, 5000)),
    )
    def test_it_does_not_matter_how_a_stream_is_cut(self, sent, places):
        reader = MessageReader(Kind.RESPONSE)
        found = [m for piece in cut(b"".join(sent), places) for m in reader.feed(piece)]

        assert [(m.status, m.body) for m in found] == [RESPONSES[data] for data in sent]
        assert all(message.complete for message in found)
        assert reader.partial is None
        assert reader.feed_eof() is None

    def test_requests_one_behind_the_other(self):
        data = (
            b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"
            b"POST /d HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
            b"PUT /e HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"1\r\nz\r\n0\r\nDigest: q\r\n\r\n"
        )
        reader, found = read(data, Kind.REQUEST)

        assert [(m.method, m.target, m.body) for m in found] == [
            ("GET", "/a?b=c", b""),
            ("POST", "/d", b"hi"),
            ("PUT", "/e", b"z"),
        ]
        assert found[2].trailers == (("Digest", "q"),)
        assert found[0].headers == (("Host", "x"),)
        assert "requests" in repr(reader)

    def test_a_body_without_a_length_ends_with_the_connection(self):
        reader, found = read(OK + b"X: y\r\n\r\npart")
        assert found == []
        assert reader.until_close
        reader.feed(b" and rest")

        message = reader.feed_eof()
        assert message.body == b"part and rest"
        assert message.complete

    @pytest.mark.parametrize(
        ("coding", "until_close"),
        [("chunked", False), ("gzip, chunked", False), ("gzip", True)],
    )
    def test_the_last_transfer_coding_decides(self, coding, until_close):
        reader, _ = read(OK + f"Transfer-Encoding: {coding}\r\n\r\n".encode())

        assert reader.until_close is until_close

    @pytest.mark.parametrize(
        "data",
        [
            b"HTTP/1.1 20",
            OK + b"Content-Le",
            OK + b"Content-Length: 3\r\n\r\nab",
            OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nab",
            OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
        ],
    )
    def test_a_message_cut_short_is_no_message(self, data):
        reader, found = read(data)
        assert found == []
        assert not reader.partial.complete
        with pytest.raises(HttpProtocolError, match="ended within a"):
            reader.feed_eof()

    def test_a_partial_message_shows_what_is_there(self):
        reader, _ = read(b"PUT /x HTTP/1.1\r\nA: b\r\nC:", Kind.REQUEST)
        assert (reader.partial.method, reader.partial.target) == ("PUT", "/x")
        assert reader.partial.headers == (("A", "b"),)

        reader, _ = read(OK + b"Content-Length: 9\r\n\r\nabc")
        assert (reader.partial.status, reader.partial.reason) == (200, "OK")
        assert reader.partial.body == b"abc"

    def test_after_an_upgrade_bytes_are_no_http_any_more(self):
        head = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
        reader, found = read(head + b"\x81\x00")
        assert found[0].upgrade
        assert reader.rest == b"\x81\x00"
        assert reader.feed(b"more") == []
        assert reader.rest == b"\x81\x00more"
        assert reader.feed_eof() is None

    @pytest.mark.parametrize(
        ("head", "keep"),
        [
            (b"HTTP/1.1 200 OK\r\n", True),
            (b"HTTP/1.1 200 OK\r\nConnection: Close\r\n", False),
            (b"HTTP/1.1 200 OK\r\nConnection: x, close\r\n", False),
            (b"HTTP/1.0 200 OK\r\n", False),
            (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n", True),
        ],
    )
    def test_who_keeps_the_connection(self, head, keep):
        _, (message,) = read(head + b"Content-Length: 0\r\n\r\n")

        assert message.keep_alive is keep


SMUGGLING = [
    b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    b"Content-Length: 3\r\nContent-Length: 3\r\n",
    b"Content-Length: 3\r\nContent-Length: 4\r\n",
    b"Content-Length: 3, 3\r\n",
    b"Content-Length: +3\r\n",
    b"Content-Length: 0x3\r\n",
    b"Content-Length: -3\r\n",
    b"Content-Length:\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length : 3\r\n",
    b"Content-Length: 3\n",
    b"Content-\x00Length: 3\r\n",
    b"X: a\r\n Content-Length: 3\r\n",
    b"X: a\rContent-Length: 3\r\n",
    b"X: \x00\r\n",
    b": x\r\n",
    b"no colon\r\n",
]


class TestRefusal:
    @pytest.mark.parametrize("kind", Kind)
    @pytest.mark.parametrize("lines", SMUGGLING)
    def test_what_two_readers_read_differently_is_refused(self, kind, lines):
        first = OK if kind is Kind.RESPONSE else b"POST / HTTP/1.1\r\nHost: x\r\n"
        reader = MessageReader(kind)
        with pytest.raises(HttpProtocolError):
            reader.feed(first + lines + b"\r\nabc")

    @pytest.mark.parametrize(
        "coding", [b"xchunked", b"chunked, gzip", b"identity", b"chunked, chunked"]
    )
    def test_a_request_whose_coding_does_not_end_is_refused(self, coding):
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: %b\r\n\r\n" % coding
        reader = MessageReader(Kind.REQUEST)
        with pytest.raises(HttpProtocolError):
            reader.feed(head + b"0\r\n\r\n")

    @pytest.mark.parametrize(
        "chunks",
        [
            b"x\r\n",
            b"3\nabc\r\n",
            b"-1\r\n",
            b"3\r\nabcd\r\n",
            b"f" * 17 + b"\r\n",
            b"\r\n",
        ],
    )
    def test_wrong_chunks_are_refused(self, chunks):
        reader = MessageReader(Kind.RESPONSE)
        with pytest.raises(HttpProtocolError):
            reader.feed(OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)

    @pytest.mark.parametrize(
        "data", [b"SSH-2.0-x\r\n", b"HTTP/1.x 200\r\n", b"\x16\x03\x01"]
    )
    def test_other_protocols_are_refused(self, data):
        for kind in Kind:
            with pytest.raises(HttpProtocolError):
                MessageReader(kind).feed(data)

    def test_a_fault_stays(self):
        reader = MessageReader(Kind.RESPONSE)
        for _ in range(2):
            with pytest.raises(HttpProtocolError):
                reader.feed(b"nonsense")
        with pytest.raises(HttpProtocolError):
            reader.feed_eof()

    def test_messages_before_a_fault_are_delivered_first(self):
        reader = MessageReader(Kind.RESPONSE)
        (message,) = reader.feed(OK + b"Content-Length: 0\r\n\r\nnonsense")

        assert message.complete
        assert isinstance(reader.fault, HttpProtocolError)
        with pytest.raises(HttpProtocolError):
            reader.feed(b"")


class TestLimits:
    @pytest.mark.parametrize("size", [1, 7, 1 << 20])
    @pytest.mark.parametrize(
        "head",
        [
            OK + b"X: " + b"y" * 5000,
            b"HTTP/1.1 200 " + b"y" * 5000,
            OK + b"X: y\r\n" * 1000,
            OK + b"y" * 5000,
        ],
    )
    def test_a_head_over_the_limit_is_refused_however_it_comes(self, head, size):
        reader = MessageReader(Kind.RESPONSE, Limits(max_head=1000, max_headers=1000))
        with pytest.raises(MessageTooLarge) as caught:
            feed(reader, head, size)

        assert caught.value.status == 431

    @pytest.mark.parametrize("size", [1, 7, 1 << 20])
    @pytest.mark.parametrize(
        ("head", "status"),
        [
            (b"GET /" + b"y" * 5000, 414),
            (b"OPTIONS /" + b"y" * 985 + b" HTTP/1.1\r\n\r\n", 414),
            (b"GET /" + b"y" * 900 + b" HTTP/1.1\r\nX: " + b"y" * 100, 431),
            (b"GET / HTTP/1.1\r\nX: " + b"y" * 5000, 431),
            (b"GET / HTTP/1.1\r\n" + b"y" * 5000, 431),
        ],
    )
    def test_a_target_over_the_limit_is_told_from_a_head(self, head, status, size):
        reader = MessageReader(Kind.REQUEST, Limits(max_head=1000))
        with pytest.raises(MessageTooLarge) as caught:
            feed(reader, head, size)

        assert caught.value.status == status

    def test_too_many_headers_are_refused(self):
        reader = MessageReader(Kind.REQUEST, Limits(max_headers=5))
        with pytest.raises(MessageTooLarge, match="more than 5 header lines"):
            reader.feed(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 7)

    def test_a_length_over_the_limit_is_refused_before_the_body_comes(self):
        reader = MessageReader(Kind.REQUEST, Limits(max_body=10))
        with pytest.raises(MessageTooLarge) as caught:
            reader.feed(b"POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n")

        assert caught.value.status == 413

    @pytest.mark.parametrize(
        "body",
        [
            b"Transfer-Encoding: chunked\r\n\r\n" + b"6\r\nabcdef\r\n" * 2,
            b"\r\n" + b"x" * 11,
        ],
    )
    def test_a_body_without_a_length_is_counted(self, body):
        reader = MessageReader(Kind.RESPONSE, Limits(max_body=10))
        with pytest.raises(MessageTooLarge):
            reader.feed(OK + body)

    @pytest.mark.parametrize(
        "tail", [b"0\r\n" + b"T: x\r\n" * 100, b"1;" + b"x" * 1000]
    )
    def test_endless_trailers_and_extensions_are_refused(self, tail):
        reader = MessageReader(Kind.RESPONSE, Limits(max_head=100, max_headers=10_000))
        reader.feed(OK + b"Transfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(MessageTooLarge):
            feed(reader, tail, 1)

    def test_many_small_chunks_are_no_abuse(self):
        data = (
            OK
            + b"Transfer-Encoding: chunked\r\n\r\n"
            + b"1\r\nx\r\n" * 5000
            + b"0\r\n\r\n"
        )
        _, (message,) = read(data, max_head=200)

        assert message.body == b"x" * 5000

    def test_a_head_at_the_limit_passes(self):
        head = OK + b"Content-Length: 1\r\n\r\n"
        _, (message,) = read(head + b"x", max_head=len(head))

        assert message.body == b"x"
