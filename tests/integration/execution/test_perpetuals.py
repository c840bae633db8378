"""Linear perpetuals: what positions, margin, funding and liquidation do to cash."""

from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.execution import (
    BalanceSnapshot,
    InstrumentInvalid,
    InsufficientBalance,
    OrderAlreadyClosed,
    OrderKey,
    OrderRejected,
    OrderRequestCancel,
    OrderRequestOpen,
    OrderSnapshot,
    OrderState,
    PositionSnapshot,
    PostOnlyWouldCross,
    TimeInForce,
    TradeEvent,
    UnknownOrder,
)
from integration.execution.accounts import HOUSE, STREET
from integration.execution.matching import Fees, Margin, MatchingEngine
from integration.execution.mock import MockExchange
from integration.execution.perpetuals import CLEARING
from integration.models import (
    ExchangeId,
    FundingRate,
    MarketDataInstrument,
    MarketEvent,
    MarkPrice,
    OrderBookSnapshot,
    PerpetualContract,
    PublicTrade,
    Side,
    asset_name_internal,
)

EXCHANGE = ExchangeId.BYBIT_PERPETUALS_USD
MARKET = MarketDataInstrument.perpetual("btc", "usdt")
USDT = asset_name_internal("usdt")
FREE = Fees(maker=Decimal(0), taker=Decimal(0))
USERS = ("ann", "bob")


@pytest.fixture
def swap(kit):
    return contract(kit)


def contract(kit, size="1"):
    spot = kit.spot(exchange=EXCHANGE, notional="0", lot="0.1")
    kind = PerpetualContract(contract_size=Decimal(size), settlement_asset=USDT)
    return msgspec.structs.replace(spot, kind=kind)


@pytest.fixture
def make(swap):
    def build(fees=FREE, margin=None, funds="1000", instrument=swap):
        engine = MatchingEngine(
            EXCHANGE,
            [instrument],
            {user: {USDT: Decimal(funds)} for user in USERS},
            fees=fees,
            margin=margin,
        )
        book(engine, bids=[("99", "5")], asks=[("101", "5")])
        return engine

    return build


def book(engine, bids=(), asks=(), now=1):
    engine.on_book(MARKET, OrderBookSnapshot(list(bids), list(asks)), now)


def limit(cid, side, quantity, price, tif=TimeInForce.GTC, *, reduce_only=False):
    return OrderRequestOpen.limit(
        key(cid),
        Side(side),
        quantity=Decimal(quantity),
        price=Decimal(price),
        time_in_force=tif,
        reduce_only=reduce_only,
    )


def market(cid, side, quantity, *, reduce_only=False):
    return OrderRequestOpen.market(
        key(cid), Side(side), quantity=Decimal(quantity), reduce_only=reduce_only
    )


def key(cid):
    return OrderKey(EXCHANGE, NAME, cid)


NAME = f"{EXCHANGE}-btcusdt"


def position(engine, user="ann"):
    found = {p.instrument: p for p in engine.positions(user)}
    return found.get(NAME)


def held(engine, user):
    return engine.perpetual(NAME).holding(user)


def balance(engine, user="ann"):
    return engine.accounts.balance(user, USDT)


def cash(engine, name):
    return engine.accounts._totals[name].get(USDT, Decimal(0))


def check(engine):
    """What holds at every moment, exactly."""
    settlement = engine.perpetual(NAME)
    everybody = (*USERS, HOUSE, STREET)
    all_held = [settlement.holding(name) for name in everybody]
    assert sum(h.quantity for h in all_held) == 0
    assert engine.accounts.sum(USDT) == 0
    assert cash(engine, CLEARING) + sum(h.cost for h in all_held) == 0
    for user in USERS:
        has = balance(engine, user)
        assert 0 <= has.free <= has.total
        orders = [w for w in engine._orders.values() if w.user == user]
        held_for_orders = sum(w.held for w in orders)
        assert has.used == held_for_orders + settlement.holding(user).margin
    mark = settlement.mark
    if mark is not None:
        worth = [cash(engine, n) + settlement.unrealised(n) for n in everybody]
        assert sum(worth) == 0  # the street brought in what the users have


