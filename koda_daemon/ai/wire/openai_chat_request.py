"""Writes a chat-completions request (OpenAI API reference, "Create chat completion") out of the canonical form.

The body is joined from encoded pieces: fixed parts first and the messages last, in their order, so that the bytes of
one request are a prefix of the next and a provider's prompt cache stays warm.
"""

from __future__ import annotations

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
    anthropic_call_id,
    chat_call_id,
    ended_by_user,
    image_note,
    is_own,
    is_silent,
    mistral_call_id,
    nearest_effort,
    resource_text,
    sees,
    settled,
    tool_name,
)
from koda_daemon.ai.wire.google_request import UNSIGNED, wants_signatures
from koda_daemon.ai.wire.memory import MessageCache, Prefix, PrefixCache, stable_end

_json = msgspec.json.Encoder().encode
_CACHE_MARK = {"type": "ephemeral"}
_AFTER_TOOL = _json({"role": "assistant", "content": "I have read the tool results."})
_GO_ON = _json({"role": "user", "content": "Continue."})


class Piece(msgspec.Struct, frozen=True):
    """One message on the wire; empty if it says nothing.

    ``images`` (the parts of a user message) follow the last result of a run of results.
    """

    role: str
    body: bytes
    images: tuple[bytes, ...] = ()

    @property
    def weight(self) -> int:
        return len(self.body) + sum(map(len, self.images))


