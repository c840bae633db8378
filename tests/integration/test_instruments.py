"""Loading over HTTP, arithmetic of contracts, and the index over what was loaded."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import Deserialise, HttpResponse, UnknownIndex, Unsupported
from integration.instruments import (
    base_amount,
    listing_for,
    load_instruments,
    make_instrument,
    make_spec,
    power_of_ten,
)
from integration.models import (
    AmountUnit,
    ExchangeId,
    FutureContract,
    IndexedInstruments,
    MarketDataInstrument,
    OptionContract,
    OptionExercise,
    OptionKind,
    PerpetualContract,
    SpotContract,
)
from integration.rest import NO_RETRY, PlainParser, PublicNoHeaders, RestClient
from integration.rest.testing import loopback_server, response


def bybit(symbols, cursor=""):
    return {
        "retCode": 0,
        "result": {
            "nextPageCursor": cursor,
            "list": [
                {
                    "symbol": f"{symbol}USDT",
                    "baseCoin": symbol,
                    "quoteCoin": "USDT",
                    "status": "Trading",
                    "lotSizeFilter": {"basePrecision": "0.01", "minOrderQty": "0.1"},
                    "priceFilter": {"tickSize": "0.5"},
                }
                for symbol in symbols
            ],
        },
    }


async def test_all_pages_are_loaded_over_http():
    pages = {b"": bybit(["BTC", "ETH"], "2"), b"2": bybit(["SOL"])}

    async def venue(request, stream):
        cursor = request.target.partition(b"cursor=")[2]
        await stream.send_all(response(200, json.dumps(pages[cursor]).encode()))

    async with loopback_server(venue) as server:
        loaded = await load_instruments(ExchangeId.BYBIT_SPOT, rest_url=server.url)

        targets = [request.target for request in server.received]

    assert [i.name_exchange for i in loaded.instruments] == [
        *("BTCUSDT", "ETHUSDT", "SOLUSDT"),
    ]
    assert targets == [
        b"/v5/market/instruments-info?category=spot&limit=1000",
        b"/v5/market/instruments-info?category=spot&limit=1000&cursor=2",
    ]


async def test_a_question_may_be_a_body():
    async def venue(request, stream):
        assert request.method == "POST"
        assert json.loads(request.content) == {"type": "meta"}
        body = b'{"universe":[{"name":"BTC","szDecimals":5}]}'
        await stream.send_all(response(200, body))

    async with loopback_server(venue) as server:
        loaded = await load_instruments(ExchangeId.HYPERLIQUID, rest_url=server.url)

    assert [i.name_internal for i in loaded.instruments] == ["hyperliquid-btc"]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [(404, b"nowhere", HttpResponse), (200, b"<html>", Deserialise)],
)
async def test_what_is_no_listing_is_an_error(status, body, error):
    async def venue(_request, stream):
        await stream.send_all(response(status, body))

    async with loopback_server(venue) as server:
        client = RestClient(
            server.url, PublicNoHeaders(), PlainParser(), retry=NO_RETRY
        )
        async with client:
            with pytest.raises(error):
                await load_instruments(ExchangeId.COINBASE, client=client)


async def test_an_exchange_without_a_listing_is_named():
    with pytest.raises(Unsupported, match="kucoin: known are"):
        await load_instruments(ExchangeId.KUCOIN)


# Terms


def instrument(kind, symbol="BTC-X", base="BTC", quote="USD"):
    spec = make_spec(tick="0.1", step="1")
    return make_instrument(ExchangeId.OKX, symbol, base, quote, kind, spec=spec)


LINEAR = PerpetualContract(Decimal("0.01"), "usdt")
INVERSE = PerpetualContract(Decimal(100), "btc")
OPTION = OptionContract(
    Decimal("0.1"), "btc", OptionKind.CALL, OptionExercise.EUROPEAN, 0, Decimal(1)
)


@pytest.mark.parametrize(
    ("kind", "unit", "expected"),
    [
        (SpotContract(), AmountUnit.BASE, "3"),
        (SpotContract(), AmountUnit.CONTRACT, "3"),
        (LINEAR, AmountUnit.CONTRACT, "0.03"),
        (LINEAR, AmountUnit.QUOTE, "0.00006"),
        (INVERSE, AmountUnit.CONTRACT, "0.006"),
        (FutureContract(Decimal(100), "btc", 0), AmountUnit.CONTRACT, "0.006"),
        (OPTION, AmountUnit.CONTRACT, "0.3"),
    ],
)
def test_amounts_in_units_of_the_base(kind, unit, expected):
    got = base_amount(instrument(kind), Decimal(3), unit, price=Decimal(50_000))

    assert got == Decimal(expected)


def test_an_inverse_contract_needs_a_price():
    for price in (None, Decimal(0)):
        with pytest.raises(ValueError, match="positive price"):
            base_amount(
                instrument(INVERSE), Decimal(3), AmountUnit.CONTRACT, price=price
            )


@given(st.integers(-5, 12))
def test_steps_of_so_many_decimals(digits):
    assert power_of_ten(digits) == Decimal(10) ** -digits


def test_a_limit_is_a_number_and_not_negative():
    with pytest.raises(ValueError, match="not negative"):
        make_spec(tick="-1", step="1")
    with pytest.raises(Exception, match="NaN"):
        make_spec(tick="NaN", step="1")
    with pytest.raises(ValueError, match="base and quote"):
        instrument(SpotContract(), base="")


# The index


def spot(exchange, base, quote="usdt"):
    return make_instrument(
        exchange,
        f"{base}{quote}".upper(),
        base,
        quote,
        SpotContract(),
        spec=make_spec(tick="1", step="1"),
    )


OKX, BYBIT = ExchangeId.OKX, ExchangeId.BYBIT_SPOT


def test_every_name_leads_to_the_index_and_back():
    listed = [spot(OKX, "eth"), spot(BYBIT, "btc"), spot(OKX, "btc")]
    indexed = IndexedInstruments(listed)

    for one in listed:
        index = indexed.instrument_index(one.exchange, one.name_internal)
        assert indexed.instrument(index) == one
        assert (
            indexed.instrument_index_of_symbol(one.exchange, one.name_exchange) == index
        )
        assert (
            indexed.instrument_index_of_market_data(one.exchange, one.market_data())
            == index
        )
        exchange = indexed.exchange_index(one.exchange)
        assert indexed.exchange(exchange) is one.exchange
        for name in one.assets():
            asset = indexed.asset(indexed.asset_index(one.exchange, name))
            assert (asset.exchange, asset.asset.name_internal) == (one.exchange, name)


def test_indices_are_dense_and_stay_when_more_is_listed():
    first = IndexedInstruments([spot(OKX, "eth"), spot(OKX, "btc")])
    more = first.extended([spot(BYBIT, "aaa"), spot(OKX, "aaa")])

    assert [k.key for k in more.instruments] == [0, 1, 2, 3]
    assert [k.key for k in more.assets] == list(range(len(more.assets)))
    for keyed in first.instruments:
        assert more.instrument(keyed.key) == keyed.value
    assert len(first) == 2
    with pytest.raises(UnknownIndex):
        first.instrument_index_of_symbol(OKX, "AAAUSDT")


def test_what_is_not_indexed_is_an_error_with_its_name():
    indexed = IndexedInstruments([spot(OKX, "btc")])

    for look_up, key in (
        (lambda: indexed.exchange_index(BYBIT), "bybit_spot"),
        (lambda: indexed.asset_index(OKX, "eth"), "eth"),
        (lambda: indexed.instrument_index(OKX, "x"), "x"),
        (lambda: indexed.instrument_index_of_symbol(OKX, "X"), "X"),
        (
            lambda: indexed.instrument_index_of_market_data(
                OKX, MarketDataInstrument.spot("a", "b")
            ),
            "a_b_spot",
        ),
        (lambda: indexed.exchange(1), "1"),
        (lambda: indexed.asset(-1), "-1"),
        (lambda: indexed.instrument(1), "1"),
    ):
        with pytest.raises(UnknownIndex, match=key):
            look_up()


def test_a_listing_is_made_once():
    assert listing_for(OKX) is listing_for(OKX)
