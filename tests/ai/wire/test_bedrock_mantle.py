"""Amazon Bedrock Mantle: each model at its maker's API, by a Bedrock API key or a signature."""

from __future__ import annotations

import pytest

from koda_daemon.ai.events import Done, StreamError
from koda_daemon.ai.registry import ModelRegistry
from koda_daemon.ai.settings import ProviderSettings
from tests.ai.conftest import Loopback
from tests.ai.wire.streams import ask
from tests.ai.wire.test_copilot import CHAT, MESSAGES, RESPONSES, TEXTS

KEYS = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "SK", "AWS_SESSION_TOKEN": "ST", "AWS_REGION": "eu-west-1"}
TOKEN = {"AWS_BEARER_TOKEN_BEDROCK": "planted-token"}


def at(loopback: Loopback, environ: dict[str, str]) -> ModelRegistry:
    return ModelRegistry({"bedrock-mantle": ProviderSettings(base_url=loopback.url)}, environ=environ)


@pytest.mark.asyncio
@pytest.mark.parametrize("environ", [TOKEN, KEYS | TOKEN, KEYS], ids=["token", "token first", "signed"])
@pytest.mark.parametrize(
    ("model", "body", "path"),
    [
        ("anthropic.claude-sonnet-5-5", MESSAGES, "/anthropic/v1/messages"),
        ("openai.gpt-6-sol", RESPONSES, "/openai/v1/responses"),
        ("openai.gpt-oss-120b", CHAT, "/openai/v1/chat/completions"),
        ("qwen.brand-new", CHAT, "/openai/v1/chat/completions"),
    ],
)
async def test_each_model_at_its_api(
    loopback: Loopback, model: str, body: bytes, path: str, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_AWS_API_KEY", "somebody-else")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "x-leak: yes")
    loopback.reply(body)
    models = at(loopback, environ)
    last = (await ask(models, ref=f"bedrock-mantle/{model}"))[-1]
    await models.aclose()
    assert isinstance(last, Done)
    assert last.message.text == TEXTS[body]
    (request,) = loopback.requests
    assert request.path == path
    authorization = request.headers["authorization"]
    if "AWS_BEARER_TOKEN_BEDROCK" in environ:
        assert authorization == "Bearer planted-token"
    else:
        assert "/eu-west-1/bedrock-mantle/aws4_request" in authorization
        assert request.headers["x-amz-security-token"] == "ST"
    assert not {"x-leak", "x-api-key"} & request.headers.keys()
    assert request.headers.get("anthropic-version") == ("2023-06-01" if "claude" in model else None)


def test_the_region_is_part_of_the_address() -> None:
    models = ModelRegistry({}, environ=TOKEN | {"AWS_REGION": "ap-south-1"})
    assert models.config("bedrock-mantle").base_url == "https://bedrock-mantle.ap-south-1.api.aws"
    claude = models.model("bedrock-mantle/anthropic.claude-sonnet-5-5")
    assert claude.known
    assert claude.context_window == models.model("bedrock/anthropic.claude-sonnet-5-5").context_window


@pytest.mark.asyncio
async def test_an_address_of_another_endpoint_is_refused_by_name() -> None:
    own = ProviderSettings(base_url="https://bedrock-runtime.us-east-1.amazonaws.com")
    models = ModelRegistry({"bedrock-mantle": own}, environ=TOKEN)
    last = (await ask(models, ref="bedrock-mantle/openai.gpt-oss-120b"))[-1]
    await models.aclose()
    assert isinstance(last, StreamError)
    assert (last.error.kind, last.error.path) == ("params.invalid", "providers.bedrock-mantle.baseUrl")
    assert "planted" not in str(last.error)
