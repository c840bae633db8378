"""The client: builds, waits its turn, signs, sends, parses, measures, tries again.

Each of these is somebody else's business (`prepared`, `limiter`, `signer`,
`transport`, `parser`, `retry`); what stands here is their order:

1. the request is encoded once;
2. every attempt waits for the limiter, *then* is signed, so that no timestamp ages in
   a queue;
3. the response's headers correct the limiter; a demand to wait holds back everyone
   who shares it;
4. a failure is raised, tried again, or becomes `UnknownOutcome`, as the policy says;
5. every attempt is measured, whatever came of it.
"""

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar, final

import trio

from integration.errors import (
    ClockSkew,
    RateLimited,
    RemoteError,
    SocketError,
    UnknownOutcome,
)
from integration.metric import Field, Int, Metric, MetricSink, String, Tag, UInt
from integration.rest.limiter import RateLimiter
from integration.rest.parser import HttpParser, retry_after
from integration.rest.prepared import PreparedRequest, prepare, scrub
from integration.rest.request import RestRequest
from integration.rest.retry import Outcome, RetryPolicy, outcome_of
from integration.rest.signer import BuildStrategy
from integration.rest.transport import HttpTransport, RawResponse
from netcore.clock import Clock, SystemClock

__all__ = ["RestClient"]

R = TypeVar("R")
ApiErrorT = TypeVar("ApiErrorT")

_DEFAULT_PAUSE = 1.0
"""Seconds for which a host is left alone that limits us without saying how long."""


