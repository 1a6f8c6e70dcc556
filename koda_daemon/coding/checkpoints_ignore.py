"""What git would ignore in a workspace, for a repository that is not the user's (gitignore(5)). Blocking.

The ``.gitignore`` files of the workspace are read by git itself. What it cannot know there: the user's own list, that
of the user's repository, and the ``.gitignore`` files above a workspace that is not the top of its repository.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct

from koda_daemon.coding.checkpoints_diff import files_of
from koda_daemon.coding.checkpoints_git import Blobs, GitFailed, Repository, View
from koda_daemon.coding.checkpoints_tree import parents


class UserRepository(Struct, frozen=True):
    """The user's repository that a workspace is in. ``prefix`` is where in it, with forward slashes, "" at the top;
    ``git_dir`` is this working tree's, ``common_dir`` the one that all of its working trees share."""

    top: Path
    prefix: str
    git_dir: Path
    common_dir: Path


def find_user_repository(root: Path) -> UserRepository | None:
    """The user's repository, found as git finds it (gitrepository-layout(5)), without running anything."""
    for folder in (root, *root.parents):
        git = folder / ".git"
        try:
            if git.is_dir():
                found = git
            elif git.is_file():
                found = (folder / git.read_text().removeprefix("gitdir:").strip()).resolve()
            else:
                continue
            if not (found / "HEAD").exists():
                continue
            shared = found / "commondir"
            common = (found / shared.read_text().strip()).resolve() if shared.is_file() else found
        except (OSError, ValueError):
            continue
        prefix = root.relative_to(folder).as_posix()
        return UserRepository(folder, "" if prefix == "." else prefix, found, common)
    return None


def patterns_below(patterns: Iterable[str], prefix: str) -> list[str]:
    """The patterns of a ``.gitignore`` as they have to be written in the folder ``prefix`` below it.

    What concerns other folders is left out, and so is what would ignore the folder itself: it was opened to work in.
    """
    found: list[str] = []
    for line in patterns:
        pattern = line.rstrip("\r\n")
        pattern = pattern if pattern.endswith("\\ ") else pattern.rstrip(" ")
        if not pattern or pattern.startswith("#"):
            continue
        negated, body = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
        if "/" not in body.rstrip("/"):
            found.append(negated + body)  # holds at every depth
            continue
        parts = body.removeprefix("/").split("/")
        found += [f"{negated}/{rest}" for rest in dict.fromkeys(_below(parts, prefix.split("/")))]
    return found


def _below(parts: list[str], folders: list[str]) -> list[str]:
    """What is left of an anchored pattern after each way in which its beginning can mean the folders."""
    if not folders:
        return ["/".join(parts)] if set(parts) - {"", "**"} else []
    if not parts:
        return []
    if parts[0] == "**":
        return _below(parts, folders[1:]) + _below(parts[1:], folders)
    if len(parts) == 1 or parts[1:] == [""]:
        return []  # it ends above: it means a folder that the workspace is in
    return _below(parts[1:], folders[1:]) if _component(parts[0]).fullmatch(folders[0]) else []


def _component(glob: str) -> re.Pattern[str]:
    """One path component of a pattern as a regular expression: ``*``, ``?``, ``[...]`` and ``\\`` as in fnmatch(3)."""
    out, at = "", 0
    while at < len(glob):
        char = glob[at]
        at += 1
        if char == "*":
            out += "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "\\" and at < len(glob):
            out += re.escape(glob[at])
            at += 1
        elif char == "[" and (end := glob.find("]", at + 2 if glob[at : at + 1] in ("!", "^") else at + 1)) > 0:
            inner = glob[at:end].replace("\\", "\\\\")
            out += "[^" + inner[1:] + "]" if inner[0] in "!^" else "[" + inner + "]"
            at = end + 1
        else:
            out += re.escape(char)
    try:
        return re.compile(out, re.DOTALL)
    except re.error:  # [z-a]: matches nothing
        return re.compile(r"(?!)")


