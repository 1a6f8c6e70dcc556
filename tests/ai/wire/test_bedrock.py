"""Answers of Bedrock's Converse API in hand-made frames, and where its requests go."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import pytest

from koda_daemon.ai.events import StreamEvent
from koda_daemon.ai.messages import AssistantMessage, TextBlock, ThinkingBlock, ToolCall, Usage
from koda_daemon.ai.registry import ModelRegistry
from koda_daemon.ai.settings import ProviderSettings
from koda_daemon.ai.wire.bedrock_converse import BedrockConverse
from koda_daemon.base.errors import KodaError
from tests.ai.conftest import RESET, Loopback
from tests.ai.wire.frames import delta, event, frame, stop
from tests.ai.wire.streams import ask, failure, message, registry

pytestmark = pytest.mark.asyncio

API = "bedrock-converse"
KIND = "application/vnd.amazon.eventstream"


async def events_of(loopback: Loopback, *pieces: bytes, content_type: str = KIND) -> list[StreamEvent]:
    loopback.replies.clear()
    loopback.reply(*pieces, content_type=content_type)
    models = registry(loopback, API)
    try:
        return await ask(models)
    finally:
        await models.aclose()


async def said(loopback: Loopback, *pieces: bytes) -> AssistantMessage:
    return message(await events_of(loopback, b"".join(pieces)))


def start(index: int, **fields: Any) -> bytes:
    return event("contentBlockStart", contentBlockIndex=index, start=fields)


def end(index: int) -> bytes:
    return event("contentBlockStop", contentBlockIndex=index)


async def test_text_and_usage(loopback: Loopback) -> None:
    found = await said(
        loopback,
        event("messageStart", role="assistant"),
        delta(0, text="Hel"),
        delta(0, text="lo"),
        end(0),
        stop(inputTokens=5, outputTokens=3, cacheReadInputTokens=7, cacheWriteInputTokens=2),
    )
    assert found.content == (TextBlock("Hello"),)
    assert (found.stop_reason, found.api) == ("end", API)
    assert found.usage == Usage(5, 3, 7, 2)


async def test_frames_in_pieces(loopback: Loopback) -> None:
    body = delta(0, text="é") + delta(0, text="!") + stop()
    found = message(await events_of(loopback, *(body[place : place + 3] for place in range(0, len(body), 3))))
    assert found.text == "é!"


async def test_calls(loopback: Loopback) -> None:
    found = await said(
        loopback,
        delta(0, text="I read."),
        end(0),
        start(1, toolUse={"name": "read", "toolUseId": "a"}),
        delta(1, toolUse={"input": '{"path"'}),
        delta(1, toolUse={"input": ':"x"}'}),
        end(1),
        start(2, toolUse={"name": "ls", "toolUseId": "b"}),
        end(2),
        stop("tool_use"),
    )
    assert found.content == (TextBlock("I read."), ToolCall("a", "read", {"path": "x"}), ToolCall("b", "ls", {}))
    assert found.stop_reason == "toolUse"


async def test_reasoning_and_its_signature(loopback: Loopback) -> None:
    found = await said(
        loopback,
        delta(0, reasoningContent={"text": "H"}),
        delta(0, reasoningContent={"text": "m"}),
        delta(0, reasoningContent={"signature": "si"}),
        delta(0, reasoningContent={"signature": "g"}),
        end(0),
        delta(1, reasoningContent={"redactedContent": "YQ=="}),
        delta(1, reasoningContent={"redactedContent": "YmM="}),
        end(1),
        delta(2, text="x"),
        stop(),
    )
    assert found.content == (ThinkingBlock("Hm", "sig"), ThinkingBlock("", "YWJj", redacted=True), TextBlock("x"))


async def test_tools_that_the_provider_runs_are_not_ours(loopback: Loopback) -> None:
    found = await said(
        loopback,
        start(0, toolUse={"name": "search", "toolUseId": "a", "type": "server_tool_use"}),
        delta(0, toolUse={"input": "{}"}),
        end(0),
        start(1, toolResult={"toolUseId": "a"}),
        delta(1, toolResult=[{"text": "hidden"}]),
        end(1),
        delta(2, citation={}),
        delta(3, text="x"),
        event("brandNew", a=1),
        stop(),
    )
    assert found.content == (TextBlock("x"),)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "end"),
        ("stop_sequence", "end"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "refusal"),
        ("content_filtered", "refusal"),
    ],
)
async def test_stop_reasons(loopback: Loopback, reason: str, expected: str) -> None:
    assert (await said(loopback, delta(0, text="x"), stop(reason))).stop_reason == expected


async def test_a_call_that_was_cut_off(loopback: Loopback) -> None:
    use = start(0, toolUse={"name": "read", "toolUseId": "a"})
    found = await said(loopback, use, delta(0, toolUse={"input": '{"pa'}), stop("max_tokens"))
    assert found.tool_calls[0].arguments_error == "The arguments were cut off."


@pytest.mark.parametrize(
    ("name", "payload", "kind", "retryable"),
    [
        ("throttlingException", {"message": "Too many requests"}, "rate.limited", True),
        ("serviceUnavailableException", {"message": "x"}, "provider.overloaded", True),
        ("modelStreamErrorException", {"message": "x"}, "provider.overloaded", True),
        ("internalServerException", {}, "provider.overloaded", True),
        ("validationException", {"message": "prompt is too long: 9 tokens > 8"}, "context.overflow", False),
        ("validationException", {"message": "bad"}, "internal", False),
        ("brandNewException", None, "provider.overloaded", True),
    ],
)
async def test_exceptions_inside_the_answer(
    loopback: Loopback, name: str, payload: Any, kind: str, retryable: bool
) -> None:
    body = b"" if payload is None else msgspec.json.encode(payload)
    failed = frame(body, message_type="exception", exception_type=name)
    error = failure(await events_of(loopback, delta(0, text="half") + failed))
    assert (error.error.kind, error.error.retryable) == (kind, retryable)
    assert error.partial is not None
    assert error.partial.text == "half"


async def test_an_error_message(loopback: Loopback) -> None:
    failed = frame(b"", message_type="error", error_code="500", error_message="went wrong")
    error = failure(await events_of(loopback, failed)).error
    assert error.retryable
    assert "went wrong" in error.message


@pytest.mark.parametrize("rest", [b"", stop("malformed_tool_use"), delta(0, text="x")[:-5], b"\0" * 20, RESET])
async def test_what_is_no_end(loopback: Loopback, rest: bytes) -> None:
    error = failure(await events_of(loopback, delta(0, text="half"), rest))
    assert error.error.retryable
    assert error.partial is not None
    assert error.partial.text == "half"


async def test_an_answer_that_is_not_streamed(loopback: Loopback) -> None:
    content = [
        {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "s"}}},
        {"text": "I read "},
        {"citationsContent": {"content": [{"text": "page "}, {"text": "1."}], "citations": [{"title": "A"}]}},
        {"toolUse": {"toolUseId": "a", "name": "read", "input": {"path": "x"}}},
    ]
    whole = {"output": {"message": {"content": content}}, "stopReason": "tool_use", "usage": {"inputTokens": 3}}
    found = message(await events_of(loopback, msgspec.json.encode(whole), content_type="application/json"))
    assert found.content == (
        ThinkingBlock("Hm", "s"),
        TextBlock("I read "),
        TextBlock("page 1."),
        ToolCall("a", "read", {"path": "x"}),
    )
    assert found.usage.input == 3


async def test_the_request(loopback: Loopback) -> None:
    await said(loopback, stop())
    (seen,) = loopback.requests
    assert seen.path == "/v1/model/m/converse-stream"
    assert seen.headers["authorization"] == "Bearer sk-planted-secret-0123456789"
    assert seen.headers["accept"] == KIND


KEYS = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "SK"}


async def target(
    environ: dict[str, str], model_id: str = "amazon.nova-pro-v1:0", **settings: Any
) -> tuple[str, dict[str, str]]:
    """Where a request of the built-in row goes, and its headers."""
    own = {"bedrock": ProviderSettings(**settings)} if settings else {}
    models = ModelRegistry(own, environ=environ)
    provider = BedrockConverse(models.config("bedrock"))
    await provider.warm()
    model = models.model(f"bedrock/{model_id}")
    url, headers = await provider.target(model, None, b"{}")  # type: ignore[arg-type] # the context does not matter
    await provider.aclose()
    return str(url), {name.decode(): value.decode() for name, value in headers}


async def test_keys_sign() -> None:
    url, headers = await target(KEYS | {"AWS_REGION": "eu-west-1", "AWS_SESSION_TOKEN": "ST"})
    assert url == "https://bedrock-runtime.eu-west-1.amazonaws.com/model/amazon.nova-pro-v1%3A0/converse-stream"
    assert headers["x-amz-security-token"] == "ST"
    signed = "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token"
    assert "/eu-west-1/bedrock/aws4_request" in headers["authorization"]
    assert signed in headers["authorization"]


async def test_a_bearer_token_goes_before_keys() -> None:
    url, headers = await target(KEYS | {"AWS_BEARER_TOKEN_BEDROCK": "token"})
    assert url.startswith("https://bedrock-runtime.us-east-1.amazonaws.com/")
    assert headers["authorization"] == "Bearer token"
    assert "x-amz-date" not in headers


@pytest.mark.parametrize(
    ("model", "region", "host"),
    [
        ("arn:aws:bedrock:ap-south-1:1:inference-profile/x", "us-east-1", "bedrock-runtime.ap-south-1.amazonaws.com"),
        ("m", "cn-north-1", "bedrock-runtime.cn-north-1.amazonaws.com.cn"),
    ],
)
async def test_regions(model: str, region: str, host: str) -> None:
    url, headers = await target(KEYS | {"AWS_REGION": region}, model)
    assert url.startswith(f"https://{host}/model/{model.replace(':', '%3A').replace('/', '%2F')}/")
    assert f"/{host.split('.')[1]}/bedrock/" in headers["authorization"]


async def test_settings_name_region_and_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    file = tmp_path / "credentials"
    file.write_text("[work]\naws_access_key_id = PK\naws_secret_access_key = PS\n[sso]\nsso_session = x\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    url, headers = await target({}, options={"profile": "work", "region": "us-west-2"})
    assert url.startswith("https://bedrock-runtime.us-west-2.amazonaws.com/")
    assert "Credential=PK/" in headers["authorization"]
    assert "Credential=PK/" in (await target({"AWS_PROFILE": "work"}))[1]["authorization"]
    for profile in ("sso", "none"):
        with pytest.raises(KodaError) as caught:
            await target({"AWS_PROFILE": profile})
        assert caught.value.kind == "auth.required"
        assert "botocore" in (caught.value.user_action or "")


async def test_profiles_of_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    """The part of botocore that is used, as its documentation has it; the package itself is no dependency."""
    calls: list[str] = []

    class Credentials:
        def get_frozen_credentials(self) -> SimpleNamespace:
            calls.append("frozen")
            if len(calls) > 2:
                raise RuntimeError("expired secret")
            return SimpleNamespace(access_key="BK", secret_key="BS", token=None)

    class Session:
        def __init__(self, profile: str) -> None:
            calls.append(profile)

        def get_credentials(self) -> Credentials:
            return Credentials()

    module = ModuleType("botocore.session")
    vars(module)["Session"] = Session
    monkeypatch.setitem(sys.modules, "botocore", ModuleType("botocore"))
    monkeypatch.setitem(sys.modules, "botocore.session", module)
    assert "Credential=BK/" in (await target({"AWS_PROFILE": "sso"}))[1]["authorization"]
    with pytest.raises(KodaError) as caught:
        await target({"AWS_PROFILE": "sso"})
    assert caught.value.kind == "auth.expired"
    assert "secret" not in caught.value.message


async def test_a_key_without_its_secret() -> None:
    with pytest.raises(KodaError) as caught:
        await target({"AWS_ACCESS_KEY_ID": "AK"})
    assert "AWS_SECRET_ACCESS_KEY" in (caught.value.user_action or "")
