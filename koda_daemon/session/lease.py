"""Who may write to a session: one process at a time, by a lease that passes on when its holder is idle or gone.

The lease is a column of the session: the first write takes it, and every write checks it in its own transaction, so a
process that lost it (stopped for long, then resumed) cannot write any more, whatever it believes. No clock is compared:
a holder is gone when its process is, or when its heartbeat, a counter, stood still for many of our own looks at it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct

from koda_daemon.base.errors import KodaError
from koda_daemon.base.ids import new_id

if TYPE_CHECKING:
    from sqlite3 import Connection

BEAT_SECONDS = 5.0
"""How often a daemon that works raises its counter, and how often others look at it at most."""
SILENT_BEATS = 6
"""A holder whose counter stood still for so many looks may be replaced, though its process is there (or cannot be
seen: it may live in another container)."""

RETRY_SECONDS = 2.0
"""When it is worth asking again whether a session is still locked: turns take seconds."""

_SELECT = "SELECT id, pid, started, boot, space FROM daemons"


class Daemon(Struct, frozen=True, kw_only=True):
    """A process that writes. ``pid`` means something for the same ``boot`` of a machine and the same ``space`` of
    process numbers; ``started`` tells it from a later process with the same number. Opaque, only ever compared."""

    id: str
    pid: int
    started: str
    boot: str
    space: str


class SessionMovedError(KodaError):
    """Another process has written to the session since memory last followed it: nothing was done. ``Session.claim``
    brings memory up to date, then the caller decides again."""

    def __init__(self) -> None:
        super().__init__(
            "session.locked",
            "Another Koda has changed this session meanwhile; nothing was done.",
            retryable=True,
            retry_after=0.1,
            user_action="Try again.",
        )


class Leases:
    """The leases of one ``SessionManager``. Methods with a connection run in the store's thread, in a transaction."""

    def __init__(self) -> None:
        self.id = new_id()
        self._looks: dict[str, tuple[int, int]] = {}
        """For each other daemon its counter, and how many looks found it unchanged."""

    @cached_property
    def _me(self) -> Daemon:
        pid = os.getpid()
        return Daemon(id=self.id, pid=pid, started=_started(pid) or "", boot=_boot(), space=_space())

    def take(self, connection: Connection, sid: int, *, patient: bool = False) -> None:
        """Makes this process the one that writes. Raises ``session.locked`` while another works in the session;
        ``patient`` also waits for one that is there but gives no sign of life."""
        holder = connection.execute("SELECT holder FROM sessions WHERE sid = ?", (sid,)).fetchone()[0]
        if holder == self.id:
            return
        if holder is not None and works(connection, sid):
            other = _find(connection, holder)
            if other is not None and not _has_ended(other) and (patient or not self._is_silent(other)):
                raise _locked(other)
        self.register(connection)
        connection.execute("UPDATE sessions SET holder = ? WHERE sid = ?", (self.id, sid))

    def register(self, connection: Connection) -> None:
        """Lets other daemons know of this one."""
        me = self._me
        connection.execute(
            "INSERT OR IGNORE INTO daemons (id, pid, started, boot, space) VALUES (?, ?, ?, ?, ?)",
            (me.id, me.pid, me.started, me.boot, me.space),
        )

    def release(self, connection: Connection) -> None:
        """At the end: nobody needs to look whether this process is still there."""
        connection.execute("UPDATE sessions SET holder = NULL WHERE holder = ?", (self.id,))
        connection.execute("DELETE FROM daemons WHERE id = ?", (self.id,))

    def beat(self, connection: Connection) -> None:
        """Shows others that this process is alive and at work."""
        self.register(connection)
        connection.execute("UPDATE daemons SET beat = beat + 1 WHERE id = ?", (self.id,))

    def look(self, connection: Connection) -> None:
        """Takes note of whose counter has moved since the last look; to be called every ``BEAT_SECONDS`` at most.

        Looks are counted, not seconds: whoever was stopped or asleep itself has not watched. Daemons in which no turn
        runs need not show that they are alive.
        """
        seen: dict[str, tuple[int, int]] = {}
        for id_, beat in connection.execute(
            "SELECT DISTINCT daemons.id, beat FROM turns JOIN sessions USING (sid) JOIN daemons ON daemons.id = holder"
            " WHERE status = 'running' AND holder <> ?",
            (self.id,),
        ):
            before, count = self._looks.get(id_, (-1, 0))
            seen[id_] = (beat, count + 1 if beat == before else 0)
        self._looks = seen

    def others(self, connection: Connection) -> tuple[list[Daemon], list[Daemon]]:
        """The other daemons: those that are there (or cannot be seen from here), and those that have ended."""
        here: list[Daemon] = []
        gone: list[Daemon] = []
        for row in connection.execute(f"{_SELECT} WHERE id <> ?", (self.id,)):
            daemon = _daemon(row)
            (gone if _has_ended(daemon) else here).append(daemon)
        return here, gone

    def _is_silent(self, other: Daemon) -> bool:
        return self._looks.get(other.id, (0, 0))[1] >= SILENT_BEATS


