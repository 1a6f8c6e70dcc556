"""The database's shape: opening it, its versions, and SQLite's errors in words."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from koda_daemon.base.errors import KodaError
from koda_daemon.base.ids import new_id

if TYPE_CHECKING:
    from sqlite3 import Connection

Migration: TypeAlias = "Callable[[Connection], None]"
"""Brings a database from one version to the next. Runs in a transaction: no BEGIN, no COMMIT, no executescript."""

_TABLES = (
    # sid is the session's number inside the database: short keys for the tables that grow.
    """
    CREATE TABLE sessions (
      sid INTEGER PRIMARY KEY AUTOINCREMENT,
      id TEXT NOT NULL UNIQUE,
      cwd TEXT NOT NULL,
      title TEXT,
      model TEXT NOT NULL,
      head_id TEXT,
      options TEXT NOT NULL DEFAULT '{}',
      branch_id TEXT,
      checkpoint TEXT,
      origin TEXT,
      seq_floor INTEGER NOT NULL DEFAULT 0,
      holder TEXT,
      revision INTEGER NOT NULL DEFAULT 0,
      created_at TEXT NOT NULL,
      updated_at TEXT NOT NULL,
      deleted INTEGER NOT NULL DEFAULT 0
    )""",
    "CREATE INDEX sessions_held ON sessions (holder) WHERE holder IS NOT NULL",
    # The processes that write, or wrote until they died (lease).
    """
    CREATE TABLE daemons (
      id TEXT PRIMARY KEY,
      pid INTEGER NOT NULL,
      started TEXT NOT NULL,
      boot TEXT NOT NULL,
      space TEXT NOT NULL,
      beat INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID""",
    # The index of the tree, apart from the contents, so that opening a session reads only this.
    """
    CREATE TABLE nodes (
      sid INTEGER NOT NULL REFERENCES sessions(sid),
      seq INTEGER NOT NULL,
      id TEXT NOT NULL,
      parent_id TEXT,
      kind TEXT NOT NULL,
      preview TEXT NOT NULL,
      created_at TEXT NOT NULL,
      label TEXT,
      turn_id TEXT,
      usage TEXT,
      PRIMARY KEY (sid, seq)
    ) WITHOUT ROWID""",
    "CREATE UNIQUE INDEX nodes_by_id ON nodes (sid, id)",
    "CREATE INDEX nodes_labelled ON nodes (sid, id, label) WHERE label IS NOT NULL",
    # seq counts insertions over all sessions and is never used again: caches and the text index rely on it.
    """
    CREATE TABLE bodies (
      seq INTEGER PRIMARY KEY AUTOINCREMENT,
      sid INTEGER NOT NULL,
      body BLOB NOT NULL
    )""",
    """
    CREATE TABLE turns (
      sid INTEGER NOT NULL REFERENCES sessions(sid),
      turn_id TEXT NOT NULL,
      status TEXT NOT NULL,
      record TEXT NOT NULL,
      revision INTEGER NOT NULL,
      PRIMARY KEY (sid, turn_id)
    )""",
    "CREATE INDEX turns_running ON turns (sid) WHERE status = 'running'",
    # Branches made by name; a branch that just grew has none and needs none.
    """
    CREATE TABLE branches (
      sid INTEGER NOT NULL REFERENCES sessions(sid),
      branch_id TEXT NOT NULL,
      record TEXT NOT NULL,
      PRIMARY KEY (sid, branch_id)
    ) WITHOUT ROWID""",
    """
    CREATE TABLE queue (
      sid INTEGER NOT NULL REFERENCES sessions(sid),
      position INTEGER NOT NULL,
      turn_id TEXT NOT NULL,
      prompt TEXT NOT NULL,
      PRIMARY KEY (sid, turn_id)
    ) WITHOUT ROWID""",
    """
    CREATE TABLE requests (
      sid INTEGER NOT NULL REFERENCES sessions(sid),
      request_id TEXT NOT NULL,
      result TEXT NOT NULL,
      created_at TEXT NOT NULL,
      PRIMARY KEY (sid, request_id)
    ) WITHOUT ROWID""",
    # A ledger: it outlives its sessions, money that was spent stays spent.
    """
    CREATE TABLE usage (
      session_id TEXT NOT NULL,
      day TEXT NOT NULL,
      model TEXT NOT NULL,
      answers INTEGER NOT NULL,
      input INTEGER NOT NULL,
      output INTEGER NOT NULL,
      cache_read INTEGER NOT NULL,
      cache_write INTEGER NOT NULL,
      reasoning INTEGER NOT NULL,
      cost_input REAL NOT NULL,
      cost_output REAL NOT NULL,
      cost_cache_read REAL NOT NULL,
      cost_cache_write REAL NOT NULL,
      cost_total REAL NOT NULL,
      PRIMARY KEY (session_id, day, model)
    ) WITHOUT ROWID""",
    # folder is one word that stands for the session's cwd, so that a search in one folder reads no other's matches.
    "CREATE VIRTUAL TABLE node_text USING fts5 (text, folder, tokenize = 'unicode61')",
    # The text index follows behind: everything up to this seq is in it.
    "CREATE TABLE indexed (seq INTEGER NOT NULL)",
    "INSERT INTO indexed (seq) VALUES (0)",
)


def _create(connection: Connection) -> None:
    for statement in _TABLES:
        connection.execute(statement)


def _index_prefixes(connection: Connection) -> None:
    """Without an index of its own, a short beginning of words costs what all the words take that begin so."""
    connection.execute("DROP TABLE node_text")
    connection.execute(
        "CREATE VIRTUAL TABLE node_text USING fts5 (text, folder, prefix = '2 3 4', tokenize = 'unicode61')"
    )
    connection.execute("UPDATE indexed SET seq = 0")  # made anew, in the background


MIGRATIONS: tuple[Migration, ...] = (_create, _index_prefixes)
"""Entry i brings version i to i + 1; the length is the version this program knows. Only ever append."""


def connect(path: Path | None, durability: Literal["normal", "full"], migrations: Sequence[Migration]) -> Connection:
    """Opens the database, makes or migrates it. In the calling thread, which the connection then belongs to."""
    import sqlite3  # 17 ms that only the store's thread pays

    if path is not None:
        _make_private(path)
    connection = sqlite3.connect(":memory:" if path is None else path, isolation_level=None, timeout=10.0)
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA busy_timeout = 10000")
        connection.execute("PRAGMA temp_store = MEMORY")
        if path is not None:
            _refuse_newer(connection, path, len(migrations))
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")
            if durability == "full":
                connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone does not reach the platter
            # The idle store checkpoints by itself; this bound is for one that is never idle.
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
            connection.execute("PRAGMA journal_size_limit = 33554432")
        migrate(connection, path, migrations)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_private(path: Path) -> None:
    """The folder (0700) and the file (0600), before SQLite makes them as the umask likes."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    with contextlib.suppress(OSError):  # on a file system without modes
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def identity(path: Path | None) -> tuple[int, int] | None:
    """Tells the file at ``path`` from any other; None when there is none."""
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def gone(path: Path | None) -> KodaError:
    return KodaError(
        "internal",
        "The session database was moved, replaced or deleted while Koda used it: nothing was stored.",
        retryable=True,
        user_action="Put the file back, or start Koda again to use what is there now.",
        path=str(path),
    )


def _version(connection: Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _refuse_newer(connection: Connection, path: Path, known: int) -> None:
    found = _version(connection)
    if found > known:
        raise KodaError(
            "version.unsupported",
            f"The session database has version {found}; this Koda knows versions up to {known}.",
            user_action="Update Koda, or set KODA_HOME to another folder.",
            path=str(path),
        )


def migrate(connection: Connection, path: Path | None, migrations: Sequence[Migration]) -> None:
    """Brings the database to the newest version in one transaction, after a copy to ``<path>.v<version>.bak``."""
    found = _version(connection)
    if found >= len(migrations):
        return
    if found > 0 and path is not None:
        back_up(connection, path.with_name(f"{path.name}.v{found}.bak"))
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again under the lock: another daemon may have been faster.
        for version in range(_version(connection), len(migrations)):
            migrations[version](connection)
            connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def back_up(connection: Connection, target: Path) -> None:
    """A consistent copy of the database at ``target`` (0600), whole or not at all. None when another daemon, which has
    made its own, has brought the database to the next version meanwhile."""
    import sqlite3

    found = _version(connection)
    partial = target.with_name(f"{target.name}.{new_id()}.part")
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600))
        copy = sqlite3.connect(partial)
        try:
            connection.backup(copy)
            copied = _version(copy)
        finally:
            copy.close()
        if copied == found:
            partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def readable(error: BaseException, path: Path | None) -> BaseException:
    """SQLite's and the system's errors as ``KodaError`` ``internal`` with what the user can do; others unchanged."""
    import sqlite3

    where = None if path is None else str(path)
    if isinstance(error, OSError):
        reason = error.strerror or type(error).__name__
        text, action, _ = _REASONS[14]
        return KodaError("internal", f"{text[:-1]}: {reason}.", user_action=action, path=where)
    if not isinstance(error, sqlite3.Error):
        return error
    if getattr(error, "sqlite_errorcode", -1) == _WRITE_FAILED:
        text = "The session database could not be written: nothing was stored."
        return KodaError("internal", text, user_action="Check the disk and your quota.", retryable=True, path=where)
    # The primary result code (https://www.sqlite.org/rescode.html); errors of the Python layer have none.
    code = getattr(error, "sqlite_errorcode", -1) & 0xFF
    text, action, retryable = _REASONS.get(code, (f"The session database failed: {error}.", None, False))
    return KodaError("internal", text, user_action=action, retryable=retryable, path=where)


_WRITE_FAILED = 778
"""SQLITE_IOERR_WRITE: besides broken disks, a quota or a limit of file sizes that is used up."""

_BUSY = ("The session database is busy: another process holds it.", "Try again; if it lasts, end that process.", True)

_REASONS: dict[int, tuple[str, str | None, bool]] = {
    5: _BUSY,
    6: _BUSY,
    3: ("The session database may not be accessed.", "Check the permissions of the KODA_HOME folder.", False),
    8: ("The session database is read-only.", "Check the permissions of the KODA_HOME folder.", False),
    10: ("The session database could not be read or written: the disk reports an error.", "Check the disk.", True),
    11: (
        "The session database is damaged.",
        "Keep a copy (`sqlite3 FILE .recover` saves what it can), then restore a backup or move the file away.",
        False,
    ),
    13: ("The disk is full: nothing was stored.", "Free some space and try again.", True),
    14: ("The session database cannot be opened.", "Check the permissions of the KODA_HOME folder.", False),
    26: ("The file is not a session database.", "Move it away, or set KODA_HOME to another folder.", False),
}
