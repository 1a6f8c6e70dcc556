"""Sessions as files: JSONL that loses nothing, and Markdown and HTML for people."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from msgspec import Struct

from koda_daemon.session.nodes import Branch, Node, SessionInfo, TurnRecord
from koda_daemon.session.session import Session
from koda_daemon.session.tree import Tree

ExportFormat = Literal["jsonl", "markdown", "html"]

FORMAT = "koda.session"
VERSION = 1
PAGE = 500


class Header(Struct, rename="camel", kw_only=True, omit_defaults=True):
    """The first line of our JSONL. Lines after it are ``{"node": Node}`` in the order of insertion, parents first,
    ``{"turn": TurnRecord}`` and ``{"branch": Branch}``. A newer version may add fields and kinds of lines."""

    format: str
    version: int
    session: SessionInfo
    growing: str | None = None
    """The named branch that the head is on."""


class Segment(Struct, frozen=True):
    """A run of nodes that read as one text; ``from_id`` is the node that it grows from (None: a beginning)."""

    from_id: str | None
    nodes: list[Node]


async def export_session(session: Session, fmt: ExportFormat) -> str:
    """The whole session, all branches, as text.

    ``jsonl`` is lossless: ``import_session`` makes the same tree of it, with labels, head, turns and branches.
    ``markdown`` and ``html`` show the head's path first and then what the other branches add.
    """
    # What is exported is the session as it is now, whatever a turn adds meanwhile.
    info, tree, turns, branches = session.info, Tree(session.tree), session.turns(), list(session.branches.values())
    growing = session.growing
    if fmt == "jsonl":
        nodes = await _whole(session, [entry.id for entry in tree])
        return await asyncio.to_thread(jsonl, info, nodes, turns, branches, growing)
    segments = [Segment(from_id, await _whole(session, ids)) for from_id, ids in segments_of(tree, info.head_id)]
    if fmt == "markdown":
        from koda_daemon.session.export_markdown import markdown

        return await asyncio.to_thread(markdown, info, tree, segments)
    from koda_daemon.session.export_html import page

    return await asyncio.to_thread(page, info, tree, segments)


def jsonl(
    info: SessionInfo,
    nodes: Iterable[Node],
    turns: Iterable[TurnRecord],
    branches: Iterable[Branch] = (),
    growing: str | None = None,
) -> str:
    """The lossless form; see ``Header``."""
    encoder = msgspec.json.Encoder()
    lines: list[Any] = [Header(format=FORMAT, version=VERSION, session=info, growing=growing)]
    lines += [{"node": node} for node in nodes]
    lines += [{"turn": turn} for turn in turns]
    lines += [{"branch": branch} for branch in branches]
    return "".join(f"{encoder.encode(line).decode()}\n" for line in lines)


async def _whole(session: Session, ids: list[str]) -> list[Node]:
    nodes: list[Node] = []
    for start in range(0, len(ids), PAGE):  # so that other jobs of the store get their turn
        nodes += await session.nodes(ids[start : start + PAGE])
    return nodes


def segments_of(tree: Tree, head_id: str | None) -> list[tuple[str | None, list[str]]]:
    """Every node once: the head's path, then for each other branch what no one before it has shown."""
    segments: list[tuple[str | None, list[str]]] = []
    shown: set[str] = set()
    for end in [*([head_id] if head_id is not None else []), *tree.leaves()]:
        ids: list[str] = []
        here: str | None = end
        while here is not None and here not in shown:
            ids.append(here)
            here = tree[here].parent_id
        if ids:
            segments.append((here, ids[::-1]))
            shown.update(ids)
    return segments


def diff_of(node: Node | None, arguments: dict[str, Any]) -> str | None:
    """The unified diff that was stored with a result, else one made of the texts that an edit exchanged."""
    if node is not None:
        message_details = getattr(node.message, "details", None)
        for details in (node.details, message_details):
            if details and isinstance(details.get("diff"), str):
                diff: str = details["diff"]
                return diff
    edits = arguments.get("edits")
    if not isinstance(edits, list):
        edits = [arguments]
    lines: list[str] = []
    for edit in edits:
        if isinstance(edit, dict) and isinstance(edit.get("oldText"), str) and isinstance(edit.get("newText"), str):
            lines += [f"-{line}" for line in edit["oldText"].removesuffix("\n").split("\n")]
            lines += [f"+{line}" for line in edit["newText"].removesuffix("\n").split("\n")]
    return "\n".join(lines) or None
