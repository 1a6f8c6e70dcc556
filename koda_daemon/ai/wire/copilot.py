"""``github-copilot``: the models of GitHub Copilot, each over the wire API that its ``supported_endpoints`` name.

Copilot lists its models with the endpoints that serve each (``GET /models``). What makes a request one of Copilot's is
in the headers: a short-lived token, the editor, and whether a user or an agent began it (which is how it is charged).
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
import anyio.to_thread
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from koda_daemon.ai.auth.copilot import HEADERS
from koda_daemon.ai.discovery import read_list
from koda_daemon.ai.events import StreamError, StreamEvent
from koda_daemon.ai.messages import AssistantMessage, ImageBlock, Message, Usage, UserMessage
from koda_daemon.ai.provider import BaseProvider, Context, Model, ModelFacts, StreamOptions
from koda_daemon.ai.providers import PROVIDERS, ProviderConfig
from koda_daemon.ai.stream import AssistantMessageEventStream
from koda_daemon.ai.transform import sees
from koda_daemon.ai.wire.anthropic_messages import AnthropicMessages
from koda_daemon.ai.wire.openai_completions import OpenAICompletions
from koda_daemon.ai.wire.openai_responses import OpenAIResponses
from koda_daemon.ai.wire.openai_responses_request import ResponsesWriter
from koda_daemon.ai.wire.sse_provider import SSEProvider, Writer, with_header
from koda_daemon.base.errors import KodaError

if TYPE_CHECKING:
    import httpx2

    from koda_daemon.ai.http import HttpPool

_log = logging.getLogger(__name__)

_RESPONSES_ONLY = re.compile(r"gpt-(?:[5-9]|\d{2})|codex|grok|\bo[1-9]\b|mai-")
_PROXY = re.compile(r"(?:^|;)\s*proxy-ep=(?:proxy\.)?([A-Za-z0-9.\-]+)")
_FRESH = 3_600.0  # seconds that a list of models is good for
_AGAIN = 60.0  # seconds until another try after a list could not be had
_PATIENCE = 5.0


def initiator(messages: Sequence[Message]) -> str:
    """``user`` for the request that a prompt causes, ``agent`` for those that go on after tool results."""
    return "user" if messages and isinstance(messages[-1], UserMessage) else "agent"


class _OnCopilot(SSEProvider):
    """A wire API at Copilot's ``path`` for it, with the headers of Copilot instead of an SDK's."""

    path: ClassVar[str]

    def address(self, pool: HttpPool) -> tuple[httpx2.URL, dict[str, str]]:
        import httpx2

        return httpx2.URL(self.config.base_url.rstrip("/") + self.path), {}

    async def target(self, model: Model, context: Context, body: bytes) -> tuple[httpx2.URL, list[tuple[bytes, bytes]]]:
        url, headers = await super().target(model, context, body)
        if self.config.token is None and self.config.api_key:
            headers = with_header(headers, b"authorization", f"Bearer {self.config.api_key}")
        headers = with_header(headers, b"x-initiator", initiator(context.messages))
        headers = with_header(headers, b"openai-intent", "conversation-edits")
        if sees(model) and any(map(_shows, context.messages)):
            headers.append((b"copilot-vision-request", b"true"))
        return url, headers


class _Messages(_OnCopilot, AnthropicMessages):
    path = "/v1/messages"

    def address(self, pool: HttpPool) -> tuple[httpx2.URL, dict[str, str]]:
        url, _ = super().address(pool)
        return url, {"anthropic-version": self.config.compat.anthropic_version or "2023-06-01"}


class _Chat(_OnCopilot, OpenAICompletions):
    path = "/chat/completions"


class _Responses(_OnCopilot, OpenAIResponses):
    path = "/responses"

    def writer(self, model: Model) -> Writer:
        # Encrypted reasoning is bound to a connection of Copilot's that the next request does not have.
        return ResponsesWriter(model, self.api_type, self.config.compat_with(model.compat), replay=False)


# Best first: the models' own APIs carry reasoning and its signatures; chat completions is what all others have.
_CLASSES: dict[str, type[_OnCopilot]] = {one.api_type: one for one in (_Messages, _Responses, _Chat)}


def wire_for(model_id: str, endpoints: Collection[str] | None) -> str:
    """The wire API for a model: the best of its ``supported_endpoints``, or what its name suggests without them."""
    for api, wire in _CLASSES.items():
        if endpoints and wire.path in endpoints:
            return api
    name = model_id.lower()
    if "claude" in name:
        return "anthropic-messages"
    return "openai-responses" if _RESPONSES_ONLY.search(name) else "openai-completions"


class _Listed(Struct):
    id: str = ""
    supported_endpoints: Any = None


class _List(Struct):
    data: list[_Listed]


class GitHubCopilot(BaseProvider):
    """One Copilot account. ``token`` gives a Copilot token that is good now; without it the key of the row is one."""

    api_type = "github-copilot"

    def __init__(self, config: ProviderConfig, token: Callable[[], Awaitable[str]] | None = None) -> None:
        self.config = replace(config, token=token or config.token, headers={**HEADERS, **config.headers})
        self._wires: dict[tuple[str, str], SSEProvider] = {}
        self._pool: HttpPool | None = None
        self._lock = anyio.Lock()
        self._endpoints: dict[str, frozenset[str]] = {}
        self._good_until = 0.0

    def stream(self, model: Model, context: Context, options: StreamOptions) -> AssistantMessageEventStream:
        asked: list[AssistantMessageEventStream] = []
        events = self._run(model, context, options, asked)
        return AssistantMessageEventStream(events, lambda: asked[0].spent if asked else Usage())

    async def warm(self) -> None:
        base = self._base_url(await self._token())
        await self._look_up(base)
        for api in _CLASSES:
            await self._wire(api, base).warm()

    async def list_models(self) -> Sequence[ModelFacts]:
        """The models that the account may use. Their wire is this one: it knows where each goes."""
        return read_list(await self._list(self._base_url(await self._token())), self.config.name)

    async def aclose(self) -> None:
        wires, self._wires = self._wires, {}
        for wire in wires.values():
            await wire.aclose()
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()

    async def _run(
        self, model: Model, context: Context, options: StreamOptions, asked: list[AssistantMessageEventStream]
    ) -> AsyncGenerator[StreamEvent]:
        try:
            base = self._base_url(await self._token())
            await self._look_up(base)
            wire = self._wire(wire_for(model.id, self._endpoints.get(model.id)), base)
        except KodaError as error:
            yield StreamError(error)
            return
        stream = wire.stream(model, context, options)
        asked.append(stream)
        async with aclosing(stream):
            async for event in stream:
                yield event

    async def _token(self) -> str:
        return await self.config.token() if self.config.token is not None else self.config.api_key or ""

    def _base_url(self, token: str) -> str:
        """The address of the settings, else the one that the token names for its account."""
        found = _PROXY.search(token)
        if found and self.config.base_url == PROVIDERS["github-copilot"].base_url:
            return f"https://api.{found[1]}"
        return self.config.base_url

    def _wire(self, api: str, base: str) -> SSEProvider:
        wire = self._wires.get((api, base))
        if wire is None:
            config = replace(self.config, api=api, base_url=base)
            if api == "openai-completions":
                config = replace(config, compat=replace(config.compat, reasoning="none"))
            wire = self._wires[api, base] = _CLASSES[api](config)
        return wire

    async def _look_up(self, base: str) -> None:
        """Reads which endpoints serve which model, unless that is known; it is no failure if that cannot be had."""
        if monotonic() < self._good_until:
            return
        async with self._lock:
            if monotonic() < self._good_until:
                return
            self._good_until = monotonic() + _AGAIN
            try:
                listed = msgspec.json.decode(await self._list(base), type=_List).data
            except KodaError as error:
                _log.warning("the list of models could not be had: %s", error.message)
                return
            except (msgspec.DecodeError, RecursionError):
                _log.warning("the list of models could not be read")
                return
            self._endpoints = {
                model.id: frozenset(map(str, model.supported_endpoints))
                for model in listed
                if isinstance(model.supported_endpoints, list)
            }
            self._good_until = monotonic() + _FRESH

    async def _list(self, base: str) -> bytes:
        from koda_daemon.ai.http import HttpPool, encoded_headers

        pool = self._pool
        if pool is None:
            pool = self._pool = await anyio.to_thread.run_sync(HttpPool, self.config)
        headers = {**self.config.headers, "authorization": f"Bearer {await self._token()}"}
        return await pool.fetch(f"{base}/models", encoded_headers(headers), timeout=_PATIENCE)


def _shows(message: Message) -> bool:
    return not isinstance(message, AssistantMessage) and any(isinstance(one, ImageBlock) for one in message.content)
