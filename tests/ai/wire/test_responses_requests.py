"""What goes to a server of the Responses API."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from msgspec.structs import replace

from koda_daemon.ai.messages import ImageBlock, Message, TextBlock, ThinkingBlock, ToolCall
from koda_daemon.ai.provider import Context, Model, StreamOptions, ToolSpec
from koda_daemon.ai.providers import Compat
from koda_daemon.ai.registry import ModelRegistry
from koda_daemon.ai.settings import ProviderSettings
from koda_daemon.ai.wire.openai_responses_request import ResponsesWriter
from tests.ai.conftest import Loopback
from tests.ai.test_transform import histories
from tests.ai.wire.streams import answer, ask, sse
from tests.ai.wire.test_requests import EFFORTS, TOOLS, assistant, result, user

MODEL = Model(provider="p", id="gpt-6", api="openai-responses", input=("text", "image"), reasoning=EFFORTS)
SIGNED = ThinkingBlock("Two", '{"id":"rs_1","encrypted_content":"zzz"}')


def request(
    *messages: Message,
    model: Model = MODEL,
    compat: Compat | None = None,
    system: str = "",
    tools: Sequence[ToolSpec] = (),
    replay: bool = True,
    extra: dict[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    writer = ResponsesWriter(model, "openai-responses", compat or Compat(), replay=replay)
    body = writer.body(Context(system, messages, tools), StreamOptions(**options), extra or {})
    found: dict[str, Any] = msgspec.json.decode(body)
    return found


def own(*blocks: Any) -> Any:
    return assistant(*blocks, of=MODEL)


def test_items() -> None:
    body = request(
        user("Hi"),
        own(TextBlock("I read."), ToolCall("c", "read", {"path": "a"})),
        result("c"),
        system="Be brief.",
        tools=TOOLS,
    )
    assert list(body) == ["model", "stream", "store", "include", "reasoning", "tools", "input"]
    assert (body["store"], body["include"]) == (False, ["reasoning.encrypted_content"])
    assert body["input"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"type": "message", "role": "assistant", "content": "I read."},
        {"type": "function_call", "call_id": "c", "name": "read", "arguments": '{"path":"a"}'},
        {"type": "function_call_output", "call_id": "c", "output": "done"},
    ]
    tool = {"type": "function", "name": "ls", "description": "Lists.", "parameters": {"type": "object"}}
    assert body["tools"][1] == tool | {"strict": False}


def test_own_reasoning_goes_back_with_its_summary() -> None:
    thought = own(ThinkingBlock("One"), SIGNED, ToolCall("c", "read", {}))
    items = request(user("x"), thought, result("c"))["input"]
    assert items[1] == {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "One"}, {"type": "summary_text", "text": "Two"}],
        "id": "rs_1",
        "encrypted_content": "zzz",
    }
    assert [item.get("type") for item in items] == [None, "reasoning", "function_call", "function_call_output"]


@pytest.mark.parametrize(
    "signature",
    [None, "sig", "[1]", '{"phase":"commentary"}', '{"encrypted_content":1}', '[{"type":"reasoning.text"}]'],
)
def test_what_is_no_encrypted_reasoning_stays_out(signature: str | None) -> None:
    items = request(user("x"), own(ThinkingBlock("Hm", signature), TextBlock("y")), user("z"))["input"]
    assert [item["role"] for item in items] == ["user", "assistant", "user"]


def test_reasoning_stays_out_for_others_and_where_nothing_follows() -> None:
    blocks = (SIGNED, TextBlock("y"))
    for other in (replace(MODEL, id="gpt-7"), replace(MODEL, provider="q"), replace(MODEL, api="azure-openai")):
        assert "zzz" not in str(request(user("x"), assistant(*blocks, of=other), user("z")))
    assert "zzz" not in str(request(user("x"), own(TextBlock("y"), SIGNED), user("z")))
    body = request(user("x"), own(*blocks), user("z"), replay=False)
    assert "zzz" not in str(body)
    assert "include" not in body
    assert "zzz" in str(request(user("x"), own(*blocks), user("z")))


def test_reasoning_that_was_refused_stays_out() -> None:
    writer = ResponsesWriter(MODEL, "openai-responses", Compat())
    newer = ThinkingBlock("", '{"encrypted_content":"new"}', redacted=True)
    history: list[Message] = [user("x"), own(SIGNED, TextBlock("y")), user("z")]
    assert b"zzz" in writer.body(Context("", history), StreamOptions(), {})
    words = "The encrypted content for item rs_1 could not be verified."
    assert writer.mend(words, history)
    assert not writer.mend(words, history)
    history += [own(newer, TextBlock("w")), user("v"), own(TextBlock("u")), user("t")]
    body = writer.body(Context("", history), StreamOptions(), {})
    assert b"zzz" not in body
    assert b'"encrypted_content":"new"' in body


def test_summaries_that_were_refused_stay_out() -> None:
    writer = ResponsesWriter(MODEL, "openai-responses", Compat())
    context = Context("", [user("x")])
    assert b'"reasoning":{"summary":"auto"}' in writer.body(context, StreamOptions(), {})
    words = "Your organization must be verified to generate reasoning summaries."
    assert not writer.mend("Some other refusal.", context.messages)
    assert writer.mend(words, context.messages)
    assert not writer.mend(words, context.messages)
    assert b'"reasoning":' not in writer.body(context, StreamOptions(), {})
    assert b'"reasoning":{"effort":"low"}' in writer.body(context, StreamOptions(effort="low"), {})


def test_the_phase_of_a_message_goes_back() -> None:
    said = own(TextBlock("I look.", '{"phase":"commentary"}'), ToolCall("c", "read", {}))
    assert request(user("x"), said, result("c"))["input"][1]["phase"] == "commentary"
    foreign = assistant(TextBlock("I look.", '{"phase":"commentary"}'), of=replace(MODEL, id="m"))
    assert "phase" not in request(user("x"), foreign, user("y"))["input"][1]


def test_images() -> None:
    png = ImageBlock("image/png", data="AAAA")
    shown = {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,AAAA"}
    assert request(user("See", png))["input"][0]["content"] == [{"type": "input_text", "text": "See"}, shown]
    items = request(user("x"), own(ToolCall("c", "read", {})), result("c", content=(png,)))["input"]
    assert items[2]["output"] == [shown]
    blind = replace(MODEL, input=("text",))
    assert request(user("See", png), model=blind)["input"][0]["content"] == "See\n[Image (image/png) left out]"


def test_limits_efforts_and_keys() -> None:
    body = request(user("x"), compat=Compat(cache_key=True), max_tokens=5, cache_key="session", extra={"metadata": {}})
    assert (body["max_output_tokens"], body["prompt_cache_key"], body["metadata"]) == (16, "session", {})
    assert body["reasoning"] == {"summary": "auto"}
    assert request(user("x"), effort="medium")["reasoning"] == {"effort": "low", "summary": "auto"}
    assert request(user("x"), effort="off")["reasoning"] == {"effort": "none"}
    plain = replace(MODEL, id="gpt-4o", reasoning=())
    assert not {"include", "reasoning", "prompt_cache_key"} & set(request(user("x"), model=plain, effort="high"))
    assert "reasoning" not in request(user("x"), compat=Compat(reasoning="none"), effort="high")


def test_empty_results_and_blank_answers() -> None:
    items = request(user("x"), own(TextBlock("\n"), ToolCall("c", "read", {})), result("c", ""), user())["input"]
    assert [item.get("type", item.get("role")) for item in items] == ["user", "function_call", "function_call_output"]
    assert items[2]["output"] == "(no output)"


@given(histories)
def test_every_call_has_one_output_and_ids_are_used_once(history: list[Message]) -> None:
    waiting: list[str] = []
    used: set[str] = set()
    for item in request(*history)["input"]:
        if item.get("type") == "function_call":
            assert item["call_id"] not in used
            used.add(item["call_id"])
            waiting.append(item["call_id"])
        elif item.get("type") == "function_call_output":
            waiting.remove(item["call_id"])
        else:
            assert not waiting
    assert not waiting


def test_a_next_request_begins_with_the_bytes_of_the_last() -> None:
    history: list[Message] = [user("Hi"), own(SIGNED, ToolCall("c", "read", {})), result("c")]
    writer = ResponsesWriter(MODEL, "openai-responses", Compat())
    for number in range(6):
        one = writer.body(Context("S", history, TOOLS), StreamOptions(), {})
        history += [own(SIGNED, ToolCall(f"c{number}", "read", {})), result(f"c{number}")]
        assert writer.body(Context("S", history, TOOLS), StreamOptions(), {}).startswith(one.removesuffix(b"]}"))


@pytest.mark.asyncio
async def test_the_request(loopback: Loopback) -> None:
    await answer(loopback, sse({"type": "response.completed", "response": {}}), api="openai-responses")
    (seen,) = loopback.requests
    assert seen.path == "/v1/responses"
    assert seen.headers["authorization"] == "Bearer sk-planted-secret-0123456789"
    assert seen.json["store"] is False


@pytest.mark.asyncio
async def test_owners_of_the_environment(loopback: Loopback) -> None:
    loopback.reply(sse({"type": "response.completed", "response": {}}))
    environ = {"OPENAI_API_KEY": "k", "OPENAI_ORG_ID": "org", "OPENAI_PROJECT_ID": "proj"}
    models = ModelRegistry({"openai": ProviderSettings(base_url=f"{loopback.url}/v1/")}, environ=environ)
    await ask(models, ref="openai/gpt-6")
    await models.aclose()
    (seen,) = loopback.requests
    assert (seen.path, seen.headers["authorization"]) == ("/v1/responses", "Bearer k")
    assert (seen.headers["openai-organization"], seen.headers["openai-project"]) == ("org", "proj")


def test_these_wires_import_no_sdk() -> None:
    code = """
