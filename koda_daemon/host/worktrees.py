"""Branches with a folder of their own: two branches of one session at work at the same time.

Such a branch is a session of its own, whose working directory is the folder. Its tree begins with the path that it
grew from; what grows there is brought home into the tree of the session that it is a branch of, so that one tree shows
both. All of them keep their states in the repository of the workspace and can be compared and merged.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from anyio import CancelScope, to_thread
from msgspec import Struct

from koda_daemon.agent.events import ErrorData
from koda_daemon.base.errors import KodaError
from koda_daemon.base.ids import new_id
from koda_daemon.coding.checkpoints import Checkpoints, display
from koda_daemon.host.changes_map import turns_of
from koda_daemon.host.events import BranchCreated, SessionError
from koda_daemon.host.lease import writes
from koda_daemon.host.worktrees_folder import (
    BranchFolder,
    Reserved,
    forget_mark,
    lost_commits,
    make_folder,
    remove_folder,
    unfinished,
)
from koda_daemon.session.nodes import Branch, Origin, SessionInfo, TurnRecord, timestamp
from koda_daemon.session.queries import row_of

if TYPE_CHECKING:
    from koda_daemon.host.host import Host
    from koda_daemon.host.live import LiveSession

_log = logging.getLogger(__name__)


class Made(Struct, frozen=True, kw_only=True):
    """A branch with its own folder."""

    branch_id: str
    session_id: str
    workspace: str


class Link(Struct, rename="camel", frozen=True, kw_only=True):
    """What a branch's own session knows of it: ``base`` is the state that its changes are counted from, the last that
    the workspace has."""

    folder: BranchFolder
    base: str


@writes
async def make(live: LiveSession, from_id: str | None, *, label: str | None = None) -> Made:
    """Gives a new branch from a node a folder with the files as they were there, and a session to work in it.

    The head stays where it is. Raises ``node.notFound``.
    """
    host, tree = live.host, live.session.tree
    if live.session.info.origin is not None:
        raise KodaError(
            "params.invalid", "This session is such a branch itself: branch from its origin.", path="$.files"
        )
    if from_id is not None and from_id not in tree:
        raise KodaError("node.notFound", f"This session has no node {from_id}.")
    now = await live.files.now()
    at_head = from_id == live.session.head_id and live.turn is None
    state = now if at_head else live.files.state_at(from_id) or now
    branch_id, workspace = new_id(), live.workspace.root
    name = label or branch_id[-6:]
    own = live.files.checkpoints.folder
    await _clear_unfinished(live)
    reserved = await to_thread.run_sync(Reserved, host.home, workspace, name)
    folder = BranchFolder(path=str(reserved.path))
    session_id: str | None = None
    try:
        folder = await own.work(lambda git: make_folder(git, workspace, reserved.path))
        points = Checkpoints(host.checkpoints, Path(folder.path), main=workspace)
        await points.unfold(state)
        base = await points.record()
        session_id = await _session_of_branch(live, from_id, branch_id, label, folder, base)
        details = {"sessionId": session_id}
        branch = Branch(
            id=branch_id,
            from_id=from_id,
            tip_id=from_id,
            created_at=timestamp(),
            workspace=folder.path,
            details=details if label is None else {**details, "label": label},
        )
        await live.session.put_branch(branch)
    except BaseException:
        with CancelScope(shield=True):
            await own.work(lambda git: remove_folder(git, workspace, host.home, folder))
            await host.checkpoints.folder(Path(folder.path), workspace).forget()
            if session_id is not None:
                await host.sessions.delete(session_id)
        raise
    finally:
        reserved.done()
    live.emit(BranchCreated(node_id=from_id, branch_id=branch_id, from_id=from_id))
    return Made(branch_id=branch_id, session_id=session_id, workspace=folder.path)


async def _clear_unfinished(live: LiveSession) -> None:
    """Removes what daemons that were killed had begun to make."""
    for path, workspace in await to_thread.run_sync(unfinished, live.host.home):
        try:
            await _clear(live, path, workspace)
        except KodaError as error:
            _log.info("%s stays: %s", path, error.message)


async def _clear(live: LiveSession, path: Path, workspace: Path) -> None:
    host = live.host
    sessions, _ = await host.sessions.list(cwd=str(path))
    if not [info for info in sessions if await _is_whole(host, info)]:
        for info in sessions:
            await host.sessions.delete(info.id)
        folder = BranchFolder(path=str(path), commit="unknown")
        await live.files.checkpoints.folder.work(lambda git: remove_folder(git, workspace, host.home, folder))
        await host.checkpoints.folder(path, workspace).forget()
    await to_thread.run_sync(forget_mark, path)


async def _is_whole(host: Host, info: SessionInfo) -> bool:
    """Whether the tree of its origin knows a branch's session."""
    if info.origin is None:
        return True  # somebody works there
    try:
        branches = (await host.sessions.load(info.origin.session_id)).branches
    except KodaError as error:
        if error.kind != "session.notFound":
            raise
        return False
    return info.origin.branch_id in branches


