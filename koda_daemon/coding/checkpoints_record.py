"""Recording what a folder holds, as a tree in Koda's repository. Blocking: for worker threads.

The cost is that of looking at every file once (git does it in two processes at a time): what did not change is neither
read nor written. That is about what ``git status`` takes; figures: ``python -m tests.bench.checkpoints``.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress

from msgspec import Struct

from koda_daemon.coding.checkpoints_git import GitFailed, Repository, View
from koda_daemon.coding.checkpoints_ignore import Ignored, check_ignore
from koda_daemon.coding.checkpoints_pack import pack_contents
from koda_daemon.coding.checkpoints_tree import (
    EXECUTABLE,
    META_NAME,
    REGULAR,
    SYMLINK,
    Meta,
    decode_meta,
    git_mode,
    parents,
)

_BULK = 200
"""Files at once from which they are packed at once."""
_YOUNG_NS = 2_000_000_000
"""git compares times of change in whole seconds: a chmod in the second in which the file was recorded escapes it."""
_MAX_EMPTY = 5_000
"""Entries looked at in search of empty folders."""
_CHUNK = 400
_DAMAGED = re.compile(r"index file (corrupt|smaller|open failed)|bad (signature|index)|invalid object|missing|unknown")
_UNREADABLE = re.compile(r"Unable to process path (.*)")


class Found(Struct):
    """What git says of a folder: tracked files that may have changed, files that are new, and folders without any
    tracked file (which may be empty)."""

    changed: dict[bytes, bytes]
    new: list[bytes]
    folders: list[bytes]


class Recorder:
    """Records one folder. Its caller holds the folder's lock, whose file descriptor is passed on to git."""

    def __init__(self, repository: Repository, view: View, ignored: Ignored, max_bytes: int) -> None:
        self._git = repository
        self._view = view
        self._ignored = ignored
        self._max_bytes = max_bytes
        self._root = os.fsencode(view.root)
        self._meta: Meta | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._tree: str | None = None
        self._overlays: dict[bytes, tuple[int, str]] = {}
        self._young: set[bytes] = set()
        self._fed: frozenset[bytes] = frozenset()
        self._fed_out: set[bytes] = set()

    def record(self, overlays: Mapping[bytes, bytes], lock: int) -> str:
        """The tree that holds the folder as it is now. ``overlays`` are contents that count instead of the disk's:
        unsaved text of editors. Raises ``GitFailed``, ``OSError``."""
        with suppress(FileNotFoundError):  # of a git that was killed: whoever holds our lock is alone
            os.unlink(f"{self._view.index}.lock")
        try:
            return self._record(overlays, lock)
        except GitFailed as error:
            if not _DAMAGED.search(error.said) or not self._view.index.exists():
                raise
        self._forget()
        return self._record(overlays, lock)

    @property
    def left_out(self) -> tuple[bytes, ...]:
        """What the last record left out: too large, or not to be read."""
        return () if self._meta is None else self._meta.left_out

    def _forget(self) -> None:
        self._view.index.unlink(missing_ok=True)
        self._meta = self._tree = self._stamp = None
        self._young, self._fed, self._fed_out = set(), frozenset(), set()

    def _record(self, overlays: Mapping[bytes, bytes], lock: int) -> str:
        self._write_excludes()
        old_meta = self._load_meta()
        meta = Meta(modes=dict(old_meta.modes), file=old_meta.file, executable=old_meta.executable)
        found = self._look(lock)
        unsaved = {path: self._stored(path, data) for path, data in self._not_ignored(overlays).items()}
        add, gone = self._inspect(found, unsaved, meta, first=self._stamp is None)
        meta.folders = tuple(sorted(self._empty(found.folders) | self._emptied(gone)))
        entries = [b"0 %b\t%b" % (b"0" * 40, path) for path in gone]
        if unsaved != self._overlays:
            entries += [b"%o %b\t%b" % (mode, blob.encode(), path) for path, (mode, blob) in unsaved.items()]
        if meta != old_meta or self._stamp is None:
            blob = self._git.write_object("blob", meta.encode())
            entries.append(b"%o %b\t%b" % (REGULAR, blob.encode(), META_NAME))
        if add:
            self._add(add, meta, lock)
        if entries:
            self._update("--index-info", b"".join(entry + b"\0" for entry in entries), lock)
        if add or entries or self._tree is None or self._stamp != _stamp(self._view):
            self._tree = self._git.run("write-tree", view=self._view, lock=lock).decode().strip()
            (self._view.home / "last").write_text(f"{self._tree}\n")
        self._meta, self._overlays, self._stamp = meta, unsaved, _stamp(self._view)
        self._git.keep(self._tree)
        return self._tree

    # What there is

    def _look(self, lock: int) -> Found:
        view = self._view
        of_changed = self._git.start("diff-files", "--name-status", "-z", view=view, lock=lock)
        try:
            others = _split(
                self._git.run("ls-files", "-z", "--others", "--directory", "--exclude-standard", view=view, lock=lock)
            )
        finally:
            said = self._git.finish(of_changed)
        fields = said.split(b"\0")
        changed = dict(zip(fields[1::2], fields[::2], strict=False))
        changed.pop(META_NAME, None)
        tracked = self._ignored.tracked(self._git)
        new = [path for path in others if not path.endswith(b"/")] + sorted(tracked - self._fed)
        self._fed = tracked
        folders = [path[:-1] for path in others if path.endswith(b"/")]
        # git does not list a folder that has taken the place of a tracked file.
        folders += [path for path, status in changed.items() if status != b"M" and self._is_folder(path)]
        files, nested = self._inside(folders)
        return Found(changed, new + files, [folder for folder in folders if folder not in nested])

    def _inside(self, folders: list[bytes]) -> tuple[list[bytes], set[bytes]]:
        """The files below folders that have no tracked ones, and which of the folders are repositories. git does not
        look into those, so it is asked as if it were there."""
        files: list[bytes] = []
        nested: set[bytes] = set()
        for at in range(0, len(folders), _CHUNK):
            for path in _split(self._others(*folders[at : at + _CHUNK])):
                if path.endswith(b"/"):
                    nested.add(path[:-1])
                    files += self._inside_repository(path, 4)
                else:
                    files.append(path)
        return files, nested

    def _inside_repository(self, folder: bytes, depth: int) -> list[bytes]:
        view = View(self._view.root / os.fsdecode(folder), self._view.home / "none")
        found: list[bytes] = []
        for path in _split(self._others(view=view)):
            if not path.endswith(b"/"):
                found.append(folder + path)
            elif depth:
                found += self._inside_repository(folder + path, depth - 1)
        return found

    def _others(self, *folders: bytes, view: View | None = None) -> bytes:
        return self._git.run(
            "ls-files", "-z", "--others", "--exclude-standard", "--", *folders, view=view or self._view
        )

    def _inspect(
        self, found: Found, unsaved: Container[bytes], meta: Meta, *, first: bool
    ) -> tuple[list[bytes], list[bytes]]:
        """What to add and what to take out. Fills in the modes and what is left out."""
        add: list[bytes] = []
        gone = [path for path, status in found.changed.items() if status == b"D" and path not in unsaved]
        bits: dict[bytes, tuple[int, int]] = {}
        out: set[bytes] = set()
        now, young = time.time_ns(), set[bytes]()
        here = [path for path, status in found.changed.items() if status != b"D"] + found.new
        for path in dict.fromkeys(here):
            info = self._lstat(path)
            mode = None if info is None else git_mode(info)
            if info is None or mode is None:
                gone.append(path)
                continue
            if path in unsaved:
                continue
            if mode != SYMLINK and (info.st_size > self._max_bytes or not self._readable(path)):
                out.add(path)
                gone.append(path)
                continue
            add.append(path)
            bits[path] = mode, stat.S_IMODE(info.st_mode)
            if now - info.st_ctime_ns < _YOUNG_NS:
                young.add(path)
        for path in self._young - bits.keys():
            info = self._lstat(path)
            mode = None if info is None else git_mode(info)
            if info is not None and mode is not None:
                bits[path] = mode, stat.S_IMODE(info.st_mode)
                if now - info.st_ctime_ns < _YOUNG_NS:
                    young.add(path)
        self._young = young
        self._fed_out = (self._fed_out | out) & self._fed
        meta.left_out = tuple(sorted(out | self._fed_out))
        _note_modes(meta, bits, gone, first=first)
        new = set(found.new)
        return add, [path for path in gone if path not in new or path in self._fed]

    def _lstat(self, path: bytes) -> os.stat_result | None:
        try:
            return os.lstat(os.path.join(self._root, path))
        except OSError:
            return None

    def _is_folder(self, path: bytes) -> bool:
        info = self._lstat(path)
        return info is not None and stat.S_ISDIR(info.st_mode)

    def _readable(self, path: bytes) -> bool:
        return os.access(os.path.join(self._root, path), os.R_OK)

    def _emptied(self, gone: Iterable[bytes]) -> set[bytes]:
        """Folders that lost their last file just now: git still takes them for full."""
        found: set[bytes] = set()
        for path in gone:
            folder = next((folder for folder in parents(path) if self._is_folder(folder)), None)
            if folder is not None and folder not in found:
                with suppress(OSError), os.scandir(os.path.join(self._root, folder)) as entries:
                    if next(entries, None) is None:
                        found.add(folder)
        return found

    def _empty(self, folders: Iterable[bytes]) -> set[bytes]:
        """Folders with nothing at all in them, at or below the given ones."""
        found: set[bytes] = set()
        left, waiting = _MAX_EMPTY, list(folders)
        while waiting and left > 0:
            folder = waiting.pop()
            try:
                with os.scandir(os.path.join(self._root, folder)) as entries:
                    inside = list(entries)
            except OSError:
                continue
            left -= 1 + len(inside)
            if not inside:
                found.add(folder)
            waiting += [
                folder + b"/" + entry.name
                for entry in inside
                if entry.name != b".git" and entry.is_dir(follow_symlinks=False)
            ]
        return found

    # Unsaved text

    def _not_ignored(self, overlays: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        chosen = {path: data for path, data in overlays.items() if len(data) <= self._max_bytes}
        if not chosen:
            return {}
        for path in check_ignore(self._git, self._view, chosen):
            chosen.pop(path, None)
        return chosen

    def _stored(self, path: bytes, data: bytes) -> tuple[int, str]:
        """Stores an unsaved content; with the mode that its file has."""
        info = self._lstat(path)
        executable = info is not None and git_mode(info) == EXECUTABLE
        return EXECUTABLE if executable else REGULAR, self._git.write_object("blob", data)

    # The index

    def _add(self, paths: list[bytes], meta: Meta, lock: int) -> None:
        if len(paths) >= _BULK:
            pack_contents(self._git, self._root, paths, lock)
        left = dict.fromkeys(paths)
        while left:
            try:
                self._update("--stdin", b"".join(path + b"\0" for path in left), lock)
            except GitFailed as error:
                bad = _UNREADABLE.search(error.said)
                name = os.fsencode(bad[1]) if bad else b""
                if name not in left:
                    raise
                del left[name]
                meta.left_out = tuple(sorted({*meta.left_out, name}))
            else:
                return

    def _update(self, how: str, lines: bytes, lock: int) -> None:
        flags = ("--add", "--remove", "--replace") if how == "--stdin" else ()
        self._git.run("update-index", "-z", *flags, how, view=self._view, input=lines, lock=lock)

    def _load_meta(self) -> Meta:
        stamp = _stamp(self._view)
        if self._meta is not None and stamp == self._stamp:
            return self._meta
        self._forget_memory()
        if stamp is None:
            return Meta()
        try:
            meta = decode_meta(self._git.run("cat-file", "blob", b":" + META_NAME, view=self._view))
        except (GitFailed, ValueError):
            self._forget()  # without it we know too little of what is there
            return Meta()
        self._stamp = stamp
        return meta

    def _forget_memory(self) -> None:
        """Another process has recorded meanwhile."""
        self._meta = self._tree = self._stamp = None
        self._overlays = {}

    def _write_excludes(self) -> None:
        text = self._ignored.text(self._git)
        path = self._view.excludes
        with suppress(FileNotFoundError):
            if path.read_bytes() == text:
                return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)


def _note_modes(meta: Meta, bits: Mapping[bytes, tuple[int, int]], gone: Iterable[bytes], *, first: bool) -> None:
    """Only what differs from most files is listed."""
    if first:
        for mode, name in ((REGULAR, "file"), (EXECUTABLE, "executable")):
            most = Counter(each for kind, each in bits.values() if kind == mode).most_common(1)
            if most:
                setattr(meta, name, most[0][0])
    for path in gone:
        meta.modes.pop(path, None)
    for path, (mode, each) in bits.items():
        usual = meta.executable if mode == EXECUTABLE else meta.file
        if mode == SYMLINK or os.name == "nt" or each == usual:
            meta.modes.pop(path, None)
        else:
            meta.modes[path] = each


def _split(out: bytes) -> list[bytes]:
    return [path for path in out.split(b"\0") if path]


def _stamp(view: View) -> tuple[int, int, int] | None:
    try:
        info = os.stat(view.index)
    except FileNotFoundError:
        return None
    return info.st_mtime_ns, info.st_size, info.st_ino
