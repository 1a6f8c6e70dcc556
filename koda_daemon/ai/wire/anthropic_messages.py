"""``anthropic-messages``: Anthropic's Messages API, and the servers that copy it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from koda_daemon.ai.provider import Model
from koda_daemon.ai.providers import ProviderConfig
from koda_daemon.ai.wire.anthropic_events import EventReader
from koda_daemon.ai.wire.anthropic_request import MessagesWriter
from koda_daemon.ai.wire.assembler import Assembler
from koda_daemon.ai.wire.sse_provider import SSEProvider, address_under

if TYPE_CHECKING:
    import httpx2

    from koda_daemon.ai.http import HttpPool

_HOST = "api.anthropic.com"
OLD_VERSION = "2023-06-01"
NEW_VERSION = "2026-10-21"
"""Versions of the API; the newer one's list of models tells limits and abilities."""


class AnthropicMessages(SSEProvider):
    """The Messages API under the provider's address, with its key."""

    api_type = "anthropic-messages"

    def address(self, pool: HttpPool) -> tuple[httpx2.URL, dict[str, str]]:
        config = self.config
        path = "messages" if config.base_url.partition("?")[0].rstrip("/").endswith("/v1") else "v1/messages"
        url = address_under(config.base_url, path)
        return url, anthropic_headers(config, official=url.host == _HOST)

    def list_request(self) -> tuple[str, dict[str, str]]:
        config = self.config
        root = config.base_url.rstrip("/").removesuffix("/v1")
        official = root.partition("://")[2].partition("/")[0] == _HOST
        return f"{root}/v1/models?limit=1000", anthropic_headers(config, official=official)

    def writer(self, model: Model) -> MessagesWriter:
        return MessagesWriter(model, self.api_type, adaptive=self.config.compat_with(model.compat).adaptive_thinking)

    def reader(self, assembler: Assembler) -> EventReader:
        return EventReader(assembler)


def anthropic_headers(config: ProviderConfig, *, official: bool) -> dict[str, str]:
    """The headers that authorize requests and name the API's version.

    What the official client would say of Anthropic's own host (a test holds them equal), without the second and the
    30 MB that it costs. Servers that copy the API know its first version, where the key has a header of its own.
    """
    version = config.compat.anthropic_version or (NEW_VERSION if official else OLD_VERSION)
    key = {"authorization": f"Bearer {config.api_key}"} if official else {"x-api-key": config.api_key or ""}
    return {"anthropic-version": version} | (key if config.api_key else {})
