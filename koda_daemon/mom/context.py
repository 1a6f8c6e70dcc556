"""ContextManager: what goes into the model's window, from the branch that the head is on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from koda_daemon.ai.messages import AssistantMessage, Message, TextBlock, UserMessage
from koda_daemon.ai.provider import Context, ToolSpec
from koda_daemon.session.nodes import Node
from koda_daemon.session.tokens import calibration, compacted_to, counted_answer, node_tokens, text_tokens, unmeasured
from koda_daemon.session.tree import preview_of
from koda_daemon.session.view import SessionView
from koda_daemon.session.window import effective_path, live_part, messages_of

GO_ON = UserMessage((TextBlock("Go on from where you stopped."),))
"""Ends a window that would end with an answer: providers refuse those, and the model is to go on."""


REPORT_PAGE = 200
REPORT_CUTS = 100


class ContextPart(Struct, frozen=True, kw_only=True):
    """One part of the window; ``tokens`` is its estimated share of the whole. ``kind`` and ``title`` as in
    ``koda/context``."""

    kind: Literal["system", "tools", "summary", "user", "assistant", "toolResult"]
    title: str
    tokens: int
    node_id: str | None = None


class ContextCut(Struct, frozen=True, kw_only=True):
    """A node of the path that the window leaves out; None for several."""

    node_id: str | None
    reason: str
    tokens: int


class ContextReport(Struct, frozen=True, kw_only=True):
    """What is in the window; ``parts`` add up to ``tokens``. ``estimated``: no provider has counted it yet."""

    parts: tuple[ContextPart, ...]
    cut: tuple[ContextCut, ...]
    tokens: int
    estimated: bool


class ContextManager:
    """The window of one session, kept up to date node by node: a request costs what is new since the last one, however
    long the conversation is. Of the path only what the model still sees is held.

    Messages keep their identity from request to request: wire APIs cache their encoded form by it.
    """

    def __init__(self, session: SessionView, *, system: str, tools: Sequence[ToolSpec]) -> None:
        self._session = session
        self._system = system
        self._tools = tuple(tools)
        self._overhead = text_tokens(system) + sum(map(_tool_tokens, tools))
        self._ratio = 1.0
        self._fill([])

    def _fill(self, path: list[Node]) -> None:
        """Starts from the live part of a path."""
        self._path = path
        self._messages: list[Message] = messages_of(effective_path(path))
        self._ratio = calibration(path, self._ratio)
        self._measured, self._tail = unmeasured(path)
        self._base = self._overhead
        after = compacted_to(path)
        if self._measured is None and after is not None:
            self._base, self._tail = after

    def added(self, node: Node) -> None:
        """Takes note of a node just appended, so that it need not be read back."""
        if node.parent_id != (self._path[-1].id if self._path else None):
            return  # the head has moved: what is held is of another path, and is read anew when it is asked for
        if node.first_kept_id is not None and all(node.first_kept_id != each.id for each in self._path):
            self.release()  # it keeps what the last compaction did not
            return
        if node.kind in ("compaction", "note"):
            self._fill(live_part([*self._path, node]))
            return
        self._path.append(node)
        self._messages += messages_of([node])
        answer = counted_answer(node)
        if answer is not None:
            self._ratio = calibration(self._path, self._ratio)
            self._measured, self._tail = answer.usage.context_tokens, 0
        else:
            self._tail += node_tokens(node)

    async def live_path(self) -> list[Node]:
        """The part of the head's path that the model still sees, whole (``Session.live_path``). Not to be changed."""
        while (self._path[-1].id if self._path else None) != (head := self._session.head_id):
            path = await self._session.live_path(to=head) if head is not None else []
            if head == self._session.head_id:
                self._fill(path)
        return self._path

    async def window(self) -> Context:
        """What the next request sends."""
        await self.live_path()
        messages = list(self._messages)
        if messages and isinstance(messages[-1], AssistantMessage):
            messages.append(GO_ON)
        return Context(self._system, messages, self._tools)

    async def tokens(self) -> int:
        """How much of the window the next request takes: measured by the provider where it can be, else estimated."""
        await self.live_path()
        return (self._base if self._measured is None else self._measured) + round(self._tail * self._ratio)

    @property
    def ratio(self) -> float:
        """What the provider's tokens are, times the estimate."""
        return self._ratio

    async def tokens_after_compaction(self) -> int:
        """How much the last compaction left; 0 when there was none."""
        after = compacted_to(await self.live_path())
        return 0 if after is None else after[0]

    async def tokens_with(self, node: Node) -> int:
        """The same if a node (a compaction) were appended: what would leave is estimated, so that what a provider has
        measured of the rest, and of system text and tools, still counts."""
        live = await self.live_path()
        now, then = (sum(map(node_tokens, effective_path(path))) for path in (live, live_part([*live, node])))
        return max(round(then * self._ratio), await self.tokens() - round((now - then) * self._ratio))

    async def report(self) -> ContextReport:
        """Explains the window (``koda/context``)."""
        live = await self.live_path()
        tokens = await self.tokens()
        parts = [
            ContextPart(kind="system", title="System prompt", tokens=text_tokens(self._system)),
            ContextPart(kind="tools", title=f"{len(self._tools)} tools", tokens=sum(map(_tool_tokens, self._tools))),
        ]
        window = effective_path(live)
        for node in window:
            kind = node.kind if node.kind in ("user", "assistant", "toolResult") else "summary"
            parts.append(ContextPart(kind=kind, title=preview_of(node), tokens=node_tokens(node), node_id=node.id))
        shown = {node.id for node in window}
        edited = [
            ContextCut(node_id=node.id, reason="left out by an edit of the context", tokens=node_tokens(node))
            for node in live
            if node.id not in shown and node.kind not in ("note", "compaction")
        ]
        older = await self._replaced(live[0].parent_id) if live else []
        return ContextReport(
            parts=_adding_up(parts, tokens), cut=(*older, *edited), tokens=tokens, estimated=self._measured is None
        )

    async def _replaced(self, to: str | None) -> list[ContextCut]:
        """What summaries stand for: the path up to a node. The newest ones by name, those before them as one."""
        ids = self._session.tree.path_ids(to)
        cut: list[ContextCut] = []
        before = 0
        for start in range(0, len(ids), REPORT_PAGE):  # not all at once: it may be long, and others want the store too
            for node in await self._session.nodes(ids[start : start + REPORT_PAGE]):
                if node.kind == "note":
                    continue
                cut.append(ContextCut(node_id=node.id, reason="replaced by the summary", tokens=node_tokens(node)))
                if len(cut) > REPORT_CUTS:
                    before += cut.pop(0).tokens
        if before:
            cut.insert(0, ContextCut(node_id=None, reason="older nodes, replaced by summaries", tokens=before))
        return cut

    def release(self) -> None:
        """Forgets the path; it is read again when it is needed."""
        self._fill([])


def _adding_up(parts: list[ContextPart], tokens: int) -> tuple[ContextPart, ...]:
    """The parts as shares of the whole, which a provider may have measured, while parts can only be estimated."""
    shares: list[ContextPart] = []
    estimate, before, given = sum(part.tokens for part in parts), 0, 0
    for part in parts:
        before += part.tokens
        upto = round(before * tokens / estimate) if estimate else 0
        shares.append(msgspec.structs.replace(part, tokens=upto - given))
        given = upto
    return tuple(shares)


def _tool_tokens(tool: ToolSpec) -> int:
    return text_tokens(tool.description) + text_tokens(str(tool.parameters))
