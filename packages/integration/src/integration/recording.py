"""Recording market streams: what a folder holds, and writing one.

A folder is one run:

``recording.json``
    the manifest: what was asked for, where, what each connection carried, when it
    began and ended, and what the other files were like then;
``<exchange>-<connection>-<session>_*.rec``
    every byte of every WebSocket session above TLS, as `netcore.stream.record` writes
    them; sessions that succeeded a living one are called ``...-successor``;
``http.jsonl``
    one line per HTTP response: time, URL, status, body.

Only public market data is recorded, so nothing in a folder is secret. Reading it back
is `integration.replay`'s.
"""

import zlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, final

import msgspec

from integration.errors import UNDECODABLE, LocalError
from integration.models import (
    ExchangeId,
    Subscription,
    normalise_subscriptions,
)
from netcore.models import Model, Timestamp

if TYPE_CHECKING:
    from integration.market.config import StreamConfig
    from integration.market.streams import MarketStreams
    from integration.rest.prepared import PreparedRequest
    from integration.rest.transport import HttpTransport, RawResponse
    from netcore.clock import Clock

__all__ = [
    "FileSum",
    "FolderFault",
    "HttpEntry",
    "Manifest",
    "Recording",
    "RecordingFault",
    "RecordingFolder",
    "open_recording",
]

MANIFEST: Final = "recording.json"
HTTP_JOURNAL: Final = "http.jsonl"
INBOUND: Final = "_inbound.rec"
_READ: Final = ("*_inbound*.rec", HTTP_JOURNAL)
"""What is read of a recording; what was sent is kept for people."""
_PIECE: Final = 1 << 20
_VERSION: Final = 2
"""Of the folder. 1 was that of the program `market-recorder`, of one exchange."""


class RecordingFault(LocalError):
    """A recording is damaged, or there is none, or it cannot be made."""


class FolderFault(RecordingFault):
    """A folder holds no recording, or none can be made in it."""


class FileSum(Model, frozen=True):
    """By what a file is known again.

    Attributes:
        size: Bytes in it.
        crc32: Of them.
    """

    size: int
    crc32: int

    @classmethod
    def of(cls, path: Path) -> "FileSum":
        """Read a file.

        Raises:
            OSError: It cannot be read.
        """
        size = crc = 0
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                size, crc = size + len(piece), zlib.crc32(piece, crc)
        return cls(size=size, crc32=crc)


class Manifest(Model, frozen=True):
    """What was recorded.

    Attributes:
        subscriptions: What was asked for.
        started_ns: When the run began, ns since the epoch.
        stopped_ns: When it was decided to end; None if it was cut off.
        ended_ns: When everything was closed.
        websocket_url: Replaced URLs, by exchange.
        rest_url: Replaced URLs, by exchange.
        max_depth: Levels kept per side of a book; None for all.
        connections: By name, what each connection carried; empty if none got so far.
        redundant: Names of connections that carried the same (A/B lines).
        down: Names of those that were not connected when it was decided to end.
        files: What is read of the recording, as it was at the end; empty if it was
            cut off.
        version: Of this format.
    """

    subscriptions: tuple[Subscription, ...]
    started_ns: Timestamp
    stopped_ns: Timestamp | None = None
    ended_ns: Timestamp | None = None
    websocket_url: Mapping[str, str] = {}
    rest_url: Mapping[str, str] = {}
    max_depth: int | None = None
    connections: Mapping[str, tuple[Subscription, ...]] = {}
    redundant: tuple[tuple[str, ...], ...] = ()
    down: tuple[str, ...] = ()
    files: Mapping[str, FileSum] = {}
    version: int = _VERSION

    def carried(
        self, connection: str, exchange: ExchangeId
    ) -> tuple[Subscription, ...]:
        """Return what a connection carried; all of its exchange if that is unknown."""
        known = self.connections.get(connection)
        if known is not None:
            return known
        return tuple(s for s in self.subscriptions if s.exchange == exchange)


class HttpEntry(Model, frozen=True, omit_defaults=True):
    """One HTTP response.

    Attributes:
        time_ns: When it was complete, ns since the epoch.
        url: Of the request.
        status: HTTP status.
        body: Its text ...
        binary: ... or its bytes where they are no UTF-8.
    """

    time_ns: Timestamp
    url: str
    status: int
    body: str = ""
    binary: bytes | None = None

    @property
    def content(self) -> bytes:
        """The body, byte for byte."""
        return self.body.encode() if self.binary is None else self.binary


