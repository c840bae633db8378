import datetime as dt
import json
import subprocess
import sys
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration import models
from integration.errors import UnknownIndex
from integration.models import (
    Asset,
    AssetNameExchange,
    DatedKind,
    ExchangeId,
    FutureContract,
    IndexedInstruments,
    Instrument,
    InstrumentIndex,
    InstrumentKind,
    InstrumentNameExchange,
    InstrumentSpec,
    Level,
    MarketDataInstrument,
    MarketEvent,
    NotionalSpec,
    OptionContract,
    OptionExercise,
    OptionKind,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    PerpetualContract,
    PriceSpec,
    PublicTrade,
    QuantitySpec,
    QuantityUnit,
    Side,
    SpotContract,
    SubKind,
    Subscription,
    TradeFlag,
    Underlying,
    asset_name_internal,
    instrument_name_internal,
    normalise_subscriptions,
    parse_subscription,
    subscription_id,
    subscription_to_builtins,
)

THE_42 = [
    "other",
    "simulated",
    "mock",
    "binance_futures_coin",
    "binance_futures_usd",
    "binance_options",
    "binance_portfolio_margin",
    "binance_spot",
    "binance_us",
    "bitazza",
    "bitfinex",
    "bitflyer",
    "bitget",
    "bitmart",
    "bitmart_futures_usd",
    "bitmex",
    "bitso",
    "bitstamp",
    "bitvavo",
    "bithumb",
    "bybit_perpetuals_usd",
    "bybit_spot",
    "cexio",
    "coinbase",
    "coinbase_international",
    "cryptocom",
    "deribit",
    "gateio_futures_btc",
    "gateio_futures_usd",
    "gateio_options",
    "gateio_perpetuals_btc",
    "gateio_perpetuals_usd",
    "gateio_spot",
    "gemini",
    "hitbtc",
    "htx",
    "kraken",
    "kucoin",
    "liquid",
    "mexc",
    "okx",
    "poloniex",
]


def ns(*date):
    return int(dt.datetime(*date, tzinfo=dt.UTC).timestamp()) * 10**9


BTC_USDT = MarketDataInstrument.spot("btc", "usdt")
FUTURE = MarketDataInstrument.future("btc", "usd", expiry=ns(2023, 5, 26))
OPTION = MarketDataInstrument.option(
    "btc",
    "usdt",
    kind=OptionKind.CALL,
    strike=Decimal(35000),
    expiry=ns(2024, 12, 31),
)


def test_every_established_exchange_name_decodes():
    decoder = msgspec.json.Decoder(ExchangeId)

    assert len(THE_42) == 42
    for name in THE_42:
        assert decoder.decode(f'"{name}"'.encode()) == name
    assert decoder.decode(b'"huobi"') is ExchangeId.HTX
    with pytest.raises(msgspec.ValidationError):
        decoder.decode(b'"mtgox"')


@pytest.mark.parametrize("text", ["buy", "Buy", "BUY", "b", "B"])
def test_side_decodes_every_spelling_of_buy(text):
    assert msgspec.json.decode(f'"{text}"', type=Side) is Side.BUY


@pytest.mark.parametrize("text", ["sell", "Sell", "SELL", "s", "S"])
def test_side_decodes_every_spelling_of_sell(text):
    assert msgspec.json.decode(f'"{text}"', type=Side) is Side.SELL


def test_side_rejects_other_words_and_knows_its_opposite():
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'"Unknown"', type=Side)
    with pytest.raises(ValueError, match="3"):
        Side(3)
    assert Side.BUY.opposite() is Side.SELL
    assert Side.SELL.opposite() is Side.BUY


def test_asset_names_are_interned_lower_case():
    first = asset_name_internal("XBT".lower().upper())
    second = asset_name_internal("xbt")

    assert first is second
    assert Asset.named("XBT") == Asset(
        name_internal=second, name_exchange=AssetNameExchange("XBT")
    )


