"""Bybit alone: codes, spellings, contracts. Both ends at once is `test_live`."""

import json
from decimal import Decimal

import msgspec
import pytest

from integration.errors import (
    ClockSkew,
    Deserialise,
    Exchange,
    Http,
    RateLimited,
    Unauthorised,
    Unsupported,
)
from integration.execution import (
    DuplicateOrder,
    FilterFailed,
    InstrumentInvalid,
    InsufficientBalance,
    InvalidOrder,
    OrderAlreadyClosed,
    OrderRejected,
    OrderState,
    PositionSnapshot,
    PostOnlyWouldCross,
    TimeInForce,
    TradeEvent,
    UnknownOrder,
)
from integration.execution.bybit import BybitApi, bybit_client
from integration.execution.bybit.faults import BybitParser, error_of
from integration.execution.bybit.messages import decode
from integration.execution.bybit.translate import (
    BybitTranslator,
    category_of,
    check,
    order_body,
)
from integration.execution.instrument_map import InstrumentMap
from integration.models import ExchangeId, PerpetualContract
from integration.rest import Outcome, RawResponse, outcome_of
from integration.rest.clock import ServerClock
from integration.signing import Credentials
from netcore.clock import ManualClock

SPOT, LINEAR = ExchangeId.BYBIT_SPOT, ExchangeId.BYBIT_PERPETUALS_USD
WEEK = 7 * 86_400_000
KEYS = Credentials(key="key", secret="secret")


@pytest.fixture
def perpetual(kit):
    kind = PerpetualContract(Decimal(1), "usdt")
    return msgspec.structs.replace(kit.spot(exchange=LINEAR), kind=kind)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (10002, ClockSkew),
        (10003, Unauthorised),
        (10004, Unauthorised),
        (10007, Unauthorised),
        (10006, RateLimited),
        (10018, RateLimited),
        (110001, UnknownOrder),
        (170213, UnknownOrder),
        (110008, OrderAlreadyClosed),
        (170142, OrderAlreadyClosed),
        (110007, InsufficientBalance),
        (170131, InsufficientBalance),
        (110072, DuplicateOrder),
        (170141, DuplicateOrder),
        (170121, InstrumentInvalid),
        (170134, FilterFailed),
        (170218, PostOnlyWouldCross),
        (110099, OrderRejected),
        (10001, Exchange),
    ],
)
def test_codes_are_errors_and_mean_that_nothing_was_done(code, kind):
    error = error_of(code, "words", status=200)

    assert type(error) is kind
    assert error.code == str(code)
    assert outcome_of(error, 200) is Outcome.REFUSED


@pytest.mark.parametrize("code", [10000, 10016, 170007])
def test_codes_of_an_unknown_outcome_are_told_apart(code):
    error = error_of(code, "words", status=200)

    assert isinstance(error, Http)
    assert outcome_of(error, 200) is Outcome.UNKNOWN


@pytest.mark.parametrize("status", [200, 403])
def test_a_code_is_an_error_whatever_the_status(status):
    body = b'{"retCode":10006,"retMsg":"Too many visits","result":{},"time":1}'

    with pytest.raises(RateLimited) as caught:
        BybitParser().parse(status, {}, body, None)
    assert caught.value.status == status


def test_what_is_no_answer_is_an_error():
    with pytest.raises(Deserialise):
        BybitParser().parse(200, {}, b"<html>", None)


def test_orders_are_spelled_as_the_venue_wants(kit):
    limit = kit.limit("a", "sell", "0.5", "1E+2", TimeInForce.POST_ONLY, exchange=SPOT)
    assert order_body(limit, "BTCUSDT") == {
        "category": "spot",
        "symbol": "BTCUSDT",
        "side": "Sell",
        "orderType": "Limit",
        "qty": "0.5",
        "timeInForce": "PostOnly",
        "orderLinkId": "a",
        "price": "100",
    }
    market = order_body(kit.market(exchange=SPOT), "BTCUSDT")
    assert market["marketUnit"] == "baseCoin"


