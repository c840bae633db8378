"""Guards against a slower reader: processor time relative to a calibrated loop.

Wall clocks of a shared machine prove nothing, so each measurement is the least of
several of this thread's processor time, next to a loop that slices the same bytes: what
any splitter in plain Python has to do at least. Measured: 1.4 for long frames, 2.1 for
mixed ones, 1.7 with the whole conversation and its UTF-8 check.
"""

import time
from collections.abc import Callable

import pytest

from netcore.ws import FrameReader, Opcode, Role, WsConnection, encode_frame

ROUNDS = 40


def least(run: Callable[[], object]) -> float:
    """Processor nanoseconds of the fastest of many runs."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.thread_time_ns()
        run()
        best = min(best, time.thread_time_ns() - start)
    return best


def trades(sizes: list[int]) -> bytes:
    return b"".join(encode_frame(Opcode.TEXT, b"x" * size) for size in sizes)


def slicing(data: bytes, sizes: list[int]) -> Callable[[], object]:
    edges = []
    position = 0
    for size in sizes:
        position += len(encode_frame(Opcode.TEXT, bytes(size)))
        edges.append((position - size, position))
    return lambda: [data[start:end] for start, end in edges]


LONG = [150 + number % 45 for number in range(3700)]
MIXED = [60 + (number * 37) % 140 for number in range(3700)]


@pytest.mark.parametrize(
    ("sizes", "most"), [(LONG, 3.0), (MIXED, 5.0)], ids=["long", "mixed"]
)
def test_splitting_costs_little_more_than_slicing(sizes, most):
    data = trades(sizes)
    reader = FrameReader(Role.CLIENT)
    assert len(reader.feed(data)) == len(sizes)

    ratio = least(lambda: reader.feed(data)) / least(slicing(data, sizes))

    assert ratio < most


@pytest.mark.parametrize("validate", [True, False])
def test_a_conversation_adds_little_to_splitting(validate):
    data = trades(LONG)
    connection = WsConnection(Role.CLIENT, validate_utf8=validate)
    batch = connection.feed(data)
    assert batch is not None
    assert len(batch) == len(LONG)

    ratio = least(lambda: connection.feed(data)) / least(slicing(data, LONG))

    assert ratio < 5.0


def test_a_frame_in_single_bytes_costs_its_size_not_its_square():
    def read(size: int) -> None:
        reader = FrameReader(Role.CLIENT)
        reader.feed(b"\x82\x7e" + size.to_bytes(2, "big"))
        for _ in range(size):
            reader.feed(b"x")
        assert len(reader.payloads[0]) == size

    small, large = least_once(lambda: read(15_000)), least_once(lambda: read(60_000))

    # Four times the bytes: four times the work, and far from sixteen.
    assert large / small < 9


def least_once(run: Callable[[], object]) -> float:
    return min(_time(run) for _ in range(3))


def _time(run: Callable[[], object]) -> float:
    start = time.thread_time_ns()
    run()
    return time.thread_time_ns() - start
