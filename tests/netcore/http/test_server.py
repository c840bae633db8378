"""The server's half: requests in, responses out, in order."""

import pytest

from netcore.http import (
    BadMessage,
    HttpExchange,
    HttpLocalError,
    HttpProtocolError,
    HttpServerConnection,
    Limits,
    encode_request,
)

GET = encode_request("GET", "/a", "x")


def test_a_request_and_its_response():
    server = HttpServerConnection()
    (request,) = server.feed(encode_request("POST", "/p", "x", body=b"hi"))

    assert (request.method, request.target, request.body) == ("POST", "/p", b"hi")
    assert request.header("HOST") == "x"
    data = server.respond(201, headers=[("Location", "/p/1")], body=b"made")
    response = HttpExchange("POST").feed(data)
    assert (response.status, response.body) == (201, b"made")
    assert response.header("location") == "/p/1"
    assert server.closing is None


def test_pipelined_requests_are_answered_in_order():
    server = HttpServerConnection()
    requests = server.feed(GET + encode_request("HEAD", "/b", "x") + GET[:10])

    assert [request.target for request in requests] == ["/a", "/b"]
    assert server.open_requests == 2
    assert server.respond(200, body=b"1").endswith(b"1")
    # The second was a HEAD.
    assert server.respond(200, body=b"2").endswith(b"\r\n\r\n")
    with pytest.raises(HttpLocalError, match="no request"):
        server.respond(200)


def test_too_many_waiting_requests_are_refused():
    server = HttpServerConnection(max_pipelined=2)
    assert len(server.feed(GET * 3)) == 2
    assert server.fault.status == 429
    with pytest.raises(HttpProtocolError) as caught:
        server.feed(b"")

    assert caught.value.status == 429


@pytest.mark.parametrize(
    "bad", [b"GET / HTTP/1.1\r\n\r\n", b"GET /\r\n\r\n", b"nonsense\r\n\r\n"]
)
@pytest.mark.parametrize("ends", [False, True])
def test_requests_before_a_fault_in_the_same_read_are_answered(bad, ends):
    server = HttpServerConnection()
    assert server.fault is None
    (request,) = server.feed(GET + bad)
    assert request.target == "/a"
    assert server.respond(204).startswith(b"HTTP/1.1 204 ")

    assert server.fault is not None
    with pytest.raises(HttpProtocolError) as caught:
        server.feed_eof() if ends else server.feed(b"more")
    assert caught.value is server.fault
    assert b"Connection: close" in server.respond_fault(caught.value)


def test_a_client_that_closes_gets_its_answer_and_nothing_more():
    server = HttpServerConnection()
    last = encode_request("GET", "/", "x", headers=[("Connection", "close")])
    (request,) = server.feed(last)

    assert not request.keep_alive
    assert server.feed(GET) == []
    assert b"Connection: close\r\n" in server.respond(200)
    assert server.closing == "the client asked for it"


def test_the_server_may_close_as_well():
    server = HttpServerConnection()
    server.feed(GET * 2)

    assert b"Connection: close\r\n" in server.respond(503, close=True)
    assert server.closing == "the server asked for it"
    assert server.open_requests == 0


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET /\r\n\r\n", 505),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200, 431),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\n", 413),
        (b"GET /" + b"y" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    ],
)
def test_what_is_no_request_is_answered_and_ends_the_connection(data, status):
    server = HttpServerConnection(Limits(max_body=100))
    with pytest.raises(HttpProtocolError) as caught:
        server.feed(data)
    response = HttpExchange().feed(server.respond_fault(caught.value))

    assert response.status == status
    assert response.header("connection") == "close"
    assert server.closing is not None
    assert server.feed(GET) == []