def test_contracts_say_what_they_may_do_to_the_position(kit):
    request = kit.limit(exchange=LINEAR)
    reducing = msgspec.structs.replace(request, reduce_only=True)

    body = order_body(reducing, "BTCUSDT")

    check(reducing)
    assert (body["reduceOnly"], body["positionIdx"]) == (True, 0)
    assert "marketUnit" not in order_body(kit.market(exchange=LINEAR), "BTCUSDT")
    spot = msgspec.structs.replace(kit.limit(exchange=SPOT), reduce_only=True)
    with pytest.raises(InvalidOrder, match="reduce_only"):
        check(spot)


def test_only_what_is_bybits_can_be_traded_here():
    with pytest.raises(Unsupported):
        category_of(ExchangeId.OKX)
    with pytest.raises(Unsupported):
        bybit_client(KEYS, [], exchange=ExchangeId.BINANCE_SPOT)


def record(**changes):
    return {
        "category": "linear",
        "symbol": "BTCUSDT",
        "orderId": "7",
        "orderLinkId": "mine",
        "side": "Buy",
        "orderType": "Limit",
        "timeInForce": "GTC",
        "orderStatus": "New",
        "qty": "1",
        "price": "100",
        "cumExecQty": "0",
        "cumExecValue": "0",
        "updatedTime": "5",
        **changes,
    }


def told(topic, *records):
    message = {"topic": topic, "id": "1", "creationTime": 9, "data": list(records)}
    return decode(json.dumps(message).encode())


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, OrderState.OPEN),
        ({"orderStatus": "Untriggered"}, OrderState.OPEN),
        (
            {"orderStatus": "PartiallyFilled", "cumExecQty": "0.5"},
            OrderState.PARTIALLY_FILLED,
        ),
        (
            {"orderStatus": "PartiallyFilledCanceled", "cumExecQty": "0.5"},
            OrderState.CANCELLED,
        ),
        ({"orderStatus": "Cancelled", "timeInForce": "IOC"}, OrderState.EXPIRED),
        ({"orderStatus": "Deactivated"}, OrderState.CANCELLED),
        (
            {
                "orderStatus": "Cancelled",
                "rejectReason": "EC_PostOnlyWillTakeLiquidity",
            },
            OrderState.REJECTED,
        ),
        ({"orderStatus": "Rejected"}, OrderState.REJECTED),
    ],
)
def test_states_mean_what_they_mean_elsewhere(perpetual, changes, state):
    translate = BybitTranslator(InstrumentMap(LINEAR, [perpetual]))
    (event,) = translate.transform(told("order", record(**changes)), 1)

    assert event.kind.order.state is state


def test_other_categories_of_the_account_are_not_ours(perpetual):
    translate = BybitTranslator(InstrumentMap(LINEAR, [perpetual]))

    assert list(translate.transform(told("order", record(category="spot")), 1)) == []
    assert list(translate.transform(decode(b'{"op":"pong"}'), 1)) == []


def test_funding_is_no_fill(perpetual):
    translate = BybitTranslator(InstrumentMap(LINEAR, [perpetual]))
    fill = {
        "category": "linear",
        "symbol": "BTCUSDT",
        "orderId": "7",
        "orderLinkId": "",
        "side": "Buy",
        "execId": "e",
        "execPrice": "100",
        "execQty": "1",
        "execTime": "5",
        "execType": "Trade",
        "execFee": "-0.1",
    }
    funding = {**fill, "execType": "Funding", "execId": "f"}

    (event,) = translate.transform(told("execution", fill, funding), 1)

    assert isinstance(event.kind, TradeEvent)
    trade = event.kind.trade
    assert (trade.fees.asset, trade.fees.fees, trade.cid) == (
        "usdt",
        Decimal("-0.1"),
        None,
    )


