"""Opaque data in chat completions: what a server gave beside reasoning and calls goes back to its own model only."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from koda_daemon.ai.messages import ToolCall
from koda_daemon.ai.provider import Context, Model, StreamOptions
from koda_daemon.ai.providers import Compat, ProviderConfig
from koda_daemon.ai.wire.google_request import UNSIGNED
from koda_daemon.ai.wire.openai_completions import OpenAICompletions
from tests.ai.conftest import Loopback
from tests.ai.wire.streams import DONE, answer, call, delta, message, sse
from tests.ai.wire.test_requests import assistant, chat, result, user

LAB = Model(provider="lab", id="m", api="openai-completions")


@pytest.mark.parametrize("told", ["Hm.", ""])
@pytest.mark.asyncio
async def test_opaque_reasoning_goes_back_as_it_came(loopback: Loopback, told: str) -> None:
    # GitHub Copilot sends it beside the calls; with text of the reasoning or without.
    first = delta(reasoning_text=told) if told else delta(content="")
    calls = delta(tool_calls=[call(0, "c", "read", "{}")], reasoning_opaque="sPs/+=")
    made = message(await answer(loopback, sse(first, calls, delta("tool_calls"), DONE)))
    assert made.tool_calls[0].call_id == "c"
    turn = {"reasoning_opaque": "sPs/+="} | ({"reasoning_text": told} if told else {})
    sent = chat(user("x"), made, result("c"), model=LAB)["messages"][1]
    assert {key: value for key, value in sent.items() if key.startswith("reasoning")} == turn
    sent = chat(user("x"), made, result("c"))["messages"][1]
    assert not any(key.startswith("reasoning") for key in sent)


@pytest.mark.asyncio
async def test_signatures_of_geminis_calls(loopback: Loopback) -> None:
    # ai.google.dev, "OpenAI compatibility" and "Thought signatures": on the first of parallel calls.
    signed = {"google": {"thought_signature": "c2ln"}}
    first = call(0, "a", "read", "{}") | {"extra_content": signed}
    body = sse(delta(tool_calls=[first, call(1, "b", "read", "{}")]), delta("tool_calls"), DONE)
    made = message(await answer(loopback, body))

    def extras(**options: Any) -> list[Any]:
        sent = chat(user("x"), made, result("a"), result("b"), **options)["messages"][1]
        return [one.get("extra_content") for one in sent["tool_calls"]]

    google = Compat(thought_signatures=True)
    unsigned = {"google": {"thought_signature": UNSIGNED}}
    assert extras(model=LAB) == extras(model=LAB, compat=google) == [signed, None]
    assert extras() == [None, None]
    assert extras(compat=google) == [unsigned, None]
    assert extras(model=replace(LAB, id="gemini-2.5-pro"), compat=google) == [None, None]


@pytest.mark.parametrize(
    ("base_url", "google"),
    [
        ("https://generativelanguage.googleapis.com/v1beta/openai", True),
        ("https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/l/endpoints/openapi", True),
        ("https://googleapis.com.example.test/v1", False),
        ("https://openrouter.ai/api/v1", False),
    ],
)
def test_google_is_known_by_its_address(base_url: str, google: bool) -> None:
    provider = OpenAICompletions(ProviderConfig(id="g", name="G", api="openai-completions", base_url=base_url))
    body = provider.writer(LAB).body(
        Context("", (user("x"), assistant(ToolCall("c", "read", {})), result("c"))), StreamOptions(), {}
    )
    assert (UNSIGNED.encode() in body) == google
