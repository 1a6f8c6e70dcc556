from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from koda_daemon.ai.events import Start, TextDelta
from koda_daemon.ai.messages import TextBlock, ThinkingBlock, ToolCall, Usage
from koda_daemon.ai.provider import StreamOptions
from tests.ai.conftest import RESET, Loopback, Reply
from tests.ai.wire.streams import DONE, HELLO, answer, ask, call, delta, failure, message, registry, sse

pytestmark = pytest.mark.asyncio


async def test_text_and_usage(loopback: Loopback) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
    events = await answer(
        loopback,
        sse(delta(role="assistant", content=""), delta(content="Hel"), delta(content="lo"), delta("stop")),
        sse({"choices": [], "usage": usage}, DONE),
    )
    found = message(events)
    assert found.content == (TextBlock("Hello"),)
    assert (found.stop_reason, found.model, found.api) == ("end", "lab/m", "openai-completions")
    assert found.usage == Usage(input=6, output=3, cache_read=4)
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Hel", "lo"]


async def test_the_request(loopback: Loopback) -> None:
    await answer(loopback, sse(delta("stop", content="x"), DONE))
    (request,) = loopback.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer sk-planted-secret-0123456789"
    assert not any(name.startswith("x-stainless") for name in request.headers)
    assert list(request.json) == ["model", "stream", "stream_options", "tools", "messages"]


@pytest.mark.parametrize("end", [[], [DONE]], ids=["no end marker", "end marker"])
async def test_without_finish_reason_the_answer_is_cut(loopback: Loopback, end: list[bytes]) -> None:
    error = failure(await answer(loopback, sse(delta(content="half an "), *end)))
    assert error.error.retryable
    assert error.partial is not None
    assert error.partial.text == "half an "
    assert error.partial.stop_reason == "error"


async def test_a_finish_reason_without_end_marker_is_an_end(loopback: Loopback) -> None:
    assert message(await answer(loopback, sse(delta("stop", content="x")))).text == "x"


async def test_whole_calls_with_accounting_need_no_finish_reason(loopback: Loopback) -> None:
    whole = delta(tool_calls=[call(0, "0", "read", "{}")])
    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    assert message(await answer(loopback, sse(whole, usage, DONE))).stop_reason == "toolUse"
    failure(await answer(loopback, sse(whole, DONE)))
    failure(await answer(loopback, sse(delta(tool_calls=[call(0, "0", "read", '{"pa')]), usage, DONE)))


async def test_broken_connection(loopback: Loopback) -> None:
    error = failure(await answer(loopback, sse(delta(content="x")), RESET))
    assert (error.error.kind, error.error.retryable) == ("provider.unreachable", True)


async def test_nobody_listens(loopback: Loopback) -> None:
    models = registry(loopback, base_url="http://127.0.0.1:9/v1")
    error = failure(await ask(models))
    await models.aclose()
    assert (error.error.kind, error.partial) == ("provider.unreachable", None)


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"base_url": "http://127.0.0.1:port/v1"}, "providers.lab.baseUrl"),
        ({"base_url": "127.0.0.1:8080/v1"}, "providers.lab.baseUrl"),
        ({"base_url": "ftp://127.0.0.1/v1"}, "providers.lab.baseUrl"),
        ({"headers": {"x-name": "\u20ac"}}, "providers.lab"),
        ({"options": {"readTimeout": 0}}, "providers.lab.options.readTimeout"),
    ],
)
async def test_settings_that_cannot_work(loopback: Loopback, settings: dict[str, Any], path: str) -> None:
    models = registry(loopback, **settings)
    error = failure(await ask(models)).error
    await models.aclose()
    assert (error.kind, error.path) == ("params.invalid", path)


async def test_malformed_events_are_skipped(loopback: Loopback) -> None:
    body = sse(delta(content="a"), b'{"broken": tru', b"[1", delta(content="b"), b"", delta("stop"), DONE)
    assert message(await answer(loopback, body)).text == "ab"


async def test_error_events(loopback: Loopback) -> None:
    error = {"error": {"message": "Overloaded", "type": "server_error"}}
    for body in (sse(delta(content="a"), error), b"event: error\n" + sse(error)):
        assert failure(await answer(loopback, body)).error.kind == "provider.overloaded"


