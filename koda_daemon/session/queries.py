"""What is asked of the database: plain functions of a connection, run in the store's thread inside a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from koda_daemon.ai.messages import AssistantMessage, Cost, Usage
from koda_daemon.base.errors import KodaError
from koda_daemon.session.lease import Leases, SessionMovedError
from koda_daemon.session.nodes import Branch, Node, Origin, QueuedPrompt, SessionInfo, TreeNode, TurnRecord
from koda_daemon.session.tree import tree_node

if TYPE_CHECKING:
    from sqlite3 import Connection

json = msgspec.json.Encoder()
_node = msgspec.json.Decoder(Node)
_prompt = msgspec.json.Decoder(QueuedPrompt)
_object = msgspec.json.Decoder(dict[str, Any])
_origin = msgspec.json.Decoder(Origin)

INFO = "id, cwd, title, model, head_id, created_at, updated_at, options, checkpoint, origin"
INFO_LENGTH = 10

HIDDEN = 2
"""Of a session's column ``deleted``: it is being stored. 1: it is being removed."""
SEQ_BLOCK = 1 << 32
"""Event numbers that a process gets for a session at a time: more than it can ever give out, and JavaScript's safe
integers (2^53) hold two million such blocks."""


class Row(Struct, frozen=True):
    """A node ready to be stored: its entry in the index and its encoded content (without the label)."""

    entry: TreeNode
    node: Node
    body: bytes


def decode_node(body: bytes) -> Node:
    return _node.decode(body)


def row_of(node: Node) -> Row:
    """Encodes a node. ``TypeError`` for details that are not JSON.

    Half of a surrogate pair (models and programs do write them) is not text: it becomes U+FFFD, not an error.
    """
    try:
        return _row(node)
    except UnicodeEncodeError:
        return _row(msgspec.convert(mended(msgspec.to_builtins(node)), Node))


def _row(node: Node) -> Row:
    plain = node
    if node.label is not None:
        node.label.encode()
        plain = msgspec.structs.replace(node, label=None)
    return Row(tree_node(node), plain, json.encode(plain))


