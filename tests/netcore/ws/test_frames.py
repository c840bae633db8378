"""One frame becomes the bytes that RFC 6455 §5.2 and its examples (§5.7) show."""

import pytest

from netcore.ws.frames import Frame, Opcode, Role, encode_frame
from netcore.ws.reader import FrameReader

# RFC 6455 §5.7, the examples whose bytes are given.
EXAMPLES = [
    ((Opcode.TEXT, b"Hello"), {}, "810548656c6c6f"),
    ((Opcode.TEXT, b"Hello"), {"key": 0x37FA213D}, "818537fa213d7f9f4d5158"),
    ((Opcode.TEXT, b"Hel"), {"fin": False}, "010348656c"),
    ((Opcode.CONTINUATION, b"lo"), {}, "80026c6f"),
    ((Opcode.PING, b"Hello"), {}, "890548656c6c6f"),
    ((Opcode.PONG, b"Hello"), {"key": 0x37FA213D}, "8a8537fa213d7f9f4d5158"),
]


@pytest.mark.parametrize(("frame", "options", "wire"), EXAMPLES)
def test_the_rfc_examples_are_encoded_as_printed(frame, options, wire):
    assert encode_frame(*frame, **options).hex() == wire


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, "8200"),
        (125, "827d"),
        (126, "827e007e"),
        (65535, "827effff"),
        (65536, "827f0000000000010000"),
    ],
)
@pytest.mark.parametrize("key", [None, 0, 0xAABBCCDD])
def test_the_shortest_form_of_the_length_is_taken(size, head, key):
    expected = bytearray.fromhex(head)
    if key is not None:
        expected[1] |= 0x80
        expected += key.to_bytes(4, "big")

    encoded = encode_frame(Opcode.BINARY, bytes(size), key=key)

    assert encoded[: len(expected)] == expected
    assert len(encoded) == len(expected) + size


def test_the_compression_bit_is_the_first_reserved_one():
    assert encode_frame(Opcode.TEXT, b"", rsv1=True)[0] == 0xC1


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("key", [None, 0, 7])
def test_any_buffer_can_be_sent(kind, key):
    role = Role.CLIENT if key is None else Role.SERVER

    encoded = encode_frame(Opcode.BINARY, kind(b"abc"), key=key)

    assert isinstance(encoded, bytes)
    assert FrameReader(role).feed(encoded) == [b"abc"]


def test_text_of_a_frame_is_decoded_on_demand():
    assert Frame(Opcode.TEXT, True, "grün".encode()).text == "grün"
    with pytest.raises(UnicodeDecodeError):
        Frame(Opcode.TEXT, True, b"\xff").text  # noqa: B018 - the access is the test
