"""The temporary folder of a session's commands, and what killed daemons left of theirs. Blocking: for worker threads.

A folder is held by a lock on itself (flock(2)), which the system lets go of when its process ends, however that ends:
a folder that nobody holds is a leftover. Process ids would not tell: they come back, and containers that share a /tmp
have each their own. Where folders cannot be locked (Windows), nothing is cleared.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
import threading
import weakref
from contextlib import suppress
from pathlib import Path

PREFIX = "koda-session-"


class TempFolder:
    """A new private folder. ``remove`` is also done when this object or the process ends in an orderly way."""

    def __init__(self) -> None:
        self.path, held = _made()
        self.remove = weakref.finalize(self, _end, self.path, held)


def clear_leftovers() -> list[Path]:
    """Removes the user's folders that no living process holds; gives what was removed."""
    removed = []
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for name in [entry.name for entry in entries if entry.name.startswith(PREFIX)]:
            path = Path(tempfile.gettempdir(), name)
            held = _hold(path)
            if held is not None:
                _end(path, held)
                removed.append(path)
    return removed


def clear_leftovers_once() -> None:
    """Does that in a thread that nobody waits for, the first time this process asks."""
    if not _begun.is_set():
        _begun.set()
        threading.Thread(target=clear_leftovers, name="koda-leftovers", daemon=True).start()


_begun = threading.Event()


def _made() -> tuple[Path, int | None]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
        held = _hold(path, wait=True)
        if held is not None or path.exists():
            return path, held
        # Another process took it for a leftover before it was held, and has removed it.


def _end(path: Path, held: int | None) -> None:
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():  # some tools make their caches read-only
        for folder, _, _ in os.walk(path):
            with suppress(OSError):
                os.chmod(folder, 0o700)
        shutil.rmtree(path, ignore_errors=True)
    if held is not None:
        os.close(held)


if sys.platform == "win32":

    def _hold(path: Path, *, wait: bool = False) -> int | None:
        return None

else:

    def _hold(path: Path, *, wait: bool = False) -> int | None:
        """Takes the lock of a folder; None when another process has it, or it is not a folder of the user's."""
        import fcntl

        try:
            held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            info = os.fstat(held)
            if info.st_uid == os.getuid() and stat.S_ISDIR(info.st_mode):
                fcntl.flock(held, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(info, os.lstat(path)):  # else it was removed, just before
                    return held
        except OSError:
            pass
        os.close(held)
        return None
