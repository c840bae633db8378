import pytest

from netcore.clock import ManualClock, SystemClock
from netcore.stream import (
    BufferedStream,
    FileStream,
    RecordedStream,
    Recorder,
    Stream,
    clock_of,
)
from netcore.testing import (
    ChaosStream,
    ScriptedStream,
    memory_stream_pair,
    tcp_stream_pair,
)


@pytest.fixture
def streams(tmp_path):
    (tmp_path / "bytes").write_bytes(b"x")
    memory, _ = memory_stream_pair()
    tcp, other = tcp_stream_pair()
    found = [
        memory,
        tcp,
        BufferedStream(memory),
        FileStream(tmp_path / "bytes"),
        RecordedStream(memory, Recorder(tmp_path / "name")),
        ChaosStream(memory),
        ScriptedStream(),
    ]
    yield found
    other.close()
    for stream in found:
        stream.close()


def test_every_stream_is_a_stream(streams):
    for stream in streams:
        assert isinstance(stream, Stream)


def test_every_stream_prints_what_it_is(streams):
    for stream in streams:
        assert repr(stream).startswith(f"<{type(stream).__name__}")


def test_streams_live_now_unless_they_bring_a_clock():
    stream = ScriptedStream()

    assert isinstance(clock_of(stream), SystemClock)
    stream.clock = ManualClock()
    assert clock_of(stream) is stream.clock
