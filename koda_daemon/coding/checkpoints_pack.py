"""Storing many contents at once: one pack is written several times faster than as many objects. Blocking."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable

from koda_daemon.coding.checkpoints_git import GitFailed, Repository

_log = logging.getLogger(__name__)

_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def pack_contents(git: Repository, root: bytes, paths: Iterable[bytes], lock: int) -> None:
    """Stores what files contain now (git-fast-import(1)), so that adding them has nothing left to write.

    A help and no more: what cannot be read or stored here is left to whoever adds the files, who reads them again.
    """
    process = git.start("-c", "pack.compression=1", "fast-import", "--quiet", "--depth=0", stdin=True, lock=lock)
    assert process.stdin is not None
    try:
        for path in paths:
            data = _content(os.path.join(root, path))
            if data is not None:
                process.stdin.write(b"blob\ndata %d\n%b\n" % (len(data), data))
    except OSError as error:  # it has ended: its own words say why
        _log.debug("fast-import takes no more: %s", error)
    try:
        git.finish(process)
    except GitFailed as error:
        _log.info("contents are not packed at once (%s): %s", error.code, error.said)


def _content(place: bytes) -> bytes | None:
    try:
        handle = os.open(place, _FLAGS)
    except OSError:
        return None
    with os.fdopen(handle, "rb", buffering=0) as file:
        try:
            return file.readall() if stat.S_ISREG(os.fstat(handle).st_mode) else None
        except OSError:
            return None
