"""Rewinding: the conversation, the files and the open documents back to a node, as one operation that can be undone.

What somebody else than the session changed in files since that node is never overwritten silently: it is a conflict,
and whoever asks chooses.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import anyio
from msgspec import Struct

from koda_daemon.base.errors import KodaError
from koda_daemon.coding.checkpoints import Change, Conflicts, Difference, Plan, Step, display
from koda_daemon.host.changes_beside import changed_beside
from koda_daemon.host.changes_map import leaving, turns_of
from koda_daemon.host.events import BranchCreated, HeadMoved
from koda_daemon.host.lease import writes
from koda_daemon.session.nodes import Branch, TreeNode

if TYPE_CHECKING:
    from koda_daemon.coding.checkpoints_journal import Operation
    from koda_daemon.host.changes_track import SessionFiles
    from koda_daemon.host.host import Host
    from koda_daemon.host.live import LiveSession

T = TypeVar("T")


class ChangedFile(Struct, frozen=True, kw_only=True):
    """One file that changed, or would change; fields as in ``koda/changes``."""

    path: str
    uri: str
    change: Literal["created", "modified", "deleted"]
    diff: str
    binary: bool = False
    buffer: bool = False
    conflict: bool = False


class Preview(Struct, frozen=True, kw_only=True):
    """What a rewind would do. ``left_out`` are files that are not recorded and stay as they are."""

    files: tuple[ChangedFile, ...]
    nodes: tuple[TreeNode, ...]
    left_out: tuple[str, ...] = ()


async def preview(live: LiveSession, to_id: str | None) -> Preview:
    """What ``apply`` would do; changes nothing. Raises ``node.notFound``."""
    plan = await _plan(live, to_id)
    tree = live.session.tree
    return Preview(
        files=await shown(live.files, plan.steps),
        nodes=tuple(tree[node_id] for node_id in leaving(tree, live.session.head_id, to_id)),
        left_out=tuple(await live.files.checkpoints.left_out(plan.now)),
    )


@writes
async def apply(live: LiveSession, to_id: str | None, *, conflicts: Conflicts = "refuse") -> str:
    """Rewinds; gives the id for ``undo``. Raises ``node.notFound``, ``turn.busy``, ``edit.conflict``; then nothing has
    changed."""
    async with live.admission:
        return await bring_back(live, to_id, conflicts=conflicts)


async def session_of(host: Host, undo_id: str) -> LiveSession:
    """The session of an operation. Raises ``params.invalid`` for an id that is none (any more)."""
    operation = await asyncio.to_thread(host.checkpoints.journal.find, undo_id)
    return await host.session(str(operation.details.get("sessionId")))


@writes
async def undo(live: LiveSession, undo_id: str, *, conflicts: Conflicts = "refuse") -> None:
    """Takes an operation of the session back, byte for byte. Raises ``params.invalid`` (no such operation, or undone
    already), ``turn.busy``, ``edit.conflict``; then nothing has changed."""
    async with live.admission:
        live.need_idle()
        operation = await asyncio.to_thread(live.host.checkpoints.journal.find, undo_id)
        if operation.undone:
            raise KodaError("params.invalid", "That has been undone already.", path="$.undoId")
        files = live.files
        head: str | None = operation.details.get("headFrom")
        now = await files.now()
        if operation.after is not None and files.known == operation.seen:  # the session has done nothing since
            since = await files.checkpoints.difference(operation.after, now)
            by_hand = {change.path for change in since.files}
        else:
            by_hand = await files.changed_by_hand(now, ())
        wanted = await files.checkpoints.back(now, operation)
        plan = await files.checkpoints.plan(now, wanted, by_hand, undone=operation)

        async def store(done: Operation) -> None:
            known = operation.details.get("known") if done.seen == done.after else None
            done.seen = known or done.seen
            await files.checkpoints.note(done)
            await live.session.set_head(head, checkpoint=done.seen)
            await _unapplied(live.host, operation)
            if head != operation.details.get("headId"):
                live.emit(HeadMoved(node_id=head, head_id=head))

        details = details_of(live, head)
        await whole(files.checkpoints.apply(plan, store, conflicts=conflicts, details=details))


async def _unapplied(host: Host, operation: Operation) -> None:
    """A branch whose changes are taken out of the workspace has them to apply again."""
    session_id, base = operation.details.get("branchSession"), operation.details.get("base")
    if session_id is None or base is None:
        return
    from koda_daemon.host.worktrees import set_base

    try:
        await set_base(await host.session(session_id), base)
    except KodaError as error:
        if error.kind != "session.notFound":  # it was removed meanwhile
            raise


async def bring_back(
    live: LiveSession, to_id: str | None, *, branch: Branch | None = None, conflicts: Conflicts = "refuse"
) -> str:
    """Makes a node the head and its files those of the workspace; the caller holds ``admission``. ``branch``, which is
    made if it is new, grows from there. Gives the id of the operation. Raises as ``apply``."""
    live.need_idle()
    plan = await _plan(live, to_id)

    async def store(done: Operation) -> None:
        if branch is not None and branch.id not in live.session.branches:
            await live.session.put_branch(branch)
            live.emit(BranchCreated(node_id=to_id, branch_id=branch.id, from_id=branch.from_id))
        branch_id = None if branch is None else branch.id
        await live.session.set_head(to_id, branch_id=branch_id, checkpoint=done.seen)
        live.emit(HeadMoved(node_id=to_id, head_id=to_id))

    done = await whole(live.files.checkpoints.apply(plan, store, conflicts=conflicts, details=details_of(live, to_id)))
    return done.id


def details_of(live: LiveSession, head_id: str | None) -> dict[str, Any]:
    """What an operation must remember of its session: how it is known to be stored, and what undoing brings back."""
    return {
        "sessionId": live.id,
        "headFrom": live.session.head_id,
        "headId": head_id,
        "known": live.session.info.checkpoint,
    }


async def _plan(live: LiveSession, to_id: str | None) -> Plan:
    tree, files = live.session.tree, live.files
    if to_id is not None and to_id not in tree:
        raise KodaError("node.notFound", f"This session has no node {to_id}.", path="$.toId")
    now = await files.now()
    state = files.state_at(to_id)
    if state is None:
        return await files.checkpoints.plan(now, Difference())
    left = turns_of(tree, files.turns, leaving(tree, live.session.head_id, to_id))
    staying = tree[to_id].turn_id if to_id is not None else None
    by_hand = await files.changed_by_hand(now, [turn for turn in left if turn.turn_id != staying])
    by_hand |= await changed_beside(live, left, now)
    return await files.checkpoints.plan(now, await files.checkpoints.way_to(now, state), by_hand)


async def shown(files: SessionFiles, steps: Sequence[Step]) -> tuple[ChangedFile, ...]:
    """Steps for people."""
    diffs = await files.checkpoints.diffs([step.change for step in steps])
    return tuple(
        changed_file(files, diff.change, diff.kind, diff.diff, diff.binary, step.conflict is not None)
        for step, diff in zip(steps, diffs, strict=True)
    )


def changed_file(
    files: SessionFiles,
    change: Change,
    kind: Literal["created", "modified", "deleted"],
    diff: str,
    binary: bool,
    conflict: bool,
) -> ChangedFile:
    path = Path(files.checkpoints.root, os.fsdecode(change.path))
    return ChangedFile(
        path=display(change.path),
        uri=path.as_uri(),
        change=kind,
        diff=diff,
        binary=binary,
        buffer=files.is_open(path),
        conflict=conflict,
    )


async def whole(work: Coroutine[Any, Any, T]) -> T:
    """Does something to its end, also when whoever waits for it is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):
            while not task.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
        raise
