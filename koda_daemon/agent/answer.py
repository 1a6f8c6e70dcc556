"""AnswerReader: one attempt at an answer, turned from stream events into the events of a turn as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from koda_daemon.agent import events as out
from koda_daemon.ai import events as ai
from koda_daemon.ai.messages import AssistantBlock, AssistantMessage, StopReason, TextBlock, ThinkingBlock, Usage
from koda_daemon.ai.provider import Model
from koda_daemon.ai.stream import AssistantMessageEventStream

if TYPE_CHECKING:
    from koda_daemon.agent.loop import Transcript


class _Call:
    """A call that is being streamed."""

    __slots__ = ("call_id", "parts", "tool", "units")

    def __init__(self, call_id: str, tool: str) -> None:
        self.call_id = call_id
        self.tool = tool
        self.parts: list[str] = []
        self.units = 0


class AnswerReader:
    """Reads one stream to its end. What arrived so far can be kept (``message``) when the turn is cancelled."""

    def __init__(self, turn_id: str, node_id: str, model: Model, transcript: Transcript) -> None:
        self.node_id = node_id
        self.started = False
        """Whether clients saw anything of this attempt."""
        self._turn_id = turn_id
        self._model = model
        self._transcript = transcript
        self._stream: AssistantMessageEventStream | None = None
        self._text_units = 0
        self._thinking_units = 0
        self._blocks: list[tuple[type[TextBlock] | type[ThinkingBlock], list[str]]] = []
        self._calls: dict[int, _Call] = {}

    async def read(self, stream: AssistantMessageEventStream) -> ai.Done | ai.StreamError:
        """Passes the stream on until its final event, which is returned."""
        transcript = self._transcript
        turn_id, node_id = self._turn_id, self.node_id
        self._stream = stream
        async with stream:
            async for event in stream:
                if type(event) is ai.TextDelta:
                    self._part(TextBlock).append(event.text)
                    transcript.emit(
                        out.TextDeltaEvent(turn_id=turn_id, node_id=node_id, offset=self._text_units, text=event.text)
                    )
                    self._text_units += out.utf16_length(event.text)
                    await transcript.ready()
                elif isinstance(event, ai.Done | ai.StreamError):
                    return event
                else:
                    await self._other(event)
        raise AssertionError("a stream ends with Done or StreamError")

    @property
    def spent(self) -> Usage:
        """What the attempt has cost, as far as the provider told it."""
        return self._stream.spent if self._stream is not None else Usage()

    async def _other(self, event: ai.StreamEvent) -> None:
        match event:
            case ai.ThinkingDelta(text=text):
                self._part(ThinkingBlock).append(text)
                self._transcript.emit(
                    out.ThinkingDeltaEvent(
                        turn_id=self._turn_id, node_id=self.node_id, offset=self._thinking_units, text=text
                    )
                )
                self._thinking_units += out.utf16_length(text)
            case ai.TextStart():
                self._blocks.append((TextBlock, []))
            case ai.ThinkingStart():
                self._blocks.append((ThinkingBlock, []))
            case ai.ToolCallStart(index=index, call_id=call_id, tool=tool):
                self.started = True
                call = self._calls[index] = _Call(call_id, tool)
                self._transcript.emit(self._proposed(call))
            case ai.ToolCallDelta(index=index, text=text):
                call = self._calls[index]
                self._transcript.emit(self._input(call, call.units, text))
                call.parts.append(text)
                call.units += out.utf16_length(text)
            case _:
                return
        await self._transcript.ready()

    def _proposed(self, call: _Call) -> out.Event:
        return out.ToolProposed(turn_id=self._turn_id, node_id=self.node_id, call_id=call.call_id, tool=call.tool)

    def _input(self, call: _Call, offset: int, text: str) -> out.Event:
        return out.ToolInputDelta(
            turn_id=self._turn_id, node_id=self.node_id, call_id=call.call_id, offset=offset, text=text
        )

    def live_events(self) -> list[out.Event]:
        """What clients were told of this attempt, merged."""
        turn_id, node_id = self._turn_id, self.node_id
        events: list[out.Event] = []
        thinking, text = self._joined(ThinkingBlock), self._joined(TextBlock)
        if thinking:
            events.append(out.ThinkingDeltaEvent(turn_id=turn_id, node_id=node_id, offset=0, text=thinking))
        if text:
            events.append(out.TextDeltaEvent(turn_id=turn_id, node_id=node_id, offset=0, text=text))
        for call in self._calls.values():
            events += [self._proposed(call), *([self._input(call, 0, "".join(call.parts))] if call.parts else [])]
        return events

    def _joined(self, kind: type[TextBlock] | type[ThinkingBlock]) -> str:
        return "".join(part for block, parts in self._blocks if block is kind for part in parts)

    def _part(self, kind: type[TextBlock] | type[ThinkingBlock]) -> list[str]:
        self.started = True
        if not self._blocks or self._blocks[-1][0] is not kind:
            self._blocks.append((kind, []))
        return self._blocks[-1][1]

    def message(self, stop_reason: StopReason, error: str | None = None) -> AssistantMessage:
        """The text and thinking that arrived, as a message to keep; calls are left out, since they were never run."""
        content: tuple[AssistantBlock, ...] = tuple(kind("".join(parts)) for kind, parts in self._blocks if parts)
        return AssistantMessage(
            content=content,
            model=self._model.ref,
            api=self._model.api,
            stop_reason=stop_reason,
            usage=self.spent,
            error=error,
        )
