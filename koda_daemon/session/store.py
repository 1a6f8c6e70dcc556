"""The store's engine: one SQLite connection in one thread, writes committed in groups.

The loop never waits for SQLite: a job is put on a queue and its future resolves when the job's transaction has
committed (https://www.sqlite.org/wal.html). Writes that are queued together share one transaction, each in its own
savepoint, so that the cost of a commit is shared and a failing write fails alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from koda_daemon.base.errors import KodaError
from koda_daemon.session import schema

if TYPE_CHECKING:
    from sqlite3 import Connection

T = TypeVar("T")
Durability = Literal["normal", "full"]
Maintenance: TypeAlias = "Callable[[Connection], bool]"
"""One small step of work for idle moments; True when there is more to do."""

GROUP_LIMIT = 256
IDLE_SECONDS = 1.0


class _Job:
    """A function that runs in the store's thread, and who waits for it."""

    __slots__ = ("apply", "error", "future", "result", "run", "writes")

    def __init__(
        self,
        run: Callable[[Connection], Any],
        apply: Callable[[Any], None] | None,
        future: asyncio.Future[Any],
        writes: bool,
    ) -> None:
        self.run = run
        self.apply = apply
        self.future = future
        self.writes = writes
        self.result: Any = None
        self.error: BaseException | None = None