import asyncio, sys
from koda_daemon.ai.providers import ProviderConfig
from koda_daemon.ai.registry import ModelRegistry
from koda_daemon.ai.wire.copilot import GitHubCopilot

keys = ("OPENAI_API_KEY", "GEMINI_API_KEY", "AZURE_OPENAI_API_KEY", "AWS_BEARER_TOKEN_BEDROCK")
models = ModelRegistry({}, environ=dict.fromkeys(keys, "k") | {"AZURE_OPENAI_ENDPOINT": "https://r.example"})

async def warm() -> None:
    for ref in ("openai/m", "google/m", "azure-openai/m", "bedrock/m"):
        await models.warm(ref)
    await models.aclose()
    copilot = GitHubCopilot(ProviderConfig(id="c", name="C", api="c", base_url="http://127.0.0.1:9", api_key="k"))
    await copilot.warm()
    await copilot.aclose()

asyncio.run(warm())
print(*{"openai", "anthropic", "google", "botocore", "pydantic"} & set(sys.modules))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_what_a_chatgpt_plan_pays_for() -> None:
    """Without what its rules refuse, instructions from a developer, functions in a namespace."""
    refused = {"temperature": 0.2, "user": "u", "metadata": {}, "truncation": "auto", "store": True, "stream": False}
    body = request(
        user("Hi"),
        assistant(ToolCall("c", "read", {"path": "a"})),
        result("c"),
        compat=Compat(plan_usage=True, cache_key=True),
        system="Be brief.",
        tools=TOOLS,
        extra=refused | {"service_tier": "priority"},
        max_tokens=4096,
        cache_key="s",
        effort="low",
    )
    fields = {"model", "stream", "store", "include", "prompt_cache_key", "reasoning", "service_tier", "tools", "input"}
    assert body.keys() == fields
    assert (body["store"], body["stream"]) == (False, True)
    [tools] = body["tools"]
    assert (tools["type"], tools["name"], bool(tools["description"])) == ("namespace", "koda", True)
    assert [(tool["type"], tool["name"]) for tool in tools["tools"]] == [("function", "read"), ("function", "ls")]
    first, _, call, output = body["input"]
    assert first == {"role": "developer", "content": "Be brief."}
    assert (call["name"], call["namespace"]) == ("read", "koda")
    assert output["type"] == "function_call_output"
