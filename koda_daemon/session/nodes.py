"""Nodes: the entries of a session's tree, as stored and as sent (protocol/README.md, Messages)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import Struct

from koda_daemon.ai.messages import Message, Usage, UserBlock

NodeKind = Literal["user", "assistant", "toolResult", "branchSummary", "compaction", "note"]


def timestamp() -> str:
    """Now, as ISO 8601 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Node(Struct, rename="camel", omit_defaults=True, frozen=True, kw_only=True):
    """One entry of the tree. ``parent_id`` is None for a root.

    ``summary`` belongs to branchSummary, compaction and note; a compaction replaces, for the model, everything on its
    path before ``first_kept_id`` (None: keep nothing before it).
    """

    id: str
    parent_id: str | None
    kind: NodeKind
    created_at: str
    turn_id: str | None = None
    label: str | None = None
    message: Message | None = None
    summary: str | None = None
    first_kept_id: str | None = None
    details: dict[str, Any] | None = None


# gc=False: tens of thousands are held at once and none can be part of a cycle; the collector need not visit them.
class TreeNode(Struct, rename="camel", omit_defaults=True, frozen=True, kw_only=True, gc=False):
    """A node without its content, for drawing the tree; ``preview`` is one line of at most 120 characters."""

    id: str
    parent_id: str | None
    kind: NodeKind
    preview: str
    created_at: str
    label: str | None = None
    turn_id: str | None = None
    usage: Usage | None = None


class Origin(Struct, rename="camel", omit_defaults=True, frozen=True, kw_only=True):
    """Where a session comes from that is a branch of another, with a folder of its own (its ``cwd``).

    ``workspace`` is the folder of that other session, ``from_id`` the node that the branch grew from.
    """

    session_id: str
    branch_id: str
    from_id: str | None
    workspace: str


class SessionInfo(Struct, rename="camel", omit_defaults=True, frozen=True, kw_only=True):
    """A session without its tree. ``options`` are those set for this session (``koda/option/set``); ``checkpoint``
    names the state of the workspace's files that the session last saw (opaque; None: it never looked)."""

    id: str
    cwd: str
    title: str | None
    model: str
    head_id: str | None
    created_at: str
    updated_at: str
    options: dict[str, Any]
    checkpoint: str | None = None
    origin: Origin | None = None


class QueuedPrompt(Struct, rename="camel", omit_defaults=True, frozen=True, kw_only=True):
    """A prompt that waits: for the running turn to end (``queue``) or for its tools to end (``steer``).

    ``turn_id`` is the turn it will start; a steering prompt that comes too late starts that turn as well.
    """

    turn_id: str
    content: tuple[UserBlock, ...]
    created_at: str
    model: str | None = None
    options: dict[str, Any] | None = None
    delivery: Literal["queue", "steer"] = "queue"


class Branch(Struct, rename="camel", omit_defaults=True, frozen=True, kw_only=True):
    """A branch made by name. It grows from ``from_id`` (None: the very beginning) and ends at ``tip_id``.

    ``label`` waits for the first node that grows. ``workspace`` is the absolute path of the branch's own folder.
    ``details`` is for whoever made the branch (plain JSON data).
    """

    id: str
    from_id: str | None
    tip_id: str | None
    created_at: str
    label: str | None = None
    workspace: str | None = None
    details: dict[str, Any] | None = None


class SearchHit(Struct, rename="camel", frozen=True, kw_only=True):
    """A node whose text matches; ``snippet`` marks the match with ``**``."""

    session_id: str
    node_id: str
    snippet: str
    created_at: str


class TurnFiles(Struct, rename="camel", omit_defaults=True, frozen=True, kw_only=True):
    """The workspace's files in a turn, as checkpoints (opaque names of states).

    ``known`` is what the session knew of them when the turn began, ``before`` the state before its first change (None:
    it changed nothing), ``after`` that at its end; ``nodes`` are states in between, as they were at nodes. ``failed``
    says why changes of the turn could not be recorded.
    """

    known: str | None = None
    before: str | None = None
    after: str | None = None
    nodes: dict[str, str] = {}
    failed: str | None = None


class TurnRecord(Struct, rename="camel", omit_defaults=True, frozen=True, kw_only=True):
    """A turn as the store remembers it.

    ``parent_id`` is the node it grew from (None: the root), ``user_node_id`` its prompt; ``stop_reason`` and
    ``ended_at`` are set when ``status`` is ``ended``. ``request_id`` is the client's own.
    """

    turn_id: str
    status: Literal["queued", "running", "ended"]
    model: str
    created_at: str
    stop_reason: str | None = None
    user_node_id: str | None = None
    parent_id: str | None = None
    ended_at: str | None = None
    request_id: str | None = None
    files: TurnFiles | None = None


class UsageSum(Struct, rename="camel", omit_defaults=True, frozen=True, kw_only=True):
    """Tokens and cost of ``answers`` model answers; a field that the sum was not grouped by is None.

    ``day`` is a UTC date (``2026-01-31``). Deleting a session does not change the sums.
    """

    usage: Usage
    answers: int
    session_id: str | None = None
    day: str | None = None
    model: str | None = None
