"""The engine: what each kind of order does, and that nothing is ever lost or made."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.errors import Unsupported
from integration.execution import (
    BalanceSnapshot,
    DuplicateOrder,
    FilterFailed,
    InstrumentInvalid,
    InsufficientBalance,
    Liquidity,
    OrderAlreadyClosed,
    OrderRejected,
    OrderRequestCancel,
    OrderSnapshot,
    OrderState,
    PostOnlyWouldCross,
    TimeInForce,
    TradeEvent,
    UnknownOrder,
)
from integration.execution import matching as matching_module
from integration.execution.accounts import HOUSE
from integration.execution.matching import FeeAsset, Fees, MatchingEngine, Queue
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    OrderBookSnapshot,
    OrderBookUpdate,
    PerpetualContract,
    PublicTrade,
    Side,
    TradeFlag,
    asset_name_internal,
)

EXCHANGE = ExchangeId.BINANCE_SPOT
MARKET = MarketDataInstrument.spot("btc", "usdt")
BTC, USDT = asset_name_internal("btc"), asset_name_internal("usdt")
FREE = Fees(maker=Decimal(0), taker=Decimal(0))


def deposits(users=("ann",), btc="10", usdt="10000"):
    return {user: {BTC: Decimal(btc), USDT: Decimal(usdt)} for user in users}


@pytest.fixture
def make(kit):
    def build(*users, fees=FREE, queue=Queue.BACK, lot="0.00001", **funds):
        engine = MatchingEngine(
            EXCHANGE,
            [kit.spot(notional="0", lot=lot)],
            deposits(users or ("ann",), **funds),
            fees=fees,
            queue=queue,
        )
        book(
            engine,
            bids=[("99", "2"), ("98", "3")],
            asks=[("101", "1"), ("102", "2"), ("104", "5")],
        )
        return engine

    return build


def book(engine, bids=(), asks=(), now=1):
    engine.on_book(MARKET, OrderBookSnapshot(list(bids), list(asks)), now)


def update(engine, bids=(), asks=(), now=2):
    engine.on_book(MARKET, OrderBookUpdate(list(bids), list(asks)), now)


def trade(engine, price, amount, side, now=3, flags=TradeFlag.NONE):
    record = PublicTrade("1", Decimal(price), Decimal(amount), Side(side), flags=flags)
    engine.on_trade(MARKET, record, now)


def fills(engine, user="ann"):
    return [(str(t.price), str(t.quantity)) for t in engine.trades(user)]


def check_books(engine):
    """What must hold at every moment."""
    for asset in (BTC, USDT):
        assert engine.accounts.sum(asset) == 0
    for user in engine.accounts.users:
        for balance in engine.accounts.balances(user).values():
            assert balance.total >= 0
            assert balance.free >= 0
            assert balance.used >= 0


# Taking


def test_a_market_order_walks_the_levels(make, kit):
    engine = make()

    order = engine.place("ann", kit.market(quantity="2.5"), 5)

    assert order.state is OrderState.FILLED
    assert fills(engine) == [("101", "1"), ("102", "1.5")]
    assert order.average_price == Decimal("101.6")
    assert {t.liquidity for t in engine.trades("ann")} == {Liquidity.TAKER}
    assert engine.accounts.balance("ann", BTC).total == Decimal("12.5")
    assert engine.accounts.balance("ann", USDT).total == 10_000 - Decimal(254)
    check_books(engine)


def test_what_was_taken_is_gone_until_the_level_is_restated(make, kit):
    engine = make()
    engine.place("ann", kit.market("a", quantity="1"), 5)
    engine.place("ann", kit.market("b", quantity="1"), 6)
    assert fills(engine) == [("101", "1"), ("102", "1")]

    update(engine, asks=[("101", "1")])
    engine.place("ann", kit.market("c", quantity="1"), 7)

    assert fills(engine)[-1] == ("101", "1")


def test_a_market_order_expires_where_the_book_ends(make, kit):
    order = make().place("ann", kit.market(side="sell", quantity="6"), 5)

    assert order.state is OrderState.EXPIRED
    assert order.filled == 5


def test_a_limit_takes_up_to_its_price_and_rests(make, kit):
    engine = make()

    order = engine.place("ann", kit.limit(quantity="2", price="101"), 5)

    assert order.state is OrderState.PARTIALLY_FILLED
    assert fills(engine) == [("101", "1")]
    assert engine.accounts.balance("ann", USDT).used == 101
    assert engine.open_orders("ann") == (order,)


def test_a_limit_pays_the_better_price_and_frees_the_rest(make, kit):
    engine = make()

    engine.place("ann", kit.limit(quantity="1", price="105"), 5)

    assert engine.accounts.balance("ann", USDT).total == 10_000 - 101
    assert engine.accounts.balance("ann", USDT).used == 0


def test_an_ioc_never_rests(make, kit):
    engine = make()

    order = engine.place(
        "ann", kit.limit(quantity="2", price="101", tif=TimeInForce.IOC), 5
    )

    assert (order.state, order.filled) == (OrderState.EXPIRED, 1)
    assert engine.open_orders("ann") == ()
    assert engine.accounts.balance("ann", USDT).used == 0


@pytest.mark.parametrize(("quantity", "state"), [("3", "filled"), ("3.1", "expired")])
def test_a_fok_is_filled_whole_or_not_at_all(make, kit, quantity, state):
    engine = make()

    order = engine.place(
        "ann", kit.limit(quantity=quantity, price="102", tif=TimeInForce.FOK), 5
    )

    assert order.state.value == state
    assert order.filled in {0, 3}
    assert engine.accounts.balance("ann", USDT).used == 0
    assert bool(engine.trades("ann")) is (state == "filled")


def test_a_post_only_that_would_take_is_refused_and_costs_nothing(make, kit):
    engine = make()

    with pytest.raises(PostOnlyWouldCross):
        engine.place("ann", kit.limit(price="101", tif=TimeInForce.POST_ONLY), 5)
    order = engine.place(
        "ann", kit.limit("b", price="100.99", tif=TimeInForce.POST_ONLY), 6
    )

    assert order.state is OrderState.OPEN
    assert engine.accounts.balance("ann", USDT).used == Decimal("100.99")


# Making


def test_a_trade_at_the_price_fills_only_behind_the_queue(make, kit):
    engine = make()
    engine.place("ann", kit.limit(quantity="1", price="99"), 5)

    trade(engine, "99", "1.5", "sell")  # two were displayed before us
    assert fills(engine) == []
    trade(engine, "99", "0.75", "sell")
    assert fills(engine) == [("99", "0.25")]
    trade(engine, "99", "10", "sell")

    assert fills(engine) == [("99", "0.25"), ("99", "0.75")]
    assert engine.trades("ann")[0].liquidity is Liquidity.MAKER
    check_books(engine)


def test_at_the_front_of_the_queue_every_trade_fills(make, kit):
    engine = make(queue=Queue.FRONT)
    engine.place("ann", kit.limit(quantity="1", price="99"), 5)

    trade(engine, "99", "0.4", "sell")

    assert fills(engine) == [("99", "0.4")]


def test_a_level_that_shrinks_shortens_the_queue(make, kit):
    engine = make()
    engine.place("ann", kit.limit(quantity="1", price="99"), 5)
    update(engine, bids=[("99", "0.5")])
    update(engine, bids=[("99", "9")])  # those came behind us

    trade(engine, "99", "0.75", "sell")

    assert fills(engine) == [("99", "0.25")]


def test_a_trade_through_the_price_fills_at_our_price(make, kit):
    engine = make()
    engine.place("ann", kit.limit(quantity="1", price="99"), 5)

    trade(engine, "98.5", "0.6", "sell")

    assert fills(engine) == [("99", "0.6")]


def test_a_trade_on_the_other_side_or_far_away_fills_nothing(make, kit):
    engine = make()
    engine.place("ann", kit.limit("b", quantity="1", price="99"), 5)
    engine.place("ann", kit.limit("s", side="sell", quantity="1", price="103"), 5)

    trade(engine, "99", "50", "buy")
    trade(engine, "102", "50", "buy")
    trade(engine, "99.5", "50", "sell")

    assert fills(engine) == []


@pytest.mark.parametrize("flag", [TradeFlag.BACKFILL, TradeFlag.BLOCK])
def test_a_trade_that_was_not_on_the_book_fills_nothing(make, kit, flag):
    engine = make()
    engine.place("ann", kit.limit(quantity="1", price="99"), 5)

    trade(engine, "90", "50", "sell", flags=flag)

    assert fills(engine) == []


def test_a_trade_is_given_out_once_by_price_then_time(make, kit):
    engine = make("ann", "bob", "cy", queue=Queue.FRONT)
    engine.place("ann", kit.limit("a", quantity="1", price="99"), 5)
    engine.place("bob", kit.limit("b", quantity="1", price="99"), 6)
    engine.place("cy", kit.limit("c", quantity="1", price="99.5"), 7)

    trade(engine, "99", "1.5", "sell")

    assert fills(engine, "cy") == [("99.5", "1")]
    assert fills(engine, "ann") == [("99", "0.5")]
    assert fills(engine, "bob") == []


def test_a_book_that_crosses_fills_at_our_price_up_to_what_it_shows(make, kit):
    engine = make()
    engine.place("ann", kit.limit(quantity="3", price="100"), 5)

    update(engine, asks=[("99.5", "1"), ("100", "0.5"), ("100.5", "9")])

    assert fills(engine) == [("100", "1"), ("100", "0.5")]
    update(engine, asks=[("103", "1")])  # nothing new in reach
    assert len(fills(engine)) == 2
    check_books(engine)


# Between users


def test_users_trade_with_each_other_inside_the_spread(make, kit):
    engine = make("ann", "bob")
    engine.place("ann", kit.limit("a", side="sell", quantity="1", price="100"), 5)

    order = engine.place("bob", kit.market("b", quantity="1.5"), 6)

    assert order.state is OrderState.FILLED
    assert fills(engine, "bob") == [("100", "1"), ("101", "0.5")]
    assert fills(engine, "ann") == [("100", "1")]
    assert engine.trades("ann")[0].liquidity is Liquidity.MAKER
    check_books(engine)


def test_at_equal_prices_the_displayed_queue_comes_first(make, kit):
    engine = make("ann", "bob")
    engine.place("ann", kit.limit("a", side="sell", quantity="1", price="101"), 5)

    engine.place("bob", kit.market("b", quantity="1.5"), 6)

    assert fills(engine, "bob") == [("101", "1"), ("101", "0.5")]
    assert fills(engine, "ann") == [("101", "0.5")]
    # The displayed one is gone: the rest of ann's order is next.
    engine.place("bob", kit.market("c", quantity="0.5"), 7)
    assert fills(engine, "ann") == [("101", "0.5"), ("101", "0.5")]


def test_nobody_trades_with_oneself(make, kit):
    engine = make()
    engine.place("ann", kit.limit("a", side="sell", quantity="1", price="100"), 5)

    order = engine.place("ann", kit.limit("b", quantity="2", price="101"), 6)

    assert (order.state, order.filled) == (OrderState.EXPIRED, 0)
    assert "own user" in order.reason
    assert len(engine.open_orders("ann")) == 1


# Refusals


def test_what_cannot_be_paid_is_refused_and_holds_nothing(make, kit):
    engine = make(usdt="100", btc="1")

    for request in (
        kit.limit("a", quantity="1", price="100.01"),
        kit.limit("b", side="sell", quantity="1.1", price="105"),
        kit.market("c", quantity="1"),
    ):
        with pytest.raises(InsufficientBalance):
            engine.place("ann", request, 5)

    assert engine.open_orders("ann") == ()
    assert engine.accounts.balance("ann", USDT).used == 0


def test_refusals_have_their_own_names(make, kit):
    engine = make()
    engine.place("ann", kit.limit("a", price="90"), 5)

    with pytest.raises(DuplicateOrder):
        engine.place("ann", kit.limit("a", price="90"), 5)
    with pytest.raises(FilterFailed, match="price_tick"):
        engine.place("ann", kit.limit("b", price="90.001"), 5)
    with pytest.raises(InstrumentInvalid):
        engine.place("ann", kit.limit("c", symbol="ETHUSDT"), 5)
    with pytest.raises(OrderRejected, match="nobody"):
        engine.place("eve", kit.limit("d"), 5)
    reducing = msgspec.structs.replace(kit.limit("e"), reduce_only=True)
    with pytest.raises(OrderRejected, match="no position"):
        engine.place("ann", reducing, 5)


def test_a_market_order_without_a_market_is_refused(make, kit):
    engine = make()
    book(engine)

    with pytest.raises(OrderRejected, match="nothing to buy"):
        engine.place("ann", kit.market(), 5)


def test_a_halted_market_takes_no_orders_and_fills_none(make, kit):
    engine = make()
    engine.place("ann", kit.limit("a", quantity="1", price="100"), 4)
    engine.halt(MARKET, "stale")

    with pytest.raises(InstrumentInvalid, match="stale"):
        engine.place("ann", kit.limit("b", price="90"), 5)
    book(engine, asks=[("95", "5")])
    trade(engine, "90", "5", "sell")
    assert fills(engine) == []

    engine.resume(MARKET, 6)
    assert fills(engine) == [("100", "1")]


def test_a_contract_that_is_not_settled_in_its_quote_is_not_simulated(kit):
    inverse = msgspec.structs.replace(
        kit.spot(), kind=PerpetualContract(contract_size=1, settlement_asset=BTC)
    )
    with pytest.raises(Unsupported, match="neither spot nor a perpetual"):
        MatchingEngine(EXCHANGE, [inverse], {})
    with pytest.raises(ValueError, match="not of"):
        MatchingEngine(ExchangeId.BYBIT_SPOT, [kit.spot()], {})


# Cancelling


def test_a_cancelled_order_gives_back_what_it_held(make, kit):
    engine = make()
    placed = engine.place("ann", kit.limit("a", quantity="2", price="101"), 5)

    order = engine.cancel("ann", OrderRequestCancel(kit.key("a"), placed.id), 6)

    assert (order.state, order.filled) == (OrderState.CANCELLED, 1)
    assert engine.accounts.balance("ann", USDT).used == 0
    with pytest.raises(OrderAlreadyClosed):
        engine.cancel("ann", OrderRequestCancel(kit.key("a")), 7)


def test_only_ones_own_orders_can_be_cancelled(make, kit):
    engine = make("ann", "bob")
    placed = engine.place("ann", kit.limit("a", price="90"), 5)

    for request in (
        OrderRequestCancel(kit.key("a")),
        OrderRequestCancel(kit.key("a"), placed.id),
    ):
        with pytest.raises(UnknownOrder):
            engine.cancel("bob", request, 6)


# Fees


def test_fees_are_taken_from_what_is_received(make, kit):
    engine = make(fees=Fees(maker=Decimal("0.001"), taker=Decimal("0.002")))

    engine.place("ann", kit.market("b", quantity="1"), 5)
    engine.place("ann", kit.market("s", side="sell", quantity="1"), 6)

    bought, sold = engine.trades("ann")
    assert (bought.fees.asset, bought.fees.fees) == (BTC, Decimal("0.002"))
    assert (sold.fees.asset, sold.fees.fees) == (USDT, Decimal("0.198"))
    assert engine.accounts.balance(HOUSE, BTC).total == Decimal("0.002")
    check_books(engine)


def test_fees_in_quote_are_set_aside_with_the_order(make, kit):
    fees = Fees(Decimal("0.01"), Decimal("0.02"), FeeAsset.QUOTE)
    engine = make(fees=fees, usdt="102")

    with pytest.raises(InsufficientBalance):
        engine.place("ann", kit.limit("a", quantity="1", price="100.5"), 5)
    engine.place("ann", kit.limit("b", quantity="1", price="100"), 5)
    assert engine.accounts.balance("ann", USDT).free == 0
    trade(engine, "99.5", "1", "sell")

    assert engine.trades("ann")[0].fees.fees == 1
    assert engine.accounts.balance("ann", USDT).free == 1
    check_books(engine)


def test_a_rebate_is_paid_to_the_maker(make, kit):
    engine = make(fees=Fees(maker=Decimal("-0.001"), taker=Decimal("0.002")))
    engine.place("ann", kit.limit(side="sell", quantity="1", price="100"), 5)

    trade(engine, "100.5", "1", "buy")

    assert engine.trades("ann")[0].fees.fees == Decimal("-0.1")
    assert engine.accounts.balance("ann", USDT).total == Decimal("10100.1")


@pytest.mark.parametrize(("maker", "taker"), [("1", "0"), ("0", "-1"), ("-0.2", "0.1")])
def test_impossible_fees_are_refused(maker, taker):
    with pytest.raises(ValueError, match="fees are fractions"):
        Fees(Decimal(maker), Decimal(taker))


# Telling


def test_order_fill_and_balances_are_told_in_this_order(make, kit):
    engine = make("ann", "bob")
    engine.drain()
    engine.place("ann", kit.market(quantity="1"), 5)

    kinds = [type(event.kind) for user, event in engine.drain() if user == "ann"]

    assert kinds == [
        OrderSnapshot,
        BalanceSnapshot,
        OrderSnapshot,
        TradeEvent,
        BalanceSnapshot,
    ]
    assert engine.drain() == []


def test_a_deposit_is_told_with_the_balance_it_makes(make):
    engine = make()
    engine.drain()

    engine.deposit("ann", USDT, Decimal(5), 9)

    change, balance = [event.kind for _, event in engine.drain()]
    assert (change.asset, change.delta) == (USDT, 5)
    assert balance.balances[0].balance.total == 10_005
    check_books(engine)


def test_closed_orders_are_forgotten_oldest_first(make, kit, monkeypatch):
    monkeypatch.setattr(matching_module, "_REMEMBERED", 2)
    engine = make()
    for cid in "abc":
        engine.place("ann", kit.market(cid, quantity="0.1"), 5)
    open_one = engine.place("ann", kit.limit("open", price="90"), 6)

    with pytest.raises(UnknownOrder):
        engine.order("ann", cid="a")
    assert engine.order("ann", cid="c").state is OrderState.FILLED
    assert engine.order("ann", id=open_one.id) == open_one


# Whatever happens

prices = st.integers(90, 110).map(str)
amounts = st.integers(1, 40).map(lambda n: str(Decimal(n) / 10))
side = st.sampled_from(["buy", "sell"])
levels = st.lists(st.tuples(prices, amounts), max_size=4)
steps = st.one_of(
    st.tuples(
        st.just("limit"),
        st.sampled_from(["ann", "bob"]),
        side,
        amounts,
        prices,
        st.sampled_from(TimeInForce),
    ),
    st.tuples(st.just("market"), st.sampled_from(["ann", "bob"]), side, amounts),
    st.tuples(st.just("cancel"), st.sampled_from(["ann", "bob"]), st.integers(0, 30)),
    st.tuples(st.just("book"), levels, levels),
    st.tuples(st.just("update"), levels, levels),
    st.tuples(st.just("trade"), prices, amounts, side),
)
fee_models = st.sampled_from(
    [
        FREE,
        Fees(Decimal("0.001"), Decimal("0.0025")),
        Fees(Decimal("-0.0001"), Decimal("0.0007")),
        Fees(Decimal("0.003"), Decimal("0.001"), FeeAsset.QUOTE),
    ]
)


def carry_out(engine, kit, number, step):
    match step:
        case ("limit", user, way, quantity, price, tif):
            request = kit.limit(str(number), way, quantity, price, tif)
            return user, engine.place(user, request, number)
        case ("market", user, way, quantity):
            request = kit.market(str(number), way, quantity)
            return user, engine.place(user, request, number)
        case ("cancel", user, which):
            key = kit.key(str(which))
            return user, engine.cancel(user, OrderRequestCancel(key), number)
        case ("book", bids, asks):
            book(engine, bids, asks, number)
        case ("update", bids, asks):
            update(engine, bids, asks, number)
        case ("trade", price, quantity, way):
            trade(engine, price, quantity, way, number)
    return None


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=40), fee_models, st.sampled_from(Queue))
def test_nothing_is_lost_or_made_whatever_happens(kit, script, fees, queue):
    engine = MatchingEngine(
        EXCHANGE,
        [kit.spot(notional="0", lot="0.1")],
        deposits(("ann", "bob"), btc="8", usdt="800"),
        fees=fees,
        queue=queue,
    )
    told = {}
    for number, step in enumerate(script):
        balances = {u: engine.accounts.balances(u) for u in ("ann", "bob")}
        try:
            carry_out(engine, kit, number, step)
        except (OrderRejected, OrderAlreadyClosed, UnknownOrder):
            after = {u: engine.accounts.balances(u) for u in ("ann", "bob")}
            assert after == balances, "a refusal has changed a balance"
        check_books(engine)
        for user, event in engine.drain():
            if isinstance(event.kind, OrderSnapshot):
                told[user, event.kind.order.key.cid] = event.kind.order
    check_orders(engine, told)
    check_held(engine, fees)


def check_orders(engine, told):
    """Fills add up to what orders say, and every order was told as it is."""
    for user in ("ann", "bob"):
        executed, spent = {}, {}
        for fill in engine.trades(user):
            executed[fill.cid] = executed.get(fill.cid, 0) + fill.quantity
            spent[fill.cid] = spent.get(fill.cid, 0) + fill.cost
        for (owner, cid), order in told.items():
            if owner == user:
                assert order == engine.order(user, cid=cid)
                assert order.filled == executed.get(cid, 0)
                assert order.filled_quote == spent.get(cid, 0)
                assert (order.filled == order.quantity) is (
                    order.state is OrderState.FILLED
                )


def check_held(engine, fees):
    """What is held is what open orders can still cost, to the last digit."""
    margin = max(fees.maker, fees.taker) if fees.asset is FeeAsset.QUOTE else 0
    for user in ("ann", "bob"):
        held = {BTC: Decimal(0), USDT: Decimal(0)}
        for order in engine.open_orders(user):
            if order.side is Side.SELL:
                held[BTC] += order.remaining
            else:
                held[USDT] += order.remaining * order.price * (1 + margin)
        for asset, amount in held.items():
            assert engine.accounts.balance(user, asset).used == amount


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=8),
    st.integers(1, 100),
    st.one_of(st.none(), st.integers(1, 30)),
)
def test_taking_is_what_a_walk_over_sorted_levels_gives(kit, shown, wanted, limit):
    # An independent walk: floats and loops suffice for whole numbers.
    best = sorted(dict(shown).items())
    expected, left = [], wanted
    for price, amount in best:
        if limit is not None and price > limit:
            break
        if left:
            expected.append((price, min(left, amount)))
            left -= min(left, amount)
    engine = MatchingEngine(
        EXCHANGE,
        [kit.spot(notional="0", lot="1", tick="1")],
        deposits(usdt="100000"),
        fees=FREE,
    )
    book(engine, asks=[(str(p), str(q)) for p, q in dict(shown).items()])
    request = (
        kit.market(quantity=str(wanted))
        if limit is None
        else kit.limit(quantity=str(wanted), price=str(limit))
    )

    engine.place("ann", request, 5)

    got = [(int(t.price), int(t.quantity)) for t in engine.trades("ann")]
    assert got == expected
