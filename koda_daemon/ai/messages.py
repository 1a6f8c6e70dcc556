"""Messages as every floor, the store and the wire see them: the canonical form that all wire APIs map to and from.

Encoded with msgspec these are exactly the ``message`` and ``content`` of the protocol (protocol/README.md, Messages).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field

StopReason = Literal["end", "toolUse", "length", "refusal", "pause", "cancelled", "error"]
ToolStatus = Literal["ok", "error", "denied", "cancelled"]


class TextBlock(Struct, tag="text", tag_field="type", rename="camel", omit_defaults=True, frozen=True):
    """Text. ``signature`` is opaque provider data, sent back to the same provider only."""

    text: str
    signature: str | None = None


class ImageBlock(Struct, tag="image", tag_field="type", rename="camel", omit_defaults=True, frozen=True):
    """An image: ``data`` is base64 without a ``data:`` prefix; else ``uri`` names a file."""

    mime_type: str
    data: str | None = None
    uri: str | None = None


class Position(Struct, frozen=True):
    """Zero-based line and character, as in LSP (characters in the negotiated position encoding)."""

    line: int
    character: int


class Range(Struct, frozen=True):
    """A half-open range, as in LSP."""

    start: Position
    end: Position


class ResourceBlock(Struct, tag="resource", tag_field="type", omit_defaults=True, frozen=True):
    """A file (or a part of it) that the user refers to."""

    uri: str
    range: Range | None = None


class ThinkingBlock(Struct, tag="thinking", tag_field="type", rename="camel", omit_defaults=True, frozen=True):
    """Reasoning. ``signature`` (or encrypted content, then ``redacted``) goes back to the same provider unchanged."""

    text: str
    signature: str | None = None
    redacted: bool = False


class ToolCall(Struct, tag="toolCall", tag_field="type", rename="camel", omit_defaults=True, frozen=True):
    """A tool call of the model.

    ``arguments_error`` is set when the streamed arguments were not a JSON object; such a call is never run.
    ``signature`` is opaque provider data (Gemini thought signatures), sent back to the same provider only.
    """

    call_id: str
    tool: str
    arguments: dict[str, Any]
    arguments_error: str | None = None
    signature: str | None = None


UserBlock: TypeAlias = TextBlock | ImageBlock | ResourceBlock
AssistantBlock: TypeAlias = TextBlock | ThinkingBlock | ToolCall
ResultBlock: TypeAlias = TextBlock | ImageBlock | ResourceBlock


class Cost(Struct, rename="camel", frozen=True, gc=False):
    """Money, in ``currency``, of one or more answers."""

    input: float = 0.0
    output: float = 0.0
    cache_read: float = 0.0
    cache_write: float = 0.0
    total: float = 0.0
    currency: str = "USD"


class Usage(Struct, rename="camel", frozen=True, gc=False):
    """Tokens. ``input`` never includes cache reads or writes; ``output`` includes ``reasoning``."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cost: Cost = field(default_factory=Cost)

    @property
    def context_tokens(self) -> int:
        """How much of the context window the request and its answer took."""
        return self.input + self.cache_read + self.cache_write + self.output

    def __add__(self, other: Usage) -> Usage:
        a, b = self.cost, other.cost
        return Usage(
            self.input + other.input,
            self.output + other.output,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
            self.reasoning + other.reasoning,
            Cost(
                _sum(a.input, b.input),
                _sum(a.output, b.output),
                _sum(a.cache_read, b.cache_read),
                _sum(a.cache_write, b.cache_write),
                _sum(a.total, b.total),
            ),
        )


def _sum(a: float, b: float) -> float:
    """The sum of two amounts as they are written: 0.1 and 0.2 make 0.3."""
    return float(Decimal(str(a)) + Decimal(str(b))) if a and b else a or b


class UserMessage(Struct, tag="user", tag_field="role", frozen=True):
    """What a user (or a steering client) said."""

    content: tuple[UserBlock, ...]


class AssistantMessage(
    Struct, tag="assistant", tag_field="role", rename="camel", omit_defaults=True, frozen=True, kw_only=True
):
    """One whole answer. ``model`` is ``provider/id``; ``api`` the wire API that made it (for handoff)."""

    content: tuple[AssistantBlock, ...]
    model: str
    api: str
    stop_reason: StopReason
    usage: Usage = field(default_factory=Usage)
    error: str | None = None

    @property
    def text(self) -> str:
        return "".join(block.text for block in self.content if isinstance(block, TextBlock))

    @property
    def tool_calls(self) -> list[ToolCall]:
        return [block for block in self.content if isinstance(block, ToolCall)]


class ToolResultMessage(
    Struct, tag="toolResult", tag_field="role", rename="camel", omit_defaults=True, frozen=True, kw_only=True
):
    """The answer to one tool call, as the model sees it. ``details`` is for clients only."""

    call_id: str
    tool: str
    status: ToolStatus
    content: tuple[ResultBlock, ...]
    details: dict[str, Any] | None = None


Message: TypeAlias = UserMessage | AssistantMessage | ToolResultMessage


def text_of(content: tuple[UserBlock, ...] | tuple[ResultBlock, ...]) -> str:
    """The text blocks, joined by newlines: for previews, search and models without other modalities."""
    return "\n".join(block.text for block in content if isinstance(block, TextBlock))
