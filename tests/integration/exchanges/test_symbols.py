import datetime as dt
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import DataError
from integration.exchanges.registry import connector_for
from integration.models import ExchangeId, MarketDataInstrument, OptionKind

SYMBOLS = Path(__file__).resolve().parents[3] / "../shared/data/wire/symbols.json"


def rows():
    return json.loads(SYMBOLS.read_bytes())["symbols"] if SYMBOLS.exists() else []


def ns(text):
    return int(dt.datetime.fromisoformat(text).timestamp()) * 10**9


def instrument_of(want):
    base, quote, kind = want["base"], want["quote"], want["kind"]
    if kind in {"spot", "perpetual"}:
        return MarketDataInstrument(base, quote, kind)
    expiry = ns(want["expiry"])
    if kind == "future":
        return MarketDataInstrument.future(base, quote, expiry=expiry)
    return MarketDataInstrument.option(
        base,
        quote,
        kind=OptionKind(want["option_kind"]),
        strike=Decimal(want["strike"]),
        expiry=expiry,
    )


def test_the_published_symbols_are_there():
    if not SYMBOLS.exists():
        pytest.skip(f"{SYMBOLS} absent")
    assert len(rows()) >= 26


@pytest.mark.parametrize("row", rows(), ids=lambda r: f"{r['exchange']}-{r['native']}")
def test_published_symbol_both_ways(row):
    connector = connector_for(ExchangeId(row["exchange"]))
    instrument = instrument_of(row["instrument"])

    assert connector.native(instrument) == row["native"]
    assert connector.instrument(row["native"]) == instrument


days = st.one_of(
    st.dates(dt.date(2020, 1, 1), dt.date(2039, 12, 31)),
    # Where the ISO week's year is not the calendar's.
    st.builds(
        lambda year, day: dt.date(year, 12, day),
        st.integers(2020, 2038),
        st.integers(29, 31),
    ),
    st.builds(
        lambda y, day: dt.date(y, 1, day), st.integers(2021, 2039), st.integers(1, 3)
    ),
)
names = st.from_regex(r"[a-z]{3,5}", fullmatch=True)
strikes = st.integers(1, 10**6).map(Decimal)

DATED = {
    ExchangeId.OKX: 0,
    ExchangeId.DERIBIT: 8,
    ExchangeId.GATEIO_FUTURES_USD: 0,
    ExchangeId.BINANCE_FUTURES_COIN: 8,
}


@given(st.sampled_from(sorted(DATED)), days)
def test_futures_of_any_day_keep_their_calendar_date(exchange, day):
    moment = dt.datetime(day.year, day.month, day.day, DATED[exchange], tzinfo=dt.UTC)
    expiry = int(moment.timestamp()) * 10**9
    future = MarketDataInstrument.future("btc", "usd", expiry=expiry)
    connector = connector_for(exchange)

    symbol = connector.native(future)

    assert f"{day:%y}" in symbol
    assert connector.instrument(symbol) == future


@given(
    st.sampled_from([ExchangeId.OKX, ExchangeId.DERIBIT, ExchangeId.GATEIO_OPTIONS]),
    names,
    days,
    strikes,
    st.sampled_from(OptionKind),
)
def test_options_of_any_terms_round_trip(exchange, base, day, strike, kind):
    hour = 8 if exchange is ExchangeId.DERIBIT else 0
    moment = dt.datetime(day.year, day.month, day.day, hour, tzinfo=dt.UTC)
    expiry = int(moment.timestamp()) * 10**9
    option = MarketDataInstrument.option(
        base, "usdt", kind=kind, strike=strike, expiry=expiry
    )
    connector = connector_for(exchange)

    assert connector.instrument(connector.native(option)) == option


def test_a_fractional_strike_of_deribit_is_written_with_a_d():
    symbol = "XRP_USDC-30JUN23-0d625-C"
    connector = connector_for(ExchangeId.DERIBIT)

    option = connector.instrument(symbol)

    assert option.instrument_kind.option.strike == Decimal("0.625")
    assert connector.native(option) == symbol


@pytest.mark.parametrize(
    ("exchange", "symbol"),
    [
        ("binance_spot", "BTCXYZ"),
        ("binance_spot", "USDT"),
        ("binance_futures_usd", "BTCUSDT_ABCDEF"),
        ("binance_futures_coin", "BTCUSD_241332"),
        ("bybit_spot", "NOQUOTE"),
        ("okx", "BTC"),
        ("okx", "BTC-USD-2305266"),
        ("okx", "BTC-USD-230532"),
        ("okx", "BTC-USD-231229-35000-X"),
        ("okx", "BTC-USD-231229-many-C"),
        ("kraken", "XBTUSD"),
        ("kraken_v2", "BTCUSD"),
        ("coinbase", "BTCUSD"),
        ("coinbase_advanced", "-USD"),
        ("gateio_spot", "BTCUSDT"),
        ("gateio_futures_usd", "BTC_USDT_QUARTERLY_20201325"),
        ("gateio_options", "BTC_USDT-2024-35000-C"),
        ("bitfinex", "BTCUSD"),
        ("bitfinex", "tAVAXUSD"),
        ("bitmex", "XBTZ24"),
        ("bitstamp", "btcxyz"),
        ("deribit", "BTC"),
        ("deribit", "BTC-31FEB21"),
        ("deribit", "BTC-24XYZ21"),
        ("deribit", "BTC-24SEP21-8000-Q"),
    ],
)
def test_what_is_not_spelled_as_the_venue_spells_is_a_named_error(exchange, symbol):
    with pytest.raises(DataError, match=symbol.split("_")[0]):
        connector_for(ExchangeId(exchange)).instrument(symbol)


def test_bybit_names_contracts_in_usdc_otherwise():
    connector = connector_for(ExchangeId.BYBIT_PERPETUALS_USD)
    perpetual = MarketDataInstrument.perpetual("btc", "usdc")

    assert connector.native(perpetual) == "BTCPERP"
    assert connector.instrument("BTCPERP") == perpetual


def test_coin_margined_contracts_of_binance_say_perp():
    connector = connector_for(ExchangeId.BINANCE_FUTURES_COIN)
    perpetual = MarketDataInstrument.perpetual("btc", "usd")

    assert connector.native(perpetual) == "BTCUSD_PERP"
    assert connector.instrument("BTCUSD_PERP") == perpetual


def test_a_quote_that_ends_in_another_is_read_right():
    coin = connector_for(ExchangeId.BINANCE_FUTURES_COIN).instrument("DOTUSD_PERP")
    spot = connector_for(ExchangeId.BINANCE_SPOT).instrument("BTCFDUSD")

    assert (coin.base, coin.quote) == ("dot", "usd")
    assert (spot.base, spot.quote) == ("btc", "fdusd")


def test_hyperliquid_names_the_coin_alone():
    connector = connector_for(ExchangeId.HYPERLIQUID)

    assert connector.native(MarketDataInstrument.perpetual("btc", "usd")) == "BTC"
    assert connector.native(connector.instrument("kPEPE")) == "kPEPE"
