"""Matching of orders against a displayed market, and against each other.

Theory of operation. An incoming order is first *planned*: which levels and which
resting orders it would meet, best price first. The plan decides everything that can
be refused (post-only that would take, fill-or-kill that would not be filled, a market
order that cannot be paid); then it is carried out, whole. What is left rests,
expires, or was never taken.

A resting order is filled as maker, at its own price,

* by a trade of the market *through* its price: such a taker would have met us first;
* by a trade *at* its price, once the quantity displayed there before us is used up;
* by the book: when the other side displays liquidity at or through its price.

Approximations, on purpose and all of them. The place in the queue is the quantity
displayed at our price when we arrive (`Queue.BACK`) or none (`Queue.FRONT`); trades
at the price shorten it; a level that shrinks below it shortens it to what is left,
which takes cancellations to have come from behind us. Each trade's amount is given
out once, price before time, among resting orders. The market does not react to us,
and what we take comes back when the feed states the level anew (`displayed`).
Two orders of one user never trade: the later one expires.

Pure: times are told, nothing is awaited, the same inputs give the same outputs.
"""

import itertools
from bisect import insort
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import final

from integration.errors import Unsupported
from integration.execution.accounts import Accounts
from integration.execution.displayed import Displayed
from integration.execution.errors import (
    DuplicateOrder,
    FilterFailed,
    InstrumentInvalid,
    InvalidOrder,
    OrderAlreadyClosed,
    OrderRejected,
    PostOnlyWouldCross,
    UnknownOrder,
)
from integration.execution.exact import EXACT
from integration.execution.models import (
    AccountEvent,
    AccountEventKind,
    AssetBalance,
    BalanceChange,
    BalanceSnapshot,
    ClientOrderId,
    Liquidity,
    Order,
    OrderId,
    OrderKind,
    OrderRequestCancel,
    OrderRequestOpen,
    OrderSnapshot,
    Position,
    TimeInForce,
    Trade,
    TradeEvent,
    TradeId,
)
from integration.execution.perpetuals import Funding, Margin, PerpetualSettlement
from integration.execution.rules import check_order
from integration.execution.settlement import (
    FeeAsset,
    Fees,
    Meeting,
    Plan,
    Settlement,
    SpotSettlement,
)
from integration.execution.states import OrderState
from integration.execution.working import Working
from integration.models import (
    AssetNameInternal,
    ExchangeId,
    FundingRate,
    Instrument,
    InstrumentNameInternal,
    MarketDataInstrument,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    PerpetualContract,
    PublicTrade,
    Side,
    SpotContract,
    TradeFlag,
)
from netcore.models import Timestamp

__all__ = ["FeeAsset", "Fees", "Margin", "MatchingEngine", "Queue"]

_ZERO = Decimal(0)
_REMEMBERED = 100_000
"""Closed orders, and fills per user, that can still be asked for."""
_NOTHING_TO_REDUCE = "there is nothing left to reduce"
_NOT_ON_BOOK = TradeFlag.BACKFILL | TradeFlag.BLOCK
"""Trades of the past, and those that no resting order could have had."""


class Queue(StrEnum):
    """Where an order joins those displayed at its price."""

    BACK = "back"
    FRONT = "front"


class _Venue:
    """One instrument: its terms, displayed market, resting orders, settlement."""

    __slots__ = ("displayed", "instrument", "resting", "settlement")

    def __init__(self, instrument: Instrument, settlement: Settlement) -> None:
        self.instrument = instrument
        self.settlement = settlement
        self.displayed = Displayed(instrument.name_internal)
        self.resting: dict[Side, list[Working]] = {Side.BUY: [], Side.SELL: []}


