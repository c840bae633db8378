import enum
import math
from decimal import Decimal
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import QueryParams, Serialise, UrlEncoded, UrlParse
from integration.rest.prepared import (
    PreparedRequest,
    decode_query,
    encode_json,
    encode_params,
    prepare,
    scrub,
)
from integration.rest.request import BodyFormat, RestRequest


class Side(enum.Enum):
    BUY = "BUY"


class Order(msgspec.Struct, rename="camel"):
    symbol: str
    order_qty: Decimal
    price: float | None = None


class Place(RestRequest[dict], frozen=True):
    method: ClassVar[str] = "POST"
    response_type: ClassVar[Any] = dict
    order: Order
    where: str = "/api/order"

    def path(self):
        return self.where

    def body(self):
        return self.order


class PlaceForm(Place, frozen=True):
    body_format: ClassVar[BodyFormat] = BodyFormat.FORM


class Search(RestRequest[dict], frozen=True):
    params: Any = None
    where: str = "/api/search"

    def path(self):
        return self.where

    def query_params(self):
        return self.params


def test_a_query_is_written_as_a_form_in_the_order_given():
    pairs = [("b", "1+2 3"), ("a", "é&="), ("filter", '{"symbol": "XBTM15"}')]

    text = encode_params(pairs)

    assert text == (
        "b=1%2B2+3&a=%C3%A9%26%3D&filter=%7B%22symbol%22%3A+%22XBTM15%22%7D"
    )


def test_parameters_of_a_struct_take_their_names_on_the_wire_and_skip_none():
    assert encode_params(Order("X", Decimal("1.50"))) == "symbol=X&orderQty=1.50"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (7, "7"),
        (Side.BUY, "BUY"),
        (Decimal("1E-8"), "0.00000001"),
        (Decimal("1E+3"), "1000"),
        (1e-7, "0.0000001"),
        (1e22, "10000000000000000000000"),
        (0.1, "0.1"),
        (["a", "b"], "a&x=b"),
        ((), ""),
    ],
)
def test_a_parameter_never_carries_an_exponent(value, text):
    assert encode_params({"x": value}) == (f"x={text}" if text else "")


@pytest.mark.parametrize("value", [math.nan, math.inf, Decimal("NaN"), object(), {}])
def test_a_parameter_without_text_form_is_named_in_the_error(value):
    with pytest.raises(QueryParams, match="price: "):
        encode_params({"price": value})


def test_a_form_body_blames_the_form():
    with pytest.raises(UrlEncoded, match="orderQty: "):
        prepare("https://x", PlaceForm(order=Order("X", Decimal("Infinity"))))


@given(st.lists(st.tuples(st.text(min_size=1), st.text())))
def test_a_query_reads_back_as_it_was(pairs):
    encodable = [
        (a, b) for a, b in pairs if not any("\ud800" <= c <= "\udfff" for c in a + b)
    ]

    assert decode_query(encode_params(encodable)) == encodable


def test_json_is_compact_and_its_decimals_are_strings_without_exponent():
    body = {"price": 219.0, "a": "é", "amount": Decimal("1E-7"), "n": [Decimal("2.50")]}

    assert encode_json(body) == (
        '{"price":219.0,"a":"é","amount":"0.0000001","n":["2.50"]}'.encode()
    )


@pytest.mark.parametrize(
    "value", [math.nan, -math.inf, Decimal("NaN"), [Decimal("sNaN")], object()]
)
def test_json_without_form_is_refused(value):
    with pytest.raises(Serialise):
        encode_json({"x": value})


def test_a_request_becomes_the_bytes_that_will_be_sent():
    prepared = prepare("https://api.example.com/v1/", Search(params={"a": "1 2"}))

    assert prepared.origin == "https://api.example.com"
    assert prepared.raw_path == b"/v1/api/search?a=1+2"
    assert (prepared.path, prepared.query) == ("/v1/api/search", "a=1+2")
    assert prepared.url == "https://api.example.com/v1/api/search?a=1+2"
    assert prepared.content == b""
    assert prepared.header("content-type") is None


