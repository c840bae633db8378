import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.errors import BufferFull, ConnectionLost
from netcore.stream.outbox import Outbox
from netcore.testing import ScriptedStream


def test_what_the_stream_takes_at_once_never_waits():
    stream = ScriptedStream()
    outbox = Outbox()

    assert outbox.write(stream, b"order")
    assert (bytes(stream.sent), outbox.pending_bytes) == (b"order", 0)


def test_what_is_not_taken_waits_and_goes_first():
    stream = ScriptedStream(takes=[2, 0, 1, 0])
    outbox = Outbox()

    assert not outbox.write(stream, b"first")
    assert outbox.pending_bytes == 3
    assert not outbox.write(stream, b"second")
    assert outbox.pending_bytes == 9
    assert not outbox.flush(stream)
    assert outbox.flush(stream)
    assert bytes(stream.sent) == b"firstsecond"
    assert outbox.pending_bytes == 0


def test_beyond_the_limit_nothing_is_queued():
    outbox = Outbox(limit=10)
    outbox.push(b"123456")

    with pytest.raises(BufferFull) as caught:
        outbox.push(b"78901")
    assert (caught.value.pending, caught.value.size, caught.value.limit) == (6, 5, 10)
    assert outbox.pending_bytes == 6
    outbox.push(b"7890")
    assert outbox.pending_bytes == 10


def test_beyond_the_limit_nothing_is_sent_either():
    stream = ScriptedStream()

    with pytest.raises(BufferFull):
        Outbox(limit=4).write(stream, b"12345")
    assert stream.sent == b""


def test_a_full_outbox_refuses_a_write_before_sending():
    stream = ScriptedStream(takes=[1])
    outbox = Outbox(limit=4)
    outbox.write(stream, b"1234")

    with pytest.raises(BufferFull):
        outbox.write(stream, b"56")
    assert (bytes(stream.sent), outbox.pending_bytes) == (b"1", 3)


def test_a_changing_buffer_is_copied():
    stream = ScriptedStream(takes=[1, 0])
    outbox = Outbox()
    data = bytearray(b"abc")
    outbox.write(stream, data)
    outbox.push(data)
    data[:] = b"***"

    outbox.flush(stream)
    outbox.flush(stream)

    assert bytes(stream.sent) == b"abcabc"


def test_small_pieces_leave_in_one_send():
    stream = ScriptedStream(takes=[1000])
    outbox = Outbox()
    for piece in (b"a" * 300, b"b" * 300, b"c" * 300):
        outbox.push(piece)

    assert outbox.flush(stream)
    assert bytes(stream.sent) == b"a" * 300 + b"b" * 300 + b"c" * 300


def test_nothing_pushed_is_nothing_pending():
    outbox = Outbox()
    outbox.push(b"")

    assert outbox.flush(ScriptedStream(takes=[0]))


def test_a_fault_leaves_what_waits():
    class Broken:
        def send(self, data):
            raise ConnectionLost("gone")

    outbox = Outbox()
    outbox.push(b"abc")

    with pytest.raises(ConnectionLost):
        outbox.flush(Broken())
    assert outbox.pending_bytes == 3


def test_clearing_forgets_everything():
    stream = ScriptedStream(takes=[1])
    outbox = Outbox()
    outbox.write(stream, b"abc")
    outbox.push(b"def")

    outbox.clear()

    assert outbox.pending_bytes == 0
    assert outbox.write(stream, b"new")
    assert bytes(stream.sent) == b"anew"


def test_a_limit_below_one_is_refused():
    with pytest.raises(ValueError, match="was 0"):
        Outbox(0)


def test_an_outbox_prints_what_waits():
    outbox = Outbox(10)
    outbox.push(b"abc")

    assert repr(outbox) == "<Outbox 3 of 10 bytes>"


@given(
    pieces=st.lists(st.binary(max_size=40), max_size=30),
    takes=st.lists(st.integers(0, 50)),
    direct=st.lists(st.booleans(), min_size=30, max_size=30),
)
def test_whatever_the_stream_takes_order_and_bytes_stay(pieces, takes, direct):
    stream = ScriptedStream(takes=takes)
    outbox = Outbox()
    total = 0
    for piece, directly in zip(pieces, direct, strict=False):
        if directly:
            outbox.write(stream, piece)
        else:
            outbox.push(piece)
        total += len(piece)
        assert outbox.pending_bytes == total - len(stream.sent)

    for _ in range(len(takes) + 1):
        done = outbox.flush(stream)
    assert done
    assert bytes(stream.sent) == b"".join(pieces)
