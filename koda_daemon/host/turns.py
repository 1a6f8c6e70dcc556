"""Turns: the work of one session as this daemon runs it - the running turn, and who waits for the end of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from koda_daemon.base.errors import KodaError
from koda_daemon.session.nodes import Node, TurnRecord

if TYPE_CHECKING:
    from koda_daemon.ai.provider import Model
    from koda_daemon.host.live import LiveSession
    from koda_daemon.host.turn import Turn, TurnOutcome

OUTCOMES_KEPT = 32


class Turns:
    """At most one turn of a session runs at a time; ``host.prompts`` starts them. Called on the event loop."""

    def __init__(self, live: LiveSession) -> None:
        self.running: Turn | None = None
        self._live = live
        self._own: set[str] = set()
        """Turns that this daemon has stored as running and has not yet seen end."""
        self._outcomes: dict[str, TurnOutcome] = {}
        self._waiting: dict[str, anyio.Event] = {}

    @property
    def own(self) -> frozenset[str]:
        """The ids of the stored, running turns that are this daemon's."""
        return frozenset(self._own)

    def claim(self, record: TurnRecord) -> TurnRecord:
        """Says that a turn is ours; to be called before it is stored."""
        self._own.add(record.turn_id)
        return record

    def start(self, turn_id: str, model: Model, options: dict[str, Any], prompt: Node | None) -> None:
        """Runs a stored turn in the background; ``prompt`` is its node, if it has one."""
        from koda_daemon.host.turn import Turn

        self.running = turn = Turn(self._live, turn_id, model, options)
        self._live.host.start(self._run, turn, prompt)

    async def _run(self, turn: Turn, prompt: Node | None) -> None:
        live = self._live
        for client in live.clients:
            live.host.start(client.turn_started, live, turn.id)
        try:
            await turn.run(prompt)
        finally:
            self.running = None
            self._own.discard(turn.id)
            self.settle(turn.id, turn.outcome)
            live.turn_over()
            if turn.outcome is not None:
                for client in live.clients:
                    live.host.start(client.turn_ended, turn.outcome)
        await self.next()

    async def next(self) -> None:
        """Starts the turn of the prompt that waits longest, if nothing else runs."""
        from koda_daemon.host.prompts import start_next

        live = self._live
        async with live.admission:
            if live.host.find(live.id) is live and not live.busy:  # else the daemon ends, and what waits stays
                await start_next(live)

    async def outcome(self, turn_id: str) -> TurnOutcome:
        """Waits for the end of a turn that runs or is queued. Raises ``turn.notFound``."""
        known = self._outcomes.get(turn_id)
        if known is None:
            running = self.running is not None and self.running.id == turn_id
            if not running and all(prompt.turn_id != turn_id for prompt in self._live.session.queue):
                raise KodaError("turn.notFound", f"Turn {turn_id} is not running.")
            waiting = self._waiting.setdefault(turn_id, anyio.Event())
            await waiting.wait()
            known = self._outcomes.get(turn_id)
            if known is None:
                raise KodaError("turn.notFound", "The prompt was taken out of the queue.")
        return known

    def settle(self, turn_id: str, outcome: TurnOutcome | None) -> None:
        """Tells who waits for a turn that it has ended; None when it never ran."""
        if outcome is not None:
            self._outcomes[turn_id] = outcome
            while len(self._outcomes) > OUTCOMES_KEPT:
                del self._outcomes[next(iter(self._outcomes))]
        waiting = self._waiting.pop(turn_id, None)
        if waiting is not None:
            waiting.set()

    def cancel(self, turn_id: str | None = None) -> bool:
        """Cancels the running turn (or only if it is ``turn_id``), or the errand; False when there was none."""
        if self._live.errand is not None and turn_id is None:
            self._live.errand.cancel()
            return True
        if self.running is None or turn_id not in (None, self.running.id):
            return False
        self.running.cancel()
        return True

    def cancel_tool(self, call_id: str) -> bool:
        """Cancels one call of the running turn; False when it does not run."""
        return self.running is not None and self.running.cancel_tool(call_id)
