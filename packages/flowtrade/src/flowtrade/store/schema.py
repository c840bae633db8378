"""The schema, in SQLite's words and in PostgreSQL's: numbered steps, each applied once.

A step is never changed after a release; a new one is added, to both lists. The
SQLite statements use nothing that version 3.37 does not have (STRICT tables), in
particular no `jsonb()`.

Time is int64 nanoseconds. A version of a timeline ends where the next one begins, so
only beginnings are stored: a change is one row more, and no row is ever rewritten.
Ids are 16 bytes, curves, groups and records are JSON text.

Versions are read through the view `timeline`. In SQLite they may still be in the table
`landed`, where they are written one behind the other, before they are moved to their
places in `version` (`flowtrade.store.landing`).
"""

from typing import Final

__all__ = ["POSTGRES_STEPS", "SQLITE_STEPS"]

_TABLES: Final = (
    """
    CREATE TABLE head (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        last_timestamp {bigint} NOT NULL
    ) {strict};
    INSERT INTO head VALUES (1, 0);

    CREATE TABLE entity (
        pk {serial} PRIMARY KEY,
        kind INTEGER NOT NULL,
        id {blob} NOT NULL,
        owner {blob} NOT NULL,
        app_data {blob} NOT NULL,
        created {bigint} NOT NULL,
        parent {bigint} REFERENCES entity (pk),
        ratio {real} NOT NULL,
        UNIQUE (kind, id)
    ) {strict};
    CREATE INDEX entity_owner ON entity (owner, kind, pk);
    CREATE INDEX entity_parent ON entity (parent) WHERE parent IS NOT NULL;

    CREATE TABLE version (
        entity {bigint} NOT NULL REFERENCES entity (pk),
        part INTEGER NOT NULL,
        valid_from {bigint} NOT NULL,
        valid_until {bigint} CHECK (valid_until > valid_from),
        value {blob},
        PRIMARY KEY (entity, part, valid_from)
    ) {keyed};
    -- At most one live version in a timeline, and a short way to it.
    CREATE UNIQUE INDEX version_live ON version (entity, part)
        WHERE valid_until IS NULL;

    CREATE TABLE attachment (
        demand {bigint} NOT NULL REFERENCES entity (pk),
        portfolio {bigint} NOT NULL REFERENCES entity (pk),
        PRIMARY KEY (demand, portfolio)
    ) {keyed};

    CREATE TABLE batch (
        seq {bigint} PRIMARY KEY,
        as_of {bigint} NOT NULL UNIQUE,
        scheduled {bigint} UNIQUE,
        cleared INTEGER NOT NULL,
        record {blob} NOT NULL
    ) {strict};
    CREATE INDEX batch_cleared ON batch (as_of) WHERE cleared = 1;

    CREATE TABLE outcome (
        entity {bigint} NOT NULL REFERENCES entity (pk),
        as_of {bigint} NOT NULL REFERENCES batch (as_of),
        price {real},
        rate {real} NOT NULL,
        -- What a portfolio had traded before the batch, in rate times seconds.
        traded {real} NOT NULL,
        PRIMARY KEY (entity, as_of)
    ) {keyed};
    CREATE INDEX outcome_batch ON outcome (as_of);

    CREATE TABLE memory (
        scope TEXT NOT NULL,
        key TEXT NOT NULL,
        fingerprint {blob} NOT NULL,
        timestamp {bigint} NOT NULL,
        ids {blob} NOT NULL,
        PRIMARY KEY (scope, key)
    ) {keyed};
    CREATE INDEX memory_timestamp ON memory (timestamp);
    """,
)


# SQLite's row id is the INTEGER PRIMARY KEY by exactly this name of its type.
_SQLITE: Final = {
    "serial": "INTEGER",
    "bigint": "INTEGER",
    "blob": "BLOB",
    "real": "REAL",
    "strict": "STRICT",
    "keyed": "STRICT, WITHOUT ROWID",
}
_POSTGRES: Final = {
    "serial": "BIGSERIAL",
    "bigint": "BIGINT",
    "blob": "BYTEA",
    "real": "DOUBLE PRECISION",
    "strict": "",
    "keyed": "",
}

_EPOCH: Final = "ALTER TABLE head ADD COLUMN epoch {bigint} NOT NULL DEFAULT 0;"
"""Counts the leaders there have been; a batch is stored only under the present one."""

_FOLLOW: Final = """
    CREATE INDEX version_from ON version (valid_from);
    CREATE INDEX entity_created ON entity (created);
"""
"""By these a process finds what others have written; on a file there are no others."""

_EXPIRES: Final = "ALTER TABLE batch ADD COLUMN expires {bigint};"
"""When a batch's outcomes end even without a following one, or null."""

_BEGINNINGS: Final = """
    DROP INDEX version_live;
    ALTER TABLE version DROP COLUMN valid_until;
"""
"""A version's end is the beginning of the next one; said twice it cost every change
two statements and two indexes, and could be said wrongly."""

_LANDED: Final = """
    CREATE TABLE landed (
        entity {bigint} NOT NULL REFERENCES entity (pk),
        part INTEGER NOT NULL,
        valid_from {bigint} NOT NULL,
        value {blob},
        PRIMARY KEY (entity, part, valid_from)
    ) {strict};
    -- What of it is in `version` as well: up to this row, of entities up to this one.
    CREATE TABLE moved (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        entity {bigint} NOT NULL,
        last {bigint} NOT NULL
    ) {strict};
    INSERT INTO moved VALUES (1, 0, 0);
    CREATE VIEW timeline AS
        SELECT entity, part, valid_from, value FROM version
        UNION ALL SELECT entity, part, valid_from, value FROM landed
            WHERE +rowid > (SELECT last FROM moved)
            OR +entity > (SELECT entity FROM moved);
"""
"""With row ids: a change goes behind the one before, and only its key among the keys. A
page of the file takes the rows of twenty demands instead of one's. The plus signs keep
SQLite from looking rows up by what only leaves them out."""

_TIMELINE: Final = """
    CREATE VIEW timeline AS SELECT entity, part, valid_from, value FROM version;
"""
"""PostgreSQL writes rows to its log, not pages: there all are in their places."""

SQLITE_STEPS: Final = tuple(
    step.format_map(_SQLITE)
    for step in (*_TABLES, _EPOCH, _EXPIRES, _BEGINNINGS, _LANDED)
)
POSTGRES_STEPS: Final = tuple(
    step.format_map(_POSTGRES)
    for step in (*_TABLES, _EPOCH + _FOLLOW, _EXPIRES, _BEGINNINGS, _TIMELINE)
)
