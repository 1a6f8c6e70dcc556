"""The daemon is killed at random moments, again and again, on one store: every fact that a client was told is found.

``KODA_TEST_KILLS=300`` kills that often instead of a few times.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.koda import Koda, call, daemon, say, steps
from tests.harness.client import DaemonEndedError, RefusedError

KILLS = int(os.environ.get("KODA_TEST_KILLS", "16"))
BUSY = {
    "answers": [],
    "otherwise": steps(say("Working on it. ", 3), call("write", path="log.txt", content="x\n"), call("ls")),
    "pace": 0.001,
}

ENV = {"KODA_KEYRING": "off"}  # credentials go into a file of the test
DEEDS = ["cancel", "branch", "label", "rename", "checkout", "grant", "option", "sign in", "import"]


class Facts:
    """What clients were told of one session as done, over all lives of the daemon."""

    def __init__(self) -> None:
        self.session = ""
        self.turns: set[str] = set()
        self.nodes: dict[str, dict[str, Any] | None] = {}
        self.results: dict[str, Any] = {}
        self.labels: dict[str, str] = {}
        self.branches: set[str] = set()
        self.title: str | None = None
        self.rules: set[str] = set()
        self.imported: set[str] = set()
        self.signed_in = False
        self.efforts: set[str | None] = {None}
        """What the option may be: as told last, or as asked for last without an answer."""
        self.seqs: list[int] = []

    def hear(self, koda: Koda) -> None:
        """Takes what the events told, and proves that they came without gaps."""
        transcript = koda.transcript(self.session)
        for event in transcript.events:
            match event["type"]:
                case "turn.started" if event.get("nodeId"):
                    self.nodes.setdefault(event["nodeId"], None)
                case "message.ended":
                    self.nodes[event["nodeId"]] = event["message"]
                case "tool.ended":
                    self.nodes.setdefault(event["nodeId"], None)
                    self.results[event["nodeId"]] = event["content"]
                case "label.changed":
                    self.labels[event["nodeId"]] = event["label"]
        self.seqs.append(transcript.seq)

    async def work(self, koda: Koda, chance: random.Random) -> None:
        """Asks for this and that until the daemon is gone."""
        for number in range(10_000):
            deed = chance.choice(["prompt"] * 4 + DEEDS)
            with contextlib.suppress(RefusedError):
                await self.do(koda, deed, number, chance)

    async def do(self, koda: Koda, deed: str, number: int, chance: random.Random) -> None:
        known: list[str | None] = [*self.nodes] or [None]
        match deed:
            case "prompt":
                self.turns.add((await self.ask(koda, "koda/prompt", content=f"Prompt {number}"))["turnId"])
            case "cancel":
                await self.ask(koda, "koda/turn/cancel")
            case "branch":
                answer = await self.ask(koda, "koda/branch", fromId=chance.choice(known), checkout=False, label="b")
                self.branches.add(answer["branchId"])
            case "label" if known[0] is not None:
                node_id, label = chance.choice(known), f"label {number}"
                await self.ask(koda, "koda/label", nodeId=node_id, label=label)
                self.labels[str(node_id)] = label
            case "rename":
                self.title = (await self.ask(koda, "koda/session/rename", title=f"T {number}"))["session"]["title"]
            case "grant":
                await koda.request("koda/permission/grant", tool="bash", pattern=f"echo {number}", scope="user")
                self.rules.add(f"echo {number}")
            case "option":
                effort = chance.choice(["low", "high"])
                self.efforts.add(effort)
                await self.ask(koda, "koda/option/set", name="effort", value=effort)
                self.efforts = {effort}
            case "sign in" if not self.signed_in:
                await koda.request("koda/auth/login", provider="openrouter", apiKey="sk-or-a-test-key")
                self.signed_in = True
            case "import" if len(self.imported) < 20 and known[0] is not None:
                exported = str(koda.workspace / "exported.jsonl")
                await self.ask(koda, "koda/session/export", format="jsonl", path=exported)
                self.imported.add((await koda.request("koda/session/import", path=exported))["sessionId"])
            case "checkout" if known[0] is not None:
                await self.ask(koda, "koda/checkout", nodeId=chance.choice(known))

    async def ask(self, koda: Koda, method: str, **params: Any) -> Any:
        return await koda.request(method, sessionId=self.session, **params)

    async def check(self, koda: Koda) -> None:
        """Everything is there. Also: no turn is left running, numbers go on, the store answers."""
        opened = await koda.open(self.session, limit=1)
        assert "liveTurn" not in opened
        assert all(seq < opened["seq"] for seq in self.seqs[-1:])
        if self.title is not None:
            assert opened["session"]["title"] is not None
        tree = {node["id"]: node for node in (await self.ask(koda, "koda/tree"))["nodes"]}
        queue = (await self.ask(koda, "koda/queue/list"))["queue"]
        assert self.nodes.keys() <= tree.keys()
        turns = {node.get("turnId") for node in tree.values()} | {prompt["turnId"] for prompt in queue}
        assert self.turns <= turns
        for prompt in queue:  # or each life would begin with a longer one
            await self.ask(koda, "koda/queue/remove", turnId=prompt["turnId"])
            self.turns.discard(prompt["turnId"])
        for node_id in self.labels:
            assert "label" in tree[node_id]
        contents = {node_id: message for node_id, message in self.nodes.items() if message is not None}
        ids = [*contents, *self.results]
        found = (await self.ask(koda, "koda/session/nodes", ids=ids))["nodes"] if ids else []
        for node in found:
            if node["id"] in contents:
                assert node["message"] == contents[node["id"]]
            else:
                assert node["message"]["content"] == self.results[node["id"]]
        for branch_id in self.branches:
            await self.ask(koda, "koda/checkout", nodeId=branch_id)
        await self.check_besides(koda, opened)
        # Once checked they stay checked: what follows grows from them.
        self.nodes = dict.fromkeys(list(self.nodes)[-50:])
        self.results, self.labels, self.branches, self.turns = {}, {}, set(), set()

    async def check_besides(self, koda: Koda, opened: dict[str, Any]) -> None:
        """What does not stand in the tree."""
        rules = (await koda.request("koda/permission/list"))["rules"]
        assert self.rules <= {rule["pattern"] for rule in rules}
        assert opened["session"]["options"].get("effort") in self.efforts
        self.efforts = {opened["session"]["options"].get("effort")}
        [provider] = (await koda.request("koda/auth/status", provider="openrouter"))["providers"]
        assert provider["status"] == "ok" or not self.signed_in
        sessions = (await koda.request("koda/session/list", limit=500))["sessions"]
        assert self.imported <= {session["id"] for session in sessions}


async def live_and_die(folder: Path, facts: Facts, chance: random.Random) -> None:
    async with daemon(folder, env=ENV) as koda:
        if facts.session:
            await facts.check(koda)
        else:
            facts.session = await koda.new(BUSY)
        working = asyncio.ensure_future(facts.work(koda, chance))
        await asyncio.sleep(chance.uniform(0, 0.25))  # the random moment
        await koda.raw.kill()
        with pytest.raises(DaemonEndedError):
            await working
        facts.hear(koda)


@pytest.mark.asyncio
@pytest.mark.timeout(30 + KILLS * 3)
async def test_every_fact_survives_every_kill(tmp_path: Path) -> None:
    async def lives(name: str) -> None:
        (tmp_path / name).mkdir()
        facts, chance = Facts(), random.Random(name)
        for _ in range(KILLS // 2):
            await live_and_die(tmp_path / name, facts, chance)
        async with daemon(tmp_path / name, env=ENV) as koda:
            await facts.check(koda)
        connection = sqlite3.connect(tmp_path / name / "home" / ".koda" / "sessions.db")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("SELECT count(*) FROM turns WHERE status = 'running'").fetchone() == (0,)
        connection.close()
        # Whatever the last one held (its end may have been cut short by its own clock), the next one may write at once.
        async with daemon(tmp_path / name) as koda:
            await koda.request("koda/session/rename", sessionId=facts.session, title="Still ours")

    await asyncio.gather(lives("a"), lives("b"))