def test_positions_are_signed(perpetual):
    translate = BybitTranslator(InstrumentMap(LINEAR, [perpetual]))
    position = {
        "category": "linear",
        "symbol": "BTCUSDT",
        "side": "Sell",
        "size": "0.5",
        "entryPrice": "100",
        "unrealisedPnl": "-1.5",
        "updatedTime": "5",
    }
    (event,) = translate.transform(told("position", position), 1)

    assert isinstance(event.kind, PositionSnapshot)
    held = event.kind.position
    assert (held.quantity, held.entry_price) == (Decimal("-0.5"), 100)
    assert held.unrealised == Decimal("-1.5")
    flat = {**position, "side": "", "size": "0", "entryPrice": "0"}
    (event,) = translate.transform(told("position", flat), 1)
    assert (event.kind.position.quantity, event.kind.position.entry_price) == (0, None)


def test_an_unknown_state_puts_one_message_in_doubt_not_the_stream(perpetual):
    translate = BybitTranslator(InstrumentMap(LINEAR, [perpetual]))
    for odd in ({"orderStatus": "Odd"}, {"qty": "NaN"}, {"side": "None"}):
        (fault,) = translate.transform(told("order", record(**odd)), 1)

        assert isinstance(fault, Deserialise)
        assert not fault.terminal


class Lists:
    """A transport that answers lists by their cursor."""

    def __init__(self, records, page):
        self.records = records
        self.page = page
        self.queries = []

    async def send(self, prepared):
        query = dict(pair.split("=") for pair in prepared.query.split("&"))
        self.queries.append((prepared.path, query))
        found = self.records
        if "startTime" in query:
            start, end = int(query["startTime"]), int(query["endTime"])
            assert end - start < WEEK, "the venue takes 7 days at most"
            found = [r for r in found if start <= int(r["execTime"]) <= end]
        at = int(query.get("cursor", 0))
        more = str(at + self.page) if len(found) > at + self.page else ""
        result = {"list": found[at : at + self.page], "nextPageCursor": more}
        body = msgspec.json.encode({"retCode": 0, "result": result, "time": 1})
        return RawResponse(
            status=200, headers={}, content=body, bytes_in=1, headers_ns=0, body_ns=0
        )

    async def aclose(self):
        pass


def api_of(instrument, transport, now_ms=1):
    return BybitApi(
        InstrumentMap(LINEAR, [instrument]),
        KEYS,
        clock=ServerClock(ManualClock(now_ns=now_ms * 10**6)),
        transport=transport,
    )


@pytest.mark.parametrize("page", [1, 2, 100])
async def test_fills_of_weeks_are_found_page_by_page_each_once(perpetual, page):
    times = [WEEK, WEEK, WEEK + 1, 2 * WEEK - 1, 2 * WEEK, 3 * WEEK]
    fills = [
        {
            "symbol": "BTCUSDT",
            "orderId": "1",
            "orderLinkId": "a",
            "side": "Buy",
            "execId": str(number),
            "execPrice": "1",
            "execQty": "1",
            "execTime": str(time),
            "execType": "Trade",
        }
        for number, time in enumerate(times)
    ]
    api = api_of(perpetual, Lists(fills, page), 3 * WEEK)

    found = await api.trades(perpetual.name_internal, WEEK * 10**6)

    assert [fill.id for fill in found] == [str(n) for n in range(len(times))]


async def test_contracts_are_listed_by_their_settlement_coin(perpetual):
    lists = Lists([record(), record(orderStatus="Filled", orderLinkId="done")], 1)
    api = api_of(perpetual, lists)

    orders = await api.open_orders(None)
    await api.open_orders([perpetual.name_internal])

    assert [order.key.cid for order in orders] == ["mine"], "closed ones are not open"
    scopes = [query for path, query in lists.queries if path == "/v5/order/realtime"]
    assert scopes[0]["settleCoin"] == "USDT"
    assert scopes[-1]["symbol"] == "BTCUSDT"


async def test_positions_of_contracts_are_asked_for(perpetual):
    position = {"symbol": "BTCUSDT", "side": "Buy", "size": "2", "avgPrice": "90"}
    api = api_of(perpetual, Lists([position], 10))

    (held,) = await api.positions()

    assert (held.quantity, held.entry_price) == (2, 90)
