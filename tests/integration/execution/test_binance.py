"""Binance alone: codes, spellings, pages. Both ends at once is `test_live`."""

import base64
import json
from decimal import Decimal

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from integration.errors import (
    ClockSkew,
    Deserialise,
    Exchange,
    Http,
    Maintenance,
    RateLimited,
    Terminated,
    Unauthorised,
)
from integration.exchanges.binance.messages import Fault
from integration.execution import (
    DuplicateOrder,
    FilterFailed,
    InstrumentInvalid,
    InsufficientBalance,
    InvalidOrder,
    OrderRejected,
    OrderSnapshot,
    OrderState,
    PostOnlyWouldCross,
    TimeInForce,
    TradeEvent,
    UnknownOrder,
)
from integration.execution.binance import BinanceApi
from integration.execution.binance.faults import BinanceTradingParser, error_of
from integration.execution.binance.messages import OrderAnswer, decode
from integration.execution.binance.requests import MyTrades
from integration.execution.binance.translate import (
    BinanceTranslator,
    check,
    order_params,
)
from integration.execution.instrument_map import InstrumentMap
from integration.models import ExchangeId
from integration.rest import Outcome, RawResponse, outcome_of
from integration.rest.clock import ServerClock
from integration.signing import Ed25519Key
from netcore.clock import ManualClock

EXCHANGE = ExchangeId.BINANCE_SPOT
DAY = 86_400_000


@pytest.fixture
def translate(kit):
    return BinanceTranslator(InstrumentMap(EXCHANGE, [kit.spot()]))


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (-1021, "Timestamp for this request is outside of the recvWindow.", ClockSkew),
        (-1022, "Signature for this request is not valid.", Unauthorised),
        (-2015, "Invalid API-key, IP, or permissions for action.", Unauthorised),
        (-1003, "Too many requests.", RateLimited),
        (-1015, "Too many new orders.", RateLimited),
        (-1016, "This service is no longer available.", Maintenance),
        (-1121, "Invalid symbol.", InstrumentInvalid),
        (-1013, "Filter failure: LOT_SIZE", FilterFailed),
        (-1111, "Precision is over the maximum defined for this asset.", FilterFailed),
        (-2011, "Unknown order sent.", UnknownOrder),
        (-2013, "Order does not exist.", UnknownOrder),
        (
            *(-2010, "Account has insufficient balance for requested action."),
            InsufficientBalance,
        ),
        (-2010, "Order would immediately match and take.", PostOnlyWouldCross),
        (-2010, "Duplicate order sent.", DuplicateOrder),
        (-2010, "Market is closed.", InstrumentInvalid),
        (-2010, "Something new.", OrderRejected),
        (-9999, "?", Exchange),
    ],
)
def test_codes_are_errors_and_mean_that_nothing_was_done(code, text, kind):
    error = error_of(Fault(code, text), status=400)

    assert type(error) is kind
    assert (error.code, error.status) == (str(code), 400)
    assert outcome_of(error, 400) is Outcome.REFUSED


@pytest.mark.parametrize("code", [-1000, -1001, -1006, -1007])
@pytest.mark.parametrize("status", [200, 400, 408, 500])
def test_codes_of_an_unknown_outcome_are_told_apart(code, status):
    error = error_of(Fault(code, "..."), status=status)

    assert isinstance(error, Http)
    assert outcome_of(error, status) is Outcome.UNKNOWN


def test_an_error_keeps_what_the_headers_say():
    with pytest.raises(RateLimited) as caught:
        BinanceTradingParser().parse(
            429, {"retry-after": "7"}, b'{"code":-1003,"msg":"slow"}', OrderAnswer
        )

    assert (caught.value.status, caught.value.retry_after) == (429, 7)


def test_orders_are_spelled_as_the_venue_wants(kit):
    assert order_params(kit.limit("a", "sell", "0.5", "100.10"), "BTCUSDT") == {
        "symbol": "BTCUSDT",
        "side": "SELL",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": Decimal("0.5"),
        "price": Decimal("100.10"),
        "newClientOrderId": "a",
        "newOrderRespType": "RESULT",
    }
    maker = order_params(kit.limit(tif=TimeInForce.POST_ONLY), "BTCUSDT")
    assert (maker["type"], maker["timeInForce"]) == ("LIMIT_MAKER", None)
    market = order_params(kit.market(), "BTCUSDT")
    assert (market["type"], market["timeInForce"]) == ("MARKET", None)


def test_what_spot_has_no_order_for_is_refused(kit):
    check(kit.market())
    with pytest.raises(InvalidOrder, match="market fok"):
        check(kit.market(tif=TimeInForce.FOK))
    with pytest.raises(InvalidOrder, match="client_order_id"):
        check(kit.limit("x" * 37))
    with pytest.raises(InvalidOrder, match="client_order_id"):
        check(kit.limit("ordér"))


def report(**changes):
    record = {
        "e": "executionReport",
        "E": 2,
        "s": "BTCUSDT",
        "c": "mine",
        "S": "BUY",
        "o": "LIMIT",
        "f": "GTC",
        "q": "1.00000000",
        "p": "100.00000000",
        "x": "NEW",
        "X": "NEW",
        "r": "NONE",
        "i": 7,
        "l": "0",
        "z": "0",
        "L": "0",
        "n": "0",
        "N": None,
        "T": 2,
        "t": -1,
        "m": False,
        "C": "",
        "Z": "0",
        **changes,
    }
    return json.dumps(record).encode()


