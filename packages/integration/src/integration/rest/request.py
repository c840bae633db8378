"""What a typed request is: one Struct per endpoint.

A request says where it goes, what it carries, what comes back and what it costs. It
does not know the host, the keys or the clock: the client, the signer and the limiter
do. Turning it into bytes is `integration.rest.prepared`.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import msgspec

from netcore.models import Model

__all__ = ["BodyFormat", "Params", "RestRequest"]

ResponseT = TypeVar("ResponseT")

Params: TypeAlias = (
    msgspec.Struct | Mapping[str, Any] | Iterable[tuple[str, Any]] | None
)
"""Parameters in the order in which they are sent: a Struct, a mapping or pairs."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing by definition (RFC 9110 §9.2.1)."""


class BodyFormat(StrEnum):
    """How a body is written; the value is its media type."""

    JSON = "application/json"
    FORM = "application/x-www-form-urlencoded"


class RestRequest(Model, Generic[ResponseT], frozen=True):
    """A request to one endpoint of a venue; subclass it per endpoint.

    The fields of the Struct are what varies between two calls. What the endpoint
    fixes stands in class variables::

        class FetchBalances(RestRequest[Balances], frozen=True):
            response_type: ClassVar[Any] = Balances

            def path(self) -> str:
                return "/api/wallet/balances"
    """

    method: ClassVar[str] = "GET"
    """HTTP method, in capitals."""

    response_type: ClassVar[Any] = None
    """What a successful body decodes into; the same type as the type argument."""

    timeout: ClassVar[float] = 5.0
    """Seconds until the whole response must be there."""

    weight: ClassVar[int] = 1
    """What the request costs in the limiter's bucket."""

    bucket: ClassVar[str] = "default"
    """Which of the host's buckets pays."""

    body_format: ClassVar[BodyFormat] = BodyFormat.JSON
    """How `body` is written."""

    idempotent: ClassVar[bool | None] = None
    """Whether sending it twice equals sending it once; None: as the method says."""

    @abstractmethod
    def path(self) -> str:
        """Return the path, percent-encoded, from the first slash on, without query."""
        raise NotImplementedError

    def query_params(self) -> Params:
        """Return the query parameters in the order in which they are sent."""
        return None

    def body(self) -> Any:  # noqa: ANN401 - whatever msgspec can encode
        """Return what the body says (encoded per `body_format`), or None for none."""
        return None

    def client_order_id(self) -> str | None:
        """Return our name for the order this places, for `UnknownOutcome`."""
        return None

    def is_idempotent(self) -> bool:
        """Say whether the request may be sent again after an unknown outcome."""
        if self.idempotent is not None:
            return self.idempotent
        return self.method in _SAFE_METHODS
