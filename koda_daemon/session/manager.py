"""SessionManager: the door to all sessions of a user."""

from __future__ import annotations

import asyncio
import binascii
import contextlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakValueDictionary

import msgspec

from koda_daemon.base.errors import KodaError
from koda_daemon.base.ids import new_id
from koda_daemon.session import library, queries
from koda_daemon.session.cache import NodeCache
from koda_daemon.session.lease import Daemon, Leases, SessionMovedError, forget
from koda_daemon.session.library import UsageGroup
from koda_daemon.session.loading import Loaded, load_session
from koda_daemon.session.nodes import Branch, SearchHit, SessionInfo, TurnRecord, UsageSum, timestamp
from koda_daemon.session.session import RequestRepeatedError, Session
from koda_daemon.session.store import Durability, Store
from koda_daemon.session.tree import Tree

if TYPE_CHECKING:
    from sqlite3 import Connection

__all__ = ["RequestRepeatedError", "Session", "SessionManager", "SessionMovedError"]

# Inside the class below, ``list`` is its method.
_Page: TypeAlias = tuple[list[SessionInfo], str | None]
_Hits: TypeAlias = list[SearchHit]
_Sums: TypeAlias = list[UsageSum]
_Daemons: TypeAlias = list[Daemon]
_Turns: TypeAlias = list[tuple[str, TurnRecord]]

ADOPT_STEP = 500
CACHE_BYTES = 8 * 1024 * 1024


