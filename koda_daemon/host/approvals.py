"""Approvals that wait: every attached client is asked, the first answer wins, and silence is a denial."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import anyio
from anyio.abc import TaskGroup

from koda_daemon.agent.events import Event
from koda_daemon.base.errors import KodaError
from koda_daemon.host.clients import ApprovalAnswer, Client
from koda_daemon.host.events import ApprovalRequested, ApprovalResolved

_log = logging.getLogger(__name__)


class _Pending:
    """A request and the clients that hold it; ``group`` runs their asking and is cancelled with the answer."""

    def __init__(self, request: ApprovalRequested, group: TaskGroup) -> None:
        self.request = request
        self.group = group
        self.answered = anyio.Event()
        self.answer: ApprovalAnswer | None = None
        self.by = "nobody"
        self.asking: dict[Client, anyio.CancelScope] = {}


class Approvals:
    """The open approvals of one session."""

    def __init__(self, clients: Sequence[Client], emit: Callable[[Event], None]) -> None:
        self._clients = clients
        self._emit = emit
        self._pending: dict[str, _Pending] = {}

    @property
    def pending(self) -> tuple[ApprovalRequested, ...]:
        return tuple(entry.request for entry in self._pending.values())

    async def ask(self, request: ApprovalRequested) -> ApprovalAnswer | None:
        """The answer, or None (deny): no client, an unknown option, an error, or every client lost or silent."""
        async with anyio.create_task_group() as group:
            entry = self._pending[request.call_id] = _Pending(request, group)
            self._emit(request)
            try:
                if not self._clients:
                    entry.answered.set()
                for client in self._clients:
                    self._start(client, entry)
                await entry.answered.wait()
                group.cancel_scope.cancel()
            finally:
                del self._pending[request.call_id]
                answer = entry.answer
                self._emit(
                    ApprovalResolved(
                        turn_id=request.turn_id,
                        call_id=request.call_id,
                        option_id=answer.option_id if answer else None,
                        by=entry.by,
                    )
                )
        return entry.answer

    def answer(self, call_id: str, answer: ApprovalAnswer | None, by: str) -> bool:
        """Takes an answer (None: deny); False when the approval is not pending any more. The first one counts.

        Raises ``params.invalid`` for an option that was not offered.
        """
        entry = self._pending.get(call_id)
        if entry is None or entry.answered.is_set():
            return False
        if answer is not None and all(option.id != answer.option_id for option in entry.request.options):
            raise KodaError("params.invalid", f"No such option: {answer.option_id}.", path="$.optionId")
        entry.answer, entry.by = answer, by
        entry.answered.set()
        return True

    def joined(self, client: Client) -> None:
        """Asks a client that attached later about everything that still waits."""
        for entry in self._pending.values():
            if not entry.answered.is_set():
                self._start(client, entry)

    def left(self, client: Client) -> None:
        """Takes back what a client that detached is asked; when it was the last one that could answer, that is no."""
        for entry in self._pending.values():
            if client in entry.asking:
                entry.asking[client].cancel()

    def _start(self, client: Client, entry: _Pending) -> None:
        scope = entry.asking[client] = anyio.CancelScope()
        entry.group.start_soon(self._ask_one, client, entry, scope)

    async def _ask_one(self, client: Client, entry: _Pending, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                answer = await client.request_approval(entry.request)
                if answer is not None:
                    self.answer(entry.request.call_id, answer, client.name)
        except Exception:
            _log.exception("asking %s for an approval failed", client.name)  # and so it has not allowed anything
        if entry.asking.get(client) is scope:
            del entry.asking[client]
        if not entry.asking:
            entry.answered.set()
