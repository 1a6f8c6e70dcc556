"""A session of 10,000 nodes: opened by its end, paged upwards, gone on with. Times are in tests/bench/session_scale."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.bench.session_scale import history, resident_mb, store
from tests.e2e.koda import daemon
from tests.harness.client import RefusedError

TURNS = 2_500


@pytest.mark.asyncio
async def test_a_long_session_is_opened_by_its_end_and_paged_upwards(tmp_path: Path) -> None:
    nodes = history(TURNS)
    session = await store(tmp_path / "home", tmp_path / "work", nodes, "Long")
    async with daemon(tmp_path) as koda:
        await koda.request("koda/session/list")
        before = resident_mb(koda.raw.pid)
        begun = time.perf_counter()
        opened = await koda.open(session)
        assert time.perf_counter() - begun < 1.5, "ten times what it takes, for busy machines"
        assert [node["id"] for node in opened["nodes"]] == [node.id for node in nodes[-200:]]
        assert resident_mb(koda.raw.pid) - before < 40
        cursor, seen = opened["cursor"], [node["id"] for node in opened["nodes"]]
        while cursor is not None:
            page = await koda.request("koda/session/nodes", sessionId=session, cursor=cursor, limit=2_000)
            seen = [node["id"] for node in page["nodes"]] + seen
            cursor = page.get("cursor")
        assert seen == [node.id for node in nodes]
        tree = await koda.request("koda/tree", sessionId=session)
        assert len(tree["nodes"]) == len(nodes)
        near = await koda.request("koda/tree", sessionId=session, aroundId=nodes[5_000].id, depth=3)
        assert len(near["nodes"]) == 7
        assert (await koda.prompt(session, "And on"))["text"] == "Fine."
        # Of what was read on the way nothing stays but what a turn needs, and a bounded cache.
        assert resident_mb(koda.raw.pid) - before < 100


@pytest.mark.asyncio
async def test_a_cursor_that_leads_nowhere_any_more_has_expired(tmp_path: Path) -> None:
    session = await store(tmp_path / "home", tmp_path / "work", history(3), "Short")
    async with daemon(tmp_path) as koda:
        opened = await koda.request("koda/session/open", sessionId=session, limit=2)
        first = (await koda.request("koda/tree", sessionId=session))["nodes"][0]
        await koda.request("koda/checkout", sessionId=session, nodeId=first["id"])
        for cursor in (opened["cursor"], "made up"):
            with pytest.raises(RefusedError) as refused:
                await koda.request("koda/session/nodes", sessionId=session, cursor=cursor)
            assert refused.value.data["kind"] == "cursor.expired"
        with pytest.raises(RefusedError) as refused:
            await koda.request("koda/session/nodes", sessionId=session, ids=["made up"])
        assert refused.value.data["kind"] == "node.notFound"


@pytest.mark.asyncio
async def test_compacted_long_ago_costs_nothing_now(tmp_path: Path) -> None:
    """What the model does not see any more is not read for a turn."""
    session = await store(tmp_path / "home", tmp_path / "work", history(TURNS), "Long")
    async with daemon(tmp_path) as koda:
        done = await koda.request("koda/compact", sessionId=session, timeout=60)
        assert done["tokensAfter"] < done["tokensBefore"]
    async with daemon(tmp_path) as koda:
        await koda.request("koda/session/open", sessionId=session, limit=1)
        before = resident_mb(koda.raw.pid)
        begun = time.perf_counter()
        assert (await koda.prompt(session, "And on"))["text"] == "Fine."
        assert time.perf_counter() - begun < 1.0
        assert resident_mb(koda.raw.pid) - before < 15
        context = await koda.request("koda/context", sessionId=session)
        assert context["cut"][0]["reason"] == "older nodes, replaced by summaries"