class Store:
    """A database that lives in its own thread. Made by ``Store.open``, bound to the loop that opened it."""

    def __init__(self, path: Path | None, loop: asyncio.AbstractEventLoop, maintenance: Sequence[Maintenance]) -> None:
        self._path = path
        self._loop = loop
        self._maintenance = maintenance
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._stopped: asyncio.Future[None] = loop.create_future()
        self._file: tuple[int, int] | None = None
        """Which file was opened, whatever is at ``path`` later."""

    @classmethod
    async def open(
        cls,
        path: Path | None,
        *,
        durability: Durability = "normal",
        migrations: Sequence[schema.Migration] = schema.MIGRATIONS,
        maintenance: Sequence[Maintenance] = (),
    ) -> Store:
        """Opens (or makes, mode 0600) the database at ``path``; None keeps it in memory.

        ``durability``: ``normal`` survives a killed process, ``full`` also a power cut, for an fsync per commit.
        ``maintenance`` steps run when nobody has asked for anything for a second. Raises ``KodaError``
        ``version.unsupported`` for a database of a newer Koda, ``internal`` when it cannot be opened.
        """
        store = cls(path, asyncio.get_running_loop(), maintenance)
        opened: asyncio.Future[None] = store._loop.create_future()
        threading.Thread(
            target=store._main, args=(opened, durability, migrations), name="koda-store", daemon=True
        ).start()
        await opened
        return store

    async def write(self, run: Callable[[Connection], T], apply: Callable[[T], None] | None = None) -> T:
        """Runs ``run`` in a transaction and returns its result when that has committed.

        ``run`` may run twice (after a rollback) and must touch nothing but the connection. ``apply`` is called on the
        loop with the result, in the order of commits, also when the caller was cancelled meanwhile: a write that was
        asked for is made. Raises what ``run`` raised, with SQLite's errors turned into ``KodaError``.
        """
        return await self._submit(run, apply, writes=True)

    async def read(self, run: Callable[[Connection], T], apply: Callable[[T], None] | None = None) -> T:
        """Runs ``run`` on one consistent snapshot of the database, after every write that was asked for before.

        ``apply`` as for ``write``.
        """
        return await self._submit(run, apply, writes=False)

    async def aclose(self) -> None:
        """Finishes what was asked for and closes the database. May be called twice."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        await asyncio.shield(self._stopped)

    async def _submit(self, run: Callable[[Connection], T], apply: Callable[[T], None] | None, *, writes: bool) -> T:
        if self._closed:
            raise KodaError("internal", "The session store is closed.")
        job = _Job(run, apply, self._loop.create_future(), writes)
        self._jobs.put(job)
        result: T = await job.future
        return result

    def _end(self) -> None:
        """On the loop, when the thread is gone: nobody may wait for ever, whatever ended it."""
        self._closed = True
        while not self._jobs.empty():
            job = self._jobs.get_nowait()
            if job is not None and not job.future.done():
                job.future.set_exception(KodaError("internal", "The session store is closed."))
        _settle(self._stopped, None)

    # Below: the store's thread.

    def _main(
        self, opened: asyncio.Future[None], durability: Durability, migrations: Sequence[schema.Migration]
    ) -> None:
        try:
            connection = schema.connect(self._path, durability, migrations)
            self._file = schema.identity(self._path)
        except BaseException as error:
            self._call(_settle, opened, schema.readable(error, self._path))
            return
        self._call(_settle, opened, None)
        try:
            self._serve(connection)
        finally:
            with contextlib.suppress(Exception):
                connection.close()
            self._call(self._end)

    def _serve(self, connection: Connection) -> None:
        patience: float | None = IDLE_SECONDS
        open_ = True
        while open_:
            try:
                open_ = self._work(connection, self._gather(patience))
                patience = IDLE_SECONDS
            except queue.Empty:
                patience = 0.0 if self._maintain(connection) else None

    def _work(self, connection: Connection, jobs: list[_Job | None]) -> bool:
        """Does the jobs, writes first; False when there will be no more. (A frame of its own: a thread that waits must
        not hold on to what it did last.)"""
        writes = [job for job in jobs if job is not None and job.writes]
        if writes:
            self._commit(connection, writes)
            self._deliver(writes)
        for job in jobs:
            if job is not None and not job.writes:
                self._alone(connection, job, "BEGIN")
                self._deliver([job])
        return jobs[-1] is not None

    def _gather(self, patience: float | None) -> list[_Job | None]:
        """Everything that waits now, at least one; ``queue.Empty`` after ``patience`` seconds without any."""
        jobs = [self._jobs.get(timeout=patience)]
        while jobs[-1] is not None and len(jobs) < GROUP_LIMIT:
            try:
                jobs.append(self._jobs.get_nowait())
            except queue.Empty:
                break
        return jobs

    def _commit(self, connection: Connection, jobs: list[_Job]) -> None:
        """Runs the writes as one transaction; when that fails as a whole, each as one of its own."""
        if schema.identity(self._path) != self._file:  # what is written to a file that has gone is lost
            for job in jobs:
                job.error = schema.gone(self._path)
            return
        if len(jobs) == 1 or not self._together(connection, jobs):
            for job in jobs:
                self._alone(connection, job, "BEGIN IMMEDIATE")

    def _together(self, connection: Connection, jobs: list[_Job]) -> bool:
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                connection.execute("SAVEPOINT job")
                try:
                    job.result, job.error = job.run(connection), None
                except Exception as error:
                    job.error = error
                    if not connection.in_transaction:  # SQLite rolled all of it back (disk full, I/O error)
                        return False
                    connection.execute("ROLLBACK TO job")
                connection.execute("RELEASE job")
            connection.execute("COMMIT")
        except Exception:
            _roll_back(connection)
            return False
        return True

    def _alone(self, connection: Connection, job: _Job, begin: str) -> None:
        try:
            connection.execute(begin)
            job.result, job.error = job.run(connection), None
            connection.execute("COMMIT")
        except Exception as error:
            job.error = error
            _roll_back(connection)

    def _maintain(self, connection: Connection) -> bool:
        """One step of each kind of maintenance, then, with nothing left, the write-ahead log into the database."""
        more = False
        for step in self._maintenance:
            try:
                connection.execute("BEGIN IMMEDIATE")
                more = step(connection) or more
                connection.execute("COMMIT")
            except Exception:
                _roll_back(connection)
        if not more:
            with contextlib.suppress(Exception):
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        return more

    def _deliver(self, jobs: list[_Job]) -> None:
        for job in jobs:
            if job.error is not None:
                job.error = schema.readable(job.error, self._path)
        self._call(_finish, jobs)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        # A closed loop has nobody left to tell.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)


def _roll_back(connection: Connection) -> None:
    if connection.in_transaction:
        with contextlib.suppress(Exception):
            connection.execute("ROLLBACK")


def _settle(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _finish(jobs: list[_Job]) -> None:
    """On the loop: memory follows the commits in their order, then those who wait go on."""
    for job in jobs:
        if job.error is None and job.apply is not None:
            try:
                job.apply(job.result)
            except Exception as error:
                job.error = error
    for job in jobs:
        if job.future.done():
            continue
        if job.error is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)
