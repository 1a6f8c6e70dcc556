"""How many tokens messages take: what providers measured, and an estimate for what they have not seen yet. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from koda_daemon.ai.messages import (
    AssistantBlock,
    AssistantMessage,
    ImageBlock,
    Message,
    ResourceBlock,
    ResultBlock,
    TextBlock,
    ThinkingBlock,
    ToolCall,
    UserBlock,
)
from koda_daemon.session.nodes import Node
from koda_daemon.session.window import effective_path

BYTES_PER_TOKEN = 4
"""Of UTF-8: about right for English and code, and for scripts whose characters take two or three bytes."""
IMAGE_TOKENS = 1_200
"""Providers count 85 to 1,600 for an image by its size, which is not known here."""
MESSAGE_TOKENS = 4
CALIBRATION_PAIRS = 20


def text_tokens(text: str) -> int:
    """The estimate for a text, rounded up."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return -(-size // BYTES_PER_TOKEN)


def message_tokens(message: Message) -> int:
    """The estimate for a message: its texts, thinking and calls, a fixed number for each image and for the frame."""
    return MESSAGE_TOKENS + sum(_block_tokens(block) for block in message.content)


def _block_tokens(block: UserBlock | AssistantBlock | ResultBlock) -> int:
    match block:
        case TextBlock(text=text) | ThinkingBlock(text=text):
            return text_tokens(text)
        case ImageBlock():
            return IMAGE_TOKENS
        case ResourceBlock(uri=uri):
            return text_tokens(uri)
        case ToolCall(tool=tool, arguments=arguments):
            return 8 + text_tokens(tool) + -(-len(msgspec.json.encode(arguments)) // BYTES_PER_TOKEN)


def node_tokens(node: Node) -> int:
    """The estimate for a node; notes cost nothing, the model does not see them."""
    if node.message is not None:
        return message_tokens(node.message)
    return 0 if node.kind == "note" else MESSAGE_TOKENS + text_tokens(node.summary or "")


def calibration(path: Sequence[Node], default: float = 1.0) -> float:
    """What to multiply estimates with so that they agree with what the provider measured on this path (0.5 to 3);
    ``default`` when the path says too little about it.

    Compares, for consecutive measured answers of one model with no compaction between them, by how much the window grew
    with the estimate of what was added.
    """
    measured = estimated = added = pairs = 0
    newer: AssistantMessage | None = None
    for node in reversed(path):
        answer = counted_answer(node)
        if node.kind == "compaction":
            newer, added = None, 0
        elif answer is not None:
            growth = newer.usage.context_tokens - answer.usage.context_tokens if newer is not None else 0
            if newer is not None and newer.model == answer.model and growth > 0:
                measured, estimated, pairs = measured + growth, estimated + added, pairs + 1
            newer, added = answer, 0
            if pairs == CALIBRATION_PAIRS:
                break
        added += node_tokens(node)
    # Little evidence must not turn the estimate around.
    return min(3.0, max(0.5, measured / estimated)) if estimated >= 500 else default


def window_tokens(path: Sequence[Node], *, ratio: float = 1.0, overhead: int = 0) -> int:
    """How much of the context window the next request on this path would take.

    Up to the newest measured answer the provider's own count holds, system text and tools included; the rest is
    estimated, times ``ratio``. Answers older than the last compaction measured another window; with none that is newer,
    the effective path is estimated and ``overhead`` stands for system text and tools.
    """
    counted, tail = unmeasured(path)
    return (overhead if counted is None else counted) + round(tail * ratio)


def unmeasured(path: Sequence[Node]) -> tuple[int | None, int]:
    """What a provider counted of the window (None: nothing of it), and the estimate of what came after that."""
    window = effective_path(path)
    last = next((i for i in range(len(path) - 1, -1, -1) if path[i].kind == "compaction"), -1)
    newer = {node.id for node in path[last + 1 :]}
    tail = 0
    for node in reversed(window):
        answer = counted_answer(node) if node.id in newer else None
        if answer is not None:
            return answer.usage.context_tokens, tail
        tail += node_tokens(node)
    return None, tail


def compacted_to(path: Sequence[Node]) -> tuple[int, int] | None:
    """What the last compaction of a path is known to have left, and the estimate of what came after it; None without
    one, or when it does not say (another program made it)."""
    tail = 0
    for node in reversed(path):
        if node.kind == "compaction":
            after = (node.details or {}).get("tokensAfter")
            return (after, tail) if isinstance(after, int) else None
        tail += node_tokens(node)
    return None


def counted_answer(node: Node) -> AssistantMessage | None:
    """The node's answer when a provider counted the whole of it."""
    answer = node.message
    if not isinstance(answer, AssistantMessage) or answer.stop_reason in ("cancelled", "error"):
        return None
    return answer if answer.usage.context_tokens else None
