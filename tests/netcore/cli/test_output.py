"""Printing what strangers sent, and to whom."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.cli.output import (
    Output,
    json_payload,
    octets,
    preview,
    printable,
    size_text,
)


@given(st.text())
def test_nothing_that_steers_a_terminal_is_left(text):
    shown = printable(text, one_line=True)

    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in shown)
    assert not set(shown) & set("\u202e\u2066\u200f")


def test_line_ends_and_tabs_stay_where_they_may():
    assert printable("a\tb\nc\x1b[2J") == "a\tb\nc\\x1b[2J"
    assert printable("a\tb\nc\u2028", one_line=True) == "a\\x09b\\x0ac\\u2028"
    assert printable("\u202eevil") == "\\u202eevil"


@given(st.binary())
def test_octets_can_be_read_back(data):
    # Python reads the same escapes.
    assert octets(data).encode().decode("unicode_escape").encode("latin-1") == data


def test_a_preview_is_one_line_and_no_longer_than_asked():
    assert preview(b"short") == "short"
    assert preview(b"x" * 61) == "x" * 60 + "..."
    assert preview(b"\xff\x00") == "\\xff\\x00"
    assert preview("é".encode()[:1]) == "\\xc3"


def test_a_cut_character_does_not_make_text_binary():
    data = ("a" * 9 + "é").encode()[:10]

    assert preview(data, more=True) == "a" * 9 + "..."


@given(st.binary())
def test_a_payload_goes_through_json(data):
    found = json_payload(data)

    import base64

    back = (
        base64.b64decode(found["base64"])
        if "base64" in found
        else found["text"].encode()
    )
    assert back == data


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (5 << 20, "5.0 MiB"),
        (1 << 45, "32768.0 GiB"),
    ],
)
def test_sizes_for_people(size, text):
    assert size_text(size) == text


def test_results_and_notes_go_separate_ways():
    out, err = io.StringIO(), io.StringIO()
    output = Output(json=True, out=out, err=err)

    output.event("thing", value=1, text="é")
    output.note("by the way")

    assert json.loads(out.getvalue()) == {"event": "thing", "value": 1, "text": "é"}
    assert err.getvalue() == "netcore: by the way\n"
    assert not output.watched


def test_a_quiet_output_says_nothing_beside_results():
    out, err = io.StringIO(), io.StringIO()
    output = Output(quiet=True, out=out, err=err)

    output.note("by the way")
    output.progress("10 %")
    output.line("result")

    assert (out.getvalue(), err.getvalue()) == ("result\n", "")
