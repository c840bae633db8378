"""What each error of ours becomes: its status, its headers, and who hears of it."""

import msgspec
import pytest
from litestar.exceptions import MethodNotAllowedException

from flowtrade.api.problems import (
    STATUSES,
    BadRequest,
    UnsupportedMediaType,
    answer_error,
    status_of,
)
from flowtrade.api.request import Api
from flowtrade.errors import (
    AlreadyPartitioned,
    BatchFailed,
    FlowtradeError,
    Forbidden,
    InvalidRequest,
    NotFound,
    NotLeader,
    SolverFailed,
    StoreBusy,
    StoreClosed,
    Unauthorized,
    UnknownReference,
)
from flowtrade.models.ids import IdError

REQUEST = Api(
    {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
)
ERRORS = [
    (BadRequest("x"), 400, {}),
    (IdError("x"), 400, {}),
    (Unauthorized("x"), 401, {"WWW-Authenticate": "invalid_token"}),
    (Forbidden("x"), 401, {"WWW-Authenticate": "insufficient_scope"}),
    (AlreadyPartitioned("x"), 403, {}),
    (NotFound("demand", "x"), 404, {}),
    (MethodNotAllowedException(headers={"Allow": "GET"}), 405, {"Allow": "GET"}),
    (UnsupportedMediaType("x"), 415, {}),
    (InvalidRequest("x", where="a.b"), 422, {}),
    (UnknownReference("product", ("x",)), 422, {}),
    (StoreBusy(7), 503, {"Retry-After": "1"}),
    (NotLeader(), 503, {"Retry-After": "1"}),
    (StoreClosed(), 503, {}),
    (SolverFailed("x"), 500, {}),
    (FlowtradeError("x"), 500, {}),
    (ZeroDivisionError("secret"), 500, {}),
]


@pytest.mark.parametrize(
    ("error", "status", "headers"), ERRORS, ids=lambda value: type(value).__name__
)
def test_an_error_has_its_status_and_the_headers_that_belong_to_it(
    error, status, headers, caplog
):
    answer = answer_error(REQUEST, error)
    problem = msgspec.json.decode(answer.content)

    assert (answer.status_code, problem["status"]) == (status, status)
    assert problem["type"] == f"urn:flowtrade:problem:{problem['code']}"
    assert "secret" not in str(problem)
    assert answer._more.keys() == headers.keys()
    for name, value in headers.items():
        assert value in answer._more[name]
    # What we did wrong is told to operators, what callers did is not.
    assert len(caplog.records) == (status >= 500)


def test_what_a_problem_names_is_named_where_programs_look():
    where = answer_error(REQUEST, InvalidRequest("x", where="a.b"))
    orders = answer_error(REQUEST, BatchFailed("x", orders=("p", "q")))
    plain = answer_error(REQUEST, BadRequest("x"))

    assert msgspec.json.decode(where.content)["where"] == "a.b"
    assert msgspec.json.decode(orders.content)["orders"] == ["p", "q"]
    assert not {"where", "orders"} & msgspec.json.decode(plain.content).keys()


def test_every_error_of_ours_has_a_status():
    known, kinds = set(), [FlowtradeError]
    while kinds:
        kind = kinds.pop()
        known.add(kind)
        kinds += kind.__subclasses__()

    assert all(status_of(kind.__new__(kind)) in STATUSES.values() for kind in known)
    assert status_of(FlowtradeError("x")) == 500
