from typing import Any

import msgspec
import pytest

from integration.errors import (
    DeserialiseBinary,
    Exchange,
    HttpResponse,
    RateLimited,
    Unauthorised,
)
from integration.rest.parser import (
    DetailedParser,
    HttpParser,
    PlainParser,
    retry_after,
)


class ApiError(msgspec.Struct):
    code: int
    msg: str


class Parser(HttpParser[ApiError]):
    api_error_type = ApiError

    def parse_api_error(self, status, api_error):
        kind = Unauthorised if api_error.code == -2015 else Exchange
        return kind(f"{status}: {api_error.msg}", code=str(api_error.code))


class Price(msgspec.Struct):
    price: str


class Envelope(msgspec.Struct):
    """Like Bybit's: the status is always 200, the code tells."""

    retCode: int  # noqa: N815 - the venue's spelling
    result: dict[str, Any]

    def validate(self):
        if self.retCode != 0:
            raise Exchange("refused", code=str(self.retCode))
        return self


def parse(status, body, kind=Price, headers=None):
    return Parser().parse(status, headers or {}, body, kind)


def test_a_good_status_brings_the_response():
    assert parse(200, b'{"price":"1.50","new":1}') == Price("1.50")


def test_a_failing_status_is_read_as_an_error_even_if_it_would_decode():
    body = b'{"price":"1","code":-2015,"msg":"bad key"}'

    with pytest.raises(Unauthorised, match="401: bad key"):
        parse(401, body)


def test_a_good_status_with_an_error_body_is_the_error():
    with pytest.raises(Exchange) as caught:
        parse(200, b'{"code":-1121,"msg":"bad symbol"}')

    assert caught.value.code == "-1121"
    assert not caught.value.recoverable


def test_a_good_status_with_an_envelope_that_says_no_is_the_error():
    with pytest.raises(Exchange) as caught:
        parse(200, b'{"retCode":10003,"result":{}}', Envelope)

    assert caught.value.code == "10003"
    assert parse(200, b'{"retCode":0,"result":{}}', Envelope).retCode == 0


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"price":1.5}', b'{"price":"\xff"}']
)
def test_a_good_status_with_anything_else_is_a_decoding_error_that_keeps_it(body):
    with pytest.raises(DeserialiseBinary) as caught:
        parse(200, body)

    assert caught.value.payload == body
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("status", "recoverable"), [(301, False), (404, False), (408, True), (502, True)]
)
def test_a_failing_status_without_error_body_keeps_its_text(status, recoverable):
    with pytest.raises(HttpResponse, match=f"{status}: <html>no") as caught:
        parse(status, b"<html>no", headers={"x": "y"})

    assert caught.value.status == status
    assert caught.value.text == "<html>no"
    assert caught.value.headers == {"x": "y"}
    assert caught.value.recoverable is recoverable


@pytest.mark.parametrize("status", [418, 429])
def test_a_limit_without_error_body_says_how_long(status):
    with pytest.raises(RateLimited) as caught:
        parse(status, b"slow down", headers={"retry-after": "30"})

    assert caught.value.status == status
    assert caught.value.retry_after == 30.0


def test_an_empty_success_is_none_where_none_is_awaited():
    assert parse(200, b"", None) is None
    assert parse(204, b"", type(None)) is None
    assert parse(204, b"", Price | None) is None


def test_a_plain_venue_has_no_error_bodies():
    with pytest.raises(HttpResponse, match="code"):
        PlainParser().parse(400, {}, b'{"code":1}', Price)
    with pytest.raises(DeserialiseBinary):
        PlainParser().parse(200, {}, b'{"code":1}', Price)


def test_a_plain_venue_never_sees_an_error_body():
    """Its parser is used only through what it inherits."""
    error = PlainParser().parse_api_error(503, msgspec.Raw(b"x"))

    assert isinstance(error, HttpResponse)
    assert error.text == "x"


class Fault(msgspec.Struct):
    code: int


class Detailed(DetailedParser[Fault]):
    """A venue whose errors are told apart by a code."""

    api_error_type = Fault

    def error_of(self, api_error, **about):
        return Exchange("no", code=str(api_error.code), **about)


@pytest.mark.parametrize("status", [200, 400])
def test_an_error_keeps_what_came_with_it(status):
    headers = {"retry-after": "7", "x-weight": "3"}

    with pytest.raises(Exchange) as caught:
        Detailed().parse(status, headers, b'{"code":5}', list[int])

    error = caught.value
    assert (error.code, error.status, error.retry_after) == ("5", status, 7.0)
    assert error.headers == headers
    assert Detailed().parse_api_error(400, Fault(6)).code == "6"


DATE = "Tue, 14 Nov 2023 22:13:20 GMT"  # 1_700_000_000
LATER = "Tue, 14 Nov 2023 22:13:50 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": " 120 "}, 120.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": LATER}, None),
        ({"retry-after": LATER, "date": DATE}, 30.0),
        ({"retry-after": DATE, "date": LATER}, 0.0),
        ({"retry-after": LATER, "date": "yesterday"}, None),
        ({"retry-after": LATER.replace("GMT", "-0000"), "date": DATE}, 30.0),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": LATER.replace("2023", "9" * 20), "date": DATE}, None),
        ({"retry-after": LATER.replace("GMT", "+" + "9" * 20), "date": DATE}, None),
        ({"retry-after": LATER, "date": DATE.replace("22", "9" * 20)}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_against_the_venues_own(headers, seconds):
    assert retry_after(headers) == seconds


def test_retry_after_can_be_measured_by_a_given_clock():
    assert retry_after({"retry-after": LATER}, now=1_700_000_010.0) == 20.0
