"""A session as Markdown: readable as text, tool calls folded where the reader can fold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

import msgspec

from koda_daemon.ai.messages import (
    AssistantMessage,
    ImageBlock,
    ResourceBlock,
    ResultBlock,
    TextBlock,
    ThinkingBlock,
    ToolCall,
    ToolResultMessage,
    UserBlock,
)
from koda_daemon.session.export import Segment, diff_of
from koda_daemon.session.nodes import Node, SessionInfo
from koda_daemon.session.tree import Tree, call_line, one_line

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_HTML = re.compile(r"( {0,3})<(?=[!?/A-Za-z])")
_BACKTICKS = re.compile(r"`{3,}")


def markdown(info: SessionInfo, tree: Tree, segments: Sequence[Segment]) -> str:
    """The head's path as a transcript, then the other branches under headings that say where they grow from."""
    title = one_line(info.title or "Session")
    parts = [f"# {title}", f"{info.created_at} · `{info.model}` · `{info.cwd}`"]
    for index, segment in enumerate(segments):
        if index > 0 or (segment.nodes and segment.nodes[-1].id != info.head_id):
            parts.append("---\n\n" + _heading(tree, segment))
        parts += transcript(segment.nodes)
    return "\n\n".join(parts) + "\n"


def _heading(tree: Tree, segment: Segment) -> str:
    name = tree[segment.nodes[-1].id].label
    branch = f"## Branch “{one_line(name)}”" if name else "## Another branch"
    where = (
        "from the beginning" if segment.from_id is None else f"after “{one_line(tree[segment.from_id].preview, 60)}”"
    )
    return f"{branch}, {where}"


def transcript(nodes: Sequence[Node]) -> list[str]:
    """The nodes of one run as paragraphs. Results are shown with their calls."""
    results = {node.message.call_id: node for node in nodes if isinstance(node.message, ToolResultMessage)}
    told: set[str] = set()
    parts: list[str] = []
    for node in nodes:
        label = f" · **{one_line(node.label)}**" if node.label else ""
        message = node.message
        if isinstance(message, AssistantMessage):
            parts.append(f"### Koda{label}")
            for block in message.content:
                if isinstance(block, ToolCall):
                    result = results.get(block.call_id)
                    if result is not None:
                        told.add(result.id)
                    parts.append(_call(block, result))
                elif isinstance(block, ThinkingBlock):
                    if block.text.strip():
                        parts.append(_folded("Thinking", _bounded(block.text.strip())))
                elif block.text.strip():
                    parts.append(_bounded(block.text.strip()))
            if message.stop_reason in ("error", "cancelled", "length", "refusal"):
                parts.append(f"*Stopped: {message.stop_reason}{f' ({message.error})' if message.error else ''}*")
        elif isinstance(message, ToolResultMessage):
            if node.id not in told:  # its call is in another run
                parts.append(_folded(f"Result of {message.tool}: {message.status}", _fenced(_text(message.content))))
        elif message is not None:
            parts.append(f"### User{label}\n\n{_bounded(_text(message.content))}")
        elif node.kind == "note":
            parts.append(f"*Note: {one_line(node.summary or '', 1000)}*{label}")
        else:
            title = "Summary of what was before" if node.kind == "compaction" else "Summary of a branch that was left"
            parts.append(f"### {title}{label}\n\n{_quoted(_bounded(node.summary or ''))}")
    return parts


def _call(call: ToolCall, result: Node | None) -> str:
    message = result.message if result is not None else None
    body = [_fenced(msgspec.json.format(msgspec.json.encode(call.arguments), indent=2).decode(), "json")]
    diff = diff_of(result, call.arguments)
    if diff is not None:
        body.append(_fenced(diff, "diff"))
    status = "no result"
    if isinstance(message, ToolResultMessage):
        status = message.status
        body.append(_fenced(_text(message.content)))
    return _folded(f"{call_line(call)} · {status}", "\n\n".join(body))


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{escape(one_line(title))}</summary>\n\n{body}\n\n</details>"


def _fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in _BACKTICKS.findall(text)), default=2)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _bounded(text: str) -> str:
    """Markdown that somebody wrote, so that it ends where it ends: fences that an answer left open are closed, and
    no line begins a block of HTML, which could run on through all that follows."""
    fence = ""
    lines: list[str] = []
    for line in text.split("\n"):
        mark = _FENCE.fullmatch(line)
        if mark is None:
            lines.append(line if fence else _HTML.sub(r"\1\\<", line, count=1) if _HTML.match(line) else line)
            continue
        if not fence:
            fence = "" if mark[1][0] == "`" and "`" in mark[2] else mark[1]
        elif mark[1].startswith(fence) and not mark[2].strip():
            fence = ""
        lines.append(line)
    return "\n".join([*lines, fence] if fence else lines)


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))


def _text(content: Sequence[UserBlock | ResultBlock]) -> str:
    return "\n\n".join(map(_shown, content))


def _shown(block: UserBlock | ResultBlock) -> str:
    match block:
        case TextBlock(text=text):
            return text
        case ImageBlock(mime_type=mime_type, uri=uri):
            return f"[image {uri or mime_type}]"
        case ResourceBlock(uri=uri):
            return f"[{uri}]"