@final
class MatchingEngine:
    """An exchange for spot instruments and linear perpetuals, without a wire.

    Args:
        exchange: Which venue it stands for.
        instruments: What is traded; each with its terms.
        deposits: What users have at first, by user and asset.
        fees: What fills cost.
        queue: Where resting orders join.
        margin: What positions in perpetuals are backed by.

    Raises:
        Unsupported: An instrument is neither spot nor a linear perpetual.
        ValueError: An instrument is not of this exchange.
    """

    def __init__(
        self,
        exchange: ExchangeId,
        instruments: Iterable[Instrument],
        deposits: Mapping[str, Mapping[AssetNameInternal, Decimal]],
        *,
        fees: Fees | None = None,
        queue: Queue = Queue.BACK,
        margin: Margin | None = None,
    ) -> None:
        self.exchange = exchange
        self.accounts = Accounts(deposits)
        self._fees = Fees() if fees is None else fees
        self._margin = Margin() if margin is None else margin
        self._queue = queue
        self._venues: dict[InstrumentNameInternal, _Venue] = {}
        self._by_market: dict[MarketDataInstrument, _Venue] = {}
        for instrument in instruments:
            _admit(instrument, exchange)
            venue = _Venue(instrument, self._settlement(instrument))
            self._venues[instrument.name_internal] = venue
            self._by_market[instrument.market_data()] = venue
        self._orders: dict[tuple[str, ClientOrderId], Working] = {}
        self._ids: dict[OrderId, Working] = {}
        self._trades: defaultdict[str, deque[Trade]] = defaultdict(
            lambda: deque(maxlen=_REMEMBERED)
        )
        self._closed: deque[Working] = deque()
        self._order_numbers = itertools.count(1)
        self._trade_numbers = itertools.count(1)
        self._events: list[tuple[str, AccountEvent]] = []
        self._now: Timestamp = 0

    def _settlement(self, instrument: Instrument) -> Settlement:
        if isinstance(instrument.kind, PerpetualContract):
            return PerpetualSettlement(
                self.accounts, instrument, fees=self._fees, margin=self._margin
            )
        assets = instrument.underlying
        return SpotSettlement(self.accounts, assets.base, assets.quote, fees=self._fees)

    # Reading

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """What is traded."""
        return tuple(venue.instrument for venue in self._venues.values())

    def instrument(self, name: InstrumentNameInternal) -> Instrument:
        """Return an instrument's terms.

        Raises:
            InstrumentInvalid: It is not traded here.
        """
        return self._venue(name).instrument

    def displayed(self, instrument: InstrumentNameInternal) -> Displayed:
        """Return an instrument's displayed market.

        Raises:
            InstrumentInvalid: It is not traded here.
        """
        return self._venue(instrument).displayed

    def order(
        self,
        user: str,
        *,
        cid: ClientOrderId | None = None,
        id: OrderId | None = None,  # noqa: A002 - the records' name
    ) -> Order:
        """Return a user's order, open or closed; the venue's name counts if given.

        Raises:
            UnknownOrder: The user has none of that name.
        """
        return self._working(user, cid, id).order

    def open_orders(self, user: str) -> tuple[Order, ...]:
        """Return a user's resting orders, oldest first."""
        mine = (w for w in self._orders.values() if w.user == user)
        return tuple(w.order for w in mine if w.order.state.resting)

    def trades(self, user: str, since: Timestamp = 0) -> tuple[Trade, ...]:
        """Return a user's fills at or after a time, oldest first."""
        return tuple(t for t in self._trades[user] if t.time_exchange >= since)

    def balances(self, user: str) -> tuple[AssetBalance, ...]:
        """Return a user's balances."""
        return tuple(
            AssetBalance(asset, balance, self._now)
            for asset, balance in self.accounts.balances(user).items()
        )

    def positions(self, user: str) -> tuple[Position, ...]:
        """Return a user's open positions."""
        found = (
            venue.settlement.position(user, self._now)
            for venue in self._venues.values()
            if isinstance(venue.settlement, PerpetualSettlement)
        )
        return tuple(position for position in found if position.quantity)

    def perpetual(self, name: InstrumentNameInternal) -> PerpetualSettlement:
        """Return the positions of a perpetual.

        Raises:
            InstrumentInvalid: It is not traded here, or no perpetual.
        """
        settlement = self._venue(name).settlement
        if not isinstance(settlement, PerpetualSettlement):
            raise InstrumentInvalid(f"{name} is no perpetual: it has no positions")
        return settlement

    def drain(self) -> list[tuple[str, AccountEvent]]:
        """Return what happened to whom since the last call, in order."""
        events, self._events = self._events, []
        return events

    # Users

    def deposit(
        self, user: str, asset: AssetNameInternal, amount: Decimal, now: Timestamp
    ) -> None:
        """Bring an amount from outside.

        Raises:
            ValueError: It is negative.
        """
        self._now = now
        self.accounts.deposit(user, asset, amount)
        self._emit(user, BalanceChange(asset, amount))
        self._tell_balances(user, (asset,))

    def place(self, user: str, request: OrderRequestOpen, now: Timestamp) -> Order:
        """Take an order.

        Returns:
            The order after everything it could do at once.

        Raises:
            OrderRejected: It was not taken; nothing changed.
        """
        self._now = now
        venue = self._venue(request.key.instrument)
        self._check(user, request, venue)
        order_id = OrderId(str(next(self._order_numbers)))
        working = Working(user, request, venue.instrument, order_id, now)
        plan = self._plan(venue, working)
        venue.settlement.admit(working)
        _refuse(working, plan)
        venue.settlement.reserve(working, plan)
        self._orders[user, request.key.cid] = self._ids[order_id] = working
        self._set(working, OrderState.OPEN)
        if request.time_in_force is TimeInForce.FOK and (
            plan.quantity < request.quantity
        ):
            self._end(working, OrderState.EXPIRED, "not fillable at once and whole")
            return working.order
        for meeting in plan.meetings:
            self._meet(venue, working, meeting)
        self._settle_rest(venue, working, plan)
        return working.order

    def cancel(self, user: str, request: OrderRequestCancel, now: Timestamp) -> Order:
        """Cancel an order.

        Raises:
            UnknownOrder: The user has none of that name.
            OrderAlreadyClosed: Nothing is left of it.
        """
        self._now = now
        working = self._working(user, request.key.cid, request.id)
        if working.order.state.closed:
            raise OrderAlreadyClosed(
                f"order {working.order.key.cid!r} is {working.order.state} already"
            )
        self._end(working, OrderState.CANCELLED, "")
        return working.order

    # The market

    def on_book(
        self,
        instrument: MarketDataInstrument,
        kind: OrderBookSnapshot | OrderBookUpdate | OrderBookL1,
        now: Timestamp,
    ) -> None:
        """Take what the feed says of a book; fill what it crosses.

        Instruments that are not traded here are ignored.
        """
        venue = self._by_market.get(instrument)
        if venue is None:
            return
        self._now = now
        self._fund(venue)
        venue.displayed.apply(kind)
        for side in Side:
            self._shorten_queues(venue, side)
            self._cross(venue, side)

    def on_trade(
        self, instrument: MarketDataInstrument, trade: PublicTrade, now: Timestamp
    ) -> None:
        """Fill what a trade of the market would have met; old trades do nothing."""
        venue = self._by_market.get(instrument)
        if venue is None or venue.displayed.halted or trade.flags & _NOT_ON_BOOK:
            return
        self._now = now
        self._fund(venue)
        side, left, passed = trade.side.opposite(), trade.amount, _ZERO
        for working in tuple(venue.resting[side]):
            if not left or _better(side, trade.price, working.price):
                break
            if working.order.state.closed:
                continue  # there was nothing left for it to reduce
            if working.price == trade.price:
                before = max(_ZERO, EXACT.subtract(working.ahead, passed))
                step = min(left, before)
                passed, left = EXACT.add(passed, step), EXACT.subtract(left, step)
            quantity = min(left, venue.settlement.limit(working))
            if quantity:
                left = EXACT.subtract(left, quantity)
                self._fill_maker(venue, working, quantity)
        if passed:
            _move_up(venue.resting[side], trade.price, passed)

    def on_mark(
        self, instrument: MarketDataInstrument, price: Decimal, now: Timestamp
    ) -> None:
        """Value positions anew: pay funding that is due, take over what fails.

        Raises:
            ValueError: The price is not positive and finite.
        """
        venue = self._by_market.get(instrument)
        if venue is None or not isinstance(venue.settlement, PerpetualSettlement):
            return
        if not price.is_finite() or price <= 0:
            raise ValueError(f"a mark price is positive and finite, was {price}")
        self._now = now
        venue.settlement.mark = price
        self._fund(venue)
        for user in venue.settlement.failing():
            self._liquidate(venue, user)

    def on_funding(
        self, instrument: MarketDataInstrument, rate: FundingRate, now: Timestamp
    ) -> None:
        """Note the next funding; pay the one before it if it is due.

        One without a time is paid continuously at its venue, and not here.
        """
        venue = self._by_market.get(instrument)
        if venue is None or not isinstance(venue.settlement, PerpetualSettlement):
            return
        self._now = now
        self._fund(venue)
        if rate.next_funding_time is not None:
            venue.settlement.funding = Funding(rate.rate, rate.next_funding_time)
        if rate.mark_price is not None:
            self.on_mark(instrument, rate.mark_price, now)

    def _fund(self, venue: _Venue) -> None:
        settlement = venue.settlement
        if not isinstance(settlement, PerpetualSettlement):
            return
        for user in settlement.fund(self._now):
            if user in self.accounts.users:
                self._tell(venue, user)

    def _liquidate(self, venue: _Venue, user: str) -> None:
        settlement = venue.settlement
        assert isinstance(settlement, PerpetualSettlement), "it has positions"  # noqa: S101  narrows the type
        for side in Side:
            for working in tuple(venue.resting[side]):
                if working.user == user:
                    self._end(
                        working, OrderState.EXPIRED, "the position was liquidated"
                    )
        settlement.liquidate(user)
        self._tell(venue, user)

    def halt(self, instrument: MarketDataInstrument, reason: str) -> None:
        """Take no orders and fill nothing until `resume`: the book is not true."""
        venue = self._by_market.get(instrument)
        if venue is not None:
            venue.displayed.halted = reason or "the market is halted"

    def resume(self, instrument: MarketDataInstrument, now: Timestamp) -> None:
        """Trade again, by the book as it is now."""
        venue = self._by_market.get(instrument)
        if venue is None or not venue.displayed.halted:
            return
        self._now = now
        venue.displayed.halted = ""
        for side in Side:
            self._cross(venue, side)

    # Taking an order

    def _venue(self, name: InstrumentNameInternal) -> _Venue:
        venue = self._venues.get(name)
        if venue is None:
            raise InstrumentInvalid(f"{self.exchange} does not trade {name!r}")
        return venue

    def _working(
        self, user: str, cid: ClientOrderId | None, order_id: OrderId | None
    ) -> Working:
        if order_id is not None:
            working = self._ids.get(order_id)
        else:
            working = None if cid is None else self._orders.get((user, cid))
        if working is None or working.user != user:
            raise UnknownOrder(f"no order of {user!r} is called {order_id or cid!r}")
        return working

    def _check(self, user: str, request: OrderRequestOpen, venue: _Venue) -> None:
        if user not in self.accounts.users:
            raise OrderRejected(f"nobody is called {user!r}")
        if venue.displayed.halted:
            raise InstrumentInvalid(
                f"{request.key.instrument} is not traded now: {venue.displayed.halted}"
            )
        if (user, request.key.cid) in self._orders:
            raise DuplicateOrder(f"client order id {request.key.cid!r} is in use")
        try:
            check_order(request, venue.instrument)
        except InvalidOrder as error:
            raise FilterFailed(str(error), code=error.rule) from error

    def _plan(self, venue: _Venue, working: Working) -> Plan:
        """Say what an order would meet now, without changing anything."""
        side, left = working.order.side, venue.settlement.limit(working)
        met: defaultdict[str, Decimal] = defaultdict(lambda: _ZERO)  # by makers' user
        offers = venue.displayed.offers(side)
        makers: Iterator[Working] = iter(venue.resting[side.opposite()])
        offer, maker = next(offers, None), next(makers, None)
        meetings: list[Meeting] = []
        passed = _ZERO  # displayed quantity met so far at the offer's price
        while left:
            first = maker is not None and (
                offer is None
                or _better(side.opposite(), maker.price, offer.price)
                or (maker.price == offer.price and maker.ahead <= passed)
            )
            if first and maker is not None:
                if not working.admits(maker.price):
                    break
                if maker.user == working.user:
                    return Plan(meetings, self_trade=True)
                quantity = min(left, venue.settlement.limit(maker, met[maker.user]))
                if quantity:
                    meetings.append(Meeting(maker.price, quantity, maker))
                    met[maker.user] = EXACT.add(met[maker.user], quantity)
                maker = next(makers, None)
            elif offer is not None and working.admits(offer.price):
                quantity = min(left, offer.quantity)
                if maker is not None and maker.price == offer.price:
                    quantity = min(quantity, EXACT.subtract(maker.ahead, passed))
                meetings.append(Meeting(offer.price, quantity, None))
                passed = EXACT.add(passed, quantity)
                rest = EXACT.subtract(offer.quantity, quantity)
                offer = offer._replace(quantity=rest)
                if not rest:
                    offer, passed = next(offers, None), _ZERO
            else:
                break
            left = EXACT.subtract(left, quantity)
        return Plan(meetings, self_trade=False)

    def _settle_rest(self, venue: _Venue, working: Working, plan: Plan) -> None:
        """Let what is left of an order rest or expire."""
        order = working.order
        if order.state.closed:
            return
        if plan.self_trade:
            self._end(working, OrderState.EXPIRED, "it would trade with its own user")
        elif order.reduce_only and not venue.settlement.limit(working):
            self._end(working, OrderState.EXPIRED, _NOTHING_TO_REDUCE)
        elif order.kind is OrderKind.MARKET or (order.time_in_force is TimeInForce.IOC):
            self._end(working, OrderState.EXPIRED, "nothing more to be had at once")
        else:
            if self._queue is Queue.BACK:
                shown = venue.displayed.resting_at(order.side, working.price)
                working.ahead = shown
            insort(venue.resting[order.side], working, key=Working.priority)

    # Filling

    def _meet(self, venue: _Venue, taker: Working, meeting: Meeting) -> None:
        price, quantity, maker = meeting
        if maker is None:
            side = taker.order.side
            venue.displayed.take(side, price, quantity)
            _move_up(venue.resting[side.opposite()], price, quantity)
        venue.settlement.exchange(taker, maker, price, quantity)
        self._report(venue, taker, (price, quantity), Liquidity.TAKER)
        if maker is not None:
            self._report(venue, maker, (price, quantity), Liquidity.MAKER)
            self._leave_if_done(venue, maker)
            self._expire_reducers(venue, maker.user)
        self._expire_reducers(venue, taker.user)

    def _fill_maker(self, venue: _Venue, maker: Working, quantity: Decimal) -> None:
        venue.settlement.exchange(maker, None, maker.price, quantity)
        self._report(venue, maker, (maker.price, quantity), Liquidity.MAKER)
        self._leave_if_done(venue, maker)
        self._expire_reducers(venue, maker.user)

    def _report(
        self,
        venue: _Venue,
        working: Working,
        fill: tuple[Decimal, Decimal],
        role: Liquidity,
    ) -> None:
        """Charge the fee of a price and quantity; tell order, fill and balances."""
        price, quantity = fill
        fees = venue.settlement.charge(working, price, quantity, role)
        order = working.fill(price, quantity, self._now)
        trade = Trade(
            id=TradeId(str(next(self._trade_numbers))),
            order_id=working.id,
            instrument=order.key.instrument,
            side=order.side,
            price=price,
            quantity=quantity,
            fees=fees,
            time_exchange=self._now,
            liquidity=role,
            cid=order.key.cid,
            strategy=order.key.strategy,
        )
        self._trades[working.user].append(trade)
        self._emit(working.user, OrderSnapshot(order))
        self._emit(working.user, TradeEvent(trade))
        if order.state.closed:
            self._free(working)
        self._tell(venue, working.user)

    def _leave_if_done(self, venue: _Venue, maker: Working) -> None:
        if maker.order.state.closed:
            venue.resting[maker.order.side].remove(maker)

    def _expire_reducers(self, venue: _Venue, user: str) -> None:
        """End what may only reduce a position that is gone."""
        for side in Side:
            for working in tuple(venue.resting[side]):
                mine = working.user == user and working.order.reduce_only
                if mine and not venue.settlement.limit(working):
                    self._end(working, OrderState.EXPIRED, _NOTHING_TO_REDUCE)

    def _set(self, working: Working, state: OrderState, reason: str = "") -> None:
        working.change(state, self._now, reason)
        self._emit(working.user, OrderSnapshot(working.order))
        self._tell_balances(working.user, (working.held_asset,))

    def _end(self, working: Working, state: OrderState, reason: str) -> None:
        resting = self._venue(working.order.key.instrument).resting[working.order.side]
        if working in resting:
            resting.remove(working)
        self._free(working)
        self._set(working, state, reason)

    def _free(self, working: Working) -> None:
        """Give back what a closed order held; forget the oldest closed order."""
        self.accounts.release(working.user, working.held_asset, working.held)
        working.held = _ZERO
        self._closed.append(working)
        if len(self._closed) > _REMEMBERED:
            oldest = self._closed.popleft()
            del self._orders[oldest.user, oldest.order.key.cid]
            del self._ids[oldest.id]

    # The market, below

    def _shorten_queues(self, venue: _Venue, side: Side) -> None:
        for working in venue.resting[side]:
            if working.ahead:
                shown = venue.displayed.resting_at(side, working.price)
                working.ahead = min(working.ahead, shown)

    def _cross(self, venue: _Venue, side: Side) -> None:
        """Fill resting orders that the other side's display has reached."""
        if venue.displayed.halted:
            return
        for working in tuple(venue.resting[side]):
            for price, quantity in venue.displayed.offers(side):
                if not working.admits(price) or working.order.state.closed:
                    break
                taken = min(quantity, venue.settlement.limit(working))
                venue.displayed.take(side, price, taken)
                self._fill_maker(venue, working, taken)
            if not working.order.state.closed:
                return  # the best order is not filled: those behind it neither

    # Telling

    def _tell(self, venue: _Venue, user: str) -> None:
        for kind in venue.settlement.told(user, self._now):
            self._emit(user, kind)

    def _tell_balances(self, user: str, assets: tuple[AssetNameInternal, ...]) -> None:
        balances = tuple(
            AssetBalance(asset, self.accounts.balance(user, asset), self._now)
            for asset in assets
        )
        self._emit(user, BalanceSnapshot(balances))

    def _emit(self, user: str, kind: AccountEventKind) -> None:
        event = AccountEvent(self.exchange, self._now, kind, self._now)
        self._events.append((user, event))


