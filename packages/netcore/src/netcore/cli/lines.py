"""Lines of standard input, without a thread: read when there is something to read."""

import os
from collections.abc import AsyncGenerator
from typing import Final, final

import trio

from netcore.cli.exits import UsageFault

__all__ = ["MAX_LINE", "LineSplitter", "read_lines"]

MAX_LINE: Final = 16 << 20
"""16 MiB: what a WebSocket of ours takes as a message."""
_CHUNK: Final = 1 << 16


@final
class LineSplitter:
    """Splits bytes, cut anywhere, into lines without their ends (LF or CR LF)."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` completes.

        Raises:
            UsageFault: If a line is longer than `MAX_LINE`.
        """
        *whole, rest = data.split(b"\n")
        lines = []
        for piece in whole:
            self._held += piece
            lines.append(bytes(self._held).removesuffix(b"\r"))
            self._held.clear()
        self._held += rest
        if len(self._held) > MAX_LINE:
            raise UsageFault(f"a line of the input is longer than {MAX_LINE} bytes")
        return lines

    def finish(self) -> list[bytes]:
        """Return the last line if it had no end."""
        last = bytes(self._held)
        self._held.clear()
        return [last] if last else []


async def read_lines(descriptor: int) -> AsyncGenerator[bytes, None]:
    """Yield the lines of a pipe, terminal or file until its end.

    Raises:
        UsageFault: If a line is too long.
        trio.Cancelled: If the task is cancelled; what was not yielded is lost.
    """
    splitter = LineSplitter()
    while True:
        await _readable(descriptor)
        data = os.read(descriptor, _CHUNK)
        for line in splitter.feed(data) if data else splitter.finish():
            yield line
        if not data:
            return


async def _readable(descriptor: int) -> None:
    try:
        await trio.lowlevel.wait_readable(descriptor)
    except PermissionError:
        # epoll refuses regular files and /dev/null (epoll_ctl(2), EPERM): they never
        # keep anybody waiting.
        await trio.lowlevel.checkpoint()
