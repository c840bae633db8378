import logging
import traceback
from typing import Any, ClassVar

import httpx
import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.errors import (
    ClockSkew,
    DeserialiseBinary,
    Exchange,
    Http,
    HttpResponse,
    HttpTimeout,
    LocalError,
    RateLimited,
    Unauthorised,
    UnknownOutcome,
)
from integration.rest import (
    BucketSpec,
    HttpParser,
    PublicNoHeaders,
    RateLimiter,
    RequestSigner,
    RestClient,
    RestRequest,
    RetryPolicy,
)
from integration.rest.httpx_transport import HttpxTransport
from integration.rest.limiter import IETF_FEEDBACK
from integration.rest.testing import loopback_server, response


class ApiError(msgspec.Struct):
    error: str


class Parser(HttpParser[ApiError]):
    api_error_type = ApiError

    def parse_api_error(self, status, api_error):
        kinds = {"who": Unauthorised, "late": ClockSkew, "slow": RateLimited}
        return kinds.get(api_error.error, Exchange)(api_error.error)


class Balance(msgspec.Struct):
    coin: str


class Fetch(RestRequest[Balance], frozen=True):
    response_type: ClassVar[Any] = Balance
    coin: str = "BTC"

    def path(self):
        return "/balances"

    def query_params(self):
        return {"coin": self.coin}


class Place(RestRequest[Balance], frozen=True):
    method: ClassVar[str] = "POST"
    response_type: ClassVar[Any] = Balance
    weight: ClassVar[int] = 4
    bucket: ClassVar[str] = "orders"

    def path(self):
        return "/orders"

    def body(self):
        return {"qty": 1}

    def client_order_id(self):
        return "my-1"


class Counting:
    """A recipe whose timestamp is the number of the signature."""

    def __init__(self):
        self.count = 0

    def config(self, request, prepared):
        self.count += 1
        return prepared.with_query({"ts": self.count, "key": "k3y"})

    def bytes_to_sign(self, config):
        return config.method.encode() + config.raw_path + config.content

    def build_signed_request(self, config, prepared, signature):
        return config.with_headers({"SIGN": signature}).with_secrets("k3y")


