"""Reads the event stream of Anthropic's Messages API (docs, "Streaming messages"), as it is and as others copy it.

Dispatch is on ``type``; what is not known is ignored. Blocks of tools that the provider runs itself are not ours.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
from msgspec import Struct

from koda_daemon.ai.messages import StopReason, Usage
from koda_daemon.ai.providers import ProviderConfig
from koda_daemon.ai.wire.assembler import Assembler, Part
from koda_daemon.ai.wire.sse_provider import broken_off


class _Delta(Struct, gc=False):
    type: Any = None
    text: Any = None
    thinking: Any = None
    partial_json: Any = None
    signature: Any = None
    stop_reason: Any = None
    usage: Any = None


class _Event(Struct, gc=False):
    type: Any = None
    index: int | str | None = 0
    delta: _Delta | None = None
    content_block: Any = None
    message: Any = None
    usage: Any = None
    error: Any = None
    content: Any = None
    stop_reason: Any = None


_decoder = msgspec.json.Decoder(_Event)

_STOPS: dict[str, StopReason] = {
    "end_turn": "end",
    "stop_sequence": "end",
    "tool_use": "toolUse",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
    "pause_turn": "pause",
}


class _Block:
    """A content block on the wire; its part begins with its first content."""

    __slots__ = ("input", "kind", "part", "signature")

    def __init__(self, kind: str) -> None:
        self.kind = kind  # text, thinking, tool_use, or anything that is not ours
        self.part: Part | None = None
        self.signature = ""
        self.input: Any = None  # arguments that came whole with the start


class EventReader:
    """Turns payloads of SSE events into events of an ``Assembler``."""

    __slots__ = ("_blocks", "_counts", "assembler", "error", "malformed", "stop", "stopped")

    def __init__(self, assembler: Assembler) -> None:
        self.assembler = assembler
        self.error: Any = None
        self.malformed = 0
        self.stop: str | None = None
        self.stopped = False
        self._blocks: dict[int | str | None, _Block] = {}
        self._counts: dict[str, int] = {}

    @property
    def ended(self) -> bool:
        return self.stopped or self.error is not None

    def read(self, payload: bytes) -> None:
        try:
            event = _decoder.decode(payload)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            if payload.strip() not in (b"", b"[DONE]"):
                self.malformed += 1
            return
        match event.type:
            case "content_block_delta":
                if event.delta is not None:
                    self._delta(event.index, event.delta)
            case "content_block_start":
                if isinstance(event.content_block, dict):
                    self._start(event.index, event.content_block)
            case "content_block_stop":
                self._stop(event.index)
            case "message_start":
                self.assembler.start()
                self._message(event.message)
            case "message_delta":
                if event.delta is not None:
                    if isinstance(event.delta.stop_reason, str):
                        self.stop = event.delta.stop_reason
                    self._usage(event.delta.usage)
                self._usage(event.usage)
            case "message_stop":
                self._usage(event.usage)
                self.stopped = True
            case "message":  # an answer that was not streamed
                self.assembler.start()
                self._message({"content": event.content, "stop_reason": event.stop_reason, "usage": event.usage})
                self.stopped = True
            case "error":
                self.error = {"error": event.error or "unknown"}
            case None if event.error:
                self.error = {"error": event.error}

    def _message(self, message: Any) -> None:
        """A message as far as it is: at its start mostly empty, but a server tool may have left calls in it."""
        if not isinstance(message, dict):
            return
        self._usage(message.get("usage"))
        if isinstance(message.get("stop_reason"), str):
            self.stop = message["stop_reason"]
        content = message.get("content")
        for index, block in enumerate(content if isinstance(content, list) else ()):
            if isinstance(block, dict):
                self._start(index, block)
                self._stop(index)

    def _delta(self, index: int | str | None, delta: _Delta) -> None:
        block = self._blocks.get(index)
        if block is None:
            # The start was lost or never sent: the delta tells what it belongs to.
            kind = {"text_delta": "text", "thinking_delta": "thinking"}.get(str(delta.type), "unknown")
            block = self._blocks[index] = _Block(kind)
        kind = block.kind
        if kind == "text":
            if delta.text and isinstance(delta.text, str):
                if block.part is None:
                    block.part = self.assembler.begin("text")
                self.assembler.add(block.part, delta.text)
        elif kind == "thinking":
            if delta.thinking and isinstance(delta.thinking, str):
                self.assembler.add(self._thinking(block), delta.thinking)
            if delta.signature and isinstance(delta.signature, str):
                block.signature += delta.signature
        elif kind == "tool_use" and delta.partial_json and isinstance(delta.partial_json, str):
            assert block.part is not None
            self.assembler.add(block.part, delta.partial_json)

    def _thinking(self, block: _Block) -> Part:
        if block.part is None:
            block.part = self.assembler.begin("thinking")
        return block.part

    def _start(self, index: int | str | None, content: dict[str, Any]) -> None:
        if index in self._blocks:
            self._stop(index)
        kind = content.get("type")
        block = self._blocks[index] = _Block(kind if isinstance(kind, str) else "unknown")
        text = content.get("text") if kind == "text" else content.get("thinking")
        match kind:
            case "text" | "thinking":
                if isinstance(content.get("signature"), str):
                    block.signature = content["signature"]
                if isinstance(text, str) and text:
                    block.part = self.assembler.begin("text" if kind == "text" else "thinking")
                    self.assembler.add(block.part, text)
            case "redacted_thinking":
                if isinstance(content.get("data"), str) and content["data"]:
                    block.part = self.assembler.begin("thinking")
                    block.part.redacted = True
                    block.part.signature = content["data"]
            case "tool_use":
                call_id, name = content.get("id"), content.get("name")
                block.input = content.get("input")
                block.part = self.assembler.begin_call(str(call_id or ""), name if isinstance(name, str) else "")

    def _stop(self, index: int | str | None) -> None:
        block = self._blocks.pop(index, None)
        if block is not None:
            self._give(block)
            if block.part is not None:
                self.assembler.end(block.part)

    def _give(self, block: _Block) -> None:
        """What a block only has at its end: a signature (also of thinking whose text is withheld), whole arguments."""
        if block.kind == "thinking" and block.signature:
            self._thinking(block).signature = block.signature
            return
        whole = block.input if isinstance(block.input, dict) else None
        if block.kind == "tool_use" and block.part is not None and not block.part.pieces and whole:
            self.assembler.add(block.part, msgspec.json.encode(whole).decode())

    def _usage(self, raw: Any) -> None:
        """Counts are cumulative; later ones replace earlier ones."""
        if not isinstance(raw, dict):
            return
        for name in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
            value = raw.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
                self._counts[name] = int(value)
        written = raw.get("cache_creation")
        if isinstance(written, dict) and isinstance(written.get("ephemeral_1h_input_tokens"), int):
            self.assembler.hour_writes = max(written["ephemeral_1h_input_tokens"], 0)
        details = raw.get("output_tokens_details")
        if isinstance(details, dict) and isinstance(details.get("thinking_tokens"), int):
            self._counts["thinking"] = details["thinking_tokens"]
        count = self._counts.get
        output = count("output_tokens", 0)
        self.assembler.usage = Usage(
            input=count("input_tokens", 0),
            output=output,
            cache_read=count("cache_read_input_tokens", 0),
            cache_write=count("cache_creation_input_tokens", 0),
            reasoning=min(count("thinking", 0), output),
        )

    def close(self, config: ProviderConfig) -> None:
        if not self.stopped:
            raise broken_off(config)
        reason = _STOPS.get(self.stop or "", "end")
        if reason in ("end", "toolUse"):
            reason = "toolUse" if self.assembler.has_calls else "end"
        for block in self._blocks.values():
            if block.kind == "thinking":
                self._give(block)
        self.assembler.done(reason, cut=reason == "length", full=self.stop == "model_context_window_exceeded")
