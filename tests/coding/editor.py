"""An editor in memory: open documents with versions, which can take edits or refuse them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from koda_daemon.coding.interfaces import OpenBuffer


class MemoryEditor:
    """``before_replace`` runs in the middle of an edit, as a user who types does."""

    def __init__(self, *, can_edit: bool = True) -> None:
        self.documents: dict[Path, OpenBuffer] = {}
        self.labels: list[str] = []
        self.refuses = False
        self.before_replace: Callable[[], None] = lambda: None
        self._can_edit = can_edit

    def open(self, path: Path, text: str, *, dirty: bool = False) -> None:
        saved = None if dirty else text
        self.documents[path] = OpenBuffer(
            path=str(path), uri=path.as_uri(), version=1, text=text, dirty=dirty, saved=saved
        )

    def type(self, path: Path, text: str) -> None:
        old = self.documents[path]
        dirty = text != old.saved
        self.documents[path] = msgspec.structs.replace(old, text=text, version=old.version + 1, dirty=dirty)

    def buffer(self, path: Path) -> OpenBuffer | None:
        return self.documents.get(path)

    def buffers(self) -> Sequence[OpenBuffer]:
        return list(self.documents.values())

    def can_edit(self, path: Path) -> bool:
        return self._can_edit

    async def replace(self, buffer: OpenBuffer, text: str, label: str) -> OpenBuffer | None:
        self.before_replace()
        path = Path(buffer.path)
        if self.refuses or self.documents[path].version != buffer.version:
            return None
        self.labels.append(label)
        self.type(path, text)
        return self.documents[path]
