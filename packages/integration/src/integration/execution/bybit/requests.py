"""The private endpoints of Bybit v5 that trading needs, as typed requests.

All answers are an `Envelope`; what its result holds is read by `bybit.api`. Buckets
are the endpoints' own limits.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from integration.execution.bybit.messages import Envelope
from integration.rest.request import Params, RestRequest

__all__ = ["CancelOrder", "PlaceOrder", "Query", "Time"]


class PlaceOrder(RestRequest[Envelope], frozen=True):
    """Place an order; the answer only says that it was heard."""

    method: ClassVar[str] = "POST"
    response_type: ClassVar[Any] = Envelope
    bucket: ClassVar[str] = "orders"

    order: Mapping[str, Any]

    def path(self) -> str:
        """Return the endpoint's path."""
        return "/v5/order/create"

    def body(self) -> Mapping[str, Any]:
        """Return the order."""
        return self.order

    def client_order_id(self) -> str | None:
        """Return our name of the order."""
        return str(self.order["orderLinkId"])


class CancelOrder(RestRequest[Envelope], frozen=True):
    """Cancel an order; the answer only says that it was heard."""

    method: ClassVar[str] = "POST"
    response_type: ClassVar[Any] = Envelope
    bucket: ClassVar[str] = "orders"

    category: str
    symbol: str
    cid: str = ""
    order_id: str = ""

    def path(self) -> str:
        """Return the endpoint's path."""
        return "/v5/order/cancel"

    def body(self) -> Mapping[str, Any]:
        """Name the order: by the venue's name, or ours."""
        named = {"category": self.category, "symbol": self.symbol}
        if self.order_id:
            return {**named, "orderId": self.order_id}
        return {**named, "orderLinkId": self.cid}

    def client_order_id(self) -> str | None:
        """Return our name of the order."""
        return self.cid


class Query(RestRequest[Envelope], frozen=True):
    """Ask for records of an endpoint."""

    response_type: ClassVar[Any] = Envelope

    endpoint: str
    params: Mapping[str, Any]

    def path(self) -> str:
        """Return the endpoint's path."""
        return self.endpoint

    def query_params(self) -> Params:
        """Return what is asked for."""
        return self.params


class Time(RestRequest[Envelope], frozen=True):
    """Ask what time it is."""

    response_type: ClassVar[Any] = Envelope

    def path(self) -> str:
        """Return the endpoint's path."""
        return "/v5/market/time"
