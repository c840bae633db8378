"""Matching of spot orders against a displayed market, and against each other.

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
from typing import NamedTuple, final

from integration.errors import Unsupported
from integration.execution.accounts import HOUSE, STREET, Accounts
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
    AssetFees,
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
    TimeInForce,
    Trade,
    TradeEvent,
    TradeId,
)
from integration.execution.rules import check_order
from integration.execution.states import OrderState
from integration.execution.working import Working
from integration.models import (
    AssetNameInternal,
    ExchangeId,
    Instrument,
    InstrumentNameInternal,
    MarketDataInstrument,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
    Side,
    SpotContract,
    TradeFlag,
)
from netcore.models import Model, Timestamp

__all__ = ["FeeAsset", "Fees", "MatchingEngine", "Queue"]

_ZERO = Decimal(0)
_REMEMBERED = 100_000
"""Closed orders, and fills per user, that can still be asked for."""
_NOT_ON_BOOK = TradeFlag.BACKFILL | TradeFlag.BLOCK
"""Trades of the past, and those that no resting order could have had."""


class FeeAsset(StrEnum):
    """In what fees are paid."""

    RECEIVED = "received"
    """In what the fill brings: base of a buy, quote of a sell (Binance, Bybit)."""
    QUOTE = "quote"
    """In the quote asset, whichever side."""


class Fees(Model, frozen=True):
    """What fills cost, as fractions; a negative maker rate is a rebate.

    Raises:
        ValueError: A rate would take all that a fill brings, or the rebate exceeds
            what the taker pays.
    """

    maker: Decimal = Decimal("0.001")
    taker: Decimal = Decimal("0.001")
    asset: FeeAsset = FeeAsset.RECEIVED

    def __post_init__(self) -> None:
        if not (-self.taker <= self.maker < 1 and 0 <= self.taker < 1):
            raise ValueError(
                "fees are fractions below 1 and a rebate is paid by takers, "
                f"was maker={self.maker} taker={self.taker}"
            )


class Queue(StrEnum):
    """Where an order joins those displayed at its price."""

    BACK = "back"
    FRONT = "front"


class _Meeting(NamedTuple):
    """A step of a plan: so much at this price, from a resting order or the market."""

    price: Decimal
    quantity: Decimal
    maker: Working | None


class _Plan(NamedTuple):
    meetings: list[_Meeting]
    self_trade: bool

    @property
    def quantity(self) -> Decimal:
        total = _ZERO
        for meeting in self.meetings:
            total = EXACT.add(total, meeting.quantity)
        return total

    @property
    def cost(self) -> Decimal:
        total = _ZERO
        for price, quantity, _ in self.meetings:
            total = EXACT.add(total, EXACT.multiply(price, quantity))
        return total


class _Venue:
    """One instrument: its terms, its displayed market, its resting orders."""

    __slots__ = ("displayed", "instrument", "resting")

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.displayed = Displayed(instrument.name_internal)
        self.resting: dict[Side, list[Working]] = {Side.BUY: [], Side.SELL: []}


@final
class MatchingEngine:
    """An exchange for spot instruments, without a wire.

    Args:
        exchange: Which venue it stands for.
        instruments: What is traded; each with its terms.
        deposits: What users have at first, by user and asset.
        fees: What fills cost.
        queue: Where resting orders join.

    Raises:
        Unsupported: An instrument is not spot: margin is not simulated.
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
    ) -> None:
        self.exchange = exchange
        self.accounts = Accounts(deposits)
        self._fees = Fees() if fees is None else fees
        self._queue = queue
        self._venues: dict[InstrumentNameInternal, _Venue] = {}
        self._by_market: dict[MarketDataInstrument, _Venue] = {}
        for instrument in instruments:
            _admit(instrument, exchange)
            venue = _Venue(instrument)
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
        _refuse(working, plan)
        self._pay(working, plan)
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
        side, left, passed = trade.side.opposite(), trade.amount, _ZERO
        for working in tuple(venue.resting[side]):
            if not left or _better(side, trade.price, working.price):
                break
            if working.price == trade.price:
                before = max(_ZERO, EXACT.subtract(working.ahead, passed))
                step = min(left, before)
                passed, left = EXACT.add(passed, step), EXACT.subtract(left, step)
            quantity = min(left, working.order.remaining)
            if quantity:
                left = EXACT.subtract(left, quantity)
                self._fill_maker(venue, working, quantity)
        if passed:
            _move_up(venue.resting[side], trade.price, passed)

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
        if request.reduce_only:
            raise OrderRejected("spot orders have no position to reduce")
        try:
            check_order(request, venue.instrument)
        except InvalidOrder as error:
            raise FilterFailed(str(error), code=error.rule) from error

    def _plan(self, venue: _Venue, working: Working) -> _Plan:
        """Say what an order would meet now, without changing anything."""
        side, left = working.order.side, working.order.remaining
        offers = venue.displayed.offers(side)
        makers: Iterator[Working] = iter(venue.resting[side.opposite()])
        offer, maker = next(offers, None), next(makers, None)
        meetings: list[_Meeting] = []
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
                    return _Plan(meetings, self_trade=True)
                quantity = min(left, maker.order.remaining)
                meetings.append(_Meeting(maker.price, quantity, maker))
                maker = next(makers, None)
            elif offer is not None and working.admits(offer.price):
                quantity = min(left, offer.quantity)
                if maker is not None and maker.price == offer.price:
                    quantity = min(quantity, EXACT.subtract(maker.ahead, passed))
                meetings.append(_Meeting(offer.price, quantity, None))
                passed = EXACT.add(passed, quantity)
                rest = EXACT.subtract(offer.quantity, quantity)
                offer = offer._replace(quantity=rest)
                if not rest:
                    offer, passed = next(offers, None), _ZERO
            else:
                break
            left = EXACT.subtract(left, quantity)
        return _Plan(meetings, self_trade=False)

    def _pay(self, working: Working, plan: _Plan) -> None:
        """Set aside what the order may cost."""
        order, instrument = working.order, working.instrument
        if order.side is Side.SELL:
            asset, amount = instrument.underlying.base, order.quantity
        else:
            asset = instrument.underlying.quote
            cost = plan.cost
            if order.price is not None:
                cost = EXACT.multiply(order.price, order.quantity)
            amount = EXACT.multiply(cost, EXACT.add(Decimal(1), self._quote_fee()))
        self.accounts.hold(working.user, asset, amount)
        working.held_asset, working.held = asset, amount

    def _quote_fee(self) -> Decimal:
        """Return the fraction of a buy's cost that fees may add to it."""
        if self._fees.asset is FeeAsset.RECEIVED:
            return _ZERO
        return max(self._fees.maker, self._fees.taker)

    def _settle_rest(self, venue: _Venue, working: Working, plan: _Plan) -> None:
        """Let what is left of an order rest or expire."""
        order = working.order
        if order.state.closed:
            return
        if plan.self_trade:
            self._end(working, OrderState.EXPIRED, "it would trade with its own user")
        elif order.kind is OrderKind.MARKET or (order.time_in_force is TimeInForce.IOC):
            self._end(working, OrderState.EXPIRED, "nothing more to be had at once")
        else:
            if self._queue is Queue.BACK:
                shown = venue.displayed.resting_at(order.side, working.price)
                working.ahead = shown
            insort(venue.resting[order.side], working, key=Working.priority)

    # Filling

    def _meet(self, venue: _Venue, taker: Working, meeting: _Meeting) -> None:
        price, quantity, maker = meeting
        if maker is None:
            side = taker.order.side
            venue.displayed.take(side, price, quantity)
            _move_up(venue.resting[side.opposite()], price, quantity)
        self._exchange(taker, maker, price, quantity)
        self._report(taker, price, quantity, Liquidity.TAKER)
        if maker is not None:
            self._report(maker, price, quantity, Liquidity.MAKER)
            self._leave_if_done(venue, maker)

    def _fill_maker(self, venue: _Venue, maker: Working, quantity: Decimal) -> None:
        self._exchange(maker, None, maker.price, quantity)
        self._report(maker, maker.price, quantity, Liquidity.MAKER)
        self._leave_if_done(venue, maker)

    def _exchange(
        self, one: Working, other: Working | None, price: Decimal, quantity: Decimal
    ) -> None:
        """Move base and quote between two parties; None is the street."""
        cost = EXACT.multiply(price, quantity)
        for working in (one, other):
            if working is not None:
                self._unhold(working, quantity)
        name = STREET if other is None else other.user
        buyer, seller = one.user, name
        if one.order.side is Side.SELL:
            buyer, seller = seller, buyer
        assets = one.instrument.underlying
        self.accounts.move(buyer, seller, assets.quote, cost)
        self.accounts.move(seller, buyer, assets.base, quantity)

    def _unhold(self, working: Working, quantity: Decimal) -> None:
        """Release what the filled part had been set aside for."""
        order = working.order
        if quantity == order.remaining or order.price is None:
            # A market order is carried out whole before anybody else can spend.
            amount = working.held
        elif order.side is Side.SELL:
            amount = quantity
        else:
            cost = EXACT.multiply(order.price, quantity)
            amount = EXACT.multiply(cost, EXACT.add(Decimal(1), self._quote_fee()))
        self.accounts.release(working.user, working.held_asset, amount)
        working.held = EXACT.subtract(working.held, amount)

    def _report(
        self, working: Working, price: Decimal, quantity: Decimal, role: Liquidity
    ) -> None:
        """Charge the fee and tell order, fill and balances."""
        fees = self._charge(working, price, quantity, role)
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
        assets = working.instrument.underlying
        self._tell_balances(working.user, (assets.base, assets.quote))

    def _charge(
        self, working: Working, price: Decimal, quantity: Decimal, role: Liquidity
    ) -> AssetFees:
        rate = self._fees.maker if role is Liquidity.MAKER else self._fees.taker
        assets, order = working.instrument.underlying, working.order
        in_base = self._fees.asset is FeeAsset.RECEIVED and order.side is Side.BUY
        asset = assets.base if in_base else assets.quote
        amount = quantity if in_base else EXACT.multiply(price, quantity)
        fee = EXACT.multiply(amount, rate)
        self.accounts.move(working.user, HOUSE, asset, fee)
        return AssetFees(asset, fee)

    def _leave_if_done(self, venue: _Venue, maker: Working) -> None:
        if maker.order.state.closed:
            venue.resting[maker.order.side].remove(maker)

    def _set(self, working: Working, state: OrderState, reason: str = "") -> None:
        working.change(state, self._now, reason)
        self._emit(working.user, OrderSnapshot(working.order))
        assets = working.instrument.underlying
        changed = assets.base if working.order.side is Side.SELL else assets.quote
        self._tell_balances(working.user, (changed,))

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
                taken = min(quantity, working.order.remaining)
                venue.displayed.take(side, price, taken)
                self._fill_maker(venue, working, taken)
            if not working.order.state.closed:
                return  # the best order is not filled: those behind it neither

    # Telling

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
    if not isinstance(instrument.kind, SpotContract):
        raise Unsupported("the mock exchange", f"{instrument.name_internal}: margin")


def _better(side: Side, price: Decimal, than: Decimal) -> bool:
    """Say whether a resting order of this side is served before another price."""
    return price > than if side is Side.BUY else price < than


def _move_up(resting: Iterable[Working], price: Decimal, quantity: Decimal) -> None:
    """Shorten the queue before orders at a price."""
    for working in resting:
        if working.price == price:
            working.ahead = max(_ZERO, EXACT.subtract(working.ahead, quantity))


def _refuse(working: Working, plan: _Plan) -> None:
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
