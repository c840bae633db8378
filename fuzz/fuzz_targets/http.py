"""HTTP/1.1: responses as the client's half reads them, requests as the server's."""

import contextlib

from fuzz_targets.common import Target, cut_up, require
from netcore.http import (
    ExchangeState,
    HttpExchange,
    HttpProtocolError,
    HttpServerConnection,
    Limits,
    MessageTooLarge,
    ServerDisconnected,
)

__all__ = ["TARGETS"]

_LIMITS = Limits(max_head=1024, max_headers=16, max_body=2048)
_METHODS = ("GET", "HEAD", "POST", "DELETE")


def http_response(data: bytes) -> None:
    """A response, as the client's half reads it."""
    if len(data) < 2:
        return
    method, cut, data = _METHODS[data[0] % len(_METHODS)], data[1], data[2:]
    whole = _exchange(method, [data])
    pieced = _exchange(method, cut_up(data, cut))
    # A limit may be noticed earlier or later, and what came before it with it.
    if MessageTooLarge not in {whole, pieced}:
        require(whole == pieced, "the response depends on how it is cut")


def _exchange(method: str, pieces: list[bytes]) -> object:
    """Return the response, or the class of what went wrong."""
    exchange = HttpExchange(method, _LIMITS)
    try:
        for piece in pieces:
            response = exchange.feed(piece)
            if response is not None:
                break
        else:
            response = exchange.feed_eof()
    except (HttpProtocolError, ServerDisconnected) as fault:
        require(exchange.state is ExchangeState.FAILED, "goes on behind a fault")
        return type(fault)
    require(len(response.body) <= _LIMITS.max_body, "delivers more than allowed")
    require(exchange.state is ExchangeState.DONE, "is not done behind its response")
    _ = exchange.reusable, exchange.rest
    with contextlib.suppress(UnicodeError, LookupError):
        _ = response.text
    return response


def http_request(data: bytes) -> None:
    """Requests, as the server's half reads and answers them."""
    if len(data) < 2:
        return
    cut, data = data[1], data[2:]
    whole = _serve([data])
    pieced = _serve(cut_up(data, cut))
    if MessageTooLarge not in {whole[-1], pieced[-1]}:
        require(whole == pieced, "the requests depend on how they are cut")


def _serve(pieces: list[bytes]) -> list[object]:
    """Return the requests, and the class of what went wrong with them."""
    server = HttpServerConnection(_LIMITS, max_pipelined=1 << 20)
    got: list[object] = []
    try:
        for piece in pieces:
            for request in server.feed(piece):
                require(len(request.body) <= _LIMITS.max_body, "reads too much")
                got.append(request)
                server.respond(200, body=b"ok")
            server.interim()
        server.feed_eof()
        # A fault behind a request that was delivered comes with the next call.
        server.feed(b"")
    except HttpProtocolError as fault:
        require(server.respond_fault(fault).startswith(b"HTTP/1.1 "), "no answer")
        return [*got, type(fault)]
    return [*got, None]


def _response_seeds() -> list[bytes]:
    ok = b"HTTP/1.1 200 OK\r\n"
    return [
        b"\x00\x00" + ok + b"Content-Length: 5\r\n\r\nhello",
        b"\x00\x35" + ok + b"Transfer-Encoding: chunked\r\n\r\n"
        b"5;x=y\r\nhello\r\n0\r\nT: v\r\n\r\n",
        b"\x01\x00" + ok + b"Content-Length: 500\r\n\r\n",
        b"\x00\x12" + ok + b"Connection: close\r\n\r\nuntil the end",
        b"\x00\x00HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        + ok + b"Content-Length: 0\r\n\r\n",
        b"\x02\x00HTTP/1.1 204 No Content\r\n\r\n",
        b"\x02\x00HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
        b"\x03\x00HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n"
        b"Connection: upgrade\r\n\r\nrest",
        b"\x00\x00HTTP/1.0 200\r\n\r\nold",
        b"\x00\x00" + ok + b"Content-Length: 5\r\n\r\nhello" + ok + b"\r\n",
    ]  # fmt: skip


def _request_seeds() -> list[bytes]:
    get = b"GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n"
    post = b"POST /o HTTP/1.1\r\nHost: h\r\n"
    return [
        b"\x00\x00" + get,
        b"\x00\x31" + get + get + get,
        b"\x00\x00" + post + b"Content-Length: 5\r\n\r\nhello" + get,
        b"\x00\x72" + post + b"Transfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\nT: v\r\n\r\n" + get,
        b"\x00\x00" + post + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
        b"\x00\x00" + post + b"Content-Length: 3\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\x00\x00GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"\x00\x00GET / HTTP/1.1\r\nHost: h\r\n"
        b"Connection: upgrade\r\nUpgrade: x\r\n\r\nrest",
        b"\x00\x00CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\nrest",
    ]  # fmt: skip


_HTTP_WORDS = (
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b": ", b" ", b"\t", b"HTTP/1.1", b"HTTP/1.0",
    b"Content-Length: ", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n", b"ffffffffffffffff\r\n",
    b"Connection: close\r\n", b"Host: h\r\n", b"99999999999999999999", b"\x00", b"\xff",
    b"x" * 1100, b"A: b\r\n" * 17, b"Expect: 100-continue\r\n", b"PRI * HTTP/2.0",
)  # fmt: skip

TARGETS = {
    "http_response": Target(http_response, _response_seeds, _HTTP_WORDS),
    "http_request": Target(http_request, _request_seeds, _HTTP_WORDS),
}
