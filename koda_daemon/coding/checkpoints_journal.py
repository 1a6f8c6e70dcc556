"""Operations on files that a killed daemon may leave half done, and that can be undone later. Blocking.

One small file each, written before the first change: ``<id>.pending``, renamed to ``<id>.done`` when the operation is
complete everywhere. What is found pending was cut off.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from koda_daemon.base.errors import KodaError
from koda_daemon.coding.checkpoints_tree import Change


class Operation(Struct, kw_only=True):
    """A change of many files as one. ``before`` and ``after`` are checkpoints (``after`` None: not known yet); ``seen``
    is ``after``, but for the files that were left as somebody changed them by hand: those as they were wanted.

    ``changes`` is what is done on disk. ``saved`` are files that were not recorded and had to give way: what they were
    comes back when the operation is undone. Of documents that were open, ``beneath`` are those of ``changes`` where
    unsaved text in an editor was or became what counts, ``stale`` those where an editor showed something older.
    ``undoes`` is the operation that it takes back. ``details`` belong to whoever asked for it.
    """

    id: str
    root: str
    main: str
    before: str
    after: str | None = None
    seen: str | None = None
    changes: tuple[Change, ...] = ()
    saved: tuple[Change, ...] = ()
    beneath: tuple[bytes, ...] = ()
    stale: tuple[bytes, ...] = ()
    undoes: str | None = None
    undone: bool = False
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def tag(self) -> str:
        """For the names of temporary files."""
        return self.id[-12:]


class Journal:
    """The operations of all workspaces, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, operation: Operation) -> None:
        """Makes it known, durably, before anything is done."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._write(self._folder / f"{operation.id}.pending", operation)

    def update(self, operation: Operation) -> None:
        """Stores what has become known of it."""
        for state in ("pending", "done"):
            path = self._folder / f"{operation.id}.{state}"
            if path.exists():
                self._write(path, operation)

    def finish(self, operation: Operation) -> None:
        """Makes it complete, and what it undoes undone."""
        if operation.undoes is not None:
            with suppress(KodaError):  # forgotten meanwhile
                undone = self.find(operation.undoes)
                undone.undone = True
                self.update(undone)
        with suppress(FileNotFoundError):
            os.replace(self._folder / f"{operation.id}.pending", self._folder / f"{operation.id}.done")

    def drop(self, operation: Operation) -> None:
        """Forgets an operation that was taken back."""
        for state in ("pending", "done"):
            (self._folder / f"{operation.id}.{state}").unlink(missing_ok=True)

    def find(self, operation_id: str) -> Operation:
        """A complete operation. Raises ``params.invalid``."""
        if operation_id and all(char.isalnum() or char == "-" for char in operation_id):
            found = self._read(self._folder / f"{operation_id}.done")
            if found is not None:
                return found
        raise KodaError("params.invalid", f"There is no operation {operation_id} to undo.", path="$.undoId")

    def pending(self, root: Path) -> list[Operation]:
        """What was cut off in a workspace, the newest first. Costs one look at a folder when there is nothing."""
        try:
            names = [name for name in os.listdir(self._folder) if name.endswith(".pending")]
        except FileNotFoundError:
            return []
        found = [self._read(self._folder / name) for name in sorted(names, reverse=True)]
        return [operation for operation in found if operation is not None and operation.root == str(root)]

    def forget_older(self, than: float) -> None:
        """Removes complete operations that were stored before a moment (seconds since 1970)."""
        with suppress(FileNotFoundError):
            for entry in list(os.scandir(self._folder)):
                if not entry.name.endswith(".pending") and entry.stat().st_mtime < than:
                    os.unlink(entry.path)

    def _write(self, path: Path, operation: Operation) -> None:
        new = path.with_suffix(".new")
        with open(new, "wb") as file:
            file.write(msgspec.msgpack.encode(operation))
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)

    def _read(self, path: Path) -> Operation | None:
        try:
            return msgspec.msgpack.decode(path.read_bytes(), type=Operation)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
