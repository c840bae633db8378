"""The private endpoints of Binance spot that trading needs, as typed requests.

Weights are those of the documentation.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from integration.execution.binance.messages import (
    AccountAnswer,
    ListenKey,
    OrderAnswer,
    ServerTime,
    TradeAnswer,
)
from integration.rest.request import Params, RestRequest
from netcore.models import Model

__all__ = [
    "Account",
    "CancelOrder",
    "CloseStream",
    "KeepStream",
    "MyTrades",
    "OpenOrders",
    "OpenStream",
    "PlaceOrder",
    "QueryOrder",
    "Time",
]


class PlaceOrder(RestRequest[OrderAnswer], frozen=True):
    """Place an order."""

    method: ClassVar[str] = "POST"
    response_type: ClassVar[Any] = OrderAnswer
    bucket: ClassVar[str] = "orders"

    params: Mapping[str, Any]

    def path(self) -> str:
        """Return the endpoint's path."""
        return "/api/v3/order"

    def query_params(self) -> Params:
        """Return the order's parameters."""
        return self.params

    def client_order_id(self) -> str | None:
        """Return our name of the order."""
        return str(self.params["newClientOrderId"])


class _NamedOrder(Model, frozen=True):
    symbol: str
    cid: str = ""
    order_id: str = ""

    def named(self) -> Params:
        """Return what names the order: the venue's name, or ours."""
        if self.order_id:
            return {"symbol": self.symbol, "orderId": self.order_id}
        return {"symbol": self.symbol, "origClientOrderId": self.cid}


class CancelOrder(RestRequest[OrderAnswer], _NamedOrder, frozen=True):
    """Cancel an order."""

    method: ClassVar[str] = "DELETE"
    response_type: ClassVar[Any] = OrderAnswer

    def path(self) -> str:
        """Return the endpoint's path."""
        return "/api/v3/order"

    def query_params(self) -> Params:
        """Name the order."""
        return self.named()

    def client_order_id(self) -> str | None:
        """Return our name of the order."""
        return self.cid


class QueryOrder(RestRequest[OrderAnswer], _NamedOrder, frozen=True):
    """Ask for an order."""

    response_type: ClassVar[Any] = OrderAnswer
    weight: ClassVar[int] = 4

    def path(self) -> str:
        """Return the endpoint's path."""
        return "/api/v3/order"

    def query_params(self) -> Params:
        """Name the order."""
        return self.named()


class OpenOrders(RestRequest[list[OrderAnswer]], frozen=True):
    """Ask for resting orders, of one symbol or all."""

    response_type: ClassVar[Any] = list[OrderAnswer]

    symbol: str | None = None

    @property
    def weight(self) -> int:  # type: ignore[override]  # depends on the symbol here
        """What the venue charges."""
        return 6 if self.symbol else 80

    def path(self) -> str:
        """Return the endpoint's path."""
        return "/api/v3/openOrders"

    def query_params(self) -> Params:
        """Return the symbol, if one is asked for."""
        return {"symbol": self.symbol}


class Account(RestRequest[AccountAnswer], frozen=True):
    """Ask for balances."""

    response_type: ClassVar[Any] = AccountAnswer
    weight: ClassVar[int] = 20

    def path(self) -> str:
        """Return the endpoint's path."""
        return "/api/v3/account"

    def query_params(self) -> Params:
        """Leave zero balances out."""
        return {"omitZeroBalances": True}


class MyTrades(RestRequest[list[TradeAnswer]], frozen=True):
    """Ask for fills: within 24 hours, or from an id on."""

    response_type: ClassVar[Any] = list[TradeAnswer]
    weight: ClassVar[int] = 20
    limit: ClassVar[int] = 1000

    symbol: str
    start_ms: int | None = None
    end_ms: int | None = None
    from_id: int | None = None

    def path(self) -> str:
        """Return the endpoint's path."""
        return "/api/v3/myTrades"

    def query_params(self) -> Params:
        """Return symbol and range."""
        return {
            "symbol": self.symbol,
            "startTime": self.start_ms,
            "endTime": self.end_ms,
            "fromId": self.from_id,
            "limit": self.limit,
        }


class Time(RestRequest[ServerTime], frozen=True):
    """Ask what time it is."""

    response_type: ClassVar[Any] = ServerTime

    def path(self) -> str:
        """Return the endpoint's path."""
        return "/api/v3/time"


class OpenStream(RestRequest[ListenKey], frozen=True):
    """Ask for a listen key; an active one is returned and prolonged."""

    method: ClassVar[str] = "POST"
    response_type: ClassVar[Any] = ListenKey
    weight: ClassVar[int] = 2
    idempotent: ClassVar[bool | None] = True

    def path(self) -> str:
        """Return the endpoint's path."""
        return "/api/v3/userDataStream"


class KeepStream(RestRequest[dict[str, Any]], frozen=True):
    """Prolong a listen key by an hour."""

    method: ClassVar[str] = "PUT"
    response_type: ClassVar[Any] = dict[str, Any]
    weight: ClassVar[int] = 2
    idempotent: ClassVar[bool | None] = True

    listen_key: str

    def path(self) -> str:
        """Return the endpoint's path."""
        return "/api/v3/userDataStream"

    def query_params(self) -> Params:
        """Return the key."""
        return {"listenKey": self.listen_key}


class CloseStream(KeepStream, frozen=True):
    """Give a listen key up."""

    method: ClassVar[str] = "DELETE"
