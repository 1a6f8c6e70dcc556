"""Two daemons on one session: one works, the other reads along; who dies leaves nothing locked and nothing lost."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.koda import call, daemon, say, steps, texts
from tests.harness.client import RefusedError

FOREVER = {"type": "delay", "seconds": 600}
LOCKED = -31021


async def unless_locked(request: Awaitable[dict[str, Any]]) -> dict[str, Any] | None:
    try:
        return await request
    except RefusedError as refused:
        if refused.code != LOCKED:
            raise
        return None


@pytest.mark.asyncio
async def test_the_other_daemon_follows_live_and_goes_on_when_the_first_rests(tmp_path: Path) -> None:
    script = {"answers": [steps(say("Look."), call("ls")), "Done.", "From the other."]}
    async with daemon(tmp_path) as one, daemon(tmp_path) as two:
        session = await one.new(script, title="Shared")
        opened = await two.open(session, streamed=False)
        assert opened["nodes"] == []
        await one.prompt(session, "Go")
        ended = await two.event(session, "turn.ended")
        assert ended["stopReason"] == "end"
        assert two.transcript(session).types() == [
            "turn.started",
            "message.ended",
            "tool.ended",
            "message.ended",
            "turn.ended",
        ]
        mine, theirs = one.transcript(session), two.transcript(session)
        assert theirs.of("message.ended")[-1]["message"] == mine.of("message.ended")[-1]["message"]
        assert theirs.of("turn.ended")[0]["usage"] == mine.of("turn.ended")[0]["usage"]
        assert theirs.of("turn.started")[0]["prompt"] == "Go"
        # The other one writes; the first follows.
        mine.streamed = False
        seen = mine.seq
        assert (await two.prompt(session, "More"))["text"] == "From the other."
        await one.event(session, "turn.ended", lambda event: event["seq"] > seen)
        one.follow()
        left = await one.request("koda/session/open", sessionId=session)
        right = await two.request("koda/session/open", sessionId=session)
        assert (left["nodes"], left["headId"]) == (right["nodes"], right["headId"])


@pytest.mark.asyncio
async def test_branches_labels_options_and_queue_are_followed(tmp_path: Path) -> None:
    async with daemon(tmp_path) as one, daemon(tmp_path) as two:
        session = await one.new(texts("A.", "B."))
        await one.prompt(session, "Go")
        await two.open(session, streamed=False)
        first, second = (await one.request("koda/tree", sessionId=session))["nodes"]
        await one.request("koda/label", sessionId=session, nodeId=first["id"], label="start")
        await one.request("koda/option/set", sessionId=session, name="effort", value="high")
        await one.request("koda/session/rename", sessionId=session, title="Named")
        branch = await one.request("koda/branch", sessionId=session, fromId=first["id"], label="fork")
        assert (await two.event(session, "label.changed"))["label"] == "start"
        assert (await two.event(session, "option.changed"))["value"] == "high"
        assert await two.event(session, "session.changed", lambda e: e["session"]["title"] == "Named")
        assert (await two.event(session, "head.moved"))["headId"] == first["id"]
        await two.request("koda/checkout", sessionId=session, nodeId=second["id"])
        assert await one.event(session, "head.moved", lambda e: e["headId"] == second["id"])
        # The branch that one made is known to the other by its id.
        assert (await two.request("koda/checkout", sessionId=session, nodeId=branch["branchId"]))["headId"] == first[
            "id"
        ]
        await two.prompt(session, "On the branch")
        tree = await one.request("koda/tree", sessionId=session)
        assert [node["label"] for node in tree["nodes"] if "label" in node] == ["start", "fork"]


@pytest.mark.asyncio
async def test_while_one_works_the_other_may_look_but_not_write(tmp_path: Path) -> None:
    async with daemon(tmp_path) as one, daemon(tmp_path) as two:
        session = await one.new({"answers": [steps(say("So far", 100), FOREVER), "Later."]})
        started = await one.request("koda/prompt", sessionId=session, content="Go")
        await one.event(session, "text.delta")
        opened = await two.open(session, streamed=False)
        assert opened["liveTurn"] == {"turnId": started["turnId"], "events": []}
        assert [node["kind"] for node in opened["nodes"]] == ["user"]
        for method, params in (
            ("koda/prompt", {"content": "Me too"}),
            ("koda/prompt", {"content": "Me too", "delivery": "steer"}),
            ("koda/turn/retry", {}),
            ("koda/turn/cancel", {}),
            ("koda/session/rename", {"title": "x"}),
            ("koda/branch", {"fromId": None}),
            ("koda/label", {"nodeId": opened["headId"], "label": "x"}),
            ("koda/option/set", {"name": "effort", "value": "low"}),
            ("koda/session/delete", {}),
            ("koda/compact", {}),
        ):
            with pytest.raises(RefusedError) as refused:
                await two.request(method, sessionId=session, **params)
            assert refused.value.code == LOCKED, method
            assert refused.value.data["kind"] == "session.locked"
            assert refused.value.data["retryable"]
            assert refused.value.data["userAction"]
            assert refused.value.data["retryAfterMs"] > 0
        assert (await two.request("koda/tree", sessionId=session))["headId"] == opened["headId"]
        await one.request("koda/turn/cancel", sessionId=session)
        assert (await two.event(session, "turn.ended"))["stopReason"] == "cancelled"
        assert (await two.prompt(session, "Now"))["text"] == "Later."
        assert one.transcript(session).of("turn.ended")[0]["stopReason"] == "cancelled"


@pytest.mark.asyncio
async def test_a_killed_daemon_s_turn_is_ended_and_the_session_goes_on(tmp_path: Path) -> None:
    async with daemon(tmp_path) as one, daemon(tmp_path) as two:
        session = await one.new({"answers": [steps(say("a"), FOREVER)]})
        started = await one.request("koda/prompt", sessionId=session, content="Go")
        await one.event(session, "text.delta")
        await two.open(session, streamed=False)
        await one.raw.kill()
        ended = await two.event(session, "turn.ended")
        assert (ended["turnId"], ended["stopReason"]) == (started["turnId"], "error")
        await two.request("koda/option/set", sessionId=session, name="provider", value={"script": texts("On.")})
        assert (await two.prompt(session, "Go on"))["text"] == "On."


@pytest.mark.asyncio
async def test_a_daemon_that_comes_later_never_ends_a_running_turn(tmp_path: Path) -> None:
    async with daemon(tmp_path) as one:
        session = await one.new({"answers": [steps(say("a"), FOREVER), "Never."]})
        await one.request("koda/prompt", sessionId=session, content="Go")
        await one.event(session, "text.delta")
        for _ in range(3):
            async with daemon(tmp_path) as two:
                assert (await two.open(session, streamed=False))["liveTurn"]
        assert not one.transcript(session).of("turn.ended")
        assert await one.request("koda/turn/cancel", sessionId=session) == {"cancelled": True}
        assert (await one.event(session, "turn.ended"))["stopReason"] == "cancelled"
        tree = await one.request("koda/tree", sessionId=session)
        assert [node["kind"] for node in tree["nodes"]] == ["user", "assistant"]


@pytest.mark.asyncio
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGSTOP")
async def test_a_stopped_daemon_holds_up_nobody_who_only_looks_and_goes_on_afterwards(tmp_path: Path) -> None:
    async with daemon(tmp_path) as one, daemon(tmp_path) as two:
        session = await one.new({"answers": [steps(say("a"), {"type": "delay", "seconds": 1}, say("b"))]})
        await one.request("koda/prompt", sessionId=session, content="Go")
        await one.event(session, "text.delta")
        one.raw.signal(signal.SIGSTOP)
        try:
            assert (await two.open(session, streamed=False))["liveTurn"]
            with pytest.raises(RefusedError) as refused:
                await two.request("koda/prompt", sessionId=session, content="Mine")
            assert refused.value.code == LOCKED
            other = await two.new(texts("Free."))
            assert (await two.prompt(other, "Other sessions are free"))["text"] == "Free."
        finally:
            one.raw.signal(signal.SIGCONT)
        assert (await one.event(session, "turn.ended"))["stopReason"] == "end"
        assert (await two.event(session, "turn.ended"))["stopReason"] == "end"


@pytest.mark.asyncio
async def test_a_session_deleted_elsewhere_is_gone_here(tmp_path: Path) -> None:
    async with daemon(tmp_path) as one, daemon(tmp_path) as two:
        session = await one.new(texts("A."))
        await one.prompt(session, "Go")
        await two.open(session, streamed=False)
        await one.request("koda/session/delete", sessionId=session)
        assert (await two.event(session, "error"))["error"]["kind"] == "session.notFound"
        with pytest.raises(RefusedError) as refused:
            await two.request("koda/prompt", sessionId=session, content="Still?")
        assert refused.value.data["kind"] == "session.notFound"


@pytest.mark.asyncio
async def test_two_daemons_that_write_in_turns_lose_nothing(tmp_path: Path) -> None:
    """Both prompt as soon as they may: each prompt is taken by one of them, exactly once, and both see the same."""
    async with daemon(tmp_path) as one, daemon(tmp_path) as two:
        session = await one.new(
            {"answers": [], "otherwise": steps(say("Answer."), call("ls"))}, options={"maxIterations": 2}
        )
        one.sessions[session].streamed = False
        await two.open(session, streamed=False)

        async def insist(koda: Any, name: str) -> list[str]:
            turns = []
            for number in range(6):
                params = {"content": f"{name}{number}", "clientRequestId": f"{name}{number}"}
                while (answer := await unless_locked(koda.prompt(session, **params))) is None:
                    pass
                turns.append(answer["turnId"])
            return turns

        async with asyncio.timeout(60):
            left, right = await asyncio.gather(insist(one, "a"), insist(two, "b"))
        tree = await one.request("koda/tree", sessionId=session)
        prompts = [node for node in tree["nodes"] if node["kind"] == "user"]
        assert sorted(node["preview"] for node in prompts) == sorted(f"{n}{i}" for n in "ab" for i in range(6))
        assert {node["turnId"] for node in prompts} == {*left, *right}
        # One line: nobody wrote over what it had not seen.
        assert [node["parentId"] for node in tree["nodes"]] == [None, *(node["id"] for node in tree["nodes"][:-1])]
        assert await two.request("koda/tree", sessionId=session) == tree
        last = next(node["id"] for node in reversed(tree["nodes"]) if node["kind"] == "assistant")
        told = []
        for koda in (one, two):
            await koda.event(session, "message.ended", lambda event: event["nodeId"] == last)
            facts = (event for event in koda.transcript(session).events if event.get("nodeId"))
            kinds = ("turn.started", "message.ended", "tool.ended")
            told.append([(event["type"], event["nodeId"]) for event in facts if event["type"] in kinds])
        assert told[0] == told[1]
        assert [node_id for _, node_id in told[0]] == [node["id"] for node in tree["nodes"]]


@pytest.mark.asyncio
async def test_the_lease_lives_with_its_process_not_with_a_clock(tmp_path: Path) -> None:
    """A daemon that died without a word is known to be gone at once, not after a time-out."""
    async with daemon(tmp_path) as one:
        session = await one.new({"answers": [steps(say("a"), FOREVER)]})
        await one.request("koda/prompt", sessionId=session, content="Go")
        await one.event(session, "text.delta")
        os.kill(one.raw.pid, signal.SIGKILL)
        async with asyncio.timeout(10), daemon(tmp_path) as two:
            assert "liveTurn" not in await two.open(session, streamed=False)
            await two.request("koda/option/set", sessionId=session, name="provider", value={"script": texts("On.")})
            assert (await two.prompt(session, "Go on"))["text"] == "On."
