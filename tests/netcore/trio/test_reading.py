"""Loops over messages: an orderly end ends them, any other is raised."""

import pytest

from netcore.errors import ConnectionClosed
from netcore.trio import AdaptedWebSocket, TrioWebSocket
from netcore.trio.reading import MessageReader
from netcore.ws import Batch, Frame, Opcode


class Script(MessageReader):
    """Delivers texts, then ends with a code."""

    def __init__(self, texts, code):
        self.texts = list(texts)
        self.code = code

    async def read_batch(self):
        if not self.texts:
            raise ConnectionClosed(self.code, "that was all")
        return Batch(1, [self.texts.pop(0)], Opcode.TEXT)

    async def receive_frame(self):
        (frame,) = await self.read_batch()
        return frame


def test_both_kinds_of_connections_read_so():
    assert issubclass(TrioWebSocket, MessageReader)
    assert issubclass(AdaptedWebSocket, MessageReader)


@pytest.mark.parametrize("code", [1000, 1001])
async def test_loops_end_with_an_orderly_close(code):
    assert [payload async for payload in Script([b"a", b"b"], code)] == [b"a", b"b"]
    batches = [batch.payloads async for batch in Script([b"a", b"b"], code).batches()]
    assert batches == [[b"a"], [b"b"]]


@pytest.mark.parametrize("code", [1005, 1006, 1011, 4000])
async def test_loops_raise_any_other_end_after_what_came_before(code):
    for loop in (Script([b"a"], code), Script([b"a"], code).batches()):
        first = await anext(loop)
        assert first == b"a" or first.payloads == [b"a"]
        with pytest.raises(ConnectionClosed, match="that was all") as caught:
            await anext(loop)
        assert caught.value.code == code


async def test_text_is_decoded():
    script = Script(["é".encode(), b"\xff"], 1000)

    assert await script.receive_text() == "é"
    with pytest.raises(UnicodeDecodeError):
        await script.receive_text()
    assert isinstance(await Script([b"x"], 1000).receive_frame(), Frame)