# Positions


def test_a_buy_opens_a_long_position_with_its_margin(make):
    engine = make()

    order = engine.place("ann", market("a", "buy", "2"), 5)

    assert order.state is OrderState.FILLED
    found = position(engine)
    assert (found.quantity, found.entry_price) == (2, 101)
    assert balance(engine).total == 1000
    assert balance(engine).used == Decimal("20.2")
    check(engine)


def test_a_position_averages_its_entries_and_pays_when_it_closes(make):
    engine = make()
    engine.place("ann", market("a", "buy", "1"), 5)
    book(engine, asks=[("104", "5")])
    engine.place("ann", market("b", "buy", "2"), 6)
    assert position(engine).entry_price == 103

    book(engine, bids=[("110", "5")])
    engine.place("ann", market("c", "sell", "1.5"), 7)

    assert balance(engine).total == 1000 + Decimal("10.5")
    assert (position(engine).quantity, position(engine).entry_price) == (
        Decimal("1.5"),
        103,
    )
    engine.place("ann", market("d", "sell", "1.5"), 8)
    assert position(engine) is None
    assert balance(engine).total == balance(engine).free == 1021
    check(engine)


def test_a_sale_opens_a_short_position_and_a_larger_buy_turns_it_round(make):
    engine = make()
    engine.place("ann", market("a", "sell", "1"), 5)
    assert position(engine).quantity == -1

    engine.place("ann", market("b", "buy", "3"), 6)

    found = position(engine)
    assert (found.quantity, found.entry_price) == (2, 101)
    assert balance(engine).total == 998  # sold at 99, bought at 101
    check(engine)


def test_a_third_of_a_cost_is_released_in_steps_and_nothing_is_lost(make):
    engine = make()
    engine.place("ann", limit("x", "buy", "0.1", "101"), 4)
    book(engine, asks=[("100.01", "0.2")])
    engine.place("ann", market("a", "buy", "0.2"), 5)
    book(engine, bids=[("100", "1")])

    for cid in "bcd":
        engine.place("ann", market(cid, "sell", "0.1"), 6)
        check(engine)

    assert position(engine) is None
    made = Decimal("30") - Decimal("10.1") - Decimal("20.002")
    assert balance(engine).total == 1000 + made


def test_contracts_are_worth_their_size(make, kit):
    engine = make(instrument=contract(kit, size="0.01"))
    engine.place("ann", market("a", "buy", "5"), 5)
    assert position(engine).entry_price == 101
    assert balance(engine).used == Decimal("0.505")

    book(engine, bids=[("111", "9")])
    engine.place("ann", market("b", "sell", "5"), 6)

    assert balance(engine).total == Decimal("1000.5")
    check(engine)


def test_users_take_each_others_other_side(make):
    engine = make()
    engine.place("ann", limit("a", "sell", "1", "100"), 5)
    engine.place("bob", limit("b", "buy", "1", "100"), 6)

    assert position(engine).quantity == -position(engine, "bob").quantity == -1
    engine.on_mark(MARKET, Decimal(104), 7)
    assert position(engine, "bob").unrealised == 4
    assert position(engine).unrealised == -4
    check(engine)


def test_fees_are_paid_in_the_settlement_asset(make):
    engine = make(fees=Fees(maker=Decimal("0.001"), taker=Decimal("0.002")))

    engine.place("ann", market("a", "buy", "1"), 5)

    (fill,) = engine.trades("ann")
    assert (fill.fees.asset, fill.fees.fees) == (USDT, Decimal("0.202"))
    assert balance(engine).total == 1000 - Decimal("0.202")
    assert cash(engine, HOUSE) == Decimal("0.202")


# Orders


def test_an_order_needs_margin_and_gives_it_back(make):
    engine = make(funds="10")

    with pytest.raises(InsufficientBalance):
        engine.place("ann", limit("a", "buy", "1.1", "100"), 5)
    engine.place("ann", limit("b", "sell", "0.9", "105"), 5)
    assert balance(engine).used == Decimal("9.45")
    engine.cancel("ann", OrderRequestCancel(key("b")), 6)

    assert balance(engine).used == 0
    check(engine)


