"""The editor's open buffers as the coding floor sees them (``coding.interfaces.Editor``), over the LSP tier."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from koda_daemon.base.errors import KodaError
from koda_daemon.coding.interfaces import OpenBuffer
from koda_daemon.server.language.edits import TextEdit, text_edits
from koda_daemon.server.language.uris import same_file

if TYPE_CHECKING:
    from koda_daemon.server.language.documents import Document
    from koda_daemon.server.language.tier import LanguageTier

logger = logging.getLogger(__name__)

_SMALL = 50_000
"""Characters up to which texts are compared on the loop (a few ms at worst); longer ones in a worker thread."""


class LspEditor:
    """One client's open documents."""

    def __init__(self, tier: LanguageTier, *, answer_timeout: float = 120.0, change_timeout: float = 5.0) -> None:
        """``answer_timeout``: seconds for ``workspace/applyEdit``, which Emacs answers only after asking its user.
        ``change_timeout``: seconds for the change that follows; Emacs and Neovim send it up to half a second later."""
        self._tier = tier
        self._answer_timeout = answer_timeout
        self._change_timeout = change_timeout
        self._replacing: dict[str, anyio.Lock] = {}
        self._comparing: set[asyncio.Task[None]] = set()
        tier.documents.on_open = self._opened

    def _opened(self, document: Document) -> None:
        task = asyncio.get_running_loop().create_task(_compare(document))
        self._comparing.add(task)
        task.add_done_callback(self._comparing.discard)

    async def compared(self) -> None:
        """Returns when every document that was opened so far has been compared with its file."""
        while self._comparing:
            await asyncio.wait(set(self._comparing))

    def buffer(self, path: Path) -> OpenBuffer | None:
        """The open document for a resolved path, or None; of two for one file, the one opened last."""
        wanted = str(path)
        for document in reversed(self._tier.documents.all()):
            if document.resolved is not None and same_file(document.resolved, wanted):
                return _open_buffer(document)
        return None

    def buffers(self) -> Sequence[OpenBuffer]:
        """Every open document that is a file."""
        return [_open_buffer(document) for document in self._tier.documents.all() if document.resolved is not None]

    def can_edit(self, path: Path) -> bool:
        """Whether the document is open in a client that takes ``workspace/applyEdit``."""
        return self._tier.support.apply_edit and self.buffer(path) is not None

    async def replace(self, buffer: OpenBuffer, text: str, label: str) -> OpenBuffer | None:
        """Makes the open document read ``text`` by one ``workspace/applyEdit``, which editors make one undo step.

        Returns the document as it is once the client's own change notification has brought it to ``text`` (line ends
        and a last line end may be the editor's). None when it was not: not open, a newer version, refused, no answer
        in time. Edits of one document wait for each other.
        """
        async with self._replacing.setdefault(buffer.uri, anyio.Lock()):
            document = self._current(buffer)
            if document is None or not self._tier.support.apply_edit or not _can_be_sent(text):
                return None
            if text == document.text:
                return _open_buffer(document)
            edits = await _edits(document, text)
            if self._current(buffer) is not document:
                return None
            return await self._apply(document, edits, text, label)

    def _current(self, buffer: OpenBuffer) -> Document | None:
        document = self._tier.documents.find(buffer.uri)
        if document is None or document.version != buffer.version or document.text != buffer.text:
            return None
        return document

    async def _apply(self, document: Document, edits: list[TextEdit], text: str, label: str) -> OpenBuffer | None:
        reached = anyio.Event()

        def look(changed: Document) -> None:
            # The user may type on at once: what counts is that the text was there for a moment.
            if changed is document and _reads(document.text, text):
                reached.set()

        stop = self._tier.documents.listen(look)
        try:
            params = _edit_params(document, edits, label, self._tier)
            result = await self._tier.request("workspace/applyEdit", params, self._answer_timeout)
            if not result.applied:
                logger.info("the editor refused an edit: %s", result.failure_reason)
                return None
            with anyio.fail_after(self._change_timeout):
                await reached.wait()
        except (KodaError, TimeoutError) as error:
            logger.info("an edit was not confirmed: %s", type(error).__name__)
            return None
        finally:
            stop()
        return _open_buffer(document) if self._tier.documents.find(document.uri) is document else None


async def _compare(document: Document) -> None:
    """Finds out whether a document was opened as its file is. Editors also open what they have not saved: restored
    sessions, buffers that were changed before their language server started. Until it is known the buffer counts as
    unsaved, so what the user sees wins."""
    from koda_daemon.coding.workspace import Workspace

    if document.resolved is None:
        return
    text, path = document.text, Path(document.resolved)
    try:
        file = await Workspace(path.parent).read_text(path)
    except KodaError:
        return  # none, or no text: whatever the editor shows is not saved
    if document.saved is None and _unix(file.text) == _unix(text):
        document.saved = text


def _can_be_sent(text: str) -> bool:
    """Whether a text is one: half a surrogate pair cannot be written as UTF-8."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


async def _edits(document: Document, text: str) -> list[TextEdit]:
    if len(document.text) + len(text) <= _SMALL:
        return text_edits(document.text, text, document.encoding)
    return await anyio.to_thread.run_sync(text_edits, document.text, text, document.encoding)


def _edit_params(document: Document, edits: list[TextEdit], label: str, tier: LanguageTier) -> Any:
    from lsprotocol import types

    label = label if label.startswith("koda") else f"koda: {label}"
    annotated = tier.support.annotations and tier.support.versioned_edits
    changes: list[Any] = []
    for edit in edits:
        start, end = edit.range.start, edit.range.end
        place = types.Range(types.Position(start.line, start.character), types.Position(end.line, end.character))
        if annotated:
            changes.append(types.AnnotatedTextEdit(annotation_id="koda", range=place, new_text=edit.text))
        else:
            changes.append(types.TextEdit(range=place, new_text=edit.text))
    if tier.support.versioned_edits:
        identifier = types.OptionalVersionedTextDocumentIdentifier(uri=document.uri, version=document.version)
        annotations = {"koda": types.ChangeAnnotation(label=label, needs_confirmation=False)} if annotated else None
        workspace_edit = types.WorkspaceEdit(
            document_changes=[types.TextDocumentEdit(text_document=identifier, edits=changes)],
            change_annotations=annotations,
        )
    else:
        workspace_edit = types.WorkspaceEdit(changes={document.uri: changes})
    return types.ApplyWorkspaceEditParams(edit=workspace_edit, label=label)


def _open_buffer(document: Document) -> OpenBuffer:
    return OpenBuffer(
        path=document.resolved or document.uri,
        uri=document.uri,
        version=document.version,
        text=document.text,
        dirty=document.text != document.saved,
        saved=document.saved,
    )


def _reads(text: str, wanted: str) -> bool:
    """Whether a text is the wanted one but for what editors decide: a buffer's line ends, and one at the very end."""
    if text == wanted:
        return True
    if abs((len(text) - text.count("\r\n")) - (len(wanted) - wanted.count("\r\n"))) > 1:
        return False  # cheap: this runs after each change of a text
    return _unix(text).removesuffix("\n") == _unix(wanted).removesuffix("\n")


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