class Venue:
    """Answers with what is scripted, one answer per request, the last for ever."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, strategy=None, **arguments):
        return RestClient(
            "https://venue.example/api/",
            strategy or PublicNoHeaders(),
            Parser(),
            transport=HttpxTransport(httpx.MockTransport(self)),
            **arguments,
        )


def ok(**headers):
    return httpx.Response(200, json={"coin": "BTC"}, headers=headers)


def no(status=400, error="no", **headers):
    return httpx.Response(status, json={"error": error}, headers=headers)


async def test_a_request_brings_its_response_and_a_metric():
    venue = Venue(ok())
    seen = []

    async with venue.client(on_metric=seen.append) as client:
        value, metric = await client.execute(Fetch())

    assert value == Balance("BTC")
    assert str(venue.requests[0].url) == "https://venue.example/api/balances?coin=BTC"
    assert metric.name == "http_request_duration"
    assert {t.key: t.value for t in metric.tags} == {
        "http_method": "GET",
        "base_url": "https://venue.example/api",
        "path": "/api/balances",
        "status_code": "200",
    }
    assert metric.field("attempt") == 1
    assert metric.field("bytes_in") == len(b'{"coin":"BTC"}')
    assert 0 <= metric.field("headers_ns") <= metric.field("body_ns")
    assert metric.field("duration") == metric.field("headers_ns") // 1_000_000
    assert seen == [metric]


async def test_every_attempt_is_measured_whatever_came_of_it(autojump_clock):
    venue = Venue(httpx.ReadError("reset"), httpx.Response(502), ok())
    seen = []

    _, metric = await venue.client(on_metric=seen.append).execute(Fetch())

    assert [m.tag("status_code") for m in seen] == ["Http", "502", "200"]
    assert [m.field("attempt") for m in seen] == [1, 2, 3]
    assert [m.field("error") for m in seen] == ["Http", "HttpResponse", None]
    assert seen[-1] == metric


async def test_every_attempt_is_signed_anew(autojump_clock):
    venue = Venue(httpx.Response(503), httpx.Response(503), ok())

    await venue.client(RequestSigner(Counting(), "s")).execute(Fetch())

    assert [r.url.params["ts"] for r in venue.requests] == ["1", "2", "3"]
    assert len({r.headers["SIGN"] for r in venue.requests}) == 3


async def test_the_policy_ends_it_with_the_last_failure(autojump_clock):
    venue = Venue(httpx.Response(500, text="first"), httpx.Response(502, text="last"))

    with pytest.raises(HttpResponse, match="last"):
        await venue.client(retry=RetryPolicy(attempts=2)).execute(Fetch())

    assert len(venue.requests) == 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (no(), Exchange),
        (no(401, "who"), Unauthorised),
        (httpx.Response(404, text="?"), HttpResponse),
        (httpx.Response(302, headers={"location": "/"}), HttpResponse),
        (httpx.Response(200, text="{"), DeserialiseBinary),
        (httpx.Response(200, json={"error": "who"}), Unauthorised),
    ],
    ids=["refused", "unauthorised", "missing", "redirect", "cut", "envelope"],
)
async def test_what_will_not_pass_is_raised_at_once_with_its_status(answer, kind):
    venue = Venue(answer)

    with pytest.raises(kind) as caught:
        await venue.client().execute(Fetch())

    assert type(caught.value) is kind
    assert caught.value.status == answer.status_code
    assert len(venue.requests) == 1


async def test_an_error_knows_the_headers_and_how_long_to_wait():
    venue = Venue(no(400, "no", **{"X-Trace": "7", "Retry-After": "3"}))

    with pytest.raises(Exchange) as caught:
        await venue.client().execute(Fetch())

    assert caught.value.headers["x-trace"] == "7"
    assert caught.value.retry_after == 3.0


@pytest.mark.parametrize("status", [418, 429])
async def test_a_venue_that_limits_us_is_left_alone_as_long_as_it_says(
    autojump_clock, status
):
    venue = Venue(httpx.Response(status, headers={"Retry-After": "4"}), ok())
    limiter = RateLimiter({})
    client = venue.client(limiter=limiter)
    start = trio.current_time()

    await client.execute(Fetch())

    assert trio.current_time() - start == pytest.approx(4.0)


async def test_a_pause_holds_back_everyone_who_shares_the_limiter(autojump_clock):
    limiter = RateLimiter({})
    first = Venue(httpx.Response(429, headers={"Retry-After": "60"}))
    second = Venue(ok())
    start = trio.current_time()

    with pytest.raises(RateLimited) as caught:
        await first.client(limiter=limiter).execute(Fetch())
    assert trio.current_time() == start
    await second.client(limiter=limiter).execute(Fetch())

    assert caught.value.retry_after == 60
    assert trio.current_time() - start == pytest.approx(60.0)


async def test_a_limit_without_a_time_pauses_for_a_second(autojump_clock):
    limiter = RateLimiter({})
    venue = Venue(no(400, "slow"), ok())
    start = trio.current_time()

    policy = RetryPolicy(initial=0)
    await venue.client(limiter=limiter, retry=policy).execute(Fetch())

    assert trio.current_time() - start == pytest.approx(1.0)


async def test_requests_pay_their_weight_to_their_bucket(autojump_clock):
    limiter = RateLimiter({("venue.example", "orders"): BucketSpec(10, 10.0)})
    client = Venue(ok()).client(limiter=limiter)

    await client.execute(Place())
    await client.execute(Fetch())

    assert limiter.available("venue.example", "orders") == pytest.approx(6)


async def test_the_venues_counters_correct_the_limiter(autojump_clock):
    limiter = RateLimiter(
        {("venue.example", "default"): BucketSpec(10, 10.0)}, feedback=IETF_FEEDBACK
    )
    client = Venue(ok(**{"RateLimit-Remaining": "2"})).client(limiter=limiter)

    await client.execute(Fetch())

    assert limiter.available("venue.example") == pytest.approx(2)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ReadError("reset"),
        httpx.ReadTimeout("late"),
        httpx.Response(503),
        httpx.Response(200, text="<html>"),
        httpx.Response(504, json={"error": "timeout inside"}),
    ],
    ids=["reset", "timeout", "503", "undecodable", "504-envelope"],
)
async def test_an_order_whose_outcome_nobody_knows_is_never_sent_twice(answer):
    venue = Venue(answer)

    with pytest.raises(UnknownOutcome, match="'my-1'") as caught:
        await venue.client().execute(Place())

    assert caught.value.client_order_id == "my-1"
    assert caught.value.__cause__ is not None
    assert not caught.value.recoverable
    assert len(venue.requests) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (no(), Exchange),
        (httpx.Response(429), RateLimited),
        (httpx.ConnectError("refused"), Http),
        (httpx.ConnectTimeout("late"), HttpTimeout),
    ],
    ids=["refused", "limited", "not-connected", "connect-timeout"],
)
async def test_an_order_that_was_certainly_not_placed_says_so(answer, kind):
    venue = Venue(answer)

    with pytest.raises(kind) as caught:
        await venue.client().execute(Place())

    assert type(caught.value) is kind
    assert len(venue.requests) == 1


async def test_a_refused_timestamp_is_mended_and_the_request_sent_once_more(
    autojump_clock,
):
    venue = Venue(no(400, "late"), ok())
    mended = []

    async def mend():
        mended.append(len(venue.requests))

    await venue.client(on_clock_skew=mend).execute(Place())

    assert mended == [1]
    assert len(venue.requests) == 2


async def test_a_refused_timestamp_nobody_can_mend_is_raised():
    venue = Venue(no(400, "late"))

    with pytest.raises(ClockSkew):
        await venue.client().execute(Fetch())

    assert len(venue.requests) == 1


async def test_a_request_that_cannot_be_built_is_not_sent():
    class Broken(Fetch, frozen=True):
        def path(self):
            return "no slash"

    venue = Venue(ok())

    with pytest.raises(LocalError):
        await venue.client().execute(Broken())

    assert venue.requests == []


async def test_a_build_shows_what_would_be_sent():
    built = Venue(ok()).client(RequestSigner(Counting(), "s")).build(Fetch())

    assert built.raw_path == b"/api/balances?coin=BTC&ts=1&key=k3y"
    assert built.header("SIGN")


async def test_cancelling_passes_through():
    class Hanging(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            scope.cancel()
            await trio.sleep_forever()

    client = RestClient(
        "https://x", PublicNoHeaders(), Parser(), transport=HttpxTransport(Hanging())
    )
    with trio.CancelScope() as scope:
        await client.execute(Place())

    assert scope.cancelled_caught


async def test_a_programming_error_in_a_parser_is_not_hidden():
    class Buggy(Parser):
        def parse_api_error(self, status, api_error):
            return 1 / 0

    client = RestClient(
        "https://x",
        PublicNoHeaders(),
        Buggy(),
        transport=HttpxTransport(httpx.MockTransport(Venue(no()))),
    )
    with pytest.raises(ZeroDivisionError):
        await client.execute(Fetch())


class FreeText(RestRequest[Balance], frozen=True):
    method: ClassVar[str] = "POST"
    response_type: ClassVar[Any] = Balance
    text: str

    def path(self):
        return "/echo"

    def query_params(self):
        return {"q": self.text}

    def body(self):
        return {"text": self.text}


@settings(max_examples=25)
@given(st.text(st.characters(codec="utf-8"), max_size=40))
async def test_the_bytes_signed_are_the_bytes_received(text):
    signed = []

    class Spy(Counting):
        def bytes_to_sign(self, config):
            signed.append((config.method, config.raw_path, config.content))
            return super().bytes_to_sign(config)

    async def script(request, stream):
        await stream.send_all(response(200, b'{"coin":"BTC"}'))

    async with loopback_server(script) as server:
        strategy = RequestSigner(Spy(), "s")
        async with RestClient(server.url, strategy, Parser()) as client:
            await client.execute(FreeText(text=text))

    received = [(r.method, r.target, r.content) for r in server.received]
    assert received == signed


def echo(request):
    """A venue that repeats everything it was told, in body, headers and reason."""
    told = [str(request.url), *request.headers.values()]
    return httpx.Response(
        400, json={"error": " ".join(told)}, headers={"X-Echo": told[-1]}
    )


def echo_text(request):
    return httpx.Response(500, text=f"{request.url} {request.headers}")


def echo_garbage(request):
    return httpx.Response(200, text=f'{{"coin": "{request.url}')


def fail_loudly(request):
    raise httpx.ReadError(f"while reading {request.url} {request.headers}")


@pytest.mark.parametrize("venue", [echo, echo_text, echo_garbage, fail_loudly])
@pytest.mark.parametrize("request_type", [Fetch, Place])
async def test_a_venue_that_repeats_our_secrets_does_not_make_us_show_them(
    venue, request_type, caplog
):
    caplog.set_level(logging.DEBUG)
    recipe = Counting()
    client = RestClient(
        "https://x",
        RequestSigner(recipe, "s3cret"),
        Parser(),
        transport=HttpxTransport(httpx.MockTransport(venue)),
        retry=RetryPolicy(attempts=1),
    )
    recipe.count = 0
    signature = client.build(request_type()).header("SIGN")
    recipe.count = 0

    with pytest.raises(Exception) as caught:  # noqa: PT011 - whichever it is
        await client.execute(request_type())

    error = caught.value
    shown = [str(error), repr(error), repr(getattr(error, "headers", ""))]
    shown += [repr(getattr(error, "payload", "")), getattr(error, "text", "")]
    shown += traceback.format_exception(error)
    for text in [*shown, caplog.text]:
        assert signature not in text
        assert "k3y" not in text
        assert "s3cret" not in text
