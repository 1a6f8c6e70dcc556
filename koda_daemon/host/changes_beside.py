"""What other sessions changed in the same folder while a turn ran. The files alone do not tell the two apart: both
turns find what the other did between their own records."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from koda_daemon.ai.messages import ToolResultMessage
from koda_daemon.base.errors import KodaError

if TYPE_CHECKING:
    from koda_daemon.host.live import LiveSession
    from koda_daemon.session.nodes import TurnRecord
    from koda_daemon.session.view import SessionView


async def changed_beside(live: LiveSession, turns: Iterable[TurnRecord], now: str) -> set[bytes]:
    """Files that may be the work of another session's turn at the same time as one of ``turns``.

    A file that a turn's own edits name, and those of the other do not, is that turn's.
    """
    found = set[bytes]()
    others: list[tuple[str, TurnRecord]] | None = None
    for turn in turns:
        if turn.files is None or turn.files.before is None:
            continue
        if others is None:
            others = await live.host.sessions.turns_beside(live.id)
        for session_id, other in others:
            if other.files is not None and other.files.before is not None and _overlap(turn, other):
                found |= await _not_own(live, turn, session_id, other, now)
    return found


def _overlap(one: TurnRecord, other: TurnRecord) -> bool:
    return (one.ended_at is None or other.created_at <= one.ended_at) and (
        other.ended_at is None or one.created_at <= other.ended_at
    )


async def _not_own(live: LiveSession, turn: TurnRecord, session_id: str, other: TurnRecord, now: str) -> set[bytes]:
    points = live.files.checkpoints
    assert other.files is not None
    assert other.files.before is not None
    try:
        changes = await points.done_between(other.files.before, other.files.after or now)
        theirs = await _named(await live.host.sessions.load(session_id), other)
    except KodaError as error:
        if error.kind not in ("tool.failed", "session.notFound"):  # no longer kept, or deleted meanwhile
            raise
        return set()
    own = await _named(live.session, turn)
    uris = {change.path: Path(points.root, os.fsdecode(change.path)).as_uri() for change in changes.files}
    return {path for path, uri in uris.items() if uri in theirs or uri not in own}


async def _named(session: SessionView, turn: TurnRecord) -> set[str]:
    """The files that a turn changed by tools that say so."""
    ids = [node.id for node in session.tree if node.turn_id == turn.turn_id and node.kind == "toolResult"]
    return {
        str(node.message.details.get("uri"))
        for node in await session.nodes(ids)
        if isinstance(node.message, ToolResultMessage)
        and node.message.tool in ("edit", "write")
        and node.message.status == "ok"
        and node.message.details
    }
