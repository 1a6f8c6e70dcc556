"""Writes a request of Gemini's ``streamGenerateContent`` (Gemini API reference) out of the canonical form.

Thought signatures go back on the parts they came on, to the same model only (Gemini docs, "Thought signatures"). As
elsewhere, the bytes of one request are a prefix of the next.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

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
from koda_daemon.ai.provider import Context, Effort, Model, StreamOptions, ToolSpec
from koda_daemon.ai.transform import (
    NO_OUTPUT,
    anthropic_call_id,
    ended_by_user,
    image_note,
    is_own,
    nearest_effort,
    resource_text,
    sees,
    settled,
    tool_name,
)
from koda_daemon.ai.wire.google_schema import gemini_schema
from koda_daemon.ai.wire.memory import MessageCache, Prefix, PrefixCache, stable_end

_json = msgspec.json.Encoder().encode
_GO_ON = b'{"role":"user","parts":[{"text":"Continue."}]}'
_IMAGES = frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"})
_VERSION = re.compile(r"gemini-(?:[a-z]+-)*(\d+)")

# What stands for the signature of a call that another model made: both Gemini API and Vertex take this one of the two
# that Google names ("Thought signatures", FAQ; Vertex AI, "Thought signatures", manual handling).
UNSIGNED = "skip_thought_signature_validator"

# Tokens to think with, for Gemini 2.5, which knows no levels; the ranges differ by model.
_BUDGETS: dict[Effort, int] = {
    "off": 0,
    "minimal": 512,
    "low": 2_048,
    "medium": 8_192,
    "high": 24_576,
    "xhigh": 24_576,
    "max": 32_768,
}
_LEVELS: dict[Effort, str] = {"off": "minimal", "xhigh": "high", "max": "high"}


def gemini_generation(model_id: str) -> int:
    """3 for ``gemini-3.1-pro-preview``; 0 for what is no Gemini. Names without a number (``-latest``) are new."""
    found = _VERSION.search(model_id)
    return int(found[1]) if found else 3 if "gemini" in model_id else 0


def wants_signatures(model_id: str) -> bool:
    """False for the Gemini models before 3, which are known to check no signature.

    Later ones refuse the first call of a step without one, and any other name (a tuned model, an alias, the name that a
    proxy gives) may stand for such a model; one that checks nothing leaves the field of the API alone.
    """
    return gemini_generation(model_id) not in (1, 2)


class Piece(msgspec.Struct, frozen=True):
    """What one message became. ``call_ids``: of an answer, in order; of a result, its own. ``images``: of a result."""

    kind: Literal["user", "model", "result"]
    parts: tuple[bytes, ...]
    call_ids: tuple[str, ...] = ()
    images: tuple[bytes, ...] = ()

    @property
    def weight(self) -> int:
        return sum(map(len, self.parts)) + sum(map(len, self.images))


class GeminiWriter:
    """Encodes requests for one model; keeps what each message and the tools became."""

    def __init__(self, model: Model, api: str) -> None:
        self._model = model
        self._api = api
        self._generation = gemini_generation(model.id)
        # Ids are refused by older models on Vertex, and wanted by newer ones and by other vendors' models.
        self._ids = self._generation not in (1, 2)
        self._pieces: MessageCache[Piece] = MessageCache(self._piece, lambda piece: piece.weight)
        self._prefixes = PrefixCache()
        self._tools: tuple[Sequence[ToolSpec], bytes] = ((), b"")

    def body(self, context: Context, options: StreamOptions, extra: Mapping[str, Any]) -> bytes:
        """The whole request as JSON. ``extra`` are fields of the settings; ``generationConfig`` is merged with ours."""
        config: dict[str, Any] = {}
        if options.max_tokens is not None:
            config["maxOutputTokens"] = options.max_tokens
        config |= self._thinking(options)
        given = extra.get("generationConfig")
        config |= given if isinstance(given, dict) else {}
        fields = ({"generationConfig": config} if config else {}) | {
            key: value for key, value in extra.items() if key != "generationConfig"
        }
        parts = [_json(fields)[:-1]]
        if len(parts[0]) > 1:
            parts.append(b",")
        if context.tools:
            parts += (b'"tools":', self._tools_json(context.tools), b",")
        if context.system:
            parts += (b'"systemInstruction":', _json({"parts": [{"text": context.system}]}), b",")
        parts += (b'"contents":[', self._history(context.messages), b"]}")
        return b"".join(parts)

    def _history(self, messages: Sequence[Message]) -> bytes:
        base = self._prefixes.find(messages)
        start = len(base.messages)
        end = stable_end(messages, start)
        parts = [base.encoded] if base.encoded else []
        seen = set(base.seen)
        after_answer = base.after_answer
        if end > start:
            found = self._contents(settled(messages[start:end], seen), alone=after_answer or not parts)
            after_answer = _ends_with_answer(found) if found else after_answer
            parts += found
            encoded = b",".join(parts)
            self._prefixes.keep(base, Prefix(list(messages[:end]), encoded, frozenset(seen), after_answer))
        rest = self._contents(ended_by_user(settled(messages[end:], seen)), alone=after_answer or not parts)
        if not rest or _ends_with_answer(rest):
            rest.append(_GO_ON)  # the user said nothing that can be sent
        parts += rest
        return b",".join(parts)

    def _contents(self, messages: list[Message], *, alone: bool) -> list[bytes]:
        """Results of one answer share one turn, in the order of the calls; what users say in a row shares another.

        An answer comes after a turn of the user's ("function call turn comes immediately after a user turn or after a
        function response turn"); ``alone``: there is none before.
        """
        contents: list[bytes] = []
        order: tuple[str, ...] = ()
        piece_of = self._pieces
        pieces = [piece for message in messages if (piece := piece_of(message)).parts]
        place = 0
        while place < len(pieces):
            end = place + 1
            kind = pieces[place].kind
            while kind != "model" and end < len(pieces) and pieces[end].kind == kind:
                end += 1
            group = pieces[place:end]
            if kind == "result":
                group.sort(key=lambda piece: order.index(piece.call_ids[0]) if piece.call_ids[0] in order else 0)
            elif kind == "model":
                order = group[0].call_ids
                if _ends_with_answer(contents) if contents else alone:
                    contents.append(_GO_ON)
            contents.append(_content("model" if kind == "model" else "user", [p for one in group for p in one.parts]))
            images = [image for one in group for image in one.images]
            if images:
                note = _json({"text": "The images of the tool results above:"})
                contents.append(_content("user", [note, *images]))
            place = end
        return contents

    def _piece(self, message: Message) -> Piece:
        if isinstance(message, AssistantMessage):
            return self._assistant(message)
        parts = self._parts(message.content)
        if not isinstance(message, ToolResultMessage):
            return Piece("user", tuple(map(_json, parts)))
        images = tuple(_json(part) for part in parts if "text" not in part)
        text = "\n".join(part["text"] for part in parts if "text" in part)
        if not text:
            text = "(see the attached image)" if images else NO_OUTPUT if message.status == "ok" else message.status
        given: dict[str, Any] = {"id": anthropic_call_id(message.call_id)} if self._ids else {}
        given |= {
            "name": tool_name(message.tool),
            "response": {"output" if message.status == "ok" else "error": text},
        }
        return Piece("result", (_json({"functionResponse": given}),), (message.call_id,), images)

    def _parts(self, blocks: Sequence[UserBlock]) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        for block in blocks:
            if isinstance(block, TextBlock):
                if block.text:
                    parts.append({"text": block.text})
            elif isinstance(block, ImageBlock):
                parts.append(self._image(block))
            else:
                parts.append({"text": resource_text(block)})
        return parts

    def _image(self, block: ImageBlock) -> dict[str, Any]:
        if sees(self._model) and block.data is not None and block.mime_type in _IMAGES:
            return {"inlineData": {"mimeType": block.mime_type, "data": block.data}}
        return {"text": image_note(block)}

    def _assistant(self, message: AssistantMessage) -> Piece:
        own = is_own(message, self._model, self._api)
        parts: list[dict[str, Any]] = []
        call_ids: list[str] = []
        for block in message.content:
            signed = {"thoughtSignature": block.signature} if own and block.signature else {}
            if isinstance(block, TextBlock):
                if block.text.strip() or signed:
                    parts.append({"text": block.text} | signed)
            elif isinstance(block, ThinkingBlock):
                if signed:
                    # A signature that came alone was on an empty part, which was no thought.
                    thought: dict[str, Any] = {} if block.redacted else {"thought": True}
                    parts.append({"text": block.text} | thought | signed)
            else:
                if not signed and not call_ids and wants_signatures(self._model.id):
                    signed = {"thoughtSignature": UNSIGNED}
                call: dict[str, Any] = {"id": anthropic_call_id(block.call_id)} if self._ids else {}
                call |= {"name": tool_name(block.tool), "args": block.arguments}
                call_ids.append(block.call_id)
                parts.append({"functionCall": call} | signed)
        return Piece("model", tuple(map(_json, parts)), tuple(call_ids))

    def _tools_json(self, tools: Sequence[ToolSpec]) -> bytes:
        if self._tools[0] is not tools:
            spec = [
                {
                    "name": tool.name,
                    "description": tool.description,
                    "parametersJsonSchema": gemini_schema(tool.parameters),
                }
                for tool in tools
            ]
            self._tools = (tools, _json([{"functionDeclarations": spec}]))
        return self._tools[1]

    def _thinking(self, options: StreamOptions) -> dict[str, Any]:
        offered = self._model.reasoning
        if not offered:
            return {}
        effort = nearest_effort(options.effort, offered) if options.effort else None
        config: dict[str, Any] = {"includeThoughts": effort != "off"}
        if effort is not None:
            if self._generation == 2:
                config["thinkingBudget"] = self._budget(effort)
            else:
                config["thinkingLevel"] = _LEVELS.get(effort, effort)
        return {"thinkingConfig": config}

    def _budget(self, effort: Effort) -> int:
        """Gemini docs, "Thinking": 2.5 Pro takes 128 to 32,768, Flash 0 to 24,576, Flash-Lite 0 or 512 to 24,576."""
        low, high = (128, 32_768) if "pro" in self._model.id else (0, 24_576)
        return max(low, min(_BUDGETS[effort], high))


def _ends_with_answer(contents: list[bytes]) -> bool:
    return contents[-1].startswith(b'{"role":"model"')


def _content(role: Literal["user", "model"], parts: list[bytes]) -> bytes:
    head = b'{"role":"user","parts":[' if role == "user" else b'{"role":"model","parts":['
    return head + b",".join(parts) + b"]}"
