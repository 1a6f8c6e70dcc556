"""Several clients of one daemon: all see everything in order, and a stalled one holds up nobody."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.koda import Koda, call, say, steps
from tests.e2e.sockets import SocketClient, socket_daemon

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no Unix sockets")


def facts(koda: Koda, session: str) -> list[dict[str, Any]]:
    """The events, consecutive pieces of one stream joined: how they are cut depends on the client's own pace."""
    joined: list[dict[str, Any]] = []
    for event in koda.transcript(session).events:
        last = joined[-1] if joined else None
        same = ("type", "nodeId", "callId")
        if last is not None and "offset" in event and all(last.get(name) == event.get(name) for name in same):
            last["text"] += event["text"]
        else:
            joined.append({name: value for name, value in event.items() if name != "seq"})
    return joined


@pytest.mark.asyncio
async def test_both_see_everything_in_one_order(tmp_path: Path) -> None:
    script = {
        "answers": [steps(say("Let me see. ", 2), call("bash", command="echo a; echo b")), steps(say("So.", 1))],
        "otherwise": steps(say("More.", 1)),
    }
    async with socket_daemon(tmp_path) as daemon:
        one, two = await daemon.connect(), await daemon.connect()
        session = await one.new(script)
        await two.open(session)
        first = await one.request("koda/prompt", sessionId=session, content="Go")
        second = await two.request("koda/prompt", sessionId=session, content="And this", delivery="queue")
        await asyncio.gather(
            *(
                koda.event(session, "turn.ended", lambda event: event["turnId"] == second["turnId"])
                for koda in (one, two)
            )
        )
        told = facts(one, session)
        assert told == facts(two, session)
        assert [event["turnId"] for event in told if event["type"] == "turn.started"] == [
            first["turnId"],
            second["turnId"],
        ]


@pytest.mark.asyncio
async def test_what_one_client_does_the_other_is_told(tmp_path: Path) -> None:
    async with socket_daemon(tmp_path) as daemon:
        one, two = await daemon.connect(), await daemon.connect()
        session = await one.new({"answers": [steps(say("a"), {"type": "delay", "seconds": 60})]})
        await two.open(session)
        await one.request("koda/prompt", sessionId=session, content="Go")
        await two.event(session, "text.delta")
        assert await two.request("koda/turn/cancel", sessionId=session) == {"cancelled": True}
        assert (await one.event(session, "turn.ended"))["stopReason"] == "cancelled"
        await two.request("koda/session/rename", sessionId=session, title="Ours")
        assert await one.event(session, "session.changed", lambda e: e["session"]["title"] == "Ours")


@pytest.mark.asyncio
async def test_a_client_that_goes_does_not_end_the_turn(tmp_path: Path) -> None:
    async with socket_daemon(tmp_path) as daemon:
        one = await daemon.connect()
        session = await one.new({"answers": [steps(say("a"), {"type": "delay", "seconds": 0.3}, say("b"))]})
        await one.request("koda/prompt", sessionId=session, content="Go")
        await one.event(session, "text.delta")
        assert isinstance(one.raw, SocketClient)
        one.raw.drop()
        seq = one.transcript(session).seq
        two = await daemon.connect()
        opened = await two.request("koda/session/open", sessionId=session, since=seq)
        ended = [event for event in opened["events"] if event["type"] == "turn.ended"]
        assert ended or (await two.event(session, "turn.ended"))["stopReason"] == "end"
        nodes = (await two.request("koda/session/open", sessionId=session))["nodes"]
        assert "".join(block["text"] for block in nodes[-1]["message"]["content"]) == "ab"


@pytest.mark.asyncio
async def test_a_pending_approval_is_shown_to_whoever_comes_back(tmp_path: Path) -> None:
    script = {"answers": [steps(call("write", path="a.txt", content="a\n")), "Done."]}
    async with socket_daemon(tmp_path) as daemon:
        one, two = await daemon.connect(), await daemon.connect()
        for koda in (one, two):
            koda.raw.on_request("koda/approval/request", lambda params: asyncio.sleep(60))
        session = await one.new(script, options={"mode": "ask"})
        await two.open(session)
        await one.request("koda/prompt", sessionId=session, content="Go")
        asked = await two.event(session, "approval.requested")
        assert isinstance(one.raw, SocketClient)
        one.raw.drop()
        three = await daemon.connect()
        opened = await three.open(session)
        assert [each["callId"] for each in opened["pendingApprovals"]] == [asked["callId"]]
        answer = {"sessionId": session, "callId": asked["callId"], "optionId": "once"}
        assert (await three.request("koda/approval/answer", **answer))["accepted"]
        assert (await two.event(session, "approval.resolved"))["optionId"] == "once"
        assert (await three.event(session, "turn.ended"))["stopReason"] == "end"
        assert (daemon.workspace / "a.txt").read_text() == "a\n"


