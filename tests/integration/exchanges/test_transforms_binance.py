"""What the published rows of Binance leave out: settings, odd fields, errors."""

import json

import pytest

from integration.errors import Deserialise, Exchange, HttpResponse, RateLimited
from integration.exchanges.registry import connector_for
from integration.market.connector import Topic
from integration.market.notices import Ignored, Refusal
from integration.models import AmountUnit, ExchangeId, SubKind, TradeFlag

NOW = 1_700_000_000_000_000_000


def test_a_liquidation_of_binance_has_a_side(transformer, fed):
    made = transformer("binance_futures_usd", ("@forceOrder", "BTCUSDT"))
    order = {"s": "BTCUSDT", "S": "BOTH", "q": "1", "p": "1", "T": 1}

    (fault,) = fed(made, {"e": "forceOrder", "E": 1, "o": order})

    assert isinstance(fault, Deserialise)


def test_a_contract_of_binance_without_funding_says_nothing_about_it(transformer, fed):
    kind, topic = SubKind.FUNDING_RATES, ("@markPrice", "BTCUSDT")
    made = transformer("binance_futures_usd", topic, kind=kind)
    mark = {"e": "markPriceUpdate", "E": 1, "s": "BTCUSDT", "p": "1", "r": "", "T": 0}

    (output,) = fed(made, mark)

    assert isinstance(output, Ignored)


def test_an_aggregated_trade_of_binance_says_how_many_it_was(transformer, fed):
    made = transformer(
        "binance_spot", ("@aggTrade", "BNBBTC"), kind=SubKind.AGGREGATED_TRADES
    )
    # The venue's own example: the first and the last id of what was put together.
    row = {"e": "aggTrade", "E": 1, "s": "BNBBTC", "a": 12345, "p": "0.001", "q": "100"}

    (event,) = fed(made, {**row, "f": 100, "l": 105, "T": 1, "m": True, "M": True})

    assert (event.kind.count, event.kind.flags) == (6, TradeFlag.AGGREGATED)


def test_coin_margined_amounts_of_binance_count_contracts(transformer, fed):
    made = transformer(
        "binance_futures_coin",
        ("@trade", "BTCUSD_PERP"),
        ("@depth@100ms", "BTCUSD_PERP"),
        ("@bookTicker", "BTCUSD_PERP"),
    )
    trade = {"e": "trade", "s": "BTCUSD_PERP", "t": 1, "p": "1", "q": "2", "T": 1}
    book = {"e": "depthUpdate", "E": 1, "s": "BTCUSD_PERP", "U": 1, "u": 2, "pu": 0}
    top = {"e": "bookTicker", "u": 1, "s": "BTCUSD_PERP", "b": "1", "B": "1"}

    outputs = [
        *fed(made, trade | {"m": True, "X": "ADL"}),
        *fed(made, book | {"b": [], "a": []}),
        *fed(made, top | {"a": "0", "A": "0"}),
    ]

    assert {event.kind.amount_unit for event in outputs} == {AmountUnit.CONTRACT}
    assert outputs[0].kind.flags == TradeFlag.NONE
    assert outputs[2].kind.best_ask is None
    assert outputs[2].time_exchange == NOW


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("LIQUIDATION", TradeFlag.LIQUIDATION),
        ("INSURANCE_FUND", TradeFlag.INSURANCE_FUND),
    ],
)
def test_trades_of_binance_that_are_no_matches_are_flagged(
    flag, expected, fed, transformer
):
    made = transformer("binance_futures_usd", ("@trade", "BTCUSDT"))
    trade = {
        "e": "trade",
        "s": "BTCUSDT",
        "t": 1,
        "p": "1",
        "q": "2",
        "T": 1,
        "m": True,
    }

    (event,) = fed(made, trade | {"X": flag})

    assert event.kind.flags == expected


def test_an_envelope_of_binance_is_opened_in_any_spelling(transformer, fed):
    made = transformer("binance_spot", ("@bookTicker", "BTCUSDT"))
    inner = {"u": 1, "s": "BTCUSDT", "b": "1", "B": "1", "a": "2", "A": "1"}

    (compact,) = made.feed(
        json.dumps({"stream": "x", "data": inner}, separators=(",", ":")).encode(), NOW
    )
    (spaced,) = fed(made, {"data": inner, "stream": "x"})

    assert compact == spaced
    assert compact.kind.sequence == 1


def test_an_envelope_of_binance_hides_no_field_of_a_futures_quote(transformer):
    """It has the fields of spot's and more, and ends as spot's does."""
    made = transformer("binance_futures_usd", ("@bookTicker", "BTCUSDT"))
    inner = {"e": "bookTicker", "u": 1, "E": 3, "T": 2, "s": "BTCUSDT"}
    inner |= {"b": "1", "B": "1", "a": "2", "A": "1"}
    envelope = {"stream": "btcusdt@bookTicker", "data": inner}

    compact = json.dumps(envelope, separators=(",", ":")).encode()
    (event,) = made.feed(compact, NOW)

    assert (event.time_exchange, event.time_published) == (2_000_000, 3_000_000)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"error":{"code":2,"msg":"bad"},"id":1}',
        b'{"code":2,"msg":"bad","id":1}',
    ],
)
def test_an_error_of_binance_is_not_taken_for_an_event(payload, transformer):
    (refusal,) = transformer("binance_spot").feed(payload, NOW)

    assert isinstance(refusal, Refusal)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"code": -1121, "msg": "Invalid symbol."}, Exchange),
        (429, {"code": -1003, "msg": "slow down"}, RateLimited),
        (502, "<html>", HttpResponse),
    ],
)
def test_http_errors_of_binance_keep_their_headers(status, body, kind):
    parser = connector_for(ExchangeId.BINANCE_SPOT).rest_parser()
    payload = body if isinstance(body, str) else json.dumps(body)

    with pytest.raises(kind) as caught:
        parser.parse(status, {"retry-after": "7"}, payload.encode(), dict)

    assert caught.value.retry_after == 7.0
    assert caught.value.status == status


def test_an_image_of_binance_is_as_deep_as_asked_and_costs_accordingly():
    connector = connector_for(ExchangeId.BINANCE_SPOT)
    topic = Topic("@depth@100ms", "BTCUSDT")

    requests = [connector.image_request(topic, d) for d in (None, 5, 500, 10_000)]

    assert [(r.limit, r.weight) for r in requests] == [
        (1000, 50),
        (100, 5),
        (500, 25),
        (5000, 250),
    ]


@pytest.mark.parametrize("exchange", ["binance_futures_usd", "binance_futures_coin"])
def test_an_image_of_binance_s_futures_costs_what_the_venue_publishes(exchange):
    connector, topic = connector_for(ExchangeId(exchange)), Topic("x", "BTCUSDT")

    requests = [
        connector.image_request(topic, depth)
        for depth in (5, 6, 10, 20, 50, 51, 100, 101, 500, 501, 1000, 10_000)
    ]

    # https://developers.binance.com/docs/derivatives/usds-margined-futures/
    # market-data/rest-api/Order-Book: 5, 10, 20, 50: 2; 100: 5; 500: 10; 1000: 20
    assert [(r.limit, r.weight) for r in requests] == [
        *((5, 2), (10, 2), (10, 2), (20, 2), (50, 2), (100, 5), (100, 5)),
        *((500, 10), (500, 10), (1000, 20), (1000, 20), (1000, 20)),
    ]
