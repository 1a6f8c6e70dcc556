"""AgentLoop: ask the model, run the tools it calls, tell it the results, until it stops."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias

import anyio
from msgspec import Struct, field

from koda_daemon.agent import events as out
from koda_daemon.agent.answer import AnswerReader
from koda_daemon.agent.retry import RetryPolicy
from koda_daemon.agent.tool import AgentTool, ToolContext, ToolResult
from koda_daemon.agent.validation import argument_errors
from koda_daemon.ai.events import Done
from koda_daemon.ai.messages import AssistantMessage, ToolCall, Usage
from koda_daemon.ai.provider import Context, Model
from koda_daemon.ai.stream import AssistantMessageEventStream
from koda_daemon.base.errors import KodaError
from koda_daemon.base.ids import new_id

Authorize: TypeAlias = Callable[[AgentTool, ToolCall, dict[str, Any]], Awaitable[dict[str, Any]]]

OUTPUT_LIMIT = 1 << 20
"""Characters of one call's output that are streamed to clients; the tool itself says where the rest is."""


class AgentLoopConfig(Struct, frozen=True, kw_only=True):
    """What one turn runs with."""

    session_id: str
    turn_id: str
    model: Model
    stream: Callable[[Context], AssistantMessageEventStream]
    tools: Mapping[str, AgentTool]
    authorize: Authorize
    """Called before a tool runs: returns the arguments to run with, raises ``permission.denied``."""
    max_iterations: int = 200
    retry: RetryPolicy = field(default_factory=RetryPolicy)


class Transcript(Protocol):
    """Where a turn reads its history from and writes to. ``record_*`` return when it is durable."""

    async def context(self) -> Context: ...

    async def record_answer(self, node_id: str, message: AssistantMessage) -> None: ...

    async def record_spent(self, usage: Usage) -> None:
        """What an attempt cost that leaves no answer."""
        ...

    async def record_result(self, call: ToolCall, result: ToolResult, duration_ms: int) -> None: ...

    async def steer(self) -> bool:
        """Lets waiting steering prompts in; True when there was one."""
        ...

    async def make_room(self) -> bool:
        """Compacts after a context overflow; False when there is nothing left to cut."""
        ...

    def emit(self, event: out.Event) -> None: ...

    async def ready(self) -> None:
        """Waits while clients are too far behind."""
        ...


