import struct

import pytest

from netcore.clock import ManualClock
from netcore.errors import ConnectionLost, RecordingError
from netcore.stream import RecordedStream, Recorder, ReplayStream
from netcore.testing import (
    ScriptedStream,
    check_stream,
    memory_stream_pair,
    tcp_stream_pair,
)
from netcore.ws import WebSocket


def parts(name):
    """Return the recording's files by part."""
    return {
        path.name.removeprefix(f"{name.name}_").removesuffix(".rec"): path.read_bytes()
        for path in name.parent.glob(f"{name.name}_*.rec")
    }


def record(name, stream, **options):
    return RecordedStream(stream, Recorder(name, **options))


@pytest.mark.parametrize(
    "below", [tcp_stream_pair, memory_stream_pair], ids=["socket", "memory"]
)
def test_a_recorded_stream_conforms(tmp_path, below):
    count = iter(range(1000))

    def pair():
        a, b = below()
        return record(tmp_path / f"a{next(count)}", a), b

    check_stream(pair)


def test_the_files_are_boomnets_three_and_ours(tmp_path):
    # Laid out by hand: pairs of little-endian u64, attempts counted from 0.
    clock = ManualClock(1_000)
    inner = ScriptedStream([None, b"ab", None, None, b"cde", b""], takes=[3, 0])
    stream = record(tmp_path / "plain", inner, clock=clock)

    assert stream.send(b"request") == 3
    assert stream.send(b"uest") == 0
    for _ in range(4):
        stream.receive()
    clock.advance_ns(500)
    assert stream.receive() == b"cde"
    assert stream.receive() == b""
    stream.close()

    assert parts(tmp_path / "plain") == {
        "inbound": b"abcde",
        "inbound_seq": struct.pack("<6Q", 1, 2, 4, 3, 5, 0),
        "inbound_time": struct.pack("<2Q", 1_000, 1_500),
        "outbound": b"req",
    }


def test_files_are_written_every_so_many_pieces(tmp_path):
    inner = ScriptedStream([b"a", b"b", b"c"])
    stream = record(tmp_path / "r", inner, flush_every=2)

    stream.receive()
    assert parts(tmp_path / "r")["inbound"] == b""
    stream.receive()
    assert parts(tmp_path / "r")["inbound"] == b"ab"
    stream.receive()
    assert len(parts(tmp_path / "r")["inbound_seq"]) == 32
    stream.close()
    assert parts(tmp_path / "r")["inbound"] == b"abc"


def test_large_pieces_are_written_before_their_number_is_reached(tmp_path):
    recorder = Recorder(tmp_path / "r")

    recorder.inbound(b"x" * (1 << 20))
    assert len(parts(tmp_path / "r")["inbound"]) == 1 << 20
    recorder.outbound(b"y" * (1 << 20))
    assert len(parts(tmp_path / "r")["outbound"]) == 1 << 20
    recorder.close()


def test_an_older_recording_is_not_overwritten(tmp_path):
    (tmp_path / "r_outbound.rec").write_bytes(b"precious")

    with pytest.raises(RecordingError, match=r"File exists .*choose another name"):
        Recorder(tmp_path / "r")
    assert parts(tmp_path / "r") == {"outbound": b"precious"}


def test_an_older_recording_can_be_overwritten(tmp_path):
    (tmp_path / "r_outbound.rec").write_bytes(b"old")

    Recorder(tmp_path / "r", overwrite=True).close()

    assert parts(tmp_path / "r")["outbound"] == b""


def test_a_folder_that_is_missing_is_a_recording_error(tmp_path):
    with pytest.raises(RecordingError, match="No such file"):
        Recorder(tmp_path / "missing" / "r")


def test_a_recorder_is_a_context_manager_and_counts(tmp_path):
    with Recorder(tmp_path / "r") as recorder:
        for data in (None, b"a", None):
            recorder.inbound(data)

        assert (recorder.attempts, recorder.pieces) == (3, 1)
        assert repr(recorder) == f"<Recorder '{tmp_path / 'r'}': 1 pieces>"
    assert parts(tmp_path / "r")["inbound"] == b"a"


