"""Pi's session files, versions 1 to 3 (its docs/session-format.md): entries become nodes of a tree.

In version 1 each line is the child of the line before; later versions name the parent. Entries that are no nodes here
(changes of model, names, labels) stand for the node they hang on. Nothing that was said or done is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from koda_daemon.ai.messages import AssistantMessage, TextBlock, ToolResultMessage
from koda_daemon.base.ids import new_id
from koda_daemon.session import importer_pi_messages as pi
from koda_daemon.session.importer import Imported
from koda_daemon.session.nodes import Node, NodeKind, timestamp
from koda_daemon.session.tree import preview_of

ENTRY_TYPES = (
    *("session", "message", "model_change", "thinking_level_change", "compaction", "context_edit", "branch_summary"),
    *("label", "session_info", "usage", "custom", "custom_message"),
)
_REFERENCES = {
    "compaction": "firstKeptEntryId",
    "context_edit": "targetId",
    "label": "targetId",
    "branch_summary": "fromId",
}
_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
KNOWN_VERSION = 3
TITLE_LENGTH = 80
NO_RESULT = "There is no result: the turn ended before the tool did."


class Entry(Struct, frozen=True):
    """A line with its place in the tree; ``key`` is unique in the file, ``parent`` the key of another entry.

    ``refers`` is the key of the entry that it names: of a compaction the first that it keeps, of a label and an edit
    the one that they are about, of a branch summary the one that was left.
    """

    key: str
    parent: str | None
    data: dict[str, Any]
    refers: str | None


def convert(lines: list[dict[str, Any]], warnings: list[str]) -> Imported:
    """What a file's lines hold (the header among them)."""
    header = next((line for line in lines if line.get("type") == "session"), {})
    conversion = _Conversion(pi.time_of(header.get("timestamp")) or timestamp(), warnings)
    conversion.model = pi.model_of(header.get("provider"), header.get("modelId"))
    version = header.get("version")
    if isinstance(version, int) and version > KNOWN_VERSION:
        warnings.append(f"The file has Pi's version {version}; versions up to {KNOWN_VERSION} are known here.")
    entries = _entries(lines, warnings)
    for entry in _parents_first(entries, warnings):
        conversion.add(entry)
    head = conversion.finish(entries[-1].key if entries else None)
    return Imported(
        nodes=conversion.labelled(),
        head_id=head,
        cwd=pi.text_or_none(header.get("cwd")),
        title=conversion.title or conversion.first_prompt,
        model=conversion.model,
        created_at=conversion.created_at,
        warnings=warnings,
    )


def _entries(lines: list[dict[str, Any]], warnings: list[str]) -> list[Entry]:
    """The entries in the file's order (the last one is where Pi would go on), with keys that can be relied on."""
    # Version 1 has no ids. Some programs leave the version out and have them.
    linear = not any("parentId" in line for line in lines)
    keys: dict[int, str] = {}
    places: dict[str, list[int]] = {}  # of an id, or in version 1 of a line's index, the lines that have it
    taken: set[str] = set()
    for index, data in enumerate(lines):
        if data.get("type") == "session":
            continue
        name = str(index) if linear else data.get("id")
        usable = isinstance(name, str) and _ID.fullmatch(name) and name not in taken and not linear
        keys[index] = key = name if usable and isinstance(name, str) else new_id()
        taken.add(key)
        places.setdefault(str(name), []).append(index)

    def named(value: object, near: int) -> str | None:
        """The key of the last line before ``near`` with an id, else of the first after it."""
        found = places.get(str(value), []) if value is not None else []
        place = next((each for each in reversed(found) if each < near), found[0] if found else None)
        return None if place is None else keys[place]

    entries: list[Entry] = []
    before: str | None = None
    for index, key in keys.items():
        data = lines[index]
        parent = before
        if not linear and "parentId" in data:
            wanted = data["parentId"]
            parent = None if wanted is None else named(wanted, index)
            if wanted is not None and parent is None:
                warnings.append("An entry hangs on one that is missing; it was put after the one before it.")
                parent = before
        field = _REFERENCES.get(str(data.get("type")), "")
        refers = data.get("firstKeptEntryIndex" if linear and field == "firstKeptEntryId" else field)
        entries.append(Entry(key, parent, data, named(refers, index)))
        before = key
    return entries


