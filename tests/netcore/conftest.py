"""What tests with real sockets share: a clock that waits for their bytes."""

import pytest
from trio.testing import MockClock


@pytest.fixture
def patient_clock():
    """A clock that jumps as `autojump_clock`, but not while bytes are on their way.

    The kernel may deliver what was sent within the machine only a moment later; a
    clock that jumps as soon as all tasks wait would let time run out before.
    """
    return MockClock(autojump_threshold=0.1)
