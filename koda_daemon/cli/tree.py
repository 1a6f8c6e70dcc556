"""Drawing a session's tree: a straight conversation goes straight down, branches are set off to the right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from koda_daemon.cli.style import Colour, Style, columns, one_line

_KINDS: dict[str, tuple[str, Colour]] = {
    "user": ("you", "bold"),
    "assistant": ("koda", "cyan"),
    "toolResult": ("tool", "dim"),
    "branchSummary": ("summary", "yellow"),
    "compaction": ("compacted", "yellow"),
    "note": ("note", "yellow"),
}


def draw_tree(
    nodes: Sequence[dict[str, Any]], head_id: str | None, style: Style, *, width: int = 100, whole: bool = False
) -> list[str]:
    """The lines of a tree from the nodes of ``koda/tree``, oldest branch first, the head marked.

    Unless ``whole``, the inner steps of a turn (calls and results between the prompt and the last answer) are counted
    instead of shown, except where something branches, is labelled or is the head.
    """
    children: dict[str | None, list[dict[str, Any]]] = {}
    known = {node["id"] for node in nodes}
    for node in nodes:
        parent = node.get("parentId")
        children.setdefault(parent if parent in known else None, []).append(node)
    lines: list[str] = []
    # Depth first with an own stack: a conversation may be thousands of nodes deep.
    stack = [(node, "", "") for node in reversed(children.get(None, []))]
    while stack:
        node, lead, below = stack.pop()
        run = _run(node, children)
        for shown, hidden in _steps(run, head_id, whole=whole):
            left = _fitting(lead, width // 2, style)
            if shown is None:
                text = style.paint(f"{style.symbol('⋮', ':')} {hidden} more steps", "dim")
            else:
                text = _line(shown, head_id, style, width - len(left))
            lines.append(style.paint(left, "dim") + text)
            lead = below
        following = children.get(run[-1]["id"], [])
        for index in range(len(following) - 1, -1, -1):
            last = index == len(following) - 1
            tee = style.symbol("└─ " if last else "├─ ", "`- " if last else "|- ")
            stem = "   " if last else style.symbol("│  ", "|  ")
            stack.append((following[index], below + tee, below + stem))
    return lines


def _fitting(lead: str, width: int, style: Style) -> str:
    """The end of what stands before a line, where forks of forks leave no room for it all."""
    if len(lead) <= width:
        return lead
    mark = style.symbol("… ", "> ")
    return mark + lead[len(lead) - width + len(mark) :]


def _run(node: dict[str, Any], children: dict[str | None, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The node and what follows it without a fork."""
    run = [node]
    while len(following := children.get(run[-1]["id"], [])) == 1:
        run.append(following[0])
    return run


def _steps(
    run: Sequence[dict[str, Any]], head_id: str | None, *, whole: bool
) -> Iterator[tuple[dict[str, Any] | None, int]]:
    """Nodes to show, and (None, count) for steps left out between them."""
    hidden: list[dict[str, Any]] = []
    for index, node in enumerate(run):
        ends_turn = index + 1 == len(run) or run[index + 1]["kind"] == "user"
        inner = node["kind"] in ("assistant", "toolResult") and not ends_turn and index > 0
        if inner and not whole and not node.get("label") and node["id"] != head_id:
            hidden.append(node)
            continue
        # A single step takes no more room than the words that it was left out.
        if len(hidden) == 1:
            yield hidden[0], 0
        elif hidden:
            yield None, len(hidden)
        hidden.clear()
        yield node, 0


def _line(node: dict[str, Any], head_id: str | None, style: Style, width: int) -> str:
    name, colour = _KINDS.get(str(node.get("kind")), (str(node.get("kind")), "dim"))
    label = f" [{one_line(str(node['label']), max(6, min(40, width // 3)))}]" if node.get("label") else ""
    head = f" {style.symbol('◀', '<-')} head" if node["id"] == head_id else ""
    room = width - columns(f"{name:<5} 123456 {label}{head}")
    parts = [
        style.paint(f"{name:<5}", colour),
        style.paint(str(node["id"])[-6:], "dim"),
        one_line(str(node.get("preview", "")), max(room, 1)),
    ]
    return " ".join(parts) + style.paint(label, "yellow") + style.paint(head, "green", "bold")
