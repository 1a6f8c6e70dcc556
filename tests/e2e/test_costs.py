"""What turns cost: to the last digit, whatever became of them, over restarts, against sums made here."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.ai.conftest import RESET, Loopback
from tests.ai.wire.streams import DONE, delta, sse
from tests.e2e.koda import Koda, daemon

pytestmark = pytest.mark.asyncio

PRICES = {"input": 3, "output": 15, "cacheRead": 0.3, "cacheWrite": 3.75, "cacheWrite1h": 6}
TIER = {"above": 200_000, "input": 6, "output": 22.5, "cacheRead": 0.6, "cacheWrite": 7.5, "cacheWrite1h": 12}


def settings(loopback: Loopback) -> dict[str, Any]:
    model = {"id": "m", "contextWindow": 1_000_000, "prices": {**PRICES, "tiers": [TIER]}}
    return {
        "retry": {"max_attempts": 2, "base_delay": 0.01},
        "providers": {
            "lab": {"api": "anthropic-messages", "baseUrl": loopback.url, "apiKey": "k", "models": [model]},
            "router": {"api": "openai-completions", "baseUrl": loopback.url, "apiKey": "k", "models": [model]},
        },
    }


def begun(input_: int, read: int = 0, five: int = 0, hour: int = 0) -> bytes:
    """The beginning of an answer of Anthropic's, which tells the input."""
    usage = {
        "input_tokens": input_,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": five + hour,
        "cache_creation": {"ephemeral_5m_input_tokens": five, "ephemeral_1h_input_tokens": hour},
        "output_tokens": 1,
    }
    return sse(
        {"type": "message_start", "message": {"usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Well, "}},
    )


def ended(output: int) -> bytes:
    return sse(
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": output}},
        {"type": "message_stop"},
    )


def cost(input_: int, output: int, read: int = 0, five: int = 0, hour: int = 0) -> Decimal:
    rates: dict[str, float] = TIER if input_ + read + five + hour > TIER["above"] else PRICES
    names = ("input", "output", "cacheRead", "cacheWrite", "cacheWrite1h")
    counts = (input_, output, read, five, hour)
    return sum((Decimal(n) * Decimal(str(rates[x])) for n, x in zip(counts, names, strict=True)), Decimal(0)) / 10**6


async def total(koda: Koda, session: str) -> dict[str, Any]:
    usage: dict[str, Any] = await koda.request("koda/usage", sessionId=session)
    for kind in ("sessions", "days"):
        assert [one["usage"] for one in usage[kind]] == [usage["total"]]
    return usage


async def test_every_attempt_is_counted_once_and_exactly(tmp_path: Path) -> None:
    loopback = Loopback()
    await loopback.start()
    spent: list[Decimal] = []
    try:
        async with daemon(tmp_path, settings=settings(loopback)) as koda:
            session = await koda.new(model="lab/m")

            # An attempt that breaks off is billed as far as it came, and so is the one after it.
            loopback.reply(begun(1000, 50, 300, 200), RESET)
            loopback.reply(begun(10, 1500), ended(7))
            result = await koda.prompt(session, "One")
            spent += [cost(1000, 1, 50, 300, 200), cost(10, 7, 1500)]
            assert result["usage"]["cost"]["total"] == float(sum(spent))
            assert result["usage"]["cacheWrite"] == 500

            # A long request costs more, all of it.
            loopback.replies.clear()
            loopback.reply(begun(5, 250_000), ended(3))
            result = await koda.prompt(session, "Two")
            spent.append(cost(5, 3, 250_000))
            assert result["usage"]["cost"]["total"] == float(spent[-1])

            # What is cancelled was read by then.
            loopback.replies.clear()
            loopback.reply(begun(77))
            loopback.replies[0].open_end = True
            before = koda.transcript(session).seq
            await koda.request("koda/prompt", sessionId=session, content="Three")
            await koda.event(session, "text.delta", lambda event: event["seq"] > before)
            await koda.request("koda/turn/cancel", sessionId=session)
            stopped = await koda.event(session, "turn.ended", lambda event: event["stopReason"] == "cancelled")
            spent.append(cost(77, 1))
            assert stopped["usage"]["cost"]["total"] == float(spent[-1])

            # Two attempts that fail: the last is kept, both are counted.
            loopback.replies.clear()
            loopback.reply(begun(11), RESET)
            result = await koda.prompt(session, "Four")
            assert result["stopReason"] == "error"
            spent += [cost(11, 1)] * 2
            assert result["usage"]["cost"]["total"] == float(2 * spent[-1])
            assert result["usage"]["input"] == 22

        async with daemon(tmp_path, settings=settings(loopback)) as koda:
            await koda.open(session)

            # A summary has no node that would show it.
            loopback.replies.clear()
            loopback.reply(begun(2000, 0, 40), ended(90))
            await koda.request("koda/compact", sessionId=session)
            spent.append(cost(2000, 90, 0, 40))
            usage = await total(koda, session)
            assert usage["total"]["cost"]["total"] == float(sum(spent))
            assert usage["total"]["input"] == 1000 + 10 + 5 + 77 + 22 + 2000
            assert usage["total"]["output"] == 1 + 7 + 3 + 1 + 2 + 90

            # What the provider says itself wins; amounts far below a cent add up.
            loopback.replies.clear()
            tokens = {"prompt_tokens": 3, "completion_tokens": 1, "cost": 0.0000001}
            loopback.reply(sse(delta(content="Hi"), delta("stop"), {"choices": [], "usage": tokens}, DONE))
            for _ in range(3):
                await koda.prompt(session, "Five", model="router/m")
            spent += [Decimal("0.0000001")] * 3
            usage = await total(koda, session)
            assert usage["total"]["cost"]["total"] == float(sum(spent))
            assert {one["model"]: one["usage"]["cost"]["total"] for one in usage["models"]} == {
                "lab/m": float(sum(spent[:-3])),
                "router/m": 0.0000003,
            }

            # Branches that are left stay paid for, and so does a session that is deleted.
            await koda.request("koda/branch", sessionId=session, fromId=None)
            assert await total(koda, session) == usage
            await koda.request("koda/session/delete", sessionId=session)
            assert (await koda.request("koda/usage"))["total"] == usage["total"]
    finally:
        await loopback.stop()
