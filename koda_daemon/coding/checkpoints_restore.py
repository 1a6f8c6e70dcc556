"""Making files what a checkpoint says, all of them or none. Blocking: for worker threads.

Each file is replaced at once (a new one is renamed over it) and only while it holds what was recorded of it a moment
ago. A folder on the way that has become a symlink is not followed: what is written stays in the workspace.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from koda_daemon.base.errors import KodaError
from koda_daemon.coding.checkpoints_git import blob_name
from koda_daemon.coding.checkpoints_tree import SYMLINK, Change, Difference, Entry, covered, display, git_mode, parents

Read = Callable[[str], bytes]
"""Gives a content by its name."""

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)


def holds(root: bytes, path: bytes, entry: Entry | None) -> bool:
    """Whether a file is what an entry says (None: whether nothing is there, but for folders without files in them).
    Permission bits do not count."""
    place = os.path.join(root, path)
    if not _folder_is_real(root, path):
        return entry is None
    try:
        info = os.lstat(place)
    except OSError:
        return entry is None
    if entry is None:
        return stat.S_ISDIR(info.st_mode) and next(_files_below(place), None) is None
    if git_mode(info) is None or stat.S_ISLNK(info.st_mode) != entry.symlink:
        return False
    try:
        return blob_name(_content(place, info)) == entry.blob
    except OSError:
        return False


def obstacles(root: bytes, changes: Sequence[Change]) -> dict[bytes, bool]:
    """Files that would be created where something is that was not recorded. True: it is a file that can be saved
    first; False: it is none (a folder with files, a device) and has to go by hand."""
    going = {change.path for change in changes if change.new is None}
    found: dict[bytes, bool] = {}
    for change in changes:
        if change.old is not None or change.new is None:
            continue
        for folder in parents(change.path):
            info = _lstat(os.path.join(root, folder))
            if info is not None and not stat.S_ISDIR(info.st_mode):
                if folder not in going:
                    found[change.path] = False
                break
        else:
            info = _lstat(os.path.join(root, change.path))
            if info is None:
                continue
            if not stat.S_ISDIR(info.st_mode):
                found[change.path] = git_mode(info) is not None
            elif not _will_be_empty(os.path.join(root, change.path), root, going):
                found[change.path] = False
    return found


def apply(root: bytes, wanted: Difference, read: Read, tag: str, keep: Iterable[bytes] = ()) -> None:
    """Makes the change. When that fails, what was done is taken back and the error raised: ``edit.conflict`` when a
    file is not what it should be before, ``tool.failed`` when the system refuses.

    ``tag`` is in the names of temporary files. ``keep`` are folders that stay even when nothing is left in them.
    """
    done: list[Change] = []
    kept = covered(keep) | covered(wanted.folders_made)
    try:
        for change in in_order(wanted.files):
            if not holds(root, change.path, change.old):
                name = display(change.path)
                message = f"{name} changed meanwhile. Everything is as it was before."
                raise KodaError("edit.conflict", message, retryable=True, path=name)
            done.append(change)
            put(root, change.path, change.new, read, tag, kept)
        for folder in wanted.folders_made:
            _make_folder(root, folder)
        for folder in wanted.folders_gone:
            _remove_empty(root, folder, kept)
    except BaseException as error:
        _take_back(root, done, read, tag)
        if isinstance(error, OSError):
            why = error.strerror or type(error).__name__
            message = f"The files could not be changed: {why}. Everything is as it was before."
            raise KodaError("tool.failed", message, path=_text(error.filename)) from error
        raise


def recover(root: bytes, changes: Sequence[Change], read: Read, tag: str) -> None:
    """Takes back what a killed process did of ``changes``. What somebody else changed since stays as it is."""
    for change in changes:
        with suppress(OSError):
            os.unlink(_temporary(root, change.path, tag))
    made = [change for change in changes if holds(root, change.path, change.new) and change.old != change.new]
    for change in in_order([change.reverse for change in made]):
        with suppress(OSError):
            put(root, change.path, change.new, read, tag, set())


def in_order(changes: Iterable[Change]) -> list[Change]:
    """Deletions first, the deepest first: a file may take the place of a folder and the other way round."""
    changes = list(changes)
    gone = sorted((change for change in changes if change.new is None), key=lambda change: change.path, reverse=True)
    return gone + sorted((change for change in changes if change.new is not None), key=lambda change: change.path)


def put(root: bytes, path: bytes, entry: Entry | None, read: Read, tag: str, keep: set[bytes]) -> None:
    """Makes one file what an entry says; None removes it, and the folders above it that are empty then."""
    place = os.path.join(root, path)
    if entry is None:
        if _folder_is_real(root, path):
            with suppress(FileNotFoundError):
                os.unlink(place)
        _remove_empty(root, path.rpartition(b"/")[0], keep)
        return
    _make_folder(root, path.rpartition(b"/")[0])
    info = _lstat(place)
    if info is not None and stat.S_ISDIR(info.st_mode):
        _remove_tree_of_folders(place)
        info = None
    if info is not None and not entry.symlink and stat.S_ISREG(info.st_mode) and _same(place, info, entry):
        if entry.bits is not None:
            os.chmod(place, entry.bits)
        return
    data = read(entry.blob)
    temporary = _temporary(root, path, tag)
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        if entry.mode == SYMLINK:
            os.symlink(data, temporary)
        else:
            _write(temporary, data, entry, info)
        os.replace(temporary, place)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def read_file(root: bytes, path: bytes) -> tuple[bytes, Entry]:
    """A file that was not recorded, as content and entry. Raises ``OSError``."""
    place = os.path.join(root, path)
    info = os.lstat(place)
    if stat.S_ISDIR(info.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a folder", os.fsdecode(place))
    mode = git_mode(info)
    if mode is None:
        raise OSError(0, "not a file", os.fsdecode(place))
    data = _content(place, info)
    bits = None if mode == SYMLINK or os.name == "nt" else stat.S_IMODE(info.st_mode)
    return data, Entry(mode, blob_name(data), bits)


def _write(place: bytes, data: bytes, entry: Entry, old: os.stat_result | None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _BINARY
    handle = os.open(place, flags, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    if os.name != "nt":
        if old is not None:
            with suppress(OSError):  # not ours to give away
                os.chown(place, old.st_uid, old.st_gid, follow_symlinks=False)
        os.chmod(place, entry.bits if entry.bits is not None else entry.mode & 0o777)


def _same(place: bytes, info: os.stat_result, entry: Entry) -> bool:
    return blob_name(_content(place, info)) == entry.blob


def _content(place: bytes, info: os.stat_result) -> bytes:
    if stat.S_ISLNK(info.st_mode):
        return os.readlink(place)
    handle = os.open(place, os.O_RDONLY | _NOFOLLOW | _BINARY)
    with os.fdopen(handle, "rb") as file:
        return file.read()


def _lstat(place: bytes) -> os.stat_result | None:
    try:
        return os.lstat(place)
    except OSError:
        return None


def _folder_is_real(root: bytes, path: bytes) -> bool:
    """Whether every folder above a path is there and is one, not a symlink to one."""
    for folder in parents(path):
        info = _lstat(os.path.join(root, folder))
        if info is None or not stat.S_ISDIR(info.st_mode):
            return False
    return True


def _make_folder(root: bytes, folder: bytes) -> None:
    for each in [*reversed(list(parents(folder))), *([folder] if folder else [])]:
        place = os.path.join(root, each)
        with suppress(FileExistsError):
            os.mkdir(place)
        if not stat.S_ISDIR(os.lstat(place).st_mode):
            raise NotADirectoryError(20, "Not a folder", os.fsdecode(place))


def _remove_empty(root: bytes, folder: bytes, keep: set[bytes]) -> None:
    """Removes a folder and those above it, as far as they are empty and nobody wants them."""
    while folder and folder not in keep:
        try:
            os.rmdir(os.path.join(root, folder))
        except FileNotFoundError:
            pass
        except OSError:
            return
        folder = folder.rpartition(b"/")[0]


def _remove_tree_of_folders(place: bytes) -> None:
    """Removes folders without files. Raises ``OSError`` when there are any."""
    for here, folders, _ in os.walk(place, topdown=False):
        for folder in folders:
            os.rmdir(os.path.join(here, folder))
    os.rmdir(place)


def _will_be_empty(place: bytes, root: bytes, going: set[bytes]) -> bool:
    separator = os.fsencode(os.sep)
    return all(os.path.relpath(file, root).replace(separator, b"/") in going for file in _files_below(place))


def _files_below(place: bytes) -> Iterator[bytes]:
    """Everything below a folder that is no folder; a symlink to one is none."""
    for here, folders, files in os.walk(place):
        yield from (os.path.join(here, name) for name in files)
        for name in folders:
            if os.path.islink(os.path.join(here, name)):
                yield os.path.join(here, name)


def _take_back(root: bytes, done: list[Change], read: Read, tag: str) -> None:
    for change in in_order([change.reverse for change in done]):
        with suppress(OSError):
            put(root, change.path, change.new, read, tag, set())


def _temporary(root: bytes, path: bytes, tag: str) -> bytes:
    folder, _, name = path.rpartition(b"/")
    return os.path.join(root, folder, b".%b.koda-%b" % (name[:80], tag.encode()))


def _text(name: object) -> str | None:
    return os.fsdecode(name) if isinstance(name, (str, bytes)) else None
