"""koda/session/*: making, opening, finding and closing sessions."""

from __future__ import annotations

import msgspec

from koda_daemon.base.errors import KodaError
from koda_daemon.host.host import resolved
from koda_daemon.host.live import LiveSession
from koda_daemon.server.face import Face, Feature
from koda_daemon.server.protocol import session as p
from koda_daemon.server.protocol.base import Empty
from koda_daemon.session.nodes import Node


async def new(face: Face, params: p.SessionNewParams) -> p.SessionNewResult:
    cwd = params.cwd or face.workspace_folder
    if cwd is None:
        raise KodaError("params.invalid", "cwd is needed: the client named no workspace folder.", path="$.cwd")
    live = await (await face.host()).new_session(
        cwd=cwd, model=params.model, title=params.title, options=params.options
    )
    face.subscribe(live)
    return p.SessionNewResult(
        session_id=live.id, head_id=live.session.head_id, model=live.session.info.model, seq=live.log.seq
    )


async def open_(face: Face, params: p.SessionOpenParams) -> p.SessionOpenResult:
    host = await face.host()
    while True:
        live = await host.session(params.session_id)
        await live.refresh()
        nodes = await live.shown(params.limit)
        if host.find(live.id) is live:  # else it was closed meanwhile
            break
    # From here on nothing waits: nodes, numbers and the subscription are of one instant.
    missed = live.log.after(params.since) if params.since is not None else None
    seq = live.log.seq
    if missed is not None:
        nodes = []
    result = p.SessionOpenResult(
        session=live.session.info,
        head_id=live.told.head_id,
        seq=seq,
        nodes=_labelled(live, nodes),
        cursor=nodes[0].id if nodes and nodes[0].parent_id is not None else None,
        live_turn=_live_turn(live, seq, whole=missed is None),
        last_turn=_last_turn(live),
        pending_approvals=live.approvals.pending,
        events=None if missed is None else tuple(map(msgspec.Raw, missed)),
    )
    face.subscribe(live, anew=True)
    return result


def _live_turn(live: LiveSession, seq: int, *, whole: bool) -> p.LiveTurn | None:
    """The turn that clients know to be running; ``whole`` with what they were told of it beyond the nodes."""
    turn_id = live.told.turn_id
    if turn_id is None:
        return None
    running = live.turn if live.turn is not None and live.turn.id == turn_id else None
    events = running.live_events() if running is not None and whole else ()
    for event in events:
        event.session_id, event.seq = live.id, seq
    return p.LiveTurn(turn_id=turn_id, events=events)


def _last_turn(live: LiveSession) -> p.LastTurn | None:
    told = live.told.ended
    if live.told.turn_id is not None:
        return None
    if told is not None and told.turn_id is not None:
        return p.LastTurn(turn_id=told.turn_id, stop_reason=told.stop_reason, error=told.error)
    stored = live.session.last_turn()
    if stored is None or stored.stop_reason is None:
        return None
    return p.LastTurn(turn_id=stored.turn_id, stop_reason=stored.stop_reason)


async def nodes(face: Face, params: p.SessionNodesParams) -> p.SessionNodesResult:
    live = await (await face.host()).session(params.session_id)
    if params.ids is not None:
        found = await live.session.nodes(params.ids)
        return p.SessionNodesResult(nodes=_labelled(live, found))
    page = await _older(live, params.cursor, params.limit)
    older = bool(page) and page[0].parent_id is not None
    return p.SessionNodesResult(nodes=_labelled(live, page), cursor=page[0].id if older else None)


async def _older(live: LiveSession, cursor: str | None, limit: int) -> list[Node]:
    """A page of the path; a cursor that is not on it (any more) has expired."""
    try:
        return await live.session.path(before=cursor, limit=limit)
    except KodaError as error:
        if cursor is None or error.kind != "node.notFound":
            raise
        raise KodaError("cursor.expired", "The head has moved; open the session again.", path="$.cursor") from None


def _labelled(live: LiveSession, found: list[Node]) -> tuple[Node, ...]:
    tree = live.session.tree
    return tuple(
        node if (label := tree[node.id].label) == node.label else msgspec.structs.replace(node, label=label)
        for node in found
    )


async def list_(face: Face, params: p.SessionListParams) -> p.SessionListResult:
    host = await face.host()
    cwd = None if params.cwd is None else await resolved(params.cwd)
    sessions, cursor = await host.sessions.list(cwd=cwd, cursor=params.cursor, limit=min(params.limit, 500))
    return p.SessionListResult(sessions=tuple(sessions), cursor=cursor)


async def search(face: Face, params: p.SessionSearchParams) -> p.SessionSearchResult:
    host = await face.host()
    cwd = None if params.cwd is None else await resolved(params.cwd)
    hits = await host.sessions.search(params.query, cwd=cwd, limit=min(params.limit, 500))
    return p.SessionSearchResult(hits=tuple(hits))


async def rename(face: Face, params: p.SessionRenameParams) -> p.SessionRenameResult:
    live = await (await face.host()).session(params.session_id)
    await live.rename(params.title)
    return p.SessionRenameResult(session=live.session.info)


async def delete(face: Face, params: p.SessionDeleteParams) -> Empty:
    host = await face.host()
    await host.delete_session(params.session_id)
    return Empty()


async def close(face: Face, params: p.SessionCloseParams) -> Empty:
    host = await face.host()
    live = await host.session(params.session_id)
    face.unsubscribe(live.id)
    if not live.busy and not live.clients:
        await host.close_session(live.id)
    return Empty()


METHODS: dict[str, Feature] = {
    "koda/session/new": new,
    "koda/session/open": open_,
    "koda/session/nodes": nodes,
    "koda/session/list": list_,
    "koda/session/search": search,
    "koda/session/rename": rename,
    "koda/session/delete": delete,
    "koda/session/close": close,
}