@final
class RestClient:
    """Sends typed requests to one venue.

    Args:
        base_url: Scheme, authority and possibly a path prefix.
        strategy: What private or public endpoints demand.
        parser: How the venue's bodies are read.
        transport: What sends; if None, httpx with a pool of its own.
        limiter: Whose buckets pay; may be shared. None: unlimited.
        retry: Whether failures are tried again.
        clock: What stamps metrics.
        on_metric: Gets the metric of every attempt, failed ones included.
        on_clock_skew: Awaited when the venue refused our timestamp, before the
            request is sent once more; see `integration.rest.clock.resynchronise`.
    """

    def __init__(
        self,
        base_url: str,
        strategy: BuildStrategy,
        parser: HttpParser[Any],
        *,
        transport: HttpTransport | None = None,
        limiter: RateLimiter | None = None,
        retry: RetryPolicy | None = None,
        clock: Clock | None = None,
        on_metric: MetricSink | None = None,
        on_clock_skew: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._strategy = strategy
        self._parser = parser
        self._transport = _default_transport(clock) if transport is None else transport
        self._limiter = limiter
        self._retry = RetryPolicy() if retry is None else retry
        self._clock: Clock = SystemClock() if clock is None else clock
        self._on_metric = on_metric
        self._on_clock_skew = on_clock_skew

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    def build(self, request: RestRequest[Any]) -> PreparedRequest:
        """Return the request as an attempt now would send it.

        Raises:
            LocalError: It cannot be encoded or signed.
        """
        return self._strategy.build(request, prepare(self.base_url, request))

    async def execute(self, request: RestRequest[R]) -> tuple[R, Metric]:
        """Send a request until it succeeds or the policy says stop.

        Returns:
            The decoded response, and the metric of the attempt that brought it.

        Raises:
            LocalError: The request cannot be encoded, signed or ever pass the limiter.
            RemoteError: The last attempt's failure.
            UnknownOutcome: A request that changes something may have taken effect.
            Exception: Whatever the parser made of an API error.
        """
        prepared = prepare(self.base_url, request)
        attempt = 0
        while True:
            attempt += 1
            value, metric, failure = await self._attempt(request, prepared, attempt)
            if failure is None:
                return value, metric
            await self._pause_or_raise(request, failure, attempt)

    async def _attempt(
        self, request: RestRequest[R], prepared: PreparedRequest, attempt: int
    ) -> tuple[R, Metric, "_Failure | None"]:
        """Send once. The value means nothing if there is a failure."""
        if self._limiter is not None:
            await self._limiter.acquire(
                prepared.host, request.bucket, weight=request.weight
            )
        signed = self._strategy.build(request, prepared)
        started = self._clock.monotonic_ns()
        response: RawResponse | None = None
        value: Any = None
        failure: _Failure | None = None
        try:
            response = await self._transport.send(signed)
        except RemoteError as error:
            failure = _Failure(error, signed, None)
        if response is not None:
            self._heed(request, signed, response)
            value, fault = self._parsed(request, signed, response)
            failure = None if fault is None else _Failure(fault, signed, response)
        metric = self._measured(signed, started, attempt, response, failure)
        if self._on_metric is not None:
            self._on_metric(metric)
        return value, metric, failure

    def _heed(
        self, request: RestRequest[Any], signed: PreparedRequest, response: RawResponse
    ) -> None:
        if self._limiter is not None:
            self._limiter.observe(signed.host, request.bucket, response.headers)

    def _parsed(
        self, request: RestRequest[Any], signed: PreparedRequest, response: RawResponse
    ) -> tuple[Any, Exception | None]:
        value, fault = self._parse(request, response, response.content)
        if fault is None:
            return value, None
        # A venue that echoes our request must not make us show its secrets: the error
        # is made anew, from a body that does not hold them.
        text = response.content.decode("utf-8", "surrogateescape")
        clean = scrub(text, signed.secrets)
        if clean != text:
            body = clean.encode("utf-8", "surrogateescape")
            _, fault = self._parse(request, response, body)
        return None, fault or RemoteError("the body is unusable and holds our secrets")

    def _parse(
        self, request: RestRequest[Any], response: RawResponse, body: bytes
    ) -> tuple[Any, Exception | None]:
        try:
            value = self._parser.parse(
                response.status, response.headers, body, request.response_type
            )
        # A parser's errors are of its author's making: no narrower class exists.
        except Exception as error:
            return None, error
        return value, None

    async def _pause_or_raise(
        self, request: RestRequest[Any], failure: "_Failure", attempt: int
    ) -> None:
        error = failure.error
        failure.complete()
        if isinstance(error, RateLimited) and self._limiter is not None:
            wait = error.retry_after
            seconds = _DEFAULT_PAUSE if wait is None else wait
            self._limiter.pause(failure.prepared.host, seconds)
        delay = self._retry.delay(request, error, attempt)
        if isinstance(error, ClockSkew) and self._on_clock_skew is None:
            delay = None  # the same timestamp would be refused again
        if delay is None:
            _raise(request, failure)
        if isinstance(error, ClockSkew) and self._on_clock_skew is not None:
            await self._on_clock_skew()
        await trio.sleep(delay)

    def _measured(
        self,
        signed: PreparedRequest,
        started: int,
        attempt: int,
        response: RawResponse | None,
        failure: "_Failure | None",
    ) -> Metric:
        ended = self._clock.monotonic_ns() if response is None else response.headers_ns
        body = ended if response is None else response.body_ns
        error = "" if failure is None else type(failure.error).__name__
        status = error if response is None else str(response.status)
        outcome = (Field(key="error", value=String(error)),) if error else ()
        return Metric(
            name="http_request_duration",
            time=self._clock.now_ns() // 1_000_000,
            tags=(
                Tag(key="http_method", value=signed.method),
                Tag(key="base_url", value=self.base_url),
                Tag(key="path", value=signed.path),
                Tag(key="status_code", value=status),
            ),
            fields=(
                Field(key="duration", value=Int((ended - started) // 1_000_000)),
                Field(key="headers_ns", value=Int(ended - started)),
                Field(key="body_ns", value=Int(body - started)),
                Field(key="bytes_out", value=UInt(len(signed.content))),
                Field(
                    key="bytes_in",
                    value=UInt(0 if response is None else response.bytes_in),
                ),
                Field(key="attempt", value=UInt(attempt)),
                *outcome,
            ),
        )


def _default_transport(clock: Clock | None) -> HttpTransport:
    # Imported when needed: httpx takes a third of a second, which those who bring
    # their own transport, or only parse streams, need not wait.
    from integration.rest.httpx_transport import HttpxTransport

    return HttpxTransport(clock=clock)


@final
class _Failure:
    """How one attempt failed, with what is needed to speak of it."""

    __slots__ = ("error", "prepared", "response")

    def __init__(
        self, error: Exception, prepared: PreparedRequest, response: RawResponse | None
    ) -> None:
        self.error = error
        self.prepared = prepared
        self.response = response

    def complete(self) -> None:
        """Give an error that a parser made what only the response knows."""
        error, response = self.error, self.response
        if response is None or not isinstance(error, RemoteError):
            return
        if error.status is None:
            error.status = response.status
        secrets = self.prepared.secrets
        source = error.headers or response.headers
        error.headers = {k: scrub(v, secrets) for k, v in source.items()}
        if error.retry_after is None:
            error.retry_after = retry_after(error.headers)


def _raise(request: RestRequest[Any], failure: _Failure) -> NoReturn:
    error, response = failure.error, failure.response
    status = None if response is None else response.status
    outcome = outcome_of(error, status)
    if request.is_idempotent() or outcome is not Outcome.UNKNOWN:
        raise error
    said = str(error) if isinstance(error, SocketError) else type(error).__name__
    name = request.client_order_id()
    raise UnknownOutcome(
        f"{failure.prepared.method} {failure.prepared.redacted_url()} may or may not "
        f"have taken effect (client order id {name!r}); ask before sending it again: "
        f"{said}",
        client_order_id=name,
        status=status,
    ) from error
