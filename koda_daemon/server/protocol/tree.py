"""koda/tree, koda/branch, koda/checkout and koda/label: the conversation as a tree."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from koda_daemon.server.protocol.base import Params, Result
from koda_daemon.server.protocol.changes import Conflicts, FileChange
from koda_daemon.session.nodes import TreeNode

Label: TypeAlias = Annotated[str, Meta(max_length=200)]


class TreeParams(Params, kw_only=True):
    """Gives the tree for drawing, parents before children; with ``around_id`` only what is near that node."""

    session_id: str
    around_id: str | None = None
    depth: Annotated[int, Meta(ge=0)] | None = None
    """How many steps up and down from ``around_id`` (else: down from the roots); left out: all."""


class BranchInfo(Result, kw_only=True):
    """A branch by name. ``workspace`` and ``session_id`` are there for one with a folder of its own."""

    branch_id: str
    from_id: str | None
    tip_id: str | None
    label: str | None = None
    workspace: str | None = None
    session_id: str | None = None
    """The session that works in the folder; it is listed and opened as any other."""


class TreeResult(Result, kw_only=True):
    """Nodes without their content. ``head_id`` is null before the first prompt."""

    head_id: str | None
    nodes: tuple[TreeNode, ...]
    branches: tuple[BranchInfo, ...] = ()
    """The branches that were made with ``koda/branch``, oldest first."""


class BranchParams(Params, kw_only=True):
    """Makes a new branch that grows from any node; nothing is removed."""

    session_id: str
    from_id: str | None
    """The node that the branch grows from; null: from the very beginning."""
    label: Label | None = None
    checkout: bool = True
    """Whether the head moves to the new branch."""
    files: Literal["keep", "restore", "worktree"] = "keep"
    """Leave the workspace as it is, restore its files as they were at the node, or give the branch its own folder."""
    conflicts: Conflicts = "refuse"
    """Files that the user changed by hand since then, when files are restored."""
    summarize: bool = False
    """Whether the model sums up the branch that is left, in the first node of the new one (``head_id`` of the answer).
    Without that summary there is no branch: the error is the provider's."""


class BranchResult(Result, kw_only=True):
    """The head as it is now. ``workspace`` is the absolute path of the branch's own folder, if it has one."""

    head_id: str | None
    branch_id: str
    workspace: str | None = None
    session_id: str | None = None
    """Of a branch with a folder: the session that works there, to prompt while this one goes on as well."""


class CheckoutParams(Params, kw_only=True):
    """Moves the head to a node: the next prompt continues from there."""

    session_id: str
    node_id: str
    files: Literal["keep", "restore"] = "keep"
    conflicts: Conflicts = "refuse"


class CheckoutResult(Result):
    """The head as it is now."""

    head_id: str | None


class BranchCompareParams(Params, kw_only=True):
    """Compares two branches, each named by a node, or by the id of a branch: one with a folder as it is now."""

    session_id: str
    a_id: str
    b_id: str


class BranchCompareResult(Result, kw_only=True):
    """What each side has beyond the nearest common ancestor (null: none); ``diff`` is unified, of the files, a to b."""

    ancestor_id: str | None
    a_nodes: tuple[TreeNode, ...]
    b_nodes: tuple[TreeNode, ...]
    diff: str


class BranchApplyParams(Params, kw_only=True):
    """Brings the changes of a branch with a folder of its own into the workspace: a three-way merge of all files."""

    session_id: str
    branch_id: str
    preview: bool = False
    """Changes nothing; the diffs of conflicts show both sides between markers."""
    conflicts: Literal["refuse", "mark", "keep", "overwrite"] = "refuse"
    """Files that changed on both sides in the same places: refuse everything (the error ``edit.conflict``), write both
    sides between markers (files that are no text as the branch has them), keep the workspace's, take the branch's."""


class BranchApplyResult(Result, kw_only=True):
    """The files that changed, or would change; ``undo_id`` is for ``koda/rewind/undo``, left out by a preview."""

    files: tuple[FileChange, ...]
    undo_id: str | None = None


class BranchRemoveParams(Params, kw_only=True):
    """Removes a branch's own folder and its session; the conversation stays in the tree of the session it grew from.

    Refused with ``edit.conflict`` when something that only the folder has would be lost, unless ``force``.
    """

    session_id: str
    branch_id: str
    force: bool = False


class LabelParams(Params, kw_only=True):
    """Labels a node, or with null (or nothing in it) takes its label away."""

    session_id: str
    node_id: str
    label: Label | None


class LabelResult(Result):
    """The label as it is now."""

    label: str | None
