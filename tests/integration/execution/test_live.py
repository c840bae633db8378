"""Live clients against the simulated venues: both ends at once, over loopback."""

import ssl
from decimal import Decimal

import msgspec
import pytest

from integration.errors import LocalError, RateLimited, Unauthorised
from integration.execution import (
    DuplicateOrder,
    InstrumentInvalid,
    InsufficientBalance,
    InvalidOrder,
    OrderAlreadyClosed,
    OrderRequestCancel,
    OrderRule,
    OrderState,
    PostOnlyWouldCross,
    TimeInForce,
    UnknownInstrument,
    UnknownOrder,
)
from integration.models import ExchangeId, MarketDataInstrument, asset_name_internal
from integration.testing.private import PrivateFault

MARKET = MarketDataInstrument.spot("btc", "usdt")
BTC, USDT = asset_name_internal("btc"), asset_name_internal("usdt")


# Orders and questions


async def test_a_limit_order_rests_and_can_be_cancelled(house):
    client = house.client()

    order = await client.open_order(house.limit(price="90", quantity="0.5"))
    assert order.state is OrderState.OPEN
    assert [o.key.cid for o in await client.fetch_open_orders()] == ["a"]
    done = await client.cancel_order(OrderRequestCancel(house.key(), order.id))

    assert done.state is OrderState.CANCELLED
    assert await client.fetch_open_orders([house.instrument.name_internal]) == ()


async def test_a_market_order_comes_back_filled(house):
    client = house.client()
    began = client._api.now_ns() - 10**9

    order = await client.open_order(house.market(quantity="1"))

    assert order.state is OrderState.FILLED
    assert order.average_price == 101
    (fill,) = await client.fetch_trades(began)
    assert (fill.price, fill.quantity) == (101, 1)
    assert (fill.fees.asset, fill.fees.fees) == (BTC, Decimal("0.001"))
    assert fill.order_id == order.id
    balances = {b.asset: b.balance for b in await client.fetch_balances()}
    assert balances[USDT].total == 10_000 - 101
    assert balances[BTC].total == Decimal("10.999")


async def test_every_time_in_force_means_the_same_everywhere(house):
    client = house.client()

    ioc = await client.open_order(
        house.limit("i", quantity="3", price="101", tif=TimeInForce.IOC)
    )
    fok = await client.open_order(
        house.limit("f", quantity="30", price="102", tif=TimeInForce.FOK)
    )
    post = await client.open_order(
        house.limit("p", price="95", tif=TimeInForce.POST_ONLY)
    )

    assert (ioc.state, ioc.filled) == (OrderState.EXPIRED, 2)
    assert (fok.state, fok.filled) == (OrderState.EXPIRED, 0)
    assert (post.state, post.time_in_force) == (OrderState.OPEN, TimeInForce.POST_ONLY)


async def test_refusals_have_the_same_names_everywhere(house):
    client = house.client()

    with pytest.raises(PostOnlyWouldCross):
        await client.open_order(
            house.limit("a", price="101", tif=TimeInForce.POST_ONLY)
        )
    with pytest.raises(InsufficientBalance):
        await client.open_order(house.limit("b", quantity="1000", price="50"))
    await client.open_order(house.limit("c", price="90"))
    stranger = house.client()
    with pytest.raises(DuplicateOrder):
        await stranger.open_order(house.limit("c", price="90"))

    assert client.ledger.order("a").state is OrderState.REJECTED
    assert client.ledger.order("b").state is OrderState.REJECTED


async def test_what_breaks_a_filter_is_never_sent(house):
    client = house.client()

    for terms, rule in (
        ({"price": "90.001"}, OrderRule.PRICE_TICK),
        ({"quantity": "0.000001"}, OrderRule.QUANTITY_MIN),
        ({"quantity": "0.01", "price": "90"}, OrderRule.NOTIONAL_MIN),
        ({"cid": "not allowed!"}, OrderRule.CLIENT_ORDER_ID),
    ):
        with pytest.raises(InvalidOrder) as caught:
            await client.open_order(house.limit(**terms))
        assert caught.value.rule is rule
    reducing = msgspec.structs.replace(house.limit(), reduce_only=True)
    with pytest.raises(InvalidOrder, match="reduce_only"):
        await client.open_order(reducing)

    assert house.placed() == 0


async def test_a_halted_market_is_an_invalid_instrument(house):
    house.engine.halt(MARKET, "maintenance")

    with pytest.raises(InstrumentInvalid):
        await house.client().open_order(house.limit(price="90"))


async def test_unknown_and_closed_orders_are_told_apart(house):
    client = house.client()
    await client.open_order(house.market("done", quantity="1"))

    with pytest.raises(UnknownOrder):
        await client.cancel_order(OrderRequestCancel(house.key("nobody")))
    with pytest.raises(OrderAlreadyClosed):
        await client.cancel_order(OrderRequestCancel(house.key("done")))
    assert client.ledger.order("done").state is OrderState.FILLED


async def test_names_without_terms_are_refused_here(house, kit):
    client = house.client()

    with pytest.raises(UnknownInstrument):
        await client.open_order(kit.limit(symbol="SOLUSDT", exchange=house.exchange))
    with pytest.raises(UnknownInstrument):
        await client.fetch_open_orders(["other"])
    with pytest.raises(LocalError, match="not traded here"):
        await client.open_order(kit.limit(exchange=ExchangeId.OKX))


async def test_wrong_keys_are_unauthorised_and_secrets_unseen(house):
    for wrong in ({"secret": "other-secret"}, {"key": "other-key"}):
        client = house.client(**wrong)
        with pytest.raises(Unauthorised) as caught:
            await client.fetch_balances()
        for secret in ("secret-1", "other-secret", "other-key"):
            assert secret not in repr(client) + repr(client._api) + str(caught.value)


async def test_a_snapshot_is_the_whole_account(house):
    client = house.client()
    await client.open_order(house.limit(price="90"))

    snapshot = await client.account_snapshot()

    assert [o.key.cid for o in snapshot.orders] == ["a"]
    assert {b.asset: b.balance.used for b in snapshot.balances}[USDT] == 90
    assert snapshot.positions == ()


# Clock and limits


@pytest.mark.parametrize("offset", [-60_000, 60_000])
async def test_a_refused_time_is_set_right_and_the_order_sent_once_more(house, offset):
    house.venue.skew(offset)
    client = house.client()

    order = await client.open_order(house.limit(price="90"))

    assert order.state is OrderState.OPEN
    assert abs(client._api.now_ns() - house.venue.now_ns()) < 2 * 10**9
    assert len(house.engine.open_orders("ann")) == 1


async def test_the_venues_time_can_be_asked_for_beforehand(house):
    house.venue.skew(-30_000)
    client = house.client()

    await client._api.synchronise()
    await client.open_order(house.limit(price="90"))

    assert abs(client._api.now_ns() - house.venue.now_ns()) < 2 * 10**9
    assert house.placed() == 1, "no time was refused"


async def test_a_venue_may_be_verified_by_certificates_of_ones_own(house):
    client = house.client(ssl_context=ssl.create_default_context())

    assert (await client.open_order(house.limit(price="90"))).state is OrderState.OPEN


async def test_a_question_is_repeated_when_turned_away_but_never_an_order(house):
    client = house.client()

    house.venue.inject(PrivateFault.RATE_LIMIT)
    with pytest.raises(RateLimited):
        await client.open_order(house.limit(price="90"))
    house.venue.inject(PrivateFault.RATE_LIMIT)

    assert len(await client.fetch_balances()) == 2
    assert house.placed() == 1
    assert client.ledger.order("a").state is OrderState.REJECTED