def test_a_recording_that_fails_never_costs_received_bytes(tmp_path):
    inner = ScriptedStream([b"a", b"b"])
    stream = record(tmp_path / "r", inner, flush_every=1)
    stream.recorder.close()

    assert stream.receive() == b"a"
    assert stream.buffered
    for use in (stream.receive, lambda: stream.send(b"x")):
        with pytest.raises(RecordingError, match="was closed before"):
            use()


def test_a_recording_that_fails_never_hides_what_was_sent(tmp_path):
    stream = record(tmp_path / "r", ScriptedStream())
    stream.recorder.close()

    assert stream.send(b"x" * (1 << 20)) == 1 << 20
    with pytest.raises(RecordingError):
        stream.send(b"y")


def test_a_full_disk_is_a_recording_error(tmp_path):
    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    recorder = Recorder(tmp_path / "r")
    recorder._files["inbound"].close()
    recorder._files["inbound"] = Full()
    recorder.inbound(b"a")

    with pytest.raises(RecordingError, match=r"r_inbound\.rec: No space left"):
        recorder.close()
    recorder.close()


def test_faults_of_the_stream_pass_unchanged(tmp_path):
    error = ConnectionLost("gone")
    stream = record(tmp_path / "r", ScriptedStream([error]))

    with pytest.raises(ConnectionLost) as caught:
        stream.receive()
    assert caught.value is error
    stream.close()


def test_flush_every_below_one_is_refused(tmp_path):
    with pytest.raises(ValueError, match="was 0"):
        Recorder(tmp_path / "r", flush_every=0)


def test_the_rest_is_the_inner_streams(tmp_path):
    inner = ScriptedStream([b"a"], connecting=1)
    inner.clock = ManualClock()
    stream = record(tmp_path / "r", inner)

    assert stream.info is inner.info
    assert stream.want_write
    assert not stream.connected()
    assert stream.buffered
    assert stream.fileno() == -1
    stream.close()
    assert inner.closed


def test_the_clock_shows_what_was_written_down_with_the_last_piece(tmp_path):
    clock = ManualClock(1_000)
    stream = record(tmp_path / "r", ScriptedStream([b"a", None, b"b"]), clock=clock)
    assert stream.clock.now_ns() == 1_000
    stream.receive()
    clock.advance_ns(70)

    assert stream.clock.now_ns() == 1_000
    stream.receive()
    assert stream.clock.now_ns() == 1_000
    stream.receive()
    assert stream.clock.now_ns() == 1_070
    assert stream.clock.monotonic_ns() == 70
    stream.close()


def test_recording_a_replay_keeps_its_times(tmp_path):
    clock = ManualClock(1_000)
    first = record(tmp_path / "first", ScriptedStream([b"a", b"b"]), clock=clock)
    first.receive()
    clock.advance_ns(7)
    first.receive()
    first.close()

    again = record(tmp_path / "again", ReplayStream(tmp_path / "first"))
    assert (again.receive(), again.receive()) == (b"a", b"b")
    again.close()

    times = [(tmp_path / f"{name}_inbound_time.rec") for name in ("first", "again")]
    assert times[0].read_bytes() == times[1].read_bytes()


def test_a_protocol_stamps_the_same_live_and_replayed(tmp_path):
    """Live and replayed, a batch has the very same timestamp."""
    ours, theirs = memory_stream_pair()
    server = WebSocket.serve(theirs)
    live = WebSocket(record(tmp_path / "r", ours))
    server.read_batch()
    server.accept()
    live.read_batch()
    batches = []
    for text in ("1", "2"):
        server.send_text(text)
        batches.append(live.read_batch())
    live.abort()

    replayed = WebSocket(ReplayStream(tmp_path / "r"))
    replayed.read_batch()
    assert [replayed.read_batch(), replayed.read_batch()] == batches
    replayed.abort()
    server.abort()