@pytest.mark.parametrize(
    ("instrument", "form", "display", "kind"),
    [
        (BTC_USDT, "spot", "btc_usdt_spot", InstrumentKind.SPOT),
        (
            MarketDataInstrument.perpetual("BTC", "USDT"),
            "perpetual",
            "btc_usdt_perpetual",
            InstrumentKind.PERPETUAL,
        ),
        (
            FUTURE,
            {"future": {"expiry": 1685059200000}},
            "btc_usd_future_2023-05-26-UTC",
            InstrumentKind.FUTURE,
        ),
        (
            OPTION,
            {
                "option": {
                    "kind": "call",
                    "exercise": "european",
                    "expiry": 1735603200000,
                    "strike": "35000",
                }
            },
            "btc_usdt_option_call_european_2024-12-31-UTC_35000",
            InstrumentKind.OPTION,
        ),
    ],
)
def test_instrument_kinds_have_their_json_and_display_forms(
    instrument, form, display, kind
):
    encoded = msgspec.json.encode(instrument)

    assert json.loads(encoded)["instrument_kind"] == form
    assert msgspec.json.decode(encoded, type=MarketDataInstrument) == instrument
    assert str(instrument) == instrument.name == display
    assert instrument.kind is kind


def test_expiry_is_nanoseconds_and_absent_where_nothing_expires():
    assert FUTURE.expiry == ns(2023, 5, 26)
    assert OPTION.expiry == ns(2024, 12, 31)
    assert BTC_USDT.expiry is None


def test_a_dated_kind_is_one_thing():
    with pytest.raises(ValueError, match="exactly one"):
        DatedKind()
    with pytest.raises(ValueError, match="exactly one"):
        DatedKind(
            future=FUTURE.instrument_kind.future, option=OPTION.instrument_kind.option
        )


@pytest.mark.parametrize(("base", "quote"), [("BTC", "usdt"), ("btc", "USDT")])
def test_asset_names_of_instruments_are_lower_case(base, quote):
    with pytest.raises(ValueError, match="lower case"):
        MarketDataInstrument(base, quote)


def test_an_instrument_without_a_base_is_refused():
    with pytest.raises(ValueError, match="base=''"):
        MarketDataInstrument("", "usdt")


def test_the_flat_json_form_of_a_subscription_round_trips():
    text = (
        b'{"exchange":"binance_futures_usd","base":"btc","quote":"usdt",'
        b'"instrument_kind":"perpetual","kind":"order_books_l2"}'
    )

    subscription = parse_subscription(text)

    assert subscription == Subscription(
        ExchangeId.BINANCE_FUTURES_USD,
        MarketDataInstrument.perpetual("btc", "usdt"),
        SubKind.ORDER_BOOKS_L2,
    )
    assert subscription_to_builtins(subscription) == json.loads(text)
    assert parse_subscription(json.loads(text)) == subscription
    assert (
        str(subscription) == "(binance_futures_usd|order_books_l2|btc_usdt_perpetual)"
    )


def test_a_typo_in_a_subscription_is_an_error():
    with pytest.raises(msgspec.ValidationError, match="qoute"):
        parse_subscription(
            {
                "exchange": "okx",
                "base": "btc",
                "qoute": "usdt",
                "instrument_kind": "spot",
                "kind": "public_trades",
            }
        )


@pytest.mark.parametrize("kind", list(SubKind))
def test_sub_kinds_decode_from_both_cases(kind):
    assert SubKind(kind.value) is kind
    assert SubKind(kind.pascal) is kind
    assert SubKind.ORDER_BOOKS_L2.pascal == "OrderBooksL2"


def test_a_subscription_takes_plain_strings_and_checks_them():
    subscription = Subscription("okx", BTC_USDT, "PublicTrades")

    assert subscription.exchange is ExchangeId.OKX
    assert subscription.kind is SubKind.PUBLIC_TRADES
    with pytest.raises(ValueError, match="mtgox"):
        Subscription("mtgox", BTC_USDT, "public_trades")
    with pytest.raises(ValueError, match="gossip"):
        Subscription("okx", BTC_USDT, "gossip")
    with pytest.raises(ValueError, match="7"):
        Subscription("okx", BTC_USDT, 7)


def test_options_belong_to_their_kinds():
    with pytest.raises(ValueError, match="candles only"):
        Subscription("okx", BTC_USDT, "public_trades", interval="1m")
    with pytest.raises(ValueError, match="order_books_l2 only"):
        Subscription("okx", BTC_USDT, "candles", depth=5)
    with pytest.raises(ValueError, match="at least 1"):
        Subscription("okx", BTC_USDT, "order_books_l2", depth=0)


