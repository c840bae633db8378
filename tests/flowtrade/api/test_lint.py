"""Rules for the table of routes and its description that no schema of OpenAPI says.

What linters of descriptions ask for, as far as it means something here, and that there
is no way into the application beside the table: a route without a rule fails.
"""

import re

import msgspec
import pytest

from flowtrade.api.openapi import describe
from flowtrade.api.routes import ROUTES, Right
from flowtrade.testing.bench import open_bench

DOCUMENT = describe(ROUTES)
OPERATIONS = [
    (method, path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]
EACH = pytest.mark.parametrize(
    ("method", "path", "operation"),
    OPERATIONS,
    ids=[f"{method} {path}" for method, path, _ in OPERATIONS],
)
AUTOMATIC = {"OPTIONS"}
"""Answered by the framework for browsers; reads and changes nothing."""


async def test_the_application_answers_no_route_that_is_not_in_the_table():
    async with open_bench() as bench:
        served = {
            (method, route.path_format)
            for route in bench.app.routes
            for method in route.methods
            if method not in AUTOMATIC
        }

    assert served == {(r.method, re.sub(r":\w+}", "}", r.path)) for r in ROUTES}


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r.method} {r.path}")
def test_every_route_has_a_rule_and_only_reads_may_be_public(route):
    assert isinstance(route.right, Right)
    assert route.method == "GET" or route.right is not Right.PUBLIC


@EACH
def test_an_operation_says_what_it_does_in_a_line_of_its_own(method, path, operation):
    assert operation["summary"].strip()
    assert not operation["summary"].endswith(".")
    assert len(operation["summary"]) < 100
    assert re.fullmatch(r"[a-z][a-z0-9_]*", operation["operationId"])


def test_paths_are_plain():
    for path in DOCUMENT["paths"]:
        assert path == "/" or not path.endswith("/")
        assert "?" not in path
        assert "//" not in path
    shapes = [re.sub(r"{\w+}", "{}", path) for path in DOCUMENT["paths"]]
    assert len(set(shapes)) == len(shapes)  # none could be taken for another


@EACH
def test_parameters_of_the_path_are_declared_once_and_required(method, path, operation):
    declared = [(p["in"], p["name"]) for p in operation.get("parameters", ())]

    assert len(set(declared)) == len(declared)
    named = {parameter[1] for parameter in declared if parameter[0] == "path"}
    assert named == set(re.findall(r"{(\w+)}", path))
    for parameter in operation.get("parameters", ()):
        assert parameter["schema"]
        assert parameter["in"] != "path" or parameter["required"] is True


@EACH
def test_answers_are_one_success_and_problems_in_one_shape(method, path, operation):
    good = [s for s in operation["responses"] if s.startswith("2")]
    bad = {s: r for s, r in operation["responses"].items() if s[0] in "45"}

    assert good
    assert all(response["description"] for response in operation["responses"].values())
    for status, response in bad.items():
        if status != "503" or "application/problem+json" in response["content"]:
            assert list(response["content"]) == ["application/problem+json"], status
    if operation.get("security"):
        assert {"400", "401"} <= set(bad)
    assert not (method == "get" and "requestBody" in operation)
    if "requestBody" in operation:
        assert {"413", "415"} & set(bad) or "422" in bad


def test_every_component_is_used():
    text = str(DOCUMENT)
    schemas = DOCUMENT["components"]["schemas"]

    unused = [n for n in schemas if f"'#/components/schemas/{n}'" not in text]
    assert unused == []
    used = {
        name
        for _, _, operation in OPERATIONS
        for entry in operation.get("security", ())
        for name in entry
    }
    assert used == set(DOCUMENT["components"]["securitySchemes"])


def test_every_operation_belongs_to_a_group_that_is_described():
    described = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    used = {tag for _, _, operation in OPERATIONS for tag in operation["tags"]}

    assert used == set(described)
    assert all(described.values())
    assert all(len(operation["tags"]) == 1 for _, _, operation in OPERATIONS)


@EACH
def test_an_operation_says_who_may_ask_and_how_it_refuses(method, path, operation):
    assert operation["description"]
    assert operation["security"] in ([], [{"jwt": []}])
    assert any(status.startswith("4") for status in operation["responses"])


def test_the_document_says_whose_it_is_and_where():
    assert {"title", "version", "description", "license"} <= set(DOCUMENT["info"])
    assert DOCUMENT["servers"] == [{"url": "/"}]


def faults_of(document):
    """What the standard's own schema (OpenAPI 3.1, 2022-10-07) says against it."""
    definitions = pytest.importorskip("schemathesis.specs.openapi.definitions")
    plain = msgspec.json.decode(msgspec.json.encode(document))
    return [str(fault) for fault in definitions.OPENAPI_31_VALIDATOR.iter_errors(plain)]


def test_the_standards_own_schema_finds_nothing():
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert faults_of(DOCUMENT) == []
    for broken in (
        {**DOCUMENT, "openapi": "3.0.3"},
        {**DOCUMENT, "info": {"title": "without a version"}},
        {**DOCUMENT, "paths": {"no/slash": {}}},
        {**DOCUMENT, "tags": [{"description": "without a name"}]},
    ):
        assert faults_of(broken)


def test_defaults_are_values_of_their_schemas():
    jsonschema = pytest.importorskip("jsonschema_rs")
    components, shown = DOCUMENT["components"], []

    def walk(node):
        if isinstance(node, dict):
            if "default" in node:
                shown.append({**node, "components": components})
            list(map(walk, node.values()))
        elif isinstance(node, list):
            list(map(walk, node))

    walk(DOCUMENT)

    assert len(shown) > 10
    for schema in shown:
        jsonschema.validate(schema, schema["default"])


def test_every_schema_is_a_schema_of_its_own():
    jsonschema = pytest.importorskip("jsonschema_rs")

    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.meta.validate(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        )
