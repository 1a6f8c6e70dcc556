"""Folders of branches: made next to the user's repository or as a copy, and removed. Blocking: for worker threads."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from msgspec import Struct

from koda_daemon.base.errors import KodaError
from koda_daemon.coding.checkpoints_git import Repository
from koda_daemon.coding.checkpoints_ignore import find_user_repository


class BranchFolder(Struct, frozen=True, kw_only=True):
    """``commit`` is where the folder's repository began, None when the folder is no working tree of the user's one."""

    path: str
    commit: str | None = None


def make_folder(git: Repository, home: Path, workspace: Path, name: str) -> BranchFolder:
    """An empty folder below Koda's home. Where the workspace is the top of a git repository with a commit, the folder
    is a working tree of that (git-worktree(1)) on no branch: what is committed there stays in the user's repository.
    No hook of the repository is run."""
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{workspace.name}-{name}").strip("-.")[:60] or "branch"
    (home / "worktrees").mkdir(parents=True, exist_ok=True, mode=0o700)
    parent = (home / "worktrees").resolve()
    path = next(path for path in _names(parent, base) if not path.exists())
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
    path.mkdir()
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


def _names(parent: Path, base: str) -> list[Path]:
    return [parent / base, *(parent / f"{base}-{number}" for number in range(2, 1000))]


def _make_writable(function: object, path: str, _: object) -> None:
    """Read-only folders (Go's module cache) and files on Windows do not go without."""
    os.chmod(os.path.dirname(path), 0o700)
    os.chmod(path, 0o700)
    if os.path.isdir(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)
