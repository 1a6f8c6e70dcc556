"""Reads the events of Bedrock's ``ConverseStream`` (Amazon Bedrock API reference, "ConverseStreamOutput").

Each payload is an object with one member, named by the kind of event, as the framing (``bedrock_converse``) makes it.
Blocks of tools that the provider runs itself, and citations, are not ours.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from msgspec import Struct

from koda_daemon.ai.messages import StopReason, Usage
from koda_daemon.ai.providers import ProviderConfig
from koda_daemon.ai.wire.assembler import Assembler, Part
from koda_daemon.ai.wire.sse_provider import broken_off


class _Delta(Struct, gc=False):
    text: Any = None
    toolUse: Any = None  # noqa: N815 - names on the wire
    reasoningContent: Any = None  # noqa: N815


class _BlockDelta(Struct, gc=False):
    contentBlockIndex: Any = None  # noqa: N815
    delta: _Delta | None = None


class _Event(Struct, gc=False):
    contentBlockDelta: _BlockDelta | None = None  # noqa: N815
    contentBlockStart: Any = None  # noqa: N815
    contentBlockStop: Any = None  # noqa: N815
    messageStart: Any = None  # noqa: N815
    messageStop: Any = None  # noqa: N815
    metadata: Any = None
    error: Any = None
    output: Any = None  # a whole answer that was not streamed
    stopReason: Any = None  # noqa: N815
    usage: Any = None


_decoder = msgspec.json.Decoder(_Event)

# Others (malformed_model_output, malformed_tool_use) are no answers: another attempt may well give one.
_STOPS: dict[str, StopReason] = {
    "end_turn": "end",
    "stop_sequence": "end",
    "tool_use": "toolUse",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "refusal",
    "content_filtered": "refusal",
    "refusal": "refusal",
}


class _Block:
    """A content block on the wire; its part begins with its first content. ``ours`` is False for server tools."""

    __slots__ = ("ours", "part", "redacted", "signature")

    def __init__(self) -> None:
        self.part: Part | None = None
        self.ours = True
        self.signature = ""
        self.redacted: list[bytes] = []


class ConverseReader:
    """Turns events into those of an ``Assembler``."""

    __slots__ = ("_blocks", "_counted", "assembler", "error", "malformed", "stop")

    def __init__(self, assembler: Assembler) -> None:
        self.assembler = assembler
        self.error: Any = None
        self.malformed = 0
        self.stop: str | None = None
        self._counted = False
        self._blocks: dict[int, _Block] = {}

    @property
    def ended(self) -> bool:
        return (self.stop is not None and self._counted) or self.error is not None

    def read(self, payload: bytes) -> None:
        """One event."""
        try:
            event = _decoder.decode(payload)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            if payload.strip():
                self.malformed += 1
            return
        if event.contentBlockDelta is not None:
            if event.contentBlockDelta.delta is not None:
                self._delta(_number(event.contentBlockDelta.contentBlockIndex), event.contentBlockDelta.delta)
        elif isinstance(event.contentBlockStart, dict):
            self._start(_number(event.contentBlockStart.get("contentBlockIndex")), event.contentBlockStart.get("start"))
        elif isinstance(event.contentBlockStop, dict):
            self._end(_number(event.contentBlockStop.get("contentBlockIndex")))
        elif event.messageStart is not None:
            self.assembler.start()
        elif isinstance(event.messageStop, dict):
            self._stop(event.messageStop.get("stopReason"))
        elif isinstance(event.metadata, dict):
            self._counted = True
            self.assembler.usage = read_usage(event.metadata.get("usage")) or self.assembler.usage
        elif event.error is not None:
            self.error = event.error
        elif isinstance(event.output, dict):
            self._whole(event.output.get("message"))
            self._stop(event.stopReason)
            self.assembler.usage = read_usage(event.usage) or self.assembler.usage

    def _delta(self, index: int, delta: _Delta) -> None:
        block = self._blocks.get(index)
        if block is None:
            block = self._blocks[index] = _Block()
        if not block.ours:
            return
        if delta.text:
            if type(delta.text) is str:
                self._add(block, "text", delta.text)
        elif isinstance(delta.toolUse, dict):
            piece = delta.toolUse.get("input")
            if isinstance(piece, str) and piece and block.part is not None and block.part.kind == "call":
                self.assembler.add(block.part, piece)
        elif isinstance(delta.reasoningContent, dict):
            self._reasoning(block, delta.reasoningContent)

    def _add(self, block: _Block, kind: str, text: str) -> None:
        part = block.part
        if part is None:
            part = block.part = self.assembler.begin("thinking" if kind == "thinking" else "text")
        if part.kind == kind:
            self.assembler.add(part, text)

    def _reasoning(self, block: _Block, content: dict[str, Any]) -> None:
        text, signature, redacted = (content.get(name) for name in ("text", "signature", "redactedContent"))
        if isinstance(text, str) and text:
            self._add(block, "thinking", text)
        if isinstance(signature, str):
            block.signature += signature
        if isinstance(redacted, str) and redacted:
            # Base64 pieces cannot just be joined: each may be padded.
            try:
                block.redacted.append(base64.b64decode(redacted, validate=True))
            except ValueError:
                self.malformed += 1

    def _start(self, index: int, start: Any) -> None:
        if index in self._blocks:
            self._end(index)
        block = self._blocks[index] = _Block()
        if not isinstance(start, dict) or not start:
            return
        use = start.get("toolUse")
        if isinstance(use, dict) and use.get("type") != "server_tool_use":
            call_id, name = use.get("toolUseId"), use.get("name")
            block.part = self.assembler.begin_call(
                call_id if isinstance(call_id, str) else "", name if isinstance(name, str) else ""
            )
        else:
            block.ours = "toolUse" not in start and "toolResult" not in start

    def _end(self, index: int) -> None:
        block = self._blocks.pop(index, None)
        if block is None:
            return
        self._sign(block)
        if block.part is not None:
            self.assembler.end(block.part)

    def _sign(self, block: _Block) -> None:
        """What a thinking block only has at its end: its signature, or reasoning that is withheld as a whole."""
        if not block.signature and not block.redacted:
            return
        if block.part is None:
            block.part = self.assembler.begin("thinking")
            block.part.redacted = not block.signature
        if block.part.kind == "thinking":
            block.part.signature = block.signature or base64.b64encode(b"".join(block.redacted)).decode()

    def _stop(self, reason: Any) -> None:
        if isinstance(reason, str):
            self.stop = reason

    def _whole(self, message: Any) -> None:
        content = message.get("content") if isinstance(message, dict) else None
        for index, item in enumerate(content if isinstance(content, list) else ()):
            if not isinstance(item, dict):
                continue
            reasoning, use = item.get("reasoningContent"), item.get("toolUse")
            if isinstance(use, dict):
                self._start(index, {"toolUse": use})
                given = use.get("input")
                if given is not None:
                    text = msgspec.json.encode(given).decode()
                    self._delta(index, _Delta(toolUse={"input": text}))
            elif isinstance(reasoning, dict):
                inner = reasoning.get("reasoningText")
                self._delta(index, _Delta(reasoningContent=inner if isinstance(inner, dict) else reasoning))
            else:
                cited = item.get("citationsContent")
                for piece in cited.get("content") or () if isinstance(cited, dict) else (item,):
                    if isinstance(piece, dict) and isinstance(piece.get("text"), str):
                        self._delta(index, _Delta(text=piece["text"]))
            self._end(index)

    def close(self, config: ProviderConfig) -> None:
        reason = _STOPS.get(self.stop or "")
        if reason is None:
            raise broken_off(config, self.stop or "")
        for block in self._blocks.values():
            self._sign(block)
        if reason in ("end", "toolUse"):
            reason = "toolUse" if self.assembler.has_calls else "end"
        self.assembler.done(reason, cut=reason == "length", full=self.stop == "model_context_window_exceeded")


def read_usage(raw: Any) -> Usage | None:
    """Token counts out of ``TokenUsage``, whose input is without the cache already."""
    if not isinstance(raw, dict):
        return None
    return Usage(
        input=_count(raw, "inputTokens"),
        output=_count(raw, "outputTokens"),
        cache_read=_count(raw, "cacheReadInputTokens"),
        cache_write=_count(raw, "cacheWriteInputTokens"),
    )


def _count(raw: dict[str, Any], name: str) -> int:
    value = raw.get(name)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else 0


def _number(value: Any) -> int:
    return value if type(value) is int else 0
