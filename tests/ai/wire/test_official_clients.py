"""What we send is what the official clients send: an update of theirs that changes that fails here."""

from __future__ import annotations

from collections.abc import Callable

import anthropic
import httpx2
import openai
import pytest

from koda_daemon.ai.http import HttpPool
from koda_daemon.ai.providers import ProviderConfig
from koda_daemon.ai.wire.anthropic_messages import AnthropicMessages
from koda_daemon.ai.wire.openai_completions import OpenAICompletions
from koda_daemon.ai.wire.openai_responses import OpenAIResponses
from koda_daemon.ai.wire.sse_provider import SSEProvider

pytestmark = pytest.mark.asyncio

OWN = ("authorization", "x-api-key", "anthropic-version", "openai-organization", "openai-project")


class Transport(httpx2.AsyncBaseTransport):
    """Keeps the request and answers nothing of use."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.request = request
        return httpx2.Response(400, json={"error": {"message": "kept"}})

    @property
    def seen(self) -> tuple[str, dict[str, str]]:
        headers = self.request.headers
        return str(self.request.url), {name: headers[name] for name in OWN if name in headers}


async def ours(kind: Callable[[ProviderConfig], SSEProvider], config: ProviderConfig) -> tuple[str, dict[str, str]]:
    pool = HttpPool(config)
    url, headers = kind(config).address(pool)
    await pool.aclose()
    return str(url), headers


@pytest.mark.parametrize("base", ["https://api.openai.com/v1", "https://gate.example/a%20b/v1/", "http://127.0.0.1:1"])
@pytest.mark.parametrize(
    "environ", [{}, {"OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj-2"}], ids=["alone", "of an organisation"]
)
async def test_openai(base: str, environ: dict[str, str]) -> None:
    config = ProviderConfig(
        id="openai", name="OpenAI", api="openai-responses", base_url=base, api_key="planted", environ=environ
    )
    transport = Transport()
    async with openai.AsyncOpenAI(
        api_key="planted",
        base_url=base,
        organization=environ.get("OPENAI_ORG_ID"),
        project=environ.get("OPENAI_PROJECT_ID"),
        max_retries=0,
        http_client=httpx2.AsyncClient(transport=transport),
    ) as client:
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model="m", messages=[], stream=True)
        assert transport.seen == await ours(OpenAICompletions, config)
        with pytest.raises(openai.BadRequestError):
            await client.responses.create(model="m", input="", stream=True)
        assert transport.seen == await ours(OpenAIResponses, config)


async def test_anthropic() -> None:
    base = "https://api.anthropic.com"
    config = ProviderConfig(
        id="anthropic", name="Anthropic", api="anthropic-messages", base_url=base, api_key="planted"
    )
    transport = Transport()
    async with anthropic.AsyncAnthropic(
        api_key="planted",
        base_url=base,
        max_retries=0,
        open_telemetry=False,
        http_client=httpx2.AsyncClient(transport=transport),
    ) as client:
        with pytest.raises(anthropic.BadRequestError):
            await client.messages.create(model="m", max_tokens=1, messages=[], stream=True)
        assert transport.seen == await ours(AnthropicMessages, config)
