"""The names of FIX, against the lists that another engine ships."""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from netcore.cli.fixvalues import VALUES
from netcore.cli.fixwords import (
    field_name,
    group_members,
    is_secret,
    message_name,
    value_name,
)

SPEC = Path(sys.prefix) / "share" / "quickfix" / "FIX44.xml"


def test_what_everybody_knows():
    assert [field_name(t) for t in (1, 35, 54, 268, 553)] == [
        "Account", "MsgType", "Side", "NoMDEntries", "Username",
    ]  # fmt: skip
    assert [message_name(k) for k in ("0", "A", "D", "8", "AE")] == [
        "Heartbeat", "Logon", "NewOrderSingle", "ExecutionReport", "TradeCaptureReport",
    ]  # fmt: skip
    assert value_name(54, b"2") == "SELL"
    assert value_name(35, b"8") == "ExecutionReport"
    assert value_name(18, b"1 6") == "NOT_HELD, PARTICIPATE_DO_NOT_INITIATE"
    assert group_members(268) >= {269, 270, 271, 273}
    assert is_secret(554)


def test_what_nobody_knows_has_no_name():
    assert (field_name(4999), message_name("??"), value_name(54, b"?")) == ("", "", "")
    assert value_name(18, b"1 ?") == ""
    assert value_name(11, b"1") == ""
    assert group_members(55) is None
    assert not is_secret(54)


@pytest.fixture(scope="module")
def spec():
    if not SPEC.exists():
        pytest.skip("no QuickFIX with its dictionary is installed")
    return ET.parse(SPEC).getroot()  # noqa: S314 - a file of an installed package


def test_names_of_fields_and_messages_are_those_of_the_standard(spec):
    fields = {int(f.get("number")): f.get("name") for f in spec.find("fields")}
    assert len(fields) > 900
    assert {tag: field_name(tag) for tag in fields} == fields

    kinds = {m.get("msgtype"): m.get("name") for m in spec.find("messages")}
    assert {kind: message_name(kind) for kind in kinds} == kinds


def test_names_of_values_are_those_of_the_standard(spec):
    checked = 0
    for field in spec.find("fields"):
        tag = int(field.get("number"))
        if tag not in VALUES:
            continue
        for value in field.findall("value"):
            code, name = value.get("enum"), value.get("description")
            if len(code) <= 2:
                assert value_name(tag, code.encode()) == name, (tag, code)
                checked += 1
    assert checked > 400


def test_groups_hold_what_the_standard_puts_into_them(spec):
    number = {f.get("name"): int(f.get("number")) for f in spec.find("fields")}
    parts = {c.get("name"): c for c in spec.find("components")}

    def tags(node):
        for child in node:
            if child.tag == "component":
                yield from tags(parts[child.get("name")])
            else:
                yield number[child.get("name")]

    groups = list(spec.iter("group"))
    assert len(groups) > 50
    for group in groups:
        assert group_members(number[group.get("name")]) >= set(tags(group))