def test_a_post_only_that_would_take_is_refused(make):
    engine = make()

    with pytest.raises(PostOnlyWouldCross):
        engine.place("ann", limit("a", "buy", "1", "101", TimeInForce.POST_ONLY), 5)

    assert balance(engine).used == 0


@pytest.mark.parametrize(
    ("tif", "quantity", "filled"), [("ioc", "6", 5), ("fok", "6", 0), ("fok", "5", 5)]
)
def test_an_order_that_must_not_rest_is_filled_or_expires(make, tif, quantity, filled):
    engine = make()

    order = engine.place("ann", limit("a", "sell", quantity, "99", TimeInForce(tif)), 5)

    assert order.filled == filled
    assert order.state.closed
    check(engine)


def test_nobody_trades_with_oneself(make):
    engine = make()
    engine.place("ann", limit("a", "sell", "1", "100"), 5)

    order = engine.place("ann", limit("b", "buy", "1", "100"), 6)

    assert (order.state, order.filled) == (OrderState.EXPIRED, 0)
    assert position(engine) is None


def test_an_order_that_may_only_reduce_needs_something_to_reduce(make):
    engine = make()

    with pytest.raises(OrderRejected, match="may only reduce"):
        engine.place("ann", market("a", "sell", "1", reduce_only=True), 5)
    engine.place("ann", market("b", "buy", "1"), 5)
    with pytest.raises(OrderRejected, match="may only reduce"):
        engine.place("ann", market("c", "buy", "1", reduce_only=True), 5)
    order = engine.place("ann", market("d", "sell", "3", reduce_only=True), 6)

    assert (order.state, order.filled) == (OrderState.EXPIRED, 1)
    assert position(engine) is None
    check(engine)


def test_resting_orders_that_may_only_reduce_end_with_the_position(make):
    engine = make()
    engine.place("ann", market("a", "buy", "2"), 5)
    resting = limit("tp", "sell", "2", "120", reduce_only=True)
    engine.place("ann", resting, 6)
    assert balance(engine).used == Decimal("20.2")  # the position's margin alone

    engine.place("ann", market("b", "sell", "2"), 7)

    assert engine.order("ann", cid="tp").state is OrderState.EXPIRED
    assert engine.open_orders("ann") == ()
    check(engine)


def test_reducing_orders_never_turn_a_position_round_though_each_would_fit(make):
    engine = make()
    engine.place("ann", market("a", "buy", "1"), 5)
    engine.place("ann", limit("one", "sell", "1", "102", reduce_only=True), 6)
    engine.place("ann", limit("two", "sell", "1", "103", reduce_only=True), 6)
    book(engine)

    taker = engine.place("bob", limit("b", "buy", "2", "103", TimeInForce.IOC), 7)

    assert taker.filled == 1
    assert position(engine) is None
    assert engine.order("ann", cid="two").state is OrderState.EXPIRED
    check(engine)


def test_a_fok_is_not_promised_what_a_reducing_order_cannot_give(make):
    engine = make()
    engine.place("ann", market("a", "buy", "1"), 5)
    engine.place("ann", limit("plain", "sell", "0.6", "102"), 6)
    engine.place("ann", limit("two", "sell", "1", "103", reduce_only=True), 6)
    book(engine)

    fok = engine.place("bob", limit("b", "buy", "1.5", "103", TimeInForce.FOK), 7)
    fits = engine.place("bob", limit("c", "buy", "1", "103", TimeInForce.FOK), 8)

    assert (fok.filled, fits.filled) == (0, 1)
    assert position(engine) is None
    check(engine)


def test_a_trade_of_the_market_fills_a_reducing_order_up_to_the_position(make):
    engine = make()
    engine.place("ann", market("a", "buy", "1"), 5)
    engine.place("ann", limit("one", "sell", "1", "102", reduce_only=True), 6)
    engine.place("ann", limit("two", "sell", "1", "103", reduce_only=True), 6)

    engine.on_trade(MARKET, PublicTrade("1", Decimal(105), Decimal(9), Side.BUY), 7)

    assert position(engine) is None
    assert engine.order("ann", cid="two").state is OrderState.EXPIRED
    check(engine)


