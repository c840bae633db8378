"""One request and its response."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.http import (
    ExchangeState,
    HttpExchange,
    HttpProtocolError,
    Response,
    ServerDisconnected,
)

OK = b"HTTP/1.1 200 OK\r\n"
FULL = OK + b"Content-Length: 3\r\nX: y\r\n\r\nabc"


def cut(data, places):
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def exchange(data, method="GET"):
    made = HttpExchange(method)
    return made, made.feed(data)


def to_the_end(made, data):
    return made.feed(data) or made.feed_eof()


class TestResponses:
    @given(st.lists(st.integers(0, 100)))
    def test_a_response_comes_in_any_pieces(self, places):
        made = HttpExchange()
        pieces = [piece for piece in cut(FULL, places) if piece]
        found = [r for piece in pieces if (r := made.feed(piece))]

        assert found == [
            Response(200, "OK", (("Content-Length", "3"), ("X", "y")), b"abc")
        ]
        assert made.state is ExchangeState.DONE
        assert made.reusable

    def test_states_follow_the_bytes(self):
        made = HttpExchange("PUT")
        assert made.state is ExchangeState.WAITING
        assert made.feed(b"") is None
        assert made.state is ExchangeState.WAITING
        made.feed(FULL[:5])
        assert made.state is ExchangeState.READING
        assert repr(made) == "<HttpExchange PUT, reading>"

    @pytest.mark.parametrize("status", [100, 102, 103])
    def test_interim_responses_are_counted_and_dropped(self, status):
        made, response = exchange(b"HTTP/1.1 %d X\r\nA: b\r\n\r\n" % status * 2 + FULL)

        assert response.status == 200
        assert response.headers[0] == ("Content-Length", "3")
        assert made.interim == [status, status]

    def test_endless_interim_responses_are_refused(self):
        made = HttpExchange()
        with pytest.raises(HttpProtocolError, match="interim"):
            made.feed(b"HTTP/1.1 100 X\r\n\r\n" * 17)

    @pytest.mark.parametrize("size", [1, 30, 1000])
    def test_what_comes_behind_the_answer_to_head_is_no_part_of_it(self, size):
        made = HttpExchange("HEAD")
        data = OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n"
        data += b"1\r\nx\r\n0\r\nT: v\r\n\r\n"
        pieces = iter(data[at : at + size] for at in range(0, len(data), size))
        response = next(found for piece in pieces if (found := made.feed(piece)))

        assert (response.body, response.trailers) == (b"", ())
        assert made.reusable is (size == 1)  # byte by byte nothing more has come yet

    @pytest.mark.parametrize(
        "more",
        [
            b"Content-Length: 99999999999\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\nno chunk",
        ],
    )
    @pytest.mark.parametrize("size", [1, 1000])
    def test_the_answer_to_head_is_complete_with_its_head(self, more, size):
        made = HttpExchange("HEAD")
        data = OK + more
        pieces = iter(data[at : at + size] for at in range(0, len(data), size))
        response = next(found for piece in pieces if (found := made.feed(piece)))

        assert (response.status, response.body) == (200, b"")
        assert made.state is ExchangeState.DONE

    def test_a_fault_within_the_head_of_an_answer_to_head_is_one(self):
        made = HttpExchange("HEAD")
        with pytest.raises(HttpProtocolError):
            made.feed(OK + b"no header\r\n\r\n")

    @pytest.mark.parametrize("coding", [b"gzip", b"gzip, chunked", b"x"])
    def test_a_coded_body_that_was_not_asked_for_is_a_fault(self, coding):
        made = HttpExchange()
        data = OK + b"Transfer-Encoding: %b\r\n\r\n" % coding
        data += b"1\r\nx\r\n0\r\n\r\n" if b"chunked" in coding else b"x"
        with pytest.raises(HttpProtocolError, match="not asked for"):
            to_the_end(made, data)

        assert made.state is ExchangeState.FAILED
        assert not made.reusable

    def test_identity_is_no_coding(self):
        made, _ = exchange(OK + b"Transfer-Encoding: identity\r\n\r\nx")

        assert made.feed_eof().body == b"x"

    def test_a_fault_behind_an_interim_response_is_told_at_once(self):
        made = HttpExchange()
        with pytest.raises(HttpProtocolError, match="no HTTP"):
            made.feed(b"HTTP/1.1 100 X\r\n\r\nHTTP/1.1 200 OK\r\nno header\r\n\r\n")

        assert made.state is ExchangeState.FAILED

    def test_switching_protocols_ends_http(self):
        head = b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        made, response = exchange(head + b"frames")

        assert response.status == 101
        assert made.rest == b"frames"
        assert not made.reusable

    @pytest.mark.parametrize(
        "framing", [b"Content-Length: 9", b"Transfer-Encoding: chunked"]
    )
    def test_the_answer_to_head_has_no_body_whatever_it_says(self, framing):
        made, response = exchange(OK + framing + b"\r\n\r\n", "HEAD")

        assert response.body == b""
        assert response.status == 200
        assert made.reusable

    @pytest.mark.parametrize("status", [b"204", b"304"])
    def test_some_statuses_have_no_body(self, status):
        made, response = exchange(
            b"HTTP/1.1 %b X\r\nContent-Length: 5\r\n\r\n" % status
        )

        assert response.body == b""
        assert made.reusable

    def test_trailers_are_kept_apart(self):
        _, response = exchange(
            OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nDigest: d\r\n\r\n"
        )

        assert response.trailers == (("Digest", "d"),)
        assert response.header("digest") is None

    @pytest.mark.parametrize(
        "data",
        [
            b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n",
        ],
    )
    def test_other_versions_and_no_status_are_refused(self, data):
        made = HttpExchange()
        with pytest.raises(HttpProtocolError):
            made.feed(data)
        assert made.state is ExchangeState.FAILED
        assert not made.reusable


class TestReuse:
    @pytest.mark.parametrize(
        ("data", "method"),
        [
            (OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n", "GET"),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "GET"),
            (FULL + b"junk", "GET"),
            (FULL + FULL, "GET"),
            (FULL + b"HTTP", "GET"),
            (OK + b"Content-Length: 3\r\n\r\nabc", "HEAD"),
            (b"HTTP/1.1 204 X\r\n\r\nabc", "GET"),
        ],
    )
    def test_what_comes_behind_or_closes_makes_it_unfit(self, data, method):
        made, response = exchange(data, method)

        assert response is not None
        assert not made.reusable

    def test_bytes_after_the_response_are_refused(self):
        made, _ = exchange(FULL)
        with pytest.raises(HttpProtocolError):
            made.feed(b"x")


class TestEnd:
    def test_the_end_completes_a_body_without_a_length(self):
        made, response = exchange(OK + b"\r\nall of it")
        assert response is None

        assert made.feed_eof().body == b"all of it"
        assert made.state is ExchangeState.DONE
        assert not made.reusable

    @pytest.mark.parametrize(
        "data", [b"", b"HTTP/1.1 100 X\r\n\r\n", b"HT", FULL[:-1], OK]
    )
    def test_the_end_before_the_end_is_an_error(self, data):
        made, _ = exchange(data)
        with pytest.raises(ServerDisconnected):
            made.feed_eof()
        assert made.state is ExchangeState.FAILED


class TestOracle:
    @given(
        st.sampled_from([200, 201, 204, 304, 404, 500]),
        st.lists(st.binary(min_size=1, max_size=50), max_size=5),
        st.sampled_from(["length", "chunked", "close"]),
        st.sampled_from(["GET", "HEAD", "POST"]),
        st.lists(st.integers(0, 1000)),
    )
    def test_what_h11_writes_is_read(self, status, parts, framing, method, places):
        h11 = pytest.importorskip("h11")
        server = h11.Connection(h11.SERVER)
        head = [("Host", "x")] + ([("Content-Length", "0")] if method == "POST" else [])
        client = h11.Connection(h11.CLIENT)
        server.receive_data(
            client.send(h11.Request(method=method, target="/", headers=head))
            + client.send(h11.EndOfMessage())
        )
        while not isinstance(server.next_event(), h11.EndOfMessage):
            pass
        body = b"".join(parts)
        bodiless = method == "HEAD" or status in {204, 304}
        headers = {
            "length": [("Content-Length", str(len(body)))],
            "chunked": [("Transfer-Encoding", "chunked")],
            "close": [("Connection", "close")],
        }[framing]
        if status == 204:
            headers = []
        data = server.send(h11.Response(status_code=status, headers=headers))
        for part in () if bodiless else parts:
            data += server.send(h11.Data(data=part))
        if not bodiless or framing != "length":
            data += server.send(h11.EndOfMessage())

        made = HttpExchange(method)
        response = None
        for piece in cut(data, places):
            if response is None:
                response = made.feed(piece)
        response = response or made.feed_eof()
        assert (response.status, response.body) == (status, b"" if bodiless else body)
