"""The SQLite schema: numbered steps, applied once each, in order.

`user_version` counts the steps applied, `application_id` says whose file it is. A
step is never changed after a release; a new one is added. The statements use nothing
that SQLite 3.37 does not have (STRICT tables), in particular no `jsonb()`.

Time is int64 nanoseconds; a timeline's live version is the one without `valid_until`.
"""

import sqlite3
from typing import Final

from flowtrade.errors import SchemaMismatch

__all__ = ["APPLICATION_ID", "STEPS", "migrate"]

APPLICATION_ID: Final = 0x464C5754  # "FLWT", so that `file` and we know it

STEPS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE head (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        last_timestamp INTEGER NOT NULL
    ) STRICT;
    INSERT INTO head VALUES (1, 0);

    CREATE TABLE entity (
        pk INTEGER PRIMARY KEY,
        kind INTEGER NOT NULL,
        id BLOB NOT NULL,
        owner BLOB NOT NULL,
        app_data BLOB NOT NULL,
        created INTEGER NOT NULL,
        parent INTEGER REFERENCES entity (pk),
        ratio REAL NOT NULL,
        UNIQUE (kind, id)
    ) STRICT;
    CREATE INDEX entity_owner ON entity (owner, kind, pk) WHERE owner <> x'';
    CREATE INDEX entity_parent ON entity (parent) WHERE parent IS NOT NULL;

    CREATE TABLE version (
        entity INTEGER NOT NULL REFERENCES entity (pk),
        part INTEGER NOT NULL,
        valid_from INTEGER NOT NULL,
        valid_until INTEGER CHECK (valid_until > valid_from),
        value BLOB,
        PRIMARY KEY (entity, part, valid_from)
    ) STRICT, WITHOUT ROWID;
    -- At most one live version in a timeline, and a short way to it.
    CREATE UNIQUE INDEX version_live ON version (entity, part)
        WHERE valid_until IS NULL;

    CREATE TABLE attachment (
        demand INTEGER NOT NULL REFERENCES entity (pk),
        portfolio INTEGER NOT NULL REFERENCES entity (pk),
        PRIMARY KEY (demand, portfolio)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE batch (
        seq INTEGER PRIMARY KEY,
        as_of INTEGER NOT NULL UNIQUE,
        scheduled INTEGER UNIQUE,
        cleared INTEGER NOT NULL,
        record BLOB NOT NULL
    ) STRICT;
    CREATE INDEX batch_cleared ON batch (as_of) WHERE cleared;

    CREATE TABLE outcome (
        entity INTEGER NOT NULL REFERENCES entity (pk),
        as_of INTEGER NOT NULL REFERENCES batch (as_of),
        price REAL,
        rate REAL NOT NULL,
        PRIMARY KEY (entity, as_of)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX outcome_batch ON outcome (as_of);
    """,
    """
    CREATE TABLE memory (
        scope TEXT NOT NULL,
        key TEXT NOT NULL,
        fingerprint BLOB NOT NULL,
        timestamp INTEGER NOT NULL,
        ids BLOB NOT NULL,
        PRIMARY KEY (scope, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX memory_timestamp ON memory (timestamp);
    """,
    """
    -- What a portfolio had traded before the batch, in rate times seconds.
    ALTER TABLE outcome ADD COLUMN traded REAL NOT NULL DEFAULT 0;
    """,
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a database up to the newest schema.

    Args:
        connection: Open, in autocommit mode, without a transaction.

    Raises:
        SchemaMismatch: The file is another program's, or of a newer version of ours.
    """
    owner = _pragma(connection, "application_id")
    version = _pragma(connection, "user_version")
    if owner not in (0, APPLICATION_ID) or (owner == 0 and _has_tables(connection)):
        raise SchemaMismatch("the file is a database of another program; name another")
    if version > len(STEPS):
        raise SchemaMismatch(
            f"the store has schema {version}, this program knows {len(STEPS)}; "
            "upgrade the program"
        )
    for number, step in enumerate(STEPS[version:], start=version + 1):
        # executescript commits what is open first, so the step brings its own bounds.
        connection.executescript(
            f"BEGIN IMMEDIATE; {step}; PRAGMA user_version = {number}; "
            f"PRAGMA application_id = {APPLICATION_ID}; COMMIT;"
        )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _has_tables(connection: sqlite3.Connection) -> bool:
    (count,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return bool(count)
