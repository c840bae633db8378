import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.clock import ManualClock
from netcore.errors import RecordingError, ReplayDivergence, StreamClosed
from netcore.info import ConnectionInfo
from netcore.stream import RecordedStream, Recorder, ReplayStream, clock_of
from netcore.testing import ScriptedStream, check_source


def make(name, steps, *, times=(), sent=()):
    """Record what a scripted stream does, at the given times of the wall clock."""
    clock = ManualClock(0)
    stream = RecordedStream(
        ScriptedStream(steps), Recorder(name, clock=clock, overwrite=True)
    )
    for piece in sent:
        stream.send(piece)
    moments = iter(times)
    for step in steps:
        if step:
            clock.set_wall(next(moments, clock.now_ns()))
        stream.receive()
    stream.close()
    return name


def play(stream, *, limit=65536):
    """Return everything that the receives return, up to the end; close."""
    results = []
    while b"" not in results:
        results.append(stream.receive(limit))
    stream.close()
    return results


STEPS = [None, None, b"first", b"second", None, b"third", None]


@pytest.fixture
def name(tmp_path):
    return make(tmp_path / "plain", STEPS)


@pytest.fixture
def timed(tmp_path):
    """Pieces 1, 3 and 3.5 seconds after an epoch."""
    return make(
        tmp_path / "timed",
        [b"a", None, b"b", b"c", b""],
        times=[10**9, 3 * 10**9, 3_500_000_000],
    )


def test_a_replay_conforms(name):
    check_source(lambda: ReplayStream(name), b"firstsecondthird")
    check_source(lambda: ReplayStream(name, would_blocks=False), b"firstsecondthird")


def test_the_same_pieces_come_at_the_same_attempts(name):
    with_end = [*STEPS[:-1], b""]  # past the last piece is the end, as in boomnet

    assert play(ReplayStream(name)) == with_end


@given(st.lists(st.one_of(st.none(), st.binary(min_size=1, max_size=9)), max_size=50))
def test_a_replay_is_the_recording(tmp_path_factory, steps):
    steps = [*steps, b"last", None, b""]
    name = make(tmp_path_factory.mktemp("replay") / "r", steps)

    assert play(ReplayStream(name)) == steps
    dense = ReplayStream(name, would_blocks=False)
    assert play(dense) == [step for step in steps if step is not None]


def test_the_recorded_end_comes_at_its_attempt(tmp_path):
    name = make(tmp_path / "r", [b"a", None, None, b""])

    assert play(ReplayStream(name)) == [b"a", None, None, b""]


def test_a_recording_of_boomnet_is_played(tmp_path):
    # Byte by byte as its RecordedStream writes: u64 pairs, no times, an empty read.
    (tmp_path / "rust_inbound.rec").write_bytes(b"abcde")
    (tmp_path / "rust_inbound_seq.rec").write_bytes(
        struct.pack("<6Q", 1, 2, 2, 0, 4, 3)
    )
    clock = ManualClock()
    stream = ReplayStream.from_file(tmp_path / "rust_inbound")

    assert play(stream) == [None, b"ab", None, None, b"cde", b""]
    stream = ReplayStream(tmp_path / "rust", clock=clock)
    assert stream.clock is clock
    stream.close()


def test_the_files_own_name_is_taken_too(name):
    stream = ReplayStream.from_file(f"{name}_inbound.rec")

    assert play(stream)[2] == b"first"


def test_another_name_is_refused(name):
    with pytest.raises(ValueError, match="must end with _inbound"):
        ReplayStream.from_file(name)


def test_a_piece_longer_than_the_limit_comes_in_parts_at_one_attempt(name):
    assert play(ReplayStream(name), limit=3) == [
        None,
        None,
        b"fir",
        b"st",
        b"sec",
        b"ond",
        None,
        b"thi",
        b"rd",
        b"",
    ]


def test_buffered_tells_whether_the_next_receive_returns_something(name):
    stream = ReplayStream(name)
    told = []
    results = []
    for _ in STEPS:
        told.append(stream.buffered)
        results.append(stream.receive())

    assert told == [data is not None for data in results]
    stream.close()


# -- time ----------------------------------------------------------------------------


def test_the_clock_shows_when_the_last_piece_was_recorded(timed):
    stream = ReplayStream(timed)
    clock = clock_of(stream)
    seen = []
    while data := stream.receive() or b"-":
        seen.append((data, clock.now_ns()))
        if len(seen) == 4:
            break

    assert seen == [
        (b"a", 10**9),
        (b"-", 10**9),
        (b"b", 3 * 10**9),
        (b"c", 3_500_000_000),
    ]
    assert clock.monotonic_ns() == 3_500_000_000
    stream.close()


@pytest.mark.parametrize("speed", [1.0, 10.0, 0.5])
def test_pieces_keep_their_distances_at_any_speed(timed, speed):
    clock = ManualClock()
    stream = ReplayStream(timed, speed=speed, clock=clock)

    assert stream.receive() == b"a"
    assert not stream.buffered
    assert stream.receive() is None
    clock.advance_ns(int(2 * 10**9 / speed) - 1)
    assert stream.receive() is None
    clock.advance_ns(1)
    assert stream.buffered
    assert stream.receive() == b"b"
    assert stream.receive() is None
    clock.advance(0.5 / speed)
    assert stream.receive() == b"c"
    assert stream.receive() == b""
    stream.close()


