"""What tests of the service use, for users' tests, too.

`SeededIds` makes ids that repeat, `TrioClock` follows trio's clock (and so a
`MockClock`), `FixedSolver` answers without solving, `RecordingPublisher` remembers.
"""

from flowtrade.testing.clocks import TrioClock
from flowtrade.testing.doubles import FixedSolver, RecordingPublisher
from flowtrade.testing.ids import SeededIds

__all__ = ["FixedSolver", "RecordingPublisher", "SeededIds", "TrioClock"]
