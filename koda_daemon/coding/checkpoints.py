"""Checkpoints: what the files of a workspace were at a moment, and bringing that back.

A checkpoint is the workspace as its user sees it: the files on disk, and for files that an editor holds open with
unsaved changes the text in the editor. It is kept in a repository of Koda's own (``checkpoints_git``); the user's is
not touched and not needed. What git would ignore is not recorded and never changed.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from anyio import CancelScope

from koda_daemon.base.errors import KodaError
from koda_daemon.base.ids import new_id
from koda_daemon.coding.checkpoints_build import unfold, with_files
from koda_daemon.coding.checkpoints_diff import FileDiff, difference, file_diffs, files_of, meta_of
from koda_daemon.coding.checkpoints_documents import Documents, unsaved_bytes
from koda_daemon.coding.checkpoints_git import Blobs, Repository
from koda_daemon.coding.checkpoints_ignore import ignored_then
from koda_daemon.coding.checkpoints_journal import Operation
from koda_daemon.coding.checkpoints_merge import Merged, merge
from koda_daemon.coding.checkpoints_plan import Conflicts, Plan, Step, kept_together, step_of
from koda_daemon.coding.checkpoints_restore import apply, holds, obstacles, read_file, recover
from koda_daemon.coding.checkpoints_store import CheckpointStore, Folder
from koda_daemon.coding.checkpoints_tree import Change, Difference, Entry, covered, display
from koda_daemon.coding.interfaces import Editor

__all__ = [
    "Change",
    "CheckpointStore",
    "Checkpoints",
    "Conflicts",
    "Difference",
    "Entry",
    "FileDiff",
    "Plan",
    "Step",
    "display",
]

Commit: TypeAlias = Callable[[Operation], Awaitable[object]]


class Checkpoints:
    """The states of one workspace folder, with the editors of one session. Failures are ``KodaError``: ``tool.failed``
    where nothing can be recorded at all, ``internal`` when it goes wrong."""

    def __init__(
        self, store: CheckpointStore, root: Path, editor: Editor | None = None, *, main: Path | None = None
    ) -> None:
        """``root`` is resolved. ``main`` is the workspace that a branch's folder belongs to."""
        self.store = store
        self.root = root
        self.main = main or root
        self._documents = Documents(editor, root)
        self._bytes = os.fsencode(root)

    @property
    def folder(self) -> Folder:
        return self.store.folder(self.root, self.main)

    # Looking

    async def record(self) -> str:
        """The name of the present state."""
        async with self.folder.exclusive() as lock:
            return await self._record(lock)

    async def difference(self, a: str, b: str) -> Difference:
        """What turns one state into another. Raises ``tool.failed`` when one is no longer kept."""
        if a == b:
            return Difference()
        return await self.folder.work(lambda git: difference(git, a, b))

    async def way_to(self, now: str, state: str, own: Collection[bytes] = ()) -> Difference:
        """What makes the present state another. What that other knows nothing of, because it was ignored or too large
        then, stays: only files in ``own`` go all the same. Raises as ``difference``."""
        return await self._without_unknown(await self.difference(now, state), state, own)

    async def done_between(self, a: str, b: str) -> Difference:
        """What was done between two states. A file that only came into sight (it was ignored or too large before) was
        not created. Raises as ``difference``."""
        return (await self._without_unknown((await self.difference(a, b)).reverse, a)).reverse

    async def _without_unknown(self, found: Difference, state: str, own: Collection[bytes] = ()) -> Difference:
        """A difference that leads to a state, without deletions of what the state knows nothing of."""
        gone = {change.path for change in found.files if change.new is None} - set(own)
        if not gone:
            return found

        def look(git: Repository) -> set[bytes]:
            unknown = gone.intersection(meta_of(git, state).left_out)
            return unknown | ignored_then(git, state, gone - unknown, self.folder.view)

        unknown = await self.folder.work(look)
        files = tuple(change for change in found.files if change.path not in unknown)
        return msgspec.structs.replace(found, files=files) if unknown else found

    async def diffs(self, changes: Sequence[Change]) -> list[FileDiff]:
        """Diffs of changes for people, bounded."""
        return await self.folder.work(lambda git: file_diffs(git, changes)) if changes else []

    async def left_out(self, state: str) -> list[str]:
        """Files that a state does not hold: too large, or not to be read."""
        meta = await self.folder.work(lambda git: meta_of(git, state))
        return [display(path) for path in meta.left_out]

    async def files(self, state: str, paths: Collection[bytes]) -> dict[bytes, Entry]:
        """Some files of a state."""
        return await self.folder.work(lambda git: files_of(git, state, paths)) if paths else {}

    async def read(self, *entries: Entry | None) -> list[bytes]:
        """The contents of files; empty for None."""

        def read_all(git: Repository) -> list[bytes]:
            with Blobs(git) as blobs:
                return [b"" if entry is None else blobs.get(entry.blob) for entry in entries]

        return await self.folder.work(read_all)

    async def store_content(self, data: bytes) -> str:
        """Keeps a content for a change to come; its name."""
        return await self.folder.work(lambda git: git.write_object("blob", data))

    async def with_files(self, state: str, files: Mapping[bytes, Entry | None]) -> str:
        """A state with some files replaced (None: taken out)."""
        return await self.folder.work(lambda git: with_files(git, state, files)) if files else state

    async def unfold(self, state: str) -> None:
        """Writes a state into this (new and empty) folder."""
        async with self.folder.exclusive() as lock:
            await self.folder.work(lambda git: unfold(git, state, self.folder.view, lock))

    async def back(self, now: str, operation: Operation) -> Difference:
        """What takes an operation back. Raises ``tool.failed`` when its state is no longer kept."""
        made = {change.path for change in operation.changes if change.old is None}
        found = await self.way_to(now, operation.before, made)
        if not operation.saved:
            return found
        changes = {change.path: change for change in found.files}
        put = {change.path: change.new for change in operation.changes}
        for saved in operation.saved:
            present = changes[saved.path].old if saved.path in changes else put.get(saved.path)
            changes[saved.path] = Change(saved.path, present, saved.new)
        return Difference(tuple(changes.values()), found.folders_made, found.folders_gone)

    async def merged(self, base: str, ours: str, theirs: str) -> list[Merged]:
        """What brings the changes from ``base`` to ``theirs`` into ``ours``."""

        return await self.merged_changes(await self.difference(base, ours), await self.way_to(base, theirs))

    async def merged_changes(self, ours: Difference, theirs: Difference) -> list[Merged]:
        """What brings their changes to ours; both begin at the same state."""
        return await self.folder.work(lambda git: merge(git, ours, theirs))

    # Changing

    async def plan(
        self, now: str, wanted: Difference, by_hand: Collection[bytes] = (), *, undone: Operation | None = None
    ) -> Plan:
        """What has to be done to make the present state ``now`` what is ``wanted``. ``by_hand`` are files whose
        present content is nobody's to overwrite silently. ``undone`` is the operation that is taken back by it."""
        opened = self._documents.open()

        below = set() if undone is None else set(undone.beneath) & opened.keys()
        beneath = {} if undone is None else {one.path: one.reverse for one in undone.changes if one.path in below}
        behind = (
            set() if undone is None else {path for path in undone.stale if path in opened and not opened[path].dirty}
        )

        def look(git: Repository) -> list[Step]:
            blocked = obstacles(self._bytes, wanted.files)
            # What is there already, only not recorded, is in nobody's way: it was ignored meanwhile.
            there = {
                one.path for one in wanted.files if blocked.get(one.path) and holds(self._bytes, one.path, one.new)
            }
            with Blobs(git) as blobs:
                documents = {path: buffer for path, buffer in opened.items() if path not in behind}
                return [
                    step_of(one, blocked, by_hand, documents.get(one.path), self._documents, blobs)
                    for one in wanted.files
                    if one.path not in there
                ]

        steps = tuple(kept_together(await self.folder.work(look)))
        undoes = None if undone is None else undone.id
        return Plan(now=now, wanted=wanted, steps=steps, open=opened, beneath=beneath, undoes=undoes)

    async def apply(
        self, plan: Plan, commit: Commit, *, conflicts: Conflicts = "refuse", details: dict[str, Any] | None = None
    ) -> Operation:
        """Does it: the open documents, then the files, then ``commit`` (which stores what belongs to it). All of that
        or nothing: when a part fails, the rest is taken back and its error raised.

        ``details`` are kept with the operation. Raises ``edit.conflict`` when there are conflicts to refuse, and when
        something changed since ``plan`` was made.
        """
        steps = plan.chosen(conflicts)
        texts = {
            step.change.path: (step.buffer, step.text)
            for step in steps
            if step.buffer is not None and step.text is not None
        }
        replaced = await self._documents.replace(texts)
        try:
            operation, wanted = await self.folder.work(
                lambda git: self._prepare(git, plan, steps, replaced.clean, details or {})
            )
            async with self.folder.exclusive() as lock:
                await self._change(operation, wanted)
                try:
                    operation.after = operation.seen = await self._record(lock)
                    kept = {step.change.path: step.change.new for step in plan.steps if step not in steps}
                    operation.seen = await self.with_files(operation.after, kept)
                    await self.note(operation)
                    await commit(operation)
                except BaseException:
                    with CancelScope(shield=True):
                        await self.folder.work(lambda git: self._take_back(git, operation))
                    raise
        except BaseException:
            with CancelScope(shield=True):
                await self._documents.put_back(replaced)
            raise
        await self.folder.work(lambda _: self._finished(operation))
        return operation

    async def note(self, operation: Operation) -> None:
        """For ``commit``: stores what it has changed in an operation, before what it is about to store."""
        await self.folder.work(lambda _: self.store.journal.update(operation))

    async def recover(self, is_done: Callable[[Operation], Awaitable[bool]]) -> list[Operation]:
        """Ends what a killed daemon left half done in this folder: what ``is_done`` says was stored is complete, the
        rest is taken back. Gives what was taken back."""
        if not await self.folder.work(lambda _: self.store.journal.pending(self.root)):
            return []
        taken_back: list[Operation] = []
        async with self.folder.exclusive():
            for operation in await self.folder.work(lambda _: self.store.journal.pending(self.root)):
                if await is_done(operation):
                    await self.folder.work(lambda _, one=operation: self._finished(one))  # type: ignore[misc]
                else:
                    await self.folder.work(lambda git, one=operation: self._take_back(git, one))  # type: ignore[misc]
                    taken_back.append(operation)
        return taken_back

    # Inside

    async def _record(self, lock: int) -> str:
        unsaved = [(path, buffer) for path, buffer in self._documents.open().items() if buffer.dirty]
        folder = self.folder
        state = await folder.work(lambda git: folder.recorder(git).record(unsaved_bytes(unsaved), lock))
        folder.busy()
        return state

    def _prepare(
        self, git: Repository, plan: Plan, steps: Sequence[Step], clean: set[bytes], details: dict[str, Any]
    ) -> tuple[Operation, Difference]:
        """What is done on disk, with everything that gives way stored. ``clean`` are documents that read now as they
        were last saved: their files have to read so too. In a worker thread."""
        chosen = {step.change.path for step in steps}
        left = {step.change.path for step in plan.steps} - chosen
        changes = {change.path: change for change in self._beneath(git, plan) if change.path not in left}
        saved: list[Change] = []
        beneath, stale = set(changes), set[bytes]()
        for step in steps:
            change = step.change
            if step.buffer is not None:
                if change.path in clean:
                    beneath.add(change.path)
                    changes[change.path] = self._saved_change(git, step)
                elif change.path not in changes and (only_mode := self._mode_change(git, change)) is not None:
                    changes[change.path] = only_mode
                continue
            buffer = plan.open.get(change.path)
            dirty = buffer is not None and buffer.dirty
            if buffer is not None:
                (beneath if dirty else stale).add(change.path)
            if step.conflict is not None or dirty:
                present = self._present(git, change.path)
                if change.old is None and present is not None:
                    saved.append(Change(change.path, None, present))
                change = Change(change.path, present, change.new)
            changes[change.path] = change
        whole = len(chosen) == len(plan.steps)
        wanted = Difference(
            tuple(change for change in changes.values() if change.old != change.new),
            plan.wanted.folders_made,
            plan.wanted.folders_gone if whole else (),
        )
        operation = Operation(
            id=new_id(),
            root=str(self.root),
            main=str(self.main),
            before=plan.now,
            changes=wanted.files,
            saved=tuple(saved),
            undoes=plan.undoes,
            beneath=tuple(sorted(beneath)),
            stale=tuple(sorted(stale)),
            details=details,
        )
        return operation, wanted

    def _beneath(self, git: Repository, plan: Plan) -> list[Change]:
        """What comes back below unsaved text, of files that are still as they were left."""
        in_files = {step.change.path for step in plan.steps if step.buffer is None}
        found: list[Change] = []
        for path, change in plan.beneath.items():
            if path not in in_files and holds(self._bytes, path, change.old):
                present = self._present(git, path)
                found.append(Change(path, present, change.new))
        return found

    def _saved_change(self, git: Repository, step: Step) -> Change:
        """What makes a file what its document reads now, which its editor takes for saved."""
        change = step.change
        present = self._present(git, change.path)
        differs = present is not None and change.new is not None and present.blob != change.new.blob
        if differs and step.conflict is None:
            name = display(change.path)
            raise KodaError("edit.conflict", f"{name} changed on disk meanwhile. Nothing was changed.", path=name)
        return Change(change.path, present, change.new)

    def _present(self, git: Repository, path: bytes) -> Entry | None:
        """A file as it is on disk, stored. A folder is none: what is in it has changes of its own."""
        try:
            data, entry = read_file(self._bytes, path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        git.write_object("blob", data)
        return entry

    def _mode_change(self, git: Repository, change: Change) -> Change | None:
        """What is left to do on disk for a file whose text changes in an editor: its permission bits."""
        if change.new is None or change.old is None or change.old.bits == change.new.bits:
            return None
        present = self._present(git, change.path)
        if present is None or present.symlink:
            return None
        return Change(change.path, present, msgspec.structs.replace(change.new, blob=present.blob))

    async def _change(self, operation: Operation, wanted: Difference) -> None:
        if not wanted:
            return
        keep = covered(wanted.folders_made)

        def run(git: Repository) -> None:
            self.store.journal.begin(operation)
            with Blobs(git) as blobs:
                try:
                    apply(self._bytes, wanted, blobs.get, operation.tag, keep)
                except BaseException:
                    self.store.journal.drop(operation)
                    raise

        await self.folder.work(run)

    def _take_back(self, git: Repository, operation: Operation) -> None:
        with Blobs(git) as blobs:
            recover(self._bytes, operation.changes, blobs.get, operation.tag)
        self.store.journal.drop(operation)

    def _finished(self, operation: Operation) -> None:
        """Complete: from now on it can be undone."""
        for state in (operation.before, operation.after):
            if state is not None:
                self.store.repository(self.main).keep(state)
        self.store.journal.begin(operation)
        self.store.journal.finish(operation)
