"""Where checkpoints are kept: one repository for each workspace below Koda's home, shared by all sessions in it."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from anyio import CancelScope, to_thread

from koda_daemon.base.errors import KodaError
from koda_daemon.coding.checkpoints_git import GitFailed, Repository, View, find_git, locked
from koda_daemon.coding.checkpoints_ignore import Ignored
from koda_daemon.coding.checkpoints_journal import Journal
from koda_daemon.coding.settings import CheckpointSettings

if TYPE_CHECKING:
    from koda_daemon.coding.checkpoints_record import Recorder

_log = logging.getLogger(__name__)

T = TypeVar("T")

LOCK_SECONDS = 30.0
IDLE_SECONDS = 120.0
"""Rest after the last record until old states may be pruned."""


class CheckpointStore:
    """All workspaces of one daemon. ``close`` it at the end."""

    def __init__(self, home: Path, settings: CheckpointSettings, environ: Mapping[str, str]) -> None:
        self.home = Path(os.path.abspath(home))  # git runs in other folders
        self.settings = settings
        self.journal = Journal(self.home / "checkpoints" / "operations")
        self._environ = environ
        self._folders: dict[tuple[Path, Path], Folder] = {}
        self._repositories: dict[Path, Repository] = {}
        self._git: str | bool | None = False

    def folder(self, root: Path, main: Path | None = None) -> Folder:
        """A workspace folder, resolved. ``main`` is the workspace whose repository it shares (a branch's folder)."""
        key = root, main or root
        if key not in self._folders:
            self._folders[key] = Folder(self, root, main or root)
        return self._folders[key]

    def repository(self, main: Path) -> Repository:
        """The repository of a workspace. Blocking. Raises ``tool.failed`` without git."""
        found = self._repositories.get(main)
        if found is None:
            found = self._repositories[main] = Repository(self.place(main) / "git", self.git(), self._environ)
        found.open()
        return found

    def git(self) -> str:
        """The git program. Blocking. Raises ``tool.failed`` when there is none."""
        if self._git is False:
            self._git = find_git(self._environ)
        if not isinstance(self._git, str):
            raise KodaError("tool.failed", "Checkpoints need git, which is not there.", user_action="Install git.")
        return self._git

    def place(self, main: Path) -> Path:
        """Where everything of a workspace is kept: a name for people, and one that is its own."""
        name = re.sub(r"[^A-Za-z0-9._-]", "-", main.name)[:40]
        return self.home / "checkpoints" / f"{name}-{_digest(main)}"

    def make_private(self) -> None:
        """What files contained is for nobody else, whatever the mode of Koda's home. Blocking."""
        folder = self.home / "checkpoints"
        with suppress(OSError):  # said better by whoever writes there
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if folder.stat().st_mode & 0o077:
                folder.chmod(0o700)

    def ignored(self, root: Path) -> Ignored:
        return Ignored(root, [self.home], self._environ)

    def close(self) -> None:
        """Ends what still runs, and nothing more is begun."""
        for folder in self._folders.values():
            folder.rest()
        for repository in self._repositories.values():
            repository.close()


class Folder:
    """One folder and its index in the repository. One thing at a time happens to it, in all processes."""

    def __init__(self, store: CheckpointStore, root: Path, main: Path) -> None:
        self.store = store
        self.root = root
        self.main = main
        self.view = View(root, store.place(main) / "folders" / _digest(root))
        self._turn = asyncio.Lock()
        self._recorder: Recorder | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pruning: asyncio.Task[None] | None = None

    @property
    def known(self) -> bool:
        """Whether it was ever recorded: the first time takes long where there is much. One stat."""
        return self.view.index.exists()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[int]:
        """Holds the folder; gives the file descriptor of its lock. Raises ``tool.failed`` where nothing is recorded,
        ``internal`` when another process does not let go."""
        self._refuse()
        async with self._turn:
            with ExitStack() as stack:  # entered first: a cancelled wait for the thread must not leave it locked
                lock = locked(self.view.home / "lock", LOCK_SECONDS)

                def enter() -> int:
                    if not self.root.is_dir():
                        raise KodaError("tool.failed", f"The folder {self.root} is not there.", path=str(self.root))
                    self.store.make_private()
                    return stack.enter_context(lock)

                yield await _to_the_end(enter)

    async def work(self, function: Callable[[Repository], T]) -> T:
        """Runs something with the repository in a worker thread. git's failures become ``KodaError``."""

        def guarded() -> T:
            repository = self.store.repository(self.main)
            try:
                return function(repository)
            except GitFailed as error:
                repository.sweep()
                _log.warning("git %s failed (%s): %s", error.command, error.code, error.said)
                raise _failure(error.said.splitlines()[-1] if error.said else f"git ended with {error.code}") from error
            except OSError as error:
                raise _failure(f"{error.strerror or type(error).__name__}.") from error

        return await _to_the_end(guarded)

    def recorder(self, repository: Repository) -> Recorder:
        """In a worker thread."""
        if self._recorder is None:
            from koda_daemon.coding.checkpoints_record import Recorder

            ignored = self.store.ignored(self.main)  # a branch's folder need not be in the user's repository
            self._recorder = Recorder(repository, self.view, ignored, self.store.settings.max_file_bytes)
        return self._recorder

    def _refuse(self) -> None:
        if not self.store.settings.enabled:
            raise KodaError(
                "tool.failed", "Checkpoints are switched off.", user_action="Set checkpoints.enabled to true."
            )
        home = Path(os.path.realpath(Path.home()))
        if self.root in (home, *home.parents):
            raise KodaError(
                "tool.failed",
                f"There are no checkpoints of {self.root}: with a home folder in it, it is too much.",
                user_action="Open a folder of its own for the work.",
            )

    async def forget(self) -> None:
        """For a folder that is gone: what is known of it goes too. Its states are kept for as long as others."""
        self.rest()
        self._recorder = None
        async with self._turn:
            await to_thread.run_sync(lambda: shutil.rmtree(self.view.home, ignore_errors=True))

    # Pruning

    def busy(self) -> None:
        """Called when something was recorded: the next rest is used for pruning, when that is due."""
        self.rest()
        self._timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._start_pruning)

    def rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start_pruning(self) -> None:
        self._timer = None
        self._pruning = asyncio.get_running_loop().create_task(self.prune())

    async def prune(self, *, force: bool = False) -> None:
        """Forgets states that nobody has needed for long, here and in workspaces where nobody works any more, and packs
        what is left, if that is due."""
        days = self.store.settings.keep_days

        def run(repository: Repository) -> None:
            from koda_daemon.coding.checkpoints_prune import forget_unused, prune

            if prune(repository, self.store.journal, days, force=force):
                forget_unused(self.store.home / "checkpoints", days)

        try:
            await self.work(run)
        except KodaError as error:
            _log.info("not pruned: %s", error.message)


async def _to_the_end(function: Callable[[], T]) -> T:
    """Runs something in a worker thread. Whoever is cancelled meanwhile waits for its end: nothing may be left running
    that holds no lock any more."""
    running = asyncio.ensure_future(to_thread.run_sync(function))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        with CancelScope(shield=True):
            while not running.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({running})
        if not running.cancelled():
            running.exception()
        raise


def _failure(why: str) -> KodaError:
    if os.strerror(errno.ENOSPC) in why:
        action = "Free some space and try again."
        return KodaError("internal", "The disk is full: nothing was recorded.", retryable=True, user_action=action)
    return KodaError("internal", f"The files of the workspace cannot be looked after: {why}")


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
