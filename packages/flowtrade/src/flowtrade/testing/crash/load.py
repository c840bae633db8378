"""Bidders that write without end and remember what they were told.

Each waits for the answer to one request before it sends the next, so at most one of
its requests is open when the server dies: what was answered must be there, what was
not may be, wholly or not at all.
"""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final
from uuid import UUID

import httpx
import msgspec

from flowtrade.client import FlowtradeClient
from flowtrade.errors import ApiError, ConnectionFailed
from flowtrade.models.curve import ConstantCurve
from flowtrade.models.ids import Id
from flowtrade.models.submission import Submission, SubmittedDemand, SubmittedPortfolio
from flowtrade.models.time import parse_timestamp

if TYPE_CHECKING:
    from netcore.models import Timestamp

__all__ = ["Bidder", "CurveBidder", "ListBidder", "SubmissionBidder", "token_of"]


class _Answer(msgspec.Struct):
    """What is read of a line of the answer to many changes."""

    status: int
    code: str = ""
    detail: str = ""


_ANSWERS: Final = msgspec.json.Decoder(_Answer)
_RIGHTS: Final = (
    "can_create_bid",
    "can_query_bid",
    "can_read_bid",
    "can_update_bid",
    "can_view_products",
    "can_manage_products",
    "can_run_batch",
)


def token_of(bidder: Id) -> str:
    """Return a token of `FormAuthorizer` with every right over one bidder's bids."""
    rights = "&".join(f"{right}=true" for right in _RIGHTS)
    return f"bidder_id={bidder}&{rights}"


@final
class CurveBidder:
    """Replaces the curve of one demand; the n-th has price n.

    Attributes:
        bidder: Who it is.
        demand: The demand, or None before it was acknowledged.
        told: When each acknowledged curve became valid, from number 0 on.
        open: Whether one more curve was sent.
    """

    def __init__(self, bidder: Id, item: Callable[[], Id]) -> None:
        self.bidder = bidder
        self.demand: Id | None = None
        self.told: list[Timestamp] = []
        self.open = False
        self._item = item

    async def write(self, client: FlowtradeClient, http: httpx.AsyncClient) -> None:
        """Send one request and note the answer."""
        curve = ConstantCurve(min_rate=-1.0, max_rate=1.0, price=float(len(self.told)))
        self.open = True
        if self.demand is None:
            record = await client.create_demand(curve, app_data="line")
            self.demand = record.id
        else:
            record = await client.set_curve(self.demand, curve)
        self.open = False
        self.told.append(parse_timestamp(record.valid_from))
        if len(self.told) == 2:
            await client.create_portfolio(demand=record.id, basis=self._item())


@final
class SubmissionBidder:
    """Replaces all its bids by one new demand and one new portfolio, in one request.

    Attributes:
        bidder: Who it is.
        told: The acknowledged pairs, with their moments.
        open: The pair that was sent and not acknowledged, or None.
    """

    def __init__(self, bidder: Id, item: Callable[[], Id], dice: random.Random) -> None:
        self.bidder = bidder
        self.told: list[tuple[Timestamp, Id, Id]] = []
        self.open: tuple[Id, Id] | None = None
        self._item = item
        self._dice = dice

    async def write(self, client: FlowtradeClient, http: httpx.AsyncClient) -> None:
        """Send one request and note the answer."""
        demand, portfolio = (str(UUID(int=self._dice.getrandbits(128))) for _ in "dp")
        curve = {"min_rate": -1.0, "max_rate": 1.0, "price": 5.0}
        self.open = (demand, portfolio)
        record = await client.submit(
            Submission(
                demands=[SubmittedDemand(id=demand, app_data="pair", curve_data=curve)],
                portfolios=[
                    SubmittedPortfolio(
                        id=portfolio,
                        app_data="pair",
                        demand=[demand],
                        basis=[self._item()],
                    )
                ],
            )
        )
        self.open = None
        # Not `as_of`: others may have shared the commit, and it is of the last of them.
        (made,) = record.demands
        self.told.append((parse_timestamp(made.valid_from), demand, portfolio))


@final
class ListBidder:
    """Sends many changes in one body; each happens on its own.

    Attributes:
        bidder: Who it is.
        demands: Its demands, chosen beforehand.
        told: Bodies acknowledged; the n-th sets all prices to n, number 0 makes them.
        open: Whether one more body was sent.
    """

    def __init__(self, bidder: Id, dice: random.Random, count: int = 20) -> None:
        self.bidder = bidder
        self.demands = [str(UUID(int=dice.getrandbits(128))) for _ in range(count)]
        self.told = 0
        self.open = False

    async def write(self, client: FlowtradeClient, http: httpx.AsyncClient) -> None:
        """Send one request and note the answer."""
        lines = [self._line(key) for key in self.demands]
        self.open = True
        try:
            response = await http.post(
                "/bulk",
                content=b"\n".join(map(msgspec.json.encode, lines)),
                headers={
                    "Content-Type": "application/x-ndjson",
                    "Authorization": f"Bearer {token_of(self.bidder)}",
                },
            )
        except httpx.TransportError as error:
            raise ConnectionFailed(repr(error)) from error
        answers = [_ANSWERS.decode(line) for line in response.content.splitlines()]
        for answer in answers:
            # Made already, by the body that a server took and died on.
            if answer.status >= 400 and answer.code != "id-taken":
                raise ApiError(answer.status, answer.code, answer.detail)
        self.open = False
        self.told += 1

    def _line(self, key: Id) -> dict[str, Any]:
        curve = {"price": float(self.told), "min_rate": 0.0, "max_rate": 0.0}
        if self.told == 0:
            return {
                "op": "create_demand",
                "id": key,
                "app_data": "list",
                "curve_data": curve,
            }
        return {"op": "set_curve", "id": key, "curve_data": curve}


Bidder: TypeAlias = CurveBidder | SubmissionBidder | ListBidder
