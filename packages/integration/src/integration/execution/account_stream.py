"""One account's private stream, kept whole over outages.

Theory of operation. A private stream has no sequence numbers: what is sent while we
are away is gone. So after every connection, *before* anything is read from it, the
venue is asked for what the stream could have said: balances, positions, open orders,
fills since the last one known (with an overlap) of every instrument that may have had
any, and each order of ours that should be open but is not listed. Answers and stream
then pass through one ledger, which drops whatever was told before; what remains is
delivered once, in order.

A message that cannot be read may have been a fill: it, too, leads to asking.

No task runs in the background. What has to be done in time (`keep_alive`) is done by
whoever reads; the connection's own heartbeat is netcore's.
"""

from collections import deque
from decimal import Decimal
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Self, final

import msgspec
import trio

from integration.errors import (
    IntegrationError,
    RemoteError,
    Sink,
    SocketError,
    Unauthorised,
)
from integration.execution.errors import IllegalTransition, UnknownOrder
from integration.execution.ledger import AccountLedger
from integration.execution.models import (
    AccountEvent,
    AccountEventKind,
    AccountSnapshot,
    AssetBalance,
    Balance,
    BalanceSnapshot,
    Order,
    OrderSnapshot,
    Position,
    PositionSnapshot,
    StreamInterrupted,
    StreamReconciled,
    Trade,
    TradeEvent,
)
from integration.execution.states import OrderState
from integration.models import AssetNameInternal, InstrumentNameInternal
from integration.stream.reconnect import (
    Backoff,
    Connected,
    Reconnecting,
    ReconnectingSocket,
    SocketUpdate,
)
from netcore.models import Timestamp

if TYPE_CHECKING:
    from integration.execution.live import LiveClient, VenueApi

__all__ = ["LiveAccountStream", "believe"]

_OVERLAP = 60 * 10**9
"""Fills are asked for from this long before the latest known: venues publish them a
little out of order, and clocks differ. Each counts once all the same."""


_SLOW_TO_LIST = 10 * 10**9
"""How long after its last change an order may be missing from what a venue lists."""

_ZERO = Decimal(0)
_NOTHING = Balance(_ZERO, _ZERO)


class _Due(Enum):
    """Whether the venue has to be asked before reading on."""

    NOTHING = "nothing"
    FIRST_SNAPSHOT = "first_snapshot"
    RECONCILIATION = "reconciliation"


class _Answers(msgspec.Struct):
    """What the venue said, gathered before any of it is told."""

    asked: Timestamp
    balances: list[AssetBalance]
    positions: list[Position]
    orders: list[Order]
    closed: list[Order]
    trades: list[Trade]


