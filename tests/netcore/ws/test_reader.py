"""Frames cut anywhere come out as they went in, and faults are named at once."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.ws.frames import Fault, Opcode, Role, encode_frame
from netcore.ws.masking import keys
from netcore.ws.reader import FrameReader

SIZES = st.one_of(
    st.integers(0, 300), st.sampled_from([125, 126, 127, 65535, 65536, 70000])
)
ROLES = pytest.mark.parametrize("role", list(Role))

Flat = list[tuple[int, bool, bytes]]


@st.composite
def frames(draw: st.DrawFn) -> Flat:
    out: Flat = []
    for _ in range(draw(st.integers(1, 12))):
        opcode = draw(st.sampled_from([1, 1, 1, 2, 2, 0, 8, 9, 10]))
        size = draw(st.integers(0, 125) if opcode >= 8 else SIZES)
        fin = opcode >= 8 or draw(st.sampled_from([True, True, True, False]))
        out.append((opcode, fin, (bytes(range(251)) * 300)[:size]))
    return out


def wire(flat: Flat, role: Role) -> bytes:
    """What the other end of `role` would send."""
    masked = role is Role.SERVER
    return b"".join(
        encode_frame(opcode, payload, fin=fin, key=keys.draw() if masked else None)
        for opcode, fin, payload in flat
    )


def flatten(reader: FrameReader) -> Flat:
    """Payloads and marks of the latest feed, in the order they came."""
    out: Flat = []
    marks = list(reader.marks)
    opcodes = reader.opcodes()
    for place in range(len(reader.payloads) + 1):
        while marks and marks[0].place == place:
            mark = marks.pop(0)
            out.append((mark.opcode, mark.fin, mark.payload))
        if place < len(reader.payloads):
            out.append((opcodes[place], True, reader.payloads[place]))
    return out


def read(reader: FrameReader, pieces: list[bytes]) -> Flat:
    out: Flat = []
    for piece in pieces:
        assert reader.feed(piece) is reader.payloads
        out += flatten(reader)
    return out


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({c % (len(data) + 1) for c in cuts}), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(
    flat=frames(), cuts=st.lists(st.integers(0, 1 << 20), max_size=20), data=st.data()
)
def test_frames_cut_anywhere_come_out_as_they_went_in(flat, cuts, data):
    role = data.draw(st.sampled_from(Role))
    reader = FrameReader(role)

    got = read(reader, cut(wire(flat, role), cuts))

    assert reader.fault is None
    assert got == flat
    assert reader.partial is None


@given(flat=frames(), role=st.sampled_from(Role))
def test_fresh_bytes_of_unfinished_frames_are_each_shown_once(flat, role):
    reader = FrameReader(role)
    under_way, shown = None, b""
    for piece in _sevens(wire(flat, role)):
        reader.feed(piece)
        if reader.partial is not under_way:
            under_way, shown = reader.partial, b""
        shown += reader.fresh()
        assert shown == (b"" if under_way is None else bytes(under_way.data))


def _sevens(data: bytes) -> list[bytes]:
    return [data[i : i + 7] for i in range(0, min(len(data), 3000), 7)]


@ROLES
@pytest.mark.parametrize("size", [0, 1, 5, 125, 126, 200, 65535, 65536])
@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
def test_every_length_form_is_read_byte_by_byte(role, size, opcode):
    flat = [(int(opcode), True, bytes(size)), (int(opcode), True, b"next")]
    data = wire(flat, role)
    # Bytes one by one near the header, then the rest at once.
    pieces = [data[i : i + 1] for i in range(20)] + [data[20:]]

    assert read(FrameReader(role), pieces) == flat


@ROLES
def test_long_rows_of_one_kind_take_the_fast_way_and_stay_right(role):
    generator = random.Random(7)  # noqa: S311 - test data
    flat: Flat = []
    for opcode, low, high in [(1, 130, 300), (1, 10, 100), (2, 100, 140), (1, 0, 3)]:
        flat += [
            (opcode, True, generator.randbytes(generator.randint(low, high)))
            for _ in range(500)
        ]
    data = wire(flat, role)
    pieces = [data[i : i + 4096] for i in range(0, len(data), 4096)]

    assert read(FrameReader(role), pieces) == flat


def test_uniform_opcode_is_told_and_mixed_ones_are_listed():
    reader = FrameReader(Role.CLIENT)
    reader.feed(wire([(1, True, b"a"), (1, True, b"b")], Role.CLIENT))
    assert reader.uniform is Opcode.TEXT

    reader.feed(wire([(2, True, b"a"), (2, True, b"b")], Role.CLIENT))
    assert reader.uniform is Opcode.BINARY
    assert reader.switches == [(0, Opcode.BINARY)]

    reader.feed(wire([(2, True, b"a"), (1, True, b"b")], Role.CLIENT))
    assert reader.uniform is None
    assert reader.opcodes() == [Opcode.BINARY, Opcode.TEXT]


# -- faults ----------------------------------------------------------------------------

SERVER_FAULTS = {
    "reserved bit 1": (b"\xc1\x00", 1002),
    "reserved bit 2": (b"\xa1\x00", 1002),
    "reserved bit 3": (b"\x91\x00", 1002),
    "unknown data opcode": (b"\x83\x00", 1002),
    "unknown control opcode": (b"\x8b\x00", 1002),
    "masked": (b"\x81\x80", 1002),
    "fragmented ping": (b"\x09\x00", 1002),
    "long ping": (b"\x89\x7e", 1002),
    "long close": (b"\x88\x7f", 1002),
    "length 125 in 16 bits": (b"\x81\x7e\x00\x7d", 1002),
    "length 65535 in 64 bits": (b"\x81\x7f" + (65535).to_bytes(8, "big"), 1002),
    "highest bit": (b"\x82\x7f" + (1 << 63).to_bytes(8, "big"), 1002),
    "above the limit": (b"\x82\x7f" + (1 << 40).to_bytes(8, "big"), 1009),
}


@pytest.mark.parametrize("name", SERVER_FAULTS)
@pytest.mark.parametrize("bytewise", [False, True])
def test_a_fault_is_found_with_the_header_after_what_came_before(name, bytewise):
    fault, code = SERVER_FAULTS[name]
    data = wire([(1, True, b"good")], Role.CLIENT) + fault
    reader = FrameReader(Role.CLIENT)
    pieces = [data[i : i + 1] for i in range(len(data))] if bytewise else [data]

    assert read(reader, pieces) == [(1, True, b"good")]
    assert isinstance(reader.fault, Fault)
    assert reader.fault.code == code
    assert reader.feed(wire([(1, True, b"late")], Role.CLIENT)) == []


def test_a_server_refuses_unmasked_frames():
    reader = FrameReader(Role.SERVER)

    reader.feed(encode_frame(Opcode.TEXT, b"bare"))

    assert reader.fault is not None
    assert reader.fault.code == 1002
    assert "mask" in reader.fault.text


@ROLES
@pytest.mark.parametrize("limit", [1, 100, 125, 126, 200, 65535, 70000])
def test_limits_hold_on_the_fast_way_too(role, limit):
    reader = FrameReader(role, max_frame_size=limit)
    fits = [(1, True, bytes(limit))] * 3

    assert read(reader, [wire(fits, role)]) == fits
    assert read(reader, [wire([(1, True, bytes(limit + 1))], role)]) == []
    assert reader.fault is not None
    assert reader.fault.code == 1009


def test_reserved_bit_1_is_marked_once_an_extension_is_agreed():
    reader = FrameReader(Role.CLIENT, extended=True)

    reader.feed(encode_frame(Opcode.TEXT, b"x", rsv1=True))
    assert [mark.rsv1 for mark in reader.marks] == [True]

    reader.feed(encode_frame(Opcode.PING, b"x", rsv1=True))
    assert reader.fault is not None


def test_a_promised_payload_allocates_nothing_ahead():
    reader = FrameReader(Role.CLIENT)

    reader.feed(b"\x82\x7f" + (16 << 20).to_bytes(8, "big") + b"abc")

    assert reader.partial is not None
    assert reader.partial.missing == (16 << 20) - 3
    assert len(reader.partial.data) == 3
