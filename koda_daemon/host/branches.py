"""Branching: growing the tree from any node, and moving the head between branches. Nothing is ever removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from koda_daemon.base.errors import KodaError
from koda_daemon.base.ids import new_id
from koda_daemon.host.events import BranchCreated, HeadMoved, LabelChanged
from koda_daemon.host.lease import writes
from koda_daemon.host.live import LiveSession
from koda_daemon.session.manager import SessionMovedError
from koda_daemon.session.nodes import Branch, Node, timestamp

if TYPE_CHECKING:
    from koda_daemon.coding.checkpoints import Conflicts

Files = Literal["keep", "restore"]


@writes
async def branch(
    live: LiveSession,
    from_id: str | None,
    *,
    label: str | None = None,
    checkout: bool = True,
    files: Files = "keep",
    conflicts: Conflicts = "refuse",
    summarize: bool = False,
) -> str:
    """Makes a branch that grows from ``from_id`` (None: from the very beginning) and returns its id. It is durable.

    The label names the first node that grows. ``files``: whether those of the workspace are brought back as they were
    at the node. ``summarize``: whether the session's model sums up what is left, in the first node of the branch. Both
    are for a branch that is checked out.

    Raises ``node.notFound``, ``turn.busy`` when the head should move while a turn runs, ``edit.conflict`` when files
    were changed by hand since, and the provider's ``KodaError`` when there is no summary; then there is no branch.
    """
    _need_node(live, from_id)
    node = await _summary(live, from_id) if summarize and checkout else None
    async with live.admission:
        _need_node(live, from_id)
        if checkout:
            live.need_idle()
        if node is not None and live.session.head_id != (node.details or {}).get("fromId"):
            raise SessionMovedError
        made = Branch(id=new_id(), from_id=from_id, tip_id=from_id, label=label, created_at=timestamp())
        if files == "restore" and checkout:
            from koda_daemon.host.rewind import bring_back

            await bring_back(live, from_id, branch=made, conflicts=conflicts)
        else:
            await live.session.put_branch(made, checkout=checkout)
            live.emit(BranchCreated(node_id=from_id, branch_id=made.id, from_id=from_id))
            if checkout:
                live.emit(HeadMoved(node_id=from_id, head_id=from_id))
        if node is not None:
            await live.append(node)
            live.emit(HeadMoved(node_id=node.id, head_id=node.id))
        return made.id


async def _summary(live: LiveSession, from_id: str | None) -> Node | None:
    """The first node of a branch from ``from_id``: what happened on the one that is left, that is on the head's path
    where the new one does not have it. None when nothing did."""
    from koda_daemon.host.compaction import summary_of
    from koda_daemon.host.errand import errand
    from koda_daemon.session.compaction import branch_summary_node, branch_summary_prompt, effective_path

    async with errand(live):
        tree, head = live.session.tree, live.session.head_id
        if head is None:
            return None
        ids = tree.path_ids(head)
        shared = None if from_id is None else tree.common_ancestor(from_id, head)
        left = effective_path(await live.session.nodes(ids if shared is None else ids[tree.depth(shared) + 1 :]))
        if not any(node.message is not None for node in left):
            return None
        summary = await summary_of(live, live.model, lambda limit: branch_summary_prompt(left, limit=limit))
        return branch_summary_node(from_id, summary, left, left_id=head)


@writes
async def checkout(live: LiveSession, node_id: str, *, files: Files = "keep", conflicts: Conflicts = "refuse") -> None:
    """Makes a node (or the tip of a branch named by its id) the head, and with ``files`` its files those of the
    workspace. Raises ``node.notFound``, ``turn.busy``, ``edit.conflict``."""
    async with live.admission:
        known = live.session.branches.get(node_id)
        if known is None:
            _need_node(live, node_id)
        to_id = node_id if known is None else known.tip_id
        if files == "restore":
            from koda_daemon.host.rewind import bring_back

            await bring_back(live, to_id, branch=known, conflicts=conflicts)
        else:
            await live.set_head(to_id, branch_id=None if known is None else known.id)


@writes
async def set_label(live: LiveSession, node_id: str, label: str | None) -> None:
    """Labels a node; None takes the label away. Raises ``node.notFound``."""
    _need_node(live, node_id)
    await live.session.set_label(node_id, label)
    live.emit(LabelChanged(node_id=node_id, label=label))


def _need_node(live: LiveSession, node_id: str | None) -> None:
    if node_id is not None and node_id not in live.session.tree:
        raise KodaError("node.notFound", f"This session has no node {node_id}.")
