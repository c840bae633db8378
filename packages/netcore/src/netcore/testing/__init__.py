"""What tests of streams, protocols and services need; shipped for users' own tests."""

from netcore.clock import ManualClock
from netcore.stream.memory import MemoryStream, memory_stream_pair

__all__ = ["ManualClock", "MemoryStream", "memory_stream_pair"]
