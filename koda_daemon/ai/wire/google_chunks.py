"""Reads the chunks of Gemini's ``streamGenerateContent``: each one a whole response that holds what is new."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec
from msgspec import Raw, Struct

from koda_daemon.ai.messages import StopReason, Usage
from koda_daemon.ai.providers import ProviderConfig
from koda_daemon.ai.wire.assembler import Assembler, Part
from koda_daemon.ai.wire.google_partial_args import PartialArgs
from koda_daemon.ai.wire.sse_provider import broken_off
from koda_daemon.base.errors import KodaError


class _Part(Struct, gc=False):
    text: Any = None
    thought: Any = None
    thoughtSignature: Any = None  # noqa: N815 - the name on the wire; renaming costs nothing else
    functionCall: Any = None  # noqa: N815


class _Content(Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(Struct, gc=False):
    content: _Content | None = None
    finishReason: Any = None  # noqa: N815
    finishMessage: Any = None  # noqa: N815
    index: Any = None


class _Chunk(Struct, gc=False):
    candidates: list[_Candidate] | None = None
    usageMetadata: Raw = Raw()  # noqa: N815 - on every chunk; only the last ones are decoded
    promptFeedback: Any = None  # noqa: N815
    error: Any = None


_decoder = msgspec.json.Decoder(_Chunk)

_REFUSALS = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "MODEL_ARMOR",
    }
)
# A call that cannot be read, and whatever else is no answer: another attempt may well give one.
_STOPS: dict[str, StopReason] = {"STOP": "end", "MAX_TOKENS": "length", **dict.fromkeys(_REFUSALS, "refusal")}


class GeminiReader:
    """Turns chunks into events of an ``Assembler``."""

    __slots__ = (
        "_args",
        "_blocked",
        "_call_part",
        "_part",
        "_said",
        "_usage",
        "assembler",
        "error",
        "finish",
        "malformed",
    )

    def __init__(self, assembler: Assembler) -> None:
        self.assembler = assembler
        assembler.count = self._count
        self.error: Any = None
        self.malformed = 0
        self.finish: str | None = None
        self._said = ""  # the server's words about the finish reason
        self._blocked: str | None = None
        self._part: Part | None = None  # the text or thinking block that grows
        self._usage: deque[Raw] = deque(maxlen=4)  # the last that counts is what counts; Vertex AI sends some without
        self._call_part: Part | None = None  # the call whose arguments come in pieces
        self._args = PartialArgs()

    @property
    def ended(self) -> bool:
        return self.error is not None  # nothing marks the last chunk; accounting may follow the finish reason

    def read(self, payload: bytes) -> None:
        """One chunk."""
        try:
            chunk = _decoder.decode(payload)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            self._odd(payload)
            return
        if chunk.error:
            self._count()
            self.error = {"error": chunk.error}
            return
        if chunk.usageMetadata:
            self._usage.append(chunk.usageMetadata)
        self.assembler.start()
        for candidate in chunk.candidates or ():
            if candidate.index:
                continue  # only one answer was asked for
            if candidate.content is not None:
                for part in candidate.content.parts or ():
                    self._read(part)
            if candidate.finishReason and isinstance(candidate.finishReason, str):
                self.finish = candidate.finishReason
                self._said = candidate.finishMessage if isinstance(candidate.finishMessage, str) else ""
        if isinstance(chunk.promptFeedback, dict) and chunk.promptFeedback.get("blockReason"):
            self._blocked = str(chunk.promptFeedback["blockReason"])

    def _odd(self, payload: bytes) -> None:
        """An array of chunks, or an error in one; anything else is skipped."""
        if payload.strip() in (b"", b"[DONE]"):
            return
        try:
            values = msgspec.json.decode(payload, type=list[Raw])
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            self.malformed += 1
            return
        for value in values:
            data = bytes(value)
            if data[:1] == b"{" and not self.ended:
                self.read(data)

    def _read(self, part: _Part) -> None:
        if part.functionCall is not None:
            self._call(part)
            return
        signature = part.thoughtSignature if isinstance(part.thoughtSignature, str) else ""
        text = part.text
        if text and type(text) is str:
            kind = "thinking" if part.thought is True else "text"
            block = self._part
            if block is None or block.kind != kind:
                self._end()
                block = self._part = self.assembler.begin("thinking" if kind == "thinking" else "text")
            self.assembler.add(block, text)
        if signature:
            self._sign(signature, thought=part.thought is True)

    def _sign(self, signature: str, *, thought: bool) -> None:
        """Keeps a signature with the text before it. The block ends there: signed and unsigned parts stay apart."""
        if self._part is None or (self._part.kind == "thinking" and not thought):
            self._end()
            self._part = self.assembler.begin("thinking")
            self._part.redacted = True
        self._part.signature = signature
        self._end()

    def _call(self, part: _Part) -> None:
        call = part.functionCall if isinstance(part.functionCall, dict) else {}
        name, call_id, arguments = call.get("name"), call.get("id"), call.get("args")
        goes_on = call.get("willContinue") is True
        if not isinstance(name, str) or not name:
            if self._call_part is not None:
                self._args.add(call.get("partialArgs"))
                if not goes_on:
                    self._end_call()
            return
        self._end()
        self._end_call()
        block = self.assembler.begin_call(call_id if isinstance(call_id, str) else "", name)
        if isinstance(part.thoughtSignature, str) and part.thoughtSignature:
            block.signature = part.thoughtSignature
        if goes_on or "partialArgs" in call:
            self._call_part, self._args = block, PartialArgs(arguments)
            self._args.add(call.get("partialArgs"))
            if not goes_on:
                self._end_call()
            return
        if arguments:
            self.assembler.add(block, msgspec.json.encode(arguments).decode())
        self.assembler.end(block)

    def _end_call(self) -> None:
        """Gives the arguments that came in pieces, now that they are whole."""
        if self._call_part is not None:
            if self._args.value:
                self.assembler.add(self._call_part, msgspec.json.encode(self._args.value).decode())
            self.assembler.end(self._call_part)
            self._call_part = None

    def _end(self) -> None:
        if self._part is not None:
            self.assembler.end(self._part)
            self._part = None

    def _count(self) -> None:
        for raw in self._usage:
            try:
                value = msgspec.json.decode(raw)
            except (msgspec.DecodeError, RecursionError):
                continue
            self.assembler.usage = read_usage(value) or self.assembler.usage

    def close(self, config: ProviderConfig) -> None:
        self._count()
        if self.finish is None and self._blocked:
            raise KodaError("content.refused", f"{config.name} refused the prompt ({self._blocked}).")
        reason = _STOPS.get(self.finish or "")
        if reason is None:
            raise broken_off(config, " - ".join(filter(None, (self.finish, self._said[:200]))))
        if reason != "length":
            self._end_call()
        if reason == "end" and self.assembler.has_calls:
            reason = "toolUse"
        self.assembler.done(reason, cut=reason == "length")


def read_usage(raw: Any) -> Usage | None:
    """Token counts out of ``usageMetadata``: thoughts are beside the candidates, the cache is part of the prompt."""
    if not isinstance(raw, dict):
        return None
    prompt, tools = _count(raw, "promptTokenCount"), _count(raw, "toolUsePromptTokenCount")
    cached = _count(raw, "cachedContentTokenCount")
    output, thoughts = _count(raw, "candidatesTokenCount"), _count(raw, "thoughtsTokenCount")
    total = _count(raw, "totalTokenCount")
    if not (prompt or output or total):
        return None
    if not thoughts or total != prompt + tools + output:
        output += thoughts  # else the total says that they are counted already
    return Usage(
        input=max(prompt + tools - cached, 0),
        output=output,
        cache_read=cached,
        reasoning=min(thoughts, output),
    )


def _count(raw: dict[str, Any], name: str) -> int:
    value = raw.get(name)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else 0