async def _session_of_branch(
    live: LiveSession, from_id: str | None, branch_id: str, label: str | None, folder: BranchFolder, base: str
) -> str:
    session = live.session
    path = await session.path(to=from_id) if from_id is not None else []
    turns = turns_of(session.tree, live.files.turns, [node.id for node in path])
    now = timestamp()
    info = SessionInfo(
        id=new_id(),
        cwd=folder.path,
        title=label or session.info.title,
        model=session.model,
        head_id=from_id,
        created_at=now,
        updated_at=now,
        options=session.options,
        checkpoint=base,
        origin=Origin(session_id=live.id, branch_id=branch_id, from_id=from_id, workspace=str(live.workspace.root)),
    )
    made = await live.host.sessions.adopt(info, [row_of(node) for node in path], [_ended(turn, base) for turn in turns])
    branch = Branch(
        id=branch_id,
        from_id=from_id,
        tip_id=from_id,
        label=label,
        created_at=now,
        details=msgspec.to_builtins(Link(folder=folder, base=base)),
    )
    await made.put_branch(branch, checkout=True)
    return made.id


def _ended(turn: TurnRecord, state: str) -> TurnRecord:
    """A turn as the branch knows it: one that still runs has ended for the branch where it grew from."""
    if turn.status == "ended":
        return turn
    files = turn.files and msgspec.structs.replace(turn.files, after=turn.files.before and state)
    return msgspec.structs.replace(turn, status="ended", stop_reason="cancelled", ended_at=timestamp(), files=files)


# Bringing home


async def bring_home(live: LiveSession) -> None:
    """Copies what has grown in a branch's session into the tree of its origin, and the other way nothing. What goes
    wrong is tried again the next time."""
    origin = live.session.info.origin
    if origin is None:
        return
    try:
        parent = await live.host.session(origin.session_id)
        await _bring(parent, live, origin.branch_id)
    except KodaError as error:
        _log.info("branch %s is not brought home: %s", origin.branch_id, error.message)


@writes
async def _bring(parent: LiveSession, live: LiveSession, branch_id: str) -> None:
    theirs, ours = live.session, parent.session
    missing = [node.id for node in theirs.tree if node.id not in ours.tree]
    if missing:
        await ours.append(*await theirs.nodes(missing), move_head=False, billed=False)
    known = parent.files.turns
    for turn in theirs.turns():
        if turn.status == "ended" and turn.turn_id not in known:
            await ours.start_turn(turn)
    branch = ours.branches.get(branch_id)
    if branch is not None and branch.tip_id != theirs.head_id:
        await ours.put_branch(msgspec.structs.replace(branch, tip_id=theirs.head_id))


async def bring_all_home(live: LiveSession) -> None:
    """Before the tree of a session is looked at: all that its branches have grown."""
    for branch in list(live.session.branches.values()):
        session_id = session_of(branch)
        if session_id is not None and branch.workspace is not None:
            try:
                await bring_home(await live.host.session(session_id))
            except KodaError as error:
                _log.info("branch %s is not looked at: %s", branch.id, error.message)


def session_of(branch: Branch) -> str | None:
    """The session of a branch with its own folder."""
    found = (branch.details or {}).get("sessionId")
    return found if isinstance(found, str) else None


# Removing


@writes
async def set_base(child: LiveSession, base: str) -> None:
    """Remembers up to which state the workspace has a branch's changes."""
    origin = child.session.info.origin
    branch = None if origin is None else child.session.branches.get(origin.branch_id)
    if branch is not None:
        link = msgspec.structs.replace(link_of(child), base=base)
        await child.session.put_branch(msgspec.structs.replace(branch, details=msgspec.to_builtins(link)))


