"""LiveSession: one open session - its log, its running turn, its queue, the clients that watch it."""

from __future__ import annotations

import asyncio
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anyio
import msgspec
from msgspec import Struct

from koda_daemon.agent.events import Event
from koda_daemon.ai.messages import TextBlock, UserBlock, UserMessage, text_of
from koda_daemon.ai.provider import Model
from koda_daemon.base.errors import KodaError
from koda_daemon.base.ids import new_id
from koda_daemon.coding.prompts import ContextFile
from koda_daemon.coding.settings import Settings
from koda_daemon.coding.workspace import Workspace
from koda_daemon.host.approvals import Approvals
from koda_daemon.host.clients import Client, Editors
from koda_daemon.host.events import HeadMoved, LabelChanged, QueueChanged, SessionChanged
from koda_daemon.host.follow import events_of
from koda_daemon.host.lease import writes
from koda_daemon.host.log import EventLog
from koda_daemon.host.options import check_options
from koda_daemon.host.told import Told
from koda_daemon.session.memory import Changes
from koda_daemon.session.nodes import Node, QueuedPrompt, TurnRecord, timestamp
from koda_daemon.session.session import Session

if TYPE_CHECKING:
    from koda_daemon.ai.images import ImagePreparer
    from koda_daemon.coding.tools import Tools
    from koda_daemon.host.changes_track import SessionFiles
    from koda_daemon.host.host import Host
    from koda_daemon.host.turn import Turn, TurnOutcome
    from koda_daemon.mom.context import ContextManager

Delivery = Literal["auto", "steer", "queue", "reject"]

TITLE_LENGTH = 80
OUTCOMES_KEPT = 32


class Admission(Struct, rename="camel", frozen=True, kw_only=True):
    """What became of a prompt. It is durable."""

    turn_id: str
    status: Literal["started", "queued", "steered"]


class Surroundings(Struct, frozen=True, kw_only=True):
    """What a session's folder adds to it."""

    settings: Settings
    context_files: tuple[ContextFile, ...]


