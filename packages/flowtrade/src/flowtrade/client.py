"""The typed client: every endpoint as a call, every stream as an iterator.

It decodes the same Structs that the server encodes. Refusals are raised as `ApiError`
with the server's code and sentence, failures of the network as `ConnectionFailed`.
Nothing is retried behind the caller's back, except that streams reconnect and name
the last event they saw.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar, final

import httpx
import msgspec

from flowtrade.errors import ApiError, ConnectionFailed
from flowtrade.following import UpdateStream, api_error
from flowtrade.models.batch import BatchPage, BatchRecord, BidderBatch
from flowtrade.models.bulk import BulkAnswer, BulkCreateDemand, BulkLine, BulkSetCurve
from flowtrade.models.curve import Curve, curve_to_builtins
from flowtrade.models.demand import DemandRecord
from flowtrade.models.ids import Id
from flowtrade.models.page import Page
from flowtrade.models.portfolio import PortfolioRecord, PositionRecord, TradeCap
from flowtrade.models.product import (
    PartitionChild,
    ProductNode,
    ProductPage,
    ProductRecord,
)
from flowtrade.models.submission import Submission, SubmissionRecord
from flowtrade.models.time import Rfc3339, format_timestamp
from flowtrade.models.update import (
    BatchUpdate,
    BidderUpdate,
    BookUpdate,
    GapUpdate,
    ProductUpdate,
    ReferenceUpdate,
    Update,
)
from netcore.models import Timestamp

__all__ = ["FlowtradeClient", "UpdateStream"]

_T = TypeVar("_T")
Group = Mapping[Id, float] | Sequence[Id] | Id


@final
class FlowtradeClient:
    """A session with an auction service.

    Args:
        base_url: Such as `http://127.0.0.1:8080`.
        token: Bearer token; None for what is public.
        http: A client to use instead of an own one; it stays the caller's to close.
        timeout: Seconds for a request.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        http: httpx.AsyncClient | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._owned = http is None
        self._http = http or httpx.AsyncClient()
        self._timeout = timeout
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def __repr__(self) -> str:
        return f"FlowtradeClient({self._base!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections, if they are our own."""
        if self._owned:
            await self._http.aclose()

    # Demands.

    async def create_demand(
        self, curve: Curve | None, *, app_data: object = None, key: str | None = None
    ) -> DemandRecord:
        """Make a demand.

        Args:
            curve: Its curve.
            app_data: The application's data.
            key: Idempotency key: asked for again under it within a day, the first
                answer is repeated, so a request of unknown outcome can be repeated.
        """
        body = {"app_data": app_data, "curve_data": curve_to_builtins(curve)}
        return await self._json(
            "POST", "/demand", DemandRecord, body=body, headers=_once(key)
        )

    async def demands(self, *, as_of: Timestamp | None = None) -> list[DemandRecord]:
        """List the active demands of the token's bidders, now or as of some moment."""
        query = _times(as_of=as_of)
        return await self._json("GET", "/demand", list[DemandRecord], query=query)

    async def demand(
        self, demand_id: Id, *, as_of: Timestamp | None = None
    ) -> DemandRecord:
        """Read a demand, now or as of some moment."""
        query = _times(as_of=as_of)
        return await self._json(
            "GET", f"/demand/{demand_id}", DemandRecord, query=query
        )

    async def set_curve(
        self, demand_id: Id, curve: Curve | None, *, if_match: Rfc3339 | None = None
    ) -> DemandRecord:
        """Replace a demand's curve; None withdraws it.

        Args:
            demand_id: The demand.
            curve: The curve.
            if_match: The `valid_from` last seen; another one is refused with 412.
        """
        return await self._json(
            "PUT",
            f"/demand/{demand_id}",
            DemandRecord,
            body=curve_to_builtins(curve),
            headers=_guard(if_match),
        )

    async def delete_demand(self, demand_id: Id) -> DemandRecord:
        """Withdraw a demand's curve."""
        return await self._json("DELETE", f"/demand/{demand_id}", DemandRecord)

    async def curve_history(
        self,
        demand_id: Id,
        *,
        before: Timestamp | None = None,
        after: Timestamp | None = None,
        as_of: Timestamp | None = None,
    ) -> Page:
        """Read a page of a demand's curves, newest first."""
        path = f"/demand/{demand_id}/curve-history"
        query = _times(before, after, as_of=as_of)
        return await self._json("GET", path, Page, query=query)

    # Portfolios.

    async def create_portfolio(
        self,
        *,
        demand: Group,
        basis: Group,
        app_data: object = None,
        key: str | None = None,
    ) -> PortfolioRecord:
        """Make a portfolio; `key` as for `create_demand`."""
        body = {"app_data": app_data, "demand": demand, "basis": basis}
        return await self._json(
            "POST", "/portfolio", PortfolioRecord, body=body, headers=_once(key)
        )

    async def portfolios(
        self, *, as_of: Timestamp | None = None
    ) -> list[PortfolioRecord]:
        """List the non-empty portfolios of the token's bidders, now or as of then."""
        query = _times(as_of=as_of)
        return await self._json("GET", "/portfolio", list[PortfolioRecord], query=query)

    async def portfolio(
        self,
        portfolio_id: Id,
        *,
        expand: bool = False,
        as_of: Timestamp | None = None,
    ) -> PortfolioRecord:
        """Read a portfolio, now or as of some moment."""
        query = {**_times(as_of=as_of), "expand": "true" if expand else "false"}
        path = f"/portfolio/{portfolio_id}"
        return await self._json("GET", path, PortfolioRecord, query=query)

    async def update_portfolio(
        self,
        portfolio_id: Id,
        *,
        demand: Group | None = None,
        basis: Group | None = None,
        if_match: Rfc3339 | None = None,
    ) -> PortfolioRecord:
        """Replace one or both groups; None keeps, empty clears."""
        return await self._json(
            "PATCH",
            f"/portfolio/{portfolio_id}",
            PortfolioRecord,
            body={"demand": demand, "basis": basis},
            headers=_guard(if_match),
        )

    async def delete_portfolio(self, portfolio_id: Id) -> PortfolioRecord:
        """Empty both groups."""
        return await self._json("DELETE", f"/portfolio/{portfolio_id}", PortfolioRecord)

    async def demand_history(
        self,
        portfolio_id: Id,
        *,
        before: Timestamp | None = None,
        after: Timestamp | None = None,
        as_of: Timestamp | None = None,
    ) -> Page:
        """Read a page of a portfolio's demand groups, newest first."""
        path = f"/portfolio/{portfolio_id}/demand-history"
        query = _times(before, after, as_of=as_of)
        return await self._json("GET", path, Page, query=query)

    async def product_history(
        self,
        portfolio_id: Id,
        *,
        before: Timestamp | None = None,
        after: Timestamp | None = None,
        as_of: Timestamp | None = None,
    ) -> Page:
        """Read a page of a portfolio's bases, newest first."""
        path = f"/portfolio/{portfolio_id}/product-history"
        query = _times(before, after, as_of=as_of)
        return await self._json("GET", path, Page, query=query)

    async def portfolio_outcomes(
        self,
        portfolio_id: Id,
        *,
        before: Timestamp | None = None,
        after: Timestamp | None = None,
        as_of: Timestamp | None = None,
    ) -> Page:
        """Read a page of a portfolio's prices and rates, newest first."""
        path = f"/portfolio/{portfolio_id}/outcomes"
        query = _times(before, after, as_of=as_of)
        return await self._json("GET", path, Page, query=query)

    # Submissions.

    async def position(
        self, portfolio_id: Id, *, as_of: Timestamp | None = None
    ) -> PositionRecord:
        """Read what a portfolio has traded, and how much it may."""
        path = f"/portfolio/{portfolio_id}/position"
        return await self._json("GET", path, PositionRecord, query=_times(as_of=as_of))

    async def set_cap(self, portfolio_id: Id, cap: TradeCap | None) -> PositionRecord:
        """Limit how much a portfolio may trade in all; None takes the limit away."""
        path = f"/portfolio/{portfolio_id}/cap"
        if cap is None:
            return await self._json("DELETE", path, PositionRecord)
        return await self._json("PUT", path, PositionRecord, body=cap)

    async def submission(self, *, as_of: Timestamp | None = None) -> SubmissionRecord:
        """Read all active bids of the token's bidder, now or as of some moment."""
        query = _times(as_of=as_of)
        return await self._json("GET", "/submission", SubmissionRecord, query=query)

    async def submit(self, submission: Submission) -> SubmissionRecord:
        """Replace all bids of the token's bidder at once."""
        return await self._json("PUT", "/submission", SubmissionRecord, body=submission)

    async def bulk(
        self,
        lines: Iterable[BulkLine],
        *,
        records: bool = True,
        key: str | None = None,
    ) -> list[BulkAnswer]:
        """Carry out many changes of bids in order; each succeeds or fails alone.

        Args:
            lines: At most 40,000, and as many as the server reads of a body.
            records: Whether the answers carry records; without, they come sooner.
            key: As for `create_demand`; what was begun under it is gone on with.

        Returns:
            What became of each. Its record tells how things stood after all of them.
        """
        lines = list(lines)
        body = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        headers = {"Content-Type": "application/x-ndjson", **_once(key)}
        if not records:
            headers["Prefer"] = "return=minimal"  # RFC 7240 §4.2
        response = await self._send("POST", "/bulk", content=body, headers=headers)
        answers = map(_BULK.decode, response.content.splitlines())
        return [_typed(lines[answer.line - 1], answer) for answer in answers]

    # Products.

    async def create_product(
        self, app_data: object, *, key: str | None = None
    ) -> ProductRecord:
        """Make a root product; `key` as for `create_demand`."""
        return await self._json(
            "POST", "/product", ProductRecord, body=app_data, headers=_once(key)
        )

    async def products(
        self,
        *,
        kind: str | None = None,
        start: Timestamp | None = None,
        thru: Timestamp | None = None,
        leaves: bool = False,
        after: Id | None = None,
        as_of: Timestamp | None = None,
    ) -> ProductPage:
        """List products in order of making."""
        query = {"leaves": "true" if leaves else "false"}
        query |= {"kind": kind} if kind is not None else {}
        query |= {"after": after} if after is not None else {}
        query |= {"from": format_timestamp(start)} if start is not None else {}
        query |= {"thru": format_timestamp(thru)} if thru is not None else {}
        query |= _times(as_of=as_of)
        return await self._json("GET", "/product", ProductPage, query=query)

    async def product(
        self, product_id: Id, *, as_of: Timestamp | None = None
    ) -> ProductRecord:
        """Read a product, now or as of some moment."""
        path = f"/product/{product_id}"
        return await self._json("GET", path, ProductRecord, query=_times(as_of=as_of))

    async def product_tree(
        self, product_id: Id, *, as_of: Timestamp | None = None
    ) -> list[ProductNode]:
        """Read a product and all it was divided into, parents before parts."""
        path = f"/product/{product_id}/tree"
        query = _times(as_of=as_of)
        return await self._json("GET", path, list[ProductNode], query=query)

    async def partition(
        self,
        product_id: Id,
        children: Sequence[PartitionChild],
        *,
        key: str | None = None,
    ) -> list[ProductRecord]:
        """Divide a product into others, once; `key` as for `create_demand`."""
        path = f"/product/{product_id}"
        return await self._json(
            "POST", path, list[ProductRecord], body=children, headers=_once(key)
        )

    async def product_outcomes(
        self,
        product_id: Id,
        *,
        before: Timestamp | None = None,
        after: Timestamp | None = None,
        as_of: Timestamp | None = None,
    ) -> Page:
        """Read a page of a product's prices and volumes, newest first."""
        path = f"/product/{product_id}/outcomes"
        query = _times(before, after, as_of=as_of)
        return await self._json("GET", path, Page, query=query)

    # Batches.

    async def run_batch(self, *, key: str | None = None) -> Rfc3339:
        """Run a batch now; return its timestamp. `key` as for `create_demand`."""
        response = await self._send("POST", "/batch", headers=_once(key))
        return response.text

    async def rehearse(self) -> BatchRecord:
        """Return what a batch would be now; nothing is stored or told."""
        return await self._json(
            "POST", "/batch", BatchRecord, query={"dry_run": "true"}
        )

    async def batches(
        self,
        *,
        before: Timestamp | None = None,
        after: Timestamp | None = None,
        as_of: Timestamp | None = None,
    ) -> BatchPage:
        """Read a page of batches, newest first."""
        query = _times(before, after, as_of=as_of)
        return await self._json("GET", "/batch", BatchPage, query=query)

    async def batch(
        self, as_of: Rfc3339 = "latest", *, at: Timestamp | None = None
    ) -> BatchRecord:
        """Read one batch; with `at`, as far as it was run by that moment."""
        path = f"/batch/{as_of}"
        return await self._json("GET", path, BatchRecord, query=_times(as_of=at))

    async def batch_bids(
        self, as_of: Rfc3339 = "latest", *, at: Timestamp | None = None
    ) -> BidderBatch:
        """Read what the token's bidders got in a batch, and their surplus.

        `at` is as for `batch`.
        """
        path = f"/batch/{as_of}/bids"
        return await self._json("GET", path, BidderBatch, query=_times(as_of=at))

    async def ready(self) -> bool:
        """Say whether the service takes requests and runs its auctions."""
        try:
            await self._send("GET", "/health/ready")
        except ApiError as error:
            if error.status != 503:
                raise
            return False
        return True

    # Streams.

    @asynccontextmanager
    async def updates(
        self, *, last_id: int | None = None
    ) -> AsyncIterator[
        UpdateStream[BatchUpdate | BookUpdate | ReferenceUpdate | GapUpdate]
    ]:
        """Follow the market: batches, the rest of long books, and reference prices."""
        kinds: dict[str, type[Update]] = {
            "batch": BatchUpdate,
            "book": BookUpdate,
            "reference": ReferenceUpdate,
        }
        async with self._stream("/updates", kinds, last_id) as stream:
            yield stream

    @asynccontextmanager
    async def product_updates(
        self, product_id: Id, *, last_id: int | None = None
    ) -> AsyncIterator[UpdateStream[ProductUpdate | GapUpdate]]:
        """Follow one product's outcomes."""
        path = f"/product/{product_id}/updates"
        async with self._stream(path, {"outcome": ProductUpdate}, last_id) as stream:
            yield stream

    @asynccontextmanager
    async def bidder_updates(
        self, *, last_id: int | None = None
    ) -> AsyncIterator[UpdateStream[BidderUpdate | GapUpdate]]:
        """Follow the outcomes of the token's bidder."""
        kinds = {"outcome": BidderUpdate}
        async with self._stream("/bidder/updates", kinds, last_id) as stream:
            yield stream

    # Inside.

    @asynccontextmanager
    async def _stream(
        self, path: str, kinds: Mapping[str, type[Update]], last_id: int | None
    ) -> AsyncIterator[UpdateStream[Any]]:
        stream: UpdateStream[Any] = UpdateStream(
            self._http, self._base + path, self._headers, kinds, last_id
        )
        try:
            yield stream
        finally:
            await stream.aclose()

    async def _json(
        self,
        method: str,
        path: str,
        kind: type[_T],
        *,
        body: object = msgspec.UNSET,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> _T:
        response = await self._send(
            method, path, body=body, query=query, headers=headers
        )
        return msgspec.json.decode(response.content, type=kind)

    async def _send(
        self,
        method: str,
        path: str,
        *,
        body: object = msgspec.UNSET,
        content: bytes | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        sent = dict(self._headers)
        if body is not msgspec.UNSET:
            content = msgspec.json.encode(body)
            sent["Content-Type"] = "application/json"
        sent.update(headers or {})
        try:
            response = await self._http.request(
                method,
                self._base + path,
                content=content,
                params=dict(query or {}),
                headers=sent,
                timeout=self._timeout,
            )
        except httpx.TransportError as error:
            raise ConnectionFailed(f"{method} {path}: {error!r}") from error
        if response.is_error:
            raise api_error(response.status_code, response.content, response.headers)
        return response


def _times(
    before: Timestamp | None = None,
    after: Timestamp | None = None,
    *,
    as_of: Timestamp | None = None,
) -> dict[str, str]:
    times = {"before": before, "after": after, "as_of": as_of}
    return {k: format_timestamp(v) for k, v in times.items() if v is not None}


class _Answer(msgspec.Struct):
    line: int
    status: int
    record: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    code: str | msgspec.UnsetType = msgspec.UNSET
    detail: str | msgspec.UnsetType = msgspec.UNSET


_BULK = msgspec.json.Decoder(_Answer)


def _typed(line: BulkLine, answer: _Answer) -> BulkAnswer:
    # What was asked for tells which record came back.
    of_demand = isinstance(line, BulkCreateDemand | BulkSetCurve)
    kind: Any = DemandRecord if of_demand else PortfolioRecord
    raw = answer.record
    return BulkAnswer(
        line=answer.line,
        status=answer.status,
        record=raw if raw is msgspec.UNSET else msgspec.json.decode(raw, type=kind),
        code=answer.code,
        detail=answer.detail,
    )


def _once(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Idempotency-Key": key}


def _guard(version: Rfc3339 | None) -> dict[str, str]:
    return {} if version is None else {"If-Match": f'"{version}"'}
