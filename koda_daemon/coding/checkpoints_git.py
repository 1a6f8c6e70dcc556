"""A git repository of Koda's own and how git is run on it. Blocking: for worker threads.

It keeps what files contained, nothing else: no commits, no branches, no hooks, no filters. The user's repository,
configuration, attributes and hooks have no say in it (git-config(1), gitattributes(5)): what was recorded comes back
byte for byte, and nothing that a workspace brings along is run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from koda_daemon.base.errors import KodaError
from koda_daemon.base.ids import new_id

if TYPE_CHECKING:
    from subprocess import Popen

_CONFIG = """
[core]
\tbare = false
\tautocrlf = false
\teol = lf
\tsafecrlf = false
\thooksPath = {null}
\tattributesFile = {null}
\tlogAllRefUpdates = false
\tfsmonitor = false
\tuntrackedCache = false
\tpreloadIndex = true
\tlooseCompression = 1
\tquotePath = false
\tprotectHFS = true
\tprotectNTFS = true
[index]
\tversion = 4
\tthreads = true
[gc]
\tauto = 0
[commit]
\tgpgSign = false
[maintenance]
\tauto = false
"""
_POSIX_CONFIG = "[core]\n\tfileMode = true\n\tsymlinks = true\n"
# Of all attribute files this one wins. ``!`` and not ``-`` where git takes an unset value for a name.
_ATTRIBUTES = "* -text -eol -crlf -ident !filter !working-tree-encoding !diff !merge\n"

_LOCK_STEP = 0.005


class View(Struct, frozen=True):
    """A folder as the repository sees it: each has an index of its own. ``home`` is where that and the rest is kept."""

    root: Path
    home: Path

    @property
    def index(self) -> Path:
        return self.home / "index"

    @property
    def excludes(self) -> Path:
        return self.home / "exclude"


class GitFailed(Exception):  # noqa: N818 - never seen outside: it becomes a KodaError at the door
    """git ended with an error. ``said`` is what it wrote to stderr, ``out`` to stdout."""

    def __init__(self, command: str, code: int, said: bytes, out: bytes = b"") -> None:
        super().__init__(command, code, said)
        self.out = out
        self.command = command
        self.code = code
        self.said = said.decode(errors="replace").strip()


def find_git(environ: Mapping[str, str]) -> str | None:
    """The git to use, None when there is none."""
    from shutil import which

    return which("git", path=environ.get("PATH"))


def user_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """For git as the user runs it, but for what others set for one command (GIT_DIR and the like): it locks nothing
    that it need not, asks nobody and speaks English."""
    kept = {name: value for name, value in environ.items() if not name.startswith("GIT_")}
    return {**kept, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


class Repository:
    """``folder`` is its git directory; ``open`` makes it. ``close`` ends what still runs."""

    def __init__(self, folder: Path, program: str, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.program = program
        self._environ = environ
        self._running: set[Popen[bytes]] = set()
        self._version: tuple[int, ...] | None = None
        self._closed = False

    @property
    def objects(self) -> Path:
        return self.folder / "objects"

    def sweep(self) -> None:
        """After a failure: git leaves what it could not write to the end, and so a full disk would stay full."""
        for left in self.objects.glob("*/tmp_obj_*"):
            with contextlib.suppress(OSError):
                left.unlink()

    @property
    def version(self) -> tuple[int, ...]:
        """git's own, such as (2, 39, 5)."""
        if self._version is None:
            words = self._finish(self._popen(["version"], self._environment(None), None)).decode().split()
            numbers = words[2].split(".") if len(words) > 2 else []
            self._version = tuple(int(number) for number in numbers if number.isdecimal())
        return self._version

    def open(self) -> None:
        """Makes the repository if there is none; whole or not at all."""
        if (self.folder / "koda").exists():
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = self.folder.with_name(f".new-{new_id()[-12:]}")
        self._finish(self._popen(["init", "--quiet", "--bare", "--template=", str(new)], self._environment(None), None))
        with open(new / "config", "a", encoding="utf-8") as config:
            config.write(_CONFIG.format(null=os.devnull) + (_POSIX_CONFIG if os.name != "nt" else ""))
        (new / "info").mkdir(exist_ok=True)
        (new / "info" / "attributes").write_text(_ATTRIBUTES)
        (new / "koda").write_text("1\n")
        try:
            new.rename(self.folder)
        except OSError:
            from shutil import rmtree

            rmtree(new, ignore_errors=True)
            if not (self.folder / "koda").exists():  # else another daemon was faster
                raise

    def run(
        self,
        *args: str | bytes,
        view: View | None = None,
        input: bytes | None = None,  # noqa: A002 - as subprocess calls it
        lock: int | None = None,
    ) -> bytes:
        """Runs a git command; its stdout. Raises ``GitFailed``. ``lock`` is a lock's file, which the command then
        holds too: should this process die, it stays locked for as long as the command goes on."""
        return self.finish(self.start(*args, view=view, stdin=input is not None, lock=lock), input)

    def start(
        self, *args: str | bytes, view: View | None = None, stdin: bool = False, lock: int | None = None
    ) -> Popen[bytes]:
        """Starts a git command, for ``finish``: two may run at a time."""
        options: list[str | bytes] = ["--no-replace-objects"]
        if "check-ignore" not in args:  # the one command that refuses it
            options.append("--literal-pathspecs")
        if view is not None:
            options += ["-c", f"core.excludesFile={view.excludes}"]
        return self._popen([*options, *args], self._environment(view), lock, stdin=stdin)

    def finish(self, process: Popen[bytes], input: bytes | None = None) -> bytes:  # noqa: A002
        """Waits for a started command; its stdout. Raises ``GitFailed``."""
        return self._finish(process, input)

    def user_git(self, root: Path, *args: str, input: bytes | None = None) -> bytes | None:  # noqa: A002
        """Asks the user's own git about the repository that a folder is in; None when that fails.

        For questions only. What a repository could have git run along the way (fsmonitor, hooks) is switched off.
        """
        options = ["-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", "-C", str(root)]
        try:
            environment = user_environment(self._environ)
            return self._finish(self._popen([*options, *args], environment, None, stdin=input is not None), input)
        except GitFailed:
            return None

    def close(self) -> None:
        """Ends commands that still run, and lets no other start."""
        self._closed = True
        for process in list(self._running):
            process.terminate()

    # Objects

    def write_object(self, kind: str, data: bytes) -> str:
        """Stores an object (gitformat-loose(5)); its name."""
        from zlib import compress

        whole = b"%b %d\0%b" % (kind.encode(), len(data), data)
        name = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
        path = self.objects / name[:2] / name[2:]
        try:
            os.utime(path)  # fresh, as git does it: pruning goes by age
        except FileNotFoundError:
            path.parent.mkdir(exist_ok=True)
            new = path.with_name(f".{name[2:]}-{new_id()[-12:]}")
            new.write_bytes(compress(whole, 1))
            new.chmod(0o444)
            new.replace(path)
        return name

    def keep(self, tree: str) -> None:
        """Keeps a tree and all below it from being pruned, from now on for as long as its mark is left alone."""
        marks = self.folder / "refs" / "koda"
        mark = marks / tree
        try:
            os.utime(mark)
        except FileNotFoundError:
            marks.mkdir(parents=True, exist_ok=True)
            new = marks / f"{tree}.{new_id()[-12:]}.lock"  # git takes no name that ends so for a reference
            new.write_text(tree + "\n")
            new.replace(mark)

    def kept(self, tree: str) -> bool:
        """Whether a tree is (still) held."""
        return (self.folder / "refs" / "koda" / tree).exists()

    # Inside

    def _environment(self, view: View | None) -> dict[str, str]:
        environment = {
            name: value
            for name, value in self._environ.items()
            if not name.startswith("GIT_") and name not in ("HOME", "XDG_CONFIG_HOME")
        }
        environment |= {
            "GIT_DIR": str(self.folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            # Before 2.32 git did not know GIT_CONFIG_GLOBAL.
            "HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder),
            "LC_ALL": "C",
        }
        if view is not None:
            environment |= {"GIT_WORK_TREE": str(view.root), "GIT_INDEX_FILE": str(view.index)}
        if os.name == "nt" and "USERPROFILE" in self._environ:
            environment["USERPROFILE"] = str(self.folder)
        return environment

    def _popen(
        self, args: Sequence[str | bytes], environment: Mapping[str, str], lock: int | None, *, stdin: bool = False
    ) -> Popen[bytes]:
        import subprocess

        if self._closed:
            raise GitFailed(str(args[0]), -1, b"closed")
        if "init" in args:
            environment = {name: value for name, value in environment.items() if name != "GIT_DIR"}
        try:
            process = subprocess.Popen(
                [self.program, *args],
                env=environment,
                cwd=environment.get("GIT_WORK_TREE"),
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=() if lock is None or os.name == "nt" else (lock,),
                # A Ctrl-C that is meant for the daemon must not cut off what it does in an orderly end.
                start_new_session=os.name != "nt",
            )
        except OSError as error:
            raise GitFailed("start", -1, str(error.strerror or error).encode()) from error
        self._running.add(process)
        return process

    def _finish(self, process: Popen[bytes], input: bytes | None = None) -> bytes:  # noqa: A002
        try:
            out, err = process.communicate(input)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            self._running.discard(process)
        if process.returncode != 0:
            words = [word for word in process.args if isinstance(word, str)] if isinstance(process.args, list) else []
            raise GitFailed(" ".join(words[-3:]), process.returncode, err[-4000:], out)
        return bytes(out)


class Blobs:
    """Reads contents of one repository, one after the other (``git cat-file --batch``). Use as a context manager."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._process: Popen[bytes] | None = None

    def __enter__(self) -> Blobs:
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is not None:
            with suppress(GitFailed):
                self._repository.finish(process)

    def get(self, name: str) -> bytes:
        """The content of an object. Raises ``GitFailed`` when it is not held."""
        if self._process is None:
            self._process = self._repository.start("cat-file", "--batch", stdin=True)
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(name.encode() + b"\n")
        process.stdin.flush()
        head = process.stdout.readline().split()
        if len(head) != 3:
            raise GitFailed("cat-file", 1, f"{name} is not held".encode())
        data: bytes = process.stdout.read(int(head[2]))
        process.stdout.read(1)
        return data


def blob_name(data: bytes) -> str:
    """The name that git gives a content."""
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()


@contextmanager
def locked(path: Path, timeout: float) -> Iterator[int]:
    """Holds a lock against all threads and processes; gives its file descriptor. Raises ``KodaError`` ``internal``
    (retryable) when others hold it for longer than ``timeout`` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        until = time.monotonic() + timeout
        while not _try_lock(handle):
            if time.monotonic() > until:
                raise KodaError("internal", "Another process records the workspace and does not end.", retryable=True)
            time.sleep(_LOCK_STEP)
        yield handle
    finally:
        os.close(handle)  # which unlocks, unless a command that outlives us holds it too


if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _try_lock(handle: int) -> bool:
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
