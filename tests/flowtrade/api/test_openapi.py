"""The description agrees with the table, and the service with the description."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flowtrade.api.openapi import describe
from flowtrade.api.routes import ROUTES, Right
from flowtrade.testing.bench import open_bench

DOCUMENT = describe(ROUTES)
BIDDER = "018f0000-0000-8000-8000-000000000001"
TOKEN = f"bidder_id={BIDDER}" + "".join(
    f"&{right.value}=true" for right in Right if right is not Right.PUBLIC
)
JSON_ROUTES = [route for route in ROUTES if not isinstance(route.reply, str)]


def plain(path):
    return path.replace(":str}", "}").replace(":path}", "}")


def test_every_route_is_described_and_nothing_else():
    described = {
        (method.upper(), path)
        for path, operations in DOCUMENT["paths"].items()
        for method in operations
    }

    assert described == {(route.method, plain(route.path)) for route in ROUTES}


def test_every_operation_has_a_name_of_its_own():
    names = [
        operation["operationId"]
        for operations in DOCUMENT["paths"].values()
        for operation in operations.values()
    ]

    assert len(set(names)) == len(names)


def test_every_reference_leads_somewhere():
    found = []

    def walk(node):
        if isinstance(node, dict):
            found.extend([node["$ref"]] if "$ref" in node else [])
            list(map(walk, node.values()))
        elif isinstance(node, list):
            list(map(walk, node))

    walk(DOCUMENT)

    names = {f"#/components/schemas/{n}" for n in DOCUMENT["components"]["schemas"]}
    assert set(found) <= names
    assert {"#/components/schemas/Curve", "#/components/schemas/Group"} <= set(found)


def test_strict_records_say_so():
    schemas = DOCUMENT["components"]["schemas"]

    assert schemas["CreateDemand"]["additionalProperties"] is False
    assert schemas["CreateDemand"]["required"] == ["app_data", "curve_data"]


def test_every_guarded_route_names_the_scheme():
    for route in ROUTES:
        operation = DOCUMENT["paths"][plain(route.path)][route.method.lower()]
        assert bool(operation["security"]) == (route.right is not Right.PUBLIC)
        assert operation["summary"]


@pytest.mark.parametrize(
    ("flag", "request_header", "reply_header"),
    [
        ("guarded", "If-Match", None),
        ("once", "Idempotency-Key", None),
        ("terse", "Prefer", "Preference-Applied"),
        ("versioned", None, "ETag"),
    ],
)
def test_headers_are_described_where_they_are_taken_and_given(
    flag, request_header, reply_header
):
    for route in ROUTES:
        operation = DOCUMENT["paths"][plain(route.path)][route.method.lower()]
        taken = {p["name"] for p in operation["parameters"] if p["in"] == "header"}
        given_ = operation["responses"][str(route.status)].get("headers", {})
        expected = getattr(route, flag)
        if request_header is not None:
            assert (request_header in taken) == expected
        if reply_header is not None:
            assert (reply_header in given_) == expected


def test_the_document_is_valid_openapi():
    schemathesis = pytest.importorskip("schemathesis")

    schemathesis.openapi.from_dict(DOCUMENT).validate()


@pytest.fixture
async def bench():
    async with open_bench() as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize(
    "route", JSON_ROUTES, ids=lambda route: f"{route.method} {route.path}"
)
@settings(
    max_examples=6,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(data=st.data())
async def test_whatever_the_description_allows_is_answered_as_it_says(
    bench, route, data
):
    schemathesis = pytest.importorskip("schemathesis")
    checks = pytest.importorskip("schemathesis.checks")
    openapi = pytest.importorskip("schemathesis.specs.openapi.checks")
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    case = data.draw(schema[plain(route.path)][route.method].as_strategy())
    sent = case.as_transport_kwargs(base_url="http://bench")
    sent["headers"] = {
        **dict(sent.get("headers") or {}),
        "Authorization": f"Bearer {TOKEN}",
    }
    sent.pop("cookies", None)
    if isinstance(sent.get("data"), str | bytes):
        sent["content"] = sent.pop("data")

    async with bench.client() as client:
        reply = await client.request(**sent)

    assert reply.status_code != 500
    # Not every rule fits into a schema (rates must not fall), so a valid request may
    # be refused; but every answer is one that the description has.
    case.validate_response(
        reply,
        checks=[
            checks.not_a_server_error,
            openapi.status_code_conformance,
            openapi.content_type_conformance,
            openapi.response_schema_conformance,
        ],
    )
