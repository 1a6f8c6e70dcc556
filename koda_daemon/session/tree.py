"""The tree of one session in memory: which node grew from which, without their contents. Pure data, no I/O.

Every walk is a loop, not a recursion: paths of tens of thousands of nodes are ordinary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import msgspec

from koda_daemon.ai.messages import AssistantMessage, ImageBlock, ResourceBlock, TextBlock, ThinkingBlock, ToolCall
from koda_daemon.base.errors import KodaError
from koda_daemon.session.nodes import Node, TreeNode

PREVIEW_LENGTH = 120


class Tree:
    """Nodes in the order in which they were added; a parent always comes before its children.

    Several roots are allowed (editing the first prompt branches from None). Lookups raise ``KodaError``
    ``node.notFound``.
    """

    __slots__ = ("_children", "_nodes")

    def __init__(self, nodes: Iterable[TreeNode] = ()) -> None:
        self._nodes: dict[str, TreeNode] = {}
        self._children: dict[str | None, list[str]] | None = None  # made when first asked for: a session may not be
        for node in nodes:
            self.add(node)

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._nodes

    def __iter__(self) -> Iterator[TreeNode]:
        return iter(self._nodes.values())

    def __getitem__(self, node_id: str) -> TreeNode:
        try:
            return self._nodes[node_id]
        except KeyError:
            raise KodaError("node.notFound", f"There is no node {node_id} in this session.") from None

    def add(self, node: TreeNode) -> None:
        """Grows a leaf. Raises ``params.invalid`` when the id is taken."""
        if node.id in self._nodes:
            raise KodaError("params.invalid", f"The node {node.id} exists already.")
        parent = node.parent_id
        if parent is not None and parent not in self._nodes:
            self[parent]
        self._nodes[node.id] = node
        if self._children is not None:
            self._children.setdefault(parent, []).append(node.id)

    def set_label(self, node_id: str, label: str | None) -> None:
        """Names the node, or takes its name away."""
        self._nodes[node_id] = msgspec.structs.replace(self[node_id], label=label)

    def children(self, node_id: str | None) -> list[str]:
        """The nodes that grew from this one, oldest first; those of None are the roots."""
        if node_id is not None:
            self[node_id]
        return list(self._below.get(node_id, ()))

    @property
    def _below(self) -> dict[str | None, list[str]]:
        if self._children is None:
            self._children = {}
            for node in self._nodes.values():
                self._children.setdefault(node.parent_id, []).append(node.id)
        return self._children

    def leaves(self) -> list[str]:
        """The ends of all branches, oldest first."""
        below = self._below
        return [node_id for node_id in self._nodes if node_id not in below]

    def path_ids(self, to: str | None, *, limit: int | None = None) -> list[str]:
        """From the root to ``to``, both included, oldest first; with ``limit`` only the last so many. None: empty."""
        path: list[str] = []
        while to is not None and (limit is None or len(path) < limit):
            path.append(to)
            to = self[to].parent_id
        path.reverse()
        return path

    def depth(self, node_id: str) -> int:
        """How many nodes are above this one."""
        return len(self.path_ids(node_id)) - 1

    def common_ancestor(self, a: str, b: str) -> str | None:
        """The newest node that both paths share (it may be ``a`` or ``b``); None when they have different roots."""
        left: str | None = a
        right: str | None = b
        above_left, above_right = self.depth(a), self.depth(b)
        while left != right:
            if above_left >= above_right and left is not None:
                left, above_left = self._nodes[left].parent_id, above_left - 1
            elif right is not None:
                right, above_right = self._nodes[right].parent_id, above_right - 1
        return left

    def subtree(self, node_id: str) -> list[str]:
        """The node and everything that grew from it, parents before children."""
        self[node_id]
        found, below = [node_id], self._below
        for each in found:  # grows while it is read
            found.extend(below.get(each, ()))
        return found

    def branch_of(self, node_id: str) -> str:
        """The leaf of the branch that a node stands for: the end that grew last of all that grew from it."""
        below = set(self.subtree(node_id))
        return next(each for each in reversed(self._nodes) if each in below)

    def around(self, node_id: str | None = None, depth: int | None = None) -> list[TreeNode]:
        """The nodes at most ``depth`` steps (up or down) from one, in the order of the tree; None for ``depth`` is all
        that hangs together with it. Without ``node_id`` the steps count from the roots, which are at 0."""
        if depth is None and node_id is None:
            return list(self._nodes.values())
        starts = self.children(None) if node_id is None else [self[node_id].id]
        distance = dict.fromkeys(starts, 0)
        waiting, below = deque(starts), self._below
        while waiting:
            here = waiting.popleft()
            if depth is not None and distance[here] >= depth:
                continue
            parent = self._nodes[here].parent_id
            near = [*below.get(here, ()), *(() if parent is None else (parent,))]
            for each in near:
                if each not in distance:
                    distance[each] = distance[here] + 1
                    waiting.append(each)
        return [node for node in self._nodes.values() if node.id in distance]


def tree_node(node: Node) -> TreeNode:
    """A node without its content."""
    message = node.message
    return TreeNode(
        id=node.id,
        parent_id=node.parent_id,
        kind=node.kind,
        preview=preview_of(node),
        created_at=node.created_at,
        label=node.label,
        turn_id=node.turn_id,
        usage=message.usage if isinstance(message, AssistantMessage) and message.usage.context_tokens else None,
    )


def preview_of(node: Node) -> str:
    """One line of at most 120 characters that lets a person recognise the node."""
    if node.message is None:
        return one_line(node.summary or "")
    thought = ""
    parts: list[str] = []
    for block in node.message.content:
        match block:
            case TextBlock(text=text):
                parts.append(text[: 4 * PREVIEW_LENGTH])
            case ThinkingBlock(text=text):
                thought = thought or text[: 4 * PREVIEW_LENGTH]
            case ToolCall():
                parts.append(call_line(block))
            case ImageBlock():
                parts.append("[image]")
            case ResourceBlock(uri=uri):
                parts.append(f"[{uri.rsplit('/', 1)[-1] or uri}]")
        if len(parts) > PREVIEW_LENGTH:
            break
    line = one_line(" ".join(parts)) or one_line(thought)
    if isinstance(node.message, AssistantMessage):
        return line or one_line(node.message.error or f"({node.message.stop_reason})")
    return line


def call_line(call: ToolCall) -> str:
    """A tool call in one short line: its name and the argument that says most."""
    for name in ("path", "command", "pattern", "query", "url"):
        value = call.arguments.get(name)
        if isinstance(value, str):
            return one_line(f"{call.tool} {value[: 4 * PREVIEW_LENGTH]}")
    return one_line(call.tool)


def one_line(text: str, length: int = PREVIEW_LENGTH) -> str:
    """Text on one line without control characters, cut with an ellipsis at ``length``."""
    # Bounded before it is split: a preview of a megabyte must not cost a megabyte.
    words = " ".join("".join(c if c.isprintable() else " " for c in text[: 8 * length]).split())
    return words if len(words) <= length else words[: length - 1] + "…"
