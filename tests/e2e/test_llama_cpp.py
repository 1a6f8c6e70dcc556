"""The daemon against llama.cpp's real server, over the three wire APIs that it speaks.

Runs where the package ``xllamacpp`` is installed, which is not among the requirements for its size:
``pip install xllamacpp`` and ``make test TESTS=tests/e2e/test_llama_cpp.py``.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import tiny_llama
from tests.e2e.koda import daemon

# "material": whether it is there is not for the repository to say.
pytestmark = [
    pytest.mark.material,
    pytest.mark.asyncio,
    pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="xllamacpp is not installed"),
]

WIRES = {"llama.cpp": "openai-completions", "responses": "openai-responses", "claude": "anthropic-messages"}
MODEL = "tiny.gguf"
LOOKS, ALL = "I look around 🙂. ", "That was all."


@asynccontextmanager
async def llama(tmp_path: Path, context: int = 24_576) -> AsyncIterator[dict[str, Any]]:
    """Settings with the running server."""
    tiny_llama.write(tmp_path / MODEL)
    argv = (sys.executable, tiny_llama.__file__, MODEL, str(context))
    pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*argv, stdout=pipe, stderr=nowhere, cwd=tmp_path)
    assert process.stdout is not None
    try:
        url = (await process.stdout.readline()).decode().strip()
        rows = {name: {"api": api, "baseUrl": url if name == "claude" else f"{url}/v1"} for name, api in WIRES.items()}
        yield {"permissions": {"mode": "full"}, "providers": rows}
    finally:
        process.kill()
        await process.wait()


async def test_models_are_discovered_and_change_over_all_three_wires(tmp_path: Path) -> None:
    async with llama(tmp_path) as settings, daemon(tmp_path, settings=settings) as koda:
        session = await koda.new(model=f"llama.cpp/{MODEL}")
        for name in [*WIRES, *reversed(WIRES), *WIRES]:
            (model,) = (await koda.request("koda/model/list", provider=name))["models"]
            assert (model["id"], model["contextWindow"]) == (f"{name}/{MODEL}", 24_576)
            result = await koda.prompt(session, "Look!", model=model["id"])
            assert (result["stopReason"], result["text"]) == ("end", ALL), result
            assert result["usage"]["input"] + result["usage"]["cacheRead"] > 1_000
        transcript = koda.transcript(session)
        assert [event["status"] for event in transcript.of("tool.ended")] == ["ok"] * 9
        assert [event["arguments"] for event in transcript.of("tool.started")] == [{"path": "."}] * 9
        assert [text.strip() for text in transcript.texts.values()] == [LOOKS.strip(), ALL] * 9
        assert [text.strip() for text in transcript.thinking.values()] == ["Hm, so."] * 9
        # The server keeps what it computed: most of the last request was not read again, whatever wire it came by.
        assert result["usage"]["cacheRead"] > 10 * result["usage"]["input"]


@pytest.mark.parametrize("name", WIRES)
async def test_a_window_that_is_too_small_is_told(name: str, tmp_path: Path) -> None:
    async with llama(tmp_path, 1_024) as settings, daemon(tmp_path, settings=settings) as koda:
        result = await koda.prompt(await koda.new(model=f"{name}/{MODEL}"), "Look!")
        assert result["error"]["kind"] == "context.overflow"


async def test_a_long_conversation_is_summed_up_as_often_as_it_must(tmp_path: Path) -> None:
    async with llama(tmp_path) as settings, daemon(tmp_path, settings=settings) as koda:
        session = await koda.new(model=f"llama.cpp/{MODEL}")
        for _ in range(5):
            result = await koda.prompt(session, "Look! " * 800, timeout=120)  # a byte is a token
            assert (result["stopReason"], result["text"]) == ("end", ALL), result
        ended = koda.transcript(session).of("compaction.ended")
        assert ended
        assert all(event["tokensAfter"] < event["tokensBefore"] for event in ended)
