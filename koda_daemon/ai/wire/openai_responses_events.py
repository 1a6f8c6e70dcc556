"""Reads the event stream of the Responses API (OpenAI API reference, "Streaming events") in all its dialects.

Dispatch is on ``type`` and on the place of an item (``output_index``), never on ids: some servers leave ids out, change
them between events, or encrypt them anew each time. What a final event of an item or of the whole response says and
the stream did not is made up for; what is not known, and items of tools that the provider runs itself, is ignored.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from koda_daemon.ai.messages import StopReason
from koda_daemon.ai.providers import ProviderConfig
from koda_daemon.ai.wire.assembler import Assembler, Part, read_arguments
from koda_daemon.ai.wire.openai_chat_usage import read_usage
from koda_daemon.ai.wire.openai_responses_request import phase_signature, reasoning_signature
from koda_daemon.ai.wire.sse_provider import broken_off


class _Event(Struct, gc=False):
    type: Any = None
    delta: Any = None
    output_index: Any = None
    item_id: Any = None
    content_index: Any = None
    summary_index: Any = None
    text: Any = None
    refusal: Any = None
    arguments: Any = None
    input: Any = None
    item: Any = None
    response: Raw = Raw()
    error: Any = None
    code: Any = None
    message: Any = None
    object: Any = None


_decoder = msgspec.json.Decoder(_Event)

_FINAL = {
    "response.completed": "completed",
    "response.done": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
# A custom tool takes free text. None is offered: the call is kept, and answered as one that is wrong.
_CALLS = ("function_call", "custom_tool_call")
_TICKS = 10_000_000_000  # xAI's "cost_in_usd_ticks" in one US dollar


class _Call:
    """A function call; its block begins when its name is known."""

    __slots__ = ("ended", "held", "part")

    def __init__(self) -> None:
        self.part: Part | None = None
        self.held = ""
        self.ended = False


class ResponsesReader:
    """Turns payloads of SSE events into events of an ``Assembler``."""

    __slots__ = (
        "_by_call_id",
        "_calls",
        "_ended",
        "_messages",
        "_places",
        "_reasoned",
        "_refused",
        "_texts",
        "_thoughts",
        "assembler",
        "error",
        "malformed",
        "over",
        "reason",
        "status",
    )

    def __init__(self, assembler: Assembler) -> None:
        self.assembler = assembler
        self.error: Any = None
        self.malformed = 0
        self.over = False  # the end marker, or a final event
        self.status: str | None = None
        self.reason = ""  # why a response is incomplete
        self._texts: dict[tuple[Any, int], Part] = {}
        self._thoughts: dict[tuple[Any, str, int], Part] = {}
        self._ended: set[tuple[Any, ...]] = set()
        self._messages: dict[Any, list[Part]] = {}  # place -> text blocks
        self._reasoned: dict[Any, Part] = {}  # place -> the newest thinking block
        self._calls: dict[Any, _Call] = {}
        self._by_call_id: dict[str, _Call] = {}
        self._places: dict[str, int] = {}  # id -> place
        self._refused = False

    @property
    def ended(self) -> bool:
        return self.over or self.error is not None

    def read(self, payload: bytes) -> None:
        """One event, or a whole response that was not streamed."""
        try:
            event = _decoder.decode(payload)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            if payload.strip() == b"[DONE]":
                self.over = True
            elif payload.strip():
                self.malformed += 1
            return
        match event.type:
            case "response.output_text.delta":
                self._text(event)
            case "response.function_call_arguments.delta":
                self._arguments(event)
            case "response.reasoning_summary_text.delta" | "response.reasoning_summary.delta":
                self._thought(event, "summary", event.summary_index)
            case "response.reasoning_text.delta" | "response.reasoning.delta":
                self._thought(event, "content", event.content_index)
            case "response.output_item.added":
                self._added(event)
            case "response.output_item.done":
                if isinstance(event.item, dict):
                    self._done(self._place(event), event.item)
            case "response.output_text.done":
                self._end_text(self._place(event), event.content_index, event.text)
            case "response.refusal.delta":
                self._refused = True
                self._text(event)
            case "response.refusal.done":
                self._refused = True
                self._end_text(self._place(event), event.content_index, event.refusal)
            case "response.reasoning_summary_text.done":
                self._end_thought(self._place(event), "summary", event.summary_index, event.text)
            case "response.reasoning_text.done":
                self._end_thought(self._place(event), "content", event.content_index, event.text)
            case "response.function_call_arguments.done" | "response.custom_tool_call_input.done":
                call = self._calls.get(self._place(event))
                if call is not None:
                    self._settle(call, event.arguments if event.input is None else event.input)
            case "response.created" | "response.in_progress" | "response.queued":
                self.assembler.start()
            case "error":
                self._fail(event.error or {"code": event.code, "message": event.message})
            case None if event.error:
                self._fail(event.error)
            case None if event.object == "response":
                self._final(payload, "")
            case str() as name if name in _FINAL:
                self._final(bytes(event.response), _FINAL[name])

    def _place(self, event: _Event) -> Any:
        """The key of the item that an event is about."""
        if type(event.output_index) is int:
            return event.output_index
        named = event.item_id or (event.item.get("id") if isinstance(event.item, dict) else None)
        return self._places.get(named, named) if isinstance(named, str) else None

    def _text(self, event: _Event) -> None:
        if not event.delta or type(event.delta) is not str:
            return
        key = (self._place(event), _number(event.content_index))
        part = self._texts.get(key)
        if part is None:
            if key in self._ended:
                return  # the whole text had come
            part = self._begin_text(key)
        self.assembler.add(part, event.delta)

    def _begin_text(self, key: tuple[Any, int]) -> Part:
        part = self._texts[key] = self.assembler.begin("text")
        self._messages.setdefault(key[0], []).append(part)
        return part

    def _end_text(self, place: Any, index: Any, whole: Any) -> None:
        key = (place, _number(index))
        if key in self._ended:
            return
        part = self._texts.pop(key, None)
        if part is None and isinstance(whole, str) and whole:
            part = self._begin_text(key)
            del self._texts[key]
        if part is not None:
            self._ended.add(key)
            self._complete(part, whole)
            self.assembler.end(part)

    def _thought(self, event: _Event, group: Literal["summary", "content"], index: Any) -> None:
        if not event.delta or type(event.delta) is not str:
            return
        key = (self._place(event), group, _number(index))
        part = self._thoughts.get(key)
        if part is None:
            if key in self._ended:
                return
            part = self._thoughts[key] = self._reasoned[key[0]] = self.assembler.begin("thinking")
        self.assembler.add(part, event.delta)

    def _end_thought(self, place: Any, group: str, index: Any, whole: Any) -> None:
        key = (place, group, _number(index))
        if key in self._ended:
            return
        part = self._thoughts.pop(key, None)
        if part is None and isinstance(whole, str) and whole:
            part = self._reasoned[place] = self.assembler.begin("thinking")
        if part is not None:
            self._ended.add(key)
            self._complete(part, whole)
            self.assembler.end(part)

    def _complete(self, part: Part, whole: Any) -> None:
        """Adds what the whole text has and the pieces had not. What was streamed stays: clients have shown it."""
        if isinstance(whole, str):
            streamed = part.text
            if len(whole) > len(streamed) and whole.startswith(streamed):
                self.assembler.add(part, whole[len(streamed) :])

    def _added(self, event: _Event) -> None:
        item = event.item
        if not isinstance(item, dict):
            return
        if type(event.output_index) is int and isinstance(item.get("id"), str):
            self._places[item["id"]] = event.output_index
        if item.get("type") in _CALLS:
            place = self._place(event)
            call = self._calls.get(place)
            if call is None or call.ended:
                call = self._calls[place] = _Call()
            self._begin_call(call, item)
        else:
            self.assembler.start()

    def _begin_call(self, call: _Call, item: dict[str, Any]) -> None:
        name = item.get("name")
        if call.part is not None or not isinstance(name, str) or not name:
            return
        call_id = item.get("call_id") or item.get("id")
        call_id = call_id if isinstance(call_id, str) else ""
        if call_id:
            self._by_call_id[call_id] = call
        call.part = self.assembler.begin_call(call_id, name)
        if call.held:
            self.assembler.add(call.part, call.held)
            call.held = ""

    def _arguments(self, event: _Event) -> None:
        if not event.delta or type(event.delta) is not str:
            return
        place = self._place(event)
        call = self._calls.get(place)
        if call is None:
            call = self._calls[place] = _Call()
        if call.ended:
            return
        if call.part is None:
            call.held += event.delta
        else:
            self.assembler.add(call.part, event.delta)

    def _settle(self, call: _Call, whole: Any) -> None:
        """Ends a call with its whole arguments, which count when the pieces say otherwise (Copilot encrypts them)."""
        if isinstance(whole, dict):
            whole = msgspec.json.encode(whole).decode()
        part = call.part
        if part is None:
            if isinstance(whole, str) and whole:
                call.held = whole
            return
        if call.ended:
            return
        call.ended = True
        if isinstance(whole, str) and whole:
            streamed = part.text
            if whole.startswith(streamed):
                if len(whole) > len(streamed):
                    self.assembler.add(part, whole[len(streamed) :])
            elif read_arguments(whole)[1] is None or read_arguments(streamed)[1] is not None:
                part.pieces[:] = [whole]
        self.assembler.end(part)

    def _done(self, place: Any, item: dict[str, Any]) -> None:
        match item.get("type"):
            case "message":
                self._done_message(place, item)
            case "reasoning":
                for group in ("summary", "content"):
                    texts = item.get(group)
                    for index, piece in enumerate(texts if isinstance(texts, list) else ()):
                        self._end_thought(place, group, index, piece.get("text") if isinstance(piece, dict) else None)
                for key in [key for key in self._thoughts if key[0] == place]:
                    self._end_thought(*key, None)
                self._keep(place, item)
            case "function_call" | "custom_tool_call":
                call = self._calls.get(place)
                if call is None:
                    call = self._known(item) or _Call()
                    self._calls[place] = call
                self._begin_call(call, item)
                self._settle(call, item.get("arguments") or item.get("input"))

    def _done_message(self, place: Any, item: dict[str, Any]) -> None:
        content = item.get("content")
        for index, piece in enumerate(content if isinstance(content, list) else ()):
            if isinstance(piece, dict):
                if piece.get("type") == "refusal":
                    self._refused = True
                    self._end_text(place, index, piece.get("refusal"))
                else:
                    self._end_text(place, index, piece.get("text"))
        for key in [key for key in self._texts if key[0] == place]:
            self._end_text(*key, None)
        signature = phase_signature(item.get("phase"))
        for part in self._messages.get(place, ()) if signature else ():
            part.signature = signature

    def _keep(self, place: Any, item: dict[str, Any]) -> None:
        """Gives the encrypted content to the last thinking block of its item, to be sent back with it."""
        encrypted = item.get("encrypted_content")
        if not encrypted or not isinstance(encrypted, str):
            return
        part = self._reasoned.get(place)
        if part is None:
            part = self._reasoned[place] = self.assembler.begin("thinking")
            part.redacted = True
            self.assembler.end(part)
        part.signature = reasoning_signature(item.get("id"), encrypted)

    def _fail(self, error: Any) -> None:
        if self.error is None:
            self.error = {"error": error}

    def _final(self, payload: bytes, status: str) -> None:
        """The response as a whole, at its end."""
        try:
            response = msgspec.json.decode(payload) if payload else {}
        except (msgspec.DecodeError, RecursionError):
            response = {}
        if not isinstance(response, dict):
            response = {}
        given = response.get("status")
        self.status = status or (given if isinstance(given, str) else "")
        self.over = True
        self._usage(response.get("usage"))
        if self.status == "failed" or (response.get("error") and not status):
            self._fail(response.get("error") or "The response failed.")
            return
        details = response.get("incomplete_details")
        if isinstance(details, dict):
            self.reason = str(details.get("reason") or "")
        output = response.get("output")
        self._make_up(output if isinstance(output, list) else [])

    def _make_up(self, output: list[Any]) -> None:
        """Takes from the whole response the kinds of items that the stream left out altogether, and missing calls."""
        wanted = [*_CALLS]
        if not self._messages:
            wanted.append("message")
        if not self._reasoned:
            wanted.append("reasoning")
        for index, item in enumerate(output):
            if isinstance(item, dict) and item.get("type") in wanted:
                self._done(("final", index), item)

    def _known(self, item: dict[str, Any]) -> _Call | None:
        """A call that came under another place, or whose pieces came without its name."""
        call_id, arguments = item.get("call_id"), item.get("arguments")
        known = self._by_call_id.get(call_id) if isinstance(call_id, str) else None
        nameless = (call for call in self._calls.values() if call.part is None and call.held == arguments != "")
        return known or next(nameless, None)

    def _usage(self, raw: Any) -> None:
        if not isinstance(raw, dict):
            return
        self.assembler.usage = read_usage(raw) or self.assembler.usage
        cost, ticks = raw.get("cost"), raw.get("cost_in_usd_ticks")
        if isinstance(cost, int | float) and not isinstance(cost, bool) and cost >= 0:
            self.assembler.reported_cost = float(cost)  # OpenRouter
        elif isinstance(ticks, int) and not isinstance(ticks, bool) and ticks > 0:
            self.assembler.reported_cost = ticks / _TICKS  # xAI

    def close(self, config: ProviderConfig) -> None:
        if self.status not in ("completed", "incomplete"):
            raise broken_off(config, self.status or "")
        reason: StopReason = "toolUse" if self.assembler.has_calls else "end"
        if self.status == "incomplete":
            reason = "refusal" if self.reason == "content_filter" else "length"
        elif self._refused:
            reason = "refusal"
        self.assembler.done(reason, cut=self.status == "incomplete")


def _number(value: Any) -> int:
    return value if type(value) is int else 0
