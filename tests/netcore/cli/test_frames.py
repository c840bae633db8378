"""The walk over recorded frames, whole, cut, broken and unfinished."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.cli.frames import FrameWalk, Unfinished, opcode_name
from netcore.ws import Opcode, encode_frame

frames = st.lists(
    st.tuples(
        st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.PONG]),
        st.one_of(
            st.binary(max_size=125), st.sampled_from([126, 65535, 65536]).map(bytes)
        ),
    ),
    max_size=8,
)


def legal(opcode: Opcode, payload: bytes) -> bytes:
    return payload[:125] if opcode >= Opcode.CLOSE else payload


@given(
    frames,
    st.booleans(),
    st.lists(st.integers(1, 200_000), max_size=6),
    st.integers(0, 99),
)
def test_frames_cut_anywhere_are_found_with_their_places(items, masked, cuts, base):
    key = 0x37FA213D if masked else None
    wire, expected = b"", []
    for opcode, payload in items:
        payload = legal(opcode, payload)
        expected.append((base + len(wire), opcode, payload[:256], len(payload)))
        wire += encode_frame(opcode, payload, key=key)
    walk = FrameWalk(masked=masked, offset=base)
    found = []
    ends = sorted({min(cut, len(wire)) for cut in cuts} | {len(wire)})
    for read, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        found += walk.feed(wire[start:end], read)

    assert [(f.offset, f.opcode, f.head, f.size) for f in found] == expected
    assert all(f.fin and f.masked is masked and not f.fault for f in found)
    assert walk.unfinished is None
    assert walk.offset == base + len(wire)


def test_websockets_frames_are_read_alike():
    theirs = pytest.importorskip("websockets.frames")
    sent = [
        theirs.Frame(theirs.Opcode.TEXT, b"abc", fin=False),
        theirs.Frame(theirs.Opcode.PING, b"?"),
        theirs.Frame(theirs.Opcode.CONT, b"d" * 70_000),
        theirs.Frame(theirs.Opcode.BINARY, b"z"),
    ]
    wire = b"".join(frame.serialize(mask=True) for frame in sent)

    found = FrameWalk(masked=True, keep=1 << 20).feed(wire)

    assert [(f.opcode, f.fin, f.rsv, f.head) for f in found] == [
        (int(f.opcode), f.fin, 0, bytes(f.data)) for f in sent
    ]
    assert not any(f.fault for f in found)


def test_reads_are_named_where_a_frame_began_and_ended():
    walk = FrameWalk(masked=False)
    wire = encode_frame(Opcode.TEXT, b"abcdef")

    assert walk.feed(wire[:1], 4) == []
    assert walk.feed(wire[1:5], 5) == []
    (frame,) = walk.feed(wire[5:], 6)

    assert (frame.began, frame.ended) == (4, 6)


TEXT, PING = b"\x81\x01a", b"\x89\x00"


@pytest.mark.parametrize(
    ("wire", "fault"),
    [
        (b"\xc1\x01a", "reserved bits 100"),
        (b"\xa1\x01a", "reserved bits 010"),
        (b"\x09\x00", "a control frame is fragmented"),
        (b"\x89\x7e\x00\x7e" + bytes(126), "more than 125"),
        (b"\x81\x81\0\0\0\0a", "a server masked"),
        (b"\x81\x7e\x00\x01a", "not in its shortest form"),
        (b"\x81\x7f\0\0\0\0\0\0\xff\xff" + bytes(65535), "not in its shortest form"),
        (b"\x80\x01a", "a continuation of nothing"),
        (b"\x01\x01a" + TEXT, "inside a fragmented one"),
    ],
)
def test_a_broken_frame_is_named_and_the_next_ones_are_read(wire, fault):
    found = FrameWalk(masked=False).feed(wire + PING)

    assert any(fault in frame.fault for frame in found)
    assert (found[-1].opcode, found[-1].fault) == (Opcode.PING, "")


def test_a_client_that_does_not_mask_is_named():
    (found,) = FrameWalk(masked=True).feed(TEXT)
    assert found.fault == "a client did not mask"


@pytest.mark.parametrize("wire", [b"\x83\x00", b"\x82\x7f\xff" + bytes(7)])
def test_what_cannot_be_a_header_ends_the_walk(wire):
    walk = FrameWalk(masked=False)

    assert len(walk.feed(TEXT + wire + TEXT)) == 1
    assert "no frame begins" in walk.lost
    assert (walk.offset, walk.unfinished) == (3, None)
    assert walk.feed(TEXT) == []


@pytest.mark.parametrize(
    ("wire", "rest"),
    [
        (b"\x81", Unfinished(3, 1, 0)),
        (b"\x81\x7e\x01", Unfinished(3, 3, 0)),
        (b"\x81\x7e\x01\x00", Unfinished(3, 4, 260)),
        (b"\x81\x05ab", Unfinished(3, 4, 7)),
    ],
)
def test_an_unfinished_frame_is_told_with_what_is_missing(wire, rest):
    walk = FrameWalk(masked=False)
    walk.feed(TEXT + wire)
    assert walk.unfinished == rest


def test_opcodes_have_the_standards_names():
    assert [opcode_name(n) for n in (0, 1, 9, 11)] == [
        "continuation", "text", "ping", "opcode 11",
    ]  # fmt: skip
