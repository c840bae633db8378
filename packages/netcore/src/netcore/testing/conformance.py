"""What every stream must do, as tests that any stream can be put through.

In the spirit of `trio.testing.check_two_way_stream`: give a function that makes a
fresh connected pair, and each rule of `netcore.stream.base` is tried on it, from both
ends. Every stream of this package passes; so should yours.

Violations are AssertionErrors that name the rule. Real sockets need the kernel's
time, so the kit waits on descriptors with a generous guard against hanging; it never
asserts a duration.
"""

import select
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress

from netcore.errors import BufferFull, RemoteError, StreamClosed
from netcore.info import ConnectionInfo
from netcore.stream.base import Buffer, Stream, flush_stream
from netcore.stream.outbox import Outbox

__all__ = ["MakePair", "check_source", "check_stream"]

MakePair = Callable[[], tuple[Stream, Stream]]
"""Makes two streams, connected or connecting, that talk to each other."""

_GUARD_SECONDS = 10.0  # a loaded machine may stall for seconds; a hang lasts longer
_MANY_TURNS = 1_000_000
_LARGE = 1_000_003  # bytes; more than sockets and pipes hold, not a round number
_SMALL = 40_000  # bytes; fits into every pipe, takes several TLS records
_FLOOD = 64 << 20  # bytes; what no bounded stream takes without a reader


def check_stream(
    make_pair: MakePair, *, settle: Callable[[Stream], object] | None = None
) -> None:
    """Try all rules of `netcore.stream.base` on pairs of streams.

    Args:
        make_pair: Makes a fresh pair for each check.
        settle: Called after each send, and while connecting, for streams that need a
            push, and again if it returns False; by default
            `netcore.stream.base.flush_stream`.

    Raises:
        AssertionError: At the first broken rule.
    """
    for check in _CHECKS:
        with ExitStack() as stack:
            ends = make_pair()
            for stream in ends:
                stack.enter_context(closing(stream))
            kit = _Kit(settle or flush_stream)
            kit.connect(*ends)
            check(kit, *ends)
        with ExitStack() as stack:
            ends = make_pair()
            for stream in ends:
                stack.enter_context(closing(stream))
            kit = _Kit(settle or flush_stream)
            kit.connect(*ends)
            check(kit, *reversed(ends))


def check_source(make_stream: Callable[[], Stream], expected: bytes) -> None:
    """Try the rules on a stream that brings `expected` and drops what is sent.

    Raises:
        AssertionError: At the first broken rule.
    """
    for limit in (1, 7, 4096, 65536):
        with closing(make_stream()) as stream:
            got = bytearray()
            for _ in range(_MANY_TURNS):
                data = stream.receive(limit)
                if data == b"":
                    break
                _expect(data is None or len(data) <= limit, "receive exceeds limit")
                got += data or b""
            _expect(bytes(got) == expected, "received bytes differ from the source's")
            _expect(stream.receive() == b"", "the end is not final")
            _expect(stream.send(b"dropped") == 7, "send does not take all")
            stream.close()
            _check_closed(stream)


class _Kit:
    """How the checks send, receive and wait."""

    def __init__(self, settle: Callable[[Stream], object]) -> None:
        self.settle = settle

    def connect(self, *streams: Stream) -> None:
        for _ in range(_MANY_TURNS):
            waiting = [stream for stream in streams if not stream.connected()]
            if not waiting:
                return
            for stream in streams:
                self.settle(stream)
            _park(*waiting)
        raise AssertionError("the streams never get connected")

    def settled(self, stream: Stream) -> bool:
        """Push; return whether that is done, as far as `settle` tells."""
        return self.settle(stream) is not False

    def send(self, stream: Stream, data: Buffer) -> None:
        """Send all of `data`, which must fit without a reader."""
        outbox = Outbox(len(data) + 1)
        outbox.push(data)
        for _ in range(_MANY_TURNS):
            taken = outbox.flush(stream)
            if self.settled(stream) and taken:
                return
            _park(stream, writing=True)
        raise AssertionError("send never takes all")

    def receive(self, stream: Stream, size: int, *, limit: int = 65536) -> bytes:
        """Receive exactly `size` bytes."""
        got = bytearray()
        for _ in range(_MANY_TURNS):
            if len(got) == size:
                return bytes(got)
            most = min(limit, size - len(got))
            data = stream.receive(most)
            _expect(data != b"", f"the end came after {len(got)} of {size} bytes")
            _expect(data is None or len(data) <= most, "receive exceeds its limit")
            if data is None:
                _park(stream)
            else:
                got += data
        raise AssertionError(f"only {len(got)} of {size} bytes arrive")

    def receive_end(self, stream: Stream) -> None:
        for _ in range(_MANY_TURNS):
            data = stream.receive()
            if data == b"":
                return
            _expect(data is None, f"{data!r} came instead of the end")
            _park(stream)
        raise AssertionError("the end never comes")


def _has_info(_: _Kit, a: Stream, b: Stream) -> None:
    for stream in (a, b):
        _expect(
            isinstance(stream, Stream), "methods of the Stream protocol are missing"
        )
        _expect(isinstance(stream.info, ConnectionInfo), "info is no ConnectionInfo")
        _expect(stream.connected(), "connected does not stay true")


def _would_block_is_none(_: _Kit, a: Stream, b: Stream) -> None:
    _expect(a.receive() is None, "receive without data is not None")
    _expect(b.receive(1) is None, "receive(1) without data is not None")


def _limit_is_positive(_: _Kit, a: Stream, b: Stream) -> None:
    for limit in (0, -1):
        try:
            got = a.receive(limit)
        except ValueError:
            continue
        raise AssertionError(f"receive({limit}) returns {got!r}, not a ValueError")


