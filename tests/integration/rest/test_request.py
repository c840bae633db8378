from typing import Any, ClassVar

import pytest

from integration.rest.request import BodyFormat, RestRequest


class Fetch(RestRequest[int], frozen=True):
    response_type: ClassVar[Any] = int
    account: str

    def path(self):
        return f"/accounts/{self.account}"


class Cancel(Fetch, frozen=True):
    method: ClassVar[str] = "DELETE"


class Query(Cancel, frozen=True):
    method: ClassVar[str] = "POST"
    idempotent: ClassVar[bool | None] = True


def test_the_defaults_are_those_of_a_cheap_read():
    request = Fetch(account="7")

    assert request.method == "GET"
    assert request.path() == "/accounts/7"
    assert request.query_params() is None
    assert request.body() is None
    assert request.timeout == 5.0
    assert request.weight == 1
    assert request.body_format is BodyFormat.JSON
    assert request.client_order_id() is None


def test_only_safe_methods_are_idempotent_unless_the_endpoint_says_so():
    assert Fetch(account="7").is_idempotent()
    assert not Cancel(account="7").is_idempotent()
    assert Query(account="7").is_idempotent()


def test_a_request_without_path_says_so():
    with pytest.raises(NotImplementedError):
        RestRequest().path()


def test_a_request_is_a_value():
    assert Fetch(account="7") == Fetch(account="7")
    assert hash(Fetch(account="7")) == hash(Fetch(account="7"))
