"""Branches with folders of their own: comparing them, and bringing their changes into the workspace."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

from koda_daemon.base.errors import KodaError
from koda_daemon.coding.checkpoints import Change, Conflicts, Difference, display
from koda_daemon.coding.checkpoints_diff import whole_diff
from koda_daemon.host.changes import seen_after
from koda_daemon.host.lease import writes
from koda_daemon.host.rewind import ChangedFile, changed_file, details_of, whole
from koda_daemon.host.worktrees import bring_all_home, bring_home, link_of, pair_of, session_of, set_base
from koda_daemon.session.nodes import TreeNode

if TYPE_CHECKING:
    from koda_daemon.coding.checkpoints_journal import Operation
    from koda_daemon.coding.checkpoints_merge import Merged
    from koda_daemon.host.live import LiveSession

MergeConflicts = Literal["refuse", "mark", "keep", "overwrite"]


class Comparison(Struct, frozen=True, kw_only=True):
    """Two branches: the nearest node that both have, what each has beyond it, and the diff of their files, a to b."""

    ancestor_id: str | None
    a_nodes: tuple[TreeNode, ...]
    b_nodes: tuple[TreeNode, ...]
    diff: str


class Applied(Struct, frozen=True, kw_only=True):
    """What bringing a branch's changes into the workspace does; ``undo_id`` when it was done."""

    files: tuple[ChangedFile, ...]
    undo_id: str | None = None


async def compare(live: LiveSession, a_id: str, b_id: str) -> Comparison:
    """Compares two branches, each named by a node or by the id of a branch. A branch with a folder has the files that
    are there now. Raises ``node.notFound``."""
    origin = live.session.info.origin
    if origin is not None and not all(id_ in live.session.tree for id_ in (a_id, b_id)):
        await bring_home(live)
        live = await live.host.session(origin.session_id)
    await bring_all_home(live)
    tree = live.session.tree
    (a_tip, a_state), (b_tip, b_state) = [await _side(live, id_) for id_ in (a_id, b_id)]
    ancestor = tree.common_ancestor(a_tip, b_tip) if a_tip is not None and b_tip is not None else None
    shared = set(tree.path_ids(ancestor))
    diff = ""
    if a_state is not None and b_state is not None:
        points = live.files.checkpoints
        diff = whole_diff(await points.diffs((await points.difference(a_state, b_state)).files))
    return Comparison(
        ancestor_id=ancestor,
        a_nodes=tuple(tree[id_] for id_ in tree.path_ids(a_tip) if id_ not in shared),
        b_nodes=tuple(tree[id_] for id_ in tree.path_ids(b_tip) if id_ not in shared),
        diff=diff,
    )


async def _side(live: LiveSession, id_: str) -> tuple[str | None, str | None]:
    branch = live.session.branches.get(id_)
    if branch is None:
        live.session.tree[id_]
        return id_, live.files.state_at(id_)
    session_id = session_of(branch)
    if session_id is not None and branch.workspace is not None:
        return branch.tip_id, await (await live.host.session(session_id)).files.now()
    return branch.tip_id, live.files.state_at(branch.tip_id)


async def apply(
    live: LiveSession, branch_id: str, *, preview: bool = False, conflicts: MergeConflicts = "refuse"
) -> Applied:
    """Brings the changes of a branch with a folder into the workspace: a three-way merge of all files. ``conflicts``:
    ``mark`` writes both sides between markers (other files than texts get the branch's), ``keep`` leaves the
    workspace's, ``overwrite`` takes the branch's. A preview changes nothing; its diffs show the markers.

    Raises ``params.invalid``, ``turn.busy``, ``edit.conflict``; then nothing has changed.
    """
    home, child = await pair_of(live, branch_id)
    return await _apply(home, child, branch_id, preview, conflicts)


@writes
async def _apply(
    live: LiveSession, child: LiveSession, branch_id: str, preview: bool, conflicts: MergeConflicts
) -> Applied:
    async with live.admission:
        files, points = live.files, live.files.checkpoints
        if not preview:
            live.need_idle()
            child.need_idle()
        link = link_of(child)
        theirs = await child.files.now()
        ours = await files.now()
        merged = await points.merged(link.base, ours, theirs)
        refused = [one for one in merged if one.conflict]
        if preview:
            plan = await points.plan(ours, Difference(tuple(one.change for one in merged)))
            in_the_way = {step.change.path for step in plan.conflicts}
            return Applied(files=await _shown(live, merged, in_the_way))
        if refused and conflicts == "refuse":
            raise KodaError(
                "edit.conflict",
                f"{', '.join(display(one.change.path) for one in refused[:5])} changed on both sides. "
                "Nothing was changed.",
                user_action="Look at the preview, then choose: mark the conflicts in the files, keep, or overwrite.",
                path=display(refused[0].change.path),
            )
        chosen = [one for one in (_resolved(one, conflicts) for one in merged) if one is not None]
        folders = await points.difference(link.base, theirs)
        wanted = Difference(tuple(one.change for one in chosen), folders.folders_made, folders.folders_gone)
        plan = await points.plan(ours, wanted)

        async def store(done: Operation) -> None:
            done.seen = await seen_after(files, done, [change.path for change in wanted.files])
            await points.note(done)
            await live.session.set_checkpoint(done.seen)
            await set_base(child, theirs)

        details = {**details_of(live, live.session.head_id), "branchSession": child.id, "base": link.base}
        choice: Conflicts = "refuse" if conflicts == "mark" else conflicts
        done = await whole(points.apply(plan, store, conflicts=choice, details=details))
        return Applied(files=await _shown(live, chosen), undo_id=done.id)


def _resolved(one: Merged, conflicts: MergeConflicts) -> Merged | None:
    if not one.conflict or conflicts == "mark":
        return one
    if conflicts == "keep":
        return None
    return msgspec.structs.replace(one, change=Change(one.change.path, one.change.old, one.theirs))


async def _shown(
    live: LiveSession, merged: list[Merged], in_the_way: Collection[bytes] = ()
) -> tuple[ChangedFile, ...]:
    """``in_the_way``: files whose place is taken by something that is not recorded, or unsaved in an editor."""
    diffs = await live.files.checkpoints.diffs([one.change for one in merged])
    return tuple(
        changed_file(
            live.files, diff.change, diff.kind, diff.diff, diff.binary, one.conflict or diff.change.path in in_the_way
        )
        for one, diff in zip(merged, diffs, strict=True)
    )
