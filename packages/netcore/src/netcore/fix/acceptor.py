"""The door of a FIX venue: which session a new connection belongs to.

A connection says who it is by its first message only. Until then it is a `Visitor`;
a visitor with a right Logon is led to its session, any other is shown out without a
word, so that it learns nothing about who is known here.
"""

from collections.abc import Iterable, Iterator
from typing import NoReturn, final

from netcore.fix.codec import FixParser, GarbledReason, Resync
from netcore.fix.config import Role, SessionId
from netcore.fix.errors import FixLocalError, LogonRefused
from netcore.fix.session import FixSession
from netcore.models import Timestamp

__all__ = ["Acceptor", "Visitor"]

# A Logon with certificates and signatures has some KiB.
_MAX_LOGON = 65536


@final
class Acceptor:
    """Sessions that wait for their counterparties.

    Args:
        sessions: One for each counterparty, all in the role of acceptor.

    Raises:
        FixLocalError: If two sessions are for the same parties, or one is an
            initiator.
    """

    def __init__(self, sessions: Iterable[FixSession]) -> None:
        self._sessions: dict[SessionId, FixSession] = {}
        self._taken: set[SessionId] = set()
        for session in sessions:
            if session.config.role is not Role.ACCEPTOR:
                raise FixLocalError(f"{session.config.id} is no acceptor's session")
            if session.config.id in self._sessions:
                raise FixLocalError(f"there are two sessions {session.config.id}")
            self._sessions[session.config.id] = session

    def __repr__(self) -> str:
        return f"<Acceptor {len(self._taken)} of {len(self._sessions)} connected>"

    def __getitem__(self, session_id: SessionId) -> FixSession:
        return self._sessions[session_id]

    def __iter__(self) -> Iterator[FixSession]:
        return iter(self._sessions.values())

    def visit(self) -> "Visitor":
        """Return a visitor for a new connection."""
        return Visitor(self)

    def find(self, session_id: SessionId) -> FixSession | None:
        """Return the session, None if there is none."""
        return self._sessions.get(session_id)

    def taken(self, session_id: SessionId) -> bool:
        """Return whether a connection holds the session."""
        return session_id in self._taken

    def take(self, session: FixSession, now: Timestamp) -> None:
        """Begin the session's new connection; `release` ends it.

        Raises:
            LogonRefused: If a connection holds the session.
        """
        if session.config.id in self._taken:
            raise LogonRefused(f"{session.config.id} is connected already")
        session.connect(now)
        self._taken.add(session.config.id)

    def release(self, session: FixSession) -> None:
        """Note that the session's connection is over."""
        self._taken.discard(session.config.id)


@final
class Visitor:
    """A connection that has not said who it is.

    Attributes:
        received: All bytes so far; the session is to be fed them.
    """

    def __init__(self, acceptor: Acceptor) -> None:
        self._acceptor = acceptor
        self._parser = FixParser(max_message_size=_MAX_LOGON, resync=Resync.CLAIMED_END)
        self.received = b""

    def feed_eof(self) -> NoReturn:
        """Note that the connection ended.

        Raises:
            LogonRefused: Always.
        """
        raise LogonRefused("the connection ended before a Logon")

    def feed(self, data: bytes) -> FixSession | None:
        """Take bytes; return the session once the first message names one.

        Raises:
            LogonRefused: If the first message is garbled, no Logon, or names
                nobody who is expected here.
        """
        self.received += data
        messages = self._parser.feed(data)
        for garbled in self._parser.take_garbled():
            if garbled.after == 0 and garbled.reason is not GarbledReason.NOISE:
                raise LogonRefused(f"the first message is garbled: {garbled.reason}")
        if not messages:
            if len(self.received) > _MAX_LOGON:
                raise LogonRefused("noise instead of a Logon")
            return None
        first = messages[0]
        if first.get(35) != b"A":
            raise LogonRefused("the first message is no Logon")
        session_id = SessionId(
            first[8].decode("latin-1"),
            first.get(56, b"").decode("latin-1"),
            first.get(49, b"").decode("latin-1"),
        )
        session = self._acceptor.find(session_id)
        if session is None:
            raise LogonRefused(f"there is no session {session_id}")
        return session