def _bytes_pass(kit: _Kit, a: Stream, b: Stream) -> None:
    kit.send(a, b"there")
    _expect(kit.receive(b, 5) == b"there", "bytes change on the way there")
    kit.send(b, b"and back")
    _expect(kit.receive(a, 8) == b"and back", "bytes change on the way back")


def _any_buffer_is_sent(kit: _Kit, a: Stream, b: Stream) -> None:
    changing = bytearray(b"bytearray")
    for data in (b"bytes", changing, memoryview(b"<view>")[1:-1]):
        kit.send(a, data)
    changing[:] = b"*********"
    got = kit.receive(b, 18)
    _expect(got == b"bytesbytearrayview", f"buffers arrive as {got!r}")
    _expect(a.send(b"") == 0, "sending nothing does not return 0")


def _much_arrives_in_order(kit: _Kit, a: Stream, b: Stream) -> None:
    data = bytes(range(251)) * (_LARGE // 251 + 1)
    outbox = Outbox(len(data))
    outbox.push(data)
    got = bytearray()
    limits = (1, 7, 100, 16_384, 65_536)
    for turn in range(_MANY_TURNS):
        if len(got) == len(data):
            break
        gone = _flush_some(kit, outbox, a)
        limit = limits[turn % len(limits)]
        piece = b.receive(limit)
        _expect(piece != b"", "the end comes while the peer is sending")
        if piece is None and gone:
            _park(b)
        got += piece or b""
    _expect(bytes(got) == data, "a large transfer differs")


def _flush_some(kit: _Kit, outbox: Outbox, stream: Stream) -> bool:
    """Send what goes; return whether all of it has left."""
    # A collecting stream may be full: it is emptied next.
    with suppress(BufferFull):
        outbox.flush(stream)
    return kit.settled(stream) and not outbox.pending_bytes


def _a_slow_reader_blocks_the_sender(kit: _Kit, a: Stream, b: Stream) -> None:
    piece = b"x" * 16_384
    sent = 0
    while sent < _FLOOD:
        try:
            taken = a.send(piece)
        except BufferFull:
            break
        kit.settle(a)
        _expect(0 <= taken <= len(piece), f"send takes {taken} of {len(piece)} bytes")
        sent += taken
        if taken == 0:
            break
    _expect(sent < _FLOOD, "a sender without a reader is never blocked")
    got = 0
    for _ in range(_MANY_TURNS):
        data = b.receive()
        got += len(data or b"")
        gone = kit.settled(a)
        if got >= sent:
            return
        if data is None and gone:
            _park(b)
    raise AssertionError(f"{sent} bytes were taken, only {got} arrived")


def _nothing_is_hidden(kit: _Kit, a: Stream, b: Stream) -> None:
    """Rule 4: what is held shows in the descriptor or in `buffered`."""
    kit.send(a, b"h" * _SMALL)
    got = len(kit.receive(b, 1))
    for _ in range(_MANY_TURNS):
        if got == _SMALL:
            return
        if not b.buffered and b.fileno() >= 0:
            ready, _, _ = select.select([b.fileno()], [], [], _GUARD_SECONDS)
            _expect(bool(ready), "bytes wait that neither fileno nor buffered shows")
        data = b.receive(1000)
        got += len(data or b"")
    raise AssertionError(f"only {got} of {_SMALL} bytes arrive")


def _the_end_is_final(kit: _Kit, a: Stream, b: Stream) -> None:
    kit.send(a, b"last words")
    a.close()
    _expect(kit.receive(b, 10) == b"last words", "bytes before the end get lost")
    kit.receive_end(b)
    _expect(b.receive() == b"", "the end is not final")


def _a_gone_peer_is_noticed(kit: _Kit, a: Stream, b: Stream) -> None:
    a.close()
    for _ in range(_MANY_TURNS):
        try:
            b.send(b"x" * 1000)
            kit.settle(b)
        except RemoteError:
            break
        except BufferFull:
            _park(b)
    else:
        raise AssertionError("sending to a peer that has gone is never an error")
    try:
        b.send(b"x")
        kit.settle(b)
    except RemoteError:
        return
    raise AssertionError("the fault of a send is not final")


def _closing_is_final(_: _Kit, a: Stream, b: Stream) -> None:
    a.close()
    _check_closed(a)


_CHECKS = (
    _has_info,
    _would_block_is_none,
    _limit_is_positive,
    _bytes_pass,
    _any_buffer_is_sent,
    _much_arrives_in_order,
    _a_slow_reader_blocks_the_sender,
    _nothing_is_hidden,
    _the_end_is_final,
    _a_gone_peer_is_noticed,
    _closing_is_final,
)


def _check_closed(stream: Stream) -> None:
    stream.close()
    _expect(stream.fileno() == -1, "a closed stream still has a descriptor")
    _expect(not stream.buffered, "a closed stream claims to hold bytes")
    _expect(not stream.want_write, "a closed stream wants to write")
    uses: tuple[tuple[str, Callable[[], object]], ...] = (
        ("receive", stream.receive),
        ("send", lambda: stream.send(b"x")),
        ("connected", stream.connected),
    )
    for name, use in uses:
        try:
            use()
        except StreamClosed:
            continue
        raise AssertionError(f"{name} works on a closed stream")


def _park(*streams: Stream, writing: bool = False) -> None:
    """Wait as a driver does: not while something is held, and on what is wanted."""
    if any(stream.buffered or stream.fileno() < 0 for stream in streams):
        return
    fds = [stream.fileno() for stream in streams]
    writers = [s.fileno() for s in streams if writing or s.want_write]
    ready = select.select(fds, writers, [], _GUARD_SECONDS)
    _expect(any(ready), f"nothing happens on {streams}")


def _expect(condition: object, broken: str) -> None:
    if not condition:
        raise AssertionError(broken)