def test_a_cancelled_order_keeps_its_own_name(translate):
    message = decode(report(c="cancel-9", C="mine", x="CANCELED", X="CANCELED"))
    (event,) = translate.transform(message, 3)

    assert event.kind.order.key.cid == "mine"
    assert event.kind.order.state is OrderState.CANCELLED


def test_a_fill_without_a_fee_is_paid_in_what_it_brings(translate):
    message = decode(report(x="TRADE", X="FILLED", l="1", z="1", L="100", t=9))
    order, fill = translate.transform(message, 3)

    assert isinstance(order.kind, OrderSnapshot)
    assert isinstance(fill.kind, TradeEvent)
    assert (fill.kind.trade.fees.asset, fill.kind.trade.fees.fees) == ("btc", 0)


def test_a_rejection_says_why(translate):
    message = decode(report(x="REJECTED", X="REJECTED", r="WOULD_MATCH_IMMEDIATELY"))
    (event,) = translate.transform(message, 3)

    assert event.kind.order.state is OrderState.REJECTED
    assert event.kind.order.reason == "WOULD_MATCH_IMMEDIATELY"


@pytest.mark.parametrize(
    "envelope", ["%s", '{"subscriptionId":0,"event":%s}', '{"stream":"k","data":%s}']
)
def test_messages_come_in_three_envelopes(translate, envelope):
    message = decode((envelope % report().decode()).encode())

    assert len(list(translate.transform(message, 3))) == 1


def test_what_says_nothing_of_the_account_is_passed_over(translate):
    assert decode(b'{"e":"listStatus","E":1}') is None
    assert list(translate.transform(None, 1)) == []


def test_an_unknown_state_puts_one_message_in_doubt_not_the_stream(translate):
    for odd in ({"X": "SOMETHING"}, {"o": "SOMETHING"}, {"S": "BOTH"}):
        (fault,) = translate.transform(decode(report(**odd)), 1)

        assert isinstance(fault, Deserialise)
        assert not fault.terminal


def test_a_lock_from_outside_leads_to_asking(translate):
    message = decode(b'{"e":"externalLockUpdate","E":1,"a":"NEO","d":"1.5","T":1}')
    (fault,) = translate.transform(message, 1)

    assert isinstance(fault, Deserialise)
    assert not fault.terminal


@pytest.mark.parametrize(
    "kind", ["listenKeyExpired", "eventStreamTerminated", "serverShutdown"]
)
def test_the_end_of_a_stream_is_terminal(translate, kind):
    (end,) = translate.transform(decode(b'{"e":"%s","E":1}' % kind.encode()), 1)

    assert isinstance(end, Terminated)


class Pages:
    """A transport that answers `myTrades` from a list of fills."""

    def __init__(self, times, page):
        self.fills = [self._fill(number, time) for number, time in enumerate(times, 1)]
        self.page = page
        self.queries = []

    @staticmethod
    def _fill(number, time):
        return {
            "symbol": "BTCUSDT",
            "id": number,
            "orderId": 1,
            "price": "1",
            "qty": "1",
            "commission": "0",
            "commissionAsset": "BNB",
            "time": time,
            "isBuyer": True,
            "isMaker": False,
        }

    async def send(self, prepared):
        query = dict(pair.split("=") for pair in prepared.query.split("&"))
        self.queries.append(query)
        if "fromId" in query:
            assert "startTime" not in query, "the venue refuses both"
            found = [f for f in self.fills if f["id"] >= int(query["fromId"])]
        else:
            start, end = int(query["startTime"]), int(query["endTime"])
            assert end - start < DAY, "the venue takes 24 hours at most"
            found = [f for f in self.fills if start <= f["time"] <= end]
        body = msgspec.json.encode(found[: self.page])
        return RawResponse(
            status=200, headers={}, content=body, bytes_in=1, headers_ns=0, body_ns=0
        )

    async def aclose(self):
        pass


@pytest.mark.parametrize("page", [1, 2, 3, 100])
async def test_fills_of_days_are_found_page_by_page_each_once(kit, monkeypatch, page):
    monkeypatch.setattr(MyTrades, "limit", page)
    clock = ManualClock(now_ns=10 * DAY * 10**6)
    times = [DAY, DAY, DAY + 1, 3 * DAY, 7 * DAY - 1, 7 * DAY, 9 * DAY, 10 * DAY]
    pages = Pages(times, page)
    api = BinanceApi(
        InstrumentMap(EXCHANGE, [kit.spot()]),
        "key",
        "secret",
        clock=ServerClock(clock),
        transport=pages,
    )

    fills = await api.trades(kit.name, DAY * 10**6)

    assert [fill.id for fill in fills] == [str(n) for n in range(1, len(times) + 1)]


async def test_another_kind_of_key_signs_the_subscription(kit):
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    api = BinanceApi(InstrumentMap(EXCHANGE, []), "key", Ed25519Key(pem))
    ((message, _, _),) = api._greetings()
    params = json.loads(message)["params"]

    signed = f"apiKey=key&timestamp={params['timestamp']}".encode()
    key.public_key().verify(base64.b64decode(params["signature"]), signed)
