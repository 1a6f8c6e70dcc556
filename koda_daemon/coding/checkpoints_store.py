"""Where checkpoints are kept: one repository for each workspace below Koda's home, shared by all sessions in it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import time
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
PRUNE_SECONDS = 24 * 3600.0
"""How often that is done at most."""
LOOSE_LIMIT = 4000
"""Objects of their own from which they are packed."""


class CheckpointStore:
    """All workspaces of one daemon. ``close`` it at the end."""

    def __init__(self, home: Path, settings: CheckpointSettings, environ: Mapping[str, str]) -> None:
        self.home = home
        self.settings = settings
        self.journal = Journal(home / "checkpoints" / "operations")
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
                last = error.said.splitlines()[-1] if error.said else f"git ended with {error.code}"
                raise KodaError("internal", f"The files of the workspace cannot be looked after: {last}") from error
            except OSError as error:
                why = error.strerror or type(error).__name__
                raise KodaError("internal", f"The files of the workspace cannot be looked after: {why}.") from error

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
        if self.root == self.root.parent or self.root == Path.home():
            raise KodaError(
                "tool.failed",
                f"There are no checkpoints of {self.root}: it is too much.",
                user_action="Open a folder of its own for the work.",
            )

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
        """Forgets states that nobody has needed for long, and packs what is left, if that is due."""
        days = self.store.settings.keep_days
        try:
            await self.work(lambda repository: prune(repository, self.store.journal, days, force=force))
        except KodaError as error:
            _log.info("not pruned: %s", error.message)


def prune(repository: Repository, journal: Journal, keep_days: int, *, force: bool = False) -> None:
    """See ``Folder.prune``. Blocking, at leisure: others may record meanwhile, what is young is never removed."""
    stamp = repository.folder / "pruned"
    loose = sum(1 for _ in repository.objects.glob("17/*")) * 256  # as git estimates it
    with suppress(FileNotFoundError):
        if not force and loose < LOOSE_LIMIT and time.time() - stamp.stat().st_mtime < PRUNE_SECONDS:
            return
    stamp.touch()
    oldest = time.time() - keep_days * 24 * 3600
    journal.forget_older(oldest)
    last = {path.read_text().strip() for path in (repository.folder.parent / "folders").glob("*/last")}
    gone = False
    with suppress(FileNotFoundError):
        for mark in list(os.scandir(repository.folder / "refs" / "koda")):
            if mark.stat().st_mtime < oldest and mark.name not in last:
                os.unlink(mark.path)
                gone = True
    if loose >= LOOSE_LIMIT or force:
        repository.run("repack", "-d", "-q")
    if gone:
        repository.run("repack", "-A", "-d", "-q", "--unpack-unreachable=2.weeks.ago")
    repository.run("prune", "--expire=2.weeks.ago")


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


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
