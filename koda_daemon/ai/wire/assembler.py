"""Builds the canonical answer, and its events, out of what a wire API streams. Shared by all wire APIs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal, NoReturn

import msgspec

from koda_daemon.ai.cost import cost_of
from koda_daemon.ai.events import (
    Done,
    Start,
    StreamError,
    StreamEvent,
    TextDelta,
    TextEnd,
    TextStart,
    ThinkingDelta,
    ThinkingEnd,
    ThinkingStart,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
)
from koda_daemon.ai.messages import (
    AssistantBlock,
    AssistantMessage,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolCall,
    Usage,
)
from koda_daemon.ai.provider import Model
from koda_daemon.ai.wire.surrogates import SurrogateJoiner
from koda_daemon.base.errors import KodaError
from koda_daemon.base.ids import new_id

_decode = msgspec.json.decode


class Part:
    """One content block while it streams."""

    __slots__ = ("call_id", "cut", "index", "kind", "pieces", "redacted", "signature", "tool")

    def __init__(
        self, index: int, kind: Literal["text", "thinking", "call"], call_id: str = "", tool: str = ""
    ) -> None:
        self.index = index
        self.kind = kind
        self.pieces: list[str] = []
        self.signature: str | None = None
        self.redacted = False
        self.call_id = call_id
        self.tool = tool
        self.cut = True  # until it is closed by the provider

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class Assembler:
    """Collects the parts of one answer; ``out`` holds the events that were not yet handed on."""

    __slots__ = (
        "_api",
        "_ids",
        "_model",
        "_open",
        "_parts",
        "_started",
        "count",
        "hour_writes",
        "out",
        "reported_cost",
        "usage",
    )

    def __init__(self, model: Model, api: str) -> None:
        self.out: list[StreamEvent] = []
        self.usage = Usage()
        self.reported_cost: float | None = None
        self.hour_writes = 0  # of the cache writes, those for entries that live an hour
        self.count: Callable[[], None] | None = None  # brings ``usage`` up to date, where that is put off
        self._model = model
        self._api = api
        self._parts: list[Part] = []
        self._open: list[Part] = []
        self._started = False
        self._ids: set[str] = set()

    def start(self) -> None:
        """The provider answers. Later calls change nothing."""
        if not self._started:
            self._started = True
            self.out.append(Start())

    def begin(self, kind: Literal["text", "thinking"]) -> Part:
        """Opens a block. Open it with its first content only: a block that stays empty has no place in the message."""
        self.start()
        part = Part(len(self._parts), kind)
        self._parts.append(part)
        self._open.append(part)
        self.out.append(TextStart(part.index) if kind == "text" else ThinkingStart(part.index))
        return part

    def begin_call(self, call_id: str, tool: str) -> Part:
        """Opens a tool call. An id that is missing or was used in this answer is replaced by a new one."""
        self.start()
        if not call_id or call_id in self._ids:
            call_id = f"call_{new_id().replace('-', '')}"
        self._ids.add(call_id)
        part = Part(len(self._parts), "call", call_id, tool)
        self._parts.append(part)
        self._open.append(part)
        self.out.append(ToolCallStart(part.index, call_id, tool))
        return part

    def add(self, part: Part, piece: str) -> None:
        """Appends to a block."""
        part.pieces.append(piece)
        if part.kind == "text":
            self.out.append(TextDelta(part.index, piece))
        elif part.kind == "thinking":
            self.out.append(ThinkingDelta(part.index, piece))
        else:
            self.out.append(ToolCallDelta(part.index, piece))

    def end(self, part: Part, *, cut: bool = False) -> None:
        """Closes a block; ``cut`` says that the provider never finished it."""
        if part not in self._open:
            return
        self._open.remove(part)
        part.cut = cut
        if part.kind == "text":
            self.out.append(TextEnd(part.index))
        elif part.kind == "thinking":
            self.out.append(ThinkingEnd(part.index))
        else:
            self.out.append(ToolCallEnd(part.index, _call(part)))

    def last(self, kind: Literal["text", "thinking"]) -> Part | None:
        """The newest block of a kind."""
        return next((part for part in reversed(self._parts) if part.kind == kind), None)

    @property
    def has_calls(self) -> bool:
        return any(part.kind == "call" for part in self._parts)

    def done(self, stop_reason: StopReason, *, cut: bool = False, full: bool = False) -> None:
        """The answer is whole. ``cut``: what is still open was not finished (a length limit); ``full``: that limit is
        the context window. A window that left no room for a word is an overflow, under whatever name (z.ai, Ollama).
        """
        self.start()
        spent = full or (self.usage.input > 0 and not self.usage.output)
        if stop_reason == "length" and not self._parts and spent:
            what = "The conversation fills the model's context window: nothing was answered."
            action = "Compact the session, or choose a model with a larger context window."
            self.failed(KodaError("context.overflow", what, user_action=action))
            return
        for part in tuple(self._open):
            self.end(part, cut=cut)
        self.out.append(Done(self._message(stop_reason)))

    def failed(self, error: KodaError) -> None:
        """The attempt failed; what had arrived is kept as ``partial``."""
        for part in self._open:
            part.cut = True
        partial = self._message("error", error.message) if self._started else None
        self.out.append(StreamError(error, partial))

    @property
    def spent(self) -> Usage:
        """What the provider has counted so far, with its cost."""
        if self.count is not None:
            self.count()
        cost = cost_of(self.usage, self._model.prices, self.reported_cost, hour_writes=self.hour_writes)
        return msgspec.structs.replace(self.usage, cost=cost)

    def _message(self, stop_reason: StopReason, error: str | None = None) -> AssistantMessage:
        return AssistantMessage(
            content=tuple(_block(part) for part in self._parts),
            model=self._model.ref,
            api=self._api,
            stop_reason=stop_reason,
            usage=self.spent,
            error=error,
        )


def _block(part: Part) -> AssistantBlock:
    if part.kind == "text":
        return TextBlock(part.text, part.signature)
    if part.kind == "thinking":
        return ThinkingBlock(part.text, part.signature, part.redacted)
    return _call(part)


def _call(part: Part) -> ToolCall:
    arguments, problem = read_arguments(part.text, cut=part.cut)
    return ToolCall(part.call_id, part.tool, arguments, problem, part.signature)


def read_arguments(text: str, *, cut: bool = False) -> tuple[dict[str, Any], str | None]:
    """The arguments of a tool call, or an empty dict and what is wrong with them.

    No text at all means no arguments, unless the call was cut off.
    """
    if not text.strip():
        return ({}, "The arguments were cut off.") if cut else ({}, None)
    try:
        value = _decode(text)
    except msgspec.DecodeError:
        try:
            # Models write raw line breaks into strings; their meaning is plain. Halves of characters have none, and
            # could not be stored or sent.
            whole = SurrogateJoiner().joined(text.encode()).decode()
            value = json.loads(whole, strict=False, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return {}, "The arguments were cut off." if cut else "The arguments are not valid JSON."
    except RecursionError:
        return {}, "The arguments are nested too deeply."
    if not isinstance(value, dict):
        return {}, "The arguments are not a JSON object."
    return value, None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
