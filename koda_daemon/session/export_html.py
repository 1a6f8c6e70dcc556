"""A session as one HTML page that needs nothing else: no scripts, no requests, everything escaped.

The page forbids both by its own Content-Security-Policy, so that nothing a model or a file said can come alive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
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
    Usage,
    UserBlock,
)
from koda_daemon.session.export import Segment, diff_of
from koda_daemon.session.export_style import STYLE
from koda_daemon.session.nodes import Node, SessionInfo
from koda_daemon.session.tree import Tree, call_line, one_line

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_FENCE = re.compile(r"^```[^\n]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)
# Of Markdown only what changes how a line looks, in text that is escaped already.
_CODE = re.compile(r"`([^`\n]+)`")
_BOLD = re.compile(r"\*\*(?=\S)([^*\n]+)(?<=\S)\*\*")
_TITLE = re.compile(r"^#{1,6} +(.+)$", re.MULTILINE)
_STRONG = r"<strong>\1</strong>"
PART = 50
_WHO = {
    "user": "User",
    "assistant": "Koda",
    "toolResult": "Result",
    "compaction": "Summary of what was before",
    "branchSummary": "Summary of a branch that was left",
    "note": "Note",
}


def page(info: SessionInfo, tree: Tree, segments: Sequence[Segment]) -> str:
    """The page: the tree at the side, the head's path, then what other branches add to it."""
    title = escape(one_line(info.title or "Session"))
    body: list[str] = []
    for index, segment in enumerate(segments):
        if index > 0 or (segment.nodes and segment.nodes[-1].id != info.head_id):
            body.append(_heading(tree, segment))
        body += articles(segment.nodes, tree)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#conversation">To the conversation</a>\n'
        f'<nav aria-label="Tree">{_tree(tree, info.head_id, segments)}</nav>\n<main id="conversation" tabindex="-1">\n'
        f"<header><h1>{title}</h1><p>{_about(info, tree)}</p></header>\n"
        + "\n".join(f'<div class="part">\n{part}\n</div>' for part in _parts(body, "\n"))
        + "\n</main>\n</body>\n</html>\n"
    )


def _about(info: SessionInfo, tree: Tree) -> str:
    total = sum((entry.usage for entry in tree if entry.usage is not None), Usage())
    facts = [
        _when(info.created_at),
        *(escape(fact) for fact in (info.model, info.cwd)),
        _count(len(tree), "node"),
        _count(len(tree.leaves()), "branch", "branches"),
        f"{total.input + total.cache_read + total.cache_write:,} tokens in, {total.output:,} out",
    ]
    if total.cost.total:
        facts.append(f"${total.cost.total:.2f}")
    return " · ".join(facts)


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _when(timestamp: str) -> str:
    """Date and time as they were stored (UTC), without the fractions."""
    return f'<time datetime="{escape(timestamp)}">{escape(timestamp[:16].replace("T", " "))}</time>'


def _tree(tree: Tree, head_id: str | None, segments: Sequence[Segment]) -> str:
    """A flat list, indented by forks, not by depth: a path of thousands of nodes stays a column."""
    on = set(tree.path_ids(head_id))
    indent: dict[str | None, int] = {}
    items: list[str] = []
    for segment in segments:
        level = 0 if segment.from_id is None else indent[segment.from_id] + 1
        for index, node in enumerate(segment.nodes):
            indent[node.id] = level
            entry = tree[node.id]
            named = (("on", node.id in on), ("fork", index == 0), ("head", node.id == head_id), (entry.kind, True))
            classes = " ".join(name for name, holds in named if holds)
            label = f"<b>{escape(one_line(entry.label))}</b> " if entry.label else ""
            text = escape(one_line(entry.preview, 80) or entry.kind)
            link = f'<a href="#{_anchor(node.id)}">{label}{text}</a>'
            items.append(f'<li class="{classes}" style="--d:{min(level, 12)}">{link}</li>')
    return "".join(f"<ol>{part}</ol>" for part in _parts(items))


def _parts(pieces: Sequence[str], between: str = "") -> Iterable[str]:
    """In groups, as which a browser lays out what is in sight and leaves the rest (``content-visibility``): thousands
    of elements that it watches one by one take it seconds."""
    return (between.join(pieces[at : at + PART]) for at in range(0, len(pieces), PART))


def _anchor(node_id: str) -> str:
    return "n-" + escape(re.sub(r"[^A-Za-z0-9_.:-]", "_", node_id))


def _heading(tree: Tree, segment: Segment) -> str:
    label = tree[segment.nodes[-1].id].label
    name = f"Branch “{escape(one_line(label))}”" if label else "Another branch"
    if segment.from_id is None:
        return f"<h2>{name}, from the beginning</h2>"
    preview = escape(one_line(tree[segment.from_id].preview, 60))
    return f'<h2>{name}, after <a href="#{_anchor(segment.from_id)}">{preview}</a></h2>'


def articles(nodes: Sequence[Node], tree: Tree) -> list[str]:
    """One article for each node. Results are folded into the calls they answer."""
    results = {node.message.call_id: node for node in nodes if isinstance(node.message, ToolResultMessage)}
    told: set[str] = set()
    here = {node.id for node in nodes}
    shown: list[str] = []
    before: Node | None = None
    for node in nodes:
        message = node.message
        inside: Iterable[str]
        if isinstance(message, AssistantMessage):
            answered = [results[call.call_id] for call in message.tool_calls if call.call_id in results]
            told.update(result.id for result in answered)
            inside = [*_answer(message, results), *(f'<span id="{_anchor(result.id)}"></span>' for result in answered)]
        elif isinstance(message, ToolResultMessage):
            if node.id in told:
                shown += _forks(node, here, tree)
                continue
            inside = [_result(message)]
        elif message is not None:
            inside = map(_block, message.content)
        else:
            inside = [_text(node.summary or "")]
        goes_on = before is not None and node.label is None and before.kind == node.kind == "assistant"
        shown.append(
            f'<article id="{_anchor(node.id)}" class="{node.kind}{" on" if goes_on else ""}">'
            f"{'' if goes_on else _who(node)}\n" + "\n".join(inside) + "</article>"
        )
        shown += _forks(node, here, tree)
        before = node
    return shown