class AgentLoop:
    """Runs one turn. Cancel it by cancelling the scope that ``run`` is awaited in: whatever had arrived is recorded."""

    def __init__(self, config: AgentLoopConfig, transcript: Transcript) -> None:
        self._config = config
        self._transcript = transcript
        self._reader: AnswerReader | None = None
        self._running: dict[str, _RunningCall] = {}

    async def run(self) -> out.TurnStopReason:
        """Why the turn stopped; raises the ``KodaError`` that no retry could mend."""
        for _ in range(self._config.max_iterations):
            answer = await self._ask()
            calls = answer.tool_calls
            if calls:
                await self._run_tools(answer)
            steered = await self._transcript.steer()
            if not (calls or steered or answer.stop_reason == "pause"):
                return _turn_stop(answer)
        return "maxIterations"

    def cancel_tool(self, call_id: str) -> bool:
        """Cancels one running call; the turn goes on with its ``cancelled`` result. False when it does not run."""
        running = self._running.get(call_id)
        if running is None or running.ended:
            return False
        running.scope.cancel()
        return True

    def live_events(self) -> list[out.Event]:
        """What was said of the answer and the calls that are under way, merged: for a client that joins now."""
        events = self._reader.live_events() if self._reader is not None else []
        for running in self._running.values():
            events += running.live_events(self._config.turn_id)
        return events

    async def _ask(self) -> AssistantMessage:
        """One answer, with retries; every failed attempt that a client saw is taken back."""
        attempt, compacted = 1, False
        while True:
            node_id = new_id()
            reader = AnswerReader(self._config.turn_id, node_id, self._config.model, self._transcript)
            self._reader = reader
            try:
                final = await reader.read(self._config.stream(await self._transcript.context()))
            except BaseException:
                await self._keep(reader, reader.message("cancelled"))
                raise
            if isinstance(final, Done):
                await self._record(node_id, final.message)
                return final.message
            error = final.error
            if error.kind == "context.overflow" and not compacted:
                await self._discard(reader)
                compacted = True
                if await self._transcript.make_room():
                    continue
            delay = self._config.retry.delay(attempt, error)
            if delay is None:
                await self._keep(reader, reader.message("error", error.message))
                raise error
            await self._discard(reader)
            attempt += 1
            self._transcript.emit(
                out.Retry(
                    turn_id=self._config.turn_id,
                    attempt=attempt,
                    max_attempts=self._config.retry.max_attempts,
                    delay_ms=round(delay * 1000),
                    reason=error.message,
                )
            )
            await anyio.sleep(delay)

    async def _record(self, node_id: str, message: AssistantMessage) -> None:
        # Shielded: a write that is under way must not be half-known to us.
        with anyio.CancelScope(shield=True):
            await self._transcript.record_answer(node_id, message)
        self._reader = None

    async def _keep(self, reader: AnswerReader, partial: AssistantMessage) -> None:
        """What a client saw of the last attempt stays as a node; if that is nothing but calls, it is taken back."""
        if partial.content:
            await self._record(reader.node_id, partial)
        else:
            await self._discard(reader)

    async def _discard(self, reader: AnswerReader) -> None:
        self._reader = None
        if reader.started:
            self._transcript.emit(out.MessageDiscarded(turn_id=self._config.turn_id, node_id=reader.node_id))
        if (spent := reader.spent) != Usage():  # providers bill what they have read, however it ended
            with anyio.CancelScope(shield=True):
                await self._transcript.record_spent(spent)

    async def _run_tools(self, answer: AssistantMessage) -> None:
        """Runs the calls of one answer side by side and records the results in the order of the calls."""
        calls = answer.tool_calls
        done: list[tuple[ToolResult, int] | None] = [None] * len(calls)
        changed = [anyio.Event() for _ in calls]

        async def run_one(index: int, call: ToolCall) -> None:
            started = time.monotonic()
            try:
                result = await self._run_tool(call, cut_off=answer.stop_reason == "length")
            except BaseException:
                done[index] = _cancelled(started)
                raise
            done[index] = (result, _millis(started))
            changed[index].set()

        recorded = 0
        try:
            async with anyio.create_task_group() as group:
                for index, call in enumerate(calls):
                    group.start_soon(run_one, index, call)
                for index, call in enumerate(calls):
                    await changed[index].wait()
                    result, millis = done[index] or _cancelled(time.monotonic())
                    with anyio.CancelScope(shield=True):
                        await self._transcript.record_result(call, result, millis)
                    self._running.pop(call.call_id, None)
                    recorded = index + 1
        finally:
            # Only after a cancel: every call of the answer has a result, so that the history stays whole.
            with anyio.CancelScope(shield=True):
                for index in range(recorded, len(calls)):
                    result, millis = done[index] or _cancelled(time.monotonic())
                    await self._transcript.record_result(calls[index], result, millis)
                    self._running.pop(calls[index].call_id, None)

    async def _run_tool(self, call: ToolCall, *, cut_off: bool) -> ToolResult:
        tool = self._config.tools.get(call.tool)
        if tool is None:
            return ToolResult.failed(f"There is no tool {call.tool!r}. Tools: {', '.join(self._config.tools)}.")
        if cut_off:
            return ToolResult.failed(
                "The answer was cut off at the output limit, so this call was not run. Send it again in smaller parts."
            )
        if call.arguments_error is not None:
            return ToolResult.failed(f"The arguments are not a JSON object: {call.arguments_error}. Nothing was run.")
        arguments = tool.prepare(call.arguments)
        errors = argument_errors(tool.spec, arguments)
        if errors:
            return ToolResult.failed("Invalid arguments, nothing was run:\n" + "\n".join(errors))
        with anyio.CancelScope() as scope:
            running = self._running[call.call_id] = _RunningCall(call, scope)
            try:
                arguments = await self._config.authorize(tool, call, arguments)
                running.arguments = arguments
                self._transcript.emit(running.started(self._config.turn_id))
                return await tool.run(arguments, self._context_of(running))
            except KodaError as error:
                denied = error.kind == "permission.denied"
                return ToolResult.failed(
                    error.message, status="denied" if denied else "error", details={"kind": error.kind}
                )
            except Exception as error:
                return ToolResult.failed(f"The tool broke: {type(error).__name__}: {error}")
            finally:
                running.ended = True  # and known until its result is told, in the order of the calls
        return ToolResult.failed("Cancelled by the user.", status="cancelled")

    def _context_of(self, running: _RunningCall) -> ToolContext:
        turn_id = self._config.turn_id

        def output(text: str) -> None:
            event = running.output(turn_id, text)
            if event is not None:
                self._transcript.emit(event)

        def emit(event: out.Event) -> None:
            event.turn_id = turn_id
            self._transcript.emit(event)

        return ToolContext(
            session_id=self._config.session_id,
            turn_id=turn_id,
            call_id=running.call.call_id,
            output=output,
            emit=emit,
        )


class _RunningCall:
    """A call under way: how to cancel it, and what clients were told of it."""

    def __init__(self, call: ToolCall, scope: anyio.CancelScope) -> None:
        self.call = call
        self.scope = scope
        self.arguments: dict[str, Any] | None = None
        self.ended = False
        self._parts: list[str] = []
        self._length = 0
        self._units = 0

    def started(self, turn_id: str) -> out.Event:
        return out.ToolStarted(
            turn_id=turn_id, call_id=self.call.call_id, tool=self.call.tool, arguments=self.arguments or {}
        )

    def output(self, turn_id: str, text: str) -> out.Event | None:
        """The event for a piece of output; None once enough was streamed."""
        piece = text[: OUTPUT_LIMIT - self._length]
        if not piece:
            return None
        event = out.ToolOutput(turn_id=turn_id, call_id=self.call.call_id, offset=self._units, text=piece)
        self._parts.append(piece)
        self._length += len(piece)
        self._units += out.utf16_length(piece)
        return event

    def live_events(self, turn_id: str) -> list[out.Event]:
        if self.arguments is None:
            return []
        text = "".join(self._parts)
        said = [out.ToolOutput(turn_id=turn_id, call_id=self.call.call_id, offset=0, text=text)] if text else []
        return [self.started(turn_id), *said]


def _millis(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


def _cancelled(started: float) -> tuple[ToolResult, int]:
    return ToolResult.failed("Cancelled by the user.", status="cancelled"), _millis(started)


def _turn_stop(answer: AssistantMessage) -> out.TurnStopReason:
    return answer.stop_reason if answer.stop_reason in ("length", "refusal") else "end"
