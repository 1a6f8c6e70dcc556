from __future__ import annotations

from typing import Any

import pytest

from koda_daemon.ai.messages import TextBlock, ThinkingBlock, ToolCall, Usage
from koda_daemon.ai.registry import ModelRegistry
from koda_daemon.ai.settings import ModelSettings, PriceSettings, ProviderSettings
from tests.ai.conftest import Loopback
from tests.ai.wire.streams import answer, ask, failure, message, registry, sse

pytestmark = pytest.mark.asyncio
API = "anthropic-messages"
BEGIN = {"type": "message_start", "message": {"usage": {"input_tokens": 7, "cache_read_input_tokens": 3}}}
STOP = {"type": "message_stop"}


def start(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}}


def piece(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": f"{kind}_delta", **fields}}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def end(reason: str, **usage: int) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


def text(index: int, *pieces: str) -> list[dict[str, Any]]:
    return [start(index, "text", text=""), *(piece(index, "text", text=one) for one in pieces), stop(index)]


async def test_text_and_usage(loopback: Loopback) -> None:
    events = [BEGIN, *text(0, "Hel", "lo"), {"type": "ping"}, end("end_turn", output_tokens=5), STOP]
    found = message(await answer(loopback, sse(*events), api=API))
    assert found.content == (TextBlock("Hello"),)
    assert (found.stop_reason, found.api) == ("end", API)
    assert found.usage == Usage(input=7, output=5, cache_read=3)


async def test_the_request_to_a_server_that_copies_the_api(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "x-leak: yes")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "other-secret")
    await answer(loopback, sse(BEGIN, end("end_turn"), STOP), api=API)
    (request,) = loopback.requests
    assert request.path == "/v1/messages"
    assert request.headers["x-api-key"] == "sk-planted-secret-0123456789"
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert not {"x-leak", "authorization"} & request.headers.keys()


async def test_a_base_url_that_ends_in_v1(loopback: Loopback) -> None:
    loopback.reply(sse(BEGIN, end("end_turn"), STOP))
    models = registry(loopback, API, base_url=f"{loopback.url}/anthropic/v1")
    await ask(models)
    await models.aclose()
    assert loopback.requests[0].path == "/anthropic/v1/messages"


async def test_thinking_keeps_its_signature(loopback: Loopback) -> None:
    events = [
        BEGIN,
        start(0, "thinking", thinking="", signature=""),
        piece(0, "thinking", thinking="Hm."),
        piece(0, "signature", signature="s1"),
        piece(0, "signature", signature="s2"),
        stop(0),
        start(1, "redacted_thinking", data="zzz"),
        stop(1),
        start(2, "thinking", thinking=""),  # its text is withheld
        piece(2, "signature", signature="s3"),
        stop(2),
        *text(3, "Yes"),
        end("end_turn"),
        STOP,
    ]
    assert message(await answer(loopback, sse(*events), api=API)).content == (
        ThinkingBlock("Hm.", "s1s2"),
        ThinkingBlock("", "zzz", redacted=True),
        ThinkingBlock("", "s3"),
        TextBlock("Yes"),
    )


async def test_calls(loopback: Loopback) -> None:
    events = [
        BEGIN,
        start(0, "tool_use", id="a", name="read", input={}),
        piece(0, "input_json", partial_json='{"x"'),
        piece(0, "input_json", partial_json=":1}"),
        stop(0),
        start(1, "tool_use", id="b", name="ls", input={}),
        stop(1),
        start(2, "tool_use", id="c", name="ls", input={"path": "."}),  # whole at once, as some servers do
        stop(2),
        end("tool_use"),
        STOP,
    ]
    found = message(await answer(loopback, sse(*events), api=API))
    assert found.stop_reason == "toolUse"
    assert found.tool_calls == [
        ToolCall("a", "read", {"x": 1}),
        ToolCall("b", "ls", {}),
        ToolCall("c", "ls", {"path": "."}),
    ]


