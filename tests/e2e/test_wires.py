"""Every wire API through the real daemon: what a provider says over HTTP is what the client reads over stdio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from tests.ai.conftest import Loopback, Reply
from tests.ai.wire import frames
from tests.ai.wire.streams import DONE, delta, sse
from tests.ai.wire.test_dialects import ERRORS, STREAMED, WHOLE
from tests.ai.wire.test_recordings import STOPS, WIRE
from tests.e2e.koda import Koda, daemon

pytestmark = pytest.mark.asyncio

BEDROCK = "bedrock-converse"
FRAMES = "application/vnd.amazon.eventstream"
BODIES = {**STREAMED, BEDROCK: frames.delta(0, text="Streamed.") + frames.stop("end_turn", inputTokens=3)}
APIS = {"openai-chat": "openai-completions", "anthropic": "anthropic-messages", "google": "google-generative-ai"}


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Loopback]:
    loopback = Loopback()
    await loopback.start()
    yield loopback
    await loopback.stop()


def lab(server: Loopback, **more: Any) -> dict[str, Any]:
    """Settings with a provider for each wire API, all of them at the loopback server."""
    rows = {
        api: {"api": api, "baseUrl": server.url, "apiKey": "k-planted", "models": [{"id": "m", "reasoning": ["off"]}]}
        for api in BODIES
    }
    return {"providers": rows, "retry": {"max_attempts": 2, "base_delay": 0.01}, **more}


async def answered(koda: Koda, api: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The result of a prompt in a new session, and the first answer as it was told."""
    session = await koda.new(model=f"{api}/m")
    result: dict[str, Any] = await koda.prompt(session, "Hello", timeout=40)
    ended = [one["message"] for one in koda.transcript(session).of("message.ended")]
    return result, next((one for one in ended if one["role"] == "assistant"), None)


def blocks(message: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [block for block in message["content"] if block["type"] == kind]


async def test_streams_documents_and_errors(tmp_path: Path, server: Loopback) -> None:
    async with daemon(tmp_path, settings=lab(server)) as koda:
        for api, body in BODIES.items():
            kind = FRAMES if api == BEDROCK else "text/event-stream"
            server.replies = [Reply([body], headers={"content-type": kind})]
            result, said = await answered(koda, api)
            assert (result["stopReason"], result["text"]) == ("end", "Streamed.")
            assert said is not None
            assert said["stopReason"] == "end"
        for api, document in WHOLE.items():
            server.replies = [Reply([msgspec.json.encode(document)], headers={"content-type": "application/json"})]
            result, said = await answered(koda, api)
            assert result["text"] == "Whole."
            assert said is not None
            assert (said["usage"]["input"], said["usage"]["output"]) == (3, 2)
        for api, error in ERRORS.items():
            server.replies = [Reply([sse(error)]), Reply([BODIES[api]])]
            result, _ = await answered(koda, api)
            assert result["text"] == "Streamed."


async def test_text_before_a_failure_is_kept(tmp_path: Path, server: Loopback) -> None:
    settings = lab(server)
    settings["retry"]["max_attempts"] = 1
    async with daemon(tmp_path, settings=settings) as koda:
        server.replies = [Reply([sse(delta(content="Half a "), {"error": {"message": "x", "code": 401}})])]
        result, said = await answered(koda, "openai-completions")
        assert (result["stopReason"], result["error"]["kind"]) == ("error", "auth.required")
        assert said is not None
        assert [block["text"] for block in blocks(said, "text")] == ["Half a "]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."),
        (429, "Request too large for m on tokens per min (TPM): Limit 30000, Requested 40000."),
        (200, "prompt is too long"),
    ],
)
async def test_an_overflow_is_answered_by_compaction(
    tmp_path: Path, server: Loopback, status: int, message: str
) -> None:
    async with daemon(tmp_path, settings=lab(server)) as koda:
        session = await koda.new(model="openai-completions/m")

        def said(text: str) -> Reply:
            return Reply([sse(delta("stop", content=text), DONE)])

        server.replies = [said("One."), said("Two.")]
        await koda.prompt(session, "First")
        await koda.prompt(session, "Second")
        error = {"error": {"message": message, "code": None}}
        refused = Reply([sse(error)]) if status == 200 else Reply([msgspec.json.encode(error)], status)
        server.replies = [refused, said("What was said."), said("It fits.")]
        asked = len(server.requests)
        result = await koda.prompt(session, "Third")
        assert (result["stopReason"], result["text"]) == ("end", "It fits.")
        assert len(server.requests) == asked + 3
        assert len(koda.transcript(session).of("compaction.ended")) == 1
        assert not koda.transcript(session).of("retry")
        server.replies = [refused]
        assert (await koda.prompt(session, "Fourth"))["error"]["kind"] == "context.overflow"


async def test_silence_between_events_is_given_up(tmp_path: Path, server: Loopback) -> None:
    settings = lab(server)
    settings["retry"]["max_attempts"] = 1
    settings["providers"]["openai-completions"]["options"] = {"readTimeout": 0.3}
    async with daemon(tmp_path, settings=settings) as koda:
        server.replies = [Reply([sse(delta(content="Kept"))], open_end=True)]
        result, said = await answered(koda, "openai-completions")
        assert result["error"]["kind"] == "provider.unreachable"
        assert "0.3 s" in result["error"]["message"]
        assert said is not None
        assert blocks(said, "text")[0]["text"] == "Kept"


def recordings() -> list[dict[str, Any]]:
    manifest = WIRE / "manifest.json"
    found = msgspec.json.decode(manifest.read_bytes())["recordings"] if manifest.exists() else []
    return [one for one in found if one["api"] != "cohere"]


@pytest.mark.material
async def test_recordings(tmp_path: Path, server: Loopback) -> None:
    """After an answer with calls the model is asked again, and answers plainly."""
    async with daemon(tmp_path, settings=lab(server)) as koda:
        for one in recordings():
            api, facts = APIS.get(one["api"], one["api"]), one["facts"]
            plain = Reply([BODIES[api]], headers={"content-type": FRAMES if api == BEDROCK else "text/event-stream"})
            body = Reply([(WIRE / one["file"]).read_bytes()], one["http_status"], one["response_headers"])
            server.replies = [body] if facts["error"] else [body, plain]
            result, said = await answered(koda, api)
            if facts["error"]:
                assert (result["stopReason"], bool(result["error"]["kind"])) == ("error", True), one["file"]
                text = "".join(block["text"] for block in blocks(said, "text")) if said else ""
                assert text == facts.get("text", ""), one["file"]
                continue
            assert said is not None, one["file"]
            found = (
                "".join(block["text"] for block in blocks(said, "text")),
                "".join(block["text"] for block in blocks(said, "thinking")),
                [(block["tool"], block["arguments"]) for block in blocks(said, "toolCall")],
                said["stopReason"],
                said["usage"]["input"] + said["usage"]["cacheRead"] + said["usage"]["cacheWrite"],
                said["usage"]["output"],
            )
            calls = [(call["name"], call["arguments"]) for call in facts["tool_calls"]]
            calls = [(name, given if isinstance(given, dict) else {}) for name, given in calls]
            usage = facts["usage"]
            assert found == (
                facts["text"],
                facts["thinking_text"],
                calls,
                STOPS[facts["stop_class"]],
                usage["input"],
                usage["output"],
            ), one["file"]
