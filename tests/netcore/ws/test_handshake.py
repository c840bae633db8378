"""The upgrade: what we ask, what we take for an answer, and the same as a server."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.errors import HandshakeError
from netcore.ws import ClientHandshake, ServerHandshake
from netcore.ws.handshake import (
    MAX_ERROR_BODY,
    MAX_HEAD,
    HeadReader,
    Request,
    accept_token,
    header_tokens,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 §1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def client(**options) -> ClientHandshake:
    return ClientHandshake("example.com", "/chat?x=1", key=KEY, **options)


def answer(
    status: str = "101 Switching Protocols", *, body: bytes = b"", **fields: str | None
) -> bytes:
    """A good answer to `client()`, but for what is given."""
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": ACCEPT,
    } | {name.replace("_", "-"): value for name, value in fields.items()}
    lines = [f"HTTP/1.1 {status}"] + [
        f"{name}: {value}" for name, value in headers.items() if value is not None
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_the_accept_token_is_that_of_the_rfc():
    assert accept_token(KEY) == ACCEPT


# -- the client's request --------------------------------------------------------------


def test_a_request_holds_what_the_rfc_asks_for():
    lines = client().request().decode().split("\r\n")

    assert lines[0] == "GET /chat?x=1 HTTP/1.1"
    assert sorted(lines[1:]) == [
        "",
        "",
        "Connection: Upgrade",
        "Host: example.com",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        "Upgrade: websocket",
    ]


def test_a_request_carries_origin_subprotocols_extensions_and_own_headers():
    request = client(
        origin="https://example.com",
        subprotocols=["v2.json", "v1.json"],
        extensions="permessage-deflate",
        headers=[("Authorization", "Bearer x"), ("User-Agent", "test")],
    ).request()

    for line in (
        b"Origin: https://example.com",
        b"Sec-WebSocket-Protocol: v2.json, v1.json",
        b"Sec-WebSocket-Extensions: permessage-deflate",
        b"Authorization: Bearer x",
        b"User-Agent: test",
    ):
        assert b"\r\n" + line + b"\r\n" in request


def test_a_given_host_replaces_the_default():
    assert client(headers=[("host", "other")]).request().count(b"ost:") == 1


def test_each_handshake_has_a_fresh_key_of_16_bytes():
    keys = {
        line.split(": ")[1]
        for _ in range(5)
        for line in ClientHandshake("h").request().decode().split("\r\n")
        if line.startswith("Sec-WebSocket-Key")
    }

    assert len(keys) == 5
    assert {len(base64.b64decode(key)) for key in keys} == {16}


@pytest.mark.parametrize(
    "options",
    [
        {"headers": [("X", "a\r\nEvil: 1")]},
        {"headers": [("X Y", "a")]},
        {"headers": [("X", "\N{SNOWMAN}")]},
        {"headers": [("Sec-WebSocket-Key", "mine")]},
        {"headers": [("upgrade", "h2c")]},
        {"origin": "a\nb"},
        {"subprotocols": ["a b"]},
        {"subprotocols": ["a", "a"]},
    ],
)
def test_what_would_break_the_head_is_refused(options):
    with pytest.raises(ValueError):  # noqa: PT011 - each has words of its own
        client(**options).request()


@pytest.mark.parametrize("target", ["chat", "", "/a b", "/\r\n", "/ü"])
def test_a_target_is_an_escaped_path(target):
    with pytest.raises(ValueError, match="target"):
        ClientHandshake("h", target)


# -- the server's answer ---------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        answer(),
        answer("101"),
        answer("101 "),
        answer("101 null"),
        answer(Upgrade="WebSocket"),
        answer(Upgrade="h2c, websocket"),
        answer(Connection="keep-alive, upgrade"),
        answer(X_Other="ü"),
    ],
)
def test_good_answers_are_taken_in_any_pieces(data):
    whole, bytewise = client(), client()
    pieces = [bytewise.feed(data[i : i + 1]) for i in range(len(data))]

    agreement = whole.feed(data)

    assert agreement is not None
    assert pieces[:-1] == [None] * (len(data) - 1)
    assert pieces[-1] == agreement
    assert (agreement.subprotocol, agreement.extensions, agreement.rest) == (
        None,
        "",
        b"",
    )


def test_bytes_behind_the_head_are_kept():
    agreement = client().feed(answer(body=b"\x81\x00\r\n\r\n"))

    assert agreement is not None
    assert agreement.rest == b"\x81\x00\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (answer(Upgrade=None), "Upgrade is not websocket"),
        (answer(Upgrade="h2c"), "Upgrade is not websocket"),
        (answer(Connection="close"), "Connection is not Upgrade"),
        (answer(Sec_WebSocket_Accept=None), "not for our key"),
        (answer(Sec_WebSocket_Accept="AAAA"), "not for our key"),
        (answer(Sec_WebSocket_Protocol="v1"), "was not offered"),
        (answer(Sec_WebSocket_Extensions="permessage-deflate"), "unasked"),
    ],
)
def test_a_101_that_breaks_a_rule_is_refused_by_name(data, words):
    with pytest.raises(HandshakeError, match=words) as caught:
        client().feed(data)
    assert caught.value.status == 101


@pytest.mark.parametrize("protocol", ["v1, v2", "v3"])
def test_one_subprotocol_of_ours_may_be_chosen(protocol):
    good = client(subprotocols=["v1", "v2"]).feed(answer(Sec_WebSocket_Protocol="v2"))
    assert good is not None
    assert good.subprotocol == "v2"

    with pytest.raises(HandshakeError, match="subprotocol"):
        client(subprotocols=["v1", "v2"]).feed(answer(Sec_WebSocket_Protocol=protocol))


def test_a_recorded_answer_may_be_for_another_key():
    data = answer().replace(ACCEPT.encode(), b"recorded")

    assert client(replayed=True).feed(data) is not None


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/2 101\r\n\r\n",
        b"HTTP/1.1 1O1 X\r\n\r\n",
        b"HTTP/1.1 101 X\r\nno field\r\n\r\n",
        b"HTTP/1.1 101 X\r\nName : x\r\n\r\n",
        b"HTTP/1.1 101 X\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 101 X\r\nA: b\x00\r\n\r\n",
        b"HTTP/1.1 101 X\r\nA: " + b"b" * MAX_HEAD + b"\r\n\r\n",
        b"x" * (MAX_HEAD + 4),
    ],
)
def test_what_is_no_http_is_a_handshake_error_without_status(data):
    with pytest.raises(HandshakeError) as caught:
        client().feed(data)
    assert caught.value.status == 0


# -- refusals --------------------------------------------------------------------------


def refused(*pieces: bytes, eof: bool = False) -> HandshakeError:
    handshake = client()
    for piece in pieces[:-1]:
        assert handshake.feed(piece) is None
    if eof:
        assert handshake.feed(pieces[-1]) is None
        return handshake.feed_eof()
    with pytest.raises(HandshakeError) as caught:
        handshake.feed(pieces[-1])
    return caught.value


def test_a_refusal_shows_status_headers_and_body():
    head = b"HTTP/1.1 429 Slow down\r\nRetry-After: 5\r\nContent-Length: 9\r\n\r\n"
    error = refused(head, b"too ", b"much!more")

    assert error.status == 429
    assert ("Retry-After", "5") in error.headers
    assert error.body == b"too much!"
    assert "Slow down" in str(error)


def test_a_refusal_without_a_length_ends_with_the_stream():
    error = refused(b"HTTP/1.1 503\r\n\r\nplease", b" wait", eof=True)

    assert (error.status, error.body) == (503, b"please wait")


@pytest.mark.parametrize("digits", ["9" * 20, "9" * 4400])
def test_a_length_beyond_any_number_is_only_a_long_body(digits):
    head = f"HTTP/1.1 403 No\r\nContent-Length: {digits}\r\n\r\n".encode()
    error = refused(head, b"no", eof=True)

    assert (error.status, error.body) == (403, b"no")


@pytest.mark.parametrize("size", range(MAX_HEAD - 6, MAX_HEAD + 4))
def test_the_longest_head_is_the_same_however_it_is_cut(size):
    begin = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\nA: "
    head = begin + b"a" * (size - len(begin)) + b"\r\n\r\n"

    assert {
        refused(head[:cut], head[cut:]).status
        for cut in range(size - 2, size + 4)
        if size <= MAX_HEAD or cut <= MAX_HEAD + 3
    } == {403 if size <= MAX_HEAD else 0}


def test_an_empty_refusal_is_told_at_once():
    assert refused(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n").status == 403


def test_only_the_first_part_of_a_long_body_is_kept():
    error = refused(b"HTTP/1.1 500 X\r\n\r\n", b"a" * (MAX_ERROR_BODY + 100))

    assert error.body == b"a" * MAX_ERROR_BODY


@pytest.mark.parametrize("cut", [0, 2, 7, 15])
def test_a_chunked_body_is_shown_without_its_chunks(cut):
    head = b"HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n"

    assert refused(head + body[:cut], body[cut:]).body == b"hello world"


def test_an_endless_chunked_body_is_cut():
    head = b"HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n"

    assert len(refused(head, b"FFFFF\r\n" + b"a" * 9000).body) == MAX_ERROR_BODY


def test_the_end_before_any_answer_is_a_handshake_error():
    handshake = client()
    handshake.feed(b"HTTP/1.1 101")

    assert handshake.feed_eof().status == 0


# -- the server's half -----------------------------------------------------------------


def request(**changes: str | None) -> bytes:
    fields: dict[str, str | None] = {
        "Host": "h",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    first = fields.pop("first", None) or "GET /a?b=c HTTP/1.1"
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([first, *lines, "", ""]).encode()


def test_a_server_accepts_what_a_client_asks():
    ours = client(subprotocols=["v2", "v1"], headers=[("X-Token", "t")])
    server = ServerHandshake()
    asked = server.feed(ours.request() + b"early")

    assert asked is not None
    assert asked is server.request
    assert (asked.path, asked.query, asked.target) == ("/chat", "x=1", "/chat?x=1")
    assert asked.subprotocols == ["v2", "v1"]
    assert asked.header("x-TOKEN") == "t"
    assert asked.header("missing") is None
    assert server.rest == b"early"

    agreement = ours.feed(server.accept(subprotocol="v1", headers=[("X-Id", "7")]))
    assert agreement is not None
    assert agreement.subprotocol == "v1"
    assert ("X-Id", "7") in agreement.headers


def test_a_server_accepts_only_offered_subprotocols_of_complete_requests():
    server = ServerHandshake()
    with pytest.raises(ValueError, match="request"):
        server.accept()
    server.feed(request())
    with pytest.raises(ValueError, match="was not offered"):
        server.accept(subprotocol="v1")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(first="POST / HTTP/1.1"), 405),
        (request(first="GET / HTTP/1.0"), 400),
        (request(first="GET http://h/ HTTP/1.1"), 400),
        (request(first="hello"), 400),
        (request(Host=None), 400),
        (request(Upgrade=None), 426),
        (request(Connection="close"), 400),
        (request(Sec_WebSocket_Version="8"), 426),
        (request(Sec_WebSocket_Key=None), 400),
        (request(Sec_WebSocket_Key="c2hvcnQ="), 400),
        (request(Sec_WebSocket_Key="not base64!"), 400),
        (request(Content_Length="5"), 400),
        (request(Content_Length="x"), 400),
        (request(Transfer_Encoding="chunked"), 400),
        (b"GET / HTTP/1.1\r\nbad\r\n\r\n", 400),
        (b"G" * (MAX_HEAD + 4), 400),
    ],
)
def test_a_server_names_the_status_of_a_bad_request(data, status):
    server = ServerHandshake()
    with pytest.raises(HandshakeError) as caught:
        server.feed(data)

    assert caught.value.status == status
    head = server.reject(status)
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert (b"Sec-WebSocket-Version: 13" in head) == (status == 426)


def test_a_request_that_says_it_has_no_body_has_none():
    assert ServerHandshake().feed(request(Content_Length="0")) is not None


def test_a_refusal_by_a_server_reaches_the_client():
    data = ServerHandshake.reject(401, headers=[("X-Why", "key")], body=b"no key")

    error = refused(data)

    assert (error.status, error.body) == (401, b"no key")
    assert ("X-Why", "key") in error.headers


@pytest.mark.parametrize("status", [101, 200, 600])
def test_only_refusals_refuse(status):
    with pytest.raises(ValueError, match=str(status)):
        ServerHandshake.reject(status)


# -- parts -----------------------------------------------------------------------------


def test_lists_in_fields_are_split_over_commas_and_fields():
    headers = (("A", "x, y"), ("a", " ,z"), ("B", "q"))

    assert header_tokens(headers, "a") == ["x", "y", "z"]


@given(data=st.binary(max_size=200), size=st.integers(1, 30))
def test_hostile_heads_end_in_a_value_or_a_value_error(data, size):
    reader = HeadReader()
    for start in range(0, len(data), size):
        try:
            if reader.feed(data[start : start + size]) is not None:
                return
        except ValueError:
            return


def test_the_path_of_a_target_without_query_is_all_of_it():
    assert (Request("/a").path, Request("/a").query) == ("/a", "")
