"""The ports: what the core needs from the outside, as Protocols.

A host application, or a test, brings its own; the adapters here are `flowtrade.store`,
`flowtrade.core.solver`, `flowtrade.auth`, `flowtrade.hub` and `flowtrade.ids`. The
clock is `netcore.clock.Clock`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol, TypeAlias

import msgspec

from flowtrade.core.mirror import AuctionInput
from flowtrade.core.operations import Applied, Operation
from flowtrade.core.state import (
    Bids,
    DemandView,
    Kind,
    Part,
    PortfolioView,
    Snapshot,
    StoredBatch,
    Version,
)
from flowtrade.errors import RequestError
from flowtrade.models.batch import BatchRecord
from flowtrade.models.clearing import (
    Certificate,
    ProductOutcome,
    RatePrice,
    SetAside,
    SolverReport,
)
from flowtrade.models.ids import Id
from flowtrade.models.update import Update
from netcore.clock import Clock
from netcore.models import Timestamp

__all__ = [
    "Authorizer",
    "Clock",
    "Connection",
    "Grant",
    "IdFactory",
    "Listener",
    "Lock",
    "Publisher",
    "PushAll",
    "Solution",
    "Solver",
    "Store",
    "Topic",
    "Window",
]

Listener: TypeAlias = Callable[[Applied], None]


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a history to read, newest first.

    Attributes:
        before: Exclusive upper bound of `valid_from`.
        after: Inclusive lower bound of `valid_from`.
        limit: At most so many versions.
    """

    limit: int
    before: Timestamp | None = None
    after: Timestamp | None = None


class Store(Protocol):
    """Where operations become durable, in one order, with one clock.

    A write returns when it is durable. Cancelling the caller does not undo it: an
    operation that was taken happens.
    """

    @property
    def healthy(self) -> bool:
        """Whether operations are taken and the last commit succeeded."""
        ...

    async def execute(self, operation: Operation) -> Applied:
        """Carry out an operation in a transaction of its own.

        Raises:
            RequestError: A rule forbids it; nothing changed.
            StoreBusy: Too many operations wait; nothing was taken.
            StoreFailed: The database refused; nothing changed.
            StoreClosed: The store takes no more operations.
        """
        ...

    async def execute_many(
        self, operations: Sequence[Operation]
    ) -> list[Applied | RequestError]:
        """Carry out operations in this order, each in a transaction of its own.

        Returns:
            What became of each; one that a rule forbids does not stop the others.

        Raises:
            StoreBusy: There is no room for all of them; none was taken.
            StoreFailed, StoreClosed: As for `execute`; some may have happened.
        """
        ...

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with every applied operation, in order, once durable.

        It runs in the event loop before the operation's caller is woken.
        """
        ...

    async def snapshot(self, at: Timestamp | None = None) -> Snapshot:
        """Return the state as of a moment, or the present one."""
        ...

    async def demand_at(self, key: Id, at: Timestamp) -> DemandView | None:
        """Return a demand as it was at a moment, or None if there was none."""
        ...

    async def portfolio_at(self, key: Id, at: Timestamp) -> PortfolioView | None:
        """Return a portfolio as it was at a moment, or None if there was none."""
        ...

    async def bids_at(self, owner: Id, at: Timestamp) -> Bids:
        """Return all of a bidder's demands and portfolios as they were at a moment.

        Of portfolios without their trade caps.
        """
        ...

    async def history(self, part: Part, key: Id, window: Window) -> list[Version]:
        """Return a timeline's versions, newest first, without inactive periods."""
        ...

    async def outcomes(self, kind: Kind, key: Id, window: Window) -> list[Version]:
        """Return an entity's outcomes, newest first.

        An outcome is valid from its batch until the next cleared batch.
        """
        ...

    async def batches(self, window: Window) -> list[BatchRecord]:
        """Return batches, newest first."""
        ...

    async def batch(self, as_of: Timestamp) -> StoredBatch | None:
        """Return the batch of exactly this moment, or None."""
        ...


class Lock(Protocol):
    """The right to lead, which one process has at a time."""

    @property
    def held(self) -> bool:
        """Whether we had it when we last looked."""
        ...

    def acquire(self) -> bool:
        """Try to get it, or make sure that we still have it; say whether we do."""
        ...

    def close(self) -> None:
        """Let it go."""
        ...


