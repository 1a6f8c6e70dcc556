"""koda/tree, koda/branch, koda/checkout and koda/label: the conversation as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from koda_daemon.base.errors import KodaError
from koda_daemon.host import branches
from koda_daemon.host.live import LiveSession
from koda_daemon.server.face import Face, Feature
from koda_daemon.server.features.changes import file_changes
from koda_daemon.server.protocol import tree as p
from koda_daemon.server.protocol.base import Empty


async def tree(face: Face, params: p.TreeParams) -> p.TreeResult:
    live = await (await face.host()).session(params.session_id)
    await live.refresh()
    if any(branch.workspace is not None for branch in live.session.branches.values()):
        from koda_daemon.host.worktrees import bring_all_home

        await bring_all_home(live)
    with _naming({"aroundId": params.around_id}):
        nodes = live.session.tree.around(params.around_id, params.depth)
    return p.TreeResult(head_id=live.session.head_id, nodes=tuple(nodes), branches=_branches(live))


@contextmanager
def _naming(fields: dict[str, str | None]) -> Iterator[None]:
    """A node that is not there is named by the field that asked for it."""
    try:
        yield
    except KodaError as error:
        if error.kind == "node.notFound" and error.path is None:
            error.path = next((f"$.{name}" for name, value in fields.items() if value and value in error.message), None)
        raise


def _branches(live: LiveSession) -> tuple[p.BranchInfo, ...]:
    found = []
    for branch in live.session.branches.values():
        details = branch.details or {}
        own = branch.workspace is not None
        found.append(
            p.BranchInfo(
                branch_id=branch.id,
                from_id=branch.from_id,
                tip_id=branch.tip_id,
                label=details.get("label") if own else branch.label,
                workspace=branch.workspace,
                session_id=details.get("sessionId") if own else None,
            )
        )
    return tuple(found)


async def branch(face: Face, params: p.BranchParams) -> p.BranchResult:
    if params.files == "restore" and not params.checkout:
        raise KodaError("params.invalid", "Files are restored for a branch that is checked out.", path="$.checkout")
    if params.summarize and (params.files == "worktree" or not params.checkout):
        raise KodaError("params.invalid", "A branch is summed up when it is left for this one.", path="$.summarize")
    live = await (await face.host()).session(params.session_id)
    if params.files != "keep":
        face.subscribe(live)  # its open documents count
    if params.files == "worktree":
        from koda_daemon.host import worktrees

        with _naming({"fromId": params.from_id}):
            made = await worktrees.make(live, params.from_id, label=params.label or None)
        return p.BranchResult(
            head_id=live.session.head_id,
            branch_id=made.branch_id,
            workspace=made.workspace,
            session_id=made.session_id,
        )
    with _naming({"fromId": params.from_id}):
        branch_id = await branches.branch(
            live,
            params.from_id,
            label=params.label or None,
            checkout=params.checkout,
            files=params.files,
            conflicts=params.conflicts,
            summarize=params.summarize,
        )
    return p.BranchResult(head_id=live.session.head_id, branch_id=branch_id)


async def compare(face: Face, params: p.BranchCompareParams) -> p.BranchCompareResult:
    from koda_daemon.host import worktrees_merge

    live = await (await face.host()).session(params.session_id)
    with _naming({"aId": params.a_id, "bId": params.b_id}):
        found = await worktrees_merge.compare(live, params.a_id, params.b_id)
    return p.BranchCompareResult(
        ancestor_id=found.ancestor_id, a_nodes=found.a_nodes, b_nodes=found.b_nodes, diff=found.diff
    )


async def apply(face: Face, params: p.BranchApplyParams) -> p.BranchApplyResult:
    from koda_daemon.host import worktrees_merge

    live = await (await face.host()).session(params.session_id)
    face.subscribe(live)
    done = await worktrees_merge.apply(live, params.branch_id, preview=params.preview, conflicts=params.conflicts)
    return p.BranchApplyResult(files=file_changes(done.files), undo_id=done.undo_id)


async def remove(face: Face, params: p.BranchRemoveParams) -> Empty:
    from koda_daemon.host import worktrees

    live = await (await face.host()).session(params.session_id)
    await worktrees.remove(live, params.branch_id, force=params.force)
    return Empty()


async def checkout(face: Face, params: p.CheckoutParams) -> p.CheckoutResult:
    live = await (await face.host()).session(params.session_id)
    if params.files == "restore":
        face.subscribe(live)
    with _naming({"nodeId": params.node_id}):
        await branches.checkout(live, params.node_id, files=params.files, conflicts=params.conflicts)
    return p.CheckoutResult(head_id=live.session.head_id)


async def label_(face: Face, params: p.LabelParams) -> p.LabelResult:
    live = await (await face.host()).session(params.session_id)
    label = params.label or None
    with _naming({"nodeId": params.node_id}):
        await branches.set_label(live, params.node_id, label)
    return p.LabelResult(label=label)


METHODS: dict[str, Feature] = {
    "koda/tree": tree,
    "koda/branch": branch,
    "koda/branch/compare": compare,
    "koda/branch/apply": apply,
    "koda/branch/remove": remove,
    "koda/checkout": checkout,
    "koda/label": label_,
}
