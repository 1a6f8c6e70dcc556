"""What is looked after while nobody asks: sessions that all clients have left are let go of."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from koda_daemon.coding.interfaces import Editor
from koda_daemon.host.clients import ApprovalAnswer
from koda_daemon.host.events import ApprovalRequested
from koda_daemon.host.host import Host
from koda_daemon.host.lease import CLOSE_SECONDS, Watch
from koda_daemon.host.live import LiveSession
from koda_daemon.host.prompts import prompt
from koda_daemon.host.turn import TurnOutcome


class Onlooker:
    """A client that only looks."""

    name = "onlooker"
    editor: Editor | None = None

    async def request_approval(self, request: ApprovalRequested) -> ApprovalAnswer | None:
        return None

    async def turn_started(self, live: LiveSession, turn_id: str) -> None: ...

    async def turn_ended(self, outcome: TurnOutcome) -> None: ...


SCRIPT = {"provider": {"script": {"answers": [], "otherwise": "Yes."}}}
SLOW = {"provider": {"script": {"answers": [], "otherwise": {"steps": [{"type": "delay", "seconds": 60}]}}}}


@pytest.mark.asyncio
async def test_what_nobody_looks_at_is_let_go_of(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    async with Host.open(tmp_path / "home", environ={}, in_memory=True) as host:
        live = await host.new_session(cwd=tmp_path / "work", model="demo/scripted", options=SCRIPT)
        watch, client = Watch(host), Onlooker()
        live.attach(client)
        await live.turns.outcome((await prompt(live, "Hello")).turn_id)
        assert len(await live.context.live_path()) == 2
        far = time.monotonic() + 2 * CLOSE_SECONDS
        await watch.step(far)
        assert host.find(live.id) is live, "somebody looks"
        live.detach(client)
        assert live.context._path == []
        await watch.step(time.monotonic())
        assert host.find(live.id) is live, "somebody may come back"
        turn = (await prompt(live, "In the background", options=SLOW)).turn_id
        await watch.step(far)
        assert host.find(live.id) is live, "a turn runs"
        live.turns.cancel()
        await live.turns.outcome(turn)
        await watch.step(far)
        assert host.find(live.id) is None
        again = await host.session(live.id)
        assert len(again.session.tree) == 3


@pytest.mark.asyncio
async def test_a_session_of_a_program_is_the_program_s(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    async with Host.open(tmp_path / "home", environ={}, in_memory=True) as host:
        live = await host.new_session(cwd=tmp_path / "work", model="demo/scripted", options=SCRIPT)
        await Watch(host).step(time.monotonic() + 10 * CLOSE_SECONDS)
        assert host.find(live.id) is live
        outcome = await live.turns.outcome((await prompt(live, "Hello")).turn_id)
        assert outcome.text == "Yes."