@pytest.mark.asyncio
async def test_a_stalled_client_is_let_go_and_comes_back_with_what_it_missed(tmp_path: Path) -> None:
    flood = {"answers": [steps({"type": "text", "text": "0123456789" * 100, "repeat": 10_000, "chunk": 0})]}
    settings = {"connection": {"outbox_bytes": 1 << 20}}
    async with socket_daemon(tmp_path, settings=settings) as daemon:
        quick, slow = await daemon.connect(), await daemon.connect()
        session = await quick.new(flood)
        await slow.open(session)
        slow.raw.stop_reading()
        async with asyncio.timeout(60):
            result = await quick.prompt(session, "Flood")
        assert len(result["text"]) == 10_000_000
        quick.follow()
        slow.raw.resume_reading()
        lagged = (await slow.raw.wait_notification("koda/session/lagged"))["params"]
        assert lagged["sessionId"] == session
        assert slow.transcript(session).seq == lagged["seq"]
        # Gone for good: nothing more comes until it opens the session again.
        opened = await slow.open(session, since=lagged["seq"])
        whole = await quick.request("koda/session/open", sessionId=session)
        if "events" in opened:
            assert opened["events"][-1]["type"] == "turn.ended"
        else:
            assert opened["nodes"] == whole["nodes"]
        assert opened["headId"] == whole["headId"]


@pytest.mark.asyncio
async def test_who_comes_later_is_asked_too_and_the_first_may_go(tmp_path: Path) -> None:
    script = {"answers": [steps(call("write", path="a.txt", content="a\n")), "Done."]}
    async with socket_daemon(tmp_path) as daemon:
        one, two, three = [await daemon.connect() for _ in range(3)]
        one.raw.on_request("koda/approval/request", lambda params: asyncio.sleep(60))
        three.raw.on_request("koda/approval/request", lambda params: asyncio.sleep(60))
        allowed = asyncio.Event()

        async def allow(params: Any) -> Any:
            await allowed.wait()
            return {"optionId": "once"}

        two.raw.on_request("koda/approval/request", allow)
        session = await one.new(script, options={"mode": "ask"})
        await one.request("koda/prompt", sessionId=session, content="Go")
        asked = await one.event(session, "approval.requested")
        for koda in (two, three):
            assert (await koda.open(session))["pendingApprovals"][0]["callId"] == asked["callId"]
            request = await koda.raw.wait_for(lambda message: message.get("method") == "koda/approval/request")
            assert request["params"]["callId"] == asked["callId"]
        # One goes without a word, one in good order: its question is taken back.
        assert isinstance(one.raw, SocketClient)
        one.raw.drop()
        await three.request("koda/session/close", sessionId=session)
        taken_back = await three.raw.wait_notification("$/cancelRequest")
        assert taken_back["params"]["id"] == request["id"]
        allowed.set()
        assert (await two.event(session, "approval.resolved"))["optionId"] == "once"
        assert (await two.event(session, "turn.ended"))["stopReason"] == "end"


@pytest.mark.asyncio
async def test_all_who_had_a_session_open_are_told_that_it_was_deleted(tmp_path: Path) -> None:
    async with socket_daemon(tmp_path) as daemon:
        one, two = await daemon.connect(), await daemon.connect()
        session = await one.new({"answers": [steps(say("a"), {"type": "delay", "seconds": 60})]})
        await two.open(session)
        await one.request("koda/prompt", sessionId=session, content="Go")
        await one.request("koda/prompt", sessionId=session, content="And then")
        await one.request("koda/session/delete", sessionId=session)
        assert (await two.event(session, "error"))["error"]["kind"] == "session.notFound"
        assert two.transcript(session).types()[-2:] == ["turn.ended", "error"]


@pytest.mark.asyncio
async def test_a_client_that_waits_and_is_lost_ends_nothing(tmp_path: Path) -> None:
    script = {"answers": [steps(say("a"), call("bash", command="read x < pipe")), "b"], "otherwise": "c"}
    async with socket_daemon(tmp_path) as daemon:
        os.mkfifo(daemon.workspace / "pipe")
        one, two = await daemon.connect(), await daemon.connect()
        session = await one.new(script)
        await two.open(session)
        for number in (1, 2):  # one runs, one waits in the queue
            one.raw.begin("koda/prompt", {"sessionId": session, "content": f"{number}", "wait": True})
        await two.event(session, "tool.started")
        await two.event(session, "queue.changed")
        assert isinstance(one.raw, SocketClient)
        one.raw.drop()
        while (await two.request("koda/diagnose", sessionId=session))["facts"]["Session"]["clients"] != 1:
            pass
        (daemon.workspace / "pipe").write_text("x\n")
        await two.event(session, "message.ended", lambda event: event["message"]["content"][0]["text"] == "c")
        assert {event["stopReason"] for event in two.transcript(session).of("turn.ended")} == {"end"}
