"""Each request begins with the bytes of the one before, also when the daemon was started again in between."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.ai.conftest import Loopback, Reply
from tests.ai.test_prompt_cache import unmarked
from tests.ai.wire.streams import DONE, call, delta, sse
from tests.e2e.koda import daemon

pytestmark = pytest.mark.asyncio

ARGUMENTS = '{"command": "echo hi"}'
TEXT = "Done 😀\u2028."


def chat(number: int, *, calls: bool) -> bytes:
    last = [delta(tool_calls=[call(0, f"c{number}", "bash", ARGUMENTS)]), delta("tool_calls")]
    return sse(delta(content=f"{number}: {TEXT}"), *(last if calls else [delta("stop")]), DONE)


def responses(number: int, *, calls: bool) -> bytes:
    item: dict[str, Any] = {
        "type": "message",
        "id": f"msg_{number}",
        "role": "assistant",
        "phase": "final_answer",
        "content": [{"type": "output_text", "text": TEXT}],
    }
    if calls:
        item = {
            "type": "function_call",
            "id": f"fc_{number}",
            "call_id": f"c{number}",
            "name": "bash",
            "arguments": ARGUMENTS,
        }
    reasoning = {"type": "reasoning", "id": f"rs_{number}", "summary": [], "encrypted_content": f"ENC{number}"}
    output = [reasoning, item]
    done = [
        {"type": "response.output_item.done", "output_index": place, "item": each} for place, each in enumerate(output)
    ]
    return sse(*done, {"type": "response.completed", "response": {"status": "completed", "output": output}})


def anthropic(number: int, *, calls: bool) -> bytes:
    block: dict[str, Any] = {"type": "text", "text": ""}
    piece: dict[str, Any] = {"type": "text_delta", "text": TEXT}
    if calls:
        block = {"type": "tool_use", "id": f"toolu_{number}", "name": "bash", "input": {}}
        piece = {"type": "input_json_delta", "partial_json": ARGUMENTS}
    signature = {"type": "signature_delta", "signature": f"SIG{number}"}
    return sse(
        {"type": "message_start", "message": {}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "Hm"}},
        {"type": "content_block_delta", "index": 0, "delta": signature},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": block},
        {"type": "content_block_delta", "index": 1, "delta": piece},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use" if calls else "end_turn"}},
        {"type": "message_stop"},
    )


def gemini(number: int, *, calls: bool) -> bytes:
    part: dict[str, Any] = {"text": TEXT}
    if calls:
        called = {"name": "bash", "args": {"command": "echo hi"}}
        part = {"functionCall": called, "thoughtSignature": f"U0lH{number:04}"}
    content = {"role": "model", "parts": [{"text": "Hm", "thought": True}, part]}
    return sse({"candidates": [{"content": content, "finishReason": "STOP"}]})


WIRES: dict[str, tuple[str, str, str, Callable[..., bytes]]] = {
    "chat": ("openai-completions", "/v1", "m", chat),
    "responses": ("openai-responses", "/v1", "m", responses),
    "claude": ("anthropic-messages", "", "claude-opus-5-5", anthropic),
    "gemini": ("google-generative-ai", "/v1beta", "gemini-3-pro", gemini),
}


def given(decision: dict[str, str] | None, _: Any) -> dict[str, str] | None:
    return decision


@pytest.mark.parametrize("name", WIRES)
async def test_the_beginning_stays(name: str, tmp_path: Path) -> None:
    api, path, model, answer = WIRES[name]
    loopback = Loopback()
    await loopback.start()
    try:
        row: dict[str, Any] = {"api": api, "baseUrl": loopback.url + path, "apiKey": "k"}
        row |= {"models": [{"id": model, "reasoning": ["low", "high"]}], "compat": {"cacheKey": True}}
        session = ""
        for run, choice in enumerate(("once", None)):
            async with daemon(tmp_path, settings={"providers": {name: row}}) as koda:
                decision = None if choice is None else {"optionId": choice}
                koda.raw.on_request("koda/approval/request", partial(given, decision))
                if session:
                    await koda.open(session)
                else:
                    session = await koda.new(model=f"{name}/{model}", options={"effort": "high"})
                loopback.replies = [Reply([answer(10 * run + step, calls=step % 2 == 0)]) for step in range(4)]
                for text in ("Do it 😀\u2028", "And again"):
                    assert (await koda.prompt(session, text))["stopReason"] == "end"
    finally:
        await loopback.stop()
    bodies = [unmarked(seen.body, name) for seen in loopback.requests if seen.body]
    assert len(bodies) == 8
    for before, body in pairwise(bodies):
        assert body.startswith(before.removesuffix(b"]}"))
    assert (b'"prompt_cache_key"' in bodies[0]) == (name in ("chat", "responses"))