def _admit(instrument: Instrument, exchange: ExchangeId) -> None:
    if instrument.exchange is not exchange:
        raise ValueError(f"{instrument.name_internal} is not of {exchange}")
    kind, quote = instrument.kind, instrument.underlying.quote
    linear = isinstance(kind, PerpetualContract) and kind.settlement_asset == quote
    if not linear and not isinstance(kind, SpotContract):
        why = f"{instrument.name_internal}: neither spot nor a perpetual in its quote"
        raise Unsupported("the mock exchange", why)


def _better(side: Side, price: Decimal, than: Decimal) -> bool:
    """Say whether a resting order of this side is served before another price."""
    return price > than if side is Side.BUY else price < than


def _move_up(resting: Iterable[Working], price: Decimal, quantity: Decimal) -> None:
    """Shorten the queue before orders at a price."""
    for working in resting:
        if working.price == price:
            working.ahead = max(_ZERO, EXACT.subtract(working.ahead, quantity))


def _refuse(working: Working, plan: Plan) -> None:
    """Raise if the plan shows that an order must not be taken."""
    order = working.order
    if order.time_in_force is TimeInForce.POST_ONLY and (
        plan.meetings or plan.self_trade
    ):
        raise PostOnlyWouldCross(
            f"order {order.key.cid!r} is post-only and would take liquidity"
        )
    if order.kind is OrderKind.MARKET and not plan.meetings and not plan.self_trade:
        raise OrderRejected(f"there is nothing to {order.side} at the market")