# Funding


def rate(value, due, mark=None):
    return FundingRate(Decimal(value), due, None if mark is None else Decimal(mark))


def test_longs_pay_shorts_once_and_when_it_is_time(make):
    engine = make()
    engine.place("ann", limit("a", "buy", "2", "100"), 5)
    engine.place("bob", limit("b", "sell", "2", "100"), 5)

    engine.on_funding(MARKET, rate("0.01", 100, "100"), 10)
    engine.on_mark(MARKET, Decimal(104), 99)
    assert balance(engine).total == 1000
    book(engine, now=100)
    book(engine, now=101)

    assert balance(engine).total == Decimal("997.92")
    assert balance(engine, "bob").total == Decimal("1002.08")
    check(engine)


def test_a_negative_rate_is_paid_by_shorts_and_the_street_is_a_party(make):
    engine = make()
    engine.place("ann", market("a", "sell", "1"), 5)

    engine.on_funding(MARKET, rate("-0.001", 100, "100"), 10)
    engine.on_trade(MARKET, PublicTrade("1", Decimal(100), Decimal(1), Side.BUY), 100)

    assert balance(engine).total == Decimal("999.9")
    check(engine)


def test_funding_is_told_to_those_who_pay_or_are_paid_and_to_nobody_else(make):
    engine = make()
    engine.place("ann", market("a", "sell", "1"), 5)
    engine.on_funding(MARKET, rate("-0.001", 100, "100"), 10)
    engine.drain()

    engine.on_mark(MARKET, Decimal(100), 100)

    told = engine.drain()
    assert {user for user, _ in told} == {"ann"}
    (paid,) = [e.kind for _, e in told if isinstance(e.kind, BalanceSnapshot)]
    assert paid.balances[0].balance.total == Decimal("999.9")


def test_the_next_rate_does_not_swallow_the_payment_before_it(make):
    engine = make()
    engine.place("ann", market("a", "buy", "1"), 5)
    engine.on_funding(MARKET, rate("0.01", 100, "100"), 10)

    engine.on_funding(MARKET, rate("0.05", 200), 100)

    assert balance(engine).total == 999
    engine.on_mark(MARKET, Decimal(100), 150)
    assert balance(engine).total == 999


def test_a_rate_without_a_time_is_not_paid(make):
    engine = make()
    engine.place("ann", market("a", "buy", "1"), 5)

    engine.on_funding(MARKET, rate("0.01", None, "100"), 10)
    book(engine, now=10**18)

    assert balance(engine).total == 1000


# Liquidation


def test_the_house_takes_over_what_margin_no_longer_backs(make):
    engine = make(margin=Margin(Decimal("0.1"), Decimal("0.05")))
    engine.place("ann", market("a", "buy", "2"), 5)
    engine.place("ann", limit("more", "buy", "1", "90"), 6)

    engine.on_mark(MARKET, Decimal(96), 7)
    assert position(engine).quantity == 2
    engine.on_mark(MARKET, Decimal(95), 8)

    assert position(engine) is None
    assert balance(engine).total == balance(engine).free == 1000 - Decimal("20.2")
    assert engine.order("ann", cid="more").state is OrderState.EXPIRED
    assert engine.perpetual(NAME).holding(HOUSE).quantity == 2
    assert cash(engine, HOUSE) == Decimal("20.2")
    check(engine)


def test_a_long_and_a_short_that_were_taken_over_meet_in_the_house(make):
    engine = make()
    engine.place("ann", limit("a", "buy", "1", "100"), 5)
    engine.place("bob", limit("b", "sell", "1", "100"), 5)

    engine.on_mark(MARKET, Decimal(80), 6)
    engine.on_mark(MARKET, Decimal(120), 7)

    assert engine.positions("ann") == engine.positions("bob") == ()
    assert engine.perpetual(NAME).holding(HOUSE).quantity == 0
    assert cash(engine, HOUSE) == 20
    check(engine)


