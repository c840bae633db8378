"""FIX: reading and writing against simplefix, and a session's whole turn.

    uv run python benchmarks/netcore/fix.py

Both libraries take turns on the same bytes, in many short rounds. Figures are medians
of processor time, and ratios medians of the rounds' ratios: these are what counts.
"""

import time
from collections.abc import Callable
from statistics import median

import simplefix

from netcore.fix import FixParser, FixSession, Role, SessionConfig, encode
from netcore.fix.fields import Message

ORDER = [
    (8, b"FIX.4.4"), (35, b"D"), (49, b"SENDER"), (56, b"TARGET"), (34, b"215"),
    (52, b"20240808-12:34:56.789"), (11, b"ORD00001"), (55, b"BTCUSDT"), (54, b"1"),
    (38, b"1.5"), (40, b"2"), (44, b"61000.5"),
]  # fmt: skip
WIRE = encode(ORDER)
BATCH = 50
ROUNDS = 60
FLOORS = {"parse": 10, "parse a batch": 10, "encode": 3}
NOW = 1_723_118_400_000_000_000

parser = FixParser()
their_parser = simplefix.FixParser()


def ours_parse() -> None:
    """One message at a time, as it comes from a socket in a quiet market."""
    assert parser.feed(WIRE)


def theirs_parse() -> None:
    their_parser.append_buffer(WIRE)
    assert their_parser.get_message() is not None


def ours_batch() -> None:
    """Many messages in one read, as in a flood."""
    assert len(parser.feed(WIRE * BATCH)) == BATCH


def theirs_batch() -> None:
    their_parser.append_buffer(WIRE * BATCH)
    for _ in range(BATCH):
        assert their_parser.get_message() is not None


def ours_encode() -> None:
    encode(ORDER)


def theirs_encode() -> None:
    message = simplefix.FixMessage()
    for tag, value in ORDER:
        message.append_pair(tag, value)
    message.encode()


def conversation() -> Callable[[], None]:
    """Two sessions: an order out, read, and nothing else."""
    names = [("US", "THEM", Role.INITIATOR), ("THEM", "US", Role.ACCEPTOR)]
    us, them = (
        FixSession(
            SessionConfig(
                begin_string="FIX.4.4",
                sender_comp_id=sender,
                target_comp_id=target,
                role=role,
                max_latency=None,
            )
        )
        for sender, target, role in names
    )
    us.connect(NOW)
    them.connect(NOW)
    them.feed(us.to_send(), NOW)
    us.feed(them.to_send(), NOW)
    body = ORDER[6:]

    def turn() -> None:
        us.send("D", body, now=NOW)
        (order,) = them.feed(us.to_send(), NOW)
        assert isinstance(order, Message)

    return turn


def cost(function: Callable[[], None], calls: int) -> float:
    """Return the processor time of one call in microseconds."""
    begin = time.process_time()
    for _ in range(calls):
        function()
    return (time.process_time() - begin) / calls * 1e6


def measure() -> dict[str, list[float]]:
    """Return the microseconds of each piece of work in each round."""
    session = conversation()
    work: dict[str, tuple[Callable[[], None], int, int]] = {
        "parse": (ours_parse, 400, 1),
        "parse, simplefix": (theirs_parse, 80, 1),
        "parse a batch": (ours_batch, 10, BATCH),
        "parse a batch, simplefix": (theirs_batch, 2, BATCH),
        "encode": (ours_encode, 400, 1),
        "encode, simplefix": (theirs_encode, 200, 1),
        "session: send, receive": (session, 200, 1),
    }
    rounds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, (function, calls, messages) in work.items():
            rounds[name].append(cost(function, calls) / messages)
    return rounds


def report() -> bool:
    """Measure in turns and print; return whether the floors hold."""
    rounds = measure()
    held = True
    print(f"\n| FIX, {len(WIRE)}-byte order | µs | simplefix, µs | x | floor |")
    print("| --- | --- | --- | --- | --- |")
    for name, ours in rounds.items():
        if name.endswith("simplefix"):
            continue
        line = f"| {name} | {median(ours):.2f} |"
        theirs, floor = rounds.get(f"{name}, simplefix"), FLOORS.get(name)
        if theirs is None or floor is None:
            print(line, "| | |")
            continue
        ratio = median(b / a for a, b in zip(ours, theirs, strict=True))
        held &= ratio >= floor
        print(line, f"{median(theirs):.2f} | {ratio:.1f} | ≥ {floor} |")
    return held


if __name__ == "__main__":
    report()
