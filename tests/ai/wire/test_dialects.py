"""Shapes that few servers send, each seen in answers of real ones, over loopback HTTP through the provider code."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import msgspec
import pytest

from koda_daemon.ai.messages import TextBlock, ThinkingBlock, ToolCall, Usage
from tests.ai.conftest import Loopback
from tests.ai.wire.streams import DONE, answer, ask, delta, failure, message, registry, sse
from tests.ai.wire.test_google import chunk

pytestmark = pytest.mark.asyncio

CLAUDE, GEMINI, RESPONSES = "anthropic-messages", "google-generative-ai", "openai-responses"
CHAT = "openai-completions"
WHOLE: dict[str, dict[str, Any]] = {
    CHAT: {
        "choices": [{"index": 0, "message": {"content": "Whole."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    },
    CLAUDE: {
        "type": "message",
        "content": [{"type": "text", "text": "Whole."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 2},
    },
    GEMINI: chunk({"text": "Whole."}, finish="STOP", usageMetadata={"promptTokenCount": 3, "candidatesTokenCount": 2}),
    RESPONSES: {
        "object": "response",
        "status": "completed",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "Whole."}]}],
        "usage": {"input_tokens": 3, "output_tokens": 2},
    },
}
ERRORS: dict[str, dict[str, Any]] = {
    CHAT: {"error": {"message": "The engine is overloaded", "code": 503}},
    CLAUDE: {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    GEMINI: {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}},
    RESPONSES: {"error": {"code": "server_error", "message": "Overloaded."}},
}
STREAMED: dict[str, bytes] = {
    CHAT: sse(delta(content="Streamed."), delta("stop"), DONE),
    CLAUDE: sse(
        {"type": "message_start", "message": {"usage": {"input_tokens": 3}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Streamed."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ),
    GEMINI: sse(chunk({"text": "Streamed."}, finish="STOP")),
    RESPONSES: sse(
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Streamed."},
        {"type": "response.completed", "response": {"status": "completed"}},
    ),
}
KINDS = ["application/json", "application/json; charset=utf-8", "text/event-stream", "text/plain", ""]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("api", WHOLE)
async def test_a_document_instead_of_a_stream(loopback: Loopback, api: str, kind: str) -> None:
    models = registry(loopback, api)
    for document in (msgspec.json.encode(WHOLE[api]), b"\xef\xbb\xbf\r\n " + msgspec.json.encode(WHOLE[api]) + b"\n"):
        loopback.replies.clear()
        loopback.reply(document[:20], document[20:], content_type=kind)
        found = message(await ask(models))
        assert (found.text, found.stop_reason) == ("Whole.", "end")
        assert (found.usage.input, found.usage.output) == (3, 2)
    await models.aclose()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("api", ERRORS)
async def test_an_error_under_status_200(loopback: Loopback, api: str, kind: str) -> None:
    models = registry(loopback, api)
    for body in (msgspec.json.encode(ERRORS[api]), sse(ERRORS[api])):
        loopback.replies.clear()
        loopback.reply(body, content_type=kind)
        error = failure(await ask(models)).error
        assert (error.kind, error.retryable) == ("provider.overloaded", True)
    await models.aclose()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("api", STREAMED)
async def test_a_stream_under_any_name(loopback: Loopback, api: str, kind: str) -> None:
    models = registry(loopback, api)
    loopback.reply(b": hello\n\n" + STREAMED[api], content_type=kind)
    assert message(await ask(models)).text == "Streamed."
    await models.aclose()


@pytest.mark.parametrize("api", STREAMED)
async def test_content_codings_that_nobody_asked_for(loopback: Loopback, api: str) -> None:
    models = registry(loopback, api)
    for coding, body in (("gzip", gzip.compress(STREAMED[api])), ("deflate", zlib.compress(STREAMED[api]))):
        loopback.replies.clear()
        loopback.reply(body[:15], body[15:], content_encoding=coding)
        assert message(await ask(models)).text == "Streamed."
    await models.aclose()


@pytest.mark.parametrize("api", STREAMED)
@pytest.mark.parametrize("ending", [b"\r\n", b"\r"])
async def test_line_endings(loopback: Loopback, api: str, ending: bytes) -> None:
    body = b"\xef\xbb\xbfid: 1\nretry: 9\n" + STREAMED[api]
    assert message(await answer(loopback, body.replace(b"\n", ending), api=api)).text == "Streamed."


@pytest.mark.parametrize("api", STREAMED)
async def test_data_over_several_lines(loopback: Loopback, api: str) -> None:
    lines = [line for line in STREAMED[api].split(b"\n\n") if line]
    body = b"".join(line.replace(b',"', b',\ndata: "') + b"\n\n" for line in lines)
    assert message(await answer(loopback, body, api=api)).text == "Streamed."


async def test_the_one_call_of_old_servers(loopback: Loopback) -> None:
    pieces = [{"name": "read", "arguments": ""}, {"arguments": '{"path":'}, {"arguments": '"x"}'}]
    body = sse(*(delta(function_call=piece) for piece in pieces), delta("function_call"), DONE)
    found = message(await answer(loopback, body))
    assert found.stop_reason == "toolUse"
    assert [(one.tool, one.arguments) for one in found.tool_calls] == [("read", {"path": "x"})]


async def test_reasoning_under_other_names(loopback: Loopback) -> None:
    details = [{"type": "reasoning.text", "index": 0, "text": "a"}, {"type": "reasoning.text", "index": 1, "text": "b"}]
    summary = [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "c"}]}]
    for given, expected in (
        ({"reasoning_text": "Hm."}, "Hm."),
        ({"reasoning_details": details}, "ab"),
        ({"content": summary}, "c"),
        ({"content": [{"type": "thinking", "thinking": "d"}]}, "d"),
    ):
        found = message(await answer(loopback, sse(delta(**given), delta("stop", content="x"), DONE)))
        assert isinstance(found.content[0], ThinkingBlock)
        assert (found.content[0].text, found.text) == (expected, "x")


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (
            {"choices": [{"index": 0, "error": {"code": 502, "message": "Gone"}, "finish_reason": "error"}]},
            "overloaded",
        ),
        ({"object": "error", "message": "maximum context length is 9 tokens", "code": 400}, "overflow"),
        ({"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, "exhausted"),
        ({"error": {"message": "x", "code": 429}, "choices": [], "usage": {"prompt_tokens": 7}}, "limited"),
    ],
)
async def test_errors_in_other_places(loopback: Loopback, event: dict[str, Any], kind: str) -> None:
    found = failure(await answer(loopback, sse(delta(content="Kept"), event)))
    assert found.error.kind.endswith(kind)
    assert found.partial is not None
    assert found.partial.text == "Kept"


async def test_choices_in_any_order(loopback: Loopback) -> None:
    two = {"choices": [{"index": 1, "delta": {"content": "no"}}, {"index": 0, "delta": {"content": "yes"}}]}
    assert message(await answer(loopback, sse(two, delta("stop"), DONE))).text == "yes"


async def test_a_full_window_is_a_length(loopback: Loopback) -> None:
    body = sse(delta("model_context_window_exceeded", content="x"), DONE)
    assert message(await answer(loopback, body)).stop_reason == "length"


async def test_calls_that_a_server_tool_left_in_the_start(loopback: Loopback) -> None:
    content = [
        {"type": "code_execution_tool_result", "tool_use_id": "s", "content": {"stdout": "x"}},
        {"type": "tool_use", "id": "t", "name": "read", "input": {"path": "x"}, "caller": {"type": "code_execution"}},
    ]
    begin = {"type": "message_start", "message": {"content": content, "stop_reason": "tool_use", "usage": {}}}
    found = message(await answer(loopback, sse(begin, {"type": "message_stop"}), api=CLAUDE))
    assert found.content == (ToolCall("t", "read", {"path": "x"}),)
    assert found.stop_reason == "toolUse"


def part(**fields: Any) -> dict[str, Any]:
    return chunk({"functionCall": fields})


def piece(path: str, go_on: bool = False, **value: Any) -> dict[str, Any]:
    return {"jsonPath": path, **value, **({"willContinue": True} if go_on else {})}


async def test_arguments_of_gemini_in_pieces(loopback: Loopback) -> None:
    values = [
        chunk({"functionCall": {"name": "write", "willContinue": True}, "thoughtSignature": "c2ln"}),
        part(partialArgs=[piece("$.files[0].name", True, stringValue="ma")], willContinue=True),
        part(partialArgs=[piece("$.files[0].name", True, stringValue="in.")], willContinue=True),
        part(partialArgs=[piece("$.files[0].name", stringValue="py")], willContinue=True),
        part(willContinue=True),
        part(partialArgs=[piece("$.files[1]['odd.key']", stringValue="")], willContinue=True),
        part(partialArgs=[piece("$.size", numberValue=0.5), piece("$.force", boolValue=True)], willContinue=True),
        part(partialArgs=[piece("$.rest", nullValue="NULL_VALUE")], willContinue=True),
        part(),
        part(name="list"),
        part(name="read", willContinue=True),
        part(partialArgs=[piece("$.path", stringValue="x")]),
        chunk({"text": ""}, finish="STOP", usageMetadata={"promptTokenCount": 9, "candidatesTokenCount": 2}),
        {"usageMetadata": {"trafficType": "ON_DEMAND"}},
    ]
    found = message(await answer(loopback, sse(*values), api=GEMINI))
    assert [(one.tool, one.arguments) for one in found.tool_calls] == [
        ("write", {"files": [{"name": "main.py"}, {"odd.key": ""}], "size": 0.5, "force": True, "rest": None}),
        ("list", {}),
        ("read", {"path": "x"}),
    ]
    assert found.tool_calls[0].signature == "c2ln"
    assert found.stop_reason == "toolUse"
    assert found.usage == Usage(input=9, output=2)


async def test_arguments_of_gemini_cut_off(loopback: Loopback) -> None:
    begun = [part(name="write", willContinue=True), part(partialArgs=[piece("$.a", True, stringValue="x")])]
    begun[1]["candidates"][0]["content"]["parts"][0]["functionCall"]["willContinue"] = True
    found = message(await answer(loopback, sse(*begun, chunk(finish="MAX_TOKENS")), api=GEMINI))
    assert (found.stop_reason, found.tool_calls[0].arguments_error) == ("length", "The arguments were cut off.")
    whole = message(await answer(loopback, sse(*begun, chunk(finish="STOP")), api=GEMINI))
    assert whole.tool_calls[0].arguments == {"a": "x"}


async def test_a_call_of_a_custom_tool_is_a_call(loopback: Loopback) -> None:
    item = {"type": "custom_tool_call", "id": "c", "call_id": "call_1", "name": "sql", "input": ""}
    done = {**item, "input": "SELECT 1"}
    values = [
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.custom_tool_call_input.delta", "output_index": 0, "delta": "SELECT "},
        {"type": "response.custom_tool_call_input.done", "output_index": 0, "input": "SELECT 1"},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        {"type": "response.completed", "response": {"status": "completed", "output": [done]}},
    ]
    found = message(await answer(loopback, sse(*values), api=RESPONSES))
    assert [(one.call_id, one.tool, bool(one.arguments_error)) for one in found.tool_calls] == [("call_1", "sql", True)]
    assert found.stop_reason == "toolUse"


async def test_text_before_an_error_stays(loopback: Loopback) -> None:
    for api, body in STREAMED.items():
        upto = body.index(b"\n\n", body.index(b"Streamed.")) + 2
        found = failure(await answer(loopback, body[:upto], sse(ERRORS[api]), api=api))
        assert found.partial is not None
        assert found.partial.content == (TextBlock("Streamed."),)


async def test_no_room_to_answer_is_an_overflow(loopback: Loopback) -> None:
    for usage, silent in (
        ({"prompt_tokens": 9, "completion_tokens": 0}, True),
        ({"completion_tokens": 5}, False),
        ({}, False),
    ):
        events = await answer(loopback, sse(delta("length", content=""), {"choices": [], "usage": usage}, DONE))
        if silent:
            assert (failure(events).error.kind, failure(events).error.retryable) == ("context.overflow", False)
        else:
            assert message(events).stop_reason == "length"


@pytest.mark.parametrize("api", [CHAT, CLAUDE])
async def test_a_full_window_without_a_word_is_an_overflow(loopback: Loopback, api: str) -> None:
    reason = "model_context_window_exceeded"
    events = [{"type": "message_start", "message": {"usage": {"input_tokens": 0, "output_tokens": 0}}}]
    events += [{"type": "message_delta", "delta": {"stop_reason": reason}}, {"type": "message_stop"}]
    body = sse(*events) if api == CLAUDE else sse(delta(reason), DONE)
    assert failure(await answer(loopback, body, api=api)).error.kind == "context.overflow"


@pytest.mark.parametrize("path", ["", "$", "a", "$.", "$[0]", "$.a[", "$.a[x]", "$.a[999999]", "$..a", "$" + ".a" * 99])
async def test_places_that_no_argument_has(loopback: Loopback, path: str) -> None:
    values = [
        part(name="read", willContinue=True),
        part(partialArgs=[piece(path, stringValue="no"), piece("$.path", stringValue="x")]),
        chunk(finish="STOP"),
    ]
    found = message(await answer(loopback, sse(*values), api=GEMINI))
    assert found.tool_calls[0].arguments.get("path") == "x"
    assert "no" not in str(found.tool_calls[0].arguments)
