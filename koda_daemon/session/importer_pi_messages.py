"""Pi's messages and blocks as ours: small pure functions that take whatever a file holds and never raise."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from koda_daemon.ai.messages import (
    AssistantBlock,
    AssistantMessage,
    Cost,
    ImageBlock,
    ResultBlock,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolCall,
    ToolResultMessage,
    Usage,
    UserMessage,
)
from koda_daemon.session.tree import one_line

_STOPS: dict[str, StopReason] = {
    "stop": "end",
    "length": "length",
    "toolUse": "toolUse",
    "error": "error",
    "aborted": "cancelled",
    "refusal": "refusal",
}
# Only here is Pi's signature the provider's own string; elsewhere it is a form that another program made.
_SIGNED_API = "anthropic-messages"


def text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def model_of(provider: object, model: object) -> str | None:
    """``provider/id``, when both are there."""
    return f"{provider}/{model}" if text_or_none(provider) and text_or_none(model) else None


def time_of(value: object) -> str | None:
    """A time (ISO 8601 or Unix milliseconds) as our timestamps; None for what is none."""
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value)
            at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        elif isinstance(value, (int, float)):
            at = datetime.fromtimestamp(value / 1000, UTC)
        else:
            return None
    except (ValueError, OverflowError, OSError):
        return None
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def details_of(data: dict[str, Any], *names: str) -> dict[str, Any] | None:
    """The named fields, as details of a node; None when there are none."""
    return {name: data[name] for name in names if data.get(name) is not None} or None


def compaction_details(data: dict[str, Any]) -> dict[str, Any]:
    tokens = data.get("tokensBefore")
    before = {"tokensBefore": _count(tokens)} if isinstance(tokens, (int, float)) else {}
    return {**before, **files_of(data)}


def files_of(data: dict[str, Any]) -> dict[str, Any]:
    """The files that the entries behind a summary had touched."""
    details = data.get("details")
    files = details if isinstance(details, dict) else {}
    return {"readFiles": _texts(files.get("readFiles")), "changedFiles": _texts(files.get("modifiedFiles"))}


def named(value: object) -> str:
    """Something of the file in a warning: short, on one line."""
    return one_line(repr(value[:80] if isinstance(value, str) else value), 80)


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def blocks_of(content: object) -> Iterator[TextBlock | ImageBlock]:
    """Text and images of a user or a tool; of other blocks only that they were there."""
    if isinstance(content, str):
        yield TextBlock(content)
    for block in content if isinstance(content, list) else ():
        match block:
            case {"type": "text", "text": str(text)}:
                yield TextBlock(text)
            case {"type": "image", "data": str(data), "mimeType": str(mime_type)}:
                yield ImageBlock(mime_type, data=data)
            case {"type": kind}:
                yield TextBlock(f"[{kind}]")


def plain(content: tuple[ResultBlock, ...]) -> str:
    return "\n".join(block.text if isinstance(block, TextBlock) else "[image]" for block in content)


def user_of(message: dict[str, Any]) -> UserMessage:
    """Also of custom messages. Version 1 kept images beside the content."""
    attached = message.get("attachments")
    images = [
        ImageBlock(each["mimeType"], data=each["content"])
        for each in (attached if isinstance(attached, list) else ())
        if isinstance(each, dict)
        and each.get("type") == "image"
        and isinstance(each.get("mimeType"), str)
        and isinstance(each.get("content"), str)
    ]
    return UserMessage((*blocks_of(message.get("content")), *images))


def answer_of(message: dict[str, Any]) -> AssistantMessage:
    api = text_or_none(message.get("api")) or "unknown"
    content = message.get("content")
    blocks = [TextBlock(content)] if isinstance(content, str) else list(_answer_blocks(content, api))
    return AssistantMessage(
        content=tuple(blocks),
        model=model_of(message.get("provider"), message.get("model")) or "unknown/unknown",
        api=api,
        stop_reason=_STOPS.get(str(message.get("stopReason")), "end"),
        usage=usage_of(message.get("usage")),
        error=text_or_none(message.get("errorMessage")),
    )


def _answer_blocks(content: object, api: str) -> Iterator[AssistantBlock]:
    for block in content if isinstance(content, list) else ():
        match block:
            case {"type": "text", "text": str(text)}:
                yield TextBlock(text)
            case {"type": "thinking", "thinking": str(text)}:
                signature = text_or_none(block.get("thinkingSignature")) if api == _SIGNED_API else None
                redacted = bool(block.get("redacted")) and signature is not None
                if text or redacted:
                    yield ThinkingBlock(text, signature, redacted)
            case {"type": "toolCall", "id": str(call_id), "name": str(tool)}:
                arguments = block.get("arguments")
                yield ToolCall(_call_id(call_id), tool, arguments if isinstance(arguments, dict) else {})


def _call_id(value: object) -> str:
    # Pi joins the ids of a call and of its item by a bar.
    return value.split("|", 1)[0] if isinstance(value, str) else ""


def result_of(message: dict[str, Any]) -> ToolResultMessage:
    details = message.get("details")
    return ToolResultMessage(
        call_id=_call_id(message.get("toolCallId")),
        tool=text_or_none(message.get("toolName")) or "unknown",
        status="error" if message.get("isError") else "ok",
        content=tuple(blocks_of(message.get("content"))),
        details=details if isinstance(details, dict) and details else None,
    )


def command_text(message: dict[str, Any]) -> str:
    """A command that the user ran, as text for the model."""
    command, output = text_or_none(message.get("command")) or "", text_or_none(message.get("output")) or "(no output)"
    parts = [f"I ran `{command}`:", f"```\n{output.rstrip()}\n```"]
    code = message.get("exitCode")
    if message.get("cancelled"):
        parts.append("The command was cancelled.")
    elif isinstance(code, int) and code != 0:
        parts.append(f"It ended with exit code {code}.")
    if message.get("truncated"):
        parts.append("The output was cut.")
    return "\n".join(parts)


def replacement_of(value: object) -> object:
    """What a context edit puts in a node's place: None, a text, or blocks; a whole message gives its content."""
    if isinstance(value, dict):
        value = value.get("content")
    if value is None or isinstance(value, str):
        return value
    blocks: list[dict[str, Any]] = []
    for block in blocks_of(value):
        if isinstance(block, TextBlock):
            blocks.append({"type": "text", "text": block.text})
        else:
            blocks.append({"type": "image", "mimeType": block.mime_type, "data": block.data})
    return blocks


def usage_of(value: object) -> Usage:
    """Pi's usage counts cache apart from input, as ours does; it does not tell reasoning apart."""
    if not isinstance(value, dict):
        return Usage()
    cost = value.get("cost")
    cost = cost if isinstance(cost, dict) else {}
    return Usage(
        input=_count(value.get("input")),
        output=_count(value.get("output")),
        cache_read=_count(value.get("cacheRead")),
        cache_write=_count(value.get("cacheWrite")),
        cost=Cost(
            input=_money(cost.get("input")),
            output=_money(cost.get("output")),
            cache_read=_money(cost.get("cacheRead")),
            cache_write=_money(cost.get("cacheWrite")),
            total=_money(cost.get("total")),
        ),
    )


def _count(value: object) -> int:
    return max(0, int(value)) if isinstance(value, (int, float)) and abs(value) < 2**53 else 0


def _money(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e9 else 0.0