def test_a_late_reader_gets_all_that_is_due(timed):
    clock = ManualClock()
    stream = ReplayStream(timed, speed=1.0, clock=clock)
    stream.receive()
    clock.advance(60)

    assert [stream.receive() for _ in range(3)] == [b"b", b"c", b""]
    stream.close()


def test_the_first_piece_starts_the_time(timed):
    clock = ManualClock()
    stream = ReplayStream(timed, speed=1.0, clock=clock)
    clock.advance(60)

    assert stream.receive() == b"a"
    assert stream.receive() is None
    stream.close()


def test_speed_needs_recorded_times(tmp_path):
    name = make(tmp_path / "r", [b"a"])
    (tmp_path / "r_inbound_time.rec").unlink()

    with pytest.raises(RecordingError, match="has no times; play it without speed"):
        ReplayStream(name, speed=1.0)


@pytest.mark.parametrize("speed", [0, -1, float("nan")])
def test_a_speed_that_is_none_is_refused(name, speed):
    with pytest.raises(ValueError, match="speed must be above 0"):
        ReplayStream(name, speed=speed)


# -- outbound ------------------------------------------------------------------------


def test_sends_are_swallowed_by_default(name):
    stream = ReplayStream(name)

    assert stream.send(b"anything") == 8
    stream.verify_finished()
    stream.close()


def test_sends_can_be_verified(tmp_path):
    name = make(tmp_path / "r", [b"a"], sent=[b"one", b"two"])
    stream = ReplayStream(name, verify_outbound=True)

    assert stream.send(b"onet") == 4
    with pytest.raises(ReplayDivergence, match="never sent"):
        stream.verify_finished()
    assert stream.send(b"wo") == 2
    stream.verify_finished()
    stream.close()


def test_after_a_divergence_nothing_goes_on(tmp_path):
    name = make(tmp_path / "r", [b"a"], sent=[b"one"])
    stream = ReplayStream(name, verify_outbound=True)

    for use in (lambda: stream.send(b"two"), stream.receive, stream.connected):
        with pytest.raises(ReplayDivergence, match="at outbound byte 0"):
            use()
    assert stream.buffered
    stream.close()
    with pytest.raises(StreamClosed):
        stream.receive()


# -- damage --------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["inbound", "inbound_seq", "outbound"])
def test_a_missing_file_is_a_recording_error(name, part):
    name.with_name(f"plain_{part}.rec").unlink()

    with pytest.raises(RecordingError, match=rf"cannot read .*plain_{part}\.rec"):
        ReplayStream(name, verify_outbound=True)


@pytest.mark.parametrize(
    ("part", "damage", "text"),
    [
        ("inbound_seq", lambda raw: raw[:-3], "in the middle of a pair"),
        ("inbound_seq", lambda raw: raw + raw[:16], "attempt 2 comes after 5"),
        ("inbound_seq", lambda raw: raw[:-1] + b"\x80", "a piece's 92233720.* bytes"),
        ("inbound_seq", lambda raw: raw[:-2] + b"\1\0", "a piece's 2814749767.* bytes"),
        ("inbound", lambda raw: raw[:-1], "1 of a piece's 5 bytes are gone"),
        ("inbound_time", lambda raw: raw[:-1], "a piece has no time"),
    ],
)
def test_damage_is_told_where_it_is_and_after_all_before_it(name, part, damage, text):
    path = name.with_name(f"plain_{part}.rec")
    path.write_bytes(damage(path.read_bytes()))
    stream = ReplayStream(name, would_blocks=False)

    assert stream.receive() == b"first"
    assert stream.receive() == b"second"
    if part == "inbound_seq" and "comes after" in text:
        assert stream.receive() == b"third"
    with pytest.raises(RecordingError, match=text):
        stream.receive()
    assert stream.buffered
    with pytest.raises(RecordingError, match=text):
        stream.receive()
    stream.close()


def test_a_recording_without_pieces_ends_at_once(tmp_path):
    name = make(tmp_path / "r", [None, None, b""])

    assert play(ReplayStream(name)) == [None, None, b""]


def test_an_unreadable_file_is_a_recording_error(name):
    class Broken:
        def read(self, size):
            raise OSError(5, "Input/output error")

        def close(self):
            pass

    stream = ReplayStream(name, would_blocks=False)
    stream._reader._inbound.close()
    stream._reader._inbound = Broken()

    assert stream.receive() == b"first"
    for _ in range(2):
        with pytest.raises(RecordingError, match="cannot be read: Input/output"):
            stream.receive()
    stream.close()


def test_a_replay_says_that_it_is_one_and_whom_it_stands_for(name):
    info = ConnectionInfo("venue.example", 443)
    stream = ReplayStream(name, info=info)

    assert stream.replayed
    assert stream.info == info
    assert stream.connected()
    assert not stream.want_write
    assert repr(stream) == f"<ReplayStream '{name}' at attempt 0>"
    stream.close()