def mended(value: Any) -> Any:
    """Plain data without halves of surrogate pairs; a pair in two halves becomes its character."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {mended(key): mended(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [mended(each) for each in value]
    return value


def text(value: object) -> str:
    """JSON as text, for the columns that people may want to read."""
    return json.encode(value).decode()


def info_of(row: Sequence[Any]) -> SessionInfo:
    return SessionInfo(
        id=row[0],
        cwd=row[1],
        title=row[2],
        model=row[3],
        head_id=row[4],
        created_at=row[5],
        updated_at=row[6],
        options=_object.decode(row[7]),
        checkpoint=row[8],
        origin=None if row[9] is None else _origin.decode(row[9]),
    )


def no_session(session_id: str) -> KodaError:
    return KodaError("session.notFound", f"There is no session {session_id}.")


def insert_session(connection: Connection, info: SessionInfo, *, seq_floor: int = 0, hidden: bool = False) -> int:
    """Stores a new session; its number in the database. Event numbers up to ``seq_floor`` are taken. A ``hidden`` one
    is not there for anybody until ``show_session``."""
    cursor = connection.execute(
        f"INSERT INTO sessions ({INFO}, seq_floor, deleted)"  # noqa: S608 - ours
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            info.id,
            info.cwd,
            info.title,
            info.model,
            info.head_id,
            info.created_at,
            info.updated_at,
            text(info.options),
            info.checkpoint,
            None if info.origin is None else text(info.origin),
            seq_floor,
            HIDDEN if hidden else 0,
        ),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def show_session(connection: Connection, sid: int) -> None:
    connection.execute("UPDATE sessions SET deleted = 0 WHERE sid = ? AND deleted = ?", (sid, HIDDEN))


def drop_hidden(connection: Connection, sid: int) -> None:
    """Leaves a session that did not become whole to the housekeeping."""
    connection.execute("UPDATE sessions SET deleted = 1 WHERE sid = ? AND deleted = ?", (sid, HIDDEN))


def update_session(
    connection: Connection, leases: Leases, sid: int, session_id: str, known: int, **values: object
) -> None:
    """Sets columns of a session and counts the change, if this process may write to it and ``known``, the revision
    that memory has, is the last one (or all that came after is its own).

    Raises ``session.notFound`` when it has been deleted, ``session.locked``, ``SessionMovedError``.
    """
    names = "".join(f"{name} = ?, " for name in values)
    statement = (
        f"UPDATE sessions SET {names}revision = revision + 1"  # noqa: S608 - names come from our own code
        " WHERE sid = ? AND holder = ? AND NOT deleted"
    )
    arguments = (*values.values(), sid, leases.id)
    if connection.execute(statement, arguments).rowcount:
        return
    if revision_of(connection, sid, session_id) != known:
        raise SessionMovedError
    leases.take(connection, sid)
    connection.execute(statement, arguments)


def revision_of(connection: Connection, sid: int, session_id: str) -> int:
    row = connection.execute("SELECT revision FROM sessions WHERE sid = ? AND NOT deleted", (sid,)).fetchone()
    if row is None:
        raise no_session(session_id)
    revision: int = row[0]
    return revision


def require_node(connection: Connection, sid: int, node_id: str) -> None:
    if connection.execute("SELECT 1 FROM nodes WHERE sid = ? AND id = ?", (sid, node_id)).fetchone() is None:
        raise KodaError("node.notFound", f"There is no node {node_id} in this session.")


def insert_nodes(connection: Connection, sid: int, rows: Iterable[Row]) -> int:
    """Stores nodes whose parents exist; the last one's ``seq`` (0: none were given).

    Raises ``node.notFound`` for a parent, ``params.invalid`` for a taken id.
    """
    here: set[str] = set()
    seq: int | None = 0
    for row in rows:
        entry = row.entry
        if entry.parent_id is not None and entry.parent_id not in here:
            require_node(connection, sid, entry.parent_id)
        here.add(entry.id)
        seq = connection.execute("INSERT INTO bodies (sid, body) VALUES (?, ?)", (sid, row.body)).lastrowid
        added = connection.execute(
            "INSERT INTO nodes (sid, seq, id, parent_id, kind, preview, created_at, label, turn_id, usage)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (sid, id) DO NOTHING",
            (
                sid,
                seq,
                entry.id,
                entry.parent_id,
                entry.kind,
                entry.preview,
                entry.created_at,
                entry.label,
                entry.turn_id,
                None if entry.usage is None else text(entry.usage),
            ),
        ).rowcount
        if not added:
            raise KodaError("params.invalid", f"The node {entry.id} exists already.")
    return seq or 0


def read_nodes(connection: Connection, sid: int, ids: Sequence[str]) -> list[tuple[Node, int]]:
    """The contents of nodes and their sizes in bytes, in the order asked for; those that do not exist are left out."""
    found: list[tuple[Node, int]] = []
    for id_ in ids:
        row = connection.execute(
            "SELECT body FROM nodes JOIN bodies USING (seq) WHERE nodes.sid = ? AND id = ?", (sid, id_)
        ).fetchone()
        if row is not None:
            found.append((decode_node(row[0]), len(row[0])))
    return found


def set_label(connection: Connection, sid: int, node_id: str, label: str | None) -> None:
    if not connection.execute("UPDATE nodes SET label = ? WHERE sid = ? AND id = ?", (label, sid, node_id)).rowcount:
        raise KodaError("node.notFound", f"There is no node {node_id} in this session.")


def put_turn(connection: Connection, sid: int, turn: TurnRecord) -> None:
    connection.execute(
        "INSERT INTO turns (sid, turn_id, status, record, revision)"
        " VALUES (?, ?, ?, ?, (SELECT revision FROM sessions WHERE sid = ?)) ON CONFLICT (sid, turn_id)"
        " DO UPDATE SET status = excluded.status, record = excluded.record, revision = excluded.revision",
        (sid, turn.turn_id, turn.status, text(turn), sid),
    )


def put_branch(connection: Connection, sid: int, branch: Branch) -> None:
    connection.execute(
        "INSERT INTO branches (sid, branch_id, record) VALUES (?, ?, ?)"
        " ON CONFLICT (sid, branch_id) DO UPDATE SET record = excluded.record",
        (sid, branch.id, text(branch)),
    )


def put_queued(connection: Connection, sid: int, prompt: QueuedPrompt) -> None:
    """A prompt at the end of the queue, or in place of the one with the same turn."""
    connection.execute(
        "INSERT INTO queue (sid, position, turn_id, prompt)"
        " VALUES (?, (SELECT coalesce(max(position), 0) + 1 FROM queue WHERE sid = ?), ?, ?)"
        " ON CONFLICT (sid, turn_id) DO UPDATE SET prompt = excluded.prompt",
        (sid, sid, prompt.turn_id, text(prompt)),
    )


def drop_queued(connection: Connection, sid: int, turn_id: str) -> None:
    if not connection.execute("DELETE FROM queue WHERE sid = ? AND turn_id = ?", (sid, turn_id)).rowcount:
        raise KodaError("turn.notFound", f"No prompt waits for the turn {turn_id}.")


def order_queue(connection: Connection, sid: int, turn_ids: Iterable[str]) -> None:
    """Those named go first, in this order; the others keep theirs behind them."""
    wanted = list(turn_ids)
    waiting = [
        row[0] for row in connection.execute("SELECT turn_id FROM queue WHERE sid = ? ORDER BY position", (sid,))
    ]
    for turn_id in wanted:
        if turn_id not in waiting:
            raise KodaError("turn.notFound", f"No prompt waits for the turn {turn_id}.")
    order = [*wanted, *(each for each in waiting if each not in wanted)]
    for position, turn_id in enumerate(order, start=1):
        connection.execute("UPDATE queue SET position = ? WHERE sid = ? AND turn_id = ?", (position, sid, turn_id))


def recall(connection: Connection, sid: int, request_id: str) -> dict[str, Any] | None:
    row = connection.execute(
        "SELECT result FROM requests WHERE sid = ? AND request_id = ?", (sid, request_id)
    ).fetchone()
    return None if row is None else _object.decode(row[0])


def remember(connection: Connection, sid: int, request_id: str, result: dict[str, Any], now: str) -> None:
    connection.execute(
        "INSERT INTO requests (sid, request_id, result, created_at) VALUES (?, ?, ?, ?)",
        (sid, request_id, text(result), now),
    )


def add_usage(connection: Connection, session_id: str, node: Node) -> None:
    """Enters an answer's usage into the ledger, on the UTC day the node was made."""
    if isinstance(node.message, AssistantMessage):
        add_sums(connection, session_id, node.created_at[:10], node.message.model, node.message.usage)