def test_a_loss_beyond_what_an_account_has_is_the_houses(make):
    engine = make(funds="11")
    engine.place("ann", market("a", "buy", "1"), 5)
    book(engine, bids=[("50", "5")])

    engine.place("ann", market("b", "sell", "1", reduce_only=True), 6)

    assert balance(engine).total == 0
    assert cash(engine, HOUSE) == 11 - 51
    check(engine)


@pytest.mark.parametrize("price", ["0", "-1", "NaN", "Infinity"])
def test_a_mark_that_is_no_price_is_refused(make, price):
    with pytest.raises(ValueError, match="mark price"):
        make().on_mark(MARKET, Decimal(price), 5)


@pytest.mark.parametrize(("initial", "maintenance"), [("0.1", "0.1"), ("2", "0")])
def test_impossible_margins_are_refused(initial, maintenance):
    with pytest.raises(ValueError, match="margins are fractions"):
        Margin(Decimal(initial), Decimal(maintenance))


def test_spot_has_no_positions_and_no_marks(kit):
    name = kit.spot().name_internal
    engine = MatchingEngine(
        ExchangeId.BINANCE_SPOT, [kit.spot()], {"ann": {USDT: Decimal(1)}}
    )

    engine.on_mark(MarketDataInstrument.spot("btc", "usdt"), Decimal(1), 1)
    engine.on_funding(MarketDataInstrument.spot("btc", "usdt"), rate("1", 1), 1)

    assert engine.positions("ann") == ()
    with pytest.raises(InstrumentInvalid, match="no perpetual"):
        engine.perpetual(name)


# Telling, and the client


def test_order_fill_position_and_balance_are_told_in_this_order(make):
    engine = make()
    engine.drain()

    engine.place("ann", market("a", "buy", "1"), 5)

    kinds = [type(event.kind) for user, event in engine.drain() if user == "ann"]
    assert kinds == [
        OrderSnapshot,
        BalanceSnapshot,
        OrderSnapshot,
        TradeEvent,
        PositionSnapshot,
        BalanceSnapshot,
    ]


async def test_a_client_trades_a_perpetual_on_the_mock_exchange(swap):
    exchange = MockExchange(EXCHANGE, [swap], {"ann": {USDT: Decimal(1000)}}, fees=FREE)
    client = exchange.client("ann")

    def tell(kind, now):
        exchange.on_market(MarketEvent(now, now, EXCHANGE, MARKET, kind))

    tell(OrderBookSnapshot([("99", "5")], [("101", "5")]), 1)
    async with client.account_stream() as stream:
        await client.open_order(market("a", "buy", "2"))
        tell(FundingRate(Decimal("0.01"), 50, Decimal(100)), 10)
        tell(MarkPrice(Decimal(105)), 60)
        snapshot = await client.account_snapshot()
        events = await stream.next_batch()
        await client.open_order(market("b", "sell", "2", reduce_only=True))
        after = await client.account_snapshot()

    (shown,) = snapshot.positions
    # Funding was due at 50: it was paid at the first mark after it.
    assert (shown.quantity, shown.entry_price, shown.unrealised) == (2, 101, 8)
    (has,) = (b.balance.total for b in snapshot.balances)
    assert has == 1000 - Decimal("2.1")
    assert PositionSnapshot in {type(event.kind) for event in events}
    assert after.positions == ()
    (has,) = (b.balance for b in after.balances)
    assert has.total == has.free == 1000 - Decimal("2.1") - 4


# Whatever happens

prices = st.integers(80, 120).map(str)
amounts = st.integers(1, 40).map(lambda n: str(Decimal(n) / 10))
sides = st.sampled_from(["buy", "sell"])
users = st.sampled_from(USERS)
levels = st.lists(st.tuples(prices, amounts), max_size=4)
steps = st.one_of(
    st.tuples(
        *(st.just("limit"), users, sides, amounts, prices),
        *(st.sampled_from(TimeInForce), st.booleans()),
    ),
    st.tuples(st.just("market"), users, sides, amounts, st.booleans()),
    st.tuples(st.just("cancel"), users, st.integers(0, 30)),
    st.tuples(st.just("book"), levels, levels),
    st.tuples(st.just("trade"), prices, amounts, sides),
    st.tuples(st.just("mark"), prices),
    st.tuples(
        *(st.just("funding"), st.integers(-50, 50), st.integers(0, 60)),
        st.one_of(st.none(), prices),
    ),
)
fee_models = st.sampled_from(
    [
        FREE,
        Fees(Decimal("0.0002"), Decimal("0.0006")),
        Fees(Decimal("-0.0001"), Decimal("0.0007")),
    ]
)


