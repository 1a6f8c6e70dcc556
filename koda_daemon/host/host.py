"""Host: the running daemon without a wire. Ten lines of Python can use it (README); so do all faces."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from koda_daemon.agent.events import ErrorData
from koda_daemon.agent.tool import AgentTool
from koda_daemon.ai.registry import ModelRegistry
from koda_daemon.base.errors import KodaError
from koda_daemon.base.loading import background_import
from koda_daemon.coding.interfaces import Executor
from koda_daemon.coding.permissions import PermissionPolicy, RuleStore
from koda_daemon.coding.prompts import read_context_files
from koda_daemon.coding.settings import Settings, koda_home, load_settings
from koda_daemon.coding.workspace import Workspace
from koda_daemon.host.events import SessionError
from koda_daemon.host.lease import Watch
from koda_daemon.host.live import LiveSession, Surroundings
from koda_daemon.host.options import check_options
from koda_daemon.mom.sandbox import Sandbox
from koda_daemon.session.manager import SessionManager
from koda_daemon.session.queries import SEQ_BLOCK
from koda_daemon.session.session import Session

if TYPE_CHECKING:
    from koda_daemon.ai.auth.storage import AuthStorage
    from koda_daemon.coding.checkpoints_store import CheckpointStore

_log = logging.getLogger(__name__)

FILES_SECONDS = 0.5
"""How long the end of the daemon waits for what turns did to files to be recorded."""
DEFAULT_MODEL = "demo/koda"
"""Needs no key and no network, and says so."""


class Host:
    """The open sessions, and what they share: store, models, settings. Make one with ``Host.open``."""

    def __init__(
        self,
        home: Path,
        settings: Settings,
        sessions: SessionManager,
        models: ModelRegistry,
        *,
        environ: Mapping[str, str],
        options: Mapping[str, Any] | None,
        problems: list[KodaError],
    ) -> None:
        self.problems = problems
        self.home = home
        self.settings = settings
        self.sessions = sessions
        self.models = models
        self.permissions = RuleStore(home)
        self.defaults: dict[str, Any] = {}
        """Options that sessions start with, set while the daemon runs."""
        self._environ = environ
        self._options = options
        self._tasks: set[asyncio.Task[Any]] = set()
        self._live: dict[str, LiveSession] = {}
        self._opening = asyncio.Lock()
        self._watch = Watch(self)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        home: Path | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        options: Mapping[str, Any] | None = None,
        problems: list[KodaError] | None = None,
        in_memory: bool = False,
    ) -> AsyncIterator[Host]:
        """Opens the store and serves until the block is left; turns that still run are cancelled then.

        ``options`` are the client's settings (the top layer). Without a ``problems`` list, wrong settings raise.
        """
        home = home or koda_home(environ)
        settings = load_settings(home, None, environ, options, problems=problems)
        path = None if in_memory else home / "sessions.db"
        sessions = await SessionManager.open(path, durability=settings.store.durability)
        models = ModelRegistry(
            settings.providers,
            environ=environ,
            cache=None if in_memory else home / "cache",
            credentials=lambda: host.auth,
        )
        host = cls(home, settings, sessions, models, environ=environ, options=options, problems=problems or [])
        if path is not None:
            host.start(host._watch.run)
        try:
            yield host
        finally:
            with anyio.CancelScope(shield=True):
                await host._close()
                await models.aclose()
                if "auth" in host.__dict__:
                    await host.auth.aclose()
                await sessions.aclose()

    def start(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: object) -> None:
        """Runs something in the background while the host lives. What fails there is logged and fails alone."""
        task = asyncio.get_running_loop().create_task(function(*args))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("background work failed", exc_info=error)

    @cached_property
    def auth(self) -> AuthStorage:
        """The credentials. Made, and its modules imported, when something first needs one."""
        from koda_daemon.ai.auth.storage import AuthStorage

        return AuthStorage(self.home, self._environ, self.settings.providers)

    @cached_property
    def checkpoints(self) -> CheckpointStore:
        """The states of all workspaces' files. Made, and its modules imported, when something first needs one."""
        from koda_daemon.coding.checkpoints_store import CheckpointStore

        return CheckpointStore(self.home, self.settings.checkpoints, self._environ)

    @property
    def open_sessions(self) -> list[LiveSession]:
        return list(self._live.values())

    def find(self, session_id: str) -> LiveSession | None:
        """The session if it is open."""
        return self._live.get(session_id)

    async def warm(self) -> None:
        """Imports, off the loop, what the next prompts of the open sessions will need."""
        await asyncio.to_thread(_import_what_turns_need)
        for ref in {live.session.model for live in self._live.values()} or {self.default_model}:
            await self.models.warm(ref)

    def policy(self, folder: Path, settings: Settings, executor: Executor) -> PermissionPolicy:
        """What decides for a session in that folder."""
        return PermissionPolicy(
            mode=settings.permissions.mode,
            roots=[folder],
            koda_home=self.home,
            settings_rules=settings.permissions.rules,
            store=self.permissions,
            isolated=lambda: executor.isolated,
        )

    def user_policy(self) -> PermissionPolicy:
        """The rules of the user, for no workspace."""
        return PermissionPolicy(mode="ask", roots=[], koda_home=self.home, store=self.permissions)

    def default_tools(self) -> dict[str, AgentTool]:
        """The tools of a session, for telling about them."""
        from koda_daemon.coding.tools import make_tools

        return make_tools(Workspace(self.home), self.executor(self.home, self.settings))

    async def write_transcript(self, session_id: str, text: str) -> Path:
        """Writes a transcript for reading in an editor; the file is replaced each time."""
        folder = anyio.Path(self.home / "transcripts")
        await folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        await (folder / f"{session_id}.md").write_text(text, encoding="utf-8")
        return Path(folder / f"{session_id}.md")

    @property
    def default_model(self) -> str:
        return self.defaults.get("model") or self.settings.model or DEFAULT_MODEL

    def look_around(self, folder: Path, *, missing_ok: bool = False) -> Surroundings:
        """What a session needs to know of its folder (blocking: reads small files). Raises ``params.invalid``."""
        if not missing_ok and not folder.is_dir():
            raise KodaError("params.invalid", f"No such folder: {folder}", path="$.cwd")
        return Surroundings(
            settings=load_settings(self.home, folder, self._environ, self._options, problems=[]),
            context_files=tuple(read_context_files(self.home, folder)),
        )

    def executor(self, folder: Path, settings: Settings) -> Sandbox:
        """What runs the processes of a session's tools."""
        return Sandbox(
            mode=settings.sandbox.mode,
            roots=[folder],
            koda_home=self.home,
            network=settings.sandbox.network,
            environ=self._environ,
        )

    async def new_session(
        self,
        *,
        cwd: str | Path,
        model: str | None = None,
        title: str | None = None,
        options: dict[str, Any] | None = None,
    ) -> LiveSession:
        """Makes a session in a workspace folder. Raises ``params.invalid``, ``model.unknown``."""
        folder = await resolved(cwd)
        chosen = self.models.model(model or self.default_model)
        check_options(self, options)
        surroundings = await asyncio.to_thread(self.look_around, Path(folder))
        session = await self.sessions.create(cwd=folder, model=chosen.ref, title=title, options=options)
        live = self._live[session.id] = LiveSession(self, session, surroundings, await numbers(session))
        return live

    async def session(self, session_id: str) -> LiveSession:
        """The open session, opened now if need be. Raises ``session.notFound``."""
        live = self._live.get(session_id)
        if live is not None:
            return live
        async with self._opening:
            live = self._live.get(session_id)
            if live is None:
                session = await self.sessions.load(session_id)
                origin = session.info.origin
                folder = Path(session.cwd if origin is None else origin.workspace)  # a branch has no trust of its own
                surroundings = await asyncio.to_thread(self.look_around, folder, missing_ok=True)
                live = LiveSession(self, session, surroundings, await numbers(session))
                await live.mend()
                self._live[session_id] = live
                self._watch.look_now()
                if session.info.checkpoint is not None:
                    self.start(self._settle_files, live)
        return live

    async def _settle_files(self, live: LiveSession) -> None:
        """Ends what a killed daemon has left half done in the session's workspace."""
        try:
            from koda_daemon.host.changes_track import import_checkpoints

            await asyncio.to_thread(import_checkpoints)
            await live.files.settle()
        except KodaError as error:
            _log.warning("the files of session %s are not looked after: %s", live.id, error.message)

    async def close_session(self, session_id: str) -> None:
        """Cancels the session's turn and forgets it; it can be opened again."""
        live = self._live.pop(session_id, None)
        if live is not None:
            await live.close()

    async def lose_session(self, session_id: str) -> None:
        """Lets go of a session that another daemon has deleted; its clients are told."""
        live = self._live.get(session_id)
        if live is not None:
            _tell_deleted(live)
            await self.close_session(session_id)

    async def delete_session(self, session_id: str) -> None:
        """Deletes a session for good. Raises ``session.notFound``, ``session.locked``, and ``edit.conflict`` when the
        folder of a branch would be lost."""
        live = await self.session(session_id)
        await live.claim()
        if live.session.info.origin is not None or any(one.workspace for one in live.session.branches.values()):
            from koda_daemon.host.worktrees import before_delete

            await before_delete(live)
        await self.close_session(session_id)
        await self.sessions.delete(session_id)
        _tell_deleted(live)

    async def _close(self) -> None:
        made = self.__dict__.get("checkpoints")
        # What takes longer is found cut off, and ended, when the session is opened again.
        timer = None if made is None else asyncio.get_running_loop().call_later(FILES_SECONDS, made.close)
        await asyncio.gather(*(self.close_session(session_id) for session_id in list(self._live)))
        if timer is not None and made is not None:
            timer.cancel()
            made.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _tell_deleted(live: LiveSession) -> None:
    gone = ErrorData(kind="session.notFound", message="The session has been deleted.", retryable=False)
    live.emit(SessionError(error=gone))


def _import_what_turns_need() -> None:
    with background_import():
        import koda_daemon.coding.tools
        import koda_daemon.host.turn
        import koda_daemon.mom.context
    # Last: only what changes files needs it.
    with background_import():
        import koda_daemon.coding.checkpoints  # noqa: F401


async def numbers(session: Session) -> int:
    """Where the session's events are numbered from. A store that cannot be written does not keep it from being seen:
    then, far from all numbers given out otherwise."""
    try:
        return await session.take_numbers()
    except KodaError as error:
        if error.kind != "internal":
            raise
        import random  # which imports hashlib: not at start

        return SEQ_BLOCK * random.randrange(1 << 18, 1 << 19)  # noqa: S311 - need not be secret


async def resolved(folder: str | Path) -> str:
    """The one name of a folder: absolute, symlinks followed."""
    return await asyncio.to_thread(lambda: os.path.realpath(os.path.expanduser(folder)))
