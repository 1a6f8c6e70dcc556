"""Reads the chunks of a streamed chat completion, in every dialect that compatible servers speak.

The Structs are loose on purpose (``Any`` where servers differ): a chunk that does not fit would be a lost chunk.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from koda_daemon.ai.messages import StopReason
from koda_daemon.ai.providers import ProviderConfig
from koda_daemon.ai.wire.assembler import Assembler, Part, read_arguments
from koda_daemon.ai.wire.openai_chat_usage import read_cost, read_usage
from koda_daemon.ai.wire.sse_provider import broken_off


class _Delta(Struct, gc=False):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    tool_calls: Any = None
    refusal: Any = None
    reasoning_text: Any = None
    reasoning_opaque: Any = None
    function_call: Any = None


class _Choice(Struct, gc=False):
    index: Any = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: Any = None
    usage: Any = None
    error: Any = None


class _Chunk(Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    x_groq: Any = None
    object: Any = None
    base_resp: Any = None
    message: Any = None
    detail: Any = None


_decoder = msgspec.json.Decoder(_Chunk)

_STOPS: dict[str, StopReason] = {
    "stop": "end",
    "eos": "end",
    "end_turn": "end",
    "tool_calls": "toolUse",
    "function_call": "toolUse",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "model_context_window_exceeded": "length",
    "content_filter": "refusal",
    "sensitive": "refusal",
    "refusal": "refusal",
}
_FAILURES = {"error", "network_error", "insufficient_system_resource", "abort"}


class ChunkReader:
    """Turns payloads of SSE events into events of an ``Assembler``.

    ``done``: ``[DONE]`` was seen. ``malformed`` counts events that were not JSON and were skipped.
    """

    __slots__ = (
        "_bare",
        "_calls",
        "_details",
        "_error",
        "_latest",
        "_opaque",
        "_part",
        "_places",
        "_refused",
        "_said",
        "assembler",
        "done",
        "finish",
        "malformed",
    )

    def __init__(self, assembler: Assembler) -> None:
        self.assembler = assembler
        self.done = False
        self._error: Any = None
        self._bare: Any = None  # what may be an error, said without that word: one if nothing ends the answer
        self.finish: str | None = None
        self.malformed = 0
        self._part: Part | None = None  # the text or thinking block that grows
        self._calls: list[_CallState] = []
        self._places: dict[int, _CallState] = {}  # index on the wire -> call
        self._latest: _CallState | None = None
        self._details: list[dict[str, Any]] = []
        self._opaque = ""
        self._refused = False
        self._said = False

    def read(self, payload: bytes) -> None:
        """One event."""
        try:
            chunk = _decoder.decode(payload)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            self._odd(payload)
            return
        if chunk.usage is not None:
            self._usage(chunk.usage)
        if chunk.error or chunk.object == "error":
            self._error = {"error": chunk.error} if chunk.error else msgspec.json.decode(payload)
            return
        self.assembler.start()
        if chunk.choices:
            for choice in chunk.choices:
                if not choice.index or choice.index == "0":  # only one answer was asked for
                    self._choice(choice)
        elif isinstance(chunk.base_resp, dict) and chunk.base_resp.get("status_code"):
            self._error = {"base_resp": chunk.base_resp}  # MiniMax
        elif isinstance(chunk.message or chunk.detail, str):
            self._bare = msgspec.json.decode(payload)
        # Beside the last choice; what is said in the plain place tells more.
        if isinstance(chunk.x_groq, dict) and not self.assembler.usage.output:
            self._usage(chunk.x_groq.get("usage"))

    def _odd(self, payload: bytes) -> None:
        """The end marker, or an error in a shape of its own; anything else is skipped."""
        payload = payload.strip()
        if payload == b"[DONE]":
            self.done = True
            return
        try:
            value = msgspec.json.decode(payload)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            value = None
        if isinstance(value, dict) and value.get("error"):
            self._error = value
        elif payload:
            self.malformed += 1

    def _choice(self, choice: _Choice) -> None:
        # Perplexity repeats the whole text so far as `message` beside each delta; alone it is an unstreamed answer.
        delta = choice.delta or (choice.message if not self._said else None)
        if delta is not None:
            self._said = True
            content = delta.content
            if content:
                if type(content) is str:
                    # A chunk that holds both means reasoning first.
                    if _reasons(delta):
                        self._reasoning(delta)
                    part = self._part
                    if part is None or part.kind != "text":
                        part = self._switch("text")
                    self.assembler.add(part, content)
                else:
                    self._reasoning(delta)
                    self._content_list(content)
            elif _reasons(delta):
                self._reasoning(delta)
            if delta.refusal and isinstance(delta.refusal, str):
                self._refused = True
                self.assembler.add(self._grow("text"), delta.refusal)
            if delta.tool_calls:
                self._tool_calls(delta.tool_calls)
            elif delta.function_call:  # what calls were before there could be several
                self._tool_calls([{"index": 0, "function": delta.function_call}])
            if delta.reasoning_opaque and isinstance(delta.reasoning_opaque, str):
                self._opaque = delta.reasoning_opaque  # GitHub Copilot, often beside the calls
        if choice.error:
            self._error = {"error": choice.error}  # OpenRouter
        if choice.finish_reason and isinstance(choice.finish_reason, str):
            self.finish = choice.finish_reason
        if choice.usage is not None:
            self._usage(choice.usage)  # Moonshot

    def _grow(self, kind: Any) -> Part:
        part = self._part
        return part if part is not None and part.kind == kind else self._switch(kind)

    def _switch(self, kind: Any) -> Part:
        if self._part is not None:
            self.assembler.end(self._part)
        self._part = self.assembler.begin(kind)
        return self._part

    def _content_list(self, content: Any) -> None:
        """A list of typed chunks, where thinking (Mistral) or a summary of it (Databricks) is a list in turn."""
        for item in content if isinstance(content, list) else ():
            if not isinstance(item, dict):
                continue
            if item.get("type") in ("thinking", "reasoning"):
                inner = item.get("thinking") or item.get("summary")
                if isinstance(inner, str):
                    inner = [{"text": inner}]
                pieces = [
                    piece.get("text") for piece in (inner if isinstance(inner, list) else ()) if isinstance(piece, dict)
                ]
                for text in pieces:
                    if text and isinstance(text, str):
                        self.assembler.add(self._grow("thinking"), text)
            elif isinstance(item.get("text"), str) and item["text"]:
                self.assembler.add(self._grow("text"), item["text"])

    def _reasoning(self, delta: _Delta) -> None:
        text = delta.reasoning_content or delta.reasoning or delta.reasoning_text
        details = delta.reasoning_details
        if isinstance(details, list):
            told = [item for item in details if isinstance(item, dict)]
            for item in told:
                self._detail(item)
            if not text:
                texts = (item.get("text") or item.get("summary") for item in told)
                text = "".join(piece for piece in texts if isinstance(piece, str))
        if text and isinstance(text, str):
            self.assembler.add(self._grow("thinking"), text)

    def _detail(self, item: dict[str, Any]) -> None:
        """Pieces of one detail (same type and index, in a row) are joined, as OpenRouter asks for their replay."""
        last = self._details[-1] if self._details else None
        if last is None or any(last.get(key) != item.get(key) for key in ("type", "index")):
            self._details.append(dict(item))
            return
        for key, value in item.items():
            if key in ("text", "summary", "data") and isinstance(value, str) and isinstance(last.get(key), str):
                last[key] += value
            elif value or key not in last:
                last[key] = value

    def _tool_calls(self, deltas: Any) -> None:
        for delta in deltas if isinstance(deltas, list) else ():
            if not isinstance(delta, dict):
                continue
            function = delta.get("function")
            if not isinstance(function, dict):
                function = {}
            name, call_id, arguments = function.get("name"), delta.get("id"), function.get("arguments")
            if isinstance(arguments, dict):
                arguments = msgspec.json.encode(arguments).decode()
            state = self._find(
                delta.get("index"),
                str(call_id) if call_id not in (None, "") else "",
                name if isinstance(name, str) else "",
            )
            if isinstance(arguments, str) and arguments:
                state.add(arguments, self.assembler)
            extra = delta.get("extra_content")
            if isinstance(extra, dict) and extra:
                state.keep(msgspec.json.encode(extra).decode())  # Gemini

    def _find(self, index: Any, call_id: str, name: str) -> _CallState:
        """The call that a delta belongs to.

        Servers disagree: several calls under one index, one call under changing indices or ids, no index or no id.
        A delta that brings a name begins a new call when the one it points at is complete or is another tool.
        """
        known = self._places.get(index) if isinstance(index, int) else None
        if known is None and call_id:
            known = next((call for call in self._calls if call.call_id == call_id), None)
        if known is None and not name and (not call_id or not isinstance(index, int)):
            known = self._latest
        if known is not None and name and known.tool:
            other_id = bool(call_id) and call_id != known.call_id
            other_place = isinstance(index, int) and self._places.get(index) is not known
            if (other_id or other_place) and (name != known.tool or known.is_whole):
                known = None
        if known is None:
            known = _CallState(call_id)
            self._calls.append(known)
        if isinstance(index, int):
            self._places[index] = known
        self._latest = known
        if name and not known.tool:
            if self._part is not None:
                self.assembler.end(self._part)
                self._part = None
            known.begin(name, self.assembler)
        return known

    def _usage(self, raw: Any) -> None:
        if isinstance(raw, dict):
            self.assembler.usage = read_usage(raw) or self.assembler.usage
            cost = read_cost(raw)
            if cost is not None:
                self.assembler.reported_cost = cost

    @property
    def error(self) -> Any:
        """The error event of the server (its decoded value) that ended the answer, or None."""
        return self._bare if self._error is None and self.finish is None else self._error

    @property
    def ended(self) -> bool:
        return self.done or self._error is not None

    def close(self, config: ProviderConfig) -> None:
        reason = self.stop_reason()
        if reason is None and self.finish is None and self.done and not config.compat.finish_reason:
            reason = "toolUse" if self.assembler.has_calls else "end"
        if reason is None:
            raise broken_off(config, self.finish or "")
        self._give_details()
        self.assembler.done(reason, cut=reason == "length", full=self.finish == "model_context_window_exceeded")

    def stop_reason(self) -> StopReason | None:
        """How the answer ended; None if it did not (no ``finish_reason``), or ended in a failure."""
        if self.finish in _FAILURES:
            return None
        if self.finish is None:
            # A server that never states it (some models behind OpenRouter): the accounting and the end marker came,
            # and there are calls that are whole. A text alone might just be cut.
            whole = self.done and self.assembler.usage.output and self._calls and all(c.is_whole for c in self._calls)
            return "toolUse" if whole else None
        reason = _STOPS.get(self.finish, "end")
        if reason in ("end", "toolUse"):
            reason = "refusal" if self._refused else "toolUse" if self.assembler.has_calls else "end"
        return reason

    def _give_details(self) -> None:
        """Gives the collected reasoning details to the thinking block, to be sent back with it."""
        details: Any = [
            item for item in self._details if any(item.get(k) for k in ("text", "summary", "data", "signature"))
        ]
        if self._opaque and not details:
            details = {"reasoning_opaque": self._opaque}
        if details:
            part = self.assembler.last("thinking")
            if part is None:
                part = self.assembler.begin("thinking")
                part.redacted = True
            part.signature = msgspec.json.encode(details).decode()


def _reasons(delta: _Delta) -> bool:
    return bool(delta.reasoning_content or delta.reasoning or delta.reasoning_details or delta.reasoning_text)


class _CallState:
    """One tool call on the wire; its block begins when its name is known."""

    __slots__ = ("_held", "_signature", "call_id", "part", "tool")

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id
        self.tool = ""
        self.part: Part | None = None
        self._held = ""
        self._signature: str | None = None

    def begin(self, tool: str, assembler: Assembler) -> None:
        self.tool = tool
        self.part = assembler.begin_call(self.call_id, tool)
        self.part.signature = self._signature
        if self._held:
            assembler.add(self.part, self._held)

    def add(self, arguments: str, assembler: Assembler) -> None:
        if self.part is None:
            self._held += arguments
        else:
            assembler.add(self.part, arguments)

    def keep(self, signature: str) -> None:
        self._signature = signature
        if self.part is not None:
            self.part.signature = signature

    @property
    def is_whole(self) -> bool:
        text = self.part.text if self.part is not None else ""
        return bool(text.strip()) and read_arguments(text)[1] is None