class Ignored:
    """What is ignored in one workspace besides its own ``.gitignore`` files, and what the user's repository tracks
    although it is ignored. Remembers what it read until that changes."""

    def __init__(self, root: Path, never: Iterable[Path], environ: Mapping[str, str]) -> None:
        """``never`` are folders that are not the user's to record, such as Koda's home."""
        self._root = root
        self._never = [f"/{_escaped(path.relative_to(root).as_posix())}/" for path in never if root in path.parents]
        self._environ = environ
        self._global: Path | None = None
        self._asked = False
        self._foreign: bool | None = None
        self._index: tuple[int, int, int] | None = None
        self._tracked: frozenset[bytes] = frozenset()

    def text(self, repository: Repository) -> bytes:
        """The patterns for ``core.excludesFile``, in the order of their weight: later ones win."""
        user = self._repository(repository)
        if not self._asked:
            self._global = self._global_list(repository, user)
            self._asked = True
        lines = _lines(self._global)
        if user is not None:
            lines += _lines(user.common_dir / "info" / "exclude")
            lines = patterns_below(lines, user.prefix) if user.prefix else lines
            parts = user.prefix.split("/") if user.prefix else []
            for depth in range(len(parts)):
                above = user.top.joinpath(*parts[:depth]) / ".gitignore"
                lines += patterns_below(_lines(above), "/".join(parts[depth:]))
        return "".join(f"{line}\n" for line in [*lines, *self._never]).encode("utf-8", "surrogateescape")

    def tracked(self, repository: Repository) -> frozenset[bytes]:
        """Ignored files that the user's repository tracks: git goes on tracking those, and so do we."""
        user = self._repository(repository)
        if user is None:
            return frozenset()
        try:
            info = os.stat(user.git_dir / "index")
        except OSError:
            return frozenset()
        stamp = (info.st_mtime_ns, info.st_size, info.st_ino)
        if stamp != self._index:
            said = repository.user_git(self._root, "ls-files", "-z", "-i", "-c", "--exclude-standard")
            self._tracked = frozenset(filter(None, (said or b"").split(b"\0")))
            self._index = stamp
        return self._tracked

    def _repository(self, repository: Repository) -> UserRepository | None:
        """The user's repository, unless that ignores the whole workspace (a home folder under version control does)."""
        user = find_user_repository(self._root)
        if user is None or not user.prefix:
            return user
        if self._foreign is None:
            self._foreign = repository.user_git(user.top, "check-ignore", "--quiet", "--", user.prefix) is not None
        return None if self._foreign else user

    def _global_list(self, repository: Repository, user: UserRepository | None) -> Path | None:
        said = None
        if user is not None:
            said = repository.user_git(self._root, "config", "--type=path", "--get", "core.excludesFile")
        if said and said.strip():
            return Path(os.fsdecode(said.rstrip(b"\n")))
        home = self._environ.get("HOME") or self._environ.get("USERPROFILE")
        base = self._environ.get("XDG_CONFIG_HOME") or (home and os.path.join(home, ".config"))
        return Path(base, "git", "ignore") if base else None


def ignored_then(git: Repository, state: str, paths: Collection[bytes], present: View) -> set[bytes]:
    """Which of ``paths`` the ``.gitignore`` files of a checkpoint ignore, with the other patterns of ``present``, its
    folder. Those of a repository inside the folder hold in there, and those outside of it do not."""
    folders = {folder for path in paths for folder in parents(path)}
    root = os.fsencode(present.root)
    tops = {b"", *(folder for folder in folders if os.path.lexists(os.path.join(root, folder, b".git")))}
    inside: dict[bytes, set[bytes]] = {top: set() for top in tops}
    for path in {*paths, *tops} - {b""}:
        inside[next((folder for folder in parents(path) if folder in tops), b"")].add(path)
    found = set[bytes]()
    with TemporaryDirectory(prefix="then-", dir=git.folder) as made:
        then = View(Path(made, "tree"), Path(made))
        with suppress(FileNotFoundError):
            then.excludes.write_bytes(present.excludes.read_bytes())
        for folder in (b"", *folders):
            Path(then.root, os.fsdecode(folder)).mkdir(parents=True, exist_ok=True)
        lists = files_of(git, state, [folder + b"/.gitignore" for folder in folders] + [b".gitignore"])
        with Blobs(git) as blobs:
            for path, entry in lists.items():
                if not entry.symlink:  # git does not follow those either
                    Path(then.root, os.fsdecode(path)).write_bytes(blobs.get(entry.blob))
        for top, below in inside.items():
            start = len(top) + 1 if top else 0
            view = View(then.root / os.fsdecode(top), then.home)
            ignored = check_ignore(git, view, [path[start:] for path in below])
            found |= {path for path in below if path[start:] in ignored}
    return {path for path in paths if path in found or not found.isdisjoint(parents(path))}


def check_ignore(git: Repository, view: View, paths: Collection[bytes]) -> set[bytes]:
    """Which of ``paths`` git ignores in a folder; those it tracks are not. Raises ``GitFailed``."""
    if not paths:
        return set()
    try:
        said = git.run("check-ignore", "-z", "--stdin", view=view, input=b"".join(b"./%b\0" % path for path in paths))
    except GitFailed as error:
        if error.code != 1:  # none of them
            raise
        return set()
    return {path.removeprefix(b"./") for path in said.split(b"\0") if path}


def _lines(path: Path | None) -> list[str]:
    try:
        return [] if path is None else path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except (OSError, ValueError):
        return []


def _escaped(text: str) -> str:
    return re.sub(r"([\\*?\[\]#! ])", r"\\\1", text)