def test_subscriptions_are_sorted_and_de_duplicated():
    trades = Subscription("okx", BTC_USDT, "public_trades")
    books = Subscription("binance_spot", BTC_USDT, "order_books_l2")

    assert normalise_subscriptions([trades, books, trades]) == (books, trades)


def test_a_subscription_id_is_channel_and_market():
    assert subscription_id("@trade", "BTCUSDT") == "@trade|BTCUSDT"


def test_a_market_event_round_trips_exactly():
    event = MarketEvent(
        1,
        2,
        ExchangeId.OKX,
        BTC_USDT,
        PublicTrade(
            "7", Decimal("105944.20"), Decimal("0.1"), Side.BUY, flags=TradeFlag.BLOCK
        ),
    )

    encoded = msgspec.json.encode(event)

    assert b'"105944.20"' in encoded
    assert msgspec.json.decode(encoded, type=MarketEvent) == event
    assert event.kind_name == "public_trade"


def test_an_unknown_field_of_an_event_is_an_error():
    with pytest.raises(msgspec.ValidationError, match="colour"):
        msgspec.json.decode(
            b'{"type":"l2_snapshot","bids":[],"asks":[],"colour":1}',
            type=OrderBookSnapshot,
        )


def test_mids_of_the_best_levels():
    both = OrderBookL1(0, Level(Decimal(100), Decimal(1)), Level(Decimal(200), 3))
    one = OrderBookL1(0, None, Level(Decimal(200), Decimal(3)))
    nothing_behind = OrderBookL1(0, Level(Decimal(100), 0), Level(Decimal(200), 0))

    assert both.mid_price() == 150
    assert both.volume_weighted_mid() == 125
    assert one.mid_price() is None
    assert one.volume_weighted_mid() is None
    assert nothing_behind.volume_weighted_mid() == 150


def test_levels_of_books_become_numbers_best_first():
    image = OrderBookSnapshot(
        [("99.50", "1"), ("100.0", "2")], [("102", "1"), ("101", "2")]
    )
    change = OrderBookUpdate([("99.50", "0")], [("102", "1")])

    assert [level.price for level in image.bid_levels()] == [100, Decimal("99.5")]
    assert [level.price for level in image.ask_levels()] == [101, 102]
    assert change.bid_levels() == [Level(Decimal("99.50"), Decimal(0))]
    assert change.ask_levels() == [Level(Decimal(102), Decimal(1))]


def contract(kind, exchange=ExchangeId.OKX, name="BTC-USDT-X", base="btc"):
    return Instrument(
        exchange=exchange,
        name_internal=instrument_name_internal(exchange, name),
        name_exchange=InstrumentNameExchange(name),
        underlying=Underlying(
            base=asset_name_internal(base), quote=asset_name_internal("usdt")
        ),
        kind=kind,
    )


def test_internal_names_of_instruments():
    name = instrument_name_internal

    assert name(ExchangeId.BINANCE_SPOT, "BTCUSDT") == "binance_spot-btcusdt"
    assert (
        name(ExchangeId.BINANCE_SPOT, underlying="btc_usdt") == "binance_spot-btc_usdt"
    )
    with pytest.raises(ValueError, match="name_exchange"):
        name(ExchangeId.BINANCE_SPOT)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (SpotContract(), BTC_USDT),
        (
            PerpetualContract(
                contract_size=Decimal("0.01"),
                settlement_asset=asset_name_internal("usdt"),
            ),
            MarketDataInstrument.perpetual("btc", "usdt"),
        ),
        (
            FutureContract(
                contract_size=Decimal(1),
                settlement_asset=asset_name_internal("usdt"),
                expiry_ms=1685059200000,
            ),
            MarketDataInstrument.future("btc", "usdt", expiry=ns(2023, 5, 26)),
        ),
        (
            OptionContract(
                contract_size=Decimal(1),
                settlement_asset=asset_name_internal("usdt"),
                kind=OptionKind.CALL,
                exercise=OptionExercise.EUROPEAN,
                expiry_ms=1735603200000,
                strike=Decimal(35000),
            ),
            OPTION,
        ),
    ],
)
def test_an_instrument_names_its_market_data(kind, expected):
    instrument = contract(kind)
    encoded = msgspec.json.encode(instrument)

    assert instrument.market_data() == expected
    assert msgspec.json.decode(encoded, type=Instrument) == instrument


