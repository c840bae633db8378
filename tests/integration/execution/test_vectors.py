"""The published samples of private streams, in our words."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from integration.errors import Unauthorised
from integration.execution import (
    BalanceChange,
    BalanceSnapshot,
    OrderSnapshot,
    OrderState,
    TradeEvent,
)
from integration.execution.binance import messages as binance
from integration.execution.binance.translate import BinanceTranslator
from integration.execution.bybit import api as bybit_api
from integration.execution.bybit import messages as bybit
from integration.execution.bybit.translate import BybitTranslator
from integration.execution.instrument_map import InstrumentMap
from integration.models import ExchangeId

VECTORS = Path(__file__).resolve().parents[3] / "../shared/data/wire/execution.json"

STATES = {
    "open": OrderState.OPEN,
    "fully_filled": OrderState.FILLED,
    "cancelled": OrderState.CANCELLED,
}


def rows(*kinds):
    every = json.loads(VECTORS.read_bytes()) if VECTORS.exists() else []
    # OKX has no client here.
    ours = [r for r in every if r["exchange"] != "okx"]
    return [r for r in ours if r["expect"]["kind"] in kinds]


def name(row):
    return f"{row['exchange']}-{row['channel']}-{row['expect']['kind']}"


def events(row):
    payload = json.dumps(row["raw"]).encode()
    if row["exchange"] == "bybit":
        exchange = ExchangeId.BYBIT_PERPETUALS_USD
        translate = BybitTranslator(InstrumentMap(exchange, []))
        return list(translate.transform(bybit.decode(payload), 5))
    translate = BinanceTranslator(InstrumentMap(ExchangeId.BINANCE_SPOT, []))
    return list(translate.transform(binance.decode(payload), 5))


def one(row, kind):
    return next(e for e in events(row) if isinstance(e.kind, kind))


def test_the_published_samples_are_there():
    if not VECTORS.exists():
        pytest.skip(f"{VECTORS} absent")
    assert len(rows("order", "order+trade", "trade", "balances", "balance_delta")) >= 8


@pytest.mark.parametrize("row", rows("order", "order+trade"), ids=name)
def test_orders_are_read_as_published(row):
    want, event = row["expect"], one(row, OrderSnapshot)
    order = event.kind.order

    assert (order.key.cid, order.id) == (want["cid"], want["id"])
    assert order.state is STATES[want["state"]]
    assert order.filled == Decimal(want["filled_quantity"])
    assert event.time_exchange == want["time_exchange_ns"]
    assert event.time_received == 5
    for ours, theirs in (("price", "price"), ("quantity", "quantity")):
        if theirs in want:
            assert getattr(order, ours) == Decimal(want[theirs])
    for ours, theirs in (
        ("side", "side"),
        ("kind", "order_kind"),
        ("time_in_force", "time_in_force"),
    ):
        if theirs in want:
            assert getattr(order, ours).value == want[theirs]
    if "symbol" in want:
        assert order.key.instrument.endswith(want["symbol"].lower())


@pytest.mark.parametrize("row", rows("order+trade", "trade"), ids=name)
def test_fills_are_read_as_published(row):
    trade = one(row, TradeEvent).kind.trade
    want = row["expect"].get("trade", row["expect"])

    assert trade.id == want["id"]
    assert trade.price == Decimal(want["price"])
    assert trade.quantity == Decimal(want["quantity"])
    assert trade.fees.fees == Decimal(want["fees"])
    assert trade.liquidity.value == want["liquidity"]
    if "fee_asset" in want:
        assert trade.fees.asset == want["fee_asset"]
    for ours in ("order_id", "cid", "side"):
        if ours in want:
            assert str(getattr(trade, ours)) == want[ours]


@pytest.mark.parametrize("row", rows("balances"), ids=name)
def test_balances_are_read_as_published(row):
    event = one(row, BalanceSnapshot)
    got = {b.asset: b.balance for b in event.kind.balances}

    assert event.time_exchange == row["expect"]["time_exchange_ns"]
    for want in row["expect"]["balances"]:
        for field in ("total", "free", "used"):
            if field in want:
                assert getattr(got[want["asset"]], field) == Decimal(want[field])


@pytest.mark.parametrize("row", rows("balance_delta"), ids=name)
def test_changes_stay_changes(row):
    change = one(row, BalanceChange).kind

    assert change.asset == row["expect"]["asset"]
    assert change.delta == Decimal(row["expect"]["delta"])


@pytest.mark.parametrize("row", rows("ack", "error"), ids=name)
def test_answers_to_the_login_are_read_as_published(row):
    payload = json.dumps(row["raw"]).encode()

    if row["expect"]["kind"] == "ack":
        assert bybit_api._answers(payload, "auth")
        return
    with pytest.raises(Unauthorised) as caught:
        bybit_api._answers(payload, "auth")
    assert caught.value.code == row["expect"]["code"]
