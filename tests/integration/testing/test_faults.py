"""Faults as values: scripts, and what they do to a stream of messages."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.testing.faults import (
    BadChecksum,
    Duplicate,
    Fault,
    FaultScriptError,
    Gap,
    Malformed,
    MalformedForm,
    MessageFaults,
    MessageKind,
    Oversized,
    Reorder,
    Restart,
    ScheduledFault,
    SilentStop,
    StreamMessage,
    load_script,
    malformed_payload,
    oversized_payload,
)


def depth(number, symbol="A", topic="fast"):
    return StreamMessage(topic, symbol, MessageKind.DEPTH, str(number))


def quote(number, symbol="A"):
    return StreamMessage("quote", symbol, MessageKind.QUOTE, str(number))


def sent(faults, events):
    return [m.payload for event in events for m in faults.shape(event)]


def armed(*faults):
    shaper = MessageFaults()
    for fault in faults:
        shaper.arm(fault)
    return shaper


EVENTS = [[depth(n)] for n in range(6)]


def test_nothing_armed_changes_nothing():
    assert sent(armed(), EVENTS) == ["0", "1", "2", "3", "4", "5"]


def test_a_gap_loses_as_many_as_it_says():
    assert sent(armed(Gap(symbol="A", count=2)), EVENTS) == ["2", "3", "4", "5"]


def test_a_duplicate_comes_twice():
    expected = ["0", "0", "1", "1", "2", "3", "4", "5"]
    assert sent(armed(Duplicate(symbol="A", count=2)), EVENTS) == expected


def test_a_swap_changes_two_neighbours():
    assert sent(armed(Reorder(symbol="A")), EVENTS) == ["1", "0", "2", "3", "4", "5"]


def test_a_checksum_is_falsified_and_nothing_else():
    message = StreamMessage("t", "A", MessageKind.DEPTH, '{"x":5,"checksum":-6,"u":7}')
    shaper = armed(BadChecksum(symbol="A", count=2))

    first, second, third = sent(shaper, [[message], [depth(8)], [message]])
    assert json.loads(first)["checksum"] != -6
    assert {k: v for k, v in json.loads(first).items() if k != "checksum"} == {
        "x": 5,
        "u": 7,
    }
    assert second == "8"  # a venue that sends none
    assert third == message.payload


def test_faults_strike_one_after_another():
    shaper = armed(Reorder(symbol="A"), Gap(symbol="A"), Duplicate(symbol="A"))

    assert sent(shaper, EVENTS) == ["1", "0", "3", "3", "4", "5"]


def test_only_depth_of_the_symbol_is_struck():
    shaper = armed(Gap(symbol="A"))

    assert sent(shaper, [[depth(1, "B")], [quote(2)], []]) == ["1", "2"]
    assert sent(shaper, [[depth(3), quote(4)]]) == ["4"]
    assert sent(shaper, [[depth(5)]]) == ["5"]


def test_every_speed_of_one_event_is_struck_alike():
    event = [depth(1, topic="fast"), depth(2, topic="slow")]

    assert sent(armed(Gap(symbol="A")), [event, event]) == ["1", "2"]
    assert sent(armed(Reorder(symbol="A")), [event, [depth(3)]]) == ["3", "1", "2"]


@given(st.lists(st.sampled_from([Gap, Duplicate, Reorder]), max_size=5))
def test_no_message_appears_from_nowhere(kinds):
    shaper = armed(*(kind(symbol="A") for kind in kinds))
    events = [[depth(n)] for n in range(20)]

    payloads = sent(shaper, events)

    assert set(payloads) <= {str(n) for n in range(20)}
    lost = kinds.count(Gap)
    assert len(payloads) == 20 - lost + kinds.count(Duplicate)


# ---- scripts


def test_a_script_is_read(tmp_path):
    path = tmp_path / "faults.json"
    path.write_text(
        '[{"after_ms": 5, "fault": {"type": "gap", "symbol": "BTCUSDT"}},'
        ' {"after_ms": 9, "fault": {"type": "restart", "downtime_ms": 20}},'
        ' {"after_ms": 9, "fault": {"type": "silent_stop"}}]'
    )

    assert load_script(path) == [
        ScheduledFault(after_ms=5, fault=Gap(symbol="BTCUSDT", count=1)),
        ScheduledFault(after_ms=9, fault=Restart(downtime_ms=20)),
        ScheduledFault(after_ms=9, fault=SilentStop(duration_ms=None)),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file"),
        ("[{", "not a fault script"),
        ('[{"after_ms": 1, "fault": {"type": "gab"}}]', r"\$\[0\]\.fault"),
        ('[{"after_ms": 1, "fault": {"type": "gap", "symbl": "X"}}]', "symbl"),
        ('[{"after": 1, "fault": {"type": "half_open"}}]', "after"),
    ],
)
def test_a_script_that_is_wrong_is_named(tmp_path, text, said):
    path = tmp_path / "faults.json"
    if text is not None:
        path.write_text(text)

    with pytest.raises(FaultScriptError, match=said) as refused:
        load_script(path)
    assert str(path) in str(refused.value)


def test_every_fault_can_stand_in_a_script():
    kinds = Fault.__args__
    assert len(kinds) == 15
    for kind in kinds:
        required = {
            field.name: 5 if field.type is int else "X"
            for field in msgspec.structs.fields(kind)
            if field.required
        }
        entry = ScheduledFault(after_ms=1, fault=kind(**required))
        text = msgspec.json.encode([entry])
        assert msgspec.json.decode(text, type=list[ScheduledFault]) == [entry]


# ---- payloads


@pytest.mark.parametrize("form", list(MalformedForm))
def test_every_form_is_broken_in_its_own_way(form):
    payload = malformed_payload(Malformed(form=form, symbol="ETHUSDT"))

    match form:
        case MalformedForm.NOT_JSON | MalformedForm.TRUNCATED | MalformedForm.EMPTY:
            with pytest.raises(json.JSONDecodeError):
                json.loads(payload)
        case MalformedForm.INVALID_UTF8 | MalformedForm.RESERVED_BIT:
            assert isinstance(payload, bytes)
            assert payload[1] == len(payload) - 2
        case MalformedForm.UNKNOWN_EVENT:
            assert json.loads(payload)["e"] == "somethingNew"
        case _:
            message = json.loads(payload)
            assert (message["e"], message["s"]) == ("depthUpdate", "ETHUSDT")


@pytest.mark.parametrize("size", [16, 17, 1000])
def test_an_oversized_payload_has_its_size(size):
    text = oversized_payload(Oversized(size=size))

    assert len(text) == size
    assert json.loads(text)["e"] == "x"