async def test_finish_reason_error_is_no_answer(loopback: Loopback) -> None:
    assert failure(await answer(loopback, sse(delta("error", content="a"), DONE))).error.retryable


async def test_length_marks_unfinished_calls(loopback: Loopback) -> None:
    body = sse(
        delta(tool_calls=[call(0, "a", "read", '{"path":"x"}')]),
        delta(tool_calls=[call(1, "b", "read", '{"path":"y')]),
        delta("length"),
        DONE,
    )
    found = message(await answer(loopback, body))
    whole, cut = found.tool_calls
    assert found.stop_reason == "length"
    assert (whole.arguments, whole.arguments_error) == ({"path": "x"}, None)
    assert (cut.arguments, cut.arguments_error) == ({}, "The arguments were cut off.")


@pytest.mark.parametrize(
    ("arguments", "parsed", "problem"),
    [
        ("", {}, None),
        ("{}", {}, None),
        ('{"path": "a', {}, "The arguments are not valid JSON."),
        ("[1]", {}, "The arguments are not a JSON object."),
        ('"{}"', {}, "The arguments are not a JSON object."),
        ('{"a": NaN}', {}, "The arguments are not valid JSON."),
        ('{"text": "two\nlines"}', {"text": "two\nlines"}, None),
    ],
)
async def test_arguments(loopback: Loopback, arguments: str, parsed: object, problem: str | None) -> None:
    body = sse(delta(tool_calls=[call(0, "a", "read", arguments)]), delta("tool_calls"), DONE)
    (found,) = message(await answer(loopback, body)).tool_calls
    assert (found.arguments, found.arguments_error) == (parsed, problem)


async def calls_of(loopback: Loopback, *deltas: list[dict[str, object]]) -> list[ToolCall]:
    body = sse(*(delta(tool_calls=one) for one in deltas), delta("tool_calls"), DONE)
    return message(await answer(loopback, body)).tool_calls


async def test_interleaved_calls(loopback: Loopback) -> None:
    found = await calls_of(
        loopback,
        [call(0, "a", "read"), call(1, "b", "read")],
        [call(0, arguments='{"x"'), call(1, arguments='{"y"')],
        [call(1, arguments=":2}"), call(0, arguments=":1}")],
    )
    assert [(c.call_id, c.arguments) for c in found] == [("a", {"x": 1}), ("b", {"y": 2})]


async def test_several_calls_under_one_index(loopback: Loopback) -> None:
    found = await calls_of(loopback, [call(0, "a", "read", '{"x":1}')], [call(0, "b", "read", '{"x":2}')])
    assert [(c.call_id, c.arguments) for c in found] == [("a", {"x": 1}), ("b", {"x": 2})]


async def test_an_id_or_index_that_changes_within_a_call(loopback: Loopback) -> None:
    found = await calls_of(
        loopback,
        [call(0, "a", "read", '{"x"')],
        [call(0, "other", arguments=":")],
        [call(3, "a", arguments="1")],
        [call(7, arguments="}")],
    )
    assert [(c.call_id, c.arguments) for c in found] == [("a", {"x": 1})]


async def test_calls_without_index_or_id(loopback: Loopback) -> None:
    found = await calls_of(loopback, [call(None, "a", "read", '{"x":')], [call(None, arguments="1}")])
    assert [(c.call_id, c.arguments) for c in found] == [("a", {"x": 1})]
    (one,) = await calls_of(loopback, [call(0, None, "read", "{}")])
    assert one.call_id.startswith("call_")


async def test_calls_that_share_an_id_become_two(loopback: Loopback) -> None:
    found = await calls_of(loopback, [call(0, "0", "read", '{"x":1}')], [call(1, "0", "read", '{"x":2}')])
    assert [c.arguments for c in found] == [{"x": 1}, {"x": 2}]
    assert found[0].call_id == "0" != found[1].call_id


async def test_a_name_that_comes_late_or_again(loopback: Loopback) -> None:
    found = await calls_of(
        loopback, [call(0, "a", None, '{"x":')], [call(0, "a", "read", "1")], [call(0, "a", "read", "}")]
    )
    assert [(c.tool, c.arguments) for c in found] == [("read", {"x": 1})]