def carry_out(engine, number, step):
    match step:
        case ("limit", user, way, quantity, price, tif, reduce_only):
            request = limit(
                str(number), way, quantity, price, tif, reduce_only=reduce_only
            )
            engine.place(user, request, number)
        case ("market", user, way, quantity, reduce_only):
            request = market(str(number), way, quantity, reduce_only=reduce_only)
            engine.place(user, request, number)
        case ("cancel", user, which):
            engine.cancel(user, OrderRequestCancel(key(str(which))), number)
        case ("book", bids, asks):
            book(engine, bids, asks, number)
        case ("trade", price, quantity, way):
            record = PublicTrade("1", Decimal(price), Decimal(quantity), Side(way))
            engine.on_trade(MARKET, record, number)
        case ("mark", price):
            engine.on_mark(MARKET, Decimal(price), number)
        case ("funding", basis_points, due, mark):
            value = Decimal(basis_points) / 10_000
            engine.on_funding(MARKET, rate(value, due, mark), number)


def signed(fill):
    return fill.quantity if fill.side is Side.BUY else -fill.quantity


@settings(max_examples=150, deadline=None)
@given(
    st.lists(steps, max_size=40),
    fee_models,
    st.sampled_from(["1", "0.003"]),
    st.sampled_from(["20", "300"]),
)
def test_nothing_is_lost_or_made_whatever_happens(kit, script, fees, size, funds):
    engine = MatchingEngine(
        EXCHANGE,
        [contract(kit, size=size)],
        {user: {USDT: Decimal(funds)} for user in USERS},
        fees=fees,
    )
    before = {}
    for number, step in enumerate(script):
        before = {u: (held(engine, u), balance(engine, u)) for u in USERS}
        reducing = step[0] in {"limit", "market"} and step[-1]
        try:
            carry_out(engine, number, step)
        except (OrderRejected, OrderAlreadyClosed, UnknownOrder):
            after = {u: (held(engine, u), balance(engine, u)) for u in USERS}
            assert after == before, "a refusal has changed something"
        check(engine)
        if reducing:
            was, now = before[step[1]][0], held(engine, step[1])
            assert abs(now.quantity) <= abs(was.quantity)
        for user in USERS:
            for order in engine.open_orders(user):
                quantity = held(engine, user).quantity
                against = order.side is Side.SELL
                assert not order.reduce_only or (
                    quantity != 0 and (quantity > 0) is against
                )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(sides, amounts, prices), max_size=15), prices)
def test_a_rich_account_makes_what_its_fills_say(kit, fills, mark):
    """The oracle: cash flows of the fills and the value left, in fractions."""
    engine = MatchingEngine(
        EXCHANGE,
        [contract(kit)],
        {user: {USDT: Decimal(10**9)} for user in USERS},
        fees=FREE,
    )
    for number, (way, quantity, price) in enumerate(fills):
        level = [(price, quantity)]
        book(engine, *(((), level) if way == "buy" else (level, ())), number)
        engine.place("ann", market(str(number), way, quantity), number)

    engine.perpetual(NAME).mark = Decimal(mark)
    trades = engine.trades("ann")
    quantity = sum(map(signed, trades))
    made = Fraction(quantity) * Fraction(mark) - sum(
        Fraction(signed(t)) * Fraction(t.price) for t in trades
    )
    unrealised = Fraction(engine.perpetual(NAME).unrealised("ann"))
    assert held(engine, "ann").quantity == quantity
    assert Fraction(balance(engine).total) - 10**9 + unrealised == made
