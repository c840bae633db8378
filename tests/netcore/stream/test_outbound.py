import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.errors import ReplayDivergence
from netcore.stream.outbound import Normaliser, OutboundComparer

HEAD = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def frame(payload: bytes, mask: bytes | None, *, first: int = 0x81) -> bytes:
    """Encode a frame byte by byte from the picture in RFC 6455 §5.2."""
    size = len(payload)
    bit = 0x80 if mask is not None else 0
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 65536:
        head = bytes([first, bit | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, bit | 127]) + size.to_bytes(8, "big")
    if mask is None:
        return head + payload
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return head + mask + masked


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(c % (len(data) + 1) for c in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def normalised(pieces: list[bytes]) -> bytes:
    normaliser = Normaliser()
    return b"".join(normaliser.feed(piece) for piece in pieces)


masks = st.binary(min_size=4, max_size=4)
payloads = st.lists(st.binary(max_size=300), max_size=5)
cuts = st.lists(st.integers(0, 1 << 20), max_size=20)


@given(payloads, st.data())
def test_two_runs_of_the_same_messages_are_the_same(sent, data):
    streams = []
    for _ in range(2):
        key = data.draw(
            st.binary(min_size=24, max_size=24).map(lambda b: b.hex().encode())
        )
        raw = HEAD % key
        for payload in sent:
            raw += frame(payload, data.draw(st.one_of(masks, st.just(bytes(4)))))
        streams.append(normalised(cut(raw, data.draw(cuts))))

    assert streams[0] == streams[1]
    assert streams[0].startswith(HEAD % b"*")
    for payload in sent:
        assert payload in streams[0]


@given(st.binary(max_size=200), st.binary(max_size=200), masks, masks)
def test_different_messages_differ(one, other, mask, other_mask):
    a = normalised([HEAD % b"k", frame(one, mask)])
    b = normalised([HEAD % b"k", frame(other, other_mask)])

    assert (a == b) == (one == other)


@given(st.binary().filter(lambda raw: not b"GET ".startswith(raw[:4])), cuts)
def test_what_is_no_handshake_passes_unchanged(raw, places):
    assert normalised(cut(raw, places)) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\x81\x85abcd",
        b"8=FIX.4.4\x019=5\x01",
        b"GET " + b"x" * 20_000,
        b"GXT",
    ],
    ids=["plain HTTP", "FIX", "endless head", "other method"],
)
def test_other_protocols_pass_unchanged(raw):
    assert normalised([raw]) == raw


def test_a_head_is_held_until_it_is_whole():
    normaliser = Normaliser()

    assert normaliser.feed(HEAD[:-1]) == b""
    assert normaliser.feed(HEAD[-1:]) == HEAD % b"*"


@pytest.mark.parametrize("size", [125, 126, 65_535, 65_536])
@pytest.mark.parametrize("cuts", [[], [500, 70_000]], ids=["whole", "cut"])
def test_every_form_of_length_is_read(size, cuts):
    frames = [
        frame(b"x" * size, mask) + frame(b"end", mask) for mask in (b"1234", b"89ab")
    ]
    one, other = (normalised(cut(HEAD % b"k" + raw, cuts)) for raw in frames)

    assert one == other
    assert one.endswith(b"x" * size + b"\x81\x83end")


def test_an_unmasked_frame_keeps_its_payload():
    assert normalised([HEAD % b"k", frame(b"hello", None)]) == HEAD % b"*" + (
        b"\x81\x05hello"
    )


# -- comparing -----------------------------------------------------------------------


def comparer(recorded: bytes, size: int = 7) -> OutboundComparer:
    pieces = [recorded[i : i + size] for i in range(0, len(recorded), size)]
    return OutboundComparer(lambda: pieces.pop(0) if pieces else b"")


def test_the_same_bytes_with_other_keys_agree():
    check = comparer(HEAD % b"one" + frame(b"sub", b"1234") + frame(b"", b"abcd"))

    check.check(HEAD % b"another")
    check.check(frame(b"sub", b"5678"))
    check.check(frame(b"", b"efgh"))
    check.finish()


def test_the_first_difference_is_told():
    check = comparer(HEAD % b"k" + frame(b"buy 1", b"1234"))
    check.check(HEAD % b"k")

    with pytest.raises(ReplayDivergence) as caught:
        check.check(frame(b"buy 2", b"1234"))
    assert caught.value.offset == len(HEAD % b"*") + 2 + 4
    assert "0x32 was sent, 0x31 was recorded" in str(caught.value)


def test_more_than_was_recorded_is_told():
    check = comparer(b"abc")
    check.check(b"ab")

    with pytest.raises(ReplayDivergence, match="2 bytes were sent that were not") as e:
        check.check(b"cde")
    assert e.value.offset == 3


def test_less_than_was_recorded_is_told_at_the_end():
    check = comparer(b"abc")
    check.check(b"ab")

    with pytest.raises(ReplayDivergence, match="never sent") as caught:
        check.finish()
    assert caught.value.offset == 2


@given(st.binary(min_size=1), cuts, cuts)
def test_cuts_do_not_matter(raw, recorded_cuts, sent_cuts):
    pieces = cut(raw, recorded_cuts)
    check = OutboundComparer(lambda: pieces.pop(0) if pieces else b"")

    for piece in cut(raw, sent_cuts):
        check.check(piece)
    check.finish()
