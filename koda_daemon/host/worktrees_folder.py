"""Folders of branches: made next to the user's repository or as a copy, and removed. Blocking: for worker threads."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import ExitStack, suppress
from pathlib import Path

from msgspec import Struct

from koda_daemon.base.errors import KodaError
from koda_daemon.coding.checkpoints_git import Repository, locked
from koda_daemon.coding.checkpoints_ignore import find_user_repository

_MAKING = ".making"


class BranchFolder(Struct, frozen=True, kw_only=True):
    """``commit`` is where the folder's repository began, None when the folder is no working tree of the user's one."""

    path: str
    commit: str | None = None


class Reserved:
    """A new, empty folder below Koda's home, and a mark beside it that says that it is being made: as long as this
    process lives, or until ``done``."""

    def __init__(self, home: Path, workspace: Path, name: str) -> None:
        base = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{workspace.name}-{name}").strip("-.")[:60] or "branch"
        (home / "worktrees").mkdir(parents=True, exist_ok=True, mode=0o700)
        parent = (home / "worktrees").resolve()
        for path in (parent / base, *(parent / f"{base}-{number}" for number in range(2, 1000))):
            self.path, self._stack = path, ExitStack()
            try:
                os.write(self._stack.enter_context(locked(_mark(path), 0.0)), os.fsencode(workspace))
            except KodaError:  # somebody else makes that one
                continue
            try:
                path.mkdir()
            except FileExistsError:
                self.done()
                continue
            return
        raise KodaError("tool.failed", f"There are too many folders named {base} below {parent}.", path=str(parent))

    def done(self) -> None:
        _mark(self.path).unlink(missing_ok=True)
        self._stack.close()


def unfinished(home: Path) -> list[tuple[Path, Path]]:
    """Folders that a killed daemon was making, each with its workspace."""
    found: list[tuple[Path, Path]] = []
    for mark in (home / "worktrees").resolve().glob(f".*{_MAKING}"):
        with suppress(KodaError, OSError), locked(mark, 0.0):
            workspace = os.fsdecode(mark.read_bytes())
            found.append((mark.with_name(mark.name[1:].removesuffix(_MAKING)), Path(workspace)))
    return found


def make_folder(git: Repository, workspace: Path, path: Path) -> BranchFolder:
    """Prepares the empty folder of a branch. Where the workspace is the top of a git repository with a commit, the
    folder becomes a working tree of that (git-worktree(1)) on no branch: what is committed there stays in the user's
    repository. No hook of the repository is run."""
    user = find_user_repository(workspace)
    if user is not None and not user.prefix:
        commit = git.user_git(workspace, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        if commit is not None:
            made = git.user_git(workspace, "worktree", "add", "--quiet", "--no-checkout", "--detach", str(path), "HEAD")
            if made is not None and (path / ".git").exists():
                # The files come from the checkpoint; the index says what they are compared with.
                git.user_git(path, "read-tree", "HEAD")
                _skip_as_in(git, workspace, path)
                return BranchFolder(path=str(path), commit=commit.decode().strip())
            shutil.rmtree(path, ignore_errors=True)
            git.user_git(workspace, "worktree", "prune")
            path.mkdir(exist_ok=True)
    return BranchFolder(path=str(path))


def _skip_as_in(git: Repository, workspace: Path, path: Path) -> None:
    """Files that a sparse checkout leaves out are left out in the folder too, not deleted there."""
    said = git.user_git(workspace, "ls-files", "-z", "-t", "--cached") or b""
    skipped = [line[2:] + b"\0" for line in said.split(b"\0") if line.startswith(b"S ")]
    if skipped:
        git.user_git(path, "update-index", "-z", "--skip-worktree", "--stdin", input=b"".join(skipped))


def lost_commits(git: Repository, folder: BranchFolder) -> bool:
    """Whether commits were made in the folder that no branch or tag of the user's repository has."""
    if folder.commit is None:
        return False
    path = Path(folder.path)
    head = git.user_git(path, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if head is None or head.decode().strip() == folder.commit:
        return False
    held = git.user_git(path, "for-each-ref", "--count=1", "--contains", head.decode().strip())
    return not held


def remove_folder(git: Repository, workspace: Path, home: Path, folder: BranchFolder) -> None:
    """Removes the folder with all that is in it, and what the user's repository knows of it."""
    path = Path(folder.path)
    if (home / "worktrees").resolve() != path.parent.resolve():
        raise KodaError("internal", f"{path} is not a folder that Koda made; it is not removed.", path=str(path))
    if folder.commit is not None:
        git.user_git(workspace, "worktree", "remove", "--force", str(path))
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path, onerror=_make_writable)
    if folder.commit is not None:
        git.user_git(workspace, "worktree", "prune")


def forget_mark(path: Path) -> None:
    """For a folder of ``unfinished`` that has been looked after."""
    _mark(path).unlink(missing_ok=True)


def _mark(path: Path) -> Path:
    return path.with_name(f".{path.name}{_MAKING}")


def _make_writable(function: object, path: str, _: object) -> None:
    """Read-only folders (Go's module cache) and files on Windows do not go without."""
    os.chmod(os.path.dirname(path), 0o700)
    os.chmod(path, 0o700)
    if os.path.isdir(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)
