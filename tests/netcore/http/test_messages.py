"""Requests and responses as values, and their bytes."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.http import (
    BadMessage,
    HttpExchange,
    Kind,
    MessageReader,
    Response,
    encode_request,
    encode_response,
)

TOKENS = st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", fullmatch=True).filter(
    lambda name: (
        name.lower()
        not in {
            "host",
            "content-length",
            "transfer-encoding",
            "connection",
            "upgrade",
            "expect",
        }
    )
)
VALUES = (
    st.text(
        st.characters(
            min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"
        ).filter(lambda c: not 0x7F <= ord(c) < 0xA0 or ord(c) >= 0x80),
        max_size=20,
    )
    .map(str.strip)
    .filter(lambda value: value == value.strip(" \t"))
)


class TestRequests:
    def test_a_get_has_a_host_and_nothing_else(self):
        assert encode_request("GET", "/a?b", "x:81") == (
            b"GET /a?b HTTP/1.1\r\nHost: x:81\r\n\r\n"
        )

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
    def test_methods_with_content_say_that_there_is_none(self, method):
        assert b"Content-Length: 0\r\n" in encode_request(method, "/", "x")

    def test_a_given_host_takes_the_place_of_ours(self):
        data = encode_request("GET", "/", "x", headers=[("host", "y")])

        assert data.count(b"ost: ") == 1
        assert b"host: y" in data

    @given(st.lists(st.tuples(TOKENS, VALUES), max_size=5), st.binary(max_size=50))
    def test_what_is_encoded_is_read_back(self, headers, body):
        data = encode_request("POST", "/p", "x", headers=headers, body=body)
        (message,) = MessageReader(Kind.REQUEST).feed(data)

        assert message.method == "POST"
        assert message.body == body
        assert list(message.headers[1:-1]) == headers

    @given(st.lists(st.tuples(TOKENS, VALUES), max_size=5), st.binary(max_size=50))
    def test_h11_reads_it_as_well(self, headers, body):
        h11 = pytest.importorskip("h11")
        server = h11.Connection(h11.SERVER)
        server.receive_data(
            encode_request("PUT", "/p", "x", headers=headers, body=body)
        )
        request, *rest = server.next_event(), server.next_event()

        assert request.target == b"/p"
        assert [
            (n.decode().lower(), v.decode("latin-1"))
            for n, v in list(request.headers)[1:-1]
        ] == [(n.lower(), v) for n, v in headers]
        if body:
            assert bytes(rest[0].data) == body

    @pytest.mark.parametrize(
        ("method", "target", "headers"),
        [
            ("", "/", []),
            ("GE T", "/", []),
            ("GET", "", []),
            ("GET", "/ HTTP/1.1\r\nX: y", []),
            ("GET", "/ä", []),
            ("CONNECT", "x:1", []),
            ("GET", "/", [("", "x")]),
            ("GET", "/", [("A b", "x")]),
            ("GET", "/", [("A:", "x")]),
            ("GET", "/", [("A", "x\r\nB: y")]),
            ("GET", "/", [("A", "x\n")]),
            ("GET", "/", [("A", "x\x00")]),
            ("GET", "/", [("A", " x")]),
            ("GET", "/", [("A", "€")]),
            ("GET", "/", [("Content-Length", "5")]),
            ("GET", "/", [("transfer-encoding", "chunked")]),
        ],
    )
    def test_nothing_the_caller_gives_can_end_a_line_or_frame_a_body(
        self, method, target, headers
    ):
        with pytest.raises(BadMessage) as caught:
            encode_request(method, target, "x", headers=headers)
        # A value may be a secret.
        assert "B: y" not in str(caught.value)


class TestResponses:
    def test_framing_is_computed(self):
        assert encode_response(200, reason="OK", body=b"hi") == (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
        )
        assert encode_response(204) == b"HTTP/1.1 204 \r\n\r\n"

    def test_the_answer_to_head_only_counts(self):
        data = encode_response(200, body=b"hi", to_method="HEAD", close=True)

        assert data == (
            b"HTTP/1.1 200 \r\nConnection: close\r\nContent-Length: 2\r\n\r\n"
        )

    @given(st.sampled_from([200, 404, 503]), st.binary(max_size=50))
    def test_what_is_encoded_is_read_back(self, status, body):
        response = HttpExchange().feed(encode_response(status, body=body))

        assert (response.status, response.body) == (status, body)

    @pytest.mark.parametrize(
        "given_",
        [
            {"status": 99},
            {"status": 600},
            {"status": 204, "body": b"x"},
            {"status": 200, "reason": "a\r\nb"},
            {"status": 200, "headers": [("Content-Length", "1")]},
        ],
    )
    def test_what_is_no_response_is_refused(self, given_):
        with pytest.raises(BadMessage):
            encode_response(**given_)


class TestValues:
    def test_headers_are_found_in_any_case_and_joined(self):
        response = Response(200, headers=(("A", "1"), ("a", "2"), ("B", "3")))

        assert response.header("A") == "1, 2"
        assert response.header("c") is None
        assert response.header("c", "x") == "x"

    @pytest.mark.parametrize(
        ("content_type", "body"),
        [
            ("", "ü".encode()),
            ("text/plain; charset=latin-1", b"\xfc"),
            ('text/plain; Charset="UTF-8"', "ü".encode()),
        ],
    )
    def test_text_follows_the_charset(self, content_type, body):
        assert (
            Response(200, headers=(("Content-Type", content_type),), body=body).text
            == "ü"
        )

    def test_wrong_text_is_an_error_not_a_guess(self):
        with pytest.raises(UnicodeDecodeError):
            _ = Response(200, body=b"\xff").text
        with pytest.raises(LookupError):
            _ = Response(
                200, headers=(("Content-Type", "a/b; charset=klingon"),), body=b"x"
            ).text

    def test_json_is_checked_against_a_type(self):
        response = Response(200, body=b'{"a": [1, 2]}')

        assert response.json() == {"a": [1, 2]}
        assert response.json(dict[str, tuple[int, ...]]) == {"a": (1, 2)}
        with pytest.raises(msgspec.ValidationError):
            response.json(dict[str, int])

    def test_ok_is_what_begins_with_two(self):
        assert Response(204).ok
        assert not Response(304).ok
