"""What an inspection makes of pieces: kinds, findings, totals and unfinished ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.cli.fixlog import FixEntry, Garbage
from netcore.cli.frames import FrameSeen
from netcore.cli.inspection import FixSeen, HeadSeen, Inspection, Kind, RawSeen, sniff
from netcore.cli.recording import Piece
from netcore.fix import encode
from netcore.ws import DeflateConfig, Opcode, encode_frame
from netcore.ws.deflate import Deflate

HEAD = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
    b"Set-Cookie: session=open-sesame\r\nSec-WebSocket-Accept: abc=\r\n\r\n"
)
LOGON = encode([(8, "FIX.4.4"), (35, "A"), (34, 1), (49, "A"), (56, "B")])


def look(*pieces: bytes, **how):
    inspection = Inspection(**how)
    found, offset = [], 0
    for number, data in enumerate(pieces):
        found += inspection.feed(Piece(number, offset, data, 1000 * number, number))
        offset += len(data)
    return inspection, found + inspection.finish()


def problems(inspection: Inspection):
    return [(p.offset, p.text) for p in inspection.problems]


@given(st.lists(st.integers(0, 500), max_size=5))
def test_cuts_change_nothing_but_the_reads(cuts):
    wire = HEAD + encode_frame(Opcode.TEXT, b"x" * 200) + encode_frame(Opcode.PING, b"")
    ends = sorted({min(cut, len(wire)) for cut in cuts} | {len(wire)})
    pieces = [wire[a:b] for a, b in zip([0, *ends], ends, strict=False) if a < b]

    inspection, found = look(*pieces)

    assert [type(one) for one in found] == [HeadSeen, FrameSeen, FrameSeen]
    assert (found[0].offset, found[0].size) == (0, len(HEAD))
    assert [f.offset for f in found[1:]] == [len(HEAD), len(HEAD) + 204]
    assert inspection.counts == {"text": 1, "ping": 1}
    assert (inspection.messages, inspection.size) == (1, len(wire))
    assert len(inspection.reads) == len(pieces)
    assert inspection.problems == []


def test_values_that_open_doors_are_hidden():
    _, found = look(HEAD)

    headers = dict(found[0].headers)
    assert headers["Set-Cookie"] == "***"
    assert headers["Sec-WebSocket-Accept"] == "abc="


def test_a_request_is_a_head_of_what_was_sent():
    wire = b"GET /feed HTTP/1.1\r\nX-API-Key: k\r\n\r\n"
    wire += encode_frame(Opcode.TEXT, b"hi", key=7)

    inspection, found = look(wire, outbound=True)

    assert found[0].headers == (("X-API-Key", "***"),)
    assert (found[1].head, found[1].masked, found[1].fault) == (b"hi", True, "")
    assert inspection.kind is Kind.WEBSOCKET


def test_compressed_messages_are_shown_expanded():
    codec = Deflate(DeflateConfig(threshold=1))
    long = b"ab" * 1000
    first = codec.compress(long, fin=False)
    rest = codec.compress(long, fin=True)
    wire = HEAD[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    wire += encode_frame(Opcode.TEXT, first, fin=False, rsv1=True)
    wire += encode_frame(Opcode.CONTINUATION, rest)
    wire += encode_frame(Opcode.TEXT, b"plain")

    inspection, found = look(wire)

    assert [f.head for f in found[1:]] == [long[:256], long[:256], b"plain"]
    assert inspection.problems == []


def test_what_is_no_deflate_data_is_told():
    wire = HEAD[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    wire += encode_frame(Opcode.TEXT, b"\xff\xff\xff", rsv1=True)

    inspection, found = look(wire)

    assert found[1].head == b"\xff\xff\xff"
    assert "not deflate data" in inspection.problems[0].text


def test_gaps_and_reads_are_measured():
    frame = encode_frame(Opcode.TEXT, b"abc")

    inspection, _ = look(frame, frame + frame, frame[:2], frame[2:])

    assert list(inspection.gaps.ordered) == [1000, 1000, 1000]
    assert list(inspection.per_read.ordered) == [0, 1, 1, 2]
    assert list(inspection.reads.ordered) == [2, 3, 5, 10]
    assert (inspection.first_ns, inspection.last_ns) == (0, 3000)


def test_a_frame_cut_off_is_told_with_its_place():
    wire = HEAD + encode_frame(Opcode.TEXT, b"abcdef")

    inspection, _ = look(wire[:-2])

    assert problems(inspection) == [
        (len(HEAD), "the last frame ends after 6 of 8 bytes")
    ]


def test_a_header_cut_off_is_told():
    inspection, _ = look(encode_frame(Opcode.TEXT, b"a"), b"\x81")

    assert problems(inspection) == [
        (3, "the last frame ends after 1, not even its header whole bytes")
    ]


def test_a_head_cut_off_is_told():
    inspection, found = look(HEAD[:50])

    assert found == []
    assert problems(inspection) == [(0, "the handshake's head is not complete")]


def test_a_broken_head_is_told_and_the_rest_is_bytes():
    inspection, found = look(b"HTTP/1.1 101\r\nno colon\r\n\r\n", b"more")

    assert "no HTTP/1.1 head" in inspection.problems[0].text
    assert [type(one) for one in found] == [RawSeen]


def test_a_refusal_is_no_websocket():
    inspection, found = look(b"HTTP/1.1 403 Forbidden\r\n\r\nno", b"entry")

    assert found[0].line == "HTTP/1.1 403 Forbidden"
    assert found[1] == RawSeen(28, 5, 1, b"entry")
    assert inspection.kind is Kind.RAW


def test_a_broken_frame_is_a_problem_with_its_place():
    wire = encode_frame(Opcode.TEXT, b"a") + b"\x80\x00"

    inspection, found = look(wire)

    assert problems(inspection) == [(3, "continuation: a continuation of nothing")]
    assert len(found) == 2


def test_a_lost_place_is_told_once():
    inspection, _ = look(encode_frame(Opcode.TEXT, b"a"), b"\x8f\x00", b"\x81\x00")

    assert [offset for offset, _ in problems(inspection)] == [3]


def test_fix_messages_and_noise_between_them():
    inspection, found = look(LOGON[:30], LOGON[30:] + b"noise", LOGON)

    assert [type(one.entry) for one in found] == [FixEntry, Garbage, FixEntry]
    assert [one.entry.offset for one in found] == [0, len(LOGON), len(LOGON) + 5]
    assert inspection.counts == {"A": 2, "garbled": 1}
    assert isinstance(found[0], FixSeen)


def test_a_fix_message_cut_off_is_told():
    inspection, _ = look(LOGON + LOGON[:-4])

    assert inspection.problems[0].offset == len(LOGON)
    assert "the last message is not complete" in inspection.problems[0].text


def test_other_bytes_are_shown_read_by_read():
    inspection, found = look(b"\x00\x01\x02", b"\x03")

    assert found == [RawSeen(0, 3, 0, b"\x00\x01\x02"), RawSeen(3, 1, 1, b"\x03")]
    assert inspection.kind is Kind.RAW


def test_the_kind_can_be_said_beforehand():
    _, found = look(LOGON, kind=Kind.RAW)
    assert found == [RawSeen(0, len(LOGON), 0, LOGON)]

    _, found = look(b"\x80\x00", kind=Kind.WEBSOCKET)
    assert found[0].fault == "a continuation of nothing"


def test_one_byte_tells_nothing():
    inspection, found = look(b"\x81")

    assert found == []
    assert problems(inspection) == [(0, "1 bytes are too few to tell what they are")]


@pytest.mark.parametrize(
    ("data", "outbound", "kind"),
    [
        (b"", False, Kind.UNKNOWN),
        (b"HT", False, Kind.UNKNOWN),
        (b"HTTP/1.1", False, Kind.WEBSOCKET),
        (b"GET /", True, Kind.WEBSOCKET),
        (b"GET /", False, Kind.RAW),
        (b"8=F", False, Kind.UNKNOWN),
        (b"8=FIXT.1.1", True, Kind.FIX),
        (b"\x81\x05hello", False, Kind.WEBSOCKET),
        (b"\x81\x85", True, Kind.WEBSOCKET),
        (b"\x81\x05hello", True, Kind.RAW),
        (b"\x89\x7e", False, Kind.RAW),
        (b"\x80\x00", False, Kind.RAW),
        (b"\xb1\x00", False, Kind.RAW),
    ],
)
def test_the_first_bytes_tell_the_kind(data, outbound, kind):
    assert sniff(data, outbound=outbound) is kind