class ChatWriter:
    """Encodes requests for one model; keeps what each message and the tools became."""

    def __init__(self, model: Model, api: str, compat: Compat) -> None:
        self._model = model
        self._api = api
        self._compat = compat
        self._pieces: MessageCache[Piece] = MessageCache(self._piece, lambda piece: piece.weight)
        self._prefixes = PrefixCache()
        self._tools: tuple[Sequence[ToolSpec], bytes] = ((), b"")
        self._call_id = mistral_call_id if compat.call_ids == "mistral" else chat_call_id
        if "claude" in model.id:
            self._call_id = lambda call_id: chat_call_id(anthropic_call_id(call_id))  # its maker's rules behind others
        self._marks_cache = compat.cache_control and model.id.startswith("anthropic/")

    def body(self, context: Context, options: StreamOptions, extra: Mapping[str, Any]) -> bytes:
        """The whole request as JSON. ``extra`` are fields of the settings, added to the body as they are."""
        fields: dict[str, Any] = {"model": self._model.id, "stream": True}
        if self._compat.stream_usage:
            fields["stream_options"] = {"include_usage": True}
        if options.max_tokens is not None:
            fields[self._compat.max_tokens_field] = options.max_tokens
        if self._compat.cache_key and options.cache_key:
            fields["prompt_cache_key"] = options.cache_key[:64]
        fields |= self._reasoning(options)
        fields |= extra
        tools = self._tools_json(context.tools)
        if not tools and self._compat.tools_with_history:
            tools = b"[]" if any(isinstance(message, ToolResultMessage) for message in context.messages) else b""
        parts = self._system(context.system) + self._history(context.messages)
        head = _json(fields)[:-1]
        return b"".join((head, b',"tools":' + tools if tools else b"", b',"messages":[', b",".join(parts), b"]}"))

    def _system(self, text: str) -> list[bytes]:
        if not text:
            return []
        content: Any = [{"type": "text", "text": text, "cache_control": _CACHE_MARK}] if self._marks_cache else text
        return [_json({"role": "system", "content": content})]

    def _history(self, messages: Sequence[Message]) -> list[bytes]:
        base = self._prefixes.find(messages)
        start = len(base.messages)
        end = stable_end(messages, start)
        parts = [base.encoded] if base.encoded else []
        if end > start:
            parts += self._parts(settled(messages[start:end]))
            self._prefixes.keep(base, Prefix(list(messages[:end]), b",".join(parts)))
        rest = self._parts(ended_by_user(settled(messages[end:])))
        if not rest or rest[-1].startswith(b'{"role":"assistant"'):
            rest.append(_GO_ON)  # the user said nothing that can be sent
        if self._marks_cache:
            _mark_ends(rest)
        return parts + rest

    def _parts(self, messages: list[Message]) -> list[bytes]:
        parts: list[bytes] = []
        piece_of = self._pieces
        images: list[bytes] = []
        last_role = ""
        for message in messages:
            piece = piece_of(message)
            role = piece.role
            if not piece.body:
                continue
            if images and role != "tool":
                parts += self._after_results(_user_images(images))
                images.clear()
                last_role = "user"
            if role == "user" and last_role == "tool":
                parts += self._after_results(piece.body)
            else:
                parts.append(piece.body)
            images += piece.images
            last_role = role
        if images:
            parts += self._after_results(_user_images(images))
        return parts

    def _after_results(self, body: bytes) -> tuple[bytes, ...]:
        """A user message that follows results."""
        return (_AFTER_TOOL, body) if self._compat.assistant_after_tool else (body,)

    def _piece(self, message: Message) -> Piece:
        if isinstance(message, AssistantMessage):
            return Piece("assistant", self._assistant(message))
        if isinstance(message, ToolResultMessage):
            return self._result(message)
        content = self._content(message.content)
        if all(part["type"] == "text" for part in content):
            text = "\n".join(part["text"] for part in content)
            return Piece("user", _json({"role": "user", "content": text}) if text.strip() else b"")
        return Piece("user", _json({"role": "user", "content": content}))

    def _content(self, blocks: Sequence[UserBlock]) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        for block in blocks:
            if isinstance(block, TextBlock):
                if block.text:
                    parts.append({"type": "text", "text": block.text})
            elif isinstance(block, ImageBlock):
                parts.append(self._image(block))
            else:
                parts.append({"type": "text", "text": resource_text(block)})
        return parts

    def _image(self, block: ImageBlock) -> dict[str, Any]:
        if sees(self._model):
            if block.data is not None:
                return {"type": "image_url", "image_url": {"url": f"data:{block.mime_type};base64,{block.data}"}}
            if block.uri and block.uri.startswith(("https://", "http://", "data:")):
                return {"type": "image_url", "image_url": {"url": block.uri}}
        return {"type": "text", "text": image_note(block)}

    def _result(self, message: ToolResultMessage) -> Piece:
        parts = self._content(message.content)
        text = "\n".join(part["text"] for part in parts if part["type"] == "text")
        images = tuple(_json(part) for part in parts if part["type"] == "image_url")
        if not text:
            text = "(see the attached image)" if images else NO_OUTPUT if message.status == "ok" else message.status
        body: dict[str, Any] = {"role": "tool", "tool_call_id": self._call_id(message.call_id), "content": text}
        if self._compat.tool_result_name:
            body["name"] = message.tool
        return Piece("tool", _json(body), images)

    def _assistant(self, message: AssistantMessage) -> bytes:
        assert not is_silent(message)
        # "" instead of null: everyone takes it, and some servers refuse null beside calls.
        body: dict[str, Any] = {"role": "assistant", "content": message.text}
        own = is_own(message, self._model, self._api)
        thinking = [block for block in message.content if isinstance(block, ThinkingBlock)]
        kept = [_kept(block.signature) for block in thinking if block.signature] if own else []
        # Each signature is the JSON array that came; several blocks make one array again.
        details = [item for value in kept if isinstance(value, list) for item in value]
        if details:
            body["reasoning_details"] = details
        opaque = next((value for value in kept if isinstance(value, dict)), None)
        if opaque is not None:  # GitHub Copilot, which wants both fields as they came
            body |= opaque
            text = "".join(block.text for block in thinking)
            body |= {"reasoning_text": text} if text else {}
        if self._compat.replay_reasoning:
            body["reasoning_content"] = "".join(block.text for block in thinking) if own else ""
        calls = []
        for call in message.tool_calls:
            calls.append(
                {
                    "id": self._call_id(call.call_id),
                    "type": "function",
                    "function": {"name": tool_name(call.tool), "arguments": _json(call.arguments).decode()},
                }
            )
            extra = _kept(call.signature) if own and call.signature else None
            if isinstance(extra, dict):
                calls[-1]["extra_content"] = extra
            elif self._compat.thought_signatures and len(calls) == 1 and wants_signatures(self._model.id):
                calls[-1]["extra_content"] = {"google": {"thought_signature": UNSIGNED}}
        if calls:
            body["tool_calls"] = calls
        return _json(body)

    def _tools_json(self, tools: Sequence[ToolSpec]) -> bytes:
        if not tools:
            return b""
        if self._tools[0] is not tools:
            spec = [
                {
                    "type": "function",
                    "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
                }
                for tool in tools
            ]
            self._tools = (tools, _json(spec))
        return self._tools[1]

    def _reasoning(self, options: StreamOptions) -> dict[str, Any]:
        if options.effort is None:
            return {}
        effort = nearest_effort(options.effort, self._model.reasoning)
        if effort is None:
            return {}
        on = effort != "off"
        beside = {"reasoning_effort": effort} if on and self._compat.reasoning_effort else {}
        match self._compat.reasoning:
            case "openai":
                return {"reasoning_effort": effort if on else "none"}
            case "openrouter":
                return {"reasoning": {"effort": effort if on else "none"}}
            case "thinking":
                return {"thinking": {"type": "enabled" if on else "disabled"}} | beside
            case "enabled":
                return {"reasoning": {"enabled": on}} | beside
            case "qwen":
                return {"enable_thinking": on} | beside
            case "none":
                return {}


def _mark_ends(parts: list[bytes]) -> None:
    """Puts cache breakpoints on the ends of the last two runs of what users said and tools gave.

    The last is written for the next request, the one before is where this request finds what the previous one wrote.
    """
    left, ends = 2, True
    for place in range(len(parts) - 1, -1, -1):
        message = msgspec.json.decode(parts[place])
        content = message.get("content")
        if message["role"] == "assistant":
            ends = True
        elif ends and content:
            if isinstance(content, str):
                content = [{"type": "text", "text": content}]
            content[-1]["cache_control"] = _CACHE_MARK
            parts[place] = _json(message | {"content": content})
            left, ends = left - 1, False
            if not left:
                return


def _kept(signature: str) -> Any:
    """What a signature of this wire API holds: JSON as it came; None if it is of another make."""
    try:
        return msgspec.json.decode(signature)
    except msgspec.DecodeError:
        return None


def _user_images(images: list[bytes]) -> bytes:
    """Most servers take no images in tool results: they follow as a user message."""
    note = _json({"type": "text", "text": "The images of the tool results above:"})
    return b'{"role":"user","content":[' + b",".join((note, *images)) + b"]}"
