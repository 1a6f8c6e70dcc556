"""The daemon against a fake of four vendors: each wire API, models that change at every turn, a prefix that stays.

The fake is part of no repository; without it the tests are skipped. It keeps whole request bodies, and counts by itself
how much of each one a provider's prompt cache could have reused.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.ai import rules
from tests.e2e.koda import Koda, daemon

pytestmark = [pytest.mark.material, pytest.mark.asyncio]

LAB = Path(__file__).parents[3] / "shared" / "lab" / "fakellm.py"
WIRES: dict[str, tuple[str, str, rules.Rules]] = {
    "chat": ("openai-completions", "/v1", rules.chat),
    "responses": ("openai-responses", "/v1", rules.responses),
    "claude": ("anthropic-messages", "", rules.anthropic),
    "gemini": ("google-generative-ai", "/v1beta", rules.gemini),
}
MODEL = {"gemini": "gemini-3-pro"}
FORMATS = {"openai": "chat", "responses": "responses", "anthropic": "claude", "gemini": "gemini"}
FINAL = "000000 000001 000002 "


class Lab:
    """The running fake."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log

    def settings(self) -> dict[str, Any]:
        rows = {
            name: {"api": api, "baseUrl": self.url + path, "apiKey": "k", "models": [{"id": MODEL.get(name, "fake")}]}
            for name, (api, path, _) in WIRES.items()
        }
        return {"permissions": {"mode": "full"}, "retry": {"base_delay": 0.01}, "providers": rows}

    def requests(self) -> list[dict[str, Any]]:
        """What it was asked, without side requests."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines()]
        return [line for line in lines if line["ev"] == "req" and not line["side"]]


@asynccontextmanager
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    if not LAB.exists():
        pytest.skip("the lab is not next to this repository")
    log = tmp_path / "lab.jsonl"
    argv = (sys.executable, str(LAB), "--port", "0", "--log", str(log), "--bodies")
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        port = json.loads(await process.stdout.readline())["listening"]
        yield Lab(f"http://127.0.0.1:{port}", log)
    finally:
        process.terminate()
        await process.wait()


def ref(name: str) -> str:
    return f"{name}/{MODEL.get(name, 'fake')}"


def check(requests: list[dict[str, Any]]) -> None:
    """Every request keeps the rules of its API."""
    for request in requests:
        assert WIRES[FORMATS[request["fmt"]]][2](request["body"]) == []


async def ended(koda: Koda, session: str, text: str, **params: Any) -> None:
    result = await koda.prompt(session, text, **params)
    assert (result["stopReason"], result["text"]) == ("end", FINAL), result


@pytest.mark.parametrize("name", WIRES)
async def test_a_model_is_discovered_and_calls_tools(name: str, tmp_path: Path) -> None:
    async with lab(tmp_path) as fake, daemon(tmp_path, settings=fake.settings()) as koda:
        listed = (await koda.request("koda/model/list", provider=name))["models"]
        found = {model["id"]: model for model in listed}
        assert found[f"{name}/claude-sonnet-4-5"]["contextWindow"] == 262_144
        (koda.workspace / "a.txt").write_text("what is in the file\n")
        session = await koda.new(model=f"{name}/{'gemini-2.5-pro' if name == 'gemini' else 'fake-model'}")
        await ended(koda, session, f"SCENARIO:par 2 3 read a.txt #{name}")
        transcript = koda.transcript(session)
        assert [event["status"] for event in transcript.of("tool.ended")] == ["ok"] * 6
        deltas = [event["text"] for event in transcript.of("text.delta")]
        assert len(deltas) >= 1
        assert "".join(deltas) == FINAL
        usage = transcript.of("turn.ended")[-1]["usage"]
        assert usage["input"] > 0
        assert usage["output"] >= 123
        asked = fake.requests()
        assert [request["turn"] for request in asked] == [0, 3, 6]
        assert "what is in the file" in asked[-1]["last_tool"]
        for before, request in pairwise(asked):
            assert request["head_same"]
            assert request["prefix_common"] == before["prefix_total"]


async def test_a_session_changes_its_model_at_every_turn(tmp_path: Path) -> None:
    order = ["chat", "claude", "responses", "gemini", "claude", "chat", "gemini", "responses", "chat"]
    async with lab(tmp_path) as fake, daemon(tmp_path, settings=fake.settings()) as koda:
        (koda.workspace / "a.txt").write_text("x\n")
        session = await koda.new(model=ref("chat"))
        for turn, name in enumerate(order):
            scenario = ("par 2 2 read a.txt", "think 3 3", "badargs", "badtool")[turn % 4]
            await ended(koda, session, f"SCENARIO:{scenario} #{turn}", model=ref(name))
        asked = fake.requests()
        check(asked)
        last = json.dumps(asked[-1]["body"])
        for turn in range(len(order)):
            assert f"#{turn}" in last
        assert last.count(FINAL) == len(order) - 1
        opened = await koda.open(session)
        models = [n["message"]["model"] for n in opened["nodes"] if n["kind"] == "assistant"]
        assert list(dict.fromkeys(models)) == [ref(name) for name in ("chat", "claude", "responses", "gemini")]


@pytest.mark.parametrize("name", WIRES)
async def test_what_went_wrong_in_between_is_no_obstacle(name: str, tmp_path: Path) -> None:
    """Attempts that were cut, refused or cancelled, prompts that steer: the next model takes what is left of them."""
    other = {"chat": "gemini", "gemini": "claude", "claude": "responses", "responses": "chat"}[name]
    async with lab(tmp_path) as fake, daemon(tmp_path, settings=fake.settings()) as koda:
        (koda.workspace / "a.txt").write_text("x\n")
        session = await koda.new(model=ref(name))
        assert (await koda.prompt(session, "SCENARIO:trunc 1 5 #cut"))["stopReason"] == "end"
        assert (await koda.prompt(session, "SCENARIO:drop 9 5 #lost"))["stopReason"] == "error"
        assert (await koda.prompt(session, "SCENARIO:err400 #refused"))["stopReason"] == "error"
        await koda.request("koda/prompt", sessionId=session, content="SCENARIO:stream 2000 20 #long")
        await koda.event(session, "text.delta", lambda event: "000003" in event["text"])
        await koda.request("koda/turn/cancel", sessionId=session)
        await koda.event(session, "turn.ended", lambda event: event["stopReason"] == "cancelled")
        await koda.request("koda/prompt", sessionId=session, content="SCENARIO:bash sleep 30 #tool")
        call = await koda.event(session, "tool.started")
        await koda.request("koda/prompt", sessionId=session, content="Go on otherwise", delivery="steer")
        await koda.request("koda/tool/cancel", sessionId=session, callId=call["callId"])
        await koda.event(session, "turn.steered")
        await koda.event(session, "turn.ended", lambda event: event["seq"] > call["seq"])
        await ended(koda, session, "SCENARIO:par 1 2 read a.txt #end", model=ref(other))
        await ended(koda, session, "SCENARIO:par 1 2 read a.txt #back")
        check(fake.requests())


@pytest.mark.parametrize("name", WIRES)
async def test_what_was_said_once_is_said_the_same_ever_after(name: str, tmp_path: Path) -> None:
    """Over restarts of the daemon, attempts that break, prompts that steer, and other models in between."""
    other = ref("claude" if name != "claude" else "chat")
    async with lab(tmp_path) as fake:
        async with daemon(tmp_path, settings=fake.settings()) as koda:
            session = await koda.new(model=ref(name))
            await ended(koda, session, "SCENARIO:write b.txt #same")
            assert (await koda.prompt(session, "SCENARIO:drop 1 5 #same"))["stopReason"] == "end"
        async with daemon(tmp_path, settings=fake.settings()) as koda:
            await koda.open(session)
            await ended(koda, session, "SCENARIO:read b.txt #same")
            await ended(koda, session, "SCENARIO:read b.txt #other", model=other)
            await ended(koda, session, "SCENARIO:par 1 3 read b.txt #same")
        async with daemon(tmp_path, settings=fake.settings()) as koda:
            await koda.open(session)
            await koda.request("koda/prompt", sessionId=session, content="SCENARIO:bash sleep 0.3 #same")
            await koda.event(session, "tool.started")
            await koda.request("koda/prompt", sessionId=session, content="And be quick", delivery="steer")
            await koda.event(session, "turn.ended")
            await ended(koda, session, "SCENARIO:badargs #same")
        asked = [request for request in fake.requests() if request["tag"] == "same"]
        check(asked)
        assert len(asked) == 12
        for before, request in pairwise(asked):
            assert request["head_same"]
            # An attempt that broke is asked for again as it was.
            assert request["prefix_common"] == before["prefix_total"]
