"""koda/session/*: making, opening, finding, keeping and closing sessions."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from koda_daemon.agent.events import ErrorData
from koda_daemon.host.events import ApprovalRequested
from koda_daemon.server.protocol.base import Limit, Options, Params, Result
from koda_daemon.session.nodes import Node, SearchHit, SessionInfo

ExportFormat = Literal["jsonl", "markdown", "html"]

WireEvent: TypeAlias = Annotated[Any, Meta(extra_json_schema={"$ref": "#/$defs/KodaEvent"})]
"""A ``host.events.AnyEvent``, or one encoded already (``msgspec.Raw``): what is replayed is, byte for byte, what was
sent. Decoded it is plain data, so that an unknown type of event does not spoil the rest."""


class SessionNewParams(Params, kw_only=True):
    """Makes a session and subscribes this client to its events."""

    cwd: str | None = None
    """Absolute path of the workspace folder; left out: the client's first workspace folder."""
    model: str | None = None
    """``provider/model``; left out: the default of the settings."""
    title: str | None = None
    options: Options | None = None


class SessionNewResult(Result, kw_only=True):
    """The new session. Its tree is empty, so ``head_id`` is null; the first event has the number after ``seq``."""

    session_id: str
    head_id: str | None
    model: str
    seq: int


class SessionOpenParams(Params, kw_only=True):
    """Shows a session and subscribes this client to its events."""

    session_id: str
    since: Annotated[int, Meta(ge=0)] | None = None
    """The ``seq`` of the last event that the client has handled."""
    limit: Limit = 200
    """How many nodes to show at most."""


class LiveTurn(Result, kw_only=True):
    """A turn that runs while a snapshot is taken.

    ``events`` are those of the turn that ``nodes`` does not tell yet, consecutive deltas merged: a client that handles
    them like live ones stands where a client stands that never left. They all carry the snapshot's ``seq``.
    """

    turn_id: str
    events: tuple[WireEvent, ...]


class LastTurn(Result, kw_only=True):
    """How the last turn ended. ``error`` is known as long as the daemon runs that told it."""

    turn_id: str
    stop_reason: str
    """As in ``turn.ended``."""
    error: ErrorData | None = None


class SessionOpenResult(Result, kw_only=True):
    """Either a snapshot (``nodes``) or, after ``since``, exactly the events missed (``events``, then no nodes).

    ``nodes`` are the newest of the head's path, whole, oldest first. The next event has the number after ``seq``.
    """

    session: SessionInfo
    head_id: str | None
    seq: int
    nodes: tuple[Node, ...]
    cursor: str | None = None
    """Leads to older nodes (``koda/session/nodes``); left out at the beginning of the path."""
    live_turn: LiveTurn | None = None
    last_turn: LastTurn | None = None
    """Left out while a turn runs, and before the first one."""
    pending_approvals: tuple[ApprovalRequested, ...]
    events: tuple[WireEvent, ...] | None = None


class SessionNodesParams(Params, kw_only=True):
    """Gives older nodes of the head's path (``cursor``), or those named by ``ids``, whole, oldest first."""

    session_id: str
    cursor: str | None = None
    limit: Limit = 200
    ids: list[str] | None = None


class SessionNodesResult(Result, kw_only=True):
    """Whole nodes; with ``cursor`` when there are older ones."""

    nodes: tuple[Node, ...]
    cursor: str | None = None


class SessionListParams(Params, kw_only=True):
    """Lists sessions, last changed first; with ``cwd`` those of that workspace folder only."""

    cwd: str | None = None
    cursor: str | None = None
    limit: Limit = 50


class SessionListResult(Result, kw_only=True):
    """A page of sessions; with ``cursor`` when there are more."""

    sessions: tuple[SessionInfo, ...]
    cursor: str | None = None


class SessionSearchParams(Params, kw_only=True):
    """Finds nodes with all words of ``query``, newest first: "quoted words" as a phrase, the last as a beginning."""

    query: str
    cwd: str | None = None
    limit: Limit = 50


class SessionSearchResult(Result):
    """The nodes found."""

    hits: tuple[SearchHit, ...]


class SessionRenameParams(Params, kw_only=True):
    """Gives a session a title."""

    session_id: str
    title: Annotated[str, Meta(max_length=1000)]


class SessionRenameResult(Result):
    """The session as it is now; all its clients get ``session.changed``."""

    session: SessionInfo


class SessionDeleteParams(Params):
    """Deletes a session with its whole tree, for good. A running turn is cancelled first."""

    session_id: str


class SessionCloseParams(Params):
    """Ends this client's subscription. The session stays, and so does a running turn."""

    session_id: str


class SessionExportParams(Params, kw_only=True):
    """Writes a session out: ``jsonl`` is lossless, ``markdown`` and ``html`` are for people."""

    session_id: str
    format: ExportFormat
    path: str | None = None
    """Absolute path of the file to write; left out: the text is in the answer."""


class SessionExportResult(Result, kw_only=True):
    """The file written, or the text."""

    path: str | None = None
    content: str | None = None


class SessionImportParams(Params):
    """Reads a session from a file: Koda's own JSONL, or that of Pi (v1 to v3)."""

    path: str


class SessionImportResult(Result, kw_only=True):
    """The session made; ``warnings`` says what was repaired."""

    session_id: str
    node_count: int
    warnings: tuple[str, ...] = ()


class SessionLagged(Result):
    """The session went on without this client, which was too far behind, and its subscription has ended.

    Opening the session again (``since``: ``seq``) brings the client up to date.
    """

    session_id: str
    seq: int
    """The number of the last event that was sent."""
