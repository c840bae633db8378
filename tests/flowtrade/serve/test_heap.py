"""What a process that clears auctions keeps; in processes of their own."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from flowtrade.serve.heap import keep_heap

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

kept = keep_heap() if sys.argv[1] == "keep" else None
before = resident()
blocks = [bytearray(1 << 20) for _ in range(64)]
full = resident() - before
del blocks
print(kept, full >> 20, (resident() - before) >> 20)
"""


def run(how):
    done = subprocess.run(  # noqa: S603 - our own text
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True
    )
    kept, full, left = done.stdout.split()
    return kept, int(full), int(left)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_memory_of_one_auction_is_there_for_the_next():
    kept, full, left = run("keep")
    if kept != "True":
        pytest.skip("another allocator than glibc's")
    assert full >= 60
    assert left >= 60
    # And otherwise it is gone.
    assert run("free")[2] < 10


def test_another_system_is_left_alone(monkeypatch):
    from flowtrade.serve.heap import keep_heap

    monkeypatch.setattr("sys.platform", "plan9")
    assert keep_heap() is False
