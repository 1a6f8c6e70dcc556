"""However the daemon ends, it ends within a second and leaves no process behind."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.koda import Koda, call, daemon, steps
from tests.e2e.processes import lasting, running

STUBBORN = "trap '' TERM HUP INT; {command} & wait; wait"


async def busy(koda: Koda) -> str:
    """A turn runs a command whose processes ignore polite signals; gives the argument to know them by."""
    command, token = lasting()
    session = await koda.new({"answers": [steps(call("bash", command=STUBBORN.format(command=command)))]})
    await koda.request("koda/prompt", sessionId=session, content="Go")
    await koda.event(session, "tool.output", lambda event: "up" in event["text"])
    assert running(token)
    return token


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["eof", "exit", "SIGTERM", "SIGINT"])
@pytest.mark.parametrize("sandbox", ["off", "workspace-write"])
async def test_every_way_to_the_end_is_quick_and_clean(tmp_path: Path, way: str, sandbox: str) -> None:
    async with daemon(tmp_path, settings={"sandbox": {"mode": sandbox}}) as koda:
        token = await busy(koda)
        begun = time.monotonic()
        if way == "eof":
            koda.raw.close_input()
        elif way == "exit":
            await koda.raw.request("shutdown")
            koda.raw.notify("exit")
        else:
            koda.raw.signal(signal.Signals[way])
        code = await koda.raw.wait_exit(5)
        assert time.monotonic() - begun < 1.0
        assert code == {"eof": 0, "exit": 0, "SIGTERM": 143, "SIGINT": 130}[way]
        assert not running(token)


@pytest.mark.asyncio
async def test_the_death_of_the_client_ends_the_daemon(tmp_path: Path) -> None:
    client = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
    async with daemon(tmp_path, initialize=False) as koda:
        await koda.initialize(processId=client.pid)
        token = await busy(koda)
        client.kill()
        await client.wait()
        begun = time.monotonic()
        assert await koda.raw.wait_exit(5) == 0
        assert time.monotonic() - begun < 1.5
        assert not running(token)


@pytest.mark.asyncio
async def test_what_was_under_way_at_the_end_is_kept(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        token = await busy(koda)
        [session] = koda.sessions
        koda.raw.signal(signal.SIGTERM)
        await koda.raw.wait_exit(5)
    async with daemon(tmp_path) as koda:
        opened = await koda.request("koda/session/open", sessionId=session)
        assert [node["kind"] for node in opened["nodes"]] == ["user", "assistant", "toolResult"]
        assert opened["nodes"][-1]["message"]["status"] == "cancelled"
        assert not running(token)


@pytest.mark.asyncio
async def test_prompts_that_waited_at_the_end_still_wait(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        await busy(koda)
        [session] = koda.sessions
        queued = await koda.request("koda/prompt", sessionId=session, content="Then this")
        koda.raw.begin("koda/prompt", {"sessionId": session, "content": "And this", "wait": True})
        await koda.event(session, "queue.changed", lambda event: len(event["queue"]) == 2)
        koda.raw.signal(signal.SIGTERM)
        await koda.raw.wait_exit(5)
    async with daemon(tmp_path) as koda:
        queue = (await koda.request("koda/queue/list", sessionId=session))["queue"]
        assert [each["content"][0]["text"] for each in queue] == ["Then this", "And this"]
        assert queue[0]["turnId"] == queued["turnId"]
        await koda.request("koda/queue/remove", sessionId=session, turnId=queued["turnId"])