async def remove(live: LiveSession, branch_id: str, *, force: bool = False) -> None:
    """Removes the folder of a branch and its session; the conversation stays in the tree of its origin.

    Raises ``turn.busy``, and without ``force`` ``edit.conflict`` when something in the folder would be lost.
    """
    try:
        home, child = await pair_of(live, branch_id)
    except KodaError as error:
        if not force or error.kind != "session.notFound":
            raise
        await _remove_orphan(live, branch_id)
        return
    async with child.admission:  # no prompt comes in between
        child.need_idle()
        if not force:
            await refuse_loss(child)
        await _take_down(home, child, branch_id)
    gone = "The branch was removed; its conversation is in the session that it grew from."
    child.emit(SessionError(error=ErrorData(kind="session.notFound", message=gone, retryable=False)))
    await child.claim()
    await home.host.close_session(child.id)
    await home.host.sessions.delete(child.id)


async def before_delete(live: LiveSession) -> None:
    """Called before a session is deleted for good: a branch's folder goes with it, if nothing is lost by that.

    Raises ``edit.conflict``, also for a session whose branches have folders.
    """
    origin = live.session.info.origin
    if origin is not None:
        await refuse_loss(live)
        try:
            home = await live.host.session(origin.session_id)
        except KodaError as error:
            if error.kind != "session.notFound":
                raise
            home = live
        await _take_down(home, live, origin.branch_id)
        return
    left = [branch for branch in live.session.branches.values() if session_of(branch) is not None]
    if left:
        raise KodaError(
            "edit.conflict",
            f"{len(left)} branches of this session have folders of their own; it was not deleted.",
            user_action="Remove them first (koda/branch/remove).",
            path=left[0].workspace,
        )


async def _take_down(home: LiveSession, child: LiveSession, branch_id: str) -> None:
    """Removes a branch's folder, after everything that is worth keeping has been brought home."""
    link, workspace = link_of(child), child.files.checkpoints.main
    if home is not child:
        await bring_home(child)
    folder = child.files.checkpoints.folder
    await folder.work(lambda git: remove_folder(git, workspace, child.host.home, link.folder))
    await folder.forget()
    if home is not child:
        await _forget(home, branch_id)


async def _remove_orphan(live: LiveSession, branch_id: str) -> None:
    """Removes the folder of a branch whose session is gone."""
    branch = live.session.branches[branch_id]
    if branch.workspace is not None:
        folder, points = BranchFolder(path=branch.workspace, commit="unknown"), live.files.checkpoints
        await points.folder.work(lambda git: remove_folder(git, points.main, live.host.home, folder))
        await points.store.folder(Path(folder.path), points.main).forget()
    await _forget(live, branch_id)


async def refuse_loss(child: LiveSession) -> None:
    """Raises ``edit.conflict`` when a branch's folder holds what nobody else has."""
    link, points = link_of(child), child.files.checkpoints
    if not await to_thread.run_sync(os.path.isdir, link.folder.path):
        return
    why = ""
    state = await child.files.now()
    changes = (await points.difference(link.base, state)).files
    if changes:
        why = (
            f"{display(changes[0].path)} and {len(changes) - 1} more files" if changes[1:] else display(changes[0].path)
        )
        why = f"changes that were not applied ({why})"
    elif new := set(await points.left_out(state)) - set(await points.left_out(link.base)):
        why = f"large files that are not recorded ({sorted(new)[0]})"
    elif await points.folder.work(lambda git: lost_commits(git, link.folder)):
        why = "commits that no branch of the repository has"
    elif child.session.queue:
        why = "prompts that wait"
    if why:
        raise KodaError(
            "edit.conflict",
            f"The branch has {why}; it was not removed.",
            user_action="Apply its changes first, or remove it with force.",
            path=link.folder.path,
        )


def link_of(child: LiveSession) -> Link:
    """What a branch's session knows of itself. Raises ``params.invalid`` when it is none."""
    origin = child.session.info.origin
    branch = None if origin is None else child.session.branches.get(origin.branch_id)
    if branch is None:
        raise KodaError("params.invalid", "This session is no branch with a folder of its own.", path="$.branchId")
    return msgspec.convert(branch.details, Link)


@writes
async def _forget(home: LiveSession, branch_id: str) -> None:
    branch = home.session.branches.get(branch_id)
    if branch is not None:
        await home.session.put_branch(msgspec.structs.replace(branch, workspace=None, details=None))


async def pair_of(live: LiveSession, branch_id: str) -> tuple[LiveSession, LiveSession]:
    """The session that a branch grew from, and the branch's own; ``live`` may be either."""
    origin = live.session.info.origin
    if origin is not None and origin.branch_id == branch_id:
        return await live.host.session(origin.session_id), live
    branch = live.session.branches.get(branch_id)
    session_id = None if branch is None else session_of(branch)
    if session_id is None:
        raise KodaError(
            "params.invalid", f"There is no branch {branch_id} with a folder of its own.", path="$.branchId"
        )
    return live, await live.host.session(session_id)