class Raw(Search, frozen=True):
    method: ClassVar[str] = "POST"

    def body(self):
        return b"as it is"


def test_a_body_of_bytes_is_sent_as_it_is():
    assert prepare("https://x", Raw()).content == b"as it is"


def test_a_body_brings_its_content_type():
    order = Order("X", Decimal(1))

    json = prepare("https://x", Place(order=order))
    form = prepare("https://x", PlaceForm(order=order))

    assert json.content == b'{"symbol":"X","orderQty":"1","price":null}'
    assert json.header("Content-Type") == "application/json"
    assert form.content == b"symbol=X&orderQty=1"
    assert form.header("content-type") == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    "base_url",
    [
        "api.example.com",
        "ftp://x",
        "https://",
        "https://u:p@x",
        "https://x?a=1",
        "https://x:notaport",
    ],
)
def test_a_base_url_that_is_none_is_refused(base_url):
    with pytest.raises(UrlParse):
        prepare(base_url, Search())


@pytest.mark.parametrize("path", ["api", "/a b", "/a?b=1", "/a#b", "/é", "/a\r\nX: y"])
def test_a_path_that_would_be_rewritten_is_refused(path):
    with pytest.raises(UrlParse):
        prepare("https://x", Search(where=path))


def test_default_ports_and_ipv6_hosts_keep_their_spelling():
    assert prepare("https://x:443", Search()).origin == "https://x"
    assert prepare("http://[::1]:8080/", Search()).host == "[::1]:8080"


def test_a_header_replaces_one_of_the_same_name():
    prepared = prepare("https://x", Search()).with_headers({"accept": "text/plain"})

    assert prepared.header("ACCEPT") == "text/plain"
    assert [name for name, _ in prepared.headers] == ["accept"]


def test_a_header_cannot_smuggle_another():
    with pytest.raises(Serialise, match="line break"):
        prepare("https://x", Search()).with_headers({"KEY": "a\r\nX-Evil: 1"})


def test_parameters_are_appended_where_they_belong():
    bare = prepare("https://x", Search())

    assert bare.with_query({"a": 1}).with_query({"b": 2}).query == "a=1&b=2"
    assert bare.with_query({}) is bare
    form = bare.with_form({"a": 1}).with_form({"b": "x y"})
    assert form.content == b"a=1&b=x+y"
    assert form.with_form({"n": 9}, first=True).content == b"n=9&a=1&b=x+y"
    assert form.header("content-type") == "application/x-www-form-urlencoded"
    assert bare.with_form({}) is bare


def test_parameters_cannot_be_added_to_a_body_that_is_no_form():
    prepared = prepare("https://x", Place(order=Order("X", Decimal(1))))

    with pytest.raises(UrlEncoded, match="application/json"):
        prepared.with_form({"a": 1})


def test_content_that_is_no_text_cannot_be_signed_as_text():
    with pytest.raises(Serialise):
        _ = prepare("https://x", Search()).with_content(b"\xff").body


def test_the_repr_shows_no_secret_and_no_header_value():
    prepared = (
        prepare("https://x", Search(params={"apiKey": "k+y", "sig": "s3cret"}))
        .with_headers({"X-KEY": "hidden"})
        .with_secrets("k+y", "s3cret", "")
    )

    shown = repr(prepared)

    assert "k+y" not in shown
    assert "k%2By" not in shown
    assert "s3cret" not in shown
    assert "hidden" not in shown
    assert "GET https://x/api/search?apiKey=***&sig=***" in shown
    assert "Accept: application/json" in shown


def test_a_secret_within_another_leaves_no_rest():
    assert scrub("abcdef abc", ("abc", "abcdef")) == "*** ***"


def test_it_is_a_value():
    assert isinstance(prepare("https://x", Search()), PreparedRequest)
    assert prepare("https://x", Search()) == prepare("https://x", Search())


def test_a_secret_is_masked_as_it_is_spelled_in_urls_and_in_json():
    said = "a/b+= a%2Fb%2B%3D " + r"a\/b+="

    assert scrub(said, ("a/b+=",)) == "*** *** ***"
