"""``bedrock-mantle``: the models of Amazon Bedrock over their makers' own APIs, each reached by its maker's client.

Claude answers over the Messages API at the anthropic client's address, all others over OpenAI's at the openai client's
(AWS docs, "Inference using Anthropic Messages API" and "Bedrock Mantle"). Requests carry a Bedrock API key, or are
signed here. ``bedrock-converse`` reaches the models that have no such API.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from koda_daemon.ai.provider import BaseProvider, Context, Model, StreamOptions
from koda_daemon.ai.providers import ProviderConfig
from koda_daemon.ai.stream import AssistantMessageEventStream
from koda_daemon.ai.wire.anthropic_messages import OLD_VERSION, AnthropicMessages
from koda_daemon.ai.wire.bedrock_credentials import KeySource, key_source
from koda_daemon.ai.wire.bedrock_region import regional, signed
from koda_daemon.ai.wire.openai_completions import OpenAICompletions
from koda_daemon.ai.wire.openai_responses import OpenAIResponses
from koda_daemon.ai.wire.sse_provider import SSEProvider, address_under
from koda_daemon.base.errors import KodaError

if TYPE_CHECKING:
    import httpx2

    from koda_daemon.ai.http import HttpPool

_SERVICE = "bedrock-mantle"
_RESPONSES = re.compile(r"openai\.gpt-(?!oss)|openai\.o\d|xai\.")


class _OnMantle(SSEProvider):
    """A wire API at Mantle. The key is a bearer token, or the name of what signs requests."""

    _keys: KeySource | None = None

    def bearer(self) -> str | None:
        """The Bedrock API key; None when requests are signed. Blocks (reads files)."""
        self._keys = None if self.config.token is not None else key_source(self.config)
        return None if self._keys is not None else self.config.api_key

    async def target(self, model: Model, context: Context, body: bytes) -> tuple[httpx2.URL, list[tuple[bytes, bytes]]]:
        url, headers = await super().target(model, context, body)
        url, region = regional(self.config, url, model.id)
        if self._keys is not None:
            headers = await signed(self._keys, url, headers, body, region=region, service=_SERVICE)
        return url, headers


class _Claude(_OnMantle, AnthropicMessages):
    def address(self, pool: HttpPool) -> tuple[httpx2.URL, dict[str, str]]:
        from anthropic import AsyncAnthropicBedrockMantle

        key = self.bearer()
        client = AsyncAnthropicBedrockMantle(
            api_key=key,
            skip_auth=key is None,  # its own search would take credentials that the settings do not name
            base_url=f"{self.config.base_url}/anthropic",
            http_client=pool.client,
            max_retries=0,
            open_telemetry=False,
        )
        version = self.config.compat.anthropic_version or OLD_VERSION  # the newest is for some models only
        return client.base_url.join("v1/messages"), {**client.auth_headers, "anthropic-version": version}


class _OpenAI(_OnMantle):
    path: ClassVar[str]

    def address(self, pool: HttpPool) -> tuple[httpx2.URL, dict[str, str]]:
        from openai import AsyncOpenAI, OpenAIError
        from openai.providers import bedrock

        key = self.bearer()
        try:
            provider = bedrock(endpoint="mantle", base_url=f"{self.config.base_url}/openai/v1", api_key=key or "signed")
            client = AsyncOpenAI(provider=provider, http_client=pool.client, max_retries=0)
        except OpenAIError as error:
            raise KodaError("params.invalid", str(error), path=f"providers.{self.config.id}.baseUrl") from None
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return address_under(str(client.base_url), self.path), headers


class _Chat(_OpenAI, OpenAICompletions):
    path = "chat/completions"


class _Responses(_OpenAI, OpenAIResponses):
    path = "responses"


class BedrockMantle(BaseProvider):
    """One account in one region."""

    api_type = "bedrock-mantle"

    def __init__(self, config: ProviderConfig) -> None:
        self.config = config
        self._wires: dict[type[_OnMantle], _OnMantle] = {}

    def stream(self, model: Model, context: Context, options: StreamOptions) -> AssistantMessageEventStream:
        kind = wire_for(model.id)
        wire = self._wires.get(kind)
        if wire is None:
            wire = self._wires[kind] = kind(self.config)
        return wire.stream(model, context, options)

    async def aclose(self) -> None:
        wires, self._wires = self._wires, {}
        for wire in wires.values():
            await wire.aclose()


def wire_for(model_id: str) -> type[_OnMantle]:
    """The API of a model's maker, by its name, which begins with that of the maker."""
    if "anthropic." in model_id:
        return _Claude
    return _Responses if _RESPONSES.search(model_id) else _Chat
