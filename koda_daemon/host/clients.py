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
    """The editors of all clients of a session as one (``coding.interfaces.Editor``); the first that has it wins."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self._clients = clients

    def _each(self) -> list[Editor]:
        return [client.editor for client in self._clients if client.editor is not None]

    def buffer(self, path: Path) -> OpenBuffer | None:
        for editor in self._each():
            found = editor.buffer(path)
            if found is not None:
                return found
        return None

    def buffers(self) -> Sequence[OpenBuffer]:
        return [buffer for editor in self._each() for buffer in editor.buffers()]

    def can_edit(self, path: Path) -> bool:
        return any(editor.buffer(path) is not None and editor.can_edit(path) for editor in self._each())

    async def replace(self, buffer: OpenBuffer, text: str, label: str) -> OpenBuffer | None:
        for editor in self._each():
            if editor.buffer(Path(buffer.path)) is not None and editor.can_edit(Path(buffer.path)):
                return await editor.replace(buffer, text, label)
        return None
