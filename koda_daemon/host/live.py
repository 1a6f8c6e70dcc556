"""LiveSession: one open session - its log, its turns, the clients that watch it, and the head of its tree."""

from __future__ import annotations

import asyncio
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from koda_daemon.agent.events import Event
from koda_daemon.ai.messages import UserBlock, UserMessage
from koda_daemon.ai.provider import Model
from koda_daemon.base.errors import KodaError
from koda_daemon.base.ids import new_id
from koda_daemon.coding.prompts import ContextFile
from koda_daemon.coding.settings import Settings
from koda_daemon.coding.workspace import Workspace
from koda_daemon.host.approvals import Approvals
from koda_daemon.host.clients import Client, Editors
from koda_daemon.host.events import HeadMoved, LabelChanged, SessionChanged
from koda_daemon.host.follow import events_of
from koda_daemon.host.lease import writes
from koda_daemon.host.log import EventLog
from koda_daemon.host.told import Told
from koda_daemon.host.turns import Turns
from koda_daemon.session.memory import Changes
from koda_daemon.session.nodes import Node, TurnRecord, timestamp
from koda_daemon.session.session import Session

if TYPE_CHECKING:
    import anyio

    from koda_daemon.ai.images import ImagePreparer
    from koda_daemon.coding.tools import Tools
    from koda_daemon.host.changes_track import SessionFiles
    from koda_daemon.host.host import Host
    from koda_daemon.host.turn import Turn
    from koda_daemon.mom.context import ContextManager


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
        self.turns = Turns(self)
        self.told = Told(session.head_id)
        self.log = EventLog(session.id, seq, limit=settings.connection.outbox_bytes, told=self.told.take)
        session.on_changes = self._follow
        self._missed: list[Changes] = []
        self.approvals = Approvals(self.clients, self.emit)
        self.workspace = Workspace(Path(session.cwd), editor=Editors(self.clients))
        self.executor = host.executor(Path(session.cwd), settings)
        self.policy = host.policy(Path(session.cwd), settings, self.executor)
        self._context_files = surroundings.context_files
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
        return any(turn.turn_id not in self.turns.own for turn in self.session.running)

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
            await self.session.claim(keep=self.turns.own, patient=patient)

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
        self.approvals.joined(client)

    def detach(self, client: Client) -> None:
        self.clients.remove(client)
        self.approvals.left(client)
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

    @property
    def turn(self) -> Turn | None:
        """The running turn."""
        return self.turns.running

    def turn_over(self) -> None:
        """For the turn that has ended."""
        self.policy.end_turn()
        self._rest()
        missed, self._missed = self._missed, []
        for changes in missed:
            self._follow(changes)
        if self.session.info.origin is not None:
            self.host.start(self._bring_home)

    async def _bring_home(self) -> None:
        from koda_daemon.host.worktrees import bring_home

        await bring_home(self)

    def emit(self, event: Event) -> None:
        self.log.append(event)

    @property
    def model(self) -> Model:
        return self.host.models.model(self.session.model)

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

    def need_idle(self, advice: str = "Cancel it or wait.") -> None:
        """Raises ``turn.busy``, with ``advice``, while something runs."""
        if self.busy:
            what = "A turn is running." if self.turn is not None else "A summary is being written."
            raise KodaError("turn.busy", what, retryable=True, user_action=advice)

    @writes
    async def rename(self, title: str | None) -> None:
        await self.session.rename(title)
        self.emit(SessionChanged(session=self.session.info))

    async def end_turn(self) -> None:
        """Cancels what runs, an errand or a turn, and waits for the end of that."""
        if self.errand is not None:
            self.errand.cancel()
        turn = self.turn
        if turn is not None:
            turn.cancel()
            await turn.ended.wait()

    async def close(self) -> None:
        """Ends the turn, the background processes and the memory of an open session; the stored one stays."""
        await self.end_turn()
        if "context" in self.__dict__:
            self.context.release()
        if "tools" in self.__dict__:
            await self.tools.aclose()
        await self.executor.aclose()