def _who(node: Node) -> str:
    label = f"<mark>{escape(one_line(node.label))}</mark>" if node.label else ""
    model = f" · {escape(node.message.model)}" if isinstance(node.message, AssistantMessage) else ""
    return f"<h3>{_WHO[node.kind]}{label}<small>{_when(node.created_at)}{model}</small></h3>"


def _forks(node: Node, here: set[str], tree: Tree) -> list[str]:
    """Where the conversation goes on elsewhere as well: the ways to the other branches."""
    others = [child for child in tree.children(node.id) if child not in here]
    if not others:
        return []
    links = (f'<a href="#{_anchor(child)}">{escape(one_line(tree[child].preview, 60))}</a>' for child in others)
    return [
        f'<p class="forks">{_count(len(others), "other branch", "other branches")} from here: {" · ".join(links)}</p>'
    ]


def _answer(message: AssistantMessage, results: dict[str, Node]) -> Iterable[str]:
    for block in message.content:
        match block:
            case TextBlock(text=text):
                yield _text(text)
            case ThinkingBlock(text=text):
                if text.strip():
                    yield f"<details><summary>Thinking</summary>{_text(text)}</details>"
            case ToolCall():
                yield _call(block, results.get(block.call_id))
    if message.stop_reason in ("error", "cancelled", "length", "refusal"):
        why = f": {message.error}" if message.error else ""
        yield f'<p class="bad">Stopped ({message.stop_reason}){escape(why)}</p>'


def _call(call: ToolCall, result: Node | None) -> str:
    diff = diff_of(result, call.arguments)
    message = result.message if result is not None else None
    status = message.status if isinstance(message, ToolResultMessage) else "no result"
    inside: list[str] = []
    if diff is not None:
        inside.append(_diff(diff))
    inside.append(_arguments(call, folded=diff is not None))
    if isinstance(message, ToolResultMessage):
        inside += map(_output, message.content)
    mark = "" if status == "ok" else f' <span class="bad">{status}</span>'
    # A change is what a reader looks for; other calls stay folded.
    unfolded = " open" if diff is not None and status == "ok" else ""
    return (
        f"<details{unfolded}><summary><code>{escape(call_line(call))}</code>{mark}</summary>{''.join(inside)}</details>"
    )


def _arguments(call: ToolCall, *, folded: bool) -> str:
    """What the call was given; nothing where the line above says it all."""
    values = list(call.arguments.values())
    if len(values) == 1 and isinstance(values[0], str) and one_line(values[0]) == values[0]:
        return ""
    if len(values) == 1 and isinstance(values[0], str):
        text = escape(values[0])
    else:
        text = escape(msgspec.json.format(msgspec.json.encode(call.arguments), indent=2).decode())
    shown = f"<pre>{text}</pre>"
    return f"<details><summary>Arguments</summary>{shown}</details>" if folded else shown


def _result(message: ToolResultMessage) -> str:
    inside = "".join(map(_output, message.content))
    return f"<details><summary><code>{escape(message.tool)}</code> {message.status}</summary>{inside}</details>"


def _diff(diff: str) -> str:
    lines: list[str] = []
    for line in diff.removesuffix("\n").split("\n"):
        tag = {"+": "ins", "-": "del"}.get(line[:1]) if not line.startswith(("+++", "---")) else None
        lines.append(f"<{tag}>{escape(line)}</{tag}>" if tag else escape(line) + "\n")
    return f"<pre>{''.join(lines)}</pre>"


def _output(block: ResultBlock) -> str:
    return f"<pre>{escape(block.text)}</pre>" if isinstance(block, TextBlock) else _block(block)


def _block(block: UserBlock | ResultBlock) -> str:
    match block:
        case TextBlock(text=text):
            return _text(text)
        case ImageBlock(mime_type=mime_type, data=data) if (
            data is not None and mime_type in _IMAGES and _BASE64.fullmatch(data)
        ):
            return f'<img alt="" src="data:{mime_type};base64,{data}">'
        case ImageBlock(mime_type=mime_type, uri=uri):
            return f'<p class="meta">[image {escape(uri or mime_type)}]</p>'
        case ResourceBlock(uri=uri):
            return f'<p class="meta">[{escape(uri)}]</p>'


def _text(text: str) -> str:
    """Text as it was written; fenced code gets a frame of its own."""
    parts: list[str] = []
    end = 0
    for fence in _FENCE.finditer(text):
        parts += [_prose(text[end : fence.start()]), f"<pre>{escape(fence[1])}</pre>"]
        end = fence.end()
    return "".join([*parts, _prose(text[end:])])


def _prose(text: str) -> str:
    if not text.strip():
        return ""
    shown = escape(text.strip())
    # Code first: what is in it is no Markdown.
    parts = _CODE.split(shown)
    for index, part in enumerate(parts):
        parts[index] = f"<code>{part}</code>" if index % 2 else _BOLD.sub(_STRONG, part)
    return f'<div class="text">{_TITLE.sub(_STRONG, "".join(parts))}</div>'