def _parents_first(entries: list[Entry], warnings: list[str]) -> Iterator[Entry]:
    """The entries, each after its parent; a circle is cut open where it is met first."""
    known = {entry.key for entry in entries}
    done: set[str] = set()
    waiting: dict[str, list[Entry]] = {}

    def ready(entry: Entry) -> Iterator[Entry]:
        freed = [entry]
        while freed:
            each = freed.pop()
            done.add(each.key)
            yield each
            freed += reversed(waiting.pop(each.key, ()))

    for entry in entries:
        if entry.parent is None or entry.parent in done or entry.parent not in known:
            yield from ready(entry)
        else:
            waiting.setdefault(entry.parent, []).append(entry)
    before: str | None = None
    for entry in entries:
        if entry.key not in done:
            warnings.append("An entry is its own ancestor; it was put after the one before it.")
            waiting[entry.parent or ""].remove(entry)
            yield from ready(Entry(entry.key, before, entry.data, entry.refers))
        before = entry.key


class _Conversion:
    """Adds entries one by one. All maps grow with the file and none is walked as a whole."""

    def __init__(self, created_at: str, warnings: list[str]) -> None:
        self.created_at = created_at
        self.title: str | None = None
        self.first_prompt: str | None = None
        self.model: str | None = None
        self._warnings = warnings
        self._nodes: dict[str, Node] = {}
        self._labels: dict[str, str | None] = {}
        self._parents: dict[str, str | None] = {}
        self._own: dict[str, str] = {}  # of entries that became nodes, the node
        self._place: dict[str, str | None] = {}  # of every entry, the node that its children grow from
        self._waiting: dict[str, dict[str, str]] = {}  # of a node, the calls on its path without result: id to tool
        self._mended: dict[str, str] = {}  # of nodes with such calls, the last of the results that were made up
        self._with_children: set[str] = set()

    def add(self, entry: Entry) -> None:
        self._parents[entry.key] = entry.parent
        parent = None if entry.parent is None else self._place[entry.parent]
        node = self._node(entry, parent)
        self._place[entry.key] = parent
        if node is not None:
            self._grow(node)
            self._place[entry.key] = self._own[entry.key] = node.id

    def finish(self, last: str | None) -> str | None:
        """Mends what ends in the middle of a call; the head."""
        head = None if last is None else self._place[last]
        for leaf in [id_ for id_, calls in self._waiting.items() if calls and id_ not in self._with_children]:
            end = self._mend(leaf)
            head = end if head == leaf else head
        if self._mended:
            self._warnings.append(f"Calls without result were given one that says so, in {len(self._mended)} place(s).")
        return head

    def labelled(self) -> list[Node]:
        return [
            msgspec.structs.replace(node, label=self._labels[node.id]) if self._labels.get(node.id) else node
            for node in self._nodes.values()
        ]

    def _grow(self, node: Node) -> None:
        """Adds a node behind its parent; calls that wait there get their results first."""
        parent = node.parent_id
        waiting = {} if parent is None else self._waiting.get(parent, {})
        message = node.message
        if isinstance(message, ToolResultMessage):
            waiting = {call: tool for call, tool in waiting.items() if call != message.call_id}
        elif node.kind != "note":
            if waiting and parent is not None:
                node = msgspec.structs.replace(node, parent_id=self._mend(parent))
            calls = message.tool_calls if isinstance(message, AssistantMessage) else []
            waiting = {call.call_id: call.tool for call in calls}
        self._put(node, waiting)

    def _put(self, node: Node, waiting: dict[str, str]) -> None:
        self._nodes[node.id] = node
        self._waiting[node.id] = waiting
        if node.parent_id is not None:
            self._with_children.add(node.parent_id)

    def _mend(self, node_id: str) -> str:
        """Results for the calls that wait at a node, one after the other; the last of them."""
        if node_id in self._mended:
            return self._mended[node_id]
        waiting = dict(self._waiting[node_id])
        end = node_id
        for call, tool in list(waiting.items()):
            del waiting[call]
            message = ToolResultMessage(call_id=call, tool=tool, status="cancelled", content=(TextBlock(NO_RESULT),))
            node = Node(
                id=new_id(),
                parent_id=end,
                kind="toolResult",
                created_at=self._nodes[node_id].created_at,
                message=message,
                details={"repaired": True},
            )
            self._put(node, dict(waiting))
            end = node.id
        self._mended[node_id] = end
        return end

    def _node(self, entry: Entry, parent: str | None) -> Node | None:
        """The node of an entry; None for those that are none, which leave their mark elsewhere."""
        data = entry.data

        def node(kind: NodeKind, **fields: Any) -> Node:
            at = pi.time_of(data.get("timestamp")) or self.created_at
            return Node(id=entry.key, parent_id=parent, kind=kind, created_at=at, **fields)

        match data.get("type"):
            case "message":
                message = data.get("message")
                return None if not isinstance(message, dict) else self._message(node, message, parent)
            case "custom_message":
                return node("user", message=pi.user_of(data), details=pi.details_of(data, "customType", "details"))
            case "compaction":
                return node(
                    "compaction",
                    summary=pi.text_or_none(data.get("summary")) or "",
                    first_kept_id=self._first_kept(entry),
                    details=pi.compaction_details(data),
                )
            case "branch_summary":
                details = pi.files_of(data)
                if entry.refers is not None and self._place.get(entry.refers) is not None:
                    details["fromId"] = self._place[entry.refers]
                return node("branchSummary", summary=pi.text_or_none(data.get("summary")) or "", details=details)
            case "context_edit":
                target = self._own.get(entry.refers or "")
                if target is not None:
                    edit = {"targetId": target, "replacement": pi.replacement_of(data.get("replacement"))}
                    return node("note", summary="The context was edited.", details={"contextEdit": edit})
            case "model_change":
                self.model = pi.model_of(data.get("provider"), data.get("modelId")) or self.model
            case "session_info":
                self.title = pi.text_or_none(data.get("name"))
            case "label":
                target = self._place.get(entry.refers or "")
                if target is not None:
                    self._labels[target] = pi.text_or_none(data.get("label"))
            case kind if kind not in ENTRY_TYPES:
                self._warnings.append(f"An entry of the unknown type {pi.named(kind)} was left out.")
        return None

    def _message(self, node: Any, message: dict[str, Any], parent: str | None) -> Node | None:
        result: Node
        match message.get("role"):
            case "user" | "custom" | "hookMessage" as role:
                result = node("user", message=pi.user_of(message), details=pi.details_of(message, "customType"))
                if role == "user" and self.first_prompt is None:
                    self.first_prompt = preview_of(result)[:TITLE_LENGTH] or None
            case "assistant":
                answer = pi.answer_of(message)
                self.model = answer.model
                result = node("assistant", message=answer)
            case "toolResult":
                outcome = pi.result_of(message)
                if parent is None or outcome.call_id not in self._waiting.get(parent, {}):
                    # No provider takes a result without its call.
                    text = f"A result of {outcome.tool} without its call: {pi.plain(outcome.content)}"
                    return node("note", summary=text)  # type: ignore[no-any-return]
                result = node("toolResult", message=outcome)
            case "bashExecution":
                if message.get("excludeFromContext"):
                    result = node("note", summary=pi.command_text(message))
                else:
                    result = node("user", message=pi.user_of({"content": pi.command_text(message)}))
            case "branchSummary":
                result = node("branchSummary", summary=pi.text_or_none(message.get("summary")) or "")
            case "system":
                return None  # our own system text takes its place
            case role:
                self._warnings.append(f"A message of the unknown role {pi.named(role)} was left out.")
                return None
        return result

    def _first_kept(self, entry: Entry) -> str | None:
        """The node of the first kept entry; when that is no node, of the next one on the path."""
        tail = entry.data.get("retainedTail")
        length = len(tail) if isinstance(tail, list) and entry.refers is None else 0
        if entry.refers is None and not length:
            return None
        first: str | None = None
        here = entry.parent
        while here is not None:
            if here in self._own and self._nodes[self._own[here]].kind != "note":
                first = self._own[here]
                length -= 1
            if here == entry.refers or (entry.refers is None and length == 0):
                return first
            here = self._parents[here]
        return None
