"""Reading recordings for a look: what is whole, and what is damaged where."""

from pathlib import Path

import pytest

from netcore.cli.exits import UsageFault
from netcore.cli.recording import (
    INBOUND,
    OUTBOUND,
    RecordedReads,
    find_recording,
)
from netcore.clock import ManualClock
from netcore.stream import Recorder


@pytest.fixture
def name(tmp_path):
    """Two pieces with a would-block between them, one write, an end."""
    path = str(tmp_path / "feed")
    clock = ManualClock(1000)
    with Recorder(path, clock=clock) as recorder:
        recorder.inbound(b"first")
        recorder.inbound(None)
        clock.advance(0.5)
        recorder.inbound(b"second")
        recorder.outbound(b"sent")
        recorder.inbound(b"")
    return path


def file(name: str, part: str) -> Path:
    return Path(f"{name}_{part}.rec")


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:-size])


def read(name: str, direction: str = INBOUND):
    reads = RecordedReads(name, direction)
    return reads, list(reads)


def problems(reads: RecordedReads):
    return [(Path(p.file).name, p.offset, p.text) for p in reads.problems]


def test_pieces_have_their_places_times_and_attempts(name):
    reads, pieces = read(name)

    first = pieces[0].time_ns
    assert [(p.number, p.offset, p.data, p.attempt) for p in pieces] == [
        (0, 0, b"first", 0),
        (1, 5, b"second", 2),
    ]
    assert pieces[1].time_ns - first == 500_000_000
    assert (reads.attempts, reads.ended, reads.problems) == (4, True, [])


def test_a_recording_of_the_other_library_has_no_times(name):
    file(name, "inbound_time").unlink()

    reads, pieces = read(name)

    assert [p.time_ns for p in pieces] == [None, None]
    assert reads.problems == []


def test_outbound_bytes_have_no_reads(name):
    reads, pieces = read(name, OUTBOUND)

    assert [(p.data, p.attempt) for p in pieces] == [(b"sent", None)]
    assert (reads.attempts, reads.ended) == (None, None)


def test_bytes_that_are_gone_are_told(name):
    cut(file(name, "inbound"), 2)

    reads, pieces = read(name)

    assert pieces[1].data == b"seco"
    assert problems(reads) == [
        ("feed_inbound.rec", 9, "2 of the 6 bytes of read 1 are gone")
    ]


def test_a_half_pair_is_told(name):
    cut(file(name, "inbound_seq"), 20)

    reads, pieces = read(name)

    assert len(pieces) == 1
    assert problems(reads) == [
        ("feed_inbound_seq.rec", 16, "ends in the middle of a pair (12 of 16 bytes)"),
        ("feed_inbound.rec", 5, "6 bytes are counted by no read"),
        ("feed_inbound_time.rec", 8, "8 bytes belong to no read"),
    ]
    assert reads.ended is False


def test_missing_times_are_told_once(name):
    cut(file(name, "inbound_time"), 12)

    reads, pieces = read(name)

    assert [p.time_ns for p in pieces] == [None, None]
    assert problems(reads) == [("feed_inbound_time.rec", 0, "read 0 has no time")]


def test_attempts_that_go_back_are_told(name):
    pairs = file(name, "inbound_seq")
    data = pairs.read_bytes()
    pairs.write_bytes(data[16:32] + data[:16])

    reads, _ = read(name)

    assert problems(reads)[0] == ("feed_inbound_seq.rec", 16, "attempt 0 comes after 2")


@pytest.mark.parametrize(
    "end", ["", "_inbound.rec", "_inbound", "_inbound_seq.rec", "_outbound.rec"]
)
def test_a_recording_is_found_by_any_of_its_files(name, end):
    assert find_recording(name + end) == (name, True)


def test_any_other_file_is_taken_as_it_is(tmp_path):
    path = tmp_path / "dump.bin"
    path.write_bytes(b"x" * 70_000)

    assert find_recording(str(path)) == (str(path), False)
    _, pieces = read(str(path), "")
    assert [len(p.data) for p in pieces] == [65536, 4464]


def test_a_name_without_files_is_the_users_mistake(tmp_path):
    with pytest.raises(UsageFault, match="neither a recording"):
        find_recording(str(tmp_path / "nothing"))


def test_attempts_that_stand_still_are_told(name):
    pairs = file(name, "inbound_seq")
    data = pairs.read_bytes()
    pairs.write_bytes(data[:16] + data[:8] + data[24:])

    reads, _ = read(name)

    assert problems(reads) == [("feed_inbound_seq.rec", 16, "attempt 0 comes after 0")]
