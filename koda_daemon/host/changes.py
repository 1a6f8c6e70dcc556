"""What turns changed in the files of a session, and taking some of that back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from koda_daemon.base.errors import KodaError
from koda_daemon.coding.checkpoints import Change, Difference, display
from koda_daemon.coding.checkpoints_diff import without_hunk
from koda_daemon.coding.checkpoints_tree import Entry
from koda_daemon.host.changes_map import segments, turns_of
from koda_daemon.host.lease import writes
from koda_daemon.host.rewind import ChangedFile, changed_file, details_of, shown, whole

if TYPE_CHECKING:
    from koda_daemon.coding.checkpoints_journal import Operation
    from koda_daemon.host.changes_track import SessionFiles
    from koda_daemon.host.live import LiveSession
    from koda_daemon.session.nodes import TurnRecord


class Reverted(Struct, frozen=True, kw_only=True):
    """What was changed back; ``undo_id`` is for ``rewind.undo``."""

    files: tuple[ChangedFile, ...]
    undo_id: str


async def changes(live: LiveSession, turn_id: str | None = None) -> tuple[ChangedFile, ...]:
    """The files that a turn changed (one that runs: so far), or all turns of the head's path together.

    Raises ``turn.notFound``, and ``tool.failed`` when what a turn changed could not be recorded.
    """
    files = live.files
    path = live.session.tree.path_ids(live.session.head_id)
    turns = turns_of(live.session.tree, files.turns, path)
    chosen = turns if turn_id is None else [live.session.turn(turn_id)]
    if turn_id is not None and (state := chosen[0].files) is not None and state.failed is not None:
        raise KodaError("tool.failed", f"What this turn changed was not recorded: {state.failed}")
    found = await _changed_by(files, live, chosen)
    if not found.files:
        return ()
    later = [] if turn_id is None else _later(turns, turn_id)
    by_hand = set[bytes]()
    if live.turn is None:
        now = await files.now()
        by_hand = await files.changed_by_hand(now, later)
    diffs = await files.checkpoints.diffs(found.files)
    return tuple(
        changed_file(files, diff.change, diff.kind, diff.diff, diff.binary, diff.change.path in by_hand)
        for diff in diffs
    )


@writes
async def revert(live: LiveSession, turn_id: str, *, path: str | None = None, hunk: int | None = None) -> Reverted:
    """Takes back what a turn changed: all, one file, or one hunk of its diff (counted from 0). What was changed since
    stays, as far as the two can be told apart.

    Raises ``turn.notFound``, ``turn.busy``, ``params.invalid`` (no such file or hunk), ``edit.conflict``; then nothing
    has changed.
    """
    async with live.admission:
        live.need_idle()
        files, points = live.files, live.files.checkpoints
        turn = live.session.turn(turn_id)
        if hunk is not None and path is None:
            raise KodaError("params.invalid", "A hunk needs the path of its file.", path="$.path")
        now = await files.now()
        made = await _changed_by(files, live, [turn])
        path = path and _relative(points.root, path)
        chosen = [change for change in made.files if path is None or display(change.path) == path]
        if not chosen and (path is not None or not made):
            what = "That turn changed nothing." if path is None else f"That turn did not change {path}."
            raise KodaError("params.invalid", what, path="$.turnId" if path is None else "$.path")
        undone = [change.reverse for change in chosen]
        if hunk is not None:
            undone = [await _without_hunk(files, chosen[0], hunk)]
        present = await points.files(now, [change.path for change in undone])
        merged = await points.merged_changes(
            Difference(tuple(Change(one.path, one.old, present.get(one.path)) for one in undone)),
            Difference(tuple(undone)),
        )
        conflicts = [display(one.change.path) for one in merged if one.conflict]
        if conflicts:
            raise KodaError(
                "edit.conflict",
                f"{', '.join(conflicts[:5])} changed again since, in the same places. Nothing was changed.",
                user_action="Revert file by file, or edit by hand.",
                path=conflicts[0],
            )
        folders = made.reverse if path is None else Difference()
        wanted = Difference(tuple(one.change for one in merged), folders.folders_made, folders.folders_gone)
        plan = await points.plan(now, wanted)
        head = live.session.head_id

        async def store(done: Operation) -> None:
            done.seen = await seen_after(files, done, [change.path for change in wanted.files])
            await points.note(done)
            await live.session.set_checkpoint(done.seen)

        done = await whole(points.apply(plan, store, details=details_of(live, head)))
        return Reverted(files=await shown(files, plan.steps), undo_id=done.id)


async def seen_after(files: SessionFiles, done: Operation, paths: Sequence[bytes]) -> str:
    """What the session knows of the files after it changed some of them: what others did stays theirs, in files that it
    changed as well."""
    assert done.after is not None
    if files.known is None or files.known == done.before:
        return done.after
    by_hand = await files.changed_by_hand(done.before, ())
    own = [path for path in paths if path not in by_hand]
    entries = await files.checkpoints.files(done.after, own)
    return await files.checkpoints.with_files(files.known, {path: entries.get(path) for path in own})


async def _changed_by(files: SessionFiles, live: LiveSession, turns: Sequence[TurnRecord]) -> Difference:
    """What turns changed together, whatever happened between them."""
    pairs = segments(turns)
    running = live.turn.id if live.turn is not None else None
    if turns and turns[-1].turn_id == running:
        state = turns[-1].files
        if state is not None and state.before is not None and state.after is None:
            pairs = [*pairs, (state.before, await files.checkpoints.record())]
    elif turns and turns[-1].files is not None and turns[-1].files.after is None:
        await files.settle()
        now = files.turns
        pairs = segments([now[turn.turn_id] for turn in turns])
    found: dict[bytes, tuple[Entry | None, Entry | None]] = {}
    made, gone = set[bytes](), set[bytes]()
    for before, after in pairs:
        difference = await files.checkpoints.done_between(before, after)
        for change in difference.files:
            old = found[change.path][0] if change.path in found else change.old
            found[change.path] = old, change.new
        made = (made | set(difference.folders_made)) - set(difference.folders_gone)
        gone = (gone | set(difference.folders_gone)) - set(difference.folders_made)
    changed = [Change(path, old, new) for path, (old, new) in sorted(found.items()) if old != new]
    return Difference(tuple(changed), tuple(sorted(made)), tuple(sorted(gone)))


async def _without_hunk(files: SessionFiles, change: Change, hunk: int) -> Change:
    """What takes one hunk of a change back."""
    before, after = await files.checkpoints.read(change.old, change.new)
    data = without_hunk(before, after, hunk)
    if data is None or change.new is None:
        if change.new is None and hunk == 0:
            return change.reverse
        raise KodaError("params.invalid", f"The diff of {display(change.path)} has no hunk {hunk}.", path="$.hunk")
    if change.old is None and not data:
        return change.reverse
    new = Entry(change.new.mode, await files.checkpoints.store_content(data), change.new.bits)
    return Change(change.path, change.new, new)


def _relative(root: Path, path: str) -> str:
    """A path as ``koda/changes`` has it; it may come as ``./name`` or absolute."""
    return Path(os.path.relpath(Path(root, path), root)).as_posix()


def _later(turns: Sequence[TurnRecord], turn_id: str) -> list[TurnRecord]:
    ids = [turn.turn_id for turn in turns]
    return list(turns[ids.index(turn_id) + 1 :]) if turn_id in ids else []
