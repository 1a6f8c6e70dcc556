"""Looking at an open session: its tree in memory, the contents of its nodes from the store when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from koda_daemon.base.errors import KodaError
from koda_daemon.session import queries
from koda_daemon.session.cache import NodeCache
from koda_daemon.session.loading import Loaded
from koda_daemon.session.memory import Memory
from koda_daemon.session.nodes import Branch, Node, QueuedPrompt, SessionInfo, TurnRecord
from koda_daemon.session.store import Store
from koda_daemon.session.tree import Tree

PAGE = 500
"""Nodes that are read at a time."""


class SessionView:
    """What can be asked of a session. ``Session`` changes it."""

    def __init__(self, store: Store, cache: NodeCache, loaded: Loaded) -> None:
        self._store = store
        self._cache = cache
        self._sid = loaded.sid
        self._memory = Memory(loaded)

    @property
    def id(self) -> str:
        return self._memory.info.id

    @property
    def cwd(self) -> str:
        return self._memory.info.cwd

    @property
    def created_at(self) -> str:
        return self._memory.info.created_at

    @property
    def info(self) -> SessionInfo:
        return self._memory.info

    @property
    def tree(self) -> Tree:
        return self._memory.tree

    @property
    def queue(self) -> list[QueuedPrompt]:
        """The prompts that wait, next first. Not to be changed."""
        return self._memory.queue

    @property
    def head_id(self) -> str | None:
        return self._memory.info.head_id

    @property
    def model(self) -> str:
        return self._memory.info.model

    @property
    def options(self) -> dict[str, Any]:
        """A copy of the options set for this session."""
        return dict(self._memory.info.options)

    @property
    def running(self) -> list[TurnRecord]:
        """Turns that run: in this process, in another, or in one that died (``claim`` ends those)."""
        return list(self._memory.running.values())

    @property
    def branches(self) -> dict[str, Branch]:
        """The branches made by name, by id, oldest first. Not to be changed."""
        return self._memory.branches

    @property
    def growing(self) -> str | None:
        """The id of the named branch that the head is on: its tip moves with the head."""
        return self._memory.growing

    # Nodes

    async def path(self, *, to: str | None = None, before: str | None = None, limit: int | None = None) -> list[Node]:
        """The nodes from the root to ``to`` (default: the head), whole, oldest first.

        ``before`` leaves out that node of the path and all below it, ``limit`` all but the newest so many of the rest:
        together they page upwards. Raises ``node.notFound``, also when ``before`` is not on the path.
        """
        end = self.head_id if to is None else to
        if before is None:
            return await self.nodes(self.tree.path_ids(end, limit=limit))
        ids = self.tree.path_ids(end)
        if before not in ids:
            raise KodaError("node.notFound", f"The node {before} is not on this path.")
        ids = ids[: ids.index(before)]
        return await self.nodes(ids if limit is None else ids[max(0, len(ids) - limit) :])

    async def live_path(self, *, to: str | None = None) -> list[Node]:
        """The part of the path that still matters to the model: all of it, or from where the last compaction keeps it.

        ``compaction.effective_path`` and ``choose_cut`` and ``tokens.window_tokens`` give the same for this part as for
        the whole path, so that the cost of a turn does not grow with what was compacted long ago.
        """
        ids = self.tree.path_ids(self.head_id if to is None else to)
        last = next((i for i in range(len(ids) - 1, -1, -1) if self.tree[ids[i]].kind == "compaction"), None)
        if last is not None:
            (compaction,) = await self.nodes([ids[last]])
            kept = compaction.first_kept_id
            ids = ids[ids.index(kept) if kept in ids[:last] else last :]
        return await self.nodes(ids)

    async def nodes(self, ids: Sequence[str]) -> list[Node]:
        """The named nodes, whole, with their labels, in the order asked for. Raises ``node.notFound``."""
        entries = [self.tree[id_] for id_ in ids]
        found = {id_: self._cache.get(self._sid, id_) for id_ in ids}
        missing = [id_ for id_, node in found.items() if node is None]
        for start in range(0, len(missing), PAGE):  # so that other jobs of the store get their turn
            page = missing[start : start + PAGE]
            for node, size in await self._store.read(partial(queries.read_nodes, sid=self._sid, ids=page)):
                self._cache.put(self._sid, node, size)
                found[node.id] = node
        result: list[Node] = []
        for entry in entries:
            here = found[entry.id]
            if here is None:  # it is in the tree, so the session was deleted under us
                raise queries.no_session(self.id)
            result.append(here if entry.label is None else msgspec.structs.replace(here, label=entry.label))
        return result

    # Turns

    def turn(self, turn_id: str) -> TurnRecord:
        """Raises ``turn.notFound``."""
        try:
            return self._memory.turns[turn_id]
        except KeyError:
            raise KodaError("turn.notFound", f"There is no turn {turn_id} in this session.") from None

    def turns(self) -> list[TurnRecord]:
        """Every turn, oldest first."""
        return list(self._memory.turns.values())

    def last_turn(self) -> TurnRecord | None:
        """The turn that was stored last, running or not."""
        return next(reversed(self._memory.turns.values()), None)