@final
class RecordingFolder:
    """One recorded run.

    Args:
        path: The folder.

    Attributes:
        path: As given.
        manifest: What was recorded.

    Raises:
        RecordingFault: It is no recording of this format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        file = path / MANIFEST
        try:
            self.manifest = msgspec.json.decode(file.read_bytes(), type=Manifest)
        except OSError as error:
            msg = f"{path}: not a recording: {MANIFEST}: {error.strerror}"
            raise FolderFault(msg) from error
        except UNDECODABLE as error:
            raise RecordingFault(f"{file}: {error}") from error
        if self.manifest.version != _VERSION:
            was = self.manifest.version
            raise RecordingFault(f"{file}: version {_VERSION} is read, was {was}")

    def __repr__(self) -> str:
        return f"<RecordingFolder {self.path}: {len(self.sessions)} sessions>"

    @classmethod
    def create(cls, path: Path, manifest: Manifest) -> "RecordingFolder":
        """Begin a recording in a folder that is new or empty.

        Raises:
            RecordingFault: It is neither, or cannot be written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise FolderFault(f"{path}: is not empty; choose another folder")
        except OSError as error:
            raise FolderFault(f"{path}: {error.strerror}") from error
        _write(path, manifest)
        return cls(path)

    @property
    def sessions(self) -> list[str]:
        """Names of the WebSocket sessions, those of one connection in their order.

        Attempts that brought no byte are left out: there is nothing in them.
        """
        found = self.path.glob(f"*{INBOUND}")
        return sorted(
            path.name.removesuffix(INBOUND) for path in found if path.stat().st_size
        )

    def note(self, **changes: object) -> None:
        """Write down more of what is known about the run.

        Raises:
            RecordingFault: The manifest cannot be written.
        """
        self.manifest = msgspec.structs.replace(self.manifest, **changes)
        _write(self.path, self.manifest)

    def seal(self, time_ns: Timestamp) -> None:
        """Write down that everything was closed, and what the files are like.

        Raises:
            RecordingFault: A file cannot be read, or the manifest cannot be written.
        """
        found = (path for pattern in _READ for path in self.path.glob(pattern))
        try:
            files = {path.name: FileSum.of(path) for path in sorted(found)}
        except OSError as error:
            raise RecordingFault(f"{error.filename}: {error.strerror}") from error
        self.note(ended_ns=time_ns, files=files)

    def check(self) -> None:
        """Compare the files with what they were like at the end of the run.

        Nothing is known of a run that was cut off.

        Raises:
            RecordingFault: One is not as it was.
        """
        for name, known in self.manifest.files.items():
            path = self.path / name
            try:
                found = FileSum.of(path)
            except OSError as error:
                raise RecordingFault(f"{path}: {error.strerror}") from error
            if found != known:
                was = f"{known.size} bytes, CRC-32 {known.crc32:08x}"
                now = f"{found.size} bytes, CRC-32 {found.crc32:08x}"
                msg = f"{path}: is not as it was recorded: it had {was}, now {now}"
                raise RecordingFault(msg)

    def http_entries(self) -> Iterator[HttpEntry]:
        """Yield the HTTP responses, in the order in which they came.

        Raises:
            RecordingFault: The journal is damaged before its last line.
        """
        path = self.path / HTTP_JOURNAL
        if not path.exists():
            return
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    entry = msgspec.json.decode(line, type=HttpEntry)
                except UNDECODABLE as error:
                    if not line.endswith(b"\n"):
                        return  # torn by a crash: it was never used
                    raise RecordingFault(f"{path}, line {number}: {error}") from error
                yield entry


def _write(path: Path, manifest: Manifest) -> None:
    """Replace the manifest as a whole: a crash leaves the old one or the new one."""
    draft = path / f"{MANIFEST}.new"
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    try:
        draft.write_bytes(text + b"\n")
        draft.replace(path / MANIFEST)
    except OSError as error:
        raise FolderFault(f"{path / MANIFEST}: {error.strerror}") from error


