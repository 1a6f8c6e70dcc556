"""Turn: the work from one prompt until the agent stops, as the session's owner of its cancel scope and its nodes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio
from msgspec import Struct

from koda_daemon.agent import events as out
from koda_daemon.agent.loop import AgentLoop, AgentLoopConfig
from koda_daemon.agent.retry import RetryPolicy
from koda_daemon.agent.tool import AgentTool, ToolResult
from koda_daemon.ai.messages import (
    AssistantMessage,
    ToolCall,
    ToolResultMessage,
    Usage,
    UserMessage,
    text_of,
)
from koda_daemon.ai.provider import Context, Model, StreamOptions
from koda_daemon.ai.stream import AssistantMessageEventStream
from koda_daemon.base.errors import KodaError
from koda_daemon.base.ids import new_id
from koda_daemon.host.changes_track import TurnTrack
from koda_daemon.host.compaction import compact, needs_room
from koda_daemon.host.follow import attachments
from koda_daemon.host.permission import authorize
from koda_daemon.host.prompts import queue_changed
from koda_daemon.session.nodes import Node, QueuedPrompt, timestamp

if TYPE_CHECKING:
    from koda_daemon.host.live import LiveSession

_log = logging.getLogger(__name__)


class TurnOutcome(Struct, frozen=True, kw_only=True):
    """How a turn ended; ``text`` is that of its last answer."""

    turn_id: str
    stop_reason: out.TurnStopReason
    text: str
    usage: Usage
    error: KodaError | None = None


class Turn:
    """One running turn (an ``agent.loop.Transcript``)."""

    def __init__(self, live: LiveSession, turn_id: str, model: Model, options: dict[str, Any]) -> None:
        self.id = turn_id
        self.model = model
        self.outcome: TurnOutcome | None = None
        self.ended = anyio.Event()
        self._live = live
        self._options = options
        self._files = TurnTrack(live, turn_id)
        self._scope = anyio.CancelScope()
        self._usage = Usage()
        self._text = ""
        self._compacts = True
        settings = live.settings
        live.executor.choose(self._option("sandbox") or settings.sandbox.mode)
        self._loop = AgentLoop(
            AgentLoopConfig(
                session_id=live.id,
                turn_id=turn_id,
                model=model,
                stream=self._stream,
                tools=live.tools,
                authorize=self._authorize,
                max_iterations=self._option("maxIterations") or settings.agent.max_iterations,
                retry=RetryPolicy(
                    max_attempts=settings.retry.max_attempts,
                    base_delay=settings.retry.base_delay,
                    max_delay=settings.retry.max_delay,
                ),
            ),
            self,
        )

    def cancel(self) -> None:
        """Ends the turn at its next step; what had arrived is kept."""
        self._scope.cancel()

    def cancel_tool(self, call_id: str) -> bool:
        return self._loop.cancel_tool(call_id)

    async def run(self, prompt: Node | None) -> None:
        """Runs to the end, whatever it is; never raises but for a cancelled host."""
        message = prompt.message if prompt is not None else None
        self._live.emit(
            out.TurnStarted(
                turn_id=self.id,
                node_id=prompt.id if prompt is not None else None,
                model=self.model.ref,
                prompt=text_of(message.content) if isinstance(message, UserMessage) else "",
                content=attachments(message) if isinstance(message, UserMessage) else None,
            )
        )
        self._files.prime()
        stop: out.TurnStopReason = "cancelled"
        error: KodaError | None = None
        try:
            with self._scope:
                stop = await self._loop.run()
        except KodaError as failure:
            stop, error = "error", failure
        except Exception as failure:
            _log.exception("turn %s broke", self.id)
            stop, error = "error", KodaError("internal", f"The turn broke: {type(failure).__name__}.")
        finally:
            with anyio.CancelScope(shield=True):
                await self._end(stop, error)

    async def _end(self, stop: out.TurnStopReason, error: KodaError | None) -> None:
        try:
            await self._live.session.end_turn(self.id, stop, files=await self._files.end())
        except KodaError as failure:
            _log.error("the end of turn %s is not stored: %s", self.id, failure.message)
            error = error or failure
        self.outcome = TurnOutcome(turn_id=self.id, stop_reason=stop, text=self._text, usage=self._usage, error=error)
        self._live.emit(
            out.TurnEnded(
                turn_id=self.id, stop_reason=stop, usage=self._usage, error=out.error_data(error) if error else None
            )
        )
        self.ended.set()

    def live_events(self) -> tuple[out.Event, ...]:
        """What clients were told of this turn that no node tells yet, for one that joins now."""
        return tuple(self._loop.live_events())

    # agent.loop.Transcript

    def emit(self, event: out.Event) -> None:
        self._live.log.append(event)

    async def ready(self) -> None:
        if self._live.log.full:
            await self._live.log.ready()

    async def context(self) -> Context:
        self._files.after_calls()
        if self._compacts and await needs_room(self._live, self.model):
            try:
                await compact(self._live, self.model)
            except KodaError as error:  # the window still holds: the budget lies below it
                self._compacts = False  # not again before every request of this turn
                self.emit(out.Notice(turn_id=self.id, level="warning", message=f"Could not compact: {error.message}"))
        return await self._live.images.prepared(await self._live.context.window(), self.model)

    async def record_answer(self, node_id: str, message: AssistantMessage) -> None:
        live = self._live
        node = Node(
            id=node_id,
            parent_id=live.session.head_id,
            kind="assistant",
            created_at=timestamp(),
            turn_id=self.id,
            message=message,
        )
        try:
            await live.append(node)
        except KodaError:  # a full disk, a lost lease: what was streamed is not there for anybody who looks later
            self.emit(out.MessageDiscarded(turn_id=self.id, node_id=node_id))
            raise
        usage = message.usage
        self._usage = self._usage + usage
        self._text = message.text or self._text
        live.emit(out.MessageEnded(turn_id=self.id, node_id=node_id, message=message, usage=usage))
        live.emit(
            out.UsageUpdated(
                turn_id=self.id,
                input=usage.input,
                output=usage.output,
                cache_read=usage.cache_read,
                cache_write=usage.cache_write,
                reasoning=usage.reasoning,
                cost=usage.cost.total,
                context_tokens=usage.context_tokens,
                context_window=self.model.context_window,
            )
        )

    async def record_spent(self, usage: Usage) -> None:
        self._usage = self._usage + usage
        await self._live.session.add_usage(self.model.ref, usage)

    async def record_result(self, call: ToolCall, result: ToolResult, duration_ms: int) -> None:
        live = self._live
        message = ToolResultMessage(
            call_id=call.call_id,
            tool=call.tool,
            status=result.status,
            content=result.content,
            details=result.details,
        )
        node = Node(
            id=new_id(),
            parent_id=live.session.head_id,
            kind="toolResult",
            created_at=timestamp(),
            turn_id=self.id,
            message=message,
            # What clients are told besides the message, for those that open the session later.
            details={"durationMs": duration_ms, **({"diff": result.diff} if result.diff is not None else {})},
        )
        await live.append(node)
        live.emit(
            out.ToolEnded(
                turn_id=self.id,
                node_id=node.id,
                call_id=call.call_id,
                tool=call.tool,
                status=result.status,
                content=result.content,
                details=result.details,
                diff=result.diff,
                duration_ms=duration_ms,
            )
        )

    async def steer(self) -> bool:
        steered = False
        while (prompt := self._next_steering()) is not None:
            node = self._live.user_node(prompt.content, self.id)
            with anyio.CancelScope(shield=True):
                await self._live.append(node, dequeue=prompt.turn_id)
            self._live.emit(out.TurnSteered(turn_id=self.id, node_id=node.id, prompt=text_of(prompt.content)))
            queue_changed(self._live)
            steered = True
        return steered

    def _next_steering(self) -> QueuedPrompt | None:
        return next((waiting for waiting in self._live.session.queue if waiting.delivery == "steer"), None)

    async def make_room(self) -> bool:
        return await compact(self._live, self.model, wanted=True) is not None

    # what the loop is given

    def _stream(self, context: Context) -> AssistantMessageEventStream:
        return self._live.host.models.stream(
            self.model,
            context,
            StreamOptions(effort=self._option("effort"), cache_key=self._live.id, extra=self._option("provider") or {}),
        )

    def _option(self, name: str) -> Any:
        """The prompt's own choice, else the session's, else the default; None when nobody chose."""
        for chosen in (self._options, self._live.session.options, self._live.host.defaults):
            if chosen.get(name) is not None:
                return chosen[name]
        return None

    async def _authorize(self, tool: AgentTool, call: ToolCall, arguments: dict[str, Any]) -> dict[str, Any]:
        mode = self._option("mode") or self._live.settings.permissions.mode
        changes = tool.access(arguments).kind != "read"
        arguments = await authorize(self._live, self.id, tool, call, arguments, mode)
        if changes:
            await self._files.before_change()
        return arguments