def add_sums(connection: Connection, session_id: str, day: str, model: str, usage: Usage) -> None:
    if not usage.context_tokens and not usage.cost.total:
        return
    key = (session_id, day, model)
    found = connection.execute(
        "SELECT answers, input, output, cache_read, cache_write, reasoning, cost_input, cost_output, cost_cache_read,"
        " cost_cache_write, cost_total FROM usage WHERE session_id = ? AND day = ? AND model = ?",
        key,
    ).fetchone()
    answers = 0
    if found is not None:  # not added up by SQLite, whose numbers are binary fractions
        answers, input_, output, read, write, reasoning, *paid = found
        usage = Usage(input_, output, read, write, reasoning, Cost(*paid)) + usage
    numbers = (usage.input, usage.output, usage.cache_read, usage.cache_write, usage.reasoning)
    cost = usage.cost
    money = (cost.input, cost.output, cost.cache_read, cost.cache_write, cost.total)
    connection.execute(
        "INSERT OR REPLACE INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*key, answers + 1, *numbers, *money),
    )


def get_options(connection: Connection, sid: int) -> dict[str, Any]:
    row = connection.execute("SELECT options FROM sessions WHERE sid = ?", (sid,)).fetchone()
    return {} if row is None else _object.decode(row[0])


def get_queued(connection: Connection, sid: int, turn_id: str) -> QueuedPrompt:
    row = connection.execute("SELECT prompt FROM queue WHERE sid = ? AND turn_id = ?", (sid, turn_id)).fetchone()
    if row is None:
        raise KodaError("turn.notFound", f"No prompt waits for the turn {turn_id}.")
    return _prompt.decode(row[0])


def take_numbers(connection: Connection, sid: int, session_id: str) -> int:
    """Takes a block of event numbers for this process: those after the number returned."""
    row = connection.execute("SELECT seq_floor FROM sessions WHERE sid = ? AND NOT deleted", (sid,)).fetchone()
    if row is None:
        raise no_session(session_id)
    floor: int = row[0]
    connection.execute("UPDATE sessions SET seq_floor = ? WHERE sid = ?", (floor + SEQ_BLOCK, sid))
    return floor
