"""Faces: what the host knows of the clients attached to a session. A face may be an editor, a test or a program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from koda_daemon.coding.interfaces import Editor, OpenBuffer
from koda_daemon.host.events import ApprovalRequested

if TYPE_CHECKING:
    from koda_daemon.host.live import LiveSession
    from koda_daemon.host.turn import TurnOutcome


class ApprovalAnswer(Struct, frozen=True, kw_only=True):
    """One of the request's options; ``arguments`` replace those of the call when the user edited them."""

    option_id: str
    arguments: dict[str, Any] | None = None


class Client(Protocol):
    """A face. ``name`` tells others who answered."""

    @property
    def name(self) -> str: ...

    @property
    def editor(self) -> Editor | None:
        """The client's open documents, if it is an editor."""
        ...

    async def request_approval(self, request: ApprovalRequested) -> ApprovalAnswer | None:
        """Asks the user; None when nobody answered."""
        ...

    async def turn_started(self, live: LiveSession, turn_id: str) -> None:
        """For a progress display; ``live.turns.cancel`` is its button."""
        ...

    async def turn_ended(self, outcome: TurnOutcome) -> None: ...


class Editors:
    """The editors of all clients of a session as one (``coding.interfaces.Editor``). Of those that have a file open,
    one with unsaved text counts, else the first."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self._clients = clients

    def _each(self) -> list[Editor]:
        return [client.editor for client in self._clients if client.editor is not None]

    def _holder(self, path: Path) -> tuple[Editor, OpenBuffer] | None:
        found = [(editor, buffer) for editor in self._each() if (buffer := editor.buffer(path)) is not None]
        return next((one for one in found if one[1].dirty), found[0] if found else None)

    def buffer(self, path: Path) -> OpenBuffer | None:
        found = self._holder(path)
        return None if found is None else found[1]

    def buffers(self) -> Sequence[OpenBuffer]:
        found: dict[str, OpenBuffer] = {}
        for editor in self._each():
            for path, buffer in {buffer.path: buffer for buffer in editor.buffers()}.items():
                if path not in found or (buffer.dirty and not found[path].dirty):
                    found[path] = buffer
        return list(found.values())

    def can_edit(self, path: Path) -> bool:
        found = self._holder(path)
        return found is not None and found[0].can_edit(path)

    async def replace(self, buffer: OpenBuffer, text: str, label: str) -> OpenBuffer | None:
        path = Path(buffer.path)
        for editor in self._each():
            if editor.buffer(path) == buffer and editor.can_edit(path):
                return await editor.replace(buffer, text, label)
        return None
