"""``openai-completions``: the chat-completions API of OpenAI and of the many servers that speak it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from koda_daemon.ai.discovery_local import LOCAL, described
from koda_daemon.ai.provider import Model, ModelFacts
from koda_daemon.ai.providers import ProviderConfig
from koda_daemon.ai.wire.assembler import Assembler
from koda_daemon.ai.wire.openai_chat_chunks import ChunkReader
from koda_daemon.ai.wire.openai_chat_request import ChatWriter
from koda_daemon.ai.wire.sse_provider import SSEProvider, address_under

if TYPE_CHECKING:
    import httpx2

    from koda_daemon.ai.http import HttpPool


_GOOGLE = re.compile(r"https://[\w.-]+\.googleapis\.com(?:/|\Z)")


class OpenAICompletions(SSEProvider):
    """Chat completions under the provider's address, with its key as a bearer token."""

    api_type = "openai-completions"

    def address(self, pool: HttpPool) -> tuple[httpx2.URL, dict[str, str]]:
        return openai_address(self.config, "chat/completions")

    def list_request(self) -> tuple[str, dict[str, str]]:
        return openai_list(self.config)

    async def list_models(self) -> Sequence[ModelFacts] | None:
        found = await super().list_models()
        if found is None or self.config.id not in LOCAL:
            return found
        root = self.config.base_url.removesuffix("/v1")
        async with self._fetcher({}) as fetch:
            return await described(self.config.id, found, lambda path, body: fetch(root + path, body))

    def writer(self, model: Model) -> ChatWriter:
        compat = self.config.compat_with(model.compat)
        if _GOOGLE.match(self.config.base_url):
            compat = msgspec.structs.replace(compat, thought_signatures=True)
        return ChatWriter(model, self.api_type, compat)

    def reader(self, assembler: Assembler) -> ChunkReader:
        return ChunkReader(assembler)


def openai_list(config: ProviderConfig) -> tuple[str, dict[str, str]]:
    """Where an OpenAI-like API lists its models, and the header that authorizes that."""
    return f"{config.base_url}/models", {"authorization": f"Bearer {config.api_key}"} if config.api_key else {}


def openai_address(config: ProviderConfig, path: str) -> tuple[httpx2.URL, dict[str, str]]:
    """Where ``path`` of an OpenAI-like API is, and the headers that authorize requests.

    What the official client would say (a test holds them equal), without the half second and the 30 MB that it costs.
    """
    headers = {"authorization": f"Bearer {config.api_key}"} if config.api_key else {}
    owners = {"openai-organization": "OPENAI_ORG_ID", "openai-project": "OPENAI_PROJECT_ID"}
    if not config.compat.plan_usage:  # a plan belongs to no organization of the API
        headers |= {name: config.environ[variable] for name, variable in owners.items() if variable in config.environ}
    return address_under(config.base_url, path), headers