class Solution(msgspec.Struct, frozen=True, kw_only=True):
    """A certified answer.

    Attributes:
        portfolios: Price and rate by portfolio.
        products: Price and one-sided volume by product.
        ranges: Which other prices the same optimum supports, by product; a product
            that is not here was not looked at.
        gains: Gains from trade.
        certificate: The residuals of the independent check.
        report: How it was solved.
        set_aside: The portfolios that it was cleared without; their rates are zero.
    """

    portfolios: dict[Id, RatePrice]
    products: dict[Id, RatePrice]
    gains: float
    certificate: Certificate
    report: SolverReport
    ranges: dict[Id, ProductOutcome] = msgspec.field(default_factory=dict)
    set_aside: list[SetAside] = msgspec.field(default_factory=list)


class Solver(Protocol):
    """Clears one auction; called in a worker thread."""

    def solve(
        self, auction: AuctionInput, *, targets: Mapping[Id, float], time_limit: float
    ) -> Solution:
        """Return prices and rates that have been certified.

        Args:
            auction: What to clear.
            targets: Prices that ambiguous prices are drawn to.
            time_limit: Seconds after which to give up.

        Raises:
            BatchFailed: The market itself cannot be cleared.
            SolverFailed: No certified answer in time.
        """
        ...


class Grant(Protocol):
    """What the bearer of a token may do."""

    @property
    def expires(self) -> Timestamp | None:
        """When the grant ends, or None."""
        ...

    def can_create_bid(self) -> Id | None:
        """Return the bidder that new bids will belong to, or None."""
        ...

    def can_query_bid(self) -> tuple[Id, ...]:
        """Return the bidders whose bids may be listed."""
        ...

    def can_read_bid(self, bidder: Id) -> bool:
        """Say whether this bidder's bids may be read."""
        ...

    def can_update_bid(self, bidder: Id) -> bool:
        """Say whether this bidder's bids may be changed."""
        ...

    def can_view_products(self) -> bool:
        """Say whether products may be read."""
        ...

    def can_manage_products(self) -> bool:
        """Say whether products may be made and divided."""
        ...

    def can_run_batch(self) -> bool:
        """Say whether a batch may be run."""
        ...


class Authorizer(Protocol):
    """Turns a bearer token into rights."""

    async def authorize(self, token: str) -> Grant:
        """Return the rights of a token.

        Raises:
            Unauthorized: The token is not valid.
        """
        ...


class IdFactory(Protocol):
    """Makes ids; `app_data` is given as JSON text because some ids derive from it."""

    def demand_id(self, app_data: bytes, now: Timestamp) -> Id:
        """Return the id of a new demand."""
        ...

    def portfolio_id(self, app_data: bytes, now: Timestamp) -> Id:
        """Return the id of a new portfolio."""
        ...

    def product_id(self, app_data: bytes, now: Timestamp) -> Id:
        """Return the id of a new product.

        Raises:
            InvalidRequest: The application does not accept this app_data.
        """
        ...


Topic: TypeAlias = tuple[str, Id]
"""`("market", "")`, `("product", id)` or `("bidder", id)`."""


class Publisher(Protocol):
    """Hands updates to whoever listens; never blocks."""

    def publish(self, topic: Topic, update: Update) -> None:
        """Publish one update on one topic."""
        ...


class PushAll(Protocol):
    """Pushes one piece to many connections, framed once."""

    def __call__(
        self, connections: "Collection[Connection]", data: bytes, *, most: int
    ) -> "list[Connection]":
        """Do as `Connection.push` does, for each; return those that refused."""
        ...


CONNECTION: Final = "flowtrade.connection"
"""The key in an ASGI scope's `extensions` under which a server may put a
`Connection`."""


class Connection(Protocol):
    """What a server that knows us lets an application do to its connection."""

    def abort(self) -> None:
        """Cut the connection; whatever waits for the peer fails at once."""
        ...

    def push(self, data: bytes, *, most: int) -> bool:
        """Send a piece of the response's body at once, from any task; never waits.

        What the socket does not take is kept and sent by `pump`, in order.

        Args:
            data: The piece, not empty.
            most: How many pieces may be kept.

        Returns:
            False if the piece was not taken because too much is kept already.
        """
        ...

    @property
    def push_all(self) -> "PushAll":
        """How a piece is pushed to many connections of this kind; the same for all."""
        ...

    async def pump(self) -> None:
        """Send what `push` has kept, until cancelled; run it beside the response."""
        ...

    async def drain(self) -> None:
        """Send what `push` has kept, and return."""
        ...

    def on_stop(self, callback: Callable[[], None]) -> AbstractContextManager[None]:
        """Call `callback` if the server stops inside the block, or at once if it has.

        An endless response must end then, or it will be cut off.
        """
        ...