@final
class _Journal:
    """An `HttpTransport` that writes down every response it passes on."""

    def __init__(self, inner: "HttpTransport", file: IO[bytes], clock: "Clock") -> None:
        self._inner = inner
        self._file = file
        self._clock = clock

    async def send(self, prepared: "PreparedRequest") -> "RawResponse":
        """Send, and note what came back before anybody acts on it.

        Raises:
            RecordingFault: The journal cannot be written.
        """
        response = await self._inner.send(prepared)
        time_ns, url, status = self._clock.now_ns(), prepared.url, response.status
        try:
            body = response.content.decode()
            entry = HttpEntry(time_ns, url, status, body)
        except UnicodeDecodeError:
            entry = HttpEntry(time_ns, url, status, binary=response.content)
        try:
            self._file.write(msgspec.json.encode(entry) + b"\n")
            self._file.flush()
        except OSError as error:
            raise FolderFault(f"{HTTP_JOURNAL}: {error.strerror}") from error
        return response

    async def aclose(self) -> None:
        """Close the transport below."""
        await self._inner.aclose()


class Recording(msgspec.Struct, frozen=True):
    """A run that is being recorded.

    Attributes:
        folder: Where to.
        streams: What is recorded; consume it, or the venue is slowed down.
    """

    folder: RecordingFolder
    streams: "MarketStreams"


@asynccontextmanager
async def open_recording(
    path: Path,
    subscriptions: Iterable[Subscription],
    *,
    config: "StreamConfig | None" = None,
) -> AsyncIterator[Recording]:
    """Open market streams that are recorded until the block is left, however it is.

    Args:
        path: A folder that is new or empty.
        subscriptions: What to stream.
        config: How; its `recorder` is replaced.

    Yields:
        The recording; every subscription is confirmed.

    Raises:
        RecordingFault: The folder cannot be used.
        IntegrationError: As `open_market_streams` raises it.
    """
    from integration.market.config import StreamConfig
    from integration.market.streams import open_market_streams

    config = config or StreamConfig()
    clock, wanted = config.clock, normalise_subscriptions(subscriptions)
    folder = RecordingFolder.create(
        path,
        Manifest(
            subscriptions=wanted,
            started_ns=clock.now_ns(),
            websocket_url=dict(config.websocket_url),
            rest_url=dict(config.rest_url),
            max_depth=config.max_depth,
        ),
    )
    with (path / HTTP_JOURNAL).open("xb") as file:
        journal = _Journal(_http_transport(config), file, clock)
        recorded = msgspec.structs.replace(
            config, recorder=path, http_transport=journal
        )
        try:
            async with open_market_streams(wanted, config=recorded) as streams:
                folder.note(connections=_carried(streams), redundant=streams.redundant)
                try:
                    yield Recording(folder, streams)
                finally:
                    _note_end(folder, streams, clock.now_ns())
        finally:
            if config.http_transport is None:
                await _close(journal)
            await _seal(folder, clock.now_ns())


def _note_end(
    folder: RecordingFolder, streams: "MarketStreams", time_ns: Timestamp
) -> None:
    """Write down how it was when it was decided to end."""
    carried = {**folder.manifest.connections, **_carried(streams)}
    up = {status.name for status in streams.connections if status.up}
    down = tuple(name for name in carried if name not in up)
    known = dict.fromkeys((*folder.manifest.redundant, *streams.redundant))
    folder.note(
        stopped_ns=time_ns, connections=carried, redundant=tuple(known), down=down
    )


def _carried(streams: "MarketStreams") -> dict[str, tuple[Subscription, ...]]:
    return {status.name: status.subscriptions for status in streams.connections}


def _http_transport(config: "StreamConfig") -> "HttpTransport":
    """Return what sends requests, made as the streams would have made it."""
    if config.http_transport is not None:
        return config.http_transport
    # httpx's own constructor is the only one that takes a context.
    import httpx

    from integration.rest.httpx_transport import HttpxTransport

    verify = True if config.ssl_context is None else config.ssl_context
    pool = httpx.AsyncHTTPTransport(verify=verify, trust_env=False)
    return HttpxTransport(pool, clock=config.clock)


async def _close(journal: _Journal) -> None:
    import trio

    with trio.CancelScope(shield=True):
        await journal.aclose()


async def _seal(folder: RecordingFolder, time_ns: Timestamp) -> None:
    import trio

    # In a thread: there may be gigabytes.
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(folder.seal, time_ns)
