"""Streams: one interface over sockets, TLS, files, recordings and memory.

`netcore.stream.base` states the rules; `netcore.testing.check_stream` tests them.
"""

from netcore.stream.base import (
    RECEIVE_SIZE,
    Buffer,
    Stream,
    clock_of,
    collected_bytes,
    flush_stream,
)
from netcore.stream.buffered import BufferedStream
from netcore.stream.file import FileStream
from netcore.stream.memory import MemoryStream
from netcore.stream.outbox import Outbox
from netcore.stream.record import RecordedStream, Recorder
from netcore.stream.replay import ReplayStream
from netcore.stream.tcp import TcpStream
from netcore.stream.tls import TlsStream, insecure_context, secure_context
from netcore.stream.tls_engine import KernelTls

__all__ = [
    "RECEIVE_SIZE",
    "Buffer",
    "BufferedStream",
    "FileStream",
    "KernelTls",
    "MemoryStream",
    "Outbox",
    "RecordedStream",
    "Recorder",
    "ReplayStream",
    "Stream",
    "TcpStream",
    "TlsStream",
    "clock_of",
    "collected_bytes",
    "flush_stream",
    "insecure_context",
    "secure_context",
]