def test_a_spot_contract_is_one_unit():
    assert SpotContract().contract_size == 1


def test_an_instrument_lists_settlement_and_unit_assets_once():
    instrument = msgspec.structs.replace(
        contract(
            PerpetualContract(
                contract_size=Decimal(1), settlement_asset=asset_name_internal("xbt")
            )
        ),
        spec=InstrumentSpec(
            price=PriceSpec(min=Decimal(1), tick_size=Decimal("0.1")),
            quantity=QuantitySpec(
                unit=QuantityUnit.ASSET,
                min=Decimal(1),
                increment=Decimal(1),
                asset=asset_name_internal("eth"),
            ),
            notional=NotionalSpec(min=Decimal(5)),
        ),
    )

    assert instrument.assets() == ("btc", "usdt", "xbt", "eth")


def test_indices_are_dense_and_do_not_depend_on_the_order_given():
    one = contract(SpotContract(), name="A", base="aaa")
    two = contract(SpotContract(), ExchangeId.BINANCE_SPOT, "B", base="bbb")

    forwards = IndexedInstruments([one, two, one])
    backwards = IndexedInstruments([two, one])

    assert len(forwards) == 2
    assert forwards.instruments == backwards.instruments
    assert [k.key for k in forwards.instruments] == [0, 1]
    assert [k.key for k in forwards.assets] == [0, 1, 2, 3]
    assert [k.value for k in forwards.exchanges] == ["binance_spot", "okx"]
    assert forwards.exchange_index(ExchangeId.OKX) == 1
    assert forwards.instrument_index(ExchangeId.OKX, one.name_internal) == 1
    assert forwards.instrument(InstrumentIndex(1)) == one
    usdt = asset_name_internal("usdt")
    assert forwards.assets[forwards.asset_index(ExchangeId.OKX, usdt)].value.asset == (
        Asset.named("usdt")
    )
    assert repr(forwards) == (
        "IndexedInstruments(2 exchanges, 4 assets, 2 instruments)"
    )


def test_listing_more_instruments_keeps_existing_indices():
    one = contract(SpotContract(), name="B", base="bbb")
    listed_later = contract(SpotContract(), name="A", base="aaa")
    first = IndexedInstruments([one])

    second = first.extended([listed_later])

    assert len(first) == 1
    assert second.instrument_index(ExchangeId.OKX, one.name_internal) == 0
    assert second.instrument_index(ExchangeId.OKX, listed_later.name_internal) == 1


def test_looking_up_what_is_not_indexed_is_a_named_error():
    index = IndexedInstruments()

    with pytest.raises(UnknownIndex):
        index.exchange_index(ExchangeId.OKX)
    with pytest.raises(UnknownIndex):
        index.asset_index(ExchangeId.OKX, asset_name_internal("btc"))
    with pytest.raises(UnknownIndex):
        index.instrument_index(
            ExchangeId.OKX, instrument_name_internal(ExchangeId.OKX, "x")
        )
    with pytest.raises(UnknownIndex):
        index.instrument(InstrumentIndex(0))


@given(st.datetimes(dt.datetime(2015, 1, 1), dt.datetime(2035, 1, 1)))
def test_futures_of_any_day_round_trip(day):
    expiry = ns(day.year, day.month, day.day)
    future = MarketDataInstrument.future("btc", "usd", expiry=expiry)

    decoded = msgspec.json.decode(msgspec.json.encode(future), type=type(future))

    assert decoded.expiry == expiry
    assert day.strftime("%Y-%m-%d") in decoded.name


def test_every_public_name_of_the_models_is_exported_sorted_and_documented():
    assert models.__all__ == sorted(models.__all__)
    for name in models.__all__:
        assert hasattr(models, name)


def test_importing_the_models_stays_light():
    code = (
        "import sys, integration.models;"
        "print([m for m in ('trio','httpx','ssl','socket') if m in sys.modules])"
    )

    out = subprocess.run(  # noqa: S603  our own interpreter and a constant program
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert out.stdout.strip() == "[]"
