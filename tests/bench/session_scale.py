"""How a session grows: opening 10,000 nodes, storing a prompt, searching 100,000 nodes, a turn as the 1,000th one.

``python -m tests.bench.session_scale [turns]``
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import msgspec

from koda_daemon.ai.messages import Usage
from koda_daemon.base.ids import new_id
from koda_daemon.session.manager import SessionManager
from koda_daemon.session.nodes import Node, SessionInfo, timestamp
from koda_daemon.session.queries import row_of
from tests.e2e.koda import Koda, daemon
from tests.session.builders import assistant, call, result, user

SENTENCE = "the parser reads tokens and fails on empty input so the tests of the lexer are red again"


def history(turns: int, salt: int = 0) -> list[Node]:
    """Turns of four nodes each: a prompt, a call, its result of 2 kB, an answer."""
    nodes: list[Node] = []
    head: str | None = None
    for number in range(turns):
        turn = f"t{salt}-{number}"
        text = f"Prompt {number}: {SENTENCE[number % 40 :]} {SENTENCE}"
        usage = Usage(input=1_000 + 600 * number, output=50)
        for node in (
            user(None, text, turn_id=turn),
            assistant(None, "I look.", call(f"c{number}", "read", {"path": f"src/f{number}.py"}), turn_id=turn),
            result(None, f"c{number}", f"line {number} of a file\n" * 80, turn_id=turn),
            assistant(None, f"It is fixed in f{number}.", usage=usage, turn_id=turn),
        ):
            nodes.append(msgspec.structs.replace(node, parent_id=head))
            head = node.id
    return nodes


async def store(home: Path, cwd: Path, nodes: list[Node], title: str) -> str:
    (home / ".koda").mkdir(parents=True, exist_ok=True)
    manager = await SessionManager.open(home / ".koda" / "sessions.db")
    now = timestamp()
    info = SessionInfo(
        id=new_id(),
        cwd=str(cwd),
        title=title,
        model="demo/scripted",
        head_id=nodes[-1].id,
        created_at=now,
        updated_at=now,
        options={"mode": "full", "provider": {"script": {"answers": [], "otherwise": "Fine."}}},
    )
    await manager.adopt(info, [row_of(node) for node in nodes])
    await manager.aclose()
    return info.id


async def took(work: Awaitable[Any]) -> float:
    begun = time.perf_counter()
    await work
    return (time.perf_counter() - begun) * 1000


def cpu_ms(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]) / 1024


def show(what: str, value: float, unit: str, goal: str = "") -> None:
    print(f"{what:<58}{value:>10.2f} {unit:<4} {goal}")


async def one_long_session(folder: Path) -> None:
    session = await store(folder / "home", folder / "work", history(2_500), "long")
    async with daemon(folder) as koda:
        await koda.request("koda/session/list")
        before = resident_mb(koda.raw.pid)
        show("open 10,000 nodes, cold", await took(koda.request("koda/session/open", sessionId=session)), "ms", "< 150")
        again = [await took(koda.request("koda/session/open", sessionId=session)) for _ in range(20)]
        show("open again, p50", statistics.median(again), "ms")
        show("its tree", await took(koda.request("koda/tree", sessionId=session)), "ms")
        show("memory for it", resident_mb(koda.raw.pid) - before, "MB")
        show("first prompt (reads the window)", await took(koda.prompt(session, "Go on")), "ms")
        await prompts(koda, session, "prompt stored and answered, 10,000 nodes, p50")


async def prompts(koda: Koda, session: str, what: str) -> None:
    """Queued behind a turn that waits: nothing but the storing of the prompt."""
    script = {"answers": [], "otherwise": {"steps": [{"type": "delay", "seconds": 600}]}}
    await koda.request("koda/prompt", sessionId=session, content="Wait", options={"provider": {"script": script}})
    times = [await took(koda.request("koda/prompt", sessionId=session, content=f"More {n}")) for n in range(200)]
    show(what, statistics.median(times), "ms", "< 2")
    show("  p99", statistics.quantiles(times, n=100)[98], "ms")
    for waiting in (await koda.request("koda/queue/list", sessionId=session))["queue"]:
        await koda.request("koda/queue/remove", sessionId=session, turnId=waiting["turnId"])
    await koda.request("koda/turn/cancel", sessionId=session)


async def many_turns(folder: Path, turns: int) -> None:
    """The same small turn again and again in one session, without compaction: only the window grows."""
    settings = {"compaction": {"max_tokens": 100_000_000}}
    async with daemon(folder, settings=settings) as koda:
        session = await koda.new({"answers": [], "otherwise": "Fine."})
        wall: list[float] = []
        cpu: list[float] = []
        for number in range(turns):
            begun = cpu_ms(koda.raw.pid)
            wall.append(await took(koda.prompt(session, f"Prompt {number}")))
            cpu.append(cpu_ms(koda.raw.pid) - begun)
        for end in (30, 100, 250, 500, 1_000, 2_000):
            if end <= turns:
                show(f"a turn around the {end}th, p50", statistics.median(wall[end - 20 : end]), "ms")
                show("  CPU of the daemon, mean", statistics.fmean(cpu[end - 20 : end]), "ms")
        show("memory after them", resident_mb(koda.raw.pid), "MB")


async def search(folder: Path) -> None:
    for number in range(10):
        await store(folder / "home", folder / "work", history(2_500, number), f"s{number}")
    async with daemon(folder) as koda:
        show("index 100,000 nodes", await took(koda.request("koda/session/search", timeout=300, query="x")), "ms")
        for query in (
            "empty input",
            "f2499",
            "lexer pars",
            '"tests of the lexer"',
            "nowhere to be found",
            "line",
            "→",
            "line →",
        ):
            times = [await took(koda.request("koda/session/search", query=query, limit=50)) for _ in range(9)]
            show(f"search {query!r}, p50", statistics.median(times), "ms", "< 50")


async def main(turns: int) -> None:
    with tempfile.TemporaryDirectory(prefix="koda-bench-") as name:
        for part in ("long", "turns", "search"):
            (Path(name) / part).mkdir()
        await one_long_session(Path(name) / "long")
        await many_turns(Path(name) / "turns", turns)
        await search(Path(name) / "search")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000))
