"""What every way to trade offers: a live venue, or the mock behind the same door.

Prices and names are ours; the client translates. Its methods may be called from any
task; each account stream is consumed by one.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from integration.execution.models import (
    AccountEvent,
    AccountSnapshot,
    AssetBalance,
    Order,
    OrderRequestCancel,
    OrderRequestOpen,
    Trade,
)
from integration.models import ExchangeId, InstrumentNameInternal
from netcore.models import Timestamp

__all__ = ["AccountStream", "ExecutionClient"]


class AccountStream(Protocol):
    """What happens to the account, each thing once, in order.

    The first event is an `AccountSnapshot`. An outage shows as `StreamInterrupted`;
    what was missed is asked for and told before `StreamReconciled`. It ends only by
    `aclose` or an error.
    """

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> AccountEvent: ...

    async def next_batch(self) -> list[AccountEvent]:
        """Wait for events; return all that are there, in order, never none.

        Raises:
            IntegrationError: The stream cannot be kept up (keys refused, given up).
        """
        ...

    async def aclose(self) -> None:
        """Close the connection; may be called again."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class ExecutionClient(Protocol):
    """Trades on one account of one venue."""

    @property
    def exchange(self) -> ExchangeId:
        """Which venue."""
        ...

    async def account_snapshot(self) -> AccountSnapshot:
        """Fetch balances, open orders and positions.

        Raises:
            SocketError: The venue refused or did not answer.
        """
        ...

    def account_stream(self) -> AccountStream:
        """Return a stream; it connects when it is first read."""
        ...

    async def open_order(self, request: OrderRequestOpen) -> Order:
        """Place an order.

        Returns:
            The order as the venue has it: resting, or closed already.

        Raises:
            InvalidOrder: The instrument's terms do not admit it; nothing was sent.
            OrderRejected: The venue refused it (see its subclasses).
            OrderNotPlaced: No answer came, and the order provably was never taken.
            UnknownOutcome: No answer came, and asking did not settle it. The order
                is kept as `UNKNOWN`; never send it again under another name before
                it is settled.
            SocketError: It was not sent, or refused for another reason.
        """
        ...

    async def cancel_order(self, request: OrderRequestCancel) -> Order:
        """Cancel an order.

        Returns:
            The order as the venue has it afterwards; after an unanswered request that
            may be an order still open, or one that was filled first.

        Raises:
            UnknownOrder: The venue knows no such order.
            OrderAlreadyClosed: There is nothing to cancel.
            UnknownOutcome: No answer came, and asking did not settle it.
            SocketError: It was not sent, or refused for another reason.
        """
        ...

    async def fetch_open_orders(
        self, instruments: Sequence[InstrumentNameInternal] | None = None
    ) -> tuple[Order, ...]:
        """Fetch orders that rest; of all the client's instruments if None."""
        ...

    async def fetch_balances(self) -> tuple[AssetBalance, ...]:
        """Fetch balances that are not zero."""
        ...

    async def fetch_trades(
        self,
        since: Timestamp,
        instruments: Sequence[InstrumentNameInternal] | None = None,
    ) -> tuple[Trade, ...]:
        """Fetch fills at or after a time (ns), oldest first, each once."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...
