import pytest

from integration.execution import UnknownInstrument
from integration.execution.instrument_map import InstrumentMap
from integration.models import ExchangeId


def test_names_lead_both_ways(kit):
    listed = [kit.spot(), kit.spot("ETHUSDT", "eth")]
    named = InstrumentMap(kit.exchange, listed)

    assert list(named) == listed
    assert len(named) == 2
    for one in listed:
        assert named[one.name_internal] is one
        assert named.symbol(one.name_internal) == one.name_exchange
        assert named.of_symbol(one.name_exchange) is one
        assert named.name(one.name_exchange) == one.name_internal
        assert one.name_internal in named


def test_what_was_not_given_is_unknown_but_has_a_name(kit):
    named = InstrumentMap(kit.exchange, [])

    with pytest.raises(UnknownInstrument, match="load them"):
        named[kit.name]
    assert named.of_symbol("BTCUSDT") is None
    assert named.name("BTCUSDT") == kit.name


def test_another_exchanges_terms_are_refused(kit):
    with pytest.raises(ValueError, match="not of okx"):
        InstrumentMap(ExchangeId.OKX, [kit.spot()])
