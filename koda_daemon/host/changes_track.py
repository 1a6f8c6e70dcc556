"""What the files of a session are in the course of its turns: recorded before a turn's first change and after it, and
while the model thinks about what its calls did."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import msgspec

from koda_daemon.agent.events import Notice
from koda_daemon.base.errors import KodaError
from koda_daemon.base.loading import background_import
from koda_daemon.host.changes_map import is_recorded, state_at
from koda_daemon.session.nodes import TurnFiles, TurnRecord

if TYPE_CHECKING:
    from koda_daemon.coding.checkpoints import Checkpoints
    from koda_daemon.coding.checkpoints_journal import Operation
    from koda_daemon.host.live import LiveSession

_log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_SECONDS = 300.0
"""How long a call waits for the state before it: only the first record of a huge workspace takes long."""
TELL_SECONDS = 1.5
"""After how long the user is told what the call waits for."""
PRIME_SECONDS = 0.3
"""How long a turn in a workspace that was never recorded has run when that begins: after the first token."""


class SessionFiles:
    """The files of one open session."""

    def __init__(self, live: LiveSession) -> None:
        self._live = live
        self._told = False
        self._settling: asyncio.Future[None] | None = None

    @cached_property
    def checkpoints(self) -> Checkpoints:
        """Made at first use, and so are the imports behind it: no first token waits for them."""
        from koda_daemon.coding.checkpoints import Checkpoints

        live, origin = self._live, self._live.session.info.origin
        return Checkpoints(
            live.host.checkpoints,
            live.workspace.root,
            live.workspace.editor,
            main=None if origin is None else Path(origin.workspace),
        )

    @property
    def turns(self) -> dict[str, TurnRecord]:
        return {turn.turn_id: turn for turn in self._live.session.turns()}

    @property
    def known(self) -> str | None:
        """The state that this session saw last: what differs from it was done by somebody else."""
        return self._live.session.info.checkpoint

    def state_at(self, node_id: str | None) -> str | None:
        return state_at(self._live.session.tree, self.turns, node_id)

    async def now(self) -> str:
        """The present state."""
        await self.settle()
        await self._recover()
        return await self.checkpoints.record()

    async def changed_by_hand(self, now: str, turns: Iterable[TurnRecord]) -> set[bytes]:
        """The files that somebody else than this session changed: between these turns, and since the last one."""
        gaps = [(files.known, files.before) for turn in turns if (files := turn.files) is not None]
        found: set[bytes] = set()
        for before, after in dict.fromkeys([*gaps, (self.known, now)]):
            if before is not None and after is not None:
                difference = await self.checkpoints.difference(before, after)
                found.update(change.path for change in difference.files)
        return found

    async def settle(self) -> None:
        """Ends what a killed daemon has left: an operation half done, a turn whose end was not recorded."""
        if self._settling is None or (self._settling.done() and self._settling.exception() is not None):
            self._settling = asyncio.ensure_future(self._settle())
        await asyncio.shield(self._settling)

    async def _recover(self) -> None:
        """Looks for an operation that another daemon, which is gone, has left half done."""
        if await self.checkpoints.recover(self._is_stored):
            self._live.emit(Notice(level="warning", message="A change of files that was cut off has been taken back."))

    async def _settle(self) -> None:
        await self._recover()
        last = next((turn for turn in reversed(self._live.session.turns()) if is_recorded(turn)), None)
        if last is None or last.status != "ended" or last.files is None or last.files.after is not None:
            return
        state = await self.checkpoints.record()
        nodes = dict(last.files.nodes)
        tips = [node.id for node in self._live.session.tree if node.turn_id == last.turn_id]
        if tips:
            nodes[tips[-1]] = state
        files = msgspec.structs.replace(last.files, after=state, nodes=nodes)
        await self._live.session.record_files(last.turn_id, files)

    async def _is_stored(self, operation: Operation) -> bool:
        """Whether the session that an operation belongs to has stored its outcome."""
        try:
            session = await self._live.host.sessions.load(str(operation.details.get("sessionId")))
        except KodaError as error:
            if error.kind != "session.notFound":
                raise
            return False
        moved = operation.details.get("headId") == session.head_id
        return moved and operation.seen is not None and operation.seen == session.info.checkpoint

    def is_open(self, path: Path) -> bool:
        """Whether an editor holds a file open that takes edits from here."""
        editor = self._live.workspace.editor
        return editor is not None and editor.buffer(path) is not None and editor.can_edit(path)

    def tell(self, why: str) -> None:
        """Lets the user know, once, that changes cannot be taken back here."""
        _log.warning("session %s: %s", self._live.id, why)
        if not self._told and self._live.host.checkpoints.settings.enabled:
            self._told = True
            self._live.emit(Notice(level="warning", message=f"Changes of files cannot be taken back: {why}"))


class TurnTrack:
    """The files of one running turn. No failure here fails the turn: it is told, and noted with the turn."""

    def __init__(self, live: LiveSession, turn_id: str) -> None:
        self._live = live
        self._turn_id = turn_id
        self._state = TurnFiles(known=live.session.info.checkpoint)
        self._changed = False
        """Whether a call was let through since the last record."""
        self._recording: asyncio.Task[None] | None = None
        self._first = asyncio.Lock()

    def prime(self) -> None:
        """Begins with the first record of a workspace while the model thinks, so that no call waits for all of it."""
        if self._state.known is None:
            self._live.host.start(self._prime)

    async def _prime(self) -> None:
        await asyncio.sleep(PRIME_SECONDS)
        await asyncio.to_thread(import_checkpoints)
        checkpoints = self._live.files.checkpoints
        if not checkpoints.folder.known:
            try:
                await checkpoints.record()
            except KodaError as error:
                _log.info("not recorded: %s", error.message)

    async def before_change(self) -> None:
        """Called before a call that may change files is run: returns when what they are is recorded."""
        async with self._first:
            await self._settled()
            if self._state.before is None and self._state.failed is None:
                telling = asyncio.get_running_loop().call_later(TELL_SECONDS, self._tell_wait)
                try:
                    state = await _within(FIRST_SECONDS, self._live.files.now())
                except KodaError as error:
                    await self._fail(error.message)
                else:
                    await self._store(msgspec.structs.replace(self._state, before=state))
                finally:
                    telling.cancel()
        self._changed = True

    def after_calls(self) -> None:
        """Called when the results of calls are known and the model is asked again: records what they did meanwhile."""
        if self._changed and self._state.before is not None and self._recording is None:
            self._changed = False
            head = self._live.session.head_id
            assert head is not None, "calls have results, which are nodes"
            self._recording = asyncio.ensure_future(self._record(head))

    async def end(self) -> TurnFiles | None:
        """What is to be stored with the end of the turn; None when there is nothing to say."""
        await self._settled()
        if self._state.before is None or self._state.failed is not None:
            return None if self._state == TurnFiles() else self._state
        head = self._live.session.head_id
        assert head is not None, "a turn that changed something has nodes"
        if self._changed:
            await self._record(head)
        if self._changed:
            return self._state
        last = next(reversed(self._state.nodes.values()), self._state.before)
        return msgspec.structs.replace(self._state, after=last, nodes={**self._state.nodes, head: last})

    async def _record(self, node_id: str) -> None:
        """Records the files as they are at a node."""
        try:
            state = await self._live.files.checkpoints.record()
            await self._store(msgspec.structs.replace(self._state, nodes={**self._state.nodes, node_id: state}))
        except KodaError as error:
            # What it is when somebody next looks counts as the outcome of the turn (SessionFiles.settle).
            _log.warning("the files of turn %s are not recorded: %s", self._turn_id, error.message)
            self._changed = True
        else:
            self._changed = False

    async def _settled(self) -> None:
        if self._recording is not None:
            await asyncio.shield(self._recording)
            self._recording = None

    async def _store(self, files: TurnFiles) -> None:
        self._state = files
        with anyio.CancelScope(shield=True):
            await self._live.session.record_files(self._turn_id, files)

    def _tell_wait(self) -> None:
        message = "The files of the workspace are being recorded, so that changes can be taken back; the tool waits."
        self._live.emit(Notice(turn_id=self._turn_id, level="info", message=message))

    async def _fail(self, why: str) -> None:
        self._live.files.tell(why)
        await self._store(msgspec.structs.replace(self._state, failed=why))


def import_checkpoints() -> None:
    """Imports what recording needs, in a worker thread."""
    with background_import():
        import koda_daemon.coding.checkpoints  # noqa: F401


async def _within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The outcome of something that goes on even if nobody waits any more. Raises ``tool.failed`` after ``seconds``."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: None if done.cancelled() else done.exception())
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        raise KodaError("tool.failed", f"Recording the workspace takes more than {seconds:g} seconds.")
    return task.result()
