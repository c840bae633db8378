"""The OpenAPI description, made from the table of routes and the wire records.

Written here and not by the framework, because our handlers read bodies themselves (to
answer 400, 415 and 422 apart), and because the framework's schemas leave out
`additionalProperties: false`. The schemas come from msgspec.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from flowtrade.api.problems import Problem
from flowtrade.api.routes import Right, Route
from flowtrade.models.page import Page

__all__ = ["describe"]

_CURVE: Final = {
    "description": "Price as a function of rate, weakly decreasing, through rate 0.",
    "oneOf": [
        {"type": "null"},
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["rate", "price"],
                "properties": {
                    "rate": {"type": "number"},
                    "price": {"type": "number"},
                },
            },
        },
        {
            "type": "object",
            "required": ["price"],
            "properties": {
                "min_rate": {"type": ["number", "null"], "maximum": 0},
                "max_rate": {"type": ["number", "null"], "minimum": 0},
                "price": {"type": "number"},
            },
        },
    ],
}
_GROUP: Final = {
    "description": "Weights by id.",
    "oneOf": [
        {"type": "null"},
        {"type": "string", "format": "uuid"},
        {"type": "array", "items": {"type": "string", "format": "uuid"}},
        {"type": "object", "additionalProperties": {"type": "number"}},
    ],
}
_INFO: Final = {
    "title": "Flow Trading API",
    "version": "0.1",
    "description": "Batch auctions of flows: bids are curves of price over rate for "
    "portfolios of products, and each auction gives prices and rates that hold until "
    "the next one. Every error is a problem detail (RFC 9457).",
    "license": {"name": "MIT", "identifier": "MIT"},
}
_TAGS: Final[Mapping[str, tuple[str, str]]] = {
    "Streams": (
        r".*/updates",
        "Server-sent events; they go on after the last one seen.",
    ),
    "Demands": (r"/demand\b.*", "At which prices a bidder trades how much an hour."),
    "Portfolios": (r"/portfolio\b.*", "Of which products a bidder's demands are."),
    "Bids": (r"/submission|/bulk", "Many demands and portfolios in one request."),
    "Products": (r"/product\b.*", "What is traded, and what it is divided into."),
    "Batches": (r"/batch\b.*", "Auctions, with the proofs of their outcomes."),
    "Service": (r".*", "The state and the description of the service."),
}
"""Groups of operations: the paths (the first that fits counts), and what they are."""

_REF: Final = "#/components/schemas/{name}"
_PATH: Final = re.compile(r"\{(\w+):(?:str|path)\}")


def describe(routes: tuple[Route, ...]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of these routes."""
    types = _json_types(routes)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema_of = dict(zip(map(repr, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operations = paths.setdefault(_PATH.sub(r"{\1}", route.path), {})
        operations[route.method.lower()] = _operation(route, schema_of)
    _name_apart([o for operations in paths.values() for o in operations.values()])
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        "servers": [{"url": "/"}],
        "tags": [{"name": n, "description": text} for n, (_, text) in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": {**components, "Curve": _CURVE, "Group": _GROUP},
            "securitySchemes": {
                "jwt": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }


def _name_apart(operations: list[dict[str, Any]]) -> None:
    # Operation ids are unique (OpenAPI 3.1 §4.8.10), though one function may answer
    # several paths.
    seen: dict[str, int] = {}
    for operation in operations:
        name = operation["operationId"]
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            operation["operationId"] = f"{name}_{seen[name]}"


def _json_types(routes: tuple[Route, ...]) -> list[Any]:
    found: dict[str, Any] = {repr(Problem): Problem, repr(Page): Page}
    for route in routes:
        for kind in (route.body, route.reply):
            if kind is not None and not isinstance(kind, str):
                found[repr(kind)] = kind
    return list(found.values())


def _operation(route: Route, schema_of: dict[str, Any]) -> dict[str, Any]:
    summary = (route.handler.__doc__ or "").strip().rstrip(".")
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": summary,
        "tags": [next(n for n, (p, _) in _TAGS.items() if re.fullmatch(p, route.path))],
        "parameters": _parameters(route),
        "responses": {
            str(route.status): _success(route, schema_of),
            **{str(status): _failure(schema_of) for status in _failures(route)},
        },
    }
    operation["security"] = []
    operation["description"] = "Public."
    if route.right is not Right.PUBLIC:
        operation["security"] = [{"jwt": []}]
        operation["description"] = f"Needs the right `{route.right.value}`."
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": _content(route.body, schema_of),
        }
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _path_schema(name)}
        for name in _PATH.findall(route.path)
    ]
    parameters += [
        {
            "name": query.name,
            "in": "query",
            "description": query.text,
            "schema": query.schema,
        }
        for query in route.query
    ]
    if route.guarded:
        parameters.append(_header("If-Match", "The ETag of the version last seen."))
    if route.once:
        text = "Repeats the first answer instead of acting again, for a day."
        parameters.append(_header("Idempotency-Key", text))
    if route.terse:
        text = "`return=minimal` leaves the records out of the answer (RFC 7240)."
        parameters.append(_header("Prefer", text))
    if route.reply == "text/event-stream":
        parameters.append(_header("Last-Event-ID", "The id of the event last seen."))
    return parameters


def _path_schema(name: str) -> dict[str, Any]:
    if name.endswith("_id"):
        return {"type": "string", "format": "uuid"}
    return {"type": "string"}


def _header(name: str, text: str) -> dict[str, Any]:
    schema = {"type": "string"}
    return {"name": name, "in": "header", "description": text, "schema": schema}


def _success(route: Route, schema_of: dict[str, Any]) -> dict[str, Any]:
    content = _content(route.reply, schema_of)
    success: dict[str, Any] = {"description": "Success", "content": content}
    headers = {}
    if route.versioned:
        headers["ETag"] = "The version."
    if route.terse:
        headers["Preference-Applied"] = "The preference, if it was followed."
    if headers:
        schema = {"type": "string"}
        success["headers"] = {
            name: {"schema": schema, "description": text}
            for name, text in headers.items()
        }
    return success


def _content(kind: Any, schema_of: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401  # a type or a media type
    if isinstance(kind, str):
        return {name: {"schema": {"type": "string"}} for name in kind.split(", ")}
    return {"application/json": {"schema": schema_of[repr(kind)]}}


def _failures(route: Route) -> list[int]:
    statuses = {400, *route.errors}  # a header alone may be unreadable
    if route.right is not Right.PUBLIC:
        statuses.add(401)
    if route.body is not None:
        statuses |= {400, 413, 415, 422}
    if route.guarded:
        statuses.add(412)
    if route.method != "GET":
        statuses.add(503)
    return sorted(statuses)


def _failure(schema_of: dict[str, Any]) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": schema_of[repr(Problem)]}}
    return {"description": "Problem", "content": content}
