import math
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import Serialise
from integration.metric import (
    Bool,
    Field,
    Float,
    Int,
    Metric,
    String,
    Tag,
    UInt,
    encode_influx,
    encode_prometheus,
)


def metric(name="m", tags=(), time=1_700_000_000_000, **fields):
    return Metric(
        name=name,
        time=time,
        tags=tuple(Tag(key=k, value=v) for k, v in tags),
        fields=tuple(Field(key=k, value=v) for k, v in fields.items()),
    )


FULL = metric(
    "http_request_duration",
    [("path", "/a b"), ("http_method", "GET")],
    duration=Int(-12),
    bytes=UInt(2**63),
    ratio=Float(0.1),
    ok=Bool(True),
    error=String('say "no"\\'),
)


def test_a_metric_survives_json():
    text = msgspec.json.encode(FULL)

    assert msgspec.json.decode(text, type=Metric) == FULL


def test_tags_and_fields_are_found_by_key():
    assert FULL.tag("http_method") == "GET"
    assert FULL.tag("nope") is None
    assert FULL.field("duration") == -12
    assert FULL.field("nope") is None


def test_influx_lines_have_sorted_tags_typed_fields_and_the_time():
    assert encode_influx([FULL]).decode() == (
        "http_request_duration,http_method=GET,path=/a\\ b "
        "duration=-12i,bytes=9223372036854775808u,ratio=0.1,ok=true,"
        'error="say \\"no\\"\\\\" 1700000000000\n'
    )


def test_influx_escapes_what_separates_and_drops_empty_tags():
    line = encode_influx([metric("a,b c", [("k=,", "v w="), ("e", "")], x=Int(1))])

    assert line == b"a\\,b\\ c,k\\=\\,=v\\ w\\= x=1i 1700000000000\n"


@pytest.mark.parametrize(
    "bad",
    [
        metric(),
        metric(x=Float(math.nan)),
        metric(x=Float(math.inf)),
        metric(x=Int(2**63)),
        metric(x=UInt(-1)),
        metric(x=UInt(2**64)),
        metric("a\nb", x=Int(1)),
        metric("", x=Int(1)),
        metric(tags=[("k", "v\\")], x=Int(1)),
        metric(tags=[("k\r", "v")], x=Int(1)),
    ],
)
def test_influx_refuses_what_it_cannot_hold(bad):
    with pytest.raises(Serialise):
        encode_influx([bad])


PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\\"), min_size=1)


@given(PLAIN, st.dictionaries(PLAIN, PLAIN, max_size=3), st.text())
def test_an_influx_line_reads_back(name, tags, text):
    """A reader of the grammar, written apart: splits at unescaped separators."""
    written = encode_influx([metric(name, tags.items(), x=String(text))]).decode()

    head, rest = _split(written.removesuffix("\n"), " ", 1)
    parts = _split(head, ",")
    pairs = dict(_split(part, "=", 1) for part in parts[1:])
    assert _plain(parts[0]) == name
    assert {_plain(k): _plain(v) for k, v in pairs.items()} == tags
    quoted = rest.removeprefix('x="').removesuffix('" 1700000000000')
    assert re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL) == text


def _split(text, separator, most=-1):
    parts, current, escaped = [], "", False
    for index, char in enumerate(text):
        if escaped:
            current += char
            escaped = False
        elif char == "\\":
            current += char
            escaped = True
        elif char == separator and most != 0:
            parts.append(current)
            current = ""
            most -= 1
            if most == 0:
                return [*parts, text[index + 1 :]]
        else:
            current += char
    return [*parts, current]


def _plain(text):
    for char in ",= ":
        text = text.replace("\\" + char, char)
    return text


def test_prometheus_has_one_family_per_field_with_its_type():
    assert encode_prometheus([FULL]).decode().splitlines() == [
        "# TYPE http_request_duration_duration untyped",
        'http_request_duration_duration{http_method="GET",path="/a b"} '
        "-12 1700000000000",
        "# TYPE http_request_duration_bytes untyped",
        'http_request_duration_bytes{http_method="GET",path="/a b"} '
        "9223372036854775808 1700000000000",
        "# TYPE http_request_duration_ratio untyped",
        'http_request_duration_ratio{http_method="GET",path="/a b"} 0.1 1700000000000',
        "# TYPE http_request_duration_ok untyped",
        'http_request_duration_ok{http_method="GET",path="/a b"} 1 1700000000000',
        "# TYPE http_request_duration_error_info untyped",
        'http_request_duration_error_info{http_method="GET",path="/a b",'
        'value="say \\"no\\"\\\\"} 1 1700000000000',
    ]


def test_prometheus_keeps_a_family_together_and_the_newest_sample_of_each():
    samples = [
        metric(time=2, tags=[("v", "a")], x=Int(20)),
        metric(time=9, tags=[("v", "b")], x=Int(5)),
        metric(time=1, tags=[("v", "a")], x=Int(10)),
        metric(time=3, tags=[("v", "a")], x=Int(30)),
        metric(time=2, tags=[("v", "a")], x=Int(40)),
    ]

    assert encode_prometheus(samples).decode() == (
        '# TYPE m_x untyped\nm_x{v="a"} 30 3\nm_x{v="b"} 5 9\n'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(math.nan, "NaN"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (1e22, "1e+22")],
)
def test_prometheus_has_words_for_what_is_not_finite(value, text):
    written = encode_prometheus([metric(x=Float(value))]).decode()

    assert written.splitlines()[1] == f"m_x {text} 1700000000000"


def test_prometheus_names_are_made_valid():
    written = encode_prometheus([metric("9 lives:a", [("a:b-c", "x\ny")], y=Int(1))])

    assert written.decode().splitlines()[1].startswith('_9_lives:a_y{a_b_c="x\\ny"} 1 ')