@final
class LiveAccountStream:
    """What happens to the account, each thing once; see `AccountStream`.

    Args:
        api: The venue.
        client: Who sends the orders; hears everything that is told here.
        since: From when on fills are to be told, ns by the venue's clock.
    """

    def __init__(
        self, api: "VenueApi", client: "LiveClient", *, since: Timestamp
    ) -> None:
        self._api = api
        self._client = client
        self._since = since
        self._ledger = AccountLedger(client.exchange)
        self._socket = ReconnectingSocket(
            api.connect_stream, policy=api.stream_policy, host=client.exchange.value
        )
        self._backoff = Backoff(0.5, maximum=10.0)
        self._ready: deque[AccountEvent] = deque()
        self._held: deque[AccountEvent] = deque()
        self._due = _Due.NOTHING
        self._begun = False
        self._failures = 0
        self._keep_alive_at = float("inf")
        self._closed = False

    # Consuming

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AccountEvent:
        await self._fill()
        return self._ready.popleft()

    async def next_batch(self) -> list[AccountEvent]:
        """Wait for events; return all that are there.

        Raises:
            GaveUp: The connection could not be brought back within the policy.
            Unauthorised: The venue refuses the key.
            Sink: The stream was closed.
        """
        await self._fill()
        batch = list(self._ready)
        self._ready.clear()
        return batch

    async def aclose(self) -> None:
        """Close the connection; may be called again."""
        self._closed = True
        await self._socket.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _fill(self) -> None:
        if self._ready:
            await trio.lowlevel.checkpoint()
        while not self._ready:
            if self._closed:
                raise Sink("the account stream is closed")
            if self._due is not _Due.NOTHING:
                await self._ask()
            elif self._held:
                self._absorb(self._held.popleft())
            else:
                await self._read()

    # The connection

    async def _read(self) -> None:
        with trio.move_on_at(self._keep_alive_at) as scope:
            batch = await self._socket.next_batch()
            for item in batch:
                self._take(item)
        if scope.cancelled_caught:
            await self._prolong()

    def _take(self, item: SocketUpdate[AccountEvent | IntegrationError]) -> None:
        match item:
            case Connected():
                first = _Due.RECONCILIATION if self._begun else _Due.FIRST_SNAPSHOT
                self._due = first
                self._rearm()
            case Reconnecting(reason=reason):
                self._keep_alive_at = float("inf")
                if self._begun:
                    self._tell(StreamInterrupted(str(reason)))
            case AccountEvent():
                self._held.append(item)
            case IntegrationError() if not item.terminal:
                # It may have been a fill: ask.
                self._due = _Due.RECONCILIATION
            case IntegrationError():
                pass  # the socket reconnects, and says so

    async def _prolong(self) -> None:
        try:
            await self._api.keep_alive()
        except SocketError:
            # What cannot be prolonged is opened anew.
            self._keep_alive_at = float("inf")
            if self._socket.socket is not None:
                await self._socket.socket.aclose()
            return
        self._rearm()

    def _rearm(self) -> None:
        interval = self._api.keep_alive_interval
        self._keep_alive_at = (
            float("inf") if interval is None else trio.current_time() + interval
        )

    # Asking

    async def _ask(self) -> None:
        """Ask for everything; nothing is told unless all of it was answered."""
        try:
            answers = await self._gather()
        except Unauthorised:
            raise
        except RemoteError as error:
            if not error.recoverable:
                raise
            self._failures += 1
            await trio.sleep(self._backoff.delay(self._failures))
            return
        self._failures = 0
        due, self._due = self._due, _Due.NOTHING
        if due is _Due.FIRST_SNAPSHOT:
            self._tell_first(answers)
        else:
            self._tell_missed(answers)
        self._begun = True

    async def _gather(self) -> _Answers:
        api = self._api
        asked = api.now_ns()
        # Fills last: whatever orders and balances show by then has its fills listed.
        balances = await api.balances()
        positions = await api.positions()
        orders = await api.open_orders(None)
        closed = await self._gather_missing(orders)
        trades = []
        for name in self._watched(balances, positions, orders):
            trades += await api.trades(name, self._trades_since(name))
        return _Answers(asked, balances, positions, orders, closed, trades)

    async def _gather_missing(self, listed: list[Order]) -> list[Order]:
        """Ask for each order that should be open and is not listed."""
        ours = (*self._client.open_orders_known(), *self._ledger.open_orders)
        named = {order.key.cid for order in listed}
        found: dict[str, Order] = {}
        for order in ours:
            cid = order.key.cid
            if (
                cid in named
                or cid in found
                or order.key.instrument not in (self._api.instruments)
            ):
                continue
            try:
                found[cid] = await self._api.order(order.key, order.id)
            except UnknownOrder:
                gone = self._gone(order)
                if gone is not None:
                    found[cid] = gone
        return list(found.values())

    def _gone(self, order: Order) -> Order | None:
        """Say what an order is that the venue neither lists nor knows.

        On its way, or never placed: whoever sent it finds out which. One that rested
        has ended, unless it is so new that the venue may only be slow to list it.
        """
        now = self._api.now_ns()
        if not order.state.resting or now - order.time_exchange < _SLOW_TO_LIST:
            return None
        return msgspec.structs.replace(
            order,
            state=OrderState.EXPIRED,
            time_exchange=now,
            reason="the venue does not know it any more",
        )

    def _watched(
        self,
        balances: list[AssetBalance],
        positions: list[Position],
        orders: list[Order],
    ) -> list[InstrumentNameInternal]:
        """Return the instruments whose fills are asked for.

        Those that orders or fills of ours were about, and those that somebody else's
        fill may explain: both balances of the pair have moved, or the position has.
        To ask for every instrument of a venue would take minutes of its weight.
        """
        names = {order.key.instrument for order in orders}
        names.update(self._ledger.instruments(), self._client.ledger.instruments())
        names.update(self._changed_positions(positions))
        moved = self._moved(balances)
        for instrument in self._api.instruments if moved else ():
            pair = instrument.underlying
            if pair.base in moved and pair.quote in moved:
                names.add(instrument.name_internal)
        return [name for name in self._api.instruments.names if name in names]

    def _moved(self, told: list[AssetBalance]) -> set[AssetNameInternal]:
        """Return the assets whose balance is not what we knew; none at first."""
        known = {b.asset: b.balance for b in self._ledger.balances.values()}
        if not known:
            return set()
        now = {b.asset: b.balance for b in told}
        return {
            asset
            for asset in known.keys() | now.keys()
            if now.get(asset, _NOTHING).total != known.get(asset, _NOTHING).total
        }

    def _changed_positions(self, told: list[Position]) -> set[InstrumentNameInternal]:
        known = {name: p.quantity for name, p in self._ledger.positions.items()}
        now = {p.instrument: p.quantity for p in told}
        return {
            name
            for name in known.keys() | now.keys()
            if now.get(name, _ZERO) != known.get(name, _ZERO)
        }

    def _trades_since(self, name: InstrumentNameInternal) -> Timestamp:
        latest = self._ledger.last_trade(name)
        if latest is None:
            return self._since
        return max(self._since, latest - _OVERLAP)

    # Telling

    def _tell_first(self, answers: _Answers) -> None:
        snapshot = AccountSnapshot.of(
            self._client.exchange,
            _stamped(answers.balances, answers.asked),
            [self._ours(order) for order in answers.orders],
            answers.positions,
        )
        self._deliver(snapshot, answers.asked)
        for order in answers.closed:
            self._deliver(OrderSnapshot(order), order.time_exchange)
        for trade in answers.trades:
            self._deliver(TradeEvent(trade), trade.time_exchange)

    def _tell_missed(self, answers: _Answers) -> None:
        orders = trades = 0
        for order in (*answers.orders, *answers.closed):
            orders += self._deliver(OrderSnapshot(order), order.time_exchange)
        for trade in answers.trades:
            trades += self._deliver(TradeEvent(trade), trade.time_exchange)
        balances = _stamped(answers.balances, answers.asked)
        gone = self._emptied(balances, answers.asked)
        self._deliver(BalanceSnapshot((*balances, *gone)), answers.asked)
        for position in (*answers.positions, *self._closed_positions(answers)):
            self._deliver(PositionSnapshot(position), answers.asked)
        self._tell(StreamReconciled(trades, orders))

    def _emptied(
        self, told: tuple[AssetBalance, ...], asked: Timestamp
    ) -> list[AssetBalance]:
        """Return zeros for what we thought there was: zero balances are not listed."""
        named = {balance.asset for balance in told}
        return [
            msgspec.structs.replace(known, balance=_NOTHING, time_exchange=asked)
            for asset, known in self._ledger.balances.items()
            if asset not in named
        ]

    def _closed_positions(self, answers: _Answers) -> list[Position]:
        """Return what we held and is not listed any more: positions of nothing."""
        listed = {position.instrument for position in answers.positions}
        return [
            Position(instrument=name, quantity=_ZERO, time_exchange=answers.asked)
            for name, known in self._ledger.positions.items()
            if name not in listed and known.quantity
        ]

    def _absorb(self, event: AccountEvent) -> None:
        self._deliver(event.kind, event.time_exchange, event.time_received)

    def _deliver(
        self, kind: AccountEventKind, time: Timestamp, received: Timestamp = 0
    ) -> bool:
        """Tell one thing unless it was told before; return whether it was news."""
        if isinstance(kind, OrderSnapshot):
            kind = OrderSnapshot(self._ours(kind.order))
        elif isinstance(kind, TradeEvent):
            kind = TradeEvent(self._our_trade(kind.trade))
        event = AccountEvent(self._client.exchange, time, kind, received)
        new = believe(self._ledger, event)
        self._client.told(event)
        if new is None:
            return False
        self._ready.append(new)
        return True

    def _tell(self, kind: StreamInterrupted | StreamReconciled) -> None:
        now = self._api.now_ns()
        self._ready.append(AccountEvent(self._client.exchange, now, kind, now))

    def _ours(self, order: Order) -> Order:
        """Give an order the strategy it was sent with."""
        key = self._client.whose(order.key.cid)
        return order if key is None else msgspec.structs.replace(order, key=key)

    def _our_trade(self, trade: Trade) -> Trade:
        key = None if trade.cid is None else self._client.whose(trade.cid)
        if key is None:
            return trade
        return msgspec.structs.replace(trade, strategy=key.strategy)


def believe(ledger: AccountLedger, event: AccountEvent) -> AccountEvent | None:
    """Apply what a venue says, also where it contradicts what we hold.

    The venue is right about its own orders: a contradiction (an order that we had
    reason to think was never placed, say) is told as news, not hidden.
    """
    try:
        return ledger.apply(event)
    except IllegalTransition:
        if not isinstance(event.kind, OrderSnapshot):
            raise
        ledger.adopt(event.kind.order)
        return event


def _stamped(
    balances: list[AssetBalance], asked: Timestamp
) -> tuple[AssetBalance, ...]:
    """Date balances from before the question: what the stream says later wins."""
    return tuple(msgspec.structs.replace(b, time_exchange=asked) for b in balances)
