"""The compiled loops and their source, interpreted, give the same."""

import importlib.util
import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration import market
from integration.market import _speedups, books, checksums
from integration.market.speedups import BUILT
from integration.models import AmountUnit, ExchangeId, MarketDataInstrument

SOURCE = Path(market.__file__).parent / "_speedups.py"
BTC = MarketDataInstrument.spot("btc", "usdt")
NOW = 1_700_000_000_000_000_000


def interpreted():
    """The module as it is where nothing was built."""
    loader = SourceFileLoader("interpreted_intake", str(SOURCE))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def shape(module):
    """A message with every hole that is looked at."""
    return module.Shape(
        [b'{"s":"', b'","i":', b',"p":"', b'","q":"', b'","T":', b',"m":', b"}"],
        ["symbol", "id", "price", "amount", "time", "maker"],
        [True, False, True, True, False, False],
        exchange=ExchangeId.OKX,
        routes={"BTC": BTC},
        units=(AmountUnit.BASE, AmountUnit.CONTRACT),
        unsaid=None,
    )


SOURCE_MODULE = interpreted()
PLAIN, USED = shape(SOURCE_MODULE), shape(_speedups)
TRADE = b'{"s":"BTC","i":12,"p":"1.50","q":".25","T":1749354825200,"m":true}'


def test_both_read_a_trade():
    assert repr(PLAIN.read(TRADE, NOW)) == repr(USED.read(TRADE, NOW))
    assert USED.read(TRADE, NOW).kind.id == "12"


@given(st.data())
def test_both_take_and_leave_the_same_messages(data):
    payload = bytearray(TRADE)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(payload) - 1))
        end = data.draw(st.integers(at, min(at + 2, len(payload))))
        payload[at:end] = data.draw(
            st.sampled_from([b"", b"0", b"9", b".", b'"', b"\\"])
        )

    message = bytes(payload)

    assert repr(PLAIN.read(message, NOW)) == repr(USED.read(message, NOW))


@pytest.mark.parametrize("size", range(len(TRADE)))
def test_a_message_cut_short_has_no_shape(size):
    assert PLAIN.read(TRADE[:size], NOW) is None
    assert USED.read(TRADE[:size], NOW) is None


@pytest.mark.parametrize("number", [b"", b".", b"1..5", b"1.2.3", b"-1", b"1e3", b"+1"])
@pytest.mark.parametrize("field", [b'"p":"1.50"', b'"q":".25"'])
def test_what_is_no_plain_number_is_left_to_the_decoder(number, field):
    message = TRADE.replace(field, field[:5] + number + b'"')

    assert PLAIN.read(message, NOW) is None
    assert USED.read(message, NOW) is None


NUMBERS = st.one_of(
    st.decimals(0, 10**9, places=3).map(str),
    st.decimals(0, 10**12, places=9).map(lambda number: f"{number:f}"),
    st.text("0123456789.-e\u0664 ", max_size=20),
    st.sampled_from(["0", "0.000", "", ".", "1.", ".5", "007.50", "1" * 70]),
)
RAW = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=8)


@given(RAW, st.sampled_from([1, -1]), st.integers(0, 12))
def test_both_parse_and_refuse_the_same_levels(raw, sign, scale):
    plain, used = {}, {}

    fits = _speedups.changes(raw, sign, scale, used)

    assert SOURCE_MODULE.changes(raw, sign, scale, plain) == fits
    if fits:
        assert list(plain.items()) == list(used.items())


@given(RAW, st.sampled_from([1, -1]), st.integers(0, 12))
def test_levels_parsed_by_loops_are_those_of_the_book(raw, sign, scale):
    """The plain way, whatever spellings the loops take."""
    found = {}
    if not SOURCE_MODULE.changes(raw, sign, scale, found):
        return
    side = books._Side(sign)
    side._rescale(scale)

    parsed = side._parse(raw)

    assert side.scale == scale
    assert parsed == found


TICKS = st.integers(-30, 30) | st.integers(-(10**20), 10**20)


@given(
    st.dictionaries(TICKS, st.tuples(st.text(), st.text()), max_size=40),
    st.dictionaries(TICKS, st.none() | st.tuples(st.text(), st.text()), max_size=40),
)
def test_both_change_and_sort_a_side_alike(levels, parsed):
    sides = []
    for module in (SOURCE_MODULE, _speedups):
        by_tick, moved, keys = dict(levels), set(), sorted(levels)
        module.apply(by_tick, moved, parsed)
        done = module.mend(keys, by_tick, moved)
        assert keys == sorted(by_tick if done else levels)
        sides.append(
            (by_tick, moved, keys, done, module.top(keys, {**levels, **by_tick}, 7))
        )

    assert sides[0] == sides[1]
    assert sides[0][0] == {
        tick: level for tick, level in {**levels, **parsed}.items() if level is not None
    }


@given(RAW, RAW)
def test_both_join_bids_and_asks_in_turn(bids, asks):
    joined = _speedups.in_turn(bids, asks)

    assert joined == SOURCE_MODULE.in_turn(bids, asks) == checksums._in_turn(bids, asks)


@pytest.mark.parametrize("pure", [None, "", "0", "1"])
def test_the_environment_may_forbid_compiled_code(pure):
    env = {key: value for key, value in os.environ.items() if key != "INTEGRATION_PURE"}
    if pure is not None:
        env["INTEGRATION_PURE"] = pure
    code = "from integration.market.speedups import COMPILED; print(COMPILED)"
    done = subprocess.run(  # noqa: S603  our own code in our own interpreter
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == str(BUILT and pure != "1")
