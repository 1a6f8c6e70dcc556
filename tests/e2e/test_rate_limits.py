"""Sessions of one daemon share what a provider says about its limits, and the connections to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ai.conftest import Loopback, Reply
from tests.ai.wire.streams import DONE, delta, sse
from tests.e2e.koda import daemon

pytestmark = pytest.mark.asyncio

ANSWER = Reply([sse(delta(content="Hi"), delta("stop"), DONE)])


async def test_what_one_session_was_told_holds_for_the_others(tmp_path: Path) -> None:
    loopback = Loopback()
    await loopback.start()
    slow_down = Reply([b'{"error": {"message": "slow down"}}'], 429, {"retry-after": "4"})
    loopback.replies = [slow_down, ANSWER]
    rows = {"lab": {"baseUrl": f"{loopback.url}/v1", "apiKey": "k", "models": [{"id": "m"}, {"id": "n"}]}}
    try:
        async with daemon(tmp_path, settings={"providers": rows}) as koda:
            sessions = [await koda.new(model=f"lab/{id_}") for id_ in ("m", "m", "n")]
            for session in sessions:
                await koda.request("koda/prompt", sessionId=session, content="Hello")
                told = await koda.event(session, "retry")
                assert told["reason"].startswith("lab limits the rate of requests")
                assert 0 < told["delayMs"] <= 4_000 or session == sessions[0]
                assert len(loopback.requests) == 1  # the others did not even ask
            for session in sessions:
                assert (await koda.event(session, "turn.ended"))["stopReason"] == "end"
            assert len(loopback.requests) == 4
            for session in sessions:
                await koda.prompt(session, "And again")
            assert len(loopback.requests) == 7
            assert loopback.connections <= 3
    finally:
        await loopback.stop()


async def test_no_more_at_once_than_the_settings_say(tmp_path: Path) -> None:
    loopback = Loopback()
    await loopback.start()
    loopback.replies = [Reply([sse(delta(content="Hi"))], open_end=True), ANSWER]
    row = {"baseUrl": f"{loopback.url}/v1", "apiKey": "k", "options": {"maxConcurrent": 1}, "models": [{"id": "m"}]}
    try:
        async with daemon(tmp_path, settings={"providers": {"lab": row}}) as koda:
            first, second, third = [await koda.new(model="lab/m") for _ in range(3)]
            await koda.request("koda/prompt", sessionId=first, content="Hello")
            await koda.event(first, "text.delta")
            for session in (second, third):
                await koda.request("koda/prompt", sessionId=session, content="Hello")
                await koda.event(session, "turn.started")
            await koda.request("koda/turn/cancel", sessionId=second)  # also while it waits
            assert (await koda.event(second, "turn.ended"))["stopReason"] == "cancelled"
            assert len(loopback.requests) == 1
            await koda.request("koda/turn/cancel", sessionId=first)
            assert (await koda.event(third, "turn.ended"))["stopReason"] == "end"
            assert len(loopback.requests) == 2
    finally:
        await loopback.stop()