def forget(connection: Connection, daemons: Sequence[Daemon]) -> None:
    """Removes daemons that have ended; what they held is free, turns that they left are still to be ended."""
    connection.executemany("DELETE FROM daemons WHERE id = ?", [(daemon.id,) for daemon in daemons])


def works(connection: Connection, sid: int) -> bool:
    """Whether a turn runs in the session, as far as the store knows."""
    found = connection.execute("SELECT 1 FROM turns WHERE sid = ? AND status = 'running' LIMIT 1", (sid,)).fetchone()
    return found is not None


def _find(connection: Connection, id_: str) -> Daemon | None:
    row = connection.execute(f"{_SELECT} WHERE id = ?", (id_,)).fetchone()
    return None if row is None else _daemon(row)


def _daemon(row: tuple[str, int, str, str, str]) -> Daemon:
    return Daemon(id=row[0], pid=row[1], started=row[2], boot=row[3], space=row[4])


def _locked(other: Daemon) -> KodaError:
    return KodaError(
        "session.locked",
        f"Another Koda (process {other.pid}) is working in this session.",
        retryable=True,
        retry_after=RETRY_SECONDS,
        user_action="Wait until its turn has ended, or cancel it there.",
    )


def _has_ended(other: Daemon) -> bool | None:
    """Whether a daemon's process has ended; None when that cannot be seen from here."""
    if other.boot != _boot():
        return True  # SQLite's log is shared memory: whoever uses the same database is, or was, on this machine
    if other.space != _space():
        return None
    try:
        started = _started(other.pid)
    except PermissionError:
        return None
    if started is None:
        return True
    if started == other.started:
        return False
    # psutil computes macOS's start times with the clock, which may have been set since.
    return None if sys.platform == "darwin" else True


# What the system says of processes. Linux tells it in files; elsewhere psutil does, which is slow to import.


def _boot() -> str:
    """Names the time since the machine was started, where process start times count from there."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    return ""


def _space() -> str:
    """Names the space of process numbers: containers on one machine have their own."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


if sys.platform == "linux":

    def _started(pid: int) -> str | None:
        """When a process was started, as the system says it; None when there is none (a zombie is none).

        Raises ``PermissionError`` when the system does not say.
        """
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                # The name in parentheses may hold anything; then come the state (field 3) and, in field 22, the start.
                fields = file.read().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else fields[19]

else:

    def _started(pid: int) -> str | None:
        import psutil  # type: ignore[import-untyped, unused-ignore]

        try:
            process = psutil.Process(pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else repr(process.create_time())
        except psutil.NoSuchProcess:
            return None
        except psutil.AccessDenied as error:
            raise PermissionError(f"process {pid} cannot be looked at") from error
