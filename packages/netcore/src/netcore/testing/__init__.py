"""What tests of streams, protocols and services need; shipped for users' own tests.

Nothing here is imported by the rest of the package.
"""

from netcore.clock import ManualClock
from netcore.stream.memory import MemoryStream, memory_stream_pair
from netcore.testing.chaos import ChaosStream, ScriptedStream, Step, random_sizes
from netcore.testing.conformance import MakePair, check_source, check_stream
from netcore.testing.loopback import reserved_port, tcp_stream_pair

__all__ = [
    "ChaosStream",
    "MakePair",
    "ManualClock",
    "MemoryStream",
    "ScriptedStream",
    "Step",
    "check_source",
    "check_stream",
    "memory_stream_pair",
    "random_sizes",
    "reserved_port",
    "tcp_stream_pair",
]
