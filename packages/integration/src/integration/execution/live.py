"""Trading on a live venue: what is the same whichever venue it is.

`VenueApi` is the port: one venue's requests and messages, without memory. What
stands here is what makes trading safe on top of it:

* an order is checked by its terms before it is sent, and noted before it leaves;
* a request without an answer is never repeated. The venue is *asked*, by our name of
  the order, until it knows the order, or until the request has grown so old that the
  venue would refuse it (its receive window): only then "unknown" means "never placed";
* whatever is learned goes through one ledger, so that answers and stream may come in
  any order.

The account stream is `execution.account_stream`.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol, final

import trio

from integration.errors import (
    Exchange,
    IntegrationError,
    LocalError,
    RemoteError,
    SocketError,
    UnknownOutcome,
)
from integration.execution.account_stream import LiveAccountStream, believe
from integration.execution.errors import (
    OrderAlreadyClosed,
    OrderNotPlaced,
    UnknownOrder,
)
from integration.execution.instrument_map import InstrumentMap
from integration.execution.ledger import AccountLedger
from integration.execution.models import (
    AccountEvent,
    AccountSnapshot,
    AssetBalance,
    ClientOrderId,
    Order,
    OrderId,
    OrderKey,
    OrderRequestCancel,
    OrderRequestOpen,
    OrderSnapshot,
    Position,
    Trade,
)
from integration.execution.rules import check_order
from integration.execution.states import OrderEvent, OrderState
from integration.models import ExchangeId, Instrument, InstrumentNameInternal
from integration.stream.exchange_stream import BatchStream
from integration.stream.reconnect import ReconnectPolicy
from netcore.models import Timestamp

__all__ = ["LiveClient", "VenueApi"]

_MARGIN = 1.0
"""Seconds beyond the receive window: the venue's own processing."""
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 1.0
"""Seconds between two questions about an unanswered order."""
_FAILED_QUESTIONS = 5
"""Unanswered questions in a row after which the outcome stays unknown; each has been
retried by the REST client already."""


