"""FIX logs of all kinds: separators, prefixes, cuts, damage."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.cli.fixlog import FixEntry, FixLog, Garbage, explain
from netcore.fix import checksum, encode

HEAD = [(8, "FIX.4.4"), (35, "D"), (49, "ME"), (56, "YOU")]
ORDER = encode([*HEAD, (34, 2), (11, "A1"), (54, 1), (58, "a=b c")])
OTHER = encode([*HEAD, (34, 3), (11, "A2"), (54, 2)])


def decode(*pieces: bytes, **how):
    log = FixLog(**how)
    found = [entry for piece in pieces for entry in log.feed(piece)]
    return log, found + log.finish()


def chop(data: bytes, cuts) -> list[bytes]:
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    return [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]


@pytest.mark.parametrize("separator", [b"|", b"^A", b";", b"\x01"])
@given(cuts=st.lists(st.integers(0, 400), max_size=6))
def test_a_log_of_lines_is_read_with_its_prefixes(separator, cuts):
    first, second = (m.replace(b"\x01", separator) for m in (ORDER, OTHER))
    text = b"connected\n12:00:01 OUT " + first + b"\r\n12:00:02 IN  " + second + b"\n"

    log, found = decode(*chop(text, cuts))

    assert [(e.offset, e.line, e.prefix) for e in found] == [
        (text.index(b"8="), 2, "12:00:01 OUT"),
        (text.rindex(b"8=FIX"), 3, "12:00:02 IN"),
    ]
    assert [e.message.raw for e in found] == [ORDER, OTHER]
    assert log.skipped == len(text) - len(first) - len(second) - (
        0 if separator == b"\x01" else 3
    )


@given(st.lists(st.integers(0, 400), max_size=6))
def test_a_stream_without_lines_is_read_alike(cuts):
    _, found = decode(*chop(ORDER + OTHER + ORDER, cuts))

    assert [(e.offset, e.line) for e in found] == [
        (0, 1), (len(ORDER), 1), (len(ORDER + OTHER), 1),
    ]  # fmt: skip


def test_line_ends_in_values_split_no_message():
    odd = encode([*HEAD, (34, 4), (58, "two\nlines")])

    _, found = decode(b"x " + odd + b"\ny " + ORDER + b"\n")

    assert [(e.message.raw, e.prefix) for e in found] == [(odd, "x"), (ORDER, "y")]


def test_a_last_separator_that_the_logger_left_out_is_no_damage():
    line = ORDER.replace(b"\x01", b"|").removesuffix(b"|")

    _, found = decode(line + b"\n")

    assert [e.message.raw for e in found] == [ORDER]


def test_a_last_line_needs_no_end():
    _, found = decode(ORDER.replace(b"\x01", b"|"))
    assert [e.message.raw for e in found] == [ORDER]


def wrong_sum(message: bytes) -> bytes:
    total = (checksum(message[:-7]) + 1) % 256
    return message[:-7] + b"10=%03d\x01" % total


@pytest.mark.parametrize("separator", [b"|", b"\x01"])
def test_a_garbled_line_is_told_with_place_and_cause_and_the_next_is_read(separator):
    bad = wrong_sum(ORDER)
    text = b"a " + bad + b"\nb " + OTHER + b"\n"
    text = text.replace(b"\x01", separator)

    _, (garbage, entry) = decode(text)

    assert isinstance(garbage, Garbage)
    assert (garbage.offset, garbage.line) == (2, 1)
    assert garbage.head.startswith(bad.replace(b"\x01", separator))
    assert re.fullmatch(
        r"CheckSum \(10\) says \d{3}, the bytes sum to \d{3}", garbage.cause
    )
    assert isinstance(entry, FixEntry)
    assert (entry.prefix, entry.line, entry.message.raw) == ("b", 2, OTHER)
    assert entry.offset == text.rindex(b"8=FIX")


def test_remains_of_messages_between_messages_are_garbage():
    _, found = decode(ORDER + b"35=D\x0111=A9\x01at " + OTHER)

    assert [type(e) for e in found] == [FixEntry, Garbage, FixEntry]
    assert (found[1].offset, found[1].size) == (len(ORDER), 11)
    assert found[1].cause == "bytes outside of any message"
    assert found[2].prefix == "at"


def test_a_connections_bytes_may_hold_nothing_else():
    log, found = decode(ORDER + b"text" + OTHER + b"end", raw=True)

    assert [(e.offset, getattr(e, "size", None)) for e in found] == [
        (0, None),
        (len(ORDER), 4),
        (len(ORDER) + 4, None),
        (len(ORDER) + 4 + len(OTHER), 3),
    ]
    assert log.skipped == 0


def test_a_message_cut_off_at_the_end_is_told():
    _, found = decode(ORDER + OTHER[:-3])

    assert found[1].offset == len(ORDER)
    assert found[1].cause.startswith("the last message is not complete")


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_any_bytes_at_all_are_read_to_their_end(data, cuts):
    for text in (data, ORDER + data + OTHER, data + b"\n" + ORDER):
        whole = decode(text)[1]
        pieces = decode(*chop(text, cuts))[1]
        assert [e for e in whole if isinstance(e, FixEntry)] == [
            e for e in pieces if isinstance(e, FixEntry)
        ]
        if text.startswith(ORDER):
            assert whole[0].message.raw == ORDER


def test_a_log_without_messages_is_all_text():
    log, found = decode(b"starting\nstopping\n" * 20)

    assert (found, log.skipped) == ([], 360)


@pytest.mark.parametrize(
    ("raw", "cause"),
    [
        (b"8=FIX.4.4\x0135=D\x01", "BodyLength (9) does not follow BeginString (8)"),
        (
            b"8=FIX.4.4\x019=5\x0111=A\x01",
            "MsgType (35) does not follow BodyLength (9)",
        ),
        (b"8=FIX.4.4\x019=5\x0135=D\x01", "there is no CheckSum (10)"),
        (
            b"8=FIX.4.4\x019=9\x0135=D\x0110=000\x01",
            "BodyLength (9) says 9, there are 5 bytes",
        ),
        (
            b"8=FIX.4.4\x019=5\x0135=D\x0110=000\x01",
            "CheckSum (10) says 000, the bytes sum to 183",
        ),
    ],
)
def test_each_damage_has_its_words(raw, cause):
    assert explain(raw) == cause


def test_a_field_without_a_tag_is_the_last_explanation():
    body = b"8=FIX.4.4\x019=13\x0135=D\x01nonsens\x01"
    raw = body + b"10=%03d\x01" % checksum(body)
    assert explain(raw) == "a field has no tag, or a data field not its length"
    assert isinstance(decode(raw, raw=True)[1][0], Garbage)


def test_a_prefix_belongs_to_the_first_message_of_its_line():
    _, found = decode(b"12:00 " + ORDER + OTHER + b"\n" + ORDER)

    assert [entry.prefix for entry in found] == ["12:00", "", ""]
