"""Summaries that a model writes outside a turn: of a branch that is left; and what else goes on meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.koda import Koda, call, daemon, steps
from tests.harness.client import RefusedError

TRIED = "The left turn was tried: it ends at a wall."
SLOW = {"answers": [steps({"type": "delay", "seconds": 60})], "otherwise": "Fine."}


async def use(koda: Koda, session: str, script: dict[str, Any]) -> None:
    await koda.request("koda/option/set", sessionId=session, name="provider", value={"script": script})


async def fork(koda: Koda) -> tuple[str, list[dict[str, Any]]]:
    """A session with two turns, the second of which reads a file."""
    (koda.workspace / "map.txt").write_text("left\nright\n")
    reads = steps(call("read", path="map.txt"))
    session = await koda.new({"answers": ["One.", reads, "A wall."], "otherwise": "On."})
    await koda.prompt(session, "Where?")
    await koda.prompt(session, "Go left")
    return session, (await koda.request("koda/tree", sessionId=session))["nodes"]


@pytest.mark.asyncio
async def test_a_branch_that_is_left_is_summed_up_in_the_first_node_of_the_new_one(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session, nodes = await fork(koda)
        first, left = nodes[1]["id"], nodes[-1]["id"]
        await use(koda, session, {"answers": [TRIED], "otherwise": "Fine."})
        made = await koda.request("koda/branch", sessionId=session, fromId=first, label="right", summarize=True)
        tree = await koda.request("koda/tree", sessionId=session)
        assert tree["nodes"][: len(nodes)] == nodes
        [added] = tree["nodes"][len(nodes) :]
        assert (added["id"], added["parentId"], added["kind"]) == (made["headId"], first, "branchSummary")
        assert (added["label"], tree["headId"]) == ("right", added["id"])
        [branch] = tree["branches"]
        assert (branch["fromId"], branch["tipId"]) == (first, added["id"])
        [node] = (await koda.request("koda/session/nodes", sessionId=session, ids=[added["id"]]))["nodes"]
        assert node["summary"].startswith(TRIED)
        assert "map.txt" in node["summary"]
        assert node["details"] == {"fromId": left, "readFiles": ["map.txt"], "changedFiles": []}
        assert [event["headId"] for event in koda.transcript(session).of("head.moved")] == [first, added["id"]]
        parts = (await koda.request("koda/context", sessionId=session))["parts"]
        assert [part["kind"] for part in parts[2:]] == ["user", "assistant", "summary"]
        assert (await koda.prompt(session, "Go right"))["text"] == "Fine."


@pytest.mark.asyncio
async def test_nothing_that_is_left_needs_no_summary(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session, nodes = await fork(koda)
        await use(koda, session, SLOW)
        for _ in range(2):
            made = await koda.request("koda/branch", sessionId=session, fromId=nodes[-1]["id"], summarize=True)
            assert made["headId"] == nodes[-1]["id"]
        for wrong in ({"checkout": False}, {"files": "worktree"}):
            with pytest.raises(RefusedError) as refused:
                await koda.request("koda/branch", sessionId=session, fromId=nodes[0]["id"], summarize=True, **wrong)
            assert (refused.value.data["kind"], refused.value.data["path"]) == ("params.invalid", "$.summarize")
        with pytest.raises(RefusedError) as refused:
            await koda.request("koda/branch", sessionId=session, fromId="no such node", summarize=True)
        assert refused.value.data["kind"] == "node.notFound"


@pytest.mark.asyncio
async def test_without_the_summary_there_is_no_branch(tmp_path: Path) -> None:
    failing = steps({"type": "error", "kind": "quota.exhausted", "retryable": False})
    async with daemon(tmp_path, settings={"retry": {"base_delay": 0.01}}) as koda:
        session, nodes = await fork(koda)
        before = await koda.request("koda/tree", sessionId=session)
        for answer, kind in ((failing, "quota.exhausted"), (steps(call("ls")), "internal")):
            await use(koda, session, {"answers": [answer], "otherwise": "Fine."})
            with pytest.raises(RefusedError) as refused:
                await koda.request("koda/branch", sessionId=session, fromId=nodes[0]["id"], summarize=True)
            assert refused.value.data["kind"] == kind
            assert await koda.request("koda/tree", sessionId=session) == before
        made = await koda.request("koda/branch", sessionId=session, fromId=nodes[0]["id"])
        assert made["headId"] == nodes[0]["id"]


@pytest.mark.asyncio
@pytest.mark.parametrize("method", ["koda/compact", "koda/branch"])
async def test_a_session_is_busy_while_a_summary_is_written(tmp_path: Path, method: str) -> None:
    async with daemon(tmp_path) as koda:
        session, nodes = await fork(koda)
        before = await koda.request("koda/session/open", sessionId=session)
        await use(koda, session, SLOW)
        params = {"fromId": nodes[0]["id"], "summarize": True} if method == "koda/branch" else {}
        writing = koda.raw.begin(method, {"sessionId": session, **params})
        queued = await koda.request("koda/prompt", sessionId=session, content="Meanwhile")
        assert queued["status"] == "queued"
        for other, fields in (
            ("koda/compact", {}),
            ("koda/checkout", {"nodeId": nodes[0]["id"]}),
            ("koda/branch", {"fromId": nodes[0]["id"]}),
            ("koda/turn/retry", {}),
            ("koda/prompt", {"content": "Now", "delivery": "reject"}),
        ):
            with pytest.raises(RefusedError) as refused:
                await koda.request(other, sessionId=session, **fields)
            assert refused.value.data["kind"] == "turn.busy"
        await koda.request("koda/label", sessionId=session, nodeId=nodes[0]["id"], label="seen")
        assert await koda.request("koda/turn/cancel", sessionId=session) == {"cancelled": True}
        with pytest.raises(RefusedError) as refused:
            await writing.result(20)
        assert refused.value.code == -32800
        # What waited goes on, from where the head was left.
        await koda.event(session, "turn.ended", lambda event: event["turnId"] == queued["turnId"])
        after = await koda.request("koda/session/open", sessionId=session)
        assert [node["id"] for node in after["nodes"]][: len(before["nodes"])] == [n["id"] for n in before["nodes"]]
        assert "compaction" not in [node["kind"] for node in after["nodes"]]
        assert after["nodes"][-1]["message"]["content"][0]["text"] == "Fine."
