"""Forgetting what was kept for long enough. Blocking, at leisure: others may record meanwhile."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from koda_daemon.base.ids import new_id
from koda_daemon.coding.checkpoints_git import Repository
from koda_daemon.coding.checkpoints_journal import Journal

DAY = 24 * 3600.0
"""Pruned at most once in as many seconds."""
LOOSE_LIMIT = 4000
"""Objects of their own from which they are packed."""
_GONE = ".gone-"


def prune(repository: Repository, journal: Journal, keep_days: int, *, force: bool = False) -> bool:
    """Removes states that nobody has needed for ``keep_days``, and packs what is left; whether that was due. What is
    young is never removed."""
    stamp = repository.folder / "pruned"
    loose = sum(1 for _ in repository.objects.glob("17/*")) * 256  # as git estimates it
    with suppress(FileNotFoundError):
        if not force and loose < LOOSE_LIMIT and time.time() - stamp.stat().st_mtime < DAY:
            return False
    stamp.touch()
    oldest = time.time() - keep_days * DAY
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
    return True


def forget_unused(folder: Path, keep_days: int) -> None:
    """Removes all that is kept of workspaces in which nothing was recorded for ``keep_days``."""
    oldest = time.time() - keep_days * DAY
    with suppress(FileNotFoundError):
        for place in list(os.scandir(folder)):
            path = Path(place.path)
            if place.name.startswith(_GONE):
                shutil.rmtree(path, ignore_errors=True)
            elif (path / "git" / "koda").exists() and all(when < oldest for when in _used(path)):
                # Renamed first: whoever comes now finds nothing, and not half of it.
                away = path.with_name(f"{_GONE}{new_id()[-12:]}")
                with suppress(OSError):
                    path.rename(away)
                    shutil.rmtree(away, ignore_errors=True)


def _used(place: Path) -> Iterator[float]:
    """When something was recorded in a workspace."""
    marked = [place / "git" / "koda", place / "git" / "refs" / "koda", *place.glob("folders/*/index")]
    for path in marked:
        with suppress(OSError):
            yield path.stat().st_mtime
    with suppress(OSError), os.scandir(place / "git" / "refs" / "koda") as marks:
        for mark in marks:
            with suppress(OSError):
                yield mark.stat().st_mtime