async def test_a_call_cut_by_the_limit(loopback: Loopback) -> None:
    for cut in ('{"x": "y', ""):
        events = [BEGIN, start(0, "tool_use", id="a", name="read", input={}), piece(0, "input_json", partial_json=cut)]
        found = message(await answer(loopback, sse(*events, end("max_tokens"), STOP), api=API))
        assert found.stop_reason == "length"
        assert found.tool_calls[0].arguments_error == "The arguments were cut off."


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("stop_sequence", "end"), ("refusal", "refusal"), ("pause_turn", "pause"), ("something_new", "end")],
)
async def test_stop_reasons(loopback: Loopback, reason: str, expected: str) -> None:
    assert message(await answer(loopback, sse(BEGIN, end(reason), STOP), api=API)).stop_reason == expected


async def test_without_message_stop_the_answer_is_cut(loopback: Loopback) -> None:
    for events in ([BEGIN, *text(0, "half an ")], [BEGIN, *text(0, "half an "), end("end_turn")]):
        error = failure(await answer(loopback, sse(*events), api=API))
        assert error.error.retryable
        assert error.partial is not None
        assert error.partial.text == "half an "


async def test_unknown_events_blocks_and_tools_of_the_provider_are_left_out(loopback: Loopback) -> None:
    events = [
        BEGIN,
        {"type": "brand_new", "index": 0, "delta": {"text": "no"}},
        start(0, "server_tool_use", id="s", name="web_search", input={}),
        piece(0, "input_json", partial_json='{"query":"x"}'),
        stop(0),
        start(1, "web_search_tool_result", content=[]),
        stop(1),
        piece(2, "brand_new", text="?"),
        *text(3, "Found."),
        b'{"broken": tru',
        end("end_turn"),
        STOP,
    ]
    found = message(await answer(loopback, sse(*events), api=API))
    assert found.content == (TextBlock("Found."),)


async def test_a_block_whose_start_was_lost(loopback: Loopback) -> None:
    events = [BEGIN, piece(0, "text", text="x"), stop(0), end("end_turn"), STOP]
    assert message(await answer(loopback, sse(*events), api=API)).text == "x"


@pytest.mark.parametrize(
    ("type_", "kind", "retryable"),
    [
        ("overloaded_error", "provider.overloaded", True),
        ("api_error", "provider.overloaded", True),
        ("rate_limit_error", "rate.limited", True),
        ("authentication_error", "auth.required", False),
        ("invalid_request_error", "internal", False),
    ],
)
async def test_error_events(loopback: Loopback, type_: str, kind: str, retryable: bool) -> None:
    event = {"type": "error", "error": {"type": type_, "message": "Something"}}
    error = failure(await answer(loopback, sse(BEGIN, *text(0, "x"), event), api=API))
    assert (error.error.kind, error.error.retryable) == (kind, retryable)
    assert error.partial is not None


async def test_later_counts_replace_earlier_ones(loopback: Loopback) -> None:
    final = end("end_turn", input_tokens=9, output_tokens=5, cache_creation_input_tokens=2)
    final["usage"]["output_tokens_details"] = {"thinking_tokens": 4}
    found = message(await answer(loopback, sse(BEGIN, *text(0, "x"), final, STOP), api=API))
    assert found.usage == Usage(input=9, output=5, cache_read=3, cache_write=2, reasoning=4)


async def test_cache_entries_that_live_an_hour_cost_more(loopback: Loopback) -> None:
    written = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 1_000_000}
    usage = {"input_tokens": 0, "cache_creation_input_tokens": 1_000_000, "cache_creation": written}
    loopback.reply(sse({"type": "message_start", "message": {"usage": usage}}, *text(0, "x"), end("end_turn"), STOP))
    row = ModelSettings(id="m", prices=PriceSettings(input=3, output=15, cache_write=3.75, cache_write_1h=6))
    own = ProviderSettings(api=API, base_url=loopback.url, models=[row])
    models = ModelRegistry({"lab": own}, environ={})
    found = message(await ask(models))
    await models.aclose()
    assert found.usage.cost.total == 6