class SessionManager:
    """Opens, lists, searches and deletes sessions. ``SessionManager.open`` makes one; ``aclose`` it at the end."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cache = NodeCache(CACHE_BYTES)
        self._leases = Leases()
        self._version: int | None = None
        self._open: WeakValueDictionary[str, Session] = WeakValueDictionary()
        self._loading: dict[str, asyncio.Future[Session]] = {}

    @classmethod
    async def open(cls, path: Path | None, *, durability: Durability = "normal") -> SessionManager:
        """Opens the database at ``path`` (made when missing, for this user only); None keeps it in memory.

        ``durability``: ``normal`` survives a killed process, ``full`` a power cut too. Raises ``KodaError``
        ``version.unsupported`` for the database of a newer Koda and ``internal`` when it cannot be opened.
        """
        store = await Store.open(
            path, durability=durability, maintenance=(library.index_step, library.housekeeping_step)
        )
        return cls(store)

    async def aclose(self) -> None:
        """Waits for what was asked for, lets go of all sessions and closes the database."""
        with contextlib.suppress(KodaError):  # a full disk is no reason not to end
            await self._store.write(self._leases.release)
        await self._store.aclose()

    async def create(
        self, *, cwd: str, model: str, title: str | None = None, options: dict[str, Any] | None = None
    ) -> Session:
        """A new, empty session; ``model`` is ``provider/id``."""
        now = timestamp()
        info = SessionInfo(
            id=new_id(),
            cwd=cwd,
            title=title,
            model=model,
            head_id=None,
            created_at=now,
            updated_at=now,
            options=dict(options or {}),
        )
        sid = await self._store.write(
            lambda connection: queries.insert_session(connection, info, seq_floor=queries.SEQ_BLOCK)
        )
        loaded = Loaded(sid, info, Tree(), [], [], {})
        session = Session(self._store, self._cache, self._leases, loaded, numbers=0)
        self._open[info.id] = session
        return session

    async def adopt(
        self,
        info: SessionInfo,
        rows: Sequence[queries.Row],
        turns: Sequence[TurnRecord] = (),
        branches: Sequence[Branch] = (),
    ) -> Session:
        """Stores a whole session (of an import), parents before children: all of it or, on an error, nothing. Until it
        is whole nobody sees it, and it is stored in steps, so that other sessions need not wait for a big one."""
        sid = await self._store.write(lambda connection: queries.insert_session(connection, info, hidden=True))
        try:
            for start in range(0, len(rows), ADOPT_STEP):
                page = rows[start : start + ADOPT_STEP]
                await self._store.write(partial(queries.insert_nodes, sid=sid, rows=page))

            def finish(connection: Connection) -> None:
                for turn in turns:
                    queries.put_turn(connection, sid, turn)
                for branch in branches:
                    queries.put_branch(connection, sid, branch)
                queries.show_session(connection, sid)

            await self._store.write(finish)
        except BaseException:
            with contextlib.suppress(KodaError):  # what is left hidden goes later
                await asyncio.shield(self._store.write(lambda connection: queries.drop_hidden(connection, sid)))
            raise
        return await self.load(info.id)

    async def load(self, session_id: str) -> Session:
        """The session with this id: the same object for all callers while any of them keeps it.

        Reads the index of the tree, not the contents. Raises ``session.notFound``.
        """
        session = self._open.get(session_id)
        if session is not None:
            return session
        loading = self._loading.get(session_id)
        if loading is None:
            loading = asyncio.ensure_future(self._load(session_id))
            self._loading[session_id] = loading
            loading.add_done_callback(lambda done: self._loaded(session_id, done))
        return await asyncio.shield(loading)

    def _loaded(self, session_id: str, done: asyncio.Future[Session]) -> None:
        self._loading.pop(session_id, None)
        if not done.cancelled():
            done.exception()  # it may be that everybody who waited was cancelled

    async def _load(self, session_id: str) -> Session:
        loaded = await self._store.read(lambda connection: load_session(connection, session_id))
        session = Session(self._store, self._cache, self._leases, loaded)
        self._open[session_id] = session
        return session

    async def list(self, *, cwd: str | None = None, cursor: str | None = None, limit: int = 50) -> _Page:
        """A page of sessions, those changed last first, and the cursor of the next page (None: this was the last).

        Raises ``cursor.expired`` for a cursor that was not given out here.
        """
        after = None if cursor is None else _decode_cursor(cursor)
        sessions, rest = await self._store.read(
            lambda connection: library.list_sessions(connection, cwd, after, max(1, limit))
        )
        return sessions, None if rest is None else _encode_cursor(rest)

    async def delete(self, session_id: str) -> None:
        """Removes a session and all that belongs to it, except from the sums of usage.

        Raises ``session.notFound``, and ``session.locked`` while another process works in it.
        """
        sid = await self._store.write(lambda connection: library.mark_deleted(connection, self._leases, session_id))
        self._open.pop(session_id, None)
        while await self._store.write(lambda connection: library.delete_step(connection, sid)):
            pass

    # Other processes

    async def others(self) -> _Daemons:
        """The other daemons that use the database and have (or had) sessions open. Those that ended are forgotten."""
        here, gone = await self._store.read(self._leases.others)
        if gone:
            await self._store.write(lambda connection: forget(connection, gone))
        return here

    async def changed(self) -> bool:
        """Whether another process has written to the database since this was asked last. Costs microseconds."""

        def version(connection: Connection) -> int:
            # https://www.sqlite.org/pragma.html#pragma_data_version: commits of other connections change it.
            number: int = connection.execute("PRAGMA data_version").fetchone()[0]
            return number

        before, self._version = self._version, await self._store.read(version)
        return before != self._version

    async def beat(self) -> None:
        """The heartbeat of a daemon in which turns run; due every ``lease.BEAT_SECONDS``."""
        await self._store.write(self._leases.beat)

    async def look(self) -> None:
        """Looks at the heartbeats of others; due every ``lease.BEAT_SECONDS``, while one of them holds what we want."""
        await self._store.read(self._leases.look)

    async def search(self, query: str, *, cwd: str | None = None, limit: int = 20) -> _Hits:
        """The newest nodes that contain all words of ``query`` (the last may be a beginning; "quoted words" are a
        phrase), with the match between ``**`` in ``snippet``. Any text is a valid query."""
        while await self._store.write(library.index_step):
            pass
        return await self._store.read(lambda connection: library.search(connection, query, cwd, max(1, limit)))

    async def turns_beside(self, session_id: str) -> _Turns:
        """The turns that ran in other sessions of the same folder, with the ids of those."""
        return await self._store.read(lambda connection: library.turns_beside(connection, session_id))

    async def usage(
        self,
        *,
        by: tuple[UsageGroup, ...] = ("session", "day", "model"),
        session_id: str | None = None,
        since: str | None = None,
        model: str | None = None,
    ) -> _Sums:
        """Tokens and cost, summed for each combination of what ``by`` names (``()``: one sum of everything).

        ``since`` is the first UTC day to count (``2026-01-31``).
        """
        return await self._store.read(lambda connection: library.sum_usage(connection, by, session_id, since, model))


def _encode_cursor(place: tuple[str, int]) -> str:
    return urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _decode_cursor(cursor: str) -> tuple[str, int]:
    try:
        return msgspec.json.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=tuple[str, int])
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        raise KodaError(
            "cursor.expired", "The list cursor is not valid (any more); start from the first page."
        ) from None
