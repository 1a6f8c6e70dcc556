"""What has to be done to files and open documents to make one state of a workspace another, and what is in the way."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from koda_daemon.base.errors import KodaError
from koda_daemon.coding.checkpoints_documents import Documents, is_saved, same_text
from koda_daemon.coding.checkpoints_git import Blobs
from koda_daemon.coding.checkpoints_tree import Change, Difference, covered, display, parents
from koda_daemon.coding.interfaces import OpenBuffer
from koda_daemon.coding.text import decode

Conflicts = Literal["refuse", "keep", "overwrite"]


class Step(Struct, frozen=True, kw_only=True):
    """What is done to one file. ``buffer``: an editor holds it open, so the text changes there and the file does not.

    ``conflict`` says why it would lose something. ``hard``: not even ``overwrite`` does it.
    """

    change: Change
    buffer: OpenBuffer | None = None
    text: str | None = None
    conflict: str | None = None
    hard: bool = False


class Plan(Struct, frozen=True, kw_only=True):
    """What turns the present state ``now`` into a wanted one. Good as long as nothing changes."""

    now: str
    wanted: Difference
    steps: tuple[Step, ...]
    open: dict[bytes, OpenBuffer]
    """The documents that were open when it was made."""
    beneath: dict[bytes, Change]
    """What is to be done to files whose unsaved text in an editor is what counts."""
    undoes: str | None = None
    """The operation that is taken back."""

    @property
    def conflicts(self) -> list[Step]:
        return [step for step in self.steps if step.conflict is not None]

    def chosen(self, conflicts: Conflicts) -> list[Step]:
        """The steps to be done. Raises ``edit.conflict`` when there are conflicts to refuse."""
        refused = [step for step in self.conflicts if conflicts == "refuse" or (conflicts == "overwrite" and step.hard)]
        if refused:
            names = ", ".join(display(step.change.path) for step in refused[:5])
            more = f" and {len(refused) - 5} more" if len(refused) > 5 else ""
            raise KodaError(
                "edit.conflict",
                f"{names}{more}: {refused[0].conflict}. Nothing was changed.",
                user_action="Look at the preview, then choose: keep these files as they are, or overwrite them.",
                path=display(refused[0].change.path),
            )
        return [step for step in self.steps if step.conflict is None or conflicts == "overwrite"]


def step_of(
    change: Change,
    blocked: Mapping[bytes, bool],
    by_hand: Collection[bytes],
    buffer: OpenBuffer | None,
    documents: Documents,
    blobs: Blobs,
) -> Step:
    """How to make one change. ``blocked`` are obstacles on disk. Blocking."""
    conflict = "it was changed by hand" if change.path in by_hand else None
    if change.path in blocked:
        return Step(
            change=change,
            conflict="something that is not recorded is in its place",
            hard=not blocked[change.path],
        )
    if buffer is None:
        return Step(change=change, conflict=conflict)
    can_edit = documents.can_edit(buffer)
    if buffer.dirty and not can_edit:
        return Step(
            change=change, conflict="it has unsaved changes in an editor that takes no edits from here", hard=True
        )
    if change.new is None or change.new.symlink or not can_edit or not (buffer.dirty or is_saved(buffer)):
        return Step(change=change, conflict=conflict)
    text = decode(blobs.get(change.new.blob))
    if text is None:
        return Step(change=change, conflict=conflict)
    if conflict is None and buffer.saved is not None and same_text(text.text, buffer.saved):
        # It will read as it was saved, which the file no longer does if somebody has written it since.
        conflict = None if is_saved(buffer, text.text) else "its file was changed below unsaved text"
    return Step(change=change, buffer=buffer, text=text.text, conflict=conflict)


def kept_together(steps: Sequence[Step]) -> list[Step]:
    """The steps, with a conflict as well where another's conflict is in the way: a file cannot come where a folder
    stays that somebody has put a file into, nor below a file that stays."""
    staying = {step.change.path for step in steps if step.conflict is not None and step.change.new is None}
    folders = covered(staying)
    return [
        msgspec.structs.replace(step, conflict="what is in its place was changed by hand")
        if step.conflict is None
        and step.change.old is None
        and (step.change.path in folders or not staying.isdisjoint(parents(step.change.path)))
        else step
        for step in steps
    ]