# Each holds a request that another reader could see: what Transfer-Encoding,
# Content-Length or a line end means must never be a matter of taste (RFC 9112 §11.2).
POST = b"POST / HTTP/1.1\r\nHost: h\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
ATTACKS = {
    "CL.TE": POST + b"Content-Length: 6\r\n" + CHUNKED + b"0\r\n\r\n",
    "TE.CL": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "TE.TE": POST + b"Transfer-Encoding: identity\r\n" + CHUNKED + b"0\r\n\r\n",
    "TE coded": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "TE quoted": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "TE parameter": POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "TE comma": POST + b"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
    "TE vertical tab": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "TE blank in name": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "TE behind LF": POST + b"X: a\n" + CHUNKED + b"0\r\n\r\n",
    "TE in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: h\r\n" + CHUNKED + b"0\r\n\r\n",
    "CL twice": POST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "CL list": POST + b"Content-Length: 0, 5\r\n\r\n",
    "CL underscore": POST + b"Content-Length: 1_0\r\n\r\n",
    "CL superscript": POST + b"Content-Length: \xb2\r\n\r\n",
    "chunk ends by LF": POST + CHUNKED + b"1\nx\r\n0\r\n\r\n",
    "chunk of 0x": POST + CHUNKED + b"0x1\r\nx\r\n0\r\n\r\n",
    "chunk underscore": POST + CHUNKED + b"1_\r\nx\r\n0\r\n\r\n",
    "chunk blank": POST + CHUNKED + b"1 \r\nx\r\n0\r\n\r\n",
    "chunk too short": POST + CHUNKED + b"1\r\nxx\r\n0\r\n\r\n",
    "chunk extension": POST + CHUNKED + b'1;a="\r\n\r\n"\r\nx\r\n0\r\n\r\n',
    "last chunk by LF": POST + CHUNKED + b"0\n\n",
    "CL as trailer": POST + CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n",
    "folded": POST + b"X: a\r\n Content-Length: 5\r\n\r\n",
    "LF only": b"GET / HTTP/1.1\nHost: h\n\n",
    "CR only": b"GET / HTTP/1.1\rHost: h\r\r",
    "CR in value": POST + b"X: a\rY: b\r\n\r\n",
    "NUL in value": POST + b"X: a\x00b\r\n\r\n",
    "Host twice": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "blank in target": b"GET /a HTTP/1.1\r\nX: HTTP/1.1\r\nHost: h\r\n\r\n".replace(
        b"/a", b"/a b"
    ),
}


@pytest.mark.parametrize("size", [1, 5, 1 << 16])
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_nothing_is_smuggled(attack, size):
    server = HttpServerConnection()
    wire = GET + attack + SMUGGLED
    seen, fault = [], None
    for start in range(0, len(wire), size):
        try:
            seen += server.feed(wire[start : start + size])
        except HttpProtocolError as exc:
            fault = exc
            break
    fault = fault or server.fault

    assert [request.target for request in seen] == ["/a"]
    assert fault is not None
    server.respond_fault(fault)
    assert server.feed(SMUGGLED) == []


def test_http_1_0_needs_no_host():
    server = HttpServerConnection()
    (request,) = server.feed(b"GET / HTTP/1.0\r\n\r\n")

    assert not request.keep_alive


def test_a_client_that_waits_before_its_body_is_told_to_go_on_once():
    server = HttpServerConnection()
    expect = [("Expect", "100-Continue")]
    head = encode_request("PUT", "/", "x", headers=expect, body=b"hi")[:-2]
    assert server.interim() == b""
    assert server.feed(head) == []
    assert server.interim() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert server.interim() == b""
    assert server.feed(b"hi")[0].body == b"hi"
    assert server.interim() == b""

    server.feed(head + b"h")
    assert server.interim() == b""


def test_a_request_to_upgrade_ends_http():
    server = HttpServerConnection()
    upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
    (request,) = server.feed(
        encode_request("GET", "/", "x", headers=upgrade) + b"frame"
    )

    assert request.upgrade
    assert server.rest == b"frame"
    data = server.respond(101, headers=upgrade)
    assert HttpExchange().feed(data).status == 101
    assert b"close" not in data


def test_leaving_between_requests_is_fine_and_within_one_is_not():
    server = HttpServerConnection()
    server.feed(GET)
    server.feed_eof()
    assert server.respond(200).startswith(b"HTTP/1.1 200")
    assert server.closing == "the client closed its side"

    server = HttpServerConnection()
    server.feed(GET[:-1])
    with pytest.raises(HttpProtocolError):
        server.feed_eof()


def test_a_response_that_cannot_be_sent_leaves_the_request_open():
    server = HttpServerConnection()
    server.feed(GET)
    with pytest.raises(BadMessage):
        server.respond(204, body=b"x")

    assert server.open_requests == 1
    assert "1 requests open" in repr(server)
