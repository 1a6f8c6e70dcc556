"""What the coding floor needs from floors above it: they provide, it declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct


class OpenBuffer(Struct, frozen=True):
    """The text of a document that an editor holds open. ``text`` has the editor's own line ends."""

    path: str
    uri: str
    version: int
    text: str
    dirty: bool
    """False while the text equals what the editor last opened or saved."""
    saved: str | None = None
    """That text, as far as it is known."""


class Editor(Protocol):
    """The editors attached to a session, as one."""

    def buffer(self, path: Path) -> OpenBuffer | None:
        """The open document for a resolved path, or None."""

    def buffers(self) -> Sequence[OpenBuffer]:
        """Every open document."""

    def can_edit(self, path: Path) -> bool:
        """Whether the client that holds the document open can apply workspace edits."""

    async def replace(self, buffer: OpenBuffer, text: str, label: str) -> OpenBuffer | None:
        """Makes the open document read ``text`` as one undo step; None when its version has moved on or the editor
        refused. Never writes the file."""


class ExecutionResult(Struct, frozen=True, kw_only=True):
    """How a process ended. ``exit_code`` is None when it was killed (``timed_out`` says by whom)."""

    exit_code: int | None
    timed_out: bool = False
    signal: int | None = None


class Executor(Protocol):
    """Runs processes for tools: the only way a tool starts one. Provided by ``mom.Sandbox``."""

    async def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        on_output: Callable[[bytes], None],
        writable: bool = True,
    ) -> ExecutionResult:
        """Runs ``argv`` in a process group of its own with no input; stdout and stderr arrive in order, together.

        The whole tree of processes is gone when this returns or is cancelled. ``env`` is added to a cleaned
        environment. Raises ``KodaError`` ``sandbox.unavailable`` or ``tool.failed`` when it cannot start.
        """

    @property
    def isolated(self) -> bool:
        """Whether commands are really confined (``auto`` mode runs them unasked only then)."""
