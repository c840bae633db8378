"""Where versions wait for their places in a database that writes pages.

Theory. The table `version` is kept by entity and moment. A change of one demand out of
many costs a page of 4 KiB there, in the log and on the disk, for its 150 bytes.
Changes that come one by one therefore land in the small table `landed`, one behind the
other, and are moved to their places in order when there are some thousands: then a page
takes many of them at a time.

Nobody waits for thousands to be moved: each group that lands moves twice as many as it
brings, entity by entity, and the last one clears `landed` of them. What stands in both
tables meanwhile the view `timeline` tells once: how far moving has come is written in
the table `moved`. All of that happens in the transactions of the groups, so a crash
leaves both tables as they were before one, or after it.

Runs in the writer's thread.
"""

from collections.abc import Sequence
from typing import Final, final

import msgspec

from flowtrade.store.sessions import Session
from netcore.models import Timestamp

__all__ = ["Landed", "Landing", "VersionRow", "move_landed"]

_ALL: Final = 2**63 - 1
"""More than there are."""

VersionRow = tuple[int, int, Timestamp, bytes | None]
"""The primary key of an entity, a part of it, when a version begins, and its value."""

_Moving = tuple[int, int]
"""How far: the last entity of which all is moved, and the last row that is to be."""


@final
class Landing(msgspec.Struct, frozen=True, kw_only=True):
    """When versions land instead of going to their places.

    Attributes:
        least: Changes in a group from which on they land: fewer would dirty as many
            pages so.
        most: Versions that have landed before they are moved. With fewer each page
            takes few of them; with more the keys of those that land fill many pages
            themselves.
        share: Versions moved for each that lands meanwhile: more than one, so that
            moving comes to an end; few, so that no group waits for it.
    """

    least: int = 16
    most: int = 8192
    share: int = 2


@final
class Landed:
    """What the writer knows of the versions that have landed.

    Args:
        landing: When they do.
    """

    def __init__(self, landing: Landing) -> None:
        self._landing = landing
        # How many have landed and are not being moved; None if that must be read.
        self._waiting: int | None = None
        self._moving: _Moving | None = None

    def forget(self) -> None:
        """Forget everything: a commit failed."""
        self._waiting = self._moving = None

    def takes(self, count: int) -> bool:
        """Say whether so many versions of a group should land."""
        return count >= self._landing.least

    def land(self, session: Session, rows: Sequence[VersionRow]) -> None:
        """Write versions, and move some that were here before.

        Args:
            session: Where, with an open transaction.
            rows: What to write; in the order of entities it costs less.
        """
        session.execute_many(_INSERT, rows)
        if self._waiting is None:
            self._moving, self._waiting = _read(session)
        else:
            self._waiting += len(rows)
        if self._moving is None and self._waiting >= self._landing.most:
            self._moving, self._waiting = (0, _last_row(session)), 0
        if self._moving is not None:
            most = self._landing.share * len(rows)
            self._moving = _move(session, self._moving, most=most)


def move_landed(session: Session) -> bool:
    """Move all versions that have landed to their places; say whether there were any.

    Args:
        session: Where, with an open transaction.
    """
    last = _last_row(session)
    if not last:
        return False
    moving, _ = _read(session)
    if moving is not None:
        _move(session, moving, most=_ALL)
    _move(session, (0, last), most=_ALL)
    return True


def _read(session: Session) -> tuple[_Moving | None, int]:
    """Return what is being moved, and how many versions have landed beside it."""
    entity, last = session.execute("SELECT entity, last FROM moved").fetchone()
    (count,) = session.execute(
        "SELECT count(*) FROM landed WHERE rowid > :last", {"last": last}
    ).fetchone()
    return ((entity, last) if last else None), count


def _last_row(session: Session) -> int:
    (last,) = session.execute("SELECT coalesce(max(rowid), 0) FROM landed").fetchone()
    return int(last)


def _move(session: Session, moving: _Moving, *, most: int) -> _Moving | None:
    """Move about so many versions on; return what is left to do, if anything is."""
    entity, last = moving
    found = session.execute(
        _END, {"entity": entity, "last": last, "most": most}
    ).fetchone()
    end = _ALL if found is None else found[0]
    session.execute(_MOVE, {"entity": entity, "end": end, "last": last})
    if found is None:
        session.execute("DELETE FROM landed WHERE rowid <= :last", {"last": last})
        end = last = 0
    session.execute(
        "UPDATE moved SET entity = :entity, last = :last",
        {"entity": end, "last": last},
    )
    return (end, last) if last else None


_INSERT: Final = (
    "INSERT INTO landed (entity, part, valid_from, value) VALUES (?, ?, ?, ?)"
)
_END: Final = (
    "SELECT entity FROM landed WHERE entity > :entity AND rowid <= :last "
    "ORDER BY entity LIMIT 1 OFFSET :most"
)
_MOVE: Final = (
    "INSERT INTO version (entity, part, valid_from, value) "
    "SELECT entity, part, valid_from, value FROM landed "
    "WHERE entity > :entity AND entity <= :end AND rowid <= :last "
    "ORDER BY entity, part, valid_from"
)
