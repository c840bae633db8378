"""A batch is a list of payloads first and frames on demand."""

import msgspec
import pytest

from netcore.ws import Batch, Frame, Opcode


def test_a_uniform_batch_makes_frames_of_its_opcode():
    batch = Batch(17, [b"1", b"2"], Opcode.BINARY)

    assert len(batch) == 2
    assert list(batch) == [
        Frame(Opcode.BINARY, True, b"1"),
        Frame(Opcode.BINARY, True, b"2"),
    ]
    assert batch.opcodes == [Opcode.BINARY, Opcode.BINARY]


def test_a_mixed_batch_keeps_each_head():
    heads = [(Opcode.TEXT, False), (Opcode.CONTINUATION, True)]
    batch = Batch(17, [b"1", b"2"], Opcode.TEXT, heads)

    assert [(frame.opcode, frame.fin) for frame in batch] == heads
    assert batch.opcodes == [Opcode.TEXT, Opcode.CONTINUATION]


def test_payloads_are_decoded_in_order():
    batch = Batch(17, [b"1", b"2"])

    assert batch.decode(msgspec.json.Decoder(int)) == [1, 2]
    with pytest.raises(msgspec.DecodeError):
        Batch(17, [b"1", b"}"]).decode(msgspec.json.Decoder(int))
