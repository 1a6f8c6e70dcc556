"""Answers of Gemini, in hand-made streams, and where its requests go."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import msgspec
import pytest

from koda_daemon.ai.events import Done, StreamError, TextDelta
from koda_daemon.ai.messages import AssistantMessage, TextBlock, ThinkingBlock, ToolCall, Usage
from koda_daemon.ai.provider import StreamOptions
from koda_daemon.ai.providers import PROVIDERS, ProviderConfig, filled_in
from koda_daemon.ai.registry import ModelRegistry
from koda_daemon.ai.settings import ProviderSettings
from koda_daemon.ai.wire.google_generative_ai import GoogleGenerativeAI
from koda_daemon.base.errors import KodaError
from tests.ai.conftest import RESET, Loopback
from tests.ai.wire.streams import HELLO, answer, ask, failure, message, registry, sse

pytestmark = pytest.mark.asyncio

API = "google-generative-ai"
USAGE = {"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 2, "totalTokenCount": 12}


def chunk(*parts: dict[str, Any], finish: str | None = None, **fields: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], **fields}


def call(name: str = "read", args: Any = None, **fields: Any) -> dict[str, Any]:
    signature = {"thoughtSignature": fields.pop("signature")} if "signature" in fields else {}
    return {"functionCall": {"name": name, "args": {} if args is None else args, **fields}, **signature}


async def said(loopback: Loopback, *values: object) -> AssistantMessage:
    return message(await answer(loopback, sse(*values), api=API))


async def test_text_and_usage(loopback: Loopback) -> None:
    found = await said(loopback, chunk({"text": "Hel"}), chunk({"text": "lo"}, finish="STOP", usageMetadata=USAGE))
    assert found.content == (TextBlock("Hello"),)
    assert (found.stop_reason, found.api) == ("end", API)
    assert found.usage == Usage(input=6, output=2, cache_read=4)


async def test_the_request(loopback: Loopback) -> None:
    await said(loopback, chunk({"text": "x"}, finish="STOP"))
    (seen,) = loopback.requests
    assert seen.path == "/v1/models/m:streamGenerateContent?alt=sse"
    assert seen.headers["x-goog-api-key"] == "sk-planted-secret-0123456789"
    assert "authorization" not in seen.headers


async def test_thoughts_and_signatures(loopback: Loopback) -> None:
    found = await said(
        loopback,
        chunk({"text": "Hm", "thought": True}, {"text": ".", "thought": True}),
        chunk({"text": "Yes"}),
        chunk({"text": "", "thoughtSignature": "one"}),
        chunk({"text": "More", "thoughtSignature": "two"}, {"text": "!"}),
        chunk(call(signature="three"), finish="STOP"),
    )
    thinking, *texts, use = found.content
    assert thinking == ThinkingBlock("Hm.")
    assert texts == [TextBlock("Yes", "one"), TextBlock("More", "two"), TextBlock("!")]
    assert isinstance(use, ToolCall)
    assert (use.signature, found.stop_reason) == ("three", "toolUse")


async def test_a_signature_without_text_is_kept(loopback: Loopback) -> None:
    found = await said(
        loopback,
        chunk({"text": "Hm", "thought": True}),
        chunk({"text": "", "thoughtSignature": "s"}, {"text": "x"}, finish="STOP"),
    )
    assert found.content == (ThinkingBlock("Hm"), ThinkingBlock("", "s", redacted=True), TextBlock("x"))
    signed = chunk({"text": "Hm", "thought": True}, {"text": "", "thought": True, "thoughtSignature": "s"})
    assert (await said(loopback, signed, chunk({"text": "x"}, finish="STOP"))).content[0] == ThinkingBlock("Hm", "s")


async def test_calls_with_and_without_ids(loopback: Loopback) -> None:
    found = await said(
        loopback,
        chunk({"text": "I read."}, call(args={"path": "a"}), call(args={"path": "b"})),
        chunk(call("ls", id="fc_1"), call("ls", id="fc_1"), finish="STOP"),
    )
    calls = found.tool_calls
    assert [(one.tool, one.arguments) for one in calls][:2] == [("read", {"path": "a"}), ("read", {"path": "b"})]
    assert calls[2].call_id == "fc_1"
    assert len({one.call_id for one in calls}) == 4


async def test_arguments_that_are_no_object(loopback: Loopback) -> None:
    found = await said(loopback, chunk(call(args=[1]), {"functionCall": {"name": "ls"}}, finish="STOP"))
    assert [(one.arguments, bool(one.arguments_error)) for one in found.tool_calls] == [({}, True), ({}, False)]


@pytest.mark.parametrize(
    ("finish", "stop"),
    [("STOP", "end"), ("MAX_TOKENS", "length"), ("SAFETY", "refusal"), ("PROHIBITED_CONTENT", "refusal")],
)
async def test_finish_reasons(loopback: Loopback, finish: str, stop: str) -> None:
    assert (await said(loopback, chunk({"text": "x"}, finish=finish))).stop_reason == stop


@pytest.mark.parametrize("finish", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "OTHER", None])
async def test_what_is_no_end(loopback: Loopback, finish: str | None) -> None:
    error = failure(await answer(loopback, sse(chunk({"text": "half"}, finish=finish)), api=API))
    assert error.error.retryable
    assert (finish or "") in error.error.message
    assert error.partial is not None
    assert error.partial.text == "half"


async def test_a_prompt_that_is_blocked(loopback: Loopback) -> None:
    body = sse({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": USAGE})
    error = failure(await answer(loopback, body, api=API)).error
    assert (error.kind, error.retryable) == ("content.refused", False)
    assert "PROHIBITED_CONTENT" in error.message


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"promptTokenCount": 9, "candidatesTokenCount": 5, "thoughtsTokenCount": 3}, Usage(9, 8, 0, 0, 3)),
        (
            # thoughts are among the candidates already
            {"promptTokenCount": 9, "candidatesTokenCount": 5, "thoughtsTokenCount": 3, "totalTokenCount": 14},
            Usage(9, 5, 0, 0, 3),
        ),
        ({"promptTokenCount": 9, "toolUsePromptTokenCount": 2, "totalTokenCount": 11}, Usage(11)),
        ({"promptTokenCount": None, "candidatesTokenCount": "many"}, Usage()),
    ],
)
async def test_usage_spellings(loopback: Loopback, usage: dict[str, Any], expected: Usage) -> None:
    assert (await said(loopback, chunk({"text": "x"}, finish="STOP", usageMetadata=usage))).usage == expected


@pytest.mark.parametrize("array", [False, True])
async def test_errors_inside_the_answer(loopback: Loopback, array: bool) -> None:
    error = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    values = [chunk({"text": "half"}), error]
    body, kind = (msgspec.json.encode(values), "application/json") if array else (sse(*values), "text/event-stream")
    loopback.reply(body, content_type=kind)
    models = registry(loopback, API)
    found = failure(await ask(models))
    await models.aclose()
    assert (found.error.kind, found.error.retryable) == ("provider.overloaded", True)
    assert found.partial is not None
    assert found.partial.text == "half"


async def test_a_json_array_streams_and_keeps_what_came(loopback: Loopback) -> None:
    body = msgspec.json.encode([chunk({"text": 'a "[{\\'}), chunk({"text": "b"}, finish="STOP")])
    models = registry(loopback, API)
    loopback.reply(*(body[place : place + 1] for place in range(len(body))), content_type="application/json")
    assert message(await ask(models)).text == 'a "[{\\b'
    loopback.replies.clear()
    loopback.reply(body[:-20], RESET, content_type="application/json")
    cut = failure(await ask(models))
    loopback.replies.clear()
    loopback.reply(msgspec.json.encode(chunk({"text": "whole"}, finish="STOP")), content_type="application/json")
    assert message(await ask(models)).text == "whole"
    await models.aclose()
    assert cut.partial is not None
    assert cut.partial.text == 'a "[{\\'


async def test_limits_that_are_over_soon_are_rates(loopback: Loopback) -> None:
    def limited(quota: str) -> bytes:
        details = [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "27.5s"},
        ]
        text = "You exceeded your current quota, please check your plan and billing details."
        error = {"code": 429, "message": text, "status": "RESOURCE_EXHAUSTED", "details": details}
        return msgspec.json.encode([{"error": error}])

    errors = []
    for quota in ("GenerateRequestsPerMinutePerProject", "GenerateRequestsPerDayPerProject"):
        loopback.replies.clear()
        loopback.reply(limited(quota), status=429, content_type="application/json")
        models = registry(loopback, API)
        errors.append(failure(await ask(models)).error)
        await models.aclose()
    first, second = errors
    assert (first.kind, first.retry_after) == ("rate.limited", 27.5)
    assert (second.kind, second.retryable) == ("quota.exhausted", False)


async def test_a_wrong_key_is_named(loopback: Loopback) -> None:
    text = "API key not valid. Please pass a valid API key."
    body = msgspec.json.encode({"error": {"code": 400, "message": text, "status": "INVALID_ARGUMENT"}})
    loopback.reply(body, status=400, content_type="application/json")
    models = registry(loopback, API)
    assert failure(await ask(models)).error.kind == "auth.required"
    await models.aclose()


async def address(environ: dict[str, str], **settings: Any) -> tuple[str, dict[str, str]]:
    """Where a request of the Vertex row goes, and the headers that authorize it."""
    own = {"google-vertex": ProviderSettings(**settings)} if settings else {}
    models = ModelRegistry(own, environ=environ)
    provider = GoogleGenerativeAI(models.config("google-vertex"))
    await provider.warm()
    model = models.model("google-vertex/gemini-2.5-flash")
    url, headers = await provider.target(model, None, b"")  # type: ignore[arg-type] # the context does not matter here
    await provider.aclose()
    named = {name.decode(): value.decode() for name, value in headers}
    return str(url), {name: value for name, value in named.items() if name in ("authorization", "x-goog-api-key")}


async def test_vertex_with_a_key() -> None:
    url, headers = await address({"GOOGLE_CLOUD_API_KEY": "AQ.key"})
    end = "publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    assert url == f"https://aiplatform.googleapis.com/v1beta1/{end}"
    assert headers == {"x-goog-api-key": "AQ.key"}
    environ = {"GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_CLOUD_LOCATION": "europe-west1"}
    url, headers = await address(environ, api_key="ya29.token")
    place = "projects/p/locations/europe-west1"
    assert url == f"https://europe-west1-aiplatform.googleapis.com/v1beta1/{place}/{end}"
    assert headers == {"authorization": "Bearer ya29.token"}


async def test_vertex_with_default_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"GOOGLE_CLOUD_PROJECT": "p"}
    monkeypatch.setitem(sys.modules, "google.auth", None)
    with pytest.raises(KodaError) as caught:
        await address(environ)
    assert caught.value.kind == "auth.required"
    assert "google-auth" in (caught.value.user_action or "")
    with_google_auth(monkeypatch)
    url, headers = await address(environ)
    assert "/projects/p/locations/global/" in url
    assert headers == {"authorization": "Bearer token 1"}
    url, _ = await address({"GOOGLE_APPLICATION_CREDENTIALS": "/key.json"})
    assert "/projects/found/" in url


def with_google_auth(monkeypatch: pytest.MonkeyPatch) -> None:
    """The part of google-auth that is used, as its documentation has it; the package itself is no dependency."""

    class Credentials:
        valid = False
        token: str | None = None
        count = 0

        def refresh(self, request: object) -> None:
            assert callable(request)
            self.count += 1
            self.token, self.valid = f"token {self.count}", True

    def default(scopes: tuple[str, ...]) -> tuple[Credentials, str]:
        assert scopes == ("https://www.googleapis.com/auth/cloud-platform",)
        return Credentials(), "found"

    auth = ModuleType("google.auth")
    vars(auth)["default"] = default
    monkeypatch.setitem(sys.modules, "google", ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.auth", auth)


async def test_addresses_name_variables() -> None:
    assert filled_in("https://{A|B}/x/", {"B": "b"}) == ("https://b/x", None)
    assert filled_in("https://{A=c}/{B}", {"B": " "}) == ("", "B")
    assert filled_in("https://{A=c}", {}) == ("https://c", None)
    assert filled_in("https://plain", {}) == ("https://plain", None)
    models = ModelRegistry({}, environ={"AZURE_OPENAI_API_KEY": "k"})
    assert not models.available("azure-openai")
    async with models.stream(models.model("azure-openai/d"), None, None) as stream:  # type: ignore[arg-type]
        (event,) = [one async for one in stream]
    assert isinstance(event, StreamError)
    assert "AZURE_OPENAI_ENDPOINT" in (event.error.user_action or "")


async def test_the_bare_address_of_the_gemini_api(loopback: Loopback) -> None:
    loopback.reply(sse(chunk({"text": "x"}, finish="STOP")))
    row = PROVIDERS["google"]
    config = ProviderConfig(id="g", name="G", api=row.api, base_url=loopback.url, api_key="k")
    provider = GoogleGenerativeAI(config)
    model = ModelRegistry({}, environ={}).model("google/models/gemini-2.5-flash")
    async with provider.stream(model, HELLO, StreamOptions()) as stream:
        events = [event async for event in stream]
    await provider.aclose()
    assert isinstance(events[-1], Done)
    assert loopback.requests[0].path == "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"


async def test_the_list_of_models(loopback: Loopback) -> None:
    gemini = {
        "name": "models/gemini-3-pro",
        "inputTokenLimit": 1_000,
        "supportedGenerationMethods": ["generateContent"],
    }
    loopback.reply(msgspec.json.encode({"models": [gemini]}), content_type="application/json")
    row = PROVIDERS["google"]
    config = ProviderConfig(id="g", name="G", api=row.api, base_url=loopback.url, api_key="k")
    provider = GoogleGenerativeAI(config)
    found = await provider.list_models()
    await provider.aclose()
    assert found is not None
    assert [(facts.id, facts.context_window) for facts in found] == [("gemini-3-pro", 1_000)]
    (seen,) = loopback.requests
    assert (seen.path, seen.headers["x-goog-api-key"]) == ("/v1beta/models?pageSize=1000", "k")
    vertex = GoogleGenerativeAI(ModelRegistry({}, environ={}).config("google-vertex"))
    assert await vertex.list_models() is None


async def test_what_was_counted_before_the_stream_broke_is_kept(loopback: Loopback) -> None:
    loopback.reply(sse(chunk({"text": "So"}, usageMetadata={"promptTokenCount": 7})), RESET)
    models = registry(loopback, API)
    async with models.stream(models.model("lab/m"), HELLO, StreamOptions()) as stream:
        async for event in stream:
            if isinstance(event, TextDelta):
                assert stream.spent.input == 7
        assert isinstance(event, StreamError)
        assert event.partial is not None
        assert event.partial.usage == stream.spent == Usage(input=7)
    await models.aclose()
