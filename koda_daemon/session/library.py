"""What is asked of all sessions together: listing, searching, sums, deletion and the store's housekeeping."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from koda_daemon.ai.messages import Cost, Usage
from koda_daemon.session import queries
from koda_daemon.session.lease import Leases
from koda_daemon.session.nodes import SearchHit, SessionInfo, TurnRecord, UsageSum
from koda_daemon.session.search import Snippets, folder_word, match_expression, text_of_node, to_index, words_of

if TYPE_CHECKING:
    from sqlite3 import Connection

UsageGroup = Literal["session", "day", "model"]

REMEMBER_REQUESTS = timedelta(days=7)
HIDDEN_FOR = timedelta(days=1)
"""How long a session may take to be stored."""
SNIPPET_FROM = 64 * 1024
"""Characters of a node in which the place of a match is looked for, to show it."""
SYMBOLS_IN = 5_000
INDEX_STEP = 100
DELETE_STEP = 500

_COSTS = ("cost_input", "cost_output", "cost_cache_read", "cost_cache_write", "cost_total")
_SUMS = (
    "sum(answers), sum(input), sum(output), sum(cache_read), sum(cache_write), sum(reasoning), "
    # Without the dust of binary fractions.
    + ", ".join(f"round(sum({name}), 12)" for name in _COSTS)
)
_COLUMNS: dict[UsageGroup, str] = {"session": "session_id", "day": "day", "model": "model"}


def list_sessions(
    connection: Connection, cwd: str | None, after: tuple[str, int] | None, limit: int
) -> tuple[list[SessionInfo], tuple[str, int] | None]:
    """A page of sessions, those changed last first, and where the next page begins."""
    where, values = "NOT deleted", list[Any]()
    if cwd is not None:
        where, values = f"{where} AND cwd = ?", [*values, cwd]
    if after is not None:
        where, values = f"{where} AND (updated_at, sid) < (?, ?)", [*values, *after]
    rows = connection.execute(
        f"SELECT {queries.INFO}, sid FROM sessions WHERE {where}"  # noqa: S608 - made of constants
        " ORDER BY updated_at DESC, sid DESC LIMIT ?",
        (*values, limit + 1),
    ).fetchall()
    page = rows[:limit]
    place = (page[-1][6], page[-1][queries.INFO_LENGTH]) if len(rows) > limit else None
    return [queries.info_of(row) for row in page], place


def search(connection: Connection, query: str, cwd: str | None, limit: int) -> list[SearchHit]:
    """The newest nodes with all words of ``query``. Symbols, which no index has, are looked for in the newest
    ``SYMBOLS_IN`` of the texts that the words leave."""
    words, symbols = match_expression(query), words_of(query)[1]
    if words is None and not symbols:
        return []
    matches = [] if words is None else [f"text : ({words})"]
    if cwd is not None:
        matches.append(f'folder : "{folder_word(cwd)}"')
    match, values = (" AND node_text MATCH ?", [" AND ".join(matches)]) if matches else ("", [])
    wanted = match
    if symbols:
        newest = f"SELECT rowid FROM node_text WHERE true{match} ORDER BY rowid DESC LIMIT {SYMBOLS_IN}"  # noqa: S608
        wanted += f" AND node_text.rowid >= (SELECT min(rowid) FROM ({newest}))"  # noqa: S608
        wanted += " AND instr(node_text.text, ?)" * len(symbols)
        values += [*values, *symbols]
    if cwd is not None:
        wanted += " AND sessions.cwd = ?"
        values.append(cwd)
    # Newest first is the order of rowids: FTS5 then stops at the limit, where a ranking would visit every match.
    rows = connection.execute(
        f"SELECT sessions.id, nodes.id, substr(node_text.text, 1, {SNIPPET_FROM}), nodes.created_at"  # noqa: S608
        " FROM node_text CROSS JOIN bodies ON bodies.seq = node_text.rowid"
        " CROSS JOIN sessions ON sessions.sid = bodies.sid"
        " CROSS JOIN nodes ON nodes.sid = bodies.sid AND nodes.seq = bodies.seq"
        f" WHERE NOT sessions.deleted{wanted} ORDER BY node_text.rowid DESC LIMIT ?",
        (*values, limit),
    )
    cut = Snippets(query).of
    return [SearchHit(session_id=s, node_id=n, snippet=cut(text), created_at=at) for s, n, text, at in rows]


def turns_beside(connection: Connection, session_id: str) -> list[tuple[str, TurnRecord]]:
    """The turns of all other sessions that have the same folder, each with its session. One that was imported anew
    has turns of this one, which do not count."""
    rows = connection.execute(
        "SELECT sessions.id, record FROM sessions AS own JOIN sessions ON sessions.cwd = own.cwd"
        " JOIN turns ON turns.sid = sessions.sid"
        " WHERE own.id = ?1 AND sessions.id <> ?1 AND NOT sessions.deleted AND status <> 'queued'"
        " AND turn_id NOT IN (SELECT turn_id FROM turns WHERE sid = own.sid)",
        (session_id,),
    )
    return [(id_, msgspec.json.decode(record, type=TurnRecord)) for id_, record in rows]


def index_step(connection: Connection, limit: int = INDEX_STEP) -> bool:
    """Brings the next nodes into the text index; True when there may be more.

    The index follows behind so that an append does not wait for it; a search catches up first.
    """
    upto: int = connection.execute("SELECT seq FROM indexed").fetchone()[0]
    rows = connection.execute(
        "SELECT seq, body, cwd FROM bodies JOIN sessions USING (sid) WHERE seq > ? ORDER BY seq LIMIT ?", (upto, limit)
    )
    last, count = upto, 0
    for seq, body, cwd in rows.fetchall():
        last, count = seq, count + 1
        with contextlib.suppress(msgspec.MsgspecError):  # a damaged entry must not keep all others from being found
            text = to_index(text_of_node(queries.decode_node(body)))
            connection.execute(
                "INSERT INTO node_text (rowid, text, folder) VALUES (?, ?, ?)", (seq, text, folder_word(cwd))
            )
    if count:
        connection.execute("UPDATE indexed SET seq = ?", (last,))
    return count == limit


def mark_deleted(connection: Connection, leases: Leases, session_id: str) -> int:
    """Hides a session at once; its number, for ``delete_step``."""
    row = connection.execute("SELECT sid FROM sessions WHERE id = ? AND NOT deleted", (session_id,)).fetchone()
    if row is None:
        raise queries.no_session(session_id)
    sid: int = row[0]
    leases.take(connection, sid)
    connection.execute("UPDATE sessions SET deleted = 1 WHERE sid = ?", (sid,))
    return sid


def delete_step(connection: Connection, sid: int, limit: int = DELETE_STEP) -> bool:
    """Removes some of a deleted session, at last the session; True when there is more. In steps, so that other
    sessions need not wait for a big one to go."""
    seqs = connection.execute("SELECT seq FROM nodes WHERE sid = ? LIMIT ?", (sid, limit)).fetchall()
    connection.executemany("DELETE FROM node_text WHERE rowid = ?", seqs)
    connection.executemany("DELETE FROM bodies WHERE seq = ?", seqs)
    connection.executemany("DELETE FROM nodes WHERE sid = ? AND seq = ?", [(sid, seq) for (seq,) in seqs])
    if seqs:
        return True
    for table in ("turns", "queue", "requests", "branches", "sessions"):
        connection.execute(f"DELETE FROM {table} WHERE sid = ?", (sid,))  # noqa: S608 - constants
    return False


def housekeeping_step(connection: Connection) -> bool:
    """Finishes deletions, and removes what never became whole, of a killed daemon; forgets old requests; True when
    there is more."""
    forget_requests(connection)
    before = (datetime.now(UTC) - HIDDEN_FOR).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    row = connection.execute(
        "SELECT sid FROM sessions WHERE deleted = 1 OR (deleted = ? AND updated_at < ?) LIMIT 1",
        (queries.HIDDEN, before),
    ).fetchone()
    return row is not None and (delete_step(connection, row[0]) or True)


def forget_requests(connection: Connection) -> None:
    """Forgets the answers to requests that nobody repeats any more."""
    oldest = (datetime.now(UTC) - REMEMBER_REQUESTS).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    connection.execute("DELETE FROM requests WHERE created_at < ?", (oldest,))


def sum_usage(
    connection: Connection, by: tuple[UsageGroup, ...], session_id: str | None, since: str | None, model: str | None
) -> list[UsageSum]:
    """Sums of the ledger, one for each combination of what ``by`` names, in its order."""
    where, values = ["1"], list[str]()
    for condition, value in (("session_id = ?", session_id), ("day >= ?", since), ("model = ?", model)):
        if value is not None:
            where.append(condition)
            values.append(value)
    columns = [_COLUMNS[each] for each in by]
    grouping = f" GROUP BY {', '.join(columns)} ORDER BY {', '.join(columns)}" if columns else ""
    rows = connection.execute(
        f"SELECT {''.join(f'{c}, ' for c in columns)}{_SUMS} FROM usage"  # noqa: S608 - made of constants
        f" WHERE {' AND '.join(where)}{grouping}",
        values,
    )
    return [_sum_of(columns, row) for row in rows if row[len(columns)] is not None]


def _sum_of(columns: list[str], row: tuple[Any, ...]) -> UsageSum:
    names = dict(zip(columns, row, strict=False))
    answers, input_, output, cache_read, cache_write, reasoning, *money = row[len(columns) :]
    return UsageSum(
        usage=Usage(input_, output, cache_read, cache_write, reasoning, Cost(*money)),
        answers=answers,
        session_id=names.get("session_id"),
        day=names.get("day"),
        model=names.get("model"),
    )
