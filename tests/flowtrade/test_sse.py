"""Server-sent events from any cut, with the standard's own examples."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrade.sse import EventParser, ServerEvent, encode_event


def parse(data):
    return EventParser().feed(data)


def event(data, name="message", id=""):  # noqa: A002  # the field's name
    return ServerEvent(id=id, name=name, data=data)


# WHATWG HTML §9.2.6: the examples there.
@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [event("YHOO\n+2\n10")]),
        (
            b": test stream\n\ndata: first event\nid: 1\n\n"
            b"data:second event\nid\n\ndata:  third event\n",
            [event("first event", id="1"), event("second event")],
        ),
        (b"data\n\ndata\ndata\n\ndata:", [event(""), event("\n")]),
        (b"data:test\n\ndata: test\n\n", [event("test"), event("test")]),
        (b"\xef\xbb\xbfdata: x\n\n", [event("x")]),
        (b"event: a\rdata: x\r\r", [event("x", "a")]),
        (b"event: a\r\ndata: x\r\n\r\n", [event("x", "a")]),
        (b"event: a\n\n", []),  # no data, no event, and the name is forgotten
        (b"event: a\n\ndata: x\n\n", [event("x")]),
        (b"id: 7\n\ndata: x\n\n", [event("x", id="7")]),
        (b"id: a\0b\ndata: x\n\n", [event("x")]),
        (b"nonsense: 1\ndata: x\n\n", [event("x")]),
        (b"data: \xff\n\n", [event("\ufffd")]),
    ],
)
def test_streams_are_read_as_the_standard_says(stream, events):
    assert parse(stream) == events


STREAM = (
    b"\xef\xbb\xbfretry: 1500\n\n: comment\nid: 1\nevent: batch\ndata: {}\n\n"
    b"id: 2\r\ndata: a\r\ndata: b\r\n\r\ndata: c\r\rid: 3\ndata: \xc3\xa4\n\n"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_cuts_change_nothing(cuts):
    whole, pieces = EventParser(), EventParser()
    expected = whole.feed(STREAM)
    bounds = [0, *sorted(cuts), len(STREAM)]

    found = []
    for start, end in pairwise(bounds):
        found += pieces.feed(STREAM[start:end])

    assert found == expected
    assert (pieces.last_id, pieces.retry) == (whole.last_id, whole.retry) == ("3", 1.5)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(data):
    parser = EventParser()
    for byte in data:
        parser.feed(bytes([byte]))

    whole = EventParser()
    whole.feed(data)
    assert parser.last_id == whole.last_id


def test_what_is_written_is_read():
    wire = encode_event("batch", b'{"a":"line\\nbreak"}', event_id=9)

    assert parse(wire) == [event('{"a":"line\\nbreak"}', "batch", "9")]


@pytest.mark.parametrize(
    "chunk", [b"data: " + b"x" * 2**20 + b"\n", b"x" * 2**20], ids=["lines", "line"]
)
def test_an_endless_event_is_refused(chunk):
    def feed_much(parser):
        for _ in range(20):
            parser.feed(chunk)

    with pytest.raises(ValueError, match="more than"):
        feed_much(EventParser())


def test_a_parser_can_resume():
    parser = EventParser("41", retry=2.0)

    assert (parser.last_id, parser.retry) == ("41", 2.0)
    assert parser.feed(b"data: x\n\n") == [event("x", id="41")]


def test_httpx_sse_reads_what_we_write():
    httpx_sse = pytest.importorskip("httpx_sse")
    decoder = httpx_sse._decoders.SSEDecoder()
    wire = encode_event("batch", b"{}", event_id=5).decode()

    events = [decoder.decode(line) for line in wire.split("\n")[:-1]]

    (read,) = [event for event in events if event is not None]
    assert (read.id, read.event, read.data) == ("5", "batch", "{}")
