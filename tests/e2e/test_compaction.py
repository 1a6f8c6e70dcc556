"""Compaction through the daemon: on request, by the budget, after an overflow, again and again, and undone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.koda import Koda, call, daemon, steps
from tests.harness.client import RefusedError

# The scripted model gives its n-th answer to a conversation with n answers, so a request for a summary, which has none,
# gets the first.
SUMMARY = "## Goal\nFind the needle.\n## Progress\nNothing yet."
LONG = "x" * 4_000


def script(*answers: Any, otherwise: Any = "Fine.") -> dict[str, Any]:
    return {"answers": [SUMMARY, *answers], "otherwise": otherwise}


async def opened(koda: Koda, session: str) -> dict[str, Any]:
    result: dict[str, Any] = await koda.request("koda/session/open", sessionId=session)
    return result


async def window(koda: Koda, session: str) -> list[tuple[str, str]]:
    context = await koda.request("koda/context", sessionId=session)
    return [(part["kind"], part["title"]) for part in context["parts"][2:]]


@pytest.mark.asyncio
async def test_on_request_with_instructions_and_undone_by_checkout(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session = await koda.new(script())
        with pytest.raises(RefusedError) as refused:
            await koda.request("koda/compact", sessionId=session)
        assert refused.value.data["kind"] == "params.invalid"
        for number in range(4):
            await koda.prompt(session, f"Prompt {number} {LONG}")
        before = await opened(koda, session)
        full = await window(koda, session)
        done = await koda.request("koda/compact", sessionId=session, instructions="Keep the needle.")
        assert done["tokensAfter"] < done["tokensBefore"] - 1_500
        transcript = koda.transcript(session)
        [started], [ended] = transcript.of("compaction.started"), transcript.of("compaction.ended")
        assert started["tokensBefore"] == ended["tokensBefore"] == done["tokensBefore"]
        assert (ended["nodeId"], ended["tokensAfter"]) == (done["nodeId"], done["tokensAfter"])
        after = await opened(koda, session)
        # Nothing has left the tree.
        assert after["nodes"][:-1] == before["nodes"]
        node = after["nodes"][-1]
        assert (node["id"], node["kind"], node["summary"]) == (done["nodeId"], "compaction", SUMMARY)
        assert node["details"]["tokensAfter"] == done["tokensAfter"]
        context = await koda.request("koda/context", sessionId=session)
        assert context["tokens"] == done["tokensAfter"]
        assert context["parts"][2]["kind"] == "summary"
        assert {cut["nodeId"] for cut in context["cut"]} <= {each["id"] for each in before["nodes"]}
        assert context["cut"]
        await koda.prompt(session, "And on")
        # Undone: the head goes back to before it.
        await koda.request("koda/checkout", sessionId=session, nodeId=before["headId"])
        assert await window(koda, session) == full
        assert (await koda.request("koda/context", sessionId=session))["cut"] == []
        await koda.prompt(session, "From there")
        tree = await koda.request("koda/tree", sessionId=session)
        children = [each for each in tree["nodes"] if each["parentId"] == before["headId"]]
        assert [each["kind"] for each in children] == ["compaction", "user"]


@pytest.mark.asyncio
async def test_by_the_budget_in_mid_turn_without_parting_calls_from_results(tmp_path: Path) -> None:
    settings = {"compaction": {"max_tokens": 8_000, "trigger_ratio": 0.5}}
    reads = steps(call("read", path="a.txt"), call("read", path="b.txt"))
    async with daemon(tmp_path, settings=settings) as koda:
        for name in ("a.txt", "b.txt"):
            (koda.workspace / name).write_text("line of text\n" * 200)
        session = await koda.new(script(otherwise=reads), options={"maxIterations": 3})
        for number in range(8):
            await koda.prompt(session, f"Read {number}")
        transcript = koda.transcript(session)
        ended = transcript.of("compaction.ended")
        assert len(ended) > 1, "again and again"
        turns = {event["turnId"] for event in transcript.of("turn.started")}
        assert all(event["turnId"] in turns for event in ended)
        assert all(event["tokensAfter"] < event["tokensBefore"] for event in ended)
        nodes = (await opened(koda, session))["nodes"]
        by_id = {node["id"]: index for index, node in enumerate(nodes)}
        for index, node in enumerate(nodes):
            if node["kind"] != "compaction":
                continue
            kept = nodes[by_id[node["firstKeptId"]] : index] if node.get("firstKeptId") else []
            calls = {c["callId"] for each in kept if each["kind"] == "assistant" for c in calls_of(each)}
            results = {each["message"]["callId"] for each in kept if each["kind"] == "toolResult"}
            assert results == calls
            assert node["summary"].startswith(SUMMARY)
        # The files that were read are named, whatever the model wrote; the next summary goes on from the last.
        last = next(node for node in reversed(nodes) if node["kind"] == "compaction")
        assert "a.txt" in last["summary"]
        context = await koda.request("koda/context", sessionId=session)
        assert context["tokens"] < 8_000
        assert [part["kind"] for part in context["parts"]].count("summary") == 1


def calls_of(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [block for block in node["message"]["content"] if block["type"] == "toolCall"]


@pytest.mark.asyncio
async def test_after_an_overflow_the_turn_goes_on(tmp_path: Path) -> None:
    overflow = {"type": "error", "kind": "context.overflow", "retryable": False, "message": "Too long."}
    answers = ["One.", "Two.", {"attempts": [[overflow], [{"type": "text", "text": "It fits."}]]}]
    async with daemon(tmp_path) as koda:
        session = await koda.new(script(*answers[:-1], answers[-1]))
        for number in range(3):
            await koda.prompt(session, f"Prompt {number} {LONG}")
        # The summary leaves fewer answers in the window: the script goes on from there.
        result = await koda.prompt(session, "The last straw")
        assert result["stopReason"] == "end"
        transcript = koda.transcript(session)
        assert len(transcript.of("compaction.ended")) == 1
        assert not transcript.of("retry")
        assert transcript.of("turn.ended")[-1].get("error") is None
        kinds = [node["kind"] for node in (await opened(koda, session))["nodes"]]
        assert kinds[-3:] == ["user", "compaction", "assistant"]


async def use(koda: Koda, session: str, script: dict[str, Any]) -> None:
    """From now on the model follows another script."""
    await koda.request("koda/option/set", sessionId=session, name="provider", value={"script": script})


@pytest.mark.asyncio
async def test_an_overflow_that_stays_ends_the_turn_with_its_error(tmp_path: Path) -> None:
    overflow = steps({"type": "error", "kind": "context.overflow", "retryable": False, "message": "Too long."})
    async with daemon(tmp_path) as koda:
        session = await koda.new(script())
        for text in (LONG, "Short", "Shorter"):  # the short ones stay after a compaction
            await koda.prompt(session, text)
        await use(koda, session, {"answers": [SUMMARY], "otherwise": overflow})
        result = await koda.prompt(session, "Now")
        assert (result["stopReason"], result["error"]["kind"]) == ("error", "context.overflow")
        assert len(koda.transcript(session).of("compaction.ended")) == 1


@pytest.mark.asyncio
async def test_a_failing_summary_costs_a_warning_and_no_turn(tmp_path: Path) -> None:
    settings = {"compaction": {"max_tokens": 4_000, "trigger_ratio": 0.5}, "retry": {"base_delay": 0.01}}
    failing = steps({"type": "error", "kind": "provider.overloaded", "message": "Too much to do."})
    async with daemon(tmp_path, settings=settings) as koda:
        session = await koda.new({"answers": [], "otherwise": "Goes on."})
        await koda.prompt(session, f"Prompt {LONG * 2}")
        await use(koda, session, {"answers": [failing], "otherwise": "Goes on."})
        result = await koda.prompt(session, "Next")
        assert (result["stopReason"], result["text"]) == ("end", "Goes on.")
        transcript = koda.transcript(session)
        assert "Could not compact: Too much to do." in transcript.of("notice")[0]["message"]
        [started], [ended] = transcript.of("compaction.started"), transcript.of("compaction.ended")
        assert "nodeId" not in ended
        assert ended["tokensAfter"] == started["tokensBefore"]
        assert [node["kind"] for node in (await opened(koda, session))["nodes"]] == ["user", "assistant"] * 2


@pytest.mark.asyncio
async def test_a_failing_summary_on_request_changes_nothing(tmp_path: Path) -> None:
    failing = steps({"type": "error", "kind": "auth.required", "retryable": False})
    silent = steps(call("ls"))
    async with daemon(tmp_path, settings={"retry": {"base_delay": 0.01}}) as koda:
        session = await koda.new({"answers": [], "otherwise": "Fine."})
        await koda.prompt(session, "One")
        await koda.prompt(session, "Two")
        before = await opened(koda, session)
        for answer, kind in ((failing, "auth.required"), (silent, "internal")):
            await use(koda, session, {"answers": [answer], "otherwise": "Fine."})
            with pytest.raises(RefusedError) as refused:
                await koda.request("koda/compact", sessionId=session)
            assert refused.value.data["kind"] == kind
            assert (await opened(koda, session))["nodes"] == before["nodes"]
        assert (await koda.prompt(session, "Three"))["text"] == "Fine."


@pytest.mark.asyncio
async def test_a_compaction_survives_a_restart(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session = await koda.new(script())
        for number in range(3):
            await koda.prompt(session, f"Prompt {number} {LONG}")
        done = await koda.request("koda/compact", sessionId=session)
        shown = await window(koda, session)
    async with daemon(tmp_path) as koda:
        assert await window(koda, session) == shown
        context = await koda.request("koda/context", sessionId=session)
        assert context["tokens"] == done["tokensAfter"]


@pytest.mark.asyncio
async def test_a_summary_that_saves_nothing_is_not_made_again_and_again(tmp_path: Path) -> None:
    settings = {"compaction": {"max_tokens": 4_000, "trigger_ratio": 0.5}}
    reads = steps(call("read", path="a.txt"))
    endless = {"answers": ["word " * 20_000], "otherwise": reads}
    async with daemon(tmp_path, settings=settings) as koda:
        (koda.workspace / "a.txt").write_text("short\n")
        session = await koda.new({"answers": [], "otherwise": "Fine."})
        for number in range(3):
            await koda.prompt(session, f"Prompt {number} {LONG}")
        await use(koda, session, endless)
        await koda.prompt(session, LONG, options={"maxIterations": 6})
        transcript = koda.transcript(session)
        assert len([event for event in transcript.of("compaction.ended") if "nodeId" not in event]) == 1
        assert "no shorter" in transcript.of("notice")[0]["message"]


@pytest.mark.asyncio
async def test_a_window_that_cannot_come_below_the_budget_is_left_alone_until_it_has_grown(tmp_path: Path) -> None:
    settings = {"compaction": {"max_tokens": 500, "trigger_ratio": 1.0}}  # less than the system text and the tools
    async with daemon(tmp_path, settings=settings) as koda:
        session = await koda.new(script())
        for _ in range(3):
            await koda.prompt(session, LONG)
        made = compactions(koda, session)
        assert made >= 1
        for number in range(6):
            await koda.prompt(session, f"Prompt {number}")
        assert compactions(koda, session) <= made + 1
        made = compactions(koda, session)
        for _ in range(3):
            await koda.prompt(session, LONG)
        assert compactions(koda, session) > made


def compactions(koda: Koda, session: str) -> int:
    return len([event for event in koda.transcript(session).of("compaction.ended") if "nodeId" in event])