async def test_arguments_as_an_object(loopback: Loopback) -> None:
    piece = {"index": 0, "id": "a", "function": {"name": "read", "arguments": {"x": 1}}}
    assert (await calls_of(loopback, [piece]))[0].arguments == {"x": 1}


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_reasoning(loopback: Loopback, name: str) -> None:
    body = sse(delta(**{name: "Hm"}), delta(**{name: "."}), delta(content="Yes"), delta("stop"), DONE)
    assert message(await answer(loopback, body)).content == (ThinkingBlock("Hm."), TextBlock("Yes"))


async def test_reasoning_in_the_chunk_that_begins_the_text(loopback: Loopback) -> None:
    body = sse(delta(reasoning="Hm.", content="Yes"), delta("stop"), DONE)
    assert message(await answer(loopback, body)).content == (ThinkingBlock("Hm."), TextBlock("Yes"))


async def test_reasoning_details_are_joined_and_kept(loopback: Loopback) -> None:
    def detail(**fields: object) -> dict[str, object]:
        return {"type": "reasoning.text", "index": 0, "format": "f", **fields}

    body = sse(
        delta(reasoning="H", reasoning_details=[detail(text="H")]),
        delta(reasoning="m", reasoning_details=[detail(text="m")]),
        delta(reasoning_details=[detail(signature="s")]),
        delta(content="Yes", reasoning_details=[]),
        delta("stop"),
        DONE,
    )
    thinking, text = message(await answer(loopback, body)).content
    assert isinstance(thinking, ThinkingBlock)
    assert (thinking.text, text) == ("Hm", TextBlock("Yes"))
    assert msgspec.json.decode(thinking.signature or "") == [detail(text="Hm", signature="s")]


async def test_encrypted_reasoning_alone(loopback: Loopback) -> None:
    detail = {"type": "reasoning.encrypted", "data": "zzz", "index": 0}
    body = sse(delta(reasoning_details=[detail]), delta("stop", content="Yes"), DONE)
    kept = [b for b in message(await answer(loopback, body)).content if isinstance(b, ThinkingBlock)]
    assert [(b.text, b.redacted) for b in kept] == [("", True)]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 5, "prompt_cache_hit_tokens": 4}, Usage(5, 5, 4)),
        ({"prompt_tokens": 9, "completion_tokens": 5, "cached_tokens": 4}, Usage(5, 5, 4)),
        (
            {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cache_write_tokens": 2}},
            Usage(7, 5, 0, 2),
        ),
        (
            # xAI counts reasoning beside the completion
            {
                "prompt_tokens": 9,
                "completion_tokens": 5,
                "total_tokens": 17,
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            Usage(9, 8, 0, 0, 3),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 5,
                "total_tokens": 14,
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            Usage(9, 5, 0, 0, 3),
        ),
        ({"prompt_tokens": None, "completion_tokens": "many"}, Usage()),
    ],
)
async def test_usage_spellings(loopback: Loopback, usage: object, expected: Usage) -> None:
    body = sse(delta("stop", content="x"), {"choices": [], "usage": usage}, DONE)
    assert message(await answer(loopback, body)).usage == expected


async def test_usage_in_odd_places(loopback: Loopback) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    in_choice = delta("stop", content="x")
    in_choice["choices"][0]["usage"] = usage
    groq = {"x_groq": {"usage": usage}}
    for chunk in (in_choice, {"choices": [], **groq}, delta("stop") | groq):
        body = sse(delta("stop", content="x"), chunk, DONE)
        assert message(await answer(loopback, body)).usage == Usage(1, 2)


async def test_usage_in_its_own_place_tells_more(loopback: Loopback) -> None:
    plain = {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}
    last = delta("stop", content="x") | {"x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}}
    for chunks in ([last, {"choices": [], "usage": plain}], [{"choices": [], "usage": plain}, last]):
        assert message(await answer(loopback, sse(*chunks, DONE))).usage == Usage(2, 2, 1)


async def test_reported_cost_wins(loopback: Loopback) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "cost": 0.25}
    body = sse(delta("stop", content="x"), {"choices": [], "usage": usage}, DONE)
    assert message(await answer(loopback, body)).usage.cost.total == 0.25