class VenueApi(Protocol):
    """One venue's private endpoints, in our words and without memory."""

    @property
    def instruments(self) -> InstrumentMap:
        """What is traded."""
        ...

    @property
    def recv_window(self) -> float:
        """Seconds after which the venue refuses a request for its age."""
        ...

    @property
    def stream_policy(self) -> ReconnectPolicy:
        """How the private stream is brought back."""
        ...

    @property
    def keep_alive_interval(self) -> float | None:
        """Seconds between two calls of `keep_alive`; None where it needs none."""
        ...

    def now_ns(self) -> Timestamp:
        """Return the venue's time as far as it is known."""
        ...

    def check(self, request: OrderRequestOpen) -> None:
        """Refuse what the venue has no order for.

        Raises:
            InvalidOrder: The kind, the time in force, or the name of the order.
        """
        ...

    async def place(self, request: OrderRequestOpen) -> Order:
        """Send an order.

        Raises:
            UnknownOutcome: It may or may not have been taken.
            SocketError: It was not.
        """
        ...

    async def cancel(self, request: OrderRequestCancel) -> Order | None:
        """Cancel an order; None if the venue only says that it heard.

        Raises:
            UnknownOutcome: It may or may not have been cancelled.
            SocketError: It was not.
        """
        ...

    async def order(self, key: OrderKey, order_id: OrderId | None) -> Order:
        """Ask for an order, open or closed.

        Raises:
            UnknownOrder: There is none of this name.
            SocketError: There was no answer.
        """
        ...

    async def open_orders(
        self, instruments: Sequence[InstrumentNameInternal] | None
    ) -> list[Order]:
        """Ask for resting orders."""
        ...

    async def balances(self) -> list[AssetBalance]:
        """Ask for balances that are not zero."""
        ...

    async def positions(self) -> list[Position]:
        """Ask for positions; none where there are none."""
        ...

    async def trades(
        self, instrument: InstrumentNameInternal, since: Timestamp
    ) -> list[Trade]:
        """Ask for fills at or after a time, oldest first."""
        ...

    async def connect_stream(self) -> BatchStream[AccountEvent | IntegrationError]:
        """Open the private stream, logged in and subscribed.

        Raises:
            SocketError: It could not be opened.
        """
        ...

    async def keep_alive(self) -> None:
        """Prolong the private stream.

        Raises:
            SocketError: The venue did not; the stream has to be opened anew.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


@final
class LiveClient:
    """Trades through a `VenueApi`; an `ExecutionClient`.

    Make one with `integration.execution.binance` or `.bybit`.

    Args:
        api: The venue.
        ledger: What is known already; a new one if None.

    Attributes:
        ledger: Every order of ours and what the venue has told.
    """

    def __init__(self, api: VenueApi, *, ledger: AccountLedger | None = None) -> None:
        self._api = api
        self.ledger = AccountLedger(self.exchange) if ledger is None else ledger
        self._since = api.now_ns()

    def __repr__(self) -> str:
        return f"LiveClient({self.exchange}, {self.ledger!r})"

    @property
    def exchange(self) -> ExchangeId:
        """Which venue."""
        return self._api.instruments.exchange

    # Orders

    async def open_order(self, request: OrderRequestOpen) -> Order:
        """Place an order (see `ExecutionClient`)."""
        instrument = self._terms(request.key)
        self._api.check(request)
        check_order(request, instrument)
        cid = request.key.cid
        self.ledger.submit(request)
        try:
            order = await self._api.place(request)
        except UnknownOutcome as error:
            self._note(cid, OrderEvent.UNANSWERED, str(error))
            return await self._settle_placing(request.key, error)
        except SocketError as error:
            self._note(cid, OrderEvent.REJECTED, str(error))
            raise
        except trio.Cancelled:
            # The request may be on the wire: the next reconciliation asks for it.
            self._note(cid, OrderEvent.UNANSWERED, "cancelled while waiting")
            raise
        return self._learn(order)

    async def cancel_order(self, request: OrderRequestCancel) -> Order:
        """Cancel an order (see `ExecutionClient`)."""
        self._terms(request.key)
        cid = request.key.cid
        self._note(cid, OrderEvent.CANCEL_SENT)
        try:
            done = await self._api.cancel(request)
        except UnknownOutcome as error:
            self._note(cid, OrderEvent.UNANSWERED)
            return await self._settle_cancelling(request, error)
        except UnknownOrder as error:
            self._note(cid, OrderEvent.CANCEL_REFUSED)
            raise await self._why_unknown(request, error) from error
        except SocketError:
            self._note(cid, OrderEvent.CANCEL_REFUSED)
            raise
        except trio.Cancelled:
            self._note(cid, OrderEvent.UNANSWERED)
            raise
        if done is not None:
            return self._learn(done)
        return await self._settle_cancelling(request, None)

    async def settle_order(self, key: OrderKey) -> Order:
        """Find out what became of an order whose sender heard no answer.

        For orders that are `UNKNOWN`: after an `UnknownOutcome`, or because the task
        that sent it was cancelled.

        Raises:
            OrderNotPlaced: It provably was never taken.
            UnknownOutcome: Asking did not settle it; ask again later.
        """
        self._terms(key)
        return await self._settle_placing(
            key,
            UnknownOutcome(
                f"what became of order {key.cid!r} is not known",
                client_order_id=key.cid,
            ),
        )

    async def _settle_placing(self, key: OrderKey, cause: UnknownOutcome) -> Order:
        """Ask for an unanswered order until it is known, or cannot come any more."""
        final = trio.current_time() + self._api.recv_window + _MARGIN
        failed, wait = 0, _FIRST_WAIT
        while True:
            # Looked at before the question: an order may come while it travels.
            late = trio.current_time() >= final
            try:
                return self._learn(await self._api.order(key, None))
            except UnknownOrder:
                failed = 0
                if late:
                    self._note(key.cid, OrderEvent.REJECTED, "never placed")
                    raise OrderNotPlaced(key.cid) from cause
            except RemoteError as error:
                failed += 1
                if failed >= _FAILED_QUESTIONS:
                    raise cause from error
            await trio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)

    async def _settle_cancelling(
        self, request: OrderRequestCancel, cause: UnknownOutcome | None
    ) -> Order:
        """Ask until the order is closed, or the cancellation cannot come any more."""
        final = trio.current_time() + self._api.recv_window + _MARGIN
        failed, wait = 0, _FIRST_WAIT
        while True:
            late = trio.current_time() >= final
            try:
                order = self._learn(await self._api.order(request.key, request.id))
            except UnknownOrder:
                raise
            except RemoteError as error:
                failed += 1
                if failed >= _FAILED_QUESTIONS:
                    raise (error if cause is None else cause) from error
            else:
                failed = 0
                if order.state.closed or late:
                    return self._given_up_cancelling(order)
            await trio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)

    def _given_up_cancelling(self, order: Order) -> Order:
        if order.state.closed:
            return order
        # It rests, and no cancellation is on its way any more.
        self._note(order.key.cid, OrderEvent.CANCEL_REFUSED)
        return self.ledger.order(order.key.cid) or order

    async def _why_unknown(
        self, request: OrderRequestCancel, error: Exchange
    ) -> Exchange:
        """Tell an order that never was from one that is closed: venues do not."""
        try:
            order = self._learn(await self._api.order(request.key, request.id))
        except SocketError:
            return error
        if not order.state.closed:
            return error
        return OrderAlreadyClosed(
            f"order {order.key.cid!r} is {order.state} already",
            code=error.code,
            status=error.status,
        )

    # Questions

    async def account_snapshot(self) -> AccountSnapshot:
        """Fetch balances, open orders and positions."""
        balances = await self._api.balances()
        orders = [self._learn(o) for o in await self._api.open_orders(None)]
        positions = await self._api.positions()
        return AccountSnapshot.of(self.exchange, balances, orders, positions)

    def account_stream(self) -> LiveAccountStream:
        """Return a stream; it connects when it is first read."""
        return LiveAccountStream(self._api, self, since=self._since)

    async def fetch_open_orders(
        self, instruments: Sequence[InstrumentNameInternal] | None = None
    ) -> tuple[Order, ...]:
        """Fetch orders that rest."""
        self._check_names(instruments)
        orders = await self._api.open_orders(instruments)
        return tuple(self._learn(order) for order in orders)

    async def fetch_order(self, key: OrderKey, id: OrderId | None = None) -> Order:  # noqa: A002 - the records' name
        """Ask for one order, open or closed.

        Raises:
            UnknownOrder: The venue has none of this name.
        """
        self._terms(key)
        return self._learn(await self._api.order(key, id))

    async def fetch_balances(self) -> tuple[AssetBalance, ...]:
        """Fetch balances that are not zero."""
        return tuple(await self._api.balances())

    async def fetch_trades(
        self,
        since: Timestamp,
        instruments: Sequence[InstrumentNameInternal] | None = None,
    ) -> tuple[Trade, ...]:
        """Fetch fills at or after a time, oldest first, each once."""
        self._check_names(instruments)
        names = self._api.instruments.names if instruments is None else instruments
        found: dict[tuple[str, str], Trade] = {}
        for name in names:
            for trade in await self._api.trades(name, since):
                found[trade.instrument, trade.id] = trade
        return tuple(sorted(found.values(), key=lambda t: (t.time_exchange, t.id)))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._api.aclose()

    # Learning

    def told(self, event: AccountEvent) -> None:
        """Let the ledger hear what the private stream says."""
        believe(self.ledger, event)

    def open_orders_known(self) -> tuple[Order, ...]:
        """Return the orders that are not known to be closed."""
        return self.ledger.open_orders

    def whose(self, cid: ClientOrderId) -> OrderKey | None:
        """Return the key under which we sent an order, with its strategy."""
        known = self.ledger.order(cid)
        return None if known is None else known.key

    def _learn(self, order: Order) -> Order:
        """Add an answer to the ledger; return the order as it is known then."""
        event = AccountEvent(self.exchange, order.time_exchange, OrderSnapshot(order))
        believe(self.ledger, event)
        return self.ledger.order(order.key.cid) or order

    def _note(self, cid: ClientOrderId, event: OrderEvent, reason: str = "") -> None:
        known = self.ledger.order(cid)
        # The stream may have told more than the answer that did not come.
        if known is None or known.state.closed:
            return
        if event is OrderEvent.UNANSWERED and known.state not in _AWAITING:
            return
        self.ledger.note(cid, event, reason)

    def _terms(self, key: OrderKey) -> Instrument:
        if key.exchange is not self.exchange:
            raise LocalError(f"{key.exchange} is not traded here: {self.exchange} is")
        return self._api.instruments[key.instrument]

    def _check_names(self, names: Iterable[InstrumentNameInternal] | None) -> None:
        for name in names or ():
            self._api.instruments.symbol(name)


_AWAITING = frozenset({OrderState.OPEN_IN_FLIGHT, OrderState.CANCEL_IN_FLIGHT})
