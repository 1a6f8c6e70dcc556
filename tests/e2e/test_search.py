"""Search through the daemon: what was just said, in which folder, and nothing that is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.koda import call, daemon, steps


@pytest.mark.asyncio
async def test_what_was_just_said_is_found_with_its_place(tmp_path: Path) -> None:
    script = {"answers": [steps(call("bash", command="echo a-needle-in-output")), "The lexer was **wrong**."]}
    async with daemon(tmp_path) as koda:
        session = await koda.new(script)
        await koda.prompt(session, "Why does the parser fail on 世界? 🎉")
        for query, kind, marked in (
            ("parser fail", "user", "the **parser** **fail** on"),
            ('"the parser"', "user", "**the parser**"),
            ("世界", "user", "**世界**"),
            ("needle", "toolResult", "**needle**"),
            ("lexer wrong", "assistant", "**lexer**"),
            ("pars", "user", "**parser**"),
            ("pars* fai* on", "user", "**parser** **fail** **on**"),
            ("🎉", "user", "**🎉**"),
            ("parser 🎉", "user", "**🎉**"),
        ):
            hits = (await koda.request("koda/session/search", query=query))["hits"]
            [node] = (await koda.request("koda/session/nodes", sessionId=session, ids=[hits[0]["nodeId"]]))["nodes"]
            assert hits[0]["sessionId"] == session
            assert (node["kind"], node["createdAt"]) == (kind, hits[0]["createdAt"]), query
            assert marked in hits[0]["snippet"], query
        for query in ("nowhere", "", "AND OR NOT", "(", '"', "*", "→", "lexer 🎉"):
            assert (await koda.request("koda/session/search", query=query))["hits"] == []


@pytest.mark.asyncio
async def test_one_folder_the_newest_first_and_nothing_that_was_deleted(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "link").symlink_to(other)
    async with daemon(tmp_path) as koda:
        script = {"answers": [], "otherwise": "Yes."}
        here, there = await koda.new(script), await koda.new(script, cwd=str(other))
        for session in (here, there, here):
            await koda.prompt(session, "The same needle")

        async def found(**params: object) -> list[str]:
            hits = (await koda.raw.request("koda/session/search", {"query": "needle", **params}))["hits"]
            return [hit["sessionId"] for hit in hits]

        assert await found() == [here, there, here]
        assert await found(limit=2) == [here, there]
        assert await found(cwd=str(koda.workspace)) == [here, here]
        assert await found(cwd=str(tmp_path / "link")) == [there]
        await koda.request("koda/session/delete", sessionId=here)
        assert await found() == [there]