@pytest.mark.parametrize(
    ("more", "total"),
    [
        ({"is_byok": True}, 0.3),
        ({"is_byok": False}, 0.1),
        ({}, 0.1),
        ({"is_byok": True, "cost_details": {"upstream_inference_cost": None}}, 0.1),
        ({"is_byok": True, "cost": 0}, 0.2),
    ],
)
async def test_what_the_users_own_key_pays_upstream_is_added(
    loopback: Loopback, more: dict[str, Any], total: float
) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "cost": 0.1}
    usage |= {"cost_details": {"upstream_inference_cost": 0.2}} | more
    body = sse(delta("stop", content="x"), {"choices": [], "usage": usage}, DONE)
    assert message(await answer(loopback, body)).usage.cost.total == total


async def test_a_refusal(loopback: Loopback) -> None:
    body = sse(delta(refusal="I cannot"), delta("stop", refusal=" do that."), DONE)
    found = message(await answer(loopback, body))
    assert (found.text, found.stop_reason) == ("I cannot do that.", "refusal")


async def test_an_answer_that_is_not_streamed(loopback: Loopback) -> None:
    said = {"content": "Hi", "tool_calls": [call(None, "a", "read", "{}")]}
    whole = {"choices": [{"message": said, "finish_reason": "tool_calls"}]}
    loopback.reply(msgspec.json.encode(whole), content_type="application/json")
    models = registry(loopback)
    found = message(await ask(models))
    await models.aclose()
    assert (found.text, found.stop_reason, len(found.tool_calls)) == ("Hi", "toolUse", 1)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"message": "prompt is too long", "code": 400}, "context.overflow"),
        ({"detail": "The model is overloaded"}, "provider.overloaded"),
    ],
)
async def test_an_error_that_is_not_called_one(loopback: Loopback, said: dict[str, Any], kind: str) -> None:
    loopback.reply(b"event: error\n" + sse(said))
    loopback.reply(sse({"message": "All is well"}, delta(content="Hi"), delta("stop"), DONE))
    models = registry(loopback)
    assert failure(await ask(models)).error.kind == kind
    assert message(await ask(models)).text == "Hi"
    await models.aclose()


async def test_a_web_page_is_no_answer(loopback: Loopback) -> None:
    loopback.reply(b"<html>Sign in to the network</html>", content_type="text/html; charset=utf-8")
    models = registry(loopback)
    error = failure(await ask(models)).error
    await models.aclose()
    assert (error.kind, error.retryable) == ("provider.unreachable", False)


async def test_a_refused_request_names_no_key(loopback: Loopback) -> None:
    body = b'{"error": {"message": "Bad sk-planted-secret-0123456789 here", "type": "invalid_request_error"}}'
    loopback.reply(body, status=400, content_type="application/json")
    models = registry(loopback)
    error = failure(await ask(models)).error
    await models.aclose()
    assert error.message == "lab rejected the request (HTTP 400): Bad *** here"


async def test_silence_is_given_up(loopback: Loopback) -> None:
    loopback.replies.append(Reply([sse(delta(content="x"))], open_end=True))
    models = registry(loopback, options={"readTimeout": 0.05})
    error = failure(await ask(models))
    await models.aclose()
    assert error.error.message == "lab sent nothing for 0.05 s."
    assert error.partial is not None


async def test_connections_are_reused_and_freed(loopback: Loopback) -> None:
    loopback.reply(sse(delta("stop", content="x"), DONE))
    models = registry(loopback)
    for _ in range(3):
        message(await ask(models))
    assert loopback.connections == 1
    await models.aclose()


async def test_leaving_early_closes_the_connection(loopback: Loopback) -> None:
    loopback.replies.append(Reply([sse(delta(content="x"))], open_end=True))
    models = registry(loopback)
    async with models.stream(models.model("lab/m"), HELLO, StreamOptions()) as stream:
        assert await anext(aiter(stream)) == Start()
    await models.aclose()


async def test_cancelling_ends_the_request(loopback: Loopback) -> None:
    loopback.replies.append(Reply([sse(delta(content="x"))], open_end=True))
    models = registry(loopback)
    task = asyncio.create_task(ask(models))
    await loopback.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await models.aclose()