class LiveSession:
    """Open sessions are made by ``Host``. Everything here is called on the event loop.

    Events get the numbers after ``seq``.
    """

    def __init__(self, host: Host, session: Session, surroundings: Surroundings, seq: int) -> None:
        self.host = host
        self.settings = settings = surroundings.settings
        self.session = session
        self.id = session.id
        self.clients: list[Client] = []
        self.left_at: float | None = None
        """When the last client went (of time.monotonic()); None while there are any, and when there were none."""
        self.turn: Turn | None = None
        self._own_turns: set[str] = set()
        """Turns that this daemon has stored as running and has not yet seen end."""
        self.told = Told(session.head_id)
        self.log = EventLog(session.id, seq, limit=settings.connection.outbox_bytes, told=self.told.take)
        session.on_changes = self._follow
        self._missed: list[Changes] = []
        self.approvals = Approvals(self.clients, self.emit)
        self.workspace = Workspace(Path(session.cwd), editor=Editors(self.clients))
        self.executor = host.executor(Path(session.cwd), settings)
        self.policy = host.policy(Path(session.cwd), settings, self.executor)
        self._context_files = surroundings.context_files
        self._outcomes: dict[str, TurnOutcome] = {}
        self._waiting: dict[str, anyio.Event] = {}
        self.admission = asyncio.Lock()
        self.errand: anyio.CancelScope | None = None
        """What runs instead of a turn (``host.errand``)."""

    # Made at first use, and so are the imports behind them: whoever opens a session does not wait for its first turn.

    @cached_property
    def tools(self) -> Tools:
        from koda_daemon.coding.tools import make_tools

        return make_tools(self.workspace, self.executor)

    @cached_property
    def context(self) -> ContextManager:
        from koda_daemon.coding.prompts import system_prompt
        from koda_daemon.mom.context import ContextManager

        tools = [tool.spec for tool in self.tools.values()]
        system = system_prompt(cwd=Path(self.session.cwd), tools=tools, context_files=self._context_files)
        return ContextManager(self.session, system=system, tools=tools)

    @cached_property
    def files(self) -> SessionFiles:
        from koda_daemon.host.changes_track import SessionFiles

        return SessionFiles(self)

    @cached_property
    def images(self) -> ImagePreparer:
        from koda_daemon.ai.images import ImagePreparer

        size = self.settings.images
        return ImagePreparer(max_width=size.max_width, max_height=size.max_height, read=self._read_image)

    async def _read_image(self, uri: str) -> bytes:
        from koda_daemon.coding.workspace import BinaryFile

        found = await self.workspace.read(self.workspace.resolve(uri))
        return found.data if isinstance(found, BinaryFile) else found.text.encode()

    def _new_turn(self, turn_id: str, model: Model, options: dict[str, Any]) -> Turn:
        from koda_daemon.host.turn import Turn

        return Turn(self, turn_id, model, options)

    # other daemons

    async def mend(self) -> None:
        """Ends the turns that a killed daemon left running; those of one that is there are followed."""
        if self.session.running:
            try:
                await self.claim(patient=True)
            except KodaError as error:
                if error.kind == "session.locked":
                    self.told.turn_id = self.session.running[-1].turn_id
                # Whatever else: the session can be looked at, and the first change tries again.

    @property
    def foreign_turns(self) -> bool:
        """Whether a turn runs that is not ours: another daemon's, or one that a dead daemon has left."""
        return any(turn.turn_id not in self._own_turns for turn in self.session.running)

    # Both under ``admission``: what we did ourselves is told before what another daemon did after it.

    async def refresh(self) -> bool:
        """Learns what other daemons have done, and tells of it; False when that was nothing, or must wait.

        Raises ``session.notFound`` when one of them deleted the session.
        """
        if self.admission.locked():
            return False
        async with self.admission:
            return await self.session.refresh()

    async def claim(self, *, patient: bool = False) -> None:
        """As ``Session.claim``, for whoever is about to write. Raises ``session.locked``."""
        async with self.admission:
            await self.session.claim(keep=frozenset(self._own_turns), patient=patient)

    def _follow(self, changes: Changes) -> None:
        if self.turn is not None:  # it was taken for dead and another daemon has gone on: it ends before that is told
            self._missed.append(changes)
            self.turn.cancel()
            return
        for event in events_of(changes, self.told, self.session.tree):
            self.emit(event)

    # clients

    def attach(self, client: Client) -> None:
        self.clients.append(client)
        self.left_at = None

    def detach(self, client: Client) -> None:
        self.clients.remove(client)
        if not self.clients:
            self.left_at = time.monotonic()
            self._rest()

    def _rest(self) -> None:
        """Lets go of what only a turn needs, when all clients have left and none runs."""
        if self.left_at is not None and self.turn is None and "context" in self.__dict__:
            self.context.release()

    @property
    def idle(self) -> bool:
        """Whether closing it would end nothing."""
        return (
            not self.clients
            and not self.busy
            and not self.admission.locked()
            and not ("tools" in self.__dict__ and any(one.state == "running" for one in self.tools.background.list()))
        )

    # facts

    def emit(self, event: Event) -> None:
        self.log.append(event)

    @property
    def model(self) -> Model:
        return self.host.models.model(self.session.model)

    # prompts

    @writes
    async def prompt(
        self,
        content: str | list[UserBlock],
        *,
        delivery: Delivery = "auto",
        model: str | None = None,
        options: dict[str, Any] | None = None,
        request_id: str | None = None,
    ) -> Admission:
        """Takes a prompt: starts a turn, queues it, or lets it steer the running turn. Durable when it returns.

        A repeated ``request_id`` gives the first answer. Raises ``turn.busy`` (delivery ``reject``), ``model.unknown``,
        ``params.invalid``.
        """
        blocks = _blocks(content)
        async with self.admission:
            if request_id is not None and (known := await self.session.recall(request_id)) is not None:
                return msgspec.convert(known, Admission)
            chosen = self.host.models.model(model or self.session.model)
            check_options(self.host, options)
            if not self.busy and not self.session.queue:
                return await self._start(blocks, new_id(), chosen, options or {}, request_id)
            if self.busy and delivery == "reject":
                raise self._is_busy("Wait, steer or queue the prompt.")
            steer = self.turn is not None and delivery == "steer"
            waiting = QueuedPrompt(
                turn_id=new_id(),
                content=blocks,
                created_at=timestamp(),
                model=model,
                options=options,
                delivery="steer" if steer else "queue",
            )
            admission = Admission(
                turn_id=self.turn.id if steer and self.turn else waiting.turn_id,
                status="steered" if steer else "queued",
            )
            await self.session.enqueue(waiting, request=_remember(request_id, admission))
            self.queue_changed()
            if not self.busy:  # it ended while the prompt was being stored
                await self._start_next()
            return admission

    @writes
    async def retry(self, *, model: str | None = None, options: dict[str, Any] | None = None) -> Admission:
        """The last turn again, as a sibling branch from the same parent. Raises ``turn.busy``, ``turn.notFound``."""
        async with self.admission:
            self.need_idle()
            last = self.last_prompt()
            prompt = (await self.session.nodes([last]))[0] if last is not None else None
            if prompt is None or not isinstance(prompt.message, UserMessage):
                raise KodaError("turn.notFound", "There is no turn to retry.")
            chosen = self.host.models.model(model or self.session.model)
            await self.set_head(prompt.parent_id)
            return await self._start(prompt.message.content, new_id(), chosen, options or {})

    @writes
    async def continue_(self, *, model: str | None = None, options: dict[str, Any] | None = None) -> Admission:
        """Goes on from the head without new text. Raises ``turn.busy``, ``turn.notFound``."""
        async with self.admission:
            self.need_idle()
            if self.session.head_id is None:
                raise KodaError("turn.notFound", "There is nothing to continue.")
            chosen = self.host.models.model(model or self.session.model)
            record = TurnRecord(
                turn_id=new_id(),
                status="running",
                parent_id=self.session.head_id,
                model=chosen.ref,
                created_at=timestamp(),
            )
            self._own_turns.add(record.turn_id)
            await self.session.start_turn(record)
            self._run(self._new_turn(record.turn_id, chosen, options or {}), None)
            return Admission(turn_id=record.turn_id, status="started")

    async def _start(
        self,
        content: tuple[UserBlock, ...],
        turn_id: str,
        model: Model,
        options: dict[str, Any],
        request_id: str | None = None,
        *,
        dequeue: str | None = None,
    ) -> Admission:
        node = self.user_node(content, turn_id)
        admission = Admission(turn_id=turn_id, status="started")
        record = TurnRecord(
            turn_id=turn_id,
            status="running",
            user_node_id=node.id,
            parent_id=node.parent_id,
            model=model.ref,
            created_at=node.created_at,
        )
        self._own_turns.add(turn_id)
        with anyio.CancelScope(shield=True):
            await self.append(node, turn=record, dequeue=dequeue, request=_remember(request_id, admission))
        self._run(self._new_turn(turn_id, model, options), node)
        if dequeue is not None:
            self.queue_changed()
        if self.session.info.title is None:
            self.host.start(self._name_after, text_of(content))
        return admission

    def _run(self, turn: Turn, node: Node | None) -> None:
        self.turn = turn
        self.host.start(self._run_turn, turn, node)

    async def _run_turn(self, turn: Turn, node: Node | None) -> None:
        for client in self.clients:
            self.host.start(client.turn_started, self, turn.id)
        try:
            await turn.run(node)
        finally:
            self.turn = None
            self._own_turns.discard(turn.id)
            self.policy.end_turn()
            self._settle(turn.id, turn.outcome)
            self._rest()
            missed, self._missed = self._missed, []
            for changes in missed:
                self._follow(changes)
            if self.session.info.origin is not None:
                self.host.start(self._bring_home)
            if turn.outcome is not None:
                for client in self.clients:
                    self.host.start(client.turn_ended, turn.outcome)
        await self.next_turn()

    async def next_turn(self) -> None:
        """Starts the turn of the prompt that waits longest, if nothing else runs."""
        async with self.admission:
            if not self.busy:
                await self._start_next()

    async def _bring_home(self) -> None:
        from koda_daemon.host.worktrees import bring_home

        await bring_home(self)

    async def _start_next(self) -> None:
        """Starts the turn of the oldest waiting prompt. A model that is gone falls back to the session's own."""
        waiting = self.next_queued(None)
        if waiting is None:
            return
        try:
            model = self.host.models.model(waiting.model or self.session.model)
        except KodaError:
            model = self.model
        await self._start(waiting.content, waiting.turn_id, model, waiting.options or {}, dequeue=waiting.turn_id)

    async def _name_after(self, text: str) -> None:
        title = " ".join(text.split())[:TITLE_LENGTH]
        if title:
            await self.rename(title)

    async def outcome(self, turn_id: str) -> TurnOutcome:
        """Waits for the end of a turn that runs or is queued. Raises ``turn.notFound``."""
        known = self._outcomes.get(turn_id)
        if known is None:
            running = self.turn is not None and self.turn.id == turn_id
            if not running and all(prompt.turn_id != turn_id for prompt in self.session.queue):
                raise KodaError("turn.notFound", f"Turn {turn_id} is not running.")
            waiting = self._waiting.setdefault(turn_id, anyio.Event())
            await waiting.wait()
            known = self._outcomes.get(turn_id)
            if known is None:
                raise KodaError("turn.notFound", "The prompt was taken out of the queue.")
        return known

    def _settle(self, turn_id: str, outcome: TurnOutcome | None) -> None:
        if outcome is not None:
            self._outcomes[turn_id] = outcome
            while len(self._outcomes) > OUTCOMES_KEPT:
                del self._outcomes[next(iter(self._outcomes))]
        waiting = self._waiting.pop(turn_id, None)
        if waiting is not None:
            waiting.set()

    def cancel(self, turn_id: str | None = None) -> bool:
        """Cancels the running turn (or only if it is ``turn_id``), or the errand; False when there was none."""
        if self.errand is not None and turn_id is None:
            self.errand.cancel()
            return True
        if self.turn is None or turn_id not in (None, self.turn.id):
            return False
        self.turn.cancel()
        return True

    def cancel_tool(self, call_id: str) -> bool:
        return self.turn is not None and self.turn.cancel_tool(call_id)

    # the queue

    def next_queued(self, delivery: Literal["queue", "steer"] | None) -> QueuedPrompt | None:
        """The oldest waiting prompt of a kind (None: of any)."""
        return next((prompt for prompt in self.session.queue if delivery in (None, prompt.delivery)), None)

    def queue_changed(self) -> None:
        self.emit(QueueChanged(queue=tuple(self.session.queue)))

    @writes
    async def update_queued(
        self,
        turn_id: str,
        *,
        content: str | list[UserBlock] | None = None,
        model: str | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        """Changes a waiting prompt; None leaves a part as it is. Raises ``turn.notFound``."""
        waiting = self._queued(turn_id)
        if model is not None:
            self.host.models.model(model)
        changed = msgspec.structs.replace(
            waiting,
            content=waiting.content if content is None else _blocks(content),
            model=waiting.model if model is None else model,
            options=waiting.options if options is None else options,
        )
        await self.session.update_queued(changed)
        self.queue_changed()

    def _queued(self, turn_id: str) -> QueuedPrompt:
        for waiting in self.session.queue:
            if waiting.turn_id == turn_id:
                return waiting
        raise KodaError("turn.notFound", f"No prompt of turn {turn_id} waits.")

    @writes
    async def remove_queued(self, turn_id: str) -> None:
        """Takes a waiting prompt out. Raises ``turn.notFound``."""
        self._queued(turn_id)
        await self.session.dequeue(turn_id)
        self._settle(turn_id, None)
        self.queue_changed()

    @writes
    async def reorder_queue(self, turn_ids: list[str]) -> None:
        await self.session.reorder(turn_ids)
        self.queue_changed()

    # the tree

    async def append(
        self,
        node: Node,
        *,
        turn: TurnRecord | None = None,
        dequeue: str | None = None,
        request: tuple[str, dict[str, Any]] | None = None,
    ) -> None:
        """Appends a node at the head; durable when it returns. The caller then emits the event that tells of it:
        one with the node's id, or ``head.moved``."""
        await self.session.append(node, turn=turn, dequeue=dequeue, request=request)
        self.context.added(node)
        label = self.session.tree[node.id].label
        if label is not None:  # of the named branch that has begun to grow
            self.emit(LabelChanged(node_id=node.id, label=label))

    def user_node(self, content: tuple[UserBlock, ...], turn_id: str) -> Node:
        return Node(
            id=new_id(),
            parent_id=self.session.head_id,
            kind="user",
            created_at=timestamp(),
            turn_id=turn_id,
            message=UserMessage(content),
        )

    async def set_head(self, node_id: str | None, *, branch_id: str | None = None) -> None:
        """Moves the head of an idle session, to grow a named branch if it is given; the caller holds ``admission``.

        Raises ``node.notFound``, ``turn.busy``.
        """
        self.need_idle()
        await self.session.set_head(node_id, branch_id=branch_id)
        self.emit(HeadMoved(node_id=node_id, head_id=node_id))

    async def shown(self, limit: int) -> list[Node]:
        """The newest nodes of the head's path, whole, as clients were told of it; nothing waits after it."""
        while True:
            head = self.told.head_id
            nodes = await self.session.path(to=head, limit=limit) if head is not None else []
            if head == self.told.head_id:
                return nodes

    def last_prompt(self) -> str | None:
        """The newest prompt on the head's path."""
        here = self.session.head_id
        while here is not None and (entry := self.session.tree[here]).kind != "user":
            here = entry.parent_id
        return here

    @property
    def busy(self) -> bool:
        """Whether a turn or an errand runs."""
        return self.turn is not None or self.errand is not None

    def need_idle(self) -> None:
        if self.busy:
            raise self._is_busy("Cancel it or wait.")

    def _is_busy(self, advice: str) -> KodaError:
        what = "A turn is running." if self.turn is not None else "A summary is being written."
        return KodaError("turn.busy", what, retryable=True, user_action=advice)

    @writes
    async def rename(self, title: str | None) -> None:
        await self.session.rename(title)
        self.emit(SessionChanged(session=self.session.info))

    async def close(self) -> None:
        """Ends the turn, the background processes and the memory of an open session; the stored one stays."""
        if self.errand is not None:
            self.errand.cancel()
        turn = self.turn
        if turn is not None:
            turn.cancel()
            await turn.ended.wait()
        if "context" in self.__dict__:
            self.context.release()
        if "tools" in self.__dict__:
            await self.tools.aclose()
        await self.executor.aclose()


def _blocks(content: str | list[UserBlock]) -> tuple[UserBlock, ...]:
    blocks: tuple[UserBlock, ...] = (TextBlock(content),) if isinstance(content, str) else tuple(content)
    if not any(not isinstance(block, TextBlock) or block.text.strip() for block in blocks):
        raise KodaError("params.invalid", "The prompt is empty.", path="$.content")
    return blocks


def _remember(request_id: str | None, admission: Admission) -> tuple[str, dict[str, Any]] | None:
    if request_id is None:
        return None
    return request_id, msgspec.to_builtins(admission)
