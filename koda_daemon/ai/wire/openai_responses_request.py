"""Writes a Responses request (OpenAI API reference, "Create a model response") out of the canonical form.

Nothing is kept at the provider (``store: false``): each request carries the whole conversation, with the reasoning of
the model that is asked in the encrypted form it gave out. Items go back without their ids, except reasoning, whose
encrypted content is bound to its id. As in chat completions, the bytes of one request are a prefix of the next.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from koda_daemon.ai.messages import (
    AssistantMessage,
    ImageBlock,
    Message,
    TextBlock,
    ThinkingBlock,
    ToolResultMessage,
    UserBlock,
)
from koda_daemon.ai.provider import Context, Model, StreamOptions, ToolSpec
from koda_daemon.ai.providers import Compat
from koda_daemon.ai.transform import (
    NO_OUTPUT,
    ended_by_user,
    image_note,
    is_own,
    nearest_effort,
    openai_call_id,
    resource_text,
    sees,
    settled,
    tool_name,
)
from koda_daemon.ai.wire.memory import MessageCache, Prefix, PrefixCache, stable_end

_json = msgspec.json.Encoder().encode
# These refuse to be asked for encrypted reasoning, since they do not reason.
_NO_REASONING = re.compile(r"(?:^|/)(?:gpt-[34]|chatgpt-)")
# "The encrypted content for item rs_... could not be verified": its maker was another key, or it has expired.
_UNREADABLE = re.compile(r"encrypted[ _]content", re.IGNORECASE)
# "Your organization must be verified to generate reasoning summaries."
_NO_SUMMARIES = re.compile(r"reasoning[ ._]summar", re.IGNORECASE)
_ITEM_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_GO_ON = b'{"role":"user","content":"Continue."}'
_PHASES = frozenset({"commentary", "final_answer"})
_PLAN_TOOLS = "koda"
# What requests that a ChatGPT plan pays for are refused with, or must have as we set it
# (developers.openai.com/siwc/token-sharing-open-source/preview-limitations).
_NOT_OF_PLAN = frozenset(
    {
        "background",
        "conversation",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "moderation",
        "multi_agent",
        "previous_response_id",
        "prompt",
        "prompt_cache_retention",
        "safety_identifier",
        "store",
        "stream",
        "temperature",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    }
)


class ResponsesWriter:
    """Encodes requests for one model; keeps what each message and the tools became.

    ``replay``: the model's own encrypted reasoning is sent back.
    """

    def __init__(self, model: Model, api: str, compat: Compat, *, replay: bool = True) -> None:
        self._model = model
        self._api = api
        self._compat = compat
        self._replay = replay
        self._summaries = True
        self._refused: set[str] = set()
        self._tools: tuple[Sequence[ToolSpec], bytes] = ((), b"")
        self._forget()

    def _forget(self) -> None:
        self._items: MessageCache[bytes] = MessageCache(self._encoded, len)
        self._prefixes = PrefixCache()

    def body(self, context: Context, options: StreamOptions, extra: Mapping[str, Any]) -> bytes:
        """The whole request as JSON. ``extra`` are fields of the settings, added to the body as they are."""
        fields: dict[str, Any] = {"model": self._model.id, "stream": True, "store": False}
        if self._replay and (self._model.reasoning or not _NO_REASONING.search(self._model.id)):
            fields["include"] = ["reasoning.encrypted_content"]
        if options.max_tokens is not None:
            fields["max_output_tokens"] = max(options.max_tokens, 16)  # less is refused
        if self._compat.cache_key and options.cache_key:
            fields["prompt_cache_key"] = options.cache_key[:64]
        fields |= self._reasoning(options)
        fields |= extra
        if self._compat.plan_usage:
            fixed = {"stream": True, "store": False}
            fields = {name: value for name, value in fields.items() if name not in _NOT_OF_PLAN} | fixed
        head = _json(fields)[:-1]
        tools = self._tools_json(context.tools)
        role = "developer" if self._compat.plan_usage else "system"
        items = [_json({"role": role, "content": context.system})] if context.system else []
        items += self._history(context.messages)
        return b"".join((head, b',"tools":' + tools if tools else b"", b',"input":[', b",".join(items), b"]}"))

    def mend(self, refusal: str, messages: Sequence[Message]) -> bool:
        """Leaves out from now on what ``refusal``, the provider's words, was about.

        False when that is nothing that can be left out, so that asking again would change nothing.
        """
        if _UNREADABLE.search(refusal):
            return self._leave_out(messages)
        if self._summaries and _NO_SUMMARIES.search(refusal):
            self._summaries = False
            return True
        return False

    def _leave_out(self, messages: Sequence[Message]) -> bool:
        found = {
            block.signature
            for message in messages
            if isinstance(message, AssistantMessage) and is_own(message, self._model, self._api)
            for block in message.content
            if isinstance(block, ThinkingBlock) and block.signature
        }
        if not self._replay or found <= self._refused:
            return False
        self._refused |= found
        self._forget()
        return True

    def _history(self, messages: Sequence[Message]) -> list[bytes]:
        base = self._prefixes.find(messages)
        start = len(base.messages)
        end = stable_end(messages, start)
        items = [base.encoded] if base.encoded else []
        seen = set(base.seen)
        if end > start:
            items += self._encoded_all(settled(messages[start:end], seen))
            self._prefixes.keep(base, Prefix(list(messages[:end]), b",".join(items), frozenset(seen)))
        rest = ended_by_user(settled(messages[end:], seen))
        items += self._encoded_all(rest)
        last = next((message for message in reversed(rest) if self._items(message)), None)
        if last is None or isinstance(last, AssistantMessage):
            items.append(_GO_ON)  # the user said nothing that can be sent
        return items

    def _encoded_all(self, messages: list[Message]) -> list[bytes]:
        items_of = self._items
        return [items for message in messages if (items := items_of(message))]

    def _encoded(self, message: Message) -> bytes:
        """The items of one message, joined by commas."""
        if isinstance(message, AssistantMessage):
            return b",".join(map(_json, self._assistant(message)))
        content = self._content(message.content)
        if isinstance(message, ToolResultMessage):
            output: Any = content
            if not any(part["type"] == "input_image" for part in content):
                output = _text(content) or (NO_OUTPUT if message.status == "ok" else message.status)
            call_id = openai_call_id(message.call_id)
            return _json({"type": "function_call_output", "call_id": call_id, "output": output})
        if all(part["type"] == "input_text" for part in content):
            return _json({"role": "user", "content": _text(content)}) if content else b""
        return _json({"role": "user", "content": content})

    def _content(self, blocks: Sequence[UserBlock]) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        for block in blocks:
            if isinstance(block, TextBlock):
                if block.text:
                    parts.append({"type": "input_text", "text": block.text})
            elif isinstance(block, ImageBlock):
                parts.append(self._image(block))
            else:
                parts.append({"type": "input_text", "text": resource_text(block)})
        return parts

    def _image(self, block: ImageBlock) -> dict[str, Any]:
        if sees(self._model):
            if block.data is not None:
                url = f"data:{block.mime_type};base64,{block.data}"
                return {"type": "input_image", "detail": "auto", "image_url": url}
            if block.uri and block.uri.startswith(("https://", "http://", "data:")):
                return {"type": "input_image", "detail": "auto", "image_url": block.uri}
        return {"type": "input_text", "text": image_note(block)}

    def _assistant(self, message: AssistantMessage) -> list[dict[str, Any]]:
        own = is_own(message, self._model, self._api)
        items: list[dict[str, Any]] = []
        summary: list[str] = []  # texts of the thinking that the next signature closes
        for block in message.content:
            if isinstance(block, TextBlock):
                if block.text.strip():
                    phase = read_phase(block.signature) if own else None
                    # llama.cpp refuses an answer that does not say its type.
                    said = {"type": "message", "role": "assistant", "content": block.text}
                    items.append(said | ({"phase": phase} if phase else {}))
                summary.clear()
            elif isinstance(block, ThinkingBlock):
                if not own or not self._replay:
                    continue
                if block.text:
                    summary.append(block.text)
                if block.signature:
                    if block.signature not in self._refused and (item := _reasoning_item(block.signature, summary)):
                        items.append(item)
                    summary = []
            else:
                call = {
                    "type": "function_call",
                    "call_id": openai_call_id(block.call_id),
                    "name": tool_name(block.tool),
                    "arguments": _json(block.arguments).decode(),
                }
                items.append(call | ({"namespace": _PLAN_TOOLS} if self._compat.plan_usage else {}))
                summary.clear()
        while items and items[-1].get("type") == "reasoning":
            items.pop()  # refused when nothing follows
        return items

    def _tools_json(self, tools: Sequence[ToolSpec]) -> bytes:
        if not tools:
            return b""
        if self._tools[0] is not tools:
            # "strict" defaults to true here, and would refuse schemas with optional properties.
            spec = [
                {
                    "type": "function",
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                    "strict": False,
                }
                for tool in tools
            ]
            if self._compat.plan_usage:  # where functions are taken in a namespace only
                spec = [{"type": "namespace", "name": _PLAN_TOOLS, "description": "Koda's tools.", "tools": spec}]
            self._tools = (tools, _json(spec))
        return self._tools[1]

    def _reasoning(self, options: StreamOptions) -> dict[str, Any]:
        if not self._model.reasoning or self._compat.reasoning == "none":
            return {}
        effort = nearest_effort(options.effort, self._model.reasoning) if options.effort else None
        if effort == "off":
            return {"reasoning": {"effort": "none"}}
        told = ({"effort": effort} if effort else {}) | ({"summary": "auto"} if self._summaries else {})
        return {"reasoning": told} if told else {}


def reasoning_signature(item_id: Any, encrypted: str) -> str:
    """What a thinking block keeps of a reasoning item, to be sent back."""
    # An id that no request may hold (GitHub Copilot encrypts them into hundreds of characters) is dropped; the
    # encrypted content knows the right one.
    kept = {"id": item_id} if isinstance(item_id, str) and _ITEM_ID.match(item_id) else {}
    return _json(kept | {"encrypted_content": encrypted}).decode()


def _reasoning_item(signature: str, summary: list[str]) -> dict[str, Any] | None:
    value = _object(signature)
    if not isinstance(value.get("encrypted_content"), str):
        return None
    texts = [{"type": "summary_text", "text": text} for text in summary]
    kept = {key: value[key] for key in ("id", "encrypted_content") if isinstance(value.get(key), str)}
    return {"type": "reasoning", "summary": texts} | kept


def phase_signature(phase: Any) -> str | None:
    """What a text block keeps of its message's ``phase``, which OpenAI wants back."""
    return _json({"phase": phase}).decode() if isinstance(phase, str) and phase in _PHASES else None


def read_phase(signature: str | None) -> str | None:
    phase = _object(signature).get("phase") if signature else None
    return phase if isinstance(phase, str) and phase in _PHASES else None


def _object(text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _text(parts: list[dict[str, Any]]) -> str:
    return "\n".join(part["text"] for part in parts)
