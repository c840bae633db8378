"""The transport over httpx, and the only module that knows it.

httpx's client layer follows redirects, keeps cookies, takes proxies and passwords from
the environment and logs whole URLs; only its transports are used, which do none of
that. (`SSL_CERT_FILE` says whom to trust here as everywhere.)
"""

import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, final

import httpx
import trio

from integration.errors import (
    DnsError,
    Http,
    HttpTimeout,
    RemoteError,
    Serialise,
    TlsError,
)
from integration.inflate import Inflate
from integration.rest.prepared import PreparedRequest, scrub
from integration.rest.transport import RawResponse
from netcore.clock import Clock, SystemClock

__all__ = ["HttpxTransport"]

MAX_BODY = 64 * 2**20
"""Bytes of a decoded body: the largest listing we know (all options) is a tenth."""

_OWN_HEADERS = (
    ("User-Agent", "flowtrade-integration"),  # several venues refuse requests without
    ("Accept-Encoding", "gzip, deflate"),
)


@final
class HttpxTransport:
    """Sends over one of httpx's transports.

    Args:
        transport: Which; a connection pool with HTTP/1.1 if None. Give one made with
            `proxy=`, `verify=` or `local_address=` to use those, or
            `httpx.MockTransport` in tests.
        clock: What stamps the responses.
        max_body: Bytes of a decoded body beyond which the response is refused.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        clock: Clock | None = None,
        max_body: int = MAX_BODY,
    ) -> None:
        self._transport = transport or httpx.AsyncHTTPTransport()
        self._clock: Clock = SystemClock() if clock is None else clock
        self._max_body = max_body

    async def send(self, prepared: PreparedRequest) -> RawResponse:
        """Send one request and read the whole response (see `HttpTransport`)."""
        progress = _Progress()
        request = _httpx_request(prepared, progress)
        with trio.move_on_after(prepared.timeout) as scope:
            try:
                return await self._exchange(request)
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
                # A cause is printed with its effect: not if it would tell secrets.
                told = scrub(str(error), prepared.secrets) != str(error)
                cause = None if told else error
                raise _mapped(error, prepared, progress) from cause
        if scope.cancelled_caught:
            raise HttpTimeout(
                f"{_what(prepared)}: no complete response within {prepared.timeout} s",
                sent=progress.sent,
            )
        raise AssertionError("left the scope without response, error or timeout")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def _exchange(self, request: httpx.Request) -> RawResponse:
        response = await self._transport.handle_async_request(request)
        headers_ns = self._clock.monotonic_ns()
        stream = response.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError(f"an async transport answered with {type(stream)}")
        try:
            raw = await self._raw_body(stream)
        finally:
            await response.aclose()
        content = _decoded(raw, response.headers, self._max_body)
        return RawResponse(
            status=response.status_code,
            headers=_headers(response),
            content=content,
            bytes_in=len(raw),
            headers_ns=headers_ns,
            body_ns=self._clock.monotonic_ns(),
        )

    async def _raw_body(self, stream: httpx.AsyncByteStream) -> bytes:
        body = bytearray()
        # Leaving the loop early would leave httpcore's generators open behind it, to
        # be complained of when they are collected; cancelling unwinds them.
        with trio.CancelScope() as scope:
            async for chunk in stream:
                body += chunk
                if len(body) > self._max_body:
                    scope.cancel()
        if len(body) > self._max_body:
            raise _Unusable(f"the body exceeds {self._max_body} bytes")
        return bytes(body)


class _Unusable(httpx.TransportError):
    """A body that is too large or damaged, on its way to `_mapped`."""


class _Progress:
    """How far a request got, told by httpcore's trace extension."""

    __slots__ = ("_connecting", "_sending")

    def __init__(self) -> None:
        self._connecting = False
        self._sending = False

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        del info  # it holds headers
        if event.endswith("send_request_headers.started"):
            self._sending = True
        elif event.startswith("connection."):
            self._connecting = True

    @property
    def sent(self) -> bool:
        """Whether the venue can have seen the request: true unless known otherwise."""
        return self._sending or not self._connecting


def _httpx_request(prepared: PreparedRequest, progress: _Progress) -> httpx.Request:
    timeout = httpx.Timeout(prepared.timeout).as_dict()
    request = httpx.Request(
        prepared.method,
        prepared.url,
        headers=[*_OWN_HEADERS, *prepared.headers],
        content=prepared.content,
        extensions={"timeout": timeout, "trace": progress.trace},
    )
    if request.url.raw_path != prepared.raw_path:
        raise Serialise(
            f"{_what(prepared)}: the target would be rewritten on its way; "
            f"percent-encode what RFC 3986 does not admit in it"
        )
    return request


def _decoded(body: bytes, headers: httpx.Headers, limit: int) -> bytes:
    """Undo the content codings, last applied first (RFC 9110 §8.4)."""
    codings = headers.get("content-encoding", "").lower().split(",")
    for coding in reversed(codings):
        try:
            body = _undone(coding.strip(), body, limit)
        except ValueError as error:
            raise _Unusable(str(error)) from error
    return body


def _undone(coding: str, body: bytes, limit: int) -> bytes:
    match coding:
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            return Inflate(max_size=limit)(body)
        case "deflate":
            # The standard says zlib; some servers send raw deflate (§8.4.1.2).
            return Inflate(raw=body[:1] != _ZLIB_HEADER, max_size=limit)(body)
        case _:
            raise ValueError(f"content coding {coding!r} was not asked for")


_ZLIB_HEADER = b"\x78"
"""First byte of RFC 1950 with deflate's usual window of 32 KiB."""


def _headers(response: httpx.Response) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in response.headers.multi_items():
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)


def _mapped(
    error: Exception, prepared: PreparedRequest, progress: _Progress
) -> RemoteError:
    said = scrub(str(error), prepared.secrets) or type(error).__name__
    text = f"{_what(prepared)}: {said}"
    sent = progress.sent and not isinstance(error, _NOT_SENT)
    if isinstance(error, httpx.TimeoutException):
        return HttpTimeout(text, sent=sent)
    if not sent:
        causes = tuple(_causes(error))
        if any(isinstance(cause, ssl.SSLError) for cause in causes):
            return TlsError(text)
        if any(isinstance(cause, socket.gaierror) for cause in causes):
            return DnsError(text)
    return Http(text, sent=sent)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _what(prepared: PreparedRequest) -> str:
    return f"{prepared.method} {prepared.redacted_url()}"
