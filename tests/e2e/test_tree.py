"""Branches, checkouts and labels: nothing is removed, and the head is remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.koda import Koda, daemon
from tests.harness.client import RefusedError


async def tree(koda: Koda, session: str) -> dict[str, Any]:
    result: dict[str, Any] = await koda.request("koda/tree", sessionId=session)
    return result


@pytest.mark.asyncio
async def test_a_branch_grows_from_any_node(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session = await koda.new({"answers": [], "otherwise": "Answer."})
        await koda.prompt(session, "One")
        await koda.prompt(session, "Two")
        before = await tree(koda, session)
        first_answer = before["nodes"][1]["id"]
        result = await koda.request("koda/branch", sessionId=session, fromId=first_answer, label="other way")
        assert result["headId"] == first_answer
        assert result["branchId"]
        await koda.prompt(session, "Another two")
        after = await tree(koda, session)
        assert [node["id"] for node in after["nodes"][:4]] != []
        assert {node["id"] for node in before["nodes"]} <= {node["id"] for node in after["nodes"]}
        grown = next(node for node in after["nodes"] if node["preview"] == "Another two")
        assert (grown["parentId"], grown["label"]) == (first_answer, "other way")
        created = koda.transcript(session).of("branch.created")
        assert [event["branchId"] for event in created] == [result["branchId"]]


@pytest.mark.asyncio
async def test_a_branch_from_the_very_beginning_is_a_second_root(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session = await koda.new({"answers": [], "otherwise": "Answer."})
        await koda.prompt(session, "One")
        assert (await koda.request("koda/branch", sessionId=session, fromId=None))["headId"] is None
        await koda.prompt(session, "Instead of one")
        roots = [node["preview"] for node in (await tree(koda, session))["nodes"] if node["parentId"] is None]
        assert roots == ["One", "Instead of one"]


@pytest.mark.asyncio
async def test_a_branch_without_checkout_waits_and_can_be_checked_out_by_its_id(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session = await koda.new({"answers": [], "otherwise": "Answer."})
        await koda.prompt(session, "One")
        await koda.prompt(session, "Two")
        nodes = (await tree(koda, session))["nodes"]
        result = await koda.request("koda/branch", sessionId=session, fromId=nodes[1]["id"], checkout=False)
        assert result["headId"] == nodes[3]["id"]
        await koda.request("koda/checkout", sessionId=session, nodeId=result["branchId"])
        await koda.prompt(session, "On the branch")
        tip = (await tree(koda, session))["headId"]
        await koda.request("koda/checkout", sessionId=session, nodeId=nodes[3]["id"])
        again = await koda.request("koda/checkout", sessionId=session, nodeId=result["branchId"])
        assert again["headId"] == tip


@pytest.mark.asyncio
async def test_the_head_is_where_it_was_left_after_a_restart(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session = await koda.new({"answers": [], "otherwise": "Answer."})
        await koda.prompt(session, "One")
        await koda.prompt(session, "Two")
        first = (await tree(koda, session))["nodes"][1]["id"]
        await koda.request("koda/checkout", sessionId=session, nodeId=first)
        moved = await koda.event(session, "head.moved")
        assert moved["headId"] == first
        await koda.raw.kill()
    async with daemon(tmp_path) as koda:
        opened = await koda.request("koda/session/open", sessionId=session)
        assert opened["headId"] == first
        assert [node["kind"] for node in opened["nodes"]] == ["user", "assistant"]


@pytest.mark.asyncio
async def test_labels_come_and_go(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session = await koda.new({"answers": [], "otherwise": "Answer."})
        await koda.prompt(session, "One")
        node = (await tree(koda, session))["headId"]
        assert await koda.request("koda/label", sessionId=session, nodeId=node, label="good") == {"label": "good"}
        opened = await koda.request("koda/session/open", sessionId=session)
        assert opened["nodes"][-1]["label"] == "good"
        await koda.request("koda/label", sessionId=session, nodeId=node, label=None)
        assert "label" not in (await tree(koda, session))["nodes"][-1]


@pytest.mark.asyncio
async def test_nodes_page_upwards(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session = await koda.new({"answers": [], "otherwise": "Answer."})
        for number in range(5):
            await koda.prompt(session, f"Prompt {number}")
        page = await koda.request("koda/session/open", sessionId=session, limit=3)
        nodes = page["nodes"]
        while "cursor" in page:
            page = await koda.request("koda/session/nodes", sessionId=session, cursor=page["cursor"], limit=3)
            nodes = page["nodes"] + nodes
        assert [node["id"] for node in nodes] == [node["id"] for node in (await tree(koda, session))["nodes"]]


@pytest.mark.asyncio
async def test_a_node_that_is_not_there_is_named_by_its_field(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session = await koda.new({"answers": [], "otherwise": "Answer."})
        await koda.prompt(session, "One")
        head = (await tree(koda, session))["headId"]
        for method, path, fields in (
            ("koda/tree", "$.aroundId", {"aroundId": "gone"}),
            ("koda/branch", "$.fromId", {"fromId": "gone"}),
            ("koda/branch", "$.fromId", {"fromId": "gone", "summarize": True}),
            ("koda/checkout", "$.nodeId", {"nodeId": "gone"}),
            ("koda/label", "$.nodeId", {"nodeId": "gone", "label": "x"}),
            ("koda/branch/compare", "$.bId", {"aId": head, "bId": "gone"}),
            ("koda/branch/compare", "$.aId", {"aId": "gone", "bId": head}),
        ):
            with pytest.raises(RefusedError) as refused:
                await koda.request(method, sessionId=session, **fields)
            assert (refused.value.data["kind"], refused.value.data["path"]) == ("node.notFound", path), method
        with pytest.raises(RefusedError) as refused:
            await koda.request("koda/label", sessionId=session, nodeId=head, label="x" * 201)
        assert refused.value.data["path"] == "$.label"
        assert await koda.request("koda/label", sessionId=session, nodeId=head, label="") == {"label": None}
