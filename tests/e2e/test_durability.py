"""Nothing that a client was told is lost: not by kill -9, not by a client that stops reading."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.koda import Koda, call, daemon, say, steps, texts
from tests.harness.client import RefusedError

BUSY = {
    "answers": [],
    "otherwise": steps(say("Working on it. ", 3), call("write", path="log.txt", content="x\n"), call("ls")),
    "pace": 0.001,
}


def told(koda: Koda, session: str) -> dict[str, Any]:
    """What the client was told as done: prompts acknowledged, messages and results ended."""
    transcript = koda.transcript(session)
    return {
        "messages": {event["nodeId"]: event["message"] for event in transcript.of("message.ended")},
        "results": {event["callId"]: event["content"] for event in transcript.of("tool.ended")},
    }


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(8))
async def test_kill_at_any_moment_loses_nothing_that_was_told(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with daemon(tmp_path) as koda:
        session = await koda.new(BUSY)
        started = await koda.request("koda/prompt", sessionId=session, content="Go")
        queued = await koda.request("koda/prompt", sessionId=session, content="Then this")
        events = chance.randint(1, 300)
        await koda.raw.wait_until(lambda: len(koda.raw.messages) > events)
        await koda.raw.kill()
        before = told(koda, session)
        seq = koda.sessions[session].seq
    async with daemon(tmp_path) as koda:
        opened = await koda.request("koda/session/open", sessionId=session, limit=10_000)
        nodes = {node["id"]: node for node in opened["nodes"]}
        assert opened["nodes"][0]["turnId"] == started["turnId"]
        for node_id, message in before["messages"].items():
            assert nodes[node_id]["message"] == message
        results = {
            node["message"]["callId"]: node["message"]["content"]
            for node in nodes.values()
            if node["kind"] == "toolResult"
        }
        for call_id, content in before["results"].items():
            assert results[call_id] == content
        queue = (await koda.request("koda/queue/list", sessionId=session))["queue"]
        assert [each["turnId"] for each in queue] == [queued["turnId"]]
        assert opened["seq"] >= seq
        assert "liveTurn" not in opened
        # The session goes on, and numbers are never used twice.
        await koda.request("koda/queue/remove", sessionId=session, turnId=queued["turnId"])
        await koda.request(
            "koda/option/set", sessionId=session, name="provider", value={"script": {"answers": [], "otherwise": "On."}}
        )
        assert (await koda.prompt(session, "Go on"))["text"] == "On."


@pytest.mark.asyncio
async def test_a_client_that_stops_reading_holds_up_nobody_and_can_still_cancel(tmp_path: Path) -> None:
    flood = {"answers": [steps({"type": "text", "text": "0123456789" * 100, "repeat": 200_000, "chunk": 0})]}
    other = {"answers": [steps(call("bash", command="echo done > done")), "Done."]}
    settings = {"connection": {"outbox_bytes": 1 << 20}}
    async with daemon(tmp_path, settings=settings) as koda:
        os.mkfifo(koda.workspace / "done")
        flooding, quick = await koda.new(flood), await koda.new(other)
        await koda.request("koda/prompt", sessionId=flooding, content="Flood")
        await koda.event(flooding, "text.delta")
        koda.raw.stop_reading()
        begun = koda.raw.begin("koda/prompt", {"sessionId": quick, "content": "Quick"})
        await asyncio.to_thread((koda.workspace / "done").read_text)  # opened for writing by the other turn
        cancelled = koda.raw.begin("koda/turn/cancel", {"sessionId": flooding})
        assert resident_mb(koda.raw.pid) < 150
        koda.raw.resume_reading()
        assert (await begun.result())["status"] == "started"
        assert await cancelled.result() == {"cancelled": True}
        assert (await koda.event(flooding, "turn.ended", timeout=30))["stopReason"] == "cancelled"
        await koda.event(quick, "turn.ended")
        koda.follow()  # proves that nothing is missing


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


@pytest.mark.asyncio
async def test_missed_events_are_replayed_exactly_or_a_snapshot_says_the_same(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session = await koda.new({"answers": [steps(say("Hello world", 2), call("ls")), "Done."]})
        await koda.prompt(session, "Go")
        events = koda.transcript(session).events
        for since in (0, 3, events[-1]["seq"]):
            opened = await koda.request("koda/session/open", sessionId=session, since=since)
            assert opened["events"] == events[since:]
            assert opened["nodes"] == []
        snapshot = await koda.request("koda/session/open", sessionId=session, since=events[-1]["seq"] + 5)
        assert "events" not in snapshot
        assert [node["kind"] for node in snapshot["nodes"]] == ["user", "assistant", "toolResult", "assistant"]


@pytest.mark.asyncio
async def test_whoever_opens_in_mid_turn_sees_what_is_under_way(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session = await koda.new({"answers": [steps(say("So far", 2), {"type": "delay", "seconds": 60})]})
        started = await koda.request("koda/prompt", sessionId=session, content="Go")
        await koda.event(session, "text.delta", lambda event: event["offset"] + len(event["text"]) == 6)
        opened = await koda.request("koda/session/open", sessionId=session)
        live = opened["liveTurn"]
        assert live["turnId"] == started["turnId"]
        assert [(event["type"], event["offset"], event["text"]) for event in live["events"]] == [
            ("text.delta", 0, "So far")
        ]
        await koda.request("koda/turn/cancel", sessionId=session)
        await koda.event(session, "turn.ended")


@pytest.mark.asyncio
async def test_a_session_can_be_closed_deleted_and_renamed(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session = await koda.new(texts("A."))
        await koda.prompt(session, "Go")
        renamed = await koda.request("koda/session/rename", sessionId=session, title="New name")
        assert renamed["session"]["title"] == "New name"
        await koda.request("koda/session/close", sessionId=session)
        assert (await koda.request("koda/session/list"))["sessions"][0]["title"] == "New name"
        await koda.request("koda/session/open", sessionId=session)
        await koda.request("koda/session/delete", sessionId=session)
        assert (await koda.event(session, "error"))["error"]["kind"] == "session.notFound"
        assert (await koda.request("koda/session/list"))["sessions"] == []


@pytest.mark.asyncio
async def test_nothing_is_acknowledged_into_a_database_that_was_moved_away(tmp_path: Path) -> None:
    """Whoever wrote on would write into a file that no later daemon finds."""
    async with daemon(tmp_path) as koda:
        session = await koda.new({"answers": ["A."], "otherwise": "B."})
        await koda.prompt(session, "Go")
        database = tmp_path / "home" / ".koda" / "sessions.db"
        database.rename(database.with_name("elsewhere.db"))
        for meanwhile in (None, b"another one"):
            if meanwhile is not None:
                database.write_bytes(meanwhile)
            with pytest.raises(RefusedError) as refused:
                await koda.prompt(session, "Lost?")
            assert "moved" in refused.value.message
            assert refused.value.data["userAction"]
            assert refused.value.data["path"] == str(database)
        database.with_name("elsewhere.db").rename(database)
        assert (await koda.prompt(session, "Back?"))["text"] == "B."


@pytest.mark.asyncio
@pytest.mark.parametrize("content", [b"no database " * 1000, None], ids=["garbage", "cut in half"])
async def test_a_damaged_database_is_said_and_left_as_it_is(tmp_path: Path, content: bytes | None) -> None:
    database = tmp_path / "home" / ".koda" / "sessions.db"
    async with daemon(tmp_path) as koda:
        await koda.prompt(await koda.new(texts("A.")), "Go")
    content = database.read_bytes()[: database.stat().st_size // 2] if content is None else content
    database.write_bytes(content)
    async with daemon(tmp_path) as koda:
        for method, params in (("koda/session/list", {}), ("koda/session/new", {"cwd": str(tmp_path)})):
            with pytest.raises(RefusedError) as refused:
                await koda.raw.request(method, params)
            assert refused.value.data["kind"] == "internal"
            assert refused.value.data["path"] == str(database)
            assert "away" in refused.value.data["userAction"]
    assert database.read_bytes() == content
