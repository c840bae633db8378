"""The compiled reader of trades and its source, interpreted, give the same."""

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
from integration.market import _speedups
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


PLAIN, USED = shape(interpreted()), shape(_speedups)
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
