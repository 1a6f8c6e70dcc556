"""The open documents of one folder: what is unsaved in them, and changing them all or none."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from koda_daemon.base.errors import KodaError
from koda_daemon.coding.checkpoints_tree import display
from koda_daemon.coding.interfaces import Editor, OpenBuffer
from koda_daemon.coding.text import with_newline
from koda_daemon.coding.workspace_paths import is_within
from koda_daemon.coding.workspace_text import FileText, encoded, load

LABEL = "koda: rewind"


class Documents:
    """``root`` is resolved. Paths are relative to it, as checkpoints have them."""

    def __init__(self, editor: Editor | None, root: Path) -> None:
        self._editor = editor
        self._root = root

    def open(self) -> dict[bytes, OpenBuffer]:
        if self._editor is None:
            return {}
        inside = [buffer for buffer in self._editor.buffers() if is_within(Path(buffer.path), self._root)]
        return {os.fsencode(Path(buffer.path).relative_to(self._root).as_posix()): buffer for buffer in inside}

    def can_edit(self, buffer: OpenBuffer) -> bool:
        """Whether its editor takes edits from here."""
        return self._editor is not None and self._editor.can_edit(Path(buffer.path))

    async def replace(self, texts: Mapping[bytes, tuple[OpenBuffer, str]]) -> Replaced:
        """Makes documents read what is given for them. Raises ``edit.conflict`` when one has moved on or its editor
        refuses; then those that were changed read as before."""
        assert self._editor is not None or not texts
        replaced = Replaced()
        for path, (buffer, text) in texts.items():
            assert self._editor is not None
            now = await self._editor.replace(buffer, text, LABEL)
            if now is None:
                await self.put_back(replaced)
                name = display(path)
                message = f"{name} changed in the editor meanwhile, or the editor refused. Nothing was changed."
                raise KodaError("edit.conflict", message, retryable=True, path=name)
            replaced[path] = now, buffer.text
        return replaced

    async def put_back(self, replaced: Replaced) -> None:
        """Takes ``replace`` back, as far as nobody has typed since."""
        for buffer, text in replaced.values():
            assert self._editor is not None
            await self._editor.replace(buffer, text, LABEL)


class Replaced(dict[bytes, tuple[OpenBuffer, str]]):
    """Documents as they are after they were changed, with the texts that they had."""

    @property
    def clean(self) -> set[bytes]:
        """Those that read as they were last opened or saved, so that their files are what counts."""
        return {path for path, (buffer, _) in self.items() if not buffer.dirty}


def unsaved_bytes(buffers: Iterable[tuple[bytes, OpenBuffer]]) -> dict[bytes, bytes]:
    """The bytes that saving documents would write. Blocking."""
    return {path: _saving(buffer) for path, buffer in buffers}


def _saving(buffer: OpenBuffer) -> bytes:
    try:
        return encoded(buffer.text, _file(buffer), buffer.path, may_change=True)[0]
    except UnicodeEncodeError:  # half of a surrogate pair: no file can hold it
        return buffer.text.encode("utf-8", "replace")


def is_saved(buffer: OpenBuffer, text: str | None = None) -> bool:
    """Whether the file of a document reads as a text, by default the document's own. Blocking."""
    file = _file(buffer)
    return file is not None and same_text(file.text, buffer.text if text is None else text)


def same_text(one: str, other: str) -> bool:
    """Whether texts are the same but for their line ends, which are the editor's."""
    return with_newline(one, "\n") == with_newline(other, "\n")


def _file(buffer: OpenBuffer) -> FileText | None:
    try:
        found = load(Path(buffer.path))
    except (KodaError, OSError):
        return None
    return found if isinstance(found, FileText) else None
