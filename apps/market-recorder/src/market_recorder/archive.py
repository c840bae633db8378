"""What a recording folder holds, and how it is read back.

A folder is one run of the recorder:

``recording.json``
    what was asked for, where, and when it began and ended;
``<exchange>-<connection>-<session>_*.rec``
    every byte of every WebSocket session, as `netcore.stream.record` writes them;
``http.jsonl``
    one line per HTTP response: time, URL, status, body.

Nothing here connects to anything.
"""

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import msgspec

from integration.errors import IntegrationError
from integration.models import ExchangeId, Subscription
from netcore.errors import ConnectionClosed, NetError
from netcore.models import Model, Timestamp
from netcore.stream.replay import ReplayStream
from netcore.ws.options import WebSocketOptions
from netcore.ws.websocket import WebSocket

__all__ = [
    "HTTP_JOURNAL",
    "Archive",
    "ArchiveError",
    "HttpEntry",
    "Manifest",
    "Message",
]

MANIFEST: Final = "recording.json"
HTTP_JOURNAL: Final = "http.jsonl"
_INBOUND: Final = "_inbound.rec"
# Where venues put the symbol into the query of a request for a book's image.
_SYMBOL_KEYS: Final = ("symbol", "currency_pair", "contract", "instrument_name")
# A session is recorded as it came; what the live client let through is let through.
_OPTIONS: Final = WebSocketOptions(validate_utf8=False)


class ArchiveError(IntegrationError):
    """A folder is no recording, or its recording is damaged."""


class Manifest(Model, frozen=True):
    """What was recorded.

    Attributes:
        exchange: Where.
        subscriptions: What was asked for.
        websocket_url: Replaced URL, if it was.
        rest_url: Replaced URL, if it was.
        started_ns: When the run began.
        ended_ns: When it ended; None if it was cut off.
        version: Of this format.
    """

    exchange: ExchangeId
    subscriptions: tuple[Subscription, ...]
    started_ns: Timestamp
    ended_ns: Timestamp | None = None
    websocket_url: str | None = None
    rest_url: str | None = None
    version: int = 1


class HttpEntry(Model, frozen=True):
    """One HTTP response; times in ns since the epoch."""

    time_ns: Timestamp
    url: str
    status: int
    body: str

    @property
    def symbol(self) -> str | None:
        """The symbol that the URL asks about, if it names one."""
        query = parse_qs(urlsplit(self.url).query)
        found = (query[key][0] for key in _SYMBOL_KEYS if key in query)
        return next(found, None)


class Message(msgspec.Struct, frozen=True):
    """One recorded message.

    Attributes:
        time_ns: When it was received.
        session: Name of the WebSocket session, or `http`.
        payload: Its bytes.
        symbol: For HTTP, what was asked about.
    """

    time_ns: Timestamp
    session: str
    payload: bytes
    symbol: str | None = None


class Archive:
    """One recording folder.

    Args:
        folder: As written by the recorder.

    Raises:
        ArchiveError: If it is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / MANIFEST
        try:
            self.manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except OSError as error:
            raise ArchiveError(
                f"{folder}: not a recording: {path.name}: {error.strerror}"
            ) from error
        except msgspec.DecodeError as error:
            raise ArchiveError(f"{path}: {error}") from error

    @classmethod
    def create(cls, folder: Path, manifest: Manifest) -> "Archive":
        """Begin a recording in a folder that is new or empty.

        Raises:
            ArchiveError: If it is neither, or cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise ArchiveError(f"{folder}: is not empty; choose another folder")
            _write(folder, manifest)
        except OSError as error:
            raise ArchiveError(f"{folder}: {error.strerror}") from error
        return cls(folder)

    def finish(self, ended_ns: Timestamp) -> None:
        """Note that the run ended in order."""
        self.manifest = msgspec.structs.replace(self.manifest, ended_ns=ended_ns)
        _write(self.folder, self.manifest)

    @property
    def sessions(self) -> list[str]:
        """Names of the recorded WebSocket sessions, in the order they began."""
        found = self.folder.glob(f"*{_INBOUND}")
        return sorted(path.name.removesuffix(_INBOUND) for path in found)

    def messages(self) -> Iterator[Message]:
        """Yield everything received, in the order of time.

        Raises:
            ArchiveError: Where the recording is damaged.
        """
        streams = [self.session_messages(name) for name in self.sessions]
        streams.append(self.http_messages())
        yield from heapq.merge(*streams, key=lambda message: message.time_ns)

    def session_messages(self, session: str) -> Iterator[Message]:
        """Yield the messages of one WebSocket session.

        Raises:
            ArchiveError: Where the recording is damaged.
        """
        if (self.folder / f"{session}{_INBOUND}").stat().st_size == 0:
            return  # the attempt to connect failed: there is nothing to replay
        try:
            stream = ReplayStream(self.folder / session, would_blocks=False)
            with WebSocket(stream, options=_OPTIONS) as socket:
                while True:
                    batch = socket.read_batch()
                    if batch is not None:
                        for payload in batch.payloads:
                            yield Message(batch.timestamp_ns, session, bytes(payload))
        except ConnectionClosed:
            return
        except NetError as error:
            raise ArchiveError(f"{self.folder / session}: {error}") from error

    def http_messages(self) -> Iterator[Message]:
        """Yield the bodies of successful HTTP responses.

        Raises:
            ArchiveError: Where the journal is damaged.
        """
        for entry in self.http_entries():
            if entry.status < 400:
                body = entry.body.encode()
                yield Message(entry.time_ns, "http", body, entry.symbol)

    def http_entries(self) -> Iterator[HttpEntry]:
        """Yield the HTTP journal.

        Raises:
            ArchiveError: Where the journal is damaged.
        """
        path = self.folder / HTTP_JOURNAL
        if not path.exists():
            return
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield msgspec.json.decode(line, type=HttpEntry)
                except msgspec.DecodeError as error:
                    raise ArchiveError(f"{path}, line {number}: {error}") from error


def _write(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest as a whole: a crash leaves the old one or the new one."""
    draft = folder / f"{MANIFEST}.new"
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    draft.write_bytes(text + b"\n")
    draft.replace(folder / MANIFEST)
