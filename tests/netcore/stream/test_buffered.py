import pytest

from netcore.errors import BufferFull, StreamClosed
from netcore.stream import BufferedStream
from netcore.testing import (
    ScriptedStream,
    check_stream,
    memory_stream_pair,
    tcp_stream_pair,
)


@pytest.mark.parametrize(
    "below", [tcp_stream_pair, memory_stream_pair], ids=["socket", "memory"]
)
def test_a_flushed_buffered_stream_conforms(below):
    def pair():
        a, b = below()
        return BufferedStream(a, 2_000_000), BufferedStream(b, 2_000_000)

    check_stream(pair, settle=lambda stream: stream.flush())


def test_nothing_leaves_before_the_flush_and_all_in_one_send():
    inner = ScriptedStream(takes=[100])
    stream = BufferedStream(inner)

    assert [stream.send(piece) for piece in (b"one ", b"two")] == [4, 3]
    assert (bytes(inner.sent), stream.pending_bytes) == (b"", 7)
    assert stream.flush()
    assert (bytes(inner.sent), stream.pending_bytes) == (b"one two", 0)


def test_a_partial_flush_says_so_and_goes_on():
    inner = ScriptedStream(takes=[2, 0])
    stream = BufferedStream(inner)
    stream.send(b"abc")

    assert not stream.flush()
    assert stream.pending_bytes == 1
    assert stream.flush()
    assert bytes(inner.sent) == b"abc"


def test_an_overflow_is_an_error_and_collects_nothing():
    stream = BufferedStream(ScriptedStream(), size=4)
    stream.send(b"abc")

    with pytest.raises(BufferFull):
        stream.send(b"de")
    assert stream.pending_bytes == 3


def test_closing_drops_what_was_not_flushed():
    inner = ScriptedStream()
    stream = BufferedStream(inner)
    stream.send(b"half an order")

    stream.close()

    assert inner.closed
    assert inner.sent == b""
    assert stream.pending_bytes == 0
    with pytest.raises(StreamClosed):
        stream.send(b"x")


def test_the_rest_is_the_inner_streams():
    inner = ScriptedStream([b"abc"], connecting=1)
    stream = BufferedStream(inner)

    assert stream.info is inner.info
    assert stream.want_write
    assert not stream.connected()
    assert stream.connected()
    assert stream.buffered
    assert stream.receive(2) == b"ab"
    assert stream.fileno() == -1
